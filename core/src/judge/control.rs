//! Controls: what they proved, each for its own family.
use crate::model::address::{Family, is_link_local};
use crate::model::config::{ControlKind, Expect};
use crate::model::names;
use crate::model::observation::{Evidence, Observation, Outcome};
use crate::model::round::ControlRound;
use std::time::Duration;

/// What the must-not-connect control of a port and family said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negative {
    /// Nothing answered where nothing lives: who connects has reached somebody.
    Held,
    /// Something answered where nothing lives: it answers in everybody's place.
    Connected,
    /// It could not be tried.
    Untried,
}

/// Whether a control did what it must; `None` when it was not tried.
pub fn held(control: &ControlRound) -> Option<bool> {
    match control.expect {
        Expect::MustReach if !tried(control) => None,
        Expect::MustReach => Some(control.observations.iter().any(|seen| reached(control.kind, seen))),
        Expect::MustNotConnect => {
            let mut answers = control.observations.iter().filter(|seen| answers_the_question(seen)).peekable();
            answers.peek()?;
            Some(!answers.any(Observation::connected))
        }
    }
}

/// A control all of whose names gave no address has been tried, and failed.
fn tried(control: &ControlRound) -> bool {
    nowhere_to_be_found(control) || control.observations.iter().any(Observation::tried)
}

fn nowhere_to_be_found(control: &ControlRound) -> bool {
    control.observations.is_empty() && !control.unresolved.is_empty()
}

/// A DNS control wants an answer: a connection to a port that then says nothing is no sign of life.
fn reached(kind: ControlKind, seen: &Observation) -> bool {
    match kind {
        ControlKind::Dns => seen.evidence >= Some(Evidence::Answered),
        ControlKind::Tcp | ControlKind::Reporter => seen.connected(),
    }
}

/// True when a must-not-connect attempt says anything: an attempt that never left the prober does not.
fn answers_the_question(seen: &Observation) -> bool {
    !matches!(seen.outcome, Outcome::Skipped | Outcome::LocalError | Outcome::DeniedLocally)
}

/// True when must-reach controls of that family were tried and none held. A control none of whose names resolved
/// counts for each family: nobody knows which it would have been, and a doubt is never in favour.
pub fn family_failed(controls: &[ControlRound], family: Family) -> bool {
    let concerned = |control: &&ControlRound| {
        nowhere_to_be_found(control) || control.observations.iter().any(|seen| seen.family == family && seen.tried())
    };
    must_reach(controls).any(|control| concerned(&control)) && !held_in(controls, family, |_| true)
}

/// True when a must-reach control of that family held that is not known to answer on this very node.
pub fn held_off_node(controls: &[ControlRound], family: Family) -> bool {
    held_in(controls, family, |seen| {
        let ip = seen.address.ip();
        !seen.on_node && !ip.is_loopback() && !is_link_local(ip)
    })
}

fn held_in(controls: &[ControlRound], family: Family, accept: impl Fn(&Observation) -> bool) -> bool {
    must_reach(controls).any(|control| {
        control.observations.iter().any(|seen| seen.family == family && reached(control.kind, seen) && accept(seen))
    })
}

fn must_reach(controls: &[ControlRound]) -> impl Iterator<Item = &ControlRound> {
    controls.iter().filter(|control| control.expect == Expect::MustReach)
}

/// What the must-not-connect controls say of a target's address: those with its port and family. Link-local addresses are routed, and
/// intercepted, in their own way: where some of those controls are as link-local as the target, or as little, only they speak for it.
pub fn negative(controls: &[ControlRound], of: &Observation) -> Negative {
    let twins =
        controls.iter().filter(|control| control.expect == Expect::MustNotConnect).flat_map(|control| &control.observations);
    let twins: Vec<&Observation> =
        twins.filter(|seen| seen.family == of.family && seen.address.port() == of.address.port()).collect();
    let alike = |seen: &&&Observation| is_link_local(seen.address.ip()) == is_link_local(of.address.ip());
    let any_alike = twins.iter().any(|seen| alike(&seen));
    twins.iter().filter(|seen| !any_alike || alike(seen)).fold(Negative::Untried, |so_far, seen| match so_far {
        Negative::Connected => Negative::Connected,
        _ if seen.connected() => Negative::Connected,
        _ if answers_the_question(seen) => Negative::Held,
        other => other,
    })
}

