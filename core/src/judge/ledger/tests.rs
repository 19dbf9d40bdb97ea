use super::*;
use crate::judge::incidents::{Assessment, Incidents, ReportInput};
use crate::judge::notice::tests::{at, guard, row, s, start};
use crate::judge::notice::{Lasting, OTHER_NAMES, judged_nodes, other_name, wanted};
use crate::model::cluster::{DaemonSet, Guard, Labels, Node, Placement};
use crate::model::finding::{Attribution, Doubt, Reason, Verdict};
use crate::model::fleet::{Coverage, Fleet, Gap};
use crate::model::heard::{Heading, Heard, HeardTarget};
use crate::model::incident::Place;
use crate::model::notice::{Regarding, Saying};
use crate::model::observation::{Evidence, Layer};
use crate::model::report::{ClosedOpening, Opening};
use jiff::SignedDuration;

const PROVED: Assessment = Assessment { blocked: Some(Attribution::Silence), least: Some(Attribution::Silence) };

fn known(nodes: usize) -> Known {
    let mut known = Known::new(vec![Guard { name: guard(), labels: Labels::new() }], Attribution::Weak);
    known.daemon_set(DaemonSet {
        uid: "set".into(),
        name: "agents".into(),
        guard: guard(),
        role: Role::Agent,
        placement: Placement::default(),
        interval: names::INTERVAL,
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
        waited: None,
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
    incidents
        .hear(&ReportInput { place: &place, pod: &format!("pod-{node}"), heard: &heard, is_complete: true, now }, |_| PROVED);
}

fn ended(node: usize) -> ClosedOpening {
    ClosedOpening { opening: opening(node), ended: start(), attribution: Some(Attribution::Silence), transient: false }
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
    /// The same, from the beginning.
    posted: Vec<(f64, Act)>,
}

/// The Event of a notice, as the API holds it.
fn event_of(notice: &Notice, count: i32) -> OwnEvent {
    OwnEvent {
        namespace: notice.namespace().to_owned(),
        name: notice.name.clone(),
        reason: notice.reason,
        regarding: notice.regarding.uid().to_owned(),
        count,
        record: notice.record(),
    }
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
            posted: vec![],
        }
    }

    /// The nodes of the fleet where an agent can be; all that there are where no fleet was looked at.
    fn next_of(&mut self, wanted: &[Notice]) -> Option<Act> {
        let (all, fleet) = (self.known.node_names().count(), &self.fleet);
        let nodes_of = |guard: &GuardName| if fleet.rows.is_empty() { all } else { judged_nodes(fleet, guard) };
        self.ledger.next(wanted, &self.known, nodes_of, (at(self.now), true))
    }

    /// The first that is to be written of these.
    fn first_of(&mut self, wanted: &[Notice]) -> Act {
        for _ in 0..100 {
            self.now += 0.05;
            if let Some(act) = self.next_of(wanted) {
                return act;
            }
        }
        panic!("nothing is written of {wanted:?}");
    }

    fn run_until(&mut self, end: f64) {
        while self.now < end {
            let wanted = wanted(&self.fleet, &self.incidents, &self.lasting, &self.known.rules, s(self.now));
            while let Some(act) = self.next_of(&wanted) {
                self.ledger.written(&act, s(self.now));
                self.posted.push((self.now, act.clone()));
                self.written.push((self.now, act));
            }
            self.now += if self.ledger.is_gathering() { 0.05 } else { 0.2 };
        }
    }

    /// The same, a look a second.
    fn rest_for(&mut self, seconds: f64) {
        for _ in 0..seconds as u32 {
            self.now += 1.0;
            self.run_until(self.now + 0.01);
        }
    }

    /// The names of the Events that are in the API.
    fn names(&self) -> Vec<String> {
        self.in_the_api().into_iter().map(|event| event.name).collect()
    }

    /// The Events that are in the API, as a watch would tell of them.
    fn in_the_api(&self) -> Vec<OwnEvent> {
        let mut events: BTreeMap<&str, OwnEvent> = BTreeMap::new();
        for (_, act) in &self.posted {
            let count = if let Act::Renew { count, .. } = act { *count } else { 1 };
            events.insert(&act.notice().name, event_of(act.notice(), count));
        }
        let there = |name: &str| matches!(self.ledger.events.get("default", name), Some(Entry { state: State::Posted(_), .. }));
        events.into_iter().filter(|(name, _)| there(name)).map(|(_, event)| event).collect()
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
    let name = reporter.names().remove(0);
    reporter.ledger.gone("default", &name);
    reporter.run_until(920.0);
    assert_eq!(reporter.written(), ["EgressBreached imds"]);
    hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(920.0));
    reporter.run_until(930.0);
    reporter.names().iter().for_each(|name| reporter.ledger.gone("default", name));
    reporter.run_until(2000.0);
    assert_eq!(reporter.written(), ["EgressBlocked imds"], "what is over is told once, though the API lets go of it");
}

#[test]
fn what_another_reporter_wrote_is_not_written_again() {
    let mut first = Reporter::of(3);
    hear(&mut first.incidents, 1, Some(opening(1)), vec![], s(0.0));
    first.run_until(1.0);
    let mut second = Reporter::of(3);
    first.in_the_api().iter().for_each(|event| second.ledger.seen(event, s(0.0)));
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
        recent.insert(
            0,
            ClosedOpening { opening: nth(turn), ended: start(), attribution: Some(Attribution::Silence), transient: false },
        );
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
    reporter.run_until(240.0);
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
        let started = start() - SignedDuration::from_secs(1000 * nth);
        let opening = Opening { id: format!("b001.{nth}"), started, last_connected: started, ..opening(1) };
        ClosedOpening { opening, ended: started, attribution: Some(Attribution::Silence), transient: false }
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

#[test]
fn uncovered_is_told_at_once_and_inconclusive_when_it_has_lasted() {
    let mut reporter = Reporter::of(3);
    reporter.fleet.rows =
        vec![row("n001", Coverage::Uncovered(Gap::NoPod), None), row("n002", Coverage::Covered, Some(Doubt::ControlFailed))];
    assert_eq!(reporter.lasting.look(&reporter.fleet, at(0.0)).len(), 1);
    reporter.run_until(299.0);
    assert_eq!(reporter.written(), ["ProberUncovered "]);
    reporter.run_until(610.0);
    assert_eq!(reporter.written(), ["ProberUncovered  x2", "ProberUncovered  x3", "EgressUnproven imds"]);
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
        reporter.names().iter().for_each(|name| reporter.ledger.gone("default", name));
        reporter.now = f64::from(turn + 1) * 8000.0;
    }
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
    // Also where telling of the first takes as long as until the next.
    for events_per_second in [names::EVENTS_PER_SECOND, 0.5] {
        let mut reporter = Reporter::of(200);
        reporter.known.rules.events_per_second = events_per_second;
        let gone = |from: usize| {
            let coverage =
                |nth| if (from..from + 30).contains(&nth) { Coverage::Uncovered(Gap::NoPod) } else { Coverage::Covered };
            (0..200).map(|nth| row(&format!("n{nth:03}"), coverage(nth), None)).collect::<Vec<_>>()
        };
        for from in [0, 30, 60] {
            reporter.fleet.rows = gone(from);
            reporter.run_until(reporter.now + 300.0);
            assert_eq!(many_and_single(&mut reporter), (1, 30), "the outage that begins with node {from}");
        }
    }
}

