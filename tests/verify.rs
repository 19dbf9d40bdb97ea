//! `guardprobe verify`: from a laptop, here a namespace of its own, against a real reporter, a real API server and real agents.
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
#[path = "verify/access.rs"]
mod access;
mod common;

use common::cluster::{API, Cluster, GUARD, Process, QUICK};
use common::facts::within;
use common::{documented_permissions, own_namespace};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const URL: &str = "http://127.0.0.1:9799";

/// `guardprobe verify` in the hub, where the reporter's loopback is.
fn command(cluster: &Cluster, before: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
    command.env("HOME", &cluster.folder).args(["netns", "exec", &cluster.hub()]).args(before);
    command.arg(env!("CARGO_BIN_EXE_guardprobe")).arg("verify").args(args);
    command
}

/// What it answered: its exit status, standard output, standard error.
fn verify(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    answer(command(cluster, &[], args).output().unwrap())
}

fn answer(output: Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn it_waits_for_a_round_of_each_node_that_began_after_the_question_and_exits_by_the_worst() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|nth| cluster.node(nth));
    let (_first, second) = (one.agent(), two.agent());
    let _reporter = cluster.quick_reporter();
    for node in ["node-1", "node-2"] {
        cluster.until_row(node, SOON, &["covered", "imds blocked"]);
    }
    // 0: all blocked.
    let began = Instant::now();
    let (status, said, complaint) = verify(&cluster, &["--url", URL]);
    println!("two nodes verified after {:?}\n{said}", began.elapsed());
    assert_eq!(status, 0, "{said}{complaint}");
    assert!(said.contains("blocked     default/deny  2 nodes  imds 2 silence"), "{said}");
    assert!(
        said.contains("BLOCKED  All that was tried is blocked on 2 nodes, by rounds that began after the question."),
        "{said}"
    );

    // Nobody reads what it complains of: the answer is the same.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(command(&cluster, &[], &["--url", URL]).stderr(full).output().unwrap().status.code(), Some(0));

    // A node that answers late is waited for: its agent stands still, and goes on.
    second.signal(Signal::SIGSTOP);
    let mut waits = Process::start(&mut command(&cluster, &[], &["--url", URL, "--wait", "1m", "-o", "json"]));
    waits.until_said("1 of 2 have answered; waiting for node-2");
    assert_eq!(waits.ended(), None, "it waits for node-2");
    second.signal(Signal::SIGCONT);
    let status = within(SOON, "it ends", || waits.ended().ok_or_else(|| "it runs".to_owned()));
    let (said, complaint) = (waits.stdout(), waits.stderr());
    assert_eq!(status, 0, "{said}{complaint}");
    assert!(complaint.contains("of 2 have answered; waiting for"), "{complaint}");
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&document["schema"], &document["exit_status"], &document["verdict"]),
        (&"guardprobe.verify/v1".into(), &0.into(), &"blocked".into())
    );
    assert_eq!(document["places"][1]["answered"], "fresh");

    // 3: it never answers; a report from before never satisfies, whatever the clock of this machine says.
    second.signal(Signal::SIGSTOP);
    for offset in ["-1h", "+1h"] {
        let before = ["faketime", "-f", offset];
        let shown = || {
            let hours = if offset == "-1h" { -1 } else { 1 };
            let there = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
            format!("asked at {}", there.to_string().get(..15).unwrap())
        };
        let first = shown();
        let args = ["--url", URL, "--wait", "5s"];
        let (status, said, complaint) = answer(command(&cluster, &before, &args).output().unwrap());
        assert_eq!(status, 3, "{offset}: {said}{complaint}");
        assert!(said.contains("NOT PROVEN  default/deny  node-2"), "{said}");
        assert!(said.contains(&first) || said.contains(&shown()), "its clock is off: {said}");
    }
    second.signal(Signal::SIGCONT);
    cluster.until_row("node-2", SOON, &["covered", "imds blocked"]);
    let (status, said, _) = answer(command(&cluster, &["faketime", "-f", "+1h"], &["--url", URL]).output().unwrap());
    assert_eq!(status, 0, "an hour ahead: {said}");

    // 1: the guard is gone on a node.
    two.unguard();
    cluster.until_row("node-2", SOON, &["covered", "imds breached"]);
    let (status, said, _) = verify(&cluster, &["--url", URL]);
    assert_eq!(status, 1, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("BREACHED    default/deny  node-2  imds  token_issued"), "the worst first: {said}");
    assert!(lines[1].contains("as far as layer http at 169.254.169.254:80."), "{said}");
    assert!(said.contains("blocked     default/deny  1 node  imds 1 silence"), "{said}");
    assert_eq!(verify(&cluster, &["--url", URL, "--node", "node-1"]).0, 0, "the other one alone is fine");
    let (_, junit, _) = verify(&cluster, &["--url", URL, "-o", "junit"]);
    assert!(
        junit.contains(r#"<testcase name="node-2 imds" classname="default/deny">"#) && junit.contains(r#"failures="1""#),
        "{junit}"
    );
    let (_, markdown, _) = verify(&cluster, &["--url", URL, "-o", "markdown"]);
    assert!(markdown.contains("| BREACHED | default/deny | node-2 | imds | token\\_issued |"), "{markdown}");
    two.guard();
    // 3: less proof than is asked for.
    cluster.until_row("node-2", SOON, &["covered", "imds blocked"]);
    let (status, said, _) = verify(&cluster, &["--url", URL, "--proof", "witnessed", "--wait", "8s"]);
    assert!(status == 3 && said.contains("unproved"), "{said}");
}

