//! The Kubernetes API. Each function of this room is one kind of call; [`RULES`] lists them with the permission that each needs, and the
//! manifests under `deploy/` grant just that (a test compares the two, and another runs with nothing else).
//!
//! | module | what it does |
//! | --- | --- |
//! | [`watch`] | lists and watches: nodes, pods, DaemonSets, Services, EndpointSlices, our own Events |
//! | [`write`](mod@write) | Events, the endpoints ConfigMap, the Lease |
//! | [`forward`] | the way to a reporter for somebody with a kubeconfig: what `verify` does, with its user's permissions and not the reporter's |
//! | `kubeconfig`, `credentials`, `proxy` | how a user gets in: files, tokens and plugins, the proxy on the way |
//! | `words` | an object of the API, turned into what is kept of it |
mod credentials;
pub mod forward;
mod kubeconfig;
mod proxy;
pub mod watch;
mod words;
pub mod write;

use guardprobe_core::model::names;
use jiff::Timestamp;
use kube::{Client, Config};
use std::time::Duration;
use tokio::time::timeout;

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
pub const RULES: [Rule; 9] = [
    rule(Scope::Cluster, "", "nodes", None, READ, "which nodes there are, and which are excused"),
    rule(Scope::Default, "discovery.k8s.io", "endpointslices", None, READ, "where the API is"),
    rule(Scope::Default, "events.k8s.io", "events", None, &["create", "get", "list", "patch", "watch"], "Events about nodes"),
    rule(Scope::Guards, "", "pods", None, READ, "which agents there are, and where"),
    rule(Scope::Guards, "apps", "daemonsets", None, READ, "which pods are ours, and which nodes have one"),
    rule(Scope::Guards, "", "services", None, READ, "a Service that sends traffic to agents"),
    rule(Scope::Guards, "events.k8s.io", "events", None, &["create", "get", "list", "patch", "watch"], "Events about many nodes"),
    rule(
        Scope::Guards,
        "",
        "configmaps",
        Some(names::ENDPOINTS_CONFIG_MAP),
        &["patch"],
        "the addresses of the API, for the agents",
    ),
    rule(Scope::Own, "coordination.k8s.io", "leases", Some(names::LEASE), &["get", "patch"], "who writes"),
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
    /// As a kubeconfig says, or as a pod finds it (its service account). Nothing is sent yet.
    ///
    /// # Errors
    /// There is neither, or it cannot be used.
    pub async fn find() -> Result<Self, String> {
        Cluster::with(configuration(None)?)
    }

    fn with(mut config: Config) -> Result<Self, String> {
        config.connect_timeout = Some(names::API_TIMEOUT);
        config.write_timeout = Some(names::API_TIMEOUT);
        // Longer than a watch, so that only a connection without a sign of life ends by it.
        config.read_timeout = Some(names::API_SILENCE);
        config.reset_reader_on_write = true;
        // Whoever calls rests as long as the answer says, and tells meanwhile why: a retry down here would do so in silence.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| format!("{NO_ACCESS}: {}", causes(&error)))?;
        Ok(Cluster { client })
    }
}

const NO_ACCESS: &str = "no access to the Kubernetes API";

/// A client, and until when its credentials are valid, where that is known.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// The client.
    pub cluster: Cluster,
    /// The end of the credentials.
    pub valid_until: Option<Timestamp>,
}

/// How somebody gets in: what a kubeconfig says, read once, so that a later change of its context changes nothing here.
pub struct Access(Config);

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

