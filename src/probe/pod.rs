//! What a process finds around itself in a pod: environment, resolver configuration, mounted files, its own addresses.
use super::files;
use guardprobe_core::judge::attempt::Local;
use guardprobe_core::model::address::Family;
use guardprobe_core::model::names;
use guardprobe_core::parse::resolv;
use nix::sys::socket::SockaddrLike;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The surroundings, read once at start: in a pod none of this changes while it lives.
#[derive(Debug, Clone, Default)]
pub struct Pod {
    /// `GUARDPROBE_NODE`: the node's name, by the downward API.
    pub node: Option<String>,
    /// `GUARDPROBE_POD`, else `HOSTNAME`.
    pub name: Option<String>,
    /// The namespace, or `local` where there is none to be found.
    pub namespace: String,
    /// `GUARDPROBE_NODE_IP`: the node's address, by the downward API.
    pub node_ip: Option<IpAddr>,
    /// `KUBERNETES_SERVICE_HOST`, as the kubelet gives it to every pod.
    pub api_host: Option<String>,
    /// `KUBERNETES_SERVICE_PORT`; 443 without it.
    pub api_port: u16,
    /// `GUARDPROBE_REPORTER_ADDRESS`: host:port of the reporter's Service, by the chart.
    pub reporter: Option<String>,
    /// The text of the resolver configuration; empty without one.
    pub resolv_conf: String,
    /// The text of the hosts file; empty without one.
    pub hosts_file: String,
}

