use super::*;
use crate::model::config::Kind;
use crate::model::finding::Finding;
use crate::model::heard::Tried;
use crate::model::notice::Record;
use crate::model::observation::NotReached;

const NODE: &str = "uid-of-n1";
const IMDS: &str = "169.254.169.254:80";

fn at(seconds: i64) -> Timestamp {
    "2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn place() -> Place {
    Place { guard: "default/deny".parse().unwrap(), node: "n1".into(), node_uid: NODE.into(), target: "imds".into() }
}

fn opening(id: &str, started: i64, last: i64) -> Opening {
    let address = IMDS.parse().unwrap();
    Opening {
        id: id.into(),
        started: at(started),
        last_connected: at(last),
        layer: Layer::Tcp,
        evidence: Evidence::Connected,
        addresses: vec![address],
    }
}

fn closed(id: &str, started: i64, ended: i64) -> ClosedOpening {
    ClosedOpening {
        opening: opening(id, started, ended),
        ended: at(ended),
        attribution: Some(Attribution::Silence),
        transient: false,
    }
}

fn transient(id: &str, started: i64) -> ClosedOpening {
    ClosedOpening { transient: true, ..closed(id, started, started) }
}

/// The head of a report about a round of two seconds, sent a second later.
fn heading(boot: &str, started: i64) -> Heading {
    Heading {
        boot: boot.into(),
        round: 1,
        pod: None,
        version: "0".into(),
        config_hash: "c".into(),
        endpoints_revision: None,
        interval: Duration::from_secs(15),
        age: Duration::from_secs(1),
        waited: None,
        started: at(started),
        finished: at(started + 2),
    }
}

/// What agents say, one after the other, and what comes of it. Seconds are those of the agent's clock; this process began at `began`.
struct Told {
    incidents: Incidents,
    began: i64,
    changes: Vec<String>,
}

/// A report: who says it, when its round began, and what.
struct Says {
    boot: &'static str,
    pod: &'static str,
    started: i64,
    finding: Finding,
    since: i64,
    opening: Option<Opening>,
    recent: Vec<ClosedOpening>,
    exposure: f64,
    is_complete: bool,
    tried: Vec<&'static str>,
    skipped: Vec<&'static str>,
    /// When the rounds in a row began that did not reach what was tried.
    rounds: Vec<i64>,
}

fn tried(address: &str, rounds: &[i64]) -> Tried {
    let not_reached = rounds.last().map(|newest| NotReached {
        first: at(rounds[0]),
        previous: rounds.iter().rev().nth(1).map(|previous| at(*previous)),
        newest: at(*newest),
    });
    Tried {
        address: address.parse().unwrap(),
        source: Source::Literal,
        alone: Some(Attribution::Silence),
        refused: false,
        endpoints_tried: false,
        not_reached,
    }
}

const BLOCKED: Finding = Finding::Blocked(Attribution::Silence);
const BREACHED: Finding = Finding::Breached(Evidence::Connected);
const STARTING: Finding = Finding::Inconclusive(Doubt::Starting);

fn says(boot: &'static str, started: i64, finding: Finding) -> Says {
    Says {
        boot,
        pod: "pod-1",
        started,
        finding,
        since: 0,
        opening: None,
        recent: vec![],
        exposure: 0.0,
        is_complete: true,
        tried: vec![IMDS],
        skipped: vec![],
        rounds: vec![],
    }
}

impl Says {
    /// The rounds in a row that did not reach what was tried, of which the last is this one.
    fn rounds(self, rounds: &[i64]) -> Self {
        Says { rounds: rounds.to_vec(), ..self }
    }
    fn open(self, opening: Opening) -> Self {
        Says { opening: Some(opening), ..self }
    }
    /// Newest first, as in a report.
    fn recent(self, recent: Vec<ClosedOpening>) -> Self {
        Says { recent, ..self }
    }
    fn since(self, since: i64) -> Self {
        Says { since, ..self }
    }
}

impl Told {
    fn new(began: i64) -> Self {
        Told { incidents: Incidents::new(Duration::ZERO), began, changes: vec![] }
    }

    fn hear(&mut self, says: Says) -> &mut Self {
        let heading = heading(says.boot, says.started);
        let target = HeardTarget {
            name: "imds".into(),
            kind: Kind::Imds,
            verdict: if says.opening.is_some() { Verdict::Breached } else { says.finding.verdict() },
            reason: says.finding.reason(),
            since: at(says.since),
            opening: says.opening,
            recent: says.recent,
            startup_exposure: Duration::from_secs_f64(says.exposure),
            addresses_given: false,
            addresses: says.tried.iter().map(|address| tried(address, &says.rounds)).collect(),
            skipped: says.skipped.iter().map(|address| address.parse().unwrap()).collect(),
            proof: None,
            held_proof: None,
        };
        let heard = Heard { heading, targets: vec![target] };
        let now = Duration::from_secs((says.started + 3 - self.began).try_into().unwrap());
        let hearing = ReportInput {
            place: &Place { target: String::new(), ..place() },
            pod: says.pod,
            heard: &heard,
            is_complete: says.is_complete,
            now,
        };
        let assessment =
            Assessment { blocked: (says.finding == BLOCKED).then_some(Attribution::Silence), least: Some(Attribution::Silence) };
        let changes = self.incidents.hear(&hearing, |_| assessment);
        self.note(changes);
        self
    }

    fn note(&mut self, changes: Vec<Change>) {
        self.changes.extend(changes.into_iter().map(|change| {
            let Changed::Incident { incident } = change.what else { panic!("{change:?}") };
            let since = |at: Timestamp| at.duration_since(self::at(0)).as_secs();
            let end = incident.end.map(|end| format!("-{} {}", since(end.at), end.how.as_str())).unwrap_or_default();
            let event = serde_json::to_value(change.event).unwrap();
            format!("{} {} {}{end}", event.as_str().unwrap(), incident.id, since(incident.started))
        }));
    }

