//! A notice: what the reporter has to say as a Kubernetes Event.
use super::cluster::GuardName;
use super::finding::Doubt;
use super::fleet::{Gap, PodRef};
use super::incident::Incident;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The reasons of our Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoticeReason {
    /// A door is open.
    EgressBreached,
    /// It is shut again.
    EgressBlocked,
    /// Inconclusive for long.
    EgressUnproven,
    /// A single connection between rounds.
    EgressOpenedBriefly,
    /// Nothing is known of a node.
    ProberUncovered,
}

impl NoticeReason {
    /// All of them.
    pub const ALL: [NoticeReason; 5] = [
        NoticeReason::EgressBreached,
        NoticeReason::EgressBlocked,
        NoticeReason::EgressUnproven,
        NoticeReason::EgressOpenedBriefly,
        NoticeReason::ProberUncovered,
    ];

    /// The word for it in the Event.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeReason::EgressBreached => "EgressBreached",
            NoticeReason::EgressBlocked => "EgressBlocked",
            NoticeReason::EgressUnproven => "EgressUnproven",
            NoticeReason::EgressOpenedBriefly => "EgressOpenedBriefly",
            NoticeReason::ProberUncovered => "ProberUncovered",
        }
    }

    /// What was done, as an Event names it.
    pub fn action(self) -> &'static str {
        match self {
            NoticeReason::ProberUncovered => "Collect",
            _ => "Probe",
        }
    }

    /// Whether it is a Warning; else it is Normal.
    pub fn is_warning(self) -> bool {
        !matches!(self, NoticeReason::EgressBlocked | NoticeReason::EgressOpenedBriefly)
    }
}

/// A line that stands for an Event where there is no API to take it, in the lab: schema `guardprobe.event/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// The schema.
    pub schema: String,
    /// The reason.
    pub reason: NoticeReason,
    /// The name of the node, or of the DaemonSet, that it is about.
    pub regarding: String,
    /// The note.
    pub note: String,
}

/// What an Event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Regarding {
    /// A node. Its Events are in the namespace `default`.
    Node {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// The DaemonSet of a guard, in the guard's namespace.
    DaemonSet {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
}

impl Regarding {
    /// The UID of the object.
    pub fn uid(&self) -> &str {
        match self {
            Regarding::Node { uid, .. } | Regarding::DaemonSet { uid, .. } => uid,
        }
    }
}

/// What is said.
#[derive(Debug, Clone, PartialEq)]
pub enum Saying {
    /// Of one incident, open or over.
    Incident(Box<Incident>),
    /// A target of a node has been inconclusive for long.
    Unproven {
        /// Why.
        doubt: Doubt,
        /// For how long at least.
        lasting: Duration,
    },
    /// A node is uncovered.
    Uncovered {
        /// Why.
        gap: Gap,
        /// What went wrong, in words.
        trouble: Option<String>,
    },
    /// Many nodes changed within a minute.
    Many {
        /// How many nodes.
        nodes: usize,
        /// Of how many of the guard.
        of: usize,
        /// Three of them.
        examples: Vec<String>,
        /// The targets concerned.
        targets: Vec<String>,
        /// How many Events about single nodes follow at once, and how many a second then.
        rate: (u32, f64),
    },
}

/// Something to say, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The name of the Event: the same for the same thing, whoever says it.
    pub name: String,
    /// The reason.
    pub reason: NoticeReason,
    /// The guard.
    pub guard: GuardName,
    /// The target; empty when it is about the node as a whole, or about many.
    pub target: String,
    /// What it is about.
    pub regarding: Regarding,
    /// The agent pod.
    pub related: Option<PodRef>,
    /// What is said.
    pub saying: Saying,
    /// True while it lasts: then the Event is renewed, and written again when it is gone.
    pub lasts: bool,
    /// How long the reporter must have run before it is written.
    pub not_before: Duration,
}

/// What an Event of ours carries beside its note, so that a reporter that has just started knows what was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The guard.
    pub guard: GuardName,
    /// The target, or empty.
    pub target: String,
    /// The incident, as it was when the Event was written.
    pub incident: Option<Incident>,
}