impl Pod {
    /// Looks around. Nothing here can fail: what is not there is absent.
    pub fn look() -> Self {
        // A byte that is no UTF-8, in a comment perhaps, must not hide the name servers.
        let text = |path| {
            let read = files::read_regular(Path::new(path), names::HOSTS_FILE_MAX_BYTES);
            String::from_utf8_lossy(&read.unwrap_or_default()).into_owned()
        };
        let resolv_conf = text(names::RESOLV_CONF);
        Pod {
            node: env("GUARDPROBE_NODE"),
            name: env("GUARDPROBE_POD").or_else(|| env("HOSTNAME")),
            namespace: namespace(&resolv_conf),
            node_ip: env("GUARDPROBE_NODE_IP").and_then(|ip| ip.parse().ok()),
            api_host: env("KUBERNETES_SERVICE_HOST"),
            api_port: env("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok()).filter(|port| *port != 0).unwrap_or(443),
            reporter: env("GUARDPROBE_REPORTER_ADDRESS"),
            resolv_conf,
            hosts_file: text(names::HOSTS_FILE),
        }
    }

    /// The cluster's domain: as the resolver configuration names it, else `cluster.local`.
    pub(super) fn cluster_domain(&self) -> String {
        resolv::cluster_domain(&self.resolv_conf).unwrap_or_else(|| "cluster.local".to_owned())
    }

    /// True for the address of this pod's node, as far as the pod was told.
    pub(super) fn is_node(&self, ip: IpAddr) -> bool {
        self.node_ip.is_some_and(|node| node.to_canonical() == ip.to_canonical())
    }

    /// The CA file that is mounted, if one is.
    pub(super) fn ca_file(&self) -> Option<PathBuf> {
        names::CA_FILES.iter().map(PathBuf::from).find(|path| path.exists())
    }

    /// The endpoints file that is mounted, if one is.
    pub(super) fn endpoints_file(&self) -> Option<PathBuf> {
        Some(PathBuf::from(names::ENDPOINTS_FILE)).filter(|path| path.exists())
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A pod without a token has no namespace file, but its resolver configuration names the namespace first.
fn namespace(resolv_conf: &str) -> String {
    let mounted = || std::fs::read_to_string(names::NAMESPACE_FILE).ok().map(|text| text.trim().to_owned());
    let found = env("GUARDPROBE_NAMESPACE").or_else(mounted).or_else(|| resolv::namespace(resolv_conf));
    found.filter(|name| !name.is_empty()).unwrap_or_else(|| "local".to_owned())
}

/// What this pod's network has now: addresses, routes, interfaces. Looked at anew in every round, since IPv6 addresses appear seconds
/// after the pod.
#[derive(Debug, Clone)]
pub struct PodNetwork {
    /// This pod's own addresses: what answers there has not left the pod. `None` where the kernel did not tell.
    addresses: Option<Vec<IpAddr>>,
    /// The families in which it has a usable source address.
    pub(super) families: Vec<Family>,
    /// The families in which it has a route beyond its own links.
    routed: Vec<Family>,
    /// The largest MTU of any interface but `lo`, in bytes.
    largest_mtu: u32,
}

impl PodNetwork {
    /// Asks the kernel. What it does not tell is taken to be there: trying will tell.
    pub fn look() -> Self {
        let interfaces: Option<Vec<_>> = nix::ifaddrs::getifaddrs().ok().map(Iterator::collect);
        let own = |all: &Vec<nix::ifaddrs::InterfaceAddress>| all.iter().filter_map(|one| ip(&one.address?)).collect::<Vec<_>>();
        let addresses = interfaces.as_ref().map(own);
        let names: BTreeSet<&str> = interfaces.iter().flatten().map(|one| one.interface_name.as_str()).collect();
        let largest_mtu = names.into_iter().filter(|name| *name != "lo").filter_map(mtu).max();
        PodNetwork {
            families: usable_families(addresses.as_deref()),
            addresses,
            routed: Family::ALL.into_iter().filter(|family| has_route(*family)).collect(),
            largest_mtu: largest_mtu.unwrap_or(LARGEST_KNOWN_MTU),
        }
    }

    /// What decides about the outcome of an attempt in that family.
    pub(super) fn local(&self, family: Family) -> Local<'_> {
        Local { addresses: self.addresses.as_deref(), has_route: self.routed.contains(&family) }
    }

    /// True for an address of this pod.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().flatten().any(|own| own.to_canonical() == ip.to_canonical())
    }

    /// True when segments of that size fit through no interface but `lo`, so that the connection has not left this pod.
    pub(super) fn is_over_loopback(&self, segment_size: u32) -> bool {
        segment_size > self.largest_mtu
    }
}

/// An Ethernet jumbo frame carries about 9,000 bytes, the loopback interface 65,536.
const LARGEST_KNOWN_MTU: u32 = 9_216;

/// The MTU of an interface: the larger of two, since that of IPv6 may be lower than the link's, and `/sys` may show another network
/// namespace than that of this process.
fn mtu(interface: &str) -> Option<u32> {
    let read = |path: String| std::fs::read_to_string(path).ok()?.trim().parse::<u32>().ok();
    let (ipv6, link) =
        (read(format!("/proc/sys/net/ipv6/conf/{interface}/mtu")), read(format!("/sys/class/net/{interface}/mtu")));
    ipv6.max(link)
}

/// True when there is a route by a gateway, or one to everywhere. Where the kernel does not tell: true.
fn has_route(family: Family) -> bool {
    let (path, read): (_, fn(&str) -> Option<bool>) = match family {
        Family::Ipv4 => ("/proc/net/route", leads_beyond_ipv4),
        Family::Ipv6 => ("/proc/net/ipv6_route", leads_beyond_ipv6),
    };
    // Only the main table of IPv4 is listed there; where rules lead to others, a missing route was somebody's decision.
    let other_tables = || {
        let tables = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
        family == Family::Ipv4 && tables.lines().any(|line| line.starts_with("Id "))
    };
    match std::fs::read_to_string(path) {
        Ok(routes) => routes.lines().any(|line| read(line) == Some(true)) || other_tables(),
        // No IPv6 in this kernel.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(_) => true,
    }
}

/// `RTF_REJECT` of linux/route.h: a route that denies.
const REJECTS: u32 = 0x0200;

/// A line of /proc/net/route: interface, destination, gateway, flags, three counters, mask; all but the counters in hexadecimal.
fn leads_beyond_ipv4(line: &str) -> Option<bool> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
    Some(number(3)? & REJECTS == 0 && (number(2)? != 0 || number(7)? == 0))
}

