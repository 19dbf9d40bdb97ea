//! What a little world is made of, as plain data: a scenario is a change to it.
use super::filter::Answer;
use super::net::{Net, Way};
use super::plan;
use super::standin::{Api, DnsAnswers, Hops, Service};
use std::net::{IpAddr, SocketAddr};

/// A world; by default one in which all is well: everything alive, and the guard up.
pub(super) struct Setup {
    /// The guard, if there is one.
    pub(super) guard: Option<Guard>,
    /// The node between pod and vpc.
    pub(super) node: Node,
    /// The pod in which the check runs.
    pub(super) pod: Pod,
    /// What lives in the vpc.
    pub(super) vpc: Vec<Service>,
    /// What the hosts in the vpc reject by themselves, and how.
    pub(super) vpc_rejects: Option<(Answer, Vec<IpAddr>)>,
}

/// What the guard denies, and what it answers.
pub(super) struct Guard {
    pub(super) answer: Answer,
    /// Denied whatever the port.
    pub(super) addresses: Vec<IpAddr>,
    /// Denied on that port only: the set that Calico keeps of a Service's endpoints.
    pub(super) endpoints: Vec<SocketAddr>,
    /// Denies all TCP, so that only DNS over UDP is left.
    pub(super) all_tcp: bool,
}

impl Guard {
    /// Denies one more address on its port.
    pub(super) fn also_denies(&mut self, address: Option<SocketAddr>) {
        self.endpoints.extend(address);
    }
}

/// The node, beside the guard.
pub(super) struct Node {
    /// What kube-proxy sends the API's ClusterIP to, in turn; to nothing: it is rejected.
    pub(super) behind_cluster_ip: Vec<SocketAddr>,
    /// Other Services, each with what is behind it, in turn; with nothing behind it, it is rejected.
    pub(super) services: Vec<(SocketAddr, Vec<SocketAddr>)>,
    /// What is wrong on the way through.
    pub(super) trouble: Option<Trouble>,
    /// Routes beside those that the node needs.
    pub(super) routes: Vec<(Net, Way)>,
    /// A resolver on the node itself: its addresses, and what it answers.
    pub(super) local_dns: Option<(Vec<SocketAddr>, DnsAnswers)>,
    /// Everything TCP from the pods ends at a port of the node that says nothing.
    pub(super) swallows_tcp: bool,
}

/// What can be wrong on the node's way through.
pub(super) enum Trouble {
    /// Nothing passes.
    Everything,
    /// Nothing passes to these.
    To(Vec<SocketAddr>),
    /// No TCP passes.
    Tcp,
    /// No DNS over TCP passes.
    Tcp53,
    /// No TCP from these source ports passes.
    FromPorts((u16, u16)),
    /// The first SYN of each connection attempt is lost; its retransmission passes.
    FirstSyn,
}

/// The pod.
pub(super) struct Pod {
    pub(super) ipv4: bool,
    pub(super) ipv6: Ipv6,
    pub(super) default_route: bool,
    /// Routes beside the default one.
    pub(super) routes: Vec<(Net, Way)>,
    /// A proxy in the pod, as a mesh puts one there.
    pub(super) proxy: Option<Proxy>,
    /// A name server in the pod that DNS is redirected to, as a mesh has one.
    pub(super) dns_in_pod: Option<DnsInPod>,
    /// Rejected by the pod's own packet filter.
    pub(super) rejects: Vec<IpAddr>,
    /// A single ephemeral port, and that one taken.
    pub(super) no_local_port: bool,
    /// The limit of open files for the check.
    pub(super) descriptors: Option<u64>,
    /// The name servers in its resolv.conf.
    pub(super) nameservers: Vec<IpAddr>,
    /// A comment in its resolv.conf with a byte that is no UTF-8.
    pub(super) odd_comment: bool,
    /// `KUBERNETES_SERVICE_HOST` and its port.
    pub(super) api: SocketAddr,
    /// `GUARDPROBE_REPORTER_ADDRESS`.
    pub(super) reporter: Option<SocketAddr>,
    /// No IPv6 route beyond its link.
    pub(super) no_ipv6_route: bool,
    /// What is mounted as endpoints.json.
    pub(super) endpoints: EndpointsFile,
}

/// A pod's IPv6.
#[derive(PartialEq, Eq)]
pub(super) enum Ipv6 {
    /// An address and a route.
    On,
    /// Nothing but the link-local address that every link has.
    LinkLocal,
    /// Switched off.
    Off,
}

/// A proxy in the pod that takes outgoing TCP connections.
#[derive(Default)]
pub(super) struct Proxy {
    /// Connects to where the pod wanted to go, once it has accepted; else it says nothing at all.
    pub(super) forwards: bool,
    /// Takes that port only.
    pub(super) only_port: Option<u16>,
    /// Takes that IPv4 network only.
    pub(super) only_network: Option<Net>,
}

/// Which transports of DNS a pod's own name server takes.
pub(super) enum DnsInPod {
    /// UDP and TCP.
    Both,
    /// UDP only.
    Udp,
    /// None: the resolver configuration names it.
    Named,
}

