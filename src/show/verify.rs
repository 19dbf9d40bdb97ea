//! What `verify` says of the whole fleet: the worst first, and the many that are well in one line.
use super::json::json;
use super::text::{BOLD, FAINT, PLAIN, clean, colour, columns, count, hang, paint, time};
use super::words;
use guardprobe_core::judge::verify::Outcome;
use guardprobe_core::model::finding::{Attribution, Doubt, Verdict};
use guardprobe_core::model::fleet::Gap;
use guardprobe_core::model::names;
use guardprobe_core::model::observation::Evidence;
use guardprobe_core::model::verified::{Answered, Open, ToldCoverage, ToldRow, ToldTarget, Verified};
use jiff::Timestamp;
use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many places that are not judged are named in one line.
const NAMED: usize = 5;

/// Who was asked, and when, beside what came of it.
#[derive(Debug, Clone)]
pub struct Told<'a> {
    /// What came of it.
    pub outcome: &'a Outcome,
    /// When it was asked, by this machine's clock: for people, and for nothing else.
    pub asked: Timestamp,
    /// The reporter that answered.
    pub reporter: &'a str,
}

/// One line: a place, or one target of it.
struct Line<'a> {
    place: &'a Verified,
    target: Option<&'a ToldTarget>,
    verdict: Verdict,
    reason: String,
    means: String,
    next: &'static str,
}

/// What is said of one place: of each of its targets, or of all of it where it has none.
fn lines<'a>(outcome: &'a Outcome, place: &'a Verified) -> Vec<Line<'a>> {
    let Some(standing) = outcome.standing(place) else { return Vec::new() };
    let row = &place.row;
    let of = |target: &'a ToldTarget| {
        let (verdict, reason) = outcome.of_target(place, target);
        if reason == "late" {
            let (reason, means, next) = of_place(place, row);
            return Line { place, target: Some(target), verdict, reason, means, next };
        }
        let (mut means, next) = of_target(target, verdict, reason);
        if reason == Doubt::Unproved.as_str() && target.verdict == Verdict::Blocked {
            means = format!("{} {means}", lack_of_proof(target, outcome.proof));
        }
        Line { place, target: Some(target), verdict, reason: reason.to_owned(), means, next }
    };
    let mut all: Vec<Line<'a>> = row.targets.iter().map(of).collect();
    all.sort_by_key(|line| std::cmp::Reverse(line.verdict));
    // What is not known of the place itself is nobody's target.
    if all.iter().all(|line| line.verdict < standing) {
        let (reason, means, next) = of_place(place, row);
        all.insert(0, Line { place, target: None, verdict: standing, reason, means, next });
    }
    all
}

/// Which proof was wanted of a target that the reporter calls blocked, and which was got.
fn lack_of_proof(target: &ToldTarget, wanted: Option<Attribution>) -> String {
    let got = target.reason.parse::<Attribution>().ok();
    match wanted {
        Some(wanted) if got.is_some_and(|got| got < wanted) => {
            format!("Proof {} is wanted, and {} was got.", wanted.as_str(), target.reason)
        }
        _ => format!("The proof {} is of an earlier round.", target.reason),
    }
}

fn of_target(target: &ToldTarget, verdict: Verdict, reason: &str) -> (String, &'static str) {
    if let (Verdict::Breached, Some(open)) = (verdict, &target.open) {
        let words = explained(verdict, reason);
        let means = words.as_ref().map(|words| format!(" {}", words.means)).unwrap_or_default();
        return (opened(open) + &means, words.map_or("", |words| words.next));
    }
    let missing = match target.missing_addresses.len() {
        0 => String::new(),
        _ => format!(" {}", target.missing_addresses.join(", ")),
    };
    explained(verdict, reason).map_or_else(
        || ("a word that this version does not know".to_owned(), "Bring verify and the reporter to the same version."),
        |words| (format!("{}{missing}", words.means), words.next),
    )
}

