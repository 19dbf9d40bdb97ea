//! What is told of a breach, and when.
use crate::common::cluster::{Cluster, FLEET, GUARD, Node, Process, QUICK, guard_namespace, timed};
use crate::common::facts::{after, assert_between, eventually, now, within};
use guardprobe_core::model::incident::Incident;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use serde_json::Value;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
const S: fn(f64) -> Duration = Duration::from_secs_f64;
/// What a test may find late: sentinels come each quarter of a second, a busy machine is slow.
const LATE: Duration = Duration::from_millis(1500);

/// The incident that an Event is about, as it was when that was written.
fn incident(event: &Event) -> Incident {
    let record: Value = serde_json::from_str(&event.metadata.annotations.as_ref().unwrap()["guardprobe.dev/record"]).unwrap();
    serde_json::from_value(record["incident"].clone()).unwrap()
}

/// The Events of one reason about a node.
fn events_of(events: &[Event], node: &str, reason: &str) -> Vec<Event> {
    let about = |event: &&Event| event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref()) == Some(node);
    events.iter().filter(about).filter(|event| event.reason.as_deref() == Some(reason)).cloned().collect()
}

/// Asserts that a node's breach was told once, and its end once, with these times.
#[track_caller]
fn assert_told_once(events: &[Event], node: &str, from: Timestamp, to: Timestamp) {
    let (breached, blocked) = (events_of(events, node, "EgressBreached"), events_of(events, node, "EgressBlocked"));
    assert_eq!((breached.len(), blocked.len()), (1, 1), "{node}: {events:#?}");
    let told = incident(&blocked[0]);
    assert_between(&format!("the start on {node}"), from, told.started, after(from, LATE));
    let end = told.end.unwrap().at;
    // A round that is under way when the guard comes back may still connect; the next one is at most an interval later.
    assert_between(&format!("the end on {node}"), to, end, after(to, LATE + S(1.5)));
    assert_eq!(incident(&breached[0]).id, told.id);
}

#[test]
fn a_guard_that_falls_on_one_of_three_nodes_is_one_warning_and_its_return_one_normal_event() {
    let cluster = Cluster::new();
    let nodes = [1, 2, 3].map(|nth| cluster.node(nth));
    let _agents = nodes.map(|node| node.agent());
    let reporter = cluster.reporter();
    for node in nodes {
        cluster.until_row(&node.name(), SOON, &["covered", "imds blocked silence"]);
    }
    let fallen = now();
    let (_, took) = timed(|| {
        nodes[1].unguard();
        cluster.until_told(SOON, &["EgressBreached node-2 imds"]);
    });
    println!("from the removal to the Event: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    cluster.until_row("node-2", SOON, &["covered", "imds breached token_issued"]);
    assert_eq!(cluster.metrics().value("guardprobe_fleet_breached", &[("node", "node-2"), ("target", "imds")]), 1.0);
    let restored = now();
    nodes[1].guard();
    cluster.until_told(SOON, &["EgressBreached node-2 imds", "EgressBlocked node-2 imds"]);
    cluster.until_row("node-2", SOON, &["covered", "imds blocked silence"]);
    let events = cluster.events();
    assert_told_once(&events, "node-2", fallen, restored);
    assert!(cluster.metrics().values("guardprobe_fleet_breached", &[]).is_empty(), "a series only while something is wrong");

    let described = cluster.kubectl(&["describe", "node", "node-2"]);
    assert!(described.contains("Warning  EgressBreached") && described.contains("Normal   EgressBlocked"), "{described}");
    let listed = cluster.kubectl(&["get", "events", "-n", "default"]);
    assert!(
        listed.contains("node/node-2") && listed.contains("169.254.169.254:80 (IPv4, literal) reached layer http: token_issued"),
        "{listed}"
    );
    assert!(
        listed.contains(&format!("imds is blocked again for the pods of guard {GUARD}")) && listed.contains("Proof: silence"),
        "{listed}"
    );
    let breached = &events_of(&events, "node-2", "EgressBreached")[0];
    assert_eq!(breached.type_.as_deref(), Some("Warning"));
    let related = breached.related.as_ref().unwrap();
    assert_eq!((related.kind.as_deref(), related.name.as_deref()), (Some("Pod"), Some("agent-2")));
    assert!(breached.regarding.as_ref().unwrap().uid.is_some() && related.uid.is_some());

    the_line_of_a_transition_has_these_keys(&reporter);
}

/// The schema `guardprobe.incident/v1`, as log pipelines rely on it.
fn the_line_of_a_transition_has_these_keys(reporter: &Process) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    // Between the two there may be one that says that more is known.
    let ends = |line: &Value| line["event"] == "opened" || line["event"] == "closed";
    let lines: Vec<Value> = reporter.lines().into_iter().filter(ends).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["opened", "closed"]);
    for line in &lines {
        assert_eq!(keys(line), ["event", "incident", "leader", "reporter", "schema", "time"]);
        assert_eq!((line["schema"].as_str(), line["leader"].as_bool()), (Some("guardprobe.incident/v1"), Some(true)));
        let incident = &line["incident"];
        let wanted = [
            "doors",
            "end",
            "evidence",
            "guard",
            "id",
            "last_connected",
            "layer",
            "node",
            "node_uid",
            "openings",
            "reopened",
            "started",
            "target",
        ];
        assert_eq!(keys(incident), wanted);
        assert_eq!(keys(&incident["doors"][0]), ["address", "source"]);
    }
    assert_eq!(keys(&lines[1]["incident"]["end"]), ["at", "attribution", "how"]);
}

