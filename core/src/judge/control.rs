//! Controls: what they proved, each for its own family.
use crate::model::address::{Family, is_link_local};
use crate::model::config::{ControlKind, Expect};
use crate::model::control::{AnswerCount, ControlAttempt, ControlAttempts, Protocol, Shortfall};
use crate::model::names;
use crate::model::observation::{Evidence, Neighbours, Observation, Outcome};
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

/// How many TCP attempts make an address firm. With half of all packets lost, four connections that each stand at the first SYN have a
/// chance of 1 in 256, and a target that only seems silent needs its own SYNs lost beside them.
pub const FIRM_ATTEMPTS: usize = 4;
/// The most TCP attempts to one address in one round: answers from this node are set aside, and another attempt may meet another backend.
pub const ATTEMPTS_MAX: usize = 12;

/// The number of TCP attempts to start next, when `wanted` of them must be good ones; 0 when no further attempt can change the result.
pub fn more_attempts(attempts: &[ControlAttempt], wanted: usize) -> usize {
    let made = attempts.iter().filter(|attempt| attempt.protocol == Protocol::Tcp).count();
    if beyond_node(attempts).any(|attempt| !is_good(attempt)) {
        return 0;
    }
    wanted.saturating_sub(beyond_node(attempts).count()).min(ATTEMPTS_MAX.saturating_sub(made))
}

/// True for the answers to a DNS question that only a name server gives that knows or has asked: NOERROR and NXDOMAIN (RFC 1035, 4.1.1).
pub fn is_own_answer(response_code: u16) -> bool {
    matches!(response_code, 0 | 3)
}

/// What the attempts to one address proved, when `wanted` good ones of `attempts` make it firm; `earlier` ones are counted, and do not decide. `None`: nothing
/// left this pod, so nothing was tried.
pub fn evaluate_attempts(earlier: &[ControlAttempt], attempts: &[ControlAttempt], wanted: usize) -> Option<ControlAttempts> {
    let tried: Vec<&ControlAttempt> = earlier.iter().chain(attempts).filter(|attempt| !attempt.over_loopback).collect();
    if tried.is_empty() {
        return None;
    }
    let count = |protocol: Protocol| {
        let of_protocol = tried.iter().filter(|attempt| attempt.protocol == protocol);
        let answered = of_protocol.clone().filter(|attempt| attempt.answered).count();
        AnswerCount { made: saturated(of_protocol.count()), answered: saturated(answered) }
    };
    let (tcp, udp) = (count(Protocol::Tcp), count(Protocol::Udp));
    let enough = beyond_node(attempts).count() >= wanted;
    let firm = wanted > 0 && enough && beyond_node(attempts).all(is_good);
    let shortfall = if firm || tcp.answered + udp.answered == 0 { None } else { Some(shortfall(&tried, tcp)) };
    Some(ControlAttempts { tcp, udp, firm, shortfall })
}

/// TCP attempts that were not answered from this node or inside this pod.
fn beyond_node(attempts: &[ControlAttempt]) -> impl Iterator<Item = &ControlAttempt> {
    attempts.iter().filter(|attempt| attempt.protocol == Protocol::Tcp && !attempt.on_node && !attempt.over_loopback)
}

fn is_good(attempt: &ControlAttempt) -> bool {
    attempt.own_answer && attempt.first_syn
}

fn shortfall(tried: &[&ControlAttempt], tcp: AnswerCount) -> Shortfall {
    let answered = || tried.iter().filter(|attempt| attempt.answered);
    if tcp.answered == 0 {
        Shortfall::UdpOnly
    } else if answered().all(|attempt| attempt.on_node) {
        Shortfall::OnNode
    } else if answered().any(|attempt| !attempt.own_answer) {
        Shortfall::OtherAnswer
    } else if tried.iter().any(|attempt| attempt.protocol == Protocol::Tcp && !(attempt.answered && attempt.first_syn)) {
        Shortfall::PacketsLost
    } else {
        Shortfall::OnNode
    }
}

