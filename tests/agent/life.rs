//! The beginning of an agent, its end, and what happens when it does not run.
use super::common::agent::{Agent, IMDS, QUICK};
use super::common::facts::{assert_between, eventually, now, until};
use super::common::{World, own_namespace};
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::transition::Event;
use nix::sys::signal::Signal;
use std::process::Command;

/// A must-reach control, so that silence proves something.
const CONTROL: &str =
    "controls: [{name: alive, expect: must-reach, kind: dns, addresses: ['10.96.0.10:53', '[fd10:96::a]:53']}]\n";

fn started(window: &str) -> String {
    format!("guard: default/deny\ninterval: 1500ms\ntimeout: 1100ms\nstartup: {window}\n{IMDS}{CONTROL}")
}

#[test]
fn a_guard_that_comes_after_its_pod_is_startup_exposure_and_no_breach() {
    let world = World::new();
    world.populate();
    let agent = world.agent(&started("20s"));
    agent.line("imds", Event::Exposed);
    assert_eq!(agent.finding("imds"), "inconclusive: starting");
    assert_eq!(agent.get("/readyz").status, 503);
    world.guard();
    let target = agent.until_verdict("imds", Verdict::Blocked);
    assert!(target.startup_exposure_seconds > 0.0 && target.startup_exposure_seconds < 10.0, "{target:?}");
    assert_eq!((target.opening, target.recent.len()), (None, 0));
    let page = agent.metrics();
    assert_eq!(page.of("guardprobe_breaches_total", "imds"), 0.0);
    assert_eq!(page.of("guardprobe_startup_exposure_seconds", "imds"), target.startup_exposure_seconds);
    assert_eq!(agent.get("/readyz").status, 200);
}

#[test]
fn a_guard_that_never_comes_is_a_breach_that_began_with_the_process() {
    let world = World::new();
    world.populate();
    let before = now();
    let agent = world.agent(&started("3s"));
    let opening = agent.until_verdict("imds", Verdict::Breached).opening.unwrap();
    assert_between("the breach began", before, opening.started, agent.lines()[0].transition.time);
    let exposure = agent.target("imds").startup_exposure_seconds;
    assert!((1.0..=4.0).contains(&exposure), "{exposure}");
}

#[test]
fn the_window_closes_early_once_a_control_was_firm_and_every_address_was_blocked_ten_times() {
    let world = World::new();
    world.populate();
    world.guard();
    let agent = world.agent(&started("120s"));
    agent.until_verdict("imds", Verdict::Blocked);
    assert_eq!(agent.target("imds").startup_exposure_seconds, 0.0);
    assert!(agent.stderr().contains("settled=true"), "{}", agent.stderr());
}

#[test]
fn without_a_firm_control_silence_does_not_close_the_window() {
    let world = World::new();
    world.guard(); // and no resolver
    let agent = world.agent(&started("4s"));
    let tries = || agent.metrics().value("guardprobe_sentinels_total", &[("outcome", "timed_out"), ("family", "ipv4")]);
    until("twenty silent tries", tries, |tries| *tries >= 20.0);
    assert_eq!(agent.finding("imds"), "inconclusive: starting");
    agent.until_finding("imds", "inconclusive: control_failed");
    assert!(agent.stderr().contains("settled=false"), "{}", agent.stderr());
}

#[test]
fn what_opens_after_sigterm_is_end_exposure_and_no_breach() {
    let world = World::new();
    world.populate();
    world.guard();
    let mut agent = world.agent(&format!("{QUICK}{IMDS}"));
    agent.until_verdict("imds", Verdict::Blocked);
    agent.signal(Signal::SIGTERM);
    until("it says that it was asked to end", || agent.stderr(), |text| text.contains("asked to end"));
    world.unguard();
    let line = agent.line("imds", Event::Exposed);
    assert!(line.transition.end_exposure_seconds > 0.0, "{line:?}");
    assert_eq!(agent.finding("imds"), "inconclusive: ending");
    assert_eq!(agent.metrics().of("guardprobe_breaches_total", "imds"), 0.0);
    assert!(agent.runs());
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.status(), 0);
}

