//! What of our Events is in the API, and what is written next.
//!
//! The ledger is one map from the namespace and name of an Event to one [`State`]. Its invariants:
//!
//! - A name has at most one state. [`State::Posted`] and [`State::Expired`] mean that what the name stands for was told; every other state
//!   means that nothing of ours is under that name.
//! - A name is forgotten when nobody wanted it and no list or watch named it for [`KEPT`], whatever its state: so the map holds what is
//!   wanted, what the API holds, and what either did lately. An Event that is there and forgotten is found by the conflict when it is
//!   written again.
//! - A name whose Event is about something else is not ours: what we have to say gets another name ([`notice::names_of`]).
//! - What the API server refuses rests by itself, and keeps nothing else waiting.
mod entry;

use self::entry::{Entries, Entry, Posted, State};
use super::burst::{self, Burst, GuardNodes};
use super::fleet::Known;
use super::incidents::Tracked;
use super::notice;
use super::rate::Bucket;
use crate::model::cluster::GuardName;
use crate::model::incident::Incident;
use crate::model::moment::Moment;
use crate::model::names;
use crate::model::notice::{Notice, NoticeReason, OwnEvent, Record, Saying};
use crate::model::report::Role;
pub use entry::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How many names are remembered at most.
const NAMES_MAX: usize = 100_000;
/// For how long a name is remembered that nobody wants: twice as long as an API server keeps an Event by default.
const KEPT: Duration = Duration::from_secs(2 * 60 * 60);
/// For how long what comes to light may be from before this replica wrote: until it calls nodes uncovered, and a minute more.
const TAKING_OVER: Duration = Duration::from_secs(names::GRACE_AT_START.as_secs() + names::BURST_WINDOW.as_secs());
/// The longest that writing one Event takes: two calls to the API server, and some.
const WRITING_MAX: Duration = Duration::from_secs(3 * names::API_TIMEOUT.as_secs());
/// How many new Events of one node in ten minutes are so many that all others come first.
const NODE_EVENTS: u32 = 10;

/// What is in the API of what we said, and at what rate we may say more.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    events: Entries,
    bursts: BTreeMap<burst::Kind, Burst>,
    /// The rate of Events about single nodes.
    tokens: Bucket,
    /// How many new Events were written of each node since when, within ten minutes: a node with much to say does not keep others waiting.
    lately: BTreeMap<String, (u32, Duration)>,
    /// How many notices wait for their turn.
    waiting: usize,
    /// When it was asked last what to write.
    looked: Duration,
    /// Since when it has been asked again and again.
    asked_since: Option<Duration>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Write a new Event.
    Post(Notice),
    /// Say that it goes on, and what is known by now.
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

/// A number that differs where a record says more than another: all of it but the time of the newest connection.
fn version(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(incident) = &record.incident {
        (&incident.id, incident.reopened, incident.openings, incident.doors.len()).hash(&mut hasher);
        (incident.layer, incident.evidence).hash(&mut hasher);
        incident.end.map(|end| (end.at, end.how, end.attribution)).hash(&mut hasher);
    }
    (&record.openings, &record.closed).hash(&mut hasher);
    hasher.finish()
}

impl Ledger {
    /// An Event of ours is there, as the API says.
    pub fn seen(&mut self, event: &OwnEvent, now: Duration) {
        if self.events.len() >= NAMES_MAX && self.events.get(&event.namespace, &event.name).is_none() {
            return;
        }
        let entry = self.events.entry_about(event.subject(), &event.name, now);
        let (since, touched, lasts, wanted) = match &entry.state {
            State::Posted(known) => {
                let touched = if known.count == event.count { known.touched } else { now };
                (known.since, touched, known.lasts, known.wanted)
            }
            _ => (now, now, true, false),
        };
        let (count, version) = (event.count, version(&event.record));
        entry.state = State::Posted(Posted { count, since, touched, lasts, wanted, version });
        entry.used = now;
    }

    /// An Event was to be written and is there already, from before this process knew of it: what is said now is said by its series.
    pub fn found(&mut self, event: &OwnEvent, now: Duration) {
        self.seen(event, now);
        if let Some(Entry { state: State::Posted(posted), again, .. }) = self.events.get_mut(&event.namespace, &event.name) {
            (posted.lasts, *again) = (false, now);
        }
    }

