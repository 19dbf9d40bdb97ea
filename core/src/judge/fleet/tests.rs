use super::*;
use crate::model::cluster::{Labels, Placement};
use crate::model::fleet::Exclusion;
use crate::model::observation::Source;
use crate::model::observation::{Evidence, Layer};
use crate::model::report::{HeldProof, Opening};
use jiff::Timestamp;

const GUARD: &str = "default/deny";
const IMDS: &str = "169.254.169.254:80";
const V6: &str = "[fd00:ec2::254]:80";
const SERVICE: &str = "10.96.0.1:443";
const ENDPOINT: &str = "10.90.0.10:6443";

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// So many seconds after this process began.
fn at(seconds: u64) -> Moment {
    Moment { wall: start(), up: Duration::ZERO }.after(Duration::from_secs(seconds))
}

fn up(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A node as old as the hills.
fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        uid: format!("uid-of-{name}"),
        created: Timestamp::UNIX_EPOCH,
        ready: true,
        deleting: false,
        labels: Labels::new(),
        taints: vec![],
    }
}

fn pod(name: &str, node: &str) -> Pod {
    Pod {
        uid: format!("uid-of-{name}"),
        namespace: "default".into(),
        name: name.into(),
        guard: GUARD.parse().unwrap(),
        role: if name.starts_with("witness") { Role::Witness } else { Role::Agent },
        node: Some(node.into()),
        ip: Some([10, 0, 0, 1].into()),
        ready: true,
        deleting: false,
        controller: Some(if name.starts_with("witness") { "set-w".into() } else { "set-a".into() }),
        labels: [("egress".to_owned(), "restricted".to_owned())].into(),
        host_network: false,
        token_mounted: false,
    }
}

fn set(uid: &str, role: Role) -> DaemonSet {
    let (guard, placement, interval) = (GUARD.parse().unwrap(), Placement::default(), names::INTERVAL);
    DaemonSet { uid: uid.into(), name: uid.into(), guard, role, placement, interval }
}

fn known() -> Known {
    let labels = [("egress".to_owned(), "restricted".to_owned())].into();
    let guard = Guard { name: GUARD.parse().unwrap(), labels };
    let mut known = Known::new(vec![guard], Attribution::Weak);
    known.daemon_set(set("set-a", Role::Agent));
    known.daemon_set(set("set-w", Role::Witness));
    known
}

/// An agent or witness on a node, both there since this process began.
fn known_with(pods: &[(&str, &str)]) -> Known {
    let mut known = known();
    for (name, on) in pods {
        known.node(node(on), up(0));
        known.pod(pod(name, on), up(0));
    }
    known
}

fn tried(address: &str, alone: Option<Attribution>) -> Tried {
    Tried {
        address: address.parse().unwrap(),
        source: Source::Literal,
        alone,
        refused: false,
        endpoints_tried: false,
        not_reached: None,
    }
}

fn target(name: &str, verdict: Verdict, reason: Reason, addresses: Vec<Tried>) -> HeardTarget {
    HeardTarget {
        name: name.into(),
        kind: if name == "imds" { Kind::Imds } else { Kind::KubeApi },
        verdict,
        reason,
        since: start(),
        opening: None,
        recent: vec![],
        startup_exposure: Duration::ZERO,
        addresses_given: false,
        addresses,
        skipped: vec![],
        proof: None,
        held_proof: None,
    }
}

fn blocked() -> HeardTarget {
    target("imds", Verdict::Blocked, Reason::Proof(Attribution::Silence), vec![tried(IMDS, Some(Attribution::Silence))])
}

fn doubtful(doubt: Doubt) -> HeardTarget {
    target("imds", Verdict::Inconclusive, Reason::Doubt(doubt), vec![tried(IMDS, None)])
}

fn breached_target() -> HeardTarget {
    let opening = Opening {
        id: "b.1".into(),
        started: start(),
        last_connected: start(),
        layer: Layer::Http,
        evidence: Evidence::TokenIssued,
        addresses: vec![],
    };
    HeardTarget {
        opening: Some(opening),
        ..target("imds", Verdict::Breached, Reason::Evidence(Evidence::Connected), vec![tried(IMDS, None)])
    }
}

