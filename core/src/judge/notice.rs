//! What to say, and when: from the fleet and its incidents to Events.
//!
//! Level-triggered: [`wanted`] says what ought to be there now, [`Ledger`] knows what is there and picks what to write next. So a restart loses
//! nothing and repeats nothing, what was deleted comes back while it lasts, and what is over is told once.
use super::fleet::Known;
use super::incidents::{Incidents, Tracked};
use super::rate::Bucket;
use crate::model::cluster::GuardName;
use crate::model::finding::{Reason, Verdict};
use crate::model::fleet::{Coverage, Fleet, Gap, PodRef, Row, Rules};
use crate::model::incident::{Change, Changed, Ending, Happening, Incident};
use crate::model::moment::Moment;
use crate::model::names;
use crate::model::notice::{Notice, NoticeReason, Regarding, Saying};
use crate::model::report::Role;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many names are remembered of Events that were written and are gone since.
const TOLD_MAX: usize = 100_000;

/// How many Events of one node in ten minutes are so many that all others come first.
const NODE_EVENTS: u32 = 10;

/// The name of an Event: the same for the same thing, whoever writes it, so that writing it twice is a conflict.
pub fn event_name(reason: NoticeReason, guard: &GuardName, regarding: &Regarding, target: &str, id: &str) -> String {
    let text = [reason.as_str(), &guard.to_string(), regarding.uid(), target, id].join("\n");
    let hex: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("guardprobe-{hex}")
}

/// True when an Event of that name tells of that incident as a breach, or of its end: not as a transient opening, and not as somebody
/// else's forgery.
pub fn tells_of(name: &str, incident: &Incident) -> bool {
    let place = &incident.place;
    let node = Regarding::Node { name: place.node.clone(), uid: place.node_uid.clone() };
    let named = |reason, id: &str| event_name(reason, &place.guard, &node, &place.target, id) == name;
    let last = format!("{}#{}", incident.id, incident.reopened);
    named(NoticeReason::EgressBreached, &incident.id)
        || named(NoticeReason::EgressBlocked, &incident.id)
        || named(NoticeReason::EgressBlocked, &last)
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
fn of_incident(tracked: &Tracked, transient: bool, pod: Option<PodRef>, now: Duration) -> Vec<Notice> {
    let incident = &tracked.incident;
    let notice = |reason: NoticeReason, id: &str| {
        let regarding = Regarding::Node { name: incident.place.node.clone(), uid: incident.place.node_uid.clone() };
        Notice {
            name: event_name(reason, &incident.place.guard, &regarding, &incident.place.target, id),
            reason,
            guard: incident.place.guard.clone(),
            target: incident.place.target.clone(),
            regarding,
            related: pod.clone(),
            saying: Saying::Incident(Box::new(incident.clone())),
            lasts: reason == NoticeReason::EgressBreached && incident.is_open(),
            not_before: Duration::ZERO,
        }
    };
    if transient {
        return vec![notice(NoticeReason::EgressOpenedBriefly, &incident.id)];
    }
    // A note cannot be changed: what follows at once, such as the other addresses, belongs into it.
    let settled = if incident.is_open() { tracked.learnt + names::SETTLE } else { Duration::ZERO };
    let mut notices = vec![Notice { not_before: settled, ..notice(NoticeReason::EgressBreached, &incident.id) }];
    let gone = incident.end.is_some_and(|end| end.how != Ending::Blocked);
    match () {
        () if incident.is_open() || gone => {}
        () if incident.reopened == 0 => notices.push(notice(NoticeReason::EgressBlocked, &incident.id)),
        // The first end was told with what it was by then. The last one is told once it is sure to be the last.
        () if tracked.is_final(now) => {
            notices.push(notice(NoticeReason::EgressBlocked, &format!("{}#{}", incident.id, incident.reopened)));
        }
        () => {}
    }
    notices
}

fn of_row(row: &Row, reason: NoticeReason, target: &str, saying: Saying) -> Notice {
    let regarding = Regarding::Node { name: row.node.clone(), uid: row.node_uid.clone() };
    Notice {
        name: event_name(reason, &row.guard, &regarding, target, ""),
        reason,
        guard: row.guard.clone(),
        target: target.to_owned(),
        regarding,
        related: row.pod.clone(),
        saying,
        lasts: true,
        not_before: Duration::ZERO,
    }
}

/// What is in the API of what we said, and at what rate we may say more.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    there: BTreeMap<String, There>,
    told: BTreeSet<String>,
    /// Notices that the API server will never take.
    hopeless: BTreeSet<String>,
    /// Notices that it did not take, each with when it is tried again: one that is refused keeps no other waiting.
    refused: BTreeMap<String, Refused>,
    bursts: BTreeMap<(GuardName, NoticeReason), Burst>,
    /// The rate of Events about single nodes.
    tokens: Bucket,
    /// How many Events were written of each node lately: a node with much to say does not keep others waiting.
    lately: BTreeMap<String, (u32, Duration)>,
    /// How many notices wait for their turn.
    waiting: usize,
}

