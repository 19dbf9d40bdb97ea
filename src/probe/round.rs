//! One round: all targets and controls, every address at once.
#![expect(clippy::disallowed_methods, reason = "a round ends in time, and that is told here, at the edge")]
use super::addresses::{Address, Located, Locator};
use super::climb::{self, Ask, Climbed, Question, Tls};
use super::connect::connect;
use super::controls::{Asked, Controls, must_not_connect};
use super::memory::{Key, Memory};
use super::pod::{self, Pod};
use futures_util::future::{Either, join_all, select};
use guardprobe_core::model::address::{Family, is_private};
use guardprobe_core::model::config::{Config, Control, Kind, Target};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome};
use guardprobe_core::model::round::{ControlRound, Round, TargetRound};
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

/// Makes rounds of one configuration in one pod.
#[derive(Debug)]
pub struct Prober {
    pub(super) config: Config,
    pub(super) controls: Controls,
    pub(super) pod: Pod,
    pub(super) locator: Locator,
    memory: Memory,
}

/// What was seen of a target's address, and of the places where nothing lives that were tried because of it, by control.
pub(super) type Seen = (Observation, Vec<(usize, Observation)>);

/// News from within a round: an address connected.
#[derive(Debug)]
pub struct Sight<'a> {
    /// The target's place in the configuration.
    pub target: usize,
    seen: &'a Seen,
}

impl Sight<'_> {
    /// Puts it into a round that is still without it.
    pub fn put_into(&self, round: &mut Round) {
        let (observation, nowhere) = self.seen;
        let observations = &mut round.targets[self.target].observations;
        observations.retain(|known| known.address != observation.address);
        observations.push(observation.clone());
        nowhere.iter().for_each(|(index, seen)| round.controls[*index].observations.push(seen.clone()));
    }
}

/// What every probe of a round looks at.
pub(super) struct Around<'a> {
    /// Where the must-not-connect controls live, each with its index.
    negatives: &'a [(usize, Located)],
    /// In which this pod has an address now.
    pub(super) families: &'a [Family],
    /// This pod's own addresses.
    pub(super) own: &'a [IpAddr],
    /// When the round ends, whatever is still on its way.
    pub(super) end: tokio::time::Instant,
    /// Is told of each address that connects, at once.
    tell: &'a dyn Fn(Sight<'_>),
}

impl<'a> Around<'a> {
    /// For a look at controls alone, outside of a round.
    pub(super) fn for_controls(families: &'a [Family], own: &'a [IpAddr], longest: Duration) -> Self {
        Around { negatives: &[], families, own, end: tokio::time::Instant::now() + longest, tell: &|_| {} }
    }

    /// What an attempt shows; one that the end of the round overtakes shows nothing.
    pub(super) async fn in_time(&self, address: &Address, attempt: impl Future<Output = Observation>) -> Observation {
        timeout_at(self.end, attempt).await.unwrap_or_else(|_| overtaken(address))
    }
}

/// A target whose addresses have been tried; what was seen goes into the round when the controls do.
struct Tried {
    round: TargetRound,
    seen: Vec<Seen>,
    /// Of the endpoints file.
    revision: Option<String>,
}

impl Prober {
    /// Adds the default controls to the configured ones.
    pub fn new(config: Config, pod: Pod) -> Self {
        let controls = Controls::new(&config.controls, &pod, config.timeout);
        Prober { locator: Locator::new(pod.clone(), config.timeout), config, controls, pod, memory: Memory::default() }
    }

    /// The longest that a round may take: a look-up, a connect and a climb, or an interval where that is longer. What is still on its
    /// way then is the prober's own fault, not silence.
    pub fn longest_round(&self) -> Duration {
        self.config.interval.max(2 * self.config.timeout + 2 * names::CLIMB_TIMEOUT)
    }

