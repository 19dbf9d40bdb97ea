//! The Kubernetes API. Each function of this room is one kind of call; [`RULES`] lists them with the permission that each needs, and the
//! manifests under `deploy/` grant just that (a test compares the two, and another runs with nothing else).
//!
//! | module | what it does |
//! | --- | --- |
//! | [`watch`] | lists and watches: nodes, pods, DaemonSets, Services, EndpointSlices, our own Events |
//! | [`write`](mod@write) | Events, the endpoints ConfigMap, the Lease |
//! | [`forward`] | the way to a reporter for somebody with a kubeconfig: what `verify` does, with its user's permissions and not the reporter's |
//! | `words` | an object of the API, turned into what is kept of it |
pub mod forward;
pub mod watch;
mod words;
pub mod write;

use guardprobe_core::model::names;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

/// Where a permission holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In the namespace `default`.
    Default,
    /// In each namespace that holds a guard.
    Guards,
    /// In the reporter's own namespace.
    Own,
}

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Where.
    pub scope: Scope,
    /// The API group, empty for the core.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The one object that it is for; `None`: all.
    pub name: Option<&'static str>,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
}

const READ: &[&str] = &["list", "watch"];

/// Every permission that the reporter has, and what it is for.
pub const RULES: [Rule; 11] = [
    rule(Scope::Cluster, "", "nodes", None, READ, "which nodes there are, and which are excused"),
    rule(Scope::Default, "discovery.k8s.io", "endpointslices", None, READ, "where the API is"),
    rule(Scope::Default, "events.k8s.io", "events", None, &["create", "get", "list", "patch", "watch"], "Events about nodes"),
    rule(Scope::Guards, "", "pods", None, READ, "which agents there are, and where"),
    rule(Scope::Guards, "apps", "daemonsets", None, READ, "which pods are ours, and which nodes have one"),
    rule(Scope::Guards, "", "services", None, READ, "a Service that sends traffic to agents"),
    rule(Scope::Guards, "events.k8s.io", "events", None, &["create", "get", "list", "patch", "watch"], "Events about many nodes"),
    rule(Scope::Guards, "", "configmaps", None, &["create"], "the addresses of the API, for the agents: the first time"),
    rule(
        Scope::Guards,
        "",
        "configmaps",
        Some(names::ENDPOINTS_CONFIG_MAP),
        &["patch"],
        "the addresses of the API, for the agents",
    ),
    rule(Scope::Own, "coordination.k8s.io", "leases", None, &["create"], "who writes: the first time"),
    rule(Scope::Own, "coordination.k8s.io", "leases", Some(names::LEASE), &["get", "update"], "who writes"),
];

const fn rule(
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    name: Option<&'static str>,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule { scope, group, resource, name, verbs, why }
}

/// A client of the API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

impl Cluster {
    /// As a pod finds it (its service account), or as a kubeconfig says. Nothing is sent yet.
    ///
    /// # Errors
    /// There is neither, or it cannot be used.
    pub async fn find() -> Result<Self, String> {
        let config = Config::infer().await.map_err(|error| {
            format!("no access to the Kubernetes API: {error}: expected a service account's token in this pod, or KUBECONFIG")
        })?;
        Cluster::with(config)
    }

    /// As that context of the kubeconfig says; without one, as [`Cluster::find`].
    ///
    /// # Errors
    /// There is none of that name, or it cannot be used.
    pub async fn of_context(context: Option<&str>) -> Result<Self, String> {
        let Some(context) = context else { return Cluster::find().await };
        let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
        let config = Config::from_kubeconfig(&options).await.map_err(|error| {
            format!(
                "no access to the Kubernetes API: {error}: expected a context {context:?} in KUBECONFIG, or in ~/.kube/config"
            )
        })?;
        Cluster::with(config)
    }

    fn with(mut config: Config) -> Result<Self, String> {
        config.connect_timeout = Some(names::API_TIMEOUT);
        config.write_timeout = Some(names::API_TIMEOUT);
        // Longer than a watch, so that only a connection without a sign of life ends by it.
        config.read_timeout = Some(names::API_SILENCE);
        config.reset_reader_on_write = true;
        // Whoever calls rests as long as the answer says, and tells meanwhile why: a retry down here would do so in silence.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| format!("no access to the Kubernetes API: {error}"))?;
        Ok(Cluster { client })
    }
}

/// What went wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// We may not do that; what it needs.
    Forbidden(String),
    /// The API server does not know who asks: credentials that are expired, or of an account that is gone.
    Unauthenticated(String),
    /// It is not there.
    Missing,
    /// It is there already, or has changed meanwhile.
    Conflict,
    /// The API server will never take it; why.
    Invalid(String),
    /// Too many requests: not before so many seconds.
    Busy(u32),
    /// No answer, or none in time, or one that is no answer.
    Unreachable(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Forbidden(message) => write!(f, "forbidden: {message}"),
            Trouble::Unauthenticated(message) => write!(f, "not known to the API server: {message}"),
            Trouble::Missing => f.write_str("not found"),
            Trouble::Conflict => f.write_str("conflict"),
            Trouble::Invalid(message) => write!(f, "refused: {message}"),
            Trouble::Busy(seconds) => write!(f, "the API server is busy: again in {seconds} s"),
            Trouble::Unreachable(message) => write!(f, "no answer: {message}"),
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => status.into(),
            other => Trouble::Unreachable(causes(&other)),
        }
    }
}

impl From<Box<kube::core::Status>> for Trouble {
    fn from(status: Box<kube::core::Status>) -> Self {
        match status.code {
            401 => Trouble::Unauthenticated(status.message.clone()),
            403 => Trouble::Forbidden(status.message.clone()),
            404 => Trouble::Missing,
            409 => Trouble::Conflict,
            429 => Trouble::Busy(status.details.as_ref().map_or(1, |details| details.retry_after_seconds.max(1))),
            400 | 405 | 413 | 415 | 422 => Trouble::Invalid(status.message.clone()),
            code => Trouble::Unreachable(format!("{code} {}", status.message)),
        }
    }
}

/// An error with what caused it: the outermost alone says next to nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
