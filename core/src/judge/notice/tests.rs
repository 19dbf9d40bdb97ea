use super::*;
use crate::judge::incidents::Hearing;
use crate::model::cluster::{DaemonSet, Guard, Labels, Node, Placement};
use crate::model::finding::{Attribution, Doubt};
use crate::model::fleet::TargetRow;
use crate::model::heard::{Heading, Heard, HeardTarget};
use crate::model::incident::Place;
use crate::model::observation::{Evidence, Layer};
use crate::model::report::{ClosedOpening, Opening};
use jiff::Timestamp;

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn at(seconds: f64) -> Moment {
    Moment { wall: start(), up: Duration::ZERO }.after(s(seconds))
}

fn guard() -> GuardName {
    "default/deny".parse().unwrap()
}

fn known(nodes: usize) -> Known {
    let mut known = Known::new(vec![Guard { name: guard(), labels: Labels::new() }], Attribution::Weak);
    known.daemon_set(DaemonSet {
        uid: "set".into(),
        name: "agents".into(),
        guard: guard(),
        role: Role::Agent,
        placement: Placement::default(),
    });
    for nth in 0..nodes {
        let name = format!("n{nth:03}");
        let node = Node {
            uid: format!("uid-{name}"),
            name,
            created: start(),
            ready: true,
            deleting: false,
            labels: Labels::new(),
            taints: vec![],
        };
        known.node(node, Duration::ZERO);
    }
    known
}

fn opening(node: usize) -> Opening {
    Opening {
        id: format!("b{node:03}.1"),
        started: start(),
        last_connected: start(),
        layer: Layer::Tcp,
        evidence: Evidence::Connected,
        addresses: vec![],
    }
}

/// What a node's agent says at `now`: that it is open, or that it was.
fn hear(incidents: &mut Incidents, node: usize, opening: Option<Opening>, recent: Vec<ClosedOpening>, now: Duration) {
    let name = format!("n{node:03}");
    let place = Place { guard: guard(), node_uid: format!("uid-{name}"), node: name, target: String::new() };
    let heading = Heading {
        boot: format!("b{node:03}"),
        round: 1,
        pod: None,
        version: "0".into(),
        config_hash: "c".into(),
        endpoints_revision: None,
        interval: s(15.0),
        age: Duration::ZERO,
        started: start(),
        finished: start(),
    };
    let (verdict, reason) = match opening {
        Some(_) => (Verdict::Breached, Reason::Evidence(Evidence::Connected)),
        None => (Verdict::Blocked, Reason::Proof(Attribution::Silence)),
    };
    let target = HeardTarget {
        name: "imds".into(),
        kind: crate::model::config::Kind::Imds,
        verdict,
        reason,
        since: start(),
        opening,
        recent,
        startup_exposure: Duration::ZERO,
        addresses_given: false,
        addresses: vec![],
        skipped: vec![],
        proof: None,
        held_proof: None,
    };
    let heard = Heard { heading, targets: vec![target] };
    incidents.hear(&Hearing { place: &place, pod: &format!("pod-{node}"), heard: &heard, now }, |_| Some(Attribution::Silence));
}

fn ended(node: usize) -> ClosedOpening {
    ClosedOpening { opening: opening(node), ended: start(), transient: false }
}

/// A reporter that writes whatever it may, each fifth of a second; `there` is what the API has.
struct Reporter {
    known: Known,
    incidents: Incidents,
    ledger: Ledger,
    lasting: Lasting,
    fleet: Fleet,
    now: f64,
    written: Vec<(f64, Act)>,
}

impl Reporter {
    fn of(nodes: usize) -> Self {
        Reporter {
            known: known(nodes),
            incidents: Incidents::new(Duration::ZERO),
            ledger: Ledger::default(),
            lasting: Lasting::default(),
            fleet: Fleet::default(),
            now: 0.0,
            written: vec![],
        }
    }

