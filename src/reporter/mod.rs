//! `guardprobe reporter`: the whole fleet, in one place.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `house` | what is known: written by what follows, read by the sites |
//! | `follow` | what the cluster holds, as the API tells it |
//! | `collect` | what the agents say: one connection to each |
//! | `ask` | one agent, for the page of its node |
//! | `post` | Events, at their rate |
//! | `lead` | who writes; the endpoints ConfigMap |
//! | `listed` | a list of agents in place of the API, for the lab |
//! | `site` | what is answered to whoever asks |
//!
//! One thread does it all, and nothing on it waits for anybody without a deadline. Every replica follows, collects and answers; one, which
//! holds the Lease, writes.
mod api_part;
mod ask;
mod collect;
mod follow;
mod house;
mod lead;
mod listed;
mod post;
mod site;

use crate::cluster::Cluster;
use crate::process::clock::Clock;
use crate::process::output::Output;
use crate::process::runtime;
use crate::process::signals::Signals;
use crate::serve::{self, Limits};
use crate::settings;
use clap::Args;
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::finding::Attribution;
use guardprobe_core::model::fleet::Rules;
use guardprobe_core::model::names;
use guardprobe_core::parse::reporter::{self as parse, Settings};
use house::House;
use listed::Listed;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const AFTER: &str = "\
It needs access to the Kubernetes API: in a pod the service account's token, elsewhere KUBECONFIG. What it may do there is in the chart, files/rbac.yaml. \
It sends nothing to the targets of the agents.

Standard output carries one JSON line for each transition of the fleet, schema guardprobe.incident/v1; the log goes to standard error.

The network port answers GET /metrics, /livez, /readyz and /v1/reach; the other one, which is for port-forward, the status page at / and /v1/fleet.

Exit status: 0 when it was asked to end, 2 usage or configuration, or when it cannot listen.";

/// Arguments of `reporter`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct ReporterArgs {
    /// Configuration file: the guards to look after.
    #[arg(short, long, value_name = "FILE", env = "GUARDPROBE_CONFIG")]
    pub config: Option<PathBuf>,
    /// A guard to look after, namespace/name, instead of a configuration file; may be given again.
    #[arg(long, value_name = "GUARD", env = "GUARDPROBE_GUARD", value_delimiter = ',', conflicts_with = "config")]
    pub guard: Vec<String>,
    /// Where to answer on the network: metrics, health, and agents whose control this is.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = names::REPORTER_LISTEN, env = "GUARDPROBE_LISTEN", value_parser = guardprobe_core::parse::config::listen_flag)]
    pub listen: SocketAddr,
    /// Where to tell the fleet. Who may read it may read which doors are open: not the network.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = names::FLEET_LISTEN, env = "GUARDPROBE_FLEET_LISTEN", value_parser = guardprobe_core::parse::config::loopback_listen_flag)]
    pub fleet_listen: SocketAddr,
    /// The least attribution accepted as blocked: weak, silence, rejected or witnessed.
    #[arg(long, value_name = "LEVEL", env = "GUARDPROBE_PROOF")]
    pub proof: Option<Attribution>,
    /// This pod's name: who it is among its replicas.
    #[arg(long, value_name = "NAME", env = "GUARDPROBE_POD")]
    pub pod: Option<String>,
    /// The node that this pod is on: what it answers to agents whose control it is.
    #[arg(long, value_name = "NAME", env = "GUARDPROBE_NODE")]
    pub node: Option<String>,
    /// This pod's namespace: where the Lease is.
    #[arg(long, value_name = "NAME", env = "GUARDPROBE_NAMESPACE")]
    pub namespace: Option<String>,
    /// For the lab: the agents, in place of the Kubernetes API.
    #[arg(long, hide = true, value_name = "NODE=ADDRESS", value_delimiter = ',')]
    pub listed: Vec<Listed>,
}

/// Runs the command.
pub fn run(args: &ReporterArgs, output: Output) -> ExitCode {
    let clock = Clock::start();
    runtime::raise_descriptor_limit();
    let done = configuration(args).and_then(|settings| {
        let runtime = runtime::single().map_err(|error| format!("guardprobe reporter: {error}"))?;
        runtime.block_on(run_as(args, settings, clock, output.clone())).map_err(|error| format!("guardprobe reporter: {error}"))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            output.tell(&message);
            ExitCode::from(names::EXIT_USAGE)
        }
    }
}

