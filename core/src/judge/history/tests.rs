//! Cases first, then properties over random sequences.
use super::*;
use crate::model::config::Kind;
use crate::model::finding::Attribution;
use crate::model::observation::{Outcome, Source};
use proptest::prelude::*;

const A: &str = "169.254.169.254:80";
const B: &str = "10.90.0.10:6443";
const V6: &str = "[fd00:ec2::254]:80";
const VOUCHED: Duration = Duration::from_millis(17_500);
const LATENCY: f64 = 0.25;

fn at(seconds: f64) -> Moment {
    let began = Moment { wall: "2026-03-01T12:00:00Z".parse().unwrap(), up: Duration::ZERO };
    began.after(Duration::from_secs_f64(seconds))
}

fn wall(seconds: f64) -> Timestamp {
    at(seconds).wall
}

fn seen(address: &str, outcome: Outcome) -> Observation {
    Observation { latency_seconds: LATENCY, ..Observation::new(address.parse().unwrap(), Source::Literal, outcome) }
}

fn target(observations: Vec<Observation>) -> TargetRound {
    TargetRound {
        name: "imds".into(),
        kind: Kind::Imds,
        proof: None,
        addresses_given: false,
        observations,
        unresolved: vec![],
        stale: None,
    }
}

fn judged(finding: Finding) -> Judged {
    Judged { finding, rule: 7, why: "because".into(), attribution: None }
}

const BLOCKED: Finding = Finding::Blocked(Attribution::Silence);
const BREACHED: Finding = Finding::Breached(Evidence::Connected);
const DOUBT: Finding = Finding::Inconclusive(Doubt::ControlFailed);

/// A world with one target, after its startup window.
struct Story(Histories);

impl Story {
    fn new() -> Self {
        Story(Histories::new("b00", at(0.0), VOUCHED, ["imds".to_owned()].into_iter()))
    }

    fn round(&mut self, began: f64, finding: Finding) -> Option<Transition> {
        let outcome = if matches!(finding, Finding::Breached(_)) { Outcome::Connected } else { Outcome::TimedOut };
        self.round_of(began, finding, vec![seen(A, outcome)])
    }

    fn round_of(&mut self, began: f64, finding: Finding, observations: Vec<Observation>) -> Option<Transition> {
        self.0.finished(0, at(began), at(began + 2.5), &target(observations), &judged(finding))
    }

    fn sentinel(&mut self, when: f64) -> Option<Transition> {
        self.0.sentinel_connected(0, at(when), A.parse().unwrap())
    }

    fn target(&self) -> &History {
        &self.0.all()[0]
    }

    fn closed(&self) -> Vec<ClosedOpening> {
        self.target().recent().cloned().collect()
    }
}

#[test]
fn a_breach_opens_at_once_and_closes_after_two_blocked_rounds_at_the_start_of_the_first() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    let opened = story.round(15.0, BREACHED).unwrap();
    assert_eq!((opened.event, opened.previous_verdict, opened.verdict), (Event::Opened, Verdict::Blocked, Verdict::Breached));
    assert_eq!(story.target().since(), wall(15.25));
    story.round(30.0, BLOCKED);
    assert_eq!((story.target().verdict(), story.target().finding()), (Verdict::Breached, BLOCKED));
    let closed = story.round(45.0, BLOCKED).unwrap();
    assert_eq!((closed.event, closed.verdict), (Event::Closed, Verdict::Blocked));
    let [record] = &story.closed()[..] else { panic!("{:?}", story.closed()) };
    assert_eq!((record.opening.id.as_str(), record.transient), ("b00.1", false));
    assert_eq!((record.opening.started, record.opening.last_connected, record.ended), (wall(15.25), wall(15.25), wall(30.0)));
    assert_eq!(story.target().since(), wall(30.0));
    let totals = story.target().totals();
    assert_eq!(
        (totals.breaches, totals.transients, totals.last_start, totals.last_end),
        (1, 0, Some(wall(15.25)), Some(wall(30.0)))
    );
}

const UNPROVED: Finding = Finding::Inconclusive(Doubt::Unproved);

