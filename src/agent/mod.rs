//! `guardprobe agent`: every second, for months, on every node.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `life` | the startup window, rounds, sentinels: what is done when |
//! | `record` | what is known: written by the life, read by the site |
//! | `site` | what is answered to whoever asks |
//!
//! One thread does it all. Rounds and answers share it, and nothing on it waits for anybody: every wait has a deadline.
mod life;
mod record;
mod site;

use crate::probe::pod::{self, Pod};
use crate::probe::round::Prober;
use crate::process::clock::Clock;
use crate::process::output::Output;
use crate::process::runtime;
use crate::process::signals::Signals;
use crate::speaker::Speaker;
use crate::{serve, settings};
use clap::{Args, ValueEnum};
use guardprobe_core::model::config::Config;
use guardprobe_core::model::finding::Attribution;
use guardprobe_core::model::names;
use guardprobe_core::model::report::Role;
use life::Life;
use record::Record;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const AFTER: &str = "\
It runs until it is killed: on SIGTERM it goes on probing, so that what opens while a pod ends is on record and pages nobody; a second \
SIGTERM, or Ctrl-C, ends it. Exit status: 0 when it was asked to end, 2 usage or configuration, or when it cannot listen.

Standard output carries one JSON line for each transition, schema guardprobe.transition/v1; the log goes to standard error.

It answers GET /metrics, /v1/report, /livez and /readyz.";

/// Arguments of `agent`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct AgentArgs {
    /// Configuration file; without one the targets are imds and kube-api, with what a pod finds around itself.
    #[arg(short, long, value_name = "FILE", env = "GUARDPROBE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Inside the guard, or without its labels to prove that what the agent does not reach is alive.
    #[arg(long, value_enum, default_value_t = RoleArg::Agent, env = "GUARDPROBE_ROLE")]
    pub role: RoleArg,
    /// Where to answer: metrics, health and the report.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = names::LISTEN, env = "GUARDPROBE_LISTEN", value_parser = guardprobe_core::parse::config::listen_flag)]
    pub listen: SocketAddr,
    /// The least attribution accepted as blocked: weak, silence, rejected or witnessed (which only the reporter can tell).
    #[arg(long, value_name = "LEVEL", env = "GUARDPROBE_PROOF")]
    pub proof: Option<Attribution>,
}

/// The roles, as flags name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Wears the guard's labels and judges.
    Agent,
    /// Wears none, and says only what it reaches.
    Witness,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Agent => Role::Agent,
            RoleArg::Witness => Role::Witness,
        }
    }
}

/// Runs the command.
pub fn run(args: &AgentArgs, output: Output) -> ExitCode {
    let clock = Clock::start();
    let pod = Pod::look();
    let config = pod::allowed_here().and_then(|()| configuration(args, &pod));
    let config = match config {
        Ok(config) => config,
        Err(message) => return refuse(&output, &message),
    };
    runtime::raise_descriptor_limit();
    match run_as(args, config, pod, clock, output.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&output, &format!("guardprobe agent: {error}")),
    }
}

fn refuse(output: &Output, message: &str) -> ExitCode {
    output.tell(message);
    ExitCode::from(names::EXIT_USAGE)
}

/// The configuration in force, then what the flags say. A witness is in no hurry, whatever the agent's interval is.
fn configuration(args: &AgentArgs, pod: &Pod) -> Result<Config, String> {
    let mut config = settings::read(args.config.as_deref(), pod)?;
    config.proof = args.proof.unwrap_or(config.proof);
    if args.role == RoleArg::Witness {
        config.interval = names::WITNESS_INTERVAL.max(config.timeout);
    }
    Ok(config)
}

fn run_as(args: &AgentArgs, config: Config, pod: Pod, clock: Clock, output: Output) -> io::Result<()> {
    let runtime = runtime::single()?;
    let role = Role::from(args.role);
    let speaker = Speaker::new(&config, &pod, role);
    runtime.block_on(async {
        let bound = serve::bind(args.listen).await?;
        tracing::info!(listen = %bound.addr, guard = config.guard, boot = speaker.boot, "{}", introduction(&config, role));
        let prober = Prober::new(config.clone(), pod);
        let record = Arc::new(Record::new(&config, speaker, (clock, output), prober.blank(), prober.longest_round()));
        let life = Life { prober: &prober, record: &record, config: &config, clock, role };
        tokio::select! {
            never = life.live() => never,
            never = bound.serve(Arc::clone(&record)) => never,
            asked = until_asked_to_end(&record) => asked,
        }
    })
}

fn introduction(config: &Config, role: Role) -> String {
    let targets: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    let role = role.as_str();
    format!("{role} of {} every {:.1} s", targets.join(", "), config.interval.as_secs_f64())
}

/// The kubelet takes a pod's rules away around the time at which it asks it to end, in no certain order.
async fn until_asked_to_end(record: &Record) -> io::Result<()> {
    let mut signals = Signals::catch()?;
    if signals.terminated().await {
        record.asked_to_end();
        tracing::info!("asked to end: probing goes on until it is killed; what opens from now on is end exposure, not a breach");
        signals.terminated().await;
    }
    Ok(())
}
