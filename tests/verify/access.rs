//! Who gets in: kubeconfigs and environments as people have them, against a real API server, with kubectl beside it.
use super::common::cluster::{API, Cluster, FLEET, Process, base64, get_in, serve_in, tool};
use super::common::facts::within;
use super::{answer, command};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const HTTP_PROXY: &str = "127.0.0.1:3128";
const SOCKS_PROXY: &str = "127.0.0.1:1080";
/// A proxy that nobody serves.
const DEAD: &str = "http://127.0.0.1:9";

/// A way to be let in, or not.
struct Case {
    name: &'static str,
    /// What the kubeconfig holds; the file `KUBECONFIG` names unless `environment` says otherwise.
    config: Value,
    environment: Vec<(&'static str, String)>,
    args: Vec<&'static str>,
    /// `Ok`: it gets in. `Err`: it does not, and that is a part of the message.
    expected: Result<(), &'static str>,
    /// Why kubectl does something else; empty where it does the same.
    kubectl: &'static str,
}

impl Case {
    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    fn args(mut self, args: &[&'static str]) -> Self {
        self.args.extend(args);
        self
    }

    /// kubectl does something else, for this reason.
    fn unlike_kubectl(mut self, why: &'static str) -> Self {
        self.kubectl = why;
        self
    }
}

/// What the cases are made of.
struct Parts<'c> {
    cluster: &'c Cluster,
    token: String,
    certificate: String,
    key: String,
}

impl<'c> Parts<'c> {
    /// With the account of docs/verify.md, and a certificate that may do everything.
    fn of(cluster: &'c Cluster) -> Self {
        cluster.apply(&super::documented_permissions());
        let token = cluster.kubectl(&["create", "token", "-n", "guardprobe", "guardprobe-verify"]).trim().to_owned();
        let (certificate, key) = cluster.ca.pair(&[], "verify", Some("system:masters"));
        Parts { cluster, token, certificate, key }
    }

    fn cluster(&self) -> Value {
        json!({"server": format!("https://{API}"), "certificate-authority-data": base64(&self.cluster.ca.pem())})
    }

    fn user(&self) -> Value {
        json!({"token": self.token})
    }

    fn config(&self, cluster: Value, user: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}],
            "users": [{"name": "x", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        })
    }

    fn file(&self, name: &str, content: &str) -> String {
        self.cluster.file(name, content)
    }

    fn script(&self, name: &str, text: &str) -> String {
        let path = self.file(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// An exec plugin that prints this status.
    fn plugin(&self, name: &str, status: &Value) -> String {
        let answer = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status});
        self.script(name, &format!("cat <<'EOF'\n{answer}\nEOF"))
    }
}

fn with(mut value: Value, changes: Value) -> Value {
    for (key, change) in changes.as_object().unwrap() {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(key)),
            change => value[key] = change.clone(),
        }
    }
    value
}

fn case(name: &'static str, config: Value, expected: Result<(), &'static str>) -> Case {
    Case { name, config, environment: Vec::new(), args: Vec::new(), expected, kubectl: "" }
}

fn exec(command: &str, more: Value) -> Value {
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never"});
    json!({"exec": with(exec, more)})
}

const IN: Result<(), &str> = Ok(());

