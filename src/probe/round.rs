//! One round: all targets and controls, every address at once.
use super::addresses::{Address, Located, Locator};
use super::climb::{self, Ask, Question, Tls};
use super::connect::connect;
use super::dns;
use super::pod::{self, Pod};
use crate::wire;
use futures_util::future::join_all;
use guardprobe_core::model::address::{Family, HostPort, is_link_local};
use guardprobe_core::model::config::{Config, Control, ControlKind, Expect, Kind, Target};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome, Source};
use guardprobe_core::model::round::{ControlRound, Round, TargetRound};
use guardprobe_core::parse::resolv;
use hickory_proto::rr::Name;
use http_body_util::Empty;
use hyper::Request;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Makes rounds of one configuration in one pod.
#[derive(Debug)]
pub struct Prober {
    config: Config,
    /// Configured ones, then those made by default.
    controls: Vec<Control>,
    pod: Pod,
    locator: Locator,
    /// What a DNS control asks for.
    question: Name,
}

/// A control of this round: where it lives now.
struct Placed<'a> {
    control: &'a Control,
    located: Located,
}

/// What every probe of a round looks at.
#[derive(Clone, Copy)]
struct Around<'a> {
    controls: &'a [Placed<'a>],
    /// In which this pod has an address now.
    families: &'a [Family],
}

/// A target whose addresses have been tried; what was seen goes into the round when the controls do.
struct Tried {
    round: TargetRound,
    seen: Vec<Seen>,
    /// Of the endpoints file.
    revision: Option<String>,
}

/// What was seen of a target's address, and of the places where nothing lives that were tried because of it, by control.
type Seen = (Observation, Vec<(usize, Observation)>);

impl Prober {
    /// Adds the default controls to the configured ones.
    pub fn new(config: Config, pod: Pod) -> Self {
        let controls = with_defaults(&config.controls, &pod);
        let domain = resolv::cluster_domain(&pod.resolv_conf).unwrap_or_else(|| "cluster.local".to_owned());
        let question = Name::from_utf8(format!("{}.{domain}.", names::API_SERVER_NAME)).unwrap_or_else(|_| Name::root());
        Prober { locator: Locator::new(pod.clone(), config.timeout), config, controls, pod, question }
    }

    /// One pass. Takes at most one look-up, one connect and one climb: about `2 × timeout + 2 s`.
    pub async fn round(&self) -> Round {
        let placed = join_all(self.controls.iter().map(|control| self.locator.control(control))).await;
        let placed: Vec<Placed<'_>> =
            self.controls.iter().zip(placed).map(|(control, located)| Placed { control, located }).collect();
        let families = pod::usable_families();
        let around = Around { controls: &placed, families: &families };
        let targets = join_all(self.config.targets.iter().map(|target| self.target(target, around)));
        let reached = join_all(placed.iter().map(|place| self.must_reach(place, &families)));
        let (targets, reached) = tokio::join!(targets, reached);
        assemble(targets, placed, reached)
    }

    /// What is known is tried at once, what has to be looked up as soon as it is found: a dead resolver holds nothing else up.
    async fn target(&self, target: &Target, around: Around<'_>) -> Tried {
        let question = self.question_for(target);
        let probe = |address: Address| self.address(&question, address, around);
        let known = self.locator.known(target);
        let by_name = async {
            let found = self.locator.looked_up(target).await;
            let fresh = found.addresses.iter().filter(|address| !known.has(address.socket)).cloned();
            (join_all(fresh.map(probe)).await, found)
        };
        let (mut seen, (by_name, found)) = tokio::join!(join_all(known.addresses.iter().cloned().map(probe)), by_name);
        seen.extend(by_name);
        for (observation, _) in &mut seen {
            observation.service |= found.is_service(observation.address);
        }
        let unresolved = [known.unresolved, found.unresolved].concat();
        let (name, kind) = (target.name.clone(), target.kind);
        let round = TargetRound { name, kind, observations: Vec::with_capacity(seen.len()), unresolved, stale: known.stale };
        Tried { round, seen, revision: known.revision }
    }