fn heading(interval: u64, age: u64) -> Heading {
    Heading {
        boot: "b00".into(),
        round: 4,
        pod: None,
        version: "0.1.0".into(),
        config_hash: "c0ffee".into(),
        endpoints_revision: None,
        interval: up(interval),
        waited: None,
        age: up(age),
        started: start(),
        finished: start(),
    }
}

fn heard(targets: Vec<HeardTarget>) -> Saying {
    Saying::Agent(Heard { heading: heading(15, 1), targets })
}

fn reached(addresses: &[&str]) -> Saying {
    Saying::Witness(Witnessed { heading: heading(60, 0), reached: addresses.iter().map(|a| a.parse().unwrap()).collect() })
}

fn look(known: &Known, seconds: u64) -> Row {
    let fleet = fleet(known, &Incidents::default(), at(seconds));
    assert_eq!(fleet.rows.len(), 1, "{:?}", fleet.rows);
    fleet.rows[0].clone()
}

/// State and reason of the coverage of the only row.
fn coverage(known: &Known, seconds: u64) -> String {
    let coverage = look(known, seconds).coverage;
    format!("{}: {}", coverage.state(), coverage.reason().unwrap_or("-"))
}

fn finding(known: &Known, seconds: u64) -> String {
    let row = look(known, seconds);
    let target = &row.targets[0];
    format!("{}: {}", target.verdict.unwrap().as_str(), target.reason.unwrap().as_str())
}

#[test]
fn a_fresh_report_covers_its_node_until_it_is_stale() {
    let mut known = known_with(&[("a1", "n1")]);
    known.said("uid-of-a1", heard(vec![blocked()]), up(200));
    // One second old when it was sent, and stale after 90 s.
    for (now, expected) in [(200, "covered: -"), (289, "covered: -"), (290, "uncovered: stale")] {
        assert_eq!(coverage(&known, now), expected, "{now}");
    }
    let row = look(&known, 210);
    assert_eq!((row.age_seconds, row.report, row.pod.unwrap().name), (Some(11.0), Some(("b00".to_owned(), 4)), "a1".to_owned()));
    let slow = |interval| Saying::Agent(Heard { heading: heading(interval, 0), targets: vec![blocked()] });
    // What an agent claims counts as far as its guard is configured for it.
    for (claimed, configured, stale) in [(60, 60, 381), (60, 3600, 381), (86_400, 60, 381), (86_400, 15, 291), (15, 60, 291)] {
        known.daemon_set(DaemonSet { interval: up(configured), ..set("set-a", Role::Agent) });
        known.said("uid-of-a1", slow(claimed), up(200));
        for (now, expected) in [(stale - 1, "covered: -"), (stale, "uncovered: stale")] {
            assert_eq!(coverage(&known, now), expected, "claims {claimed} s of {configured} s: {now}");
        }
    }
    assert!(look(&known, 381).targets.is_empty(), "stale is never blocked");
}

#[test]
fn what_a_deleted_pod_said_ends_with_stale_whatever_its_interval() {
    let mut known = known_with(&[("a1", "n1")]);
    known.daemon_set(DaemonSet { interval: up(3600), ..set("set-a", Role::Agent) });
    known.said("uid-of-a1", Saying::Agent(Heard { heading: heading(3600, 0), targets: vec![blocked()] }), up(200));
    assert_eq!(coverage(&known, 700), "covered: -");
    known.pod_gone("uid-of-a1", up(210));
    for (now, expected) in [(290, "covered: -"), (291, "uncovered: no_pod")] {
        assert_eq!(coverage(&known, now), expected, "{now}");
    }
    known.tick(up(291));
    assert!(known.one("uid-of-a1").is_none(), "and is forgotten then");
}

