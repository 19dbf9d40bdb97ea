//! What is known of the names of Events: of each name in each namespace one state.
use crate::model::names;
use crate::model::notice::EventSubject;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a notice rests that the API server did not take as it is; twice as long each time, up to [`REFUSED_MAX`].
const REFUSED_REST: Duration = Duration::from_secs(10);
/// The longest such rest.
const REFUSED_MAX: Duration = Duration::from_secs(5 * 60);
/// How long a notice rests that could not be written just now; twice as long each time, up to [`FAILED_MAX`].
const FAILED_REST: Duration = Duration::from_secs(1);
/// The longest such rest, unless the API server asks for a longer one.
const FAILED_MAX: Duration = Duration::from_secs(20);
/// The longest rest that an API server may ask for.
const ASKED_MAX: Duration = Duration::from_secs(60);
/// How often an Event about many nodes may fail before those about each no longer wait for it.
const FAILURES_WAITED_FOR: u32 = 3;

/// How often the Event of a breach may fail before that of its end no longer waits for it: some minutes.
const FAILURES_FOLLOWED: u32 = 12;

/// Why an Event was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The API server does not take this one as it is: a webhook, a quota, an invalid field, a namespace that is gone.
    ThisOne,
    /// It does not answer, or is too busy: for how long it asks to be left alone.
    ForNow(Duration),
}

/// What is known of one name.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: State,
    /// What the Event is about, as far as one was seen or written.
    pub(super) subject: Option<EventSubject>,
    /// How often in a row it could not be written.
    pub(super) refusals: u32,
    /// True when the API server did not take it as it is.
    refused_itself: bool,
    /// When it may be written again.
    pub(super) again: Duration,
    /// Since when it is being written.
    writing: Option<Duration>,
    /// When it was wanted, seen or written last.
    pub(super) used: Duration,
}

/// The state of a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// Nothing was written under it yet.
    Unwritten,
    /// Its Event is in the API, as far as we know.
    Posted(Posted),
    /// Its Event was in the API and is gone: it was told.
    Expired,
    /// Somebody else's Event has that name, and no list or watch of ours shows it.
    Taken,
}

/// An Event that is in the API.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Posted {
    /// How often it was seen, as its series says.
    pub(super) count: i32,
    /// Since when this process has known it.
    pub(super) since: Duration,
    /// When it was written last, as far as this process knows.
    pub(super) touched: Duration,
    /// False once what it says is over: should it come again, the series goes on.
    pub(super) lasts: bool,
    /// True once this process wanted it to be there: only then is it over when it is wanted no more.
    pub(super) wanted: bool,
    /// The version of its record.
    pub(super) version: u64,
}

impl Entry {
    pub(super) fn new(now: Duration) -> Self {
        Entry {
            state: State::Unwritten,
            subject: None,
            refusals: 0,
            refused_itself: false,
            again: Duration::ZERO,
            writing: None,
            used: now,
        }
    }

    /// True when an Event of that subject was written under this name. One that was planted and is gone says nothing.
    pub(super) fn is_told(&self, subject: &EventSubject) -> bool {
        matches!(self.state, State::Posted(_) | State::Expired) && self.subject.as_ref() == Some(subject)
    }

    /// True when an Event of that subject may be written under this name, or is.
    pub(super) fn is_free_for(&self, subject: &EventSubject) -> bool {
        match self.state {
            State::Unwritten | State::Expired => true,
            State::Posted(_) => self.subject.as_ref() == Some(subject),
            State::Taken => false,
        }
    }

    /// True when nothing else waits for it to be written: it is refused, has failed some times, or takes long.
    pub(super) fn is_given_up_for_now(&self, now: Duration) -> bool {
        let takes_long = self.writing.is_some_and(|since| now.saturating_sub(since) >= names::SLOW_WRITE);
        takes_long || self.refusals > 0 && self.refused_itself || self.refusals >= FAILURES_WAITED_FOR
    }

    /// True while it is likely to be written soon: it is being written, or could not be so far, and not for a reason of its own.
    pub(super) fn is_under_way(&self) -> bool {
        let failed = !self.refused_itself && (1..FAILURES_FOLLOWED).contains(&self.refusals);
        let may_be = matches!(self.state, State::Unwritten | State::Expired);
        may_be && (failed || self.writing.is_some() && self.refusals < FAILURES_FOLLOWED)
    }