/// An Event that is there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct There {
    /// How often it was seen, as its series says.
    count: i32,
    /// When it was written last, as far as this process knows.
    touched: Duration,
    /// False once what it says is over: should it come again, the series goes on.
    lasts: bool,
}

/// A notice that the API server did not take.
#[derive(Debug, Clone, Copy, Default)]
struct Refused {
    /// How often in a row.
    times: u32,
    /// When it is tried again.
    again: Duration,
}

/// How long a notice rests after it was refused; twice as long each time, up to [`REFUSED_MAX`].
const REFUSED_REST: Duration = Duration::from_secs(10);
/// The longest such rest.
const REFUSED_MAX: Duration = Duration::from_secs(5 * 60);

/// Changes of many nodes.
#[derive(Debug, Clone, Default)]
struct Burst {
    /// When a notice about each node last waited to be written.
    nodes: BTreeMap<String, Duration>,
    /// When there were very many, and the notice that says so.
    many: Option<(Moment, Notice)>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Write a new Event.
    Post(Notice),
    /// Say that it goes on.
    Renew {
        /// The notice.
        notice: Notice,
        /// How often it was seen by now.
        count: i32,
    },
}

impl Act {
    /// What it is about.
    pub fn notice(&self) -> &Notice {
        match self {
            Act::Post(notice) | Act::Renew { notice, .. } => notice,
        }
    }
}

impl Ledger {
    /// An Event of ours is there, as the API says.
    pub fn seen(&mut self, name: &str, count: i32, now: Duration) {
        let touched = self.there.get(name).map_or(now, |there| if there.count == count { there.touched } else { now });
        let lasts = self.there.get(name).is_none_or(|there| there.lasts);
        self.there.insert(name.to_owned(), There { count, touched, lasts });
        self.tell(name);
    }

    /// An Event of ours is not there any more.
    pub fn gone(&mut self, name: &str) {
        self.there.remove(name);
    }

    /// The names of all Events that are there.
    pub fn names(&self) -> Vec<String> {
        self.there.keys().cloned().collect()
    }

    /// An Event was written, or was there already.
    pub fn written(&mut self, act: &Act, now: Duration) {
        let notice = act.notice();
        let count = if let Act::Renew { count, .. } = act { *count } else { 1 };
        self.there.insert(notice.name.clone(), There { count, touched: now, lasts: notice.lasts });
        self.tell(&notice.name);
        self.refused.remove(&notice.name);
        let lately = self.lately.entry(notice.regarding.uid().to_owned()).or_insert((0, now));
        *lately = (lately.0 + 1, now);
    }

    /// The API server did not take that one, for a reason that may pass: it is tried again later.
    pub fn refused(&mut self, name: &str, now: Duration) {
        let refused = self.refused.entry(name.to_owned()).or_default();
        let rest = REFUSED_REST.saturating_mul(1 << refused.times.min(16)).min(REFUSED_MAX);
        *refused = Refused { times: refused.times.saturating_add(1), again: now + rest };
    }

    /// The API server will never take that one.
    pub fn hopeless(&mut self, name: &str) {
        if self.hopeless.len() < TOLD_MAX {
            self.hopeless.insert(name.to_owned());
        }
    }

    fn tell(&mut self, name: &str) {
        if self.told.len() >= TOLD_MAX {
            self.told.pop_first();
        }
        self.told.insert(name.to_owned());
    }

    /// True when all that is to be said of an incident was said.
    pub fn is_told(&self, tracked: &Tracked, transient: bool, now: Duration) -> bool {
        of_incident(tracked, transient, None, now).iter().all(|notice| self.is_done(&notice.name))
    }

    fn is_done(&self, name: &str) -> bool {
        self.told.contains(name) || self.hopeless.contains(name)
    }

