//! Cilium's two policies. Its agent cannot run here: that the real API server takes them by Cilium's own definitions, and keeps what they
//! say, is all that is shown.
use super::common::cluster::{Cluster, tool};
use super::common::facts::eventually;
use super::page::{denied, shipped};
use super::steps::assert_nothing_shown;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn ciliums_policies_are_accepted_without_a_warning_and_deny_every_built_in_address() {
    let cluster = Cluster::new();
    for (file, kind, resource) in [
        ("cilium-networkpolicy.yaml", "ciliumnetworkpolicies", "ciliumnetworkpolicies.cilium.io"),
        (
            "cilium-clusterwidenetworkpolicy.yaml",
            "ciliumclusterwidenetworkpolicies",
            "ciliumclusterwidenetworkpolicies.cilium.io",
        ),
    ] {
        cluster.kubectl(&["apply", "--server-side", "-f", tool(&format!("{kind}.yaml")).to_str().unwrap()]);
        accepted(&cluster, file);
        let kept = cluster.kubectl(&["get", resource, "-n", "default", "deny-k8s-api-and-imds", "-o", "json"]);
        assert_denies(&serde_json::from_str::<Value>(&kept).unwrap()["spec"]);
        assert_nothing_shown(file);
    }
}

/// Once the API server serves the kind.
fn accepted(cluster: &Cluster, file: &str) {
    let path = cluster.file(file, &shipped(file));
    eventually(file, || {
        let output = cluster.try_kubectl(&["apply", "--server-side", "-f", &path]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() && said.is_empty() { Ok(()) } else { Err(said) }
    });
}

fn assert_denies(spec: &Value) {
    assert_eq!(spec["endpointSelector"], json!({"matchLabels": {"egress": "restricted"}}));
    let rules = spec["egressDeny"].as_array().unwrap();
    let all = |key: &str| -> BTreeSet<String> {
        let lists = rules.iter().filter_map(|rule| rule[key].as_array()).flatten();
        lists.map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(all("toCIDR"), denied());
    assert!(rules.contains(&json!({"toEntities": ["kube-apiserver"]})), "the whole of the API, every port: {rules:?}");
    assert_eq!(spec["egress"], json!([{"toEntities": ["all"]}]));
}
