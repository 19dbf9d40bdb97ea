//! What a person sees of a lab.
#![expect(clippy::disallowed_methods, reason = "the lab tells how long things took")]
use super::agent::Agent;
use super::say;
use super::scenario::{self, CATALOGUE, Outcome};
use super::setup::Setup;
use super::world::World;
use anstream::{eprintln, print};
use anstyle::{AnsiColor, Style};
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome as Ended};
use guardprobe_core::model::report::{Report, TargetReport};
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How many situations are judged at the same time: each mostly waits.
const AT_ONCE: usize = 8;

/// What the story's agent is told. Its rounds are closer together than usual, so that nobody has to wait for the end of a breach.
const CONFIG: &str = "interval: 3s\ntargets: [{name: imds, kind: imds}, {name: kube-api, kind: kube-api}]\n";
/// How long the agent may take to see what happened: the startup window, or two rounds and what is in their way.
const PATIENCE: Duration = Duration::from_secs(30);

/// Guard up, guard gone, guard back, each seen by the real agent.
pub(super) fn story(once: bool) -> io::Result<ExitCode> {
    let start = Instant::now();
    let mut world = introduce()?;
    let agent = Agent::start(&world, CONFIG)?;

    heading("The guard is up, and the agent starts.");
    let began = Instant::now();
    let first = agent.wait_for(&world, PATIENCE, |report| report.verdict == Verdict::Blocked)?;
    say!("  {}, {} after its start:", says(&first), took(began.elapsed()));
    show(&first);
    pause(once, "Press Enter to take the guard away")?;

    heading("The guard is gone: somebody deleted the policy.");
    world.guard_down()?;
    let gone = Instant::now();
    let second = agent.wait_for(&world, PATIENCE, |report| report.verdict == Verdict::Breached)?;
    say!("  {}, {} later:", says(&second), took(gone.elapsed()));
    // That was told in the midst of a round; its end shows everything.
    show(&agent.wait_for(&world, Duration::from_secs(5), |report| report.head.started > second.head.started)?);
    pause(once, "Press Enter to bring it back")?;

    heading("The guard is back.");
    world.guard_up()?;
    let back = Instant::now();
    let third = agent.wait_for(&world, PATIENCE, |report| report.verdict == Verdict::Blocked)?;
    say!("  {}, {} later: two blocked rounds close a breach.", says(&third), took(back.elapsed()));
    third.targets.iter().for_each(on_record);

    say!();
    let verdicts = [&first, &second, &third].map(|report| report.verdict);
    say!("{}   in {}", verdicts.map(|verdict| verdict.as_str()).join(" → "), took(start.elapsed()));
    if verdicts == [Verdict::Blocked, Verdict::Breached, Verdict::Blocked] {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("guardprobe lab: expected blocked → breached → blocked");
    Ok(ExitCode::from(names::EXIT_LAB_UNEXPECTED))
}

/// Builds the world that is played in, and says what it is.
fn introduce() -> io::Result<World> {
    let start = Instant::now();
    say!("A node in a box: network namespaces on this machine, and nothing leaves it.\n");
    say!("  pod ── node: kube-proxy, then the guard ── vpc: IMDS (IPv4, IPv6), two API endpoints, DNS");
    let world = World::build(Setup::default())?;
    say!("  built in {}; to look inside while it stands: {}\n", took(start.elapsed()), world.way_in());
    Ok(world)
}

fn heading(title: &str) {
    let bold = Style::new().bold();
    say!("{bold}{title}{bold:#}");
}

fn says(report: &Report) -> String {
    let style = colour(report.verdict);
    format!("the agent says {style}{}{style:#}", report.verdict.as_str())
}

fn show(report: &Report) {
    report.targets.iter().for_each(target);
    say!();
}

/// The breach that is over now, as it stays in the report.
fn on_record(target: &TargetReport) {
    let Some(closed) = target.recent.first() else { return };
    let open_for = (closed.ended - closed.opening.started).total(jiff::Unit::Second).unwrap_or_default();
    let (layer, evidence) = (closed.opening.layer.as_str(), closed.opening.evidence.as_str());
    say!("            on record: {} was open for {open_for:.1} s, as far as {layer}: {evidence}", target.name);
}

fn target(target: &TargetReport) {
    let style = colour(target.verdict);
    say!("  {style}{:<8}{style:#}  {}: {}", target.verdict.as_str(), target.name, target.reason.as_str());
    target.observations.iter().for_each(|seen| say!("            {:<24}  {}", seen.address.to_string(), how_far(seen)));
}

fn how_far(seen: &Observation) -> String {
    let detail = seen.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let after = took(Duration::from_secs_f64(seen.latency_seconds));
    match seen.outcome {
        Ended::Connected => format!("connected after {after}, got as far as {}{detail}", seen.layer.as_str()),
        Ended::TimedOut => format!("silence for {after}{detail}"),
        ended => format!("{} after {after}{detail}", ended.as_str()),
    }
}

pub(super) fn colour(verdict: Verdict) -> Style {
    let (colour, bold) = match verdict {
        Verdict::Blocked => (AnsiColor::Green, false),
        Verdict::Inconclusive => (AnsiColor::Yellow, false),
        Verdict::Breached => (AnsiColor::Red, true),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    if bold { style.bold() } else { style }
}

pub(super) fn took(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Waits for a person, where there is one.
fn pause(once: bool, prompt: &str) -> io::Result<()> {
    if once || !io::stdin().is_terminal() {
        return Ok(());
    }
    print!("{prompt} ");
    io::stdout().flush()?;
    io::stdin().lock().read_line(&mut String::new())?;
    say!();
    Ok(())
}

/// Names the catalogue.
pub(super) fn list() -> ExitCode {
    let width = CATALOGUE.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    CATALOGUE.iter().for_each(|scenario| say!("{:<width$}  {}", scenario.name, scenario.about));
    ExitCode::SUCCESS
}

/// Judges situations, some at a time, and prints a table.
pub(super) fn scenarios(chosen: &[String]) -> io::Result<ExitCode> {
    let start = Instant::now();
    let width = chosen.iter().map(String::len).max().unwrap_or(0);
    let mut wrong = 0;
    for group in chosen.chunks(AT_ONCE) {
        let outcomes = std::thread::scope(|scope| {
            let running: Vec<_> = group.iter().map(|name| scope.spawn(|| scenario::run_in_child(name))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread died"))))
                .collect::<Vec<_>>()
        });
        for (name, outcome) in group.iter().zip(outcomes) {
            let outcome = match &outcome {
                Ok(first) if scenario::only_lacks_proof(name, first) => again(name, width, first),
                _ => outcome,
            };
            let report = outcome.as_ref().ok().map(|outcome| outcome.report.clone());
            wrong += usize::from(!row(name, width, outcome));
            if let (Some(report), 1) = (report, chosen.len()) {
                in_full(name, &report);
            }
        }
    }
    say!("\n{} judged as expected, {wrong} not, in {}", chosen.len() - wrong, took(start.elapsed()));
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(names::EXIT_LAB_UNEXPECTED) })
}

/// Plays a situation once more, alone. On a busy machine one lost packet makes `unproved` of `blocked`; nothing else is tried twice.
fn again(name: &str, width: usize, first: &Outcome) -> io::Result<Outcome> {
    say!("     {name:<width$}  once more, alone: {}", first.wrong.join("; "));
    scenario::run_in_child(name)
}

/// A situation that was asked for by its name: what it is, what was expected, and what was seen.
fn in_full(name: &str, report: &Report) {
    let Some((about, expect)) = scenario::about(name) else { return };
    let expected: Vec<String> = expect.iter().map(|(target, finding)| format!("{target} {finding}")).collect();
    say!("\n  {about}\n  expected: {}\n", expected.join(", "));
    for of in &report.targets {
        target(of);
        say!("            {}", of.why);
    }
}

/// One line of the table; true when all was judged as expected.
fn row(name: &str, width: usize, outcome: io::Result<Outcome>) -> bool {
    let (good, bad) =
        (Style::new().fg_color(Some(AnsiColor::Green.into())), Style::new().fg_color(Some(AnsiColor::Red.into())).bold());
    match outcome {
        Err(error) => {
            say!("{bad}NOT{bad:#}  {name:<width$}  {error}");
            false
        }
        Ok(outcome) if outcome.wrong.is_empty() => {
            say!("{good}ok {good:#}  {name:<width$}  {:>4.1} s  {}", outcome.seconds, outcome.judged.join(", "));
            true
        }
        Ok(outcome) => {
            say!("{bad}NOT{bad:#}  {name:<width$}  {:>4.1} s  {}", outcome.seconds, outcome.judged.join(", "));
            outcome.wrong.iter().for_each(|wrong| say!("     {:<width$}  {wrong}", ""));
            false
        }
    }
}