#[test]
fn another_replica_tells_of_the_same_outage_under_the_same_name() {
    let event = |began: f64| {
        let mut reporter = Reporter::of(100);
        reporter.now = began;
        reporter.fleet.rows = (0..30).map(|nth| row(&format!("n{nth:03}"), Coverage::Uncovered(Gap::NoPod), None)).collect();
        reporter.run_until(began + 2.0);
        let many = reporter.written.iter().find(|(_, act)| matches!(act.notice().saying, Saying::Many { .. }));
        many.map(|(_, act)| event_of(act.notice(), 1)).unwrap()
    };
    let name = |began: f64| event(began).name;
    assert_eq!(name(61.0), name(65.0), "both saw it begin in the same minute");
    assert_ne!(name(61.0), name(600.0));
    // One that saw it begin in the minute before finds it told.
    let mut late = Reporter::of(100);
    late.now = 59.0;
    late.ledger.seen(&event(61.0), s(59.0));
    late.fleet.rows = (0..30).map(|nth| row(&format!("n{nth:03}"), Coverage::Uncovered(Gap::NoPod), None)).collect();
    late.run_until(100.0);
    assert_eq!(many_and_single(&mut late).0, 0);
    // One that has looked already, and hears of the others only now, finds it told as well.
    let rows = |gone: usize| {
        let coverage = |nth| if nth < gone { Coverage::Uncovered(Gap::NoPod) } else { Coverage::Covered };
        (0..100).map(|nth| row(&format!("n{nth:03}"), coverage(nth), None)).collect::<Vec<_>>()
    };
    let mut early = Reporter::of(100);
    early.now = 59.0;
    early.fleet.rows = rows(1);
    early.run_until(60.2);
    early.ledger.seen(&event(61.0), s(60.2));
    early.fleet.rows = rows(30);
    early.run_until(100.0);
    assert_eq!(many_and_single(&mut early).0, 0);
}

#[test]
fn one_that_is_refused_rests_by_itself_and_holds_nobody_up() {
    let mut reporter = Reporter::of(3);
    (0..3).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(1.0));
    let refused = reporter.first_of(&wanted).notice().name.clone();
    let mut tries = Vec::new();
    let mut others = 0;
    while reporter.now < 200.0 {
        while let Some(act) = reporter.next_of(&wanted) {
            if act.notice().name == refused {
                reporter.ledger.refused(act.notice(), Refusal::ThisOne, s(reporter.now));
                tries.push((reporter.now / 10.0).round() * 10.0);
            } else {
                reporter.ledger.written(&act, s(reporter.now));
                others += usize::from(matches!(act, Act::Post(_)));
            }
        }
        reporter.now += 0.5;
    }
    assert_eq!((tries, others), (vec![0.0, 10.0, 30.0, 70.0, 150.0], 2));
    reporter.ledger.written(&Act::Post(wanted.iter().find(|notice| notice.name == refused).unwrap().clone()), s(200.0));
    assert_eq!(reporter.ledger.events.get("default", &refused).unwrap().refusals, 0);
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
                reporter.ledger.refused(act.notice(), Refusal::ThisOne, s(reporter.now));
            } else {
                reporter.ledger.written(&act, s(reporter.now));
                single += 1;
            }
        }
        reporter.now += 0.05;
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

/// The Event that somebody else wrote under the name of a notice, with our labels.
fn planted(notice: &Notice, change: impl Fn(&mut OwnEvent)) -> OwnEvent {
    let mut event = event_of(notice, 1);
    change(&mut event);
    event
}

#[test]
fn an_event_that_somebody_planted_under_our_name_silences_nothing() {
    type Change = fn(&mut OwnEvent);
    let changes: [(&str, Change); 5] = [
        ("reason", |event| event.reason = NoticeReason::EgressBlocked),
        ("regarding", |event| event.regarding = "another node".into()),
        ("guard", |event| event.record.guard = "another/guard".parse().unwrap()),
        ("target", |event| event.record.target = "another".into()),
        ("incident", |event| event.record.incident = None),
    ];
    for (what, change) in changes {
        let mut reporter = Reporter::of(3);
        hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
        let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
        let [notice] = &wanted[..] else { panic!("{wanted:?}") };
        reporter.ledger.seen(&planted(notice, change), s(0.0));
        reporter.run_until(2.0);
        let names: Vec<&str> = reporter.written.iter().map(|(_, act)| act.notice().name.as_str()).collect();
        assert_eq!(names, [notice::other_name(&notice.name, 1)], "{what}");
        // One that is what it should be is ours, or as good.
        let mut reporter = Reporter::of(3);
        hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
        reporter.ledger.seen(&planted(notice, |_| ()), s(0.0));
        reporter.run_until(2.0);
        assert_eq!(reporter.written(), Vec::<String>::new());
    }
}