#[test]
fn a_node_without_a_report_is_uncovered_and_says_why() {
    let mut known = known();
    known.node(node("n1"), up(0));
    assert_eq!(coverage(&known, 600), "uncovered: no_pod");
    known.pod(Pod { ready: false, ip: None, ..pod("a1", "n1") }, up(0));
    assert_eq!(coverage(&known, 600), "uncovered: not_ready");
    known.pod(pod("a1", "n1"), up(0));
    assert_eq!(coverage(&known, 600), "uncovered: no_connection");
    known.contact("uid-of-a1", Contact::Failed("refused".into()));
    assert_eq!((coverage(&known, 600), look(&known, 600).trouble), ("uncovered: no_connection".into(), Some("refused".into())));
    known.contact("uid-of-a1", Contact::Refused("schema v9".into()));
    assert_eq!(
        (coverage(&known, 600), look(&known, 600).trouble),
        ("uncovered: refused_schema".into(), Some("schema v9".into()))
    );
    known.pod(Pod { controller: Some("another".into()), ..pod("a1", "n1") }, up(0));
    assert_eq!(coverage(&known, 600), "uncovered: no_pod", "a pod that is not ours covers nothing");
}

#[test]
fn a_report_that_stays_fresh_covers_while_its_pod_is_replaced() {
    let mut known = known_with(&[("a1", "n1")]);
    known.said("uid-of-a1", heard(vec![blocked()]), up(200));
    known.pod_gone("uid-of-a1", up(201));
    assert_eq!(coverage(&known, 250), "covered: -");
    known.tick(up(250));
    assert_eq!(coverage(&known, 250), "covered: -");
    known.tick(up(300));
    assert_eq!(coverage(&known, 300), "uncovered: no_pod");
    assert!(known.one("uid-of-a1").is_none(), "it is let go of");
}