/// Why a place has not answered.
fn of_place(place: &Verified, row: &ToldRow) -> (String, String, &'static str) {
    let since = row.uncovered_since.map(|since| format!(", since {}", time(since))).unwrap_or_default();
    let trouble = row.trouble.as_deref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
    match row.coverage {
        ToldCoverage::Uncovered | ToldCoverage::Grace => {
            let reason = row.reason.clone().unwrap_or_else(|| "uncovered".to_owned());
            let known = Gap::ALL.into_iter().find(|gap| gap.as_str() == reason).map(words::gap);
            let (means, next) = known.map_or(("the reporter does not say why", ""), |words| (words.means, words.next));
            (reason, format!("Nobody knows: {means}{trouble}{since}."), next)
        }
        _ if place.answered == Answered::Late => (
            "late".to_owned(),
            "No round of it, with every target, began since the question and ended in time.".to_owned(),
            "Wait longer (--wait), or look at the agent's log: does the prober run?",
        ),
        _ => ("no_targets".to_owned(), "Its agent names no target.".to_owned(), "Look at the agent's configuration."),
    }
}

fn opened(open: &Open) -> String {
    let at = if open.addresses.is_empty() { String::new() } else { format!(" at {}", open.addresses.join(", ")) };
    format!("Open since {}, as far as layer {}{at}.", time(open.started), open.layer)
}

/// A reason in words, where it is one of that verdict.
fn explained(verdict: Verdict, reason: &str) -> Option<words::Words> {
    match verdict {
        Verdict::Blocked => Attribution::ALL.into_iter().find(|proof| proof.as_str() == reason).map(words::attribution),
        Verdict::Breached => Evidence::ALL.into_iter().find(|evidence| evidence.as_str() == reason).map(words::evidence),
        Verdict::Inconclusive => Doubt::ALL.into_iter().find(|doubt| doubt.as_str() == reason).map(words::doubt),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Breached => "BREACHED",
        Verdict::Inconclusive => "NOT PROVEN",
        Verdict::Blocked => "blocked",
    }
}

/// The whole fleet as a page for people, with ANSI styles.
pub fn table(told: &Told<'_>, width: usize) -> String {
    let bad: Vec<Line<'_>> = bad_lines(told.outcome);
    let place = |line: &Line<'_>| clean(&format!("{}  {}", line.place.spot.guard, line.place.spot.node));
    let target = |line: &Line<'_>| line.target.map(|target| clean(&target.name)).unwrap_or_default();
    let widest = |of: &dyn Fn(&Line<'_>) -> String| bad.iter().map(|line| columns(&of(line))).max().unwrap_or(0);
    let (places, targets) = (widest(&place), widest(&target));
    let mut page = String::new();
    for line in &bad {
        let (place, target) = (place(line), target(line));
        let verdict = paint(colour(line.verdict), format!("{:<10}", word(line.verdict)));
        page += &format!("{verdict}  {place:<places$}  {target:<targets$}  {}\n", clean(&line.reason));
        page += &hang("            ", FAINT, &clean(&line.means), width);
    }
    let rest = well_lines(told.outcome, width) + &others(told.outcome, width);
    if !(bad.is_empty() || rest.is_empty()) {
        page.push('\n');
    }
    page += &rest;
    page + &closing(told, &bad, width)
}

/// Everything that is not well, worst first.
fn bad_lines(outcome: &Outcome) -> Vec<Line<'_>> {
    let all = outcome.places.iter().flat_map(|place| lines(outcome, place));
    let mut bad: Vec<Line<'_>> = all.filter(|line| line.verdict != Verdict::Blocked).collect();
    bad.sort_by_key(|line| std::cmp::Reverse(line.verdict));
    bad
}

/// How many nodes prove a target how well.
type Proofs<'a> = BTreeMap<(&'a str, String), usize>;