fn saturated(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Whether a control did what it must; `None` when it was not tried.
pub fn held(control: &ControlRound) -> Option<bool> {
    match control.expect {
        Expect::MustReach if !tried(control) => None,
        Expect::MustReach => Some(control.observations.iter().any(|seen| answered(control.kind, seen))),
        Expect::MustNotConnect => {
            let mut answers = control.observations.iter().filter(|seen| answers_the_question(seen)).peekable();
            answers.peek()?;
            Some(!answers.any(Observation::connected))
        }
    }
}

/// A control all of whose names gave no address has been tried, and failed.
fn tried(control: &ControlRound) -> bool {
    is_unresolved(control) || control.observations.iter().any(Observation::tried)
}

fn is_unresolved(control: &ControlRound) -> bool {
    control.observations.is_empty() && !control.unresolved.is_empty()
}

/// A name server and a reporter must speak: a connection that then says nothing is no sign of life.
fn answered(kind: ControlKind, seen: &Observation) -> bool {
    match kind {
        ControlKind::Dns | ControlKind::Reporter => seen.evidence >= Some(Evidence::Answered),
        ControlKind::Tcp => seen.connected(),
    }
}

/// True when a must-not-connect attempt says anything: an attempt that never left the prober does not.
pub fn answers_the_question(seen: &Observation) -> bool {
    !matches!(seen.outcome, Outcome::Skipped | Outcome::LocalError | Outcome::DeniedLocally)
}

/// True when any must-reach control was tried.
pub fn any_tried(controls: &[ControlRound]) -> bool {
    must_reach(controls).any(tried)
}

/// Why the first must-reach control was not tried; `None` where there is none.
pub fn reason_not_tried(controls: &[ControlRound]) -> Option<String> {
    must_reach(controls).find_map(|control| {
        let seen = control.observations.iter().find(|seen| !seen.tried())?;
        let detail = seen.detail.as_deref().unwrap_or("the pod has no address in its family");
        Some(format!("{} at {}: {detail}", control.name, seen.address))
    })
}

/// True when any must-reach control held, in whatever family.
pub fn any_held(controls: &[ControlRound]) -> bool {
    Family::ALL.into_iter().any(|family| any_held_in(controls, family))
}

/// True when any must-reach control held in that family.
pub fn any_held_in(controls: &[ControlRound], family: Family) -> bool {
    must_reach(controls).any(|control| in_family(control, family).any(|seen| answered(control.kind, seen)))
}

/// The must-reach controls that failed in that family: no address of it answered within the budget. A control none of whose names
/// resolved failed in each family: nobody knows which it would have been.
pub fn failed_in(controls: &[ControlRound], family: Family) -> impl Iterator<Item = &ControlRound> {
    must_reach(controls).filter(move |control| {
        let mut tried = in_family(control, family).filter(|seen| seen.tried()).peekable();
        let concerned = is_unresolved(control) || tried.peek().is_some();
        concerned && !tried.any(|seen| answered(control.kind, seen))
    })
}

/// True when more than half of the attempts to the must-reach controls of that family were not answered. Only addresses and transports
/// count that answered at all: a dead second name server and a port that a policy closes are no packet loss.
pub fn more_than_half_lost(controls: &[ControlRound], family: Family) -> bool {
    let attempts = must_reach(controls).flat_map(|control| in_family(control, family)).filter_map(|seen| seen.attempts);
    let counts = attempts.flat_map(|attempts| [attempts.tcp, attempts.udp]).filter(|count| count.answered > 0);
    let (made, lost) =
        counts.fold((0u32, 0u32), |(made, lost), count| (made + u32::from(count.made), lost + u32::from(count.lost())));
    lost * 2 > made
}

/// True when a must-reach control of that family is firm.
pub fn any_firm(controls: &[ControlRound], family: Family) -> bool {
    must_reach(controls).flat_map(|control| in_family(control, family)).any(is_firm)
}

/// True when a must-reach control of that family is firm that is a Service too: then kube-proxy, or its replacement, works.
pub fn any_firm_service(controls: &[ControlRound], family: Family) -> bool {
    must_reach(controls).flat_map(|control| in_family(control, family)).any(|seen| seen.service && is_firm(seen))
}

/// True when silence beside this address of a control is a proof.
pub fn is_firm(seen: &Observation) -> bool {
    !seen.on_node && seen.attempts.is_some_and(|attempts| attempts.firm)
}

/// What keeps the must-reach controls of a family from being firm, in words; one sentence part for each control that was tried there.
pub fn shortfalls(controls: &[ControlRound], family: Family) -> Vec<String> {
    let mut all = Vec::new();
    for control in must_reach(controls) {
        if failed_in(std::slice::from_ref(control), family).next().is_some() {
            let hint = match control.kind {
                ControlKind::Reporter => " (where the guard denies it, the chart's agent.reporterControl: false leaves it out)",
                ControlKind::Dns | ControlKind::Tcp => "",
            };
            all.push(format!("{} did not answer{hint}", control.name));
            continue;
        }
        let doubtful = |seen: &&Observation| seen.tried() && answered(control.kind, seen) && !is_firm(seen);
        let shortfall = in_family(control, family).filter(doubtful).map(|seen| {
            let told = seen.attempts.and_then(|attempts| attempts.shortfall);
            if seen.on_node { Shortfall::OnNode } else { told.unwrap_or(Shortfall::PacketsLost) }
        });
        all.extend(shortfall.take(1).map(|shortfall| format!("{} {}", control.name, shortfall.words())));
    }
    all
}

fn in_family(control: &ControlRound, family: Family) -> impl Iterator<Item = &Observation> {
    control.observations.iter().filter(move |seen| seen.family == family)
}

fn must_reach(controls: &[ControlRound]) -> impl Iterator<Item = &ControlRound> {
    controls.iter().filter(|control| control.expect == Expect::MustReach)
}

/// What the must-not-connect controls say of a target's address, and the hosts beside it where they were tried: all of those connecting
/// shows an interception of the target's own range, as of a mesh that captures the cluster's ranges only.
pub fn interception(controls: &[ControlRound], of: &Observation) -> Negative {
    if of.neighbours.is_some_and(Neighbours::all_connect) { Negative::Connected } else { negative(controls, of) }
}

/// What the must-not-connect controls say of a target's address: those with its port and family. Link-local addresses are routed, and
/// intercepted, in their own way: where some of those controls are as link-local as the target, or as little, only they speak for it.
fn negative(controls: &[ControlRound], of: &Observation) -> Negative {
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
    fn a_dns_control_and_a_reporter_are_held_by_an_answer() {
        let with = |kind, evidence| {
            let seen = Observation { evidence, ..seen(Outcome::Connected) };
            held(&control(Expect::MustReach, kind, vec![seen]))
        };
        assert_eq!(with(ControlKind::Dns, None), Some(false));
        assert_eq!(with(ControlKind::Dns, Some(Evidence::NoAnswer)), Some(false));
        assert_eq!(with(ControlKind::Dns, Some(Evidence::Answered)), Some(true));
        assert_eq!(with(ControlKind::Reporter, None), Some(false));
        assert_eq!(with(ControlKind::Reporter, Some(Evidence::Answered)), Some(true));
        assert_eq!(with(ControlKind::Tcp, None), Some(true));
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

    /// A good attempt: the control's own answer from another node, at the first SYN.
    const GOOD: ControlAttempt = ControlAttempt {
        protocol: Protocol::Tcp,
        answered: true,
        own_answer: true,
        first_syn: true,
        on_node: false,
        over_loopback: false,
    };
    const LATE: ControlAttempt = ControlAttempt { first_syn: false, ..GOOD };
    const REFUSED: ControlAttempt = ControlAttempt { own_answer: false, ..GOOD };
    const SILENT: ControlAttempt = ControlAttempt { answered: false, own_answer: false, first_syn: false, ..GOOD };
    const HERE: ControlAttempt = ControlAttempt { on_node: true, ..GOOD };
    const LOOPBACK: ControlAttempt = ControlAttempt { over_loopback: true, ..GOOD };
    const UDP: ControlAttempt = ControlAttempt { protocol: Protocol::Udp, first_syn: false, ..GOOD };

    fn firm(attempts: &[ControlAttempt], wanted: usize) -> Option<(bool, Option<Shortfall>)> {
        evaluate_attempts(&[], attempts, wanted).map(|evaluated| (evaluated.firm, evaluated.shortfall))
    }

    #[test]
    fn four_good_attempts_are_firm_and_each_flaw_has_its_shortfall() {
        let lacks = |shortfall| Some((false, Some(shortfall)));
        for (attempts, expected) in [
            (vec![GOOD; 4], Some((true, None))),
            ([vec![HERE; 9], vec![GOOD; 3]].concat(), lacks(Shortfall::OnNode)),
            (vec![GOOD, GOOD, GOOD, LATE], lacks(Shortfall::PacketsLost)),
            (vec![GOOD, GOOD, GOOD, SILENT], lacks(Shortfall::PacketsLost)),
            (vec![REFUSED; 4], lacks(Shortfall::OtherAnswer)),
            (vec![GOOD, GOOD, GOOD, REFUSED], lacks(Shortfall::OtherAnswer)),
            (vec![HERE; 12], lacks(Shortfall::OnNode)),
            ([vec![HERE; 5], vec![GOOD; 4]].concat(), Some((true, None))),
            (vec![SILENT, SILENT, SILENT, SILENT, UDP], lacks(Shortfall::UdpOnly)),
            (vec![SILENT; 4], Some((false, None))),
            (vec![LOOPBACK; 4], None),
            (vec![], None),
        ] {
            assert_eq!(firm(&attempts, FIRM_ATTEMPTS), expected, "{attempts:?}");
        }
    }

    #[test]
    fn a_firm_control_stays_so_by_one_good_attempt_and_not_by_none() {
        assert_eq!(firm(&[GOOD], 1), Some((true, None)));
        assert_eq!(firm(&[HERE, GOOD], 1), Some((true, None)));
        assert_eq!(firm(&[LATE], 1), Some((false, Some(Shortfall::PacketsLost))));
        assert_eq!(firm(&[HERE], 0), Some((false, Some(Shortfall::OnNode))));
        assert!(
            evaluate_attempts(&[LATE], &[GOOD; 4], 4).is_some_and(|evaluated| evaluated.firm),
            "earlier ones are counted, and do not decide"
        );
    }

    #[test]
    fn only_a_server_that_knows_or_has_asked_says_noerror_or_nxdomain() {
        let own: Vec<u16> = (0..32).filter(|code| is_own_answer(*code)).collect();
        assert_eq!(own, [0, 3]);
    }

    #[test]
    fn answers_and_attempts_are_counted_by_transport() {
        let counted = evaluate_attempts(&[UDP], &[GOOD, SILENT, LATE, LOOPBACK], 4).unwrap();
        assert_eq!((counted.tcp, counted.udp), (AnswerCount { made: 3, answered: 2 }, AnswerCount { made: 1, answered: 1 }));
    }

    #[test]
    fn more_attempts_are_made_until_enough_were_good_or_one_was_bad() {
        for (attempts, wanted, more) in [
            (vec![], 4, 4),
            (vec![GOOD], 4, 3),
            (vec![GOOD; 4], 4, 0),
            (vec![GOOD, LATE], 4, 0),
            (vec![GOOD, REFUSED], 4, 0),
            (vec![HERE; 4], 4, 4),
            (vec![HERE; 10], 4, 2),
            (vec![HERE; 12], 4, 0),
            ([vec![HERE; 7], vec![GOOD; 2]].concat(), 4, 2),
            (vec![LOOPBACK; 4], 4, 4),
            (vec![], 1, 1),
            (vec![HERE], 1, 1),
        ] {
            assert_eq!(more_attempts(&attempts, wanted), more, "{attempts:?}");
        }
    }
}