    /// Takes in another replica's Event of that incident, 200 seconds after this process began.
    fn adopt(&mut self, incident: Incident) -> bool {
        self.incidents.adopt(&event(incident), Duration::from_secs(200))
    }

    /// What came of it, since it was asked last.
    #[track_caller]
    fn came(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.changes), expected);
        self
    }
}

#[test]
fn a_breach_is_opened_once_and_closed_with_its_true_end() {
    let breach = || says("a", 100, BREACHED).open(opening("a.1", 99, 101));
    Told::new(0)
        .hear(says("a", 80, BLOCKED))
        .came(&[])
        .hear(breach())
        .came(&["opened a.1 99"])
        .hear(breach())
        .hear(says("a", 115, BLOCKED).open(opening("a.1", 99, 103)))
        .came(&[])
        .hear(says("a", 130, BLOCKED).since(115).recent(vec![closed("a.1", 99, 115)]))
        .came(&["closed a.1 99-115 blocked"])
        .hear(says("a", 145, BLOCKED).since(115).recent(vec![closed("a.1", 99, 115)]))
        .came(&[]);
}

#[test]
fn another_breach_within_ten_minutes_is_the_same_incident_and_a_later_one_is_not() {
    let recent = |more: Vec<ClosedOpening>| [more, vec![closed("a.1", 99, 115)]].concat();
    let mut told = Told::new(0);
    told.hear(says("a", 130, BLOCKED).recent(recent(vec![]))).came(&["opened a.1 99", "closed a.1 99-115 blocked"]);
    told.hear(says("a", 700, BREACHED).open(opening("a.2", 700, 700)).recent(recent(vec![]))).came(&["reopened a.1 99"]);
    let second = closed("a.2", 700, 715);
    told.hear(says("a", 730, BLOCKED).recent(recent(vec![second.clone()]))).came(&["closed a.1 99-715 blocked"]);
    told.hear(says("a", 1400, BREACHED).open(opening("a.3", 1400, 1400)).recent(recent(vec![second]))).came(&["opened a.3 1400"]);
    assert_eq!(told.incidents.all().count(), 2, "the first one may yet have to be told");
}

#[test]
fn a_new_boot_goes_on_with_the_incident_unless_it_was_blocked_before() {
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    told.hear(says("b", 110, STARTING)).came(&[]);
    told.hear(says("b", 140, BREACHED).open(opening("b.1", 112, 140))).came(&["changed a.1 99"]);
    told.hear(says("b", 170, BLOCKED).recent(vec![closed("b.1", 112, 155)])).came(&["closed a.1 99-155 blocked"]);
    // The same, but the guard is back before the new boot connects.
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    told.hear(says("b", 140, BLOCKED).rounds(&[140])).came(&[]);
    told.hear(says("b", 140, BLOCKED).rounds(&[140])).came(&[]);
    told.hear(says("b", 155, BLOCKED).rounds(&[140, 155])).came(&["closed a.1 99-140 blocked"]);
}

#[test]
fn one_blocked_round_of_a_new_boot_and_an_inconclusive_one_close_nothing() {
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    told.hear(says("b", 140, BLOCKED).rounds(&[140])).came(&[]);
    told.hear(says("b", 155, Finding::Inconclusive(Doubt::ControlFailed)).rounds(&[140, 155])).came(&[]);
    told.hear(says("b", 170, BLOCKED).rounds(&[170])).came(&[]);
    told.hear(says("b", 185, BREACHED).open(opening("b.1", 185, 186))).came(&["changed a.1 99"]);
}

#[test]
fn another_pod_that_is_blocked_does_not_close_what_one_has_open() {
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    let other = |started| Says { pod: "pod-2", ..says("z", started, BLOCKED).rounds(&[50, started - 15, started]) };
    told.hear(other(110)).hear(other(125)).came(&[]);
    told.incidents.pod_gone(&Place { target: String::new(), ..place() }, "pod-1");
    told.hear(other(140)).came(&["closed a.1 99-125 blocked"]);
}

#[test]
fn what_came_and_went_while_nobody_asked_is_told_late_and_only_once() {
    let short = || says("a", 130, BLOCKED).since(105).recent(vec![closed("a.1", 100, 102)]);
    Told::new(120).hear(short()).came(&["opened a.1 100", "closed a.1 100-102 blocked"]).hear(short()).came(&[]);
    // Too long ago: who came before has told it.
    let old = says("a", 5000, BLOCKED).since(105).recent(vec![closed("a.1", 100, 102)]);
    Told::new(4990).hear(old).came(&[]);
    // But nobody had come before for an hour and a half.
    let old = says("a", 5000, BLOCKED).since(105).recent(vec![closed("a.1", 100, 102)]);
    let mut told = Told::new(4990);
    told.incidents.nobody_told_for(Duration::from_secs(5400));
    told.hear(old).came(&["opened a.1 100", "closed a.1 100-102 blocked"]);
}

#[test]
fn one_that_was_over_before_the_open_one_began_is_a_story_of_its_own() {
    let mut told = Told::new(2000);
    let now = says("a", 2001, BREACHED).open(opening("a.2", 1990, 2001)).recent(vec![closed("a.1", 100, 102)]);
    told.hear(now).came(&["opened a.1 100", "closed a.1 100-102 blocked", "opened a.2 1990"]);
    let mut told = Told::new(2000);
    let mut open = Tracked::new_for_test("a.2", 1990);
    open.incident.place = place();
    told.incidents.rebuild(&event(open.incident), Duration::ZERO);
    let now = says("a", 2001, BREACHED).open(opening("a.2", 1990, 2001)).recent(vec![closed("a.1", 100, 102)]);
    told.hear(now).came(&["opened a.1 100", "closed a.1 100-102 blocked", "changed a.2 1990"]);
}

