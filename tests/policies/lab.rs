//! A node with Felix between pods and the hub of a cluster: the network as the VPC CNI lays it, over IPv4 and IPv6.
use super::common::cluster::{Cluster, Process, tool};
use super::common::facts::{PATIENCE, eventually, within};
use super::common::{Checked, DNS, imds, inside, ip, own_namespace, tls};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The endpoints of the API that are there from the beginning: the real one, and one that a second slice names.
pub(crate) const ENDPOINTS: [&str; 2] = ["10.90.0.10:16443", "10.90.0.12:16443"];
/// One that comes later.
pub(crate) const LATE: &str = "10.90.0.11:16443";
pub(crate) const CLUSTER_IP: &str = "10.96.0.1:443";
/// Another port of an endpoint's address.
pub(crate) const OTHER_PORT: &str = "10.90.0.10:9090";
/// The API by its public endpoint, which is in no slice.
pub(crate) const PUBLIC: &str = "198.51.100.10:443";
/// Something at the address of IMDS that keeps its connections.
pub(crate) const LASTING: &str = "169.254.169.254:8080";
pub(crate) const METADATA: [&str; 4] = ["169.254.169.254:80", "[fd00:ec2::254]:80", "169.254.170.23:80", "[fd00:ec2::23]:80"];
const BEYOND: [&str; 2] = ["198.51.100.20:7000", "[2001:db8::20]:7000"];

pub(crate) struct Lab {
    felix: Process,
    pub(crate) cluster: Cluster,
    /// What was shown to be open although the policy is in force.
    pub(crate) shown: BTreeSet<&'static str>,
}

/// Where a pod is, and what it wears.
#[derive(Clone, Copy)]
pub(crate) struct Pod {
    nth: u8,
    namespace: &'static str,
    labelled: bool,
    /// An IPv6 pod with a second, IPv4 interface that is none of Felix's.
    second: bool,
}

pub(crate) const GUARDED: Pod = Pod { nth: 2, namespace: "default", labelled: true, second: false };
pub(crate) const UNLABELLED: Pod = Pod { nth: 3, namespace: "default", labelled: false, second: false };
pub(crate) const ELSEWHERE: Pod = Pod { nth: 4, namespace: "elsewhere", labelled: true, second: false };
pub(crate) const SECOND: Pod = Pod { nth: 5, namespace: "default", labelled: true, second: true };
const PODS: [Pod; 4] = [GUARDED, UNLABELLED, ELSEWHERE, SECOND];

impl Pod {
    fn name(self) -> String {
        format!("pod-{}", self.nth)
    }

    fn addresses(self) -> Vec<String> {
        let six = format!("fd91::{}", self.nth);
        if self.second { vec![six] } else { vec![format!("10.92.1.{}", self.nth), six] }
    }

    /// What the CNI calls the node's end, and Felix expects.
    fn link(self) -> String {
        let mut sum =
            Command::new("sha1sum").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        write!(sum.stdin.take().unwrap(), "{}.{}", self.namespace, self.name()).unwrap();
        let output = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        format!("eni{}", &output[..11])
    }
}

impl Lab {
    /// With all pods, and without a policy: everything connects.
    pub(crate) fn new() -> Self {
        let cluster = Cluster::new();
        let node = of(&cluster, "node");
        node_network(&cluster, &node);
        stand_ins(&cluster, &node);
        for pod in PODS {
            pod_network(&cluster, &node, pod);
        }
        objects(&cluster);
        let felix = felix(&cluster, &node);
        let lab = Lab { felix, cluster, shown: BTreeSet::new() };
        lab.until_ready();
        for pod in PODS {
            lab.until_open(pod, METADATA[0]);
        }
        lab
    }

    pub(crate) fn node(&self) -> String {
        of(&self.cluster, "node")
    }

    pub(crate) fn pod(&self, pod: Pod) -> String {
        of(&self.cluster, &pod.name())
    }

    fn until_ready(&self) {
        let node = self.node();
        let ready = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect("127.0.0.1:9099")?;
            stream.write_all(b"GET /readiness HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.lines().next().unwrap_or_default().to_owned())
        };
        within(Duration::from_secs(60), "Felix is ready", || match inside(&node, ready) {
            Ok(line) if line.contains(" 200 ") => Ok(()),
            other => Err(format!("{other:?}\n{}", self.felix.stderr())),
        });
    }