#[test]
fn grace_excuses_a_missing_report_for_a_while_and_nothing_else() {
    let fresh = |known: &mut Known| known.node(Node { created: at(300).wall, ..node("n1") }, up(300));
    let unready = |known: &mut Known| known.node(Node { ready: false, ..node("n1") }, up(300));
    let deleting = |known: &mut Known| known.node(Node { deleting: true, ..node("n1") }, up(300));
    type Change<'a> = &'a dyn Fn(&mut Known) -> Option<String>;
    let cases: [(Change<'_>, &str); 3] =
        [(&fresh, "grace: new_node"), (&unready, "grace: node_not_ready"), (&deleting, "grace: node_deleting")];
    for (change, grace) in cases {
        let mut known = known();
        change(&mut known);
        assert_eq!(coverage(&known, 310), grace);
        assert_eq!(coverage(&known, 899), grace);
        change(&mut known);
        assert_eq!(coverage(&known, 900), "uncovered: no_pod", "{grace} ends");
        known.pod(pod("a1", "n1"), up(310));
        known.said("uid-of-a1", heard(vec![breached_target()]), up(310));
        assert_eq!(look(&known, 311).coverage, Coverage::Covered);
        assert_eq!(finding(&known, 311), "breached: token_issued");
    }
    let mut known = known();
    known.node(node("n1"), up(0));
    assert_eq!(coverage(&known, 119), "grace: reporter_starting");
    assert_eq!(coverage(&known, 120), "uncovered: no_pod");
    // Clocks: a node that was created an hour from now is new for ten minutes since we know it, and no longer.
    known.node(Node { created: at(3600).wall, ..node("n1") }, up(0));
    assert_eq!((coverage(&known, 599).as_str(), coverage(&known, 600).as_str()), ("grace: new_node", "uncovered: no_pod"));
    // Another node of the same name is another node.
    let gone = known.node(Node { uid: "another".into(), created: at(700).wall, ..node("n1") }, up(700));
    assert_eq!((gone.as_deref(), coverage(&known, 710).as_str()), (Some("uid-of-n1"), "grace: new_node"));
}

#[test]
fn a_node_that_the_daemon_set_does_not_select_is_excluded_unless_an_agent_is_there() {
    let mut known = known();
    let placement = Placement { selector: [("gpu".to_owned(), "yes".to_owned())].into(), ..Placement::default() };
    known.daemon_set(DaemonSet { placement, ..set("set-a", Role::Agent) });
    known.node(node("n1"), up(0));
    assert_eq!(look(&known, 600).coverage, Coverage::Excluded(Exclusion::NotSelected));
    known.pod(pod("a1", "n1"), up(0));
    assert_eq!(coverage(&known, 600), "uncovered: no_connection");
    known.pod_gone("uid-of-a1", up(601));
    // A guard whose DaemonSet is gone excludes nothing.
    known.daemon_set_gone("set-a");
    assert_eq!(coverage(&known, 602), "uncovered: no_pod");
}

#[test]
fn the_worse_of_two_agents_counts_but_not_one_that_is_starting() {
    for (first, second, expected) in [
        (blocked(), breached_target(), "breached: token_issued"),
        (blocked(), doubtful(Doubt::ControlFailed), "inconclusive: control_failed"),
        (blocked(), doubtful(Doubt::Starting), "blocked: silence"),
        (doubtful(Doubt::Starting), doubtful(Doubt::Starting), "inconclusive: starting"),
        (breached_target(), doubtful(Doubt::Starting), "breached: token_issued"),
    ] {
        for turned in [false, true] {
            let mut known = known_with(&[("a1", "n1"), ("a2", "n1")]);
            let (first, second) = if turned { (second.clone(), first.clone()) } else { (first.clone(), second.clone()) };
            known.said("uid-of-a1", heard(vec![first]), up(200));
            known.said("uid-of-a2", heard(vec![second]), up(200));
            assert_eq!(finding(&known, 201), expected);
        }
    }
}

#[test]
fn the_witness_of_the_same_node_proves_each_address_that_it_reaches() {
    let (silence, weak, rejected) = (Some(Attribution::Silence), Some(Attribution::Weak), Some(Attribution::Rejected));
    let by_endpoints = Tried { endpoints_tried: true, ..tried(SERVICE, None) };
    let held = |alone| HeardTarget {
        held_proof: Some(HeldProof { attribution: Attribution::Silence, age_seconds: 20.0 }),
        addresses: vec![tried(IMDS, alone)],
        ..blocked()
    };
    let refused = Tried { refused: true, ..tried(IMDS, None) };
    let is_refused = || target("imds", Verdict::Inconclusive, Reason::Doubt(Doubt::Refused), vec![refused]);
    let is_blocked = |addresses| target("imds", Verdict::Blocked, Reason::Proof(Attribution::Weak), addresses);
    for (target, witness, expected) in [
        (blocked(), vec![IMDS], "blocked: witnessed"),
        (blocked(), vec![], "blocked: silence"),
        (is_blocked(vec![tried(IMDS, silence), tried(V6, weak)]), vec![V6], "blocked: silence"),
        (is_blocked(vec![tried(IMDS, silence), tried(V6, weak)]), vec![IMDS], "blocked: weak"),
        (is_blocked(vec![tried(IMDS, silence), tried(V6, weak)]), vec![IMDS, V6], "blocked: witnessed"),
        (is_blocked(vec![tried(SERVICE, silence)]), vec![], "blocked: silence"),
        (is_blocked(vec![by_endpoints, tried(ENDPOINT, rejected)]), vec![], "blocked: rejected"),
        (is_blocked(vec![by_endpoints, tried(ENDPOINT, rejected)]), vec![ENDPOINT], "blocked: witnessed"),
        (is_blocked(vec![by_endpoints]), vec![], "inconclusive: unproved"),
        (held(weak), vec![], "blocked: weak"),
        (held(rejected), vec![], "blocked: rejected"),
        (held(weak), vec![IMDS], "blocked: witnessed"),
        (is_blocked(vec![tried(SERVICE, silence)]), vec![SERVICE], "blocked: witnessed"),
        (is_refused(), vec![], "inconclusive: refused"),
        (is_refused(), vec![V6], "inconclusive: refused"),
        (is_refused(), vec![IMDS], "blocked: witnessed"),
        (is_blocked(vec![]), vec![IMDS], "inconclusive: unproved"),
        (is_blocked(vec![tried(IMDS, None)]), vec![], "inconclusive: unproved"),
        (doubtful(Doubt::LocalError), vec![IMDS], "inconclusive: local_error"),
        (doubtful(Doubt::Unproved), vec![IMDS], "blocked: witnessed"),
        (breached_target(), vec![IMDS], "breached: token_issued"),
    ] {
        let mut known = known_with(&[("a1", "n1"), ("witness", "n1")]);
        known.said("uid-of-a1", heard(vec![target.clone()]), up(200));
        known.said("uid-of-witness", reached(&witness), up(200));
        assert_eq!(finding(&known, 201), expected, "{target:?} {witness:?}");
    }
}

#[test]
fn only_a_fresh_witness_of_the_same_node_counts() {
    let mut known = known_with(&[("a1", "n1"), ("witness", "n1")]);
    known.said("uid-of-witness", reached(&[IMDS]), up(100));
    for (now, expected) in [(250, "blocked: witnessed"), (251, "blocked: silence")] {
        known.said("uid-of-a1", heard(vec![blocked()]), up(now));
        assert_eq!(finding(&known, now), expected);
    }
    known.said("uid-of-witness", reached(&[IMDS]), up(251));
    known.pod(Pod { node: Some("n2".into()), ..pod("witness", "n2") }, up(251));
    assert_eq!(finding(&known, 251), "blocked: silence");
    known.pod(Pod { controller: None, ..pod("witness", "n1") }, up(251));
    assert_eq!(finding(&known, 251), "blocked: silence", "it is not ours");
}

#[test]
fn less_proof_than_asked_for_is_unproved() {
    for (proof, expected) in [
        (Attribution::Weak, "blocked: silence"),
        (Attribution::Silence, "blocked: silence"),
        (Attribution::Rejected, "inconclusive: unproved"),
        (Attribution::Witnessed, "inconclusive: unproved"),
    ] {
        let mut known = known_with(&[("a1", "n1")]);
        known.proof = proof;
        known.said("uid-of-a1", heard(vec![blocked()]), up(200));
        assert_eq!(finding(&known, 201), expected);
    }
}

#[test]
fn an_agent_that_has_not_tried_an_address_of_the_api_for_minutes_proves_nothing() {
    let tries = |addresses: &[&str], source| {
        let tried = |address: &&str| Tried { source, ..tried(address, Some(Attribution::Silence)) };
        target("api", Verdict::Blocked, Reason::Proof(Attribution::Silence), addresses.iter().map(tried).collect())
    };
    let mut known = known_with(&[("a1", "n1")]);
    let api = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect::<BTreeSet<SocketAddr>>();
    assert!(known.endpoints(&api(&[ENDPOINT]), up(0)) && !known.endpoints(&api(&[ENDPOINT]), up(1)));
    assert!(known.endpoints(&api(&[ENDPOINT, "10.90.0.11:6443"]), up(200)));
    let at = |known: &mut Known, target: HeardTarget, now| {
        known.said("uid-of-a1", heard(vec![target]), up(now));
        finding(known, now)
    };
    assert_eq!(at(&mut known, tries(&[SERVICE, ENDPOINT], Source::File), 379), "blocked: silence");
    assert_eq!(at(&mut known, tries(&[SERVICE, ENDPOINT], Source::File), 380), "inconclusive: missing_addresses");
    assert_eq!(look(&known, 380).targets[0].missing_addresses, ["10.90.0.11:6443".parse().unwrap()]);
    assert_eq!(at(&mut known, tries(&[SERVICE, ENDPOINT, "10.90.0.11:6443"], Source::File), 380), "blocked: silence");
    let skipped = HeardTarget { skipped: vec!["10.90.0.11:6443".parse().unwrap()], ..tries(&[ENDPOINT], Source::File) };
    assert_eq!(at(&mut known, skipped, 380), "blocked: silence", "it has no source address in that family");
    for source in [Source::Literal, Source::Dns] {
        let given = HeardTarget { addresses_given: true, ..tries(&["10.0.0.9:443"], source) };
        assert_eq!(at(&mut known, given, 380), "blocked: silence", "given by hand, as {source:?}");
    }
    let alone = at(&mut known, tries(&["10.0.0.9:443"], Source::Literal), 380);
    assert_eq!(alone, "inconclusive: missing_addresses", "not given, as from an older agent");
    let open = HeardTarget { kind: Kind::KubeApi, ..breached_target() };
    assert_eq!(at(&mut known, open, 380), "breached: token_issued");
}

#[test]
fn an_open_incident_is_breached_whatever_is_heard() {
    let mut known = known_with(&[("a1", "n1")]);
    let mut incidents = Incidents::default();
    let place = place_of(&known, &pod("a1", "n1")).unwrap();
    let told = Heard { heading: heading(15, 1), targets: vec![breached_target()] };
    incidents.hear(
        &super::super::incidents::ReportInput { place: &place, pod: "uid-of-a1", heard: &told, is_complete: true, now: up(200) },
        |_| Assessment::default(),
    );
    for (said, now) in [(Some(doubtful(Doubt::ControlFailed)), 201), (None, 900)] {
        if let Some(said) = said {
            known.said("uid-of-a1", heard(vec![said]), up(now));
        }
        let fleet = fleet(&known, &incidents, at(now));
        let target = &fleet.rows[0].targets[0];
        assert_eq!(
            (target.verdict, target.incident.as_ref().map(|incident| incident.id.as_str())),
            (Some(Verdict::Breached), Some("b.1"))
        );
    }
}

#[test]
fn only_pods_of_our_daemon_sets_are_asked() {
    let mut known = known_with(&[("a1", "n1"), ("witness", "n1")]);
    known.pod(Pod { ip: Some([10, 0, 0, 2].into()), ..pod("witness", "n1") }, up(0));
    let strange = |name: &str, change: fn(&mut Pod)| {
        let mut pod = pod(name, "n1");
        change(&mut pod);
        pod
    };
    for pod in [
        strange("a2", |pod| pod.controller = None),
        strange("a3", |pod| pod.controller = Some("a-replica-set".into())),
        strange("a4", |pod| pod.controller = Some("set-w".into())),
        strange("a5", |pod| pod.guard = "default/another".parse().unwrap()),
        strange("a6", |pod| pod.ip = None),
        strange("a7", |pod| pod.node = None),
    ] {
        known.pod(pod, up(0));
    }
    let asked: Vec<&str> = known.to_ask().map(|pod| pod.name.as_str()).collect();
    assert_eq!(asked, ["a1", "witness"]);
    // An address that another pod has got since.
    known.pod(pod("a9", "n9"), up(10));
    assert_eq!(known.to_ask().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["a9", "witness"]);
}

/// The warnings, `word: count (examples)`.
fn warned(known: &Known, seconds: u64) -> Vec<String> {
    let warnings = fleet(known, &Incidents::default(), at(seconds)).warnings;
    warnings.iter().map(|w| format!("{}: {} ({})", w.warning.as_str(), w.count, w.examples.join(", "))).collect()
}

#[test]
fn the_set_up_is_looked_at() {
    let mut known = known_with(&[("a1", "n1")]);
    assert_eq!(warned(&known, 600), Vec::<String>::new());
    let service = |selector: &[(&str, &str)]| Service {
        namespace: "default".into(),
        name: "web".into(),
        selector: selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    known.service(service(&[]));
    assert_eq!(warned(&known, 600), Vec::<String>::new(), "a Service without a selector selects nothing");
    known.service(service(&[("egress", "restricted")]));
    assert_eq!(warned(&known, 600), ["service_selects_agent: 1 (default/web)"]);
    known.service_gone("default", "web");
    for (change, expected) in [
        ((|pod| pod.token_mounted = true) as fn(&mut Pod), "token_mounted: 1 (default/a1)"),
        (|pod| pod.host_network = true, "host_network: 1 (default/a1)"),
        (|pod| drop(pod.labels.remove("egress")), "guard_labels_missing: 1 (default/a1)"),
        (|pod| pod.controller = None, "not_ours: 1 (default/a1)"),
    ] {
        let mut changed = pod("a1", "n1");
        change(&mut changed);
        known.pod(changed, up(0));
        assert_eq!(warned(&known, 600), [expected]);
    }
    known.pod(pod("a1", "n1"), up(0));
    known.daemon_set_gone("set-a");
    assert_eq!(warned(&known, 600), ["not_ours: 1 (default/a1)", "no_daemon_set: 1 (default/deny)"]);
}

#[test]
fn what_is_normal_in_a_rollout_is_a_warning_when_it_lasts() {
    let mut known = known_with(&[("a1", "n1"), ("a3", "n3")]);
    known.pod(pod("a2", "n1"), up(100));
    assert_eq!((warned(&known, 399), warned(&known, 400)), (vec![], vec!["two_agents: 1 (n1)".to_owned()]));
    known.pod(Pod { deleting: true, ..pod("a2", "n1") }, up(100));
    assert_eq!(warned(&known, 400), Vec::<String>::new());
    let newer = Saying::Agent(Heard {
        heading: Heading { version: "0.2.0".into(), config_hash: "other".into(), ..heading(15, 1) },
        targets: vec![blocked()],
    });
    known.said("uid-of-a1", heard(vec![blocked()]), up(400));
    known.said("uid-of-a3", newer, up(400));
    known.tick(up(400));
    known.tick(up(500));
    assert_eq!(warned(&known, 699), Vec::<String>::new());
    assert_eq!(warned(&known, 700), ["mixed_versions: 2 (0.1.0, 0.2.0)", "mixed_configurations: 2 (c0ffee, other)"]);
    known.said("uid-of-a3", heard(vec![blocked()]), up(700));
    known.tick(up(700));
    assert_eq!(warned(&known, 5000), Vec::<String>::new());
}

#[test]
fn a_target_that_sets_its_own_proof_is_judged_by_it() {
    for (own, fleet, expected) in [
        (Some(Attribution::Silence), Attribution::Rejected, "blocked: silence"),
        (Some(Attribution::Rejected), Attribution::Weak, "inconclusive: unproved"),
        (None, Attribution::Rejected, "inconclusive: unproved"),
    ] {
        let mut known = known_with(&[("a1", "n1")]);
        known.proof = fleet;
        known.said("uid-of-a1", heard(vec![HeardTarget { proof: own, ..blocked() }]), up(200));
        assert_eq!(finding(&known, 201), expected);
    }
}

#[test]
fn a_held_proof_is_shown_with_its_age_as_long_as_it_is_blocked_by_it() {
    let held = HeardTarget {
        held_proof: Some(HeldProof { attribution: Attribution::Silence, age_seconds: 20.0 }),
        addresses: vec![tried(IMDS, Some(Attribution::Weak))],
        ..blocked()
    };
    for (proof, now, witness, finding, age) in [
        (Attribution::Silence, 201, vec![], "blocked: silence", Some(21.0)),
        (Attribution::Silence, 239, vec![], "blocked: silence", Some(59.0)),
        (Attribution::Silence, 240, vec![], "inconclusive: unproved", None),
        (Attribution::Rejected, 201, vec![], "inconclusive: unproved", None),
        (Attribution::Weak, 201, vec![], "blocked: weak", None),
        (Attribution::Silence, 201, vec![IMDS], "blocked: witnessed", None),
    ] {
        let mut known = known_with(&[("a1", "n1"), ("witness", "n1")]);
        known.proof = proof;
        known.said("uid-of-a1", heard(vec![held.clone()]), up(200));
        known.said("uid-of-witness", reached(&witness), up(200));
        assert_eq!(super::tests::finding(&known, now), finding);
        let fleet = fleet(&known, &Incidents::default(), at(now));
        assert_eq!(fleet.rows[0].targets[0].held_proof_seconds, age, "{finding}");
    }
}

#[test]
fn a_reporter_that_starts_waits_for_every_agent_of_a_node_for_a_while() {
    let mut known = known_with(&[("a1", "n1"), ("a2", "n1"), ("a3", "n2"), ("witness", "n1")]);
    let place = place_of(&known, &pod("a1", "n1")).unwrap();
    let is_complete = |known: &Known, now: u64| known.others_were_heard(&place, "uid-of-a1", up(0), up(now));
    assert!(!is_complete(&known, 10), "the second agent of this node is yet to be heard");
    known.said("uid-of-a1", heard(vec![blocked()]), up(11));
    assert!(!is_complete(&known, 11), "whatever the first says");
    assert!(is_complete(&known, 90), "one that never answers is not waited for any longer");
    let mut without = known.clone();
    without.pod_gone("uid-of-a2", up(12));
    assert!(is_complete(&without, 12));
    let mut of_another = known.clone();
    of_another.pod(Pod { guard: "another/guard".parse().unwrap(), ..pod("a2", "n1") }, up(12));
    assert!(is_complete(&of_another, 12), "an agent of another guard says nothing of this one");
    known.said("uid-of-a2", heard(vec![blocked()]), up(12));
    assert!(is_complete(&known, 12));
    // What it learns of later is waited for anew: what an agent said before says nothing of that.
    let since = |since: u64, now: u64| known.others_were_heard(&place, "uid-of-a1", up(since), up(now));
    assert!(since(12, 1012) && !since(1000, 1012) && since(1000, 1090));
}
