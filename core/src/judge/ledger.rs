//! What of our Events is in the API, and what is written next.
//!
//! The ledger is one map from the name of an Event to one [`State`]. Its invariants:
//!
//! - A name has at most one state. [`State::Posted`] and [`State::Expired`] mean that what the name stands for was told; every other state
//!   means that nothing of ours is under that name.
//! - A name is forgotten when nobody wanted it and no list or watch named it for [`KEPT`], whatever its state: so the map holds what is
//!   wanted, what the API holds, and what either did lately. An Event that is there and forgotten is found by the conflict when it is
//!   written again.
//! - A name whose Event is about something else is not ours: what we have to say gets another name ([`other_name`]).
//! - What the API server refuses rests by itself, and keeps nothing else waiting.
use super::burst::{self, Burst, GuardNodes};
use super::fleet::Known;
use super::incidents::Tracked;
use super::notice::{self, OTHER_NAMES, other_name};
use super::rate::Bucket;
use crate::model::cluster::GuardName;
use crate::model::moment::Moment;
use crate::model::names;
use crate::model::notice::{EventSubject, Notice, NoticeReason, OwnEvent, Record};
use crate::model::report::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How many names are remembered at most.
const NAMES_MAX: usize = 100_000;
/// For how long a name is remembered that nobody wants: twice as long as an API server keeps an Event by default.
const KEPT: Duration = Duration::from_secs(2 * 60 * 60);
/// How many Events of one node in ten minutes are so many that all others come first.
const NODE_EVENTS: u32 = 10;
/// How long a notice rests after it was refused; twice as long each time, up to [`REFUSED_MAX`].
const REFUSED_REST: Duration = Duration::from_secs(10);
/// The longest such rest.
const REFUSED_MAX: Duration = Duration::from_secs(5 * 60);
/// How much of the time between two looks counts as quiet: a process that did not run has heard nothing in that time.
const LOOK_MAX: Duration = Duration::from_millis(50);

/// What is in the API of what we said, and at what rate we may say more.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    events: BTreeMap<String, Entry>,
    bursts: BTreeMap<burst::Kind, Burst>,
    /// The rate of Events about single nodes.
    tokens: Bucket,
    /// How many Events were written of each node lately: a node with much to say does not keep others waiting.
    lately: BTreeMap<String, (u32, Duration)>,
    /// How many notices wait for their turn.
    waiting: usize,
    /// When it was asked last what to write.
    looked: Duration,
}

/// What is known of one name.
#[derive(Debug, Clone)]
struct Entry {
    state: State,
    /// What the Event is about, as far as one was seen or written.
    subject: Option<EventSubject>,
    /// How often in a row the API server refused to take it.
    refusals: u32,
    /// When it may be written again.
    again: Duration,
    /// When it was wanted, seen or written last.
    used: Duration,
}

/// The state of a name.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Nothing was written under it yet.
    Unwritten,
    /// Its Event is in the API, as far as we know.
    Posted(Posted),
    /// Its Event was in the API and is gone: it was told.
    Expired,
    /// The API server will never take it.
    Rejected,
    /// Somebody else's Event has that name, and no list or watch of ours shows it.
    Taken,
}

/// An Event that is in the API.
#[derive(Debug, Clone, PartialEq)]
struct Posted {
    namespace: String,
    /// How often it was seen, as its series says.
    count: i32,
    /// Since when this process has known it.
    since: Duration,
    /// When it was written last, as far as this process knows.
    touched: Duration,
    /// False once what it says is over: should it come again, the series goes on.
    lasts: bool,
    /// The version of its record.
    version: u64,
}

impl Entry {
    fn new(now: Duration) -> Self {
        Entry { state: State::Unwritten, subject: None, refusals: 0, again: Duration::ZERO, used: now }
    }

    /// True when an Event of that subject was written under this name, or never will be. One that was planted and is gone says nothing.
    fn is_told(&self, subject: &EventSubject) -> bool {
        match self.state {
            State::Posted(_) | State::Expired => self.subject.as_ref() == Some(subject),
            State::Rejected => true,
            State::Unwritten | State::Taken => false,
        }
    }