    /// True when a new connection stands within a moment.
    pub(crate) fn connects(&self, pod: Pod, address: &str) -> bool {
        connects(&self.pod(pod), address)
    }

    #[track_caller]
    pub(crate) fn until_open(&self, pod: Pod, address: &str) {
        let shut = || format!("{}: {address} does not connect", pod.name());
        eventually("it connects", || if self.connects(pod, address) { Ok(()) } else { Err(shut()) });
    }

    /// A connection that stays, to be looked at later.
    pub(crate) fn lasting(&self, pod: Pod) -> TcpStream {
        inside(&self.pod(pod), || TcpStream::connect(LASTING).unwrap())
    }

    /// The v3 API of Calico, with its own checks.
    #[track_caller]
    pub(crate) fn calicoctl(&self, args: &[&str]) {
        let mut command = Command::new("ip");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DATASTORE_TYPE", "kubernetes");
        command.env("KUBECONFIG", self.cluster.folder.join("admin.conf"));
        command.args(["netns", "exec", &self.cluster.hub()]).arg(tool("calicoctl")).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "calicoctl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }

    /// `guardprobe check` in a pod: of IMDS, of the Pod Identity agent and of the API, with the endpoints that it is told.
    pub(crate) fn check(&self, pod: Pod, endpoints: &[&str]) -> Checked {
        self.check_with(pod, endpoints, "")
    }

    /// As [`Lab::check`], with more of the API's target.
    pub(crate) fn check_with(&self, pod: Pod, endpoints: &[&str], more: &str) -> Checked {
        let list = json!({"revision": "r1", "updated": super::common::facts::now(), "addresses": endpoints});
        let (list, ca) = (self.cluster.file("endpoints.json", &list.to_string()), self.cluster.folder.join("ca.crt"));
        let text = format!(
            "guard: default/deny-k8s-api-and-imds
interval: 1500ms
timeout: 1100ms
targets:
  - {{name: imds, kind: imds}}
  - {{name: pod-identity, kind: eks-pod-identity}}
  - {{name: kube-api, kind: kube-api, endpointsFile: {list}, caFile: {}{more}}}
controls:
  - {{name: dns, expect: must-reach, kind: dns, addresses: [\"{DNS}:53\"]}}
  - {{name: beyond, expect: must-reach, addresses: [\"{}\", \"{}\"]}}
  - {{name: nowhere, expect: must-not-connect}}
",
            ca.display(),
            BEYOND[0],
            BEYOND[1],
        );
        let file = self.cluster.file("check.yaml", &text);
        let mut command = Command::new("ip");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
        command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1").env("KUBERNETES_SERVICE_PORT", "443");
        command.args(["netns", "exec", &self.pod(pod), env!("CARGO_BIN_EXE_guardprobe")]);
        Checked(command.args(["check", "-o", "json", "-c", &file]).output().unwrap())
    }

    /// An endpoint enters the Service's slices: a server that was there, as it is with a real one.
    pub(crate) fn endpoint_enters(&self, address: &str) {
        self.cluster.apply(&slice(address).to_string());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.felix.kill(); // before its namespace goes
    }
}

/// The namespace of a part; the cluster takes all of them away.
fn of(cluster: &Cluster, part: &str) -> String {
    cluster.hub().replace("-hub", &format!("-{part}"))
}

pub(crate) fn connects(namespace: &str, address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    inside(namespace, move || TcpStream::connect_timeout(&address, Duration::from_millis(150)).is_ok())
}

fn node_network(cluster: &Cluster, node: &str) {
    let hub = cluster.hub();
    ip(&["netns", "add", node]);
    for namespace in [node, &hub] {
        inside(namespace, || {
            for (key, value) in
                [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1"), ("ipv6/conf/default/accept_dad", "0")]
            {
                fs::write(Path::new("/proc/sys/net").join(key), value).unwrap();
            }
        });
    }
    ip(&["-n", node, "link", "set", "lo", "up"]);
    ip(&["-n", node, "link", "add", "up0", "type", "veth", "peer", "name", "node0", "netns", &hub]);
    for (namespace, link, host) in [(node, "up0", 2), (&hub, "node0", 1)] {
        ip(&["-n", namespace, "addr", "add", &format!("10.92.0.{host}/24"), "dev", link]);
        ip(&["-n", namespace, "addr", "add", &format!("fd90::{host}/64"), "dev", link, "nodad"]);
        ip(&["-n", namespace, "link", "set", link, "up"]);
    }
    for (namespace, to, via) in [
        (node, "default", "10.92.0.1"),
        (node, "default", "fd90::1"),
        (&hub, "10.92.1.0/24", "10.92.0.2"),
        (&hub, "fd91::/64", "fd90::2"),
    ] {
        ip(&["-n", namespace, "route", "add", to, "via", via]);
    }
    // kube-proxy's part on the node, before the policy as there; and the way out of second interfaces.
    let rules = "add table ip proxy
         add chain ip proxy pre { type nat hook prerouting priority -100; }
         add rule ip proxy pre ip daddr 10.96.0.1 tcp dport 443 dnat to 10.90.0.10:16443
         add chain ip proxy post { type nat hook postrouting priority 100; }
         add rule ip proxy post ip saddr 169.254.172.0/22 masquerade";
    let output = Command::new("ip").args(["netns", "exec", node, "nft", rules]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the policies deny, and what they must not. The Pod Identity agent is on the node, all else beyond it.
fn stand_ins(cluster: &Cluster, node: &str) {
    let hub = cluster.hub();
    for address in
        ["10.90.0.11/32", "10.90.0.12/32", "198.51.100.10/32", "198.51.100.20/32", "fd00:ec2::254/128", "2001:db8::20/128"]
    {
        ip(&["-n", &hub, "addr", "add", address, "dev", "lo"]);
    }
    for address in ["169.254.170.23/32", "fd00:ec2::23/128"] {
        ip(&["-n", node, "addr", "add", address, "dev", "lo"]);
    }
    cluster.serve(METADATA[1], imds);
    for address in &METADATA[2..] {
        super::common::cluster::serve_in(node, address.parse().unwrap(), imds);
    }
    cluster.serve(PUBLIC, tls(&cluster.ca)); // at the others the API server itself answers, on every address of the hub
    for address in [BEYOND[0], BEYOND[1], OTHER_PORT] {
        cluster.serve(address, drop);
    }
    cluster.serve(LASTING, |mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
}

fn pod_network(cluster: &Cluster, node: &str, pod: Pod) {
    let (name, link) = (of(cluster, &pod.name()), pod.link());
    ip(&["netns", "add", &name]);
    inside(&name, || fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap());
    ip(&["-n", &name, "link", "set", "lo", "up"]);
    veth(&name, "eth0", node, &link);
    ip(&["-n", node, "addr", "add", "fe80::1/64", "dev", &link, "nodad"]);
    for address in pod.addresses() {
        let (gateway, length) = if address.contains(':') { ("fe80::1", 128) } else { ("169.254.1.1", 32) };
        ip(&["-n", &name, "addr", "add", &format!("{address}/{length}"), "dev", "eth0"]);
        if length == 32 {
            ip(&["-n", &name, "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link"]);
            ip(&["-n", &name, "neigh", "add", "169.254.1.1", "lladdr", &mac_of(node, &link), "dev", "eth0", "nud", "permanent"]);
        }
        ip(&["-n", &name, "route", "add", "default", "via", gateway, "dev", "eth0"]);
        ip(&["-n", node, "route", "add", &format!("{address}/{length}"), "dev", &link]);
    }
    if pod.second {
        veth(&name, "v4if0", node, "second0");
        ip(&["-n", &name, "addr", "add", "169.254.172.2/22", "dev", "v4if0"]);
        ip(&["-n", node, "addr", "add", "169.254.172.1/22", "dev", "second0"]);
        ip(&["-n", &name, "route", "add", "default", "via", "169.254.172.1"]);
    }
    let folder = Path::new("/etc/netns").join(&name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("resolv.conf"), format!("nameserver {DNS}\nsearch default.svc.cluster.local\n")).unwrap();
}

fn veth(pod: &str, end: &str, node: &str, link: &str) {
    ip(&["-n", pod, "link", "add", end, "type", "veth", "peer", "name", link, "netns", node]);
    ip(&["-n", node, "link", "set", link, "up"]);
    ip(&["-n", pod, "link", "set", end, "up"]);
}

fn mac_of(node: &str, link: &str) -> String {
    let output = Command::new("ip").args(["-n", node, "-json", "link", "show", link]).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

/// What Felix and the API server must know of the node and its pods.
fn objects(cluster: &Cluster) {
    cluster.kubectl(&["apply", "--server-side", "-f", tool("crd").to_str().unwrap()]);
    cluster.kubectl(&["create", "namespace", "elsewhere"]);
    within(PATIENCE, "the namespace has its service account", || {
        let output = cluster.try_kubectl(&["get", "serviceaccount", "-n", "elsewhere", "default"]);
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
    let information = json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "ClusterInformation", "metadata": {"name": "default"},
                             "spec": {"datastoreReady": true}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}});
    let host = pod_object("default", "host", &json!({"egress": "restricted"}), true);
    let pods = PODS.iter().map(|pod| {
        let labels = if pod.labelled { json!({"egress": "restricted"}) } else { json!({}) };
        pod_object(pod.namespace, &pod.name(), &labels, false)
    });
    let items: Vec<Value> = [information, node, host, slice(ENDPOINTS[1])].into_iter().chain(pods).collect();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    let address = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.92.0.2"}]}});
    patch_status(cluster, "node", "default", "node-1", &address);
    patch_status(cluster, "pod", "default", "host", &running(&["10.92.0.2".to_owned()]));
    for pod in PODS {
        patch_status(cluster, "pod", pod.namespace, &pod.name(), &running(&pod.addresses()));
    }
}

fn pod_object(namespace: &str, name: &str, labels: &Value, host: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
           "spec": {"nodeName": "node-1", "hostNetwork": host, "containers": [{"name": "x", "image": "x"}]}})
}

fn running(addresses: &[String]) -> Value {
    let all: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    json!({"status": {"phase": "Running", "podIP": addresses[0], "podIPs": all}})
}

fn patch_status(cluster: &Cluster, kind: &str, namespace: &str, name: &str, status: &Value) {
    let status = status.to_string();
    cluster.kubectl(&["patch", kind, "-n", namespace, name, "--subresource=status", "--type=merge", "-p", &status]);
}

/// A slice of the API's Service with one endpoint.
fn slice(address: &str) -> Value {
    let (host, port) = address.split_once(':').unwrap();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
           "metadata": {"name": format!("more-{}", host.replace('.', "-")), "namespace": "default",
                        "labels": {"kubernetes.io/service-name": "kubernetes"}},
           "ports": [{"name": "https", "port": port.parse::<u16>().unwrap(), "protocol": "TCP"}],
           "endpoints": [{"addresses": [host], "conditions": {"ready": true}}]})
}

/// Felix, with folders of its own in place of those of the machine that it would write to.
fn felix(cluster: &Cluster, node: &str) -> Process {
    let mut command = Command::new("ip");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("KUBECONFIG", cluster.folder.join("admin.conf"));
    for (name, value) in [
        ("DATASTORETYPE", "kubernetes"),
        ("FELIXHOSTNAME", "node-1"),
        ("INTERFACEPREFIX", "eni"),
        ("IPV6SUPPORT", "true"),
        ("IPTABLESBACKEND", "NFT"), // left to itself it takes the other one in a new namespace
        ("BPFENABLED", "false"),
        ("USAGEREPORTINGENABLED", "false"),
        ("DEFAULTENDPOINTTOHOSTACTION", "ACCEPT"),
        ("HEALTHENABLED", "true"),
        ("HEALTHHOST", "127.0.0.1"),
        ("LOGFILEPATH", "none"),
        ("LOGSEVERITYFILE", "none"),
        ("LOGSEVERITYSYS", "none"),
        ("LOGSEVERITYSCREEN", "warning"),
    ] {
        command.env(format!("FELIX_{name}"), value);
    }
    let script = "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && exec \"$0\" -c /nonexistent";
    command.args(["netns", "exec", node, "unshare", "-m", "sh", "-c", script]).arg(tool("calico-felix"));
    Process::start(&mut command)
}

/// How long after the call the look began that found it so, one look following upon the other.
#[track_caller]
pub(crate) fn until_so(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    eventually(what, || {
        let look = began.elapsed();
        if is() { Ok(look) } else { Err("not yet".to_owned()) }
    })
}
