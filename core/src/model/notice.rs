//! A notice: what the reporter has to say as a Kubernetes Event.
use super::cluster::GuardName;
use super::finding::Doubt;
use super::fleet::{Gap, PodRef};
use super::incident::Incident;
use super::names;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// The reasons of our Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoticeReason {
    /// A door is open.
    EgressBreached,
    /// The breach is over: the target is blocked again, and that is proved.
    EgressBlocked,
    /// The breach is over, and its end proves nothing: the target is not reached any more, or nobody probes it.
    EgressNotReachable,
    /// Inconclusive for long.
    EgressUnproven,
    /// A single connection between rounds.
    EgressOpenedBriefly,
    /// Nothing is known of a node.
    ProberUncovered,
}

impl NoticeReason {
    /// All of them.
    pub const ALL: [NoticeReason; 6] = [
        NoticeReason::EgressBreached,
        NoticeReason::EgressBlocked,
        NoticeReason::EgressNotReachable,
        NoticeReason::EgressUnproven,
        NoticeReason::EgressOpenedBriefly,
        NoticeReason::ProberUncovered,
    ];

    /// The word for it in the Event.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeReason::EgressBreached => "EgressBreached",
            NoticeReason::EgressBlocked => "EgressBlocked",
            NoticeReason::EgressNotReachable => "EgressNotReachable",
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

    /// True for the Event about transient openings, which are no incident.
    pub fn is_transient(self) -> bool {
        self == NoticeReason::EgressOpenedBriefly
    }

    /// The type of its Event: Warning or Normal.
    pub fn event_type(self) -> &'static str {
        match self {
            NoticeReason::EgressBreached | NoticeReason::EgressUnproven | NoticeReason::ProberUncovered => "Warning",
            NoticeReason::EgressBlocked | NoticeReason::EgressNotReachable | NoticeReason::EgressOpenedBriefly => "Normal",
        }
    }
}

impl FromStr for NoticeReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NoticeReason::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not a reason of our Events"))
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
    /// The ids of the openings of its incident, the newest few.
    pub openings: Vec<String>,
    /// The ids of those that are closed, the newest few.
    pub closed: Vec<String>,
    /// How often it was seen, where that is known; else once more with each renewal.
    pub count: Option<i32>,
    /// True while its Event is kept up to date with what is known, so that a reporter that starts knows it as well.
    pub follows: bool,
}

/// What an Event of ours carries beside its note, so that a reporter that has just started knows what was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The guard.
    pub guard: GuardName,
    /// The target, or empty.
    pub target: String,
    /// The incident, as it was when the Event was written or renewed.
    pub incident: Option<Incident>,
    /// The ids of the openings that it joins, the newest few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub openings: Vec<String>,
    /// The ids of those that are closed, the newest few; of transient openings those of all that this Event stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<String>,
}

/// An Event that the API holds, and that says it is ours: whoever may create Events can say so.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnEvent {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its reason.
    pub reason: NoticeReason,
    /// The UID of the object that it is about.
    pub regarding: String,
    /// How often it was seen, as its series says.
    pub count: i32,
    /// What it is about.
    pub record: Record,
}

/// The subject of an Event. Two Events with one name and two subjects are not the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventSubject {
    /// The namespace of the Event.
    pub namespace: String,
    /// The reason.
    pub reason: NoticeReason,
    /// The UID of the object that it is about.
    pub regarding: String,
    /// The guard.
    pub guard: GuardName,
    /// The target, or empty.
    pub target: String,
    /// The id of the incident, where it is about one.
    pub incident: Option<String>,
}

impl Notice {
    /// The namespace of its Event.
    pub fn namespace(&self) -> &str {
        match &self.regarding {
            Regarding::Node { .. } => names::NODE_EVENTS_NAMESPACE,
            Regarding::DaemonSet { .. } => &self.guard.namespace,
        }
    }

    /// The incident that it is about.
    pub fn incident(&self) -> Option<&Incident> {
        match &self.saying {
            Saying::Incident(incident) => Some(incident),
            Saying::Unproven { .. } | Saying::Uncovered { .. } | Saying::Many { .. } => None,
        }
    }

    /// What its Event carries.
    pub fn record(&self) -> Record {
        Record {
            guard: self.guard.clone(),
            target: self.target.clone(),
            incident: self.incident().cloned(),
            openings: self.openings.clone(),
            closed: self.closed.clone(),
        }
    }

    /// Its subject.
    pub fn subject(&self) -> EventSubject {
        EventSubject {
            namespace: self.namespace().to_owned(),
            reason: self.reason,
            regarding: self.regarding.uid().to_owned(),
            guard: self.guard.clone(),
            target: self.target.clone(),
            incident: self.incident().map(|incident| incident.id.clone()),
        }
    }
}

impl OwnEvent {
    /// Its subject.
    pub fn subject(&self) -> EventSubject {
        EventSubject {
            namespace: self.namespace.clone(),
            reason: self.reason,
            regarding: self.regarding.clone(),
            guard: self.record.guard.clone(),
            target: self.record.target.clone(),
            incident: self.record.incident.as_ref().map(|incident| incident.id.clone()),
        }
    }
}
