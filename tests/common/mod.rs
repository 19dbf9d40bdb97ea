//! A pod and what lies beyond it, each a network namespace made by hand, with `ip` and `nft`: not the lab's, so that the two check each
//! other. Needs root and the Debian packages iproute2 and nftables; without them a test fails.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
pub(crate) mod agent;
pub(crate) mod cluster;
pub(crate) mod containers;
pub(crate) mod facts;
pub(crate) mod helm;
pub(crate) mod kubelet;
pub(crate) mod simulated;

use nix::sched::{CloneFlags, setns};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

pub(crate) const IMDS4: &str = "169.254.169.254:80";
pub(crate) const IMDS6: &str = "[fd00:ec2::254]:80";
pub(crate) const CLUSTER_IP: &str = "10.96.0.1:443";
pub(crate) const ENDPOINT: &str = "10.90.0.10:6443";
pub(crate) const DNS: &str = "10.96.0.10";
pub(crate) const DNS6: &str = "fd10:96::a";

/// The permissions of whoever verifies: the manifest of docs/verify.md.
pub(crate) fn documented_permissions() -> String {
    let page = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify.md")).unwrap();
    let block = page.split("```yaml\n").find(|block| block.starts_with("# verify-rbac.yaml")).unwrap();
    block.split("\n```").next().unwrap().to_owned()
}

/// The binary under test. It refuses to probe from the namespace of this test process, whatever a test forgets.
pub(crate) fn guardprobe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guardprobe"));
    command.env_clear().env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
    command
}

pub(crate) fn own_namespace() -> String {
    fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned()
}

/// Two namespaces joined by a veth pair, torn down when dropped.
pub(crate) struct World {
    name: String,
    folder: PathBuf,
    pub(crate) ca: Ca,
}