/// A breach on a node, from its beginning to its end, with what is killed meanwhile.
struct Breach<'c> {
    node: Node<'c>,
    agent: Process,
    from: Duration,
    agent_dies: Option<Duration>,
    to: Duration,
    fallen: Timestamp,
    restored: Timestamp,
}

#[test]
fn reporters_and_agents_that_are_killed_at_any_moment_lose_nothing_and_repeat_nothing() {
    killed_at_any_moment(&Cluster::new(), seed());
}

#[test]
fn the_same_with_two_guards_in_two_namespaces() {
    killed_at_any_moment(&Cluster::with_two_guards(), seed());
}

/// GUARDPROBE_SEED, or any.
pub(crate) fn seed() -> u64 {
    std::env::var("GUARDPROBE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap())
}

/// Ten nodes, of which each is breached once; the reporter dies at ten moments, and the agent of six nodes while its breach is open.
fn killed_at_any_moment(cluster: &Cluster, seed: u64) {
    cluster.bare_nodes(100); // so that ten are not very many
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut moment = |from: f64, to: f64| S(from + (to - from) * random.f64());
    let mut breaches: Vec<Breach<'_>> = (1..=10)
        .map(|nth| {
            let node = cluster.node(nth);
            let from = moment(0.0, 12.0);
            let agent_dies = (nth > 4).then(|| from + moment(1.5, 5.0));
            let to = agent_dies.unwrap_or(from) + moment(4.0, 9.0);
            Breach { node, agent: node.agent(), from, agent_dies, to, fallen: now(), restored: now() }
        })
        .collect();
    // Ten moments at which the reporter dies: on three nodes that at which the agent does, once what it saw has been told.
    let mut deaths: Vec<Duration> = (0..7).map(|_| moment(1.0, 30.0)).collect();
    deaths.sort();
    let mut reporter = Some(cluster.reporter());
    breaches.iter().for_each(|breach| cluster.until_row(&breach.node.name(), SOON, &["covered", "imds blocked"]));

    let began = Instant::now();
    let mut back = None;
    let (mut deaths, mut killed) = (deaths.into_iter().peekable(), 0);
    let pending = |breaches: &[Breach<'_>]| breaches.iter().any(|breach| breach.agent_dies.is_some() || !breach.to.is_zero());
    while began.elapsed() < S(32.0) || reporter.is_none() || deaths.peek().is_some() || pending(&breaches) {
        assert!(began.elapsed() < S(120.0), "it does not come to an end");
        let at = began.elapsed();
        if deaths.peek().is_some_and(|death| *death <= at) && reporter.take().is_some() {
            (killed, back) = (killed + 1, Some(at + S(fastrand::f64() * 2.0)));
            deaths.next();
        }
        if back.is_some_and(|back| back <= at) {
            (reporter, back) = (Some(cluster.reporter_as("reporter-1", &[])), None);
        }
        for breach in &mut breaches {
            let reached = |moment: Duration| moment <= at && moment > at.saturating_sub(S(60.0));
            if reached(breach.from) && !breach.from.is_zero() {
                breach.fallen = now();
                breach.node.unguard();
                breach.from = Duration::ZERO;
            }
            let dies = breach.agent_dies.is_some_and(|dies| dies <= at) && reporter.is_some();
            if dies && cluster.told().contains(&format!("EgressBreached {} imds", breach.node.name())) {
                if ["node-8", "node-9", "node-10"].contains(&breach.node.name().as_str()) {
                    reporter = None;
                    (killed, back) = (killed + 1, Some(at + S(fastrand::f64() * 2.0)));
                }
                breach.agent.kill();
                breach.agent = breach.node.agent();
                breach.agent_dies = None;
                breach.to = breach.to.max(at + S(3.0));
            }
            if breach.to <= at && !breach.to.is_zero() && breach.agent_dies.is_none() {
                breach.restored = now();
                breach.node.guard();
                breach.to = Duration::ZERO;
            }
        }
        sleep(Duration::from_millis(10));
    }
    assert_eq!(killed, 10);
    within(Duration::from_secs(60), "each node has its two Events", || {
        let told = cluster.told();
        if told.len() == 20 { Ok(()) } else { Err(format!("{told:#?}")) }
    });
    sleep(S(5.0)); // whatever would be repeated
    let events = cluster.events();
    for breach in &breaches {
        assert_told_once(&events, &breach.node.name(), breach.fallen, breach.restored);
    }
    assert_eq!(events.len(), 20, "{:#?}", cluster.told());
}

#[test]
fn a_breach_while_no_reporter_lives_is_told_afterwards_and_a_deleted_event_comes_back_while_it_lasts() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|nth| cluster.node(nth));
    let _agents = [one, two].map(|node| node.agent());
    let mut reporter = cluster.reporter();
    [one, two].iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
    reporter.kill();
    let fallen = now();
    one.unguard();
    sleep(S(2.0));
    let restored = now();
    one.guard();
    sleep(S(6.0)); // two rounds, so that it is over
    let _reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_told(SOON, &["EgressBreached node-1 imds", "EgressBlocked node-1 imds"]);
    assert_told_once(&cluster.events(), "node-1", fallen, restored);

    two.unguard();
    let told = ["EgressBreached node-1 imds", "EgressBlocked node-1 imds", "EgressBreached node-2 imds"];
    cluster.until_told(SOON, &told);
    let name = events_of(&cluster.events(), "node-2", "EgressBreached")[0].metadata.name.clone().unwrap();
    cluster.kubectl(&["delete", "event", "-n", "default", &name]);
    cluster.until_told(SOON, &told);
    two.guard();
    cluster.until_told(SOON, &[&told[..], &["EgressBlocked node-2 imds"]].concat());
    cluster.kubectl(&["delete", "events", "-n", "default", "--all"]);
    sleep(S(3.0));
    assert_eq!(cluster.told(), Vec::<String>::new(), "what is over is told once");
}

