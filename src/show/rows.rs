//! One line for each address: where it came from, how the attempt ended, how far it got, how long it took.
use super::text::{BOLD, DOUBTFUL, FAINT, GOOD, PLAIN, clean, colour, columns, hang, paint, seconds};
use super::words;
use anstyle::Style;
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::observation::{Evidence, Identity, Layer, Observation, Outcome};
use guardprobe_core::model::report::Report;

const GAP: &str = "  ";
const TITLES: [&str; 5] = ["address", "from", "outcome", "layer", "time"];

/// The columns of a whole report, so that all its rows stand below one another.
pub(super) struct Columns {
    widths: [usize; 5],
    indent: usize,
    width: usize,
}

/// Whether a connection is what one hopes for.
#[derive(Clone, Copy)]
pub(super) enum Hope {
    /// A target: it must not connect, and what it means if it does is this round's finding.
    Closed(Verdict),
    /// A control: its own line says whether it held.
    Control,
}

impl Columns {
    /// As wide as the widest cell of each column, and as `width` allows.
    pub(super) fn of(report: &Report, indent: usize, width: usize) -> Self {
        let targets = report.targets.iter().flat_map(|target| &target.observations);
        let controls = report.controls.iter().flat_map(|control| &control.observations);
        let mut widths = TITLES.map(columns);
        for cells in targets.chain(controls).map(cells) {
            for (width, cell) in widths.iter_mut().zip(&cells) {
                *width = (*width).max(columns(cell));
            }
        }
        let others = widths[1..].iter().sum::<usize>() + GAP.len() * 4 + indent;
        widths[0] = widths[0].min(width.saturating_sub(others)).max(TITLES[0].len());
        Columns { widths, indent, width }
    }

    /// The titles.
    pub(super) fn titles(&self) -> String {
        let line = self.line(&TITLES.map(str::to_owned), [PLAIN; 5]);
        paint(FAINT, line.trim_end()) + "\n"
    }

    /// One observation: its cells, and what there is to say beside them, or below where the line is full.
    pub(super) fn row(&self, seen: &Observation, hope: Hope) -> String {
        let mut cells = cells(seen);
        let mut out = String::new();
        if columns(&cells[0]) > self.widths[0] {
            out = format!("{:indent$}{}\n", "", cells[0], indent = self.indent);
            cells[0].clear();
        }
        let whole = if seen.tried() { PLAIN } else { FAINT };
        out += &self.line(&cells, [whole, whole, outcome_style(seen, hope), whole, whole]);
        self.finish(out, seen)
    }

    /// Beside the cells where there is room, else below; words that only explain the outcome are not worth a line.
    fn finish(&self, mut row: String, seen: &Observation) -> String {
        let room = self.width.saturating_sub(self.indent + self.widths.iter().sum::<usize>() + GAP.len() * 5);
        let mut note = note(seen);
        let style = if seen.evidence.is_some() { PLAIN } else { FAINT };
        if note.is_empty() && columns(words::outcome(seen.outcome)) <= room {
            words::outcome(seen.outcome).clone_into(&mut note);
        }
        if note.is_empty() {
            row + "\n"
        } else if columns(&note) <= room {
            row += GAP;
            row + &paint(style, note) + "\n"
        } else {
            row + "\n" + &hang(&" ".repeat(self.indent + GAP.len()), style, &note, self.width)
        }
    }

    fn line(&self, cells: &[String; 5], styles: [Style; 5]) -> String {
        let mut line = " ".repeat(self.indent);
        for (n, ((cell, width), style)) in cells.iter().zip(self.widths).zip(styles).enumerate() {
            line.push_str(if n == 0 { "" } else { GAP });
            let fill = " ".repeat(width.saturating_sub(columns(cell)));
            line += &if n == 4 { fill + &paint(style, cell) } else { paint(style, cell) + &fill };
        }
        line
    }
}

fn cells(seen: &Observation) -> [String; 5] {
    let time = if seen.tried() { seconds(seen.latency_seconds) } else { "-".to_owned() };
    let layer = if seen.layer == Layer::None { "-" } else { seen.layer.as_str() };
    [seen.address.to_string(), seen.source.as_str().to_owned(), seen.outcome.as_str().to_owned(), layer.to_owned(), time]
}

fn outcome_style(seen: &Observation, hope: Hope) -> Style {
    match (hope, seen.outcome) {
        (_, Outcome::Skipped) => FAINT,
        (Hope::Control, Outcome::Connected) => BOLD,
        (Hope::Control, _) => PLAIN,
        (Hope::Closed(finding), Outcome::Connected) => colour(finding),
        (Hope::Closed(_), Outcome::TimedOut | Outcome::Rejected | Outcome::Unreachable) => GOOD,
        (Hope::Closed(_), Outcome::Refused | Outcome::DeniedLocally | Outcome::LocalError) => DOUBTFUL,
    }
}

/// What was learnt beyond the columns; empty where that is nothing.
fn note(seen: &Observation) -> String {
    let evidence = seen.evidence.filter(|word| *word > Evidence::Connected);
    // "identified" says already who it was.
    let identity = seen.identity.filter(|word| *word == Identity::Wrong || evidence < Some(Evidence::Identified));
    let parts = [
        seen.service.then(|| "Service".to_owned()),
        seen.on_node.then(|| "on this node".to_owned()),
        evidence.map(|word| word.as_str().to_owned()),
        identity.map(|word| words::identity(word).to_owned()),
        seen.detail.as_deref().map(clean),
        seen.neighbours.map(|beside| format!("{} of {} random addresses beside it connect", beside.connected, beside.tried)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
