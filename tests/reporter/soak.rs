//! Guards that come and go and a reporter that is killed, for an hour: what was told is compared with who accepted connections.
use crate::common::cluster::{Cluster, Node, Process};
use crate::common::facts::within;
use crate::incidents::seed;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

const S: fn(f64) -> Duration = Duration::from_secs_f64;
/// How long a guard holds at least between two openings: long enough for two rounds, so that each opening closes.
const SHUT: (f64, f64) = (12.0, 60.0);
/// How long it is away, and how long in four of ten times.
const OPEN: (f64, f64) = (0.5, 30.0);
const BRIEFLY: (f64, f64) = (0.1, 0.6);
/// How late a round may see that the guard is back.
const LATE: f64 = 3.5;
/// How soon before a reporter's death a line may have been written of which no Event tells yet.
const UNSAVED: f64 = 2.0;

/// A time without a guard on a node.
#[derive(Debug, Clone)]
struct Hole {
    gone: Timestamp,
    back: Timestamp,
    /// The guard answers with resets when it is back.
    resets: bool,
}

/// A node whose guard comes and goes.
struct Target<'c> {
    node: Node<'c>,
    holes: Vec<Hole>,
    gone: Option<Timestamp>,
    next: Instant,
}

/// Every line about an incident of every reporter that lived, and every Event that was there.
#[derive(Default)]
struct Record {
    lines: Vec<Value>,
    events: BTreeMap<String, Event>,
    deaths: Vec<Timestamp>,
}

impl Record {
    fn take_lines(&mut self, reporter: &Process) {
        let lines = reporter.lines().into_iter();
        self.lines.extend(lines.filter(|line| line["incident"].is_object() && line["event"] != "changed"));
    }

    /// Events live an hour: they are looked at often.
    fn take_events(&mut self, cluster: &Cluster) {
        let uid = |event: &Event| event.metadata.uid.clone().unwrap();
        self.events.extend(cluster.events().into_iter().map(|event| (uid(&event), event)));
    }

    /// The lines of a node, each once: one that was written just before its reporter died may be written again by the next one.
    fn lines_of(&self, node: &str) -> Vec<Value> {
        let mut seen: BTreeMap<String, Timestamp> = BTreeMap::new();
        let mut lines = Vec::new();
        for line in self.lines.iter().filter(|line| line["incident"]["node"] == node) {
            let incident = &line["incident"];
            let key = format!("{} {} {} {}", line["event"], incident["id"], incident["reopened"], incident["end"]["at"]);
            let at: Timestamp = line["time"].as_str().unwrap().parse().unwrap();
            if let Some(before) = seen.insert(key.clone(), at) {
                let died_soon = |death: &Timestamp| (0.0..UNSAVED).contains(&death.duration_since(before).as_secs_f64());
                assert!(self.deaths.iter().any(died_soon), "twice, and no reporter died in between: {key} at {before} and {at}");
                println!("written again by the next reporter: {key}");
                continue;
            }
            lines.push(line.clone());
        }
        lines
    }
}

