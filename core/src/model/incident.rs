//! An incident: one breach of one guard, node and target, from its first connection to its proven end.
use super::cluster::GuardName;
use super::finding::Attribution;
use super::observation::{Evidence, Layer, Source};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How many addresses of one incident are remembered.
pub const DOORS_MAX: usize = 16;

/// Where an incident is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The guard.
    pub guard: GuardName,
    /// The node's name.
    pub node: String,
    /// The node's UID.
    pub node_uid: String,
    /// The target.
    pub target: String,
}

impl Place {
    /// True for a place of the same guard on the same node.
    pub fn is_beside(&self, other: &Place) -> bool {
        self.node_uid == other.node_uid && self.node == other.node && self.guard == other.guard
    }
}

/// One breach of one guard, node and target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The id of its first opening: whoever hears of it gives it the same.
    pub id: String,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// The first connection, by the node's clock, as all times of an incident.
    pub started: Timestamp,
    /// The newest connection.
    pub last_connected: Timestamp,
    /// The furthest layer reached.
    pub layer: Layer,
    /// The strongest evidence.
    pub evidence: Evidence,
    /// Which addresses connected, in the order of their first connection, at most [`DOORS_MAX`].
    pub doors: Vec<Door>,
    /// How many openings of agents it joins.
    pub openings: u32,
    /// How often it was reopened after it had ended.
    pub reopened: u32,
    /// How it ended; null while it is open.
    pub end: Option<End>,
}

/// An address that connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// The address.
    pub address: SocketAddr,
    /// Where the agent had it from, if that is known.
    pub source: Option<Source>,
}

/// The end of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// What ended it.
    pub how: Ending,
    /// How well it is proved that the target is blocked now, where it is.
    pub attribution: Option<Attribution>,
}

/// What ended an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The guard holds again, and that is proved.
    Blocked,
    /// The target is not reached any more, and that does not prove that the guard blocks it.
    NotReachable,
    /// The node is gone.
    NodeGone,
    /// Nobody probes that target there any more.
    TargetGone,
}

impl Ending {
    /// All of them.
    pub const ALL: [Ending; 4] = [Ending::Blocked, Ending::NotReachable, Ending::NodeGone, Ending::TargetGone];

    /// True for an end that an agent saw; the others are inferred from what the cluster holds.
    pub fn is_by_probing(self) -> bool {
        matches!(self, Ending::Blocked | Ending::NotReachable)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Blocked => "blocked",
            Ending::NotReachable => "not_reachable",
            Ending::NodeGone => "node_gone",
            Ending::TargetGone => "target_gone",
        }
    }
}

impl Incident {
    /// True while it is not over.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }
}

/// What happened to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// An incident began.
    Opened,
    /// More is known of one that is open: another address, a further layer, another boot of the agent.
    Changed,
    /// One that had ended goes on.
    Reopened,
    /// One is over.
    Closed,
    /// A single connection between rounds: on record, but no incident.
    Transient,
    /// Nothing is known of a node any more.
    Uncovered,
    /// A node is covered again.
    Covered,
}

/// A change of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub event: Happening,
    /// What it happened to.
    #[serde(flatten)]
    pub what: Changed,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Changed {
    /// An incident, or a transient opening.
    Incident {
        /// As it is now.
        incident: Incident,
    },
    /// The coverage of a node.
    Coverage {
        /// The guard.
        guard: GuardName,
        /// The node.
        node: String,
        /// Why it is not covered; null when it is.
        reason: Option<String>,
    },
}

/// A change as it stands on a line of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetLine {
    /// Always [`super::names::INCIDENT_SCHEMA`].
    pub schema: String,
    /// When this reporter learnt of it, by its clock.
    pub time: Timestamp,
    /// Which reporter.
    pub reporter: String,
    /// Whether it was the one that writes Events: of several replicas' lines those count.
    pub leader: bool,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}