/// Places that are blocked, by guard: how many, and how well each target is proved.
fn well(outcome: &Outcome) -> BTreeMap<&str, (usize, Proofs<'_>)> {
    let mut guards: BTreeMap<&str, (usize, Proofs<'_>)> = BTreeMap::new();
    for place in outcome.places.iter().filter(|place| outcome.standing(place) == Some(Verdict::Blocked)) {
        let (nodes, proofs) = guards.entry(&place.spot.guard).or_default();
        *nodes += 1;
        for target in &place.row.targets {
            *proofs.entry((&target.name, target.reason.clone())).or_default() += 1;
        }
    }
    guards
}

fn proofs(proofs: &Proofs<'_>) -> String {
    let one = |((target, proof), nodes): (&(&str, String), &usize)| format!("{} {nodes} {}", clean(target), clean(proof));
    proofs.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn well_lines(outcome: &Outcome, width: usize) -> String {
    let line = |(guard, (nodes, of)): (&str, (usize, Proofs<'_>))| {
        let label = format!("{:<10}  {}  {}  ", word(Verdict::Blocked), clean(guard), count(nodes, "node"));
        let line = hang(&label, PLAIN, &proofs(&of), width);
        line.replacen(word(Verdict::Blocked), &paint(colour(Verdict::Blocked), word(Verdict::Blocked)), 1)
    };
    well(outcome).into_iter().map(line).collect()
}

/// Places that are not judged, and why.
fn others(outcome: &Outcome, width: usize) -> String {
    let named = |answered: Answered| {
        let names: Vec<String> = outcome
            .places
            .iter()
            .filter(|place| place.answered == answered)
            .map(|place| {
                let excuse = place.row.reason.as_ref().filter(|_| place.row.coverage == ToldCoverage::Grace);
                clean(&format!("{}{}", place.spot.node, excuse.map(|excuse| format!(" ({excuse})")).unwrap_or_default()))
            })
            .collect();
        some_of(&names)
    };
    let facts = [
        ("not judged  ", named(Answered::New), "new, or excused when the question was asked: "),
        ("gone        ", named(Answered::Gone), "there when the question was asked, and no more: "),
        (
            "left out    ",
            (outcome.excluded > 0).then(|| outcome.excluded.to_string()),
            "where no agent can be (Fargate, Windows, not selected): ",
        ),
    ];
    let told = facts.into_iter().filter_map(|(label, names, why)| Some(hang(label, FAINT, &format!("{why}{}", names?), width)));
    told.collect()
}

/// Some of many names; `None` where there is none.
pub fn some_of(names: &[String]) -> Option<String> {
    let more = names.len().saturating_sub(NAMED);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named: Vec<String> = names[..names.len() - more].iter().map(|name| clean(name)).collect();
    (!names.is_empty()).then(|| named.join(", ") + &tail)
}

/// The answer in one sentence.
pub fn summary(outcome: &Outcome) -> String {
    let judged = outcome.places.iter().filter_map(|place| outcome.standing(place)).collect::<Vec<_>>();
    let of = |verdict: Verdict| judged.iter().filter(|is| **is == verdict).count();
    let all = judged.len();
    match outcome.verdict {
        _ if all == 0 => "There is no node of which anything could be said.".to_owned(),
        Verdict::Breached => {
            format!("Pods of a guard can reach what it denies on {} of {}.", of(Verdict::Breached), count(all, "node"))
        }
        Verdict::Inconclusive if of(Verdict::Inconclusive) == 0 => {
            format!("Nothing is proved of {}: nothing of it is left that could answer.", clean(&outcome.nobody.join(", ")))
        }
        Verdict::Inconclusive => format!(
            "Nothing is proved on {} of {}: nobody knows whether the guard holds there.",
            of(Verdict::Inconclusive),
            count(all, "node")
        ),
        Verdict::Blocked => {
            format!("All that was tried is blocked on {}, by rounds that began after the question.", count(all, "node"))
        }
    }
}

fn closing(told: &Told<'_>, bad: &[Line<'_>], width: usize) -> String {
    let verdict = word(told.outcome.verdict).to_uppercase();
    let line = hang(&format!("{verdict}  "), BOLD, &summary(told.outcome), width);
    let mut closing = format!("\n{}", line.replacen(&verdict, &paint(colour(told.outcome.verdict), &verdict), 1));
    if let Some(worst) = bad.first().filter(|worst| !worst.next.is_empty()) {
        closing += &hang("  next: ", PLAIN, &next(worst, bad), width);
    }
    closing += &hang("  ", FAINT, &format!("asked at {}, answered by {}", time(told.asked), clean(told.reporter)), width);
    closing
}

/// What to do about the worst line, and on which nodes, where it is more than one.
fn next(worst: &Line<'_>, bad: &[Line<'_>]) -> String {
    let same = bad.iter().filter(|line| line.next == worst.next && line.verdict == worst.verdict);
    let mut nodes: Vec<String> = same.map(|line| line.place.spot.node.clone()).collect();
    nodes.sort();
    nodes.dedup();
    match some_of(&nodes) {
        Some(names) if nodes.len() > 1 => format!("{} This is so on {}: {names}.", worst.next, count(nodes.len(), "node")),
        _ => worst.next.to_owned(),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    asked: Timestamp,
    reporter: &'a str,
    verdict: Verdict,
    exit_status: u8,
    proof: Option<Attribution>,
    summary: String,
    excluded: usize,
    /// Guards, and nodes that were named, of which nothing is left that could answer.
    nobody: &'a [String],
    places: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    guard: &'a str,
    node: &'a str,
    answered: Answered,
    verdict: Option<Verdict>,
    coverage: ToldCoverage,
    reason: Option<&'a str>,
    targets: Vec<Target<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    name: &'a str,
    verdict: Verdict,
    reason: &'a str,
    since: Option<Timestamp>,
    open: Option<&'a Open>,
}

/// For programs, schema `guardprobe.verify/v1`.
pub fn document(told: &Told<'_>) -> String {
    let outcome = told.outcome;
    json(&Document {
        schema: names::VERIFY_SCHEMA,
        asked: told.asked,
        reporter: told.reporter,
        verdict: outcome.verdict,
        exit_status: outcome.exit_status(),
        proof: outcome.proof,
        summary: summary(outcome),
        excluded: outcome.excluded,
        nobody: &outcome.nobody,
        places: outcome.places.iter().map(|place| place_of(outcome, place)).collect(),
    })
}

fn place_of<'a>(outcome: &Outcome, place: &'a Verified) -> Place<'a> {
    let of = |target: &'a ToldTarget| {
        let (verdict, reason) = outcome.of_target(place, target);
        Target { name: &target.name, verdict, reason, since: target.since, open: target.open.as_ref() }
    };
    Place {
        guard: &place.spot.guard,
        node: &place.spot.node,
        answered: place.answered,
        verdict: outcome.standing(place),
        coverage: place.row.coverage,
        reason: place.row.reason.as_deref(),
        targets: place.row.targets.iter().map(of).collect(),
    }
}

