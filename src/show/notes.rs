//! The note of an Event: what `kubectl describe node` shows. What happened, how far, since when, and what to look at first.
use super::text::time;
use super::words;
use guardprobe_core::model::address::Family;
use guardprobe_core::model::fleet::Gap;
use guardprobe_core::model::incident::{Door, End, Ending, Incident};
use guardprobe_core::model::names;
use guardprobe_core::model::notice::{Notice, NoticeReason, Saying};
use jiff::Timestamp;

/// How many addresses a note names.
const DOORS: usize = 3;

/// The note of a notice, at most [`names::NOTE_MAX_BYTES`] long.
pub fn note(notice: &Notice) -> String {
    let text = match (&notice.saying, notice.reason) {
        (Saying::Incident(incident), NoticeReason::EgressBreached) => breached(notice, incident),
        (Saying::Incident(incident), NoticeReason::EgressOpenedBriefly) => briefly(notice, incident),
        (Saying::Incident(incident), _) => blocked(notice, incident),
        (Saying::Unproven { doubt, lasting }, _) => {
            let (words, minutes) = (words::doubt(*doubt), lasting.as_secs() / 60);
            let what = format!("{} of guard {} has proved nothing for {minutes} minutes", notice.target, notice.guard);
            format!("{what}: {}. {} {}", doubt.as_str(), words.means, words.next)
        }
        (Saying::Uncovered { gap, trouble }, _) => uncovered(notice, *gap, trouble.as_deref()),
        (Saying::Many { nodes, of, examples, targets, rate }, _) => many(notice, (*nodes, *of), examples, targets, *rate),
    };
    cut(text)
}

