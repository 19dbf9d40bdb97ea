//! Every rule as a row, and properties that hold for whatever a round may bring.
use super::*;
use crate::model::config::{ControlKind, Expect};
use crate::model::control::{AnswerCount, ControlAttempts, Shortfall};
use crate::model::finding::Verdict;
use crate::model::observation::Neighbours;
use proptest::prelude::*;
use std::net::SocketAddr;

const V4: &str = "10.9.0.1:443";
const V4_OTHER: &str = "10.9.0.2:443";
const V6: &str = "[2001:db8::1]:443";

fn seen(address: &str, outcome: Outcome) -> Observation {
    Observation::new(address.parse().expect("an address"), Source::Literal, outcome)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn open_with(address: &str, evidence: Evidence, identity: Option<Identity>) -> Observation {
    Observation { evidence: Some(evidence), identity, ..seen(address, Outcome::Connected) }
}

fn service(address: &str, outcome: Outcome) -> Observation {
    Observation { service: true, source: Source::Env, ..seen(address, outcome) }
}

fn target(kind: Kind, observations: Vec<Observation>) -> TargetRound {
    TargetRound { name: "t".into(), kind, proof: None, addresses_given: false, observations, unresolved: Vec::new(), stale: None }
}

fn tcp(observations: Vec<Observation>) -> TargetRound {
    target(Kind::Tcp, observations)
}

fn control(expect: Expect, observations: Vec<Observation>) -> ControlRound {
    ControlRound { name: "c".into(), expect, kind: ControlKind::Tcp, observations, unresolved: Vec::new() }
}

/// A must-reach control; one that connects is firm.
fn reach(address: &str, outcome: Outcome) -> ControlRound {
    let firm = ControlAttempts { tcp: AnswerCount { made: 4, answered: 4 }, firm: true, ..ControlAttempts::default() };
    let attempts = (outcome == Outcome::Connected).then_some(firm);
    control(Expect::MustReach, vec![Observation { attempts, ..seen(address, outcome) }])
}

/// The same control, which answers and is not firm.
fn held(shortfall: Shortfall) -> ControlRound {
    let mut control = dns4();
    let attempts = ControlAttempts { firm: false, shortfall: Some(shortfall), ..control.observations[0].attempts.unwrap() };
    control.observations[0].attempts = Some(attempts);
    control
}

/// An ICMP error from there.
fn from(sender: &str, seen: Observation) -> Observation {
    Observation { sender: Some(sender.parse().unwrap()), ..seen }
}

/// A rejection by a router on the way.
fn rejected(address: &str) -> Observation {
    let router = if address.starts_with('[') { "2001:db8:ffff::1" } else { "10.1.0.1" };
    from(router, seen(address, Outcome::Rejected))
}

fn nowhere(address: &str, outcome: Outcome) -> ControlRound {
    control(Expect::MustNotConnect, vec![seen(address, outcome)])
}

/// A resolver that answers over IPv4, somewhere else than on this node.
fn dns4() -> ControlRound {
    reach("10.100.0.10:53", Outcome::Connected)
}

fn found(target: &TargetRound, controls: &[ControlRound]) -> (String, u8) {
    let judged = judge(target, controls, Attribution::Weak);
    assert!(!judged.why.is_empty());
    (judged.finding.to_string(), judged.rule)
}

#[track_caller]
fn expect(target: &TargetRound, controls: &[ControlRound], finding: &str, rule: u8) {
    assert_eq!(found(target, controls), (finding.to_owned(), rule), "{target:#?}\n{controls:#?}");
}

#[test]
fn rule_1_one_connection_is_a_breach() {
    let silent = nowhere("198.51.100.7:443", Outcome::TimedOut);
    expect(&tcp(vec![seen(V4, Outcome::Connected)]), &[dns4(), silent.clone()], "breached: connected", 1);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut), seen(V4_OTHER, Outcome::Connected)]), &[silent], "breached: connected", 1);
}

#[test]
fn rule_1_holds_when_the_negative_control_could_not_be_tried_and_says_so() {
    for outcome in [Outcome::LocalError, Outcome::Skipped, Outcome::DeniedLocally] {
        let judged = judge(&tcp(vec![seen(V4, Outcome::Connected)]), &[nowhere("198.51.100.7:443", outcome)], Attribution::Weak);
        assert_eq!((judged.finding, judged.rule), (Finding::Breached(Evidence::Connected), 1));
        assert!(judged.why.contains("could not be tried"), "{}", judged.why);
    }
    let judged = judge(&tcp(vec![seen(V4, Outcome::Connected)]), &[], Attribution::Weak);
    assert!(judged.why.contains("could not be tried"), "{}", judged.why);
}

#[test]
fn rule_1_any_end_of_the_negative_control_but_a_connection_lets_the_breach_stand() {
    for outcome in [Outcome::TimedOut, Outcome::Rejected, Outcome::Refused, Outcome::Unreachable] {
        let judged = judge(&tcp(vec![seen(V4, Outcome::Connected)]), &[nowhere("198.51.100.7:443", outcome)], Attribution::Weak);
        assert_eq!((judged.finding, judged.rule), (Finding::Breached(Evidence::Connected), 1));
        assert!(judged.why.contains("its negative control did not connect"), "{}", judged.why);
    }
}