impl Tracked {
    fn new_for_test(id: &str, started: i64) -> Self {
        let incident = Incident {
            id: id.into(),
            place: place(),
            started: at(started),
            last_connected: at(started),
            layer: Layer::Tcp,
            evidence: Evidence::Connected,
            doors: vec![],
            openings: 1,
            reopened: 0,
            end: None,
        };
        Tracked {
            incident,
            learnt: Duration::ZERO,
            ended: None,
            openings: VecDeque::new(),
            closed: VecDeque::new(),
            heard_end: false,
            confirmed: false,
            live: BTreeMap::new(),
        }
    }
}

/// The same, while another agent of that node is yet to be heard.
fn first(says: Says) -> Says {
    Says { is_complete: false, ..says }
}

/// The Event that tells of an incident, and of nothing that was closed before.
fn event(incident: Incident) -> OwnEvent {
    event_with(incident, &[])
}

fn event_with(incident: Incident, closed: &[&str]) -> OwnEvent {
    let reason = if incident.is_open() { NoticeReason::EgressBreached } else { NoticeReason::EgressBlocked };
    OwnEvent {
        namespace: "default".into(),
        name: format!("of {}", incident.id),
        reason,
        regarding: NODE.into(),
        count: 1,
        record: Record {
            guard: incident.place.guard.clone(),
            target: incident.place.target.clone(),
            openings: vec![incident.id.clone()],
            closed: closed.iter().map(|id| (*id).to_owned()).collect(),
            incident: Some(incident),
        },
    }
}

fn rebuilt(end: Option<i64>) -> Incident {
    let end = end.map(|end| End { at: at(end), how: Ending::Blocked, attribution: None });
    Incident { end, ..Tracked::new_for_test("a.1", 99).incident }
}

#[test]
fn a_reporter_that_starts_goes_on_with_what_its_events_say() {
    let mut told = Told::new(150);
    told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
    told.hear(says("a", 160, BLOCKED).open(opening("a.1", 99, 103))).hear(says("a", 175, BREACHED).open(opening("a.1", 99, 176)));
    told.changes.retain(|change| !change.starts_with("changed"));
    told.came(&[]);
    told.hear(says("a", 190, BLOCKED).recent(vec![closed("a.1", 99, 180)])).came(&["closed a.1 99-180 blocked"]);
    // It closed while no reporter lived.
    let mut told = Told::new(200);
    told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
    told.hear(says("a", 205, BLOCKED).since(180).recent(vec![closed("a.1", 99, 180)])).came(&["closed a.1 99-180 blocked"]);
    // Agent and reporter were both killed, and the guard came back meanwhile.
    let mut told = Told::new(200);
    told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
    told.hear(says("b", 205, BLOCKED).rounds(&[175, 190, 205])).came(&["closed a.1 99-175 blocked"]);
    // All of it was told.
    let mut told = Told::new(200);
    told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
    told.incidents.rebuild(&event(rebuilt(Some(180))), Duration::ZERO);
    told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
    told.hear(says("a", 205, BLOCKED).since(180).recent(vec![closed("a.1", 99, 180)])).came(&[]);
    // And then it went on.
    told.hear(says("a", 300, BREACHED).open(opening("a.2", 300, 300)).recent(vec![closed("a.1", 99, 180)]))
        .came(&["reopened a.1 99"]);
}

#[test]
fn more_addresses_a_further_layer_and_stronger_evidence_are_news() {
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    told.hear(says("a", 115, BREACHED).open(opening("a.1", 99, 116))).came(&[]);
    let further = Opening { layer: Layer::Http, evidence: Evidence::TokenIssued, ..opening("a.1", 99, 117) };
    told.hear(says("a", 115, BREACHED).open(further)).came(&["changed a.1 99"]);
    let mut more = Opening { layer: Layer::Http, evidence: Evidence::TokenIssued, ..opening("a.1", 99, 130) };
    more.addresses.extend((0..40).map(|port| SocketAddr::from(([10, 0, 0, 1], 1000 + port))));
    told.hear(says("a", 130, BREACHED).open(more)).came(&["changed a.1 99"]);
    let incident = told.incidents.open_at(&place()).unwrap();
    assert_eq!((incident.doors.len(), incident.evidence, incident.last_connected), (DOORS_MAX, Evidence::TokenIssued, at(130)));
}

#[test]
fn transient_openings_are_no_incident_and_worth_one_notice_in_ten_minutes() {
    let mut told = Told::new(0);
    let list = vec![transient("a.3", 900), transient("a.2", 200), transient("a.1", 100)];
    told.hear(says("a", 901, BLOCKED).recent(list)).came(&[
        "transient a.1 100-100 not_reachable",
        "transient a.2 200-200 not_reachable",
        "transient a.3 900-900 not_reachable",
    ]);
    let noticed: Vec<_> = told.incidents.all().map(|(tracked, transient)| (tracked.incident.id.clone(), transient)).collect();
    assert_eq!(noticed, [("a.1".to_owned(), true), ("a.3".to_owned(), true)]);
    assert!(told.incidents.open_at(&place()).is_none());
}

