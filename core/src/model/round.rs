//! What one round brought home, before anybody judges it.
use super::config::{ControlKind, Expect, Kind};
use super::finding::Attribution;
use super::observation::Observation;

/// One pass over all targets and controls.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// The targets, in the order of the configuration.
    pub targets: Vec<TargetRound>,
    /// The controls: configured ones, then those made by default.
    pub controls: Vec<ControlRound>,
    /// Revision of the endpoints file that was read, if one was.
    pub endpoints_revision: Option<String>,
}

/// One target in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetRound {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The least attribution that is accepted as blocked, where the target sets its own.
    pub proof: Option<Attribution>,
    /// The configuration names the addresses, in place of those that the kind has by itself, and no endpoints file.
    pub addresses_given: bool,
    /// What each probe saw.
    pub observations: Vec<Observation>,
    /// Names in use that were not looked up in full, each with the reason.
    pub unresolved: Vec<String>,
    /// Why the endpoints file gave nothing, if one is configured and it did not.
    pub stale: Option<String>,
}

/// One control in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlRound {
    /// Its name in the configuration, or that of the default.
    pub name: String,
    /// What it must do.
    pub expect: Expect,
    /// How it was asked.
    pub kind: ControlKind,
    /// What each probe saw.
    pub observations: Vec<Observation>,
    /// Names in use that were not looked up in full, each with the reason.
    pub unresolved: Vec<String>,
}
