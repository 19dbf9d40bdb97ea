//! A point in time, as an edge saw it.
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// What both clocks said at one instant. Order and lengths come from `up`, which no one can set; `wall` is what a person reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// How long this process had run, by the monotonic clock.
    pub up: Duration,
}

impl Moment {
    /// The moment that long after this one, by a wall clock that nobody set in between.
    pub fn after(self, length: Duration) -> Self {
        let length_on_wall = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        Moment { wall: self.wall.saturating_add(length_on_wall).unwrap_or(Timestamp::MAX), up: self.up + length }
    }

    /// What the wall clock would have said at `later`, had nobody set it since this moment: so that a record never ends before it began.
    pub fn wall_at(self, later: Moment) -> Timestamp {
        self.after(later.up.saturating_sub(self.up)).wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_was_set_back_does_not_turn_time_around() {
        let began = Moment { wall: "2026-03-01T12:00:00Z".parse().unwrap(), up: Duration::from_secs(10) };
        let ended = Moment { wall: "2026-03-01T11:00:20Z".parse().unwrap(), up: Duration::from_secs(30) };
        assert_eq!(began.wall_at(ended), "2026-03-01T12:00:20Z".parse().unwrap());
        assert_eq!(ended.wall_at(began), ended.wall);
    }
}
