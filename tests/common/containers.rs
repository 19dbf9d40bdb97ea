//! A node with the real kubelet and a real container runtime (containerd and runc), in the hub of a cluster, beside its API server: pods are
//! containers with networks of their own, made by CNI plugins. All of it is in process and mount namespaces made for it, so that nothing is left
//! when its first process is killed, and what it would write to this machine (/run, /var, kernel settings) is its own.
use super::DNS;
use super::cluster::{Cluster, Process, tool};
use super::facts::within;
use nix::unistd::Pid;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The node's name.
pub(crate) const NODE: &str = "node-1";
/// Where our image is, for those who cannot pull it.
pub(crate) const IMAGE: &str = "registry.example/guardprobe";
const PAUSE: &str = "registry.example/pause:1";
const PATIENCE: Duration = Duration::from_secs(120);

/// The settings that a kubelet wants of a kernel. It reads them, and finds these files in their place: this machine's stay as they are.
const KERNEL: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// A node that runs what the API server says.
pub(crate) struct Containers<'c> {
    cluster: &'c Cluster,
    first: Process,
    folder: PathBuf,
}

/// The folder of a program that the path leads to, or that ./test has unpacked.
fn folder_of(program: &str) -> PathBuf {
    let home = |inner: &str| std::env::var_os("HOME").map(|home| Path::new(&home).join(inner));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| home(".cache")).unwrap();
    let unpacked = ["usr/bin", "usr/sbin", "usr/lib/cni"].map(|folder| cache.join("guardprobe-test").join(folder));
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).chain(unpacked).find(|folder| folder.join(program).exists());
    found.unwrap_or_else(|| panic!("{program} is not on the PATH: ./test unpacks it"))
}

/// What deploy/image/build made, of this source.
fn image() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let image = here.join("dist/guardprobe.oci.tar");
    let changed = |path: &Path| fs::metadata(path).and_then(|about| about.modified());
    let built = changed(&image).unwrap_or_else(|error| panic!("{}: {error}: run deploy/image/build", image.display()));
    let newer: Vec<PathBuf> = [here.join("src"), here.join("core/src")]
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|file| changed(file).unwrap() > built)
        .collect();
    assert!(newer.is_empty(), "{} is older than {newer:?}: run deploy/image/build", image.display());
    image
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

