//! A release from its beginning to its end: installed by the real Helm, its pods made by the real controllers and run as their objects say,
//! with the rendered ServiceAccount and permissions; tested, upgraded, uninstalled.
use crate::common::cluster::{Cluster, get_in};
use crate::common::helm::{chart, helm_in};
use crate::common::kubelet::Kubelet;
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const NODES: usize = 6;
const FLEET: &str = "127.0.0.1:9799";
const PATIENCE: Duration = Duration::from_secs(180);

/// Quick rounds, since a rollout waits for the first one of each pod.
const VALUES: &str = "\
image: {registry: registry.example, repository: guardprobe}
guards: [{name: deny-k8s-api-and-imds, namespace: default, labels: {egress: restricted}}]
agent: {interval: 2s, timeout: 1100ms, startup: 10s, reporterControl: false}
reporter: {replicas: 1}
witness: {enabled: true}
tests: {wait: 30s}
";

/// Nodes that are ready, and that a namespace is told to be strict.
fn prepare(cluster: &Cluster) {
    for nth in 1..=NODES {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{nth}"), "labels": {"kubernetes.io/os": "linux"}}});
        cluster.apply(&node.to_string());
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let name = format!("node-{nth}");
        cluster.kubectl(&["patch", "node", &name, "--subresource=status", "--type=merge", "-p", &ready.to_string()]);
    }
    for namespace in ["default", "guardprobe"] {
        cluster.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"]);
    }
}

