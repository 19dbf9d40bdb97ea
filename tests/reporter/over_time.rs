//! What many rounds, restarts and neighbours make of a breach: how it ends, and what a reporter that starts knows of it.
use crate::common::cluster::{Cluster, GUARD, Node, Process, QUICK};
use crate::common::facts::within;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const S: fn(f64) -> Duration = Duration::from_secs_f64;

/// `event id` of each line about an incident, without those that only say that more is known.
fn lines(reporter: &Process) -> Vec<String> {
    let lines = reporter.lines();
    let incidents = lines.iter().filter(|line| line["incident"].is_object() && line["event"] != "changed");
    let short = |line: &Value| {
        let how = line["incident"]["end"]["how"].as_str().map(|how| format!(" {how}")).unwrap_or_default();
        format!("{} {}{how}", line["event"].as_str().unwrap(), line["incident"]["node"].as_str().unwrap())
    };
    incidents.map(short).collect()
}

/// The guard of a node answers each SYN to what it protects with a reset, as Antrea and OVN do.
fn reset(cluster: &Cluster, nth: u8) {
    cluster.nft(&format!("add rule ip guard in iifname v{nth} ip daddr 169.254.169.254 reject with tcp reset"));
}

#[test]
fn a_breach_ends_without_proof_when_the_guard_answers_with_resets() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    node.unguard();
    cluster.until_told(SOON, &["EgressBreached node-1 imds"]);
    reset(&cluster, 1);
    cluster.until_told(SOON, &["EgressBreached node-1 imds", "EgressNotReachable node-1 imds"]);
    cluster.until_row("node-1", SOON, &["covered", "imds inconclusive refused"]);
    assert_eq!(lines(&reporter), ["opened node-1", "closed node-1 not_reachable"]);
    let ended = |how| cluster.metrics().value("guardprobe_incidents_ended_total", &[("how", how)]);
    assert_eq!((ended("not_reachable"), ended("blocked")), (1.0, 0.0));
    let described = cluster.kubectl(&["describe", "node", "node-1"]);
    assert!(described.contains("Normal   EgressNotReachable"), "{described}");
    let note = cluster.events()[1].note.clone().unwrap();
    assert!(
        note.contains("is no longer reachable, not proved blocked,") && note.contains("Nothing proves that the guard"),
        "{note}"
    );
    // And a guard that drops again is no news: the breach was over.
    node.guard();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked silence"]);
    assert_eq!(cluster.told().len(), 2);
}

#[test]
fn a_breach_whose_agent_is_replaced_ends_when_another_boot_is_answered_with_resets() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let mut agent = node.agent();
    let _reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    node.unguard();
    cluster.until_told(SOON, &["EgressBreached node-1 imds"]);
    agent.kill();
    reset(&cluster, 1);
    let _agent = node.agent();
    cluster.until_told(SOON, &["EgressBreached node-1 imds", "EgressNotReachable node-1 imds"]);
}

