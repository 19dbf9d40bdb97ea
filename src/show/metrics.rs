//! Prometheus metrics: state from the newest report, counts from the tally, all of it computed at the scrape, so that no series is stale.
//!
//! [`METRICS`] is the list; `docs/metrics.md` is made from it.
use guardprobe_core::judge::history::Histories;
use guardprobe_core::model::address::Family;
use guardprobe_core::model::finding::{Doubt, Reason, Verdict};
use guardprobe_core::model::observation::Observation;
use guardprobe_core::model::report::{ControlReport, Head, Report, Role, WitnessReport};
use guardprobe_core::model::tally::{Counts, Tally, TargetTally};
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::time::Duration;

/// The type that goes with [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// Who has it: agent, witness, or both where this is `None`.
    pub role: Option<Role>,
    /// What it says.
    pub help: &'static str,
}

const fn of(
    role: Option<Role>,
    kind: MetricType,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described { name, kind, labels, role, help }
}

const AGENT: Option<Role> = Some(Role::Agent);
const TARGET: &[&str] = &["guard", "target"];
const OUTCOME: &[&str] = &["guard", "target", "family", "outcome"];

/// Every metric of agent and witness, in the order of the text.
pub const METRICS: [Described; 19] = [
    of(
        AGENT,
        MetricType::GAUGE,
        "guardprobe_verdict",
        &["guard", "target", "verdict"],
        "1 for the verdict that stands, 0 for the others.",
    ),
    of(
        AGENT,
        MetricType::GAUGE,
        "guardprobe_inconclusive",
        &["guard", "target", "reason"],
        "1 for the reason of an inconclusive verdict, 0 for the others.",
    ),
    of(
        AGENT,
        MetricType::COUNTER,
        "guardprobe_verdict_seconds_total",
        &["guard", "target", "verdict"],
        "Seconds in each verdict; together they are the time since the process began. A round earns at most an interval and a timeout, what \
         is beyond counts as inconclusive.",
    ),
    of(
        AGENT,
        MetricType::COUNTER,
        "guardprobe_breaches_total",
        TARGET,
        "Breaches that began; transient openings are not among them.",
    ),
    of(
        AGENT,
        MetricType::COUNTER,
        "guardprobe_transient_openings_total",
        TARGET,
        "Connections of a sentinel whose own round connected nowhere.",
    ),
    of(
        AGENT,
        MetricType::GAUGE,
        "guardprobe_last_breach_start_time_seconds",
        TARGET,
        "When the last breach began, in seconds since 1970; 0 when there was none in this process.",
    ),
    of(
        AGENT,
        MetricType::GAUGE,
        "guardprobe_last_breach_end_time_seconds",
        TARGET,
        "When the last breach that is over ended, in seconds since 1970; 0 when there was none in this process.",
    ),
    of(
        AGENT,
        MetricType::COUNTER,
        "guardprobe_sentinels_total",
        OUTCOME,
        "Lone connects between rounds, and the tries of the startup window.",
    ),
    of(None, MetricType::COUNTER, "guardprobe_probes_total", OUTCOME, "Probes of rounds."),
    of(
        None,
        MetricType::HISTOGRAM,
        "guardprobe_probe_duration_seconds",
        TARGET,
        "How long the probes of rounds took until their outcome was known.",
    ),
    of(
        None,
        MetricType::GAUGE,
        "guardprobe_control_held",
        &["guard", "control", "expect"],
        "1 when a control did what it must in the newest round, 0 when not; no series when it was not tried.",
    ),
    of(
        AGENT,
        MetricType::GAUGE,
        "guardprobe_startup_exposure_seconds",
        TARGET,
        "How long after its start the process could still reach the target while the startup window was open.",
    ),
    of(
        AGENT,
        MetricType::GAUGE,
        "guardprobe_end_exposure_seconds",
        TARGET,
        "How long after it was asked to end the process could reach the target, which it could not before.",
    ),
    of(
        None,
        MetricType::GAUGE,
        "guardprobe_addresses",
        &["guard", "target", "family"],
        "Addresses of the target in the newest round.",
    ),
    of(
        Some(Role::Witness),
        MetricType::GAUGE,
        "guardprobe_witness_reached",
        TARGET,
        "1 when the witness reached the target at one of its addresses in the newest round.",
    ),
    of(None, MetricType::COUNTER, "guardprobe_rounds_total", &[], "Rounds that ended."),
    of(
        None,
        MetricType::GAUGE,
        "guardprobe_last_round_time_seconds",
        &[],
        "When the newest round ended, in seconds since 1970; 0 before the first.",
    ),
    of(None, MetricType::GAUGE, "guardprobe_build_info", &["version", "role"], "Always 1; the version and role of the program."),
    of(None, MetricType::GAUGE, "guardprobe_config_info", &["hash"], "Always 1; the hash of the configuration in force."),
];