/// For pipelines: a suite for each guard, a case for each node and target. What is not judged is skipped.
///
/// # Errors
/// When the XML can't be written; nothing is known that does that.
pub fn junit(told: &Told<'_>) -> Result<String, SerializeError> {
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for place in &told.outcome.places {
        let guard = place.spot.guard.as_str();
        let suite = suites.entry(guard).or_insert_with(|| {
            let mut suite = TestSuite::new(clean(guard));
            suite.extra.insert("timestamp".into(), time(told.asked).into());
            suite.add_property(("reporter", clean(told.reporter).as_str()));
            suite
        });
        suite.add_test_cases(cases(told.outcome, place));
    }
    let mut results = quick_junit::Report::new("guardprobe verify");
    results.add_test_suites(suites.into_values());
    if !told.outcome.nobody.is_empty() {
        let mut left = TestSuite::new("nothing left that could answer");
        left.add_test_cases(told.outcome.nobody.iter().map(|of| {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message("nothing of it is left that could answer");
            TestCase::new(clean(of), status)
        }));
        results.add_test_suite(left);
    }
    results.to_string()
}

fn cases(outcome: &Outcome, place: &Verified) -> Vec<TestCase> {
    let named = |name: String, status: TestCaseStatus| {
        let mut case = TestCase::new(clean(&name), status);
        case.set_classname(clean(&place.spot.guard));
        case
    };
    let said = lines(outcome, place);
    if said.is_empty() {
        let why = if place.answered == Answered::Gone {
            "gone since the question was asked"
        } else {
            "new, or excused when the question was asked"
        };
        let mut status = TestCaseStatus::skipped();
        status.set_message(why);
        return vec![named(place.spot.node.clone(), status)];
    }
    let case = |line: &Line<'_>| {
        let name = line.target.map_or_else(|| place.spot.node.clone(), |target| format!("{} {}", place.spot.node, target.name));
        let message = clean(&format!("{}: {}: {}", line.verdict.as_str(), line.reason, line.means));
        let mut status = match line.verdict {
            Verdict::Blocked => TestCaseStatus::success(),
            Verdict::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
            Verdict::Breached => TestCaseStatus::non_success(NonSuccessKind::Failure),
        };
        if line.verdict != Verdict::Blocked {
            status.set_type(clean(&line.reason)).set_message(&message).set_description(line.next);
        }
        let mut case = named(name, status);
        if line.verdict == Verdict::Blocked {
            case.set_system_out(message);
        }
        case
    };
    said.iter().map(case).collect()
}