#[test]
fn while_the_api_server_is_away_nothing_is_lost() {
    the_api_server_is_away(Duration::ZERO);
}

#[test]
#[ignore = "minutes: ./test slow"]
fn while_the_api_server_is_away_for_a_minute_nothing_is_lost() {
    the_api_server_is_away(Duration::from_secs(60));
}

/// A breach that begins and ends while the API server is away, for so long at least.
fn the_api_server_is_away(length: Duration) {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|nth| cluster.node(nth));
    let _agents = [one, two].map(|node| node.agent());
    let reporter = cluster.reporter();
    [one, two].iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
    cluster.stop_api();
    let stopped = Instant::now();
    let fallen = now();
    one.unguard();
    cluster.until_row("node-1", SOON, &["covered", "imds breached"]);
    sleep(S(2.0));
    let restored = now();
    one.guard();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    assert_eq!(cluster.try_get(FLEET, "/readyz").unwrap().0, 200, "it stays ready");
    eventually("it says what fails", || {
        if reporter.stderr().contains("agents are asked all the same") { Ok(()) } else { Err(reporter.stderr()) }
    });
    eventually(
        "it leads no longer",
        || if reporter.stderr().contains("leads no longer") { Ok(()) } else { Err(reporter.stderr()) },
    );
    sleep(length.saturating_sub(stopped.elapsed()));
    println!("the API server was away for {:.0} s", stopped.elapsed().as_secs_f64());
    cluster.start_api();
    let back = Instant::now();
    within(Duration::from_secs(60), "both Events", || {
        let told = cluster.told();
        if told == ["EgressBreached node-1 imds", "EgressBlocked node-1 imds"] { Ok(()) } else { Err(format!("{told:?}")) }
    });
    println!("both Events {:.1} s after it is ready again", back.elapsed().as_secs_f64());
    assert_told_once(&cluster.events(), "node-1", fallen, restored);
    // And it goes on as before.
    two.unguard();
    within(SOON, "the next one", || if cluster.told().len() == 3 { Ok(()) } else { Err(format!("{:?}", cluster.told())) });
}

