//! The processes of a lab. Each is this same binary with another role, so that prober and stand-ins are separate processes in separate
//! namespaces, as they are in a cluster.
//!
//! ```text
//! lab ─► outside (user, mount and pid namespaces) ─► inside (pid 1) ─┬─► scenario …
//!                                                                    ├─► standins (in the vpc's, node's or pod's network namespace)
//!                                                                    ├─► pod ─► exec check, agent, or reporter
//!                                                                    └─► forward (from one loopback port to another, elsewhere)
//! ```
//!
//! Each dies with its parent, and the pid namespace with its first process: kill any of them, and nothing is left.
use super::pod::{self, Dress};
use super::standin::{self, Service};
use super::{Show, forward, scenario};
use clap::{Args, Subcommand};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use std::fs;
use std::io;
use std::process::{Command, ExitCode};

/// Arguments of one process of a lab.
#[derive(Debug, Args)]
pub struct RoleArgs {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Outside { show: String },
    Inside { show: String },
    Scenario { name: String },
    Standins { services: String },
    Pod { dress: String },
    Forward { forward: String },
}

/// Runs one process of a lab. Nothing may have started a thread before: a threaded process gets no user namespace.
pub fn run(args: &RoleArgs) -> ExitCode {
    let done = match &args.role {
        Role::Outside { show } => outside(show),
        Role::Inside { show } => inside(show),
        Role::Scenario { name } => dying_with_parent().and_then(|()| scenario::run_as_process(name)).map(|()| ExitCode::SUCCESS),
        Role::Standins { services } => standins(services).map(|()| ExitCode::SUCCESS),
        Role::Pod { dress } => dressed_pod(dress),
        Role::Forward { forward } => {
            let run = || forward::run(serde_json::from_str(forward)?);
            dying_with_parent().and_then(|()| run()).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("guardprobe lab: {error}");
        ExitCode::from(guardprobe_core::model::names::EXIT_LAB_UNABLE)
    })
}

/// Tells a process who started it, as the host counts.
const PARENT: &str = "GUARDPROBE_LAB_PARENT";

/// A process of this binary in another role.
pub(super) fn command(role: &str, argument: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["lab-role", role, argument]).env(PARENT, host_pid().to_string());
    command
}

/// This process as the host counts: /proc is still the host's.
pub(super) fn host_pid() -> u32 {
    fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse().ok()).unwrap_or_else(std::process::id)
}

/// Set after any `unshare` of the user namespace: a change of credentials clears it.
fn dying_with_parent() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // A parent that was killed before that line sends no signal any more. The host's /proc shows parents across pid namespaces.
    let status = fs::read_to_string("/proc/self/status")?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
    match std::env::var(PARENT).ok().as_deref() == parent {
        true => Ok(()),
        false => Err(io::Error::other("the process that started this one is gone")),
    }
}

/// Leaves the host's namespaces, and starts the first process of the new pid namespace.
fn outside(show: &str) -> io::Result<ExitCode> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET)
        .map_err(forbidden)?;
    dying_with_parent()?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(|_| forbidden(nix::Error::EPERM))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(|_| forbidden(nix::Error::EPERM))?;
    let status = command("inside", show).status()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn forbidden(error: nix::Error) -> io::Error {
    io::Error::other(format!(
        "this system does not let you make user namespaces ({error}). One of these allows it:
  sudo sysctl kernel.unprivileged_userns_clone=1                  (Debian's older kernels)
  sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0      (Ubuntu from 23.10 on)
  sudo sysctl user.max_user_namespaces=1000                       (where it is 0)
  in a container: docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    ))
}

fn inside(show: &str) -> io::Result<ExitCode> {
    dying_with_parent()?;
    let show: Show = serde_json::from_str(show)?;
    show.run()
}

fn standins(services: &str) -> io::Result<()> {
    dying_with_parent()?;
    let services: Vec<Service> = serde_json::from_str(services)?;
    standin::run(services)
}

fn dressed_pod(dress: &str) -> io::Result<ExitCode> {
    dying_with_parent()?;
    let dress: Dress = serde_json::from_str(dress)?;
    Err(pod::become_program(&dress))
}
