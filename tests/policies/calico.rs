//! Calico's two policies, given by calicoctl, which knows what v3 allows.
use super::lab::{ELSEWHERE, ENDPOINTS, GUARDED, LATE, Lab, METADATA, OTHER_PORT, until_so};
use super::page::shipped;
use super::steps::*;

#[test]
fn calicos_policies_deny_all_their_targets_and_leave_open_what_the_page_says() {
    let mut lab = Lab::new();
    run(&mut lab, "calico-networkpolicy.yaml", |lab| {
        pods_of_other_namespaces_are_open(lab);
        an_order_is_needed(lab);
    });
    run(&mut lab, "calico-globalnetworkpolicy.yaml", |lab| {
        until_so("it holds in other namespaces", || lab.check(ELSEWHERE, &ENDPOINTS).status() == 0);
    });
}

fn run(lab: &mut Lab, file: &str, more: impl FnOnce(&mut Lab)) {
    let path = lab.cluster.file(file, &shipped(file));
    let stood = lab.lasting(GUARDED);
    enforce(lab, file, || lab.calicoctl(&["apply", "-f", &path]));
    assert_holds(lab, &ENDPOINTS);
    a_connection_that_stood_survives(lab, stood);
    pods_without_the_label_are_open(lab);
    host_network_pods_are_open(lab);
    second_interfaces_are_open(lab);
    a_public_endpoint_is_open(lab);
    other_ports_are_open(lab);
    a_new_endpoint_is_denied(lab, file);
    an_allow_that_is_heard_before_wins(lab);
    more(lab);
    assert_holds(lab, &ENDPOINTS);
    release(lab, file, || lab.calicoctl(&["delete", "-f", &path]));
    assert_page(lab, file);
}

fn other_ports_are_open(lab: &mut Lab) {
    until_so(OTHER_PORT, || lab.connects(GUARDED, OTHER_PORT));
    lab.shown.insert("Other ports of the endpoints' addresses");
}

/// One that answers before a slice names it is open; then it is not.
fn a_new_endpoint_is_denied(lab: &Lab, file: &str) {
    let more = [ENDPOINTS[0], ENDPOINTS[1], LATE];
    assert_breached(&lab.check(GUARDED, &more), &[LATE]);
    lab.endpoint_enters(LATE);
    let after = until_so("the new endpoint is denied", || !lab.connects(GUARDED, LATE));
    println!("{file}: a new endpoint was denied {} ms after it entered", after.as_millis());
    assert_holds(lab, &more);
    lab.cluster.kubectl(&["delete", "endpointslice", "-n", "default", "more-10-90-0-11"]);
    lab.until_open(GUARDED, LATE);
}

fn an_allow_that_is_heard_before_wins(lab: &mut Lab) {
    let path = lab.cluster.file("early.yaml", EARLY);
    lab.calicoctl(&["apply", "-f", &path]);
    lab.until_open(GUARDED, METADATA[0]);
    lab.calicoctl(&["delete", "-f", &path]);
    until_so("the guard holds again", || lab.check(GUARDED, &ENDPOINTS).status() == 0);
    lab.shown.insert("An Allow that is heard before it");
}

const EARLY: &str = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
    metadata: {name: early, namespace: default}\n\
    spec: {order: 99, selector: egress == 'restricted', types: [Egress], egress: [{action: Allow}]}\n";

/// A Kubernetes NetworkPolicy that allows everything opens ours without its order, which shows that Felix heard of it, but not ours.
fn an_order_is_needed(lab: &Lab) {
    lab.cluster.apply(PERMISSIVE);
    let file = "calico-networkpolicy.yaml";
    let text = shipped(file);
    let without: String = text.lines().filter(|line| !line.starts_with("  order:")).map(|line| format!("{line}\n")).collect();
    assert!(without.len() < text.len());
    let (path, without) = (lab.cluster.file(file, &text), lab.cluster.file("without.yaml", &without));
    lab.calicoctl(&["replace", "-f", &without]);
    let open = || lab.check(GUARDED, &ENDPOINTS).finding("imds") == "breached: token_issued";
    until_so("without an order it is open", open);
    lab.calicoctl(&["replace", "-f", &path]);
    until_so("with it, it holds", || lab.check(GUARDED, &ENDPOINTS).status() == 0);
    lab.cluster.kubectl(&["delete", "networkpolicy", "-n", "default", "permissive"]);
}

pub(crate) const PERMISSIVE: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {name: permissive, namespace: default}\n\
    spec: {podSelector: {matchLabels: {egress: restricted}}, policyTypes: [Egress], egress: [{}]}\n";
