//! From a report to what is kept of it.
use super::finding;
use crate::model::finding::Attribution;
use crate::model::heard::{Heading, Heard, HeardTarget, Tried, Witnessed};
use crate::model::observation::Observation;
use crate::model::report::{Report, TargetReport, WitnessReport};
use std::time::Duration;

/// What is kept of an agent's report.
pub fn agent(heading: Heading, report: Report) -> Heard {
    Heard { heading, targets: report.targets.into_iter().map(target).collect() }
}

fn target(told: TargetReport) -> HeardTarget {
    HeardTarget {
        addresses: told.observations.iter().filter(|seen| seen.tried()).map(tried).collect(),
        skipped: told.observations.iter().filter(|seen| !seen.tried()).map(|seen| seen.address).collect(),
        addresses_given: told.addresses_given,
        name: told.name,
        kind: told.kind,
        verdict: told.verdict,
        reason: told.reason,
        since: told.since,
        opening: told.opening,
        recent: told.recent,
        startup_exposure: Duration::try_from_secs_f64(told.startup_exposure_seconds).unwrap_or_default(),
        proof: told.proof,
        held_proof: told.held_proof,
    }
}

/// No agent can know what a witness reached.
fn tried(seen: &Observation) -> Tried {
    let shut = seen.outcome.is_shut();
    let refused = finding::is_refused(seen);
    Tried {
        address: seen.address,
        source: seen.source,
        alone: seen.attribution.filter(|_| shut && !refused).map(|attribution| attribution.min(Attribution::Rejected)),
        refused,
        endpoints_tried: seen.endpoints_tried && shut,
    }
}

/// What is kept of a witness's report. A connection of an earlier round is older than the round that it would speak for.
pub fn witness(heading: Heading, report: &WitnessReport) -> Witnessed {
    let observations = report.targets.iter().flat_map(|target| &target.observations);
    Witnessed {
        heading,
        reached: observations.filter(|seen| seen.reached && !seen.seen.kept).map(|seen| seen.seen.address).collect(),
    }
}