#[test]
fn a_name_that_is_taken_is_replaced_three_times_and_then_given_up() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
    let first = wanted[0].name.clone();
    let mut names = Vec::new();
    for _ in 0..=OTHER_NAMES {
        let notice = reporter.first_of(&wanted).notice().clone();
        reporter.ledger.taken(&notice, s(reporter.now));
        names.push(notice.name);
    }
    assert_eq!(names, [first.clone(), other_name(&first, 1), other_name(&first, 2), other_name(&first, 3)]);
    reporter.run_until(10.0);
    assert!(reporter.written.is_empty());
    let (tracked, _) = reporter.incidents.all().next().unwrap();
    assert!(reporter.ledger.is_told(tracked, false, s(10.0)), "it is not waited for: nothing grows");
}

#[test]
fn an_end_is_looked_for_under_its_other_name_as_well() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
    reporter.ledger.seen(&planted(&wanted[0], |event| event.regarding = "x".into()), s(0.0));
    reporter.run_until(2.0);
    let posted = reporter.in_the_api().remove(0);
    assert!(notice::is_named_for_its_incident(&posted), "a reporter that starts knows it again");
    let strange = OwnEvent { name: other_name(&wanted[0].name, OTHER_NAMES + 1), ..posted.clone() };
    assert!(!notice::is_named_for_its_incident(&strange));
    let elsewhere = OwnEvent { regarding: "another node".into(), ..posted };
    assert!(!notice::is_named_for_its_incident(&elsewhere));
}

#[test]
fn while_nodes_keep_coming_nobody_knows_whether_they_will_be_many() {
    // The first report is there, and then the process does not run for three seconds.
    let mut reporter = Reporter::of(200);
    hear(&mut reporter.incidents, 0, Some(opening(0)), vec![], s(0.0));
    reporter.run_until(0.1);
    reporter.now = 3.1;
    let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(3.1));
    assert_eq!(reporter.next_of(&look), None, "it has heard nothing in that time");
    (1..200).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(3.1)));
    reporter.run_until(8.0);
    let Act::Post(first) = &reporter.written[0].1 else { panic!() };
    assert!(matches!(first.saying, Saying::Many { nodes: 200, of: 200, .. }), "{first:?}");
    // One alone waits for a quarter of a second, and those that come one by one for no longer than WAVE_MAX.
    let mut reporter = Reporter::of(200);
    for nth in 0..20 {
        hear(&mut reporter.incidents, nth, Some(opening(nth)), vec![], s(reporter.now));
        reporter.run_until(reporter.now + 0.12);
    }
    let first = reporter.written[0].0;
    assert!((1.4..1.8).contains(&first), "{first}");
    let mut reporter = Reporter::of(200);
    hear(&mut reporter.incidents, 0, Some(opening(0)), vec![], s(0.0));
    reporter.run_until(2.0);
    assert!((0.2..0.4).contains(&reporter.written[0].0), "{}", reporter.written[0].0);
}

#[test]
fn what_is_known_of_an_incident_is_kept_in_its_event() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    reporter.run_until(2.0);
    hear(&mut reporter.incidents, 1, Some(Opening { evidence: Evidence::TokenIssued, ..opening(1) }), vec![], s(2.0));
    reporter.run_until(4.0);
    assert_eq!(reporter.written(), ["EgressBreached imds", "EgressBreached imds x2"], "more is known");
    let event = reporter.in_the_api().remove(0);
    assert_eq!(event.record.incident.as_ref().unwrap().evidence, Evidence::TokenIssued);
    assert_eq!((event.record.openings, event.record.closed), (vec!["b001.1".to_owned()], vec![]));
    // A newer connection alone is no reason to write.
    let later = start() + SignedDuration::from_secs(60);
    let same = Opening { evidence: Evidence::TokenIssued, last_connected: later, ..opening(1) };
    hear(&mut reporter.incidents, 1, Some(same), vec![], s(4.0));
    reporter.run_until(60.0);
    assert!(reporter.written().is_empty());
    // It ends: an Event of its own says so. It is reopened and ends again: that is not told until it is sure, but kept.
    hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(60.0));
    reporter.run_until(62.0);
    assert_eq!(reporter.written(), ["EgressBlocked imds"]);
    let again = Opening { id: "b001.2".into(), ..opening(1) };
    hear(&mut reporter.incidents, 1, Some(again.clone()), vec![ended(1)], s(62.0));
    reporter.run_until(64.0);
    let ended_again = ClosedOpening { opening: again, ..ended(1) };
    hear(&mut reporter.incidents, 1, None, vec![ended_again, ended(1)], s(64.0));
    reporter.run_until(66.0);
    assert_eq!(reporter.written(), ["EgressBreached imds x3", "EgressBreached imds x4"]);
    let kept = reporter.in_the_api().into_iter().find(|event| event.reason == NoticeReason::EgressBreached).unwrap();
    let incident = kept.record.incident.unwrap();
    assert_eq!((incident.reopened, incident.end.is_some(), kept.record.closed.len()), (1, true, 2));
}

#[test]
fn transient_openings_within_ten_minutes_are_counted_in_one_event() {
    let mut reporter = Reporter::of(3);
    let nth = |nth: i64| {
        let at = start() + SignedDuration::from_secs(30 * nth);
        let opening = Opening { id: format!("b001.{nth}"), started: at, last_connected: at, ..opening(1) };
        ClosedOpening { opening, ended: at, attribution: None, transient: true }
    };
    for turn in 1..=3 {
        hear(&mut reporter.incidents, 1, None, (1..=turn).rev().map(nth).collect(), s(reporter.now));
        reporter.run_until(reporter.now + 2.0);
    }
    assert_eq!(reporter.written(), ["EgressOpenedBriefly imds", "EgressOpenedBriefly imds x2", "EgressOpenedBriefly imds x3"]);
    assert_eq!(reporter.in_the_api()[0].record.closed, ["b001.1", "b001.2", "b001.3"]);
    assert_eq!(reporter.incidents.suppressed()[&NoticeReason::EgressOpenedBriefly], 2);
}

