//! The report: an agent's newest round with its verdicts, schema `guardprobe.report/v1`.
use super::config::{ControlKind, Expect, Kind};
use super::finding::{Attribution, Reason, Verdict};
use super::observation::{Evidence, Layer, Observation};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Whether the prober wears the guard's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Wears the guard's labels and judges.
    Agent,
    /// Does not, and says only what it reached.
    Witness,
}

impl Role {
    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Witness => "witness",
        }
    }
}

/// Who speaks, and of when: what every report begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Always [`super::names::REPORT_SCHEMA`].
    pub schema: String,
    /// The guard, `namespace/name`.
    pub guard: String,
    /// Agent or witness.
    pub role: Role,
    /// The node, as far as the pod was told.
    pub node: Option<String>,
    /// The pod, as far as it was told.
    pub pod: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Hash of the configuration in force, to see skew across a fleet.
    pub config_hash: String,
    /// Revision of the endpoints file that this round used.
    pub endpoints_revision: Option<String>,
    /// Random id of this process: with `round` it orders reports without comparing clocks.
    pub boot: String,
    /// Number of this report in its boot, from 1. Each finished round has one, and so has each breach that is published while its round
    /// still goes on: whoever saw a number knows all that was known then.
    pub round: u64,
    /// When the round began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Seconds between its end and the sending of this report.
    pub age_seconds: f64,
    /// Seconds between the beginnings of rounds.
    pub interval_seconds: f64,
    /// Seconds that whoever asked waited for this report, by the prober's own clock; absent where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_seconds: Option<f64>,
}

/// One finished round and the state after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who speaks, and of when.
    #[serde(flatten)]
    pub head: Head,
    /// The worst verdict of the targets.
    pub verdict: Verdict,
    /// The targets, in the order of the configuration.
    pub targets: Vec<TargetReport>,
    /// The controls, in the order of the configuration, the default ones after them.
    pub controls: Vec<ControlReport>,
}

/// What is known of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The state after history.
    pub verdict: Verdict,
    /// What the newest round alone says.
    pub finding: Verdict,
    /// The reason of that finding; while `held_proof` stands, how well that proved it.
    pub reason: Reason,
    /// How well the newest round alone proves that the target is blocked, before any threshold; absent where it does not look blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// The least attribution that is accepted as blocked, where the target sets its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Attribution>,
    /// The proof of an earlier round on which `blocked` stands while the newest round proves less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_proof: Option<HeldProof>,
    /// The number of the rule that decided, as counted in the documentation of `guardprobe_core::judge::finding`.
    pub rule: u8,
    /// That rule and what it rests on, in words.
    pub why: String,
    /// Since when the verdict stands.
    pub since: Timestamp,
    /// The breach that is open, if one is.
    pub opening: Option<Opening>,
    /// The last closed ones, newest first.
    pub recent: Vec<ClosedOpening>,
    /// How long after its start this process could still reach the target while the startup window was open; 0 when it never could.
    pub startup_exposure_seconds: f64,
    /// How long after SIGTERM it could reach the target, when it was not breached before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub end_exposure_seconds: f64,
    /// The configuration names the addresses, in place of those that the kind has by itself, and no endpoints file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub addresses_given: bool,
    /// Names in use that were not looked up in full in this round, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<String>,
    /// What each probe saw.
    pub observations: Vec<Observation>,
}

/// A proof that outlives its round for a while, so that a lost packet does not change the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldProof {
    /// How well that round proved it.
    pub attribution: Attribution,
    /// Seconds since that round began; less than [`super::names::PROOF_HOLDS`] when the newest round ended.
    pub age_seconds: f64,
}

/// A record of one breach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Boot and sequence number.
    pub id: String,
    /// The first connection.
    pub started: Timestamp,
    /// The newest connection.
    pub last_connected: Timestamp,
    /// The furthest layer reached.
    pub layer: Layer,
    /// The strongest evidence.
    pub evidence: Evidence,
    /// Which addresses connected, in the order of their first connection.
    #[serde(default)]
    pub addresses: Vec<SocketAddr>,
}

/// A breach that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClosedOpening {
    /// What it was.
    #[serde(flatten)]
    pub opening: Opening,
    /// When it was over: the start of the first of the two rounds that closed it.
    pub ended: Timestamp,
    /// How well the round that closed it proved the target blocked, before any threshold; absent where it did not look blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// A single connection between rounds that no round confirmed: on record, but not a breach.
    pub transient: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// What a witness reached: facts, never a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WitnessReport {
    /// Who speaks, and of when.
    #[serde(flatten)]
    pub head: Head,
    /// The targets, in the order of the configuration.
    pub targets: Vec<WitnessTarget>,
    /// The controls, in the order of the configuration, the default ones after them.
    pub controls: Vec<ControlReport>,
}

/// What a witness reached of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WitnessTarget {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Names in use that were not looked up in full in this round, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<String>,
    /// What each probe saw.
    pub observations: Vec<WitnessObservation>,
}

/// One probe of a witness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WitnessObservation {
    /// What it saw.
    #[serde(flatten)]
    pub seen: Observation,
    /// Whether it reached the target itself: it connected, and nothing answers in the target's place.
    pub reached: bool,
}

/// What is known of one control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlReport {
    /// Its name in the configuration, or that of the default.
    pub name: String,
    /// What it must do.
    pub expect: Expect,
    /// How it was asked.
    pub kind: ControlKind,
    /// Whether it did; null when it was not tried.
    pub held: Option<bool>,
    /// What each probe saw.
    pub observations: Vec<Observation>,
}