    /// A round of which nothing is known yet.
    pub fn blank(&self) -> Round {
        let targets = self.config.targets.iter().map(|target| target_round(target, &mut Located::default()));
        let controls = self.controls.all.iter().map(|control| control_round(control, Asked::default()));
        Round { targets: targets.collect(), controls: controls.collect(), endpoints_revision: None }
    }

    /// One pass. Takes at most [`Prober::longest_round`]; `tell` hears of each address that connects as soon as it is known whether
    /// something connects where nothing lives, too.
    pub async fn round(&self, tell: &dyn Fn(Sight<'_>)) -> Round {
        let end = tokio::time::Instant::now() + self.longest_round();
        let negatives = timeout_at(end, self.controls.negatives(&self.locator)).await.unwrap_or_default();
        let own = pod::addresses();
        let families = pod::usable_families(own.as_deref());
        let own = own.unwrap_or_default();
        let around = Around { negatives: &negatives, families: &families, own: &own, end, tell };
        let targets = self.config.targets.iter().enumerate().map(|(index, target)| self.target(index, target, &around));
        let asked = self.controls.all.iter().map(|control| self.controls.must_reach(control, &self.locator, &self.pod, &around));
        let (targets, asked) = tokio::join!(join_all(targets), join_all(asked));
        let listed = |(target, address): &Key| targets[*target].seen.iter().any(|(seen, _)| seen.address == *address);
        self.memory.retain(listed);
        self.assemble(targets, asked)
    }

    /// What is known is tried at once, what has to be looked up as soon as it is found: a dead resolver holds nothing else up.
    async fn target(&self, index: usize, target: &Target, around: &Around<'_>) -> Tried {
        let question = &self.question_for(target);
        let probe = |address: Address| async move { self.address((index, address.socket), question, address, around).await };
        let mut known = self.locator.known(target);
        let by_name = async {
            let found = timeout_at(around.end, self.locator.looked_up(target)).await;
            let found = found.unwrap_or_else(|_| Located::nowhere("a name (the round ended first)"));
            let fresh = found.addresses.iter().filter(|address| !known.has(address.socket)).cloned();
            (join_all(fresh.map(probe)).await, found)
        };
        let (mut seen, (by_name, found)) = tokio::join!(join_all(known.addresses.iter().cloned().map(probe)), by_name);
        seen.extend(by_name);
        for (observation, _) in &mut seen {
            observation.service |= found.is_service(observation.address);
        }
        known.unresolved.extend(found.unresolved);
        Tried { round: target_round(target, &mut known), seen, revision: known.revision }
    }

    /// An address, unless it cannot be tried, or was tried too short a time ago.
    async fn address(&self, key: Key, question: &Question, address: Address, around: &Around<'_>) -> Seen {
        if let Some(skipped) = skipped(&address, around.families) {
            return (skipped, Vec::new());
        }
        let global = !is_private(address.socket.ip());
        if let Some(kept) = self.memory.kept(key).filter(|_| global) {
            return kept;
        }
        let began = Instant::now();
        let seen = timeout_at(around.end, self.try_it(key, question, &address, around)).await;
        let seen = seen.unwrap_or_else(|_| (overtaken(&address), Vec::new()));
        if global {
            self.memory.keep(key, &seen, began);
        }
        seen
    }

    /// One probe; where it connects, the climb and the negative control at the same time.
    async fn try_it(&self, key: Key, question: &Question, address: &Address, around: &Around<'_>) -> Seen {
        let mut attempt = connect(address.socket, self.config.timeout).await;
        let seen = Observation { service: address.service, ..attempt.observation(address.socket, address.source) };
        if !seen.connected() {
            self.memory.shut(key);
            return (seen, Vec::new());
        }
        let nowhere = pin!(must_not_connect(address.socket, attempt.latency, around.negatives, self.config.timeout));
        let climbing = pin!(self.climb(key, question, address, attempt.stream.take()));
        let tell = |seen: &Seen| (around.tell)(Sight { target: key.0, seen });
        match select(climbing, nowhere).await {
            Either::Left((climbed, nowhere)) => {
                let seen = (onto(climbed, seen), nowhere.await);
                tell(&seen);
                seen
            }
            Either::Right((nowhere, climbing)) => {
                // Of the API server a connection alone says too little: its certificate may be somebody else's.
                if question.kind != Kind::KubeApi {
                    tell(&(seen.clone(), nowhere.clone()));
                }
                let seen = (onto(climbing.await, seen), nowhere);
                tell(&seen);
                seen
            }
        }
    }

    /// Asks who is there, unless that was learnt not long ago of a door that has stayed open since.
    async fn climb(&self, key: Key, question: &Question, address: &Address, stream: Option<TcpStream>) -> Option<Climbed> {
        if let Some(climbed) = self.memory.climbed(key) {
            return Some(climbed);
        }
        // Whoever hung up right after the handshake has been reached, but cannot be asked.
        let climbed = climb::climb(question, address.host.as_deref(), address.socket, stream?).await;
        self.memory.learn(key, climbed.clone());
        Some(climbed)
    }

    /// What is asked of an open door of this target.
    fn question_for(&self, target: &Target) -> Question {
        let kind = target.kind;
        let named = || Tls { server_name: target.server_name.clone(), ca_file: target.ca_file.clone() };
        let tls = match kind {
            Kind::KubeApi => Some(Tls {
                server_name: Some(names::API_SERVER_NAME.to_owned()),
                ca_file: target.ca_file.clone().or_else(|| self.pod.ca_file()),
            }),
            Kind::Tls | Kind::Kubelet => Some(named()),
            Kind::Http if target.ca_file.is_some() || target.server_name.is_some() => Some(named()),
            _ => None,
        };
        let http = target.path.as_deref().map(Ask::get).or_else(|| Ask::of(kind));
        Question { kind, tls, http }
    }

    fn assemble(&self, targets: Vec<Tried>, asked: Vec<Asked>) -> Round {
        let mut controls: Vec<ControlRound> =
            self.controls.all.iter().zip(asked).map(|(control, asked)| control_round(control, asked)).collect();
        let endpoints_revision = targets.iter().find_map(|target| target.revision.clone());
        let targets = targets.into_iter().map(|Tried { mut round, seen, .. }| {
            for (observation, nowhere) in seen {
                round.observations.push(observation);
                nowhere.into_iter().for_each(|(index, observation)| controls[index].observations.push(observation));
            }
            round
        });
        Round { targets: targets.collect(), controls, endpoints_revision }
    }
}

fn onto(climbed: Option<Climbed>, seen: Observation) -> Observation {
    match climbed {
        Some(climbed) => climbed.onto(seen),
        None => seen,
    }
}

/// The observation of an address that this pod cannot try, having no address of its own in that family.
pub(super) fn skipped(address: &Address, families: &[Family]) -> Option<Observation> {
    let family = Family::of(address.socket.ip());
    let detail = format!("no {} source address in this pod", family.title());
    (!families.contains(&family)).then(|| not_tried(address, Outcome::Skipped, detail))
}

/// The observation of an address whose attempt the end of the round overtook.
fn overtaken(address: &Address) -> Observation {
    not_tried(address, Outcome::LocalError, "the round ended before this attempt did".to_owned())
}

fn not_tried(address: &Address, outcome: Outcome, detail: String) -> Observation {
    let detail = Some(detail);
    Observation { service: address.service, detail, ..Observation::new(address.socket, address.source, outcome) }
}

/// A target of which nothing is seen yet, but what is known of where it lives.
fn target_round(target: &Target, located: &mut Located) -> TargetRound {
    TargetRound {
        name: target.name.clone(),
        kind: target.kind,
        observations: Vec::new(),
        unresolved: std::mem::take(&mut located.unresolved),
        stale: located.stale.take(),
    }
}

fn control_round(control: &Control, asked: Asked) -> ControlRound {
    let Asked { observations, unresolved } = asked;
    ControlRound { name: control.name.clone(), expect: control.expect, kind: control.kind, observations, unresolved }
}
