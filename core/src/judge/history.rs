//! The history of the targets: what many findings, one after the other, mean.
//!
//! | rule | when | then |
//! | --- | --- | --- |
//! | open | a round finds a breach | an opening begins at the first connection; a sentinel's connection just before is the first |
//! | close | two rounds in a row tried what had connected and did not reach it ([`closing`]) | it ended when the first of them began |
//! | restart | rules 1 to 4 decide a round, or a sentinel connects | those rounds are counted again |
//! | transient | a sentinel connects, and its own round connects nowhere | an opening on record, but no breach |
//! | starting | the startup window is open | connections are startup exposure; what is open at its end began with the process |
//! | held proof | a round that looks blocked proves too little | `blocked` stands while its last proof is younger than a minute |
//! | ending | the process was asked to end | connections are end exposure; an opening that was open stays so |
//!
//! Time comes in as [`Moment`]s; nothing here reads a clock, and nothing depends on the wall clock going forward.
use super::closing::{self, Effect, ListedAddress, Streak};
use super::earned::Earned;
use super::finding::{self, Judged};
use crate::model::finding::{Attribution, Doubt, Finding, Reason, Verdict};
use crate::model::moment::Moment;
use crate::model::names;
use crate::model::observation::{Evidence, Layer, NotReached, Observation};
use crate::model::report::{ClosedOpening, HeldProof, Opening};
use crate::model::round::TargetRound;
use crate::model::transition::{Event, Told, Transition};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// The histories of all targets of one process.
#[derive(Debug, Clone)]
pub struct Histories {
    boot: String,
    /// Of the next opening.
    sequence: u64,
    began: Moment,
    /// How long a round vouches for its verdict: an interval, and the longest that a round may take.
    pace: Duration,
    asked_to_end: Option<Moment>,
    targets: Vec<History>,
}

/// The history of one target.
#[derive(Debug, Clone)]
pub struct History {
    name: String,
    finding: Finding,
    attribution: Option<Attribution>,
    rule: u8,
    why: String,
    since: Timestamp,
    /// The newest round that proved the target blocked, unless something connected since: when it began, and how well.
    last_proof: Option<(Moment, Attribution)>,
    /// The proof on which `blocked` stands while the newest round proves less.
    held_proof: Option<HeldProof>,
    open: Option<Open>,
    /// The rounds in a row that did not reach an address, of each address of the newest round.
    streaks: BTreeMap<SocketAddr, Streak<Moment>>,
    recent: VecDeque<ClosedOpening>,
    /// A sentinel's connection whose round is yet to come, and where it led.
    suspicion: Option<(Moment, SocketAddr)>,
    /// True while the target was open when the startup window ended, until its first round says more.
    open_since_start: bool,
    earned: Earned,
    totals: Totals,
}

/// What happened to a target in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// How many breaches began.
    pub breaches: u64,
    /// How many openings were transient.
    pub transients: u64,
    /// When the last breach began.
    pub last_start: Option<Timestamp>,
    /// When the last breach that is over ended.
    pub last_end: Option<Timestamp>,
    /// How long after the start of the process it still connected while the startup window was open.
    pub startup_exposure: Duration,
    /// How long after the process was asked to end it connected.
    pub end_exposure: Duration,
}

/// A breach that is open.
#[derive(Debug, Clone)]
struct Open {
    record: Opening,
    began: Moment,
    /// The newest connection.
    last: Moment,
}

/// What must differ for a state to be another one.
type State = (Verdict, Reason, Option<(String, Layer, Evidence, usize)>, u64, bool, bool);

impl Histories {
    /// Histories that begin with the process, `starting`. `boot` is its random id, `vouched` how long a round vouches for its verdict.
    pub fn new(boot: &str, began: Moment, vouched: Duration, targets: impl Iterator<Item = String>) -> Self {
        let targets = targets.map(|name| History::new(name, began.wall)).collect();
        Histories { boot: boot.to_owned(), sequence: 1, began, pace: vouched, asked_to_end: None, targets }
    }

    /// All of them, in the order of the configuration.
    pub fn all(&self) -> &[History] {
        &self.targets
    }

    /// A try of the startup window connected.
    pub fn startup_connected(&mut self, target: usize, at: Moment) -> Option<Transition> {
        self.step(target, at, |history, _| {
            history.totals.startup_exposure = history.totals.startup_exposure.max(at.up);
        })
    }

    /// The startup window is over, and this target was or was not open at its end.
    pub fn startup_over(&mut self, target: usize, open: bool) {
        self.targets[target].open_since_start = open;
    }

    /// The process was asked to end: what connects from now on may do so because its rules went first.
    pub fn asked_to_end(&mut self, at: Moment) {
        self.asked_to_end.get_or_insert(at);
    }