#[test]
fn rule_1_breach_wins_over_every_doubt() {
    let mut mixed = tcp(vec![
        seen(V4, Outcome::Connected),
        seen(V4_OTHER, Outcome::LocalError),
        seen(V6, Outcome::DeniedLocally),
        seen("10.9.0.3:443", Outcome::Refused),
    ]);
    mixed.unresolved = vec!["x".into()];
    mixed.stale = Some("missing".into());
    expect(&mixed, &[reach("10.100.0.10:53", Outcome::TimedOut)], "breached: connected", 1);
}

#[test]
fn rule_1_the_strongest_evidence_is_told() {
    let two =
        tcp(vec![open_with(V4, Evidence::NoAnswer, None), open_with(V4_OTHER, Evidence::TokenIssued, Some(Identity::Proven))]);
    expect(&two, &[], "breached: token_issued", 1);
}

#[test]
fn rule_1_exception_another_ca_at_an_api_address_is_wrong_identity() {
    let other_ca = || open_with(V4, Evidence::Answered, Some(Identity::Wrong));
    expect(&target(Kind::KubeApi, vec![other_ca()]), &[dns4()], "inconclusive: wrong_identity", 1);
    expect(&target(Kind::Tls, vec![other_ca()]), &[dns4()], "breached: answered", 1);
    let and_the_real_one = vec![other_ca(), open_with(V4_OTHER, Evidence::Identified, Some(Identity::Proven))];
    expect(&target(Kind::KubeApi, and_the_real_one), &[], "breached: identified", 1);
    let and_a_silent_one = vec![other_ca(), open_with(V4_OTHER, Evidence::NoAnswer, None)];
    expect(&target(Kind::KubeApi, and_a_silent_one), &[], "breached: no_answer", 1);
}

#[test]
fn rule_1_only_an_address_that_may_have_been_released_is_somebody_elses() {
    let other_ca = |source, service| Observation { source, service, ..open_with(V4, Evidence::Answered, Some(Identity::Wrong)) };
    for (source, service, expected) in [
        (Source::Literal, false, "inconclusive: wrong_identity"),
        (Source::File, false, "inconclusive: wrong_identity"),
        (Source::Literal, true, "breached: answered"),
        (Source::Env, true, "breached: answered"),
        (Source::Env, false, "breached: answered"),
        (Source::Dns, false, "breached: answered"),
        (Source::Dns, true, "breached: answered"),
    ] {
        expect(&target(Kind::KubeApi, vec![other_ca(source, service)]), &[dns4()], expected, 1);
    }
}

#[test]
fn rule_2_whoever_answers_everywhere_proves_nothing() {
    let everywhere = nowhere("198.51.100.7:443", Outcome::Connected);
    expect(&tcp(vec![seen(V4, Outcome::Connected)]), &[dns4(), everywhere.clone()], "inconclusive: intercepted", 2);
    let other_ca = open_with(V4, Evidence::Answered, Some(Identity::Wrong));
    expect(&target(Kind::KubeApi, vec![other_ca]), &[everywhere], "inconclusive: intercepted", 2);
}

#[test]
fn rule_2_a_proven_identity_is_a_breach_all_the_same() {
    let everywhere = nowhere("198.51.100.7:443", Outcome::Connected);
    let real = open_with(V4, Evidence::Identified, Some(Identity::Proven));
    expect(&target(Kind::KubeApi, vec![real.clone()]), std::slice::from_ref(&everywhere), "breached: identified", 2);
    let beside_a_wrong_one = vec![open_with(V4_OTHER, Evidence::Answered, Some(Identity::Wrong)), real];
    expect(&target(Kind::KubeApi, beside_a_wrong_one), &[everywhere], "breached: identified", 2);
}

#[test]
fn among_equals_the_breach_that_no_interception_blurs_is_told() {
    let real = |address| open_with(address, Evidence::Identified, Some(Identity::Proven));
    let blurred = nowhere("198.51.100.7:443", Outcome::Connected);
    expect(&target(Kind::KubeApi, vec![real(V4), real(V6)]), &[blurred], "breached: identified", 1);
}

#[test]
fn rule_2_the_negative_control_speaks_for_its_own_port_and_family_only() {
    for elsewhere in ["198.51.100.7:80", "[100::7]:443"] {
        expect(&tcp(vec![seen(V4, Outcome::Connected)]), &[nowhere(elsewhere, Outcome::Connected)], "breached: connected", 1);
    }
}

#[test]
fn rule_2_a_link_local_target_is_judged_by_its_own_kind_of_nowhere() {
    let imds = || target(Kind::Imds, vec![open_with("169.254.169.254:80", Evidence::NoAnswer, None)]);
    let beside = nowhere("169.254.255.7:80", Outcome::TimedOut);
    let elsewhere = nowhere("198.51.100.7:80", Outcome::Connected);
    expect(&imds(), &[beside, elsewhere.clone()], "breached: no_answer", 1);
    expect(&imds(), &[elsewhere], "inconclusive: intercepted", 2);
}

