//! A node in a box: pod, node and vpc as network namespaces on this machine, a guard in the node's packet filter, stand-ins for what it
//! protects, and the real `guardprobe check` in the pod.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`role`] | the processes, and how all of them end with the first |
//! | `plan` | the numbers of the little world |
//! | `setup` | what a world is made of, as data |
//! | `world` | a world that stands |
//! | `net`, `filter`, `netlink` | links, addresses and routes; the packet filter; the protocol under both |
//! | `node` | kube-proxy's work, the guard, and what can be wrong |
//! | `pod` | what the kubelet puts into a pod |
//! | `standin` | IMDS, the API, DNS, proxies |
//! | `scenario` | the catalogue of situations, each with its expected verdict |
//! | `narrate` | what a person sees |
mod filter;
mod narrate;
mod net;
mod netlink;
mod node;
mod plan;
mod pod;
pub mod role;
mod scenario;
mod setup;
mod standin;
mod world;

use clap::Args;
use guardprobe_core::model::names;
use serde::{Deserialize, Serialize};
use std::io;
use std::process::ExitCode;

/// Arguments of `lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Do not wait for Enter between the steps, for scripts.
    #[arg(long)]
    pub once: bool,
    /// Instead of the story, judge one situation of the catalogue, or all of them.
    #[arg(long, value_name = "NAME|all")]
    pub scenario: Option<String>,
    /// Name the situations of the catalogue.
    #[arg(long)]
    pub list: bool,
}

/// What a lab is to show, as its first process is told.
#[derive(Debug, Serialize, Deserialize)]
enum Show {
    Story { once: bool },
    Scenarios { names: Vec<String> },
}

impl Show {
    fn run(&self) -> io::Result<ExitCode> {
        match self {
            Show::Story { once } => narrate::story(*once),
            Show::Scenarios { names } => narrate::scenarios(names),
        }
    }
}

/// Runs the command. Exit status: 0 all as expected, 1 not, 2 it cannot run here.
pub fn run(args: &LabArgs) -> ExitCode {
    if args.list {
        return narrate::list();
    }
    let show = match &args.scenario {
        None => Show::Story { once: args.once },
        Some(name) => match scenario::select(name) {
            Some(names) => Show::Scenarios { names },
            None => {
                eprintln!(
                    "guardprobe lab: no scenario is called {name:?}: expected all, or a name that `guardprobe lab --list` prints"
                );
                return ExitCode::from(names::EXIT_USAGE);
            }
        },
    };
    let started = serde_json::to_string(&show).map_err(io::Error::other).and_then(|show| {
        // No check of a lab may ever probe from where the lab was started.
        let here = std::fs::read_link("/proc/self/ns/net")?;
        role::command("outside", &show).env(names::FORBIDDEN_NETNS, here).status()
    });
    match started {
        Ok(status) => {
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(names::EXIT_LAB_UNEXPECTED))
        }
        Err(error) => {
            eprintln!("guardprobe lab: cannot start its own processes: {error}");
            ExitCode::from(names::EXIT_LAB_UNABLE)
        }
    }
}