#[test]
fn what_the_newest_round_proves_is_told_before_any_threshold() {
    let mut story = Story::new();
    assert_eq!(story.target().attribution(), None);
    let weak = Judged { attribution: Some(Attribution::Weak), ..judged(UNPROVED) };
    story.0.finished(0, at(0.0), at(2.5), &target(vec![seen(A, Outcome::TimedOut)]), &weak);
    assert_eq!(story.target().attribution(), Some(Attribution::Weak));
}

#[test]
fn a_proof_of_a_minute_ago_holds_no_more() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    story.round(57.5, UNPROVED);
    assert_eq!(story.target().verdict(), Verdict::Inconclusive, "the round ended after exactly 60 s");
}

#[test]
fn a_proof_holds_for_less_than_a_minute_and_its_age_is_shown() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    for (began, age) in [(15.0, 17.5), (30.0, 32.5), (45.0, 47.5)] {
        assert_eq!(story.round(began, UNPROVED), None, "nothing changes");
        let target = story.target();
        assert_eq!((target.verdict(), target.reason()), (Verdict::Blocked, Reason::Proof(Attribution::Silence)));
        assert_eq!((target.finding(), target.held_proof().map(|held| held.age_seconds)), (UNPROVED, Some(age)));
    }
    let told = story.round(60.0, UNPROVED).unwrap();
    assert_eq!((told.verdict, told.reason), (Verdict::Inconclusive, Reason::Doubt(Doubt::Unproved)));
    assert_eq!(story.target().held_proof(), None);
    story.round(75.0, UNPROVED);
    assert_eq!(story.target().verdict(), Verdict::Inconclusive);
    story.round(90.0, BLOCKED);
    assert_eq!((story.target().verdict(), story.target().held_proof()), (Verdict::Blocked, None));
}

#[test]
fn only_unproved_is_held_and_only_while_it_was_blocked() {
    for doubt in [Doubt::ControlFailed, Doubt::NoControl, Doubt::LocalError, Doubt::Refused, Doubt::StaleAddresses] {
        let mut story = Story::new();
        story.round(0.0, BLOCKED);
        story.round(15.0, Finding::Inconclusive(doubt));
        assert_eq!(story.target().verdict(), Verdict::Inconclusive, "{doubt:?}");
        story.round(30.0, UNPROVED);
        assert_eq!(story.target().verdict(), Verdict::Inconclusive, "it was not blocked any more: {doubt:?}");
    }
}

#[test]
fn whatever_connects_ends_a_held_proof() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    story.sentinel(7.0);
    story.round(7.1, UNPROVED);
    assert_eq!(story.target().verdict(), Verdict::Inconclusive);
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    story.round(5.0, BREACHED);
    story.round(10.0, UNPROVED);
    assert_eq!((story.target().verdict(), story.target().held_proof()), (Verdict::Breached, None));
}

#[test]
fn a_breach_closes_by_rounds_that_only_lack_proof_and_is_not_called_blocked_then() {
    let mut story = Story::new();
    story.round(0.0, BREACHED);
    story.round(15.0, UNPROVED);
    assert_eq!(story.target().verdict(), Verdict::Breached);
    let closed = story.round(30.0, UNPROVED).unwrap();
    assert_eq!(
        (closed.event, closed.verdict, closed.reason),
        (Event::Closed, Verdict::Inconclusive, Reason::Doubt(Doubt::Unproved))
    );
    assert_eq!(story.closed()[0].ended, wall(15.0));
    for doubt in [Doubt::ControlFailed, Doubt::NoControl, Doubt::LocalError, Doubt::DeniedLocally, Doubt::Intercepted] {
        let mut story = Story::new();
        story.round(0.0, BREACHED);
        (1..9).for_each(|round| drop(story.round(f64::from(round) * 15.0, Finding::Inconclusive(doubt))));
        assert_eq!(story.target().verdict(), Verdict::Breached, "{doubt:?}");
    }
}

