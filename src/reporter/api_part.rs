//! The parts of the Kubernetes API that a reporter uses: what is pending, and what fails, is named by them.
use guardprobe_core::model::names;
use std::fmt;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ApiPart {
    /// All nodes.
    Nodes,
    /// The pods of a namespace.
    Pods(String),
    /// The DaemonSets of a namespace.
    DaemonSets(String),
    /// The Services of a namespace.
    Services(String),
    /// Our Events of a namespace.
    Events(String),
    /// Where the API is.
    EndpointSlices,
    /// Who writes.
    Lease,
    /// New Events, and those that go on.
    WritingEvents,
    /// The content of the endpoints file.
    EndpointsFile,
    /// The ConfigMap with that file, in a namespace.
    EndpointsConfigMap(String),
}

impl ApiPart {
    /// Our Events about nodes: incidents are rebuilt from them.
    pub(super) fn node_events() -> Self {
        ApiPart::Events(names::NODE_EVENTS_NAMESPACE.to_owned())
    }

    /// True for what decides which pods are asked, and from when on.
    pub(super) fn decides_whom_to_ask(&self) -> bool {
        matches!(self, ApiPart::Pods(_) | ApiPart::DaemonSets(_) | ApiPart::Events(_))
    }

    /// True for what must be known before any agent is asked: what was told of incidents, and for how long nobody told of them.
    pub(super) fn is_before_asking(&self) -> bool {
        *self == ApiPart::node_events() || *self == ApiPart::Lease
    }
}

impl fmt::Display for ApiPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiPart::Nodes => f.write_str("nodes"),
            ApiPart::Pods(namespace) => write!(f, "pods in {namespace}"),
            ApiPart::DaemonSets(namespace) => write!(f, "daemonsets in {namespace}"),
            ApiPart::Services(namespace) => write!(f, "services in {namespace}"),
            ApiPart::Events(namespace) => write!(f, "events in {namespace}"),
            ApiPart::EndpointSlices => f.write_str("endpointslices of the API"),
            ApiPart::Lease => f.write_str("the lease"),
            ApiPart::WritingEvents => f.write_str("writing events"),
            ApiPart::EndpointsFile => f.write_str("the endpoints file"),
            ApiPart::EndpointsConfigMap(namespace) => write!(f, "the endpoints ConfigMap in {namespace}"),
        }
    }
}
