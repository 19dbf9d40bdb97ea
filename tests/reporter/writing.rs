//! Events that the API server does not take as they come: each way to fail is handled.
use crate::common::cluster::Cluster;
use crate::common::facts::within;
use nix::sys::signal::Signal;
use serde_json::json;
use std::thread::sleep;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const REPORTER: &str = "system:serviceaccount:guardprobe:guardprobe-reporter";

/// A policy of the API server that refuses Events of which this is true, as `how`: Invalid (422) or Forbidden (403, as webhooks do).
fn refuse(cluster: &Cluster, reason: &str, which: &str, how: &str) {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-events"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}]},
            "validations": [{"expression": format!("object.reason != '{reason}' || !({which})"), "message": "no such Events here", "reason": how}]
        }
    });
    cluster.apply(&policy.to_string());
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
                         "metadata": {"name": "no-events"}, "spec": {"policyName": "no-events", "validationActions": ["Deny"]}});
    cluster.apply(&binding.to_string());
    // A policy is in force some seconds after it was written.
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "x", "namespace": "default"}, "reason": reason, "regarding": {"kind": "Node", "name": "node-1"},
                       "action": "x", "type": "Normal", "eventTime": "2026-03-01T12:00:00.000000Z", "reportingController": "x", "reportingInstance": "x"});
    let file = cluster.file("event.json", &event.to_string());
    within(Duration::from_secs(60), "the policy is in force", || {
        let output = cluster.try_kubectl(&["create", "-f", &file]);
        if output.status.success() { Err("it is not".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn what_the_api_server_calls_invalid_is_seldom_tried_again_and_holds_nothing_up() {
    let cluster = Cluster::new();
    let nodes = [1, 2].map(|nth| cluster.node(nth));
    let _agents = nodes.map(|node| node.agent());
    refuse(&cluster, "EgressBreached", "true", "Invalid");
    let reporter = cluster.reporter();
    nodes.iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
    nodes.iter().for_each(|node| node.unguard());
    reporter.until_said("no such Events here");
    nodes.iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds breached"]));
    nodes.iter().for_each(|node| node.guard());
    within(SOON, "what is taken is told", || {
        let mut told = cluster.told();
        told.sort();
        if told == ["EgressBlocked node-1 imds", "EgressBlocked node-2 imds"] { Ok(()) } else { Err(format!("{told:?}")) }
    });
    let failed = cluster.metrics().value("guardprobe_events_failed_total", &[("reason", "EgressBreached")]);
    assert!((2.0..=6.0).contains(&failed), "each rests for ten seconds and then for longer: {failed}");
    // A policy of the API server may change: what happened is told then.
    cluster.kubectl(&["delete", "validatingadmissionpolicybinding", "no-events"]);
    within(Duration::from_secs(60), "what was refused is told", || {
        if cluster.told().len() == 4 { Ok(()) } else { Err(format!("{:?}", cluster.told())) }
    });
}

/// A webhook of the API server that is asked about Events of one node, and that something else answers for.
fn webhook(cluster: &Cluster, node: &str) {
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "broken"},
        "webhooks": [{
            "name": "broken.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 30,
            "clientConfig": {"url": "https://10.90.0.10:8444/"},
            "rules": [{"apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}],
            "matchConditions": [{"name": "one", "expression": format!("object.regarding.name == '{node}'")}],
        }]
    });
    cluster.apply(&webhook.to_string());
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "x", "namespace": "default"}, "reason": "x", "regarding": {"kind": "Node", "name": node},
                       "action": "x", "type": "Normal", "eventTime": "2026-03-01T12:00:00.000000Z", "reportingController": "x", "reportingInstance": "x"});
    let file = cluster.file("event.json", &event.to_string());
    within(Duration::from_secs(60), "the webhook is in force", || {
        let output = cluster.try_kubectl(&["create", "--request-timeout=3s", "-f", &file]);
        if output.status.success() { Err("it is not".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn one_event_whose_webhook_fails_or_hangs_keeps_no_other_waiting() {
    for hangs in [false, true] {
        let cluster = Cluster::new();
        let nodes = [1, 2, 3].map(|nth| cluster.node(nth));
        let _agents = nodes.map(|node| node.agent());
        if hangs {
            cluster.serve("10.90.0.10:8444", |stream| {
                sleep(Duration::from_secs(60));
                drop(stream);
            });
        }
        webhook(&cluster, "node-1");
        let reporter = cluster.reporter();
        nodes.iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
        nodes[0].unguard();
        cluster.until_row("node-1", SOON, &["covered", "imds breached"]);
        if !hangs {
            reporter.until_said("failed calling webhook");
        }
        sleep(Duration::from_secs(3));
        nodes[1..].iter().for_each(|node| node.unguard());
        nodes[1..].iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds breached"]));
        within(Duration::from_secs(3), "the others are told", || {
            let mut told = cluster.told();
            told.retain(|told| told.starts_with("EgressBreached"));
            told.sort();
            if told == ["EgressBreached node-2 imds", "EgressBreached node-3 imds"] {
                Ok(())
            } else {
                Err(format!("{hangs} {told:?}"))
            }
        });
        cluster.kubectl(&["delete", "validatingwebhookconfiguration", "broken"]);
        within(Duration::from_secs(60), "what failed is told", || {
            let told = cluster.told();
            if told.contains(&"EgressBreached node-1 imds".to_owned()) { Ok(()) } else { Err(format!("{told:?}")) }
        });
    }
}

#[test]
fn one_event_that_is_forbidden_keeps_no_other_waiting() {
    let cluster = Cluster::new();
    let nodes = [1, 2, 3].map(|nth| cluster.node(nth));
    let _agents = nodes.map(|node| node.agent());
    refuse(&cluster, "EgressBreached", "object.regarding.name == 'node-1'", "Forbidden");
    let reporter = cluster.reporter();
    nodes.iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
    nodes[0].unguard();
    reporter.until_said("no such Events here");
    nodes[1..].iter().for_each(|node| node.unguard());
    within(Duration::from_secs(8), "the others are told", || {
        let mut told = cluster.told();
        told.sort();
        if told == ["EgressBreached node-2 imds", "EgressBreached node-3 imds"] { Ok(()) } else { Err(format!("{told:?}")) }
    });
    // Once it is allowed, it is told by itself.
    cluster.kubectl(&["delete", "validatingadmissionpolicybinding", "no-events"]);
    within(Duration::from_secs(60), "what was forbidden is told", || {
        let told = cluster.told();
        if told.contains(&"EgressBreached node-1 imds".to_owned()) { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[test]
fn an_event_of_that_name_that_is_somebody_elses_silences_nothing() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let mut reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    node.unguard();
    cluster.until_told(SOON, &["EgressBreached node-1 imds"]);
    let name = cluster.events()[0].metadata.name.clone().unwrap();
    reporter.kill();
    // The same name, but another's words.
    cluster.kubectl(&["delete", "event", "-n", "default", &name]);
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"}, "reason": "AllIsWell",
                       "action": "x", "type": "Normal", "eventTime": "2026-03-01T12:00:00.000000Z", "reportingController": "x", "reportingInstance": "x"});
    let file = cluster.file("event.json", &event.to_string());
    cluster.kubectl(&["create", "-f", &file]);
    let reporter = cluster.reporter_as("reporter-1", &[]);
    reporter.until_said("an Event of this name is not ours");
    cluster.until_told(SOON, &["EgressBreached node-1 imds"]);
    assert_eq!(cluster.metrics().value("guardprobe_event_names_taken_total", &[]), 1.0);
    assert_eq!(cluster.row("node-1"), ["covered", "imds breached token_issued"]);
}

/// A level of priority without seats for the Events of the reporter. One request at a time is let in all the same; so a second user of it,
/// whose request hangs in a webhook that does not answer, has each of them rejected: 429 with a Retry-After.
const NO_SEATS: &str = r#"
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: no-seats}
spec: {type: Limited, limited: {nominalConcurrencyShares: 0, borrowingLimitPercent: 0, lendablePercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: no-seats}
spec:
  matchingPrecedence: 2
  priorityLevelConfiguration: {name: no-seats}
  rules:
    - subjects: [{kind: ServiceAccount, serviceAccount: {name: guardprobe-reporter, namespace: guardprobe}}]
      resourceRules: [{apiGroups: [events.k8s.io], resources: [events], verbs: [create], namespaces: ["*"]}]
    - subjects: [{kind: User, user: {name: system:serviceaccount:default:default}}]
      resourceRules: [{apiGroups: [""], resources: [configmaps], verbs: [create], namespaces: ["*"]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hangs}
webhooks:
  - name: hangs.example.com
    rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
    clientConfig: {url: "https://10.90.0.10:8443/"}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-public}}
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Ignore
    timeoutSeconds: 30
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: hangs}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
"#;

#[test]
fn a_busy_api_server_is_given_time() {
    let cluster = Cluster::new();
    let nodes = [1, 2, 3].map(|nth| cluster.node(nth));
    let _agents = nodes.map(|node| node.agent());
    let reporter = cluster.reporter();
    nodes.iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]));
    cluster.serve("10.90.0.10:8443", |stream| {
        sleep(Duration::from_secs(40));
        drop(stream);
    });
    cluster.apply(NO_SEATS);
    let hanging = |of: usize| {
        let name = format!("x{of}");
        let create = ["create", "configmap", &name, "-n", "kube-public", "--as=system:serviceaccount:default:default"];
        cluster.try_kubectl(&create);
    };
    let busy = || {
        cluster
            .audit()
            .iter()
            .filter(|entry| entry["responseStatus"]["code"] == 429 && entry["user"]["username"] == REPORTER)
            .count()
    };
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            // Each hangs for about ten seconds; the last one ends with the test.
            for of in 0..6 {
                hanging(of);
                if !matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
                    break;
                }
            }
        });
        sleep(Duration::from_secs(3));
        nodes.iter().for_each(|node| node.unguard());
        reporter.until_said("the API server is busy: again in 1 s");
        nodes.iter().for_each(|node| cluster.until_row(&node.name(), SOON, &["covered", "imds breached"]));
        sleep(Duration::from_secs(3));
        let refused = busy();
        println!("{refused} times 429 in about 4 s");
        assert!((2..=8).contains(&refused), "it does not press: {refused}");
        drop(stop);
        cluster.kubectl(&["delete", "flowschema", "no-seats"]);
        within(Duration::from_secs(60), "all are told in the end", || {
            let told = cluster.told();
            if told.len() == 3 { Ok(()) } else { Err(format!("{told:?}")) }
        });
    });
}

#[test]
fn an_api_server_that_does_not_answer_holds_up_nothing_but_events() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    cluster.signal_api(Signal::SIGSTOP);
    node.unguard();
    cluster.until_row("node-1", Duration::from_secs(4), &["covered", "imds breached"]);
    within(SOON, "it says so", || if reporter.stderr().contains("not within 10 s") { Ok(()) } else { Err(reporter.stderr()) });
    node.guard();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    cluster.signal_api(Signal::SIGCONT);
    within(Duration::from_secs(60), "both are told", || {
        let told = cluster.told();
        if told == ["EgressBreached node-1 imds", "EgressBlocked node-1 imds"] { Ok(()) } else { Err(format!("{told:?}")) }
    });
    sleep(Duration::from_secs(3));
    assert_eq!(cluster.told().len(), 2);
}