#[test]
fn a_name_that_nobody_wants_is_forgotten_whatever_its_state() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let one = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0)).remove(0);
    for (nth, state) in ["posted", "expired", "refused", "taken"].into_iter().enumerate() {
        let notice = Notice { name: state.to_owned(), ..one.clone() };
        match nth {
            0 => reporter.ledger.written(&Act::Post(notice), s(0.0)),
            1 => {
                reporter.ledger.written(&Act::Post(notice), s(0.0));
                reporter.ledger.gone("default", state);
            }
            2 => reporter.ledger.refused(&notice, Refusal::ThisOne, s(0.0)),
            _ => reporter.ledger.taken(&notice, s(0.0)),
        }
    }
    assert_eq!(reporter.ledger.events.len(), 4);
    reporter.now = 7199.0;
    reporter.next_of(&[]);
    assert_eq!(reporter.ledger.events.len(), 4);
    reporter.now = 7201.0;
    reporter.next_of(&[]);
    assert_eq!(reporter.ledger.events.len(), 0);
    // One that is wanted stays.
    reporter.ledger.written(&Act::Post(one.clone()), s(7201.0));
    for _ in 0..5 {
        reporter.now += 3600.0;
        reporter.next_of(std::slice::from_ref(&one));
    }
    assert_eq!(reporter.ledger.events.len(), 1);
}

#[test]
fn a_list_of_a_namespace_says_which_of_its_events_are_gone_and_nothing_of_others() {
    let mut reporter = Reporter::of(3);
    (1..3).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    reporter.run_until(2.0);
    let events = reporter.in_the_api();
    assert_eq!(events.len(), 2);
    reporter.ledger.listed("another", &[], s(2.0));
    assert_eq!(reporter.in_the_api().len(), 2);
    reporter.ledger.listed("default", &events[..1], s(2.0));
    assert_eq!(reporter.in_the_api(), &events[..1]);
}

/// Opens or closes the first so many nodes for the `turn`th time: each closing one is listed with all before it.
fn turn_of(reporter: &mut Reporter, nodes: usize, turn: u32, open: bool) {
    for node in 0..nodes {
        let nth = |turn: u32| Opening { id: format!("b{node:03}.{turn}"), ..opening(node) };
        let over = if open { turn } else { turn + 1 };
        let recent = (1..over).rev().map(|turn| ClosedOpening { opening: nth(turn), ..ended(node) }).collect();
        hear(&mut reporter.incidents, node, open.then(|| nth(turn)), recent, s(reporter.now));
    }
}

/// How many Events about many nodes were written, by reason, since it was asked last.
fn many_by_reason(reporter: &mut Reporter) -> Vec<&'static str> {
    let written = std::mem::take(&mut reporter.written);
    let many = written.iter().map(|(_, act)| act.notice()).filter(|notice| matches!(notice.saying, Saying::Many { .. }));
    many.map(|notice| notice.reason.as_str()).collect()
}

#[test]
fn the_same_nodes_that_breach_again_within_ten_minutes_are_told_of_like_the_first_time() {
    // Whether the Events about each are written by then, or still wait for their turn.
    for nodes in [30, 100] {
        let mut reporter = Reporter::of(nodes);
        for turn in 1..=2 {
            turn_of(&mut reporter, nodes, turn, true);
            reporter.run_until(reporter.now + 5.0);
            let Act::Post(first) = &reporter.written[0].1 else { panic!() };
            assert!(matches!(first.saying, Saying::Many { nodes: all, .. } if all == nodes), "{nodes} {turn}: {first:?}");
            assert_eq!(many_by_reason(&mut reporter), ["EgressBreached"], "{nodes} {turn}");
            reporter.rest_for(70.0);
            turn_of(&mut reporter, nodes, turn, false);
            reporter.rest_for(70.0);
            many_by_reason(&mut reporter);
        }
        // And the last ends, which are sure after ten minutes, are one piece of news.
        reporter.rest_for(700.0);
        assert!(many_by_reason(&mut reporter).ends_with(&["EgressBlocked"]), "{nodes}");
    }
}

#[test]
fn a_reporter_that_takes_over_does_not_repeat_the_event_about_many() {
    let mut first = Reporter::of(100);
    turn_of(&mut first, 100, 1, true);
    first.run_until(5.0);
    let events = first.in_the_api();
    assert_eq!(many_by_reason(&mut first), ["EgressBreached"]);
    for waited in [0.0, 90.0] {
        // It knew of the Events from the start, or has watched them for long.
        let mut second = Reporter::of(100);
        second.ledger.listed("default", &events, s(0.0));
        second.now = waited;
        turn_of(&mut second, 100, 1, true);
        second.run_until(waited + 5.0);
        assert_eq!(many_by_reason(&mut second), Vec::<&str>::new(), "{waited}");
    }
}

#[test]
fn nodes_that_are_uncovered_again_are_told_of_again_though_their_events_are_there() {
    let mut reporter = Reporter::of(100);
    let rows = |coverage| (0..30).map(|nth| row(&format!("n{nth:03}"), coverage, None)).collect::<Vec<_>>();
    for turn in 0..3 {
        reporter.fleet.rows = rows(Coverage::Uncovered(Gap::NoPod));
        reporter.run_until(reporter.now + 80.0);
        assert_eq!(many_by_reason(&mut reporter), ["ProberUncovered"], "{turn}");
        reporter.fleet.rows = rows(Coverage::Covered);
        reporter.run_until(reporter.now + 80.0);
        assert_eq!(many_by_reason(&mut reporter), Vec::<&str>::new(), "{turn}");
    }
}

#[test]
fn nodes_that_follow_within_a_minute_are_covered_by_the_event_about_many() {
    let mut reporter = Reporter::of(400);
    let open = |reporter: &mut Reporter, nodes: std::ops::Range<usize>| {
        let started = at(reporter.now).wall;
        for node in nodes {
            let opening = Opening { started, last_connected: started, ..opening(node) };
            hear(&mut reporter.incidents, node, Some(opening), vec![], s(reporter.now));
        }
        reporter.run_until(reporter.now + 3.0);
        many_by_reason(reporter).len()
    };
    assert_eq!(open(&mut reporter, 0..100), 1);
    reporter.rest_for(45.0);
    assert_eq!(open(&mut reporter, 100..200), 0, "within a minute");
    reporter.rest_for(18.0);
    assert_eq!(open(&mut reporter, 200..240), 0, "no more than a tenth");
    assert_eq!(open(&mut reporter, 240..241), 1, "more than a tenth within a minute, which begins after the first one's");
}