#[test]
fn a_reporter_that_starts_tells_nothing_again_of_an_incident_that_was_reopened() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let mut agent = node.agent();
    let mut reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    let told = ["EgressBreached node-1 imds", "EgressBlocked node-1 imds"];
    for turn in 1..=2 {
        node.unguard();
        cluster.until_row("node-1", SOON, &["covered", "imds breached"]);
        sleep(S(1.0));
        node.guard();
        cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
        cluster.until_told(SOON, &told);
        if turn == 2 {
            within(SOON, "the Event says that it was reopened, and is over", || match reopened(&cluster) {
                (1, true) => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    }
    assert_eq!(
        lines(&reporter),
        ["opened node-1", "closed node-1 blocked", "reopened node-1", "closed node-1 blocked"].map(str::to_owned)
    );
    // The reporter is killed, and then agent and reporter: neither tells of it again, and the breach that follows is the same incident.
    reporter.kill();
    let mut reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    sleep(S(3.0));
    assert_eq!((lines(&reporter), cluster.told()), (vec![], told.map(str::to_owned).to_vec()));
    reporter.kill();
    agent.kill();
    let _agent = node.agent();
    let reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    node.unguard();
    within(SOON, "it is reopened", || if lines(&reporter) == ["reopened node-1"] { Ok(()) } else { Err(reporter.stdout()) });
    cluster.until_row("node-1", SOON, &["covered", "imds breached"]);
    sleep(S(2.0));
    assert_eq!(cluster.told(), told, "under the name that it had");
    assert_eq!(reopened(&cluster), (2, false));
}

/// How often the first Event says that its incident was reopened, and whether it says that it is over.
fn reopened(cluster: &Cluster) -> (u64, bool) {
    let events = cluster.events();
    let annotations = events[0].metadata.annotations.as_ref().unwrap();
    let record: Value = serde_json::from_str(&annotations["guardprobe.dev/record"]).unwrap();
    (record["incident"]["reopened"].as_u64().unwrap(), !record["incident"]["end"].is_null())
}

#[test]
fn a_reporter_that_starts_repeats_no_line_of_a_brief_opening() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let mut reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    // One connection each, between two rounds; now and then it is a round's, and then it is a breach.
    for _ in 0..6 {
        let before = lines(&reporter).len();
        cluster.nft("insert rule ip guard in iifname v1 ip daddr 169.254.169.254 tcp flags & syn == 0 accept");
        let once = "insert rule ip guard in iifname v1 ip daddr 169.254.169.254 tcp flags & syn == syn limit rate 1/week burst 1 packets accept";
        cluster.nft(once);
        within(SOON, "a line", || if lines(&reporter).len() > before { Ok(()) } else { Err(reporter.stdout()) });
        cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    }
    let transients = |reporter: &Process| lines(reporter).iter().filter(|line| line.starts_with("transient")).count();
    let seen = transients(&reporter);
    println!("{seen} of 6 were transient");
    assert!(seen >= 2, "{:?}", lines(&reporter));
    within(SOON, "the Event counts them", || {
        let count = brief_count(&cluster);
        if count == seen as i64 { Ok(()) } else { Err(format!("{count} of {seen}")) }
    });
    let suppressed = cluster.metrics().value("guardprobe_events_suppressed_total", &[("reason", "EgressOpenedBriefly")]);
    assert_eq!(suppressed, seen as f64 - 1.0);
    let told = cluster.told();
    reporter.kill();
    let reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    sleep(S(3.0));
    assert_eq!(lines(&reporter), Vec::<String>::new());
    assert_eq!(cluster.told(), told);
}

/// How often the Event about brief openings was seen.
fn brief_count(cluster: &Cluster) -> i64 {
    let events = cluster.events();
    let brief: Vec<_> = events.iter().filter(|event| event.reason.as_deref() == Some("EgressOpenedBriefly")).collect();
    assert_eq!(brief.len(), 1, "one within ten minutes");
    brief[0].series.as_ref().map_or(1, |series| series.count.into())
}

#[test]
fn an_incident_whose_target_is_not_probed_any_more_ends_for_good() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let targets = |names: &[&str]| {
        let target = |name: &&str| format!("{{name: {name}, kind: tcp, addresses: [\"169.254.169.254:80\"]}}");
        format!("guard: {GUARD}\n{QUICK}targets: [{}]\n", names.iter().map(target).collect::<Vec<_>>().join(", "))
    };
    let mut agent = node.agent_with(&targets(&["one", "two"]), &[]);
    let mut reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "one blocked", "two blocked"]);
    node.unguard();
    within(SOON, "both are told", || if cluster.told().len() == 2 { Ok(()) } else { Err(format!("{:?}", cluster.told())) });
    agent.kill();
    let mut agent = node.agent_with(&targets(&["one"]), &[]);
    within(SOON, "the end of the one that is not probed", || {
        let told = cluster.told();
        if told.last().is_some_and(|last| last == "EgressNotReachable node-1 two") { Ok(()) } else { Err(format!("{told:?}")) }
    });
    assert!(lines(&reporter).contains(&"closed node-1 target_gone".to_owned()), "{:?}", lines(&reporter));
    // A reporter that starts while the agent is away pages nobody for it.
    reporter.kill();
    agent.kill();
    let reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_ready();
    sleep(S(3.0));
    let page = cluster.metrics();
    assert_eq!(page.values("guardprobe_fleet_breached", &[("target", "one")]), [1.0], "this one was open");
    assert!(page.values("guardprobe_fleet_breached", &[("target", "two")]).is_empty());
    assert_eq!((lines(&reporter), cluster.told().len()), (vec![], 3));
}

