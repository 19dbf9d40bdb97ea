//! What `verify` waits for, and what it says in the end.
//!
//! Which places owe an answer is settled once, by the first look at the fleet. Each then owes a round that *began* after the question was asked. No two
//! machines' clocks are compared for that: how old a round is says its agent's report and the reporter that received it, each by its own
//! monotonic clock, and when an answer was asked for says ours. A report that the reporter still had from before is older than that, however
//! late it is looked at; numbers of rounds could not tell, since a reporter may be two rounds behind when the question comes.
use crate::model::finding::{Attribution, Verdict};
use crate::model::names;
use crate::model::verified::{Answered, Spot, ToldCoverage, ToldRow, ToldTarget, Verified};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Which places are asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these guards; all where there is none.
    pub guards: BTreeSet<String>,
    /// Only these nodes; all where there is none.
    pub nodes: BTreeSet<String>,
}

impl Scope {
    fn holds(&self, spot: &Spot) -> bool {
        let named = |names: &BTreeSet<String>, name: &str| names.is_empty() || names.contains(name);
        named(&self.guards, &spot.guard) && named(&self.nodes, &spot.node)
    }
}

/// A question to the whole fleet, and the answers so far.
#[derive(Debug, Clone)]
pub struct Question {
    scope: Scope,
    /// When it was asked, by our monotonic clock.
    asked: Duration,
    /// The least attribution that is accepted; without one the reporter's word counts, which has a threshold of its own.
    proof: Option<Attribution>,
    expected: BTreeMap<Spot, Place>,
    new: BTreeMap<Spot, ToldRow>,
    /// Every guard that was told of.
    guards: BTreeSet<String>,
    excluded: usize,
}

#[derive(Debug, Clone)]
struct Place {
    row: ToldRow,
    /// The targets that it had when it was asked: an answer speaks of each.
    targets: BTreeSet<String>,
    fresh: bool,
    gone: bool,
}

/// How many places have answered, and how many are still waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Places that owe an answer and are there.
    pub expected: usize,
    /// Those that have answered.
    pub answered: usize,
    /// Those of them that said more than that they prove nothing yet: after an upgrade agents start anew, and files are on their way to them.
    pub settled: usize,
}

impl Question {
    /// Asked at `asked`, by our clock; `first` is the fleet as it was told then or later. Places in grace and those where no agent can be owe nothing.
    pub fn new(scope: Scope, proof: Option<Attribution>, asked: Duration, first: Vec<ToldRow>) -> Self {
        let first: Vec<ToldRow> = one_each(first, |_| false).into_iter().filter(|row| scope.holds(&row.spot)).collect();
        let excluded = first.iter().filter(|row| row.coverage == ToldCoverage::Excluded).count();
        let guards = first.iter().map(|row| row.spot.guard.clone()).collect();
        let mut question = Question { scope, asked, proof, expected: BTreeMap::new(), new: BTreeMap::new(), guards, excluded };
        for row in first {
            match row.coverage {
                _ if owes_an_answer(&row) => {
                    let targets = row.targets.iter().map(|target| target.name.clone()).collect();
                    let place = Place { fresh: false, gone: false, targets, row };
                    question.expected.insert(place.row.spot.clone(), place);
                }
                ToldCoverage::Excluded => {}
                _ => drop(question.new.insert(row.spot.clone(), row)),
            }
        }
        question
    }

    /// Takes in the fleet as it was told to somebody who asked for it at `sent`.
    pub fn hear(&mut self, sent: Duration, rows: Vec<ToldRow>) {
        let mut there: BTreeSet<Spot> = BTreeSet::new();
        let asked = self.asked;
        let answers = |row: &ToldRow| began_after(row, asked, sent);
        for row in one_each(rows, answers).into_iter().filter(|row| self.scope.holds(&row.spot)) {
            there.insert(row.spot.clone());
            match self.expected.get_mut(&row.spot) {
                Some(place) => {
                    let fresh = answers(&row) && has_all(&row, &place.targets);
                    place.gone = false;
                    // What answered once has answered, and what was open is: only another answer takes its place, or worse news. A reporter that
                    // took over may know less.
                    if fresh || is_open(&row) || !(place.fresh || is_open(&place.row)) {
                        (place.fresh, place.row) = (place.fresh || fresh, row);
                    }
                }
                None if row.coverage != ToldCoverage::Excluded || is_open(&row) => drop(self.new.insert(row.spot.clone(), row)),
                None => {}
            }
        }
        self.expected.iter_mut().for_each(|(spot, place)| place.gone = !there.contains(spot));
        self.new.retain(|spot, row| there.contains(spot) || is_open(row));
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let there = self.expected.values().filter(|place| !place.gone);
        let answered = there.clone().filter(|place| place.fresh).count();
        Progress { expected: there.clone().count(), answered, settled: there.filter(|place| self.is_settled(place)).count() }
    }

