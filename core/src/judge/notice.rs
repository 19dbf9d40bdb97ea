//! What to say, and when: from the fleet and its incidents to Events.
//!
//! Level-triggered: [`wanted`] says what ought to be there now, [`Ledger`](super::ledger::Ledger) knows what is there and picks what to write
//! next. So a restart loses nothing and repeats nothing, what was deleted comes back while it lasts, and what is over is told once.
use super::incidents::{Incidents, Tracked};
use crate::model::cluster::GuardName;
use crate::model::finding::{Reason, Verdict};
use crate::model::fleet::{Coverage, Fleet, Gap, PodRef, Row, Rules};
use crate::model::incident::{Change, Changed, Ending, Happening, Incident, Place};
use crate::model::moment::Moment;
use crate::model::names;
use crate::model::notice::{Notice, NoticeReason, OwnEvent, Regarding, Saying};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many other names an Event may get.
pub const OTHER_NAMES: u32 = 3;

/// The name of an Event: the same for the same thing, whoever writes it, so that writing it twice is a conflict.
pub fn event_name(reason: NoticeReason, guard: &GuardName, regarding: &Regarding, target: &str, id: &str) -> String {
    hashed_name(&[reason.as_str(), &guard.to_string(), regarding.uid(), target, id].join("\n"))
}

/// The name of an Event whose own name somebody else has taken. `turn` counts from 1.
pub fn other_name(name: &str, turn: u32) -> String {
    hashed_name(&format!("{name}\n{turn}"))
}

/// All names that the Event of a notice may have, its own first.
pub(super) fn names_of(notice: &Notice) -> impl Iterator<Item = String> {
    let others = (1..=OTHER_NAMES).map(|turn| other_name(&notice.name, turn));
    std::iter::once(notice.name.clone()).chain(others)
}

fn hashed_name(text: &str) -> String {
    let hex: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("guardprobe-{hex}")
}

/// A notice that is written once. `id` tells it from others of the same reason about the same.
pub(super) fn notice(
    reason: NoticeReason,
    guard: &GuardName,
    regarding: Regarding,
    target: &str,
    id: &str,
    saying: Saying,
) -> Notice {
    Notice {
        name: event_name(reason, guard, &regarding, target, id),
        reason,
        guard: guard.clone(),
        target: target.to_owned(),
        regarding,
        related: None,
        saying,
        lasts: false,
        not_before: Duration::ZERO,
        openings: Vec::new(),
        closed: Vec::new(),
        count: None,
        follows: false,
    }
}

/// True when the name of an Event is one that we give to what it says it is about: an incident, or a transient opening.
pub fn is_named_for_its_incident(event: &OwnEvent) -> bool {
    let Some(incident) = &event.record.incident else { return false };
    let place = &incident.place;
    if place.guard != event.record.guard || place.target != event.record.target || place.node_uid != event.regarding {
        return false;
    }
    let node = node_of(place);
    let named = |id: &str| {
        let name = event_name(event.reason, &place.guard, &node, &place.target, id);
        name == event.name || (1..=OTHER_NAMES).any(|turn| other_name(&name, turn) == event.name)
    };
    named(&incident.id) || is_end(event.reason) && named(&last_end(incident))
}

fn node_of(place: &Place) -> Regarding {
    Regarding::Node { name: place.node.clone(), uid: place.node_uid.clone() }
}

fn is_end(reason: NoticeReason) -> bool {
    matches!(reason, NoticeReason::EgressBlocked | NoticeReason::EgressNotReachable)
}

/// What names the last end of an incident that was reopened.
fn last_end(incident: &Incident) -> String {
    format!("{}#{}", incident.id, incident.reopened)
}

/// Since when rows have been in a state that is worth an Event once it lasts.
#[derive(Debug, Clone, Default)]
pub struct Lasting {
    uncovered: BTreeMap<(GuardName, String), (Gap, Timestamp)>,
    doubtful: BTreeMap<(GuardName, String, String), Duration>,
}

