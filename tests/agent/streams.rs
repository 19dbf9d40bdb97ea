//! What an agent writes, and a reader that does not take it.
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
use super::common::World;
use super::common::agent::{Agent, IMDS, QUICK};
use super::common::facts::until;
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::transition::{Event, Line};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A pipe that is full: of empty lines.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = io::pipe().unwrap();
    let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    writer.write_all(&vec![b'\n'; size.try_into().unwrap()]).unwrap();
    (reader, writer.into())
}

/// For how long nobody reads: ten minutes in `GUARDPROBE_STUCK_SECONDS=600`.
fn stuck_for() -> Duration {
    let seconds = std::env::var("GUARDPROBE_STUCK_SECONDS").map(|seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(15))
}

/// Guards come and go, and rounds go on at their interval, though nobody reads. Returns how many breaches there were.
fn live(world: &World, agent: &Agent<'_>, lasting: Duration) -> usize {
    let began = Instant::now();
    let (first, mut turns) = (agent.rounds(), 0);
    while began.elapsed() < lasting {
        world.unguard();
        agent.until_verdict("imds", Verdict::Breached);
        world.guard();
        agent.until_verdict("imds", Verdict::Blocked);
        turns += 1;
    }
    let rounds = (agent.rounds() - first) as f64;
    let expected = began.elapsed().as_secs_f64() / 1.5;
    println!("{rounds} rounds in {:.1} s, {turns} breaches", began.elapsed().as_secs_f64());
    // A breach is followed by a round at once, so that there may be more.
    assert!(rounds >= 0.9 * expected - 1.0, "{rounds} rounds, expected {expected:.1}");
    assert!(agent.get("/v1/report").took < Duration::from_secs(1));
    turns
}

#[test]
fn a_reader_that_stops_delays_no_round_and_keeps_no_process_from_its_end() {
    let world = World::new();
    world.populate();
    world.guard();
    let ((stdout, to_stdout), (stderr, to_stderr)) = (full_pipe(), full_pipe());
    let config = world.file("guardprobe.yaml", &format!("{QUICK}proof: weak\n{IMDS}"));
    let mut agent = world.agent_that_writes_to(&["-c", &config], [to_stdout, to_stderr]);
    agent.until_verdict("imds", Verdict::Blocked);
    let turns = live(&world, &agent, stuck_for());
    assert!(agent.proc_status("RssAnon") < 20_000, "{} kB", agent.proc_status("RssAnon"));
    // Whoever reads again finds all lines, each of them whole.
    let lost = agent.metrics().value("guardprobe_lines_lost_total", &[("stream", "stdout")]) as usize;
    let lines = BufReader::new(stdout).lines().map(Result::unwrap).filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_str::<Line>(&line).unwrap());
    let opened = lines.filter(|line| line.transition.event == Event::Opened).take(turns.saturating_sub(lost)).count();
    assert_eq!(opened, turns.saturating_sub(lost));
    let mut log = BufReader::new(stderr).lines().map(Result::unwrap).filter(|line| !line.is_empty());
    assert!(log.next().unwrap().contains("agent of imds every 1.5 s"));
    // It ends when it is asked to, whoever reads.
    agent.signal(Signal::SIGTERM);
    sleep(Duration::from_millis(300));
    agent.signal(Signal::SIGTERM);
    let asked = Instant::now();
    assert_eq!(agent.status(), 0);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[test]
fn an_agent_ends_though_nobody_reads_and_counts_what_nobody_can_read() {
    let world = World::new();
    world.populate();
    world.guard();
    let ((stdout, to_stdout), (_stderr, to_stderr)) = (full_pipe(), full_pipe());
    let config = world.file("guardprobe.yaml", &format!("{QUICK}proof: weak\n{IMDS}"));
    let mut agent = world.agent_that_writes_to(&["-c", &config], [to_stdout, to_stderr]);
    agent.until_verdict("imds", Verdict::Blocked);
    drop(stdout);
    world.unguard();
    agent.until_verdict("imds", Verdict::Breached);
    let lost = |stream| agent.metrics().value("guardprobe_lines_lost_total", &[("stream", stream)]);
    until("the line of the breach is counted", || lost("stdout"), |lost| *lost >= 1.0);
    assert_eq!(lost("stderr"), 0.0, "it is kept");
    agent.signal(Signal::SIGINT);
    let asked = Instant::now();
    assert_eq!(agent.status(), 0);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}
