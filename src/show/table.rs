//! The page that a person reads: for each target what was tried, what happened, and which rule gave the verdict.
use super::rows::{Columns, Hope};
use super::text::{BOLD, FAINT, PLAIN, clean, colour, hang, paint, seconds, time};
use super::{advice, rests, words};
use anstream::adapter::strip_str;
use guardprobe_core::model::report::{ClosedOpening, ControlReport, Opening, Report, TargetReport};

/// The rules of `guardprobe_core::judge::finding`.
const RULES: u8 = 7;
/// Below this the columns make no sense; a narrower terminal folds the lines itself.
const WIDTH_MIN: usize = 60;
/// How many past openings are told; the JSON has them all.
const RECENT: usize = 3;

/// A report as a page of at most `width` columns where that is possible, with ANSI styles: print it through `anstream`, which
/// takes them out for pipes and for `NO_COLOR`. The worst targets stand first, the overall verdict and the next step last.
pub fn table(report: &Report, width: usize) -> String {
    let width = width.max(WIDTH_MIN);
    let rows = Columns::of(report, 2, width);
    let mut page = heading(report, width);
    for target in worst_first(report) {
        page.push('\n');
        page += &target_block(report, target, &rows, width);
    }
    page += &controls_block(report, &rows, width);
    page.push('\n');
    page + &closing(report, width)
}

/// The same without styles.
pub fn plain(report: &Report, width: usize) -> String {
    strip_str(&table(report, width)).to_string()
}

fn worst_first(report: &Report) -> Vec<&TargetReport> {
    let mut targets: Vec<&TargetReport> = report.targets.iter().collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.verdict));
    targets
}

fn heading(report: &Report, width: usize) -> String {
    let place = [("node", &report.head.node), ("pod", &report.head.pod)];
    let place = place.into_iter().filter_map(|(what, name)| name.as_ref().map(|name| format!("{what} {}", clean(name))));
    let place = place.collect::<Vec<_>>().join(", ");
    let took = (report.head.finished - report.head.started).total(jiff::Unit::Second).unwrap_or_default();
    let round = format!("round {} at {}, took {}", report.head.round, time(report.head.started), seconds(took));
    let lines = [place, round].into_iter().filter(|line| !line.is_empty());
    let lines: String = lines.map(|line| hang("  ", FAINT, &line, width)).collect();
    hang("guard ", BOLD, &clean(&report.head.guard), width) + &lines
}

fn target_block(report: &Report, target: &TargetReport, rows: &Columns, width: usize) -> String {
    let mut block = verdict_line(report, target);
    block += &reason_lines(target, width);
    block += &rows.titles();
    block.extend(target.observations.iter().map(|seen| rows.row(seen, Hope::Closed(target.finding))));
    block.extend(target.unresolved.iter().map(|name| hang("  look-up of ", PLAIN, &clean(name), width)));
    block += &support_lines(report, target, width);
    block += &history_lines(report, target, width);
    block + &rule_line(target, width)
}

fn verdict_line(report: &Report, target: &TargetReport) -> String {
    let verdict = paint(colour(target.verdict), target.verdict.as_str().to_uppercase());
    let name = paint(BOLD, clean(&target.name));
    let kind = if target.name == target.kind.as_str() { String::new() } else { format!(" ({})", target.kind.as_str()) };
    // In the first round of a process it says nothing that the heading doesn't, nor beside an opening.
    let told = target.since >= report.head.started || target.opening.is_some();
    let since = if told { String::new() } else { format!(", since {}", time(target.since)) };
    format!("{verdict}  {name}{kind}{since}\n")
}

fn reason_lines(target: &TargetReport, width: usize) -> String {
    let reason = words::standing(target);
    let line = |label: &str, text: &str| hang(&format!("  {label}: "), PLAIN, text, width);
    let mut lines = line(reason.as_str(), words::reason(reason).means);
    if let Some(held) = target.held_proof {
        let text = format!("of {} ago; the newest round proves less, and nothing connected since", seconds(held.age_seconds));
        lines += &line("proof", &text);
    } else if target.verdict != target.finding {
        lines += &line("newest round", &format!("{}, {}", target.finding.as_str(), target.reason.as_str()));
    }
    lines
}

fn support_lines(report: &Report, target: &TargetReport, width: usize) -> String {
    let lines = rests::supports(report, target).into_iter().enumerate().map(|(n, support)| {
        let label = if n == 0 { "  rests on  " } else { "            " };
        if support.state.is_empty() {
            return format!("{label}{}\n", paint(support.style, support.what));
        }
        hang(&format!("{label}{}: ", support.what), support.style, &support.state, width)
    });
    lines.collect()
}

fn rule_line(target: &TargetReport, width: usize) -> String {
    // No rule decides while the startup window is open.
    let rule = if target.rule == 0 { "no rule yet: ".to_owned() } else { format!("rule {} of {RULES}: ", target.rule) };
    hang(&format!("  {rule}"), PLAIN, &clean(&target.why), width)
}

fn history_lines(report: &Report, target: &TargetReport, width: usize) -> String {
    let open = target
        .opening
        .iter()
        .filter(|opening| opening.started < report.head.started)
        .map(|opening| ("  open now  ", opening_words(opening)));
    let recent = target.recent.iter().take(RECENT).map(|closed| ("  was open  ", closed_words(closed)));
    let exposure = (target.startup_exposure_seconds > 0.0)
        .then(|| ("  startup   ", format!("connected for {} of the startup window", seconds(target.startup_exposure_seconds))));
    let facts = open.chain(recent).chain(exposure);
    facts.map(|(label, text)| hang(label, PLAIN, &text, width)).collect()
}

fn opening_words(opening: &Opening) -> String {
    let (from, last) = (time(opening.started), time(opening.last_connected));
    format!("since {from}, last connected {last}, {} at layer {}", opening.evidence.as_str(), opening.layer.as_str())
}

fn closed_words(closed: &ClosedOpening) -> String {
    let opening = &closed.opening;
    let (from, until) = (time(opening.started), time(closed.ended));
    let transient = if closed.transient { " (transient: one connection that no round confirmed)" } else { "" };
    format!("{from} to {until}, {} at layer {}{transient}", opening.evidence.as_str(), opening.layer.as_str())
}

fn controls_block(report: &Report, rows: &Columns, width: usize) -> String {
    if report.controls.is_empty() {
        return "\n".to_owned() + &hang("", FAINT, "no controls", width);
    }
    report.controls.iter().map(|control| control_lines(control, rows, width)).collect()
}

fn control_lines(control: &ControlReport, rows: &Columns, width: usize) -> String {
    let (state, style) = rests::state(control);
    let name = clean(&control.name);
    let line = hang(&format!("control {name}, {}: ", control.expect.as_str()), style, &state, width);
    let mut lines = "\n".to_owned() + &line.replacen(&name, &paint(BOLD, &name), 1);
    lines.extend(control.observations.iter().map(|seen| rows.row(seen, Hope::Control)));
    lines
}

fn closing(report: &Report, width: usize) -> String {
    let verdict = report.verdict.as_str().to_uppercase();
    let line = hang(&format!("{verdict}  "), BOLD, &advice::summary(report), width);
    let mut closing = line.replacen(&verdict, &paint(colour(report.verdict), &verdict), 1);
    for (n, step) in advice::next_steps(report).iter().enumerate() {
        closing += &hang(&format!("  {}. ", n + 1), PLAIN, &step.text, width);
        closing.extend(step.command.iter().map(|command| format!("     {}\n", paint(BOLD, command))));
    }
    closing
}
