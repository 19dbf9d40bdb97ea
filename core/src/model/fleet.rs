//! The fleet: all nodes with what is known of them, schema `guardprobe.fleet/v1`.
use super::cluster::GuardName;
use super::config::Kind;
use super::finding::{Reason, Verdict};
use super::incident::Incident;
use super::names;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// The numbers of the fleet's rules; a reporter may be told others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// A report is stale after so long, or three of its intervals if that is longer.
    pub stale: Duration,
    /// For how long a missing report is excused: a new node, one that is not ready, one that is going.
    pub grace: Duration,
    /// Inconclusive for that long is worth an Event.
    pub unproven: Duration,
    /// Two agents on one node for that long, or agents that differ, are no rollout any more.
    pub settled: Duration,
    /// Very many nodes are more than this many …
    pub many_nodes: usize,
    /// … and more than this share of all nodes, in percent.
    pub many_percent: usize,
    /// How many Events about single nodes may be written at once …
    pub event_burst: u32,
    /// … and how many a second after that.
    pub events_per_second: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            stale: names::STALE,
            grace: names::GRACE,
            unproven: names::UNPROVEN,
            settled: names::SETTLED,
            many_nodes: names::MANY_NODES,
            many_percent: names::MANY_PERCENT,
            event_burst: names::EVENT_BURST,
            events_per_second: names::EVENTS_PER_SECOND,
        }
    }
}

/// Whether a node is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coverage {
    /// A fresh report speaks for it.
    Covered,
    /// It is not known how it is.
    Uncovered(Gap),
    /// A missing report is excused for a while.
    Grace(Excuse),
    /// No agent can or should be there.
    Excluded(Exclusion),
}

/// Why a node is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// There is no agent pod.
    NoPod,
    /// The agent pod is not ready.
    NotReady,
    /// The agent does not answer.
    NoConnection,
    /// What the agent says is too old.
    Stale,
    /// What the agent says is not understood.
    RefusedSchema,
}

impl Gap {
    /// All of them.
    pub const ALL: [Gap; 5] = [Gap::NoPod, Gap::NotReady, Gap::NoConnection, Gap::Stale, Gap::RefusedSchema];

    /// The word for it in JSON and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Gap::NoPod => "no_pod",
            Gap::NotReady => "not_ready",
            Gap::NoConnection => "no_connection",
            Gap::Stale => "stale",
            Gap::RefusedSchema => "refused_schema",
        }
    }
}

/// Why a missing report is excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Excuse {
    /// The node is new.
    NewNode,
    /// The node is not ready.
    NodeNotReady,
    /// The node is being deleted.
    NodeDeleting,
    /// The reporter has just started.
    ReporterStarting,
}

impl Excuse {
    /// All of them.
    pub const ALL: [Excuse; 4] = [Excuse::NewNode, Excuse::NodeNotReady, Excuse::NodeDeleting, Excuse::ReporterStarting];

    /// The word for it in JSON and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Excuse::NewNode => "new_node",
            Excuse::NodeNotReady => "node_not_ready",
            Excuse::NodeDeleting => "node_deleting",
            Excuse::ReporterStarting => "reporter_starting",
        }
    }
}

/// Why no agent is expected on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exclusion {
    /// AWS Fargate has no DaemonSets.
    Fargate,
    /// The agent runs on Linux.
    Windows,
    /// The DaemonSet does not select it.
    NotSelected,
}

impl Exclusion {
    /// All of them.
    pub const ALL: [Exclusion; 3] = [Exclusion::Fargate, Exclusion::Windows, Exclusion::NotSelected];

    /// The word for it in JSON and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Exclusion::Fargate => "fargate",
            Exclusion::Windows => "windows",
            Exclusion::NotSelected => "not_selected",
        }
    }
}

/// The states of coverage, as metrics count them.
pub const STATES: [&str; 4] = ["covered", "uncovered", "grace", "excluded"];

impl Coverage {
    /// The word for the state in JSON and labels.
    pub fn state(self) -> &'static str {
        match self {
            Coverage::Covered => STATES[0],
            Coverage::Uncovered(_) => STATES[1],
            Coverage::Grace(_) => STATES[2],
            Coverage::Excluded(_) => STATES[3],
        }
    }

    /// The word for its reason.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Coverage::Covered => None,
            Coverage::Uncovered(gap) => Some(gap.as_str()),
            Coverage::Grace(excuse) => Some(excuse.as_str()),
            Coverage::Excluded(exclusion) => Some(exclusion.as_str()),
        }
    }
}

