//! One round: all targets and controls, every address at once.
#![expect(clippy::disallowed_methods, reason = "a round ends in time, and that is told here, at the edge")]
use super::addresses::{self, Address, Located, Locator};
use super::climb::{self, Ask, Climbed, Question, Tls};
use super::connect::{connect, connect_any};
use super::controls::{ControlResult, Controls, intercepted, must_not_connect, neighbours};
use super::memory::{Key, Memory};
use super::pod::{Pod, PodNetwork};
use super::tls::Ca;
use futures_util::future::{Either, join_all, select};
use guardprobe_core::judge::finding;
use guardprobe_core::model::address::{Family, is_private};
use guardprobe_core::model::config::{Config, Control, Kind, Target};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Identity, Neighbours, Observation, Outcome};
use guardprobe_core::model::round::{ControlRound, Round, TargetRound};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

/// How many connections are tried to a Service whose endpoints are not known: kube-proxy leads each flow to one of them, and one that is dead
/// says nothing of the others.
const SERVICE_FLOWS: usize = 4;

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
pub(super) struct RoundContext<'a> {
    /// The addresses of the must-not-connect controls, each with its control's index.
    negatives: &'a [(usize, Located)],
    pub(super) network: &'a PodNetwork,
    /// True when an endpoints file names what is behind the API's Service, so that each of them is tried.
    endpoints_known: bool,
    /// When the round ends, whatever is still on its way.
    pub(super) end: tokio::time::Instant,
    /// Is told of each address that connects, at once.
    tell: &'a dyn Fn(Sight<'_>),
}

impl<'a> RoundContext<'a> {
    /// For a look at controls alone, outside of a round.
    pub(super) fn for_controls(network: &'a PodNetwork, longest: Duration) -> Self {
        RoundContext {
            negatives: &[],
            network,
            endpoints_known: false,
            end: tokio::time::Instant::now() + longest,
            tell: &|_| {},
        }
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
    /// The addresses of the API's Service, and of its endpoints by the file.
    api: Vec<SocketAddr>,
    endpoints: Vec<SocketAddr>,
}

impl Prober {
    /// Adds the default controls to the configured ones.
    pub fn new(config: Config, pod: Pod) -> Self {
        let controls = Controls::new(&config.controls, &pod, config.timeout);
        Prober { locator: Locator::new(pod.clone(), config.timeout), config, controls, pod, memory: Memory::default() }
    }

    /// The longest that a round may take: two look-ups, a connect, the negative controls and then the hosts beside, and what is read and asked
    /// on a connection. What is still on its way then is the prober's own fault, not silence.
    pub fn longest_round(&self) -> Duration {
        5 * self.config.timeout + 4 * names::CLIMB_TIMEOUT + 2 * names::FILE_TIMEOUT
    }

    /// Forgets which controls were firm, so that the next round proves it anew; one that confirms the round before tries global addresses again
    /// as well.
    pub fn begin_pass(&self, confirms: bool) {
        self.controls.forget_firm();
        if confirms {
            self.memory.forget_global();
        }
    }

    /// Reads the endpoints files anew.
    pub async fn read_files(&self) {
        self.locator.read_files(&self.config.targets).await;
    }

    /// Configured files that are missing or unusable, each with its reason; never with its content.
    pub async fn unusable_files(&self) -> Vec<String> {
        let endpoints = self.config.targets.iter().filter_map(|target| Some((&target.name, target.endpoints_file.as_ref()?)));
        let endpoints = endpoints.map(|(name, path)| async move {
            let why = addresses::read_endpoints(path).await.err()?;
            Some(format!("target {name}: endpointsFile {why}"))
        });
        let authorities = self.config.targets.iter().flat_map(|target| {
            let files = [("caFile", &target.ca_file), ("publicEndpointCaFile", &target.public_endpoint_ca_file)];
            files.into_iter().filter_map(move |(key, path)| Some((&target.name, key, path.as_ref()?)))
        });
        let authorities = authorities.map(|(name, key, path)| async move {
            let why = Ca::read(std::slice::from_ref(path)).await.unusable()?;
            Some(format!("target {name}: {key} {why}"))
        });
        let (endpoints, authorities) = tokio::join!(join_all(endpoints), join_all(authorities));
        endpoints.into_iter().chain(authorities).flatten().collect()
    }

    /// Must-not-connect controls that connect although no target is open, each with what follows from that.
    pub async fn connecting_negative_controls(&self) -> Vec<String> {
        let network = &PodNetwork::look();
        let negatives = self.controls.negatives(&self.locator, network).await;
        let all = negatives.iter().flat_map(|(index, located)| located.addresses.iter().map(move |address| (*index, address)));
        let tried = all.map(|(index, address)| async move {
            let attempt = connect(network, address.socket, self.config.timeout).await;
            (attempt.outcome == Outcome::Connected).then(|| {
                let (name, socket) = (&self.controls.all[index].name, address.socket);
                format!(
                    "the must-not-connect control {name} connects at {socket}: a breach of port {} would be called intercepted; \
                     name an address where nothing listens",
                    socket.port()
                )
            })
        });
        join_all(tried).await.into_iter().flatten().collect()
    }

