use super::*;
use crate::model::finding::Doubt;
use crate::model::fleet::TargetRow;

pub(in crate::judge) fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(in crate::judge) fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(in crate::judge) fn at(seconds: f64) -> Moment {
    Moment { wall: start(), up: Duration::ZERO }.after(s(seconds))
}

pub(in crate::judge) fn guard() -> GuardName {
    "default/deny".parse().unwrap()
}

pub(in crate::judge) fn row(node: &str, coverage: Coverage, doubt: Option<Doubt>) -> Row {
    let target = doubt.map(|doubt| TargetRow {
        name: "imds".into(),
        kind: None,
        verdict: Some(Verdict::Inconclusive),
        reason: Some(Reason::Doubt(doubt)),
        since: None,
        held_proof_seconds: None,
        incident: None,
        not_reachable: None,
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