#[test]
fn an_event_that_was_planted_and_deleted_again_silences_nothing() {
    for node_is_open in [true, false] {
        let mut reporter = Reporter::of(3);
        hear(
            &mut reporter.incidents,
            1,
            node_is_open.then(|| opening(1)),
            if node_is_open { vec![] } else { vec![ended(1)] },
            s(0.0),
        );
        let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
        for notice in &wanted {
            reporter.ledger.seen(&planted(notice, |event| event.regarding = "another node".into()), s(0.0));
            reporter.ledger.gone("default", &notice.name);
        }
        reporter.run_until(3.0);
        let expected: &[&str] =
            if node_is_open { &["EgressBreached imds"] } else { &["EgressBreached imds", "EgressBlocked imds"] };
        assert_eq!(reporter.written(), expected);
    }
}

#[test]
fn what_was_never_ours_is_not_told_because_it_is_gone() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let wanted = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
    reporter.ledger.taken(&wanted[0], s(0.0));
    reporter.ledger.gone("default", &wanted[0].name);
    reporter.run_until(3.0);
    assert_eq!(reporter.written.remove(0).1.notice().name, other_name(&wanted[0].name, 1));
}

#[test]
fn a_wave_that_follows_a_quiet_time_is_waited_for_like_the_first() {
    let mut reporter = Reporter::of(200);
    hear(&mut reporter.incidents, 0, Some(opening(0)), vec![], s(0.0));
    reporter.run_until(10.0);
    assert_eq!(reporter.written().len(), 1);
    (1..4).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(10.0)));
    reporter.run_until(10.2);
    hear(&mut reporter.incidents, 4, Some(opening(4)), vec![], s(10.2));
    reporter.run_until(10.4);
    assert_eq!(reporter.written(), Vec::<String>::new(), "another came within a quarter of a second");
    reporter.run_until(11.5);
    assert_eq!(reporter.written().len(), 4);
}

#[test]
fn a_burst_is_forgotten_a_minute_after_its_last_news() {
    let mut reporter = Reporter::of(100);
    turn_of(&mut reporter, 30, 1, true);
    reporter.run_until(2.0);
    assert_eq!(many_by_reason(&mut reporter), ["EgressBreached"]);
    reporter.rest_for(50.0);
    assert_eq!(reporter.ledger.bursts.len(), 1);
    reporter.rest_for(30.0);
    assert!(reporter.ledger.bursts.is_empty(), "{:?}", reporter.ledger.bursts);
}

#[test]
fn a_reporter_that_starts_takes_nothing_for_over_before_it_can_know() {
    let rows = |coverage| (0..30).map(|nth| row(&format!("n{nth:03}"), coverage, None)).collect::<Vec<_>>();
    let mut first = Reporter::of(100);
    first.fleet.rows = rows(Coverage::Uncovered(Gap::NoPod));
    first.run_until(100.0);
    assert_eq!(many_by_reason(&mut first), ["ProberUncovered"]);
    // It calls nobody uncovered for two minutes after its start.
    let mut second = Reporter::of(100);
    second.ledger.listed("default", &first.in_the_api(), s(0.0));
    second.fleet.rows = rows(Coverage::Covered);
    second.run_until(120.0);
    second.fleet.rows = rows(Coverage::Uncovered(Gap::NoPod));
    second.run_until(200.0);
    assert_eq!(second.written(), Vec::<String>::new(), "it went on all the time");
    // What it has wanted once, and wants no more, is over.
    second.fleet.rows = rows(Coverage::Covered);
    second.run_until(270.0);
    second.fleet.rows = rows(Coverage::Uncovered(Gap::NoPod));
    second.run_until(280.0);
    assert_eq!(many_by_reason(&mut second), ["ProberUncovered"]);
    // And what it has not wanted for so long that it would know.
    let mut third = Reporter::of(100);
    third.ledger.listed("default", &first.in_the_api(), s(0.0));
    third.fleet.rows = rows(Coverage::Covered);
    third.rest_for(1250.0);
    third.fleet.rows = rows(Coverage::Uncovered(Gap::NoPod));
    third.run_until(third.now + 10.0);
    assert_eq!(many_by_reason(&mut third), ["ProberUncovered"]);
}

#[test]
fn incidents_that_were_over_and_are_reopened_after_a_restart_are_news() {
    let mut first = Reporter::of(100);
    turn_of(&mut first, 30, 1, true);
    first.run_until(40.0);
    turn_of(&mut first, 30, 1, false);
    first.run_until(100.0);
    let mut second = Reporter::of(100);
    let events = first.in_the_api();
    second.ledger.listed("default", &events, s(0.0));
    events.iter().for_each(|event| second.incidents.rebuild(event, s(0.0)));
    second.rest_for(10.0);
    turn_of(&mut second, 30, 2, true);
    second.run_until(15.0);
    assert_eq!(many_by_reason(&mut second), ["EgressBreached"]);
}

#[test]
fn renewals_do_not_make_a_node_one_with_much_to_say_and_neither_does_what_was_long_ago() {
    let mut reporter = Reporter::of(30);
    reporter.known.rules.event_burst = 1;
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    reporter.run_until(301.0 * 12.0);
    assert_eq!(reporter.written.len(), 1 + 12);
    // Its next Event comes before what goes on elsewhere.
    let order = |reporter: &Reporter, act: &Act| reporter.ledger.order(act);
    let breach = reporter.posted[0].1.notice().clone();
    let other = Notice { name: "other".into(), ..breach.clone() };
    let elsewhere = Regarding::Node { name: "n002".into(), uid: "uid-n002".into() };
    let renewal = Act::Renew { notice: Notice { regarding: elsewhere, ..breach.clone() }, count: 2 };
    assert!(order(&reporter, &Act::Post(other.clone())) < order(&reporter, &renewal));
    // After ten in ten minutes it does not, and then it does again.
    for nth in 0..10 {
        let notice = Notice { name: format!("nth-{nth}"), ..breach.clone() };
        reporter.ledger.written(&Act::Post(notice), s(reporter.now));
    }
    assert!(order(&reporter, &Act::Post(other.clone())) > order(&reporter, &renewal));
    let own_renewal = Act::Renew { notice: breach, count: 14 };
    assert!(order(&reporter, &own_renewal) < order(&reporter, &Act::Post(other.clone())), "what it has told of goes on");
    reporter.now += 601.0;
    reporter.next_of(&[]);
    assert!(order(&reporter, &Act::Post(other)) < order(&reporter, &renewal));
}

