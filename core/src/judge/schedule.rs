//! When something is due again, for each of several keys: what fails for one of them delays no other.
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the first rest after a failure is; it doubles with each further one.
const FIRST_REST: Duration = Duration::from_secs(15);
/// The longest rest after failures.
const LONGEST_REST: Duration = Duration::from_secs(5 * 60);

/// The keys, each with when it is due. Time is that of one clock, since the process began.
#[derive(Debug, Clone)]
pub struct Schedule<K> {
    period: Duration,
    due: BTreeMap<K, Due>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Due {
    at: Duration,
    /// How often it failed in a row.
    failures: u32,
}

impl<K: Ord + Clone> Schedule<K> {
    /// All of these are due at once, and each again a `period` after it was done.
    pub fn new(keys: impl IntoIterator<Item = K>, period: Duration) -> Self {
        Schedule { period, due: keys.into_iter().map(|key| (key, Due::default())).collect() }
    }

    /// All are due at once.
    pub fn all_at_once(&mut self) {
        self.due.values_mut().for_each(|due| due.at = Duration::ZERO);
    }

    /// The keys that are due.
    pub fn due(&self, now: Duration) -> Vec<K> {
        self.due.iter().filter(|(_, due)| due.at <= now).map(|(key, _)| key.clone()).collect()
    }

    /// How long it is until the next one is due; `None` without any key.
    pub fn until_next(&self, now: Duration) -> Option<Duration> {
        self.due.values().map(|due| due.at.saturating_sub(now)).min()
    }

    /// That one was done: it is due again after a period.
    pub fn done(&mut self, key: &K, now: Duration) {
        if let Some(due) = self.due.get_mut(key) {
            *due = Due { at: now + self.period, failures: 0 };
        }
    }

    /// That one failed: it is due again sooner, by itself.
    pub fn failed(&mut self, key: &K, now: Duration) {
        if let Some(due) = self.due.get_mut(key) {
            let rest = FIRST_REST.saturating_mul(1 << due.failures.min(16)).min(LONGEST_REST).min(self.period);
            *due = Due { at: now + rest, failures: due.failures.saturating_add(1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_is_due_at_once_and_again_a_period_after_it_was_done() {
        let mut schedule = Schedule::new(["a", "b"], PERIOD);
        assert_eq!((schedule.due(at(0)), schedule.until_next(at(0))), (vec!["a", "b"], Some(at(0))));
        schedule.done(&"a", at(1));
        schedule.done(&"b", at(5));
        assert_eq!((schedule.due(at(600)), schedule.until_next(at(5))), (vec![], Some(at(596))));
        assert_eq!(schedule.due(at(601)), ["a"]);
        assert_eq!(schedule.due(at(605)), ["a", "b"]);
        schedule.all_at_once();
        assert_eq!(schedule.due(at(6)), ["a", "b"]);
        assert_eq!(Schedule::<&str>::new([], PERIOD).until_next(at(0)), None);
    }

    #[test]
    fn one_that_fails_rests_longer_each_time_and_delays_no_other() {
        let mut schedule = Schedule::new(["broken", "well"], PERIOD);
        schedule.done(&"well", at(0));
        let mut now = 0;
        for rest in [15, 30, 60, 120, 240] {
            schedule.failed(&"broken", at(now));
            assert_eq!(schedule.until_next(at(now)), Some(at(rest)));
            now += rest;
        }
        schedule.failed(&"broken", at(465));
        assert_eq!(schedule.due(at(600)), ["well"], "its turn has not moved");
        assert_eq!(schedule.due(at(765)), ["broken", "well"], "the longest rest is five minutes");
        schedule.done(&"broken", at(765));
        schedule.done(&"well", at(765));
        schedule.failed(&"broken", at(1365));
        assert_eq!(schedule.due(at(1380)), ["broken", "well"], "a success ends the row of failures");
        schedule.failed(&"unknown", at(0));
    }
}