    /// These are all Events of ours in a namespace.
    pub fn listed(&mut self, namespace: &str, events: &[OwnEvent], now: Duration) {
        let there: BTreeSet<&str> = events.iter().map(|event| event.name.as_str()).collect();
        let expired = self.events.of_mut(namespace).filter(|(name, _)| !there.contains(name.as_str()));
        expired.for_each(|(_, entry)| entry.expire());
        events.iter().for_each(|event| self.seen(event, now));
    }

    /// An Event of ours is not there any more.
    pub fn gone(&mut self, namespace: &str, name: &str) {
        if let Some(entry) = self.events.get_mut(namespace, name) {
            entry.expire();
        }
    }

    /// An Event is being written: it is not asked for again before it is known how that went.
    pub fn being_written(&mut self, notice: &Notice, now: Duration) {
        self.entry(notice, now).being_written(now, now + WRITING_MAX);
    }

    /// An Event was written.
    pub fn written(&mut self, act: &Act, now: Duration) {
        let notice = act.notice();
        let (lasts, version) = (notice.lasts, version(&notice.record()));
        let entry = self.events.entry_about(notice.subject(), &notice.name, now);
        entry.used = now;
        let since = if let State::Posted(known) = &entry.state { known.since } else { now };
        let count = if let Act::Renew { count, .. } = act { *count } else { 1 };
        entry.written(Posted { count, since, touched: now, lasts, wanted: true, version });
        if matches!(act, Act::Post(_)) {
            self.lately.entry(notice.regarding.uid().to_owned()).or_insert((0, now)).0 += 1;
        }
    }

    /// An Event was not written: it is tried again later, and the others go on.
    pub fn refused(&mut self, notice: &Notice, refusal: Refusal, now: Duration) {
        self.entry(notice, now).refused(refusal, now);
        if !matches!(notice.saying, Saying::Many { .. }) {
            self.tokens.give_back();
        }
    }

    /// Somebody else's Event has that name.
    pub fn taken(&mut self, notice: &Notice, now: Duration) {
        self.entry(notice, now).state = State::Taken;
    }

    fn entry(&mut self, notice: &Notice, now: Duration) -> &mut Entry {
        let entry = self.events.entry(notice.namespace(), &notice.name, now);
        entry.used = now;
        entry
    }

    fn entry_of(&self, notice: &Notice, name: &str) -> Option<&Entry> {
        self.events.get(notice.namespace(), name)
    }

    /// True when all that is to be said of an incident was said.
    pub fn is_told(&self, tracked: &Tracked, transient: bool, now: Duration) -> bool {
        notice::of_incident(tracked, transient, None, now).iter().all(|notice| self.is_done(notice))
    }

    /// True when an Event tells that an incident is over, or told so.
    pub fn tells_the_end_of(&self, incident: &Incident) -> bool {
        notice::ends_of(incident).any(|end| self.is_done(&end))
    }

    fn is_done(&self, notice: &Notice) -> bool {
        match self.named(notice) {
            Some(name) => self.entry_of(notice, &name).is_some_and(|entry| entry.is_told(&notice.subject())),
            None => true, // every name that it may have is somebody else's: it can never be written
        }
    }

    /// Returns the name under which a notice was, is or will be written: its own, unless somebody else's Event has or had that. `None` when
    /// every name that it may have is taken.
    fn named(&self, notice: &Notice) -> Option<String> {
        let subject = notice.subject();
        let is_told = |name: &String| self.entry_of(notice, name).is_some_and(|entry| entry.is_told(&subject));
        if is_told(&notice.name) {
            return Some(notice.name.clone());
        }
        let is_free = |name: &String| self.entry_of(notice, name).is_none_or(|entry| entry.is_free_for(&subject));
        let told = if self.events.knows(&subject) { notice::names_of(notice).find(is_told) } else { None };
        told.or_else(|| notice::names_of(notice).find(is_free))
    }

    /// Notes that a notice is wanted, under that name: every name that it may have is remembered meanwhile, so that what was somebody
    /// else's stays so.
    fn note_wanted(&mut self, notice: &Notice, name: &str, now: Duration) {
        let namespace = notice.namespace();
        if let Some(entry) = self.events.get_mut(namespace, name) {
            entry.used = now;
        }
        if name != notice.name {
            for other in notice::names_of(notice) {
                self.events.get_mut(namespace, &other).into_iter().for_each(|entry| entry.used = now);
            }
        }
    }

