//! Where a target lives in this round: literals, the pod's environment, names looked up now, the endpoints file.
#![expect(clippy::disallowed_methods, reason = "the age of a file is told here, at the edge")]
use super::files;
use super::pod::{Pod, PodNetwork};
use super::resolver::Resolver;
use futures_util::future::join_all;
use guardprobe_core::model::address::HostPort;
use guardprobe_core::model::config::{Control, Kind, Target};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::Source;
use guardprobe_core::parse::endpoints::{self, Endpoints};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One address of a target or control.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) socket: SocketAddr,
    pub(super) source: Source,
    /// True for a Service's ClusterIP.
    pub(super) service: bool,
    /// The host name that led here, where one did.
    pub(super) host: Option<String>,
    /// It is the cluster's public endpoint.
    pub(super) public_endpoint: bool,
}

impl Address {
    fn new(socket: SocketAddr, source: Source) -> Self {
        Address { socket, source, service: false, host: None, public_endpoint: false }
    }
}

/// All that is known now of where something lives.
#[derive(Debug, Default)]
pub(super) struct Located {
    pub(super) addresses: Vec<Address>,
    /// Names that were not looked up in full, each with the reason.
    pub(super) unresolved: Vec<String>,
    /// Why the endpoints file gave nothing.
    pub(super) stale: Option<String>,
    /// The revision of the endpoints file.
    pub(super) revision: Option<String>,
    /// The addresses in that file.
    pub(super) endpoints: Vec<SocketAddr>,
}

impl Located {
    /// Nothing, because of this.
    pub(super) fn nowhere(unresolved: &str) -> Self {
        Located { unresolved: vec![unresolved.to_owned()], ..Located::default() }
    }

    /// True when that address is among them.
    pub(super) fn has(&self, socket: SocketAddr) -> bool {
        self.addresses.iter().any(|known| known.socket == socket)
    }

    /// True when that address is among them as a Service's.
    pub(super) fn is_service(&self, socket: SocketAddr) -> bool {
        self.addresses.iter().any(|known| known.socket == socket && known.service)
    }

    /// The addresses of the API's own Service: of the environment, or of its name.
    pub(super) fn api_service(&self) -> impl Iterator<Item = SocketAddr> {
        let of_api =
            |address: &&Address| address.source == Source::Env || address.host.as_deref() == Some(names::API_SERVER_NAME);
        self.addresses.iter().filter(|address| address.service).filter(of_api).map(|address| address.socket)
    }

    /// Adds an address unless it is there already; that it is a Service's stays known either way.
    fn add(&mut self, address: Address) {
        match self.addresses.iter_mut().find(|known| known.socket == address.socket) {
            Some(known) => {
                known.service |= address.service;
                known.public_endpoint |= address.public_endpoint;
            }
            None => self.addresses.push(address),
        }
    }
}

/// Looks addresses up; made once, since reading the resolver's configuration anew in each round would find the same.
#[derive(Debug)]
pub(super) struct Locator {
    pod: Pod,
    cluster_domain: String,
    resolver: Resolver,
    /// What the endpoints files said when they were read last.
    endpoints: RefCell<HashMap<PathBuf, Result<Endpoints, String>>>,
}

impl Locator {
    /// `budget` is how long the look-up of one name may take.
    pub(super) fn new(pod: Pod, budget: Duration) -> Self {
        let (resolver, cluster_domain) = (Resolver::new(&pod, budget), pod.cluster_domain());
        Locator { pod, cluster_domain, resolver, endpoints: RefCell::default() }
    }

    /// Where a target lives, as far as that is known without asking anybody: these need not wait for a resolver.
    pub(super) fn known(&self, target: &Target) -> Located {
        let mut found = Located::default();
        let built_in = target.addresses.is_empty();
        match target.kind {
            Kind::KubeApi if built_in => {
                self.cluster_ip().into_iter().for_each(|socket| found.add(Address::new(socket, Source::Env)))
            }
            Kind::Kubelet if built_in => self.kubelet(&mut found),
            kind => kind.built_in().iter().filter(|_| built_in).filter_map(|text| text.parse().ok()).for_each(|socket| {
                found.add(Address::new(socket, Source::Literal));
            }),
        }
        let literal = target.addresses.iter().filter_map(HostPort::socket);
        literal.for_each(|socket| found.add(Address::new(socket, Source::Literal)));
        if let Some(socket) = target.public_endpoint.as_ref().and_then(HostPort::socket) {
            found.add(Address { public_endpoint: true, ..Address::new(socket, Source::Literal) });
        }
        if let Some(path) = self.endpoints_path(target) {
            add_endpoints(self.endpoints.borrow().get(&path).cloned(), &mut found);
        }
        self.mark_service(&mut found, |ip, service| ip.to_canonical() == service.to_canonical());
        found
    }

    /// The endpoints file of a target: the configured one, else the one that is mounted.
    fn endpoints_path(&self, target: &Target) -> Option<PathBuf> {
        let mounted = || self.pod.endpoints_file().filter(|_| target.addresses.is_empty() && target.kind == Kind::KubeApi);
        target.endpoints_file.clone().or_else(mounted)
    }

    /// True when an endpoints file was read and names addresses.
    pub(super) fn knows_endpoints(&self) -> bool {
        self.endpoints.borrow().values().any(Result::is_ok)
    }

