//! Prometheus metrics of a reporter: counts of nodes, and a series for a single node only while something is wrong with it. Made anew at
//! each scrape from what is known then.
use super::metrics::{Described, bit, family, pair, set_value, unix};
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::finding::{Attribution, Reason, Verdict};
use guardprobe_core::model::fleet::{Coverage, Exclusion, Excuse, Fleet, Row, STATES, TargetRow, Warning};
use guardprobe_core::model::incident::{Ending, Place};
use guardprobe_core::model::names;
use guardprobe_core::model::notice::NoticeReason;
use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const TARGET: &[&str] = &["guard", "target"];

const fn of(kind: MetricType, name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, kind, labels, role: None, help }
}

const GAUGE: MetricType = MetricType::GAUGE;
const COUNTER: MetricType = MetricType::COUNTER;

/// Every metric of a reporter, in the order of the text.
pub const FLEET_METRICS: [Described; 32] = [
    of(GAUGE, "guardprobe_fleet_nodes", &["guard", "state"], "Nodes by coverage: covered, uncovered, grace or excluded."),
    of(GAUGE, "guardprobe_fleet_grace_nodes", &["guard", "reason"], "Nodes in grace by what excuses them."),
    of(
        GAUGE,
        "guardprobe_fleet_excluded_nodes",
        &["guard", "reason"],
        "Nodes where no agent can or should be, by what excludes them.",
    ),
    of(
        GAUGE,
        "guardprobe_fleet_verdict_nodes",
        &["guard", "target", "verdict"],
        "Nodes by verdict, as far as they are covered or breached.",
    ),
    of(
        GAUGE,
        "guardprobe_fleet_attribution_nodes",
        &["guard", "target", "attribution"],
        "Blocked nodes by how well that is proved.",
    ),
    of(GAUGE, "guardprobe_fleet_breached", &["guard", "node", "target"], "1 while an incident is open; else no series."),
    of(
        GAUGE,
        "guardprobe_fleet_breach_start_time_seconds",
        &["guard", "node", "target"],
        "When the incident that is open began, in seconds since 1970 by the node's clock; else no series.",
    ),
    of(
        GAUGE,
        "guardprobe_fleet_breach_end_time_seconds",
        &["guard", "node", "target"],
        "When an incident that ended in the last two minutes did, in seconds since 1970 by the node's clock; else no series.",
    ),
    of(GAUGE, "guardprobe_fleet_uncovered", &["guard", "node", "reason"], "1 while nothing is known of a node; else no series."),
    of(
        GAUGE,
        "guardprobe_fleet_uncovered_since_time_seconds",
        &["guard", "node"],
        "Since when this reporter has known nothing of a node, in seconds since 1970; else no series.",
    ),
    of(
        GAUGE,
        "guardprobe_fleet_inconclusive",
        &["guard", "node", "target", "reason"],
        "1 while nothing is proved of a target on a node, with what the witness adds and the reporter asks for; else no series.",
    ),
    of(
        GAUGE,
        "guardprobe_fleet_inconclusive_nodes",
        &["guard", "target", "reason"],
        "Nodes that prove nothing, by reason; no series where there are none.",
    ),
    of(GAUGE, "guardprobe_fleet_report_age_seconds", &["guard"], "Age of the oldest round that still counts; 0 where none does."),
    of(
        GAUGE,
        "guardprobe_fleet_warnings",
        &["guard", "warning"],
        "Pods, Services or nodes about which the set-up is to be looked at.",
    ),
    of(COUNTER, "guardprobe_incidents_total", TARGET, "Incidents that this process saw begin."),
    of(
        COUNTER,
        "guardprobe_incidents_ended_total",
        &["guard", "target", "how"],
        "Incidents that this process saw end, by how: blocked, not_reachable, node_gone or target_gone.",
    ),
    of(COUNTER, "guardprobe_events_posted_total", &["reason"], "Events written, renewals included."),
    of(COUNTER, "guardprobe_events_failed_total", &["reason"], "Attempts to write an Event that failed."),
    of(
        COUNTER,
        "guardprobe_events_suppressed_total",
        &["reason"],
        "Events that are not written for good: of further transient openings within ten minutes, and of what was over for too long.",
    ),
    of(COUNTER, "guardprobe_event_names_taken_total", &[], "Events whose name somebody else's Event had: each got another name."),
    of(COUNTER, "guardprobe_lines_suppressed_total", &[], "Lines about incidents that were not written: one node had too many."),
    of(
        COUNTER,
        "guardprobe_reporter_lines_lost_total",
        &["stream"],
        "Lines of stdout and stderr that are lost: nobody took them, or they could not be written.",
    ),
    of(GAUGE, "guardprobe_events_waiting", &[], "Events that wait for their turn."),
    of(GAUGE, "guardprobe_leader", &[], "1 on the replica that writes Events and the endpoints ConfigMap."),
    of(GAUGE, "guardprobe_agents_asked", &["role"], "Agents and witnesses that are being asked."),
    of(GAUGE, "guardprobe_agents_answering", &["role"], "Those whose last answer was a report."),
    of(COUNTER, "guardprobe_reports_total", &["role"], "Reports received."),
    of(COUNTER, "guardprobe_reports_refused_total", &["role"], "Answers that were no report that can be understood."),
    of(GAUGE, "guardprobe_api_trouble", &["what"], "1 while a list, a watch or a write fails, by what it is for."),
    of(
        COUNTER,
        "guardprobe_reporter_held_up_seconds_total",
        &[],
        "For how long this process did not run when it should have: reports that it read late count as older.",
    ),
    of(GAUGE, "guardprobe_endpoints", &[], "Addresses of the API that are known."),
    of(GAUGE, "guardprobe_reporter_build_info", &["version"], "Always 1; the version of the program."),
];

