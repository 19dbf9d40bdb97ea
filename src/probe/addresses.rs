//! Where a target lives in this round: literals, the pod's environment, names looked up now, the endpoints file.
#![expect(clippy::disallowed_methods, reason = "the age of a file is told here, at the edge")]
use super::files;
use super::pod::Pod;
use futures_util::future::join_all;
use guardprobe_core::model::address::HostPort;
use guardprobe_core::model::config::{Control, Kind, Target};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::Source;
use guardprobe_core::parse::endpoints::{self, Endpoints};
use guardprobe_core::parse::resolv;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long one server is waited for, and how often a query is repeated, within the budget of the whole look-up.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);

/// What is said of a name that nobody answered for.
const SILENCE: &str = "no answer from the resolver";

/// One address of a target or control.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) socket: SocketAddr,
    pub(super) source: Source,
    /// True for a Service's ClusterIP.
    pub(super) service: bool,
    /// The host name that led here, where one did.
    pub(super) host: Option<String>,
}

impl Address {
    fn new(socket: SocketAddr, source: Source) -> Self {
        Address { socket, source, service: false, host: None }
    }
}

/// All that is known now of where something lives.
#[derive(Debug, Default)]
pub(super) struct Located {
    pub(super) addresses: Vec<Address>,
    /// Names that gave no address, each with what the resolver said.
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
            Some(known) => known.service |= address.service,
            None => self.addresses.push(address),
        }
    }
}

/// Looks addresses up; made once, since reading the resolver's configuration anew in each round would find the same.
#[derive(Debug)]
pub(super) struct Locator {
    pod: Pod,
    cluster_domain: String,
    resolver: Result<TokioResolver, String>,
    budget: Duration,
    /// What the endpoints files said when they were read last.
    endpoints: RefCell<HashMap<PathBuf, Result<Endpoints, String>>>,
}

impl Locator {
    /// `budget` is how long all names of one target together may take.
    pub(super) fn new(pod: Pod, budget: Duration) -> Self {
        let resolver = resolver(&pod.resolv_conf).map_err(|error| error.to_string());
        let cluster_domain = resolv::cluster_domain(&pod.resolv_conf).unwrap_or_else(|| "cluster.local".to_owned());
        Locator { pod, cluster_domain, resolver, budget, endpoints: RefCell::default() }
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
        let literal = target.addresses.iter().chain(&target.public_endpoint).filter_map(HostPort::socket);
        literal.for_each(|socket| found.add(Address::new(socket, Source::Literal)));
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
    pub(super) async fn looked_up(&self, target: &Target) -> Located {
        let mut found = Located::default();
        if target.kind == Kind::KubeApi && target.addresses.is_empty() {
            self.api_name(&mut found).await;
            self.named(self.api_host_name().iter(), &mut found).await;
        }
        self.named(target.addresses.iter().chain(&target.public_endpoint), &mut found).await;
        self.mark_service(&mut found, |ip, service| ip.to_canonical() == service.to_canonical());
        found
    }

    /// Where a configured control lives now.
    pub(super) async fn control(&self, control: &Control) -> Located {
        let mut found = Located::default();
        let literal = control.addresses.iter().filter_map(HostPort::socket);
        literal.for_each(|socket| found.add(Address::new(socket, Source::Literal)));
        self.named(control.addresses.iter(), &mut found).await;
        // A range of Services holds nothing else, and is no smaller than that: the cluster's DNS is beside its API.
        self.mark_service(&mut found, is_beside);
        found
    }

    /// Looks up the names among these, all at once.
    async fn named(&self, hosts: impl Iterator<Item = &HostPort>, found: &mut Located) {
        let looked_up = join_all(
            hosts.filter_map(HostPort::name).map(|(host, port)| async move { (host, port, self.look_up(host, port).await) }),
        );
        for (host, port, sockets) in looked_up.await {
            match sockets {
                Err(why) => found.unresolved.push(format!("{host}:{port} ({why})")),
                Ok(sockets) => sockets.into_iter().for_each(|socket| {
                    let service = self.is_service_name(host);
                    found.add(Address { service, host: Some(host.to_owned()), ..Address::new(socket, Source::Dns) });
                }),
            }
        }
    }

    /// True for a name that the cluster's DNS gives to a Service.
    fn is_service_name(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        host.ends_with(".svc") || host.ends_with(&format!(".svc.{}", self.cluster_domain))
    }

    /// The name of the API's Service: what it leads to is a Service's address.
    async fn api_name(&self, found: &mut Located) {
        let looked_up = timeout(self.budget, self.look_up_first(api_names(&self.pod.resolv_conf), self.pod.api_port)).await;
        match looked_up.unwrap_or_else(|_| Err(SILENCE.to_owned())) {
            Err(why) => found.unresolved.push(format!("{} ({why})", names::API_SERVER_NAME)),
            Ok(sockets) => sockets.into_iter().for_each(|socket| {
                let host = Some(names::API_SERVER_NAME.to_owned());
                found.add(Address { service: true, host, ..Address::new(socket, Source::Dns) });
            }),
        }
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
            None => found.unresolved.push("the node (GUARDPROBE_NODE_IP is not set; the chart sets it)".to_owned()),
        }
    }