    /// It is being written, and not asked for again before `until` unless it is known how that went.
    pub(super) fn being_written(&mut self, now: Duration, until: Duration) {
        (self.writing, self.again) = (Some(now), until);
    }

    /// Its Event is not in the API any more.
    pub(super) fn expire(&mut self) {
        if matches!(self.state, State::Posted(_)) {
            (self.state, self.again, self.writing) = (State::Expired, Duration::ZERO, None);
        }
    }

    /// It was written.
    pub(super) fn written(&mut self, posted: Posted) {
        self.state = State::Posted(posted);
        (self.refusals, self.refused_itself) = (0, false);
        (self.again, self.writing) = (Duration::ZERO, None);
    }

    /// It was not written: it rests.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Duration) {
        let doubled = |first: Duration, most: Duration| first.saturating_mul(1 << self.refusals.min(16)).min(most);
        let rest = match refusal {
            Refusal::ThisOne => doubled(REFUSED_REST, REFUSED_MAX),
            Refusal::ForNow(asked) => doubled(FAILED_REST, FAILED_MAX).max(asked.min(ASKED_MAX)),
        };
        (self.refusals, self.again) = (self.refusals.saturating_add(1), now + rest);
        (self.refused_itself, self.writing) = (refusal == Refusal::ThisOne, None);
    }
}

/// All names that something is known of, by namespace: an Event elsewhere that has the same name is another one.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    by_namespace: BTreeMap<String, BTreeMap<String, Entry>>,
    /// Under how many names an Event of each subject is, or was.
    subjects: BTreeMap<EventSubject, usize>,
}

impl Entries {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Entry> {
        self.by_namespace.get(namespace)?.get(name)
    }

    pub(super) fn get_mut(&mut self, namespace: &str, name: &str) -> Option<&mut Entry> {
        self.by_namespace.get_mut(namespace)?.get_mut(name)
    }

    /// The entry of a name, made if there is none.
    pub(super) fn entry(&mut self, namespace: &str, name: &str, now: Duration) -> &mut Entry {
        let names = self.by_namespace.entry(namespace.to_owned()).or_default();
        names.entry(name.to_owned()).or_insert_with(|| Entry::new(now))
    }

    /// The entry of a name under which an Event of that subject is.
    pub(super) fn entry_about(&mut self, subject: EventSubject, name: &str, now: Duration) -> &mut Entry {
        let namespace = subject.namespace.clone();
        let before = self.entry(&namespace, name, now).subject.take();
        before.iter().for_each(|before| uncount(&mut self.subjects, before));
        *self.subjects.entry(subject.clone()).or_default() += 1;
        let entry = self.entry(&namespace, name, now);
        entry.subject = Some(subject);
        entry
    }

    /// True when an Event of that subject is or was somewhere.
    pub(super) fn knows(&self, subject: &EventSubject) -> bool {
        self.subjects.contains_key(subject)
    }

    pub(super) fn len(&self) -> usize {
        self.by_namespace.values().map(BTreeMap::len).sum()
    }

    /// All entries of a namespace.
    pub(super) fn of_mut<'a>(&'a mut self, namespace: &str) -> impl Iterator<Item = (&'a String, &'a mut Entry)> {
        self.by_namespace.get_mut(namespace).into_iter().flatten()
    }

    /// All entries, each with its namespace and name.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &String, &mut Entry)> {
        let of = |(namespace, names)| std::iter::repeat(namespace).zip(names);
        self.by_namespace.iter_mut().flat_map(of).map(|(namespace, (name, entry))| (namespace, name, entry))
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let Entries { by_namespace, subjects } = self;
        by_namespace.retain(|_, names| {
            names.retain(|_, entry| {
                let kept = keep(entry);
                entry.subject.iter().filter(|_| !kept).for_each(|subject| uncount(subjects, subject));
                kept
            });
            !names.is_empty()
        });
    }
}

fn uncount(subjects: &mut BTreeMap<EventSubject, usize>, subject: &EventSubject) {
    if let Some(count) = subjects.get_mut(subject) {
        *count -= 1;
        if *count == 0 {
            subjects.remove(subject);
        }
    }
}