fn helm(cluster: &Cluster, args: &[&str]) -> Child {
    helm_in(cluster, args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Lets the kubelets work until Helm has ended, and gives what it printed, and whether it was content.
fn finish(kubelet: &mut Kubelet<'_>, mut child: Child) -> (bool, String) {
    kubelet.until(PATIENCE, "helm ends", |_| child.try_wait().unwrap().map(drop).ok_or_else(|| "it runs".to_owned()));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn fleet(network: &str) -> Value {
    let answer = get_in(network, FLEET, "/v1/fleet");
    answer.ok().filter(|(status, _)| *status == 200).and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
}

/// Nodes that are covered, and those of them whose IMDS and API are both blocked.
fn covered(fleet: &Value) -> (usize, usize) {
    let rows: Vec<&Value> = fleet["rows"].as_array().into_iter().flatten().collect();
    let covered = |row: &&&Value| row["coverage"] == "covered";
    let blocked = |row: &&&Value| {
        let targets = row["targets"].as_array().unwrap();
        targets.len() == 2 && targets.iter().all(|target| target["verdict"] == "blocked")
    };
    (rows.iter().filter(covered).count(), rows.iter().filter(covered).filter(blocked).count())
}

/// Looks at the fleet again and again, and keeps the least of what it saw.
struct Watcher {
    done: Arc<AtomicBool>,
    thread: JoinHandle<(usize, (usize, usize))>,
}

impl Watcher {
    fn start(network: &str) -> Self {
        let (done, network) = (Arc::new(AtomicBool::new(false)), network.to_owned());
        let told = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let (mut looks, mut least) = (0, (NODES, NODES));
            while !told.load(Ordering::Relaxed) {
                let (covered, blocked) = covered(&fleet(&network));
                looks += 1;
                least = (least.0.min(covered), least.1.min(blocked));
                thread::sleep(Duration::from_millis(50));
            }
            (looks, least)
        });
        Watcher { done, thread }
    }

    fn stop(self) -> (usize, (usize, usize)) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What the reporter has written: the endpoints file without its time, and who holds the Lease.
fn written(cluster: &Cluster) -> String {
    let file = cluster.kubectl(&[
        "get",
        "configmap",
        "-n",
        "default",
        "guardprobe-endpoints",
        "-o",
        "jsonpath={.data.endpoints\\.json}",
    ]);
    let mut file: Value = serde_json::from_str(&file).unwrap_or_else(|error| panic!("{error}: {file}"));
    file["updated"] = Value::Null;
    let holder =
        cluster.kubectl(&["get", "lease", "-n", "guardprobe", "guardprobe-reporter", "-o", "jsonpath={.spec.holderIdentity}"]);
    format!("{file} held by a reporter: {}", holder.contains("-reporter-"))
}

#[test]
fn a_release_is_installed_tested_upgraded_without_a_hole_and_uninstalled() {
    let cluster = Cluster::with_controllers();
    prepare(&cluster);
    let mut kubelet = Kubelet::new(&cluster);
    let values = cluster.file("values.yaml", VALUES);
    let chart = chart().to_string_lossy().into_owned();

    let install = helm(&cluster, &["install", "guardprobe", &chart, "--values", &values, "--wait", "--timeout", "150s"]);
    let (content, said) = finish(&mut kubelet, install);
    assert!(content, "{said}");
    assert!(said.contains("helm test guardprobe -n guardprobe") && said.contains("two pod IPs per node and guard"), "{said}");

    let reporter = kubelet.until(PATIENCE, "every node is covered and blocked", |kubelet| {
        let network = kubelet.network_of("reporter").ok_or("no reporter is ready")?.to_owned();
        let fleet = fleet(&network);
        if covered(&fleet) == (NODES, NODES) { Ok(network) } else { Err(fleet.to_string()) }
    });
    // The API's addresses are in the agents' file, and no pod was made anew for it.
    let generation = ["get", "daemonset", "-n", "default", "-o", "jsonpath={.items[*].metadata.generation}"];
    assert_eq!(cluster.kubectl(&generation), "1 1");
    let proofs = |fleet: &Value| {
        let rows = fleet["rows"].as_array().unwrap().clone();
        let targets = rows.iter().flat_map(|row| row["targets"].as_array().unwrap().clone());
        targets.filter(|target| target["name"] == "imds" && target["reason"] == "witnessed").count()
    };
    kubelet.until(PATIENCE, "the witnesses prove it", |_| {
        let fleet = fleet(&reporter);
        if proofs(&fleet) == NODES { Ok(()) } else { Err(fleet.to_string()) }
    });

    let (content, said) = {
        let test = helm(&cluster, &["test", "guardprobe", "--timeout", "60s"]);
        finish(&mut kubelet, test)
    };
    assert!(content && said.contains("Succeeded"), "{said}");

    let before = written(&cluster);
    assert!(before.contains("10.90.0.10:16443") && before.contains("held by a reporter: true"), "{before}");
    let watcher = Watcher::start(&reporter);
    let upgrade = ["upgrade", "guardprobe", &chart, "--values", &values, "--set", "agent.interval=3s"];
    let begun = std::time::Instant::now();
    let (content, said) = finish(&mut kubelet, helm(&cluster, &[&upgrade[..], &["--wait", "--timeout", "150s"]].concat()));
    assert!(content, "{said}");
    let took = begun.elapsed();
    let old_and_new =
        ["get", "pods", "-n", "default", "-l", "guardprobe.dev/role=agent", "-o", "jsonpath={.items[*].metadata.name}"];
    kubelet.until(PATIENCE, "the old pods are gone", |_| match cluster.kubectl(&old_and_new).split(' ').count() {
        NODES => Ok(()),
        count => Err(count.to_string()),
    });
    let (looks, least) = watcher.stop();
    println!("rolled {NODES} nodes in {took:.1?}: looked {looks} times, at least {} covered, {} blocked", least.0, least.1);
    assert!(looks > 100, "{looks}");
    assert_eq!(least, (NODES, NODES), "coverage dropped while the configuration changed");
    assert_eq!(cluster.told(), Vec::<String>::new(), "nobody was paged");

    assert_eq!(written(&cluster), before, "an upgrade leaves alone what the reporter wrote");
    for manifests in ["as Helm", "as kubectl"] {
        if manifests == "as Helm" {
            let (content, said) = finish(&mut kubelet, helm(&cluster, &upgrade));
            assert!(content, "{said}");
        } else {
            // kubectl apply of the same objects: neither has what the reporter writes in it.
            let rendered = helm_in(&cluster, &["template", "guardprobe", &chart, "--values", &values]).output().unwrap();
            let rendered = String::from_utf8(rendered.stdout).unwrap();
            let ours =
                |document: &&str| document.contains("\nkind: Lease\n") || document.contains("\n  name: guardprobe-endpoints\n");
            cluster.apply(&rendered.split("\n---\n").filter(ours).collect::<Vec<_>>().join("\n---\n"));
        }
        assert_eq!(written(&cluster), before, "{manifests}");
    }

    let (content, said) = {
        let uninstall = helm(&cluster, &["uninstall", "guardprobe"]);
        finish(&mut kubelet, uninstall)
    };
    assert!(content, "{said}");
    let left = ["get", "all,configmap,lease,role,rolebinding,networkpolicy,serviceaccount", "-A", "-o", "name"];
    kubelet.until(PATIENCE, "nothing is left", |_| {
        let left = cluster.kubectl(&left);
        let ours: Vec<&str> = left.lines().filter(|line| line.contains("guardprobe")).collect();
        if ours.is_empty() { Ok(()) } else { Err(format!("{ours:?}")) }
    });
}