/// The endpoints file that the reporter keeps and the kubelet mounts.
pub(super) enum EndpointsFile {
    /// These, written just now.
    Fresh(Vec<SocketAddr>),
    /// These, written that many minutes ago.
    Old(Vec<SocketAddr>, u32),
    /// This text.
    Text(&'static str),
    /// None.
    Missing,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            guard: Some(Guard::default()),
            node: Node::default(),
            pod: Pod::default(),
            vpc: everything_alive(),
            vpc_rejects: None,
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        let endpoints = plan::ENDPOINTS.into_iter().chain([plan::ENDPOINT_V6]).collect();
        Guard { answer: Answer::Drop, addresses: plan::IMDS.to_vec(), endpoints, all_tcp: false }
    }
}

impl Default for Node {
    fn default() -> Self {
        Node {
            behind_cluster_ip: plan::ENDPOINTS.to_vec(),
            services: vec![(plan::VAULT_SERVICE, vec![]), (plan::REPORTER_SERVICE, plan::REPORTERS.to_vec())],
            trouble: None,
            routes: vec![],
            local_dns: None,
            swallows_tcp: false,
        }
    }
}

impl Default for Pod {
    fn default() -> Self {
        Pod {
            ipv4: true,
            ipv6: Ipv6::On,
            default_route: true,
            routes: vec![],
            proxy: None,
            dns_in_pod: None,
            rejects: vec![],
            no_local_port: false,
            descriptors: None,
            nameservers: plan::DNS_SERVICE.map(|server| server.ip()).to_vec(),
            odd_comment: false,
            api: plan::CLUSTER_IP,
            reporter: None,
            no_ipv6_route: false,
            endpoints: EndpointsFile::Fresh(plan::ENDPOINTS.to_vec()),
        }
    }
}

fn everything_alive() -> Vec<Service> {
    let api = plan::ENDPOINTS.into_iter().chain([plan::NEW_ENDPOINT, plan::ENDPOINT_V6]).collect();
    vec![
        Service::Imds { at: imds_sockets(), hops: Hops::Enough },
        Service::Api { at: api, is: Api::Ours },
        Service::Dns { at: plan::DNS_SERVER.to_vec(), answers: DnsAnswers::Known },
        Service::Reporter { at: plan::REPORTERS.to_vec(), node: Some("another-node".to_owned()) },
        Service::Mute { at: plan::many().collect() },
    ]
}

impl Setup {
    /// Nothing of that kind answers any more: the addresses live, their ports are closed.
    pub(super) fn close_imds(&mut self) {
        self.vpc.retain(|service| !matches!(service, Service::Imds { .. }));
    }

    /// No API server listens at its endpoints any more.
    pub(super) fn close_api(&mut self) {
        self.vpc.retain(|service| !matches!(service, Service::Api { .. }));
    }

    /// No name server listens any more.
    pub(super) fn close_dns(&mut self) {
        self.vpc.retain(|service| !matches!(service, Service::Dns { .. }));
    }

    /// The name servers answer like this instead.
    pub(super) fn dns_answers(&mut self, other: DnsAnswers) {
        for service in &mut self.vpc {
            if let Service::Dns { answers, .. } = service {
                *answers = other;
            }
        }
    }

    /// The pod has the reporter's control; its reporters are on these nodes.
    pub(super) fn reporters_on(&mut self, nodes: [Option<&str>; 2]) {
        self.pod.reporter = Some(plan::REPORTER_SERVICE);
        self.vpc.retain(|service| !matches!(service, Service::Reporter { .. }));
        for (at, node) in plan::REPORTERS.into_iter().zip(nodes) {
            self.vpc.push(Service::Reporter { at: vec![at], node: node.map(str::to_owned) });
        }
    }

    /// The pod's resolver is on its node, at that address.
    pub(super) fn node_local_dns(&mut self, at: SocketAddr, answers: DnsAnswers) {
        self.node.local_dns = Some((vec![at], answers));
        self.pod.nameservers = vec![at.ip()];
    }

    /// Something else answers where the metadata service was.
    pub(super) fn imds_is(&mut self, other: impl FnOnce(Vec<SocketAddr>) -> Service) {
        self.close_imds();
        self.vpc.push(other(imds_sockets()));
    }

    /// At that endpoint somebody else's API answers.
    pub(super) fn another_api_at(&mut self, endpoint: SocketAddr) {
        for service in &mut self.vpc {
            if let Service::Api { at, .. } = service {
                at.retain(|address| *address != endpoint);
            }
        }
        self.vpc.push(Service::Api { at: vec![endpoint], is: Api::Others });
    }

    /// Something else answers where the API was.
    pub(super) fn api_is(&mut self, other: Api) {
        for service in &mut self.vpc {
            if let Service::Api { is, .. } = service {
                *is = other;
            }
        }
    }

    /// The answers of the metadata service get one hop far.
    pub(super) fn one_hop_imds(&mut self) {
        self.close_imds();
        self.vpc.push(Service::Imds { at: imds_sockets(), hops: Hops::One });
    }
}

fn imds_sockets() -> Vec<SocketAddr> {
    plan::IMDS.map(|ip| SocketAddr::new(ip, plan::IMDS_PORT)).to_vec()
}