#[test]
fn three_boots_that_ended_in_starting_and_were_exposed_are_a_breach() {
    let exposed = |boot, started| Says { exposure: 1.5, ..says(boot, started, STARTING) };
    let mut told = Told::new(0);
    told.hear(exposed("a", 100)).hear(exposed("b", 120)).hear(exposed("c", 140)).came(&[]);
    told.hear(exposed("d", 160)).came(&["opened d.starting 100"]);
    told.hear(says("d", 200, BLOCKED).rounds(&[200]))
        .hear(says("d", 215, BLOCKED).rounds(&[200, 215]))
        .came(&["closed d.starting 100-200 blocked"]);
    // A boot that was not exposed, or got as far as blocked, breaks the row.
    let mut told = Told::new(0);
    told.hear(exposed("a", 100))
        .hear(exposed("b", 120))
        .hear(says("c", 140, STARTING))
        .hear(exposed("d", 160))
        .hear(exposed("e", 180))
        .came(&[]);
    let mut told = Told::new(0);
    told.hear(exposed("a", 100))
        .hear(exposed("b", 120))
        .hear(says("b", 130, BLOCKED))
        .hear(exposed("c", 140))
        .hear(exposed("d", 160))
        .came(&[]);
    told.hear(exposed("e", 180)).came(&[]);
}

#[test]
fn starting_closes_nothing() {
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    told.hear(says("b", 110, STARTING).since(50)).hear(says("b", 120, STARTING).since(50)).came(&[]);
}

#[test]
fn an_incident_of_a_node_or_a_target_that_is_gone_ends_with_what_is_known() {
    let open = || {
        let mut told = Told::new(0);
        told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
        told
    };
    let mut told = open();
    let changes = told.incidents.node_gone("another", Duration::from_secs(200));
    assert!(changes.is_empty());
    let changes = told.incidents.node_gone(NODE, Duration::from_secs(200));
    told.note(changes);
    told.came(&["closed a.1 99-101 node_gone"]);
    let mut told = open();
    let heading = heading("b", 130);
    let heard = Heard { heading, targets: vec![] };
    let place = Place { target: String::new(), ..place() };
    let changes = told.incidents.hear(
        &ReportInput { place: &place, pod: "pod-1", heard: &heard, is_complete: true, now: Duration::from_secs(133) },
        |_| Assessment::default(),
    );
    told.note(changes);
    told.came(&["closed a.1 99-101 target_gone"]);
}

#[test]
fn what_is_over_and_told_is_let_go_of_after_ten_minutes() {
    let mut told = Told::new(0);
    told.hear(says("a", 130, BLOCKED).recent(vec![closed("a.1", 99, 115)]));
    told.incidents.forget(Duration::from_secs(140), |_, _| true);
    assert_eq!(told.incidents.all().count(), 1, "it may be reopened");
    told.incidents.forget(Duration::from_secs(1400), |_, _| false);
    assert_eq!(told.incidents.all().count(), 1, "it is not told yet");
    told.incidents.forget(Duration::from_secs(1400), |_, _| true);
    assert_eq!(told.incidents.all().count(), 0);
    told.changes.clear();
    told.hear(says("a", 1500, BLOCKED).recent(vec![closed("a.1", 99, 115)])).came(&[]);
}

#[test]
fn an_end_is_proved_by_what_tried_the_door_that_was_open() {
    let v6 = "[fd00:ec2::254]:80";
    for (tried, skipped, closes) in [
        (vec![IMDS], vec![], true),
        (vec!["169.254.169.253:80"], vec![], true),
        (vec![v6], vec![], false),
        (vec![v6], vec![IMDS], false),
        (vec!["169.254.169.253:80"], vec![IMDS], false),
    ] {
        let mut told = Told::new(0);
        told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
        let says = |rounds: &[i64]| Says {
            tried: tried.clone(),
            skipped: skipped.clone(),
            ..says("b", rounds[rounds.len() - 1], BLOCKED).rounds(rounds)
        };
        told.hear(says(&[140])).hear(says(&[140, 155]));
        assert_eq!(told.changes.len(), usize::from(closes), "{tried:?} {skipped:?}");
    }
}

#[test]
fn what_those_before_told_is_not_told_again_though_another_came_after_it() {
    let other = |id: &str, started, end| {
        let end = Some(End { at: at(end), how: Ending::Blocked, attribution: None });
        Incident { id: id.into(), started: at(started), end, ..rebuilt(None) }
    };
    for turned in [false, true] {
        let mut told = Told::new(2200);
        let mut events = [other("a.1", 100, 220), other("a.2", 1300, 1420)];
        if turned {
            events.reverse();
        }
        events.into_iter().for_each(|incident| told.incidents.rebuild(&event(incident), Duration::ZERO));
        let recent = vec![closed("a.2", 1300, 1420), closed("a.1", 100, 220)];
        told.hear(says("a", 2201, BLOCKED).since(1420).recent(recent)).came(&[]);
    }
}

#[test]
fn a_reopened_incident_waits_for_its_last_end_to_be_told_though_another_began() {
    let mut told = Told::new(2000);
    let recent = vec![closed("a.3", 1830, 1890), closed("a.2", 300, 360), closed("a.1", 0, 60)];
    told.hear(says("a", 2001, BLOCKED).since(1890).recent(recent));
    told.incidents.forget(Duration::from_secs(10), |_, _| true);
    let ids = |told: &Told| told.incidents.all().map(|(tracked, _)| tracked.incident.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&told), ["a.1", "a.3"]);
    told.incidents.forget(Duration::from_secs(700), |_, _| true);
    assert_eq!(ids(&told), Vec::<String>::new());
}

#[test]
fn replicas_that_heard_of_it_at_different_times_come_to_the_same_name() {
    let mut told = Told::new(0);
    told.hear(says("b", 140, BREACHED).open(opening("b.1", 140, 141))).came(&["opened b.1 140"]);
    assert!(told.adopt(rebuilt(None)));
    let incident = told.incidents.open_at(&place()).unwrap();
    assert_eq!((incident.id.as_str(), incident.started), ("a.1", at(99)));
    assert!(told.adopt(Incident { id: "c.1".into(), started: at(150), ..rebuilt(None) }));
    assert_eq!(told.incidents.open_at(&place()).unwrap().id, "a.1", "one that began later has no say");
}