#[test]
fn ctrl_c_ends_it() {
    let world = World::new();
    let mut agent = world.agent(&format!("{QUICK}{IMDS}"));
    agent.signal(Signal::SIGINT);
    assert_eq!(agent.status(), 0);
}

#[test]
fn a_process_that_was_stopped_shows_nothing_blocked_until_a_round_has_ended() {
    let world = World::new();
    world.populate();
    world.guard();
    // Sentinels that are off, and a long interval: nothing but the next round can say anything new.
    let text = format!("guard: default/deny\ninterval: 4s\ntimeout: 1100ms\nsentinel: off\nstartup: 0s\n{IMDS}");
    let agent = world.agent(&text);
    agent.until_verdict("imds", Verdict::Blocked);
    let report = agent.next_round();
    let before = agent.rounds();
    agent.signal(Signal::SIGSTOP);
    let stopped = now();
    eventually("it was stopped for longer than a round vouches for", || {
        let seconds = now().duration_since(stopped).as_secs_f64();
        if seconds > 15.5 { Ok(()) } else { Err(format!("{seconds} s")) }
    });
    let waiting = agent.ask("/metrics");
    agent.signal(Signal::SIGCONT);
    let page = super::common::agent::Page(waiting.join().unwrap().unwrap().body);
    let rounds = page.value("guardprobe_rounds_total", &[]) as u64;
    let shown = page.verdict("imds");
    assert!(shown != "blocked" || rounds > before, "{shown} after {before} and {rounds} rounds");
    agent.rounds_later(2);
    let target = agent.until_verdict("imds", Verdict::Blocked);
    assert_eq!((target.recent.len(), target.opening), (0, None), "nothing is invented");
    let page = agent.metrics();
    let earned = |verdict| page.value("guardprobe_verdict_seconds_total", &[("verdict", verdict)]);
    assert!(earned("inconclusive") > 1.5, "the time in which no round came: {}", page.0);
    assert_eq!(earned("breached"), 0.0);
    assert!(agent.report().head.round > report.head.round);
}

#[test]
fn where_it_cannot_listen_it_says_so_and_ends_with_2() {
    let world = World::new();
    let _first = world.agent(&format!("{QUICK}{IMDS}"));
    let mut second = world.agent_with(&[], |command| command);
    assert_eq!(second.status(), 2);
    assert!(second.stderr().contains("cannot listen on [::]:9797"), "{}", second.stderr());
}

#[test]
fn a_bad_configuration_is_2_and_names_file_line_and_field() {
    let world = World::new();
    let file = world.file("bad.yaml", "targets: [{name: imds, kind: imdz}]\n");
    let mut agent = world.agent_with(&["-c", &file], |command| command);
    assert_eq!(agent.status(), 2);
    let said = agent.stderr();
    assert!(said.contains(&format!("{file}:1:")) && said.contains("targets[0].kind"), "{said}");
}

#[test]
fn in_the_forbidden_namespace_nothing_is_sent() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guardprobe"));
    let output = command
        .env_clear()
        .env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace())
        .args(["agent", "--listen", "127.0.0.1:0"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("forbids probing"));
}

#[test]
fn a_log_in_json_is_json_and_says_nothing_of_a_round() {
    let world = World::new();
    world.populate();
    world.guard();
    let file = world.file("guardprobe.yaml", &format!("{QUICK}{IMDS}"));
    let agent: Agent<'_> = world.agent_with(&["-c", &file, "--log-format", "json"], |command| command);
    agent.until_it_listens();
    agent.rounds_later(1);
    let said = agent.stderr();
    agent.rounds_later(3);
    assert_eq!(agent.stderr(), said, "three rounds later");
    for line in said.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}