fn servers(parts: &Parts<'_>) -> Vec<Case> {
    let server = |text: &str, name, expected| {
        case(name, parts.config(with(parts.cluster(), json!({"server": text})), parts.user()), expected)
    };
    let ca = parts.cluster.ca.pem();
    let other = super::common::Ca::new().pem();
    let broken = "-----BEGIN CERTIFICATE-----\nMIIBszCC\n-----END CERTIFICATE-----\n";
    let authority = |name, changes, expected| {
        let cluster = with(parts.cluster(), json!({"certificate-authority-data": null}));
        case(name, parts.config(with(cluster, changes), parts.user()), expected)
    };
    let data = |text: &str| json!({"certificate-authority-data": base64(text)});
    let lines =
        |text: &str| text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n").collect::<String>();
    let file = parts.file("ca.pem", &ca);
    vec![
        server(&format!("https://{API}"), "https", IN),
        server(&format!("https://{API}/"), "a slash at the end", IN),
        server(API, "no scheme, with a CA", IN).unlike_kubectl("it asks over http, and is refused"),
        server(&format!(" https://{API} "), "spaces around the server", IN)
            .unlike_kubectl("it takes the spaces for a part of the URL"),
        server("", "an empty server", Err("cluster \"x\": it has no server: expected a URL such as")),
        server("https://", "no host", Err("expected a URL such as")),
        server("not a url", "words for a server", Err("expected a URL such as")),
        server(&format!("ftp://{API}"), "another scheme", Err("is no URL of a server")),
        server(&format!("http://{API}"), "http to a TLS port", Err("no answer")),
        server("https://10.90.0.10:1", "a wrong port", Err("no answer")),
        server("https://nowhere.invalid:6443", "a name that does not resolve", Err("no answer")),
        authority("no scheme and no CA", json!({"server": API}), Err("no answer")),
        authority("CA in a file", json!({"certificate-authority": file}), IN),
        authority("CA in a relative file", json!({"certificate-authority": "ca.pem"}), IN),
        authority("empty CA data, and a file", json!({"certificate-authority-data": "", "certificate-authority": file}), IN),
        authority("CA data with line breaks", json!({"certificate-authority-data": lines(&base64(&ca))}), IN),
        authority("a bundle", data(&format!("{other}{ca}")), IN),
        authority("a bundle with a broken one", data(&format!("{broken}{ca}")), IN),
        authority("words before the certificate", data(&format!("# our CA\n{ca}")), IN),
        authority("CA in CRLF lines", data(&ca.replace('\n', "\r\n")), IN),
        authority("another CA", data(&other), Err("certificate is not of the CA")),
        authority("no CA", json!({}), Err("not of one that this machine trusts")),
        authority(
            "a missing CA file",
            json!({"certificate-authority": "/nowhere/ca.pem"}),
            Err("certificate-authority /nowhere/ca.pem: No such file"),
        ),
        authority(
            "CA data that is no base64",
            json!({"certificate-authority-data": "***"}),
            Err("certificate-authority-data is no base64"),
        ),
        authority(
            "a server's own certificate as CA",
            data(&parts.cluster.ca.pair(&["kubernetes.default.svc"], "server", None).0),
            Err("holds a server's own certificate"),
        ),
        authority("CA data without a certificate", data("hello"), Err("certificate-authority-data holds no certificate")),
        authority("insecure-skip-tls-verify", json!({"insecure-skip-tls-verify": true}), IN),
        authority("tls-server-name", with(data(&ca), json!({"tls-server-name": "10.96.0.1"})), IN),
        authority(
            "a wrong tls-server-name",
            with(data(&ca), json!({"tls-server-name": "other.example"})),
            Err("not for this name"),
        ),
    ]
}

