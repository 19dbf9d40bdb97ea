//! The numbers of the lab's little world: each has this one owner.
//!
//! ```text
//!        pod                      node                              vpc
//!   eth0 10.1.0.2  ───  eni0 10.1.0.1 │ up0 10.9.0.1  ───  eth0 10.9.0.2
//!        fd10:1::2           fd10:1::1      fd10:9::1           fd10:9::2
//!                       kube-proxy, guard                  lo   169.254.169.254, fd00:ec2::254   IMDS
//!                                                               10.90.0.10, 10.90.0.11           API endpoints
//!                                                               10.90.0.53, fd10:90::53          DNS
//! ```
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, last))
}

/// The pod's addresses, and the node's end of the same wire.
pub(super) const POD: [IpAddr; 2] = [v4(10, 1, 0, 2), v6(0xfd10, 1, 2)];
pub(super) const NODE_TO_POD: [IpAddr; 2] = [v4(10, 1, 0, 1), v6(0xfd10, 1, 1)];
/// The node's way up, and the vpc's end of it.
pub(super) const NODE_TO_VPC: [IpAddr; 2] = [v4(10, 9, 0, 1), v6(0xfd10, 9, 1)];
pub(super) const VPC: [IpAddr; 2] = [v4(10, 9, 0, 2), v6(0xfd10, 9, 2)];

/// Where the agent listens, in its pod.
pub(super) const AGENT: SocketAddr = SocketAddr::new(v4(127, 0, 0, 1), 9797);

/// Where the reporter of a held lab listens, in a namespace of its own, the hub; where it tells the fleet; and where it finds the agent of a node.
pub(super) const REPORTER: SocketAddr = SocketAddr::new(v4(127, 0, 0, 1), 9798);
pub(super) const PAGE: SocketAddr = SocketAddr::new(v4(127, 0, 0, 1), 9799);
pub(super) const fn agent_in_hub(nth: u8) -> IpAddr {
    v4(127, 0, 1, nth)
}

/// What the nodes of a held lab are called, from 1 on.
pub(super) fn node_name(nth: u8) -> String {
    format!("lab-node-{nth}")
}

/// The instance metadata service.
pub(super) const IMDS: [IpAddr; 2] = [v4(169, 254, 169, 254), v6(0xfd00, 0x0ec2, 0x254)];
pub(super) const IMDS_PORT: u16 = 80;

/// The API's Service address, and the endpoints behind it.
pub(super) const CLUSTER_IP: SocketAddr = SocketAddr::new(v4(10, 96, 0, 1), 443);
pub(super) const ENDPOINTS: [SocketAddr; 2] =
    [SocketAddr::new(v4(10, 90, 0, 10), 6443), SocketAddr::new(v4(10, 90, 0, 11), 6443)];
/// Endpoints that exist in the vpc but that nobody lists, until a situation does.
pub(super) const NEW_ENDPOINT: SocketAddr = SocketAddr::new(v4(10, 90, 0, 12), 6443);
pub(super) const ENDPOINT_V6: SocketAddr = SocketAddr::new(v6(0xfd10, 0x90, 0x10), 6443);

/// The resolver's Service addresses, and the server behind them. It is not on the node.
pub(super) const DNS_SERVICE: [SocketAddr; 2] =
    [SocketAddr::new(v4(10, 96, 0, 10), 53), SocketAddr::new(v6(0xfd10, 0x96, 0x10), 53)];
pub(super) const DNS_SERVER: [SocketAddr; 2] =
    [SocketAddr::new(v4(10, 90, 0, 53), 53), SocketAddr::new(v6(0xfd10, 0x90, 0x53), 53)];
/// A resolver on the node itself, as NodeLocal DNSCache has it.
pub(super) const NODE_LOCAL_DNS: SocketAddr = SocketAddr::new(v4(169, 254, 20, 10), 53);

/// The reporter's Service, and two reporters behind it.
pub(super) const REPORTER_SERVICE: SocketAddr = SocketAddr::new(v4(10, 96, 0, 20), 9798);
pub(super) const REPORTERS: [SocketAddr; 2] =
    [SocketAddr::new(v4(10, 90, 0, 20), 9798), SocketAddr::new(v4(10, 90, 0, 21), 9798)];
/// A Service by name, `vault.default.svc.cluster.local`, port 8200.
pub(super) const VAULT_SERVICE: SocketAddr = SocketAddr::new(v4(10, 96, 0, 80), MANY_PORT);
/// The API's Service address of a cluster whose range of Services looks public, as GKE's does.
pub(super) const PUBLIC_CLUSTER_IP: SocketAddr = SocketAddr::new(v4(34, 118, 224, 1), 443);
/// A name server that is dead: its address lives, and nothing listens or answers there.
pub(super) const DEAD_DNS: IpAddr = v4(10, 99, 0, 53);
/// Where a name server in the pod listens, for a mesh that answers DNS itself.
pub(super) const POD_DNS_PORT: u16 = 15053;

/// A dozen addresses of some other service: 10.90.1.1 to 10.90.1.12, port 8200.
pub(super) const MANY_PORT: u16 = 8200;
pub(super) fn many() -> impl Iterator<Item = SocketAddr> {
    (1..=12).map(|last| SocketAddr::new(v4(10, 90, 1, last), MANY_PORT))
}

/// Where a proxy inside the pod, or on the node, listens.
pub(super) const PROXY_PORT: u16 = 15001;
/// The mark by which a proxy's own connections are let past it.
pub(super) const PROXY_MARK: u32 = 0x539;

/// The names in the API server's certificate, beside its addresses.
pub(super) const API_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// The pod's ephemeral ports. The range is the lab's own, so that "one third of the ports" is a number and not a guess.
pub(super) const LOCAL_PORTS: (u16, u16) = (30000, 59999);
pub(super) const FIRST_THIRD: (u16, u16) = (30000, 39999);
