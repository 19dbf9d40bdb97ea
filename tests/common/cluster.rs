//! A real API server with its store and its controllers, and nodes with real agents, all in namespaces made for them. The programs are Go
//! tools, built by `tests/tools/build`; without them, and without Go to build them, a test fails.
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
use super::agent::lines_of;
use super::facts::{eventually, within};
use super::simulated::{self, Simulated};
use super::{Ca, DNS, dns_answer, dns_over_tcp, imds, inside, ip, own_namespace};
use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Where the API server is, as its own EndpointSlice says.
pub(crate) const API: &str = "10.90.0.10:16443";
/// Its ClusterIP.
pub(crate) const SERVICE: &str = "10.96.0.1";
/// The port of a reporter on the network, and the one on loopback.
pub(crate) const REPORTER: &str = "127.0.0.1:9798";
pub(crate) const FLEET: &str = "127.0.0.1:9799";
/// The guard of all tests, and its namespace and name apart.
pub(crate) const GUARD: Guard = Guard;

/// The namespace of the guard and its agents: `default`, or what GUARDPROBE_TEST_NAMESPACE says. The suite of the reporter runs with both.
pub(crate) fn guard_namespace() -> String {
    std::env::var("GUARDPROBE_TEST_NAMESPACE").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned())
}

/// Prints the name of the guard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard;

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/deny", guard_namespace())
    }
}

/// Rounds as quick as the configuration allows, with sentinels four times a second.
pub(crate) const QUICK: &str = "interval: 1500ms\ntimeout: 1100ms\nsentinel: 250ms\nstartup: 0s\n";

const WORKLOADS: &str = ",daemonset-controller,deployment-controller,replicaset-controller,garbage-collector-controller";
const WORKLOADS_ON_NODES: &str =
    ",daemonset-controller,deployment-controller,replicaset-controller,garbage-collector-controller,node-lifecycle-controller";

/// A cluster, torn down when dropped.
pub(crate) struct Cluster {
    name: String,
    pub(crate) folder: PathBuf,
    pub(crate) ca: Ca,
    api: Mutex<Vec<Child>>,
    /// More arguments of the API server.
    extra: Vec<String>,
    /// More controllers than those that every test needs.
    controllers: &'static str,
    /// The namespaces of the guards: nodes belong to them in turn.
    namespaces: Vec<String>,
    /// When each connection to IMDS was accepted, and of whom.
    accepted: Arc<Mutex<Vec<(Timestamp, IpAddr)>>>,
}

/// A program, or a file, that `tests/tools/build` keeps.
pub(crate) fn tool(name: &str) -> PathBuf {
    static TOOLS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let build = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/build");
        let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the tools of the API server could not be built");
        String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect()
    };
    let kept = TOOLS.get_or_init(build).iter().map(|folder| folder.join(name)).find(|path| path.exists());
    kept.unwrap_or_else(|| panic!("tests/tools/build keeps no {name}"))
}

impl Cluster {
    /// With an API server that answers, and has told where it is.
    pub(crate) fn new() -> Self {
        Cluster::with(&[], |_| {})
    }

    /// With more arguments of the API server; `prepare` writes the files that they name, and `FOLDER` in them is where.
    pub(crate) fn with(extra: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Cluster::build(extra, "", prepare).with_guards_in(&[&guard_namespace()])
    }

    /// With a guard in `default` and one in another namespace, whose nodes take turns.
    pub(crate) fn with_two_guards() -> Self {
        Cluster::build(&[], "", |_| {}).with_guards_in(&["guarded", "default"])
    }

    fn with_guards_in(mut self, namespaces: &[&str]) -> Self {
        self.namespaces = namespaces.iter().map(|namespace| (*namespace).to_owned()).collect();
        for namespace in namespaces {
            if *namespace != "default" {
                self.kubectl(&["create", "namespace", namespace]);
            }
            self.apply(&reporter_permissions_in(namespace));
        }
        self
    }