    /// How many notices wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// What to do next of all that is wanted; `None`: nothing, or nothing yet. Takes from the rate. `nodes_of` counts the nodes of a guard
    /// on which an agent can be; `retries`: whether what was refused before may be tried again.
    pub fn next(
        &mut self,
        wanted: &[Notice],
        known: &Known,
        nodes_of: impl Fn(&GuardName) -> usize,
        (moment, retries): (Moment, bool),
    ) -> Option<Act> {
        let now = moment.up;
        let since_last_look = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        self.tokens.fill(f64::from(known.rules.event_burst), known.rules.events_per_second, now);
        self.lately.retain(|_, (_, since)| now.saturating_sub(*since) < names::TRANSIENT_PERIOD);
        let mut todo = Vec::new();
        let mut lasting = BTreeMap::new();
        for notice in wanted {
            let Some(name) = self.named(notice) else { continue };
            self.note_wanted(notice, &name, now);
            todo.extend(self.todo(notice, &name, now));
            lasting.insert((notice.namespace(), name), notice.lasts);
        }
        self.waiting = todo.iter().filter(|act| act.notice().not_before <= now).count();
        self.note_what_is_over(&lasting, known.rules.grace + known.rules.unproven, now);
        self.forget(now);
        self.watch_bursts(wanted, &todo, known, nodes_of, (moment, since_last_look));
        if let Some(many) = self.many(now) {
            return Some(Act::Post(many));
        }
        let ready = |act: &&Act| {
            let may = retries || !self.was_refused(act.notice());
            may && act.notice().not_before <= now && !self.is_held_back(act, now)
        };
        let next = todo.iter().filter(ready).min_by_key(|act| self.order(act))?;
        self.tokens.take().then(|| next.clone())
    }

    /// Forgets the names that nobody has wanted for long.
    pub fn forget(&mut self, now: Duration) {
        self.events.retain(|entry| now.saturating_sub(entry.used) < KEPT);
    }

    /// True while news wait for others of their kind, so that it is to be looked again soon.
    pub fn is_gathering(&self) -> bool {
        self.bursts.values().any(Burst::is_gathering)
    }

    /// What is to be done about one notice, under that name.
    fn todo(&self, notice: &Notice, name: &str, now: Duration) -> Option<Act> {
        let named = || Notice { name: name.to_owned(), ..notice.clone() };
        let Some(entry) = self.entry_of(notice, name) else { return Some(Act::Post(named())) };
        if now < entry.again {
            return None;
        }
        match &entry.state {
            State::Posted(posted) if is_due(posted, notice, now) => {
                let count = notice.count.unwrap_or_else(|| posted.count.saturating_add(1));
                Some(Act::Renew { notice: named(), count: count.max(2) })
            }
            State::Unwritten => Some(Act::Post(named())),
            State::Expired if notice.lasts || !entry.is_told(&notice.subject()) => Some(Act::Post(named())),
            State::Posted(_) | State::Expired | State::Taken => None,
        }
    }

    /// What is not wanted any more is over: when it comes again, its Event says so at once. What others wrote is over as well when this
    /// process has looked for so long that it would know better: what has lasted is wanted by then.
    fn note_what_is_over(&mut self, lasting: &BTreeMap<(&str, String), bool>, known_by_then: Duration, now: Duration) {
        for (namespace, name, entry) in self.events.iter_mut() {
            let State::Posted(posted) = &mut entry.state else { continue };
            match lasting.get(&(namespace.as_str(), name.clone())) {
                Some(true) => posted.wanted = true,
                Some(false) => posted.lasts = false,
                None if posted.wanted || now.saturating_sub(posted.since) >= known_by_then => posted.lasts = false,
                None => {}
            }
        }
    }

    fn was_refused(&self, notice: &Notice) -> bool {
        self.entry_of(notice, &notice.name).is_some_and(|entry| entry.refusals > 0)
    }

    /// New Events first, and of those that of the node which had the fewest; then those that were refused before, what goes on, and last
    /// whatever is new of a node that had very many, so that no node keeps the Events of others from being renewed.
    fn order(&self, act: &Act) -> (u8, u32, bool) {
        let notice = act.notice();
        let lately = self.lately.get(notice.regarding.uid()).map_or(0, |(count, _)| *count);
        let refused = self.was_refused(notice);
        let class = match (act, refused) {
            (Act::Post(_), _) if lately >= NODE_EVENTS => 3,
            (Act::Post(_), false) => 0,
            (Act::Post(_), true) => 1,
            (Act::Renew { .. }, false) => 2,
            (Act::Renew { .. }, true) => 4,
        };
        (class, lately, notice.reason != NoticeReason::EgressBreached)
    }