#[test]
fn rule_2_one_connection_among_several_negative_controls_is_enough() {
    let both = control(
        Expect::MustNotConnect,
        vec![seen("198.51.100.7:443", Outcome::TimedOut), seen("198.51.100.8:443", Outcome::Connected)],
    );
    expect(&tcp(vec![seen(V4, Outcome::Connected)]), std::slice::from_ref(&both), "inconclusive: intercepted", 2);
    let reversed = control(Expect::MustNotConnect, both.observations.into_iter().rev().collect());
    expect(&tcp(vec![seen(V4, Outcome::Connected)]), &[reversed], "inconclusive: intercepted", 2);
}

#[test]
fn rule_3_the_probers_own_fault_comes_before_local_rules() {
    let both = tcp(vec![seen(V4, Outcome::DeniedLocally), seen(V4_OTHER, Outcome::LocalError)]);
    expect(&both, &[dns4()], "inconclusive: local_error", 3);
    expect(
        &tcp(vec![seen(V4, Outcome::DeniedLocally), seen(V6, Outcome::TimedOut)]),
        &[dns4()],
        "inconclusive: denied_locally",
        3,
    );
}

#[test]
fn rule_3_comes_before_a_failed_control() {
    let dead = reach("10.100.0.10:53", Outcome::LocalError);
    expect(&tcp(vec![seen(V4, Outcome::LocalError)]), &[dead], "inconclusive: local_error", 3);
}

#[test]
fn rule_3_tells_what_the_kernel_said() {
    let full = Observation { detail: Some("EMFILE".into()), ..seen(V4, Outcome::LocalError) };
    assert!(judge(&tcp(vec![full]), &[], Attribution::Weak).why.contains("EMFILE"));
}

#[test]
fn rule_4_a_dead_control_proves_nothing_in_its_own_family() {
    let dead = || reach("10.100.0.10:53", Outcome::TimedOut);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dead()], "inconclusive: control_failed", 4);
    expect(&tcp(vec![rejected(V4)]), &[dead()], "inconclusive: control_failed", 4);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dead(), dns4()], "blocked: weak", 7);
    expect(&tcp(vec![rejected(V4)]), &[dead(), dns4()], "blocked: rejected", 7);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut), seen(V6, Outcome::TimedOut)]), &[dead()], "inconclusive: control_failed", 4);
    let six_dead = reach("[2001:db8::53]:53", Outcome::Unreachable);
    expect(
        &tcp(vec![seen(V4, Outcome::TimedOut), seen(V6, Outcome::TimedOut)]),
        &[dns4(), six_dead],
        "inconclusive: control_failed",
        4,
    );
}

#[test]
fn rule_4_ignores_families_that_were_not_tried() {
    let dead = || reach("10.100.0.10:53", Outcome::TimedOut);
    let six = || reach("[2001:db8::53]:53", Outcome::Connected);
    let only_six = || tcp(vec![seen(V4, Outcome::Skipped), seen(V6, Outcome::TimedOut)]);
    expect(&only_six(), &[dead(), six()], "blocked: silence", 7);
    expect(&only_six(), &[dead()], "inconclusive: control_failed", 4);
    expect(&only_six(), &[dns4()], "blocked: weak", 7);
    let skipped = reach("[2001:db8::53]:53", Outcome::Skipped);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dns4(), skipped], "blocked: silence", 7);
}

#[test]
fn rule_4_a_control_whose_name_does_not_resolve_has_failed_in_each_family() {
    let mut nameless = control(Expect::MustReach, Vec::new());
    nameless.unresolved = vec!["canary.example".into()];
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[nameless.clone()], "inconclusive: control_failed", 4);
    expect(&tcp(vec![seen(V6, Outcome::TimedOut)]), &[nameless.clone()], "inconclusive: control_failed", 4);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[nameless, dns4()], "blocked: weak", 7);
}

#[test]
fn rule_4_without_a_control_that_could_be_tried_nothing_is_known() {
    let silent = || tcp(vec![seen(V4, Outcome::TimedOut)]);
    expect(&silent(), &[], "inconclusive: no_control", 4);
    expect(&silent(), &[nowhere("198.51.100.7:443", Outcome::TimedOut)], "inconclusive: no_control", 4);
    let untried =
        Observation { detail: Some("the connection stayed in this pod".into()), ..seen("10.100.0.10:53", Outcome::Skipped) };
    let skipped = control(Expect::MustReach, vec![untried]);
    expect(&silent(), std::slice::from_ref(&skipped), "inconclusive: no_control", 4);
    assert!(judge(&silent(), &[skipped], Attribution::Weak).why.contains("the connection stayed in this pod"));
    expect(&tcp(vec![rejected(V4)]), &[], "inconclusive: no_control", 4);
}