/// The configuration in force: the file or the flags.
fn configuration(args: &ReporterArgs) -> Result<Settings, String> {
    let mut settings = match &args.config {
        Some(path) => read(path)?,
        None if args.guard.is_empty() => {
            return Err(
                "guardprobe reporter: no guard to look after: expected --config FILE, or --guard NAMESPACE/NAME".to_owned()
            );
        }
        None => {
            let guard = |text: &String| parse::guard(text).map_err(|message| format!("--guard: {message}"));
            Settings {
                guards: args.guard.iter().map(guard).collect::<Result<_, _>>()?,
                proof: names::PROOF,
                rules: Rules::default(),
            }
        }
    };
    settings.proof = args.proof.unwrap_or(settings.proof);
    Ok(settings)
}

fn read(path: &Path) -> Result<Settings, String> {
    parse::parse_bytes(&settings::bytes_of(path)?).map_err(|problems| problems.in_file(settings::shown(path)).to_string())
}

async fn run_as(args: &ReporterArgs, settings: Settings, clock: Clock, output: Output) -> Result<(), String> {
    let cluster = if args.listed.is_empty() { Some(Cluster::find().await?) } else { None };
    let me = args.pod.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| format!("reporter-{:08x}", fastrand::u32(..)));
    let namespace = args.namespace.clone().or_else(mounted_namespace).unwrap_or_else(|| names::NODE_EVENTS_NAMESPACE.to_owned());
    let guards: Vec<GuardName> = settings.guards.iter().map(|guard| guard.name.clone()).collect();
    let house = Arc::new(House::new(settings, me, args.node.clone(), (clock, output.clone())));
    let network = serve::bind(args.listen).await.map_err(|error| error.to_string())?;
    let loopback = serve::bind(args.fleet_listen).await.map_err(|error| error.to_string())?;
    tracing::info!(listen = %network.addr, fleet = %loopback.addr, reporter = house.me(), "looking after {}", house.introduction());
    if !loopback.addr.ip().is_loopback() {
        tracing::warn!(fleet = %loopback.addr, "the fleet is told on the network: whoever reaches this port sees which doors are open");
    }
    let limits = Limits { connections: names::REPORTER_CONNECTIONS_MAX, ..Limits::default() };
    // Whoever comes by a port-forward comes from here, and a browser comes with six connections.
    let forwarded = Limits { per_source: names::CONNECTIONS_MAX, ..Limits::default() };
    let api = async {
        match &cluster {
            Some(cluster) => tokio::select! {
                () = follow::follow(cluster, &house) => Err("nothing left to follow".to_owned()),
                never = post::post(&house, async |act| post::write(cluster, &house, act).await) => never,
                never = lead::lead(cluster, &house, &namespace) => never,
            },
            None => listed::stand_in(&house, &output, &guards, &args.listed).await,
        }
    };
    tokio::select! {
        over = api => over,
        never = collect::collect(&house) => never,
        never = tick(&house) => never,
        never = network.serve_within(limits, Arc::new(site::Network(Arc::clone(&house)))) => never,
        never = loopback.serve_within(forwarded, Arc::new(site::Loopback(Arc::clone(&house), ask::Rounds::default()))) => never,
        asked = until_asked_to_end() => {
            if let Some(cluster) = &cluster {
                lead::give_up(cluster, &house, &namespace).await;
            }
            asked
        }
    }
}

fn mounted_namespace() -> Option<String> {
    let text = std::fs::read_to_string(names::NAMESPACE_FILE).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What changes by the passing of time alone is looked at every second.
async fn tick(house: &House) -> ! {
    let mut period = tokio::time::interval(names::FLEET_PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        period.tick().await;
        house.tick();
    }
}

async fn until_asked_to_end() -> Result<(), String> {
    let mut signals = Signals::catch().map_err(|error| error.to_string())?;
    signals.terminated().await;
    Ok(())
}
