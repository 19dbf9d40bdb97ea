//! `guardprobe check`: here, now: one pass, and a second one where it would say silence.
#![expect(clippy::disallowed_methods, reason = "a round begins and ends at the edge")]
use crate::probe::pod::{self, Pod};
use crate::probe::round::Prober;
use crate::process::{runtime, terminal};
use crate::speaker::Speaker;
use crate::{settings, show};
use clap::{Args, ValueEnum};
use guardprobe_core::judge::finding::{self, Judged};
use guardprobe_core::judge::{self, history::Histories};
use guardprobe_core::model::config::{Config, Target};
use guardprobe_core::model::finding::{Attribution, Finding, Verdict};
use guardprobe_core::model::moment::Moment;
use guardprobe_core::model::names;
use guardprobe_core::model::report::{Report, Role, TargetReport};
use guardprobe_core::model::round::Round;
use guardprobe_core::parse::config as parse;
use jiff::Timestamp;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const AFTER: &str = "\
Examples:
  In any pod: are IMDS and the Kubernetes API blocked from here?
      guardprobe check
  The same, and wait a minute for a policy that is still on its way:
      guardprobe check --wait 60s
  The targets of a configuration, as test cases:
      guardprobe check -c guardprobe.yaml -o junit
  One address:
      guardprobe check --target vault=10.0.0.5:8200

Exit status: 0 all blocked, 1 breached, 2 usage or configuration, 3 not proven.";

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct CheckArgs {
    /// Configuration file; without one the targets are imds and kube-api, with what a pod finds around itself.
    #[arg(short, long, value_name = "FILE", env = "GUARDPROBE_CONFIG")]
    pub config: Option<PathBuf>,
    /// A quick question about one TCP address, such as vault=10.0.0.5:8200; replaces the targets. May be repeated.
    #[arg(long = "target", value_name = "NAME=HOST:PORT", value_parser = parse::target_flag)]
    pub targets: Vec<Target>,
    /// The least attribution accepted as blocked: weak, silence, rejected or witnessed (which only the reporter can tell).
    #[arg(long, value_name = "LEVEL", env = "GUARDPROBE_PROOF")]
    pub proof: Option<Attribution>,
    /// Where the guard may still be on its way (a fresh pod, a policy just applied): round after round until one is blocked, for at most
    /// that long, such as 60s. The last round is the result.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_flag)]
    pub wait: Option<Duration>,
    /// What to print.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Table, env = "GUARDPROBE_OUTPUT")]
    pub output: Output,
}

/// Formats of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// The report, schema guardprobe.report/v1.
    Json,
    /// For pipelines: a test case for each target.
    Junit,
}

/// Runs the command; the exit status is that of DESIGN §6.
pub fn run(args: &CheckArgs) -> ExitCode {
    let pod = Pod::look();
    let config = match configuration(args, &pod) {
        Ok(config) => config,
        Err(message) => return refuse(args.output, &message),
    };
    if let Err(message) = pod::allowed_here() {
        return refuse(args.output, &message);
    }
    let report = match rounds(&config, pod, args.wait) {
        Ok(report) => report,
        Err(error) => {
            let why = format!("not proven: local_error: this process cannot even begin to probe: {error}");
            terminal::say(&format!("guardprobe: {why}"));
            return write_error_document(args.output, &why, names::EXIT_NOT_PROVEN);
        }
    };
    match print(&report, args.output) {
        // Nobody reads any more (`guardprobe check | head`): the exit status is the answer.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            terminal::say(&format!("guardprobe: not proven: the result could not be written: {error}"));
            exit_status(report.verdict.max(Verdict::Inconclusive))
        }
        _ => exit_status(report.verdict),
    }
}

/// Without a round: programs get a document that says so, and people a sentence.
fn refuse(output: Output, message: &str) -> ExitCode {
    terminal::say(message.trim_end());
    write_error_document(output, message, names::EXIT_USAGE)
}

/// Writes the document of a check that could not begin; the exit status is given back.
pub fn write_error_document(output: Output, why: &str, status: u8) -> ExitCode {
    let document = match output {
        Output::Table => String::new(),
        Output::Json => show::json::no_report(why, status),
        Output::Junit => show::junit::no_answer("guardprobe check", why).unwrap_or_default(),
    };
    let _ = write(&document);
    ExitCode::from(status)
}

fn exit_status(verdict: Verdict) -> ExitCode {
    ExitCode::from(judge::verify::exit_status(verdict))
}

/// The configuration in force, then what the flags say.
fn configuration(args: &CheckArgs, pod: &Pod) -> Result<Config, String> {
    let mut config = settings::read(args.config.as_deref(), pod)?;
    if !args.targets.is_empty() {
        config.targets = args.targets.clone();
    }
    config.proof = args.proof.unwrap_or(config.proof);
    Ok(config)
}

