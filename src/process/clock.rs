//! The one clock of a process: everything else is told the time.
#![expect(clippy::disallowed_methods, reason = "this is where time comes in")]
use guardprobe_core::model::moment::Moment;
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// Tells moments of this process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// The process begins now.
    pub fn start() -> Self {
        Clock { began: Instant::now() }
    }

    /// What both clocks say now.
    pub fn now(self) -> Moment {
        Moment { wall: Timestamp::now(), up: self.began.elapsed() }
    }

    /// The instant at which the process will have run that long.
    pub fn at(self, up: Duration) -> tokio::time::Instant {
        (self.began + up).into()
    }
}
