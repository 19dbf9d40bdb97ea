//! What a connection is doing, since when, and until when it may.
#![expect(clippy::disallowed_methods, reason = "clients are timed here, at the edge")]
use super::limits::Limits;
use guardprobe_core::model::names;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It has not sent the whole head of a request since it connected, or since its last answer.
    Asking,
    /// Its answer is in the making.
    Waiting,
    /// It has an answer to read.
    Reading,
}

/// A stretch of a connection's life.
#[derive(Debug, Clone, Copy)]
struct Phase {
    doing: Doing,
    since: Instant,
    until: Instant,
    left: bool,
}

/// The progress of one connection: its stream and its exchanges note it, its deadline and the admission of others look at it.
#[derive(Debug)]
pub(super) struct Progress {
    phase: watch::Sender<Phase>,
    limits: Limits,
    connected: Instant,
    /// How many requests it has made.
    requests: AtomicU32,
}

impl Progress {
    /// A connection begins.
    pub(super) fn begin(limits: Limits) -> Self {
        let now = Instant::now();
        let phase = Phase { doing: Doing::Asking, since: now, until: now + limits.head, left: false };
        Progress { phase: watch::Sender::new(phase), limits, connected: now, requests: AtomicU32::new(0) }
    }

    /// What it is doing now, and for how long.
    pub(super) fn doing(&self) -> (Doing, Duration) {
        let Phase { doing, since, .. } = *self.phase.borrow();
        (doing, since.elapsed())
    }

    /// Whether it has yet to ask for something.
    pub(super) fn is_asking(&self) -> bool {
        self.phase.borrow().doing == Doing::Asking
    }

    /// Whether it has lived long enough, or has asked for enough, to end with its next answer.
    pub(super) fn is_old(&self) -> bool {
        self.connected.elapsed() >= self.limits.age || self.requests.load(Ordering::Relaxed) >= names::CONNECTION_REQUESTS_MAX
    }

    /// Whether it asks for more than its share.
    pub(super) fn is_greedy(&self) -> bool {
        let share = names::REQUESTS_AT_ONCE + names::REQUESTS_PER_SECOND * self.connected.elapsed().as_secs_f64();
        f64::from(self.requests.load(Ordering::Relaxed)) > share
    }

    /// Bytes came in. The first ones of a head set its deadline: later ones cannot move it.
    pub(super) fn heard(&self) {
        let until = Instant::now() + self.limits.head;
        self.phase.send_if_modified(|phase| {
            let sooner = phase.doing == Doing::Asking && until < phase.until;
            phase.until = if sooner { until } else { phase.until };
            sooner
        });
    }

    /// The head of a request is complete.
    pub(super) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.enter(Doing::Waiting);
    }

    /// Its answer is made.
    pub(super) fn answered(&self) {
        self.enter(Doing::Reading);
    }

    /// All that there was to send is in the kernel's hands.
    pub(super) fn flushed(&self) {
        let reading = self.phase.borrow().doing == Doing::Reading; // the guard must not outlive this line
        if reading {
            self.enter(Doing::Asking);
        }
    }

    /// The client has closed its side.
    pub(super) fn leave(&self) {
        self.phase.send_if_modified(|phase| !std::mem::replace(&mut phase.left, true));
    }

    /// Completes when the client has closed its side.
    pub(super) async fn left(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is ours, so this cannot fail.
        let _ = phase.wait_for(|phase| phase.left).await;
    }

    /// Completes when the connection has been at one thing for too long.
    pub(super) async fn overdue(&self) {
        let mut phase = self.phase.subscribe();
        loop {
            let until = phase.borrow_and_update().until;
            if timeout_at(until, phase.changed()).await.is_err() {
                return;
            }
        }
    }

    fn enter(&self, doing: Doing) {
        let since = Instant::now();
        let allowed = match doing {
            Doing::Asking => self.limits.idle,
            Doing::Waiting => self.limits.answer,
            Doing::Reading => self.limits.send,
        };
        self.phase.send_modify(|phase| *phase = Phase { doing, since, until: since + allowed, left: phase.left });
    }
}