    /// Reads the endpoints files of these targets anew.
    pub(super) async fn read_files(&self, targets: &[Target]) {
        let paths: BTreeSet<PathBuf> = targets.iter().filter_map(|target| self.endpoints_path(target)).collect();
        let read = join_all(paths.into_iter().map(|path| async move { (read_endpoints(&path).await, path) })).await;
        self.endpoints.borrow_mut().extend(read.into_iter().map(|(read, path)| (path, read)));
    }

    /// Where the names of a target lead now.
    pub(super) async fn looked_up(&self, target: &Target, network: &PodNetwork) -> Located {
        let mut hosts: Vec<HostPort> = Vec::new();
        if target.kind == Kind::KubeApi && target.addresses.is_empty() {
            hosts.push(HostPort::Name { host: names::API_SERVER_NAME.to_owned(), port: self.pod.api_port });
            hosts.extend(self.api_host_name());
        }
        hosts.extend(target.addresses.iter().chain(&target.public_endpoint).cloned());
        let mut found = Located::default();
        self.named(&hosts, network, &mut found).await;
        self.mark_service(&mut found, |ip, service| ip.to_canonical() == service.to_canonical());
        if let Some((public_host, port)) = target.public_endpoint.as_ref().and_then(HostPort::name) {
            let of_it = |address: &&mut Address| address.host.as_deref() == Some(public_host) && address.socket.port() == port;
            found.addresses.iter_mut().filter(of_it).for_each(|address| address.public_endpoint = true);
        }
        found
    }

    /// Where a configured control lives now.
    pub(super) async fn control(&self, control: &Control, network: &PodNetwork) -> Located {
        let mut found = Located::default();
        let literal = control.addresses.iter().filter_map(HostPort::socket);
        literal.for_each(|socket| found.add(Address::new(socket, Source::Literal)));
        self.named(&control.addresses, network, &mut found).await;
        // A range of Services holds nothing else, and is no smaller than that: the cluster's DNS is beside its API.
        self.mark_service(&mut found, is_beside);
        found
    }

    /// Looks up the names among these, all at once.
    async fn named(&self, hosts: &[HostPort], network: &PodNetwork, found: &mut Located) {
        let names = hosts.iter().filter_map(HostPort::name);
        let looked_up = names.map(|(host, port)| async move { (host, port, self.resolver.look_up(host, network).await) });
        for (host, port, looked_up) in join_all(looked_up).await {
            let service = self.is_service_name(host);
            for ip in looked_up.addresses {
                let address = Address::new(SocketAddr::new(ip, port), Source::Dns);
                found.add(Address { service, host: Some(host.to_owned()), ..address });
            }
            found.unresolved.extend(looked_up.doubt.map(|doubt| format!("{host}:{port}: {doubt}")));
        }
    }

    /// True for a name that the cluster's DNS gives to a Service.
    fn is_service_name(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        host.ends_with(".svc") || host.ends_with(&format!(".svc.{}", self.cluster_domain))
    }

    /// `KUBERNETES_SERVICE_HOST` where it is a name: some platforms put their API's own there, which is no Service's address.
    fn api_host_name(&self) -> Option<HostPort> {
        let host = self.pod.api_host.as_ref().filter(|_| self.cluster_ip().is_none())?;
        Some(HostPort::Name { host: host.to_ascii_lowercase(), port: self.pod.api_port })
    }

    /// The ClusterIP that the kubelet puts into every pod's environment.
    fn cluster_ip(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.pod.api_host.as_ref()?.parse().ok()?;
        Some(SocketAddr::new(ip, self.pod.api_port))
    }

    fn kubelet(&self, found: &mut Located) {
        const PORT: u16 = 10250;
        match self.pod.node_ip {
            Some(ip) => found.add(Address::new(SocketAddr::new(ip, PORT), Source::Env)),
            None => found.unresolved.push("the node's address: GUARDPROBE_NODE_IP is not set (the chart sets it)".to_owned()),
        }
    }

    /// Marks the addresses that are `is_service` beside the Service that the environment names. An endpoint of the file is none.
    fn mark_service(&self, found: &mut Located, is_service: fn(IpAddr, IpAddr) -> bool) {
        let Some(service) = self.cluster_ip().map(|socket| socket.ip()) else { return };
        for address in found.addresses.iter_mut().filter(|address| address.source != Source::File) {
            address.service |= is_service(address.socket.ip(), service);
        }
    }
}

/// True for two addresses of one /24, or of one /112 in IPv6.
fn is_beside(ip: IpAddr, other: IpAddr) -> bool {
    match (ip.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(ip), IpAddr::V4(other)) => ip.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(ip), IpAddr::V6(other)) => ip.segments()[..7] == other.segments()[..7],
        _ => false,
    }
}

/// Reads an endpoints file, beside the round.
///
/// # Errors
/// The file, and why it gives no addresses.
pub(super) async fn read_endpoints(path: &Path) -> Result<Endpoints, String> {
    let bytes = files::read(path, names::ENDPOINTS_MAX_BYTES).await?;
    endpoints::parse(&bytes, jiff::Timestamp::now()).map_err(|why| format!("{}: {why}", path.display()))
}

fn add_endpoints(read: Option<Result<Endpoints, String>>, found: &mut Located) {
    match read.unwrap_or_else(|| Err("the endpoints file was not read yet".to_owned())) {
        Err(why) => found.stale = Some(why),
        Ok(endpoints) => {
            found.revision = Some(endpoints.revision);
            found.endpoints.clone_from(&endpoints.addresses);
            endpoints.addresses.into_iter().for_each(|socket| found.add(Address::new(socket, Source::File)));
        }
    }
}