impl World {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gpt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        let world = World { name, folder, ca: Ca::new() };
        world.build();
        world
    }

    fn build(&self) {
        let (pod, vpc) = (self.pod(), self.vpc());
        for namespace in [&pod, &vpc] {
            ip(&["netns", "add", namespace]);
            for (key, value) in [("all/accept_dad", "0"), ("default/accept_dad", "0")] {
                let path = format!("/proc/sys/net/ipv6/conf/{key}");
                inside(namespace, move || fs::write(path, value).unwrap());
            }
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        ip(&["-n", &pod, "link", "add", "eth0", "type", "veth", "peer", "name", "up0", "netns", &vpc]);
        for (namespace, link, four, six) in
            [(&pod, "eth0", "10.1.0.2/24", "fd01::2/64"), (&vpc, "up0", "10.1.0.1/24", "fd01::1/64")]
        {
            ip(&["-n", namespace, "addr", "add", four, "dev", link]);
            ip(&["-n", namespace, "addr", "add", six, "dev", link, "nodad"]);
            ip(&["-n", namespace, "link", "set", link, "up"]);
        }
        ip(&["-n", &pod, "route", "add", "default", "via", "10.1.0.1"]);
        ip(&["-n", &pod, "route", "add", "default", "via", "fd01::1"]);
        let services = ["10.96.0.1/32", "10.96.0.10/32", "10.90.0.10/32", "10.80.0.5/32", "10.80.0.6/32", "2001:db8::5/128"];
        let metadata = ["169.254.169.254/32", "fd00:ec2::254/128", "169.254.170.23/32", "fd00:ec2::23/128"];
        for address in services.into_iter().chain(metadata).chain([&*format!("{DNS6}/128")]) {
            ip(&["-n", &vpc, "addr", "add", address, "dev", "lo"]);
        }
    }

    pub(crate) fn pod(&self) -> String {
        format!("{}-pod", self.name)
    }

    pub(crate) fn vpc(&self) -> String {
        format!("{}-vpc", self.name)
    }

    /// Rules of the packet filter beyond the pod: the guard of these tests.
    pub(crate) fn nft(&self, rules: &str) {
        self.run_in(&self.vpc(), Command::new("nft").arg(rules));
    }

    /// A guard that drops everything that the reference policy denies, IPv6 included: in place, or back in place, from one packet to
    /// the next.
    pub(crate) fn guard(&self) {
        self.nft(
            "add table inet guard; add chain inet guard in { type filter hook input priority 0; }; flush chain inet guard in;
             add rule inet guard in ip daddr { 169.254.169.254, 169.254.170.23, 10.96.0.1, 10.90.0.10, 10.80.0.5, 10.80.0.6 } drop;
             add rule inet guard in ip6 daddr { fd00:ec2::254, fd00:ec2::23, 2001:db8::5 } drop",
        );
    }

    /// The guard falls, from one packet to the next.
    pub(crate) fn unguard(&self) {
        self.nft("flush chain inet guard in");
    }

    /// Lets one connection to the IPv4 address of IMDS through the guard, and no second one, until [`World::guard`] is called again.
    pub(crate) fn let_one_through(&self) {
        let to = "insert rule inet guard in ip daddr 169.254.169.254 tcp flags";
        self.nft(&format!("{to} & syn == 0 accept; {to} & syn == syn limit rate 1/week burst 1 packets accept"));
    }

    pub(crate) fn run_in(&self, namespace: &str, command: &Command) -> Output {
        let mut wrapped = Command::new("ip");
        wrapped.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
        let output = wrapped.output().unwrap();
        assert!(output.status.success(), "{wrapped:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// `guardprobe check` in the pod, dressed as the kubelet dresses one.
    pub(crate) fn check(&self, args: &[&str]) -> Checked {
        self.check_with(args, |command| command)
    }

    /// As [`World::check`], with the command changed first.
    pub(crate) fn check_with(&self, args: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Checked {
        let mut command = self.in_the_pod();
        change(&mut command);
        command.arg(env!("CARGO_BIN_EXE_guardprobe")).arg("check").args(args);
        Checked(command.output().unwrap())
    }

    /// A command that runs in the pod, dressed as the kubelet dresses one; the program is yet to come. It becomes that program, with
    /// the same process id.
    pub(crate) fn in_the_pod(&self) -> Command {
        let mut command = Command::new("ip");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
        command
            .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
            .env("KUBERNETES_SERVICE_PORT", "443")
            .env("GUARDPROBE_NODE", "node-1");
        command.args(["netns", "exec", &self.pod()]);
        command
    }

    /// Gives the pod a resolver configuration: `ip netns exec` mounts it over the machine's.
    pub(crate) fn resolver(&self) {
        let folder = Path::new("/etc/netns").join(self.pod());
        fs::create_dir_all(&folder).unwrap();
        let search = "default.svc.cluster.local svc.cluster.local cluster.local";
        fs::write(folder.join("resolv.conf"), format!("nameserver {DNS}\nnameserver {DNS6}\nsearch {search}\noptions ndots:5\n"))
            .unwrap();
    }

    /// This world's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file in this world's folder.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Serves `handler` on an address beyond the pod; bound when this returns.
    pub(crate) fn serve(&self, address: &str, handler: impl Fn(TcpStream) + Send + Sync + 'static) {
        let address: SocketAddr = address.parse().unwrap();
        let listener = inside(&self.vpc(), move || TcpListener::bind(address).unwrap());
        let handler = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let handler = Arc::clone(&handler);
                thread::spawn(move || handler(stream));
            }
        });
    }

    /// Everything that the reference guard protects, and a resolver.
    pub(crate) fn populate(&self) {
        self.resolver();
        self.serve_dns();
        self.serve(IMDS4, imds);
        self.serve(IMDS6, imds);
        for address in [CLUSTER_IP, ENDPOINT] {
            self.serve_tls(address, &self.ca);
        }
    }

    pub(crate) fn serve_tls(&self, address: &str, ca: &Ca) {
        self.serve(address, tls(ca));
    }

    /// Answers `kubernetes.default.svc.cluster.local` and `vault.example` with an IPv4 address, all else with NXDOMAIN.
    pub(crate) fn serve_dns(&self) {
        self.serve_dns_with(dns_answer);
    }

    /// A resolver that answers each query as it is told to, over UDP and TCP and in both families.
    pub(crate) fn serve_dns_with(&self, answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) {
        let answer = Arc::new(answer);
        for address in [format!("{DNS}:53"), format!("[{DNS6}]:53")] {
            self.serve_dns_over_udp(&address, Arc::clone(&answer));
            let answer = Arc::clone(&answer);
            self.serve(&address, move |stream| drop(dns_over_tcp(stream, &*answer)));
        }
    }

    /// The same over UDP only, at one address.
    pub(crate) fn serve_dns_over_udp(&self, address: &str, answer: Arc<impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static>) {
        let address: SocketAddr = address.parse().unwrap();
        let socket = inside(&self.vpc(), move || UdpSocket::bind(address).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let mut answer = answer(&buffer[..length]);
                // As servers do without EDNS (RFC 1035, 4.2.1): what is longer has to be fetched over TCP.
                if answer.len() > 512 {
                    answer.truncate(512);
                    answer[2] |= 0x02;
                    answer = dns_head_of(&answer);
                }
                let _ = socket.send_to(&answer, from);
            }
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for namespace in [self.pod(), self.vpc()] {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).output();
        }
        let _ = fs::remove_dir_all(Path::new("/etc/netns").join(self.pod()));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a run of `check` gave.
pub(crate) struct Checked(pub(crate) Output);

impl Checked {
    pub(crate) fn status(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub(crate) fn report(&self) -> guardprobe_core::model::report::Report {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout(), self.stderr()))
    }

    /// `verdict: reason` of a target.
    pub(crate) fn finding(&self, target: &str) -> String {
        let report = self.report();
        let target = report.targets.iter().find(|known| known.name == target).unwrap();
        format!("{}: {}", target.verdict.as_str(), target.reason.as_str())
    }
}