    /// The nodes of the fleet where an agent can be; all that there are where no fleet was looked at.
    fn next_of(&mut self, wanted: &[Notice]) -> Option<Act> {
        let (all, fleet) = (self.known.node_names().count(), &self.fleet);
        let nodes_of = |guard: &GuardName| if fleet.rows.is_empty() { all } else { judged_nodes(fleet, guard) };
        self.ledger.next(wanted, &self.known, nodes_of, at(self.now))
    }

    fn run_until(&mut self, end: f64) {
        while self.now < end {
            let wanted = wanted(&self.fleet, &self.incidents, &self.lasting, &self.known.rules, s(self.now));
            while let Some(act) = self.next_of(&wanted) {
                self.ledger.written(&act, s(self.now));
                self.written.push((self.now, act));
            }
            self.now += 0.2;
        }
    }

    /// What was written, in short, since it was asked last.
    fn written(&mut self) -> Vec<String> {
        let short = |(_, act): (f64, Act)| match act {
            Act::Post(notice) => format!("{} {}", notice.reason.as_str(), notice.target),
            Act::Renew { notice, count } => format!("{} {} x{count}", notice.reason.as_str(), notice.target),
        };
        std::mem::take(&mut self.written).into_iter().map(short).collect()
    }
}

#[test]
fn a_breach_is_told_once_shortly_after_it_is_learnt_and_its_end_at_once() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    reporter.run_until(0.2);
    assert!(reporter.written().is_empty(), "a note cannot be changed: more may follow");
    reporter.run_until(100.0);
    assert_eq!(reporter.written(), ["EgressBreached imds"]);
    hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(100.0));
    reporter.run_until(2000.0);
    assert_eq!(reporter.written(), ["EgressBlocked imds"]);
}

#[test]
fn one_that_came_and_went_is_told_with_both_its_ends() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(0.0));
    reporter.run_until(5.0);
    assert_eq!(reporter.written(), ["EgressBreached imds", "EgressBlocked imds"]);
}

#[test]
fn an_event_is_renewed_while_it_lasts_and_written_again_when_it_is_gone() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    reporter.run_until(910.0);
    assert_eq!(
        reporter.written(),
        ["EgressBreached imds", "EgressBreached imds x2", "EgressBreached imds x3", "EgressBreached imds x4"]
    );
    let name = reporter.ledger.names().remove(0);
    reporter.ledger.gone(&name);
    reporter.run_until(920.0);
    assert_eq!(reporter.written(), ["EgressBreached imds"]);
    hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(920.0));
    reporter.run_until(930.0);
    reporter.ledger.names().iter().for_each(|name| reporter.ledger.gone(name));
    reporter.run_until(2000.0);
    assert_eq!(reporter.written(), ["EgressBlocked imds"], "what is over is told once, though the API lets go of it");
}

#[test]
fn what_another_reporter_wrote_is_not_written_again() {
    let mut first = Reporter::of(3);
    hear(&mut first.incidents, 1, Some(opening(1)), vec![], s(0.0));
    first.run_until(1.0);
    let mut second = Reporter::of(3);
    first.ledger.names().iter().for_each(|name| second.ledger.seen(name, 1, s(0.0)));
    hear(&mut second.incidents, 1, Some(opening(1)), vec![], s(0.0));
    second.run_until(10.0);
    assert!(second.written().is_empty());
    second.run_until(310.0);
    assert_eq!(second.written(), ["EgressBreached imds x2"], "but it goes on with it");
}