fn users(parts: &Parts<'_>) -> Vec<Case> {
    let user = |name, user, expected| case(name, parts.config(parts.cluster(), user), expected);
    let token = parts.token.as_str();
    let (certificate, key) = (base64(&parts.certificate), base64(&parts.key));
    let files = (parts.file("client.pem", &parts.certificate), parts.file("client.key", &parts.key));
    let by_certificate = json!({"client-certificate-data": certificate, "client-key-data": key});
    let old = json!({"client-certificate-data": base64(&version_1(parts)), "client-key-data": key});
    let provider = |name: &str, config| json!({"auth-provider": {"name": name, "config": config}});
    let half = token.len() / 2;
    let broken = format!("{}\n{}", &token[..half], &token[half..]);
    vec![
        user("a token", json!({"token": token}), IN),
        user("a token with a line break at its end", json!({"token": format!("{token}\n")}), IN)
            .unlike_kubectl("it refuses to send the header"),
        user(
            "a token with a line break in it",
            json!({"token": broken}),
            Err("user \"x\": token has line breaks: expected a token on one line"),
        ),
        user("an empty token and a certificate", with(by_certificate.clone(), json!({"token": ""})), IN),
        user("a token file", json!({"tokenFile": parts.file("token", token)}), IN),
        user("a token file with a line break", json!({"tokenFile": parts.file("token-line", &format!("{token}\n"))}), IN),
        user("a relative token file", json!({"tokenFile": "token"}), IN),
        user("a missing token file", json!({"tokenFile": "/nowhere/token"}), Err("tokenFile /nowhere/token: No such file")),
        user("a token file and a token", json!({"tokenFile": parts.file("token", token), "token": "old"}), IN),
        user("an empty token file", json!({"tokenFile": parts.file("token-empty", "")}), Err("is empty: expected a token")),
        user("an unknown token", json!({"token": "abc"}), Err("does not accept these credentials")),
        user("a certificate", by_certificate.clone(), IN),
        user("a certificate in files", json!({"client-certificate": files.0, "client-key": files.1}), IN),
        user("a certificate in relative files", json!({"client-certificate": "client.pem", "client-key": "client.key"}), IN),
        user(
            "a certificate without its key",
            json!({"client-certificate-data": certificate}),
            Err("it has a client-certificate and no client-key"),
        ),
        user(
            "a missing key file",
            json!({"client-certificate": files.0, "client-key": "/nowhere/key"}),
            Err("client-key /nowhere/key: No such file"),
        ),
        user("a certificate of version 1", old, Err("is of X.509 version 1")).unlike_kubectl("its TLS library sends version 1"),
        user("a certificate, and a plugin that is missing", with(by_certificate.clone(), exec("corp-cli", json!({}))), IN),
        user("an empty token file beside a token", json!({"tokenFile": parts.file("token-empty", ""), "token": token}), IN),
        user(
            "empty paths, and a token",
            json!({"tokenFile": "", "client-certificate": "", "client-key": "", "token": token}),
            IN,
        ),
        user("impersonation", with(by_certificate, json!({"as": "somebody", "as-groups": ["system:masters"]})), IN),
        user("a password", json!({"username": "admin", "password": "secret"}), Err("not permitted")),
        user("nobody", json!({}), Err("not permitted")),
        user("auth-provider gcp", provider("gcp", json!({})), Err("auth-provider \"gcp\" is gone")),
        user("auth-provider azure", provider("azure", json!({})), Err("expected kubelogin")),
        user(
            "auth-provider oidc",
            provider("oidc", json!({"id-token": token, "client-id": "x", "idp-issuer-url": "https://x"})),
            IN,
        ),
    ]
}

fn plugins(parts: &Parts<'_>) -> Vec<Case> {
    let user = |name, user, expected| case(name, parts.config(parts.cluster(), user), expected);
    let token = parts.token.as_str();
    let good = parts.plugin("good", &json!({"token": token}));
    let certificate = json!({"clientCertificateData": parts.certificate, "clientKeyData": parts.key});
    let wants_cluster = parts.script(
        "wants-cluster",
        &format!(
            "case \"$KUBERNETES_EXEC_INFO\" in *'\"server\":\"https://{API}\"'*) exec {good};; esac\necho no cluster >&2; exit 1"
        ),
    );
    let other_version = parts.script("other-version", "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"x\"}}'");
    let variables = json!({"args": ["--good"], "env": [{"name": "WHICH", "value": "good"}]});
    let by_variables = parts.script("by-variables", &format!("[ \"$1$WHICH\" = --goodgood ] && exec {good}; exit 3"));
    let complains = parts.script("complains", "echo 'session expired: run  corp login' >&2; exit 7");
    let hint = json!({"installHint": "Install it:\n  brew install corp-cli"});
    vec![
        user("a plugin", exec(&good, json!({})), IN),
        user("a plugin beside the kubeconfig", exec("./good", json!({})), IN),
        user("a plugin with arguments and variables", exec(&by_variables, variables), IN),
        user("a plugin that gives a certificate", exec(&parts.plugin("certificate", &certificate), json!({})), IN),
        user(
            "a plugin whose token expires",
            exec(&parts.plugin("expires", &json!({"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"})), json!({})),
            IN,
        ),
        user("a plugin that wants the cluster", exec(&wants_cluster, json!({"provideClusterInfo": true})), IN),
        user("a plugin without a terminal", exec(&good, json!({"interactiveMode": "IfAvailable"})), IN),
        user(
            "a plugin whose token ends in a line break",
            exec(&parts.plugin("line", &json!({"token": format!("{token}\n")})), json!({})),
            IN,
        )
        .unlike_kubectl("it refuses to send the header"),
        user(
            "a missing plugin",
            exec("corp-cli", hint),
            Err(
                "the exec plugin corp-cli was not found (PATH): install it. The kubeconfig says: Install it: brew install corp-cli",
            ),
        ),
        user("a plugin that fails", exec(&complains, json!({})), Err("failed (exit status 7): what it said is above")),
        user(
            "a plugin that says nonsense",
            exec(&parts.script("nonsense", "echo hello"), json!({})),
            Err("gave no ExecCredential: expected JSON"),
        ),
        user(
            "a plugin without an answer",
            exec(&parts.plugin("empty", &json!({})), json!({})),
            Err("gave neither a token nor a client certificate"),
        ),
        user(
            "a plugin of another version",
            exec(&other_version, json!({})),
            Err(
                "speaks apiVersion client.authentication.k8s.io/v1beta1, and the kubeconfig wants client.authentication.k8s.io/v1",
            ),
        ),
        user("a plugin that must have a terminal", exec(&good, json!({"interactiveMode": "Always"})), Err("needs a terminal")),
        user("a plugin without a command", exec("", json!({})), Err("has no command")),
        user(
            "a plugin that may not be run",
            exec(&parts.file("plain-file", "x"), json!({})),
            Err("cannot be started: Permission denied"),
        ),
    ]
}