#[test]
fn an_agent_that_invents_targets_fills_nothing_but_its_own_few_places() {
    let mut told = Told::new(0);
    for turn in 0..50 {
        let says = says("a", 100 + turn, BLOCKED);
        let heading = heading(says.boot, says.started);
        let target = |nth: i64| HeardTarget {
            verdict: Verdict::Breached,
            reason: Reason::Evidence(Evidence::Connected),
            opening: Some(opening(&format!("a.{turn}.{nth}"), turn, turn)),
            ..heard_target(&format!("t{turn}-{nth}"))
        };
        let heard = Heard { heading, targets: (0..32).map(target).collect() };
        let place = Place { target: String::new(), ..place() };
        told.incidents.hear(
            &ReportInput { place: &place, pod: "pod-1", heard: &heard, is_complete: true, now: Duration::from_secs(1) },
            |_| Assessment::default(),
        );
    }
    assert_eq!(told.incidents.all().count(), 64);
}

#[test]
fn an_end_is_shown_for_two_minutes_and_not_when_it_was_only_read_of() {
    let mut told = Told::new(0);
    // It came and went between two reports; this one is heard at 133.
    told.hear(says("a", 130, BLOCKED).recent(vec![closed("a.1", 99, 101)]));
    let ended = |told: &Told, now| told.incidents.just_ended(Duration::from_secs(now)).into_values().collect::<Vec<_>>();
    assert_eq!(ended(&told, 253), [at(101)]);
    assert!(ended(&told, 254).is_empty());
    // Of one place the newest end, and none while it goes on again.
    told.hear(says("a", 140, BREACHED).open(opening("a.2", 139, 140)).recent(vec![closed("a.1", 99, 101)]));
    assert!(ended(&told, 150).is_empty());
    let mut told = Told::new(200);
    told.incidents.rebuild(&event(rebuilt(Some(180))), Duration::ZERO);
    assert!(ended(&told, 0).is_empty(), "whoever was there told of it");
}

#[test]
fn each_kind_of_a_closed_opening_is_told_from_the_others() {
    let one = |started, ended| closed("a.9", started, ended);
    let open = |started| Incident { started: at(started), ..rebuilt(None) };
    let over = |started, end| Incident { started: at(started), ..rebuilt(Some(end)) };
    let brief = transient("a.9", 100);
    let with_id = |started| Incident { id: "a.9".into(), ..open(started) };
    let none = VecDeque::new;
    for (what, closed, known, ours, current, before, expected) in [
        ("known", one(100, 110), true, true, None, none(), ClosedKind::Known),
        ("known transient", brief.clone(), true, true, None, none(), ClosedKind::Known),
        ("transient", brief.clone(), false, true, Some(open(50)), none(), ClosedKind::Transient),
        ("old transient", brief, false, false, None, none(), ClosedKind::ToldBefore),
        ("new", one(100, 110), false, true, None, none(), ClosedKind::New),
        ("old", one(100, 110), false, false, None, none(), ClosedKind::ToldBefore),
        ("current", one(100, 110), false, true, Some(open(90)), none(), ClosedKind::Current),
        ("current, though old", one(100, 110), false, false, Some(open(90)), none(), ClosedKind::Current),
        ("current, ends as it began", one(100, 110), false, true, Some(open(110)), none(), ClosedKind::Current),
        ("late", one(100, 110), false, true, Some(open(111)), none(), ClosedKind::Late),
        ("late and old", one(100, 110), false, false, Some(open(111)), none(), ClosedKind::ToldBefore),
        ("it named the incident", one(100, 110), false, true, Some(with_id(111)), none(), ClosedKind::Current),
        ("belongs", one(100, 110), false, true, Some(over(100, 110)), none(), ClosedKind::Belongs),
        ("begins before", one(99, 110), false, true, Some(over(100, 110)), none(), ClosedKind::New),
        ("ends after", one(100, 111), false, true, Some(over(100, 110)), none(), ClosedKind::New),
        ("of one before", one(100, 110), false, true, Some(over(500, 600)), [over(90, 120)].into(), ClosedKind::Belongs),
        ("of none before", one(100, 110), false, true, Some(over(500, 600)), [over(110, 120)].into(), ClosedKind::New),
    ] {
        assert_eq!(closed_kind(&closed, known, ours, current.as_ref(), &before), expected, "{what}");
    }
}

#[test]
fn an_end_that_proves_nothing_is_not_reachable() {
    let refused = Finding::Inconclusive(Doubt::Refused);
    let silence = Some(Attribution::Silence);
    // What closed the opening, how well its round proved it, and what the newest round says.
    for (finding, attribution, expected) in [
        (BLOCKED, silence, "blocked"),
        (BLOCKED, None, "blocked"),
        (refused, silence, "blocked"),
        (refused, Some(Attribution::Weak), "not_reachable"),
        (refused, None, "not_reachable"),
    ] {
        let mut told = Told::new(0);
        told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
        let over = ClosedOpening { attribution, ..closed("a.1", 99, 115) };
        told.hear(says("a", 130, finding).recent(vec![over])).came(&[&format!("closed a.1 99-115 {expected}")]);
    }
    // Nobody has it open any more, and another boot is refused.
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    told.hear(says("b", 130, refused).rounds(&[130])).came(&[]);
    told.hear(says("b", 145, refused).rounds(&[130, 145])).came(&["closed a.1 99-130 not_reachable"]);
}

