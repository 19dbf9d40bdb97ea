//! Controls: where they live, how must-reach ones are asked, and which must-not-connect addresses speak for an open door.
use super::addresses::{Address, Located, Locator};
use super::connect::connect;
use super::dns;
use super::pod::Pod;
use super::round::{Around, skipped};
use crate::wire;
use futures_util::future::join_all;
use guardprobe_core::judge::control;
use guardprobe_core::model::address::{Family, HostPort, is_link_local};
use guardprobe_core::model::config::{Control, ControlKind, Expect};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome};
use guardprobe_core::parse::resolv;
use hickory_proto::rr::Name;
use http_body_util::Empty;
use hyper::Request;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

/// The controls of one configuration.
#[derive(Debug)]
pub(super) struct Controls {
    /// Configured ones, then those made by default.
    pub(super) all: Vec<Control>,
    /// What a DNS control asks for.
    question: Name,
    budget: Duration,
}

/// What a must-reach control showed.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) observations: Vec<Observation>,
    pub(super) unresolved: Vec<String>,
}

impl Controls {
    /// Adds the default controls to the configured ones. `budget` is what one attempt may take.
    pub(super) fn new(configured: &[Control], pod: &Pod, budget: Duration) -> Self {
        let domain = resolv::cluster_domain(&pod.resolv_conf).unwrap_or_else(|| "cluster.local".to_owned());
        let question = Name::from_utf8(format!("{}.{domain}.", names::API_SERVER_NAME)).unwrap_or_else(|_| Name::root());
        Controls { all: with_defaults(configured, pod), question, budget }
    }

    /// Where the must-not-connect controls live now, each with its index: known before the first target is tried.
    pub(super) async fn negatives(&self, locator: &Locator) -> Vec<(usize, Located)> {
        let negative = self.all.iter().enumerate().filter(|(_, control)| control.expect == Expect::MustNotConnect);
        join_all(negative.map(|(index, control)| async move { (index, locator.control(control).await) })).await
    }

    /// Asks one must-reach control; says nothing of others.
    pub(super) async fn must_reach(&self, control: &Control, locator: &Locator, pod: &Pod, around: &Around<'_>) -> Asked {
        if control.expect != Expect::MustReach {
            return Asked::default();
        }
        let Ok(located) = timeout_at(around.end, locator.control(control)).await else {
            return Asked { unresolved: vec![format!("{} (the round ended first)", control.name)], ..Asked::default() };
        };
        let asked = located.addresses.iter().map(|address| async move {
            let seen = match skipped(address, around.families) {
                Some(skipped) => skipped,
                None => around.in_time(address, self.ask(control.kind, address, pod)).await,
            };
            let ip = address.socket.ip();
            let here = control.on_node || pod.node_ip == Some(ip) || around.own.contains(&ip);
            Observation { on_node: seen.on_node || here, ..seen }
        });
        Asked { observations: join_all(asked).await, unresolved: located.unresolved }
    }

    async fn ask(&self, kind: ControlKind, address: &Address, pod: &Pod) -> Observation {
        match kind {
            ControlKind::Dns => dns::ask(address.socket, address.source, &self.question, self.budget).await,
            ControlKind::Tcp => connect(address.socket, self.budget).await.observation(address.socket, address.source),
            ControlKind::Reporter => {
                let mut attempt = connect(address.socket, self.budget).await;
                let seen = attempt.observation(address.socket, address.source);
                let node = match attempt.stream.take() {
                    Some(stream) => reporters_node(stream, address.socket).await,
                    None => None,
                };
                let detail = node.as_ref().map(|node| format!("the reporter answers from node {node}"));
                Observation { on_node: node.is_some() && node == pod.node, detail: detail.or(seen.detail), ..seen }
            }
        }
    }
}

/// Tries the places where nothing lives that belong to an open address: those configured for its port and family, else a random one.
pub(super) async fn must_not_connect(
    open: SocketAddr,
    latency: Duration,
    negatives: &[(usize, Located)],
    most: Duration,
) -> Vec<(usize, Observation)> {
    let wait = control::patience(latency, most);
    join_all(twins(open, negatives).into_iter().map(|(index, address)| async move {
        (index, connect(address, wait).await.observation(address, guardprobe_core::model::observation::Source::Literal))
    }))
    .await
}

/// The must-not-connect addresses that speak for an open address, each with the index of its control.
fn twins(open: SocketAddr, negatives: &[(usize, Located)]) -> Vec<(usize, SocketAddr)> {
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

/// True when the place where nothing lives that belongs to an open address connected as well.
pub(super) fn intercepted(nowhere: &[(usize, Observation)]) -> bool {
    nowhere.iter().any(|(_, seen)| seen.outcome == Outcome::Connected)
}

/// The node that the reporter says it runs on.
async fn reporters_node(stream: TcpStream, address: SocketAddr) -> Option<String> {
    let request = Request::get(names::REACH_PATH).header("Host", address.to_string()).body(Empty::new()).ok()?;
    let head = timeout(names::CLIMB_TIMEOUT, wire::exchange(stream, request)).await.ok()?.ok()?;
    head.header(names::NODE_HEADER).map(str::to_owned)
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
