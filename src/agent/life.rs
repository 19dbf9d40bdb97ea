//! The life of an agent: the startup window, then round after round with sentinels between.
use super::record::Record;
use crate::probe::lone::Door;
use crate::probe::pod::PodNetwork;
use crate::probe::round::Prober;
use crate::process::clock::Clock;
use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};
use guardprobe_core::judge::startup::Startup;
use guardprobe_core::model::config::Config;
use guardprobe_core::model::moment::Moment;
use guardprobe_core::model::names;
use guardprobe_core::model::observation::Observation;
use guardprobe_core::model::report::Role;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};

/// Probes for as long as the process lives.
pub(super) struct Life<'a> {
    pub(super) prober: &'a Prober,
    pub(super) record: &'a Record,
    pub(super) config: &'a Config,
    pub(super) clock: Clock,
    pub(super) role: Role,
}

/// A try of the startup window that came back.
struct Tried {
    door: Door,
    began: Moment,
    seen: Observation,
    intercepted: bool,
}

impl Life<'_> {
    /// Never ends. What there is to warn of is looked up beside the probes, and holds none of them up.
    pub(super) async fn live(&self) -> ! {
        join(self.warn_of_configuration(), self.probe()).await.1
    }

    async fn probe(&self) -> ! {
        if self.role == Role::Agent {
            self.startup().await;
        }
        // The rounds of a thousand pods that started together must not stay together.
        let mut due = self.clock.now().up + self.config.interval.mul_f64(fastrand::f64());
        self.round().await;
        loop {
            due = next(due, self.config.interval, self.clock.now().up);
            let on_schedule = self.rest(due).await;
            self.round().await;
            if on_schedule {
                due += self.config.interval;
            }
        }
    }

    /// Tells at start what would otherwise only show when something is open.
    async fn warn_of_configuration(&self) {
        let (files, controls) = tokio::join!(self.prober.unusable_files(), self.prober.connecting_negative_controls());
        files.into_iter().chain(controls).for_each(|warning| tracing::warn!("{warning}"));
    }

    /// One round, told of as soon as something connects.
    async fn round(&self) {
        let began = self.clock.now();
        let so_far = RefCell::new(self.prober.blank());
        let round = self.prober.round(&|sight| self.record.sighted(began, &sight, &mut so_far.borrow_mut())).await;
        self.record.finished(began, round);
    }

    /// Waits until the next round is due, with sentinels. False when one of them connected, and a round should say what that was.
    async fn rest(&self, due: Duration) -> bool {
        match self.config.sentinel.filter(|_| self.role == Role::Agent) {
            None => {
                sleep_until(self.clock.at(due)).await;
                true
            }
            Some(period) => self.sentinels(period, due).await,
        }
    }

    async fn sentinels(&self, period: Duration, due: Duration) -> bool {
        let network = &PodNetwork::look();
        let all = self.prober.doors(network).into_iter();
        let mut doors: VecDeque<Door> = all.filter(|door| self.record.was_shut(door.target)).collect();
        let mut end = pin!(sleep_until(self.clock.at(due)));
        let mut on_schedule = true;
        let (mut out, mut away) = (FuturesUnordered::new(), HashSet::new());
        let mut tick = self.clock.at(self.clock.now().up);
        loop {
            // In this order: those that end with their period make place for the next ones.
            tokio::select! {
                biased;
                Some((door, seen)) = out.next() => {
                    away.remove(&door);
                    self.record.sentinel(door, &seen);
                    let soon = self.clock.at(self.clock.now().up + names::SENTINEL_ROUND_DELAY);
                    if seen.connected() && soon < end.deadline() {
                        on_schedule = false;
                        end.as_mut().reset(soon);
                    }
                }
                () = &mut end => return on_schedule,
                () = sleep_until(tick) => {
                    let now = self.clock.at(self.clock.now().up);
                    tick = now + period;
                    let deadline = now + period.min(names::SENTINEL_BUDGET_MAX);
                    // Where there are more than may be on their way at once, those that were left out come first at the next tick.
                    for _ in 0..doors.len() {
                        let Some(door) = doors.pop_front() else { break };
                        if away.len() >= names::TRIES_MAX {
                            doors.push_front(door);
                            break;
                        }
                        doors.push_back(door);
                        if away.insert(door) {
                            out.push(async move { (door, self.prober.knock(network, door, deadline).await) });
                        }
                    }
                },
            }
        }
    }

    /// Tries all doors again and again until the rules of this pod can be taken to be in place, or the window ends.
    async fn startup(&self) {
        let startup = RefCell::new(Startup::new(self.config.targets.len()));
        self.prober.read_files().await;
        let settled = timeout(self.config.startup, async {
            tokio::select! {
                () = self.startup_tries(&startup) => {}
                () = self.startup_controls(&startup) => {}
                () = self.startup_files() => {}
            }
        });
        let settled = settled.await.is_ok();
        let startup = startup.borrow();
        self.record.startup_over(|target| startup.open(target));
        let seconds = self.clock.now().up.as_secs_f64();
        tracing::info!(seconds, settled, "the startup window is over");
    }

    /// Reads the endpoints files again and again: the kubelet may bring them after the pod has started. Never ends.
    async fn startup_files(&self) {
        loop {
            sleep(names::STARTUP_CONTROL_PERIOD).await;
            self.prober.read_files().await;
        }
    }

    /// Ends when the window may.
    async fn startup_tries(&self, startup: &RefCell<Startup>) {
        let mut tick = interval(names::STARTUP_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut out = FuturesUnordered::new();
        let mut newest: HashMap<Door, Duration> = HashMap::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let network = Rc::new(PodNetwork::look());
                    let room = names::TRIES_MAX.saturating_sub(out.len());
                    for door in self.startup_doors(&network, &mut startup.borrow_mut(), &mut newest, room) {
                        out.push(self.startup_try(Rc::clone(&network), door));
                    }
                },
                Some(tried) = out.next() => if self.startup_tried(&tried, &mut startup.borrow_mut()) {
                    return;
                },
            }
        }
    }

    /// The doors whose turn it is, at most `room`: those first that have waited longest, and those that have connected once a second.
    fn startup_doors(
        &self,
        network: &PodNetwork,
        startup: &mut Startup,
        newest: &mut HashMap<Door, Duration>,
        room: usize,
    ) -> Vec<Door> {
        let (doors, now) = (self.prober.doors(network), self.clock.now().up);
        for target in 0..self.config.targets.len() {
            let addresses: Vec<_> = doors.iter().filter(|door| door.target == target).map(|door| door.address).collect();
            startup.list(target, &addresses);
        }
        newest.retain(|door, _| doors.contains(door));
        let rested = |door: &Door, newest: &HashMap<Door, Duration>| {
            !startup.has_connected(door.target, door.address)
                || newest.get(door).is_none_or(|tried| now.saturating_sub(*tried) >= names::STARTUP_PERIOD_OPEN)
        };
        let mut turn: Vec<Door> = doors.into_iter().filter(|door| rested(door, newest)).collect();
        turn.sort_by_key(|door| newest.get(door).copied());
        turn.truncate(room);
        newest.extend(turn.iter().map(|door| (*door, now)));
        turn
    }

    async fn startup_try(&self, network: Rc<PodNetwork>, door: Door) -> Tried {
        let began = self.clock.now();
        let (seen, intercepted) = self.prober.knock_twice(&network, door, names::STARTUP_TRY).await;
        Tried { door, began, seen, intercepted }
    }

    /// True when that was the last try that was wanted.
    fn startup_tried(&self, tried: &Tried, startup: &mut Startup) -> bool {
        let exposed = tried.seen.connected() && !tried.intercepted;
        self.record.startup_try(tried.door, &tried.seen, exposed);
        startup.tried(tried.door.target, tried.door.address, tried.began.up, tried.seen.outcome, exposed);
        startup.settled()
    }

    /// Asks the must-reach controls until one is firm.
    async fn startup_controls(&self, startup: &RefCell<Startup>) {
        loop {
            if self.prober.any_control_is_firm().await {
                // Only tries that begin after the answer count: those before may have been sent while the pod had no network.
                startup.borrow_mut().control_firm(self.clock.now().up);
                std::future::pending::<()>().await;
            }
            sleep(names::STARTUP_CONTROL_PERIOD).await;
        }
    }
}

/// When the next round is due: on the grid of `due` and `interval`. One that is late by less than an eighth of the interval is due at once:
/// where the interval is no longer than the timeout, a round of silence ends just after the next one should begin. Rounds that were missed
/// by more are not made up for.
fn next(due: Duration, interval: Duration, now: Duration) -> Duration {
    let late = now.saturating_sub(due).saturating_sub(interval / 8);
    let missed = late.as_nanos().div_ceil(interval.as_nanos().max(1));
    due + interval * u32::try_from(missed).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_stay_on_their_grid_and_what_was_missed_is_not_made_up_for() {
        let seconds = Duration::from_secs;
        assert_eq!(next(seconds(15), seconds(15), seconds(3)), seconds(15));
        assert_eq!(next(seconds(15), seconds(15), seconds(15)), seconds(15));
        assert_eq!(next(seconds(15), seconds(15), seconds(16)), seconds(15));
        assert_eq!(next(seconds(15), seconds(15), seconds(17)), seconds(30));
        assert_eq!(next(seconds(15), seconds(15), seconds(76)), seconds(75));
        assert_eq!(next(seconds(15), seconds(15), seconds(78)), seconds(90));
    }
}