/// Probes and judges: in one pass, or two where the first would say silence; or until everything is blocked or the time is up.
fn rounds(config: &Config, pod: Pod, wait: Option<Duration>) -> std::io::Result<Report> {
    let runtime = runtime::single()?;
    let prober = Prober::new(config.clone(), pod.clone());
    let waiting = Waiting::begin(config);
    let begun = Instant::now();
    let report = runtime.block_on(async {
        let mut warned = false;
        let mut before: Option<Pass> = None;
        loop {
            let began = Moment { wall: Timestamp::now(), up: begun.elapsed() };
            prober.begin_pass(before.is_some());
            let round = if warned { prober.round(&|_| {}).await } else { first_round(&prober, &waiting).await };
            warned = true;
            let pass = Pass { judged: judged(config, &round), round, began, ended: began.after(begun.elapsed() - began.up) };
            let report = report(config, &pod, before.as_ref(), &pass);
            if before.is_none() && says_silence(&pass.judged) {
                before = Some(pass);
                continue;
            }
            let left = wait.map_or(Duration::ZERO, |wait| wait.saturating_sub(begun.elapsed()));
            if report.verdict == Verdict::Blocked || left.is_zero() {
                return report;
            }
            before = None;
            waiting.clear();
            tracing::info!("not blocked yet, {:.0} s left: {}", left.as_secs_f64(), standing(&report));
            tokio::time::sleep(names::CHECK_PAUSE.min(left)).await;
        }
    });
    // A file on a disk that does not answer may still be on its way: nobody waits for it.
    runtime.shutdown_background();
    Ok(report)
}

/// One pass over all targets and controls.
struct Pass {
    round: Round,
    /// What it alone says of each target.
    judged: Vec<Judged>,
    began: Moment,
    ended: Moment,
}

/// The first pass, with the warnings about the configuration that belong before any result.
async fn first_round(prober: &Prober, waiting: &Waiting) -> Round {
    let (round, files, controls) =
        tokio::join!(prober.round(&|_| {}), prober.unusable_files(), prober.connecting_negative_controls());
    let warnings: Vec<String> = files.into_iter().chain(controls).collect();
    if !warnings.is_empty() {
        waiting.clear();
    }
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    round
}

fn judged(config: &Config, round: &Round) -> Vec<Judged> {
    round.targets.iter().map(|target| finding::judge(target, &round.controls, config.proof)).collect()
}

fn says_silence(judged: &[Judged]) -> bool {
    judged.iter().any(|judged| judged.finding == Finding::Blocked(Attribution::Silence))
}

/// How each target stands, in one line.
fn standing(report: &Report) -> String {
    let one = |target: &TargetReport| format!("{} {} ({})", target.name, target.verdict.as_str(), target.reason.as_str());
    report.targets.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A line on a terminal while nothing else is to be seen; gone when dropped.
struct Waiting(bool);

impl Waiting {
    fn begin(config: &Config) -> Self {
        let terminal = terminal::takes_escapes();
        if terminal {
            let targets: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
            eprint!("trying {} for up to {:.1} s …", targets.join(", "), config.timeout.as_secs_f64());
        }
        Waiting(terminal)
    }

    fn clear(&self) {
        if self.0 {
            eprint!("{}", terminal::clear_line());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The report of the newest pass, and of the one before it where that was made to confirm silence: a history of just these.
fn report(config: &Config, pod: &Pod, before: Option<&Pass>, newest: &Pass) -> Report {
    let speaker = Speaker::new(config, pod, Role::Agent);
    let names = config.targets.iter().map(|target| target.name.clone());
    let first = before.unwrap_or(newest);
    let mut histories = Histories::new(&speaker.boot, first.began, config.interval, names);
    for (index, target) in newest.round.targets.iter().enumerate() {
        let mut found = newest.judged[index].clone();
        if let Some(pass) = before {
            // Of the first pass only a breach stays, and what keeps silence from being confirmed.
            let earlier = &pass.judged[index];
            if earlier.finding.verdict() == Verdict::Breached {
                histories.finished(index, pass.began, pass.ended, &pass.round.targets[index], earlier);
            }
            found = finding::confirm(earlier, found);
        }
        histories.finished(index, newest.began, newest.ended, target, &found);
    }
    let head = speaker.head(1, (first.began.wall, newest.ended.wall), newest.round.endpoints_revision.clone());
    judge::report::agent(head, &histories, &newest.round)
}

fn print(report: &Report, output: Output) -> std::io::Result<()> {
    let text = match output {
        Output::Table => show::table::table(report, terminal::width()),
        Output::Json => show::json::json(report),
        Output::Junit => show::junit::junit(report).map_err(std::io::Error::other)?,
    };
    write(&text)
}

fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
