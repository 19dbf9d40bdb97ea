//! The report: what a round and the histories after it say, set together.
use super::history::{Histories, History};
use super::{control, finding};
use crate::model::finding::{Doubt, Reason, Verdict};
use crate::model::names;
use crate::model::observation::Observation;
use crate::model::report::{ControlReport, Head, Report, TargetReport, WitnessObservation, WitnessReport, WitnessTarget};
use crate::model::round::{ControlRound, Round, TargetRound};
use std::time::Duration;

/// An agent's report. `round` holds the newest of each target, in the order of the configuration.
pub fn agent(head: Head, histories: &Histories, round: &Round) -> Report {
    let targets: Vec<TargetReport> =
        histories.all().iter().zip(&round.targets).map(|(history, seen)| target(history, seen, &round.controls)).collect();
    let verdict = worst(&targets);
    Report { head, verdict, targets, controls: controls(round) }
}

/// The worst verdict of these targets; of none, that nothing is known.
fn worst(targets: &[TargetReport]) -> Verdict {
    targets.iter().map(|target| target.verdict).max().unwrap_or(Verdict::Inconclusive)
}

fn target(history: &History, seen: &TargetRound, controls: &[ControlRound]) -> TargetReport {
    let with_attribution = |observation: &Observation| Observation {
        attribution: finding::address_attribution(seen, observation, controls),
        not_reached: history.not_reached(observation.address),
        ..observation.clone()
    };
    let (finding, totals) = (history.finding(), history.totals());
    TargetReport {
        name: seen.name.clone(),
        kind: seen.kind,
        verdict: history.verdict(),
        finding: finding.verdict(),
        reason: history.reason(),
        attribution: history.attribution(),
        proof: seen.proof,
        held_proof: history.held_proof(),
        rule: history.rule(),
        why: history.why().to_owned(),
        since: history.since(),
        opening: history.opening().cloned(),
        recent: history.recent().cloned().collect(),
        startup_exposure_seconds: totals.startup_exposure.as_secs_f64(),
        end_exposure_seconds: totals.end_exposure.as_secs_f64(),
        addresses_given: seen.addresses_given,
        unresolved: seen.unresolved.clone(),
        observations: seen.observations.iter().map(with_attribution).collect(),
    }
}

fn controls(round: &Round) -> Vec<ControlReport> {
    let report = |seen: &ControlRound| ControlReport {
        name: seen.name.clone(),
        expect: seen.expect,
        kind: seen.kind,
        held: control::held(seen),
        observations: seen.observations.clone(),
    };
    round.controls.iter().map(report).collect()
}

/// A witness's report: which addresses it reached, and nothing about what that means.
pub fn witness(head: Head, round: &Round) -> WitnessReport {
    let target = |target: &TargetRound| WitnessTarget {
        name: target.name.clone(),
        kind: target.kind,
        unresolved: target.unresolved.clone(),
        observations: target
            .observations
            .iter()
            .map(|seen| WitnessObservation { seen: seen.clone(), reached: finding::reached(target, &round.controls, seen) })
            .collect(),
    };
    WitnessReport { head, targets: round.targets.iter().map(target).collect(), controls: controls(round) }
}

/// For how long after its end a round vouches for its verdict: until the next one has ended, which begins an interval after it did and may
/// take as long as a round may.
pub fn vouched(interval: Duration, longest_round: Duration) -> Duration {
    interval + longest_round
}

/// Verdict and reason of a target as they may be shown now, `age` after the end of the newest round, which vouches for them for so long.
pub fn shown(history: &History, age: Duration, vouched: Duration) -> (Verdict, Reason) {
    let held = history.held_proof().map(|held| held.age_seconds + age.as_secs_f64());
    match history.verdict() {
        Verdict::Blocked if age > vouched => (Verdict::Inconclusive, TOO_OLD),
        Verdict::Blocked if held.is_some_and(|age| age >= names::PROOF_HOLDS.as_secs_f64()) => {
            (Verdict::Inconclusive, history.finding().reason())
        }
        verdict => (verdict, history.reason()),
    }
}

/// The reason of what no round vouches for: it is the prober's own fault.
const TOO_OLD: Reason = Reason::Doubt(Doubt::LocalError);