/// For a comment on a pull request.
pub fn markdown(told: &Told<'_>) -> String {
    let outcome = told.outcome;
    let mark = match outcome.verdict {
        Verdict::Blocked => "✅ blocked",
        Verdict::Breached => "❌ breached",
        Verdict::Inconclusive => "⚠️ not proven",
    };
    let mut text = format!("### guardprobe verify: {mark}\n\n{}\n", summary(outcome));
    let bad = bad_lines(outcome);
    if !bad.is_empty() {
        text += "\n| | guard | node | target | reason | what it means |\n| --- | --- | --- | --- | --- | --- |\n";
    }
    for line in &bad {
        let target = line.target.map(|target| target.name.as_str()).unwrap_or_default();
        let cells = [word(line.verdict), &line.place.spot.guard, &line.place.spot.node, target, &line.reason, &line.means];
        text += &format!("| {} |\n", cells.map(cell_of).join(" | "));
    }
    let well = well(outcome);
    if !well.is_empty() {
        text.push('\n');
    }
    for (guard, (nodes, of)) in well {
        text += &format!("* {}: {} blocked ({})\n", cell_of(guard), count(nodes, "node"), cell_of(&proofs(&of)));
    }
    let proof = outcome.proof.map_or("the reporter's".to_owned(), |proof| format!("`{}`", proof.as_str()));
    text + &format!("\nAsked at {}, proof at least {proof}.\n", time(told.asked))
}

/// Text from outside in a cell: nothing in it is markup.
fn cell_of(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        if matches!(c, '|' | '<' | '>' | '[' | ']' | '*' | '_' | '`' | '\\' | '#' | '~' | '&' | '@' | '!') {
            out.push('\\');
        }
        out.push(c);
    }
    // A bare URL, and what begins with www., becomes a link without any markup (GitHub Flavored Markdown, 6.9).
    out.replace("://", "\\://").replace("www.", "www\\.")
}

/// How one place stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceState {
    /// Guard and node.
    place: String,
    answered: Answered,
    /// The worst of it; `None` where it is not judged.
    verdict: Option<Verdict>,
    /// Each target with verdict and reason.
    targets: Vec<(String, Verdict, String)>,
}

