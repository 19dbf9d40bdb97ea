//! A little world: pod, node and vpc, each a network namespace, wired and populated.
#![expect(clippy::disallowed_methods, reason = "the lab is an edge: its files carry the time")]
use super::filter::{Answer, Hook};
use super::net::{Net, Ns, Way, everything, only};
use super::pod::{self, Dress};
use super::setup::{DnsInPod, Guard, Ipv6, Setup};
use super::standin::{DnsAnswers, Ready, Service};
use super::{node, plan, role};
use guardprobe_core::model::report::Report;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

/// A world that stands. Its processes end with it; its namespaces end with them.
pub(super) struct World {
    name: String,
    setup: Setup,
    pod: Ns,
    node: Ns,
    vpc: Ns,
    standins: Vec<Child>,
    /// What the stand-ins of the vpc said when they were ready.
    pub(super) ready: Ready,
    /// Holds the pod's only ephemeral port.
    _taken_port: Option<TcpListener>,
}

/// One check in the pod: its report and its exit status.
pub(super) struct Checked {
    pub(super) report: Report,
    pub(super) status: i32,
}

impl World {
    /// Builds a world.
    ///
    /// # Errors
    /// What the kernel refused, and of what.
    pub(super) fn build(setup: Setup) -> io::Result<Self> {
        World::build_as("lab-node", setup)
    }

    /// The same with a name for its node.
    pub(super) fn build_as(name: &str, setup: Setup) -> io::Result<Self> {
        let mut vpc = Ns::make("vpc")?;
        let mut node = Ns::make("node")?;
        let mut pod = Ns::make("pod")?;
        wire(&setup, &mut vpc, &mut node, &mut pod)?;
        node::load_services(&setup.node, &mut node.filter)?;
        if let Some(trouble) = &setup.node.trouble {
            node::load_trouble(trouble, &mut node.filter)?;
        }
        if let Some(guard) = &setup.guard {
            node::load_guard(guard, &mut node.filter)?;
        }
        let (mut standins, ready) = spawn(&vpc, &setup.vpc).map(|(child, ready)| (vec![child], ready))?;
        for (place, services) in [(&node, beside(&setup)), (&pod, proxies(&setup))] {
            if !services.is_empty() {
                standins.push(spawn(place, &services)?.0);
            }
        }
        if let Some(proxy) = &setup.pod.proxy {
            node::load_proxy(proxy, &mut pod.filter)?;
        }
        if let Some(dns) = &setup.pod.dns_in_pod {
            node::load_dns_in_pod(dns, &mut pod.filter)?;
        }
        node::load_own_rejections(Hook::Output, Answer::Icmp { v4: 13, v6: 1 }, &setup.pod.rejects, &mut pod.filter)?;
        if let Some((answer, addresses)) = &setup.vpc_rejects {
            node::load_own_rejections(Hook::Input, *answer, addresses, &mut vpc.filter)?;
        }
        let _taken_port = take_port(&setup, &pod)?;
        Ok(World { name: name.to_owned(), setup, pod, node, vpc, standins, ready, _taken_port })
    }

    /// Puts the guard up.
    pub(super) fn guard_up(&mut self) -> io::Result<()> {
        node::load_guard(&Guard::default(), &mut self.node.filter)
    }

    /// Takes the guard away, as somebody does who deletes a policy.
    pub(super) fn guard_down(&mut self) -> io::Result<()> {
        node::remove_guard(&mut self.node.filter)
    }

    /// Runs the real `check` in the pod.
    ///
    /// # Errors
    /// It could not be started, or what it printed is no report.
    pub(super) fn check(&self, config: Option<&str>, args: &[&str]) -> io::Result<Checked> {
        let output = self.program(config, &[&["check", "-o", "json"], args].concat())?.output()?;
        let report = serde_json::from_slice(&output.stdout).map_err(|error| {
            io::Error::other(format!("check gave no report ({error}): {}", String::from_utf8_lossy(&output.stderr).trim()))
        })?;
        Ok(Checked { report, status: output.status.code().unwrap_or(-1) })
    }

    /// Starts the real `agent` in the pod; its lines come out of its standard output.
    pub(super) fn agent(&self, config: &str) -> io::Result<Child> {
        let listen = plan::AGENT.to_string();
        self.program(Some(config), &["agent", "--log", "warn", "--listen", &listen])?.stdout(Stdio::piped()).spawn()
    }