#[test]
fn an_inconclusive_round_or_a_sentinel_starts_the_count_anew() {
    for restart in [Story::inconclusive as fn(&mut Story), |story| drop(story.sentinel(40.0))] {
        let mut story = Story::new();
        story.round(15.0, BREACHED);
        story.round(30.0, BLOCKED);
        restart(&mut story);
        story.round(60.0, BLOCKED);
        assert_eq!(story.target().verdict(), Verdict::Breached);
        story.round(75.0, BLOCKED);
        assert_eq!(story.closed()[0].ended, wall(60.0));
    }
}

impl Story {
    fn inconclusive(&mut self) {
        self.round(45.0, DOUBT);
    }
}

#[test]
fn a_sentinel_whose_round_connects_nowhere_is_transient_whatever_that_round_says() {
    for finding in [BLOCKED, DOUBT] {
        let mut story = Story::new();
        story.round(0.0, BLOCKED);
        assert_eq!(story.sentinel(7.0), None);
        let told = story.round(7.1, finding).unwrap();
        assert_eq!((told.event, told.verdict), (Event::Transient, finding.verdict()));
        let [record] = &story.closed()[..] else { panic!("{:?}", story.closed()) };
        assert_eq!((record.opening.started, record.ended, record.transient), (wall(7.0), wall(7.1), true));
        assert_eq!(record.opening.addresses, [A.parse().unwrap()]);
        let totals = story.target().totals();
        assert_eq!((totals.breaches, totals.transients, totals.last_start), (0, 1, None));
    }
}

#[test]
fn a_sentinel_whose_round_finds_a_breach_is_its_first_connection() {
    let mut story = Story::new();
    story.sentinel(7.0);
    story.round_of(7.1, BREACHED, vec![seen(A, Outcome::TimedOut), seen(B, Outcome::Connected)]);
    let opening = story.target().opening().unwrap();
    assert_eq!((opening.started, opening.last_connected), (wall(7.0), wall(7.35)));
    assert_eq!(opening.addresses, [A.parse().unwrap(), B.parse().unwrap()]);
    assert!(story.closed().is_empty());
}

#[test]
fn a_sentinel_that_an_interception_explains_is_nothing() {
    let mut story = Story::new();
    story.sentinel(7.0);
    story.round_of(7.1, Finding::Inconclusive(Doubt::Intercepted), vec![seen(A, Outcome::Connected)]);
    assert!(story.closed().is_empty() && story.target().opening().is_none());
}

#[test]
fn a_breach_is_known_while_its_round_still_goes_on_and_is_one_opening() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    let open = target(vec![seen(A, Outcome::Connected)]);
    let told = story.0.in_round(0, at(15.0), at(15.4), &open, &judged(BREACHED)).unwrap();
    assert_eq!((told.event, told.time), (Event::Opened, wall(15.4)));
    assert_eq!(story.0.in_round(0, at(15.0), at(15.4), &open, &judged(BREACHED)), None);
    assert_eq!(story.0.in_round(0, at(15.0), at(15.4), &open, &judged(BLOCKED)), None);
    story.round(15.0, BREACHED);
    assert_eq!(story.target().totals().breaches, 1);
    let more = story.round(15.0, Finding::Breached(Evidence::TokenIssued)).unwrap();
    assert_eq!((more.event, more.reason), (Event::Changed, Reason::Evidence(Evidence::TokenIssued)));
    assert_eq!(story.target().opening().unwrap().evidence, Evidence::TokenIssued);
}

#[test]
fn only_a_round_that_tried_what_had_connected_counts_towards_the_end() {
    let kept = Observation { kept: true, ..seen(A, Outcome::TimedOut) };
    for idle in [vec![seen(A, Outcome::Skipped)], vec![kept], vec![seen(V6, Outcome::TimedOut)], vec![]] {
        let mut story = Story::new();
        story.round(0.0, BREACHED);
        story.round(15.0, BLOCKED);
        for round in 0..3 {
            story.round_of(30.0 + f64::from(round), BLOCKED, idle.clone());
        }
        assert_eq!(story.target().verdict(), Verdict::Breached, "{idle:?}");
        story.round(60.0, BLOCKED);
        assert_eq!(story.closed()[0].ended, wall(15.0), "{idle:?}");
    }
}

