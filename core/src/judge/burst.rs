//! Changes of many nodes at once: one Event says so first, and those about each node follow.
//!
//! | rule | when | then |
//! | --- | --- | --- |
//! | many | more than max(5, 10 %) of a guard's nodes have news of one kind within a minute | one Event about all of them comes first |
//! | again | as many have news that came more than a minute after that | they are told like the first |
//! | wave | nodes keep coming, each less than a quarter of a second after the other | Events about each wait, for 1.5 s at most |
//!
//! News is an Event that is to be written, or one that is there and tells of something that came again.
use super::notice;
use crate::model::cluster::{DaemonSet, GuardName};
use crate::model::fleet::Rules;
use crate::model::incident::Incident;
use crate::model::moment::Moment;
use crate::model::names;
use crate::model::notice::{Notice, NoticeReason, Regarding, Saying};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The longest that news of one kind wait for others to come.
const WAVE_MAX: Duration = Duration::from_millis(1500);

/// How much of the time between two looks counts as quiet: a process that did not run has heard nothing in that time.
const LOOK_MAX: Duration = Duration::from_millis(50);

/// What makes news one kind.
pub(super) type Kind = (GuardName, NoticeReason);

/// The news of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Burst {
    /// By the name of the Event, and how often its incident was reopened.
    news: BTreeMap<(String, u32), News>,
    /// From the first to the newest of the nodes that followed each other closely.
    wave: Duration,
    /// For how long no further news has come.
    quiet: Duration,
    /// When there were many, and the notice that says so.
    many: Option<(Moment, Notice)>,
    /// News that came before are covered by a notice that was written.
    covered_until: Duration,
    /// Whether it was looked at.
    looked: bool,
}

/// News of one node.
#[derive(Debug, Clone)]
struct News {
    node: String,
    target: String,
    /// How often its incident was reopened.
    reopened: u32,
    came: Duration,
    /// When it last waited to be written.
    waited: Duration,
}

/// The guard as far as a burst is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardNodes<'a> {
    /// The DaemonSet of its agents: what the Event is about.
    pub(super) daemon_set: &'a DaemonSet,
    /// How many nodes may have an agent.
    pub(super) count: usize,
    /// When nodes are many, and at what rate Events follow.
    pub(super) rules: &'a Rules,
}

impl GuardNodes<'_> {
    /// For how many minutes Events about each follow the one about many, at most an hour.
    pub(super) fn minutes_to_tell(&self) -> i64 {
        let seconds = self.count as f64 / self.rules.events_per_second;
        (seconds / 60.0).ceil().clamp(1.0, 60.0) as i64
    }
}

impl Burst {
    /// Notes that time has passed since it was looked at last. A process that did not run heard nothing, and nothing was over meanwhile.
    pub(super) fn passed(&mut self, since_last_look: Duration, now: Duration) {
        self.quiet = self.quiet.saturating_add(since_last_look.min(LOOK_MAX));
        let last_look = now.saturating_sub(since_last_look);
        self.news.retain(|_, news| last_look.saturating_sub(news.waited) < names::BURST_WINDOW);
        // Another replica may have told of much meanwhile.
        self.looked &= since_last_look < names::BURST_WINDOW;
    }

    /// Notes that a notice about a node waits to be written.
    pub(super) fn note(&mut self, notice: &Notice, now: Duration) {
        let Regarding::Node { name: node, .. } = &notice.regarding else { return };
        let reopened = notice.incident().map_or(0, |incident| incident.reopened);
        if let Some(known) = self.news.get_mut(&(notice.name.clone(), reopened)) {
            known.waited = now;
            return;
        }
        let begins = self.news.is_empty() || self.quiet >= names::SETTLE;
        self.wave = if begins { Duration::ZERO } else { self.wave.saturating_add(self.quiet) };
        self.quiet = Duration::ZERO;
        let news = News { node: node.clone(), target: notice.target.clone(), reopened, came: now, waited: now };
        self.news.insert((notice.name.clone(), reopened), news);
    }

