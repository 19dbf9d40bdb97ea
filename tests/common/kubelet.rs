//! What a scheduler and the kubelets do, as far as a test of manifests needs it: pods are bound, and what their objects say is run: the
//! command, the environment, the mounted ConfigMaps and the token, in a root of its own without anything else that is writable, as the user
//! and without the capabilities that the pod asks for. Probes decide who is ready. Each pod has a network namespace of its own.
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
use super::cluster::{Cluster, Process, SERVICE, get_in};
use super::{DNS, own_namespace};
use k8s_openapi::api::core::v1::{Binding, ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// All kubelets of a cluster. Whoever holds it lets it `work` until what he waits for is there.
pub(crate) struct Kubelet<'c> {
    cluster: &'c Cluster,
    running: BTreeMap<String, Running>,
    /// Pods so far: the number of the next one's network.
    count: u8,
    maps: BTreeMap<(String, String), Value>,
}

/// A pod that runs.
struct Running {
    object: Value,
    process: Process,
    network: String,
    ip: String,
    root: PathBuf,
    ready: bool,
    asked_to_end: Option<Instant>,
}

impl<'c> Kubelet<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Self {
        Kubelet { cluster, running: BTreeMap::new(), count: 0, maps: BTreeMap::new() }
    }

    /// Works until `done` gives something; `done` is asked after each look at the pods.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, patience: Duration, what: &str, mut done: impl FnMut(&mut Self) -> Result<T, String>) -> T {
        let begun = Instant::now();
        loop {
            self.work();
            match done(self) {
                Ok(done) => return done,
                Err(last) => assert!(begun.elapsed() < patience, "not within {patience:?}: {what}: {last}\n{}", self.logs()),
            }
        }
    }

    /// Looks at all pods once, and does what is to be done.
    pub(crate) fn work(&mut self) {
        let (pods, maps) = self.cluster.client(|client| async move {
            let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.unwrap().items;
            let maps = Api::<ConfigMap>::all(client).list(&ListParams::default()).await.unwrap().items;
            (pods, maps)
        });
        let data = |map: &ConfigMap| serde_json::to_value(&map.data).unwrap();
        self.maps = maps.iter().map(|map| ((map.namespace().unwrap(), map.name_any()), data(map))).collect();
        for pod in pods {
            self.attend(&serde_json::to_value(pod).unwrap());
        }
    }

    fn attend(&mut self, pod: &Value) {
        let uid = text(&pod["metadata"]["uid"]);
        let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
        let ends = !pod["metadata"]["deletionTimestamp"].is_null();
        if let Some(running) = self.running.get_mut(&uid) {
            mount(&running.object, &running.root, &self.maps);
            if ends {
                self.end(&uid);
            } else {
                self.look_after(&uid);
            }
        } else if ends {
            self.remove(pod);
        } else if pod["spec"]["nodeName"].is_null() {
            self.bind(pod);
        } else if phase == "Pending" {
            self.start(&uid, pod);
        }
    }

    /// A DaemonSet's pods name their node; all others are put on the first one.
    fn bind(&self, pod: &Value) {
        let terms =
            &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        let node = terms[0]["matchFields"][0]["values"][0].as_str().unwrap_or("node-1");
        let (namespace, name) = place(pod);
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let binding: Binding = serde_json::from_value(json!({"metadata": {"name": name}, "target": target})).unwrap();
        self.cluster.client(move |client| async move {
            let pods = Api::<Pod>::namespaced(client, &namespace);
            let _: Value = pods.create_subresource("binding", &name, &PostParams::default(), &binding).await.unwrap();
        });
    }

    fn start(&mut self, uid: &str, pod: &Value) {
        self.count += 1;
        let node = self.cluster.bare(self.count);
        let (network, ip) = (node.pod(), node.ip().to_string());
        if pod["metadata"]["labels"]["egress"] != "restricted" {
            node.unguard(); // the policy selects it by that label
        }
        let root = self.cluster.folder.join(format!("root-{}", self.count));
        mount(pod, &root, &self.maps);
        fs::create_dir_all(root.join("etc")).unwrap();
        let search = "svc.cluster.local cluster.local";
        fs::write(root.join("etc/resolv.conf"), format!("nameserver {DNS}\nsearch {search}\noptions ndots:5\n")).unwrap();
        if pod["spec"]["automountServiceAccountToken"] == true {
            self.token(pod, &root);
        }
        let process = Process::start(&mut command(pod, &network, &root, &ip));
        let running = Running { object: pod.clone(), process, network, ip: ip.clone(), root, ready: false, asked_to_end: None };
        self.running.insert(uid.to_owned(), running);
        self.status(pod, &ip, "Running", false);
    }

    fn token(&self, pod: &Value, root: &Path) {
        let (namespace, _) = place(pod);
        let account = text(&pod["spec"]["serviceAccountName"]);
        let token = self.cluster.kubectl(&["create", "token", "-n", &namespace, &account, "--duration=1h"]);
        let folder = root.join("var/run/secrets/kubernetes.io/serviceaccount");
        fs::create_dir_all(&folder).unwrap();
        for (file, content) in [("token", token.trim()), ("ca.crt", &self.cluster.ca.pem()), ("namespace", &namespace)] {
            fs::write(folder.join(file), content).unwrap();
        }
    }

    /// Asks the pod whether it is ready, or tells how it ended.
    fn look_after(&mut self, uid: &str) {
        let running = self.running.get_mut(uid).unwrap();
        let (pod, ip) = (running.object.clone(), running.ip.clone());
        if let Some(code) = running.process.ended() {
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            return self.status(&pod, &ip, phase, false);
        }
        let container = &pod["spec"]["containers"][0];
        let Some(path) = container["readinessProbe"]["httpGet"]["path"].as_str() else { return };
        let port = container["ports"][0]["containerPort"].as_u64().unwrap();
        let ready = get_in(&running.network, &format!("127.0.0.1:{port}"), path).is_ok_and(|(status, _)| status == 200);
        if ready != running.ready {
            running.ready = ready;
            self.status(&pod, &ip, "Running", ready);
        }
    }

    /// SIGTERM, the grace period, SIGKILL; then the object goes.
    fn end(&mut self, uid: &str) {
        let running = self.running.get_mut(uid).unwrap();
        let over = running.process.ended().is_some();
        if !over && running.asked_to_end.is_none() {
            running.process.signal(nix::sys::signal::Signal::SIGTERM);
        }
        let asked = *running.asked_to_end.get_or_insert_with(Instant::now);
        let grace = running.object["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        if over || asked.elapsed() >= Duration::from_secs(grace) {
            running.process.kill();
            let pod = running.object.clone();
            self.remove(&pod);
            self.running.remove(uid);
        }
    }

    fn remove(&self, pod: &Value) {
        let (namespace, name) = place(pod);
        self.cluster.client(move |client| async move {
            let pods = Api::<Pod>::namespaced(client, &namespace);
            let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
        });
    }

    fn status(&self, pod: &Value, ip: &str, phase: &str, ready: bool) {
        let (namespace, name) = place(pod);
        let container = &pod["spec"]["containers"][0];
        let state = match phase {
            "Running" => json!({"running": {}}),
            ended => json!({"terminated": {"exitCode": i32::from(ended == "Failed")}}),
        };
        let status = json!({"status": {
            "phase": phase, "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
                                   "restartCount": 0, "state": state}],
        }});
        self.cluster.client(move |client| async move {
            let pods = Api::<Pod>::namespaced(client, &namespace);
            let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await;
        });
    }

    /// The network namespace of the first pod of that component that is ready.
    pub(crate) fn network_of(&self, component: &str) -> Option<&str> {
        let found = |running: &&Running| {
            running.ready
                && running.asked_to_end.is_none()
                && running.object["metadata"]["labels"]["app.kubernetes.io/component"] == component
        };
        self.running.values().find(found).map(|running| running.network.as_str())
    }

    fn logs(&self) -> String {
        let last = |running: &Running| {
            let said = running.process.stderr();
            let lines: Vec<&str> = said.lines().rev().take(6).collect();
            format!("{}:\n{}\n", running.object["metadata"]["name"], lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        self.running.values().map(last).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn place(pod: &Value) -> (String, String) {
    (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))
}

/// Writes the ConfigMaps of a pod where it mounts them, as far as they are there and are not what is there already.
fn mount(pod: &Value, root: &Path, maps: &BTreeMap<(String, String), Value>) {
    let (namespace, _) = place(pod);
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    for volume in pod["spec"]["volumes"].as_array().unwrap() {
        let Some(name) = volume["configMap"]["name"].as_str() else { continue };
        let Some(mount) = mounts.iter().find(|mount| mount["name"] == volume["name"]) else { continue };
        let folder = root.join(text(&mount["mountPath"]).trim_start_matches('/'));
        fs::create_dir_all(&folder).unwrap();
        let found = maps.get(&(namespace.clone(), name.to_owned()));
        let first = !root.join("guardprobe").exists(); // a map that goes later leaves its files
        assert!(found.is_some() || !first || volume["configMap"]["optional"] == true, "{namespace} has no ConfigMap {name}");
        for (file, content) in found.and_then(Value::as_object).into_iter().flatten() {
            let (path, content) = (folder.join(file), text(content));
            if fs::read_to_string(&path).ok().as_deref() != Some(content.as_str()) {
                fs::write(folder.join(".new"), content).unwrap();
                fs::rename(folder.join(".new"), path).unwrap();
            }
        }
    }
}

/// The container's command: in its network, in a root that holds the program, what it mounts, and this machine's libraries (the image's
/// program is static and needs none; tests/image.rs), as its user.
fn command(pod: &Value, network: &str, root: &Path, ip: &str) -> Command {
    let container = &pod["spec"]["containers"][0];
    let user = pod["spec"]["securityContext"]["runAsUser"].as_u64().unwrap().to_string();
    let program = container["command"].as_array().unwrap().iter().chain(container["args"].as_array().unwrap()).map(text);
    assert_eq!(container["command"], json!(["/guardprobe"]), "what the image holds");
    fs::hard_link(env!("CARGO_BIN_EXE_guardprobe"), root.join("guardprobe"))
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_guardprobe"), root.join("guardprobe")).map(drop))
        .unwrap();
    let script = r#"root=$1; user=$2; shift 2
        mount --make-rprivate /
        mkdir -p "$root/usr" "$root/proc"
        for folder in lib lib64; do [ -e "$root/$folder" ] || ln -s "usr/$folder" "$root/$folder"; done
        mount --bind "$root" "$root"
        mount --bind /usr "$root/usr"; mount --bind /proc "$root/proc"
        mount -o remount,bind,ro "$root"; mount -o remount,bind,ro "$root/usr"
        exec chroot "$root" /usr/bin/setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --no-new-privs "$@""#;
    let mut command = Command::new("ip");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
    command.env("KUBERNETES_SERVICE_HOST", SERVICE).env("KUBERNETES_SERVICE_PORT", "443");
    for variable in container["env"].as_array().unwrap() {
        command.env(text(&variable["name"]), value_of(variable, pod, ip));
    }
    command.args(["netns", "exec", network, "unshare", "-m", "sh", "-euc", script, "sh"]).arg(root).arg(&user).args(program);
    command
}

fn value_of(variable: &Value, pod: &Value, ip: &str) -> String {
    if let Some(value) = variable["value"].as_str() {
        return value.to_owned();
    }
    match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
        Some("metadata.name") => place(pod).1,
        Some("metadata.namespace") => place(pod).0,
        Some("spec.nodeName") => text(&pod["spec"]["nodeName"]),
        Some("status.hostIP") => ip.rsplit_once('.').unwrap().0.to_owned() + ".1",
        other => panic!("no kubelet gives {other:?}"),
    }
}