#[test]
fn an_address_that_is_no_longer_listed_is_answered_for_by_another_of_its_family() {
    let mut story = Story::new();
    story.round(0.0, BREACHED);
    story.round_of(15.0, BLOCKED, vec![seen(B, Outcome::TimedOut)]);
    story.round_of(30.0, BLOCKED, vec![seen(B, Outcome::Rejected)]);
    assert_eq!(story.target().verdict(), Verdict::Blocked);
}

#[test]
fn every_address_that_connected_must_be_tried_again() {
    let mut story = Story::new();
    story.round_of(0.0, BREACHED, vec![seen(A, Outcome::Connected), seen(V6, Outcome::Connected)]);
    for round in 1..4 {
        story.round_of(f64::from(round) * 15.0, BLOCKED, vec![seen(A, Outcome::TimedOut), seen(V6, Outcome::Skipped)]);
    }
    assert_eq!(story.target().verdict(), Verdict::Breached);
}

#[test]
fn what_is_open_at_the_end_of_the_startup_window_began_with_the_process() {
    let mut story = Story::new();
    assert_eq!(
        (story.target().verdict(), story.target().finding()),
        (Verdict::Inconclusive, Finding::Inconclusive(Doubt::Starting))
    );
    let told = story.0.startup_connected(0, at(3.0)).unwrap();
    assert_eq!((told.event, told.startup_exposure_seconds), (Event::Exposed, 3.0));
    assert_eq!(story.0.startup_connected(0, at(29.0)), None);
    story.0.startup_over(0, true);
    story.round(30.0, BREACHED);
    assert_eq!(story.target().opening().unwrap().started, wall(0.0));
    assert_eq!(story.target().totals().startup_exposure, Duration::from_secs(29));
}

#[test]
fn what_was_shut_at_the_end_of_the_startup_window_is_a_breach_of_its_own() {
    let mut story = Story::new();
    story.0.startup_connected(0, at(3.0));
    story.0.startup_over(0, false);
    story.round(30.0, BREACHED);
    assert_eq!(story.target().opening().unwrap().started, wall(30.25));
    let mut later = Story::new();
    later.0.startup_over(0, true);
    later.round(30.0, BLOCKED);
    later.round(45.0, BREACHED);
    assert_eq!(later.target().opening().unwrap().started, wall(45.25));
}

#[test]
fn what_connects_after_the_process_was_asked_to_end_is_no_page() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    story.0.asked_to_end(at(10.0));
    assert_eq!(story.sentinel(11.0), None);
    let told = story.round(15.0, BREACHED).unwrap();
    assert_eq!((told.event, told.verdict, told.reason), (Event::Exposed, Verdict::Inconclusive, Reason::Doubt(Doubt::Ending)));
    assert_eq!(told.end_exposure_seconds, 7.5);
    assert_eq!((story.target().totals().breaches, story.closed().len()), (0, 0));
}

#[test]
fn a_sentinel_after_the_process_was_asked_to_end_leaves_no_record() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    story.0.asked_to_end(at(10.0));
    story.sentinel(11.0);
    assert_eq!(story.round(11.5, BLOCKED), None);
    assert_eq!((story.target().totals().transients, story.closed().len()), (0, 0));
}

#[test]
fn the_rule_of_the_newest_round_is_told() {
    let mut story = Story::new();
    assert_eq!(story.target().rule(), 0);
    assert!(story.target().why().contains("startup window"), "{}", story.target().why());
    let told = story.round(0.0, BLOCKED).unwrap();
    assert_eq!((story.target().rule(), story.target().why(), told.why.as_str()), (7, "because", "because"));
}

#[test]
fn an_opening_remembers_as_many_addresses_as_a_target_can_have() {
    let mut story = Story::new();
    let open = |last: usize| seen(&format!("10.90.{}.{}:443", last / 250, last % 250), Outcome::Connected);
    story.round_of(0.0, BREACHED, (0..names::TRACKED_MAX + 1).map(open).collect());
    assert_eq!(story.target().opening().unwrap().addresses.len(), names::TRACKED_MAX);
}

#[test]
fn what_was_open_before_stays_open_to_the_end() {
    let mut story = Story::new();
    story.round(0.0, BREACHED);
    story.0.asked_to_end(at(10.0));
    story.round(15.0, BREACHED);
    assert_eq!(story.target().verdict(), Verdict::Breached);
    assert_eq!(story.target().opening().unwrap().last_connected, wall(15.25));
}

