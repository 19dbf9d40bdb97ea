//! Who leads: as client-go elects, with the lease's age measured by how long it has not changed before our own eyes, so that no two clocks
//! are compared.
use crate::model::names;
use jiff::Timestamp;
use std::time::Duration;

/// A lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it; `None` or empty: nobody.
    pub holder: Option<String>,
    /// For how long it is good without renewal.
    pub duration: Duration,
    /// What changes with every write.
    pub version: String,
    /// How often it has changed hands.
    pub transitions: i32,
    /// Since when its holder has it.
    pub acquired: Option<Timestamp>,
}

/// What to do about the lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is ours: renew it.
    Renew,
    /// It is nobody's any more: take it.
    Take,
    /// It is another's.
    Wait,
}

/// One who would lead.
#[derive(Debug, Clone)]
pub struct Elector {
    me: String,
    /// The version that was seen last, and since when it has not changed.
    seen: Option<(String, Duration)>,
    /// When our last write that succeeded was begun.
    renewed: Option<Duration>,
}

impl Elector {
    /// One of that name, which is its alone: the pod's name, so that a container that starts again goes on at once.
    pub fn new(me: String) -> Self {
        Elector { me, seen: None, renewed: None }
    }

    /// What to do, at `now` after the start of this process, with the lease that was just read.
    pub fn step(&mut self, lease: &Lease, now: Duration) -> Step {
        let since = match &self.seen {
            Some((version, since)) if *version == lease.version => *since,
            _ => {
                self.seen = Some((lease.version.clone(), now));
                now
            }
        };
        match lease.holder.as_deref() {
            Some(holder) if holder == self.me => Step::Renew,
            None | Some("") => Step::Take,
            Some(_) if now.saturating_sub(since) >= lease.duration => Step::Take,
            Some(_) => {
                self.renewed = None;
                Step::Wait
            }
        }
    }

    /// A write that was begun at `began` succeeded: from then on the lease is ours.
    pub fn written(&mut self, began: Duration) {
        self.renewed = Some(began);
    }

    /// Somebody else wrote first.
    pub fn lost(&mut self) {
        self.renewed = None;
    }

    /// Whether this one leads at `now`: it stops before another can begin.
    pub fn leads(&self, now: Duration) -> bool {
        self.renewed.is_some_and(|renewed| now.saturating_sub(renewed) < names::LEASE_DEADLINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn lease(holder: Option<&str>, version: &str) -> Lease {
        Lease { holder: holder.map(str::to_owned), duration: S(15), version: version.to_owned(), transitions: 0, acquired: None }
    }

    #[test]
    fn a_free_lease_is_taken_and_an_own_one_renewed_at_once() {
        let mut elector = Elector::new("a".to_owned());
        assert_eq!(elector.step(&lease(None, "1"), S(0)), Step::Take);
        assert_eq!(elector.step(&lease(Some(""), "1"), S(0)), Step::Take);
        assert_eq!(elector.step(&lease(Some("a"), "1"), S(0)), Step::Renew, "the same pod started again");
        assert!(!elector.leads(S(0)), "only a write makes a leader");
        elector.written(S(1));
        assert!(elector.leads(S(1)) && elector.leads(S(10)) && !elector.leads(S(11)));
    }

    #[test]
    fn anothers_lease_is_left_alone_until_it_has_not_changed_for_its_duration() {
        let mut elector = Elector::new("b".to_owned());
        assert_eq!(elector.step(&lease(Some("a"), "1"), S(100)), Step::Wait);
        assert_eq!(elector.step(&lease(Some("a"), "1"), S(114)), Step::Wait);
        assert_eq!(elector.step(&lease(Some("a"), "2"), S(115)), Step::Wait, "it was renewed");
        assert_eq!(elector.step(&lease(Some("a"), "2"), S(129)), Step::Wait);
        assert_eq!(elector.step(&lease(Some("a"), "2"), S(130)), Step::Take);
    }

    #[test]
    fn a_leader_stops_before_another_can_begin() {
        let (mut old, mut new) = (Elector::new("a".to_owned()), Elector::new("b".to_owned()));
        old.written(S(50));
        new.step(&lease(Some("a"), "7"), S(50));
        let first = (50..).map(S).find(|now| new.step(&lease(Some("a"), "7"), *now) == Step::Take).unwrap();
        assert!(!old.leads(first) && !old.leads(first - S(5)));
        old.step(&lease(Some("b"), "8"), S(55));
        assert!(!old.leads(S(55)), "another holds it");
        old.written(S(56));
        old.lost();
        assert!(!old.leads(S(56)));
    }
}
