//! Controls: where they live, how must-reach ones are asked, and which must-not-connect addresses speak for an open door.
use super::addresses::{Address, Located, Locator};
use super::connect::connect;
use super::must_reach::{ControlMemory, ControlProbe};
use super::pod::{Pod, PodNetwork};
use super::round::{RoundContext, skipped};
use futures_util::future::join_all;
use guardprobe_core::judge::control;
use guardprobe_core::model::address::{Family, HostPort, is_link_local};
use guardprobe_core::model::config::{Control, ControlKind, Expect};
use guardprobe_core::model::names::{self, NEIGHBOURS};
use guardprobe_core::model::observation::{Neighbours, Observation, Outcome, Source};
use guardprobe_core::parse::resolv;
use hickory_proto::rr::Name;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout_at;

/// The controls of one configuration.
#[derive(Debug)]
pub(super) struct Controls {
    /// Configured ones, then those made by default.
    pub(super) all: Vec<Control>,
    /// What a DNS control asks for.
    question: Name,
    budget: Duration,
    /// By the control's place in `all`, and its address.
    memory: RefCell<HashMap<(usize, SocketAddr), ControlMemory>>,
}

/// What a must-reach control showed.
#[derive(Debug, Default)]
pub(super) struct ControlResult {
    pub(super) observations: Vec<Observation>,
    pub(super) unresolved: Vec<String>,
}

impl Controls {
    /// Adds the default controls to the configured ones. `budget` is what one attempt may take.
    pub(super) fn new(configured: &[Control], pod: &Pod, budget: Duration) -> Self {
        let question =
            Name::from_utf8(format!("{}.{}.", names::API_SERVER_NAME, pod.cluster_domain())).unwrap_or_else(|_| Name::root());
        Controls { all: with_defaults(configured, pod), question, budget, memory: RefCell::default() }
    }

    /// The addresses of the must-not-connect controls, each with its control's index: known before the first target is tried.
    pub(super) async fn negatives(&self, locator: &Locator, network: &PodNetwork) -> Vec<(usize, Located)> {
        let negative = self.all.iter().enumerate().filter(|(_, control)| control.expect == Expect::MustNotConnect);
        join_all(negative.map(|(index, control)| async move { (index, locator.control(control, network).await) })).await
    }

    /// Asks one must-reach control; says nothing of others.
    pub(super) async fn must_reach(
        &self,
        index: usize,
        locator: &Locator,
        pod: &Pod,
        context: &RoundContext<'_>,
    ) -> ControlResult {
        let control = &self.all[index];
        if control.expect != Expect::MustReach {
            return ControlResult::default();
        }
        let Ok(located) = timeout_at(context.end, locator.control(control, context.network)).await else {
            return ControlResult {
                unresolved: vec![format!("{}: the round ended first", control.name)],
                ..ControlResult::default()
            };
        };
        self.memory.borrow_mut().retain(|(known, socket), _| *known != index || located.has(*socket));
        let asked = located.addresses.iter().map(|address| async move {
            match skipped(address, &context.network.families) {
                Some(skipped) => skipped,
                None => context.in_time(address, self.observe(index, address, pod, context.network)).await,
            }
        });
        ControlResult { observations: join_all(asked).await, unresolved: located.unresolved }
    }

    async fn observe(&self, index: usize, address: &Address, pod: &Pod, network: &PodNetwork) -> Observation {
        let control = &self.all[index];
        let ip = address.socket.ip();
        let near = is_link_local(ip) || ip.is_loopback() || network.has(ip) || pod.is_node(ip);
        let probe = ControlProbe {
            kind: control.kind,
            address,
            question: &self.question,
            budget: self.budget,
            network,
            node: pod.node.as_deref(),
            on_node: control.on_node || near,
        };
        let key = (index, address.socket);
        // Taken out, so that a round whose end overtakes this one leaves nothing that it did not see proved.
        let mut memory = self.memory.borrow_mut().remove(&key).unwrap_or_default();
        let seen = probe.observe(&mut memory).await;
        self.memory.borrow_mut().insert(key, memory);
        seen
    }

    /// Forgets which controls were firm, so that the next round proves it anew.
    pub(super) fn forget_firm(&self) {
        self.memory.borrow_mut().values_mut().for_each(ControlMemory::forget_firm);
    }
}

/// Tries the negative controls of an address that connected: those configured for its port and family, else a random one.
pub(super) async fn must_not_connect(
    network: &PodNetwork,
    open: SocketAddr,
    latency: Duration,
    negatives: &[(usize, Located)],
    most: Duration,
) -> Vec<(usize, Observation)> {
    let wait = control::patience(latency, most);
    join_all(negative_addresses(open, negatives).into_iter().map(|(index, address)| async move {
        (index, connect(network, address, wait).await.observation(address, Source::Literal))
    }))
    .await
}

/// Tries random hosts beside an address that connected, on its port.
pub(super) async fn neighbours(
    network: &PodNetwork,
    (open, service): (SocketAddr, bool),
    latency: Duration,
    most: Duration,
) -> Neighbours {
    let wait = control::patience(latency, most);
    let tried = join_all(hosts_beside(open.ip(), service).map(|ip| async move {
        let address = SocketAddr::new(ip, open.port());
        connect(network, address, wait).await.observation(address, Source::Literal)
    }))
    .await;
    let answers = tried.iter().filter(|seen| control::answers_the_question(seen));
    let connected = answers.clone().filter(|seen| seen.connected()).count();
    Neighbours { tried: answers.count() as u8, connected: connected as u8 }
}

/// Three different random hosts of an address's own /24; in IPv6 of its /64, or of its /112 where it is a Service's: a range of Services is
/// no larger, and nobody who answers for that one would be met outside of it.
pub(super) fn hosts_beside(ip: IpAddr, service: bool) -> impl Iterator<Item = IpAddr> {
    let mut hosts: Vec<IpAddr> = Vec::with_capacity(NEIGHBOURS);
    while hosts.len() < NEIGHBOURS {
        let host: IpAddr = match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Ipv4Addr::new(a, b, c, fastrand::u8(1..=254)).into()
            }
            IpAddr::V6(ip) => {
                let host = if service { u64::from(fastrand::u16(1..)) } else { fastrand::u64(1..) };
                let network = ip.to_bits() & (u128::MAX << if service { 16 } else { 64 });
                Ipv6Addr::from_bits(network | u128::from(host)).into()
            }
        };
        if host != ip.to_canonical() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts.into_iter()
}

/// The must-not-connect addresses that speak for an open address, each with the index of its control.
fn negative_addresses(open: SocketAddr, negatives: &[(usize, Located)]) -> Vec<(usize, SocketAddr)> {
    let family = Family::of(open.ip());
    let configured: Vec<(usize, SocketAddr)> = negatives
        .iter()
        .flat_map(|(index, located)| located.addresses.iter().map(move |address| (*index, address.socket)))
        .filter(|(_, socket)| socket.port() == open.port() && Family::of(socket.ip()) == family)
        .collect();
    match configured.is_empty() {
        false => configured,
        true => negatives.iter().take(1).map(|(index, _)| (*index, SocketAddr::new(nowhere(open.ip()), open.port()))).collect(),
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

/// True when a negative control of an address that connected did so as well.
pub(super) fn intercepted(negative: &[(usize, Observation)]) -> bool {
    negative.iter().any(|(_, seen)| seen.outcome == Outcome::Connected)
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
        let servers: Vec<HostPort> = resolv::nameservers(&pod.resolv_conf)
            .into_iter()
            .map(|ip| HostPort::Socket(SocketAddr::new(ip.to_canonical(), 53)))
            .collect();
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