    /// How many notices wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// What to do next of all that is wanted; `None`: nothing, or nothing yet. Takes from the rate. `nodes_of` counts the nodes of a guard
    /// on which an agent can be.
    pub fn next(
        &mut self,
        wanted: &[Notice],
        known: &Known,
        nodes_of: impl Fn(&GuardName) -> usize,
        moment: Moment,
    ) -> Option<Act> {
        let now = moment.up;
        let about_many = self.bursts.values().filter_map(|burst| burst.many.as_ref()).map(|(_, many)| many.name.as_str());
        let names: BTreeSet<&str> = wanted.iter().map(|notice| notice.name.as_str()).chain(about_many).collect();
        self.refused.retain(|name, _| names.contains(name.as_str()));
        self.tokens.fill(f64::from(known.rules.event_burst), known.rules.events_per_second, now);
        self.lately.retain(|_, (_, at)| now.saturating_sub(*at) < names::TRANSIENT_PERIOD);
        let todo: Vec<Act> = wanted.iter().filter_map(|notice| self.todo(notice, now)).collect();
        self.waiting = todo.len();
        self.goes_on(wanted);
        self.watch_bursts(wanted, &todo, known, nodes_of, moment);
        if let Some(many) = self.many(now) {
            return Some(Act::Post(many));
        }
        let held = |act: &&Act| !self.is_held_back(act);
        let next = todo.iter().filter(held).min_by_key(|act| self.order(act))?;
        self.tokens.take().then(|| next.clone())
    }

    /// What is to be done about one notice.
    fn todo(&self, notice: &Notice, now: Duration) -> Option<Act> {
        let rests = self.refused.get(&notice.name).is_some_and(|refused| now < refused.again);
        if self.hopeless.contains(&notice.name) || now < notice.not_before || rests {
            return None;
        }
        match self.there.get(&notice.name) {
            Some(there) if notice.lasts && (!there.lasts || now.saturating_sub(there.touched) >= names::EVENT_RENEWAL) => {
                Some(Act::Renew { notice: notice.clone(), count: there.count.saturating_add(1).max(2) })
            }
            Some(_) => None,
            None if !notice.lasts && self.told.contains(&notice.name) => None,
            None => Some(Act::Post(notice.clone())),
        }
    }

    /// What is not wanted any more is over: when it comes again, its Event says so at once.
    fn goes_on(&mut self, wanted: &[Notice]) {
        let lasting: BTreeSet<&str> = wanted.iter().filter(|notice| notice.lasts).map(|notice| notice.name.as_str()).collect();
        for (name, there) in &mut self.there {
            there.lasts &= lasting.contains(name.as_str());
        }
    }

    /// New Events first, and of those that of the node which had the fewest; then what goes on; and last whatever is of a node that had
    /// very many.
    fn order(&self, act: &Act) -> (bool, bool, u32, bool) {
        let (renewal, notice) = (matches!(act, Act::Renew { .. }), act.notice());
        let lately = self.lately.get(notice.regarding.uid()).map_or(0, |(count, _)| *count);
        (lately >= NODE_EVENTS, renewal, lately, notice.reason != NoticeReason::EgressBreached)
    }

    /// Notes which nodes have news of one kind, and when they are very many.
    fn watch_bursts(
        &mut self,
        wanted: &[Notice],
        todo: &[Act],
        known: &Known,
        nodes_of: impl Fn(&GuardName) -> usize,
        moment: Moment,
    ) {
        let now = moment.up;
        let mut news: BTreeMap<(GuardName, NoticeReason), Vec<&Notice>> = BTreeMap::new();
        for act in todo {
            let Act::Post(notice) = act else { continue };
            let Regarding::Node { name, .. } = &notice.regarding else { continue };
            let key = (notice.guard.clone(), notice.reason);
            self.bursts.entry(key.clone()).or_default().nodes.insert(name.clone(), now);
            news.entry(key).or_default().push(notice);
        }
        self.bursts.values_mut().for_each(|burst| burst.nodes.retain(|_, at| now.saturating_sub(*at) < names::BURST_WINDOW));
        // Once it is over, the next one of its kind is news again, under another name.
        self.bursts.retain(|_, burst| !burst.nodes.is_empty());
        for (key, notices) in news {
            let Some(burst) = self.bursts.get_mut(&key) else { continue };
            let all = nodes_of(&key.0);
            if burst.nodes.len() <= known.rules.many_nodes.max(all * known.rules.many_percent / 100) {
                continue;
            }
            let since = burst.many.as_ref().map_or(moment, |(since, _)| *since);
            // What is counted while it is not yet written belongs into its note.
            let written = |notice: &Notice| self.told.contains(&notice.name) || self.hopeless.contains(&notice.name);
            if burst.many.as_ref().is_some_and(|(_, before)| written(before)) {
                continue;
            }
            let ids = burst_ids(first_of(&key, wanted), since.wall);
            let mut named = ids.iter().filter_map(|id| many(&key, &burst.nodes, &notices, id, known, all));
            let Some(first) = named.next() else { continue };
            // One that another replica told of, which saw it begin a minute earlier or later, is this one.
            let same = named.find(|notice| written(notice) || self.there.contains_key(&notice.name));
            burst.many = Some((since, same.unwrap_or(first)));
        }
    }

