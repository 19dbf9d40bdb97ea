//! `guardprobe verify` by port-forward: a release of the chart on a real kubelet, with the image that is shipped, and the way to its reporters.
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
mod common;

use common::cluster::{API, Cluster, FLEET, Process};
use common::containers::{Containers, IMAGE, Policy};
use common::facts::{eventually, within};
use common::helm::{chart, helm_in};
use common::own_namespace;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(180);

/// Quick rounds, and two reporters.
fn values() -> String {
    let (registry, repository) = IMAGE.split_once('/').unwrap();
    format!(
        "\
image: {{registry: {registry}, repository: {repository}}}
guards: [{{name: deny-k8s-api-and-imds, namespace: default, labels: {{egress: restricted}}}}]
agent: {{interval: 2s, timeout: 1100ms, startup: 10s, reporterControl: false}}
reporter: {{replicas: 2, rules: {{stale: 6s, grace: 5s}}}}
tests: {{wait: 90s, verify: {{enabled: true}}}}
"
    )
}

/// Runs Helm, which must be content.
fn helm(cluster: &Cluster, containers: &Containers<'_>, args: &[&str]) -> String {
    let output = helm_in(cluster, args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let pods = || cluster.kubectl(&["get", "pods", "-A", "-o", "wide"]) + &cluster.kubectl(&["get", "events", "-A"]);
    assert!(output.status.success(), "{said}{}{}", pods(), containers.log());
    said
}

/// A laptop: a kubeconfig with the permissions of docs/verify.md and nothing else, and a desktop that opens pages.
struct Laptop<'c> {
    cluster: &'c Cluster,
    config: String,
}

impl<'c> Laptop<'c> {
    fn new(cluster: &'c Cluster) -> Self {
        cluster.apply(&common::documented_permissions());
        let laptop = Laptop { cluster, config: config_of(cluster, "guardprobe", "guardprobe-verify") };
        let desktop = cluster.folder.join("xdg-open");
        fs::write(&desktop, format!("#!/bin/sh\necho \"$1\" >{}\n", cluster.folder.join("opened").display())).unwrap();
        fs::set_permissions(desktop, fs::Permissions::from_mode(0o755)).unwrap();
        laptop
    }

    fn verify(&self, before: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.cluster.folder.display());
        command.env_clear().env("PATH", path).env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
        command.env("HOME", &self.cluster.folder).env("KUBECONFIG", &self.config);
        command.args(["netns", "exec", &self.cluster.hub()]).args(before);
        command.arg(env!("CARGO_BIN_EXE_guardprobe")).arg("verify").args(args);
        command
    }

    /// The same permissions, by an exec plugin.
    fn config_with_a_plugin(&self) -> String {
        let token = self.cluster.kubectl(&["create", "token", "-n", "guardprobe", "guardprobe-verify"]);
        let kind = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"});
        let mut credential = kind.clone();
        credential["status"] = json!({"token": token.trim()});
        let answer = self.cluster.file("credential.json", &credential.to_string());
        let exec = json!({"apiVersion": kind["apiVersion"], "command": "cat", "args": [answer], "interactiveMode": "Never"});
        self.cluster.kubeconfig("plugin.conf", API, json!({"exec": exec}))
    }

    /// Exit status, and all that it said.
    fn answer(&self, before: &[&str], args: &[&str]) -> (i32, String) {
        let output = self.verify(before, args).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    }
}

/// Somebody's kubeconfig.
fn config_of(cluster: &Cluster, namespace: &str, account: &str) -> String {
    let token = cluster.kubectl(&["create", "token", "-n", namespace, account]);
    cluster.kubeconfig(&format!("{account}.conf"), API, json!({"token": token.trim()}))
}