#[test]
fn rule_4_more_than_half_of_the_attempts_lost_is_a_failed_control() {
    let lossy = |tcp: (u8, u8), udp: (u8, u8)| {
        let mut control = held(Shortfall::PacketsLost);
        let count = |(made, answered)| AnswerCount { made, answered };
        control.observations[0].attempts =
            Some(ControlAttempts { tcp: count(tcp), udp: count(udp), firm: false, shortfall: Some(Shortfall::PacketsLost) });
        control
    };
    let silent = || tcp(vec![seen(V4, Outcome::TimedOut)]);
    for (tcp, udp, finding, rule) in [
        ((4, 1), (0, 0), "inconclusive: control_failed", 4),
        ((4, 2), (0, 0), "blocked: weak", 7),
        ((4, 1), (1, 1), "inconclusive: control_failed", 4),
        ((4, 0), (1, 1), "blocked: weak", 7), // a policy that closes TCP 53 is no packet loss
        ((4, 2), (1, 0), "blocked: weak", 7),
    ] {
        expect(&silent(), &[lossy(tcp, udp)], finding, rule);
    }
    let mut dead_second = dns4();
    let none = ControlAttempts { tcp: AnswerCount { made: 4, answered: 0 }, ..ControlAttempts::default() };
    let second = Observation { attempts: Some(none), ..seen("10.100.0.11:53", Outcome::TimedOut) };
    dead_second.observations.push(second);
    expect(&silent(), &[dead_second], "blocked: silence", 7);
}

#[test]
fn rule_4_a_dns_control_wants_an_answer() {
    let mut dns = dns4();
    dns.kind = ControlKind::Dns;
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dns.clone()], "inconclusive: control_failed", 4);
    dns.observations[0].evidence = Some(Evidence::Answered);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dns.clone()], "blocked: silence", 7);
    dns.kind = ControlKind::Reporter;
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dns.clone()], "blocked: silence", 7);
    dns.observations[0].evidence = None;
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dns], "inconclusive: control_failed", 4);
}

#[test]
fn rule_5_missing_addresses_are_never_fine() {
    let mut missing = tcp(vec![seen(V4, Outcome::TimedOut)]);
    missing.stale = Some("not there".into());
    expect(&missing, &[dns4()], "inconclusive: stale_addresses", 5);
    missing.unresolved = vec!["vault.example".into()];
    expect(&missing, &[dns4()], "inconclusive: resolve_failed", 5);
    expect(&tcp(vec![]), &[dns4()], "inconclusive: no_addresses", 5);
    expect(&tcp(vec![seen(V6, Outcome::Skipped)]), &[dns4()], "inconclusive: no_addresses", 5);
}

#[test]
fn rule_5_comes_after_rule_4_and_before_rule_6() {
    let mut missing = tcp(vec![seen(V4, Outcome::Refused)]);
    missing.unresolved = vec!["vault.example".into()];
    expect(&missing, &[dns4()], "inconclusive: resolve_failed", 5);
    expect(&missing, &[reach("10.100.0.10:53", Outcome::TimedOut)], "inconclusive: control_failed", 4);
}

#[test]
fn rule_6_reset_alone_is_inconclusive() {
    expect(&tcp(vec![seen(V4, Outcome::Refused)]), &[dns4()], "inconclusive: refused", 6);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut), seen(V4_OTHER, Outcome::Refused)]), &[dns4()], "inconclusive: refused", 6);
}

#[test]
fn rule_6_an_icmp_error_of_the_address_itself_may_be_its_own_firewalls() {
    let itself = |outcome| from("10.9.0.1", seen(V4, outcome));
    for outcome in [Outcome::Rejected, Outcome::Unreachable] {
        expect(&tcp(vec![itself(outcome)]), &[dns4()], "inconclusive: refused", 6);
        expect(&tcp(vec![rejected(V4_OTHER), itself(outcome)]), &[dns4()], "inconclusive: refused", 6);
    }
    // Behind a translation of addresses every sender looks so.
    let service = from("10.9.0.1", service(V4, Outcome::Rejected));
    expect(&target(Kind::KubeApi, vec![service]), &[dns4()], "blocked: weak", 7);
}

#[test]
fn rule_7_attribution_is_that_of_the_weakest_address() {
    expect(&tcp(vec![rejected(V4)]), &[held(Shortfall::UdpOnly)], "blocked: rejected", 7);
    expect(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dns4()], "blocked: silence", 7);
    expect(&tcp(vec![from("10.1.0.1", seen(V4, Outcome::Unreachable))]), &[dns4()], "blocked: silence", 7);
    expect(&tcp(vec![rejected(V4), seen(V4_OTHER, Outcome::TimedOut)]), &[dns4()], "blocked: silence", 7);
    expect(&tcp(vec![rejected(V4), seen(V6, Outcome::TimedOut)]), &[dns4()], "blocked: weak", 7);
}

#[test]
fn rule_7_an_icmp_error_of_nobody_known_proves_nothing() {
    for outcome in [Outcome::Rejected, Outcome::Unreachable] {
        expect(&tcp(vec![seen(V4, outcome)]), &[dns4()], "blocked: weak", 7);
    }
}

#[test]
fn rule_7_silence_needs_a_firm_control_of_its_family() {
    let silent = || tcp(vec![seen(V4, Outcome::TimedOut)]);
    for shortfall in [Shortfall::UdpOnly, Shortfall::OtherAnswer, Shortfall::PacketsLost, Shortfall::OnNode] {
        expect(&silent(), &[held(shortfall)], "blocked: weak", 7);
        let why = judge(&silent(), &[held(shortfall)], Attribution::Silence).why;
        assert!(why.contains(shortfall.words()), "{why}");
    }
    expect(&silent(), &[held(Shortfall::OnNode), dns4()], "blocked: silence", 7);
    let mut on_node = dns4();
    on_node.observations[0].on_node = true;
    expect(&silent(), &[on_node], "blocked: weak", 7);
}