    /// Marks the addresses that are `is_service` beside the Service that the environment names. An endpoint of the file is none.
    fn mark_service(&self, found: &mut Located, is_service: fn(IpAddr, IpAddr) -> bool) {
        let Some(service) = self.cluster_ip().map(|socket| socket.ip()) else { return };
        for address in found.addresses.iter_mut().filter(|address| address.source != Source::File) {
            address.service |= is_service(address.socket.ip(), service);
        }
    }

    /// The first of these names that has an address; else what was said of the last.
    async fn look_up_first(&self, names: [String; 2], port: u16) -> Result<Vec<SocketAddr>, String> {
        let [first, second] = &names;
        match self.look_up(first, port).await {
            Ok(sockets) => Ok(sockets),
            Err(_) => self.look_up(second, port).await,
        }
    }

    /// Both families of one name.
    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        let answer = timeout(self.budget, resolver.lookup_ip(name)).await.map_err(|_| SILENCE.to_owned())?;
        let answer = answer.map_err(|error| in_words(&error))?;
        let sockets: Vec<SocketAddr> =
            answer.iter().take(names::NAME_ADDRESSES_MAX).map(|ip| SocketAddr::new(ip.to_canonical(), port)).collect();
        if sockets.is_empty() { Err("the name has no address".to_owned()) } else { Ok(sockets) }
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

fn resolver(resolv_conf: &str) -> Result<TokioResolver, NetError> {
    let (config, mut options) = parse_resolv_conf(resolv_conf)?;
    let (_, search, servers) = config.into_parts();
    let config = ResolverConfig::from_parts(None, search, servers); // the host's own domain is no part of a pod's search list
    options.timeout = SERVER_TIMEOUT;
    options.cache_size = 0; // an address that moved must be seen in the next round
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

/// `kubernetes.default.svc` as absolute names, in the order of trying: looked up through the search list it would cost up to
/// eight queries in every pod (`ndots:5`), and another namespace could answer for it.
fn api_names(resolv_conf: &str) -> [String; 2] {
    let domain = resolv::cluster_domain(resolv_conf).unwrap_or_else(|| "cluster.local".to_owned());
    [format!("{}.{domain}.", names::API_SERVER_NAME), format!("{}.", names::API_SERVER_NAME)]
}

fn in_words(error: &NetError) -> String {
    match error {
        error if error.is_nx_domain() => "no such name".to_owned(),
        error if error.is_no_records_found() => "the name has no address".to_owned(),
        NetError::Timeout => SILENCE.to_owned(),
        error => error.to_string(),
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
