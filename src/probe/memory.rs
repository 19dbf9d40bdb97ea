//! What is remembered of an address from one round to the next: what its climb learnt, and what a global one last showed.
#![expect(clippy::disallowed_methods, reason = "how old a memory is, is told here, at the edge")]
use super::climb::Climbed;
use super::round::Seen;
use guardprobe_core::model::finding::Attribution;
use guardprobe_core::model::names;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A target's address, by the target's place in the configuration.
pub(super) type Key = (usize, SocketAddr);

/// Memories of addresses. Those that a round no longer lists are forgotten, so there are never more than addresses.
#[derive(Debug, Default)]
pub(super) struct Memory {
    climbs: RefCell<HashMap<Key, (Climbed, Instant)>>,
    global: RefCell<HashMap<Key, (Seen, Instant)>>,
}

fn young<T: Clone>(known: &RefCell<HashMap<Key, (T, Instant)>>, key: Key, limit: Duration) -> Option<T> {
    known.borrow().get(&key).filter(|(_, learnt)| learnt.elapsed() < limit).map(|(what, _)| what.clone())
}

impl Memory {
    /// What the climb learnt of an address that has stayed open since, unless that is too long ago.
    pub(super) fn climbed(&self, key: Key) -> Option<Climbed> {
        young(&self.climbs, key, names::CLIMB_HOLDS)
    }

    /// A climb has just learnt this.
    pub(super) fn learn(&self, key: Key, climbed: Climbed) {
        self.climbs.borrow_mut().insert(key, (climbed, Instant::now()));
    }

    /// The address did not connect: who answers there next may be somebody else.
    pub(super) fn shut(&self, key: Key) {
        self.climbs.borrow_mut().remove(&key);
    }

    /// What a global address showed, where that is too short a time ago to try it again.
    pub(super) fn kept(&self, key: Key) -> Option<Seen> {
        let (mut observation, mut nowhere) = young(&self.global, key, names::GLOBAL_PERIOD)?;
        observation.kept = true;
        nowhere.iter_mut().for_each(|(_, seen)| seen.kept = true);
        Some((observation, nowhere))
    }

    /// A global address was tried at `began`, and showed this.
    pub(super) fn keep(&self, key: Key, seen: &Seen, began: Instant) {
        self.global.borrow_mut().insert(key, (seen.clone(), began));
    }

    /// How well a global address was proved blocked in the round that tried it.
    pub(super) fn attribute(&self, key: Key, attribution: Option<Attribution>) {
        if let Some(((observation, _), _)) = self.global.borrow_mut().get_mut(&key) {
            observation.attribution = attribution;
        }
    }

    /// Forgets what global addresses showed.
    pub(super) fn forget_global(&self) {
        self.global.borrow_mut().clear();
    }

    /// Forgets all but these.
    pub(super) fn retain(&self, listed: impl Fn(&Key) -> bool) {
        self.climbs.borrow_mut().retain(|key, _| listed(key));
        self.global.borrow_mut().retain(|key, _| listed(key));
    }
}
