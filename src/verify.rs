//! `guardprobe verify`: the whole fleet, from a laptop or a pipeline. Waits until every node has finished a round that began after the question.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `door`, `https` | the ways to a reporter: a URL, or a port-forward |
//! | `open` | the status page, in a browser |
//! | `waiting` | what a person sees meanwhile |
mod door;
mod https;
mod open;
mod waiting;

use crate::process::clock::Clock;
use crate::process::runtime;
use crate::process::signals::Signals;
use crate::process::terminal;
use crate::show::clean;
use crate::show::junit::no_answer;
use crate::show::verify::{self as show, Told};
use clap::{Args, ValueEnum};
use door::{Closed, Direct, Door, Way};
use guardprobe_core::judge::verify::{Question, Scope, exit_status};
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::finding::{Attribution, Verdict};
use guardprobe_core::model::names;
use guardprobe_core::model::verified::ToldRow;
use guardprobe_core::parse::config as parse;
use jiff::Timestamp;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use waiting::Waiting;

/// Exit status of a program that was interrupted (128 and the number of SIGINT).
const INTERRUPTED: u8 = 130;

const AFTER: &str = "\
Examples:
  After an upgrade, with the kubeconfig in force:
      guardprobe verify
  In a pipeline, for people and for programs:
      guardprobe verify --context production --wait 5m -o junit > verify.xml
  One node, and nothing less than the witness's proof:
      guardprobe verify --node ip-10-0-1-23.ec2.internal --proof witnessed
  A reporter that is reachable otherwise, such as through a port-forward of your own:
      guardprobe verify --url http://127.0.0.1:9799
  One behind an ingress, with a token:
      guardprobe verify --url https://guardprobe.example --bearer-token-file token
  The status page, in a browser:
      guardprobe verify --open
  As a plugin of kubectl (a link named kubectl-guardprobe to this program, on the PATH):
      kubectl guardprobe

Which nodes owe an answer is settled when it begins: all but those that are excused then (new, not ready, going) and those where no agent can be. Each has to show a \
round that began after that; a report from before never counts, and no two machines' clocks are compared. An agent has a round each 15 s, and a reporter hears of it within 30 s. \
One that proves nothing yet, such as an agent that has just started, is asked again until the time is up.

It needs list of pods, and get and create of pods/portforward, in the reporter's namespace, nothing else.

Exit status: 0 all blocked, 1 breached, 2 usage, configuration or permissions, 3 not proven: a node was late or proves nothing, there is no agent, or no reporter was reached. --open: 0 once the page was there, else as these.";

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct VerifyArgs {
    /// Only this guard, namespace/name; may be given again.
    #[arg(long, value_name = "GUARD", value_delimiter = ',')]
    pub guard: Vec<GuardName>,
    /// Only this node; may be given again.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub node: Vec<String>,
    /// The least attribution accepted as blocked, of every target: weak, silence, rejected or witnessed. The reporter's own where it is left out; it can only ask for more than that.
    #[arg(long, value_name = "LEVEL", env = "GUARDPROBE_PROOF")]
    pub proof: Option<Attribution>,
    /// How long to wait for the last node to answer, and to prove something, such as 5m.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse::duration_flag)]
    pub wait: Duration,
    /// Ask again and again, and print whenever the answer is another one, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Instead of verifying: show the reporter's status page in a browser, by a port-forward that lasts until Ctrl-C.
    #[arg(long, conflicts_with_all = ["watch", "guard", "node"])]
    pub open: bool,
    /// Where a reporter tells its fleet, instead of a port-forward: http://HOST:PORT, or https://HOST:PORT behind an ingress.
    #[arg(long, value_name = "URL", env = "GUARDPROBE_URL", value_parser = door::url)]
    pub url: Option<door::Url>,
    /// PEM file of the CA that an https URL's certificate must be of; by default those that this machine trusts.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca_file: Option<PathBuf>,
    /// File with a bearer token that is sent to an https URL.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub bearer_token_file: Option<PathBuf>,
    /// The namespace of the reporter.
    #[arg(short, long, value_name = "NAME", default_value = names::NAMESPACE, conflicts_with = "url")]
    pub namespace: String,
    /// A context of the kubeconfig.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pub context: Option<String>,
    /// What to print.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Table, env = "GUARDPROBE_OUTPUT")]
    pub output: Output,
}

/// Formats of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// Schema guardprobe.verify/v1.
    Json,
    /// For pipelines: a test case for each node and target.
    Junit,
    /// For a comment on a pull request.
    Markdown,
}

