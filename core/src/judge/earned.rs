//! How long each verdict stood.
use crate::model::finding::Verdict;
use std::time::Duration;

/// Time in each verdict, such that all of it together is the time since the process began.
///
/// A round vouches for its verdict no longer than an interval and a timeout: what is beyond, because no round came, earns
/// inconclusive. All times are those of the monotonic clock since process start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Earned {
    settled: [Duration; Verdict::ALL.len()],
    verdict: Verdict,
    since: Duration,
    vouched_until: Duration,
}

impl Earned {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Earned {
            settled: [Duration::ZERO; 3],
            verdict: Verdict::Inconclusive,
            since: Duration::ZERO,
            vouched_until: Duration::ZERO,
        }
    }

    /// From `at` on this verdict stands, vouched for until then.
    pub(super) fn turn(&mut self, at: Duration, verdict: Verdict, vouched_until: Duration) {
        self.settled = self.at(at);
        (self.verdict, self.since, self.vouched_until) = (verdict, self.since.max(at), vouched_until);
    }

    /// What each verdict has earned until `at`, in the order of [`Verdict::ALL`].
    pub(super) fn at(&self, at: Duration) -> [Duration; 3] {
        let at = at.max(self.since);
        let vouched = self.vouched_until.clamp(self.since, at);
        let mut earned = self.settled;
        earned[index(self.verdict)] += vouched - self.since;
        earned[index(Verdict::Inconclusive)] += at - vouched;
        earned
    }
}

fn index(verdict: Verdict) -> usize {
    Verdict::ALL.iter().position(|known| *known == verdict).unwrap_or_default()
}