fn files(parts: &Parts<'_>) -> Vec<Case> {
    let good = parts.config(parts.cluster(), parts.user());
    let path = parts.file("good.conf", &good.to_string());
    let clusters = parts.file("clusters.conf", &with(good.clone(), json!({"users": null})).to_string());
    let users = parts.file(
        "users.conf",
        &with(good.clone(), json!({"clusters": null, "contexts": null, "current-context": null})).to_string(),
    );
    let empty_context = parts.file("empty-context.conf", "apiVersion: v1\nkind: Config\ncurrent-context: \"\"\n");
    let secret = "s3cr3t-t0ken-0123456789";
    let malformed =
        parts.file("malformed.conf", &format!("apiVersion: v1\nusers:\n- name: x\n  user:\n    token: {secret}\n   bad\n"));
    let bom = parts.file("bom.conf", &format!("\u{feff}{good}"));
    let named = |name, value: &str, expected| case(name, Value::Null, expected).env("KUBECONFIG", value);
    fs::create_dir_all(parts.cluster.folder.join(".kube")).unwrap();
    parts.file(".kube/config", &good.to_string());
    vec![
        named("one file of two is missing", &format!("/nowhere/config:{path}"), IN),
        named("a cluster and its user in two files", &format!("{clusters}:{users}"), IN),
        named("an empty entry in KUBECONFIG", &format!("{path}:"), IN),
        named("an empty current context in the first of two files", &format!("{empty_context}:{path}"), IN),
        named("an empty KUBECONFIG, and ~/.kube/config", "", IN),
        named("a byte order mark", &bom, IN),
        named("no file at all", "/nowhere/config", Err("there is no kubeconfig")),
        named(
            "no file, and a context",
            "/nowhere/config",
            Err("no context \"prod\": there is no kubeconfig (KUBECONFIG names /nowhere/config)"),
        )
        .args(&["--context", "prod"]),
        named("a malformed file", &malformed, Err("malformed.conf: ")),
        named("an empty file", &parts.file("empty.conf", ""), Err("there is no kubeconfig with a current context")),
        case("unknown keys", with(good.clone(), json!({"preferences": {"colors": true}, "x-corp": {"a": 1}})), IN),
        case("no current context", with(good.clone(), json!({"current-context": ""})), Err("kubectl config use-context NAME")),
        case(
            "a context that is not there",
            with(good.clone(), json!({"current-context": "prod"})),
            Err("it has no context \"prod\": expected one of x"),
        ),
        case("--context", with(good.clone(), json!({"current-context": "prod"})), IN).args(&["--context", "x"]),
        case(
            "a cluster that is not there",
            with(good.clone(), json!({"clusters": []})),
            Err("context \"x\" has no cluster \"x\": expected one (there are none)"),
        ),
        case("a user that is not there", with(good, json!({"users": []})), Err("not permitted")),
    ]
}

