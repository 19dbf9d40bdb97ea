//! The controls that a verdict rests on, as far as the report shows them.
use super::text::{BAD, DOUBTFUL, GOOD, clean};
use anstyle::Style;
use guardprobe_core::judge::control::is_firm;
use guardprobe_core::model::address::Family;
use guardprobe_core::model::config::Expect;
use guardprobe_core::model::control::Shortfall;
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::observation::Observation;
use guardprobe_core::model::report::{ControlReport, Report, TargetReport};

/// A control, or the lack of one.
pub(super) struct Support {
    /// What it is.
    pub(super) what: String,
    /// Whether it held; empty where there is no control.
    pub(super) state: String,
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

/// Whether a control held, and whether silence beside it is a proof, in words and colour.
pub(super) fn state(control: &ControlReport) -> (String, Style) {
    match (control.held, control.expect) {
        (Some(true), Expect::MustReach) => firmness(control),
        (Some(true), Expect::MustNotConnect) => ("held".to_owned(), GOOD),
        (Some(false), _) => ("NOT held".to_owned(), BAD),
        (None, _) => ("not tried".to_owned(), DOUBTFUL),
    }
}

/// By family where they differ: silence is proved for each family by itself.
fn firmness(control: &ControlReport) -> (String, Style) {
    let tried = |family: Family| control.observations.iter().filter(move |seen| seen.family == family && seen.tried());
    let families: Vec<Family> = Family::ALL.into_iter().filter(|family| tried(*family).next().is_some()).collect();
    let is_firm = |family: &Family| tried(*family).any(is_firm);
    if families.iter().all(is_firm) {
        return ("held, firm".to_owned(), GOOD);
    }
    let doubtful: Vec<String> = families
        .iter()
        .filter(|family| !is_firm(family))
        .map(|family| {
            let answers = tried(*family).find_map(|seen| seen.attempts?.shortfall);
            let on_node = tried(*family).any(|seen| seen.connected() && seen.on_node);
            let shortfall = answers.or(on_node.then_some(Shortfall::OnNode));
            format!("over {} it {}", family.title(), shortfall.map_or("does not answer", Shortfall::words))
        })
        .collect();
    (format!("held, not firm: {}", doubtful.join("; ")), DOUBTFUL)
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
    let (state, style) = state(control);
    Support { what: format!("{} ({})", clean(&control.name), control.expect.as_str()), state, style }
}

fn none(what: String) -> Support {
    Support { what, state: String::new(), style: DOUBTFUL }
}