#[test]
fn a_guard_that_flaps_is_one_incident_with_at_most_two_ends() {
    let mut reporter = Reporter::of(3);
    let nth = |nth: u32| Opening { id: format!("b001.{nth}"), ..opening(1) };
    let mut recent = vec![];
    for turn in 1..=10 {
        hear(&mut reporter.incidents, 1, Some(nth(turn)), recent.clone(), s(reporter.now));
        reporter.run_until(reporter.now + 15.0);
        recent.insert(0, ClosedOpening { opening: nth(turn), ended: start(), transient: false });
        hear(&mut reporter.incidents, 1, None, recent.clone(), s(reporter.now));
        reporter.run_until(reporter.now + 15.0);
    }
    let written = reporter.written();
    assert_eq!(written.iter().filter(|written| *written == "EgressBreached imds").count(), 1, "{written:?}");
    assert_eq!(written.iter().filter(|written| *written == "EgressBlocked imds").count(), 1, "{written:?}");
    assert!(
        written.iter().any(|written| written.starts_with("EgressBreached imds x")),
        "the series says that it goes on: {written:?}"
    );
    reporter.run_until(reporter.now + 700.0);
    assert_eq!(reporter.written(), ["EgressBlocked imds"], "the last end, once it is sure to be the last");
}

#[test]
fn when_very_many_breach_at_once_one_event_says_so_first_and_the_rest_keep_to_the_rate() {
    let mut reporter = Reporter::of(200);
    for node in 0..200 {
        hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(node as f64 * 0.005));
    }
    reporter.run_until(60.0);
    let (at, first) = reporter.written[0].clone();
    let Act::Post(notice) = first else { panic!("{first:?}") };
    let Saying::Many { nodes, of, examples, targets, .. } = &notice.saying else { panic!("{notice:?}") };
    assert_eq!((*of, examples.len(), targets.as_slice()), (200, 3, &["imds".to_owned()][..]));
    assert!(
        *nodes > 100 && at < 1.5 && matches!(&notice.regarding, Regarding::DaemonSet { name, .. } if name == "agents"),
        "{nodes} {at}"
    );
    let single = |from: f64, to: f64| reporter.written.iter().skip(1).filter(|(at, _)| (from..to).contains(at)).count();
    assert_eq!(single(0.0, 2.0), 20 + 1, "a burst, then one a second");
    let (ten, forty) = (single(2.0, 12.0), single(12.0, 52.0));
    assert!((9..=11).contains(&ten) && (38..=41).contains(&forty), "{ten} {forty}");
    assert!(reporter.ledger.waiting() > 100);
    let many = |(_, act): &&(f64, Act)| matches!(act, Act::Post(Notice { saying: Saying::Many { .. }, .. }));
    reporter.run_until(400.0);
    assert_eq!(reporter.written.iter().filter(many).count(), 1);
    let posts = reporter.written.iter().filter(|(_, act)| matches!(act, Act::Post(_))).count();
    assert_eq!((posts, reporter.ledger.waiting()), (201, 0));
}

#[test]
fn a_few_nodes_are_told_of_one_by_one() {
    let mut reporter = Reporter::of(30);
    (0..5).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    reporter.run_until(10.0);
    assert_eq!(reporter.written(), vec!["EgressBreached imds"; 5]);
}

#[test]
fn a_node_with_much_to_say_does_not_keep_others_waiting() {
    let mut reporter = Reporter::of(30);
    let far_apart = |nth: i64| {
        let started = start() - jiff::SignedDuration::from_secs(1000 * nth);
        let opening = Opening { id: format!("b001.{nth}"), started, last_connected: started, ..opening(1) };
        ClosedOpening { opening, ended: started, transient: false }
    };
    reporter.incidents = Incidents::new(s(100_000.0));
    hear(&mut reporter.incidents, 1, None, (1..=16).map(far_apart).collect(), s(0.0));
    reporter.run_until(3.0);
    assert!(reporter.ledger.waiting() > 5, "the burst is used up: {}", reporter.ledger.waiting());
    hear(&mut reporter.incidents, 2, Some(opening(2)), vec![], s(3.0));
    reporter.written.clear();
    reporter.run_until(5.4);
    let nodes: Vec<String> = reporter
        .written
        .iter()
        .map(|(_, act)| match act {
            Act::Post(notice) | Act::Renew { notice, .. } => notice.regarding.uid().to_owned(),
        })
        .collect();
    assert!(nodes.iter().take(2).any(|node| node == "uid-n002"), "{nodes:?}");
}

