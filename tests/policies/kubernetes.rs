//! The Kubernetes NetworkPolicy, with this cluster's addresses in place of the examples, enforced by Felix.
use super::calico::PERMISSIVE;
use super::lab::{ENDPOINTS, GUARDED, LATE, Lab, OTHER_PORT, until_so};
use super::page::shipped;
use super::steps::*;

const FILE: &str = "kubernetes-networkpolicy.yaml";

#[test]
fn the_kubernetes_policy_denies_all_that_is_written_in_it_and_leaves_open_what_the_page_says() {
    let mut lab = Lab::new();
    let path = lab.cluster.file(FILE, &filled());
    let stood = lab.lasting(GUARDED);
    enforce(&lab, FILE, || drop(lab.cluster.kubectl(&["apply", "-f", &path])));
    assert_holds(&lab, &ENDPOINTS);
    assert!(!lab.connects(GUARDED, OTHER_PORT), "an ipBlock is every port of the address");
    a_connection_that_stood_survives(&mut lab, stood);
    pods_without_the_label_are_open(&mut lab);
    pods_of_other_namespaces_are_open(&mut lab);
    host_network_pods_are_open(&mut lab);
    second_interfaces_are_open(&mut lab);
    a_public_endpoint_is_open(&mut lab);
    a_new_endpoint_is_open(&mut lab);
    what_another_allows_is_open(&mut lab);
    release(&lab, FILE, || drop(lab.cluster.kubectl(&["delete", "-f", &path])));
    assert_page(&mut lab, FILE);
}

/// As its first lines say that it must be filled in.
fn filled() -> String {
    let mut text = shipped(FILE);
    for (example, here) in
        [("10.100.0.1/32", "10.96.0.1/32"), ("192.0.2.10/32", "10.90.0.10/32"), ("192.0.2.11/32", "10.90.0.12/32")]
    {
        assert!(text.contains(example), "{FILE} has no {example}");
        text = text.replace(example, here);
    }
    text
}

fn a_new_endpoint_is_open(lab: &mut Lab) {
    lab.endpoint_enters(LATE);
    assert_breached(&lab.check(GUARDED, &[ENDPOINTS[0], ENDPOINTS[1], LATE]), &[LATE]);
    lab.shown.insert("Endpoints that are not written in it");
}

fn what_another_allows_is_open(lab: &mut Lab) {
    lab.cluster.apply(PERMISSIVE);
    until_so("it is open", || lab.check(GUARDED, &ENDPOINTS).finding("imds") == "breached: token_issued");
    lab.cluster.kubectl(&["delete", "networkpolicy", "-n", "default", "permissive"]);
    until_so("it holds again", || lab.check(GUARDED, &ENDPOINTS).status() == 0);
    lab.shown.insert("What another NetworkPolicy allows");
}