    /// One probe; where it connects, the climb and the negative control at the same time.
    async fn address(&self, question: &Question, address: Address, around: Around<'_>) -> Seen {
        if let Some(skipped) = skipped(&address, around.families) {
            return (skipped, Vec::new());
        }
        let mut attempt = connect(address.socket, self.config.timeout).await;
        let seen = Observation { service: address.service, ..attempt.observation(address.socket, address.source) };
        if !seen.connected() {
            return (seen, Vec::new());
        }
        let nowhere = self.must_not_connect(address.socket, attempt.latency, around.controls);
        match attempt.stream.take() {
            None => (seen, nowhere.await),
            Some(stream) => {
                let climbing = climb::climb(question, address.host.as_deref(), address.socket, stream);
                let (climbed, nowhere) = tokio::join!(climbing, nowhere);
                (climbed.onto(seen), nowhere)
            }
        }
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

    /// Tries the places where nothing lives that belong to an open address: those configured for its port and family, else a random
    /// one. Whoever answers in a target's place answers as fast as the target did, so ten times that is long enough to wait.
    async fn must_not_connect(&self, open: SocketAddr, latency: Duration, controls: &[Placed<'_>]) -> Vec<(usize, Observation)> {
        let wait = (latency * names::NEGATIVE_CONTROL_FACTOR).max(names::NEGATIVE_CONTROL_MIN).min(self.config.timeout);
        join_all(
            twins(open, controls).into_iter().map(|(index, address)| async move {
                (index, connect(address, wait).await.observation(address, Source::Literal))
            }),
        )
        .await
    }

    async fn must_reach(&self, place: &Placed<'_>, families: &[Family]) -> Vec<Observation> {
        if place.control.expect != Expect::MustReach {
            return Vec::new();
        }
        let own = &pod::own_addresses();
        let asked = place.located.addresses.iter().map(|address| async move {
            let seen = match skipped(address, families) {
                Some(skipped) => skipped,
                None => self.ask(place.control.kind, address).await,
            };
            let ip = address.socket.ip();
            let here = place.control.on_node || self.pod.node_ip == Some(ip) || own.contains(&ip);
            Observation { on_node: seen.on_node || here, ..seen }
        });
        join_all(asked).await
    }

    async fn ask(&self, kind: ControlKind, address: &Address) -> Observation {
        match kind {
            ControlKind::Dns => dns::ask(address.socket, address.source, &self.question, self.config.timeout).await,
            ControlKind::Tcp => connect(address.socket, self.config.timeout).await.observation(address.socket, address.source),
            ControlKind::Reporter => {
                let mut attempt = connect(address.socket, self.config.timeout).await;
                let seen = attempt.observation(address.socket, address.source);
                let node = match attempt.stream.take() {
                    Some(stream) => reporters_node(stream, address.socket).await,
                    None => None,
                };
                let detail = node.as_ref().map(|node| format!("the reporter answers from node {node}"));
                Observation { on_node: node.is_some() && node == self.pod.node, detail: detail.or(seen.detail), ..seen }
            }
        }
    }
}

/// The node that the reporter says it runs on.
async fn reporters_node(stream: TcpStream, address: SocketAddr) -> Option<String> {
    let request = Request::get(names::REACH_PATH).header("Host", address.to_string()).body(Empty::new()).ok()?;
    let head = timeout(names::CLIMB_TIMEOUT, wire::exchange(stream, request)).await.ok()?.ok()?;
    head.header(names::NODE_HEADER).map(str::to_owned)
}

/// The observation of an address that this pod cannot try, having no address of its own in that family.
fn skipped(address: &Address, families: &[Family]) -> Option<Observation> {
    let family = Family::of(address.socket.ip());
    let detail = format!("no {} source address in this pod", family.title());
    let seen = Observation {
        service: address.service,
        detail: Some(detail),
        ..Observation::new(address.socket, address.source, Outcome::Skipped)
    };
    (!families.contains(&family)).then_some(seen)
}

/// The must-not-connect addresses that speak for an open address, each with the index of its control.
fn twins(open: SocketAddr, controls: &[Placed<'_>]) -> Vec<(usize, SocketAddr)> {
    let family = Family::of(open.ip());
    let negative = || controls.iter().enumerate().filter(|(_, place)| place.control.expect == Expect::MustNotConnect);
    let configured: Vec<(usize, SocketAddr)> = negative()
        .flat_map(|(index, place)| place.located.addresses.iter().map(move |address| (index, address.socket)))
        .filter(|(_, socket)| socket.port() == open.port() && Family::of(socket.ip()) == family)
        .collect();
    match configured.is_empty() {
        false => configured,
        true => negative().take(1).map(|(index, _)| (index, SocketAddr::new(nowhere(open.ip()), open.port()))).collect(),
    }
}

/// A random host where nothing lives: TEST-NET-2 (RFC 5737); an unused part of the link-local block beside a link-local target, whose
/// routes and interceptions differ; the discard prefix (RFC 6666).
fn nowhere(beside: IpAddr) -> IpAddr {
    let host = fastrand::u8(1..=254);
    match beside {
        IpAddr::V4(ip) if is_link_local(ip.into()) => Ipv4Addr::new(169, 254, 255, host).into(),
        IpAddr::V4(_) => Ipv4Addr::new(198, 51, 100, host).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits((0x0100 << 112) | u128::from(fastrand::u64(1..))).into(),
    }
}

/// The configured controls, and what is made where a kind of them is missing: the pod's own resolver and the reporter's Service as
/// must-reach, and a must-not-connect whose addresses are made for each port and family in use.
fn with_defaults(configured: &[Control], pod: &Pod) -> Vec<Control> {
    let has = |expect| configured.iter().any(|control| control.expect == expect);
    let make = |name: &str, expect, kind, addresses: Vec<HostPort>| Control {
        name: name.to_owned(),
        expect,
        kind,
        addresses,
        on_node: false,
    };
    let mut controls = configured.to_vec();
    if !has(Expect::MustReach) {
        let servers: Vec<HostPort> =
            resolv::nameservers(&pod.resolv_conf).into_iter().map(|ip| HostPort::Socket(SocketAddr::new(ip, 53))).collect();
        let reporter: Vec<HostPort> = pod.reporter.iter().filter_map(|address| address.parse().ok()).collect();
        let defaults = [("dns", ControlKind::Dns, servers), ("reporter", ControlKind::Reporter, reporter)];
        let defaults = defaults.into_iter().filter(|(_, _, addresses)| !addresses.is_empty());
        controls.extend(defaults.map(|(name, kind, addresses)| make(name, Expect::MustReach, kind, addresses)));
    }
    if !has(Expect::MustNotConnect) {
        controls.push(make("nowhere", Expect::MustNotConnect, ControlKind::Tcp, Vec::new()));
    }
    controls
}

fn assemble(targets: Vec<Tried>, placed: Vec<Placed<'_>>, reached: Vec<Vec<Observation>>) -> Round {
    let mut controls: Vec<ControlRound> =
        placed.into_iter().zip(reached).map(|(place, observations)| control_round(place, observations)).collect();
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

fn control_round(place: Placed<'_>, observations: Vec<Observation>) -> ControlRound {
    let Placed { control, located } = place;
    ControlRound {
        name: control.name.clone(),
        expect: control.expect,
        kind: control.kind,
        observations,
        unresolved: located.unresolved,
    }
}
