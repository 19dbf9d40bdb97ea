//! What one probe saw.
use super::address::Family;
use super::control::ControlAttempts;
use super::finding::Attribution;
use super::names;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// How far a probe got. The order is the order of the climb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// No connection.
    None,
    /// The TCP handshake completed.
    Tcp,
    /// The TLS handshake completed, whoever's the certificate.
    Tls,
    /// An HTTP answer came back.
    Http,
}

impl Layer {
    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Layer::None => "none",
            Layer::Tcp => "tcp",
            Layer::Tls => "tls",
            Layer::Http => "http",
        }
    }
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The handshake completed.
    Connected,
    /// Silence for the whole budget.
    TimedOut,
    /// An ICMP prohibition, port-unreachable or protocol-unreachable came back.
    Rejected,
    /// A reset came back: from the host, or from something that speaks for it.
    Refused,
    /// ICMP host or net unreachable came back.
    Unreachable,
    /// This pod's own kernel refused: an LSM, seccomp, cgroup BPF, its packet filter, or a route that rejects. Its neighbours may be open.
    DeniedLocally,
    /// The prober's own fault: no descriptor, no buffer, no local port left.
    LocalError,
    /// The pod has no usable source address, or no route, in that family.
    Skipped,
}

impl Outcome {
    /// All of them, in the order of the vocabulary.
    pub const ALL: [Outcome; 8] = [
        Outcome::Connected,
        Outcome::TimedOut,
        Outcome::Rejected,
        Outcome::Refused,
        Outcome::Unreachable,
        Outcome::DeniedLocally,
        Outcome::LocalError,
        Outcome::Skipped,
    ];

    /// True for the ends that a policy gives: silence, a rejection, no way there. A reset is none of them: a closed port gives it as well.
    pub fn is_shut(self) -> bool {
        matches!(self, Outcome::TimedOut | Outcome::Rejected | Outcome::Unreachable)
    }

    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Connected => "connected",
            Outcome::TimedOut => "timed_out",
            Outcome::Rejected => "rejected",
            Outcome::Refused => "refused",
            Outcome::Unreachable => "unreachable",
            Outcome::DeniedLocally => "denied_locally",
            Outcome::LocalError => "local_error",
            Outcome::Skipped => "skipped",
        }
    }
}

/// Where an address came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Written in the configuration, or built into the kind.
    Literal,
    /// From the environment that the kubelet gives every pod.
    Env,
    /// From a name that was looked up in this round.
    Dns,
    /// From the endpoints file.
    File,
}

impl Source {
    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Literal => "literal",
            Source::Env => "env",
            Source::Dns => "dns",
            Source::File => "file",
        }
    }
}

/// What was learnt of an open door by going on after the connection, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// It connects; no more was tried or learnt.
    Connected,
    /// It connects, then nothing comes within the budget: a hop limit, an MTU hole or a slow server can look like this.
    NoAnswer,
    /// It connects, then hangs up or resets without an answer.
    Closed,
    /// Something spoke.
    Answered,
    /// The expected certificate, or an answer that only the real target gives.
    Identified,
    /// IMDSv2 gave a token: credentials are one GET away.
    TokenIssued,
}

impl Evidence {
    /// All of them, weakest first.
    pub const ALL: [Evidence; 6] = [
        Evidence::Connected,
        Evidence::NoAnswer,
        Evidence::Closed,
        Evidence::Answered,
        Evidence::Identified,
        Evidence::TokenIssued,
    ];

    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Evidence::Connected => "connected",
            Evidence::NoAnswer => "no_answer",
            Evidence::Closed => "closed",
            Evidence::Answered => "answered",
            Evidence::Identified => "identified",
            Evidence::TokenIssued => "token_issued",
        }
    }
}

/// Who answered, as far as it can be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// The target itself: a certificate of the expected CA, or an answer that only the real metadata service gives.
    Proven,
    /// A TLS handshake completed with a certificate that is not of the cluster's CA.
    Wrong,
}

