//! The pod: what the kubelet puts into one, and the real program in it.
use super::setup::EndpointsFile;
use guardprobe_core::model::names;
use jiff::{SignedDuration, Timestamp};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a pod wears.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Dress {
    /// The name of its node, and its own.
    pub(super) node: String,
    pub(super) nameservers: Vec<IpAddr>,
    /// A byte that is no UTF-8 in a comment of resolv.conf.
    pub(super) odd_comment: bool,
    /// `KUBERNETES_SERVICE_HOST` and its port.
    pub(super) api: SocketAddr,
    /// `GUARDPROBE_REPORTER_ADDRESS`.
    pub(super) reporter: Option<SocketAddr>,
    /// The cluster's CA, PEM.
    pub(super) ca: String,
    /// The text of endpoints.json.
    pub(super) endpoints: Option<String>,
    /// The text of the configuration; without one the program finds what it finds.
    pub(super) config: Option<String>,
    /// The command, and its arguments.
    pub(super) args: Vec<String>,
    /// The limit of open files.
    pub(super) descriptors: Option<u64>,
}

/// Dresses this process as a pod and becomes the program. Returns only what went wrong.
pub(super) fn become_program(dress: &Dress) -> io::Error {
    match wear(dress) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

fn wear(dress: &Dress) -> io::Result<Command> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/etc", Some("tmpfs"), MsFlags::empty(), none)?;
    let servers: String = dress.nameservers.iter().map(|ip| format!("nameserver {ip}\n")).collect();
    let search = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
    let comment: &[u8] = if dress.odd_comment { b"# caf\xe9\n" } else { b"" };
    fs::write("/etc/resolv.conf", [comment, servers.as_bytes(), search.as_bytes()].concat())?;
    fs::write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
    fs::create_dir_all("/etc/guardprobe/ca")?;
    fs::create_dir_all("/etc/guardprobe/endpoints")?;
    fs::write("/etc/guardprobe/ca/ca.crt", &dress.ca)?;
    if let Some(endpoints) = &dress.endpoints {
        fs::write("/etc/guardprobe/endpoints/endpoints.json", endpoints)?;
    }
    let mut program = Command::new("/proc/self/exe");
    program.env_clear().args(&dress.args);
    program.envs(std::env::var_os(names::FORBIDDEN_NETNS).map(|outside| (names::FORBIDDEN_NETNS, outside)));
    program.env("KUBERNETES_SERVICE_HOST", dress.api.ip().to_string());
    program.env("KUBERNETES_SERVICE_PORT", dress.api.port().to_string());
    program.envs(dress.reporter.map(|at| ("GUARDPROBE_REPORTER_ADDRESS", at.to_string())));
    program.env("GUARDPROBE_NODE", &dress.node).env("GUARDPROBE_POD", &dress.node);
    if let Some(config) = &dress.config {
        fs::write("/etc/guardprobe/guardprobe.yaml", config)?;
        program.args(["-c", "/etc/guardprobe/guardprobe.yaml"]);
    }
    if let Some(limit) = dress.descriptors {
        setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    }
    Ok(program)
}

/// The text of endpoints.json, as of `now`.
pub(super) fn endpoints_text(file: &EndpointsFile, now: Timestamp) -> Option<String> {
    let written = |addresses: &[SocketAddr], minutes: u32| {
        let updated = now.saturating_sub(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(now);
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        serde_json::json!({"revision": "lab", "updated": updated.to_string(), "addresses": addresses}).to_string()
    };
    match file {
        EndpointsFile::Fresh(addresses) => Some(written(addresses, 0)),
        EndpointsFile::Old(addresses, minutes) => Some(written(addresses, *minutes)),
        EndpointsFile::Text(text) => Some((*text).to_owned()),
        EndpointsFile::Missing => None,
    }
}