#[test]
fn a_reporter_that_did_not_run_for_a_while_dates_nothing_younger_and_says_so() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let agent = node.agent();
    let reporter = cluster.quick_reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    // A report waits to be read while the reporter does not run, and no newer one follows.
    reporter.signal(Signal::SIGSTOP);
    sleep(S(2.5));
    agent.signal(Signal::SIGSTOP);
    sleep(S(2.5));
    reporter.signal(Signal::SIGCONT);
    reporter.until_said("did not run for ");
    let age = within(SOON, "an age", || {
        let fleet = cluster.fleet();
        fleet["rows"][0]["age_seconds"].as_f64().ok_or_else(|| fleet.to_string())
    });
    println!("its age is {age:.1} s");
    assert!(age >= 2.5, "the round ended before the agent was stopped: {age}");
    let held_up = cluster.metrics().value("guardprobe_reporter_held_up_seconds_total", &[]);
    assert!((3.0..8.0).contains(&held_up), "{held_up}");
    agent.signal(Signal::SIGCONT);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
}

#[test]
fn an_agent_that_claims_a_day_between_its_rounds_is_stale_like_any_other() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let of_the_set = ["annotate", "daemonset", "-n", node.namespace(), "agents", "guardprobe.dev/interval=1500ms"];
    cluster.kubectl(&of_the_set);
    let _reporter = cluster.quick_reporter();
    let now = jiff::Timestamp::now();
    let report = json!({
        "schema": "guardprobe.report/v1", "guard": GUARD.to_string(), "role": "agent", "node": "node-1", "pod": "agent-1", "version": "0.1.0",
        "config_hash": "c0ffee", "endpoints_revision": null, "boot": "b00b1e5b00b1e500", "round": 1, "started": now, "finished": now,
        "age_seconds": 0.0, "interval_seconds": 86400.0, "verdict": "blocked",
        "targets": [{"name": "imds", "kind": "imds", "verdict": "blocked", "finding": "blocked", "reason": "silence", "rule": 7, "why": "x",
                     "since": now, "opening": null, "recent": [], "startup_exposure_seconds": 0.0, "observations": [
                        {"address": "169.254.169.254:80", "family": "ipv4", "source": "literal", "outcome": "timed_out", "layer": "none",
                         "latency_seconds": 2.5, "detail": null, "attribution": "silence"}]}],
        "controls": [],
    });
    answer_once(&node, report.to_string());
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    // This reporter takes a report for stale after 6 s, or three of the intervals that the DaemonSet names.
    within(S(10.0), "it is stale", || {
        let row = cluster.row("node-1");
        if row[0].starts_with("uncovered") { Ok(()) } else { Err(format!("{row:?}")) }
    });
}

/// Answers one request in the node's pod with that report, and no other.
fn answer_once(node: &Node<'_>, report: String) {
    use std::io::{Read, Write};
    let answered = std::sync::atomic::AtomicBool::new(false);
    crate::common::cluster::serve_in(&node.pod(), "0.0.0.0:9797".parse().unwrap(), move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        if !answered.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", report.len());
            let _ = stream.write_all((head + &report).as_bytes());
        }
        let _ = stream.read(&mut [0; 4096]);
        sleep(Duration::from_secs(600));
    });
}

#[test]
fn an_incident_that_only_another_replica_heard_of_is_ended_by_the_one_that_leads() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let mut agent = node.agent();
    let mut other = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    node.unguard();
    cluster.until_told(SOON, &["EgressBreached node-1 imds"]);
    let name = cluster.events()[0].metadata.name.clone().unwrap();
    let mut event: Value = serde_json::from_str(&cluster.kubectl(&["get", "events.events.k8s.io", &name, "-o", "json"])).unwrap();
    other.kill();
    agent.kill();
    node.guard();
    cluster.kubectl(&["delete", "events.events.k8s.io", &name]);
    // This one is told by its agent, which is new, of no breach: the other replica's Event comes while it runs.
    let _agent = node.agent();
    let reporter = cluster.reporter_as("reporter-1", &[]);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    event["metadata"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| ["name", "namespace", "annotations", "labels"].contains(&key.as_str()));
    let file = cluster.file("event.json", &event.to_string());
    cluster.kubectl(&["create", "-f", &file]);
    let told = ["EgressBreached node-1 imds", "EgressBlocked node-1 imds"];
    cluster.until_told(SOON, &told);
    assert_eq!(lines(&reporter), ["closed node-1 blocked"]);
    // What is over stays so, though its first Event is written again.
    cluster.kubectl(&["delete", "events.events.k8s.io", &name]);
    cluster.kubectl(&["create", "-f", &file]);
    sleep(S(3.0));
    assert_eq!((lines(&reporter), cluster.told().len()), (vec!["closed node-1 blocked".to_owned()], 2));
}