/// A guard that lets a tenth of all connections through for so long is one incident.
fn a_guard_with_a_hole(length: Duration) {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let _reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    // By the source port, so that a SYN and its retransmission fare alike. The kernel takes one port after the other: the holes are narrow.
    let ports: Vec<String> = (32_768..61_000).step_by(100).map(|port| format!("{port}-{}", port + 9)).collect();
    let rule = format!("insert rule ip guard in ip daddr 169.254.169.254 tcp sport {{ {} }} accept", ports.join(", "));
    cluster.nft(&rule);
    sleep(length);
    let told = cluster.told();
    println!("{told:?}");
    let count = |reason: &str| told.iter().filter(|told| told.starts_with(reason)).count();
    assert!(count("EgressBreached") == 1 && count("EgressBlocked") <= 1 && count("EgressOpenedBriefly") <= 1, "{told:?}");
}

#[test]
fn a_guard_that_lets_one_connect_in_ten_through_is_one_incident() {
    a_guard_with_a_hole(Duration::from_secs(45));
}

#[test]
#[ignore = "five minutes: ./test slow"]
fn a_guard_that_lets_one_connect_in_ten_through_for_five_minutes_is_one_incident() {
    a_guard_with_a_hole(Duration::from_secs(300));
}

/// The library that lies about the wall clock, where Debian keeps it.
fn libfaketime() -> std::path::PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("faketime/libfaketime.so.1"));
    folders.into_iter().find(|path| path.exists()).expect("the Debian package libfaketime is installed")
}

#[test]
fn clocks_an_hour_apart_change_nothing_but_what_a_person_reads() {
    let cluster = Cluster::new();
    let [ahead, behind] = [1, 2].map(|nth| cluster.node(nth));
    let agents = [(ahead, "+1h"), (behind, "-1h")].map(|(node, shift)| {
        let file = cluster
            .file(&format!("{}.yaml", node.name()), &format!("guard: {GUARD}\n{QUICK}targets: [{{name: imds, kind: imds}}]\n"));
        let mut command = node.in_the_pod();
        // The library itself, since its program would be the agent's parent and outlive no signal of ours.
        command.env("LD_PRELOAD", libfaketime()).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command.args([env!("CARGO_BIN_EXE_guardprobe"), "agent", "-c", &file]);
        Process::start(&mut command)
    });
    let mut reporter = cluster.reporter();
    for node in [ahead, behind] {
        cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]);
    }
    let fallen = now();
    [ahead, behind].iter().for_each(Node::unguard);
    let breached = |told: &[String]| told.iter().filter(|told| told.starts_with("EgressBreached")).count() == 2;
    within(SOON, "two breaches", || {
        Some(cluster.told()).filter(|told| breached(told)).map(drop).ok_or_else(|| format!("{:?}", cluster.told()))
    });
    // A reporter that starts in the midst of it compares its own clock with nobody's either.
    reporter.kill();
    let _reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_ready();
    let restored = now();
    [ahead, behind].iter().for_each(Node::guard);
    within(SOON, "four Events", || {
        Some(cluster.told()).filter(|told| told.len() == 4).map(drop).ok_or_else(|| format!("{:?}", cluster.told()))
    });
    let events = cluster.events();
    let hour = |at: Timestamp, hours: i64| at + jiff::SignedDuration::from_hours(hours);
    assert_told_once(&events, "node-1", hour(fallen, 1), hour(restored, 1));
    assert_told_once(&events, "node-2", hour(fallen, -1), hour(restored, -1));
    drop(agents);
}

