//! The configuration of an agent or a check, as it is after reading: every default filled in.
//!
//! The JSON Schema of the file is generated from these types ([`json_schema`]); [`crate::parse::config`] reads the file.
use super::address::HostPort;
use super::finding::Attribution;
use super::names;
use schemars::{JsonSchema, Schema, transform::RecursiveTransform};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// What a target is: it says which addresses are built in, and what is asked once a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The EC2 instance metadata service, 169.254.169.254:80 and [fd00:ec2::254]:80.
    Imds,
    /// The Kubernetes API: its ClusterIP, its name, and each endpoint of the endpoints file.
    KubeApi,
    /// Any TCP port.
    Tcp,
    /// A TLS server.
    Tls,
    /// An HTTP server, behind TLS when `serverName` or `caFile` is given.
    Http,
    /// The EKS Pod Identity agent, 169.254.170.23:80 and [fd00:ec2::23]:80.
    EksPodIdentity,
    /// The Azure instance metadata service, 169.254.169.254:80.
    AzureImds,
    /// The Azure WireServer, 168.63.129.16:80.
    AzureWireserver,
    /// The GCP metadata server, 169.254.169.254:80.
    GcpMetadata,
    /// The Oracle Cloud instance metadata service, 169.254.169.254:80.
    Oci,
    /// The kubelet of this node, port 10250 at `GUARDPROBE_NODE_IP`.
    Kubelet,
}

impl Kind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Kind; 11] = [
        Kind::Imds,
        Kind::KubeApi,
        Kind::Tcp,
        Kind::Tls,
        Kind::Http,
        Kind::EksPodIdentity,
        Kind::AzureImds,
        Kind::AzureWireserver,
        Kind::GcpMetadata,
        Kind::Oci,
        Kind::Kubelet,
    ];

    /// The word for it in configuration and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Imds => "imds",
            Kind::KubeApi => "kube-api",
            Kind::Tcp => "tcp",
            Kind::Tls => "tls",
            Kind::Http => "http",
            Kind::EksPodIdentity => "eks-pod-identity",
            Kind::AzureImds => "azure-imds",
            Kind::AzureWireserver => "azure-wireserver",
            Kind::GcpMetadata => "gcp-metadata",
            Kind::Oci => "oci",
            Kind::Kubelet => "kubelet",
        }
    }

    /// The addresses that the kind knows by itself (sources: research on metadata services of AWS, Azure, GCP and OCI).
    /// `kube-api` and `kubelet` have theirs from the environment of the pod; `tcp`, `tls` and `http` have none.
    pub fn built_in(self) -> &'static [&'static str] {
        match self {
            Kind::Imds => &["169.254.169.254:80", "[fd00:ec2::254]:80"],
            Kind::EksPodIdentity => &["169.254.170.23:80", "[fd00:ec2::23]:80"],
            Kind::AzureImds | Kind::GcpMetadata | Kind::Oci => &["169.254.169.254:80"],
            Kind::AzureWireserver => &["168.63.129.16:80"],
            Kind::KubeApi | Kind::Tcp | Kind::Tls | Kind::Http | Kind::Kubelet => &[],
        }
    }

    /// True when the user must say where it is.
    pub fn needs_addresses(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Tls | Kind::Http)
    }
}

/// How a control is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ControlKind {
    /// Held and firm when it connects.
    Tcp,
    /// Held when it gives any well-formed DNS answer over TCP or UDP; firm by NOERROR and NXDOMAIN over TCP.
    Dns,
    /// Held when it answers over HTTP; firm by the header that names the node of a reporter.
    Reporter,
}

impl ControlKind {
    /// All of them, in the order of the documentation.
    pub const ALL: [ControlKind; 3] = [ControlKind::Tcp, ControlKind::Dns, ControlKind::Reporter];

    /// The word for it in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            ControlKind::Tcp => "tcp",
            ControlKind::Dns => "dns",
            ControlKind::Reporter => "reporter",
        }
    }
}

/// What a control must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Proves that the pod's network works, for its own family.
    MustReach,
    /// Proves that nothing answers in a target's place.
    MustNotConnect,
}

impl Expect {
    /// The word for it in configuration, reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Expect::MustReach => "must-reach",
            Expect::MustNotConnect => "must-not-connect",
        }
    }
}

