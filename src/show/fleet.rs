//! The fleet as JSON, schema `guardprobe.fleet/v1`: a summary of each guard, and the rows, page by page.
use super::json::json;
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::fleet::{Fleet, Row, TargetRow, Warned};
use guardprobe_core::model::names;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which rows are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Only of this guard.
    pub guard: Option<GuardName>,
    /// Only those after this guard and node, in the order of their names.
    pub after: Option<(GuardName, String)>,
    /// How many at most.
    pub limit: usize,
}

#[derive(Serialize)]
struct Whole<'a> {
    schema: &'static str,
    time: Timestamp,
    reporter: &'a str,
    leader: bool,
    /// What is still pending before all of this is known.
    pending: Vec<String>,
    guards: Vec<Summary<'a>>,
    warnings: &'a [Warned],
    rows: Vec<Shown<'a>>,
    /// What to ask for to see more: `?after=…`.
    next: Option<String>,
}

#[derive(Serialize)]
struct Summary<'a> {
    guard: &'a GuardName,
    nodes: BTreeMap<&'static str, usize>,
    targets: BTreeMap<&'a str, BTreeMap<&'static str, usize>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    guard: &'a GuardName,
    node: &'a str,
    coverage: &'static str,
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncovered_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a str>,
    pod: Option<String>,
    boot: Option<&'a str>,
    round: Option<u64>,
    age_seconds: Option<f64>,
    round_seconds: Option<f64>,
    targets: &'a [TargetRow],
}

/// Whose view of the fleet it is.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// When.
    pub time: Timestamp,
    /// Which reporter.
    pub reporter: &'a str,
    /// Whether it writes Events.
    pub leader: bool,
    /// What is still pending.
    pub pending: Vec<String>,
    /// How long ago the fleet was looked at: all of it is so much older.
    pub looked: Duration,
}

/// A page of the fleet.
pub fn page(fleet: &Fleet, view: View<'_>, page: &Page) -> String {
    let mut rows: Vec<&Row> =
        fleet.rows.iter().filter(|row| page.guard.as_ref().is_none_or(|guard| row.guard == *guard)).collect();
    rows.sort_by_key(|row| (&row.guard, &row.node));
    if let Some((guard, node)) = &page.after {
        rows.retain(|row| (&row.guard, &row.node) > (guard, node));
    }
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|row| format!("{}/{}", row.guard, row.node));
    json(&Whole {
        schema: names::FLEET_SCHEMA,
        time: view.time,
        reporter: view.reporter,
        leader: view.leader,
        pending: view.pending,
        guards: summaries(fleet),
        warnings: &fleet.warnings,
        rows: rows.into_iter().map(|row| shown(row, view.looked)).collect(),
        next,
    })
}

fn summaries(fleet: &Fleet) -> Vec<Summary<'_>> {
    let mut guards: BTreeMap<&GuardName, Summary<'_>> = BTreeMap::new();
    for row in &fleet.rows {
        let summary = guards.entry(&row.guard).or_insert_with(|| Summary {
            guard: &row.guard,
            nodes: BTreeMap::new(),
            targets: BTreeMap::new(),
        });
        *summary.nodes.entry(row.coverage.state()).or_default() += 1;
        for target in &row.targets {
            if let Some(verdict) = target.verdict {
                *summary.targets.entry(&target.name).or_default().entry(verdict.as_str()).or_default() += 1;
            }
        }
    }
    guards.into_values().collect()
}

fn shown(row: &Row, looked: Duration) -> Shown<'_> {
    Shown {
        guard: &row.guard,
        node: &row.node,
        coverage: row.coverage.state(),
        reason: row.coverage.reason(),
        uncovered_since: row.uncovered_since,
        trouble: row.trouble.as_deref(),
        pod: row.pod.as_ref().map(|pod| format!("{}/{}", pod.namespace, pod.name)),
        boot: row.report.as_ref().map(|(boot, _)| boot.as_str()),
        round: row.report.as_ref().map(|(_, round)| *round),
        age_seconds: row.age_seconds.map(|age| age + looked.as_secs_f64()),
        round_seconds: row.round_seconds,
        targets: &row.targets,
    }
}