#[test]
fn one_that_cannot_be_written_just_now_rests_briefly_and_keeps_its_event() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    reporter.run_until(2.0);
    let posted = reporter.posted[0].1.notice().clone();
    // Its renewal is refused, in whatever way: it is there all the same.
    reporter.now = 302.0;
    let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(302.0));
    let Some(Act::Renew { notice, .. }) = reporter.next_of(&look) else { panic!() };
    let mut rests = Vec::new();
    for refusal in [Refusal::ThisOne, Refusal::ThisOne].into_iter().chain([Refusal::ForNow(Duration::from_secs(40)); 1]) {
        reporter.ledger.refused(&notice, refusal, s(302.0));
        rests.push((reporter.ledger.events.get("default", &notice.name).unwrap().again - s(302.0)).as_secs());
    }
    assert_eq!(rests, [10, 20, 40]);
    assert!(reporter.ledger.is_done(&posted), "it was told");
    reporter.now = 343.0;
    assert!(matches!(reporter.next_of(&look), Some(Act::Renew { .. })));
    // A new one that fails rests for a second, and twice as long each time.
    let mut reporter = Reporter::of(3);
    let mut rests = Vec::new();
    for _ in 0..7 {
        reporter.ledger.refused(&posted, Refusal::ForNow(Duration::ZERO), s(0.0));
        rests.push(reporter.ledger.events.get("default", &posted.name).unwrap().again.as_secs());
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 20, 20]);
    reporter.ledger.refused(&posted, Refusal::ForNow(Duration::from_secs(3600)), s(0.0));
    assert_eq!(reporter.ledger.events.get("default", &posted.name).unwrap().again, s(60.0), "no longer, whatever is asked");
}

#[test]
fn events_that_are_refused_take_nothing_of_the_rate_of_others() {
    let mut reporter = Reporter::of(200);
    reporter.known.rules.event_burst = 2;
    reporter.known.rules.many_nodes = 1000;
    (0..40).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    let mut written = 0;
    let mut newest = 0;
    while reporter.now < 60.0 {
        if reporter.now >= 20.0 && newest == 0 {
            hear(&mut reporter.incidents, 199, Some(opening(199)), vec![], s(reporter.now));
            newest = 1;
        }
        let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(reporter.now));
        while let Some(act) = reporter.next_of(&look) {
            let is_good = act.notice().regarding.uid() >= "uid-n030";
            if is_good {
                reporter.ledger.written(&act, s(reporter.now));
                written += 1;
            } else {
                reporter.ledger.refused(act.notice(), Refusal::ThisOne, s(reporter.now));
            }
        }
        if reporter.now < 15.0 && reporter.now >= 14.9 {
            assert_eq!(written, 10, "thirty are refused, and ten are not");
        }
        reporter.now += 0.1;
    }
    assert_eq!(written, 11);
}

#[test]
fn an_event_about_many_that_fails_is_waited_for_three_times() {
    let mut reporter = Reporter::of(200);
    (0..200).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    let mut failed_at = Vec::new();
    let mut first_single = None;
    while reporter.now < 20.0 {
        let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(reporter.now));
        while let Some(act) = reporter.next_of(&look) {
            if matches!(act.notice().saying, Saying::Many { .. }) {
                reporter.ledger.refused(act.notice(), Refusal::ForNow(Duration::ZERO), s(reporter.now));
                failed_at.push(reporter.now);
            } else {
                reporter.ledger.written(&act, s(reporter.now));
                first_single.get_or_insert(reporter.now);
            }
        }
        reporter.now += 0.05;
    }
    assert!(
        first_single.unwrap() >= failed_at[2] && first_single.unwrap() < failed_at[2] + 0.2,
        "{first_single:?} {failed_at:?}"
    );
}

#[test]
fn what_was_written_under_another_name_is_not_written_again_when_the_first_is_free() {
    let mut first = Reporter::of(3);
    hear(&mut first.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let own = wanted(&first.fleet, &first.incidents, &first.lasting, &first.known.rules, s(0.0)).remove(0);
    first.ledger.taken(&own, s(0.0));
    first.run_until(2.0);
    let events = first.in_the_api();
    assert_eq!(events[0].name, other_name(&own.name, 1));
    // A reporter that starts sees its own Event, and not the one whose name it has: nobody lists that.
    let mut second = Reporter::of(3);
    second.ledger.listed("default", &events, s(0.0));
    hear(&mut second.incidents, 1, Some(opening(1)), vec![], s(0.0));
    second.run_until(10.0);
    assert_eq!(second.written(), Vec::<String>::new());
    // It stays known that the name is taken for as long as the notice is wanted.
    first.rest_for(8000.0);
    assert!(matches!(first.ledger.events.get("default", &own.name), Some(Entry { state: State::Taken, .. })));
    assert!(first.posted.iter().filter(|(_, act)| matches!(act, Act::Post(_))).count() == 1);
}

#[test]
fn an_event_of_the_same_name_in_another_namespace_is_another_one() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let own = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0)).remove(0);
    reporter.ledger.seen(&planted(&own, |event| event.namespace = "another".into()), s(0.0));
    reporter.run_until(2.0);
    assert_eq!(reporter.posted[0].1.notice().name, own.name);
    reporter.ledger.listed("another", &[], s(3.0));
    reporter.ledger.seen(&planted(&own, |event| event.namespace = "another".into()), s(3.0));
    reporter.ledger.gone("another", &own.name);
    reporter.run_until(10.0);
    assert_eq!(reporter.posted.len(), 1, "{:?}", reporter.posted);
}

#[test]
fn an_event_that_was_there_already_goes_on_where_it_stood() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let own = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0)).remove(0);
    reporter.ledger.found(&event_of(&own, 7), s(0.0));
    reporter.run_until(2.0);
    assert_eq!(reporter.written(), ["EgressBreached imds x8"], "its series says at once that it goes on");
    reporter.run_until(300.0);
    assert_eq!(reporter.written(), Vec::<String>::new());
}