impl Lasting {
    /// Takes in the fleet of now, and tells which nodes are covered and uncovered since.
    pub fn look(&mut self, fleet: &Fleet, now: Moment) -> Vec<Change> {
        let mut uncovered = BTreeMap::new();
        let mut doubtful = BTreeMap::new();
        for row in &fleet.rows {
            if let Coverage::Uncovered(gap) = row.coverage {
                let key = (row.guard.clone(), row.node.clone());
                let since = self.uncovered.get(&key).map_or(now.wall, |(_, since)| *since);
                uncovered.insert(key, (gap, since));
            }
            for target in row.targets.iter().filter(|target| target.verdict == Some(Verdict::Inconclusive)) {
                let key = (row.guard.clone(), row.node_uid.clone(), target.name.clone());
                let since = self.doubtful.get(&key).copied().unwrap_or(now.up);
                doubtful.insert(key, since);
            }
        }
        self.doubtful = doubtful;
        let before = std::mem::replace(&mut self.uncovered, uncovered);
        let change = |event, (guard, node): &(GuardName, String), reason: Option<Gap>| Change {
            event,
            what: Changed::Coverage {
                guard: guard.clone(),
                node: node.clone(),
                reason: reason.map(|gap| gap.as_str().to_owned()),
            },
        };
        // Excused or excluded is not covered: what was said of it stands until a report is there, or the node is gone.
        let mut covered = Vec::new();
        for row in &fleet.rows {
            let key = (row.guard.clone(), row.node.clone());
            match (row.coverage, before.get(&key)) {
                (Coverage::Covered, Some(_)) => covered.push(key),
                (Coverage::Grace(_) | Coverage::Excluded(_), Some(before)) => drop(self.uncovered.insert(key, *before)),
                _ => {}
            }
        }
        let begun = self.uncovered.iter().filter(|(key, (gap, _))| before.get(key).is_none_or(|(known, _)| known != gap));
        let mut changes: Vec<Change> = begun.map(|(key, (gap, _))| change(Happening::Uncovered, key, Some(*gap))).collect();
        changes.extend(covered.iter().map(|key| change(Happening::Covered, key, None)));
        changes
    }

    /// Writes into the rows that are uncovered since when they have been, as far as it was looked at.
    pub fn date(&self, fleet: &mut Fleet) {
        for row in fleet.rows.iter_mut().filter(|row| matches!(row.coverage, Coverage::Uncovered(_))) {
            row.uncovered_since = self.uncovered.get(&(row.guard.clone(), row.node.clone())).map(|(_, since)| *since);
        }
    }

    fn is_long(&self, row: &Row, target: &str, rules: &Rules, now: Duration) -> bool {
        let since = self.doubtful.get(&(row.guard.clone(), row.node_uid.clone(), target.to_owned()));
        since.is_some_and(|since| now.saturating_sub(*since) >= rules.unproven)
    }
}

/// Everything that ought to be said now.
pub fn wanted(fleet: &Fleet, incidents: &Incidents, lasting: &Lasting, rules: &Rules, now: Duration) -> Vec<Notice> {
    let rows: BTreeMap<(&GuardName, &str), &Row> =
        fleet.rows.iter().map(|row| ((&row.guard, row.node_uid.as_str()), row)).collect();
    let mut wanted = Vec::new();
    for (tracked, transient) in incidents.all() {
        let place = &tracked.incident.place;
        let pod = rows.get(&(&place.guard, place.node_uid.as_str())).and_then(|row| row.pod.clone());
        wanted.extend(of_incident(tracked, transient, pod, now));
    }
    for row in &fleet.rows {
        if let Coverage::Uncovered(gap) = row.coverage {
            let saying = Saying::Uncovered { gap, trouble: row.trouble.clone() };
            wanted.push(of_row(row, NoticeReason::ProberUncovered, "", saying));
        }
        for target in &row.targets {
            let doubt = match (target.verdict, target.reason) {
                (Some(Verdict::Inconclusive), Some(Reason::Doubt(doubt))) if lasting.is_long(row, &target.name, rules, now) => {
                    doubt
                }
                _ => continue,
            };
            wanted.push(of_row(
                row,
                NoticeReason::EgressUnproven,
                &target.name,
                Saying::Unproven { doubt, lasting: rules.unproven },
            ));
        }
    }
    wanted
}