    /// With nothing of ours in it, and with the controllers that make pods of DaemonSets and Deployments.
    pub(crate) fn with_controllers() -> Self {
        Cluster::build(&[], WORKLOADS, |_| {})
    }

    /// The same with a scheduler, and with what a real node needs.
    pub(crate) fn with_scheduler() -> Self {
        let cluster = Cluster::build(&["--kubelet-preferred-address-types=InternalIP"], WORKLOADS_ON_NODES, |_| {});
        let config = format!("--kubeconfig={}", cluster.path("scheduler.conf"));
        let child = cluster.start("kube-scheduler", &[config, "--leader-elect=false".to_owned(), "--secure-port=0".to_owned()]);
        cluster.api.lock().unwrap().push(child);
        cluster
    }

    fn build(extra: &[&str], controllers: &'static str, prepare: impl FnOnce(&Path)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gpt{}-c{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        let place = folder.to_str().unwrap();
        let extra = extra.iter().map(|argument| argument.replace("FOLDER", place)).collect();
        prepare(&folder);
        let namespaces = vec![guard_namespace()];
        let cluster = Cluster {
            name,
            folder,
            ca: Ca::new(),
            api: Mutex::new(Vec::new()),
            extra,
            controllers,
            namespaces,
            accepted: Arc::default(),
        };
        cluster.network();
        cluster.credentials();
        cluster.start_store();
        cluster.start_api();
        cluster.start_controllers();
        cluster.kubectl_until(&["get", "serviceaccount", "-n", "default", "default"]);
        cluster.kubectl_until(&["get", "endpointslice", "-n", "default", "kubernetes"]);
        cluster.kubectl(&["create", "namespace", "guardprobe"]);
        cluster
    }