/// A line of /proc/net/ipv6_route: destination and its length, source and its length, gateway, three counters, flags, interface.
fn leads_beyond_ipv6(line: &str) -> Option<bool> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u128::from_str_radix(fields.get(index)?, 16).ok();
    let beyond = number(4)? != 0 || number(1)? == 0;
    Some(number(8)? & u128::from(REJECTS) == 0 && beyond && *fields.get(9)? != "lo")
}

/// The families in which a pod with these addresses has a usable source address: one that is neither loopback nor the link-local one
/// that every IPv6 link has by itself. An IPv4 link-local address is somebody's doing: the VPC CNI gives IPv6 pods one of 169.254.172.0/22
/// on a second interface, which leads out and past some guards. Where the kernel could not be asked, both.
fn usable_families(own: Option<&[IpAddr]>) -> Vec<Family> {
    let Some(own) = own else { return Family::ALL.to_vec() };
    Family::ALL.into_iter().filter(|family| own.iter().any(|ip| usable(ip) && Family::of(*ip) == *family)).collect()
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    match address.family()? {
        nix::sys::socket::AddressFamily::Inet => address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip())),
        nix::sys::socket::AddressFamily::Inet6 => address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())),
        _ => None,
    }
}

fn usable(ip: &IpAddr) -> bool {
    let by_itself = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !by_itself && !ip.is_loopback() && !ip.is_unspecified()
}

/// The network namespace that must not be probed from, if the caller named one in `GUARDPROBE_FORBIDDEN_NETNS` (as `readlink
/// /proc/self/ns/net` prints it): so that a test which forgot its namespace cannot try a developer's own metadata service.
///
/// # Errors
/// This process is in that namespace.
pub fn allowed_here() -> Result<(), String> {
    let Some(forbidden) = env(names::FORBIDDEN_NETNS) else { return Ok(()) };
    match std::fs::read_link("/proc/self/ns/net") {
        Ok(own) if own.to_string_lossy() != forbidden => Ok(()),
        _ => Err(format!(
            "GUARDPROBE_FORBIDDEN_NETNS forbids probing from {forbidden}: start this in a network namespace of its own"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_beyond_the_own_links_has_a_gateway_or_leads_everywhere() {
        let default = "eth0\t00000000\t0100010A\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        let by_device = "eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0";
        let link = "eth0\t0000010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let rejects = "*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0";
        let lines = [default, by_device, link, rejects, "Iface\tDestination\tGateway"];
        assert_eq!(lines.map(leads_beyond_ipv4), [Some(true), Some(true), Some(false), Some(false), None]);
        let zero = "0".repeat(32);
        let six = |to: &str, length: &str, via: &str, flags: &str, link: &str| {
            format!("{to} {length} {zero} 00 {via} 00000400 00000001 00000000 {flags} {link}")
        };
        let gateway = "fd100001000000000000000000000001";
        let default = six(&zero, "00", gateway, "00000003", "eth0");
        let on_link = six(gateway, "40", &zero, "00000001", "eth0");
        let none = six(&zero, "00", &zero, "00200200", "lo");
        assert_eq!([default, on_link, none].map(|line| leads_beyond_ipv6(&line)), [Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn an_ipv4_link_local_address_is_a_way_out_and_an_ipv6_one_is_not() {
        let families = |own: &[&str]| usable_families(Some(&own.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>()));
        assert_eq!(families(&["127.0.0.1", "::1", "fe80::1", "fd91::5"]), [Family::Ipv6]);
        assert_eq!(families(&["127.0.0.1", "fe80::1", "169.254.172.2"]), [Family::Ipv4]);
        assert_eq!(families(&["127.0.0.1", "::1", "fe80::1"]), []);
    }
}