/// How many nodes of a guard may have an agent: those that are excluded (Fargate, Windows, not selected) count for nothing.
pub fn judged_nodes(fleet: &Fleet, guard: &GuardName) -> usize {
    let is_judged = |row: &&Row| row.guard == *guard && !matches!(row.coverage, Coverage::Excluded(_));
    fleet.rows.iter().filter(is_judged).count()
}

/// What is to be said of one incident, or of a transient opening.
pub(super) fn of_incident(tracked: &Tracked, transient: bool, pod: Option<PodRef>, now: Duration) -> Vec<Notice> {
    let incident = &tracked.incident;
    let place = &incident.place;
    let notice = |reason: NoticeReason, id: &str| {
        let regarding = node_of(place);
        let saying = Saying::Incident(Box::new(incident.clone()));
        Notice {
            related: pod.clone(),
            openings: tracked.openings.iter().cloned().collect(),
            closed: tracked.closed.iter().cloned().collect(),
            ..notice(reason, &place.guard, regarding, &place.target, id, saying)
        }
    };
    if transient {
        let count = i32::try_from(tracked.closed.len()).ok();
        return vec![Notice { count, follows: true, ..notice(NoticeReason::EgressOpenedBriefly, &incident.id) }];
    }
    let Some(end) = incident.end else {
        // A note cannot be changed: what follows at once, such as the other addresses, belongs into it.
        let not_before = tracked.learnt + names::SETTLE;
        return vec![Notice { lasts: true, not_before, follows: true, ..notice(NoticeReason::EgressBreached, &incident.id) }];
    };
    let ended = if end.how == Ending::Blocked { NoticeReason::EgressBlocked } else { NoticeReason::EgressNotReachable };
    let reopened = incident.reopened > 0;
    let mut notices = vec![Notice { follows: reopened, ..notice(NoticeReason::EgressBreached, &incident.id) }];
    if end.how == Ending::NodeGone {
        // Nobody looks for an Event of a node that is not there, and no reporter would go on with its incident.
    } else if !reopened {
        notices.push(notice(ended, &incident.id));
    } else if tracked.is_final(now) {
        // The first end was told with what it was by then. The last one is told once it is sure to be the last.
        notices.push(notice(ended, &last_end(incident)));
    }
    notices
}

/// The notice of the beginning of an incident whose end a notice tells of.
pub(super) fn beginning_of(end: &Notice) -> Option<Notice> {
    let incident = end.incident().filter(|_| is_end(end.reason))?;
    let saying = Saying::Incident(Box::new(incident.clone()));
    Some(notice(NoticeReason::EgressBreached, &end.guard, end.regarding.clone(), &end.target, &incident.id, saying))
}

/// The notices that may tell of an incident's last end.
pub(super) fn ends_of(incident: &Incident) -> impl Iterator<Item = Notice> {
    let place = &incident.place;
    let id = if incident.reopened == 0 { incident.id.clone() } else { last_end(incident) };
    [NoticeReason::EgressBlocked, NoticeReason::EgressNotReachable].into_iter().map(move |reason| {
        let node = node_of(place);
        notice(reason, &place.guard, node, &place.target, &id, Saying::Incident(Box::new(incident.clone())))
    })
}

fn of_row(row: &Row, reason: NoticeReason, target: &str, saying: Saying) -> Notice {
    let regarding = Regarding::Node { name: row.node.clone(), uid: row.node_uid.clone() };
    Notice { related: row.pod.clone(), lasts: true, ..notice(reason, &row.guard, regarding, target, "", saying) }
}

#[cfg(test)]
pub(super) mod tests;