#[test]
fn a_wall_clock_that_is_set_changes_no_length_and_no_verdict() {
    for hours in [-1, 1] {
        let set = |seconds: f64| Moment { wall: wall(seconds) + jiff::SignedDuration::from_hours(hours), ..at(seconds) };
        let mut story = Story::new();
        story.round(0.0, BREACHED);
        for began in [15.0, 30.0] {
            let blocked = target(vec![seen(A, Outcome::TimedOut)]);
            story.0.finished(0, set(began), set(began + 2.5), &blocked, &judged(BLOCKED));
        }
        let [record] = &story.closed()[..] else { panic!("{:?}", story.closed()) };
        assert_eq!((record.opening.started, record.opening.last_connected, record.ended), (wall(0.25), wall(0.25), wall(15.0)));
        assert_eq!((story.target().verdict(), story.target().totals().breaches), (Verdict::Blocked, 1));
        let earned = story.0.earned(0, Duration::from_secs(40)).map(|time| time.as_secs_f64());
        assert_eq!(earned, [7.5, 2.5, 30.0], "2.5 s until the first round was over, 30 s breached, 7.5 s blocked");
        // Set again, in the midst of another breach.
        story.0.finished(0, set(45.0), set(47.5), &target(vec![seen(A, Outcome::Connected)]), &judged(BREACHED));
        story.round(60.0, BREACHED);
        let open = story.target().opening().unwrap();
        assert_eq!(open.last_connected.duration_since(open.started), jiff::SignedDuration::from_secs(15));
    }
}

#[test]
fn a_round_that_does_not_come_earns_inconclusive_beyond_an_interval_and_a_timeout() {
    let mut story = Story::new();
    story.round(0.0, BLOCKED);
    let [blocked, inconclusive, breached] = story.0.earned(0, Duration::from_secs(60));
    assert_eq!((blocked, inconclusive, breached), (VOUCHED, Duration::from_millis(60_000) - VOUCHED, Duration::ZERO));
}

#[test]
fn the_last_sixteen_are_kept_newest_first() {
    let mut story = Story::new();
    for number in 0..20 {
        story.sentinel(f64::from(number) * 10.0);
        story.round(f64::from(number) * 10.0 + 0.1, BLOCKED);
    }
    let ids: Vec<String> = story.closed().into_iter().map(|closed| closed.opening.id).collect();
    assert_eq!((ids.len(), ids[0].as_str(), ids[15].as_str()), (16, "b00.20", "b00.5"));
}

/// What may happen next, each after a while.
#[derive(Debug, Clone, Copy)]
enum Next {
    Blocked,
    Breached,
    /// Breached, and known before the round is over.
    BreachedAtOnce,
    Inconclusive,
    /// A sentinel connects, and its round finds this.
    Sentinel(Finding),
}

fn next() -> impl Strategy<Value = Next> {
    let finding = prop_oneof![Just(BLOCKED), Just(BREACHED), Just(DOUBT)];
    prop_oneof![
        4 => Just(Next::Blocked),
        2 => Just(Next::Breached),
        2 => Just(Next::BreachedAtOnce),
        1 => Just(Next::Inconclusive),
        2 => finding.prop_map(Next::Sentinel),
    ]
}