impl Access {
    /// That of a context of the kubeconfig; without one as [`Cluster::find`]. Takes at most that long.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be used.
    pub async fn find(context: Option<&str>, longest: Duration) -> Result<Self, String> {
        let context = context.map(str::to_owned);
        // A file may be a pipe that nobody writes to.
        let reading = tokio::task::spawn_blocking(move || configuration(context.as_deref()));
        match timeout(longest, reading).await {
            Ok(Ok(read)) => read.map(Access),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("{NO_ACCESS}: the kubeconfig was not read within {} s", longest.as_secs())),
        }
    }

    /// A client with credentials, which are fetched for at most that long.
    ///
    /// # Errors
    /// There are none.
    pub async fn log_in(&self, longest: Duration) -> Result<LoggedIn, String> {
        let mut config = self.0.clone();
        let valid_until = credentials::fetch(&mut config, longest).await.map_err(|why| format!("{NO_ACCESS}: {why}"))?;
        Ok(LoggedIn { cluster: Cluster::with(config)?, valid_until })
    }

    /// True when the credentials are fetched, so that new ones may be let in where old ones are not.
    pub fn fetches_credentials(&self) -> bool {
        self.0.auth_info.exec.is_some() || self.0.auth_info.token_file.is_some()
    }
}

fn configuration(context: Option<&str>) -> Result<Config, String> {
    if let Some(config) = kubeconfig::configuration(context).map_err(|why| format!("{NO_ACCESS}: {why}"))? {
        return Ok(config);
    }
    Config::incluster().map_err(|_| {
        format!(
            "{NO_ACCESS}: there is no kubeconfig with a current context (KUBECONFIG, ~/.kube/config), and this is no pod with a \
             service account: expected one of them; kubectl config use-context NAME chooses a context"
        )
    })
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
    /// The API server could not do it, or something that it asked, such as a webhook (5xx); why.
    Failed(String),
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
            Trouble::Failed(message) => write!(f, "the API server failed: {message}"),
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
            code => Trouble::Failed(format!("{code} {}", status.message)),
        }
    }
}

/// An error with what caused it, the cause first: the outermost alone says next to nothing.
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
    in_words(&text)
}

/// What libraries say, without the layers that they say it through, and with the field's words for the frequent ones.
fn in_words(text: &str) -> String {
    const LAYERS: [&str; 5] =
        ["ServiceError: ", "client error (Connect): ", "client error (SendRequest): ", "HyperError: ", "rustls tls error: "];
    let plain = LAYERS.iter().fold(text.to_owned(), |text, layer| text.replace(layer, ""));
    let says = |part: &str| plain.contains(part);
    if says("received fatal alert") {
        return format!("the server ended the TLS handshake, perhaps since it does not take the client certificate: {plain}");
    }
    if says("UnknownIssuer") || says("BadSignature") {
        return "the server's certificate is not of the CA that the kubeconfig names (certificate-authority), or, where it names \
                none, not of one that this machine trusts"
            .to_owned();
    }
    if says("CaUsedAsEndEntity") {
        return "the server's certificate is a CA's own (CA:TRUE), which the TLS library of this program refuses: give the server a \
                certificate that its CA signed"
            .to_owned();
    }
    if says("UnsupportedCertVersion") {
        return "the server's certificate is not of X.509 version 3, and the TLS library of this program takes no other"
            .to_owned();
    }
    if let Some((_, names)) = plain.split_once("certificate is only valid for ") {
        let names = names.replace("DnsName(\"", "").replace("\")", "").replace("IpAddress(", "").replace(')', "");
        return format!(
            "the server's certificate is not for this name, only for {names}: tls-server-name in the kubeconfig names another"
        );
    }
    if says("not valid for name") || says("NotValidForName") {
        return "the server's certificate is not for this name: tls-server-name in the kubeconfig names another".to_owned();
    }
    if says("Expired") || says("certificate expired") {
        return "the server's certificate has expired".to_owned();
    }
    [
        ("tunnel error: failed to create underlying connection: tcp connect error: ", "no connection to the proxy: "),
        ("tunnel error: ", "the proxy does not pass it on: "),
        ("tcp connect error: ", "no connection: "),
        ("dns error: failed to lookup address information: ", "the server's name has no address: "),
        ("error reading a body from connection: ", "the connection broke (is it TLS there, or plain HTTP?): "),
    ]
    .iter()
    .fold(plain.clone(), |text, (layer, words)| text.replace(layer, words))
}