/// What a reporter has counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Incidents, by guard and target.
    pub incidents: BTreeMap<(GuardName, String), IncidentCount>,
    /// Events whose name was somebody else's.
    pub names_taken: u64,
    /// Events written, by reason.
    pub posted: BTreeMap<&'static str, u64>,
    /// Events that could not be written, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Reports received and refused, by role.
    pub reports: BTreeMap<&'static str, (u64, u64)>,
}

/// How many incidents of a guard and target began and ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncidentCount {
    /// Those that began.
    pub begun: u64,
    /// Those that ended, by how.
    pub ended: BTreeMap<Ending, u64>,
}

/// What the metrics of a reporter are made of.
#[derive(Debug, Clone)]
pub struct FleetState<'a> {
    /// The fleet now.
    pub fleet: &'a Fleet,
    /// The guards of which something is known; none before the cluster is.
    pub guards: Vec<&'a GuardName>,
    /// The incidents that are just over.
    pub ended: BTreeMap<&'a Place, Timestamp>,
    /// What was counted.
    pub counts: &'a Counts,
    /// Events that wait.
    pub waiting: usize,
    /// Events that are not written for good, by reason.
    pub events_suppressed: &'a BTreeMap<NoticeReason, u64>,
    /// Lines that were not written.
    pub lines_suppressed: u64,
    /// Lines that were lost, by stream.
    pub lines_lost: [(&'static str, u64); 2],
    /// For how long in all this process did not run.
    pub held_up: Duration,
    /// Whether this replica writes.
    pub leader: bool,
    /// Agents and witnesses that are asked and that answer, by role.
    pub asked: BTreeMap<&'static str, (usize, usize)>,
    /// What of the API fails, by what it is for; all that could.
    pub trouble: BTreeMap<String, bool>,
    /// Addresses of the API that are known.
    pub endpoints: usize,
}

/// The page for Prometheus.
pub fn page(state: &FleetState<'_>) -> String {
    let mut sheet = Sheet { families: FLEET_METRICS.iter().map(family).collect() };
    for guard in &state.guards {
        let rows: Vec<&Row> = state.fleet.rows.iter().filter(|row| row.guard == **guard).collect();
        sheet.coverage(&guard.to_string(), &rows);
        sheet.targets(&guard.to_string(), &rows);
        sheet.warnings(guard, state.fleet);
    }
    for (place, at) in &state.ended {
        let labels = [&place.guard.to_string(), place.node.as_str(), &place.target];
        sheet.set("guardprobe_fleet_breach_end_time_seconds", &labels, unix(Some(*at)));
    }
    for (guard, target, count) in incidents(state) {
        let guard = guard.to_string();
        sheet.set("guardprobe_incidents_total", &[&guard, target], count.begun as f64);
        for how in Ending::ALL {
            let ended = count.ended.get(&how).copied().unwrap_or(0);
            sheet.set("guardprobe_incidents_ended_total", &[&guard, target, how.as_str()], ended as f64);
        }
    }
    sheet.of_the_process(state);
    sheet.write()
}

struct Sheet {
    families: Vec<MetricFamily>,
}

impl Sheet {
    fn coverage(&mut self, guard: &str, rows: &[&Row]) {
        for state in STATES {
            let count = rows.iter().filter(|row| row.coverage.state() == state).count();
            self.set("guardprobe_fleet_nodes", &[guard, state], count as f64);
        }
        for excuse in Excuse::ALL {
            let count = rows.iter().filter(|row| row.coverage == Coverage::Grace(excuse)).count();
            self.set("guardprobe_fleet_grace_nodes", &[guard, excuse.as_str()], count as f64);
        }
        for exclusion in Exclusion::ALL {
            let count = rows.iter().filter(|row| row.coverage == Coverage::Excluded(exclusion)).count();
            self.set("guardprobe_fleet_excluded_nodes", &[guard, exclusion.as_str()], count as f64);
        }
        for row in rows {
            if let Coverage::Uncovered(gap) = row.coverage {
                self.set("guardprobe_fleet_uncovered", &[guard, &row.node, gap.as_str()], 1.0);
            }
            if let Some(since) = row.uncovered_since {
                self.set("guardprobe_fleet_uncovered_since_time_seconds", &[guard, &row.node], unix(Some(since)));
            }
        }
        let covered = rows.iter().filter(|row| row.coverage == Coverage::Covered);
        let oldest = covered.filter_map(|row| row.age_seconds).fold(0.0, f64::max);
        self.set("guardprobe_fleet_report_age_seconds", &[guard], oldest);
    }

    fn targets(&mut self, guard: &str, rows: &[&Row]) {
        for target in names_of_targets(rows) {
            let here: Vec<(&str, &TargetRow)> = rows
                .iter()
                .filter_map(|row| Some((row.node.as_str(), row.targets.iter().find(|of| of.name == target)?)))
                .collect();
            let count = |is: &dyn Fn(&TargetRow) -> bool| here.iter().filter(|(_, of)| is(of)).count() as f64;
            for verdict in Verdict::ALL {
                let nodes = count(&|of| of.verdict == Some(verdict));
                self.set("guardprobe_fleet_verdict_nodes", &[guard, target, verdict.as_str()], nodes);
            }
            for proof in Attribution::ALL {
                let nodes = count(&|of| of.verdict == Some(Verdict::Blocked) && of.reason == Some(Reason::Proof(proof)));
                self.set("guardprobe_fleet_attribution_nodes", &[guard, target, proof.as_str()], nodes);
            }
            let doubts: BTreeSet<&str> = here.iter().filter_map(|(_, of)| doubt(of)).collect();
            for word in doubts {
                let nodes = count(&|of| doubt(of) == Some(word));
                self.set("guardprobe_fleet_inconclusive_nodes", &[guard, target, word], nodes);
            }
            for (node, word) in here.iter().filter_map(|(node, of)| Some((node, doubt(of)?))) {
                self.set("guardprobe_fleet_inconclusive", &[guard, node, target, word], 1.0);
            }
            for (node, incident) in here.iter().filter_map(|(node, of)| Some((node, of.incident.as_ref()?))) {
                self.set("guardprobe_fleet_breached", &[guard, node, target], 1.0);
                self.set("guardprobe_fleet_breach_start_time_seconds", &[guard, node, target], unix(Some(incident.started)));
            }
        }
    }

    fn warnings(&mut self, guard: &GuardName, fleet: &Fleet) {
        for warning in Warning::ALL {
            let warned = fleet.warnings.iter().find(|warned| warned.guard == *guard && warned.warning == warning);
            let count = warned.map_or(0, |warned| warned.count);
            self.set("guardprobe_fleet_warnings", &[&guard.to_string(), warning.as_str()], count as f64);
        }
    }

    fn of_the_process(&mut self, state: &FleetState<'_>) {
        let counted = |counts: &BTreeMap<&'static str, u64>, reason: &str| counts.get(reason).copied().unwrap_or(0) as f64;
        for reason in NoticeReason::ALL {
            let word = reason.as_str();
            self.set("guardprobe_events_posted_total", &[word], counted(&state.counts.posted, word));
            self.set("guardprobe_events_failed_total", &[word], counted(&state.counts.failed, word));
            let suppressed = state.events_suppressed.get(&reason).copied().unwrap_or(0);
            self.set("guardprobe_events_suppressed_total", &[word], suppressed as f64);
        }
        self.set("guardprobe_event_names_taken_total", &[], state.counts.names_taken as f64);
        self.set("guardprobe_lines_suppressed_total", &[], state.lines_suppressed as f64);
        for (stream, count) in state.lines_lost {
            self.set("guardprobe_reporter_lines_lost_total", &[stream], count as f64);
        }
        self.set("guardprobe_reporter_held_up_seconds_total", &[], state.held_up.as_secs_f64());
        self.set("guardprobe_events_waiting", &[], state.waiting as f64);
        self.set("guardprobe_leader", &[], bit(state.leader));
        for (role, (asked, answering)) in &state.asked {
            self.set("guardprobe_agents_asked", &[role], *asked as f64);
            self.set("guardprobe_agents_answering", &[role], *answering as f64);
        }
        for (role, (received, refused)) in &state.counts.reports {
            self.set("guardprobe_reports_total", &[role], *received as f64);
            self.set("guardprobe_reports_refused_total", &[role], *refused as f64);
        }
        for (what, fails) in &state.trouble {
            self.set("guardprobe_api_trouble", &[what], bit(*fails));
        }
        self.set("guardprobe_endpoints", &[], state.endpoints as f64);
        self.set("guardprobe_reporter_build_info", &[env!("CARGO_PKG_VERSION")], 1.0);
    }

    fn set(&mut self, name: &str, labels: &[&str], value: f64) {
        let place = FLEET_METRICS.iter().position(|described| described.name == name).expect("every metric is described");
        let pairs = FLEET_METRICS[place].labels.iter().zip(labels).map(|(name, value)| pair(name, value));
        let mut metric = Metric::from_label(pairs.collect());
        set_value(&mut metric, FLEET_METRICS[place].kind, value);
        self.families[place].mut_metric().push(metric);
    }

    fn write(self) -> String {
        let filled: Vec<MetricFamily> = self.families.into_iter().filter(|family| !family.get_metric().is_empty()).collect();
        // Only a family without a name or without a metric cannot be written, and there is none.
        TextEncoder::new().encode_to_string(&filled).unwrap_or_default()
    }
}

/// The count of incidents of each target that is known now or was counted before: a series that begins with its first incident would hide
/// that one from `increase()`.
fn incidents<'s>(state: &FleetState<'s>) -> impl Iterator<Item = (&'s GuardName, &'s str, IncidentCount)> {
    let mut all: BTreeMap<(&GuardName, &str), IncidentCount> = BTreeMap::new();
    for guard in &state.guards {
        let rows: Vec<&Row> = state.fleet.rows.iter().filter(|row| row.guard == **guard).collect();
        all.extend(names_of_targets(&rows).into_iter().map(|target| ((*guard, target), IncidentCount::default())));
    }
    all.extend(state.counts.incidents.iter().map(|((guard, target), count)| ((guard, target.as_str()), count.clone())));
    all.into_iter().map(|((guard, target), count)| (guard, target, count))
}

/// The targets that have series: those that most nodes name, so that what one agent invents takes the place of no other.
fn names_of_targets<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().flat_map(|row| &row.targets).for_each(|target| *nodes.entry(&target.name).or_default() += 1);
    let mut ranked: Vec<(&str, usize)> = nodes.into_iter().collect();
    ranked.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    ranked.into_iter().take(names::TARGETS_MAX).map(|(name, _)| name).collect()
}

fn doubt(target: &TargetRow) -> Option<&'static str> {
    match (target.verdict, target.reason) {
        (Some(Verdict::Inconclusive), Some(reason)) => Some(reason.as_str()),
        _ => None,
    }
}