#[test]
fn rule_7_a_name_alone_is_weak_unless_it_is_rejected() {
    let by_name = |seen: Observation| Observation { source: Source::Dns, ..seen };
    expect(&tcp(vec![by_name(seen(V4, Outcome::TimedOut))]), &[dns4()], "blocked: weak", 7);
    expect(&tcp(vec![by_name(rejected(V4))]), &[dns4()], "blocked: rejected", 7);
    let and_an_address = vec![by_name(seen(V4, Outcome::TimedOut)), seen(V4_OTHER, Outcome::TimedOut)];
    expect(&tcp(and_an_address), &[dns4()], "blocked: silence", 7);
}

#[test]
fn rule_7_a_service_address_is_proved_by_its_endpoints_or_beside_a_service() {
    let api = |observations| target(Kind::KubeApi, observations);
    let service_control = || {
        let mut control = dns4();
        control.observations[0].service = true;
        control
    };
    expect(&api(vec![service(V4, Outcome::TimedOut)]), &[dns4()], "blocked: weak", 7);
    expect(&api(vec![service(V4, Outcome::TimedOut)]), &[service_control()], "blocked: silence", 7);
    expect(&api(vec![from("10.1.0.1", service(V4, Outcome::Rejected))]), &[service_control()], "blocked: weak", 7);
    let with = |own: Observation, endpoint: Observation| {
        let mut target = api(vec![own, Observation { source: Source::File, ..endpoint }]);
        mark_endpoints_tried(&mut target, &[address(V4)], &[address(V4_OTHER)]);
        target
    };
    let endpoint = |outcome| seen(V4_OTHER, outcome);
    expect(&with(service(V4, Outcome::TimedOut), endpoint(Outcome::TimedOut)), &[dns4()], "blocked: silence", 7);
    expect(&with(service(V4, Outcome::Rejected), rejected(V4_OTHER)), &[dns4()], "blocked: rejected", 7);
    expect(&with(service(V4, Outcome::Refused), rejected(V4_OTHER)), &[dns4()], "inconclusive: refused", 6);
    expect(&with(service(V4, Outcome::TimedOut), endpoint(Outcome::Skipped)), &[dns4()], "blocked: weak", 7);
    let mut stale = with(service(V4, Outcome::TimedOut), endpoint(Outcome::TimedOut));
    stale.stale = Some("old".into());
    let marked = |mut target: TargetRound, own: &str, endpoints: &[SocketAddr]| {
        mark_endpoints_tried(&mut target, &[address(own)], endpoints);
        target.observations.iter().map(|seen| seen.endpoints_tried).collect::<Vec<_>>()
    };
    assert_eq!(marked(stale, V4, &[address(V4_OTHER)]), [false, false]);
    let fresh = || with(service(V4, Outcome::TimedOut), endpoint(Outcome::TimedOut));
    assert_eq!(marked(fresh(), V4, &[address(V4_OTHER)]), [true, false]);
    assert_eq!(marked(fresh(), V4_OTHER, &[address(V4_OTHER)]), [false, false], "another Service has other endpoints");
    assert_eq!(marked(fresh(), V4, &[address(V4_OTHER), address("10.9.0.3:443")]), [false, false], "one was not tried");
    assert_eq!(marked(fresh(), V4, &[]), [false, false]);
    assert_eq!(marked(fresh(), V4, &[address(V4)]), [false, false], "a Service's address is no endpoint");
}

#[test]
fn what_was_kept_from_an_earlier_round_is_proved_as_well_as_it_was_then() {
    let kept = |attribution| Observation { kept: true, attribution, ..seen(V4, Outcome::TimedOut) };
    expect(&tcp(vec![kept(None)]), &[dns4()], "blocked: weak", 7);
    expect(&tcp(vec![kept(Some(Attribution::Silence))]), &[held(Shortfall::UdpOnly)], "blocked: silence", 7);
}

#[test]
fn a_target_may_set_its_own_proof() {
    let mut silent = tcp(vec![seen(V4, Outcome::TimedOut)]);
    let found = |target: &TargetRound, proof| judge(target, &[held(Shortfall::UdpOnly)], proof).finding;
    assert_eq!(found(&silent, Attribution::Silence), Finding::Inconclusive(Doubt::Unproved));
    silent.proof = Some(Attribution::Weak);
    assert_eq!(found(&silent, Attribution::Silence), Finding::Blocked(Attribution::Weak));
    silent.proof = Some(Attribution::Rejected);
    assert_eq!(found(&silent, Attribution::Weak), Finding::Inconclusive(Doubt::Unproved));
}