/// The object of a reporter's pod that is ready, on a node that nobody runs.
fn pod_of_a_reporter(cluster: &Cluster) {
    cluster.bare_nodes(1);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "reporter-1", "namespace": "guardprobe", "labels": {"app.kubernetes.io/component": "reporter"}},
        "spec": {"nodeName": "bare-0000", "containers": [{"name": "reporter", "image": "x"}], "tolerations": [{"operator": "Exists"}]},
    });
    cluster.apply(&pod.to_string());
    let status = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    cluster.kubectl(&["patch", "pod", "-n", "guardprobe", "reporter-1", "--subresource=status", "--type=merge", "-p", status]);
}

#[test]
fn what_stands_in_the_way_is_said_with_what_helps() {
    let cluster = Cluster::new();
    // 2: usage, configuration, permissions.
    for (args, expected) in [
        (&["--url", "ftp://reporter.example"][..], "ftp is not spoken here"),
        (&["--proof", "some"], "expected weak, silence, rejected or witnessed"),
        (&["--wait", "soon"], "--wait"),
        (&[], "or --url http://HOST:PORT of a reporter that you reach otherwise"),
    ] {
        let (status, _, complaint) = verify(&cluster, args);
        assert!(status == 2 && complaint.contains(expected), "{args:?}: {status} {complaint}");
    }
    // 3: nobody there.
    let (status, _, complaint) = verify(&cluster, &["--url", URL]);
    assert!(status == 3 && complaint.contains("nobody answers at 127.0.0.1:9799"), "{complaint}");
    let admin = cluster.folder.join("admin.conf");
    let by_kubeconfig = |config: &std::path::Path, args: &[&str]| {
        answer(command(&cluster, &[], args).env("KUBECONFIG", config).output().unwrap())
    };
    let (status, _, complaint) = by_kubeconfig(&admin, &[]);
    assert!(status == 3 && complaint.contains("no reporter in namespace guardprobe"), "{complaint}");
    let (status, _, complaint) = by_kubeconfig(&admin, &["--context", "staging"]);
    assert!(status == 2 && complaint.contains("it has no context \"staging\": expected one of x"), "{complaint}");
    // A program that gives the credentials, and takes its time.
    let runs = cluster.folder.join("plugin-runs");
    let script = format!(": >{}; exec sleep 8", runs.display());
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script], "interactiveMode": "Never"});
    let slow = cluster.kubeconfig("slow.conf", API, json!({"exec": exec}));
    let mut asks = Process::start(command(&cluster, &[], &[]).env("KUBECONFIG", slow));
    within(SOON, "the program runs", || if runs.exists() { Ok(()) } else { Err(asks.stderr()) });
    let began = Instant::now();
    asks.signal(Signal::SIGINT);
    assert_eq!(asks.status(), 130);
    assert!(began.elapsed() < Duration::from_secs(5), "it does not wait for that program: {:?}", began.elapsed());
    // The reporter's own account may not do what verify does.
    cluster.reporter_access();
    let (status, _, complaint) = by_kubeconfig(&cluster.folder.join("reporter.conf"), &[]);
    assert!(
        status == 2 && complaint.contains("not permitted") && complaint.contains("kubectl auth can-i get pods/portforward"),
        "{complaint}"
    );

    // With the permissions of the page it gets as far as the kubelet, which this cluster lacks.
    cluster.apply(&documented_permissions());
    let token = cluster.kubectl(&["create", "token", "-n", "guardprobe", "guardprobe-verify"]);
    let config = cluster.kubeconfig("verify.conf", API, json!({"token": token.trim()}));
    let (status, _, complaint) = by_kubeconfig(config.as_ref(), &[]);
    assert!(status == 3 && complaint.contains("no reporter in namespace guardprobe"), "{complaint}");
    pod_of_a_reporter(&cluster);
    let (status, _, complaint) = by_kubeconfig(config.as_ref(), &[]);
    assert!(status == 3 && complaint.contains("no port-forward to guardprobe/reporter-1"), "{complaint}");
    // Neither verb is enough alone.
    for verb in ["get", "create"] {
        cluster.apply(&documented_permissions().replace("[get, create]", &format!("[{verb}]")));
        let (status, _, complaint) = by_kubeconfig(config.as_ref(), &[]);
        assert!(status == 2 && complaint.contains("not permitted"), "{verb}: {complaint}");
    }
    cluster.kubectl(&["delete", "pod", "-n", "guardprobe", "reporter-1", "--grace-period=0", "--force"]);
    cluster.kubectl(&["delete", "node", "bare-0000"]);

    let _reporter = cluster.quick_reporter();
    let (status, _, complaint) = verify(&cluster, &["--url", "http://127.0.0.1:9798"]);
    assert!(status == 3 && complaint.contains("expected a reporter's fleet port (9799)"), "{complaint}");
    let (status, _, complaint) = verify(&cluster, &["--url", URL]);
    assert!(status == 3 && complaint.contains("no agents"), "{complaint}");
    let node = cluster.node(1);
    let _agent = node.agent_with(&format!("guard: {GUARD}\n{QUICK}targets: [{{name: imds, kind: imds}}]\n"), &[]);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    let (status, _, complaint) = verify(&cluster, &["--url", URL, "--guard", "default/dney"]);
    assert!(status == 2 && complaint.contains("knows no guard default/dney: there are default/deny"), "{complaint}");
}

