//! The controls that a verdict rests on, as far as the report shows them.
use super::text::{BAD, DOUBTFUL, GOOD, clean};
use anstyle::Style;
use guardprobe_core::model::address::{Family, is_link_local};
use guardprobe_core::model::config::Expect;
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::observation::Observation;
use guardprobe_core::model::report::{ControlReport, Report, TargetReport};

/// A control, or the lack of one.
pub(super) struct Support {
    /// What it is.
    pub(super) what: String,
    /// Whether it held.
    pub(super) state: &'static str,
    /// The colour of that.
    pub(super) style: Style,
}

/// What the newest finding of a target rests on: a breach on the must-not-connect controls of the ports that are open, a blocked
/// on the must-reach controls of the families that were tried, a doubt on both.
pub(super) fn supports(report: &Report, target: &TargetReport) -> Vec<Support> {
    let mut all = Vec::new();
    if target.finding != Verdict::Breached {
        all.extend(must_reach(report, target));
    }
    if target.finding != Verdict::Blocked {
        all.extend(must_not_connect(report, target));
    }
    all
}

/// Whether a control held, in words and colour.
pub(super) fn state(held: Option<bool>) -> (&'static str, Style) {
    match held {
        Some(true) => ("held", GOOD),
        Some(false) => ("NOT held", BAD),
        None => ("not tried", DOUBTFUL),
    }
}

fn must_reach(report: &Report, target: &TargetReport) -> Vec<Support> {
    let families = Family::ALL.into_iter().filter(|family| tried(target).any(|seen| seen.family == *family));
    let families: Vec<Family> = families.collect();
    let of = |family: Family| move |control: &&ControlReport| in_family(control, family);
    let known = controls(report, Expect::MustReach).filter(|control| families.iter().any(|family| of(*family)(control)));
    let mut all: Vec<Support> = known.map(support).collect();
    let lacking = families.iter().filter(|family| !controls(report, Expect::MustReach).any(|control| of(**family)(&control)));
    all.extend(lacking.map(|family| none(format!("no must-reach control in {}", family.title()))));
    all
}

fn must_not_connect(report: &Report, target: &TargetReport) -> Vec<Support> {
    let open: Vec<&Observation> = tried(target).filter(|seen| seen.connected()).collect();
    let twins = |control: &ControlReport, door: &Observation| control.observations.iter().any(|twin| twin_of(twin, door));
    let known = controls(report, Expect::MustNotConnect).filter(|control| open.iter().any(|door| twins(control, door)));
    let mut all: Vec<Support> = known.map(support).collect();
    let lacking = open.iter().filter(|door| !controls(report, Expect::MustNotConnect).any(|control| twins(control, door)));
    let mut lacking: Vec<String> = lacking.map(|door| lack_of_twin(door)).collect();
    lacking.sort();
    lacking.dedup();
    all.extend(lacking.into_iter().map(none));
    all
}

fn lack_of_twin(door: &Observation) -> String {
    format!("no must-not-connect control on port {} in {}", door.address.port(), door.family.title())
}

fn twin_of(twin: &Observation, door: &Observation) -> bool {
    twin.family == door.family && twin.address.port() == door.address.port()
}

/// A control none of whose names resolved counts for each family: nobody knows which it would have been.
fn in_family(control: &ControlReport, family: Family) -> bool {
    control.observations.is_empty() || control.observations.iter().any(|seen| seen.family == family && seen.tried())
}

fn tried(target: &TargetReport) -> impl Iterator<Item = &Observation> {
    target.observations.iter().filter(|seen| seen.tried())
}

fn controls(report: &Report, expect: Expect) -> impl Iterator<Item = &ControlReport> {
    report.controls.iter().filter(move |control| control.expect == expect)
}

fn support(control: &ControlReport) -> Support {
    let (state, style) = if only_on_node(control) { ("held, but on this node", DOUBTFUL) } else { state(control.held) };
    Support { what: format!("{} ({})", clean(&control.name), control.expect.as_str()), state, style }
}

/// True when what answered is known to be on this very node, so that it says little about the way out.
fn only_on_node(control: &ControlReport) -> bool {
    let mut answers = control.observations.iter().filter(|seen| seen.connected());
    let near = |seen: &Observation| seen.on_node || is_link_local(seen.address.ip());
    control.held == Some(true) && control.expect == Expect::MustReach && answers.all(near)
}

fn none(what: String) -> Support {
    Support { what, state: "", style: DOUBTFUL }
}