/// Runs the command; the exit status is that of DESIGN §6.
pub fn run(args: &VerifyArgs) -> ExitCode {
    let clock = Clock::start();
    // The page is for people, whatever the format.
    let output = if args.open { Output::Table } else { args.output };
    let shown = Cell::new(false);
    let runtime = match runtime::single() {
        Ok(runtime) => runtime,
        Err(error) => return end(output, &Closed::NotProven(error.to_string())),
    };
    let status = runtime.block_on(async {
        let mut signals = match Signals::catch() {
            Ok(signals) => signals,
            Err(error) => return end(output, &Closed::NotProven(error.to_string())),
        };
        tokio::select! {
            done = verify(args, &clock, &shown) => done.unwrap_or_else(|closed| end(output, &closed)),
            _ = signals.terminated() => {
                if shown.get() {
                    return ExitCode::SUCCESS; // that is how the page ends
                }
                let more = if args.watch { "" } else { ", and nothing is proved" };
                terminal::say(&format!("{}guardprobe verify: interrupted; nothing was left behind{more}", terminal::clear_line()));
                ExitCode::from(INTERRUPTED)
            }
        }
    });
    // A name that is still being looked up is nobody's any more.
    runtime.shutdown_background();
    status
}

/// Without an answer: programs get a document that says so, and people a sentence.
fn end(output: Output, closed: &Closed) -> ExitCode {
    terminal::say(&format!("guardprobe verify: {}", clean(&closed.to_string())));
    let status = match closed {
        Closed::Refused(_) | Closed::Unauthenticated(_) => names::EXIT_USAGE,
        Closed::NotProven(_) | Closed::NotReady(_) => names::EXIT_NOT_PROVEN,
    };
    write_error_document(output, &closed.to_string(), status)
}

/// Writes the document of a question without an answer; the exit status is given back.
pub fn write_error_document(output: Output, why: &str, status: u8) -> ExitCode {
    let document = match output {
        Output::Table => String::new(),
        Output::Json => show::no_document(why, status),
        Output::Junit => no_answer("guardprobe verify", why).unwrap_or_default(),
        Output::Markdown => show::no_markdown(why),
    };
    let _ = write(&document);
    ExitCode::from(status)
}

async fn verify(args: &VerifyArgs, clock: &Clock, shown: &Cell<bool>) -> Result<ExitCode, Closed> {
    let way = match &args.url {
        Some(url) => Way::Direct(Direct::new(url, args.ca_file.as_deref(), args.bearer_token_file.as_deref())?),
        None => Way::find(&args.namespace, args.context.as_deref(), args.wait).await?,
    };
    let mut door = Door::new(way);
    if args.open {
        // Whoever is not permitted, or finds nobody there, is told so here and not by a browser.
        first_look(args, clock, clock.now().up, &mut door, &mut Waiting::begin()).await?;
        return open::page(door, || shown.set(true)).await.map(|()| ExitCode::SUCCESS);
    }
    let (mut before, mut without) = (None::<Vec<show::PlaceState>>, String::new());
    loop {
        let (question, asked) = match ask(args, clock, &mut door).await {
            Err(Closed::NotProven(why) | Closed::NotReady(why)) if args.watch => {
                // Each is told once, and what is known afterwards is told again.
                if without != why {
                    terminal::say(&format!("not proven: {}", clean(&why)));
                }
                (before, without) = (None, why);
                sleep(names::VERIFY_PERIOD).await;
                continue;
            }
            asked => asked?,
        };
        let outcome = question.outcome();
        let reporter = door.reporter().to_owned();
        let told = Told { outcome: &outcome, asked, reporter: &reporter };
        // What changes while nothing happens is only when it was asked.
        let standings = show::standings(&outcome);
        if before.as_ref() != Some(&standings) {
            let failed = |error: String| Closed::NotProven(format!("the result could not be written: {error}"));
            let text = match (&before, args.output) {
                (Some(before), Output::Table) => show::changes(before, &told, terminal::width()),
                _ => print(args.output, &told).map_err(|error| failed(error.to_string()))?,
            };
            if let Err(error) = write(&text) {
                // Nobody reads any more (`guardprobe verify | head`): the exit status is the answer. What was open stays so either way.
                let verdict = if error.kind() == ErrorKind::BrokenPipe {
                    outcome.verdict
                } else {
                    outcome.verdict.max(Verdict::Inconclusive)
                };
                terminal::say(&format!("guardprobe verify: the result could not be written: {error}"));
                return Ok(ExitCode::from(exit_status(verdict)));
            }
        }
        if !args.watch {
            return Ok(ExitCode::from(outcome.exit_status()));
        }
        (before, without) = (Some(standings), String::new());
        sleep(names::VERIFY_PERIOD).await;
    }
}