#[test]
fn unproved_says_what_would_prove_it() {
    let why = |observations, controls: &[ControlRound], proof| judge(&tcp(observations), controls, proof).why;
    let silent = || vec![seen(V4, Outcome::TimedOut)];
    let failed = reach("10.100.0.11:53", Outcome::TimedOut);
    for (why, expected) in [
        (
            why(silent(), &[held(Shortfall::UdpOnly)], Attribution::Silence),
            "needs a firm must-reach control over IPv4, and c answers over UDP",
        ),
        (why(silent(), &[dns4(), failed], Attribution::Silence), "c did not answer"),
        (why(vec![seen(V6, Outcome::TimedOut)], &[dns4()], Attribution::Silence), "over IPv6, and there is none"),
        (why(vec![service(V6, Outcome::TimedOut)], &[dns4()], Attribution::Silence), "over IPv6, and there is none"),
        (why(silent(), &[dns4()], Attribution::Rejected), "only an ICMP rejection or a witness"),
        (
            why(vec![service(V4, Outcome::TimedOut)], &[dns4()], Attribution::Silence),
            "no firm must-reach control over IPv4 is a Service",
        ),
        (why(vec![service(V4, Outcome::Rejected)], &[dns4()], Attribution::Silence), "kube-proxy rejects too"),
        (why(vec![seen(V4, Outcome::Rejected)], &[dns4()], Attribution::Silence), "does not tell that somebody denies it"),
        (why(vec![seen(V4, Outcome::TimedOut)], &[held(Shortfall::PacketsLost)], Attribution::Silence), "packets to it are lost"),
        (
            why(
                vec![Observation { sender: Some(address(V4_OTHER).ip()), ..seen(V4, Outcome::Unreachable) }],
                &[held(Shortfall::PacketsLost)],
                Attribution::Silence,
            ),
            "packets to it are lost",
        ),
        (
            why(vec![Observation { source: Source::Dns, ..seen(V4, Outcome::TimedOut) }], &[dns4()], Attribution::Silence),
            "known by a name alone",
        ),
    ] {
        assert!(why.contains(expected), "{expected:?} in {why:?}");
    }
}

#[test]
fn rule_2_all_hosts_beside_a_target_connecting_is_an_interception() {
    let beside = |tried, connected| {
        let neighbours = Some(Neighbours { tried, connected });
        tcp(vec![Observation { neighbours, ..seen(V4, Outcome::Connected) }])
    };
    let silent = nowhere("198.51.100.7:443", Outcome::TimedOut);
    expect(&beside(3, 3), std::slice::from_ref(&silent), "inconclusive: intercepted", 2);
    for (tried, connected) in [(3, 2), (3, 0), (0, 0), (1, 1), (2, 2)] {
        expect(&beside(tried, connected), std::slice::from_ref(&silent), "breached: connected", 1);
    }
    let mut proved = beside(3, 3);
    proved.observations[0].identity = Some(Identity::Proven);
    expect(&proved, &[silent], "breached: connected", 2);
}

#[test]
fn an_interception_is_told_by_what_showed_it() {
    let why = |target: &TargetRound, controls: &[ControlRound]| judge(target, controls, Attribution::Silence).why;
    let neighbours = Some(Neighbours { tried: 3, connected: 3 });
    let beside = tcp(vec![Observation { neighbours, ..seen(V4, Outcome::Connected) }]);
    let silent = nowhere("198.51.100.7:443", Outcome::TimedOut);
    assert!(why(&beside, &[silent]).contains("so did each of 3 random addresses beside it"));
    let some = Some(Neighbours { tried: 3, connected: 1 });
    let elsewhere = tcp(vec![Observation { neighbours: some, ..seen(V4, Outcome::Connected) }]);
    let open = nowhere("198.51.100.7:443", Outcome::Connected);
    assert!(why(&elsewhere, &[open]).contains("so did an address where nothing listens"));
}

#[test]
fn a_refusal_is_told_by_what_answered() {
    let why = |seen: Observation| judge(&tcp(vec![seen]), &[dns4()], Attribution::Silence).why;
    assert!(why(seen(V4, Outcome::Refused)).contains("answered with a reset"));
    let by_itself = Observation { sender: Some(address(V4).ip()), ..seen(V4, Outcome::Rejected) };
    assert!(why(by_itself).contains("itself sent the ICMP error"));
}

#[test]
fn only_a_shut_address_has_an_attribution() {
    let of = |seen: Observation| address_attribution(&tcp(vec![seen.clone()]), &seen, &[dns4()]);
    assert_eq!(of(seen(V4, Outcome::TimedOut)), Some(Attribution::Silence));
    let by_itself = Observation { sender: Some(address(V4).ip()), ..seen(V4, Outcome::Rejected) };
    let by_its_endpoints = Observation { endpoints_tried: true, ..seen(V4, Outcome::TimedOut) };
    for other in [
        seen(V4, Outcome::Connected),
        seen(V4, Outcome::Refused),
        seen(V4, Outcome::LocalError),
        seen(V4, Outcome::DeniedLocally),
        by_itself,
        by_its_endpoints,
    ] {
        assert_eq!(of(other.clone()), None, "{other:?}");
    }
}

