//! What the node's packet filter does: kube-proxy's translation, the guard behind it, and whatever is wrong.
use super::filter::{Answer, Hook, Key, Rule, Table, remove};
use super::netlink::Socket;
use super::plan;
use super::setup::{DnsInPod, Guard, Node, Proxy, Trouble};
use std::io;
use std::net::{IpAddr, SocketAddr};

const GUARD: &str = "guard";
const FORWARD: &str = "forward";
const TRANSLATE: &str = "translate";

/// kube-proxy's work: Service addresses become endpoint addresses, in turn, before anybody looks at them.
pub(super) fn load_services(node: &Node, socket: &mut Socket) -> io::Result<()> {
    let mut table = Table::new("kube-proxy").chain(TRANSLATE, Hook::TranslateIn).chain(FORWARD, Hook::ForwardFirst);
    if node.swallows_tcp {
        table = table.rule(TRANSLATE, Rule::new().tcp().redirect(plan::PROXY_PORT));
    }
    for api in [plan::CLUSTER_IP, plan::PUBLIC_CLUSTER_IP] {
        table = service(table, api, &node.behind_cluster_ip);
    }
    for (address, behind) in &node.services {
        table = service(table, *address, behind);
    }
    // NodeLocal DNSCache takes the cluster's DNS address before kube-proxy does.
    let taken: Vec<SocketAddr> = node.local_dns.iter().flat_map(|(at, _)| at.clone()).collect();
    let translated = plan::DNS_SERVICE.into_iter().zip(plan::DNS_SERVER).filter(|(service, _)| !taken.contains(service));
    for (service, server) in translated {
        let to = |rule: Rule| rule.port(service.port()).translate(server);
        table = table.rule(TRANSLATE, to(Rule::new().to(service.ip()).tcp()));
        table = table.rule(TRANSLATE, to(Rule::new().to(service.ip()).udp()));
    }
    table.load(socket)
}

fn service(mut table: Table, address: SocketAddr, behind: &[SocketAddr]) -> Table {
    let service = || Rule::new().to(address.ip()).tcp().port(address.port());
    for (index, endpoint) in behind.iter().enumerate() {
        let left = (behind.len() - index) as u32;
        let rule = if left > 1 { service().every(left) } else { service() };
        table = table.rule(TRANSLATE, rule.translate(*endpoint));
    }
    if behind.is_empty() {
        let no_endpoints = Answer::Icmp { v4: 3, v6: 4 }; // port unreachable, as kube-proxy has it
        table = table.rule(FORWARD, service().deny(no_endpoints, false));
    }
    table
}

/// The guard: connections that stand are left alone, as Calico leaves them; new ones are looked at after translation.
pub(super) fn load_guard(guard: &Guard, socket: &mut Socket) -> io::Result<()> {
    let mut table = Table::new(GUARD).chain(FORWARD, Hook::Forward).rule(FORWARD, Rule::new().established().accept());
    for ip in &guard.addresses {
        table = table.rule(FORWARD, Rule::new().to(*ip).deny(guard.answer, ip.is_ipv6()));
    }
    if guard.all_tcp {
        table = table.rule(FORWARD, Rule::new().tcp().deny(guard.answer, false));
    }
    for (ipv6, set) in [(false, "endpoints-v4"), (true, "endpoints-v6")] {
        let endpoints: Vec<SocketAddr> = guard.endpoints.iter().copied().filter(|at| at.is_ipv6() == ipv6).collect();
        table = table.set(set, Key::AddressPort, ipv6, &endpoints);
        table = table.rule(FORWARD, Rule::new().in_set(set, Key::AddressPort, ipv6).deny(guard.answer, ipv6));
    }
    table.load(socket)
}

/// Takes the guard away, as somebody does who deletes a policy.
pub(super) fn remove_guard(socket: &mut Socket) -> io::Result<()> {
    remove(GUARD, socket)
}