fn proxies(parts: &Parts<'_>) -> Vec<Case> {
    let proxied = |name, url: &str, expected| {
        case(name, parts.config(with(parts.cluster(), json!({"proxy-url": url})), parts.user()), expected)
    };
    let plain = |name, expected| case(name, parts.config(parts.cluster(), parts.user()), expected);
    let by_http = format!("http://{HTTP_PROXY}");
    vec![
        proxied("proxy-url by http", &by_http, IN),
        proxied("proxy-url by socks5", &format!("socks5://{SOCKS_PROXY}"), IN),
        proxied("an empty proxy-url", "", IN),
        proxied("a dead proxy-url", DEAD, Err("no answer")),
        proxied("a dead proxy-url and NO_PROXY", DEAD, Err("no answer")).env("NO_PROXY", "10.90.0.10"),
        proxied("a proxy-url of another kind", "ftp://proxy:1", Err("proxy-url is no URL of a proxy: expected http://HOST:PORT")),
        proxied("a proxy-url without a scheme", HTTP_PROXY, Err("proxy-url")),
        plain("HTTPS_PROXY", IN).env("HTTPS_PROXY", &by_http),
        plain("https_proxy", IN).env("https_proxy", &by_http),
        plain("HTTPS_PROXY without a scheme", IN).env("HTTPS_PROXY", HTTP_PROXY),
        plain("HTTPS_PROXY by socks5", IN).env("HTTPS_PROXY", &format!("socks5://{SOCKS_PROXY}")),
        plain("HTTP_PROXY does not count for https", IN).env("HTTP_PROXY", DEAD),
        plain("a dead HTTPS_PROXY", Err("no answer")).env("HTTPS_PROXY", DEAD),
        plain("NO_PROXY names the server", IN).env("HTTPS_PROXY", DEAD).env("NO_PROXY", "example.com,10.90.0.10"),
        plain("no_proxy names its range", IN).env("HTTPS_PROXY", DEAD).env("no_proxy", "10.0.0.0/8"),
        plain("NO_PROXY with a port", IN).env("HTTPS_PROXY", DEAD).env("NO_PROXY", API),
        plain("NO_PROXY names the proxy itself", Err("no answer")).env("HTTPS_PROXY", DEAD).env("NO_PROXY", "127.0.0.1"),
        plain("NO_PROXY with a star", IN).env("HTTPS_PROXY", DEAD).env("NO_PROXY", "*.example,*"),
        proxied("a password for a socks5 proxy", "socks5://a:b@127.0.0.1:1080", Err("are not sent here"))
            .unlike_kubectl("it sends the password"),
        plain("an empty HTTPS_PROXY", IN).env("HTTPS_PROXY", ""),
    ]
}