    /// A round of which nothing is known yet.
    pub fn blank(&self) -> Round {
        let targets = self.config.targets.iter().map(|target| target_round(target, &mut Located::default()));
        let controls = self.controls.all.iter().map(|control| control_round(control, ControlResult::default()));
        Round { targets: targets.collect(), controls: controls.collect(), endpoints_revision: None }
    }

    /// One pass. Takes at most [`Prober::longest_round`]; `tell` hears of each address that connects as soon as it is known whether
    /// something connects where nothing lives, too.
    pub async fn round(&self, tell: &dyn Fn(Sight<'_>)) -> Round {
        let end = tokio::time::Instant::now() + self.longest_round();
        let network = PodNetwork::look();
        let negatives = timeout_at(end, self.controls.negatives(&self.locator, &network)).await.unwrap_or_default();
        self.read_files().await;
        let context =
            RoundContext { negatives: &negatives, network: &network, endpoints_known: self.locator.knows_endpoints(), end, tell };
        let targets = self.config.targets.iter().enumerate().map(|(index, target)| self.target(index, target, &context));
        let asked = (0..self.controls.all.len()).map(|index| self.controls.must_reach(index, &self.locator, &self.pod, &context));
        let (targets, asked) = tokio::join!(join_all(targets), join_all(asked));
        let listed = |(target, address): &Key| targets[*target].seen.iter().any(|(seen, _)| seen.address == *address);
        self.memory.retain(listed);
        let round = self.assemble(targets, asked);
        for (index, target) in round.targets.iter().enumerate() {
            for seen in target.observations.iter().filter(|seen| !seen.kept) {
                self.memory.attribute((index, seen.address), finding::address_attribution(target, seen, &round.controls));
            }
        }
        round
    }

    /// What is known is tried at once, what has to be looked up as soon as it is found: a dead resolver holds nothing else up.
    async fn target(&self, index: usize, target: &Target, context: &RoundContext<'_>) -> Tried {
        let question = &self.question_for(target);
        let probe = |address: Address| async move { self.address((index, address.socket), question, address, context).await };
        let mut known = self.locator.known(target);
        let by_name = async {
            let found = timeout_at(context.end, self.locator.looked_up(target, context.network)).await;
            let found = found.unwrap_or_else(|_| Located::nowhere("a name: the round ended first"));
            let fresh = found.addresses.iter().filter(|address| !known.has(address.socket)).cloned();
            (join_all(fresh.map(probe)).await, found)
        };
        let (mut seen, (by_name, found)) = tokio::join!(join_all(known.addresses.iter().cloned().map(probe)), by_name);
        seen.extend(by_name);
        for (observation, _) in &mut seen {
            observation.service |= found.is_service(observation.address);
            // A name leads there as well, and a name is never released: whatever answers is what it stands for.
            if found.has(observation.address) {
                observation.identity.take_if(|identity| *identity == Identity::Wrong);
            }
        }
        known.unresolved.extend(found.unresolved.iter().cloned());
        let api = known.api_service().chain(found.api_service()).collect();
        let endpoints = std::mem::take(&mut known.endpoints);
        Tried { round: target_round(target, &mut known), seen, revision: known.revision, api, endpoints }
    }

    /// An address, unless it cannot be tried, or was tried too short a time ago.
    async fn address(&self, key: Key, question: &Question, address: Address, context: &RoundContext<'_>) -> Seen {
        if let Some(skipped) = skipped(&address, &context.network.families) {
            return (skipped, Vec::new());
        }
        // A Service's address is translated on the node, whatever its range: GKE's Services have public-looking addresses.
        let global = !address.service && !is_private(address.socket.ip());
        if let Some(kept) = self.memory.kept(key).filter(|_| global) {
            return kept;
        }
        let began = Instant::now();
        let seen = timeout_at(context.end, self.try_it(key, question, &address, context)).await;
        let seen = seen.unwrap_or_else(|_| (overtaken(&address), Vec::new()));
        // What the prober could not try is tried again in the next round.
        if global && seen.0.outcome != Outcome::LocalError {
            self.memory.keep(key, &seen, began);
        }
        seen
    }

    /// One probe. Where it connects, its identity and the negative controls are looked at, at the same time.
    async fn try_it(&self, key: Key, question: &Question, address: &Address, context: &RoundContext<'_>) -> Seen {
        let endpoints_speak = question.kind == Kind::KubeApi && context.endpoints_known;
        let flows = if address.service && !endpoints_speak { SERVICE_FLOWS } else { 1 };
        let mut attempt = connect_any(context.network, address.socket, self.config.timeout, flows).await;
        let seen = Observation { service: address.service, ..attempt.observation(address.socket, address.source) };
        if !seen.connected() {
            self.memory.shut(key);
            return (seen, Vec::new());
        }
        let stream = attempt.stream.take();
        let climbing = self.climb(key, question, address, stream);
        let tell = |seen: &Seen| (context.tell)(Sight { target: key.0, seen });
        let seen = self.confirm_connection(question, seen, attempt.latency, climbing, context, &tell).await;
        tell(&seen);
        seen
    }

    /// Waits for what an address that connects shows: `climbing` says whose it is, the negative controls whether anybody answers in its
    /// place, and the hosts beside it the same where neither has told. `tell` hears of it once nobody can answer in its place, where its
    /// identity is still being looked at then.
    async fn confirm_connection(
        &self,
        question: &Question,
        seen: Observation,
        latency: Duration,
        climbing: impl Future<Output = Option<Climbed>>,
        context: &RoundContext<'_>,
        tell: &dyn Fn(&Seen),
    ) -> Seen {
        let (open, most) = (seen.address, self.config.timeout);
        let mut climbing = pin!(climbing);
        let negative = pin!(must_not_connect(context.network, open, latency, context.negatives, most));
        let (climbed, negative) = match select(climbing.as_mut(), negative).await {
            Either::Left((climbed, negative)) => (Some(climbed), negative.await),
            Either::Right((negative, _)) => (None, negative),
        };
        let beside = pin!(neighbours(context.network, (open, seen.service), latency, most));
        let with = |climbed, neighbours| Observation { neighbours, ..onto(climbed, seen.clone()) };
        match climbed {
            Some(climbed) if intercepted(&negative) => (with(climbed, None), negative),
            Some(climbed) => (self.with_neighbours(onto(climbed, seen), beside).await, negative),
            None if intercepted(&negative) => (with(climbing.await, None), negative),
            None => match select(climbing, beside).await {
                Either::Left((climbed, beside)) => (self.with_neighbours(onto(climbed, seen), beside).await, negative),
                Either::Right((neighbours, climbing)) => {
                    // Of the API server a connection alone says too little: its certificate may be somebody else's.
                    if question.kind != Kind::KubeApi {
                        tell(&(with(None, Some(neighbours)), negative.clone()));
                    }
                    (with(climbing.await, Some(neighbours)), negative)
                }
            },
        }
    }

    /// Who has proved its identity needs no neighbours to be believed.
    async fn with_neighbours(&self, seen: Observation, beside: impl Future<Output = Neighbours>) -> Observation {
        if seen.identity == Some(Identity::Proven) {
            return seen;
        }
        Observation { neighbours: Some(beside.await), ..seen }
    }

    /// Asks who is there, unless that was learnt not long ago of a door that has stayed open since.
    async fn climb(&self, key: Key, question: &Question, address: &Address, stream: Option<TcpStream>) -> Option<Climbed> {
        if let Some(climbed) = self.memory.climbed(key) {
            return Some(climbed);
        }
        let Some(stream) = stream else { return Some(Climbed::hung_up(question)) };
        let question = question.of(address.public_endpoint);
        let climbed = climb::climb(&question, address.host.as_deref(), address.socket, stream).await;
        self.memory.learn(key, climbed.clone());
        Some(climbed)
    }

    /// What is asked of an open door of this target.
    fn question_for(&self, target: &Target) -> Question {
        let kind = target.kind;
        let named = || Tls { server_name: target.server_name.clone(), ca_files: target.ca_file.iter().cloned().collect() };
        let tls = match kind {
            Kind::KubeApi => Some(Tls {
                server_name: None,
                ca_files: target.ca_file.clone().or_else(|| self.pod.ca_file()).into_iter().collect(),
            }),
            Kind::Tls | Kind::Kubelet => Some(named()),
            Kind::Http if target.ca_file.is_some() || target.server_name.is_some() => Some(named()),
            _ => None,
        };
        let http = target.path.as_deref().map(Ask::get).or_else(|| Ask::of(kind));
        Question { kind, tls, http, public_endpoint_ca_file: target.public_endpoint_ca_file.clone() }
    }

    fn assemble(&self, targets: Vec<Tried>, asked: Vec<ControlResult>) -> Round {
        let mut controls: Vec<ControlRound> =
            self.controls.all.iter().zip(asked).map(|(control, asked)| control_round(control, asked)).collect();
        let endpoints_revision = targets.iter().find_map(|target| target.revision.clone());
        let targets = targets.into_iter().map(|Tried { mut round, seen, api, endpoints, .. }| {
            for (observation, nowhere) in seen {
                round.observations.push(observation);
                nowhere.into_iter().for_each(|(index, observation)| controls[index].observations.push(observation));
            }
            finding::mark_endpoints_tried(&mut round, &api, &endpoints);
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
        proof: target.proof,
        addresses_given: !target.addresses.is_empty() && target.endpoints_file.is_none(),
        observations: Vec::new(),
        unresolved: std::mem::take(&mut located.unresolved),
        stale: located.stale.take(),
    }
}

fn control_round(control: &Control, asked: ControlResult) -> ControlRound {
    let ControlResult { observations, unresolved } = asked;
    ControlRound { name: control.name.clone(), expect: control.expect, kind: control.kind, observations, unresolved }
}
