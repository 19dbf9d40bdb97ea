//! How often something may be done: a bucket that time fills.
use std::time::Duration;

/// What is left of an allowance, and since when that stands. Full at first, whatever full is.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    left: f64,
    at: Duration,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { left: f64::INFINITY, at: Duration::ZERO }
    }
}

impl Bucket {
    /// Adds what has come since, `a_second`, up to `most`. Gives what is left.
    pub fn fill(&mut self, most: f64, a_second: f64, now: Duration) -> f64 {
        let since = now.saturating_sub(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + since * a_second).min(most), now);
        self.left
    }

    /// Takes one, if there is one.
    pub fn take(&mut self) -> bool {
        let may = self.left >= 1.0;
        self.left -= f64::from(u8::from(may));
        may
    }

    /// Gives back one that was taken.
    pub fn give_back(&mut self) {
        self.left += 1.0;
    }

    /// Takes a price that has to be paid, and gives what is left: less than nothing when it was more than there was.
    pub fn pay(&mut self, price: f64) -> f64 {
        self.left -= price;
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_full_at_first_and_fills_with_time_and_no_further() {
        let at = Duration::from_secs;
        let mut bucket = Bucket::default();
        assert_eq!(bucket.fill(2.0, 0.5, at(100)), 2.0);
        assert_eq!([bucket.take(), bucket.take(), bucket.take()], [true, true, false]);
        assert_eq!((bucket.fill(2.0, 0.5, at(101)), bucket.take()), (0.5, false));
        assert_eq!((bucket.fill(2.0, 0.5, at(102)), bucket.take()), (1.0, true));
        assert_eq!(bucket.pay(3.0), -3.0);
        assert_eq!((bucket.fill(2.0, 0.5, at(104)), bucket.fill(2.0, 0.5, at(1000))), (-2.0, 2.0));
    }
}
