//! A node in a box: pod, node and vpc as network namespaces on this machine, a guard in the node's packet filter, stand-ins for what it
//! protects, and the real `guardprobe agent` or `check` in the pod.
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
//! | `agent` | the agent in the pod, and what the lab asks it |
//! | `narrate` | what a person sees |
//! | `hold`, `fleet` | a lab that stays: some nodes, and a reporter |
//! | `forward`, `listeners` | the ways into it |
mod agent;
mod filter;
mod fleet;
mod forward;
mod hold;
mod listeners;
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

/// Writes a line for a person. A reader that is gone, or a disk that is full, ends the lab with a message and not with a panic.
macro_rules! say {
    () => { $crate::lab::write_line(format_args!("")) };
    ($($line:tt)+) => { $crate::lab::write_line(format_args!($($line)+)) };
}
use say;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use guardprobe_core::model::names;
use guardprobe_core::parse::config as parse;
use listeners::Listeners;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const AFTER: &str = "\
Examples:
  The story, step by step with Enter, or all at once:
      guardprobe lab
      guardprobe lab --once
  Three nodes and a reporter keep running, here and from a second terminal:
      guardprobe lab --hold
      guardprobe verify --url http://127.0.0.1:9799
      guardprobe lab guard off
      guardprobe lab guard off --node lab-node-2
  What the catalogue has, and one situation of it:
      guardprobe lab --list
      guardprobe lab --scenario hop-limit

Exit status: 0 when every verdict was the expected one, 1 when one was not, 2 usage, or this machine forbids it: it says which setting allows it.";

/// Arguments of `lab`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = AFTER)]
pub struct LabArgs {
    /// Do not wait for Enter between the steps of the story, for scripts.
    #[arg(long, conflicts_with = "hold")]
    pub once: bool,
    /// Instead of the story, judge one situation of the catalogue, or all of them.
    #[arg(long, value_name = "NAME|all", conflicts_with = "hold", hide_possible_values = true, value_parser = PossibleValuesParser::new(scenario::names()))]
    pub scenario: Option<String>,
    /// Name the situations of the catalogue.
    #[arg(long)]
    pub list: bool,
    /// Instead of the story, keep some nodes and a reporter running until Ctrl-C, to play with.
    #[arg(long)]
    pub hold: bool,
    /// How many nodes are held.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(listeners::NODES_MAX)), requires = "hold")]
    pub nodes: u8,
    /// Where this machine answers for a held lab, a loopback address: the first agent here, the reporter at the next port, its status page at the one after, then the other agents.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = HOLD_AT, global = true, value_parser = loopback)]
    pub listen: SocketAddr,
    /// What to do with a lab that is held in another terminal.
    #[command(subcommand)]
    pub held: Option<Held>,
}

/// What can be done with a lab that is held.
#[derive(Debug, Subcommand)]
pub enum Held {
    /// Take the guard away, or bring it back.
    Guard {
        /// Off takes it away, as somebody does who deletes a policy; on brings it back.
        to: Switch,
        /// Of which node, or all.
        #[arg(long, value_name = "NODE|all", default_value_t = plan::node_name(1))]
        node: String,
    },
}

/// The guard, up or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// The guard is up.
    On,
    /// The guard is gone.
    Off,
}

/// Where a held lab answers.
const HOLD_AT: &str = "127.0.0.1:9797";

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected a loopback address and port, such as 127.0.0.1:9797";
    let at = parse::loopback_listen_flag(text).map_err(|_| format!("is no address with a port: {expected}"))?;
    if at.ip().is_loopback() { Ok(at) } else { Err(format!("would let others in: {expected}")) }
}

/// What a lab is to show, as its first process is told.
#[derive(Debug, Serialize, Deserialize)]
enum Show {
    Story {
        once: bool,
    },
    Scenarios {
        names: Vec<String>,
    },
    /// `keys` when a person can press Enter. The first process's standard input holds the listeners.
    Hold {
        nodes: u8,
        keys: bool,
    },
}

