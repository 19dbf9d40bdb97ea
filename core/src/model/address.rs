//! Where a target lives: host and port as a person writes them, and the address families.
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::{fmt, str::FromStr};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both, in the order in which they are shown.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of an address. An IPv4-mapped IPv6 address is IPv4 on the wire and counts as that.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    /// The word for it in reports and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
    }

    /// The name a person reads.
    pub fn title(self) -> &'static str {
        match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        }
    }
}

/// True for 169.254.0.0/16 and fe80::/10: what answers there is on this very node, or next to it.
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// True for an address that needs no translation to be reached from inside: link-local, private (RFC 1918), shared (RFC 6598) and
/// unique local (RFC 4193) ones, and loopback. Any other may cost a port of a NAT gateway for each connection.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || v4.is_loopback() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// Host and port, as written in the configuration: `10.0.0.5:8200`, `[2001:db8::5]:8200` or `vault.example:8200`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub enum HostPort {
    /// An address, tried as it is.
    Socket(SocketAddr),
    /// A name, looked up anew in every round.
    Name {
        /// The host name, in lower case.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

impl HostPort {
    /// The socket address, where it needs no look-up.
    pub fn socket(&self) -> Option<SocketAddr> {
        if let HostPort::Socket(socket) = self { Some(*socket) } else { None }
    }

    /// Host name and port, where it needs one.
    pub fn name(&self) -> Option<(&str, u16)> {
        if let HostPort::Name { host, port } = self { Some((host, *port)) } else { None }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        match self {
            HostPort::Socket(socket) => socket.port(),
            HostPort::Name { port, .. } => *port,
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPort::Socket(socket) => socket.fmt(f),
            HostPort::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<HostPort> for String {
    fn from(value: HostPort) -> Self {
        value.to_string()
    }
}

impl FromStr for HostPort {
    type Err = String;

    /// # Errors
    /// Says what is wrong with the text and what was expected in its place.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected host:port, such as 10.0.0.5:8200, [2001:db8::5]:8200 or vault.example:8200";
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return usable(socket);
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!("{text:?} has no port: {EXPECTED}"));
        }
        if text.contains('/') {
            return Err(format!("{text:?} is a range: expected one address, as host:port such as 10.0.0.5:8200"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port: {EXPECTED}"))?;
        let port = port_number(port).ok_or_else(|| format!("port {port:?} in {text:?} is out of range: expected 1 to 65535"))?;
        if host.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("{text:?} has no brackets: expected [{host}]:{port}"));
        }
        if let Some((address, zone)) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')?.split_once('%')) {
            return Err(format!("zone {zone:?} is no number: expected that of an interface, such as [{address}%2]:{port}"));
        }
        if host.starts_with('[') || host.contains(':') {
            return Err(format!("{host:?} is not an IPv6 address: {EXPECTED}"));
        }
        if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(format!("{host:?} is not an IPv4 address: {EXPECTED}"));
        }
        if !host.is_ascii() {
            return Err(format!(
                "{host:?} is not written in ASCII: expected the form that DNS carries, such as xn--bcher-kva.example:{port}"
            ));
        }
        if !is_host_name(host) {
            return Err(format!("{host:?} is not a host name: {EXPECTED}"));
        }
        Ok(HostPort::Name { host: host.to_ascii_lowercase(), port })
    }
}

fn usable(socket: SocketAddr) -> Result<HostPort, String> {
    let ip = socket.ip().to_canonical();
    if socket.port() == 0 {
        return Err(format!("port 0 in \"{socket}\" is out of range: expected 1 to 65535"));
    }
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]) {
        return Err(format!("\"{socket}\" names no single host: expected a unicast address"));
    }
    // An IPv6 scope (fe80::1%2) says on which link the address is: without it nothing can be sent there.
    Ok(HostPort::Socket(if ip.is_ipv4() { SocketAddr::new(ip, socket.port()) } else { socket }))
}

fn port_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// True for a name that DNS can carry (RFC 1123 labels, `_` allowed, one dot at the end allowed).
pub fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<HostPort>().expect_err(text)
    }

    #[test]
    fn hosts_and_ports_are_read_as_written() {
        for text in ["10.0.0.5:8200", "[2001:db8::5]:8200", "vault.example:8200", "x:1", "_srv.a.:65535"] {
            assert_eq!(text.parse::<HostPort>().map(|h| h.to_string()), Ok(text.into()));
        }
        assert_eq!("Vault.Example:1".parse::<HostPort>().map(|h| h.to_string()), Ok("vault.example:1".into()));
        assert_eq!("[fe80::1%2]:80".parse::<HostPort>().map(|h| h.to_string()), Ok("[fe80::1%2]:80".into()));
        assert_eq!("[::ffff:10.0.0.5]:80".parse::<HostPort>().map(|h| h.to_string()), Ok("10.0.0.5:80".into()));
    }

    #[test]
    fn what_cannot_be_tried_is_refused_with_what_was_expected() {
        assert!(error("10.0.0.300:80").contains("is not an IPv4 address"));
        assert!(error("10.0.0.3").contains("has no port"));
        assert!(error("2001:db8::5").contains("has no port"));
        assert!(error("vault").contains("has no port"));
        assert!(error("[2001:db8::zz]:80").contains("is not an IPv6 address"));
        assert!(error("10.0.0.3:70000").contains("expected 1 to 65535"));
        assert!(error("10.0.0.3:0").contains("expected 1 to 65535"));
        assert!(error("vault:+80").contains("expected 1 to 65535"));
        assert!(error("-vault:80").contains("is not a host name"));
        assert!(error(":80").contains("is not"));
        assert!(error("::ffff:10.0.0.5:80").contains("expected [::ffff:10.0.0.5]:80"));
        assert!(error("10.0.0.0/24:80").contains("is a range: expected one address"));
        assert!(error("10.0.0.5/32").contains("is a range: expected one address"));
        assert!(error("[fe80::1%eth0]:80").contains("expected that of an interface, such as [fe80::1%2]:80"));
        assert!(error("bücher.example:443").contains("such as xn--"));
        assert!(error("0.0.0.0:80").contains("unicast"));
        assert!(error("224.0.0.1:80").contains("unicast"));
        assert!(error("[ff02::1]:80").contains("unicast"));
    }

    #[test]
    fn private_is_what_needs_no_translation() {
        for ip in
            ["10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "100.127.9.9", "169.254.169.254", "fd00:ec2::254", "fe80::1"]
        {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "100.63.0.1", "168.63.129.16", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn link_local_is_known_in_both_families() {
        let yes: [IpAddr; 3] =
            ["169.254.20.10".parse().unwrap(), "fe80::1".parse().unwrap(), "::ffff:169.254.1.1".parse().unwrap()];
        let no: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fd00:ec2::254".parse().unwrap()];
        assert!(yes.into_iter().all(is_link_local));
        assert!(!no.into_iter().any(is_link_local));
    }
}