    /// This program, in the pod and dressed as one.
    fn program(&self, config: Option<&str>, args: &[&str]) -> io::Result<Command> {
        let dress = Dress {
            node: self.name.clone(),
            nameservers: self.setup.pod.nameservers.clone(),
            odd_comment: self.setup.pod.odd_comment,
            api: self.setup.pod.api,
            reporter: self.setup.pod.reporter,
            ca: self.ready.ca.clone(),
            endpoints: pod::endpoints_text(&self.setup.pod.endpoints, jiff::Timestamp::now()),
            config: config.map(str::to_owned),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            descriptors: self.setup.pod.descriptors,
        };
        self.enter_pod()?;
        let mut command = role::command("pod", &serde_json::to_string(&dress)?);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// The processes that stand in for what the pod may try.
    pub(super) fn standins(&mut self) -> impl Iterator<Item = &mut Child> {
        self.standins.iter_mut()
    }

    /// Moves the calling thread to where the pod is.
    pub(super) fn enter_pod(&self) -> io::Result<()> {
        self.pod.enter()
    }

    /// How a person gets to where the stand-ins are, while the world stands.
    pub(super) fn way_in(&self) -> String {
        let host_pid = self.ready.host_pid;
        format!("nsenter -U --preserve-credentials -n -t {host_pid}   (the {})", self.vpc.name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.standins {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wire(setup: &Setup, vpc: &mut Ns, node: &mut Ns, pod: &mut Ns) -> io::Result<()> {
    Ns::wire((node, "eni0"), (pod, "eth0"))?;
    Ns::wire((node, "up0"), (vpc, "eth0"))?;
    node.sysctl("ipv4/ip_forward", "1")?;
    node.sysctl("ipv6/conf/all/forwarding", "1")?;
    ends(node, "eni0", plan::NODE_TO_POD)?;
    ends(node, "up0", plan::NODE_TO_VPC)?;
    ends(vpc, "eth0", plan::VPC)?;
    live(vpc)?;
    for (gateway, back) in plan::VPC.into_iter().zip(plan::NODE_TO_VPC) {
        node.route(everything(gateway), Way::Via(gateway))?;
        vpc.route(everything(back), Way::Via(back))?;
    }
    setup.node.routes.iter().try_for_each(|(to, way)| node.route(*to, *way))?;
    for at in setup.node.local_dns.iter().flat_map(|(at, _)| at) {
        node.address("lo", only(at.ip()))?;
    }
    wire_pod(setup, pod)
}

fn wire_pod(setup: &Setup, pod: &mut Ns) -> io::Result<()> {
    let (first, last) = if setup.pod.no_local_port { (50000, 50000) } else { plan::LOCAL_PORTS };
    pod.sysctl("ipv4/ip_local_port_range", &format!("{first} {last}"))?;
    if setup.pod.ipv6 == Ipv6::Off {
        pod.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
    }
    pod.up("eth0")?;
    let has = |ip: IpAddr| if ip.is_ipv4() { setup.pod.ipv4 } else { setup.pod.ipv6 == Ipv6::On };
    for (own, gateway) in plan::POD.into_iter().zip(plan::NODE_TO_POD).filter(|(own, _)| has(*own)) {
        pod.address("eth0", beside_others(own))?;
        if setup.pod.default_route && !(own.is_ipv6() && setup.pod.no_ipv6_route) {
            pod.route(everything(gateway), Way::Via(gateway))?;
        }
    }
    setup.pod.routes.iter().try_for_each(|(to, way)| pod.route(*to, *way))
}

fn ends(ns: &mut Ns, link: &str, addresses: [IpAddr; 2]) -> io::Result<()> {
    ns.up(link)?;
    addresses.into_iter().try_for_each(|ip| ns.address(link, beside_others(ip)))
}

fn beside_others(ip: IpAddr) -> Net {
    (ip, if ip.is_ipv4() { 24 } else { 64 })
}

/// Every address of the vpc lives, whether or not anything listens there.
fn live(vpc: &mut Ns) -> io::Result<()> {
    let sockets = plan::REPORTERS
        .into_iter()
        .chain(plan::ENDPOINTS)
        .chain([plan::NEW_ENDPOINT, plan::ENDPOINT_V6])
        .chain(plan::DNS_SERVER)
        .chain(plan::many());
    let all: BTreeSet<IpAddr> = sockets.map(|at| at.ip()).chain(plan::IMDS).collect();
    all.into_iter().try_for_each(|ip| vpc.address("lo", only(ip)))
}

/// What listens on the node itself.
fn beside(setup: &Setup) -> Vec<Service> {
    let dns = setup.node.local_dns.clone().map(|(at, answers)| Service::Dns { at, answers });
    let swallow = setup.node.swallows_tcp.then(|| Service::Mute { at: vec![anywhere()] });
    dns.into_iter().chain(swallow).collect()
}

/// What listens in the pod.
fn proxies(setup: &Setup) -> Vec<Service> {
    let proxy = |proxy: &super::setup::Proxy| match proxy.forwards {
        true => Service::Proxy { at: vec![anywhere()] },
        false => Service::Mute { at: vec![anywhere()] },
    };
    let dns = setup.pod.dns_in_pod.as_ref().map(|dns| {
        let port = if matches!(dns, DnsInPod::Named) { 53 } else { plan::POD_DNS_PORT };
        // One listener for each address, so that answers over UDP come from where the question went.
        let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        Service::Dns { at: loopback.map(|ip| SocketAddr::new(ip, port)).to_vec(), answers: DnsAnswers::Known }
    });
    setup.pod.proxy.iter().map(proxy).chain(dns).collect()
}

fn anywhere() -> SocketAddr {
    SocketAddr::new(IpAddr::from([0u16; 8]), plan::PROXY_PORT)
}

fn take_port(setup: &Setup, pod: &Ns) -> io::Result<Option<TcpListener>> {
    pod.enter()?;
    let own = SocketAddr::new(IpAddr::from([0u16; 8]), 50000);
    setup.pod.no_local_port.then(|| TcpListener::bind(own)).transpose()
}

/// Starts stand-ins in a namespace, and waits until they are bound.
fn spawn(place: &Ns, services: &[Service]) -> io::Result<(Child, Ready)> {
    place.enter()?;
    let mut command = role::command("standins", &serde_json::to_string(services)?);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let ready = serde_json::from_str(&line)
        .map_err(|_| io::Error::other(format!("the stand-ins of the {} did not start", place.name)))?;
    Ok((child, ready))
}