/// What one probe of one address saw. `latency_seconds` counts from the first packet to the outcome (for a time-out: the budget).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The address that was tried.
    pub address: SocketAddr,
    /// Its family.
    pub family: Family,
    /// Where the address came from.
    pub source: Source,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// How far it got.
    pub layer: Layer,
    /// Seconds until the outcome was known; zero for what was not tried.
    pub latency_seconds: f64,
    /// The outcome in words: errno, ICMP type, code and sender, certificate, HTTP status. Never a body, never a token.
    pub detail: Option<String>,
    /// The sender of the ICMP error that ended the attempt, where one did that tells of a denial or of no way there. Behind a translation of
    /// addresses it is what the pod sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<IpAddr>,
    /// What was learnt after the connection; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Who answered, where that could be proved or disproved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// True for a Service's address: some enforcers judge it before kube-proxy's translation, some after.
    #[serde(default, skip_serializing_if = "is_false")]
    pub service: bool,
    /// True for a Service's address all of whose endpoints were tried in the same round: the endpoints speak for it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub endpoints_tried: bool,
    /// How well it is proved that this address is blocked, before any threshold; absent where it is not, and until a round is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// Random hosts beside an address that connected, tried on the same port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
    /// What the attempts to an address of a must-reach control showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<ControlAttempts>,
    /// True when a control's answer is known to come from this very node, so that it proves little about the way out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_node: bool,
    /// True for what was seen in an earlier round: a global address is tried at most once a minute, and keeps its last observation
    /// between. It counts neither as a probe nor towards the end of a breach.
    #[serde(default, skip_serializing_if = "is_false")]
    pub kept: bool,
    /// The rounds in a row that tried this address and did not reach it; absent where the newest one did, and until a round is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_reached: Option<NotReached>,
}

/// Rounds in a row that tried an address and did not reach it, each by the time at which it began, by the node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReached {
    /// The first round.
    pub first: Timestamp,
    /// The round before the newest one; absent while there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Timestamp>,
    /// The newest round.
    pub newest: Timestamp,
}

/// How many random hosts of a target's own /24 (IPv6: /64) connected on the target's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// How many were tried and gave an answer to the question: attempts that never left the prober do not count.
    pub tried: u8,
    /// How many of them connected.
    pub connected: u8,
}

impl Neighbours {
    /// True when each of them connected: somebody answers for the whole range. Fewer could be neighbours that really listen.
    pub fn all_connect(self) -> bool {
        usize::from(self.connected) == names::NEIGHBOURS
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}

impl Observation {
    /// An attempt that ended before anything was learnt beyond its outcome.
    pub fn new(address: SocketAddr, source: Source, outcome: Outcome) -> Self {
        let layer = if outcome == Outcome::Connected { Layer::Tcp } else { Layer::None };
        Observation {
            address,
            family: Family::of(address.ip()),
            source,
            outcome,
            layer,
            latency_seconds: 0.0,
            detail: None,
            sender: None,
            evidence: None,
            identity: None,
            service: false,
            endpoints_tried: false,
            attribution: None,
            neighbours: None,
            attempts: None,
            on_node: false,
            kept: false,
            not_reached: None,
        }
    }

    /// True when it reached layer `tcp` or further.
    pub fn connected(&self) -> bool {
        self.layer >= Layer::Tcp
    }

    /// True unless it was skipped.
    pub fn tried(&self) -> bool {
        self.outcome != Outcome::Skipped
    }

    /// True when the address itself sent the ICMP error. At a Service's address the translation of addresses makes every error look so.
    pub fn rejected_by_itself(&self) -> bool {
        !self.service && self.sender == Some(self.address.ip().to_canonical())
    }

    /// True when an ICMP error came from a third party: neither this pod nor the address that was tried.
    pub fn rejected_on_the_way(&self) -> bool {
        self.sender.is_some_and(|sender| sender != self.address.ip().to_canonical())
    }
}
