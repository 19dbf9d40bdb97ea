//! Reads what a reporter tells of its fleet (`guardprobe.fleet/v1`), as `verify` takes it. A word that is not known makes that one thing uncovered or
//! inconclusive, and never lets it pass; fields of a newer version are passed over.
use super::problem::{json_words, quote};
use crate::model::finding::Verdict;
use crate::model::names;
use crate::model::verified::{Open, Spot, ToldCoverage, ToldPage, ToldRow, ToldTarget};
use jiff::Timestamp;
use serde::Deserialize;
use std::time::Duration;

#[derive(Deserialize)]
struct Page {
    schema: String,
    reporter: String,
    #[serde(default)]
    pending: Vec<String>,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    guard: String,
    node: String,
    coverage: String,
    reason: Option<String>,
    trouble: Option<String>,
    pod: Option<String>,
    boot: Option<String>,
    round: Option<u64>,
    age_seconds: Option<f64>,
    round_seconds: Option<f64>,
    uncovered_since: Option<Timestamp>,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    verdict: Option<String>,
    reason: Option<String>,
    since: Option<Timestamp>,
    held_proof_seconds: Option<f64>,
    incident: Option<Incident>,
    #[serde(default)]
    missing_addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Incident {
    started: Timestamp,
    layer: String,
    evidence: String,
    #[serde(default)]
    doors: Vec<Door>,
}

#[derive(Deserialize)]
struct Door {
    address: String,
}

/// Reads one page.
///
/// # Errors
/// One line: what is wrong with it, and what was expected.
pub fn page(bytes: &[u8]) -> Result<ToldPage, String> {
    let expected = names::FLEET_SCHEMA;
    let page: Page = serde_json::from_slice(bytes).map_err(|error| {
        format!("what answers tells no fleet: {}: expected {expected}; is it a reporter's fleet port (9799)?", json_words(&error))
    })?;
    if page.schema != expected {
        return Err(format!(
            "the schema is {}: expected {expected}; reporter and verify must be of one version",
            quote(&page.schema)
        ));
    }
    let rows = page.rows.into_iter().map(row).collect();
    Ok(ToldPage { reporter: page.reporter, pending: page.pending, rows, next: page.next })
}

fn row(row: Row) -> ToldRow {
    let coverage = match row.coverage.as_str() {
        "covered" => ToldCoverage::Covered,
        "grace" => ToldCoverage::Grace,
        "excluded" => ToldCoverage::Excluded,
        _ => ToldCoverage::Uncovered,
    };
    let length = |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    ToldRow {
        spot: Spot { guard: row.guard, node: row.node },
        coverage,
        reason: row.reason,
        trouble: row.trouble,
        pod: row.pod,
        report: row.boot.zip(row.round),
        age: length(row.age_seconds),
        took: length(row.round_seconds),
        uncovered_since: row.uncovered_since,
        targets: row.targets.into_iter().map(target).collect(),
    }
}

fn target(target: Target) -> ToldTarget {
    let known = target.verdict.as_deref().and_then(|word| Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word));
    let open = target.incident.map(|incident| Open {
        started: incident.started,
        layer: incident.layer,
        evidence: incident.evidence,
        addresses: incident.doors.into_iter().map(|door| door.address).collect(),
    });
    ToldTarget {
        held: target.held_proof_seconds.is_some(),
        name: target.name,
        verdict: if open.is_some() { Verdict::Breached } else { known.unwrap_or(Verdict::Inconclusive) },
        reason: target.reason.unwrap_or_else(|| "unknown".to_owned()),
        since: target.since,
        open,
        missing_addresses: target.missing_addresses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rows: &str) -> String {
        format!(
            r#"{{"schema":"guardprobe.fleet/v1","time":"2026-03-01T12:00:00Z","reporter":"r","leader":true,"pending":[],"guards":[],"warnings":[],"rows":[{rows}],"next":null}}"#
        )
    }

    #[test]
    fn a_row_is_read_as_it_is_told() {
        let text = told(
            r#"{"guard":"d/g","node":"n1","coverage":"covered","reason":null,"pod":"d/a","boot":"b","round":7,"age_seconds":3.5,"round_seconds":2.5,
                "targets":[{"name":"imds","kind":"imds","verdict":"breached","reason":"answered","since":"2026-03-01T12:00:00Z",
                "incident":{"id":"b.1","guard":"d/g","node":"n1","node_uid":"u","target":"imds","started":"2026-03-01T11:59:00Z","last_connected":"2026-03-01T12:00:00Z",
                "layer":"http","evidence":"answered","doors":[{"address":"169.254.169.254:80","source":"literal"}],"openings":1,"reopened":0,"end":null}}]}"#,
        );
        let page = page(text.as_bytes()).unwrap();
        let row = &page.rows[0];
        assert_eq!((row.coverage, row.report.clone()), (ToldCoverage::Covered, Some(("b".to_owned(), 7))));
        assert_eq!((row.age, row.took), (Some(Duration::from_millis(3500)), Some(Duration::from_millis(2500))));
        assert_eq!(row.targets[0].open.as_ref().unwrap().addresses, ["169.254.169.254:80"]);
    }

    #[test]
    fn a_word_that_is_not_known_never_passes() {
        let text = told(
            r#"{"guard":"d/g","node":"n1","coverage":"sunny","reason":null,"age_seconds":-1.0,"targets":[{"name":"a","verdict":"fine"},{"name":"b","verdict":null}]}"#,
        );
        let row = page(text.as_bytes()).unwrap().rows.remove(0);
        assert_eq!((row.coverage, row.age), (ToldCoverage::Uncovered, None));
        assert!(row.targets.iter().all(|target| target.verdict == Verdict::Inconclusive && target.reason == "unknown"));
    }

    #[test]
    fn what_is_no_fleet_is_told_what_was_expected() {
        for (text, expected) in [
            ("<html>", "is it a reporter's fleet port (9799)?"),
            (&told("").replace("fleet/v1", "fleet/v9"), "the schema is \"guardprobe.fleet/v9\": expected guardprobe.fleet/v1"),
        ] {
            let wrong = page(text.as_bytes()).unwrap_err();
            assert!(wrong.contains(expected), "{wrong}");
        }
    }
}