#[test]
fn silence_is_confirmed_by_a_second_pass_in_a_row() {
    let silent = || judge(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[dns4()], Attribution::Silence);
    let lossy = || judge(&tcp(vec![seen(V4, Outcome::TimedOut)]), &[held(Shortfall::PacketsLost)], Attribution::Silence);
    let open = || judge(&tcp(vec![seen(V4, Outcome::Connected)]), &[dns4()], Attribution::Silence);
    let strong = || judge(&tcp(vec![rejected(V4)]), &[dns4()], Attribution::Silence);
    assert_eq!(confirm(&silent(), silent()).finding, Finding::Blocked(Attribution::Silence));
    assert_eq!(confirm(&strong(), silent()).finding, Finding::Blocked(Attribution::Silence));
    let once = confirm(&lossy(), silent());
    assert_eq!((once.finding, once.attribution), (Finding::Inconclusive(Doubt::Unproved), Some(Attribution::Weak)));
    assert_eq!(confirm(&lossy(), strong()).finding, Finding::Blocked(Attribution::Rejected));
    let content = || Judged { finding: Finding::Blocked(Attribution::Weak), ..lossy() };
    assert_eq!(confirm(&content(), silent()).finding, Finding::Blocked(Attribution::Weak), "it asks for no more");
    assert!(confirm(&content(), silent()).why.starts_with("only the second of two passes was silent"));
    assert_eq!(confirm(&silent(), open()).finding, open().finding);
    assert_eq!(confirm(&silent(), lossy()).finding, lossy().finding);
}

#[test]
fn less_proof_than_asked_for_is_unproved() {
    let silent = tcp(vec![seen(V4, Outcome::TimedOut)]);
    let with = |proof| judge(&silent, &[dns4()], proof).finding;
    assert_eq!(
        judge(&silent, &[dns4()], Attribution::Witnessed).attribution,
        Some(Attribution::Silence),
        "what it proves is told"
    );
    assert_eq!(with(Attribution::Silence), Finding::Blocked(Attribution::Silence));
    assert_eq!(with(Attribution::Rejected), Finding::Inconclusive(Doubt::Unproved));
    assert_eq!(with(Attribution::Witnessed), Finding::Inconclusive(Doubt::Unproved));
    let open = judge(&tcp(vec![seen(V4, Outcome::Connected)]), &[], Attribution::Witnessed).finding;
    assert_eq!(open, Finding::Breached(Evidence::Connected));
}

#[test]
fn the_furthest_layer_is_that_of_any_address() {
    let http = Observation { layer: Layer::Http, ..seen(V4, Outcome::Connected) };
    assert_eq!(furthest(&tcp(vec![http, seen(V4_OTHER, Outcome::TimedOut)])), Layer::Http);
    assert_eq!(furthest(&tcp(vec![])), Layer::None);
}

#[test]
fn why_names_the_address_that_decided() {
    let why = |observations, controls: &[ControlRound]| judge(&tcp(observations), controls, Attribution::Weak).why;
    assert!(why(vec![seen(V4_OTHER, Outcome::TimedOut), seen(V4, Outcome::Connected)], &[]).contains(V4));
    assert!(why(vec![seen(V4_OTHER, Outcome::Refused), seen(V4, Outcome::TimedOut)], &[dns4()]).contains(V4_OTHER));
    assert!(why(vec![seen(V6, Outcome::Skipped)], &[dns4()]).contains("no usable source address"));
    assert!(why(vec![], &[dns4()]).contains("no address is known"));
    assert!(why(vec![seen(V6, Outcome::TimedOut)], &[dns4(), reach("[2001:db8::53]:53", Outcome::TimedOut)]).contains("IPv6"));
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let hosts = ["10.9.0.1", "10.9.0.2", "169.254.169.254", "2001:db8::1", "fe80::1"];
    let evidence = Evidence::ALL;
    let identity = prop_oneof![Just(None), Just(Some(Identity::Proven)), Just(Some(Identity::Wrong))];
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    let fields =
        (prop::sample::select(hosts.to_vec()), prop_oneof![Just(80u16), Just(443)], outcome, any::<bool>(), any::<bool>());
    (fields, identity, prop::sample::select(evidence.to_vec())).prop_map(
        |((host, port, outcome, service, on_node), identity, evidence)| {
            let address = SocketAddr::new(host.parse().expect("an address"), port);
            let firm = ControlAttempts { firm: port == 80, ..ControlAttempts::default() };
            let attempts = (outcome == Outcome::Connected).then_some(firm);
            let sender = matches!(outcome, Outcome::Rejected | Outcome::Unreachable).then(|| "10.9.0.2".parse().expect("one"));
            let plain = Observation { service, on_node, attempts, sender, ..Observation::new(address, Source::Literal, outcome) };
            if outcome == Outcome::Connected { Observation { evidence: Some(evidence), identity, ..plain } } else { plain }
        },
    )
}

fn any_control() -> impl Strategy<Value = ControlRound> {
    let expect = prop_oneof![Just(Expect::MustReach), Just(Expect::MustNotConnect)];
    let kind = prop_oneof![Just(ControlKind::Tcp), Just(ControlKind::Dns), Just(ControlKind::Reporter)];
    let unresolved = prop::collection::vec(Just("name".to_owned()), 0..2);
    (expect, kind, prop::collection::vec(any_observation(), 0..4), unresolved).prop_map(
        |(expect, kind, observations, unresolved)| ControlRound { name: "c".into(), expect, kind, observations, unresolved },
    )
}