/// One guard on one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The guard.
    pub guard: GuardName,
    /// The node's name.
    pub node: String,
    /// Its UID.
    pub node_uid: String,
    /// Whether it is known.
    pub coverage: Coverage,
    /// Since when this reporter has known nothing of it, while it is uncovered; by the reporter's clock.
    pub uncovered_since: Option<Timestamp>,
    /// What went wrong with the last attempt to ask, in words, when something did.
    pub trouble: Option<String>,
    /// The pod whose report counts, namespace and name and UID.
    pub pod: Option<PodRef>,
    /// Seconds since the round of that report ended, as far as it is known.
    pub age_seconds: Option<f64>,
    /// How long that round took, by the agent's clock.
    pub round_seconds: Option<f64>,
    /// Boot and round of that report.
    pub report: Option<(String, u64)>,
    /// The targets.
    pub targets: Vec<TargetRow>,
}

/// A pod by name and UID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// One target of one guard on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetRow {
    /// Its name.
    pub name: String,
    /// Its kind, where an agent told it.
    pub kind: Option<Kind>,
    /// Breached while an incident is open, else what the newest report says, with what the witness of that node adds; null when
    /// nothing fresh is known.
    pub verdict: Option<Verdict>,
    /// The reason of that.
    pub reason: Option<Reason>,
    /// Since when the agent says so, by its clock.
    pub since: Option<Timestamp>,
    /// How old the proof is on which `blocked` stands, in seconds, when the newest round alone proved less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_proof_seconds: Option<f64>,
    /// The incident that is open.
    pub incident: Option<Incident>,
    /// The last incident, where it ended within the last ten minutes or so, that end proved nothing, and nothing is proved since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_reachable: Option<Incident>,
    /// Addresses of the API that this agent should have tried by now, and has not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_addresses: Vec<SocketAddr>,
}

/// Something about the set-up that makes the verdicts worth less than they seem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// A Service sends traffic to agents.
    ServiceSelectsAgent,
    /// A token is mounted in an agent.
    TokenMounted,
    /// An agent is on its node's network, where no policy selects it.
    HostNetwork,
    /// Two agents of one guard are on one node, for long.
    TwoAgents,
    /// An agent lacks labels of its guard.
    GuardLabelsMissing,
    /// Agents differ in version, for long.
    MixedVersions,
    /// Agents differ in configuration, for long.
    MixedConfigurations,
    /// A pod has the labels of an agent, but our DaemonSet does not own it. It is not asked.
    NotOurs,
    /// There is no DaemonSet for a guard that this reporter looks after.
    NoDaemonSet,
}

impl Warning {
    /// All of them.
    pub const ALL: [Warning; 9] = [
        Warning::ServiceSelectsAgent,
        Warning::TokenMounted,
        Warning::HostNetwork,
        Warning::TwoAgents,
        Warning::GuardLabelsMissing,
        Warning::MixedVersions,
        Warning::MixedConfigurations,
        Warning::NotOurs,
        Warning::NoDaemonSet,
    ];

    /// The word for it in JSON and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Warning::ServiceSelectsAgent => "service_selects_agent",
            Warning::TokenMounted => "token_mounted",
            Warning::HostNetwork => "host_network",
            Warning::TwoAgents => "two_agents",
            Warning::GuardLabelsMissing => "guard_labels_missing",
            Warning::MixedVersions => "mixed_versions",
            Warning::MixedConfigurations => "mixed_configurations",
            Warning::NotOurs => "not_ours",
            Warning::NoDaemonSet => "no_daemon_set",
        }
    }
}

/// One warning about one guard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Warned {
    /// The guard.
    pub guard: GuardName,
    /// What it is.
    pub warning: Warning,
    /// How many pods, Services or nodes it is about.
    pub count: usize,
    /// Some of them by name, at most three.
    pub examples: Vec<String>,
}

/// Everything that is known now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fleet {
    /// Each guard on each node, in the order of their names.
    pub rows: Vec<Row>,
    /// What is wrong with the set-up.
    pub warnings: Vec<Warned>,
}
