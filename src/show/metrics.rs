//! Prometheus metrics: state from the newest report, counts from the tally, all of it computed at the scrape, so that no series is stale.
//!
//! [`METRICS`] is the list; `docs/metrics.md` is made from it.
use guardprobe_core::judge::history::{Histories, Totals};
use guardprobe_core::judge::{control, finding, report};
use guardprobe_core::model::address::Family;
use guardprobe_core::model::finding::{Doubt, Reason, Verdict};
use guardprobe_core::model::observation::Observation;
use guardprobe_core::model::report::{Head, Role};
use guardprobe_core::model::round::{ControlRound, Round};
use guardprobe_core::model::tally::{Counts, Durations, Tally};
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::time::Duration;

/// The type of a [`Page`].
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
pub const METRICS: [Described; 20] = [
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
    of(
        None,
        MetricType::COUNTER,
        "guardprobe_lines_lost_total",
        &["stream"],
        "Lines of stdout and stderr that are lost: nobody took them, or they could not be written.",
    ),
    of(None, MetricType::GAUGE, "guardprobe_build_info", &["version", "role"], "Always 1; the version and role of the program."),
    of(None, MetricType::GAUGE, "guardprobe_config_info", &["hash"], "Always 1; the hash of the configuration in force."),
];

/// What the metrics of a process are made of.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Who speaks, and of which round.
    pub head: &'a Head,
    /// What was counted.
    pub tally: &'a Tally,
    /// What was seen last.
    pub round: &'a Round,
    /// How long ago the newest round ended.
    pub age: Duration,
    /// For how long a round vouches for what it saw.
    pub vouched: Duration,
    /// Lines that were lost, by stream.
    pub lines_lost: [(&'static str, u64); 2],
}

/// The page of one process. It keeps what a scrape has made, so that the next one only sets values: the labels of a process never change.
#[derive(Debug)]
pub struct Page {
    families: Vec<MetricFamily>,
    /// How many metrics of each family are set by now.
    filled: Vec<usize>,
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Page { families: METRICS.iter().map(family).collect(), filled: vec![0; METRICS.len()], text: String::new() }
    }

    /// The metrics of an agent at `up` after process start.
    pub fn agent(&mut self, state: &State<'_>, histories: &Histories, up: Duration) -> &str {
        self.common(state);
        let guard = state.head.guard.as_str();
        for (index, (history, seen)) in histories.all().iter().zip(&state.round.targets).enumerate() {
            let at = [guard, seen.name.as_str()];
            self.verdict(at, report::shown(history, state.age, state.vouched));
            for (verdict, earned) in Verdict::ALL.into_iter().zip(histories.earned(index, up)) {
                self.set("guardprobe_verdict_seconds_total", &[at[0], at[1], verdict.as_str()], earned.as_secs_f64());
            }
            self.totals(at, &history.totals());
            self.counts("guardprobe_sentinels_total", at, &state.tally.targets[index].sentinels);
        }
        self.write()
    }

    /// The metrics of a witness. What no round vouches for any more is not reached.
    pub fn witness(&mut self, state: &State<'_>) -> &str {
        self.common(state);
        for target in &state.round.targets {
            let reached = |seen: &Observation| finding::reached(target, &state.round.controls, seen);
            let reached = state.age <= state.vouched && target.observations.iter().any(reached);
            self.set("guardprobe_witness_reached", &[&state.head.guard, &target.name], bit(reached));
        }
        self.write()
    }

    /// What agent and witness have in common.
    fn common(&mut self, state: &State<'_>) {
        self.filled.fill(0);
        let (head, guard) = (state.head, state.head.guard.as_str());
        for (target, tally) in state.round.targets.iter().zip(&state.tally.targets) {
            let at = [guard, target.name.as_str()];
            self.counts("guardprobe_probes_total", at, &tally.probes);
            self.durations(at, &tally.durations);
            for family in Family::ALL {
                let count = target.observations.iter().filter(|seen| seen.family == family).count();
                self.set("guardprobe_addresses", &[at[0], at[1], family.as_str()], count as f64);
            }
        }
        self.controls(guard, &state.round.controls);
        self.set("guardprobe_rounds_total", &[], state.tally.rounds as f64);
        let last_round = (state.tally.rounds > 0).then_some(head.finished);
        self.set("guardprobe_last_round_time_seconds", &[], unix(last_round));
        for (stream, count) in state.lines_lost {
            self.set("guardprobe_lines_lost_total", &[stream], count as f64);
        }
        self.set("guardprobe_build_info", &[&head.version, head.role.as_str()], 1.0);
        self.set("guardprobe_config_info", &[&head.config_hash], 1.0);
    }

    /// A control that was not tried has no series: so these are made anew.
    fn controls(&mut self, guard: &str, controls: &[ControlRound]) {
        const NAME: &str = "guardprobe_control_held";
        self.families[place(NAME)].mut_metric().clear();
        for control in controls {
            if let Some(held) = control::held(control) {
                self.set(NAME, &[guard, &control.name, control.expect.as_str()], bit(held));
            }
        }
    }

    fn verdict(&mut self, at: [&str; 2], (is, reason): (Verdict, Reason)) {
        for verdict in Verdict::ALL {
            self.set("guardprobe_verdict", &[at[0], at[1], verdict.as_str()], bit(is == verdict));
        }
        for doubt in Doubt::ALL {
            let is = is == Verdict::Inconclusive && reason == Reason::Doubt(doubt);
            self.set("guardprobe_inconclusive", &[at[0], at[1], doubt.as_str()], bit(is));
        }
    }

    fn totals(&mut self, at: [&str; 2], totals: &Totals) {
        self.set("guardprobe_breaches_total", &at, totals.breaches as f64);
        self.set("guardprobe_transient_openings_total", &at, totals.transients as f64);
        self.set("guardprobe_last_breach_start_time_seconds", &at, unix(totals.last_start));
        self.set("guardprobe_last_breach_end_time_seconds", &at, unix(totals.last_end));
        self.set("guardprobe_startup_exposure_seconds", &at, totals.startup_exposure.as_secs_f64());
        self.set("guardprobe_end_exposure_seconds", &at, totals.end_exposure.as_secs_f64());
    }

    fn counts(&mut self, name: &str, at: [&str; 2], counts: &Counts) {
        for (family, outcome, count) in counts.each() {
            self.set(name, &[at[0], at[1], family.as_str(), outcome.as_str()], count as f64);
        }
    }

    fn durations(&mut self, at: [&str; 2], durations: &Durations) {
        let buckets = durations.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(durations.count);
        histogram.set_sample_sum(durations.sum);
        self.metric("guardprobe_probe_duration_seconds", &at).set_histogram(histogram);
    }

    fn set(&mut self, name: &str, labels: &[&str], value: f64) {
        let kind = METRICS[place(name)].kind;
        set_value(self.metric(name, labels), kind, value);
    }

    /// The next metric of a family: the one that the last scrape made in its place, else a new one.
    fn metric(&mut self, name: &str, labels: &[&str]) -> &mut Metric {
        let place = place(name);
        let (metrics, next) = (self.families[place].mut_metric(), self.filled[place]);
        self.filled[place] += 1;
        if next == metrics.len() {
            let pairs = METRICS[place].labels.iter().zip(labels).map(|(name, value)| pair(name, value));
            metrics.push(Metric::from_label(pairs.collect()));
        }
        &mut metrics[next]
    }

    fn write(&mut self) -> &str {
        self.text.clear();
        for family in self.families.iter().filter(|family| !family.get_metric().is_empty()) {
            // Only a family without a name or without a metric cannot be written, and there is none.
            let _ = TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut self.text);
        }
        &self.text
    }
}

impl Default for Page {
    fn default() -> Self {
        Page::new()
    }
}

/// Where a metric is in [`METRICS`].
fn place(name: &str) -> usize {
    METRICS.iter().position(|described| described.name == name).expect("every metric is described")
}

/// Gives a counter or a gauge its value.
pub(super) fn set_value(metric: &mut Metric, kind: MetricType, value: f64) {
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
}

pub(super) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

pub(super) fn family(described: &Described) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(described.name.to_owned());
    family.set_help(described.help.to_owned());
    family.set_field_type(described.kind);
    family
}

pub(super) fn bit(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

pub(super) fn unix(at: Option<jiff::Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.as_duration().as_secs_f64())
}