/// As much of a text as a note may have.
fn cut(mut text: String) -> String {
    if text.len() > names::NOTE_MAX_BYTES {
        let ellipsis = "…";
        let end = (0..=names::NOTE_MAX_BYTES - ellipsis.len()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str(ellipsis);
    }
    text
}

fn breached(notice: &Notice, incident: &Incident) -> String {
    let evidence = words::evidence(incident.evidence);
    let open = format!("{} is open to the pods of guard {} on this node", notice.target, notice.guard);
    let how = format!("{}reached layer {}: {}", doors(incident), incident.layer.as_str(), incident.evidence.as_str());
    let look = "Look first at: does the policy still exist, and select these pods? Is the CNI's policy agent on this node running and ready? \
                Then whether other nodes are open too.";
    format!("{open} since {}. {how}. {} {} {look}", time(incident.started), evidence.means, evidence.next)
}

/// The addresses that connected, with family and source.
fn doors(incident: &Incident) -> String {
    if incident.doors.is_empty() {
        return "It ".to_owned();
    }
    let named: Vec<String> = incident.doors.iter().take(DOORS).map(door).collect();
    let more = incident.doors.len().saturating_sub(DOORS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more} ", named.join(", "))
}

fn door(door: &Door) -> String {
    let source = door.source.map(|source| format!(", {}", source.as_str())).unwrap_or_default();
    format!("{} ({}{source})", door.address, Family::of(door.address.ip()).title())
}

fn blocked(notice: &Notice, incident: &Incident) -> String {
    let Some(end) = incident.end else { return breached(notice, incident) };
    let again = match end.how {
        Ending::Blocked => "is blocked again",
        Ending::NotReachable => "is no longer reachable, not proved blocked,",
        Ending::NodeGone => "can no longer be reached: the node is gone. This ends the breach",
        Ending::TargetGone => "is no longer probed: the configuration of the agents does not name it. This ends the breach",
    };
    let reopened = match incident.reopened {
        0 => String::new(),
        1 => " It was shut once in between.".to_owned(),
        times => format!(" It was shut {times} times in between."),
    };
    let span = format!("open for {}, from {} to {}", lasted(incident.started, &end), time(incident.started), time(end.at));
    let proof = match (end.how, end.attribution) {
        (_, Some(proof)) => format!(" Proof: {}. {}", proof.as_str(), words::attribution(proof).means),
        (Ending::NotReachable, None) => {
            " Nothing proves that the guard blocks it: a closed port, or a host that rejects by itself, looks \
                                         the same. The node's page and guardprobe verify name the reason."
                .to_owned()
        }
        (_, None) => String::new(),
    };
    format!(
        "{} {again} for the pods of guard {} on this node. It was {span}, as far as layer {}: {}.{reopened}{}",
        notice.target,
        notice.guard,
        incident.layer.as_str(),
        incident.evidence.as_str(),
        proof
    )
}

/// How long an incident was, in the two largest units.
fn lasted(started: Timestamp, end: &End) -> String {
    let length = end.at.duration_since(started);
    let seconds = length.as_secs();
    match seconds {
        s if s < 10 => format!("{:.1}s", length.as_secs_f64()),
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m {}s", s / 60, s % 60),
        s => format!("{}h {}m", s / 3600, s % 3600 / 60),
    }
}

fn briefly(notice: &Notice, incident: &Incident) -> String {
    let what = format!("{} of guard {} let one connection through at {}", notice.target, notice.guard, time(incident.started));
    format!(
        "{what}: {}and the round that followed found it shut. No breach, but a hole of less than a second: rules that are replaced \
         and not changed leave such holes. Further ones within {} minutes are counted, not told.",
        doors(incident),
        names::TRANSIENT_PERIOD.as_secs() / 60
    )
}

fn uncovered(notice: &Notice, gap: Gap, trouble: Option<&str>) -> String {
    let super::words::Words { means, next } = super::words::gap(gap);
    let trouble = trouble.map(|trouble| format!(" ({})", super::text::clean(trouble))).unwrap_or_default();
    format!("Nobody knows whether guard {} holds on this node: {means}{trouble}. {next}", notice.guard)
}

fn many(
    notice: &Notice,
    (nodes, of): (usize, usize),
    examples: &[String],
    targets: &[String],
    (burst, a_second): (u32, f64),
) -> String {
    let what = match notice.reason {
        NoticeReason::EgressBreached => "are open",
        NoticeReason::EgressBlocked => "are blocked again",
        NoticeReason::EgressNotReachable => "are no longer reachable, not proved blocked",
        NoticeReason::EgressUnproven => "have proved nothing for long",
        NoticeReason::EgressOpenedBriefly => "let a connection through",
        NoticeReason::ProberUncovered => "are not covered",
    };
    let targets = if targets.is_empty() { String::new() } else { format!(" ({})", targets.join(", ")) };
    let more = nodes.saturating_sub(examples.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let all = if nodes == of && notice.reason == NoticeReason::EgressBreached {
        " All nodes at once is configuration, not a node: was the policy deleted or renamed, or its labels changed?"
    } else {
        ""
    };
    format!(
        "{nodes} of {of} nodes of guard {} {what}{targets} within a minute: {}{more}.{all} Events about each follow, {} at once and then {} a second.",
        notice.guard,
        examples.join(", "),
        burst,
        a_second
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardprobe_core::model::finding::{Attribution, Doubt};
    use guardprobe_core::model::incident::Place;
    use guardprobe_core::model::notice::Regarding;
    use guardprobe_core::model::observation::{Evidence, Layer, Source};
    use std::time::Duration;

    fn incident(end: Option<(&str, Option<Attribution>)>) -> Box<Incident> {
        let door = |address: &str| Door { address: address.parse().unwrap(), source: Some(Source::Literal) };
        let at = |text: &str| text.parse().unwrap();
        Box::new(Incident {
            id: "b00.1".into(),
            place: Place {
                guard: "default/deny".parse().unwrap(),
                node: "n1".into(),
                node_uid: "u1".into(),
                target: "imds".into(),
            },
            started: at("2026-03-01T12:00:00.123456Z"),
            last_connected: at("2026-03-01T12:00:05Z"),
            layer: Layer::Http,
            evidence: Evidence::TokenIssued,
            doors: vec![door("169.254.169.254:80"), door("[fd00:ec2::254]:80")],
            openings: 1,
            reopened: 0,
            end: end.map(|(text, attribution)| {
                let how = if attribution.is_some() { Ending::Blocked } else { Ending::NotReachable };
                End { at: at(text), how, attribution }
            }),
        })
    }

    fn say(reason: NoticeReason, saying: Saying) -> String {
        let regarding = Regarding::Node { name: "n1".into(), uid: "u1".into() };
        note(&Notice {
            name: String::new(),
            reason,
            guard: "default/deny".parse().unwrap(),
            target: "imds".into(),
            regarding,
            related: None,
            saying,
            lasts: true,
            not_before: Duration::ZERO,
            openings: Vec::new(),
            closed: Vec::new(),
            count: None,
            follows: false,
        })
    }

    #[test]
    fn a_breach_says_where_how_far_since_when_and_what_to_look_at() {
        assert_eq!(
            say(NoticeReason::EgressBreached, Saying::Incident(incident(None))),
            "imds is open to the pods of guard default/deny on this node since 2026-03-01T12:00:00Z. 169.254.169.254:80 (IPv4, literal), \
             [fd00:ec2::254]:80 (IPv6, literal) reached layer http: token_issued. IMDSv2 gave a token: the credentials of the node's role are \
             one GET away. Take the credentials of this node's role as readable by guarded pods while it was open: look for their use from \
             elsewhere. Look first at: does the policy still exist, and select these pods? Is the CNI's policy agent on this node running \
             and ready? Then whether other nodes are open too."
        );
    }

    #[test]
    fn its_end_says_how_long_and_how_well_that_is_proved() {
        for (end, expected) in [
            (
                ("2026-03-01T12:00:02.323456Z", Some(Attribution::Silence)),
                "imds is blocked again for the pods of guard default/deny on this node. It was open for 2.2s, from",
            ),
            (
                ("2026-03-01T12:00:42Z", Some(Attribution::Witnessed)),
                "It was open for 41s, from 2026-03-01T12:00:00Z to 2026-03-01T12:00:42Z, as far as layer http: token_issued. Proof: witnessed.",
            ),
            (
                ("2026-03-01T12:10:01Z", None),
                "imds is no longer reachable, not proved blocked, for the pods of guard default/deny on this node.",
            ),
            (("2026-03-01T12:10:01Z", None), "http: token_issued. Nothing proves that the guard blocks it: a closed port,"),
            (("2026-03-01T12:10:01Z", Some(Attribution::Weak)), "imds is blocked again for"),
            (("2026-03-01T12:10:01Z", None), "open for 10m 0s"),
            (("2026-03-02T14:11:00Z", None), "open for 26h 10m"),
        ] {
            let said = say(NoticeReason::EgressBlocked, Saying::Incident(incident(Some(end))));
            assert!(said.contains(expected), "{said}");
        }
        for (how, expected) in [
            (Ending::NodeGone, "imds can no longer be reached: the node is gone. This ends the breach for the pods of guard"),
            (
                Ending::TargetGone,
                "imds is no longer probed: the configuration of the agents does not name it. This ends the breach for",
            ),
        ] {
            let mut gone = incident(Some(("2026-03-01T12:10:01Z", None)));
            gone.end.as_mut().unwrap().how = how;
            let said = say(NoticeReason::EgressNotReachable, Saying::Incident(gone));
            assert!(said.contains(expected) && said.ends_with("http: token_issued."), "{said}");
        }
    }

    #[test]
    fn many_nodes_are_one_sentence_and_all_of_them_point_to_configuration() {
        let many = |nodes| Saying::Many {
            nodes,
            of: 200,
            examples: ["a", "b", "c"].map(str::to_owned).into(),
            targets: vec!["imds".into()],
            rate: (20, 1.0),
        };
        let said = say(NoticeReason::EgressBreached, many(200));
        assert!(
            said.starts_with(
                "200 of 200 nodes of guard default/deny are open (imds) within a minute: a, b, c and 197 more. All nodes"
            ),
            "{said}"
        );
        let said = say(NoticeReason::EgressBreached, many(30));
        assert!(said.ends_with("a, b, c and 27 more. Events about each follow, 20 at once and then 1 a second."), "{said}");
    }

    #[test]
    fn no_note_is_longer_than_the_api_server_takes_or_carries_what_moves_a_cursor() {
        let trouble = Some("\u{1b}[31mé".repeat(1000));
        let said = say(NoticeReason::ProberUncovered, Saying::Uncovered { gap: Gap::RefusedSchema, trouble });
        assert!(said.len() <= 1024 && said.len() > 1000 && said.ends_with('…') && !said.contains('\u{1b}'), "{said}");
        for doubt in Doubt::ALL {
            assert!(
                say(NoticeReason::EgressUnproven, Saying::Unproven { doubt, lasting: Duration::from_secs(600) }).len() <= 1000,
                "{doubt:?}"
            );
        }
    }
}
