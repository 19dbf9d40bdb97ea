//! From a report to what is kept of it.
use super::finding;
use crate::model::config::Expect;
use crate::model::heard::{Heading, Heard, HeardTarget, Tried, Witnessed};
use crate::model::observation::{Observation, Outcome};
use crate::model::report::{ControlReport, Report, TargetReport, WitnessReport};
use crate::model::round::ControlRound;
use std::time::Duration;

/// What is kept of an agent's report.
pub fn agent(heading: Heading, report: Report) -> Heard {
    let controls: Vec<ControlRound> =
        report.controls.into_iter().filter(|control| control.expect == Expect::MustReach).map(control).collect();
    Heard { heading, targets: report.targets.into_iter().map(|told| target(told, &controls)).collect() }
}

fn control(told: ControlReport) -> ControlRound {
    ControlRound {
        name: told.name,
        expect: told.expect,
        kind: told.kind,
        observations: told.observations,
        unresolved: Vec::new(),
    }
}

fn target(told: TargetReport, controls: &[ControlRound]) -> HeardTarget {
    let tried = |seen: &Observation| Tried {
        address: seen.address,
        source: seen.source,
        alone: finding::alone(seen, controls),
        refused: seen.outcome == Outcome::Refused,
        service: seen.service,
    };
    HeardTarget {
        addresses: told.observations.iter().filter(|seen| seen.tried()).map(tried).collect(),
        skipped: told.observations.iter().filter(|seen| !seen.tried()).map(|seen| seen.address).collect(),
        name: told.name,
        kind: told.kind,
        verdict: told.verdict,
        reason: told.reason,
        since: told.since,
        opening: told.opening,
        recent: told.recent,
        startup_exposure: Duration::try_from_secs_f64(told.startup_exposure_seconds).unwrap_or_default(),
    }
}

/// What is kept of a witness's report.
pub fn witness(heading: Heading, report: &WitnessReport) -> Witnessed {
    let observations = report.targets.iter().flat_map(|target| &target.observations);
    Witnessed { heading, reached: observations.filter(|seen| seen.reached).map(|seen| seen.seen.address).collect() }
}