#[test]
fn a_reporter_that_starts_makes_no_breach_of_a_brief_opening_and_lets_go_of_a_node_that_is_gone() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|nth| cluster.node(nth));
    let _agents = [one, two].map(|node| node.agent());
    let mut reporter = cluster.reporter();
    [one, two].iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
    // One connection between two rounds, and no second one.
    let to = "insert rule ip guard in iifname v1 ip daddr 169.254.169.254 tcp flags";
    cluster.nft(&format!("{to} & syn == 0 accept; {to} & syn == syn limit rate 1/week burst 1 packets accept"));
    within(SOON, "something is told of node-1", || if cluster.told().is_empty() { Err("nothing".to_owned()) } else { Ok(()) });
    if cluster.told() != ["EgressOpenedBriefly node-1 imds"] {
        // It was a round's connection and not a sentinel's: a breach of its own, which is told as one.
        within(SOON, "that is over", || if cluster.told().len() == 2 { Ok(()) } else { Err(format!("{:?}", cluster.told())) });
    }
    let before = cluster.told();
    two.unguard();
    let all = [before.clone(), vec!["EgressBreached node-2 imds".to_owned()]].concat();
    within(SOON, "node-2 is told of", || if cluster.told() == all { Ok(()) } else { Err(format!("{:?}", cluster.told())) });
    reporter.kill();
    cluster.kubectl(&["delete", "node", "node-2"]);
    cluster.kubectl(&["delete", "pod", "-n", &guard_namespace(), "agent-2", "--force", "--grace-period=0"]);
    let reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_ready();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    sleep(S(4.0));
    assert_eq!(cluster.told(), all, "nothing is told again, and nothing of a node that is gone");
    assert!(cluster.metrics().values("guardprobe_fleet_breached", &[]).is_empty());
    let opened = reporter.lines().iter().filter(|line| line["event"] == "opened").count();
    assert_eq!(opened, 0, "{:?}", reporter.lines());
}

#[test]
#[ignore = "a measurement: ./test slow"]
fn at_the_defaults_a_removal_is_told_within_two_seconds() {
    let cluster = Cluster::new();
    cluster.bare_nodes(100);
    let nodes: Vec<Node<'_>> = (1..=20).map(|nth| cluster.node(nth)).collect();
    let _agents: Vec<Process> = nodes
        .iter()
        .map(|node| node.agent_with(&format!("guard: {GUARD}\ntargets: [{{name: imds, kind: imds}}]\n"), &[]))
        .collect();
    let _reporter = cluster.reporter();
    nodes.iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
    let mut took: Vec<f64> = Vec::new();
    for node in &nodes {
        sleep(S(2.0 + fastrand::f64())); // Events about single nodes come one a second
        let fallen = now();
        node.unguard();
        within(SOON, "it is told", || {
            let events = cluster.events();
            match events_of(&events, &node.name(), "EgressBreached").first() {
                Some(event) => {
                    took.push(event.event_time.as_ref().unwrap().0.duration_since(fallen).as_secs_f64());
                    Ok(())
                }
                None => Err(format!("{:?}", cluster.told())),
            }
        });
    }
    took.sort_by(f64::total_cmp);
    println!("from the removal to the Event, 20 nodes: {:.2} s least, {:.2} s median, {:.2} s most", took[0], took[10], took[19]);
    assert!(took[19] < 2.0, "{took:?}");
}
