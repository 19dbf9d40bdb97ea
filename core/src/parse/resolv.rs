//! What the pod's resolv.conf says about its cluster.
//!
//! Read leniently: a line that is not known is passed over, as glibc does.
use crate::model::names;
use resolv_conf::Config;
use std::net::IpAddr;

/// How many name servers glibc uses (`MAXNS` in resolv.h); the rest are never asked.
const NAMESERVERS_MAX: usize = 3;

/// The cluster's domain: `X` of the first search entry `svc.X` or `NAMESPACE.svc.X`, such as `cluster.local`.
pub fn cluster_domain(resolv_conf: &str) -> Option<String> {
    search(resolv_conf).iter().find_map(|entry| Some(service_domain(entry)?.1))
}

/// The pod's namespace: of the first search entry `NAMESPACE.svc.X`.
pub fn namespace(resolv_conf: &str) -> Option<String> {
    search(resolv_conf).iter().find_map(|entry| service_domain(entry)?.0)
}

/// The name servers that are asked: the first three, without those whose address needs a scope (`fe80::1%eth0`).
pub fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let servers = read(resolv_conf).nameservers;
    let unscoped = |server: resolv_conf::ScopedIp| match server {
        resolv_conf::ScopedIp::V4(ip) => Some(IpAddr::V4(ip)),
        resolv_conf::ScopedIp::V6(ip, None) => Some(IpAddr::V6(ip)),
        resolv_conf::ScopedIp::V6(_, Some(_)) => None,
    };
    servers.into_iter().take(NAMESERVERS_MAX).filter_map(unscoped).collect()
}

/// The search domains, without a dot at the end: the first six, without those that are no domain (an empty label) and without `localhost`,
/// below which resolvers give loopback addresses to every name.
pub fn search_domains(resolv_conf: &str) -> Vec<String> {
    let domains = search(resolv_conf).into_iter().map(|domain| domain.trim_end_matches('.').to_ascii_lowercase());
    domains.filter(|domain| is_domain(domain)).take(names::SEARCH_DOMAINS_MAX).collect()
}

/// The addresses that a hosts file gives to a name (hosts(5)); none where it does not name it.
pub fn hosts_entries(hosts_file: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let mut found = Vec::new();
    for line in hosts_file.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) {
            found.push(ip);
        }
    }
    found
}

/// True for labels of 1 to 63 bytes, of at most 253 in all (RFC 1035, 2.3.4), but for `localhost`.
fn is_domain(domain: &str) -> bool {
    let of_localhost = domain == "localhost" || domain.ends_with(".localhost");
    domain.len() <= 253 && !of_localhost && domain.split('.').all(|label| (1..=63).contains(&label.len()))
}

fn read(resolv_conf: &str) -> Config {
    Config::parse_with_errors(resolv_conf.as_bytes()).0
}

fn search(resolv_conf: &str) -> Vec<String> {
    read(resolv_conf).get_last_search_or_domain().cloned().collect()
}

/// Namespace, where there is one, and domain of a search entry that is of a cluster's services.
fn service_domain(entry: &str) -> Option<(Option<String>, String)> {
    let entry = entry.trim_end_matches('.').to_ascii_lowercase();
    if let Some(domain) = entry.strip_prefix("svc.") {
        return Some((None, domain.to_owned()));
    }
    let (namespace, domain) = entry.split_once(".svc.")?;
    super::values::is_dns_label(namespace).then(|| (Some(namespace.to_owned()), domain.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str =
        "search apps.svc.cluster.local svc.cluster.local cluster.local eu.internal\nnameserver 10.100.0.10\noptions ndots:5\n";

    #[test]
    fn a_pods_file_tells_namespace_domain_and_name_server() {
        assert_eq!(namespace(POD).as_deref(), Some("apps"));
        assert_eq!(cluster_domain(POD).as_deref(), Some("cluster.local"));
        assert_eq!(nameservers(POD), ["10.100.0.10".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_laptops_file_tells_neither() {
        for text in
            ["", "nameserver 127.0.0.53\nsearch home.example\n", "search\n", "svc.cluster.local", "search svc", "search .svc.x"]
        {
            assert_eq!((namespace(text), cluster_domain(text)), (None, None), "{text}");
        }
    }

    #[test]
    fn the_domain_alone_is_enough_and_the_last_search_line_counts() {
        let text = "search a.svc.old\nsearch svc.corp.example.\n";
        assert_eq!((namespace(text), cluster_domain(text)), (None, Some("corp.example".to_owned())));
    }

    #[test]
    fn a_search_domain_that_is_none_hides_no_other() {
        let long = "x".repeat(64);
        let text = format!("search apps.svc.cluster.local. foo..bar localhost {long} . Corp.Test a.localhost\n");
        assert_eq!(search_domains(&text), ["apps.svc.cluster.local", "corp.test"]);
        assert_eq!(search_domains("search a b c d e f g h\n"), ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn a_hosts_file_names_addresses() {
        let text = "# made by the kubelet\n127.0.0.1\tlocalhost\nnonsense vault.example\n10.0.0.5 Vault.Example vault # x other\nfd00::5 vault.example\n";
        assert_eq!(hosts_entries(text, "vault.example."), ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        assert_eq!(hosts_entries(text, "vault"), ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert!(hosts_entries(text, "other").is_empty() && hosts_entries("", "x").is_empty());
    }

    #[test]
    fn odd_lines_do_not_hide_the_others() {
        let text = "options made-up:1\nnameserver nonsense\n; c\nnameserver 10.0.0.1 # here\nnameserver fd00::10\nnonsense";
        assert_eq!(nameservers(text), ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::10".parse().unwrap()]);
    }

    #[test]
    fn scoped_name_servers_and_the_fourth_are_left_out() {
        let text = "nameserver fe80::1%eth0\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        assert_eq!(nameservers(text), ["10.0.0.1".parse::<IpAddr>().unwrap(), "10.0.0.2".parse().unwrap()]);
    }
}