fn row(node: &str, coverage: Coverage, doubt: Option<Doubt>) -> Row {
    let target = doubt.map(|doubt| TargetRow {
        name: "imds".into(),
        kind: None,
        verdict: Some(Verdict::Inconclusive),
        reason: Some(Reason::Doubt(doubt)),
        since: None,
        held_proof_seconds: None,
        incident: None,
        missing_addresses: vec![],
    });
    Row {
        guard: guard(),
        node: node.into(),
        node_uid: format!("uid-{node}"),
        coverage,
        uncovered_since: None,
        trouble: None,
        pod: None,
        age_seconds: None,
        round_seconds: None,
        report: None,
        targets: target.into_iter().collect(),
    }
}

#[test]
fn uncovered_is_told_at_once_and_inconclusive_when_it_has_lasted() {
    let mut reporter = Reporter::of(3);
    reporter.fleet.rows =
        vec![row("n001", Coverage::Uncovered(Gap::NoPod), None), row("n002", Coverage::Covered, Some(Doubt::ControlFailed))];
    assert_eq!(reporter.lasting.look(&reporter.fleet, at(0.0)).len(), 1);
    reporter.run_until(299.0);
    assert_eq!(reporter.written(), ["ProberUncovered "]);
    reporter.run_until(610.0);
    assert_eq!(reporter.written(), ["ProberUncovered  x2", "EgressUnproven imds", "ProberUncovered  x3"]);
    // It is over, and comes again: the series goes on at once.
    let uncovered = std::mem::replace(&mut reporter.fleet.rows, vec![row("n001", Coverage::Covered, None)]);
    assert_eq!(reporter.lasting.look(&reporter.fleet, at(610.0)).len(), 1);
    reporter.run_until(620.0);
    reporter.fleet.rows = uncovered;
    reporter.lasting.look(&reporter.fleet, at(620.0));
    reporter.run_until(630.0);
    assert_eq!(reporter.written(), ["ProberUncovered  x4"], "and the doubt has just begun");
}

#[test]
fn very_many_nodes_are_told_of_again_when_it_happens_again() {
    let mut reporter = Reporter::of(100);
    let rows = |coverage| (0..30).map(|nth| row(&format!("n{nth:03}"), coverage, None)).collect::<Vec<_>>();
    let count = |reporter: &mut Reporter| {
        let many = |(_, act): &(f64, Act)| matches!(act, Act::Post(Notice { saying: Saying::Many { .. }, .. }));
        let count = reporter.written.iter().filter(|act| many(act)).count();
        reporter.written.clear();
        count
    };
    for turn in 0..2 {
        reporter.fleet.rows = rows(Coverage::Uncovered(Gap::NoPod));
        reporter.run_until(f64::from(turn) * 8000.0 + 100.0);
        assert_eq!(count(&mut reporter), 1, "{turn}");
        reporter.fleet.rows = rows(Coverage::Covered);
        reporter.run_until(f64::from(turn) * 8000.0 + 200.0);
        // An hour later the API lets go of them.
        reporter.ledger.names().iter().for_each(|name| reporter.ledger.gone(name));
        reporter.now = f64::from(turn + 1) * 8000.0;
    }
}