impl PlaceState {
    /// The state of each target in words; of the place itself, without a name, where it has none.
    fn states(&self) -> Vec<(String, String)> {
        if self.targets.is_empty() {
            let verdict = self.verdict.map_or("not judged", Verdict::as_str);
            return vec![(String::new(), verdict.to_owned())];
        }
        let of = |(name, verdict, reason): &(String, Verdict, String)| (name.clone(), format!("{}: {reason}", verdict.as_str()));
        self.targets.iter().map(of).collect()
    }

    fn state_of(&self, target: &str) -> Option<String> {
        self.states().into_iter().find(|(name, _)| name == target).map(|(_, state)| state)
    }
}

/// What of an outcome is worth telling when it changes.
pub fn standings(outcome: &Outcome) -> Vec<PlaceState> {
    let targets = |place: &Verified| {
        let of = |target: &ToldTarget| {
            let (verdict, reason) = outcome.of_target(place, target);
            (target.name.clone(), verdict, reason.to_owned())
        };
        place.row.targets.iter().map(of).collect()
    };
    let of = |place: &Verified| PlaceState {
        place: format!("{} {}", place.spot.guard, place.spot.node),
        answered: place.answered,
        verdict: outcome.standing(place),
        targets: targets(place),
    };
    outcome.places.iter().map(of).collect()
}

/// What changed between two outcomes: a line for each target, or for a node that has none; and the answer in one sentence.
pub fn changes(before: &[PlaceState], told: &Told<'_>, width: usize) -> String {
    let now = standings(told.outcome);
    let mut page = String::new();
    let known: BTreeMap<&str, &PlaceState> = before.iter().map(|standing| (standing.place.as_str(), standing)).collect();
    for standing in &now {
        let earlier = known.get(standing.place.as_str());
        for (name, state) in standing.states() {
            let was = earlier.and_then(|earlier| earlier.state_of(&name));
            if was.as_ref() != Some(&state) {
                let was = was.unwrap_or_else(|| "not known".to_owned());
                let place = if name.is_empty() { standing.place.clone() } else { format!("{} {name}", standing.place) };
                page += &hang("changed     ", PLAIN, &clean(&format!("{place}: {was} -> {state}")), width);
            }
        }
    }
    let gone = before.iter().filter(|earlier| !now.iter().any(|standing| standing.place == earlier.place));
    gone.for_each(|earlier| page += &hang("changed     ", PLAIN, &clean(&format!("{}: no longer there", earlier.place)), width));
    page + &closing(told, &bad_lines(told.outcome), width) + "\n"
}

/// For programs, where there was no answer.
pub fn no_document(why: &str, status: u8) -> String {
    let verdict = Verdict::Inconclusive;
    json(
        &serde_json::json!({"schema": names::VERIFY_SCHEMA, "verdict": verdict, "exit_status": status, "error": why, "places": []}),
    )
}

