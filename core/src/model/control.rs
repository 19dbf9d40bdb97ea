//! Attempts to the addresses of must-reach controls, and what they prove.
use super::observation::is_false;
use serde::{Deserialize, Serialize};

/// The transport of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One TCP connection.
    Tcp,
    /// One UDP query and its repetition.
    Udp,
}

/// One attempt to one address of a must-reach control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlAttempt {
    /// Its transport.
    pub protocol: Protocol,
    /// Something answered in the control's own protocol. A control of kind `tcp` is answered by its handshake.
    pub answered: bool,
    /// The answer was the control's own: NOERROR or NXDOMAIN of a name server, the header of a reporter.
    pub own_answer: bool,
    /// The connection stood after the first SYN: no packet of the handshake was lost.
    pub first_syn: bool,
    /// The answer came from this very node.
    pub on_node: bool,
    /// The connection stayed in this pod: its segments are larger than any interface but `lo` can carry.
    pub over_loopback: bool,
}

/// How many attempts were made, and how many were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCount {
    /// Attempts.
    pub made: u8,
    /// Those that were answered within the budget.
    pub answered: u8,
}

impl AnswerCount {
    /// Those that were not answered.
    pub fn lost(self) -> u8 {
        self.made.saturating_sub(self.answered)
    }
}

/// What the attempts to one address of a must-reach control proved in one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAttempts {
    /// TCP connections.
    pub tcp: AnswerCount,
    /// UDP queries.
    pub udp: AnswerCount,
    /// True when silence beside this control is a proof.
    #[serde(default, skip_serializing_if = "is_false")]
    pub firm: bool,
    /// Why it is not; absent when it is firm or gave no answer at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
}

/// Why a control that answers is not firm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    /// It answers over UDP, and not over TCP.
    UdpOnly,
    /// Its answer is not the one that it should give: REFUSED or SERVFAIL, or an HTTP answer of something else.
    OtherAnswer,
    /// A packet was lost: a SYN had to be repeated, or an attempt was not answered.
    PacketsLost,
    /// It answers on this very node, so nothing left the node.
    OnNode,
}

impl Shortfall {
    /// What it means, as the end of a sentence about a control.
    pub fn words(self) -> &'static str {
        match self {
            Shortfall::UdpOnly => "answers over UDP only, while targets are tried over TCP",
            Shortfall::OtherAnswer => "answers, but not as it should",
            Shortfall::PacketsLost => "answers, but packets to it are lost",
            Shortfall::OnNode => "answers on this node, so nothing proves the way beyond",
        }
    }
}