    /// A sentinel connected. Its round, which is to follow, says what that was.
    pub fn sentinel_connected(&mut self, target: usize, at: Moment, address: SocketAddr) -> Option<Transition> {
        self.step(target, at, |history, all| {
            history.last_proof = None;
            history.streaks.clear();
            match &mut history.open {
                Some(open) => open.connected(at, address),
                None if all.ending.is_some() => {}
                None => {
                    history.suspicion.get_or_insert((at, address));
                }
            }
        })
    }

    /// What is known of a target while its round, which began at `began`, still goes on. Only a breach is news by then.
    pub fn in_round(
        &mut self,
        target: usize,
        began: Moment,
        now: Moment,
        seen: &TargetRound,
        judged: &Judged,
    ) -> Option<Transition> {
        let Finding::Breached(_) = judged.finding else { return None };
        self.step(target, now, |history, all| history.find(began, now, seen, judged, all))
    }

    /// A target's round, which began at `began`, is over.
    pub fn finished(
        &mut self,
        target: usize,
        began: Moment,
        now: Moment,
        seen: &TargetRound,
        judged: &Judged,
    ) -> Option<Transition> {
        self.step(target, now, |history, all| {
            history.settle_suspicion(began, seen, all);
            history.find(began, now, seen, judged, all);
            (history.open_since_start, history.suspicion) = (false, None);
        })
    }

    /// True when the newest round was the second in a row that did not reach an address: then a breach that another process saw is over.
    pub fn may_end_a_breach(&self) -> bool {
        let second = |streak: &Streak<Moment>| streak.previous == Some(streak.first);
        self.targets.iter().any(|history| history.streaks.values().any(second))
    }

    /// What each verdict of a target has earned at `up` after process start, in the order of [`Verdict::ALL`]: together just that time.
    pub fn earned(&self, target: usize, up: Duration) -> [Duration; 3] {
        self.targets[target].earned.at(up)
    }

    /// Changes one history, and tells whether it is another state now.
    fn step(&mut self, target: usize, now: Moment, change: impl FnOnce(&mut History, &mut All<'_>)) -> Option<Transition> {
        let mut all = All {
            boot: &self.boot,
            sequence: &mut self.sequence,
            process_began: self.began,
            vouched: self.pace,
            ending: self.asked_to_end,
        };
        let history = &mut self.targets[target];
        let (before, was_open) = (history.state(), history.open.as_ref().map(|open| open.record.clone()));
        change(history, &mut all);
        (before != history.state()).then(|| history.transition(now.wall, &before, was_open))
    }
}

/// What a history needs to know of all of them.
struct All<'a> {
    boot: &'a str,
    sequence: &'a mut u64,
    process_began: Moment,
    vouched: Duration,
    ending: Option<Moment>,
}

impl All<'_> {
    fn next_id(&mut self) -> String {
        let id = format!("{}.{}", self.boot, self.sequence);
        *self.sequence += 1;
        id
    }
}

impl History {
    fn new(name: String, began: Timestamp) -> Self {
        History {
            name,
            finding: Finding::Inconclusive(Doubt::Starting),
            attribution: None,
            rule: 0,
            why: "the startup window is open: the guard may still be on its way".to_owned(),
            since: began,
            last_proof: None,
            held_proof: None,
            open: None,
            streaks: BTreeMap::new(),
            recent: VecDeque::new(),
            suspicion: None,
            open_since_start: false,
            earned: Earned::new(),
            totals: Totals::default(),
        }
    }

    /// The state after history.
    pub fn verdict(&self) -> Verdict {
        match () {
            () if self.open.is_some() => Verdict::Breached,
            () if self.held_proof.is_some() => Verdict::Blocked,
            () => self.finding.verdict(),
        }
    }

    /// The reason of the newest finding; while a proof is held, how well that proves the verdict.
    pub fn reason(&self) -> Reason {
        match self.held_proof.filter(|_| self.open.is_none()) {
            Some(held) => Reason::Proof(held.attribution),
            None => self.finding.reason(),
        }
    }

    /// How well the newest round alone proves that the target is blocked, before any threshold.
    pub fn attribution(&self) -> Option<Attribution> {
        self.attribution
    }

    /// The proof of an earlier round on which `blocked` stands, with its age at the end of the newest round.
    pub fn held_proof(&self) -> Option<HeldProof> {
        self.held_proof.filter(|_| self.open.is_none())
    }

    /// What the newest round alone says.
    pub fn finding(&self) -> Finding {
        self.finding
    }

    /// The number of the rule that decided it; 0 before the first round.
    pub fn rule(&self) -> u8 {
        self.rule
    }

    /// That rule and what it rests on, in words.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Since when the verdict stands.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The breach that is open, if one is.
    pub fn opening(&self) -> Option<&Opening> {
        self.open.as_ref().map(|open| &open.record)
    }