/// A client certificate of X.509 version 1: without extensions, as `openssl x509 -req` makes them.
fn version_1(parts: &Parts<'_>) -> String {
    let folder = parts.cluster.folder.join("version-1");
    fs::create_dir_all(&folder).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "verify");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    let key = KeyPair::from_pem(&parts.key).unwrap();
    fs::write(folder.join("csr"), params.serialize_request(&key).unwrap().pem().unwrap()).unwrap();
    let (ca, ca_key) = parts.cluster.ca.files(&folder);
    let made = Command::new("openssl")
        .args(["x509", "-req", "-days", "2", "-in"])
        .arg(folder.join("csr"))
        .arg("-CA")
        .arg(ca)
        .arg("-CAkey")
        .arg(ca_key)
        .args(["-CAcreateserial"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

/// Runs a case: whether verify gets in and what it says; whether kubectl does and what it says.
fn run(cluster: &Cluster, case: &Case, nth: usize) -> [(bool, String); 2] {
    let file = cluster.file(&format!("case-{nth}.conf"), &case.config.to_string());
    let dressed = |mut command: Command| {
        if !case.config.is_null() {
            command.env("KUBECONFIG", &file);
        }
        command.envs(case.environment.iter().map(|(name, value)| (name, value)));
        answer(command.stdin(std::process::Stdio::null()).output().unwrap())
    };
    let (status, _, said) = dressed(command(cluster, &[], &[&["--wait", "1s"], case.args.as_slice()].concat()));
    assert!(!said.contains("panicked"), "{}: {said}", case.name);
    let is_in = said.contains("no reporter in namespace guardprobe");
    assert_eq!(status == 2, !is_in && !said.contains("not proven"), "{}: {status} {said}", case.name);
    let mut kubectl = Command::new("ip");
    kubectl.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &cluster.folder);
    kubectl.args(["netns", "exec", &cluster.hub(), "timeout", "20"]).arg(tool("kubectl"));
    kubectl.args(["get", "pods", "-n", "guardprobe", "--request-timeout=5s"]).args(&case.args);
    let (status, _, words) = dressed(kubectl);
    [(is_in, said), (status == 0, words)]
}

#[test]
fn verify_gets_in_wherever_kubectl_does_and_says_why_where_it_does_not() {
    let cluster = Cluster::new();
    let parts = Parts::of(&cluster);
    let _proxies = forward_proxies(&cluster);
    let cases: Vec<Case> =
        [servers(&parts), users(&parts), plugins(&parts), files(&parts), proxies(&parts)].into_iter().flatten().collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let one = || {
        while let Some((nth, case)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|nth| Some((nth, cases.get(nth)?))) {
            let [(is_in, said), (kubectl_in, words)] = run(&cluster, case, nth);
            let last = |text: &str| text.trim().lines().last().unwrap_or_default().to_owned();
            println!(
                "{:<44} {:<4} {:<4} {}",
                case.name,
                if is_in { "in" } else { "out" },
                if kubectl_in { "in" } else { "out" },
                if is_in { case.kubectl.to_owned() } else { last(&said) }
            );
            let expected = match case.expected {
                Ok(()) => is_in,
                Err(part) => !is_in && said.contains(part),
            };
            let same = (is_in == kubectl_in) == case.kubectl.is_empty();
            if !expected || !same || said.contains("s3cr3t") || said.contains("Error {") || said.contains("Other(") {
                wrong.lock().unwrap().push(format!(
                    "{}: expected {:?}, kubectl {kubectl_in} ({}): {}",
                    case.name,
                    case.expected,
                    last(&words),
                    said.trim()
                ));
            }
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(one))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Real forward proxies in the hub, which is where the API server can be reached.
fn forward_proxies(cluster: &Cluster) -> Vec<Process> {
    let (host, port) = HTTP_PROXY.split_once(':').unwrap();
    let config =
        cluster.file("tinyproxy.conf", &format!("Listen {host}\nPort {port}\nConnectPort {}\n", API.rsplit(':').next().unwrap()));
    let start = |program: &str, args: &[&str]| {
        let mut command = Command::new("ip");
        Process::start(command.args(["netns", "exec", &cluster.hub(), program]).args(args))
    };
    let (host, port) = SOCKS_PROXY.split_once(':').unwrap();
    let all = vec![start("tinyproxy", &["-d", "-c", &config]), start("microsocks", &["-i", host, "-p", port])];
    for address in [HTTP_PROXY, SOCKS_PROXY] {
        within(Duration::from_secs(10), "a proxy listens", || cluster.reaches(address));
    }
    all
}

#[test]
fn a_plugin_is_asked_once_and_is_ended_with_all_that_it_started() {
    let cluster = Cluster::new();
    let parts = Parts::of(&cluster);
    let runs = cluster.folder.join("runs");
    let status = json!({"token": parts.token, "expirationTimestamp": "2099-01-01T00:00:00Z"});
    let good = parts.plugin("once", &status);
    let counted = parts.script("counted", &format!("echo run >>{}\nexec {good}", runs.display()));
    let config = cluster.file("once.conf", &parts.config(parts.cluster(), exec(&counted, json!({}))).to_string());
    let (status, _, said) = answer(command(&cluster, &[], &["--wait", "5s"]).env("KUBECONFIG", config).output().unwrap());
    assert!(status == 3 && said.contains("no reporter in namespace guardprobe"), "{said}");
    assert_eq!(fs::read_to_string(&runs).unwrap(), "run\n", "several calls, one run");
    // One that hangs, with a child of its own.
    let pids = cluster.folder.join("pids");
    let hangs = parts.script("hangs", &format!("sleep 600 & echo $$ $! >{}\nwait", pids.display()));
    let config = cluster.file("hangs.conf", &parts.config(parts.cluster(), exec(&hangs, json!({}))).to_string());
    let (status, _, said) = answer(command(&cluster, &[], &["--wait", "1s"]).env("KUBECONFIG", config).output().unwrap());
    assert!(status == 2 && said.contains("hangs gave no credentials within") && said.contains("and was ended"), "{said}");
    for pid in fs::read_to_string(&pids).unwrap().split_whitespace() {
        let gone = || if fs::metadata(format!("/proc/{pid}")).is_err() { Ok(()) } else { Err(pid.to_owned()) };
        within(Duration::from_secs(5), "the plugin's processes are gone", gone);
    }
}

/// An ingress: ends TLS, lets in who has the token, and passes one request on to the reporter's fleet port.
fn ingress(cluster: &Cluster, at: &str) {
    let (certificate, key) = cluster.ca.pair(&["localhost"], "ingress", None);
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let hub = cluster.hub();
    serve_in(&cluster.hub(), at.parse().unwrap(), move |stream| {
        let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        if !head.to_lowercase().contains("authorization: bearer s3cret\r\n") {
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        let (status, body) = get_in(&hub, FLEET, &path).unwrap();
        let length = body.len();
        let _ = stream
            .write_all(format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
}

#[test]
fn a_reporter_behind_an_ingress_is_asked_over_tls_and_with_a_token() {
    let cluster = Cluster::new();
    cluster.reporter_access();
    let _reporter = cluster.quick_reporter();
    ingress(&cluster, "127.0.0.1:9443");
    let (ca, other) =
        (cluster.file("ingress-ca.pem", &cluster.ca.pem()), cluster.file("other-ca.pem", &super::common::Ca::new().pem()));
    let (token, wrong) = (cluster.file("good-token", "s3cret\n"), cluster.file("wrong-token", "other"));
    let (url, address) = ("https://localhost:9443", "https://127.0.0.1:9443");
    for (args, status, expected) in [
        (vec!["--url", url, "--ca-file", &ca, "--bearer-token-file", &token], 3, "no agents"),
        (
            vec!["--url", url, "--ca-file", &ca, "--bearer-token-file", &wrong],
            2,
            "it wants credentials (--bearer-token-file FILE)",
        ),
        (vec!["--url", url, "--ca-file", &ca], 2, "it wants credentials (--bearer-token-file FILE)"),
        (
            vec!["--url", url, "--ca-file", &other],
            3,
            "its certificate is not of a CA that is trusted here: --ca-file FILE names the CA",
        ),
        (vec!["--url", url], 3, "its certificate is not of a CA that is trusted here"),
        (vec!["--url", "https://127.0.0.1:9799", "--ca-file", &ca], 3, "it speaks no TLS: expected --url http://HOST:PORT"),
        (vec!["--url", address, "--ca-file", &token], 2, "holds no certificate"),
    ] {
        let (is, _, said) = answer(command(&cluster, &[], &[&["--wait", "10s"], args.as_slice()].concat()).output().unwrap());
        assert!(is == status && said.contains(expected) && !said.contains("s3cret"), "{args:?}: {is} {said}");
    }
}

#[test]
fn a_watch_stays_with_its_cluster_and_a_browser_that_a_plugin_opens_holds_nothing_up() {
    let cluster = Cluster::new();
    let parts = Parts::of(&cluster);
    // A process that the plugin leaves behind holds its output open.
    let pids = cluster.folder.join("browser");
    let good = parts.plugin("quick", &json!({"token": parts.token}));
    let leaves = parts.script("leaves", &format!("sleep 30 & echo $! >{}\nexec {good}", pids.display()));
    let config = cluster.file("leaves.conf", &parts.config(parts.cluster(), exec(&leaves, json!({}))).to_string());
    let began = Instant::now();
    let (status, _, said) = answer(command(&cluster, &[], &["--wait", "1s"]).env("KUBECONFIG", config).output().unwrap());
    assert!(status == 3 && said.contains("no reporter in namespace guardprobe"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let pid = fs::read_to_string(&pids).unwrap().trim().to_owned();
    assert!(fs::metadata(format!("/proc/{pid}")).is_ok(), "what it left on purpose goes on");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
    // Credentials end within the margin, so each look fetches them anew: from the kubeconfig as it was.
    let status = json!({"token": parts.token, "expirationTimestamp": "2000-01-01T00:00:00Z"});
    let runs = cluster.folder.join("expired-runs");
    let expired = parts.plugin("expired", &status);
    let expired = parts.script("counted-expired", &format!("echo run >>{}\nexec {expired}", runs.display()));
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    let config = cluster.file("watched.conf", &parts.config(parts.cluster(), exec(&expired, json!({}))).to_string());
    let watch = Process::start(command(&cluster, &[], &["--watch", "--wait", "5s"]).env("KUBECONFIG", &config));
    watch.until_said("no reporter in namespace guardprobe");
    fs::write(&config, "nonsense").unwrap();
    let before = count();
    within(Duration::from_secs(20), "it has logged in anew twice", || {
        let runs = count() - before;
        if runs >= 2 { Ok(()) } else { Err(format!("{runs}")) }
    });
    assert!(!watch.stderr().contains("nonsense") && !watch.stderr().contains("kubeconfig"), "{}", watch.stderr());
}