/// A certificate authority, and a leaf for the API server's usual names.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ca { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Its certificate and its key, as PEM files in a folder.
    pub(crate) fn files(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        fs::write(&certificate, self.pem()).unwrap();
        fs::write(&key, self.issuer.key().serialize_pem()).unwrap();
        (certificate, key)
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Certificate and key, as PEM, of a server with these names, or of a client.
    pub(crate) fn pair(&self, names: &[&str], common: &str, organization: Option<&str>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        organization.into_iter().for_each(|name| params.distinguished_name.push(DnType::OrganizationName, name));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec!["kubernetes.default.svc".to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap())
    }
}

/// An API server, as far as a probe sees it: a handshake, then nothing.
pub(crate) fn tls(ca: &Ca) -> impl Fn(TcpStream) + Send + Sync + 'static {
    let config = ca.server();
    move |mut stream| {
        let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let _ = connection.complete_io(&mut stream);
        let _ = stream.read(&mut [0; 64]);
    }
}

/// Answers the queries of one connection, each behind its length, until it ends.
pub(crate) fn dns_over_tcp(mut stream: TcpStream, answer: &impl Fn(&[u8]) -> Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let answer = answer(&query);
        stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat())?;
    }
}

/// IMDSv2, as far as a probe may ask it: a token for a PUT with a TTL, 401 for anything without a token.
pub(crate) fn imds(mut stream: TcpStream) {
    let mut buffer = [0; 2048];
    let length = stream.read(&mut buffer).unwrap_or(0);
    let asked = String::from_utf8_lossy(&buffer[..length]).to_ascii_lowercase();
    let good = asked.starts_with("put /latest/api/token ") && asked.contains("x-aws-ec2-metadata-token-ttl-seconds: 1\r\n");
    let answer = match good {
        true => {
            "HTTP/1.1 200 OK\r\nServer: EC2ws\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 1\r\nContent-Length: 12\r\n\r\nSECRET-TOKEN"
        }
        false => "HTTP/1.1 401 Unauthorized\r\nServer: EC2ws\r\nContent-Length: 0\r\n\r\n",
    };
    let _ = stream.write_all(answer.as_bytes());
}

pub(crate) fn dns_answer(query: &[u8]) -> Vec<u8> {
    let asked = String::from_utf8_lossy(&query[12..]).into_owned();
    let known = [
        ("\u{a}kubernetes\u{7}default\u{3}svc\u{7}cluster\u{5}local", [10, 96, 0, 1]),
        ("\u{5}vault\u{7}example\0", [10, 80, 0, 5]),
    ];
    let address = known.iter().find(|(name, _)| asked.starts_with(name)).map(|(_, address)| *address);
    let wants_a = query.len() >= 4 && query[query.len() - 4..query.len() - 2] == [0, 1];
    let mut answer = query[..2].to_vec();
    answer.extend(if address.is_some() { [0x81, 0x80] } else { [0x81, 0x83] });
    answer.extend([0, 1, 0, u8::from(address.is_some() && wants_a), 0, 0, 0, 0]);
    answer.extend(&query[12..]);
    if let Some(address) = address.filter(|_| wants_a) {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
        answer.extend(address);
    }
    answer
}

/// The head and the question of an answer: one that was cut off holds no records.
fn dns_head_of(answer: &[u8]) -> Vec<u8> {
    let question = answer[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut head = answer[..12 + question].to_vec();
    head[6..12].fill(0);
    head
}

/// A key for the tokens of service accounts, private and public, as PEM.
pub(crate) fn service_account_key() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (key.serialize_pem(), key.public_key_pem())
}

pub(crate) fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
}

/// Runs something on a thread of its own inside a network namespace.
pub(crate) fn inside<T: Send + 'static>(namespace: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let handle = fs::File::open(Path::new("/var/run/netns").join(namespace)).unwrap();
    let thread = thread::spawn(move || {
        setns(handle, CloneFlags::CLONE_NEWNET).unwrap();
        act()
    });
    thread.join().unwrap()
}
