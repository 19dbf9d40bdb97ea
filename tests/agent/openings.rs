//! A guard that falls, and one that lets a single connection through.
use super::common::World;
use super::common::agent::{IMDS, QUICK};
use super::common::facts::{after, assert_between, now, until};
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::transition::{Event, Told};
use serde_json::Value;
use std::time::Duration;

/// Seconds since 1970, as metrics have them.
fn unix(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_sentinel_sees_a_guard_fall_long_before_the_next_round_and_leaves_an_open_door_alone() {
    let world = World::new();
    world.populate();
    world.guard();
    let shut = "{name: vault, kind: tcp, addresses: [\"10.80.0.5:8200\"]}";
    let targets = format!("targets: [{{name: imds, kind: imds}}, {shut}]\n");
    let agent =
        world.agent(&format!("guard: default/deny\ninterval: 10m\ntimeout: 1100ms\nsentinel: 500ms\nstartup: 0s\n{targets}"));
    agent.until_verdict("imds", Verdict::Blocked);
    let removed = now();
    world.nft("insert rule inet guard in ip daddr 169.254.169.254 accept");
    let opened = agent.line("imds", Event::Opened);
    assert_between("the line was written", removed, opened.transition.time, after(removed, Duration::from_secs(2)));

    let sentinels = |target| agent.metrics().values("guardprobe_sentinels_total", &[("target", target)]).iter().sum::<f64>();
    until("its round has ended", || agent.rounds(), |rounds| *rounds == 2);
    let (at_open, at_shut) = (sentinels("imds"), sentinels("vault"));
    until("sentinels go on where it is shut", || sentinels("vault"), |count| *count >= at_shut + 3.0);
    assert_eq!(sentinels("imds"), at_open, "in a breach packets arrive");
}

#[test]
fn a_guard_that_falls_is_told_within_seconds_and_one_that_is_back_closes_the_breach() {
    let world = World::new();
    world.populate();
    world.guard();
    let interval = Duration::from_secs(3);
    let agent = world.agent(&format!("guard: default/deny\ninterval: 3s\ntimeout: 1100ms\nstartup: 0s\n{IMDS}"));
    let known = agent.until_verdict("imds", Verdict::Blocked);
    let head = agent.report().head;
    assert_eq!((known.opening, known.recent.len()), (None, 0));
    let waiting = agent.ask(&format!("/v1/report?after={}.{}&wait=20s", head.boot, head.round));

    let removed = now();
    world.unguard();
    let opened = agent.line("imds", Event::Opened);
    let answer = waiting.join().unwrap().unwrap();
    assert_eq!(answer.report().verdict, Verdict::Breached, "the answer to the blocking query");
    assert!(answer.took < Duration::from_secs(10), "a blocking query is answered at once: {:?}", answer.took);
    let Some(Told::Open(opening)) = opened.transition.opening else { panic!("{opened:?}") };
    assert_between("the breach began", removed, opening.started, after(removed, Duration::from_secs(3)));
    assert_eq!(
        (opened.guard.as_str(), opened.node.as_deref(), opened.pod.as_deref()),
        ("default/deny", Some("node-1"), Some("agent-1"))
    );
    assert_eq!((opened.transition.verdict, opened.transition.previous_verdict), (Verdict::Breached, Verdict::Blocked));
    let page = agent.metrics();
    assert_eq!(page.verdict("imds"), "breached");
    assert_eq!(page.of("guardprobe_breaches_total", "imds"), 1.0);
    assert!((page.of("guardprobe_last_breach_start_time_seconds", "imds") - unix(opening.started)).abs() < 0.01);
    assert_eq!(page.of("guardprobe_last_breach_end_time_seconds", "imds"), 0.0);

    let restored = now();
    world.guard();
    let closed = agent.line("imds", Event::Closed);
    let Some(Told::Closed(record)) = closed.transition.opening else { panic!("{closed:?}") };
    assert_between("the breach ended", restored, record.ended, after(restored, interval));
    assert_eq!((record.opening.id.as_str(), record.transient), (opening.id.as_str(), false));
    let target = agent.until_verdict("imds", Verdict::Blocked);
    assert_eq!((target.opening, target.recent, target.since), (None, vec![record.clone()], record.ended));
    let page = agent.metrics();
    assert_eq!((page.verdict("imds").as_str(), page.of("guardprobe_breaches_total", "imds")), ("blocked", 1.0));
    assert!((page.of("guardprobe_last_breach_end_time_seconds", "imds") - unix(record.ended)).abs() < 0.01);
}

#[test]
fn the_line_of_a_transition_has_these_keys_and_no_others() {
    let world = World::new();
    world.populate();
    let agent = world.agent(&format!("{QUICK}{IMDS}"));
    agent.line("imds", Event::Opened);
    world.guard();
    agent.line("imds", Event::Closed);
    let lines: Vec<Value> = agent.stdout().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        "boot",
        "end_exposure_seconds",
        "event",
        "guard",
        "node",
        "opening",
        "pod",
        "previous_reason",
        "previous_verdict",
        "reason",
        "round",
        "schema",
        "startup_exposure_seconds",
        "target",
        "time",
        "verdict",
        "why",
    ];
    for line in &lines {
        assert_eq!((keys(line), line["schema"].as_str()), (expected.to_vec(), Some("guardprobe.transition/v1")), "{line}");
    }
    let opening = |event: &str| &lines.iter().find(|line| line["event"] == event).unwrap()["opening"];
    let open = ["addresses", "evidence", "id", "last_connected", "layer", "started"];
    assert_eq!(keys(opening("opened")), open);
    assert_eq!(
        keys(opening("closed")),
        ["addresses", "attribution", "ended", "evidence", "id", "last_connected", "layer", "started", "transient"]
    );
}

#[test]
fn a_single_connection_between_rounds_is_on_record_as_transient_and_no_breach() {
    let world = World::new();
    world.populate();
    world.guard();
    let text = format!("guard: default/deny\ninterval: 4s\ntimeout: 1100ms\nsentinel: 200ms\nstartup: 0s\n{IMDS}");
    let agent = world.agent(&text);
    agent.until_verdict("imds", Verdict::Blocked);
    // A round that has just ended leaves the next seconds to sentinels.
    agent.next_round();
    let from = now();
    world.let_one_through();
    let line = agent.line("imds", Event::Transient);
    let Some(Told::Closed(record)) = line.transition.opening else { panic!("{line:?}") };
    assert!(record.transient);
    assert_between("it began", from, record.opening.started, after(from, Duration::from_secs(2)));
    assert_eq!(record.opening.addresses, ["169.254.169.254:80".parse().unwrap()]);
    let target = agent.target("imds");
    assert_eq!((target.verdict, target.opening, target.recent), (Verdict::Blocked, None, vec![record]));
    let page = agent.metrics();
    let counts = ["guardprobe_transient_openings_total", "guardprobe_breaches_total"].map(|name| page.of(name, "imds"));
    assert_eq!((page.verdict("imds").as_str(), counts), ("blocked", [1.0, 0.0]));
    let connected = [("target", "imds"), ("family", "ipv4"), ("outcome", "connected")];
    assert_eq!(page.value("guardprobe_sentinels_total", &connected), 1.0);
    assert_eq!(page.value("guardprobe_probes_total", &connected), 0.0);
    until("the rounds go on", || agent.rounds(), |rounds| *rounds >= 4);
    assert_eq!(agent.events("imds").iter().filter(|event| **event == Event::Transient).count(), 1);
}
