//! A fleet in a box: some little worlds, each with its node and the real agent in its pod, and the real reporter, which asks them all. It has no API:
//! it is told which agents there are.
use super::forward::{self, Forward};
use super::listeners::Listeners;
use super::net::Ns;
use super::pod::Dress;
use super::setup::Setup;
use super::world::World;
use super::{plan, role};
use guardprobe_core::model::names;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Stdio};

/// What each agent is told: rounds close enough together that a person sees the end of a breach come.
const AGENT: &str = "guard: default/deny-k8s-api-and-imds\ninterval: 5s\n\
                     targets: [{name: imds, kind: imds}, {name: kube-api, kind: kube-api}]\n";
/// What the reporter is told: it hears of a round within five seconds.
const REPORTER: &str = "guards: [{name: default/deny-k8s-api-and-imds, labels: {}}]\nstale: 15s\n";

/// A fleet that stands; all of it ends with the process that built it.
pub(super) struct Fleet {
    pub(super) nodes: Vec<LabNode>,
    reporter: Child,
    forwards: Vec<Child>,
    hub: Ns,
}

/// One of its nodes.
pub(super) struct LabNode {
    pub(super) name: String,
    pub(super) world: World,
    agent: Child,
}

impl Fleet {
    /// Builds `count` nodes, the reporter, and the ways into them.
    ///
    /// # Errors
    /// What the kernel refused, and of what.
    pub(super) fn build(count: u8) -> io::Result<Self> {
        let hub = Ns::make("hub")?;
        let (mut nodes, mut forwards, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for nth in 1..=count {
            let name = plan::node_name(nth);
            let world = World::build_as(&name, Setup::default())?;
            let agent = world.agent(AGENT)?;
            // Each agent listens in its own pod; the reporter finds it at an address of its own loopback.
            hub.enter()?;
            let at = SocketAddr::new(plan::agent_in_hub(nth), names::AGENT_PORT);
            let listener = TcpListener::bind(at)?;
            world.enter_pod()?;
            forwards.push(forward::start(&Forward { to: plan::AGENT, nodes: Vec::new() }, listener, Stdio::null())?);
            listed.push(format!("{name}={}", at.ip()));
            nodes.push(LabNode { name, world, agent });
        }
        let reporter = start_reporter(&hub, &listed.join(","))?;
        Ok(Fleet { nodes, reporter, forwards, hub })
    }

    /// What each agent writes, by its node.
    pub(super) fn agents_say(&mut self) -> impl Iterator<Item = (String, Option<ChildStdout>)> {
        self.nodes.iter_mut().map(|node| (node.name.clone(), node.agent.stdout.take()))
    }

    /// A process of it that has ended, if one has.
    pub(super) fn ended(&mut self) -> Option<String> {
        let has_ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        for node in &mut self.nodes {
            if has_ended(&mut node.agent) {
                return Some(format!("the agent of {}", node.name));
            }
            if node.world.standins().any(has_ended) {
                return Some(format!("a stand-in of {} (IMDS, the API or DNS)", node.name));
            }
        }
        if has_ended(&mut self.reporter) {
            return Some("the reporter".to_owned());
        }
        self.forwards.iter_mut().any(has_ended).then(|| "the way to an agent or to the reporter".to_owned())
    }

    /// What the reporter writes.
    pub(super) fn reporter_says(&mut self) -> Option<ChildStdout> {
        self.reporter.stdout.take()
    }

    /// Lets the host in: to each agent, the reporter, and its page. What comes out is which guards are to be switched, as the first agent's way in is
    /// told.
    pub(super) fn open(&mut self, listeners: Listeners) -> io::Result<Option<ChildStdout>> {
        let names: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let mut words = None;
        for (nth, (node, listener)) in self.nodes.iter().zip(listeners.agents).enumerate() {
            let (nodes, says) = if nth == 0 { (names.clone(), Stdio::piped()) } else { (Vec::new(), Stdio::null()) };
            node.world.enter_pod()?;
            let mut forward = forward::start(&Forward { to: plan::AGENT, nodes }, listener, says)?;
            words = words.or(forward.stdout.take());
            self.forwards.push(forward);
        }
        self.hub.enter()?;
        for (to, listener) in [(plan::REPORTER, listeners.reporter), (plan::PAGE, listeners.page)] {
            self.forwards.push(forward::start(&Forward { to, nodes: Vec::new() }, listener, Stdio::null())?);
        }
        Ok(words)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let agents = self.nodes.iter_mut().map(|node| &mut node.agent);
        for child in agents.chain([&mut self.reporter]).chain(&mut self.forwards) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_reporter(hub: &Ns, listed: &str) -> io::Result<Child> {
    let (listen, page) = (plan::REPORTER.to_string(), plan::PAGE.to_string());
    let args = ["reporter", "--log", "warn", "--listed", listed, "--listen", &listen, "--fleet-listen", &page];
    let dress = Dress {
        node: "lab-reporter".to_owned(),
        nameservers: Vec::new(),
        odd_comment: false,
        api: plan::CLUSTER_IP,
        reporter: None,
        ca: String::new(),
        endpoints: None,
        config: Some(REPORTER.to_owned()),
        args: args.map(str::to_owned).to_vec(),
        descriptors: None,
    };
    hub.enter()?;
    role::command("pod", &serde_json::to_string(&dress)?).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}
