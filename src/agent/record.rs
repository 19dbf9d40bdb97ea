//! What an agent knows: one place that rounds and sentinels write to, and that the listener reads.
use crate::probe::lone::Door;
use crate::probe::round::Sight;
use crate::process::clock::Clock;
use crate::process::output::Output;
use crate::serve::blocking::Versioned;
use crate::show;
use crate::show::metrics::{Page, State};
use crate::speaker::Speaker;
use guardprobe_core::judge::finding;
use guardprobe_core::judge::history::Histories;
use guardprobe_core::judge::report;
use guardprobe_core::model::config::Config;
use guardprobe_core::model::finding::Attribution;
use guardprobe_core::model::moment::Moment;
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome};
use guardprobe_core::model::report::{Head, Report, Role, WitnessReport};
use guardprobe_core::model::round::Round;
use guardprobe_core::model::tally::{Tally, TargetTally};
use guardprobe_core::model::transition::{Line, Transition};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What is published: who waits for news compares numbers.
#[derive(Debug, Clone)]
pub(super) struct News {
    boot: Arc<str>,
    number: u64,
    changed: u64,
}

impl Versioned for News {
    fn boot(&self) -> &str {
        &self.boot
    }
    fn round(&self) -> u64 {
        self.number
    }
    fn changed(&self) -> u64 {
        self.changed
    }
}

/// All that an agent or a witness knows. Reports and metrics are made of it when somebody asks.
#[derive(Debug)]
pub(super) struct Record {
    speaker: Speaker,
    clock: Clock,
    output: Output,
    proof: Attribution,
    /// How long a round vouches for its verdict.
    vouched: Duration,
    /// How long after its start, or after the newest round, a process without a round is taken to hang.
    patience: Duration,
    known: Mutex<Known>,
    page: Mutex<Page>,
    news: watch::Sender<News>,
}

#[derive(Debug)]
struct Known {
    histories: Histories,
    tally: Tally,
    /// What was seen of each target, and of the controls, last.
    round: Round,
    /// When the newest round began and ended; the start of the process before the first.
    span: (Moment, Moment),
}

impl Record {
    /// Nothing known yet. `blank` is a round of nothing.
    pub(super) fn new(
        config: &Config,
        speaker: Speaker,
        (clock, output): (Clock, Output),
        blank: Round,
        longest_round: Duration,
    ) -> Self {
        let (began, vouched) = (clock.now(), report::vouched(config.interval, longest_round));
        let names = config.targets.iter().map(|target| target.name.clone());
        let histories = Histories::new(&speaker.boot, began, vouched, names);
        let tally = Tally { targets: vec![TargetTally::default(); config.targets.len()], rounds: 0 };
        let first = News { boot: speaker.boot.as_str().into(), number: 1, changed: 1 };
        Record {
            speaker,
            clock,
            output,
            proof: config.proof,
            vouched,
            patience: config.startup + 3 * longest_round,
            known: Mutex::new(Known { histories, tally, round: blank, span: (began, began) }),
            page: Mutex::new(Page::new()),
            news: watch::Sender::new(first),
        }
    }

    /// A task that panicked while it held this has only read, or has left counts that are one too low.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to wait for news.
    pub(super) fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// An address connected in a round that still goes on; `so_far` holds what is known of that round.
    pub(super) fn sighted(&self, began: Moment, sight: &Sight<'_>, so_far: &mut Round) {
        sight.put_into(so_far);
        if self.speaker.role == Role::Witness {
            return;
        }
        let target = &so_far.targets[sight.target];
        let judged = finding::judge(target, &so_far.controls, self.proof);
        let mut known = self.known();
        let told = known.histories.in_round(sight.target, began, self.clock.now(), target, &judged);
        if told.is_some() {
            known.round.targets[sight.target] = target.clone();
            self.publish(told);
        }
    }

    /// A round is over.
    pub(super) fn finished(&self, began: Moment, round: Round) {
        let now = self.clock.now();
        let mut known = self.known();
        let known = &mut *known;
        let mut told = Vec::new();
        for (index, target) in round.targets.iter().enumerate() {
            target.observations.iter().for_each(|seen| known.tally.targets[index].probe(seen));
            if self.speaker.role == Role::Agent {
                let judged = finding::judge(target, &round.controls, self.proof);
                told.extend(known.histories.finished(index, began, now, target, &judged));
            }
        }
        known.tally.rounds += 1;
        (known.round, known.span) = (round, (began, now));
        // The first round is news of itself: whoever waits has heard of nothing but that there is none yet.
        let is_news = known.tally.rounds == 1 || known.histories.may_end_a_breach();
        self.publish_round(told, is_news);
    }

    /// True when the newest round saw no connection to that target: only then do sentinels go there.
    pub(super) fn was_shut(&self, target: usize) -> bool {
        !self.known().round.targets[target].observations.iter().any(Observation::connected)
    }

    /// A sentinel came back.
    pub(super) fn sentinel(&self, door: Door, seen: &Observation) {
        let mut known = self.known();
        known.tally.targets[door.target].sentinels.add(seen);
        if seen.outcome == Outcome::Connected {
            let told = known.histories.sentinel_connected(door.target, self.clock.now(), door.address);
            self.publish_if_any(told);
        }
    }

