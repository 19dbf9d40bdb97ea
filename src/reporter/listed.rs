//! A list of agents in place of the Kubernetes API: for the lab, which has none. The house is told of nodes and pods as by a watch, leads from
//! the first moment, and its Events are written to standard output. Everything else is as in a cluster.
use super::house::House;
use super::post;
use crate::cluster::watch::News;
use crate::process::output::Output;
use crate::show::notes;
use guardprobe_core::judge::ledger::Act;
use guardprobe_core::model::cluster::{DaemonSet, GuardName, Node, Placement, Pod};
use guardprobe_core::model::names;
use guardprobe_core::model::notice::{EventLine, Regarding};
use guardprobe_core::model::report::Role;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::sleep;

/// An agent of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    node: String,
    ip: IpAddr,
}

impl FromStr for Listed {
    type Err = String;

    /// Reads `NODE=ADDRESS`; the address is a loopback one, so that no cluster is ever looked after like this.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected NODE=ADDRESS with a loopback address, such as lab-node-1=127.0.1.1";
        let (node, ip) = text.split_once('=').ok_or(expected)?;
        let ip: IpAddr = ip.parse().map_err(|error| format!("{error}: {expected}"))?;
        if ip.is_loopback() { Ok(Listed { node: node.to_owned(), ip }) } else { Err(expected.to_owned()) }
    }
}

/// Takes the API's place, for as long as the future lives.
pub(super) async fn stand_in(house: &House, output: &Output, guards: &[GuardName], agents: &[Listed]) -> ! {
    introduce(house, guards, agents);
    tokio::select! {
        never = lead(house) => never,
        never = post::post(house, async |act| { write(act, output); Ok(None) }) => never,
    }
}

fn introduce(house: &House, guards: &[GuardName], agents: &[Listed]) {
    house.own_events(names::NODE_EVENTS_NAMESPACE, News::All(Vec::new()));
    house.nobody_led_for(Duration::ZERO);
    let created = house.wall().saturating_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::UNIX_EPOCH);
    house.nodes(News::All(agents.iter().map(|agent| node(agent, created)).collect()));
    for namespace in house.namespaces() {
        let here: Vec<&GuardName> = guards.iter().filter(|guard| guard.namespace == namespace).collect();
        house.daemon_sets(&namespace, News::All(here.iter().map(|guard| daemon_set(guard)).collect()));
        let pods = here.iter().flat_map(|guard| agents.iter().map(|agent| pod(agent, guard)));
        house.pods(&namespace, News::All(pods.collect()));
    }
}

fn node(agent: &Listed, created: Timestamp) -> Node {
    let (name, uid) = (agent.node.clone(), format!("node-{}", agent.node));
    Node { name, uid, created, ready: true, deleting: false, labels: BTreeMap::new(), taints: Vec::new() }
}

fn daemon_set(guard: &GuardName) -> DaemonSet {
    let (uid, name) = (format!("set-{guard}"), format!("guardprobe-agent-{}", guard.name));
    let (placement, interval) = (Placement::default(), names::INTERVAL);
    DaemonSet { uid, name, guard: guard.clone(), role: Role::Agent, placement, interval }
}

/// The agent's pod, of that DaemonSet. It is called as its node, and says so.
fn pod(agent: &Listed, guard: &GuardName) -> Pod {
    Pod {
        uid: format!("pod-{guard}-{}", agent.node),
        namespace: guard.namespace.clone(),
        name: agent.node.clone(),
        guard: guard.clone(),
        role: Role::Agent,
        node: Some(agent.node.clone()),
        ip: Some(agent.ip),
        ready: true,
        deleting: false,
        controller: Some(daemon_set(guard).uid),
        labels: BTreeMap::new(),
        host_network: false,
        token_mounted: false,
    }
}

/// There is no other replica.
async fn lead(house: &House) -> ! {
    loop {
        house.elect(|elector, now| elector.written(now));
        sleep(names::LEASE_PERIOD).await;
    }
}

/// Writes what would be posted. That something goes on would be a count in an Event that is there: nothing new.
fn write(act: &Act, output: &Output) {
    if let Act::Post(notice) = act {
        let (Regarding::Node { name, .. } | Regarding::DaemonSet { name, .. }) = &notice.regarding;
        let (schema, regarding) = (names::EVENT_SCHEMA.to_owned(), name.clone());
        let line = EventLine { schema, reason: notice.reason, regarding, note: notes::note(notice) };
        output.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_listed_by_its_node_and_a_loopback_address() {
        let listed = Listed { node: "lab-node-1".into(), ip: "127.0.1.1".parse().unwrap() };
        assert_eq!("lab-node-1=127.0.1.1".parse(), Ok(listed));
        for wrong in ["lab-node-1", "lab-node-1=10.0.0.1", "lab-node-1=here"] {
            let said = wrong.parse::<Listed>().unwrap_err();
            assert!(said.contains("expected NODE=ADDRESS with a loopback address"), "{said}");
        }
    }
}
