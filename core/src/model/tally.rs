//! What was counted since the process began.
use super::address::Family;
use super::observation::{Observation, Outcome};

/// Upper bounds of the buckets of probe durations, in seconds: a handshake in a datacentre, across one, the retransmissions of a lost
/// SYN (1 s and more), and the default time-out with what the timer adds to it.
pub const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 1.5, 2.6, 5.0];

/// How often each outcome was seen, by family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([[u64; Outcome::ALL.len()]; Family::ALL.len()]);

impl Counts {
    /// One more; what was skipped, or kept from an earlier round, is none.
    pub fn add(&mut self, seen: &Observation) {
        if seen.tried() && !seen.kept {
            self.0[seen.family as usize][seen.outcome as usize] += 1;
        }
    }

    /// Each family and outcome with its count; `skipped` is no outcome of a probe.
    pub fn each(&self) -> impl Iterator<Item = (Family, Outcome, u64)> {
        let outcomes = || Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Skipped);
        let pairs = Family::ALL.into_iter().flat_map(move |family| outcomes().map(move |outcome| (family, outcome)));
        pairs.map(|(family, outcome)| (family, outcome, self.0[family as usize][outcome as usize]))
    }
}

/// A histogram of durations in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Durations {
    within: [u64; BUCKETS.len()],
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
}

impl Durations {
    fn add(&mut self, seconds: f64) {
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.within[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// Each bound with how many were no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let sums = self.within.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BUCKETS.into_iter().zip(sums)
    }
}

/// The counts of one target.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TargetTally {
    /// Probes of rounds.
    pub probes: Counts,
    /// How long those took.
    pub durations: Durations,
    /// Lone connects: sentinels, and the tries of the startup window.
    pub sentinels: Counts,
}

impl TargetTally {
    /// Counts a probe of a round.
    pub fn probe(&mut self, seen: &Observation) {
        self.probes.add(seen);
        if seen.tried() && !seen.kept {
            self.durations.add(seen.latency_seconds);
        }
    }
}

/// The counts of a process, target by target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// The targets, in the order of the configuration.
    pub targets: Vec<TargetTally>,
    /// Rounds that ended.
    pub rounds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observation::Source;

    fn seen(outcome: Outcome, latency_seconds: f64) -> Observation {
        let address = "[fd00:ec2::254]:80".parse().unwrap();
        Observation { latency_seconds, ..Observation::new(address, Source::Literal, outcome) }
    }

    #[test]
    fn every_outcome_but_skipped_is_counted_in_its_family() {
        for outcome in Outcome::ALL {
            let mut counts = Counts::default();
            counts.add(&seen(outcome, 0.0));
            let found: Vec<_> = counts.each().filter(|(.., count)| *count > 0).collect();
            let expected = if outcome == Outcome::Skipped { vec![] } else { vec![(Family::Ipv6, outcome, 1)] };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_kept_or_skipped_is_no_probe() {
        let mut tally = TargetTally::default();
        tally.probe(&Observation { kept: true, ..seen(Outcome::TimedOut, 2.5) });
        tally.probe(&seen(Outcome::Skipped, 0.0));
        assert_eq!(tally, TargetTally::default());
    }

    #[test]
    fn a_bucket_holds_what_is_no_longer_than_its_bound() {
        let mut durations = Durations::default();
        [0.0005, 0.0006, 2.5004, 99.0].into_iter().for_each(|seconds| durations.add(seconds));
        let cumulative: Vec<u64> = durations.cumulative().map(|(_, count)| count).collect();
        assert_eq!(cumulative, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3]);
        assert_eq!((durations.count, durations.sum), (4, 0.0005 + 0.0006 + 2.5004 + 99.0));
    }
}