    /// The namespace of the API server, of reporters, and of all that the guards protect.
    pub(crate) fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn network(&self) {
        let hub = self.hub();
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "set", "lo", "up"]);
        for address in ["10.90.0.10/32", "169.254.169.254/32", "10.96.0.10/32", "10.96.0.1/32"] {
            ip(&["-n", &hub, "addr", "add", address, "dev", "lo"]);
        }
        inside(&hub, || fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        // kube-proxy's part, and the guard of each node, which is beyond it.
        self.nft(
            "add table ip proxy
             add chain ip proxy pre { type nat hook prerouting priority -100; }
             add rule ip proxy pre ip daddr 10.96.0.1 tcp dport 443 dnat to 10.90.0.10:16443
             add chain ip proxy out { type nat hook output priority -100; }
             add rule ip proxy out ip daddr 10.96.0.1 tcp dport 443 dnat to 10.90.0.10:16443
             add table ip guard
             add set ip guard shut { type ifname; }
             add chain ip guard in { type filter hook input priority 0; }
             add rule ip guard in iifname @shut ip daddr { 169.254.169.254, 10.90.0.10, 10.96.0.1 } drop",
        );
        let accepted = Arc::clone(&self.accepted);
        serve_from(&hub, "169.254.169.254:80".parse().unwrap(), move |stream, from| {
            accepted.lock().unwrap().push((Timestamp::now(), from.ip()));
            imds(stream);
        });
        self.serve(&format!("{DNS}:53"), |stream| drop(dns_over_tcp(stream, &dns_answer)));
        let socket = inside(&hub, || UdpSocket::bind(format!("{DNS}:53")).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&dns_answer(&buffer[..length]), from);
            }
        });
    }

    pub(crate) fn nft(&self, rules: &str) {
        let output = Command::new("ip").args(["netns", "exec", &self.hub(), "nft", rules]).output().unwrap();
        assert!(output.status.success(), "{rules}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Serves `handler` in the hub.
    pub(crate) fn serve(&self, address: &str, handler: impl Fn(TcpStream) + Send + Sync + 'static) {
        let address: SocketAddr = address.parse().unwrap();
        serve_in(&self.hub(), address, handler);
    }

    fn credentials(&self) {
        let names = ["kubernetes.default.svc", "localhost", "127.0.0.1", "10.90.0.10", SERVICE];
        let (certificate, key) = self.ca.pair(&names, "kube-apiserver", None);
        self.file("api.crt", &certificate);
        self.file("api.key", &key);
        self.file("ca.crt", &self.ca.pem());
        let (private, public) = super::service_account_key();
        self.file("sa.key", &private);
        self.file("sa.pub", &public);
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";
        self.file("audit.yaml", policy);
        for (file, user, group) in [
            ("admin.conf", "admin", Some("system:masters")),
            ("controllers.conf", "system:kube-controller-manager", None),
            ("scheduler.conf", "system:kube-scheduler", None),
        ] {
            let (certificate, key) = self.ca.pair(&[], user, group);
            let user = json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)});
            self.kubeconfig(file, API, user);
        }
    }

    /// Writes a kubeconfig of a user, and says where.
    pub(crate) fn kubeconfig(&self, file: &str, server: &str, user: Value) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": format!("https://{server}"), "certificate-authority-data": base64(&self.ca.pem())}}],
            "users": [{"name": "x", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        self.file(file, &config.to_string())
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn start(&self, program: &str, args: &[String]) -> Child {
        let log = fs::File::create(self.folder.join(format!("{program}.log"))).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hub()]).arg(tool(program)).args(args).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn start_store(&self) {
        let client = "http://127.0.0.1:12379";
        let peer = "http://127.0.0.1:12380";
        let args = [
            "--name=t".to_owned(),
            format!("--data-dir={}", self.path("etcd")),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=t={peer}"),
            "--log-level=error".to_owned(),
        ];
        let child = self.start("etcd", &args);
        self.api.lock().unwrap().push(child);
    }

    /// Starts the API server, and waits until it is ready.
    pub(crate) fn start_api(&self) {
        let mut args = vec![
            "--etcd-servers=http://127.0.0.1:12379".to_owned(),
            "--bind-address=0.0.0.0".to_owned(),
            "--secure-port=16443".to_owned(),
            "--advertise-address=10.90.0.10".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--audit-log-path=".to_owned() + &self.path("audit.log"),
        ];
        for (flag, file) in [
            ("tls-cert-file", "api.crt"),
            ("tls-private-key-file", "api.key"),
            ("client-ca-file", "ca.crt"),
            ("service-account-key-file", "sa.pub"),
            ("service-account-signing-key-file", "sa.key"),
            ("audit-policy-file", "audit.yaml"),
        ] {
            args.push(format!("--{flag}={}", self.path(file)));
        }
        args.extend(self.extra.iter().cloned());
        let child = self.start("kube-apiserver", &args);
        self.api.lock().unwrap().insert(0, child);
        let ready = || {
            let output = self.try_kubectl(&["get", "--raw", "/readyz"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if text == "ok" { Ok(()) } else { Err(format!("{text}{}", self.log("kube-apiserver"))) }
        };
        within(Duration::from_secs(90), "the API server is ready", ready);
    }

    /// Kills the API server.
    pub(crate) fn stop_api(&self) {
        let mut child = self.api.lock().unwrap().remove(0);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends the API server a signal.
    pub(crate) fn signal_api(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.api.lock().unwrap()[0].id()).unwrap()), signal).unwrap();
    }

    fn start_controllers(&self) {
        let args = [
            format!("--kubeconfig={}", self.path("controllers.conf")),
            format!("--service-account-private-key-file={}", self.path("sa.key")),
            format!("--root-ca-file={}", self.path("ca.crt")),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            "--secure-port=0".to_owned(),
            "--controllers=serviceaccount-controller,root-ca-certificate-publisher-controller".to_owned() + self.controllers,
        ];
        let child = self.start("kube-controller-manager", &args);
        self.api.lock().unwrap().push(child);
    }

    fn log(&self, program: &str) -> String {
        let text = fs::read_to_string(self.folder.join(format!("{program}.log"))).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }

    /// Every request that the API server was asked, one JSON object each.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("audit.log")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn try_kubectl(&self, args: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hub()]).arg(tool("kubectl"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &self.folder);
        command.arg(format!("--kubeconfig={}", self.path("admin.conf"))).arg("--request-timeout=10s").args(args);
        command.output().unwrap()
    }

    /// Whether somebody listens there, in the hub.
    pub(crate) fn reaches(&self, address: &str) -> Result<(), String> {
        let address: SocketAddr = address.parse().unwrap();
        inside(&self.hub(), move || TcpStream::connect(address)).map(drop).map_err(|error| error.to_string())
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let output = self.try_kubectl(args);
        assert!(output.status.success(), "kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn kubectl_until(&self, args: &[&str]) {
        within(Duration::from_secs(60), &args.join(" "), || {
            let output = self.try_kubectl(args);
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
    }

    /// `kubectl apply` of a text, YAML or JSON.
    pub(crate) fn apply(&self, text: &str) {
        let path = self.file("apply.yaml", text);
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]);
    }

    /// Runs something with a client of the API server, as its administrator.
    pub(crate) fn client<T, F>(&self, act: impl FnOnce(Client) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let config = self.path("admin.conf");
        inside(&self.hub(), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let config = Kubeconfig::read_from(config).unwrap();
                let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
                act(Client::try_from(config).unwrap()).await
            })
        })
    }

    /// The Events of guardprobe, oldest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = self.client(|client| async move {
            let api: Api<Event> = Api::all(client);
            api.list(&kube::api::ListParams::default().labels("app.kubernetes.io/managed-by=guardprobe-reporter"))
                .await
                .unwrap()
                .items
        });
        events.sort_by_key(|event| event.event_time.as_ref().map(|at| at.0));
        events
    }

    /// `Reason node target` of each Event, oldest first.
    pub(crate) fn told(&self) -> Vec<String> {
        let short = |event: &Event| {
            let node = event.regarding.as_ref().and_then(|regarding| regarding.name.clone()).unwrap_or_default();
            let record: Value =
                serde_json::from_str(&event.metadata.annotations.as_ref().unwrap()["guardprobe.dev/record"]).unwrap();
            format!("{} {node} {}", event.reason.as_deref().unwrap(), record["target"].as_str().unwrap())
        };
        self.events().iter().map(short).collect()
    }

    /// A node with an agent pod of the guard: the objects, and a network namespace for the pod.
    pub(crate) fn node(&self, nth: u8) -> Node<'_> {
        let node = Node { cluster: self, nth };
        node.network();
        node.objects();
        node
    }

    /// A pod's namespace on a node of which there are no objects yet.
    pub(crate) fn bare(&self, nth: u8) -> Node<'_> {
        let node = Node { cluster: self, nth };
        node.network();
        node
    }

    /// The DaemonSet of the first guard's agents; made once.
    pub(crate) fn daemon_set(&self, name: &str, role: &str) -> String {
        self.daemon_set_in(&self.namespaces[0], name, role)
    }

    /// What selects the nodes of a guard: with one guard all.
    fn selector(&self, namespace: &str) -> Value {
        if self.namespaces.len() == 1 { json!({}) } else { json!({"guard": namespace}) }
    }

    fn daemon_set_in(&self, namespace: &str, name: &str, role: &str) -> String {
        let labels = json!({"guardprobe.dev/guard": "deny", "guardprobe.dev/role": role, "set": name});
        let set = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "selector": {"matchLabels": {"set": name}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"automountServiceAccountToken": false, "containers": [{"name": "agent", "image": "x"}],
                             "tolerations": [{"operator": "Exists"}], "nodeSelector": self.selector(namespace)}
                }
            }
        });
        self.apply(&set.to_string());
        self.kubectl(&["get", "daemonset", "-n", namespace, name, "-o", "jsonpath={.metadata.uid}"])
    }

    /// Makes a node, and a pod on it that says it is an agent; `pod` may change it.
    pub(crate) fn objects(&self, node: &str, pod: &Value) {
        let labels = json!({"kubernetes.io/os": "linux", "guard": pod["metadata"]["namespace"]});
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}});
        let (name, ip) =
            (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod["status"]["podIP"].as_str().unwrap().to_owned());
        let (node, pod) = (node.to_owned(), pod.clone());
        self.client(move |client| async move {
            let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
            let namespace = pod["metadata"]["namespace"].as_str().unwrap();
            let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, namespace);
            let params = kube::api::PostParams::default();
            if nodes.get_opt(&node).await.unwrap().is_none() {
                nodes.create(&params, &serde_json::from_value(object).unwrap()).await.unwrap();
                let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
                let patch = kube::api::Patch::Merge(status);
                nodes.patch_status(&node, &kube::api::PatchParams::default(), &patch).await.unwrap();
            }
            pods.create(&params, &serde_json::from_value(pod).unwrap()).await.unwrap();
            pods.patch_status(&name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(running(&ip))).await.unwrap();
        });
    }

    /// Nodes without an agent's pod, cordoned off from the DaemonSet by nothing: they are uncovered once the reporter has run for minutes.
    pub(crate) fn bare_nodes(&self, count: usize) {
        self.client(move |client| async move {
            let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
            let make = |nth: usize| {
                let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("bare-{nth:04}")}});
                let nodes = nodes.clone();
                async move { nodes.create(&kube::api::PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap() }
            };
            futures_util::stream::iter((0..count).map(make)).buffer_unordered(16).collect::<Vec<_>>().await;
        });
    }

    /// So many simulated agents: for each a node and a pod, and all of them answering.
    pub(crate) fn simulated(&self, count: usize) -> Simulated {
        let agents = Simulated::start(&self.hub(), count);
        self.bare_nodes(count);
        let set = self.daemon_set("agents", "agent");
        self.client(move |client| async move {
            let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, &guard_namespace());
            let make = |nth: usize| {
                let (pods, name, ip) = (pods.clone(), format!("agent-{nth:04}"), simulated::address(nth).to_string());
                let mut pod = pod_object(&guard_namespace(), &format!("bare-{nth:04}"), &name, "agent", &set);
                pod["status"] = Value::Null;
                async move {
                    pods.create(&kube::api::PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
                    let status = running(&ip);
                    pods.patch_status(&name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(status)).await.unwrap();
                }
            };
            futures_util::stream::iter((0..count).map(make)).buffer_unordered(16).collect::<Vec<_>>().await;
        });
        agents
    }

    /// A token of the reporter's service account, in a kubeconfig.
    pub(crate) fn reporter_access(&self) -> String {
        let token = self.kubectl(&["create", "token", "-n", "guardprobe", "guardprobe-reporter", "--duration=2h"]);
        self.kubeconfig("reporter.conf", API, json!({"token": token.trim()}))
    }

    /// A reporter of the guard, that listens.
    pub(crate) fn reporter(&self) -> Process {
        let reporter = self.reporter_as("reporter-1", &[]);
        self.until_ready();
        reporter
    }

    /// One that hears of each round of a quick agent soon, and whose nodes, which are new, are excused for five seconds only.
    pub(crate) fn quick_reporter(&self) -> Process {
        let settings = format!("guards:\n  - {{name: {GUARD}, labels: {{}}}}\nstale: 6s\ngrace: 5s\n");
        let reporter = self.reporter_as("reporter-1", &["-c", &self.file("reporter.yaml", &settings)]);
        self.until_ready();
        reporter
    }

    /// A reporter of that name; it may not listen yet.
    pub(crate) fn reporter_as(&self, name: &str, args: &[&str]) -> Process {
        self.reporter_by(name, &[], args)
    }

    /// A reporter that is started by another program.
    pub(crate) fn reporter_under(&self, program: &[&str]) -> Process {
        self.reporter_by("reporter-1", program, &[])
    }

    fn reporter_by(&self, name: &str, program: &[&str], args: &[&str]) -> Process {
        let access = self.path("reporter.conf");
        let access = if Path::new(&access).exists() { access } else { self.reporter_access() };
        let mut command = Command::new("ip");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
        command.env("KUBECONFIG", access).env("GUARDPROBE_POD", name).env("GUARDPROBE_NAMESPACE", "guardprobe");
        command.env("GUARDPROBE_NODE", "node-1").env("GUARDPROBE_LOG", "info,kube_client=off,guardprobe=debug");
        command.args(["netns", "exec", &self.hub()]).args(program);
        command.args([env!("CARGO_BIN_EXE_guardprobe"), "reporter"]);
        if !args.contains(&"-c") {
            for namespace in &self.namespaces {
                command.args(["--guard", &format!("{namespace}/deny")]);
            }
        }
        command.args(args);
        Process::start(&mut command)
    }

    pub(crate) fn until_ready(&self) {
        eventually("the reporter is ready", || match self.try_get(REPORTER, "/readyz") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Status and body of an answer to a GET in the hub.
    pub(crate) fn try_get(&self, address: &str, path: &str) -> std::io::Result<(u16, String)> {
        get_in(&self.hub(), address, path)
    }

    /// The fleet, as the reporter tells it.
    pub(crate) fn fleet(&self) -> Value {
        let (status, body) = self.try_get(FLEET, "/v1/fleet").unwrap_or_default();
        if status == 200 { serde_json::from_str(&body).unwrap() } else { Value::Null }
    }

    /// `coverage` and, for each target, `name verdict reason` of one node.
    pub(crate) fn row(&self, node: &str) -> Vec<String> {
        let fleet = self.fleet();
        let is_of_node = |row: &&Value| row["node"] == node && row["coverage"] != "excluded";
        let Some(row) = fleet["rows"].as_array().and_then(|rows| rows.iter().find(is_of_node)) else {
            return vec![];
        };
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let coverage = match row["reason"].as_str() {
            Some(reason) => format!("{}: {reason}", word(&row["coverage"])),
            None => word(&row["coverage"]),
        };
        let target =
            |target: &Value| format!("{} {} {}", word(&target["name"]), word(&target["verdict"]), word(&target["reason"]));
        [vec![coverage], row["targets"].as_array().unwrap().iter().map(target).collect()].concat()
    }

    /// Waits until a node's row begins so.
    #[track_caller]
    pub(crate) fn until_row(&self, node: &str, patience: Duration, row: &[&str]) {
        within(patience, &format!("{node} is {row:?}"), || {
            let is = self.row(node);
            if is.len() >= row.len() && is.iter().zip(row).all(|(is, wanted)| is.starts_with(wanted)) {
                Ok(())
            } else {
                Err(format!("{is:?}"))
            }
        });
    }

    /// Waits until the Events are these, in this order.
    #[track_caller]
    pub(crate) fn until_told(&self, patience: Duration, told: &[&str]) {
        within(patience, &format!("the Events are {told:?}"), || {
            let is = self.told();
            if is == told { Ok(()) } else { Err(format!("{is:#?}")) }
        });
    }

    pub(crate) fn metrics(&self) -> super::agent::Page {
        super::agent::Page(self.try_get(REPORTER, "/metrics").unwrap().1)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.api.get_mut().unwrap() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("the API server's last words:\n{}", self.log("kube-apiserver"));
        }
        let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
        for line in String::from_utf8_lossy(&list.stdout).lines() {
            let name = line.split(' ').next().unwrap_or_default();
            if name.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-')) {
                let _ = Command::new("ip").args(["netns", "del", name]).output();
                let _ = fs::remove_dir_all(Path::new("/etc/netns").join(name));
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The reporter's ServiceAccount and permissions, out of the manifests that are shipped.
pub(crate) fn reporter_permissions() -> String {
    reporter_permissions_in(&guard_namespace())
}

/// The same for a guard in that namespace.
fn reporter_permissions_in(namespace: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kustomize/guardprobe.yaml");
    let kinds = ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
    let text = fs::read_to_string(path).unwrap();
    // And the objects that it writes to: it may make none.
    let is_named = |document: &str, name: &str| document.contains(&format!("\n  name: {name}\n"));
    let is_access = |document: &&str| {
        let is_kind = |kind: &str| document.contains(&format!("\nkind: {kind}\n"));
        kinds.iter().any(|kind| is_kind(kind)) || is_kind("Lease") || is_named(document, "guardprobe-endpoints")
    };
    // The manifests have their guard in default.
    let of_guards =
        |document: &&str| ["guardprobe-reporter-guards", "guardprobe-endpoints"].iter().any(|name| is_named(document, name));
    let moved = |document: &str| match of_guards(&document) {
        true => document.replace("\n  namespace: default\n", &format!("\n  namespace: {namespace}\n")),
        false => document.to_owned(),
    };
    text.split("\n---\n").filter(is_access).map(moved).collect::<Vec<_>>().join("\n---\n")
}

/// Status and body of an answer to a GET in a network namespace.
pub(crate) fn get_in(network: &str, address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let (address, path): (SocketAddr, String) = (address.parse().unwrap(), path.to_owned());
    inside(network, move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // 1.0: so that nobody answers in chunks.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok((status, body.to_owned()))
    })
}

/// Serves `handler` in a namespace; bound when this returns.
pub(crate) fn serve_in(namespace: &str, address: SocketAddr, handler: impl Fn(TcpStream) + Send + Sync + 'static) {
    serve_from(namespace, address, move |stream, _| handler(stream));
}

/// The same with the address of each client: one that has reset its connection by now has none any more.
fn serve_from(namespace: &str, address: SocketAddr, handler: impl Fn(TcpStream, SocketAddr) + Send + Sync + 'static) {
    let listener = inside(namespace, move || TcpListener::bind(address).unwrap());
    let handler = Arc::new(handler);
    thread::spawn(move || {
        loop {
            if let Ok((stream, from)) = listener.accept() {
                let handler = Arc::clone(&handler);
                thread::spawn(move || handler(stream, from));
            }
        }
    });
}

/// A node, as far as a test needs one: its pod's namespace.
#[derive(Clone, Copy)]
pub(crate) struct Node<'c> {
    cluster: &'c Cluster,
    nth: u8,
}

impl Node<'_> {
    pub(crate) fn name(&self) -> String {
        format!("node-{}", self.nth)
    }

    pub(crate) fn pod(&self) -> String {
        format!("{}-p{}", self.cluster.name, self.nth)
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 91, self.nth, 2)
    }

    fn link(&self) -> String {
        format!("v{}", self.nth)
    }

    fn network(&self) {
        let (hub, pod, link) = (self.cluster.hub(), self.pod(), self.link());
        ip(&["netns", "add", &pod]);
        inside(&pod, || fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap());
        ip(&["-n", &pod, "link", "set", "lo", "up"]);
        ip(&["-n", &pod, "link", "add", "eth0", "type", "veth", "peer", "name", &link, "netns", &hub]);
        ip(&["-n", &pod, "addr", "add", &format!("{}/24", self.ip()), "dev", "eth0"]);
        ip(&["-n", &hub, "addr", "add", &format!("10.91.{}.1/24", self.nth), "dev", &link]);
        ip(&["-n", &hub, "link", "set", &link, "up"]);
        ip(&["-n", &pod, "link", "set", "eth0", "up"]);
        ip(&["-n", &pod, "route", "add", "default", "via", &format!("10.91.{}.1", self.nth)]);
        let folder = Path::new("/etc/netns").join(&pod);
        fs::create_dir_all(&folder).unwrap();
        let search = "default.svc.cluster.local svc.cluster.local cluster.local";
        fs::write(folder.join("resolv.conf"), format!("nameserver {DNS}\nsearch {search}\noptions ndots:5\n")).unwrap();
        self.guard();
    }

    /// When its connections to IMDS were accepted.
    pub(crate) fn accepted(&self) -> Vec<Timestamp> {
        let all = self.cluster.accepted.lock().unwrap();
        all.iter().filter(|(_, from)| *from == IpAddr::V4(self.ip())).map(|(at, _)| *at).collect()
    }

    /// The namespace of its guard.
    pub(crate) fn namespace(&self) -> &str {
        &self.cluster.namespaces[usize::from(self.nth) % self.cluster.namespaces.len()]
    }

    fn objects(&self) {
        let set = self.cluster.daemon_set_in(self.namespace(), "agents", "agent");
        let pod = self.pod_object(&format!("agent-{}", self.nth), "agent", &set);
        self.cluster.objects(&self.name(), &pod);
    }

    /// A pod of that DaemonSet on this node.
    pub(crate) fn pod_object(&self, name: &str, role: &str, set: &str) -> Value {
        let mut pod = pod_object(self.namespace(), &self.name(), name, role, set);
        pod["status"] = json!({"podIP": self.ip().to_string()});
        pod
    }

    /// The guard of this node is there.
    pub(crate) fn guard(&self) {
        self.cluster.nft(&format!("add element ip guard shut {{ {} }}", self.link()));
    }

    /// It is gone.
    pub(crate) fn unguard(&self) {
        self.cluster.nft(&format!("delete element ip guard shut {{ {} }}", self.link()));
    }

    /// The agent of this node, with IMDS as its target, as quick as can be.
    pub(crate) fn agent(&self) -> Process {
        self.agent_with(&format!("guard: {}/deny\n{QUICK}targets: [{{name: imds, kind: imds}}]\n", self.namespace()), &[])
    }

    /// The same with a configuration of its own, and more arguments.
    pub(crate) fn agent_with(&self, configuration: &str, args: &[&str]) -> Process {
        let file = self.cluster.file(&format!("agent-{}.yaml", self.nth), configuration);
        let mut command = self.in_the_pod();
        command.arg(env!("CARGO_BIN_EXE_guardprobe")).args(["agent", "-c", &file]).args(args);
        Process::start(&mut command)
    }

    /// A command in this node's pod; the program is yet to come.
    pub(crate) fn in_the_pod(&self) -> Command {
        let mut command = Command::new("ip");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
        command.env("KUBERNETES_SERVICE_HOST", SERVICE).env("KUBERNETES_SERVICE_PORT", "443").env("GUARDPROBE_NODE", self.name());
        command.env("GUARDPROBE_POD", format!("agent-{}", self.nth)).args(["netns", "exec", &self.pod()]);
        command
    }
}