#[test]
fn the_least_that_is_accepted_decides_how_it_ended() {
    let some = |level| Some(level);
    for (blocked, least, closing, expected) in [
        (None, some(Attribution::Silence), some(Attribution::Silence), (Ending::Blocked, some(Attribution::Silence))),
        (None, some(Attribution::Rejected), some(Attribution::Silence), (Ending::NotReachable, None)),
        (None, None, some(Attribution::Rejected), (Ending::NotReachable, None)),
        (some(Attribution::Witnessed), some(Attribution::Silence), None, (Ending::Blocked, some(Attribution::Witnessed))),
        (
            some(Attribution::Silence),
            some(Attribution::Silence),
            some(Attribution::Rejected),
            (Ending::Blocked, some(Attribution::Rejected)),
        ),
        (None, some(Attribution::Weak), None, (Ending::NotReachable, None)),
    ] {
        assert_eq!(Assessment { blocked, least }.ending(closing), expected, "{blocked:?} {least:?} {closing:?}");
    }
}

#[test]
fn rounds_in_which_an_address_was_only_kept_close_nothing() {
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101))).came(&["opened a.1 99"]);
    // A global address is tried once a minute: the report repeats what was seen, and its count does not grow.
    for started in [130, 145, 160, 175] {
        told.hear(says("b", started, BLOCKED).since(50).rounds(&[130])).came(&[]);
    }
    told.hear(says("b", 190, BLOCKED).since(50).rounds(&[130, 190])).came(&["closed a.1 99-130 blocked"]);
}

#[test]
fn a_reporter_that_starts_knows_an_incident_that_was_reopened() {
    let reopened = |end: Option<i64>| Incident { reopened: 1, openings: 2, ..rebuilt(end) };
    let recent = || vec![closed("a.2", 300, 360), closed("a.1", 99, 180)];
    // It is over for the second time, and its last end is not told yet; the agent that saw both has been replaced.
    let mut told = Told::new(400);
    told.incidents.rebuild(&event_with(reopened(Some(360)), &["a.1", "a.2"]), Duration::ZERO);
    told.hear(says("b", 880, BREACHED).open(opening("b.1", 879, 881))).came(&["reopened a.1 99"]);
    assert_eq!(told.incidents.open_at(&place()).unwrap().reopened, 2);
    // The same with the same agent: nothing of what it lists is news.
    let mut told = Told::new(400);
    told.incidents.rebuild(&event_with(reopened(Some(360)), &["a.1", "a.2"]), Duration::ZERO);
    told.hear(says("a", 410, BLOCKED).recent(recent())).came(&[]);
    // It is open for the second time.
    let mut told = Told::new(310);
    let mut event = event_with(reopened(None), &["a.1"]);
    event.record.openings.push("a.2".into());
    told.incidents.rebuild(&event, Duration::ZERO);
    told.hear(says("a", 320, BREACHED).open(opening("a.2", 300, 321)).recent(vec![closed("a.1", 99, 180)]));
    told.changes.retain(|change| !change.starts_with("changed"));
    told.came(&[]);
    let incident = told.incidents.open_at(&place()).unwrap();
    assert_eq!((incident.openings, incident.reopened), (2, 1));
}

#[test]
fn transient_openings_that_an_event_names_are_not_told_again() {
    let brief = |id: &str, started| {
        let end = Some(End { at: at(started), how: Ending::NotReachable, attribution: None });
        Incident { id: id.into(), started: at(started), end, ..rebuilt(None) }
    };
    let mut told = Told::new(300);
    let event = OwnEvent { reason: NoticeReason::EgressOpenedBriefly, ..event_with(brief("a.1", 100), &["a.1", "a.2"]) };
    told.incidents.rebuild(&event, Duration::ZERO);
    let list = vec![transient("a.3", 290), transient("a.2", 200), transient("a.1", 100)];
    told.hear(says("a", 305, BLOCKED).recent(list)).came(&["transient a.3 290-290 not_reachable"]);
    let (tracked, _) = told.incidents.all().next().unwrap();
    assert_eq!((told.incidents.all().count(), tracked.closed.len()), (1, 3), "it belongs to the same ten minutes");
    assert!(told.incidents.open_at(&place()).is_none());
}

#[test]
fn an_incident_whose_target_went_stays_ended_after_a_restart() {
    let end = Some(End { at: at(101), how: Ending::TargetGone, attribution: None });
    let gone = OwnEvent { reason: NoticeReason::EgressNotReachable, ..event(Incident { end, ..rebuilt(None) }) };
    let mut told = Told::new(300);
    told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
    told.incidents.rebuild(&gone, Duration::ZERO);
    assert!(told.incidents.open_at(&place()).is_none());
    assert_eq!(told.incidents.open_beside(&Place { target: String::new(), ..place() }).count(), 0);
}

#[test]
fn what_could_not_be_told_is_given_up_when_its_event_would_be_gone() {
    let mut told = Told::new(0);
    told.hear(says("a", 130, BLOCKED).recent(vec![transient("a.2", 120), closed("a.1", 99, 115)]));
    let (hour, never) = (Duration::from_secs(133) + names::EVENTS_KEPT, |_: &Tracked, _: bool| false);
    told.incidents.forget(hour, never);
    assert_eq!(told.incidents.all().count(), 2);
    told.incidents.forget(hour + Duration::from_secs(1), never);
    assert_eq!(told.incidents.all().count(), 0);
    let expected = [(NoticeReason::EgressBreached, 1), (NoticeReason::EgressOpenedBriefly, 1)];
    assert_eq!(told.incidents.suppressed(), &BTreeMap::from(expected));
}