fn any_target() -> impl Strategy<Value = TargetRound> {
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let unresolved = prop::collection::vec(Just("name".to_owned()), 0..2);
    let stale = prop_oneof![Just(None), Just(Some("old".to_owned()))];
    (kind, prop::collection::vec(any_observation(), 0..6), unresolved, stale).prop_map(
        |(kind, observations, unresolved, stale)| TargetRound {
            name: "t".into(),
            kind,
            proof: None,
            addresses_given: false,
            observations,
            unresolved,
            stale,
        },
    )
}

fn any_proof() -> impl Strategy<Value = Attribution> {
    prop::sample::select(Attribution::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn nothing_but_a_connection_makes_a_breach(t in any_target(), c in prop::collection::vec(any_control(), 0..4), proof in any_proof()) {
        let breached = judge(&t, &c, proof).finding.verdict() == Verdict::Breached;
        prop_assert!(!breached || t.observations.iter().any(Observation::connected));
    }

    #[test]
    fn a_connection_is_never_blocked(t in any_target(), c in prop::collection::vec(any_control(), 0..4), proof in any_proof()) {
        let blocked = judge(&t, &c, proof).finding.verdict() == Verdict::Blocked;
        prop_assert!(!blocked || !t.observations.iter().any(Observation::connected));
    }

    #[test]
    fn a_connection_that_nothing_contests_is_a_breach(mut t in any_target(), c in prop::collection::vec(any_control(), 0..4)) {
        t.kind = Kind::Tcp;
        let contested = |seen: &Observation| control::interception(&c, seen) == Negative::Connected;
        let proof = t.observations.iter().any(|seen| seen.connected() && !contested(seen));
        prop_assert!(!proof || judge(&t, &c, Attribution::Weak).finding.verdict() == Verdict::Breached);
    }

    #[test]
    fn no_dead_family_local_error_or_missing_address_is_ever_blocked(
        t in any_target(), c in prop::collection::vec(any_control(), 0..4), proof in any_proof()
    ) {
        let tried: Vec<_> = t.observations.iter().filter(|seen| seen.tried()).collect();
        let dead = Family::ALL.into_iter().any(|family| {
            let must: Vec<_> = c.iter().filter(|c| c.expect == Expect::MustReach).collect();
            let mine = must.iter().flat_map(|c| c.observations.iter().map(|o| (c.kind, o))).filter(|(_, o)| o.family == family && o.tried());
            let mine: Vec<_> = mine.collect();
            let ok = |(kind, o): &(ControlKind, &Observation)| match kind {
                ControlKind::Dns | ControlKind::Reporter => o.evidence.is_some_and(|e| e >= Evidence::Answered),
                ControlKind::Tcp => o.outcome == Outcome::Connected,
            };
            !mine.is_empty() && !mine.iter().any(ok) && tried.iter().any(|seen| seen.family == family)
        });
        let failed = tried.iter().any(|seen| matches!(seen.outcome, Outcome::LocalError | Outcome::DeniedLocally | Outcome::Refused));
        let missing = tried.is_empty() || !t.unresolved.is_empty() || t.stale.is_some();
        let blocked = judge(&t, &c, proof).finding.verdict() == Verdict::Blocked;
        prop_assert!(!blocked || !(dead || failed || missing));
    }

    #[test]
    fn silence_is_never_said_without_a_firm_control_in_each_family_that_was_tried(
        t in any_target(), c in prop::collection::vec(any_control(), 0..4)
    ) {
        let silence = judge(&t, &c, Attribution::Silence).finding == Finding::Blocked(Attribution::Silence);
        let timed_out = t.observations.iter().filter(|seen| seen.outcome == Outcome::TimedOut);
        let must = || c.iter().filter(|c| c.expect == Expect::MustReach);
        for seen in timed_out {
            let firm = must().flat_map(|c| &c.observations).any(|o| {
                o.family == seen.family && !o.on_node && o.attempts.is_some_and(|a| a.firm) && (o.service || !seen.service)
            });
            let failed = must().any(|c| c.observations.is_empty() && !c.unresolved.is_empty());
            prop_assert!(!silence || (firm && !failed));
        }
    }

    #[test]
    fn the_finding_does_not_depend_on_the_order_of_addresses(
        t in any_target(), c in prop::collection::vec(any_control(), 0..4), proof in any_proof(), seed in any::<u64>()
    ) {
        let judged = judge(&t, &c, proof);
        let (mut t, mut c) = (t, c);
        let turn = |len: usize| if len == 0 { 0 } else { usize::try_from(seed % len as u64).unwrap() };
        let by = turn(t.observations.len());
        t.observations.rotate_left(by);
        t.observations.reverse();
        let by = turn(c.len());
        c.rotate_left(by);
        for control in &mut c {
            control.observations.reverse();
        }
        let again = judge(&t, &c, proof);
        prop_assert_eq!((judged.finding, judged.rule), (again.finding, again.rule));
    }

    #[test]
    fn more_proof_asked_for_never_makes_it_better(t in any_target(), c in prop::collection::vec(any_control(), 0..4)) {
        let verdicts: Vec<_> = Attribution::ALL.into_iter().map(|proof| judge(&t, &c, proof).finding.verdict()).collect();
        prop_assert!(verdicts.is_sorted(), "{:?}", verdicts);
    }
}