fn pod_object(namespace: &str, node: &str, name: &str, role: &str, set: &str) -> Value {
    let owner = if role == "agent" { "agents" } else { "witnesses" };
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "uid": set, "controller": true});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner],
                     "labels": {"guardprobe.dev/guard": "deny", "guardprobe.dev/role": role, "set": owner["name"]}},
        "spec": {"nodeName": node, "automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}],
                 "containers": [{"name": "agent", "image": "x", "ports": [{"name": "metrics", "containerPort": 9797}]}]},
    })
}

/// The status of a pod that runs and is ready.
fn running(ip: &str) -> Value {
    json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
           "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

/// A process that is gone when its test is.
pub(crate) struct Process {
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    stderr: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (lines_of(child.stdout.take().unwrap()), lines_of(child.stderr.take().unwrap()));
        Process { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Kills it, as the kernel would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().unwrap().join("\n")
    }

    /// The lines of standard output, as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lock().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until standard error has a text.
    #[track_caller]
    pub(crate) fn until_said(&self, text: &str) {
        eventually(text, || if self.stderr().contains(text) { Ok(()) } else { Err(self.stderr()) });
    }

    /// The exit status, if it has ended; -1 by a signal.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// The exit status, once it has ended by itself.
    pub(crate) fn status(&mut self) -> i32 {
        let child = &mut self.child;
        let status = eventually("it ends", || child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
        status.code().unwrap_or_else(|| panic!("{status}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let stderr = self.stderr();
            let last: Vec<&str> = stderr.lines().rev().take(25).collect();
            eprintln!("last words of {}:\n{}", self.pid(), last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Base64 (RFC 4648), as a kubeconfig has it.
/// As kubeconfigs carry files.
pub(crate) fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// How long something takes.
pub(crate) fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = act();
    (done, began.elapsed())
}