#[test]
fn replicas_that_judged_an_end_differently_agree_on_the_event() {
    let mut told = Told::new(0);
    told.hear(
        says("a", 130, Finding::Inconclusive(Doubt::Refused))
            .recent(vec![ClosedOpening { attribution: None, ..closed("a.1", 99, 115) }]),
    );
    told.came(&["opened a.1 99", "closed a.1 99-115 not_reachable"]);
    let end = End { at: at(115), how: Ending::Blocked, attribution: Some(Attribution::Witnessed) };
    assert!(told.adopt(Incident { end: Some(end), ..rebuilt(None) }));
    let (tracked, _) = told.incidents.all().next().unwrap();
    assert_eq!(tracked.incident.end, Some(end));
    // An Event of before it was reopened says nothing of its last end.
    assert!(told.adopt(Incident { end: None, ..rebuilt(None) }));
    let other = End { how: Ending::NotReachable, attribution: None, ..end };
    told.adopt(Incident { end: Some(other), reopened: 1, ..rebuilt(None) });
    let (tracked, _) = told.incidents.all().next().unwrap();
    assert_eq!(tracked.incident.end, Some(end));
}

#[test]
fn an_event_of_another_incident_says_nothing_of_one_that_is_over() {
    let mut told = Told::new(0);
    told.hear(says("a", 130, BLOCKED).recent(vec![closed("a.1", 99, 115)]));
    let end = Some(End { at: at(500), how: Ending::NotReachable, attribution: None });
    assert!(told.adopt(Incident { id: "b.1".into(), end, ..rebuilt(None) }));
    let (tracked, _) = told.incidents.all().next().unwrap();
    assert_eq!(tracked.incident.end.unwrap().how, Ending::Blocked);
}

#[test]
fn what_is_open_and_what_ended_without_proof_is_found_beside_its_node() {
    let beside = Place { target: String::new(), ..place() };
    let mut told = Told::new(0);
    assert!(told.incidents.node_uids().is_empty());
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101)));
    let open = |told: &Told| told.incidents.open_beside(&beside).map(|incident| incident.id.clone()).collect::<Vec<_>>();
    let ended =
        |told: &Told| told.incidents.not_reachable_beside(&beside).map(|incident| incident.id.clone()).collect::<Vec<_>>();
    assert_eq!((open(&told), ended(&told)), (vec!["a.1".to_owned()], vec![]));
    assert_eq!(told.incidents.node_uids(), BTreeSet::from([NODE.to_owned()]));
    let refused = Finding::Inconclusive(Doubt::Refused);
    told.hear(says("a", 130, refused).recent(vec![ClosedOpening { attribution: None, ..closed("a.1", 99, 115) }]));
    assert_eq!((open(&told), ended(&told)), (vec![], vec!["a.1".to_owned()]));
    assert!(told.incidents.suppressed().is_empty());
    // A proved end is none of both.
    let mut told = Told::new(0);
    told.hear(says("a", 130, BLOCKED).recent(vec![closed("a.1", 99, 115)]));
    assert_eq!((open(&told), ended(&told)), (vec![], vec![]));
}

#[test]
fn a_place_is_forgotten_when_it_is_gone_and_has_nothing_more_to_tell() {
    let mut told = Told::new(0);
    told.hear(says("a", 130, BLOCKED).recent(vec![closed("a.1", 99, 115)]));
    told.incidents.forget_places(|_| true);
    assert_eq!(told.incidents.all().count(), 1, "it is still to be told");
    told.incidents.forget(Duration::from_secs(1400), |_, _| true);
    told.incidents.forget_places(|_| false);
    assert_eq!(told.incidents.node_uids().len(), 1, "its node is there");
    told.incidents.forget_places(|_| true);
    assert!(told.incidents.node_uids().is_empty());
}

#[test]
fn as_many_closed_openings_are_remembered_as_two_agents_list_twice() {
    let mut told = Told::new(0);
    for turn in 0..10 {
        let list = (0..16).rev().map(|nth| transient(&format!("a.{}", 16 * turn + nth), 16 * turn + nth)).collect();
        told.hear(says("a", 200 + turn, BLOCKED).recent(list));
    }
    assert_eq!(told.incidents.histories[&place()].known.len(), 65);
}

#[test]
fn one_of_two_agents_closes_nothing_before_the_other_is_heard() {
    let breach = |pod| Says { pod, ..says("b", 206, BREACHED).open(opening("a.1", 99, 206)) };
    let closing: [fn() -> Says; 2] = [
        || says("a", 205, BLOCKED).rounds(&[175, 190, 205]),
        || says("a", 205, BLOCKED).since(180).recent(vec![closed("c.1", 99, 180)]),
    ];
    for says_closed in closing {
        let mut told = Told::new(200);
        told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
        told.hear(first(says_closed()));
        told.changes.retain(|change| !change.starts_with("changed"));
        told.came(&[]).hear(breach("pod-2")).hear(says_closed());
        told.changes.retain(|change| !change.starts_with("changed"));
        told.came(&[]);
        // Without the other one it ends as soon as all are heard.
        let mut told = Told::new(200);
        told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
        told.hear(first(says_closed())).hear(says("a", 220, BLOCKED).rounds(&[190, 205, 220]));
        told.changes.retain(|change| !change.starts_with("changed"));
        told.came(&["closed a.1 99-190 blocked"]);
    }
    // Nor because one does not probe the target any more.
    let mut told = Told::new(200);
    told.incidents.rebuild(&event(rebuilt(None)), Duration::ZERO);
    let heard = Heard { heading: heading("b", 205), targets: vec![] };
    let place = Place { target: String::new(), ..place() };
    for (is_complete, ends) in [(false, 0), (true, 1)] {
        let input = ReportInput { place: &place, pod: "pod-1", heard: &heard, is_complete, now: Duration::from_secs(8) };
        assert_eq!(told.incidents.hear(&input, |_| Assessment::default()).len(), ends);
    }
}