    /// The last closed ones, newest first, at most [`names::RECENT_MAX`].
    pub fn recent(&self) -> impl Iterator<Item = &ClosedOpening> {
        self.recent.iter()
    }

    /// What happened in this process.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// A sentinel connected, and this is its round: one that connects nowhere makes it a transient opening.
    fn settle_suspicion(&mut self, began: Moment, seen: &TargetRound, all: &mut All<'_>) {
        if newly_connected(seen).next().is_some() {
            return;
        }
        let Some((at, address)) = self.suspicion.take() else { return };
        let record = Opening {
            id: all.next_id(),
            started: at.wall,
            last_connected: at.wall,
            layer: Layer::Tcp,
            evidence: Evidence::Connected,
            addresses: vec![address],
        };
        self.totals.transients += 1;
        self.remember(ClosedOpening { opening: record, ended: at.wall_at(began), attribution: None, transient: true });
    }

    /// Takes in what a round says so far.
    fn find(&mut self, began: Moment, now: Moment, seen: &TargetRound, judged: &Judged, all: &mut All<'_>) {
        let mut finding = judged.finding;
        let before = self.verdict();
        match finding {
            Finding::Breached(_) if self.open.is_none() && all.ending.is_some() => {
                finding = Finding::Inconclusive(Doubt::Ending);
                self.exposed_at_the_end(now, all);
            }
            Finding::Breached(evidence) => self.breached(began, seen, evidence, all),
            Finding::Blocked(_) | Finding::Inconclusive(_) => {}
        }
        self.count(began, seen, finding);
        let since = self.close(seen, judged.attribution).unwrap_or(now.wall);
        (self.finding, self.rule, self.why) = (finding, judged.rule, judged.why.clone());
        self.attribution = judged.attribution;
        self.hold_proof(began, now, before);
        if self.verdict() != before {
            self.since = self.open.as_ref().map_or(since, |open| open.record.started);
        }
        let held_until = self.last_proof.filter(|_| self.held_proof.is_some()).map(|(proved, _)| proved.up + names::PROOF_HOLDS);
        let vouched_until = (now.up + all.vouched).min(held_until.unwrap_or(Duration::MAX));
        self.earned.turn(now.up, self.verdict(), vouched_until);
    }

    /// A round that proves too little leaves `blocked` standing while the last proof is young, so that a lost packet changes no verdict.
    fn hold_proof(&mut self, began: Moment, now: Moment, before: Verdict) {
        self.held_proof = None;
        match self.finding {
            Finding::Blocked(attribution) => self.last_proof = Some((began, attribution)),
            Finding::Breached(_) => self.last_proof = None,
            Finding::Inconclusive(Doubt::Unproved) if before == Verdict::Blocked => {
                let young = |(proved, _): &(Moment, Attribution)| now.up.saturating_sub(proved.up) < names::PROOF_HOLDS;
                self.held_proof = self.last_proof.filter(young).map(|(proved, attribution)| HeldProof {
                    attribution,
                    age_seconds: now.up.saturating_sub(proved.up).as_secs_f64(),
                });
            }
            Finding::Inconclusive(_) => {}
        }
    }

    fn exposed_at_the_end(&mut self, now: Moment, all: &All<'_>) {
        let since_asked = all.ending.map_or(Duration::ZERO, |asked| now.up.saturating_sub(asked.up));
        self.totals.end_exposure = self.totals.end_exposure.max(since_asked);
    }

    /// Opens a breach, or goes on with the one that is open.
    fn breached(&mut self, began: Moment, seen: &TargetRound, evidence: Evidence, all: &mut All<'_>) {
        if self.open.is_none() {
            let in_round = newly_connected(seen).map(|seen| connected_at(began, seen)).min_by_key(|moment| moment.up);
            let suspicion = self.suspicion.take();
            let first = suspicion.map(|(at, _)| at).or(in_round).unwrap_or(began);
            let first = if self.open_since_start { all.process_began } else { first };
            self.totals.breaches += 1;
            self.totals.last_start = Some(first.wall);
            let open = self.open.insert(Open::new(all.next_id(), first, evidence));
            suspicion.into_iter().for_each(|(at, address)| open.connected(at, address));
        }
        if let Some(open) = &mut self.open {
            open.record.evidence = open.record.evidence.max(evidence);
            open.record.layer = open.record.layer.max(finding::furthest(seen));
            newly_connected(seen).for_each(|seen| open.connected(connected_at(began, seen), seen.address));
        }
    }