impl Show {
    fn run(&self) -> io::Result<ExitCode> {
        match self {
            Show::Story { once } => narrate::story(*once),
            Show::Scenarios { names } => narrate::scenarios(names),
            Show::Hold { nodes, keys } => hold::hold(*nodes, *keys),
        }
    }
}

/// Runs the command. Exit status: 0 all as expected, 1 not, 2 it cannot run here.
pub fn run(args: &LabArgs) -> ExitCode {
    match (&args.held, &args.scenario) {
        (Some(Held::Guard { to, node }), _) => hold::switch(args.listen, *to, node),
        _ if args.list => narrate::list(),
        _ if args.hold => hold_at(args.listen, args.nodes),
        (None, None) => start(&Show::Story { once: args.once }, Stdio::inherit()),
        (None, Some(name)) => start(&Show::Scenarios { names: scenario::select(name) }, Stdio::inherit()),
    }
}

/// The listeners are made here, where the host's loopback is, and handed inside.
fn hold_at(at: SocketAddr, nodes: u8) -> ExitCode {
    let keys = io::stdin().is_terminal();
    match Listeners::bind(at, nodes).and_then(|listeners| listeners.send()) {
        Ok(way_in) => start(&Show::Hold { nodes, keys }, Stdio::from(way_in)),
        Err(error) => {
            eprintln!(
                "guardprobe lab: cannot listen on {at} and the ports after it: {error}; is another lab held, or a port-forward? --listen 127.0.0.1:0 takes free ports"
            );
            ExitCode::from(names::EXIT_LAB_UNABLE)
        }
    }
}

fn write_line(line: fmt::Arguments<'_>) {
    if let Err(error) = writeln!(anstream::stdout().lock(), "{line}") {
        if error.kind() != io::ErrorKind::BrokenPipe {
            let _ = writeln!(io::stderr(), "guardprobe lab: standard output: {error}");
        }
        std::process::exit(names::EXIT_LAB_UNABLE.into());
    }
}

fn start(show: &Show, stdin: Stdio) -> ExitCode {
    let started = serde_json::to_string(show).map_err(io::Error::other).and_then(|text| {
        // No program of a lab may ever probe from where the lab was started.
        let here = std::fs::read_link("/proc/self/ns/net")?;
        let mut command = role::command("outside", &text);
        command.env(names::FORBIDDEN_NETNS, here).stdin(stdin);
        if let Show::Hold { .. } = show { until_asked_to_end(command) } else { command.status().map(Some) }
    });
    match started {
        Ok(None) => {
            let _ = writeln!(io::stderr(), "\nguardprobe lab: ended; nothing of it is left");
            ExitCode::SUCCESS
        }
        Ok(Some(status)) => {
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(names::EXIT_LAB_UNEXPECTED))
        }
        Err(error) => {
            eprintln!("guardprobe lab: cannot start its own processes: {error}");
            ExitCode::from(names::EXIT_LAB_UNABLE)
        }
    }
}

/// Runs a lab that is held until it ends, or until this process is asked to end (Ctrl-C, SIGTERM): then `None`.
fn until_asked_to_end(mut command: Command) -> io::Result<Option<ExitStatus>> {
    let asks = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    // A child starts with no signal blocked (std::process), so that Ctrl-C ends it as well.
    asks.thread_block()?;
    let asked = SignalFd::new(&asks)?;
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let was_asked = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&was_asked);
    thread::spawn(move || {
        if asked.read_signal().is_ok_and(|signal| signal.is_some()) {
            noted.store(true, Ordering::Relaxed);
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let status = child.wait()?;
    // Ctrl-C reaches the child as well, and may end it before this process has heard of it.
    let heard = || was_asked.load(Ordering::Relaxed);
    (0..20).take_while(|_| !heard() && !status.success()).for_each(|_| thread::sleep(Duration::from_millis(10)));
    Ok((!heard()).then_some(status))
}