    fn expire(&mut self) {
        if matches!(self.state, State::Posted(_)) {
            self.state = State::Expired;
        }
    }
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
        if self.events.len() >= NAMES_MAX && !self.events.contains_key(&event.name) {
            return;
        }
        let entry = self.events.entry(event.name.clone()).or_insert_with(|| Entry::new(now));
        let (since, touched, lasts) = match &entry.state {
            State::Posted(known) if known.count == event.count => (known.since, known.touched, known.lasts),
            State::Posted(known) => (known.since, now, known.lasts),
            _ => (now, now, true),
        };
        let (namespace, count) = (event.namespace.clone(), event.count);
        entry.state = State::Posted(Posted { namespace, count, since, touched, lasts, version: version(&event.record) });
        (entry.subject, entry.used) = (Some(event.subject()), now);
    }

    /// These are all Events of ours in a namespace.
    pub fn listed(&mut self, namespace: &str, events: &[OwnEvent], now: Duration) {
        let there: BTreeSet<&str> = events.iter().map(|event| event.name.as_str()).collect();
        let expired = self.events.iter_mut().filter(|(name, entry)| {
            let here = matches!(&entry.state, State::Posted(posted) if posted.namespace == namespace);
            here && !there.contains(name.as_str())
        });
        expired.for_each(|(_, entry)| entry.expire());
        events.iter().for_each(|event| self.seen(event, now));
    }

    /// An Event of ours is not there any more.
    pub fn gone(&mut self, name: &str) {
        if let Some(entry) = self.events.get_mut(name) {
            entry.expire();
        }
    }

    /// An Event was written, or was there already.
    pub fn written(&mut self, act: &Act, now: Duration) {
        let notice = act.notice();
        let count = if let Act::Renew { count, .. } = act { *count } else { 1 };
        let (namespace, lasts) = (notice.namespace().to_owned(), notice.lasts);
        let entry = self.entry(&notice.name, now);
        let since = if let State::Posted(known) = &entry.state { known.since } else { now };
        let posted = Posted { namespace, count, since, touched: now, lasts, version: version(&notice.record()) };
        (entry.state, entry.subject, entry.refusals) = (State::Posted(posted), Some(notice.subject()), 0);
        let lately = self.lately.entry(notice.regarding.uid().to_owned()).or_insert((0, now));
        *lately = (lately.0 + 1, now);
    }

    /// The API server did not take that one, for a reason that may pass: it is tried again later.
    pub fn refused(&mut self, name: &str, now: Duration) {
        let entry = self.entry(name, now);
        let rest = REFUSED_REST.saturating_mul(1 << entry.refusals.min(16)).min(REFUSED_MAX);
        (entry.refusals, entry.again) = (entry.refusals.saturating_add(1), now + rest);
    }

    /// The API server will never take that one.
    pub fn rejected(&mut self, name: &str, now: Duration) {
        self.entry(name, now).state = State::Rejected;
    }

    /// Somebody else's Event has that name.
    pub fn taken(&mut self, name: &str, now: Duration) {
        self.entry(name, now).state = State::Taken;
    }

    fn entry(&mut self, name: &str, now: Duration) -> &mut Entry {
        let entry = self.events.entry(name.to_owned()).or_insert_with(|| Entry::new(now));
        entry.used = now;
        entry
    }

    /// True when all that is to be said of an incident was said.
    pub fn is_told(&self, tracked: &Tracked, transient: bool, now: Duration) -> bool {
        notice::of_incident(tracked, transient, None, now).iter().all(|notice| self.is_done(notice))
    }

    fn is_done(&self, notice: &Notice) -> bool {
        match self.named(notice) {
            Some(name) => self.events.get(&name).is_some_and(|entry| entry.is_told(&notice.subject())),
            None => true, // every name that it may have is somebody else's: it can never be written
        }
    }

    /// Returns the name under which a notice is or will be written: its own, unless somebody else's Event has that. `None` when every name
    /// that it may have is taken.
    fn named(&self, notice: &Notice) -> Option<String> {
        if !self.events.contains_key(&notice.name) {
            return Some(notice.name.clone());
        }
        let subject = notice.subject();
        let free = |name: &String| match self.events.get(name) {
            Some(Entry { state: State::Taken, .. }) => false,
            Some(Entry { state: State::Posted(_), subject: known, .. }) => known.as_ref() == Some(&subject),
            _ => true,
        };
        let others = (1..=OTHER_NAMES).map(|turn| other_name(&notice.name, turn));
        std::iter::once(notice.name.clone()).chain(others).find(free)
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
        let since_last_look = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        self.tokens.fill(f64::from(known.rules.event_burst), known.rules.events_per_second, now);
        self.lately.retain(|_, (_, at)| now.saturating_sub(*at) < names::TRANSIENT_PERIOD);
        let mut todo = Vec::new();
        let mut lasting = BTreeSet::new();
        for notice in wanted {
            let Some(name) = self.named(notice) else { continue };
            if let Some(entry) = self.events.get_mut(&name) {
                entry.used = now;
            }
            todo.extend(self.todo(notice, &name, now));
            if notice.lasts {
                lasting.insert(name);
            }
        }
        self.waiting = todo.iter().filter(|act| act.notice().not_before <= now).count();
        self.note_what_is_over(&lasting);
        self.forget(now);
        self.watch_bursts(wanted, &todo, known, nodes_of, (moment, since_last_look.min(LOOK_MAX)));
        if let Some(many) = self.many(now) {
            return Some(Act::Post(many));
        }
        let ready = |act: &&Act| act.notice().not_before <= now && !self.is_held_back(act);
        let next = todo.iter().filter(ready).min_by_key(|act| self.order(act))?;
        self.tokens.take().then(|| next.clone())
    }

    /// Forgets the names that nobody has wanted for long.
    pub fn forget(&mut self, now: Duration) {
        self.events.retain(|_, entry| now.saturating_sub(entry.used) < KEPT);
    }

    /// True while news wait for others of their kind, so that it is to be looked again soon.
    pub fn is_gathering(&self) -> bool {
        self.bursts.values().any(Burst::is_gathering)
    }

    /// What is to be done about one notice, under that name.
    fn todo(&self, notice: &Notice, name: &str, now: Duration) -> Option<Act> {
        let named = || Notice { name: name.to_owned(), ..notice.clone() };
        let Some(entry) = self.events.get(name) else { return Some(Act::Post(named())) };
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
            State::Posted(_) | State::Expired | State::Rejected | State::Taken => None,
        }
    }

    /// What is not wanted any more is over: when it comes again, its Event says so at once.
    fn note_what_is_over(&mut self, lasting: &BTreeSet<String>) {
        for (name, entry) in &mut self.events {
            if let State::Posted(posted) = &mut entry.state {
                posted.lasts &= lasting.contains(name);
            }
        }
    }

    /// New Events first, and of those that of the node which had the fewest; then what goes on; and last whatever is of a node that had
    /// very many.
    fn order(&self, act: &Act) -> (bool, bool, u32, bool) {
        let (renewal, notice) = (matches!(act, Act::Renew { .. }), act.notice());
        let lately = self.lately.get(notice.regarding.uid()).map_or(0, |(count, _)| *count);
        (lately >= NODE_EVENTS, renewal, lately, notice.reason != NoticeReason::EgressBreached)
    }

    /// Notes which nodes have news of one kind, and when they are many.
    fn watch_bursts(
        &mut self,
        wanted: &[Notice],
        todo: &[Act],
        known: &Known,
        nodes_of: impl Fn(&GuardName) -> usize,
        (moment, looked_for): (Moment, Duration),
    ) {
        let now = moment.up;
        let mut bursts = std::mem::take(&mut self.bursts);
        bursts.values_mut().for_each(|burst| burst.passed(looked_for, now));
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
                burst.look(kind, guard, wanted, moment, |notice| self.told_for(notice, now));
            }
        }
        self.bursts = bursts;
    }

    /// True for what is to be written anew, and for what is there and came again.
    fn is_news(&self, act: &Act) -> bool {
        match act {
            Act::Post(_) => true,
            Act::Renew { notice, .. } => {
                let state = self.events.get(&notice.name).map(|entry| &entry.state);
                notice.lasts && matches!(state, Some(State::Posted(posted)) if !posted.lasts)
            }
        }
    }

    /// For how long a notice has been known to be written.
    fn told_for(&self, notice: &Notice, now: Duration) -> Option<Duration> {
        match &self.events.get(&self.named(notice)?)?.state {
            State::Posted(posted) => Some(now.saturating_sub(posted.since)),
            State::Expired | State::Rejected => Some(Duration::MAX),
            State::Unwritten | State::Taken => None,
        }
    }

    /// The next notice about many nodes that is due, under the name that is free for it.
    fn many(&self, now: Duration) -> Option<Notice> {
        let settled = self.bursts.values().filter_map(Burst::many);
        let settled = settled.filter(|(since, _)| now.saturating_sub(since.up) >= names::BURST_SETTLE);
        let mut due = settled.filter_map(|(_, notice)| {
            let name = self.named(notice)?;
            let may = self.events.get(&name).is_none_or(|entry| !entry.is_told(&notice.subject()) && entry.again <= now);
            may.then(|| Notice { name, ..notice.clone() })
        });
        due.next()
    }

    /// The Event about many nodes comes before those about each; and while further nodes come, nobody knows whether they will be many.
    fn is_held_back(&self, act: &Act) -> bool {
        let notice = act.notice();
        let burst = self.bursts.get(&(notice.guard.clone(), notice.reason)).filter(|_| self.is_news(act));
        let Some(burst) = burst else { return false };
        let Some((_, many)) = burst.many() else { return burst.is_gathering() };
        // One that is refused for now holds nobody up.
        let refused = self.named(many).and_then(|name| self.events.get(&name)).is_some_and(|entry| entry.refusals > 0);
        !self.is_done(many) && !refused
    }
}

/// True when an Event that is there is to be renewed: what it tells of came again, goes on for long, or more is known.
fn is_due(posted: &Posted, notice: &Notice, now: Duration) -> bool {
    let renewal = notice.lasts && (!posted.lasts || now.saturating_sub(posted.touched) >= names::EVENT_RENEWAL);
    renewal || notice.follows && version(&notice.record()) != posted.version
}

#[cfg(test)]
mod tests;