impl<'c> Containers<'c> {
    /// Starts it, and waits until the node is ready and has the images: what deploy/image/build made, and a sandbox.
    pub(crate) fn start(cluster: &'c Cluster) -> Self {
        let folder = cluster.folder.join("node");
        for part in ["run", "kernel", "cni", "containerd"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let file = |name: &str, content: &str| fs::write(folder.join(name), content).unwrap();
        file("containerd.toml", &containerd(&folder));
        file("cni/10-pods.conflist", CNI);
        file("kubelet.yaml", &kubelet(&folder));
        file("resolv.conf", &format!("nameserver {DNS}\n")); // this machine's may be a link into what is covered
        for (setting, value) in KERNEL {
            file(&format!("kernel/{}", setting.replace('/', ".")), &format!("{value}\n"));
        }
        let program = |name: &str| folder_of(name).join(name);
        let mut command = Command::new("nsenter"); // not ip netns exec, which hides the cgroups
        command.arg(format!("--net=/run/netns/{}", cluster.hub()));
        command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-euc", SCRIPT, "node"]);
        command.arg(&folder).arg(program("containerd")).arg(tool("kubelet")).arg(cluster.folder.join("admin.conf"));
        command.args([NODE.to_owned(), KERNEL.map(|(setting, _)| setting).join(" ")]);
        let paths = ["containerd-shim-runc-v2", "runc"].map(folder_of);
        let paths = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>().join(":");
        command.env_clear().env("PATH", format!("{paths}:/usr/sbin:/usr/bin:/sbin:/bin"));
        cluster.nft(
            "add set ip guard pods { type ipv4_addr; }
             add rule ip guard in ip saddr @pods ip daddr { 169.254.169.254, 10.90.0.10, 10.96.0.1 } drop",
        );
        let containers = Containers { cluster, first: Process::start(&mut command), folder };
        containers.until_runtime();
        containers.import();
        within(PATIENCE, "the node is ready", || {
            let status = ["get", "node", NODE, "-o", r#"jsonpath={.status.conditions[?(@.type=="Ready")]}{.spec.taints}"#];
            let said = String::from_utf8(cluster.try_kubectl(&status).stdout).unwrap();
            if said.contains(r#""status":"True""#) && !said.contains("not-ready") {
                Ok(())
            } else {
                Err(said + &containers.log())
            }
        });
        containers
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new(folder_of("ctr").join("ctr"));
        command.arg("--address").arg(self.folder.join("run/containerd.sock")).args(["--namespace", "k8s.io"]);
        command
    }

    fn until_runtime(&self) {
        within(PATIENCE, "containerd answers", || {
            let output = self.ctr().arg("version").output().unwrap();
            if output.status.success() { Ok(()) } else { Err(self.log()) }
        });
    }

    fn import(&self) {
        let ours = image();
        let script = r#"pause=$1; name=$2; to=$3; storage=$(mktemp -d); trap 'rm -rf "$storage"' EXIT
            cp "$pause" "$storage/pause"
            images() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"; }
            printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' >"$storage/Containerfile"
            images build --quiet --isolation chroot --tag "$name" --file "$storage/Containerfile" "$storage" >/dev/null
            images push --quiet "$name" "docker-archive:$to:$name""#;
        let pause = self.folder.join("pause.tar");
        let mut make = Command::new("bash");
        run(make.args(["-euc", script, "bash"]).arg(tool("pause")).arg(PAUSE).arg(&pause));
        run(self.ctr().args(["images", "import"]).arg(&pause));
        run(self.ctr().args(["images", "import", "--base-name", IMAGE]).arg(&ours));
    }

    /// The containers that there are, those of sandboxes included: by these their cgroups are named.
    fn ids(&self) -> Vec<String> {
        let output = self.ctr().args(["containers", "list", "--quiet"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// The processes of this node's containers that run that command of ours.
    pub(crate) fn running(&self, command: &str) -> Vec<Pid> {
        let (wanted, ids) = (format!("/guardprobe\0{command}\0"), self.ids());
        let is = |folder: &PathBuf| {
            let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
            text("cmdline").starts_with(&wanted) && ids.iter().any(|id| text("cgroup").contains(id))
        };
        let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let ours = all.filter(|path| is(path)).filter_map(|path| path.file_name()?.to_str()?.parse().ok());
        ours.map(Pid::from_raw).collect()
    }

    /// The last words of kubelet and runtime.
    pub(crate) fn log(&self) -> String {
        let last = |name: &str| {
            let text = fs::read_to_string(self.cluster.folder.join("node").join(name)).unwrap_or_default();
            text.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!("\ncontainerd:\n{}\nkubelet:\n{}", last("containerd.log"), last("kubelet.log"))
    }
}

impl Drop for Containers<'_> {
    fn drop(&mut self) {
        let ids = self.ids();
        self.first.kill();
        if std::thread::panicking() {
            return; // what is left says nothing new
        }
        // Its processes die with it, but not at the same moment; then their cgroups can go.
        within(PATIENCE, "the cgroups of the containers go", || {
            let ours = |root: PathBuf| ids.iter().map(move |id| root.join("k8s.io").join(id)).collect::<Vec<_>>();
            let left: Vec<PathBuf> = hierarchies().flat_map(ours).filter(|path| !is_gone(path)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        hierarchies().for_each(|root| drop(fs::remove_dir(root.join("k8s.io")))); // where nobody else has any
    }
}

/// The folders of all cgroup hierarchies: one in the new world, many in the old one.
fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let below = fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    below.into_iter().chain([root])
}

/// Removes a cgroup and those in it, as far as they are empty; true when nothing is left.
fn is_gone(path: &Path) -> bool {
    for inner in fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        is_gone(&inner.path());
    }
    let _ = fs::remove_dir(path);
    !path.exists()
}

/// A policy, and what enforces it: pods of `default` with the label that it selects by reach neither IMDS nor the API. A new pod is guarded a
/// moment after it has its address, as it is by CNIs.
pub(crate) struct Policy<'c> {
    cluster: &'c Cluster,
    there: AtomicBool,
    over: AtomicBool,
}

impl<'c> Policy<'c> {
    /// Lets `act` work while the policy is enforced.
    pub(crate) fn enforced<T>(cluster: &'c Cluster, act: impl FnOnce(&Self) -> T) -> T {
        let policy = Policy { cluster, there: AtomicBool::new(true), over: AtomicBool::new(false) };
        std::thread::scope(|scope| {
            scope.spawn(|| policy.enforce());
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| act(&policy)));
            policy.over.store(true, Ordering::Relaxed);
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn enforce(&self) {
        let args = ["get", "pods", "-n", "default", "-l", "egress=restricted", "-o", "jsonpath={.items[*].status.podIP}"];
        while !self.over.load(Ordering::Relaxed) {
            let pods = String::from_utf8(self.cluster.try_kubectl(&args).stdout).unwrap();
            let selected: Vec<&str> = if self.there.load(Ordering::Relaxed) { pods.split(' ').collect() } else { vec![] };
            let add = selected.iter().filter(|ip| !ip.is_empty()).map(|ip| format!("\nadd element ip guard pods {{ {ip} }}"));
            self.cluster.nft(&("flush set ip guard pods".to_owned() + &add.collect::<String>()));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Somebody deletes it, or brings it back.
    pub(crate) fn is_there(&self, there: bool) {
        self.there.store(there, Ordering::Relaxed);
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The first process of the node: what it holds of this machine is covered, then runtime and kubelet run.
const SCRIPT: &str = r#"
node=$1 containerd=$2 kubelet=$3 config=$4 name=$5 settings=$6
mount --make-rprivate /
for setting in $settings; do mount --bind "$node/kernel/${setting//\//.}" "/proc/sys/$setting"; done
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/log; mkdir -p /run/lock
mount --make-rshared /
"$containerd" --config "$node/containerd.toml" >"$node/containerd.log" 2>&1 &
"$kubelet" --config "$node/kubelet.yaml" --kubeconfig "$config" --root-dir "$node/kubelet" --cert-dir "$node/pki" \
    --hostname-override "$name" --node-ip 10.90.0.10 >"$node/kubelet.log" 2>&1 &
wait -n
"#;

/// Where the pods are: each has an address of this range, and its node is its way out.
const CNI: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.92.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"}}]}"#;

fn containerd(folder: &Path) -> String {
    let place = folder.to_str().unwrap();
    let (runc, plugins) = (folder_of("runc").join("runc"), folder_of("host-local"));
    format!(
        r#"version = 2
root = "{place}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{place}/run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{place}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{}"
conf_dir = "{place}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{}"
"#,
        plugins.display(),
        runc.display()
    )
}

/// Without quality-of-service cgroups, since the machine's hierarchy may be an old one, and is not ours.
fn kubelet(folder: &Path) -> String {
    let place = folder.to_str().unwrap();
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{place}/run/containerd.sock
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
protectKernelDefaults: true
localStorageCapacityIsolation: false
evictionHard: {{memory.available: 1Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
clusterDNS: ["{DNS}"]
clusterDomain: cluster.local
resolvConf: {place}/resolv.conf
podLogsDir: /var/log/pods
"#
    )
}
