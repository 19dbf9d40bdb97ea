//! The chart, by the real Helm.
use super::cluster::{Cluster, tool};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of this repository.
pub(crate) fn ours(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The chart.
pub(crate) fn chart() -> PathBuf {
    ours("deploy/charts/guardprobe")
}

/// The values files that the chart is tried with, by name.
pub(crate) fn values_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = chart().join("ci").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs Helm, without a cluster.
pub(crate) fn helm(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let home = std::env::temp_dir().join(format!("gpt{}-helm", std::process::id()));
    let mut command = Command::new(tool("helm"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").args(args).output().unwrap()
}

/// Helm with the release's namespace, as the administrator of a cluster.
pub(crate) fn helm_in(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &cluster.folder);
    command.env("KUBECONFIG", cluster.folder.join("admin.conf"));
    command.args(["netns", "exec", &cluster.hub()]).arg(tool("helm")).args(args).args(["--namespace", "guardprobe"]);
    command
}

/// What Helm prints, which must work.
#[track_caller]
pub(crate) fn helm_prints(args: &[&OsStr]) -> String {
    let output = helm(args);
    assert!(output.status.success(), "helm {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The manifests of the chart with those values, as text, tests of the release included.
#[track_caller]
pub(crate) fn template(values: &Path, more: &[&str]) -> String {
    let chart = chart();
    let fixed = ["template", "guardprobe"].map(OsStr::new).into_iter().chain([chart.as_os_str()]);
    let place = ["--namespace", "guardprobe", "--values"].map(OsStr::new).into_iter().chain([values.as_os_str()]);
    helm_prints(&fixed.chain(place).chain(more.iter().map(OsStr::new)).collect::<Vec<_>>())
}

/// The same as objects.
#[track_caller]
pub(crate) fn objects(values: &Path, more: &[&str]) -> Vec<Value> {
    read(&template(values, more))
}

/// The documents of a YAML text.
#[track_caller]
pub(crate) fn read(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}