/// Whatever is wrong on the way through.
pub(super) fn load_trouble(trouble: &Trouble, socket: &mut Socket) -> io::Result<()> {
    let table = Table::new("trouble").chain(FORWARD, Hook::ForwardFirst);
    let lost = |rule: Rule| rule.deny(Answer::Drop, false);
    let table = match trouble {
        Trouble::Everything => table.rule(FORWARD, lost(Rule::new())),
        Trouble::Tcp => table.rule(FORWARD, lost(Rule::new().tcp())),
        Trouble::Tcp53 => table.rule(FORWARD, lost(Rule::new().tcp().port(53))),
        Trouble::To(places) => places.iter().fold(table, |table, at| {
            let to = |rule: Rule| lost(rule.port(at.port()));
            table.rule(FORWARD, to(Rule::new().to(at.ip()).tcp())).rule(FORWARD, to(Rule::new().to(at.ip()).udp()))
        }),
        Trouble::FromPorts(range) => table.rule(FORWARD, lost(Rule::new().tcp().source_ports(*range))),
        Trouble::FirstSyn => [(false, "attempts-v4"), (true, "attempts-v6")].into_iter().fold(table, lose_first_syn),
    };
    table.load(socket)
}

/// An attempt that is known passes; one that is not is remembered, and its packet lost. The ports are part of what is
/// remembered, so that the retransmission passes, and nothing else does.
fn lose_first_syn(table: Table, (ipv6, set): (bool, &str)) -> Table {
    let table = table.set(set, Key::Attempt, ipv6, &[]);
    let table = table.rule(FORWARD, Rule::new().syn().in_set(set, Key::Attempt, ipv6).accept());
    table.rule(FORWARD, Rule::new().syn().remember(set, Key::Attempt, ipv6).deny(Answer::Drop, ipv6))
}

/// Inside the pod: outgoing TCP ends at a proxy. The proxy's own connections, and the pod's to itself, do not.
pub(super) fn load_proxy(proxy: &Proxy, socket: &mut Socket) -> io::Result<()> {
    let mut table = Table::new("mesh").chain(TRANSLATE, Hook::TranslateOut);
    table = table.rule(TRANSLATE, Rule::new().marked(plan::PROXY_MARK).accept());
    for own in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])] {
        table = table.rule(TRANSLATE, Rule::new().to(own).accept());
    }
    let taken = match proxy.only_network {
        Some(network) => Rule::new().within_ipv4(network).tcp(),
        None => Rule::new().tcp(),
    };
    let taken = if let Some(port) = proxy.only_port { taken.port(port) } else { taken };
    table.rule(TRANSLATE, taken.redirect(plan::PROXY_PORT)).load(socket)
}

/// Inside the pod: DNS ends at a name server of the pod's own.
pub(super) fn load_dns_in_pod(dns: &DnsInPod, socket: &mut Socket) -> io::Result<()> {
    let mut table = Table::new("mesh-dns").chain(TRANSLATE, Hook::TranslateOut);
    if matches!(dns, DnsInPod::Both | DnsInPod::Udp) {
        table = table.rule(TRANSLATE, Rule::new().udp().port(53).redirect(plan::POD_DNS_PORT));
    }
    if matches!(dns, DnsInPod::Both) {
        table = table.rule(TRANSLATE, Rule::new().tcp().port(53).redirect(plan::POD_DNS_PORT));
    }
    table.load(socket)
}

/// What a host's own packet filter rejects: on its way out of a pod, or on its way in to a host of the vpc.
pub(super) fn load_own_rejections(hook: Hook, answer: Answer, addresses: &[IpAddr], socket: &mut Socket) -> io::Result<()> {
    const OWN: &str = "own";
    let table = Table::new("own").chain(OWN, hook);
    let rules = addresses.iter().fold(table, |table, ip| table.rule(OWN, Rule::new().to(*ip).tcp().deny(answer, ip.is_ipv6())));
    rules.load(socket)
}