/// An Event of an incident of another target of the same node.
fn event_of_target(target: &str) -> OwnEvent {
    let place = Place { target: target.into(), ..place() };
    event(Incident { id: format!("x.{target}"), place, ..rebuilt(None) })
}

#[test]
fn events_that_were_planted_keep_no_report_from_being_heard() {
    let mut told = Told::new(0);
    (0..200).for_each(|nth| told.incidents.rebuild(&event_of_target(&format!("t{nth}")), Duration::ZERO));
    assert_eq!(told.incidents.all().count(), 64, "and they fill no more than the places of their node");
    // What is taken in is refused for the targets beyond; one that is known goes on.
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101)));
    told.changes.retain(|change| change.contains("a.1"));
    told.came(&["opened a.1 99"]);
    assert!(told.incidents.open_at(&place()).is_some());
    assert_eq!(told.incidents.suppressed()[&NoticeReason::EgressBreached], 1);
    // Those of another node are not counted.
    let elsewhere = Place { node: "n2".into(), node_uid: "uid-of-n2".into(), ..place() };
    told.incidents.rebuild(&event(Incident { place: elsewhere.clone(), ..rebuilt(None) }), Duration::ZERO);
    assert!(told.incidents.open_at(&elsewhere).is_some());
}

#[test]
fn what_is_over_makes_room_before_what_is_open() {
    let mut told = Told::new(0);
    for nth in 0..64 {
        let mut of_target = event_of_target(&format!("t{nth:02}"));
        let end = End { at: at(110), how: Ending::Blocked, attribution: None };
        of_target.record.incident.as_mut().unwrap().end = (nth == 50).then_some(end);
        told.incidents.rebuild(&of_target, Duration::ZERO);
    }
    let beside = Place { target: String::new(), ..place() };
    let there = |told: &Told, target: &str| told.incidents.beside(&beside).any(|(place, _)| place.target == target);
    assert!(there(&told, "t50"));
    let input_of = |heard| ReportInput { place: &beside, pod: "pod-1", heard, is_complete: false, now: Duration::from_secs(8) };
    let heard = Heard { heading: heading("a", 5), targets: vec![heard_target("imds")] };
    told.incidents.hear(&input_of(&heard), |_| Assessment::default());
    assert!(!there(&told, "t50") && there(&told, "t00") && there(&told, "imds"));
}

fn heard_target(name: &str) -> HeardTarget {
    HeardTarget {
        name: name.into(),
        kind: Kind::Imds,
        verdict: Verdict::Blocked,
        reason: Reason::Proof(Attribution::Silence),
        since: at(0),
        opening: None,
        recent: vec![],
        startup_exposure: Duration::ZERO,
        addresses_given: false,
        addresses: vec![],
        skipped: vec![],
        proof: None,
        held_proof: None,
    }
}

#[test]
fn an_incident_that_only_an_event_tells_of_is_ended_by_the_rounds_of_that_node() {
    let door = |address: &str| Door { address: address.parse().unwrap(), source: None };
    let planted = |last: i64, doors: Vec<Door>| Incident { last_connected: at(last), doors, ..rebuilt(None) };
    let far_future = 3_000_000_000;
    let in_rounds = |incident: Incident| {
        let mut told = Told::new(100);
        told.incidents.rebuild(&event(incident), Duration::ZERO);
        told
    };
    // Its newest connection is in the future: no later than the first report that is heard.
    let mut told = in_rounds(planted(far_future, vec![door(IMDS)]));
    told.hear(says("a", 110, BLOCKED).rounds(&[95, 110])).hear(says("a", 125, BLOCKED).rounds(&[95, 110, 125])).came(&[]);
    told.hear(says("a", 140, BLOCKED).rounds(&[95, 110, 125, 140])).came(&["closed a.1 99-125 blocked"]);
    // It names an address that nobody tries, of a family that nobody has: five minutes later that holds nothing open.
    let mut told = in_rounds(planted(101, vec![door("[fd00::1]:80")]));
    told.hear(says("a", 390, BLOCKED).rounds(&[375, 390])).came(&[]);
    told.hear(says("a", 405, BLOCKED).rounds(&[375, 390, 405])).came(&["closed a.1 99-375 blocked"]);
    // What an agent has told of is held open by what it named.
    let mut told = in_rounds(planted(101, vec![door("[fd00::1]:80")]));
    told.hear(says("a", 110, BREACHED).open(opening("a.1", 99, 110)));
    told.changes.clear();
    told.hear(says("b", 405, BLOCKED).rounds(&[375, 390, 405])).came(&[]);
}

#[test]
fn one_that_another_replica_reopened_goes_on_here() {
    let mut told = Told::new(0);
    told.hear(says("a", 100, BREACHED).open(opening("a.1", 99, 101)));
    told.hear(says("a", 130, BLOCKED).recent(vec![closed("a.1", 99, 115)]));
    told.changes.clear();
    let beside = Place { target: String::new(), ..place() };
    assert_eq!(told.incidents.unconfirmed_since(&beside), None);
    // An older word of it changes nothing; that it was reopened does.
    assert!(told.adopt(rebuilt(None)) && told.incidents.open_at(&place()).is_none());
    assert!(told.adopt(Incident { reopened: 1, ..rebuilt(None) }));
    assert_eq!(told.incidents.open_at(&place()).map(|incident| incident.reopened), Some(1));
    assert_eq!(told.incidents.unconfirmed_since(&beside), Some(Duration::from_secs(200)), "no agent has told of it here");
    told.hear(says("a", 215, BREACHED).open(opening("a.2", 140, 215)));
    assert_eq!(told.incidents.unconfirmed_since(&beside), None);
}