#[test]
fn a_minute_without_a_look_repeats_nothing() {
    let mut reporter = Reporter::of(200);
    reporter.fleet.rows = (0..200).map(|nth| row(&format!("n{nth:03}"), Coverage::Uncovered(Gap::NoPod), None)).collect();
    reporter.run_until(5.0);
    assert_eq!(many_by_reason(&mut reporter), ["ProberUncovered"]);
    assert!(reporter.ledger.waiting() > 100);
    reporter.now += 90.0;
    reporter.run_until(reporter.now + 60.0);
    assert_eq!(many_by_reason(&mut reporter), Vec::<&str>::new());
    // Another replica that takes over minutes later finds it told, though many still wait.
    let mut second = Reporter::of(200);
    second.ledger.listed("default", &reporter.in_the_api(), s(0.0));
    second.now = reporter.now + 10.0;
    second.fleet.rows.clone_from(&reporter.fleet.rows);
    second.run_until(second.now + 60.0);
    assert_eq!(many_by_reason(&mut second), Vec::<&str>::new());
}

#[test]
fn incidents_that_are_reopened_and_wait_hide_no_new_ones() {
    let mut reporter = Reporter::of(600);
    reporter.known.rules.many_percent = 1;
    turn_of(&mut reporter, 300, 1, true);
    reporter.run_until(5.0);
    reporter.rest_for(70.0);
    turn_of(&mut reporter, 300, 1, false);
    reporter.rest_for(70.0);
    turn_of(&mut reporter, 300, 2, true);
    reporter.rest_for(70.0);
    many_by_reason(&mut reporter);
    assert!(reporter.ledger.waiting() > 100, "{}", reporter.ledger.waiting());
    let started = at(reporter.now).wall;
    for node in 400..410 {
        let opening = Opening { started, last_connected: started, ..opening(node) };
        hear(&mut reporter.incidents, node, Some(opening), vec![], s(reporter.now));
    }
    reporter.run_until(reporter.now + 5.0);
    assert_eq!(many_by_reason(&mut reporter), ["EgressBreached"]);
}

#[test]
fn a_replica_that_leads_again_finds_told_what_another_told_meanwhile() {
    let uncovered = |nodes: std::ops::Range<usize>| {
        let coverage = |nth| if nodes.contains(&nth) { Coverage::Uncovered(Gap::NoPod) } else { Coverage::Covered };
        (0..100).map(|nth| row(&format!("n{nth:03}"), coverage(nth), None)).collect::<Vec<_>>()
    };
    let mut first = Reporter::of(100);
    first.fleet.rows = uncovered(0..30);
    first.run_until(5.0);
    assert_eq!(many_by_reason(&mut first), ["ProberUncovered"]);
    // It does not lead any more: another one tells of the next outage, and ends before it has told of each node.
    let mut second = Reporter::of(100);
    second.ledger.listed("default", &first.in_the_api(), s(0.0));
    second.now = 200.0;
    second.fleet.rows = uncovered(40..80);
    second.run_until(203.0);
    assert_eq!(many_by_reason(&mut second), ["ProberUncovered"]);
    second.in_the_api().iter().for_each(|event| first.ledger.seen(event, s(201.0)));
    first.now = 300.0;
    first.fleet.rows = uncovered(40..80);
    first.run_until(310.0);
    assert_eq!(many_and_single(&mut first).0, 0);
}

#[test]
fn the_minutes_that_a_burst_takes_are_those_of_its_nodes_at_the_rate() {
    let minutes = |count: usize, events_per_second: f64| {
        let known = known(0);
        let daemon_set = known.daemon_sets_of(&guard(), Role::Agent).next().unwrap();
        let rules = crate::model::fleet::Rules { events_per_second, ..known.rules };
        GuardNodes { daemon_set, count, rules: &rules }.minutes_to_tell()
    };
    assert_eq!(
        [(60, 1.0), (61, 1.0), (60, 0.5), (0, 1.0), (100_000, 1.0)].map(|(nodes, rate)| minutes(nodes, rate)),
        [1, 2, 2, 1, 60]
    );
}

/// Opens so many nodes whose incidents began at the reporter's now.
fn open_now(reporter: &mut Reporter, nodes: std::ops::Range<usize>) {
    let started = at(reporter.now).wall;
    for node in nodes {
        let opening = Opening { started, last_connected: started, ..opening(node) };
        hear(&mut reporter.incidents, node, Some(opening), vec![], s(reporter.now));
    }
}

#[test]
fn a_replica_that_hears_of_more_of_a_burst_names_it_alike() {
    let mut first = Reporter::of(200);
    open_now(&mut first, 0..50);
    first.run_until(3.0);
    assert_eq!(many_by_reason(&mut first), ["EgressBreached"]);
    let mut second = Reporter::of(200);
    second.ledger.listed("default", &first.in_the_api(), s(0.0));
    open_now(&mut second, 0..50);
    second.now = 10.0;
    open_now(&mut second, 50..80);
    second.run_until(20.0);
    assert_eq!(many_by_reason(&mut second), Vec::<&str>::new());
}

#[test]
fn what_happens_to_another_guard_or_is_said_for_another_reason_names_no_burst() {
    let name = |others: &dyn Fn(&Notice) -> Vec<Notice>| {
        let mut reporter = Reporter::of(100);
        reporter.now = 30.0;
        open_now(&mut reporter, 10..40);
        reporter.now = 0.0;
        open_now(&mut reporter, 0..1);
        let mut look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
        // The first of them is the other guard's, or is over: it came before the others.
        let of_other = others(&look.remove(0));
        look.extend(of_other);
        reporter.now = 40.0;
        loop {
            let act = reporter.first_of(&look);
            if matches!(act.notice().saying, Saying::Many { .. }) {
                return act.notice().name.clone();
            }
            reporter.ledger.written(&act, s(reporter.now));
        }
    };
    let alone = name(&|_| vec![]);
    assert_eq!(alone, name(&|notice| vec![Notice { guard: "another/guard".parse().unwrap(), ..notice.clone() }]));
    assert_eq!(alone, name(&|notice| vec![Notice { reason: NoticeReason::EgressBlocked, ..notice.clone() }]));
}

