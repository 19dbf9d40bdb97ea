//! What the reporter knows of the cluster: of each object only what is used, so that thousands of them stay small.
use super::report::Role;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Labels, or a selector of labels that must all be there.
pub type Labels = BTreeMap<String, String>;

/// The name of a guard: a namespace, and a name in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GuardName {
    /// The namespace that the guard is in, and its agents.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for GuardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for GuardName {
    type Err = String;

    /// # Errors
    /// There is no slash in it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = text.split_once('/').ok_or_else(|| format!("{text:?} is no guard: expected namespace/name"))?;
        Ok(GuardName { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl From<GuardName> for String {
    fn from(guard: GuardName) -> Self {
        guard.to_string()
    }
}

impl TryFrom<String> for GuardName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its UID: another node of the same name is another node.
    pub uid: String,
    /// When it was created, by the API server's clock.
    pub created: Timestamp,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its labels.
    pub labels: Labels,
    /// Its taints that keep pods away.
    pub taints: Vec<Taint>,
}

/// What keeps pods from a node that do not tolerate it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value, empty when there is none.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What makes a pod tolerate taints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// The key; `None`: every key.
    pub key: Option<String>,
    /// The value that it must have; `None`: any (operator Exists).
    pub value: Option<String>,
    /// The effect; `None`: every effect.
    pub effect: Option<String>,
}

/// One requirement on a node's labels, or on its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The key of the label; `None`: the node's name.
    pub key: Option<String>,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// What the operator compares with.
    pub values: Vec<String>,
}

/// Which nodes a DaemonSet wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Labels that a node must have.
    pub selector: Labels,
    /// The required node affinity: one of these terms must hold, each with all of its requirements. `None`: there is none.
    pub terms: Option<Vec<Vec<Requirement>>>,
    /// What its pods tolerate.
    pub tolerations: Vec<Toleration>,
}

/// A DaemonSet with our labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonSet {
    /// Its UID.
    pub uid: String,
    /// Its name; its namespace is the guard's.
    pub name: String,
    /// Whose agents or witnesses it keeps.
    pub guard: GuardName,
    /// Which of the two.
    pub role: Role,
    /// Which nodes it wants.
    pub placement: Placement,
    /// The interval that its agents are configured for: what an agent claims beyond it is not believed.
    pub interval: Duration,
}

/// A pod with our labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its UID.
    pub uid: String,
    /// Its namespace and name.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whose agent or witness it says it is, by its labels.
    pub guard: GuardName,
    /// Which of the two.
    pub role: Role,
    /// The node that it was bound to.
    pub node: Option<String>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Whether the kubelet says that it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The UID of the DaemonSet that controls it, if one does.
    pub controller: Option<String>,
    /// All of its labels.
    pub labels: Labels,
    /// Whether it is on its node's network, where no policy selects it.
    pub host_network: bool,
    /// Whether a service account's token is mounted in it.
    pub token_mounted: bool,
}

/// A Service of a namespace with a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The labels of its backends; empty: it selects none.
    pub selector: Labels,
}

/// One guard that a reporter looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Its name.
    pub name: GuardName,
    /// The labels that it selects pods by, as far as the reporter was told: an agent without them is not in the guard.
    pub labels: Labels,
}