    /// Notes which nodes have news of one kind, and when they are many.
    fn watch_bursts(
        &mut self,
        wanted: &[Notice],
        todo: &[Act],
        known: &Known,
        nodes_of: impl Fn(&GuardName) -> usize,
        (moment, since_last_look): (Moment, Duration),
    ) {
        let now = moment.up;
        self.asked_since.take_if(|_| since_last_look >= names::BURST_WINDOW);
        // What was so before may be told by another replica; what comes later is not.
        let is_new_here = now.saturating_sub(*self.asked_since.get_or_insert(now)) < TAKING_OVER;
        let mut bursts = std::mem::take(&mut self.bursts);
        bursts.values_mut().for_each(|burst| burst.passed(since_last_look, now));
        for act in todo.iter().filter(|act| self.is_news(act)) {
            let notice = act.notice();
            bursts.entry((notice.guard.clone(), notice.reason)).or_default().note(notice, now);
        }
        bursts.retain(|_, burst| !burst.is_over(now));
        for (kind, burst) in &mut bursts {
            if let Some((since, _)) = burst.many().filter(|(_, notice)| self.is_done(notice)) {
                burst.told(*since);
            }
            if let Some(daemon_set) = known.daemon_sets_of(&kind.0, Role::Agent).next() {
                let guard = GuardNodes { daemon_set, count: nodes_of(&kind.0), rules: &known.rules };
                burst.look(kind, guard, wanted, (moment, is_new_here), |notice| self.told_for(notice, now));
            }
        }
        self.bursts = bursts;
    }

    /// True for what is to be written anew, and for what is there and came again.
    fn is_news(&self, act: &Act) -> bool {
        match act {
            Act::Post(_) => true,
            Act::Renew { notice, .. } => {
                let state = self.entry_of(notice, &notice.name).map(|entry| &entry.state);
                notice.lasts && matches!(state, Some(State::Posted(posted)) if !posted.lasts)
            }
        }
    }

    /// For how long a notice has been known to be written.
    fn told_for(&self, notice: &Notice, now: Duration) -> Option<Duration> {
        match &self.entry_of(notice, &self.named(notice)?)?.state {
            State::Posted(posted) => Some(now.saturating_sub(posted.since)),
            State::Expired => Some(Duration::MAX),
            State::Unwritten | State::Taken => None,
        }
    }

    /// The next notice about many nodes that is due, under the name that is free for it.
    fn many(&self, now: Duration) -> Option<Notice> {
        let settled = self.bursts.values().filter_map(Burst::many);
        let settled = settled.filter(|(since, _)| now.saturating_sub(since.up) >= names::BURST_SETTLE);
        let mut due = settled.filter_map(|(_, notice)| {
            let name = self.named(notice)?;
            let may = self.entry_of(notice, &name).is_none_or(|entry| !entry.is_told(&notice.subject()) && entry.again <= now);
            may.then(|| Notice { name, ..notice.clone() })
        });
        due.next()
    }

    /// The Event about many nodes comes before those about each; and while further nodes come, nobody knows whether they will be many.
    fn is_held_back(&self, act: &Act, now: Duration) -> bool {
        let notice = act.notice();
        // The end of a breach is told after its beginning.
        if let Some(beginning) = notice::beginning_of(notice) {
            let entry = self.named(&beginning).and_then(|name| self.entry_of(&beginning, &name));
            if entry.is_some_and(Entry::is_under_way) {
                return true;
            }
        }
        let burst = self.bursts.get(&(notice.guard.clone(), notice.reason)).filter(|_| self.is_news(act));
        let Some(burst) = burst else { return false };
        let Some((_, many)) = burst.many() else { return burst.is_gathering() };
        let entry = self.named(many).and_then(|name| self.entry_of(many, &name));
        !self.is_done(many) && !entry.is_some_and(|entry| entry.is_given_up_for_now(now))
    }
}

/// True when an Event that is there is to be renewed: what it tells of came again, goes on for long, or more is known.
fn is_due(posted: &Posted, notice: &Notice, now: Duration) -> bool {
    let renewal = notice.lasts && (!posted.lasts || now.saturating_sub(posted.touched) >= names::EVENT_RENEWAL);
    renewal || notice.follows && version(&notice.record()) != posted.version
}

#[cfg(test)]
mod tests;
