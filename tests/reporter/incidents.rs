//! What is told of a breach, and when.
use crate::common::cluster::{Cluster, timed};
use crate::common::facts::within;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_guard_that_falls_on_one_of_three_nodes_is_one_warning_and_its_return_one_normal_event() {
    let cluster = Cluster::new();
    let nodes = [1, 2, 3].map(|nth| cluster.node(nth));
    let _agents = nodes.map(|node| node.agent());
    let reporter = cluster.reporter();
    for node in nodes {
        cluster.until_row(&node.name(), SOON, &["covered", "imds blocked silence"]);
    }
    let (_, took) = timed(|| {
        nodes[1].unguard();
        cluster.until_told(SOON, &["EgressBreached node-2 imds"]);
    });
    eprintln!("from the removal to the Event: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let described = cluster.kubectl(&["describe", "node", "node-2"]);
    assert!(described.contains("EgressBreached") && described.contains("imds is open to the pods of guard default/deny"), "{described}");
    cluster.until_row("node-2", SOON, &["covered", "imds breached token_issued"]);
    nodes[1].guard();
    cluster.until_told(SOON, &["EgressBreached node-2 imds", "EgressBlocked node-2 imds"]);
    println!("{}", cluster.kubectl(&["get", "events", "-n", "default", "--field-selector", "involvedObject.kind=Node"]));
    cluster.until_row("node-2", SOON, &["covered", "imds blocked silence"]);
    let _ = within(SOON, "lines", || if reporter.lines().len() >= 2 { Ok(()) } else { Err(format!("{:?}", reporter.lines())) });
    for line in reporter.lines() { println!("{line}"); }
    println!("{}", cluster.metrics().0);
    println!("{}", reporter.stderr());
}