#[test]
fn changes_of_coverage_are_told_as_lines() {
    let mut lasting = Lasting::default();
    let mut look = |coverage, now| {
        let fleet = Fleet { rows: vec![row("n1", coverage, None)], warnings: vec![] };
        let changes = lasting.look(&fleet, at(now));
        changes.into_iter().map(|change| serde_json::to_string(&change).unwrap()).collect::<Vec<_>>()
    };
    assert!(look(Coverage::Covered, 0.0).is_empty());
    assert_eq!(
        look(Coverage::Uncovered(Gap::Stale), 1.0),
        [r#"{"event":"uncovered","guard":"default/deny","node":"n1","reason":"stale"}"#]
    );
    assert!(look(Coverage::Uncovered(Gap::Stale), 2.0).is_empty());
    assert_eq!(
        look(Coverage::Uncovered(Gap::NoPod), 3.0),
        [r#"{"event":"uncovered","guard":"default/deny","node":"n1","reason":"no_pod"}"#]
    );
    assert!(look(Coverage::Grace(crate::model::fleet::Excuse::NodeNotReady), 3.5).is_empty(), "excused is not covered");
    assert_eq!(look(Coverage::Covered, 4.0), [r#"{"event":"covered","guard":"default/deny","node":"n1","reason":null}"#]);
}

#[test]
fn a_node_is_uncovered_since_it_was_first_seen_so_whatever_the_reason_becomes() {
    let mut lasting = Lasting::default();
    let mut since = |coverage, now| {
        let mut fleet = Fleet { rows: vec![row("n1", coverage, None)], warnings: vec![] };
        lasting.look(&fleet, at(now));
        lasting.date(&mut fleet);
        fleet.rows[0].uncovered_since
    };
    assert_eq!(since(Coverage::Uncovered(Gap::Stale), 1.0), Some(at(1.0).wall));
    assert_eq!(since(Coverage::Uncovered(Gap::NoPod), 5.0), Some(at(1.0).wall));
    assert_eq!(since(Coverage::Grace(crate::model::fleet::Excuse::NodeNotReady), 6.0), None, "excused is not uncovered");
    assert_eq!(since(Coverage::Uncovered(Gap::NoPod), 7.0), Some(at(1.0).wall), "nor is it covered");
    assert_eq!(since(Coverage::Covered, 8.0), None);
    assert_eq!(since(Coverage::Uncovered(Gap::Stale), 9.0), Some(at(9.0).wall));
}

/// How many Events about many nodes were written, and how many about single ones; then those are forgotten.
fn many_and_single(reporter: &mut Reporter) -> (usize, usize) {
    let is_many = |(_, act): &&(f64, Act)| matches!(act.notice().saying, Saying::Many { .. });
    let posts = reporter.written.iter().filter(|(_, act)| matches!(act, Act::Post(_)));
    let (many, all) = (posts.clone().filter(is_many).count(), posts.count());
    reporter.written.clear();
    (many, all - many)
}

#[test]
fn a_second_outage_of_many_nodes_within_the_hour_is_told_like_the_first() {
    let mut reporter = Reporter::of(200);
    let gone = |from: usize| {
        let coverage = |nth| if (from..from + 30).contains(&nth) { Coverage::Uncovered(Gap::NoPod) } else { Coverage::Covered };
        (0..200).map(|nth| row(&format!("n{nth:03}"), coverage(nth), None)).collect::<Vec<_>>()
    };
    for from in [0, 30, 60] {
        reporter.fleet.rows = gone(from);
        reporter.run_until(reporter.now + 300.0);
        assert_eq!(many_and_single(&mut reporter), (1, 30), "the outage that begins with node {from}");
    }
}

#[test]
fn another_replica_tells_of_the_same_outage_under_the_same_name() {
    let name = |began: f64| {
        let mut reporter = Reporter::of(100);
        reporter.now = began;
        reporter.fleet.rows = (0..30).map(|nth| row(&format!("n{nth:03}"), Coverage::Uncovered(Gap::NoPod), None)).collect();
        reporter.run_until(began + 2.0);
        let many = reporter.written.iter().find(|(_, act)| matches!(act.notice().saying, Saying::Many { .. }));
        many.map(|(_, act)| act.notice().name.clone()).unwrap()
    };
    assert_eq!(name(61.0), name(65.0), "both saw it begin in the same minute");
    assert_ne!(name(61.0), name(600.0));
    // One that saw it begin in the minute before finds it told.
    let mut late = Reporter::of(100);
    late.now = 59.0;
    late.ledger.seen(&name(61.0), 1, s(59.0));
    late.fleet.rows = (0..30).map(|nth| row(&format!("n{nth:03}"), Coverage::Uncovered(Gap::NoPod), None)).collect();
    late.run_until(100.0);
    assert_eq!(many_and_single(&mut late).0, 0);
}

#[test]
fn one_that_is_refused_rests_by_itself_and_holds_nobody_up() {
    let mut reporter = Reporter::of(3);
    (0..3).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(1.0));
    reporter.now = 1.0;
    let refused = reporter.next_of(&wanted).unwrap().notice().name.clone();
    let mut tries = Vec::new();
    let mut others = 0;
    while reporter.now < 200.0 {
        while let Some(act) = reporter.next_of(&wanted) {
            if act.notice().name == refused {
                reporter.ledger.refused(&refused, s(reporter.now));
                tries.push(reporter.now.round());
            } else {
                reporter.ledger.written(&act, s(reporter.now));
                others += usize::from(matches!(act, Act::Post(_)));
            }
        }
        reporter.now += 0.5;
    }
    assert_eq!((tries, others), (vec![1.0, 11.0, 31.0, 71.0, 151.0], 2));
    reporter.ledger.written(&Act::Post(wanted.iter().find(|notice| notice.name == refused).unwrap().clone()), s(200.0));
    assert!(reporter.ledger.refused.is_empty());
}

#[test]
fn a_refused_event_about_many_nodes_holds_up_none_about_each() {
    let mut reporter = Reporter::of(200);
    (0..200).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    let mut single = 0;
    while reporter.now < 10.0 {
        let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(reporter.now));
        while let Some(act) = reporter.next_of(&wanted) {
            if matches!(act.notice().saying, Saying::Many { .. }) {
                reporter.ledger.refused(&act.notice().name.clone(), s(reporter.now));
            } else {
                reporter.ledger.written(&act, s(reporter.now));
                single += 1;
            }
        }
        reporter.now += 0.2;
    }
    assert!(single >= 25, "{single}");
}

#[test]
fn only_nodes_where_an_agent_can_be_are_counted() {
    let mut reporter = Reporter::of(420);
    let excluded = |nth: usize| row(&format!("n{nth:03}"), Coverage::Excluded(crate::model::fleet::Exclusion::Fargate), None);
    reporter.fleet.rows =
        (20..420).map(excluded).chain((0..20).map(|nth| row(&format!("n{nth:03}"), Coverage::Covered, None))).collect();
    (0..20).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    reporter.run_until(5.0);
    let many = reporter.written.iter().find_map(|(_, act)| match &act.notice().saying {
        Saying::Many { nodes, of, .. } => Some((*nodes, *of)),
        _ => None,
    });
    assert_eq!(many, Some((20, 20)), "400 nodes of Fargate hide nothing");
}

#[test]
fn what_the_api_server_will_never_take_is_not_tried_again() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(1.0));
    reporter.now = 1.0;
    let Some(Act::Post(notice)) = reporter.next_of(&wanted) else { panic!() };
    reporter.ledger.hopeless(&notice.name);
    reporter.now = 2.0;
    assert_eq!(reporter.next_of(&wanted), None);
}

#[test]
fn the_name_of_an_event_is_as_agreed() {
    let node = Regarding::Node { name: "n1".into(), uid: "u1".into() };
    let name = event_name(NoticeReason::EgressBreached, &guard(), &node, "imds", "b.1");
    assert!(
        name.strip_prefix("guardprobe-").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())),
        "{name}"
    );
    let another = Regarding::Node { name: "n1".into(), uid: "u2".into() };
    let others = [
        event_name(NoticeReason::EgressBlocked, &guard(), &node, "imds", "b.1"),
        event_name(NoticeReason::EgressBreached, &"a/b".parse().unwrap(), &node, "imds", "b.1"),
        event_name(NoticeReason::EgressBreached, &guard(), &another, "imds", "b.1"),
        event_name(NoticeReason::EgressBreached, &guard(), &node, "api", "b.1"),
        event_name(NoticeReason::EgressBreached, &guard(), &node, "imds", "b.2"),
    ];
    assert!(others.iter().all(|other| *other != name));
}