/// How long a must-not-connect control is waited for beside a target that took `latency` to connect: whoever answers in a target's place
/// answers as fast. What a lost first SYN cost is no part of that: the kernel repeats it after whole seconds (RFC 6298, 2.1).
pub fn patience(latency: Duration, most: Duration) -> Duration {
    let answered_in = Duration::from_nanos(latency.subsec_nanos().into());
    (answered_in * names::NEGATIVE_CONTROL_FACTOR).max(names::NEGATIVE_CONTROL_MIN).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observation::Source;

    fn seen(outcome: Outcome) -> Observation {
        Observation::new("198.51.100.7:443".parse().expect("an address"), Source::Literal, outcome)
    }

    fn control(expect: Expect, kind: ControlKind, observations: Vec<Observation>) -> ControlRound {
        ControlRound { name: "c".into(), expect, kind, observations, unresolved: Vec::new() }
    }

    #[test]
    fn a_negative_control_waits_ten_times_as_long_as_the_answer_took_and_not_for_a_lost_syn() {
        let milliseconds = Duration::from_millis;
        for (latency, expected) in [(1, 100), (10, 100), (30, 300), (400, 2500), (1004, 100), (1030, 300), (2015, 150)] {
            assert_eq!(patience(milliseconds(latency), milliseconds(2500)), milliseconds(expected), "{latency} ms");
        }
    }

    #[test]
    fn a_must_reach_control_is_held_by_any_of_its_addresses() {
        let held_by = |outcomes: &[Outcome]| {
            held(&control(Expect::MustReach, ControlKind::Tcp, outcomes.iter().map(|outcome| seen(*outcome)).collect()))
        };
        assert_eq!(held_by(&[]), None);
        assert_eq!(held_by(&[Outcome::Skipped]), None);
        assert_eq!(held_by(&[Outcome::TimedOut]), Some(false));
        assert_eq!(held_by(&[Outcome::LocalError]), Some(false));
        assert_eq!(held_by(&[Outcome::Skipped, Outcome::TimedOut, Outcome::Connected]), Some(true));
    }

    #[test]
    fn a_dns_control_is_held_by_an_answer_and_a_reporter_by_a_connection() {
        let with = |kind, evidence| {
            let seen = Observation { evidence, ..seen(Outcome::Connected) };
            held(&control(Expect::MustReach, kind, vec![seen]))
        };
        assert_eq!(with(ControlKind::Dns, None), Some(false));
        assert_eq!(with(ControlKind::Dns, Some(Evidence::NoAnswer)), Some(false));
        assert_eq!(with(ControlKind::Dns, Some(Evidence::Answered)), Some(true));
        assert_eq!(with(ControlKind::Reporter, None), Some(true));
    }

    #[test]
    fn a_control_without_a_resolvable_name_has_failed() {
        let nameless = ControlRound { unresolved: vec!["x".into()], ..control(Expect::MustReach, ControlKind::Tcp, vec![]) };
        assert_eq!(held(&nameless), Some(false));
        let other_address = ControlRound { observations: vec![seen(Outcome::Skipped)], ..nameless };
        assert_eq!(held(&other_address), None);
    }

    #[test]
    fn a_must_not_connect_control_is_held_by_anything_but_a_connection() {
        let held_by = |outcomes: &[Outcome]| {
            held(&control(Expect::MustNotConnect, ControlKind::Tcp, outcomes.iter().map(|outcome| seen(*outcome)).collect()))
        };
        assert_eq!(held_by(&[]), None);
        for unasked in [Outcome::Skipped, Outcome::LocalError, Outcome::DeniedLocally] {
            assert_eq!(held_by(&[unasked]), None, "{unasked:?}");
        }
        for quiet in [Outcome::TimedOut, Outcome::Rejected, Outcome::Refused, Outcome::Unreachable] {
            assert_eq!(held_by(&[quiet]), Some(true), "{quiet:?}");
        }
        assert_eq!(held_by(&[Outcome::TimedOut, Outcome::Connected]), Some(false));
        assert_eq!(held_by(&[Outcome::Connected, Outcome::TimedOut]), Some(false));
    }
}
