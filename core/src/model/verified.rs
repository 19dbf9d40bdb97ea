//! What `verify` takes of a fleet that a reporter tells, and what it says of it.
use super::finding::Verdict;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// One guard on one node, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Spot {
    /// The guard, namespace/name.
    pub guard: String,
    /// The node.
    pub node: String,
}

/// A page of the fleet, as a reporter tells it (`guardprobe.fleet/v1`).
#[derive(Debug, Clone, PartialEq)]
pub struct ToldPage {
    /// The reporter.
    pub reporter: String,
    /// What it does not know yet.
    pub pending: Vec<String>,
    /// The rows.
    pub rows: Vec<ToldRow>,
    /// What to ask for to see more.
    pub next: Option<String>,
}

/// What a reporter tells of one guard on one node.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldRow {
    /// Where.
    pub spot: Spot,
    /// Whether it is known.
    pub coverage: ToldCoverage,
    /// The reason of that, where there is one.
    pub reason: Option<String>,
    /// What went wrong with the last attempt to ask, in words.
    pub trouble: Option<String>,
    /// The pod that spoke.
    pub pod: Option<String>,
    /// The process that spoke, and the number of what it said.
    pub report: Option<(String, u64)>,
    /// How long ago the newest round ended.
    pub age: Option<Duration>,
    /// How long it took.
    pub took: Option<Duration>,
    /// Since when nothing is known.
    pub uncovered_since: Option<Timestamp>,
    /// The targets.
    pub targets: Vec<ToldTarget>,
}

/// Coverage, as told. A word that is not known is uncovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToldCoverage {
    /// A fresh report is there.
    Covered,
    /// None is.
    Uncovered,
    /// None is, and that is excused.
    Grace,
    /// None can be.
    Excluded,
}

/// What is told of one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToldTarget {
    /// Its name.
    pub name: String,
    /// The verdict. A word that is not known, or none, is inconclusive.
    pub verdict: Verdict,
    /// The reason.
    pub reason: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// True when `blocked` stands on the proof of an earlier round, which answers no question of now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The breach that is open: as far as that layer, at these addresses.
    pub open: Option<Open>,
    /// Addresses of the API that were not tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_addresses: Vec<String>,
}

/// A breach that is open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Open {
    /// Since when, by the node's clock.
    pub started: Timestamp,
    /// How far it got.
    pub layer: String,
    /// What showed that.
    pub evidence: String,
    /// Which addresses connected.
    pub addresses: Vec<String>,
}

/// Whether a place has answered what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// With a round that began after the question.
    Fresh,
    /// Not yet.
    Late,
    /// It is there no more.
    Gone,
    /// It was not there when the question was asked, or was excused then: it is not judged.
    New,
}

/// One place, and what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Where.
    pub spot: Spot,
    /// Whether it has answered.
    pub answered: Answered,
    /// What was told of it last.
    pub row: ToldRow,
}