    /// True when nothing is known of it that matters.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.news.is_empty() && now >= self.covered_until
    }

    /// True while further news may follow at once.
    pub(super) fn is_gathering(&self) -> bool {
        !self.news.is_empty() && self.quiet < names::SETTLE && self.wave.saturating_add(self.quiet) < WAVE_MAX
    }

    /// The notice about many nodes that is not known to be written, with when there were many.
    pub(super) fn many(&self) -> Option<&(Moment, Notice)> {
        self.many.as_ref()
    }

    /// The notice about many nodes was written: what comes within a minute of it is covered as well.
    pub(super) fn told(&mut self, since: Moment) {
        self.covered_until = since.up + names::BURST_WINDOW;
        self.many = None;
    }

    /// Looks whether nodes are many. `wanted` is all that is to be said now; `is_new_here`: whether another replica may have told of it;
    /// `told_for` says for how long a notice has been known to be written, `None` where it is not.
    pub(super) fn look(
        &mut self,
        kind: &Kind,
        guard: GuardNodes<'_>,
        wanted: &[Notice],
        (now, is_new_here): (Moment, bool),
        told_for: impl Fn(&Notice) -> Option<Duration>,
    ) {
        let is_first_look = !std::mem::replace(&mut self.looked, true) && is_new_here;
        let is_new = |news: &&News| news.came >= self.covered_until && now.up.saturating_sub(news.came) < names::BURST_WINDOW;
        let new: Vec<&News> = self.news.values().filter(is_new).collect();
        let nodes: BTreeSet<&str> = new.iter().map(|news| news.node.as_str()).collect();
        if nodes.len() <= guard.rules.many_nodes.max(guard.count * guard.rules.many_percent / 100) {
            return;
        }
        let targets: BTreeSet<&str> = new.iter().map(|news| news.target.as_str()).filter(|target| !target.is_empty()).collect();
        let since = self.many.as_ref().map_or(now, |(since, _)| *since);
        let ids = match incident_ids(kind, wanted, &new) {
            Some(ids) => ids.to_vec(),
            None => minutes(since.wall, if is_first_look { guard.minutes_to_tell() } else { 1 }),
        };
        let candidate = |id: &String| {
            let notice = about_many(kind, guard, (&nodes, &targets), id);
            let told = told_for(&notice);
            (notice, told)
        };
        let candidates: Vec<(Notice, Option<Duration>)> = ids.iter().map(candidate).collect();
        let lately = |told: &Option<Duration>| told.is_some_and(|told| is_first_look || told < names::BURST_WINDOW);
        // One that another replica told of is this one.
        let same = candidates.iter().find(|(_, told)| lately(told));
        let untold = candidates.iter().find(|(_, told)| told.is_none());
        if let Some((notice, _)) = same.or(untold) {
            self.many = Some((since, notice.clone()));
        }
    }
}

/// What may name a burst of incidents, the likeliest first: the first of those that came together last, whether it is told or not, so that
/// replicas name the Event about many nodes alike; and the first that is new. `None` for what are no incidents.
fn incident_ids((guard, reason): &Kind, wanted: &[Notice], new: &[&News]) -> Option<[String; 2]> {
    let reopened = new.iter().map(|news| news.reopened).max().unwrap_or(0);
    let alike = wanted.iter().filter(|notice| notice.guard == *guard && notice.reason == *reason);
    let alike = alike.filter_map(Notice::incident).filter(|incident| incident.reopened == reopened);
    let mut incidents: Vec<&Incident> = alike.collect();
    incidents.sort_by_key(|incident| (incident.started, &incident.id));
    let window = SignedDuration::try_from(names::BURST_WINDOW).unwrap_or(SignedDuration::MAX);
    let together = |pair: &&[&Incident]| pair[1].started.duration_since(pair[0].started) <= window;
    let count = incidents.windows(2).rev().take_while(together).count();
    let of_all = incidents.iter().rev().nth(count)?;
    let new: BTreeSet<(&str, &str)> = new.iter().map(|news| (news.node.as_str(), news.target.as_str())).collect();
    let is_new = |incident: &&&Incident| new.contains(&(incident.place.node.as_str(), incident.place.target.as_str()));
    let of_new = incidents.iter().find(is_new).unwrap_or(of_all);
    // Each time that incidents are reopened is a burst of its own.
    Some([of_all, of_new].map(|incident| match reopened {
        0 => incident.id.clone(),
        times => format!("{}#{times}", incident.id),
    }))
}
/// What names a burst of what are no incidents: the minute in which it began, and, where another replica saw it begin in a minute near
/// that, that one: the one after, and up to so many before.
fn minutes(began: Timestamp, before: i64) -> Vec<String> {
    let minute = began.as_second().div_euclid(60);
    let near = [minute, minute + 1].into_iter().chain((1..=before).map(|earlier| minute - earlier));
    near.map(|minute| format!("minute {minute}")).collect()
}

/// The notice about many nodes, regarding the guard's DaemonSet.
fn about_many(
    (guard_name, reason): &Kind,
    guard: GuardNodes<'_>,
    (nodes, targets): (&BTreeSet<&str>, &BTreeSet<&str>),
    id: &str,
) -> Notice {
    let regarding = Regarding::DaemonSet { name: guard.daemon_set.name.clone(), uid: guard.daemon_set.uid.clone() };
    let saying = Saying::Many {
        nodes: nodes.len(),
        of: guard.count,
        examples: nodes.iter().take(3).map(|node| (*node).to_owned()).collect(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        rate: (guard.rules.event_burst, guard.rules.events_per_second),
    };
    notice::notice(*reason, guard_name, regarding, "", id, saying)
}