/// For a comment on a pull request, where there was no answer.
pub fn no_markdown(why: &str) -> String {
    format!("### guardprobe verify: ⚠️ not proven\n\n{}\n", cell_of(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardprobe_core::model::verified::Spot;

    #[test]
    fn whoever_is_not_left_is_told_in_every_form() {
        let nobody = vec!["guard d/h".to_owned()];
        let outcome = Outcome { places: vec![], verdict: Verdict::Inconclusive, proof: None, excluded: 0, nobody };
        let told = Told { outcome: &outcome, asked: "2026-11-26T12:00:00Z".parse().unwrap(), reporter: "r" };
        assert!(junit(&told).unwrap().contains(r#"<testcase name="guard d/h""#), "{}", junit(&told).unwrap());
        assert!(junit(&told).unwrap().contains(r#"errors="1""#));
        let document: serde_json::Value = serde_json::from_str(&document(&told)).unwrap();
        assert_eq!((&document["exit_status"], &document["nobody"][0]), (&3.into(), &"guard d/h".into()));
        let one = Outcome { places: vec![place()], verdict: Verdict::Inconclusive, ..outcome.clone() };
        for text in [table(&Told { outcome: &one, ..told.clone() }, 80), markdown(&Told { outcome: &one, ..told })] {
            assert!(text.contains("Nothing is proved of guard d/h"), "{text}");
        }
    }

    fn outcome(places: Vec<Verified>, proof: Option<Attribution>, verdict: Verdict) -> Outcome {
        Outcome { places, verdict, proof, excluded: 0, nobody: vec![] }
    }

    fn told(outcome: &Outcome) -> Told<'_> {
        Told { outcome, asked: "2026-11-26T12:00:00Z".parse().unwrap(), reporter: "r" }
    }

    /// A place whose one target is like that.
    fn place_with(node: &str, verdict: Verdict, reason: &str) -> Verified {
        let mut place = place();
        (place.spot.node, place.row.spot.node) = (node.into(), node.into());
        place.row.targets[0].verdict = verdict;
        place.row.targets[0].reason = reason.into();
        place
    }

    #[test]
    fn what_to_do_next_names_the_nodes_where_it_is_more_than_one() {
        let three = ["n1", "n2", "n3"].map(|node| place_with(node, Verdict::Inconclusive, "unproved")).to_vec();
        let all = outcome(three, None, Verdict::Inconclusive);
        assert!(table(&told(&all), 400).contains("This is so on 3 nodes: n1, n2, n3."), "{}", table(&told(&all), 400));
        let one = outcome(vec![place_with("n1", Verdict::Inconclusive, "unproved")], None, Verdict::Inconclusive);
        assert!(!table(&told(&one), 400).contains("This is so"));
    }

    #[test]
    fn less_proof_than_asked_for_says_which_was_wanted_and_which_was_got() {
        let weak = outcome(vec![place()], Some(Attribution::Witnessed), Verdict::Inconclusive);
        let page = table(&told(&weak), 400);
        assert!(page.contains("Proof witnessed is wanted, and silence was got."), "{page}");
    }

    #[test]
    fn who_watches_sees_what_changed() {
        let before = outcome(
            vec![place_with("n1", Verdict::Blocked, "silence"), place_with("n2", Verdict::Blocked, "silence")],
            None,
            Verdict::Blocked,
        );
        let now = outcome(
            vec![place_with("n1", Verdict::Breached, "connected"), place_with("n3", Verdict::Blocked, "silence")],
            None,
            Verdict::Breached,
        );
        let page = changes(&standings(&before), &told(&now), 400);
        for line in [
            "d/g n1 imds: blocked: silence -> breached: connected",
            "d/g n3 imds: not known -> blocked: silence",
            "d/g n2: no longer there",
        ] {
            assert!(page.contains(&format!("changed     {line}\n")), "{line} in {page}");
        }
        assert_eq!(page.matches("changed").count(), 3, "{page}");
    }

    #[test]
    fn nothing_from_outside_becomes_a_link() {
        let cell = cell_of("see https://evil.example or www.evil.example, mail a@b.example");
        assert_eq!(cell, "see https\\://evil.example or www\\.evil.example, mail a\\@b.example");
    }

    /// A place that is blocked.
    fn place() -> Verified {
        let target = ToldTarget {
            name: "imds".into(),
            verdict: Verdict::Blocked,
            reason: "silence".into(),
            since: None,
            held: false,
            open: None,
            missing_addresses: vec![],
        };
        let spot = Spot { guard: "d/g".into(), node: "n1".into() };
        let row = ToldRow {
            spot: spot.clone(),
            coverage: ToldCoverage::Covered,
            reason: None,
            trouble: None,
            pod: None,
            report: None,
            age: None,
            took: None,
            uncovered_since: None,
            targets: vec![target],
        };
        Verified { spot, answered: Answered::Fresh, row }
    }
}