    /// Whether something is known to be open: then what proves nothing yet cannot make the answer another one.
    pub fn is_breached(&self) -> bool {
        self.expected.values().map(|place| &place.row).chain(self.new.values()).any(is_open)
    }

    /// The places that are still waited for, and why one that answered is.
    pub fn waiting(&self) -> impl Iterator<Item = (&Spot, Option<&str>)> {
        let waits = self.expected.iter().filter(|(_, place)| !place.gone && !self.is_settled(place));
        waits.map(|(spot, place)| (spot, self.doubt(place)))
    }

    fn is_settled(&self, place: &Place) -> bool {
        place.fresh && stands(Answered::Fresh, &place.row, self.proof) != Some(Verdict::Inconclusive)
    }

    /// The reason of the first target that proves nothing, where that was answered.
    fn doubt<'a>(&self, place: &'a Place) -> Option<&'a str> {
        let judged = place.row.targets.iter().map(|target| of_target(Answered::Fresh, target, self.proof));
        judged.filter(|(verdict, _)| place.fresh && *verdict == Verdict::Inconclusive).map(|(_, reason)| reason).next()
    }

    /// The guards that were told of or asked about, and the nodes that were named, of which there is no place that can be judged: of these nothing
    /// will be proved.
    pub fn nobody(&self) -> Vec<String> {
        let there = self.expected.iter().filter(|(_, place)| !place.gone || is_open(&place.row)).map(|(spot, _)| spot);
        let open = self.new.iter().filter(|(_, row)| is_open(row)).map(|(spot, _)| spot);
        let (guards, nodes): (BTreeSet<&String>, BTreeSet<&String>) =
            there.chain(open).map(|spot| (&spot.guard, &spot.node)).unzip();
        let guards = self.guards.union(&self.scope.guards).filter(|guard| !guards.contains(guard));
        let nodes = self.scope.nodes.iter().filter(|node| !nodes.contains(node));
        guards.map(|guard| format!("guard {guard}")).chain(nodes.map(|node| format!("node {node}"))).collect()
    }

    /// What can be said now, the worst first.
    pub fn outcome(&self) -> Outcome {
        let of = |(spot, place): (&Spot, &Place)| {
            let answered = match (place.gone, place.fresh) {
                (true, _) => Answered::Gone,
                (false, true) => Answered::Fresh,
                (false, false) => Answered::Late,
            };
            Verified { spot: spot.clone(), answered, row: place.row.clone() }
        };
        let new = |(spot, row): (&Spot, &ToldRow)| Verified { spot: spot.clone(), answered: Answered::New, row: row.clone() };
        let mut places: Vec<Verified> = self.expected.iter().map(of).chain(self.new.iter().map(new)).collect();
        places.sort_by_key(|place| (std::cmp::Reverse(standing(place, self.proof)), place.spot.clone()));
        let nobody = self.nobody();
        let judged = places.iter().filter_map(|place| standing(place, self.proof));
        let worst = judged.max().unwrap_or(Verdict::Inconclusive);
        let verdict = if nobody.is_empty() { worst } else { worst.max(Verdict::Inconclusive) };
        Outcome { places, verdict, proof: self.proof, excluded: self.excluded, nobody }
    }
}

/// One row of each place: a teller that says two things of one says the worse.
fn one_each(rows: Vec<ToldRow>, answers: impl Fn(&ToldRow) -> bool) -> Vec<ToldRow> {
    let worse = |row: &ToldRow| {
        let doubt = row.targets.iter().map(|target| target.verdict).max().unwrap_or(Verdict::Inconclusive);
        (is_open(row), row.coverage != ToldCoverage::Covered, !answers(row), doubt)
    };
    let mut each: BTreeMap<Spot, ToldRow> = BTreeMap::new();
    for row in rows {
        match each.get(&row.spot) {
            Some(before) if worse(before) >= worse(&row) => {}
            _ => drop(each.insert(row.spot.clone(), row)),
        }
    }
    each.into_values().collect()
}