/// A guardprobe configuration. Durations are a number and a unit: 15s, 2500ms, 1m30s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "guardprobe configuration", deny_unknown_fields)]
pub struct Config {
    /// The guard that this configuration proves, namespace/name; without a slash it takes the pod's namespace.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    )]
    pub guard: String,
    /// One round.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "Option<String>", extend("default" = write_duration(names::INTERVAL)))]
    pub interval: Duration,
    /// Connect budget of one probe in a round: at least 1.1s (two SYNs), at most the interval.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "Option<String>", extend("default" = write_duration(names::TIMEOUT)))]
    pub timeout: Duration,
    /// Lone connects between rounds: a period of at least 100ms, or off.
    #[serde(serialize_with = "optional_duration")]
    #[schemars(with = "Option<String>", extend("default" = write_duration(names::SENTINEL)))]
    pub sentinel: Option<Duration>,
    /// The window after process start in which the guard may still be on its way.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "Option<String>", extend("default" = write_duration(names::STARTUP)))]
    pub startup: Duration,
    /// The least attribution accepted as blocked.
    #[schemars(default = "defaults::proof")]
    pub proof: Attribution,
    /// What guarded pods must not reach.
    #[schemars(length(min = 1, max = 32))]
    pub targets: Vec<Target>,
    /// Checks with the opposite job. Without a must-reach control the pod's own resolver is one.
    #[schemars(default, length(max = 32))]
    pub controls: Vec<Control>,
}

/// Something that guarded pods must not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Target {
    /// Its name in reports, metrics and Events: a DNS label.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// host:port of each address; on kinds with built-in addresses they replace those.
    #[schemars(with = "Option<Vec<String>>", length(min = 1, max = 64))]
    pub addresses: Vec<HostPort>,
    /// kube-api only: the endpoints file that the reporter keeps.
    #[schemars(length(min = 1))]
    pub endpoints_file: Option<PathBuf>,
    /// kube-api, tls, http: PEM file of the CA that the target's certificate must be of.
    #[schemars(length(min = 1))]
    pub ca_file: Option<PathBuf>,
    /// tls, http: the name that the certificate must carry, and the SNI that is sent.
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// http only: the path that is asked for.
    #[schemars(regex(pattern = r"^/[!-~]*$"), length(max = 1024))]
    pub path: Option<String>,
    /// kube-api only: host:port of the cluster's public endpoint, tried as well.
    #[schemars(with = "Option<String>")]
    pub public_endpoint: Option<HostPort>,
    /// kube-api only: PEM file of the CA of the public endpoint, where that is not the cluster's.
    #[schemars(length(min = 1))]
    pub public_endpoint_ca_file: Option<PathBuf>,
    /// The least attribution of this target that is accepted as blocked; by default that of the whole configuration.
    pub proof: Option<Attribution>,
}

impl Target {
    /// A target with nothing but what its kind knows.
    pub fn of(name: &str, kind: Kind) -> Self {
        Target {
            name: name.to_owned(),
            kind,
            addresses: Vec::new(),
            endpoints_file: None,
            ca_file: None,
            server_name: None,
            path: None,
            public_endpoint: None,
            public_endpoint_ca_file: None,
            proof: None,
        }
    }
}

/// A check with the opposite job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Control {
    /// Its name in reports and metrics: a DNS label.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// What it must do.
    pub expect: Expect,
    /// How it is asked; tcp by default, and always for must-not-connect.
    #[schemars(default = "defaults::control_kind")]
    pub kind: ControlKind,
    /// host:port of each address. For must-not-connect optional: by default made for every port and family in use.
    #[schemars(with = "Option<Vec<String>>", length(min = 1, max = 64))]
    pub addresses: Vec<HostPort>,
    /// Its answer is known to come from this very node, so that it says little about the way out.
    #[schemars(default)]
    pub on_node: bool,
}

/// The JSON Schema (2020-12) of the configuration file.
pub fn json_schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// A key may be left out, but not be there with nothing: `Option` is no nullable type in the file.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(kinds)) = schema.get_mut("anyOf") {
        kinds.retain(|kind| kind["type"] != "null");
    }
    let Some(Value::Array(types)) = schema.get_mut("type") else { return };
    types.retain(|word| word != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        schema.insert("type".to_owned(), only);
    }
}

/// A duration as the configuration writes it: `15s`, `2500ms`.
pub fn write_duration(value: Duration) -> String {
    if value.subsec_nanos() == 0 { format!("{}s", value.as_secs()) } else { format!("{}ms", value.as_millis()) }
}

fn duration<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&write_duration(*value))
}

fn optional_duration<S: serde::Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value.map_or_else(|| "off".to_owned(), write_duration))
}

/// What a key is when the file does not say.
mod defaults {
    use super::*;

    pub(super) fn proof() -> Attribution {
        names::PROOF
    }
    pub(super) fn control_kind() -> ControlKind {
        ControlKind::Tcp
    }
}