#[test]
fn a_breach_that_ends_without_proof_goes_from_one_to_three() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let _reporter = cluster.quick_reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    node.unguard();
    cluster.until_row("node-1", SOON, &["covered", "imds breached"]);
    assert_eq!(verify(&cluster, &["--url", URL]).0, 1);
    // The guard is back, and answers with a reset, as a closed port does.
    cluster.nft("add rule ip guard in iifname v1 ip daddr 169.254.169.254 reject with tcp reset");
    cluster.until_row("node-1", SOON, &["covered", "imds inconclusive refused"]);
    let (status, said, complaint) = verify(&cluster, &["--url", URL, "--wait", "5s"]);
    assert_eq!(status, 3, "{said}{complaint}");
    assert!(said.contains("refused"), "{said}");
    node.guard();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    assert_eq!(verify(&cluster, &["--url", URL]).0, 0);
}

#[test]
fn an_interrupted_one_says_so_and_leaves_nothing() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let agent = node.agent();
    let _reporter = cluster.quick_reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    agent.signal(Signal::SIGSTOP);
    let mut waits = Process::start(&mut command(&cluster, &[], &["--url", URL]));
    waits.until_said("waiting for node-1");
    waits.signal(Signal::SIGINT);
    within(SOON, "it ends", || waits.ended().ok_or_else(|| "it runs".to_owned()));
    assert_eq!(waits.status(), 130);
    assert!(waits.stderr().contains("interrupted; nothing was left behind"), "{}", waits.stderr());
    agent.signal(Signal::SIGCONT);
}

#[test]
fn who_watches_is_told_of_each_change_and_of_a_reporter_that_is_away() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let mut reporter = cluster.quick_reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    let watch = Process::start(&mut command(&cluster, &[], &["--url", URL, "--watch"]));
    let answers = || -> Vec<String> {
        let said = watch.stdout();
        let last = said.lines().filter(|line| line.starts_with("BLOCKED  ") || line.starts_with("BREACHED  P"));
        last.map(|line| line.split_once(' ').unwrap().0.to_owned()).collect()
    };
    let until = |expected: &[&str]| {
        within(SOON, &expected.join(", "), || if answers() == expected { Ok(()) } else { Err(watch.stdout() + &watch.stderr()) });
    };
    until(&["BLOCKED"]);
    node.unguard();
    until(&["BLOCKED", "BREACHED"]);
    node.guard();
    until(&["BLOCKED", "BREACHED", "BLOCKED"]);
    reporter.kill();
    watch.until_said("not proven: nobody answers at 127.0.0.1:9799");
    let _another = cluster.quick_reporter();
    until(&["BLOCKED", "BREACHED", "BLOCKED", "BLOCKED"]);
    assert_eq!(watch.stderr().matches("not proven: nobody answers").count(), 1, "{}", watch.stderr());
}

#[test]
#[ignore = "minutes: ./test slow runs it"]
fn five_thousand_nodes_are_verified_within_a_minute() {
    let cluster = Cluster::new();
    let agents = cluster.simulated(5000);
    let _reporter = cluster.reporter_under(&["prlimit", "--nofile=128:8192"]);
    cluster.until_ready();
    within(2 * SOON, "all are covered", || {
        let covered = cluster.metrics().value("guardprobe_fleet_nodes", &[("state", "covered")]);
        if covered == 5000.0 { Ok(()) } else { Err(covered.to_string()) }
    });
    let measured = |what: &str| {
        let began = Instant::now();
        let (status, said, complaint) =
            answer(command(&cluster, &["/usr/bin/time", "-f", "peak %M KiB"], &["--url", URL]).output().unwrap());
        let peak = complaint.lines().last().unwrap_or_default().to_owned();
        println!("{what}: {status} after {:.1} s, {peak}", began.elapsed().as_secs_f64());
        (status, said)
    };
    let (status, said) = measured("5,000 nodes, all blocked");
    assert!(status == 0 && said.contains("5000 nodes  imds 5000 silence"), "{said}");
    agents.breach(5000);
    let (status, said) = measured("5,000 nodes, all open");
    assert!(status == 1 && said.contains("on 5000 of 5000 nodes"), "{}", said.lines().last().unwrap());
}
