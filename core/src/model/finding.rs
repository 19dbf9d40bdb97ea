//! What a round says about a target: verdict, reason, and the rule that gave it.
use super::observation::Evidence;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Blocked, breached, or not known. The order is from good to bad: the verdict of many is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Each address was tried and held.
    Blocked,
    /// Nothing is proved either way.
    Inconclusive,
    /// A door is open.
    Breached,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 3] = [Verdict::Blocked, Verdict::Inconclusive, Verdict::Breached];

    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Blocked => "blocked",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Breached => "breached",
        }
    }
}

/// How well a `blocked` is proved, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Attribution {
    /// Nothing proves it.
    Weak,
    /// A time-out, or host or net unreachable from a third party, while a must-reach control of that family was firm and none failed.
    Silence,
    /// An ICMP prohibition from a third party: neither this pod nor the address that was tried.
    Rejected,
    /// The witness on this node reached the same address. Only the reporter can know.
    Witnessed,
}

impl Attribution {
    /// All of them, weakest first.
    pub const ALL: [Attribution; 4] = [Attribution::Weak, Attribution::Silence, Attribution::Rejected, Attribution::Witnessed];

    /// The word for it in reports, flags and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Attribution::Weak => "weak",
            Attribution::Silence => "silence",
            Attribution::Rejected => "rejected",
            Attribution::Witnessed => "witnessed",
        }
    }
}

impl std::str::FromStr for Attribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Attribution::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not a level of proof: expected weak, silence, rejected or witnessed"))
    }
}

/// Why nothing is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// A TLS handshake completed with somebody else's certificate.
    WrongIdentity,
    /// Something answers in the target's place.
    Intercepted,
    /// The prober could not even try.
    LocalError,
    /// This container's own kernel rules said no.
    DeniedLocally,
    /// No must-reach control could be tried.
    NoControl,
    /// Must-reach controls failed: the pod's network may be dead.
    ControlFailed,
    /// A name in use was not looked up in full.
    ResolveFailed,
    /// The endpoints file is missing, unreadable or too old.
    StaleAddresses,
    /// Nothing was left to try.
    NoAddresses,
    /// A reset came back, as it does from a closed port.
    Refused,
    /// Blocked, but with less proof than was asked for.
    Unproved,
    /// The window after process start is still open.
    Starting,
    /// It connects, but only since this process was asked to end: its rules may be gone before it is.
    Ending,
    /// An agent has not tried an address of the API for minutes that the reporter knows of. Only the reporter can know.
    MissingAddresses,
}

impl Doubt {
    /// All of them.
    pub const ALL: [Doubt; 14] = [
        Doubt::WrongIdentity,
        Doubt::Intercepted,
        Doubt::LocalError,
        Doubt::DeniedLocally,
        Doubt::NoControl,
        Doubt::ControlFailed,
        Doubt::ResolveFailed,
        Doubt::StaleAddresses,
        Doubt::NoAddresses,
        Doubt::Refused,
        Doubt::Unproved,
        Doubt::Starting,
        Doubt::Ending,
        Doubt::MissingAddresses,
    ];

    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Doubt::WrongIdentity => "wrong_identity",
            Doubt::Intercepted => "intercepted",
            Doubt::LocalError => "local_error",
            Doubt::DeniedLocally => "denied_locally",
            Doubt::NoControl => "no_control",
            Doubt::ControlFailed => "control_failed",
            Doubt::ResolveFailed => "resolve_failed",
            Doubt::StaleAddresses => "stale_addresses",
            Doubt::NoAddresses => "no_addresses",
            Doubt::Refused => "refused",
            Doubt::Unproved => "unproved",
            Doubt::Starting => "starting",
            Doubt::Ending => "ending",
            Doubt::MissingAddresses => "missing_addresses",
        }
    }
}

/// A verdict with its reason, in one value so that no impossible pair exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finding {
    /// Each address held, proved this well.
    Blocked(Attribution),
    /// A door is open, with this evidence.
    Breached(Evidence),
    /// Nothing is proved, because of this.
    Inconclusive(Doubt),
}

impl Finding {
    /// The verdict without its reason.
    pub fn verdict(self) -> Verdict {
        match self {
            Finding::Blocked(_) => Verdict::Blocked,
            Finding::Breached(_) => Verdict::Breached,
            Finding::Inconclusive(_) => Verdict::Inconclusive,
        }
    }

    /// The reason, as the report carries it.
    pub fn reason(self) -> Reason {
        match self {
            Finding::Blocked(attribution) => Reason::Proof(attribution),
            Finding::Breached(evidence) => Reason::Evidence(evidence),
            Finding::Inconclusive(doubt) => Reason::Doubt(doubt),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict().as_str(), self.reason().as_str())
    }
}

/// The reason of a finding, one word on the wire: no word is used twice among the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reason {
    /// Of `blocked`: how well it is proved.
    Proof(Attribution),
    /// Of `breached`: how far it got.
    Evidence(Evidence),
    /// Of `inconclusive`: why.
    Doubt(Doubt),
}

impl Reason {
    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Proof(attribution) => attribution.as_str(),
            Reason::Evidence(evidence) => evidence.as_str(),
            Reason::Doubt(doubt) => doubt.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_word_is_used_twice() {
        let mut words: Vec<&str> = Attribution::ALL.into_iter().map(Attribution::as_str).collect();
        words.extend(Doubt::ALL.into_iter().map(Doubt::as_str));
        words.extend(Evidence::ALL.into_iter().map(Evidence::as_str));
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn the_word_on_the_wire_is_the_word_in_labels() {
        let wire = |reason: Reason| serde_json::to_value(reason).unwrap();
        for doubt in Doubt::ALL {
            assert_eq!(wire(Reason::Doubt(doubt)), doubt.as_str());
        }
        for attribution in Attribution::ALL {
            assert_eq!(wire(Reason::Proof(attribution)), attribution.as_str());
        }
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
    }

    #[test]
    fn the_worst_verdict_is_the_greatest() {
        assert!(Verdict::Breached > Verdict::Inconclusive && Verdict::Inconclusive > Verdict::Blocked);
    }
}