    /// A try of the startup window came back; `exposed` when it connected, and to nobody who answers for everybody.
    pub(super) fn startup_try(&self, door: Door, seen: &Observation, exposed: bool) {
        let mut known = self.known();
        known.tally.targets[door.target].sentinels.add(seen);
        if exposed {
            let told = known.histories.startup_connected(door.target, self.clock.now());
            self.publish_if_any(told);
        }
    }

    /// The startup window is over; the targets that were open at its end are told by `open`.
    pub(super) fn startup_over(&self, open: impl Fn(usize) -> bool) {
        let mut known = self.known();
        (0..known.round.targets.len()).for_each(|target| known.histories.startup_over(target, open(target)));
    }

    /// The process was asked to end.
    pub(super) fn asked_to_end(&self) {
        self.known().histories.asked_to_end(self.clock.now());
    }

    fn publish_if_any(&self, told: Option<Transition>) {
        if told.is_some() {
            self.publish(told);
        }
    }

    /// A new number, and a line for each transition.
    fn publish(&self, told: impl IntoIterator<Item = Transition>) {
        self.publish_round(told, false);
    }

    /// The same of a round that ended, which may be news of itself.
    fn publish_round(&self, told: impl IntoIterator<Item = Transition>, is_news: bool) {
        let mut told = told.into_iter().peekable();
        self.news.send_modify(|news| {
            news.number += 1;
            if is_news || told.peek().is_some() {
                news.changed = news.number;
            }
        });
        let round = self.news.borrow().number;
        told.for_each(|transition| self.output.line(&self.line(round, transition)));
    }

    fn line(&self, round: u64, transition: Transition) -> Line {
        Line {
            schema: names::TRANSITION_SCHEMA.to_owned(),
            guard: self.speaker.guard.clone(),
            node: self.speaker.node.clone(),
            pod: self.speaker.pod.clone(),
            boot: self.speaker.boot.clone(),
            round,
            transition,
        }
    }

    /// How long this process has run.
    pub(super) fn now(&self) -> Duration {
        self.clock.now().up
    }

    /// The report as JSON, as it may be shown now, for a request that came at `asked`.
    pub(super) fn report(&self, asked: Duration) -> String {
        let known = self.known();
        let waited_seconds = Some(self.now().saturating_sub(asked).as_secs_f64());
        let head = Head { waited_seconds, ..self.head(&known) };
        match self.speaker.role {
            Role::Agent => show::json::json(&self.agents_report(head, &known)),
            Role::Witness => show::json::json(&self.witness_report(head, &known)),
        }
    }

    /// The metrics, as they are now.
    pub(super) fn metrics(&self) -> String {
        let (known, mut page) = (self.known(), self.page.lock().unwrap_or_else(PoisonError::into_inner));
        let (age, vouched) = (self.age(&known), self.vouched);
        let state = State {
            head: &self.head(&known),
            tally: &known.tally,
            round: &known.round,
            age,
            vouched,
            lines_lost: self.output.lost(),
        };
        match self.speaker.role {
            Role::Agent => page.agent(&state, &known.histories, self.clock.now().up).to_owned(),
            Role::Witness => page.witness(&state).to_owned(),
        }
    }

    fn agents_report(&self, head: Head, known: &Known) -> Report {
        report::as_of(report::agent(head, &known.histories, &known.round), self.age(known), self.vouched)
    }

    fn witness_report(&self, head: Head, known: &Known) -> WitnessReport {
        let mut report = report::witness(head, &known.round);
        report.head.age_seconds = self.age(known).as_secs_f64();
        report
    }

    fn head(&self, known: &Known) -> Head {
        let (began, ended) = known.span;
        let revision = known.round.endpoints_revision.clone();
        self.speaker.head(self.news.borrow().number, (began.wall, began.wall_at(ended)), revision)
    }

    /// How long ago the newest round ended.
    fn age(&self, known: &Known) -> Duration {
        self.clock.now().up.saturating_sub(known.span.1.up)
    }

    /// Whether the prober works, or what it hangs on.
    ///
    /// # Errors
    /// No round has ended for much longer than rounds take.
    pub(super) fn alive(&self) -> Result<(), String> {
        let age = self.age(&self.known());
        if age <= self.patience {
            return Ok(());
        }
        Err(format!("no round has ended for {:.0} s", age.as_secs_f64()))
    }

    /// Whether what it says is of now, or what is pending. The verdict has no part in this.
    ///
    /// # Errors
    /// The first round is yet to end, or the newest is too old.
    pub(super) fn ready(&self) -> Result<(), String> {
        let known = self.known();
        match (known.tally.rounds, self.age(&known)) {
            (0, _) => Err("pending: the first round (the startup window may still be open)".to_owned()),
            (_, age) if age > self.vouched => Err(format!("no round has ended for {:.0} s", age.as_secs_f64())),
            _ => Ok(()),
        }
    }
}