fn has_all(row: &ToldRow, targets: &BTreeSet<String>) -> bool {
    targets.iter().all(|name| row.targets.iter().any(|target| target.name == *name))
}

/// Places with an excuse of their own, and those where no agent can be, owe nothing, unless something is known to be open there. That the reporter has
/// just started is nobody's excuse.
fn owes_an_answer(row: &ToldRow) -> bool {
    match row.coverage {
        ToldCoverage::Covered | ToldCoverage::Uncovered => true,
        ToldCoverage::Grace => row.reason.as_deref() == Some("reporter_starting") || is_open(row),
        ToldCoverage::Excluded => is_open(row),
    }
}

fn is_open(row: &ToldRow) -> bool {
    row.targets.iter().any(|target| target.verdict == Verdict::Breached)
}

/// Whether the newest round of a row began after that moment. The row was told to somebody who asked at `sent`: it is as old as it says by
/// then, or older by what its report was on the way, for which there is a margin.
fn began_after(row: &ToldRow, asked: Duration, sent: Duration) -> bool {
    let (ToldCoverage::Covered, Some(age), Some(took)) = (row.coverage, row.age, row.took) else { return false };
    // A process that has not finished a round has none to show.
    let starting = row.targets.is_empty() || row.targets.iter().any(|target| target.reason == "starting");
    !starting
        && sent
            .checked_sub(age)
            .and_then(|ended| ended.checked_sub(took))
            .is_some_and(|began| began > asked + names::VERIFY_MARGIN)
}

/// What is said in the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Every place, the worst first.
    pub places: Vec<Verified>,
    /// The worst of those that are judged; inconclusive where there is none.
    pub verdict: Verdict,
    /// The least attribution that was accepted; the reporter's own where nobody said.
    pub proof: Option<Attribution>,
    /// How many places were left out, since no agent can be there.
    pub excluded: usize,
    /// The guards, and the nodes that were named, of which there is no place left that could be judged.
    pub nobody: Vec<String>,
}

/// The exit status of DESIGN §6.
pub fn exit_status(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Blocked => names::EXIT_BLOCKED,
        Verdict::Breached => names::EXIT_BREACHED,
        Verdict::Inconclusive => names::EXIT_NOT_PROVEN,
    }
}

impl Outcome {
    /// The exit status of its verdict.
    pub fn exit_status(&self) -> u8 {
        exit_status(self.verdict)
    }

    /// How one place stands, where it is judged.
    pub fn standing(&self, place: &Verified) -> Option<Verdict> {
        standing(place, self.proof)
    }

    /// How one target of a place stands, and the reason.
    pub fn of_target<'a>(&self, place: &Verified, target: &'a ToldTarget) -> (Verdict, &'a str) {
        of_target(place.answered, target, self.proof)
    }
}

fn of_target(answered: Answered, target: &ToldTarget, proof: Option<Attribution>) -> (Verdict, &str) {
    match target.verdict {
        // A breach that is open is one, whoever was late.
        Verdict::Breached => (Verdict::Breached, &target.reason),
        _ if answered != Answered::Fresh => (Verdict::Inconclusive, "late"),
        Verdict::Blocked if !target.held && target.reason.parse::<Attribution>().is_ok_and(|is| Some(is) >= proof) => {
            (Verdict::Blocked, &target.reason)
        }
        Verdict::Blocked => (Verdict::Inconclusive, "unproved"),
        Verdict::Inconclusive => (Verdict::Inconclusive, &target.reason),
    }
}

/// The worst of a place; `None` where it is not judged.
fn standing(place: &Verified, proof: Option<Attribution>) -> Option<Verdict> {
    stands(place.answered, &place.row, proof)
}

fn stands(answered: Answered, row: &ToldRow, proof: Option<Attribution>) -> Option<Verdict> {
    if is_open(row) {
        return Some(Verdict::Breached);
    }
    if matches!(answered, Answered::Gone | Answered::New) {
        return None;
    }
    let targets = row.targets.iter().map(|target| of_target(answered, target, proof).0).max();
    let known = if row.coverage == ToldCoverage::Covered && answered == Answered::Fresh {
        Verdict::Blocked
    } else {
        Verdict::Inconclusive
    };
    Some(targets.unwrap_or(Verdict::Inconclusive).max(known))
}

#[cfg(test)]
mod tests;