/// A report as it may be shown when its round ended that long ago. A round vouches for `vouched` and no longer: what it called blocked is
/// not known to be so any more.
pub fn as_of(mut report: Report, age: Duration, vouched: Duration) -> Report {
    report.head.age_seconds = age.as_secs_f64();
    for target in &mut report.targets {
        let Some(held) = &mut target.held_proof else { continue };
        held.age_seconds += age.as_secs_f64();
        if held.age_seconds >= names::PROOF_HOLDS.as_secs_f64() {
            (target.verdict, target.reason, target.held_proof) = (target.finding, Reason::Doubt(Doubt::Unproved), None);
        }
    }
    report.verdict = worst(&report.targets);
    if age <= vouched {
        return report;
    }
    for target in report.targets.iter_mut().filter(|target| target.verdict == Verdict::Blocked) {
        target.attribution = None;
        target.observations.iter_mut().for_each(|seen| seen.attribution = None);
        (target.verdict, target.finding) = (Verdict::Inconclusive, Verdict::Inconclusive);
        (target.reason, target.rule, target.held_proof) = (TOO_OLD, 3, None);
        target.why = format!("no round has ended for {:.0} s: this process did not run, or hangs", age.as_secs_f64());
    }
    report.verdict = worst(&report.targets);
    report
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::judge::finding::Judged;
    use crate::model::config::{ControlKind, Expect, Kind};
    use crate::model::finding::{Attribution, Finding};
    use crate::model::moment::Moment;
    use crate::model::observation::{Identity, Outcome, Source};
    use crate::model::report::Role;

    pub(in crate::judge) fn head() -> Head {
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        Head {
            schema: crate::model::names::REPORT_SCHEMA.into(),
            guard: "default/guard".into(),
            role: Role::Agent,
            node: None,
            pod: None,
            version: "0".into(),
            config_hash: "c0ffee".into(),
            endpoints_revision: None,
            boot: "b00".into(),
            round: 1,
            started: at,
            finished: at,
            age_seconds: 0.0,
            waited_seconds: None,
            interval_seconds: 15.0,
        }
    }

    fn seen(outcome: Outcome) -> Observation {
        Observation::new("10.90.0.10:6443".parse().unwrap(), Source::File, outcome)
    }

    fn round(observations: Vec<Observation>, negative: Option<Outcome>) -> Round {
        let nowhere = |outcome| Observation::new("198.51.100.7:6443".parse().unwrap(), Source::Literal, outcome);
        Round {
            targets: vec![TargetRound {
                name: "api".into(),
                kind: Kind::KubeApi,
                proof: None,
                addresses_given: false,
                observations,
                unresolved: vec![],
                stale: None,
            }],
            controls: vec![ControlRound {
                name: "nowhere".into(),
                expect: Expect::MustNotConnect,
                kind: ControlKind::Tcp,
                observations: negative.map(nowhere).into_iter().collect(),
                unresolved: vec![],
            }],
            endpoints_revision: None,
        }
    }

    #[test]
    fn a_round_that_is_too_old_is_never_shown_as_blocked_and_a_breach_stays_one() {
        let at = |seconds| Moment { wall: head().started, up: Duration::from_secs(seconds) };
        let vouched = Duration::from_secs(17);
        for (finding, shown) in [
            (Finding::Blocked(Attribution::Rejected), Verdict::Inconclusive),
            (Finding::Breached(crate::model::observation::Evidence::Connected), Verdict::Breached),
        ] {
            let mut histories = Histories::new("b00", at(0), Duration::from_secs(17), ["api".to_owned()].into_iter());
            let round = round(vec![seen(Outcome::Rejected)], None);
            histories.finished(
                0,
                at(1),
                at(2),
                &round.targets[0],
                &Judged { finding, rule: 7, why: String::new(), attribution: None },
            );
            let report = agent(head(), &histories, &round);
            let fresh = as_of(report.clone(), Duration::from_secs(17), Duration::from_secs(17));
            assert_eq!((fresh.verdict, fresh.head.age_seconds), (finding.verdict(), 17.0));
            let old = as_of(report, Duration::from_secs(18), Duration::from_secs(17));
            assert_eq!((old.verdict, old.targets[0].verdict), (shown, shown));
            assert_eq!(super::shown(&histories.all()[0], vouched, vouched), (finding.verdict(), finding.reason()));
            assert_eq!(super::shown(&histories.all()[0], vouched + vouched, vouched), (old.verdict, old.targets[0].reason));
        }
    }

    #[test]
    fn a_held_proof_is_shown_for_a_minute_and_no_longer() {
        let at = |seconds| Moment { wall: head().started, up: Duration::from_secs(seconds) };
        let vouched = Duration::from_secs(29);
        let mut histories = Histories::new("b00", at(0), vouched, ["api".to_owned()].into_iter());
        let round = round(vec![seen(Outcome::TimedOut)], None);
        let judged = |finding| Judged { finding, rule: 7, why: String::new(), attribution: None };
        histories.finished(0, at(0), at(2), &round.targets[0], &judged(Finding::Blocked(Attribution::Silence)));
        histories.finished(0, at(45), at(48), &round.targets[0], &judged(Finding::Inconclusive(Doubt::Unproved)));
        for (age, expected) in [(11, Verdict::Blocked), (12, Verdict::Inconclusive)] {
            let age = Duration::from_secs(age);
            let report = as_of(agent(head(), &histories, &round), age, vouched);
            assert_eq!((report.verdict, report.targets[0].held_proof.is_some()), (expected, expected == Verdict::Blocked));
            assert_eq!(shown(&histories.all()[0], age, vouched).0, expected);
        }
        let [blocked, ..] = histories.earned(0, Duration::from_secs(70));
        assert_eq!(blocked.as_secs(), 29 + 12, "29 s after the first round, and until its proof was a minute old");
    }

    #[test]
    fn a_slow_round_after_a_quick_one_leaves_no_second_without_a_verdict() {
        let at = |seconds| Moment { wall: head().started, up: Duration::from_secs_f64(seconds) };
        let vouched = vouched(Duration::from_secs(15), Duration::from_secs(14));
        let mut histories = Histories::new("b00", at(0.0), vouched, ["api".to_owned()].into_iter());
        let round = round(vec![seen(Outcome::Rejected)], None);
        let judged = Judged { finding: Finding::Blocked(Attribution::Rejected), rule: 7, why: String::new(), attribution: None };
        histories.finished(0, at(0.0), at(2.5), &round.targets[0], &judged);
        histories.finished(0, at(15.0), at(21.0), &round.targets[0], &judged);
        let [blocked, inconclusive, _] = histories.earned(0, Duration::from_secs(21));
        assert_eq!(
            (blocked.as_secs_f64(), inconclusive.as_secs_f64()),
            (18.5, 2.5),
            "2.5 s are those before the first round had ended"
        );
    }

    #[test]
    fn each_address_is_told_with_what_it_proves() {
        let start = Moment { wall: head().started, up: Duration::ZERO };
        let histories = Histories::new("b00", start, Duration::ZERO, ["api".to_owned()].into_iter());
        let on_the_way = Observation { sender: Some("10.0.0.1".parse().unwrap()), ..seen(Outcome::Rejected) };
        let report = agent(head(), &histories, &round(vec![on_the_way, seen(Outcome::Connected)], None));
        let told: Vec<_> = report.targets[0].observations.iter().map(|seen| seen.attribution).collect();
        assert_eq!(told, [Some(Attribution::Rejected), None]);
    }

    #[test]
    fn every_control_is_told_with_what_it_saw_and_whether_it_held() {
        let histories =
            Histories::new("b00", Moment { wall: head().started, up: Duration::ZERO }, Duration::ZERO, std::iter::empty());
        for (outcome, held) in [(None, None), (Some(Outcome::TimedOut), Some(true)), (Some(Outcome::Connected), Some(false))] {
            let report = agent(head(), &histories, &round(vec![], outcome));
            assert_eq!(report.controls.len(), 1);
            let told = &report.controls[0];
            assert_eq!((told.name.as_str(), told.expect, told.held), ("nowhere", Expect::MustNotConnect, held));
            assert_eq!(told.observations.first().map(|seen| seen.outcome), outcome);
        }
    }

    #[test]
    fn a_witness_reached_what_connected_unless_something_else_answers_there() {
        let wrong = Observation { identity: Some(Identity::Wrong), ..seen(Outcome::Connected) };
        for (observation, negative, reached) in [
            (seen(Outcome::Connected), Some(Outcome::TimedOut), true),
            (seen(Outcome::Connected), None, true),
            (seen(Outcome::Connected), Some(Outcome::Connected), false),
            (wrong, Some(Outcome::TimedOut), false),
            (seen(Outcome::TimedOut), None, false),
            (seen(Outcome::Refused), None, false),
        ] {
            let report = witness(head(), &round(vec![observation.clone()], negative));
            assert_eq!(report.targets[0].observations[0].reached, reached, "{observation:?} {negative:?}");
        }
    }

    #[test]
    fn a_witness_says_neither_blocked_nor_breached() {
        let report = witness(head(), &round(vec![seen(Outcome::Connected)], None));
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#""reached":true"#) && !text.contains("verdict") && !text.contains("breached"), "{text}");
    }
}