fn reporters(cluster: &Cluster) -> Vec<String> {
    let args = ["get", "pods", "-n", "guardprobe", "-l", "app.kubernetes.io/component=reporter", "-o", "json"];
    let list: Value = serde_json::from_str(&cluster.kubectl(&args)).unwrap();
    let live = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = list["items"].as_array().unwrap().iter().filter(live).map(name).collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs deploy/image/build"]
fn a_release_on_a_real_kubelet_is_verified_by_port_forward() {
    let cluster = Cluster::with_scheduler();
    let containers = Containers::start(&cluster);
    Policy::enforced(&cluster, |policy| verified(&cluster, &containers, policy));
}

fn verified(cluster: &Cluster, containers: &Containers<'_>, policy: &Policy<'_>) {
    let (values, chart) = (cluster.file("values.yaml", &values()), chart());
    let install = ["install", "guardprobe", chart.to_str().unwrap(), "--values", &values, "--wait", "--timeout", "120s"];
    helm(cluster, containers, &install);
    let laptop = Laptop::new(cluster);

    // 0: all blocked, whatever this machine's clock says.
    let began = Instant::now();
    let (status, said) = laptop.answer(&[], &[]);
    println!("verified by port-forward after {:.1?}\n{said}", began.elapsed());
    assert_eq!(status, 0, "{said}{}", containers.log());
    assert!(said.contains("blocked     default/deny-k8s-api-and-imds  1 node  imds 1 silence, kube-api 1 silence"), "{said}");
    for offset in ["-1h", "+1h"] {
        let (status, said) = laptop.answer(&["faketime", "-f", offset], &[]);
        assert_eq!(status, 0, "{offset}: {said}");
    }
    // By a program that gives the credentials, as those of cloud providers do.
    let output = laptop.verify(&[], &[]).env("KUBECONFIG", laptop.config_with_a_plugin()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // Helm asks the same, from a pod.
    let said = helm(cluster, containers, &["test", "guardprobe", "--timeout", "150s"]);
    assert_eq!(said.matches("Succeeded").count(), 5, "{said}");
    assert!(said.contains("BLOCKED  All that was tried is blocked on 1 node"), "it prints the answer: {said}");

    // 1: open.
    policy.is_there(false);
    let open = within(PATIENCE, "it is told that it is open", || match laptop.answer(&[], &[]) {
        (1, said) => Ok(said),
        (status, said) => Err(format!("{status}: {said}")),
    });
    assert!(open.starts_with("BREACHED    default/deny-k8s-api-and-imds  node-1  imds      token_issued"), "{open}");
    policy.is_there(true);
    within(PATIENCE, "it is shut again", || match laptop.answer(&[], &[]) {
        (0, _) => Ok(()),
        (status, said) => Err(format!("{status}: {said}")),
    });

    // 2: somebody who may not.
    let nobody = config_of(cluster, "default", "default");
    let output = laptop.verify(&[], &[]).env("KUBECONFIG", nobody).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("kubectl auth can-i get pods/portforward -n guardprobe"), "{said}");

    // 2: somebody whom the API server does not know any more.
    cluster.kubectl(&["create", "serviceaccount", "-n", "default", "gone"]);
    let gone = config_of(cluster, "default", "gone");
    cluster.kubectl(&["delete", "serviceaccount", "-n", "default", "gone"]);
    let output = laptop.verify(&[], &[]).env("KUBECONFIG", gone).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("does not accept these credentials"), "{said}");

    // 3: an agent that stands still.
    let agents_are = |signal| {
        let agents = containers.running("agent");
        assert!(agents.len() == 1, "{agents:?}");
        kill(agents[0], signal).unwrap(); // one that stands still for long is started anew by the kubelet
    };
    agents_are(Signal::SIGSTOP);
    let (status, said) = laptop.answer(&[], &["--wait", "8s"]);
    assert!(status == 3 && said.contains("NOT PROVEN  default/deny-k8s-api-and-imds  node-1"), "{status}: {said}");

    // Ctrl-C while it waits: nothing is proved, and nothing is left.
    let mut waits = Process::start(&mut laptop.verify(&[], &[]));
    waits.until_said("waiting for node-1");
    waits.signal(Signal::SIGINT);
    assert_eq!(waits.status(), 130);

    // The reporter that it asks goes away meanwhile: it goes on with the other one.
    let mut waits = Process::start(&mut laptop.verify(&[], &["--wait", "2m", "-o", "json"]));
    waits.until_said("waiting for node-1");
    let first = reporters(cluster)[0].clone();
    cluster.kubectl(&["delete", "pod", "-n", "guardprobe", &first, "--wait=false"]);
    eventually("it is gone", || match cluster.try_kubectl(&["get", "pod", "-n", "guardprobe", &first]).status.success() {
        false => Ok(()),
        true => Err("it is there".to_owned()),
    });
    agents_are(Signal::SIGCONT);
    let status = within(PATIENCE, "it ends", || waits.ended().ok_or_else(|| waits.stderr()));
    let document: Value = serde_json::from_str(&waits.stdout()).unwrap();
    assert_eq!(status, 0, "{document}{}", waits.stderr());
    assert_ne!(document["reporter"].as_str().unwrap(), first);

    the_page(&laptop);
}

/// The status page, by a port-forward that outlives the reporter that it began with.
fn the_page(laptop: &Laptop<'_>) {
    let cluster = laptop.cluster;
    within(PATIENCE, "two reporters are ready", || {
        let ready =
            cluster.kubectl(&["get", "deployment", "-n", "guardprobe", "-o", "jsonpath={.items[*].status.readyReplicas}"]);
        if ready == "2" { Ok(()) } else { Err(ready) }
    });
    let mut open = Process::start(&mut laptop.verify(&[], &["--open"]));
    let says = |page: &Process, url: &str| {
        eventually("it says where", || if page.stdout().contains(url) { Ok(()) } else { Err(page.stdout() + &page.stderr()) });
    };
    says(&open, "The status page: http://127.0.0.1:9799/");
    let opened = cluster.folder.join("opened");
    eventually("a browser is started", || match fs::read_to_string(&opened) {
        Ok(url) if url == "http://127.0.0.1:9799/\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let page = || {
        within(PATIENCE, "the page is there", || match cluster.try_get(FLEET, "/") {
            Ok((200, page)) if page.contains("node-1") => Ok(()),
            other => Err(format!("{other:?}{}", open.stderr())),
        });
    };
    page();
    // The port is taken: another does as well.
    let second = Process::start(&mut laptop.verify(&[], &["--open"]));
    says(&second, "The status page: http://127.0.0.1:");
    assert!(!second.stdout().contains(":9799/"), "{}", second.stdout());
    drop(second);
    // The reporter goes away: the next connection leads to the other one.
    let first = reporters(cluster)[0].clone();
    cluster.kubectl(&["delete", "pod", "-n", "guardprobe", &first, "--grace-period=1"]);
    page();
    open.signal(Signal::SIGINT);
    assert_eq!(open.status(), 0, "{}", open.stderr());
    assert!(cluster.try_get(FLEET, "/").is_err(), "nothing is left");
}
