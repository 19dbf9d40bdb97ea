//! The line that an agent writes when something changes, schema `guardprobe.transition/v1`.
use super::finding::{Reason, Verdict};
use super::report::{ClosedOpening, Opening};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A breach began.
    Opened,
    /// A breach is over.
    Closed,
    /// A single connection between rounds that no round confirmed.
    Transient,
    /// It connected while the startup window was open, or after this process was asked to end: on record, but no breach.
    Exposed,
    /// Another verdict or reason, or more of a breach that goes on.
    Changed,
}

impl Event {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Opened => "opened",
            Event::Closed => "closed",
            Event::Transient => "transient",
            Event::Exposed => "exposed",
            Event::Changed => "changed",
        }
    }
}

/// A change of one target's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// When, by the wall clock.
    pub time: Timestamp,
    /// The target.
    pub target: String,
    /// What happened.
    pub event: Event,
    /// The state after history, from now on.
    pub verdict: Verdict,
    /// The reason of the newest finding.
    pub reason: Reason,
    /// The state before.
    pub previous_verdict: Verdict,
    /// The reason before.
    pub previous_reason: Reason,
    /// What the newest finding rests on, in words.
    pub why: String,
    /// The breach that is open, or that was until now.
    pub opening: Option<Told>,
    /// As in the report.
    pub startup_exposure_seconds: f64,
    /// As in the report, but always there.
    pub end_exposure_seconds: f64,
}

/// A breach that is open, or one that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// Over.
    Closed(ClosedOpening),
    /// Open.
    Open(Opening),
}

/// A transition with whose it is, as it stands on a line of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Always [`super::names::TRANSITION_SCHEMA`].
    pub schema: String,
    /// The guard, `namespace/name`.
    pub guard: String,
    /// The node, as far as the pod was told.
    pub node: Option<String>,
    /// The pod, as far as it was told.
    pub pod: Option<String>,
    /// Random id of this process.
    pub boot: String,
    /// Number of the report that carries the new state.
    pub round: u64,
    /// The change.
    #[serde(flatten)]
    pub transition: Transition,
}