    /// The next notice about many nodes that is due.
    fn many(&self, now: Duration) -> Option<Notice> {
        let due = self.bursts.values().filter_map(|burst| burst.many.as_ref());
        let mut due = due.filter(|(since, notice)| {
            now.saturating_sub(since.up) >= names::BURST_SETTLE
                && self.refused.get(&notice.name).is_none_or(|refused| refused.again <= now)
                && !self.there.contains_key(&notice.name)
                && !self.is_done(&notice.name)
        });
        due.next().map(|(_, notice)| notice.clone())
    }

    /// The Event about many nodes comes before those about each.
    fn is_held_back(&self, act: &Act) -> bool {
        let Act::Post(notice) = act else { return false };
        let burst = self.bursts.get(&(notice.guard.clone(), notice.reason));
        let many = burst.and_then(|burst| burst.many.as_ref());
        // One that is refused for now holds nobody up.
        many.is_some_and(|(_, many)| {
            !self.is_done(&many.name) && !self.there.contains_key(&many.name) && !self.refused.contains_key(&many.name)
        })
    }
}

/// What names a burst: its first incident, or, for what are no incidents, the minute in which it began, and then the minutes beside it.
fn burst_ids(first_incident: String, began: Timestamp) -> Vec<String> {
    if !first_incident.is_empty() {
        return vec![first_incident];
    }
    let minute = began.as_second().div_euclid(60);
    [minute, minute - 1, minute + 1].map(|minute| format!("minute {minute}")).to_vec()
}

/// The id of the first incident of those that came together last, whether it is told or not: so that replicas name the Event about many
/// nodes alike. Empty for what are no incidents.
fn first_of((guard, reason): &(GuardName, NoticeReason), wanted: &[Notice]) -> String {
    let of = |notice: &&Notice| notice.guard == *guard && notice.reason == *reason;
    let mut incidents: Vec<(Timestamp, &str)> = wanted
        .iter()
        .filter(of)
        .filter_map(|notice| match &notice.saying {
            Saying::Incident(incident) => Some((incident.started, incident.id.as_str())),
            _ => None,
        })
        .collect();
    incidents.sort();
    let window = SignedDuration::try_from(names::BURST_WINDOW).unwrap_or(SignedDuration::MAX);
    let together = |pair: &&[(Timestamp, &str)]| pair[1].0.duration_since(pair[0].0) <= window;
    let count = incidents.windows(2).rev().take_while(together).count();
    incidents.iter().rev().nth(count).map(|(_, id)| (*id).to_owned()).unwrap_or_default()
}

/// The notice about many nodes, regarding the guard's DaemonSet; `None` when there is none.
fn many(
    (guard, reason): &(GuardName, NoticeReason),
    nodes: &BTreeMap<String, Duration>,
    notices: &[&Notice],
    id: &str,
    known: &Known,
    all: usize,
) -> Option<Notice> {
    let set = known.daemon_sets_of(guard, Role::Agent).next()?;
    let regarding = Regarding::DaemonSet { name: set.name.clone(), uid: set.uid.clone() };
    let targets: BTreeSet<&str> =
        notices.iter().map(|notice| notice.target.as_str()).filter(|target| !target.is_empty()).collect();
    Some(Notice {
        name: event_name(*reason, guard, &regarding, "", id),
        reason: *reason,
        guard: guard.clone(),
        target: String::new(),
        regarding,
        related: None,
        saying: Saying::Many {
            nodes: nodes.len(),
            of: all,
            examples: nodes.keys().take(3).cloned().collect(),
            targets: targets.into_iter().map(str::to_owned).collect(),
            rate: (known.rules.event_burst, known.rules.events_per_second),
        },
        lasts: false,
        not_before: Duration::ZERO,
    })
}

#[cfg(test)]
mod tests;