/// Plays a sequence; gives the story, all closed openings, oldest first, and the rounds as (began, finding).
fn play(steps: &[(u16, Next)]) -> (Story, Vec<ClosedOpening>, Vec<(f64, Finding)>, f64) {
    let mut story = Story::new();
    let (mut now, mut closed, mut rounds) = (0.0, Vec::new(), Vec::new());
    for (gap, step) in steps {
        now += f64::from(*gap) / 10.0;
        let finding = match step {
            Next::Blocked => BLOCKED,
            Next::Breached | Next::BreachedAtOnce => BREACHED,
            Next::Inconclusive => DOUBT,
            Next::Sentinel(finding) => {
                story.sentinel(now);
                now += 0.1;
                *finding
            }
        };
        if matches!(step, Next::BreachedAtOnce) {
            let open = target(vec![seen(A, Outcome::Connected)]);
            story.0.in_round(0, at(now), at(now + 0.3), &open, &judged(BREACHED));
        }
        let told = story.round(now, finding);
        rounds.push((now, finding));
        now += 2.5;
        closed.extend(told.and_then(|told| match told.opening {
            Some(Told::Closed(closed)) => Some(closed),
            _ => None,
        }));
    }
    (story, closed, rounds, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_opening_is_lost_none_is_invented_and_none_overlap(steps in prop::collection::vec((0u16..300, next()), 1..60)) {
        let (story, closed, rounds, _) = play(&steps);
        let open = story.target().opening().cloned();
        let breaches: Vec<(Timestamp, Option<Timestamp>)> = closed.iter().filter(|closed| !closed.transient)
            .map(|closed| (closed.opening.started, Some(closed.ended)))
            .chain(open.iter().map(|open| (open.started, None))).collect();
        for (began, finding) in &rounds {
            let first = wall(began + LATENCY);
            let inside = breaches.iter().filter(|(from, to)| *from <= first && to.is_none_or(|to| first <= to)).count();
            if *finding == BREACHED {
                prop_assert_eq!(inside, 1, "a breached round is in one breach");
            }
        }
        for (from, to) in &breaches {
            let mine = rounds.iter().filter(|(began, finding)| *finding == BREACHED && *from <= wall(began + LATENCY)
                && to.is_none_or(|to| wall(*began) <= to));
            prop_assert!(mine.count() > 0, "a breach has a breached round");
        }
        for pair in breaches.windows(2) {
            prop_assert!(pair[0].1.is_some_and(|ended| ended <= pair[1].0), "breaches do not overlap: {:?}", pair);
        }
        prop_assert_eq!(story.target().totals().breaches as usize, breaches.len());
    }

    #[test]
    fn records_are_in_order_and_a_transient_is_a_sentinels(steps in prop::collection::vec((0u16..300, next()), 1..60)) {
        let (story, closed, ..) = play(&steps);
        for record in &closed {
            prop_assert!(record.opening.started <= record.opening.last_connected && record.opening.last_connected <= record.ended);
        }
        let transients = closed.iter().filter(|closed| closed.transient).count();
        let explained = steps.iter().filter(|(_, step)| matches!(step, Next::Sentinel(finding) if *finding != BREACHED)).count();
        prop_assert!(transients <= explained);
        prop_assert_eq!(story.target().totals().transients as usize, transients);
        let mut ids: Vec<u64> = closed.iter().map(|closed| closed.opening.id["b00.".len()..].parse().unwrap()).collect();
        let told = ids.clone();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(&ids, &told, "ids are unique and rise");
        let kept: Vec<ClosedOpening> = closed.iter().rev().take(16).cloned().collect();
        prop_assert_eq!(story.closed(), kept);
    }

    #[test]
    fn the_sums_of_all_verdicts_are_the_time_that_passed(
        steps in prop::collection::vec((0u16..600, next()), 1..60), more in 0u32..100_000, looks in prop::collection::vec(0u32..100_000, 1..5)
    ) {
        let (story, .., now) = play(&steps);
        let up = at(now).up + Duration::from_millis(more.into());
        prop_assert_eq!(story.0.earned(0, up).iter().sum::<Duration>(), up);
        let mut looks = looks;
        looks.sort_unstable();
        let seen: Vec<[Duration; 3]> = looks.iter().map(|look| story.0.earned(0, up + Duration::from_millis((*look).into()))).collect();
        for pair in seen.windows(2) {
            prop_assert!(pair[0].iter().zip(&pair[1]).all(|(before, after)| before <= after), "a counter never falls");
        }
    }

    #[test]
    fn it_is_never_blocked_while_a_breach_is_open_and_never_breached_while_none_is(
        steps in prop::collection::vec((0u16..300, next()), 1..40)
    ) {
        for length in 1..=steps.len() {
            let (story, ..) = play(&steps[..length]);
            let open = story.target().opening().is_some();
            prop_assert_eq!(story.target().verdict() == Verdict::Breached, open);
        }
    }
}