/// The metrics of an agent at `up` after process start. `report` is the newest one, as it may be shown now.
pub fn agent(report: &Report, histories: &Histories, tally: &Tally, up: Duration) -> String {
    let mut page = Page::new(&report.head, tally, &report.controls);
    for (index, (target, history)) in report.targets.iter().zip(histories.all()).enumerate() {
        let totals = history.totals();
        let at = page.target(&target.name);
        for verdict in Verdict::ALL {
            page.set("guardprobe_verdict", at.and(verdict.as_str()), bit(target.verdict == verdict));
        }
        for doubt in Doubt::ALL {
            let is = target.verdict == Verdict::Inconclusive && target.reason == Reason::Doubt(doubt);
            page.set("guardprobe_inconclusive", at.and(doubt.as_str()), bit(is));
        }
        for (verdict, earned) in Verdict::ALL.into_iter().zip(histories.earned(index, up)) {
            page.set("guardprobe_verdict_seconds_total", at.and(verdict.as_str()), earned.as_secs_f64());
        }
        page.set("guardprobe_breaches_total", at.clone(), totals.breaches as f64);
        page.set("guardprobe_transient_openings_total", at.clone(), totals.transients as f64);
        page.set("guardprobe_last_breach_start_time_seconds", at.clone(), unix(totals.last_start));
        page.set("guardprobe_last_breach_end_time_seconds", at.clone(), unix(totals.last_end));
        page.set("guardprobe_startup_exposure_seconds", at.clone(), totals.startup_exposure.as_secs_f64());
        page.set("guardprobe_end_exposure_seconds", at.clone(), totals.end_exposure.as_secs_f64());
        page.counts("guardprobe_sentinels_total", &at, &tally.targets[index].sentinels);
        page.probes(&at, &tally.targets[index]);
        page.addresses(&at, target.observations.iter());
    }
    page.text()
}

/// The metrics of a witness. A report that no round vouches for any more reaches nothing.
pub fn witness(report: &WitnessReport, fresh: bool, tally: &Tally) -> String {
    let mut page = Page::new(&report.head, tally, &report.controls);
    for (target, tally) in report.targets.iter().zip(&tally.targets) {
        let at = page.target(&target.name);
        page.probes(&at, tally);
        let reached = fresh && target.observations.iter().any(|observation| observation.reached);
        page.set("guardprobe_witness_reached", at.clone(), bit(reached));
        page.addresses(&at, target.observations.iter().map(|observation| &observation.seen));
    }
    page.text()
}

fn bit(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn unix(at: Option<jiff::Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.as_duration().as_secs_f64())
}

/// The values of a metric's labels, in the order of their names.
#[derive(Clone)]
struct Labels(Vec<String>);

impl Labels {
    fn and(&self, value: &str) -> Labels {
        Labels(self.0.iter().cloned().chain([value.to_owned()]).collect())
    }
}

/// All families on their way to text, in the order of [`METRICS`].
struct Page<'a> {
    guard: &'a str,
    families: Vec<MetricFamily>,
}

impl<'a> Page<'a> {
    /// What agent and witness have in common.
    fn new(head: &'a Head, tally: &Tally, controls: &[ControlReport]) -> Self {
        let mut page = Page { guard: &head.guard, families: METRICS.iter().map(family).collect() };
        for control in controls {
            if let Some(held) = control.held {
                let labels = page.target(&control.name).and(control.expect.as_str());
                page.set("guardprobe_control_held", labels, bit(held));
            }
        }
        page.set("guardprobe_rounds_total", Labels(Vec::new()), tally.rounds as f64);
        let last_round = (tally.rounds > 0).then_some(head.finished);
        page.set("guardprobe_last_round_time_seconds", Labels(Vec::new()), unix(last_round));
        let role = if head.role == Role::Agent { "agent" } else { "witness" };
        page.set("guardprobe_build_info", Labels(vec![head.version.clone(), role.to_owned()]), 1.0);
        page.set("guardprobe_config_info", Labels(vec![head.config_hash.clone()]), 1.0);
        page
    }

    /// The labels of a target, or of a control.
    fn target(&self, name: &str) -> Labels {
        Labels(vec![self.guard.to_owned(), name.to_owned()])
    }

    fn add(&mut self, name: &str, labels: Labels, value: impl FnOnce(MetricType, &mut Metric)) {
        let Some(index) = METRICS.iter().position(|described| described.name == name) else { return };
        let pairs = METRICS[index].labels.iter().zip(labels.0).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        value(METRICS[index].kind, &mut metric);
        self.families[index].mut_metric().push(metric);
    }

    fn set(&mut self, name: &str, labels: Labels, value: f64) {
        self.add(name, labels, |kind, metric| match kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        });
    }

    fn counts(&mut self, name: &str, at: &Labels, counts: &Counts) {
        for (family, outcome, count) in counts.each() {
            self.set(name, at.and(family.as_str()).and(outcome.as_str()), count as f64);
        }
    }

    fn probes(&mut self, at: &Labels, tally: &TargetTally) {
        self.counts("guardprobe_probes_total", at, &tally.probes);
        let buckets = tally.durations.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(tally.durations.count);
        histogram.set_sample_sum(tally.durations.sum);
        self.add("guardprobe_probe_duration_seconds", at.clone(), |_, metric| metric.set_histogram(histogram));
    }

    fn addresses<'b>(&mut self, at: &Labels, observations: impl Iterator<Item = &'b Observation> + Clone) {
        for family in Family::ALL {
            let count = observations.clone().filter(|seen| seen.family == family).count();
            self.set("guardprobe_addresses", at.and(family.as_str()), count as f64);
        }
    }

    fn text(mut self) -> String {
        self.families.retain(|family| !family.get_metric().is_empty());
        // Only a family without a name or without a metric cannot be written, and there is none.
        TextEncoder::new().encode_to_string(&self.families).unwrap_or_default()
    }
}

fn family(described: &Described) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(described.name.to_owned());
    family.set_help(described.help.to_owned());
    family.set_field_type(described.kind);
    family
}
