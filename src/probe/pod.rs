//! What a process finds around itself in a pod: environment, resolver configuration, mounted files, its own addresses.
use guardprobe_core::model::address::Family;
use guardprobe_core::model::names;
use guardprobe_core::parse::resolv;
use nix::sys::socket::SockaddrLike;
use std::net::IpAddr;
use std::path::PathBuf;

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
}

impl Pod {
    /// Looks around. Nothing here can fail: what is not there is absent.
    pub fn look() -> Self {
        let resolv_conf = std::fs::read_to_string(names::RESOLV_CONF).unwrap_or_default();
        Pod {
            node: env("GUARDPROBE_NODE"),
            name: env("GUARDPROBE_POD").or_else(|| env("HOSTNAME")),
            namespace: namespace(&resolv_conf),
            node_ip: env("GUARDPROBE_NODE_IP").and_then(|ip| ip.parse().ok()),
            api_host: env("KUBERNETES_SERVICE_HOST"),
            api_port: env("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok()).unwrap_or(443),
            reporter: env("GUARDPROBE_REPORTER_ADDRESS"),
            resolv_conf,
        }
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

/// The families in which a pod with these addresses has a usable source address: one that is neither loopback nor the link-local one
/// that every IPv6 link has by itself. An IPv4 link-local address is somebody's doing: the VPC CNI gives IPv6 pods one of 169.254.172.0/22
/// on a second interface, which leads out and past some guards. Looked at anew in every round, since IPv6 addresses appear seconds after the
/// pod. Where the kernel could not be asked, both: trying will tell.
pub(super) fn usable_families(own: Option<&[IpAddr]>) -> Vec<Family> {
    let Some(own) = own else { return Family::ALL.to_vec() };
    Family::ALL.into_iter().filter(|family| own.iter().any(|ip| usable(ip) && Family::of(*ip) == *family)).collect()
}

/// This pod's own addresses: what answers there has not left the pod. `None` where the kernel cannot be asked.
pub(super) fn addresses() -> Option<Vec<IpAddr>> {
    Some(nix::ifaddrs::getifaddrs().ok()?.filter_map(|interface| ip(&interface.address?)).collect())
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
    fn an_ipv4_link_local_address_is_a_way_out_and_an_ipv6_one_is_not() {
        let families = |own: &[&str]| usable_families(Some(&own.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>()));
        assert_eq!(families(&["127.0.0.1", "::1", "fe80::1", "fd91::5"]), [Family::Ipv6]);
        assert_eq!(families(&["127.0.0.1", "fe80::1", "169.254.172.2"]), [Family::Ipv4]);
        assert_eq!(families(&["127.0.0.1", "::1", "fe80::1"]), []);
    }
}