    /// Counts the round for each address that it tried and did not reach.
    fn count(&mut self, began: Moment, seen: &TargetRound, finding: Finding) {
        if closing::starts_again(finding.reason()) {
            self.streaks.clear();
            return;
        }
        let open = self.open.as_ref();
        let had_connected = |address: &SocketAddr| open.is_some_and(|open| open.record.addresses.contains(address));
        let is_listed = |address: &SocketAddr| seen.observations.iter().any(|seen| seen.address == *address);
        self.streaks.retain(|address, _| is_listed(address) || had_connected(address));
        for seen in &seen.observations {
            let known = self.streaks.get(&seen.address).copied();
            match closing::effect(seen) {
                Effect::Counts => drop(self.streaks.insert(seen.address, Streak::extended(known, began))),
                Effect::StartsAgain => drop(self.streaks.remove(&seen.address)),
                Effect::None => {}
            }
        }
    }

    /// Closes the breach when it is over. Returns when it ended, then.
    fn close(&mut self, seen: &TargetRound, attribution: Option<Attribution>) -> Option<Timestamp> {
        let open = self.open.as_ref()?;
        let listed: Vec<ListedAddress<Duration>> = seen.observations.iter().map(|seen| self.listed(seen)).collect();
        let ended = closing::end(&open.record.addresses, open.last.up, &listed)?;
        let open = self.open.take()?;
        let ended = open.began.wall_at(Moment { up: ended, ..open.began });
        self.totals.last_end = Some(ended);
        self.remember(ClosedOpening { opening: open.record, ended, attribution, transient: false });
        Some(ended)
    }

    fn listed(&self, seen: &Observation) -> ListedAddress<Duration> {
        let streak = self.streaks.get(&seen.address).map(|streak| streak.by(|moment| moment.up));
        ListedAddress { address: seen.address, tried: seen.tried(), streak }
    }

    /// The rounds in a row that tried that address and did not reach it.
    pub fn not_reached(&self, address: SocketAddr) -> Option<NotReached> {
        let streak = self.streaks.get(&address)?;
        let Streak { first, previous, newest } = streak.by(|moment| streak.first.wall_at(moment));
        Some(NotReached { first, previous, newest })
    }

    fn remember(&mut self, closed: ClosedOpening) {
        self.recent.push_front(closed);
        self.recent.truncate(names::RECENT_MAX);
    }

    fn state(&self) -> State {
        let opening = self.opening().map(|record| (record.id.clone(), record.layer, record.evidence, record.addresses.len()));
        let totals = &self.totals;
        let exposed = (totals.startup_exposure > Duration::ZERO, totals.end_exposure > Duration::ZERO);
        (self.verdict(), self.reason(), opening, totals.transients, exposed.0, exposed.1)
    }

    fn transition(&self, time: Timestamp, before: &State, was_open: Option<Opening>) -> Transition {
        let state = self.state();
        let event = match (&before.2, &state.2) {
            (None, Some(_)) => Event::Opened,
            (Some(_), None) => Event::Closed,
            _ if state.3 != before.3 => Event::Transient,
            _ if (state.4, state.5) != (before.4, before.5) => Event::Exposed,
            _ => Event::Changed,
        };
        let newest = self.recent.front().filter(|_| was_open.is_some() || event == Event::Transient);
        let opening = self.opening().cloned().map(Told::Open).or_else(|| newest.cloned().map(Told::Closed));
        Transition {
            time,
            target: self.name.clone(),
            event,
            verdict: state.0,
            reason: state.1,
            previous_verdict: before.0,
            previous_reason: before.1,
            why: self.why.clone(),
            opening,
            startup_exposure_seconds: self.totals.startup_exposure.as_secs_f64(),
            end_exposure_seconds: self.totals.end_exposure.as_secs_f64(),
        }
    }
}

impl Open {
    fn new(id: String, began: Moment, evidence: Evidence) -> Self {
        let (started, last_connected, addresses) = (began.wall, began.wall, Vec::new());
        let record = Opening { id, started, last_connected, layer: Layer::Tcp, evidence, addresses };
        Open { record, began, last: began }
    }

    /// Takes in a connection; more addresses than a target can have are not remembered.
    fn connected(&mut self, at: Moment, address: SocketAddr) {
        if at.up > self.last.up {
            self.last = at;
        }
        self.record.last_connected = self.record.last_connected.max(self.began.wall_at(at));
        if !self.record.addresses.contains(&address) && self.record.addresses.len() < names::TRACKED_MAX {
            self.record.addresses.push(address);
        }
    }
}

/// The observations of this very round that connected.
fn newly_connected(seen: &TargetRound) -> impl Iterator<Item = &Observation> {
    seen.observations.iter().filter(|seen| seen.connected() && !seen.kept)
}

fn connected_at(began: Moment, seen: &Observation) -> Moment {
    began.after(Duration::try_from_secs_f64(seen.latency_seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests;
