//! Network namespaces, and the links, addresses and routes in them.
use super::netlink::{Attrs, Message, Socket};
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::SockProtocol;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `VETH_INFO_PEER` of linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
/// Make it; that it exists already is an error.
const NEW: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// A network namespace that lives as long as this value (or a process in it).
pub(super) struct Ns {
    file: File,
    /// What it is called in messages.
    pub(super) name: &'static str,
    route: Socket,
    /// The packet filter of this namespace.
    pub(super) filter: Socket,
}

/// A network: an address and how many of its leading bits count.
pub(super) type Net = (IpAddr, u8);

/// Everything, in the family of that address.
pub(super) fn everything(like: IpAddr) -> Net {
    (if like.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) }, 0)
}

/// One address and nothing else.
pub(super) fn only(ip: IpAddr) -> Net {
    (ip, if ip.is_ipv4() { 32 } else { 128 })
}

/// What happens to packets that take a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// On to that neighbour.
    Via(IpAddr),
    /// EACCES here; ICMP communication-prohibited for a router's customers.
    Prohibit,
    /// EHOSTUNREACH here; ICMP host-unreachable for a router's customers.
    Unreachable,
    /// EINVAL here; silence for a router's customers.
    Blackhole,
}

impl Ns {
    /// Makes a namespace, moves the calling thread into it, and brings its loopback up.
    ///
    /// # Errors
    /// What the kernel said, and to what.
    pub(super) fn make(name: &'static str) -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("a network namespace for the {name}: {e}")))?;
        let route = Socket::open(SockProtocol::NetlinkRoute)?;
        let filter = Socket::open(SockProtocol::NetlinkNetFilter)?;
        // Not /proc/self: that is the first thread of the process, wherever the calling thread may be.
        let mut ns = Ns { file: File::open("/proc/thread-self/ns/net")?, name, route, filter };
        for word in ["all", "default"] {
            // The host's settings leak into new namespaces (net.core.devconf_inherit_init_net), so none is taken for granted.
            ns.sysctl(&format!("ipv4/conf/{word}/rp_filter"), "0")?;
            ns.sysctl(&format!("ipv6/conf/{word}/disable_ipv6"), "0")?;
            // Duplicate address detection makes an address unusable for 1 to 2 s, and eats the first packets.
            ns.sysctl(&format!("ipv6/conf/{word}/accept_dad"), "0")?;
        }
        ns.up("lo")?;
        Ok(ns)
    }

    /// Moves the calling thread into this namespace: what it spawns or opens from now on is there.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }

    /// Writes a setting under /proc/sys/net, of the namespace in which the calling thread is: so it enters first.
    pub(super) fn sysctl(&self, path: &str, value: &str) -> io::Result<()> {
        self.enter()?;
        let file = Path::new("/proc/sys/net").join(path);
        fs::write(&file, value).map_err(|e| {
            let hint = if e.kind() == io::ErrorKind::ReadOnlyFilesystem {
                " (inside a container? it needs a writable /proc/sys)"
            } else {
                ""
            };
            io::Error::new(e.kind(), format!("{} = {value}: {e}{hint}", file.display()))
        })
    }

    /// Lays a wire between two namespaces: `(namespace, name of the link there)` twice.
    pub(super) fn wire((near, near_name): (&mut Ns, &str), (far, far_name): (&Ns, &str)) -> io::Result<()> {
        let peer = Attrs::new()
            .raw(&link(0, 0))
            .text(libc::IFLA_IFNAME, far_name)
            .number(libc::IFLA_NET_NS_FD, far.file.as_raw_fd() as u32);
        let veth = Attrs::new().nest(VETH_INFO_PEER, peer);
        let info = Attrs::new().text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, veth);
        let attrs = Attrs::new().text(libc::IFLA_IFNAME, near_name).nest(libc::IFLA_LINKINFO, info);
        let about = format!("a wire from {} to {}", near.name, far.name);
        near.route.ask(Message::new(libc::RTM_NEWLINK, NEW, &link(0, 0), attrs, about))
    }

    /// Brings a link up.
    pub(super) fn up(&mut self, link_name: &str) -> io::Result<()> {
        let up = libc::IFF_UP as u32;
        let attrs = Attrs::new().text(libc::IFLA_IFNAME, link_name);
        let about = format!("{link_name} up on the {}", self.name);
        self.route.ask(Message::new(libc::RTM_NEWLINK, 0, &link(up, up), attrs, about))
    }

    /// Gives a link an address.
    pub(super) fn address(&mut self, link_name: &str, (ip, prefix): Net) -> io::Result<()> {
        let about = format!("address {ip}/{prefix} for {link_name} on the {}", self.name);
        // Without this the kernel looks for duplicates in a task of its own, even on loopback, and until then nobody can bind.
        let mut fixed = vec![family(ip), prefix, libc::IFA_F_NODAD as u8, libc::RT_SCOPE_UNIVERSE];
        fixed.extend(self.index(link_name)?.to_ne_bytes());
        let attrs = Attrs::new().attr(libc::IFA_LOCAL, &octets(ip)).attr(libc::IFA_ADDRESS, &octets(ip));
        self.route.ask(Message::new(libc::RTM_NEWADDR, NEW, &fixed, attrs, about))
    }

    /// Adds a route.
    pub(super) fn route(&mut self, to: Net, way: Way) -> io::Result<()> {
        let kind = match way {
            Way::Via(_) => libc::RTN_UNICAST,
            Way::Prohibit => libc::RTN_PROHIBIT,
            Way::Unreachable => libc::RTN_UNREACHABLE,
            Way::Blackhole => libc::RTN_BLACKHOLE,
        };
        let (table, by, scope) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RT_SCOPE_UNIVERSE);
        let fixed = [family(to.0), to.1, 0, 0, table, by, scope, kind, 0, 0, 0, 0];
        let about = format!("route {}/{} {way:?} on the {}", to.0, to.1, self.name);
        let mut attrs = Attrs::new().attr(libc::RTA_DST, &octets(to.0));
        if let Way::Via(gateway) = way {
            attrs = attrs.attr(libc::RTA_GATEWAY, &octets(gateway));
        }
        self.route.ask(Message::new(libc::RTM_NEWROUTE, NEW, &fixed, attrs, about))
    }

    fn index(&self, link_name: &str) -> io::Result<u32> {
        self.enter()?;
        Ok(nix::net::if_::if_nametoindex(link_name)?)
    }
}

/// The fixed part of a message about a link (`struct ifinfomsg`).
fn link(flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 8]; // family, padding, type, index: found by name
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(change.to_ne_bytes());
    bytes
}

fn family(ip: IpAddr) -> u8 {
    (if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// The bytes of an address, as they are in a packet.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