#[test]
#[ignore = "an hour: ./test slow"]
fn an_hour_of_guards_that_come_and_go_and_a_reporter_that_is_killed() {
    let minutes: f64 = std::env::var("GUARDPROBE_SOAK_MINUTES").map_or(60.0, |minutes| minutes.parse().unwrap());
    let seed = seed();
    println!("seed {seed}, {minutes} minutes");
    let mut random = fastrand::Rng::with_seed(seed);
    let cluster = Cluster::with_two_guards();
    let nodes = [1, 2, 3, 4].map(|nth| cluster.node(nth));
    let _agents = nodes.map(|node| node.agent());
    let mut record = Record::default();
    let mut reporter = Some(cluster.reporter());
    nodes.iter().for_each(|node| cluster.until_row(&node.name(), S(30.0), &["covered", "imds blocked"]));
    let mut between = |(from, to): (f64, f64)| S(from + (to - from) * random.f64());
    let began = Instant::now();
    let mut targets = nodes.map(|node| Target { node, holes: vec![], gone: None, next: began + between(SHUT) });
    let (mut dies, mut looks) = (began + between((20.0, 90.0)), began);
    let mut starts = began;
    while began.elapsed() < S(minutes * 60.0) || targets.iter().any(|target| target.gone.is_some()) {
        let now = Instant::now();
        for target in targets.iter_mut().filter(|target| target.next <= now) {
            turn(&cluster, target, between((0.0, 1.0)) < S(0.3));
            let length = match target.gone {
                None => SHUT,
                Some(_) if between((0.0, 1.0)) < S(0.4) => BRIEFLY,
                Some(_) => OPEN,
            };
            target.next = now + between(length);
        }
        if reporter.is_some() && dies <= now {
            let mut dead = reporter.take().unwrap();
            record.deaths.push(Timestamp::now());
            dead.kill();
            sleep(S(0.05)); // what it wrote is read
            record.take_lines(&dead);
            starts = now + between((0.0, 3.0));
        }
        if reporter.is_none() && starts <= now {
            reporter = Some(cluster.reporter_as("reporter-1", &[]));
            dies = now + between((20.0, 90.0));
        }
        if looks <= now {
            record.take_events(&cluster);
            looks = now + S(20.0);
        }
        sleep(S(0.01));
    }
    let reporter = reporter.unwrap_or_else(|| cluster.reporter_as("reporter-1", &[]));
    within(S(60.0), "no node is open", || match cluster.fleet()["guards"].to_string() {
        guards if guards.contains("blocked") && !guards.contains("breached") => Ok(()),
        guards => Err(guards),
    });
    sleep(S(5.0));
    record.take_lines(&reporter);
    record.take_events(&cluster);
    println!("{} deaths of the reporter, {} lines, {} Events", record.deaths.len(), record.lines.len(), record.events.len());
    let wrong: Vec<String> = targets.iter().flat_map(|target| compare(target, &record)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The guard goes, or comes back: by dropping, or by answering with resets.
fn turn(cluster: &Cluster, target: &mut Target<'_>, resets: bool) {
    let link = format!("v{}", target.node.name().trim_start_matches("node-"));
    match target.gone.take() {
        None => {
            target.gone = Some(Timestamp::now());
            let before = target.holes.last().is_some_and(|hole| hole.resets);
            let set = if before { "resetting" } else { "shut" };
            cluster.nft(&format!("delete element ip guard {set} {{ {link} }}"));
        }
        Some(gone) => {
            if resets {
                // The same as the other set, which exists in every cluster.
                cluster.nft(
                    "add set ip guard resetting { type ifname; }; \
                     add chain ip guard rst { type filter hook input priority 1; }; flush chain ip guard rst; \
                     add rule ip guard rst iifname @resetting ip daddr 169.254.169.254 meta l4proto tcp reject with tcp reset",
                );
            }
            let set = if resets { "resetting" } else { "shut" };
            cluster.nft(&format!("add element ip guard {set} {{ {link} }}"));
            target.holes.push(Hole { gone, back: Timestamp::now(), resets });
        }
    }
}

/// Compares what was told of a node with what happened there. Returns what differs.
fn compare(target: &Target<'_>, record: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    let node = target.node.name();
    let accepted = target.node.accepted();
    let lines = record.lines_of(&node);
    let time = |line: &Value, field: &str| -> Timestamp { line["incident"][field].as_str().unwrap().parse().unwrap() };
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    let within_hole = |hole: &Hole, at: Timestamp, late: f64| seconds(hole.gone, at) >= -0.3 && seconds(hole.back, at) <= late;
    let (mut open, mut brief, mut nothing) = (0, 0, 0);
    for hole in &target.holes {
        let through = accepted.iter().filter(|at| within_hole(hole, **at, 0.3)).count();
        // An end belongs to the hole after which it was seen; a brief opening to the hole in which it was.
        let ends: Vec<&Value> = lines.iter().filter(|line| line["event"] == "closed" && within_hole_end(hole, line)).collect();
        let briefs =
            lines.iter().filter(|line| line["event"] == "transient" && within_hole(hole, time(line, "started"), 0.3)).count();
        let told = ends.len() + briefs;
        if told != usize::from(through > 0) {
            let near: Vec<_> = accepted.iter().filter(|at| within_hole(hole, **at, 10.0)).take(5).collect();
            wrong.push(format!("{node}: {through} connections in {hole:?} (near it: {near:?}): {ends:?} and {briefs} brief"));
            continue;
        }
        match (ends.first(), briefs) {
            (Some(end), _) => {
                let how = end["incident"]["end"]["how"].as_str().unwrap();
                assert_eq!(how, if hole.resets { "not_reachable" } else { "blocked" }, "{node}: {hole:?}");
                open += 1;
            }
            (None, 0) => nothing += 1,
            (None, _) => brief += 1,
        }
    }
    let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    for (what, told, seen) in [
        ("ends", count("closed"), open),
        ("beginnings", count("opened") + count("reopened"), open),
        ("brief openings", count("transient"), brief),
    ] {
        if told != seen {
            wrong.push(format!("{node}: {told} {what} were told, {seen} were seen"));
        }
    }
    events_of(&node, &lines, record);
    println!("{node}: {} holes, {open} breaches, {brief} brief, {nothing} that nobody tried", target.holes.len());
    wrong
}

/// True for an end that was seen at the end of that hole.
fn within_hole_end(hole: &Hole, line: &Value) -> bool {
    let at: Timestamp = line["incident"]["end"]["at"].as_str().unwrap().parse().unwrap();
    let slack = SignedDuration::from_millis(300);
    at >= hole.gone - slack && at.duration_since(hole.back).as_secs_f64() <= LATE
}

/// Each incident that lines tell of has one Event of its beginning, and one or two of its ends; each Event has its incident.
fn events_of(node: &str, lines: &[Value], record: &Record) {
    let of_node = |event: &&Event| event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(node);
    let mut told: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in record.events.values().filter(of_node) {
        let reason = event.reason.clone().unwrap();
        let text = &event.metadata.annotations.as_ref().unwrap()["guardprobe.dev/record"];
        let record: Value = serde_json::from_str(text).unwrap();
        *told.entry((reason, record["incident"]["id"].as_str().unwrap().to_owned())).or_default() += 1;
    }
    let ids = |event: &str| -> BTreeSet<String> {
        let lines = lines.iter().filter(|line| line["event"] == event);
        lines.map(|line| line["incident"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let incidents = ids("opened");
    let ended = |id: &str| {
        let of = |reason: &str| told.get(&(reason.to_owned(), id.to_owned())).copied().unwrap_or(0);
        of("EgressBlocked") + of("EgressNotReachable")
    };
    for id in &incidents {
        assert_eq!(told.get(&("EgressBreached".to_owned(), id.clone())), Some(&1), "{node}: {id}: {told:#?}");
        assert!((1..=2).contains(&ended(id)), "{node}: {id}: {told:#?}");
    }
    let transients = ids("transient");
    for ((reason, id), count) in &told {
        let known = if reason == "EgressOpenedBriefly" { &transients } else { &incidents };
        assert!(known.contains(id), "{node}: no line tells of {reason} {id}");
        assert!(*count <= 2 && (*count == 1 || reason != "EgressOpenedBriefly"), "{node}: {reason} {id} {count} times");
    }
}
