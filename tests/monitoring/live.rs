//! A fleet of three agents, two reporters and a witness, on a real API server, scraped by a real Prometheus with the rules that are shipped: what
//! fires when, that every query of the dashboards has an answer, and that nothing that goes missing makes any figure look better.
use super::dashboards::{grafana_alerts, queries};
use super::prometheus::{Pace, Prometheus, SHIPPED};
use crate::common::cluster::{Cluster, GUARD, Node, Process, QUICK};
use crate::common::facts::within;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Fast enough for every day: what takes twenty minutes at the shipped intervals takes one.
const FAST: Pace = Pace { faster: 20, scrape: Duration::from_secs(1) };

/// For how long a reporter shows that an incident is over, at any pace.
const ENDED_SHOWN: Duration = Duration::from_secs(120);

const MINUTE: Duration = Duration::from_secs(60);

struct World<'c> {
    cluster: &'c Cluster,
    pace: Pace,
    nodes: [Node<'c>; 3],
    agents: Vec<Option<Process>>,
    reporters: Vec<Option<Process>>,
    _witness: Process,
}

impl<'c> World<'c> {
    fn new(cluster: &'c Cluster, pace: Pace) -> Self {
        let nodes = [1, 2, 3].map(|nth| cluster.node(nth));
        let set = cluster.daemon_set("witnesses", "witness");
        let beyond = cluster.bare(12);
        beyond.unguard();
        let mut pod = beyond.pod_object("agent-12", "witness", &set);
        pod["spec"]["nodeName"] = json!("node-2");
        cluster.objects("node-2", &pod);
        let witness = beyond.agent_with(&configuration(pace), &["--role", "witness"]);
        let mut world = World { cluster, pace, nodes, agents: vec![], reporters: vec![], _witness: witness };
        world.agents = nodes.iter().map(|node| Some(node.agent_with(&configuration(pace), &[]))).collect();
        world.reporters = (1..=2).map(|nth| Some(world.reporter(nth))).collect();
        world
    }

    fn reporter(&self, nth: usize) -> Process {
        // Nodes of a test are new, and a report of a quick agent is soon old.
        let quick = if self.pace.faster > 1 { "stale: 5s\ngrace: 10s\n" } else { "grace: 1m\n" };
        let settings = self.cluster.file("reporter.yaml", &format!("guards:\n  - {{name: {GUARD}, labels: {{}}}}\n{quick}"));
        let mut args = vec!["-c", &settings, "--listen", "0.0.0.0:9798"];
        if nth == 2 {
            args = vec!["-c", &settings, "--listen", "0.0.0.0:9898", "--fleet-listen", "127.0.0.1:9899"];
        }
        self.cluster.reporter_as(&format!("reporter-{nth}"), &args)
    }

    fn agent(&self, nth: usize) -> Process {
        self.nodes[nth].agent_with(&configuration(self.pace), &[])
    }
}

fn configuration(pace: Pace) -> String {
    let intervals = if pace.faster > 1 { QUICK.replace("startup: 0s", "startup: 2s") } else { String::new() };
    let api = "{name: kube-api, kind: kube-api, addresses: [\"10.90.0.10:16443\"]}";
    format!("guard: {GUARD}\n{intervals}targets: [{{name: imds, kind: imds}}, {api}]\n")
}

/// Waits until just these alerts fire, in order; tells how long it took.
#[track_caller]
fn until_firing(prometheus: &Prometheus<'_>, patience: Duration, what: &str, expected: &[&str]) -> Duration {
    let began = Instant::now();
    within(patience, &format!("{what}: {expected:?} fire"), || {
        let firing = prometheus.firing();
        if firing == expected { Ok(()) } else { Err(format!("{firing:?}")) }
    });
    println!("{what}: {expected:?} after {:.1} s", began.elapsed().as_secs_f64());
    began.elapsed()
}

