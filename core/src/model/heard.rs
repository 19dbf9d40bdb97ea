//! What is kept of a report: enough to judge the fleet, and no more.
use super::config::Kind;
use super::finding::{Attribution, Reason, Verdict};
use super::observation::{NotReached, Source};
use super::report::{ClosedOpening, HeldProof, Opening};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Who sent a report, and of when it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Heading {
    /// The random id of the process.
    pub boot: String,
    /// The number of the report in its boot.
    pub round: u64,
    /// The pod that it says it is.
    pub pod: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Hash of its configuration.
    pub config_hash: String,
    /// Revision of the endpoints file that it used.
    pub endpoints_revision: Option<String>,
    /// Time between its rounds.
    pub interval: Duration,
    /// How old its round was when the report was sent; once [`Heading::arrived`] was told, when it was read.
    pub age: Duration,
    /// How long whoever asked for it waited, by the prober's own clock.
    pub waited: Option<Duration>,
    /// When its round began, by the agent's clock.
    pub started: Timestamp,
    /// When its round ended, by the agent's clock.
    pub finished: Timestamp,
}

impl Heading {
    /// Adds to the age what passed between the sending of the report and its reading, at most: `asked` is the time from the question to
    /// the last byte of the answer, by the reader's clock. A reader that did not run for a while reads a report late, and what it read is
    /// older by that.
    pub fn arrived(&mut self, asked: Duration) {
        if let Some(waited) = self.waited {
            self.age = self.age.saturating_add(asked.saturating_sub(waited));
        }
    }

    /// How long its round took. `None` where its clock was set back meanwhile.
    pub fn took(&self) -> Option<Duration> {
        Duration::try_from(self.finished.duration_since(self.started)).ok()
    }
}

/// An agent's report.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Who sent it, and of when it is.
    pub heading: Heading,
    /// What it says of each target.
    pub targets: Vec<HeardTarget>,
}

/// What an agent says of one target.
#[derive(Debug, Clone, PartialEq)]
pub struct HeardTarget {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The state after history.
    pub verdict: Verdict,
    /// The reason of the newest finding.
    pub reason: Reason,
    /// Since when the verdict stands, by the agent's clock.
    pub since: Timestamp,
    /// The breach that is open.
    pub opening: Option<Opening>,
    /// The closed ones, newest first.
    pub recent: Vec<ClosedOpening>,
    /// How long after its start this process could still reach the target.
    pub startup_exposure: Duration,
    /// The least attribution that is accepted as blocked, where the target sets its own.
    pub proof: Option<Attribution>,
    /// The proof of an earlier round on which `blocked` stands, and how old it was when the report was sent.
    pub held_proof: Option<HeldProof>,
    /// The configuration names the addresses, in place of those that the kind has by itself, and no endpoints file.
    pub addresses_given: bool,
    /// The addresses that were tried.
    pub addresses: Vec<Tried>,
    /// The addresses that could not be: the pod has no usable source address in their family.
    pub skipped: Vec<SocketAddr>,
}

/// One address that was tried, and what that proves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// The address.
    pub address: SocketAddr,
    /// Where it came from.
    pub source: Source,
    /// How well it is proved that it is blocked, without a witness; `None`: it is not.
    pub alone: Option<Attribution>,
    /// The answer may be the target's own: a reset, or an ICMP error that the address itself sent.
    pub refused: bool,
    /// A Service's address all of whose endpoints were tried: they speak for it.
    pub endpoints_tried: bool,
    /// The rounds in a row that tried it and did not reach it.
    pub not_reached: Option<NotReached>,
}

/// A witness's report.
#[derive(Debug, Clone, PartialEq)]
pub struct Witnessed {
    /// Who sent it, and of when it is.
    pub heading: Heading,
    /// What it reached.
    pub reached: BTreeSet<SocketAddr>,
}
