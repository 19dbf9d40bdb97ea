//! The one clock of an agent: everything else is told the time.
#![expect(clippy::disallowed_methods, reason = "this is where time comes in")]
use guardprobe_core::model::moment::Moment;
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// Tells moments of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
}

impl Clock {
    /// The process begins now.
    pub(super) fn start() -> Self {
        Clock { began: Instant::now() }
    }

    /// What both clocks say now.
    pub(super) fn now(self) -> Moment {
        Moment { wall: Timestamp::now(), up: self.began.elapsed() }
    }

    /// The instant at which the process will have run that long.
    pub(super) fn at(self, up: Duration) -> tokio::time::Instant {
        (self.began + up).into()
    }
}