/// The figures that a person looks at first, and what makes each look better: more of it, or less.
const FIGURES: [(&str, bool); 6] = [
    ("fleet: Open", false),
    ("fleet: Uncovered", false),
    ("fleet: Not proved", false),
    ("fleet: Covered", true),
    ("fleet: Where the time went", true),
    ("fleet: Proved, by target", true),
];

/// The range of figures of a range.
const RANGE: Duration = Duration::from_secs(400);

/// What they are now, of the last [`RANGE`] at this pace where they are of one; those without data are not
/// there. Of several series the sum.
fn figures(prometheus: &Prometheus<'_>) -> BTreeMap<&'static str, f64> {
    let queries = queries();
    let of = |(title, _): &(&'static str, bool)| {
        let proved = |expression: &str| title.ends_with("went") && !expression.contains("proved");
        let query = queries.iter().find(|query| query.panel == *title && !proved(&query.expression)).unwrap();
        let range = prometheus.paced(RANGE).as_secs().to_string();
        let lately = query.expression.replace("$__range_s", &range).replace("$__range", &format!("{range}s"));
        let found = prometheus.query(&prometheus.expression(&lately));
        (!found.is_empty()).then(|| (*title, found.iter().map(|(_, value)| value).sum::<f64>()))
    };
    FIGURES.iter().filter_map(of).collect()
}

/// The best of the figures within a range, once what was before has left the range that they are of: by leaving it makes none look better.
fn best_figures(prometheus: &Prometheus<'_>) -> BTreeMap<&'static str, f64> {
    sleep(prometheus.paced(RANGE));
    let (began, mut best) = (Instant::now(), figures(prometheus));
    while began.elapsed() < prometheus.paced(RANGE) {
        sleep(Duration::from_millis(500));
        let now = figures(prometheus);
        for (title, more_is_better) in FIGURES {
            let Some(is) = now.get(title) else { continue };
            let kept = best.entry(title).or_insert(*is);
            *kept = if more_is_better { kept.max(*is) } else { kept.min(*is) };
        }
    }
    best
}

/// Looks at the figures again and again while something is missing: none may look better than before it was.
#[track_caller]
fn nothing_looks_better(prometheus: &Prometheus<'_>, what: &str, before: &BTreeMap<&'static str, f64>, lasting: Duration) {
    let end = Instant::now() + lasting;
    let mut worst = before.clone();
    while Instant::now() < end {
        let now = figures(prometheus);
        for (title, more_is_better) in FIGURES {
            let (Some(was), Some(is)) = (before.get(title), now.get(title)) else { continue };
            let better = if more_is_better { is - was } else { was - is };
            assert!(better < 0.02, "{what}: {title} was {was} and is {is}");
            let kept = worst.entry(title).or_insert(*is);
            *kept = if more_is_better { kept.min(*is) } else { kept.max(*is) };
        }
        sleep(Duration::from_millis(500));
    }
    println!("{what}: before {before:?}, at worst {worst:?}");
}

/// Every query of the dashboards has an answer, over time or now.
#[track_caller]
fn every_panel_has_data(prometheus: &Prometheus<'_>) {
    let mut answered = 0;
    for query in queries() {
        let expression = prometheus.expression(&query.expression);
        within(3 * MINUTE, &format!("{} has data: {expression}", query.panel), || {
            let samples = if query.instant { prometheus.query(&expression).len() } else { prometheus.samples(&expression, 600) };
            if samples > 0 { Ok(()) } else { Err("none".to_owned()) }
        });
        answered += 1;
    }
    println!("{answered} queries of the dashboards have data");
}

/// What Grafana would say of each of its alerts: `firing`, `ok` or `no data`.
fn grafana(prometheus: &Prometheus<'_>) -> BTreeMap<String, &'static str> {
    let state = |alert: &Value| {
        let expression = alert["data"][0]["model"]["expr"].as_str().unwrap();
        let above = alert["data"][1]["model"]["conditions"][0]["evaluator"]["params"][0].as_f64().unwrap();
        let found = prometheus.query(expression);
        match found.iter().any(|(_, value)| *value > above) {
            true => "firing",
            false if found.is_empty() => "no data",
            false => "ok",
        }
    };
    grafana_alerts().iter().map(|alert| (alert["title"].as_str().unwrap().to_owned(), state(alert))).collect()
}

fn in_state(grafana: &BTreeMap<String, &'static str>, state: &str) -> Vec<String> {
    grafana.iter().filter(|(_, is)| **is == state).map(|(title, _)| title.clone()).collect()
}

const OPEN: [&str; 2] = ["GuardprobeBreached node-2 imds", "GuardprobeBreached node-2 kube-api"];

/// The guard falls on one node and comes back.
fn falls_and_comes_back(world: &World<'_>, prometheus: &Prometheus<'_>) {
    // Something to doubt on two nodes, that is over on the one by then: the DNS that is their control does not answer.
    world.cluster.nft(
        "add table ip doubt; add set ip doubt deaf { type ifname; elements = { v2, v3 } }
         add chain ip doubt in { type filter hook input priority -1; }
         add rule ip doubt in iifname @deaf ip daddr 10.96.0.10 drop",
    );
    within(2 * MINUTE, "node-2 proves nothing", || {
        let doubts = prometheus.query(r#"guardprobe_inconclusive{node="node-2",reason="control_failed"} == 1"#);
        if doubts.is_empty() { Err("it does".to_owned()) } else { Ok(()) }
    });
    world.cluster.nft("delete element ip doubt deaf { v2 }");
    let node = &world.nodes[1];
    node.unguard();
    let fired = until_firing(prometheus, MINUTE, "the guard is gone on node-2", &OPEN);
    assert!(fired < Duration::from_secs(2) + 2 * world.pace.scrape, "{fired:?}");
    // A node without an agent, so that there is one that nobody knows.
    world.cluster.bare_nodes(1);
    every_panel_has_data(prometheus);
    let open = figures(prometheus);
    assert_eq!(open["fleet: Open"], 2.0, "{open:?}");
    let said = grafana(prometheus);
    assert_eq!(said["GuardprobeBreached"], "firing", "{said:?}");
    assert_eq!(in_state(&said, "no data"), [""; 0]);
    world.cluster.kubectl(&["delete", "node", "bare-0000"]);
    world.cluster.nft("delete table ip doubt");
    node.guard();
    let until = 2 * MINUTE + ENDED_SHOWN + prometheus.paced(15 * MINUTE);
    until_firing(prometheus, until, "the guard is back on node-2", &[]);
    assert_eq!(in_state(&grafana(prometheus), "no data"), [""; 0]);
}

/// Agents, reporters and scrapes go missing, with and without an open guard.
fn goes_missing(world: &mut World<'_>, prometheus: &Prometheus<'_>) {
    let five_minutes = prometheus.paced(5 * MINUTE);
    let before = figures(prometheus);
    world.agents[0] = None;
    until_firing(prometheus, 2 * five_minutes, "the agent of node-1 is dead", &["GuardprobeUncovered node-1"]);
    nothing_looks_better(prometheus, "the agent of node-1 is dead", &before, five_minutes / 2);
    world.agents[0] = Some(world.agent(0));
    until_firing(prometheus, five_minutes + 2 * MINUTE, "it is back", &[]);
    until_all_is_well(prometheus);

    let before = figures(prometheus);
    world.reporters[0] = None;
    nothing_looks_better(prometheus, "one reporter is dead", &before, 3 * five_minutes / 2);
    assert_eq!(prometheus.firing(), [""; 0], "the other one is enough");

    world.nodes[1].unguard();
    until_firing(prometheus, MINUTE, "and the guard is gone", &OPEN);
    let before = figures(prometheus);
    world.reporters[1] = None;
    let with_absent = [OPEN.as_slice(), &["GuardprobeReporterAbsent"]].concat();
    until_firing(prometheus, 2 * five_minutes, "both reporters are dead", &with_absent);
    nothing_looks_better(prometheus, "both reporters are dead", &before, five_minutes / 2);
    let said = grafana(prometheus);
    assert_eq!(in_state(&said, "ok"), [""; 0], "without a reporter nothing is fine: {said:?}");
    assert_eq!((said["GuardprobeBreached"], said["GuardprobeReporterAbsent"]), ("firing", "firing"));

    // And the agent as well: nobody is left who saw it.
    world.agents[1] = None;
    sleep(prometheus.paced(4 * MINUTE));
    still_open(prometheus, "nobody is left who saw it");
    world.agents[1] = Some(world.agent(1));
    world.reporters = (1..=2).map(|nth| Some(world.reporter(nth))).collect();
    within(2 * MINUTE, "a reporter is scraped again", || match prometheus.query("guardprobe_fleet_nodes").len() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    still_open(prometheus, "all are back");

    let before = best_figures(prometheus);
    prometheus.cut(true);
    nothing_looks_better(prometheus, "nothing is scraped", &before, five_minutes);
    still_open(prometheus, "nothing was scraped for five minutes");
    prometheus.cut(false);
    sleep(3 * world.pace.scrape);
    still_open(prometheus, "it is scraped again");
}

#[track_caller]
fn still_open(prometheus: &Prometheus<'_>, what: &str) {
    let firing = prometheus.firing();
    assert!(OPEN.iter().all(|open| firing.iter().any(|is| is == open)), "{what}: {firing:?}");
    println!("{what}: {firing:?}");
}

/// All that there is to be known is known, and nothing is wrong.
#[track_caller]
fn until_all_is_well(prometheus: &Prometheus<'_>) {
    within(10 * MINUTE, "all are proved, and all of it is recorded", || {
        let (all, firing) = (figures(prometheus), prometheus.firing());
        let proved = all.get("fleet: Where the time went").is_some_and(|proved| *proved > 5.9);
        let for_long = all.get("fleet: Proved, by target").is_some_and(|share| *share > 1.99);
        if proved && for_long && all.get("fleet: Covered") == Some(&1.0) && firing.is_empty() {
            Ok(())
        } else {
            Err(format!("{all:?} {firing:?}"))
        }
    });
}

#[test]
fn a_breach_fires_its_alert_until_it_is_over_and_every_panel_has_data_meanwhile() {
    let cluster = Cluster::new();
    let world = World::new(&cluster, FAST);
    let prometheus = Prometheus::start(&cluster, 20, &[9798, 9898], FAST);
    until_all_is_well(&prometheus);
    falls_and_comes_back(&world, &prometheus);
}

#[test]
fn what_goes_missing_ends_no_alert_and_makes_no_figure_look_better() {
    let cluster = Cluster::new();
    let mut world = World::new(&cluster, FAST);
    let prometheus = Prometheus::start(&cluster, 20, &[9798, 9898], FAST);
    until_all_is_well(&prometheus);
    goes_missing(&mut world, &prometheus);
}

#[test]
#[ignore = "half an hour: ./test slow runs it"]
fn a_breach_at_the_intervals_that_are_shipped() {
    let cluster = Cluster::new();
    let world = World::new(&cluster, SHIPPED);
    let prometheus = Prometheus::start(&cluster, 20, &[9798, 9898], SHIPPED);
    until_all_is_well(&prometheus);
    falls_and_comes_back(&world, &prometheus);
    // Two seconds, wherever they fall between the scrapes.
    world.nodes[1].unguard();
    sleep(Duration::from_secs(2));
    world.nodes[1].guard();
    until_firing(&prometheus, MINUTE, "open for two seconds", &OPEN);
    until_firing(&prometheus, 20 * MINUTE, "two seconds are over", &[]);
}

#[test]
#[ignore = "an hour: ./test slow runs it"]
fn what_goes_missing_at_the_intervals_that_are_shipped() {
    let cluster = Cluster::new();
    let mut world = World::new(&cluster, SHIPPED);
    let prometheus = Prometheus::start(&cluster, 20, &[9798, 9898], SHIPPED);
    until_all_is_well(&prometheus);
    goes_missing(&mut world, &prometheus);
}
