//! From a report to what is kept of it.
use super::finding;
use crate::model::finding::Attribution;
use crate::model::heard::{Heading, Heard, HeardTarget, Tried, Witnessed};
use crate::model::observation::Observation;
use crate::model::report::{Report, TargetReport, WitnessReport};
use std::collections::BTreeSet;
use std::net::SocketAddr;
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
        not_reached: seen.not_reached,
    }
}

/// What is kept of a witness's report. A connection of an earlier round is older than the round that it would speak for.
pub fn witness(heading: Heading, report: &WitnessReport) -> Witnessed {
    Witnessed { heading, reached: reached(report) }
}

fn reached(report: &WitnessReport) -> BTreeSet<SocketAddr> {
    let observations = report.targets.iter().flat_map(|target| &target.observations);
    observations.filter(|seen| seen.reached && !seen.seen.kept).map(|seen| seen.seen.address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::report::tests::head;
    use crate::model::config::Kind;
    use crate::model::observation::{Outcome, Source};
    use crate::model::report::{WitnessObservation, WitnessTarget};

    fn seen(outcome: Outcome) -> Observation {
        let attribution = Some(Attribution::Silence);
        Observation { attribution, ..Observation::new("10.0.0.5:443".parse().unwrap(), Source::Literal, outcome) }
    }

    #[test]
    fn an_address_that_is_not_shut_proves_nothing_whatever_the_report_says() {
        let by_itself = Observation { sender: Some("10.0.0.5".parse().unwrap()), ..seen(Outcome::Rejected) };
        for (observation, alone, refused) in [
            (seen(Outcome::TimedOut), Some(Attribution::Silence), false),
            (seen(Outcome::Connected), None, false),
            (seen(Outcome::LocalError), None, false),
            (seen(Outcome::Refused), None, true),
            (by_itself, None, true),
        ] {
            let kept = tried(&observation);
            assert_eq!((kept.alone, kept.refused), (alone, refused), "{observation:?}");
        }
        let claims = Observation { attribution: Some(Attribution::Witnessed), ..seen(Outcome::TimedOut) };
        assert_eq!(tried(&claims).alone, Some(Attribution::Rejected), "no agent knows what a witness reached");
    }

    #[test]
    fn endpoints_speak_only_for_an_address_that_is_shut() {
        let with = |outcome| tried(&Observation { endpoints_tried: true, ..seen(outcome) }).endpoints_tried;
        assert_eq!((with(Outcome::TimedOut), with(Outcome::Connected)), (true, false));
        assert!(!tried(&seen(Outcome::TimedOut)).endpoints_tried);
    }

    #[test]
    fn a_witness_counts_for_what_it_reached_in_its_newest_round() {
        let of = |reached, kept| {
            let observation = WitnessObservation { seen: Observation { kept, ..seen(Outcome::Connected) }, reached };
            let target = WitnessTarget { name: "t".into(), kind: Kind::Tcp, unresolved: vec![], observations: vec![observation] };
            super::reached(&WitnessReport { head: head(), targets: vec![target], controls: vec![] }).len()
        };
        assert_eq!([of(true, false), of(true, true), of(false, false), of(false, true)], [1, 0, 0, 0]);
    }
}