#[test]
fn one_that_is_being_written_is_not_asked_for_again_and_holds_no_other_up() {
    let mut reporter = Reporter::of(3);
    (1..3).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(1.0));
    let first = reporter.first_of(&look);
    reporter.ledger.being_written(first.notice(), s(reporter.now));
    let second = reporter.first_of(&look);
    assert_ne!(first.notice().name, second.notice().name);
    reporter.ledger.being_written(second.notice(), s(reporter.now));
    let began = reporter.now;
    reporter.now = began + 29.9;
    assert_eq!(reporter.next_of(&look), None);
    reporter.now = began + 30.1;
    assert!(reporter.next_of(&look).is_some(), "its writer is gone");
    // Once it is written, whatever comes next is asked for at once.
    reporter.ledger.written(&first, s(reporter.now));
    assert_eq!(reporter.ledger.events.get("default", &first.notice().name).unwrap().again, Duration::ZERO);
    // The same when it was there, and when it is gone.
    for is_there in [true, false] {
        reporter.ledger.being_written(first.notice(), s(reporter.now));
        if is_there {
            reporter.ledger.found(&event_of(first.notice(), 3), s(reporter.now));
        } else {
            reporter.ledger.gone("default", &first.notice().name);
        }
        assert!(reporter.ledger.events.get("default", &first.notice().name).unwrap().again <= s(reporter.now));
    }
}

#[test]
fn what_another_replica_renewed_is_not_due_and_what_only_was_seen_again_is() {
    for renewed in [true, false] {
        let mut reporter = Reporter::of(3);
        hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
        reporter.run_until(2.0);
        let event = reporter.in_the_api().remove(0);
        let count = event.count + i32::from(renewed);
        reporter.ledger.seen(&OwnEvent { count, ..event }, s(200.0));
        reporter.written();
        reporter.run_until(450.0);
        assert_eq!(reporter.written().len(), usize::from(!renewed));
        reporter.run_until(510.0);
        assert_eq!(reporter.written(), if renewed { vec!["EgressBreached imds x3"] } else { vec![] });
    }
}

#[test]
fn an_incident_whose_end_was_told_is_known_to_be_over() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    reporter.run_until(2.0);
    let open = reporter.incidents.all().next().unwrap().0.incident.clone();
    let told = |reporter: &Reporter| reporter.ledger.is_told(reporter.incidents.all().next().unwrap().0, false, s(reporter.now));
    assert!(told(&reporter) && !reporter.ledger.tells_the_end_of(&open));
    hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(2.0));
    assert!(!told(&reporter), "its end is yet to be written");
    reporter.run_until(4.0);
    assert!(told(&reporter) && reporter.ledger.tells_the_end_of(&open), "there is an EgressBlocked");
    let reopened = Incident { reopened: 1, ..open.clone() };
    let other = Incident { id: "another".into(), ..open };
    assert!(!reporter.ledger.tells_the_end_of(&other));
    // That it ended once says nothing of what came after it was reopened.
    assert!(!reporter.ledger.tells_the_end_of(&reopened));
}

#[test]
fn an_event_about_many_that_takes_long_to_be_written_holds_up_none_about_each() {
    let mut reporter = Reporter::of(200);
    (0..200).for_each(|node| hear(&mut reporter.incidents, node, Some(opening(node)), vec![], s(0.0)));
    let (mut began, mut first_single) = (None, None);
    while reporter.now < 5.0 {
        let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(reporter.now));
        while let Some(act) = reporter.next_of(&look) {
            reporter.ledger.being_written(act.notice(), s(reporter.now));
            if matches!(act.notice().saying, Saying::Many { .. }) {
                began.get_or_insert(reporter.now);
            } else {
                reporter.ledger.written(&act, s(reporter.now));
                first_single.get_or_insert(reporter.now);
            }
        }
        reporter.now += 0.05;
    }
    let waited = first_single.unwrap() - began.unwrap();
    assert!((0.95..1.15).contains(&waited), "{waited}");
}

#[test]
fn what_was_refused_is_tried_again_only_where_there_is_room_for_that() {
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
    let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
    reporter.ledger.refused(&look[0], Refusal::ThisOne, s(0.0));
    reporter.now = 11.0;
    let next = |reporter: &mut Reporter, retries| {
        let all = reporter.known.node_names().count();
        reporter.ledger.next(&look, &reporter.known, |_| all, (at(reporter.now), retries))
    };
    for _ in 0..20 {
        reporter.now += 0.05;
        assert_eq!(next(&mut reporter, false), None);
    }
    assert!(next(&mut reporter, true).is_some());
}

#[test]
fn the_end_of_a_breach_is_told_after_its_beginning_though_that_failed_at_first() {
    for (refusal, waits) in [(Refusal::ForNow(Duration::ZERO), true), (Refusal::ThisOne, false)] {
        let mut reporter = Reporter::of(3);
        hear(&mut reporter.incidents, 1, Some(opening(1)), vec![], s(0.0));
        let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
        let first = reporter.first_of(&look);
        reporter.ledger.being_written(first.notice(), s(reporter.now));
        hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(reporter.now));
        let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(reporter.now));
        reporter.now += 2.0;
        assert_eq!(reporter.next_of(&look), None, "its beginning is being written");
        (0..3).for_each(|_| reporter.ledger.refused(first.notice(), refusal, s(reporter.now)));
        reporter.run_until(reporter.now + 60.0);
        let told =
            if waits { ["EgressBreached imds", "EgressBlocked imds"] } else { ["EgressBlocked imds", "EgressBreached imds"] };
        assert_eq!(reporter.written(), told, "{refusal:?}");
    }
    // For some minutes, and no longer.
    let mut reporter = Reporter::of(3);
    hear(&mut reporter.incidents, 1, None, vec![ended(1)], s(0.0));
    let look = wanted(&reporter.fleet, &reporter.incidents, &reporter.lasting, &reporter.known.rules, s(0.0));
    let beginning = look.iter().find(|notice| notice.reason == NoticeReason::EgressBreached).unwrap();
    (0..11).for_each(|_| reporter.ledger.refused(beginning, Refusal::ForNow(Duration::ZERO), s(0.0)));
    for failures in [11, 12] {
        reporter.now = 1.0;
        let ready: Vec<Act> = (0..20)
            .filter_map(|_| {
                reporter.now += 0.05;
                reporter.next_of(&look)
            })
            .collect();
        assert_eq!(ready.is_empty(), failures == 11, "{failures}: {ready:?}");
        reporter.ledger.refused(beginning, Refusal::ForNow(Duration::ZERO), s(0.0));
    }
}