/// One question, until all have answered or the time is up.
async fn ask(args: &VerifyArgs, clock: &Clock, door: &mut Door) -> Result<(Question, Timestamp), Closed> {
    let (began, asked) = (clock.now(), clock.now().up);
    let left = |clock: &Clock| time_left(args, clock, asked);
    let mut waiting = Waiting::begin();
    let first = first_look(args, clock, asked, door, &mut waiting).await?;
    let scope = Scope {
        guards: args.guard.iter().map(GuardName::to_string).collect(),
        nodes: args.node.iter().cloned().collect::<BTreeSet<String>>(),
    };
    let known: BTreeSet<String> = first.iter().map(|row| row.spot.node.clone()).collect();
    let guards: BTreeSet<String> = first.iter().map(|row| row.spot.guard.clone()).collect();
    is_there("guard", &scope.guards, &guards)?;
    is_there("node", &scope.nodes, &known)?;
    let mut question = Question::new(scope, args.proof, asked, first);
    let nobody = question.nobody();
    if question.progress().expected == 0 || !nobody.is_empty() {
        let of = if nobody.is_empty() { String::new() } else { format!(" of {}", nobody.join(", ")) };
        return Err(Closed::NotProven(format!(
            "no agents{of}: no node owes an answer. All are excused (new, not ready) or left out, or the DaemonSet is not there, or selects no node: \
             kubectl get daemonset -A -l guardprobe.dev/role=agent"
        )));
    }
    loop {
        let (sent, mut silent) = (clock.now().up, None);
        match look(door, left(clock)).await {
            // A reporter that has just taken over knows of nobody yet, and says so.
            Ok(told) if !told.pending.is_empty() => silent = Some("the reporter has just started".to_owned()),
            Ok(told) => question.hear(sent, told.rows),
            // It may be rolled over meanwhile: it is asked again until the time is up, and then what was heard is told.
            Err(closed) if left(clock).is_zero() => {
                terminal::say(&format!("at the end the reporter did not answer any more: {}", clean(closed.why())));
            }
            Err(closed) => {
                silent = Some(closed.why().to_owned());
            }
        }
        let progress = question.progress();
        // Who watches is told of what proves nothing as well, and asks again anyhow.
        let enough = if args.watch || question.is_breached() { progress.answered } else { progress.settled };
        let all_answered = enough == progress.expected && question.nobody().is_empty();
        if all_answered || left(clock).is_zero() {
            return Ok((question, began.wall));
        }
        match silent {
            Some(why) => waiting.say(&format!("{why}; {} s left", left(clock).as_secs())),
            None => waiting.progress(progress, question.waiting(), left(clock)),
        }
        // A fleet of many pages is not asked for each second.
        sleep((names::VERIFY_PERIOD * door.pages()).min(left(clock))).await;
    }
}

/// The first answer of a reporter that knows the cluster, within the time there is.
async fn first_look(
    args: &VerifyArgs,
    clock: &Clock,
    asked: Duration,
    door: &mut Door,
    waiting: &mut Waiting,
) -> Result<Vec<ToldRow>, Closed> {
    loop {
        let left = time_left(args, clock, asked);
        let why = match look(door, left).await {
            Ok(told) if told.pending.is_empty() => return Ok(told.rows),
            Ok(told) => {
                format!("the reporter has just started, and does not know the cluster yet: pending: {}", told.pending.join("; "))
            }
            // Another replica may answer.
            Err(Closed::NotProven(why) | Closed::NotReady(why)) => why,
            refused => refused.map(|_| String::new())?,
        };
        if time_left(args, clock, asked).is_zero() || args.wait < names::VERIFY_PERIOD || door.tried_all() {
            return Err(Closed::NotProven(why));
        }
        waiting.say(&why);
        sleep(names::VERIFY_PERIOD).await;
    }
}

fn time_left(args: &VerifyArgs, clock: &Clock, asked: Duration) -> Duration {
    args.wait.saturating_sub(clock.now().up.saturating_sub(asked))
}

/// The fleet, within the time that is left or that one call may take.
async fn look(door: &mut Door, left: Duration) -> Result<door::Told, Closed> {
    let most = left.max(names::API_TIMEOUT);
    timeout(most, door.fleet())
        .await
        .unwrap_or_else(|_| Err(Closed::NotProven(format!("the reporter has not told its fleet within {} s", most.as_secs()))))
}

/// What was named must be there: a slip would otherwise say that nothing is wrong with nothing.
fn is_there(what: &str, named: &BTreeSet<String>, known: &BTreeSet<String>) -> Result<(), Closed> {
    let missing: Vec<&str> = named.difference(known).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = known.iter().cloned().collect();
    let there = show::some_of(&known).unwrap_or_else(|| "none".to_owned());
    Err(Closed::Refused(format!("the reporter knows no {what} {}: there are {there}", missing.join(", "))))
}

fn print(output: Output, told: &Told<'_>) -> Result<String, quick_junit::SerializeError> {
    Ok(match output {
        Output::Table => show::table(told, terminal::width()),
        Output::Json => show::document(told),
        Output::Junit => show::junit(told)?,
        Output::Markdown => show::markdown(told),
    })
}

fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
