//! What is looked at under more than one policy.
use super::common::Checked;
use super::lab::{
    CLUSTER_IP, ELSEWHERE, ENDPOINTS, GUARDED, LASTING, Lab, METADATA, PUBLIC, Pod, SECOND, UNLABELLED, connects, until_so,
};
use super::page::{assert_told, not_covered};
use guardprobe_core::model::observation::Outcome;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) const TARGETS: [&str; 3] = ["imds", "pod-identity", "kube-api"];

/// The addresses that were tried, or only those that connected.
pub(crate) fn addresses(checked: &Checked, connected: bool) -> BTreeSet<String> {
    let observations = checked.report().targets.into_iter().flat_map(|target| target.observations);
    let wanted = observations.filter(|seen| !connected || seen.outcome == Outcome::Connected);
    wanted.map(|seen| seen.address.to_string()).collect()
}

fn owned<'a>(all: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    all.into_iter().map(str::to_owned).collect()
}

/// Everything is denied, and `check` proves it: each address was tried, and met silence while the controls were reached.
#[track_caller]
pub(crate) fn assert_holds(lab: &Lab, endpoints: &[&str]) {
    let checked = lab.check(GUARDED, endpoints);
    assert_eq!(addresses(&checked, true), owned([]), "{}", checked.stdout());
    for target in TARGETS {
        assert_eq!(checked.finding(target), "blocked: silence", "{}", checked.stdout());
    }
    let all = METADATA.into_iter().chain([CLUSTER_IP]).chain(endpoints.iter().copied());
    assert_eq!(addresses(&checked, false), owned(all), "{}", checked.stdout());
    assert_eq!(checked.status(), 0);
}

/// `check` finds exactly these addresses open.
#[track_caller]
pub(crate) fn assert_breached(checked: &Checked, open: &[&str]) {
    assert_eq!((checked.status(), addresses(checked, true)), (1, owned(open.iter().copied())), "{}", checked.stdout());
}

/// Applies a policy, and says on the test's output how long its targets stayed open.
#[track_caller]
pub(crate) fn enforce(lab: &Lab, what: &str, apply: impl FnOnce()) {
    let all: Vec<&str> = METADATA.into_iter().chain([CLUSTER_IP]).chain(ENDPOINTS).collect();
    until_so("all is open", || all.iter().all(|address| lab.connects(GUARDED, address)));
    apply();
    let after = until_so("nothing of it connects", || !all.iter().any(|address| lab.connects(GUARDED, address)));
    println!("{what}: all of it was shut {} ms after the client ended", after.as_millis());
}

/// Takes a policy away, and sees `check` find the breach.
#[track_caller]
pub(crate) fn release(lab: &Lab, what: &str, delete: impl FnOnce()) {
    delete();
    let after = until_so("it is open again", || lab.check(GUARDED, &ENDPOINTS).finding("imds") == "breached: token_issued");
    println!("{what}: breached {} ms after the client ended", after.as_millis());
    let open = || METADATA.into_iter().chain([CLUSTER_IP]).chain(ENDPOINTS);
    until_so("all of it is open again", || addresses(&lab.check(GUARDED, &ENDPOINTS), true) == owned(open()));
}

pub(crate) fn a_connection_that_stood_survives(lab: &mut Lab, mut stood: TcpStream) {
    stood.write_all(b"x").unwrap();
    stood.set_read_timeout(Some(super::common::facts::PATIENCE)).unwrap();
    stood.read_exact(&mut [0]).unwrap();
    assert!(!lab.connects(GUARDED, LASTING), "a new connection is denied");
    lab.shown.insert("Connections that stand already");
}

pub(crate) fn pods_without_the_label_are_open(lab: &mut Lab) {
    everything_is_open_from(lab, UNLABELLED);
    lab.shown.insert("Pods without the label");
}

pub(crate) fn pods_of_other_namespaces_are_open(lab: &mut Lab) {
    everything_is_open_from(lab, ELSEWHERE);
    lab.shown.insert("Pods of other namespaces");
}

#[track_caller]
fn everything_is_open_from(lab: &Lab, pod: Pod) {
    let open: Vec<&str> = METADATA.into_iter().chain([CLUSTER_IP]).chain(ENDPOINTS).collect();
    assert_breached(&lab.check(pod, &ENDPOINTS), &open);
}

/// The node's own namespace is that of its host-network pods, one of which wears the label.
pub(crate) fn host_network_pods_are_open(lab: &mut Lab) {
    for address in METADATA.into_iter().chain(ENDPOINTS) {
        until_so(address, || connects(&lab.node(), address));
    }
    lab.shown.insert("Host-network pods");
}

pub(crate) fn second_interfaces_are_open(lab: &mut Lab) {
    assert_breached(&lab.check(SECOND, &ENDPOINTS), &[METADATA[0], METADATA[2], CLUSTER_IP, ENDPOINTS[0], ENDPOINTS[1]]);
    lab.shown.insert("Interfaces that Felix does not know");
}

pub(crate) fn a_public_endpoint_is_open(lab: &mut Lab) {
    let checked = lab.check_with(GUARDED, &ENDPOINTS, &format!(", publicEndpoint: \"{PUBLIC}\""));
    assert_breached(&checked, &[PUBLIC]);
    lab.shown.insert("A public endpoint of the API");
}

/// The page says all that was shown, and calls the rest not run; the next policy begins anew.
#[track_caller]
pub(crate) fn assert_page(lab: &mut Lab, file: &str) {
    assert_told(file, &std::mem::take(&mut lab.shown));
}

/// The page calls all of a policy's gaps not run.
#[track_caller]
pub(crate) fn assert_nothing_shown(file: &str) {
    assert!(not_covered(file).iter().all(|(_, not_run)| *not_run), "the page says of {file} what no test shows");
}
