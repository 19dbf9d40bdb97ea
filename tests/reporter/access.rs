//! What the reporter may do, and whom it asks.
use crate::common::cluster::{Cluster, GUARD, Process, QUICK, guard_namespace, reporter_permissions, serve_in};
use crate::common::facts::{eventually, within};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const REPORTER: &str = "system:serviceaccount:guardprobe:guardprobe-reporter";

/// `verb resource` of each request of a user, and whether one of them was forbidden.
fn asked(audit: &[Value], user: &str) -> (BTreeSet<String>, Vec<String>) {
    let of = audit.iter().filter(|entry| entry["user"]["username"] == user);
    let word =
        |entry: &Value| format!("{} {}", entry["verb"].as_str().unwrap(), entry["objectRef"]["resource"].as_str().unwrap_or("-"));
    let forbidden = of.clone().filter(|entry| entry["responseStatus"]["code"] == 403).map(word).collect();
    (of.map(word).collect(), forbidden)
}

#[test]
fn with_the_permissions_that_are_shipped_nothing_is_forbidden_and_agents_ask_nothing() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let configuration = format!(
        "guard: {GUARD}\n{QUICK}targets: [{{name: imds, kind: imds}}, {{name: kube-api, kind: kube-api, caFile: {}}}]\n",
        ca(&cluster)
    );
    let _agent = node.agent_with(&configuration, &[]);
    let mut reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked", "kube-api blocked"]);
    node.unguard();
    cluster.until_told(SOON, &["EgressBreached node-1 imds", "EgressBreached node-1 kube-api"]);
    node.guard();
    within(SOON, "both are over", || if cluster.told().len() == 4 { Ok(()) } else { Err(format!("{:?}", cluster.told())) });
    reporter.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(reporter.status(), 0);
    let audit = cluster.audit();
    let (requests, forbidden) = asked(&audit, REPORTER);
    assert_eq!(forbidden, Vec::<String>::new());
    let wanted = [
        "create events",
        "get leases",
        "list daemonsets",
        "list endpointslices",
        "list events",
        "list nodes",
        "list pods",
        "list services",
        "patch configmaps",
        "patch leases",
        "watch daemonsets",
        "watch endpointslices",
        "watch events",
        "watch nodes",
        "watch pods",
        "watch services",
    ];
    assert_eq!(requests.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    // An agent that reached the API server has shaken hands with it, and asked nothing.
    let strangers: Vec<&Value> =
        audit.iter().filter(|entry| entry["sourceIPs"][0].as_str().is_some_and(|ip| ip.starts_with("10.91."))).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    let holder =
        cluster.kubectl(&["get", "lease", "-n", "guardprobe", "guardprobe-reporter", "-o", "jsonpath={.spec.holderIdentity}"]);
    assert_eq!(holder, "", "it has given the Lease up");
}

fn ca(cluster: &Cluster) -> String {
    cluster.folder.join("ca.crt").to_string_lossy().into_owned()
}

#[test]
fn with_one_permission_less_it_says_which_and_goes_on_with_the_rest() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let take = |kind: &str, name: &str, namespace: &str, resource: &str| {
        let read = cluster.kubectl(&["get", kind, name, "-n", namespace, "-o", "json"]);
        let mut role: Value = serde_json::from_str(&read).unwrap();
        let rules = role["rules"].as_array_mut().unwrap();
        rules.retain(|rule| rule["resources"][0] != resource);
        let rules = json!({ "rules": rules }).to_string();
        cluster.kubectl(&["patch", kind, name, "-n", namespace, "--type=merge", "-p", &rules]);
    };
    let guards = guard_namespace();
    for (kind, name, namespace, resource) in [
        ("role", "guardprobe-reporter-guards", guards.as_str(), "services"),
        ("role", "guardprobe-reporter", "guardprobe", "leases"),
        ("role", "guardprobe-reporter-nodes", "default", "events"),
        ("role", "guardprobe-reporter-guards", guards.as_str(), "events"),
    ] {
        take(kind, name, namespace, resource);
    }
    let reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked silence"]);
    for missing in ["services", "leases", "events"] {
        eventually(missing, || {
            let said = reporter.stderr();
            let found = said.lines().any(|line| {
                line.contains("forbidden")
                    && line.contains(&format!("resource \"{missing}\""))
                    && line.contains("goes on with the rest")
            });
            if found { Ok(()) } else { Err(said) }
        });
    }
    node.unguard();
    cluster.until_row("node-1", SOON, &["covered", "imds breached token_issued"]);
    let metrics = cluster.metrics();
    assert_eq!(metrics.value("guardprobe_fleet_breached", &[("node", "node-1")]), 1.0);
    assert_eq!(metrics.value("guardprobe_api_trouble", &[("what", "the lease")]), 1.0);
    // With the permissions back what is still true is told.
    cluster.apply(&reporter_permissions());
    within(Duration::from_secs(60), "the breach is told", || {
        if cluster.told() == ["EgressBreached node-1 imds"] { Ok(()) } else { Err(reporter.stderr()) }
    });
}

/// Something at an agent's port that is no agent.
fn hostile(cluster: &Cluster, nth: u8, handler: impl Fn(TcpStream) + Send + Sync + 'static) {
    let node = cluster.node(nth);
    serve_in(&node.pod(), SocketAddr::from(([0, 0, 0, 0], 9797)), handler);
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn read_request(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    stream.read(&mut buffer).is_ok_and(|length| length > 0)
}

#[test]
fn a_hostile_agent_changes_nothing_outside_its_own_row() {
    let cluster = Cluster::new();
    let good = cluster.node(1);
    let _agent = good.agent();
    hostile(&cluster, 2, |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"8\r\naaaaaaaa\r\n").is_ok() {}
    });
    hostile(&cluster, 3, |mut stream| {
        while read_request(&mut stream)
            && stream.write_all(answer("{\"schema\":\"guardprobe.report/v1\",\"x\":").as_bytes()).is_ok()
        {}
    });
    hostile(&cluster, 4, |mut stream| {
        read_request(&mut stream);
        while stream.write_all(b"H").is_ok() {
            sleep(Duration::from_secs(1));
        }
    });
    hostile(&cluster, 5, |mut stream| {
        let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);
        let _ = stream.read(&mut [0; 4096]);
    });
    let asked_elsewhere = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked_elsewhere);
    cluster.serve("10.90.0.10:8080", move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    hostile(&cluster, 6, |mut stream| {
        read_request(&mut stream);
        let _ =
            stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://10.90.0.10:8080/v1/report\r\nContent-Length: 0\r\n\r\n");
    });
    // A report of somebody else's node, with a breach that began tomorrow and a target that nobody else has.
    let lie = |round: usize| {
        let opening = json!({"id": format!("ffff.{round}"), "started": "2030-01-01T00:00:00Z", "last_connected": "2030-01-01T00:00:00Z",
                             "layer": "http", "evidence": "token_issued", "addresses": ["169.254.169.254:80"]});
        let recent: Vec<Value> = (0..16)
            .map(|nth| {
                let mut closed = opening.clone();
                closed["id"] = json!(format!("ffff.{}", round * 100 + nth));
                closed["ended"] = json!("2029-12-31T00:00:00Z");
                closed["transient"] = json!(false);
                closed
            })
            .collect();
        let target = |name: &str| {
            json!({"name": name, "kind": "imds", "verdict": "breached", "finding": "breached", "reason": "token_issued", "rule": 1, "why": "",
                   "since": "2030-01-01T00:00:00Z", "opening": opening, "recent": recent, "startup_exposure_seconds": 0.0, "observations": []})
        };
        json!({"schema": "guardprobe.report/v1", "guard": "default/another", "role": "agent", "node": "node-1", "pod": null, "version": "9",
               "config_hash": "x", "endpoints_revision": null, "boot": "ffff", "round": round, "started": "2030-01-01T00:00:00Z",
               "finished": "2030-01-01T00:00:01Z", "age_seconds": 0.0, "interval_seconds": 15.0, "verdict": "breached",
               "targets": [target("imds"), target("invented")], "controls": []})
        .to_string()
    };
    // A report as old as can be, which then is not followed by another.
    let old = lie(0).replace("\"age_seconds\":0.0", "\"age_seconds\":1.8446744073709549568e19");
    hostile(&cluster, 8, move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(answer(&old).as_bytes());
        sleep(Duration::from_secs(60));
    });
    let round = AtomicUsize::new(1);
    hostile(&cluster, 7, move |mut stream| {
        while read_request(&mut stream)
            && stream.write_all(answer(&lie(round.fetch_add(1, Ordering::Relaxed))).as_bytes()).is_ok()
        {}
    });
    let reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked silence"]);
    cluster.until_row("node-7", SOON, &["covered", "imds breached", "invented breached"]);
    sleep(Duration::from_secs(20));
    assert_eq!(cluster.row("node-1"), ["covered", "imds blocked silence"]);
    assert_eq!(asked_elsewhere.load(Ordering::Relaxed), 0, "a redirect is not followed");
    for nth in [2, 3, 4, 5, 6, 8] {
        assert_eq!(cluster.row(&format!("node-{nth}")), ["grace: new_node"]);
    }
    let trouble = |nth: usize| {
        let fleet = cluster.fleet();
        let rows = fleet["rows"].as_array().unwrap();
        rows.iter().find(|row| row["node"] == format!("node-{nth}")).unwrap()["trouble"].as_str().unwrap_or_default().to_owned()
    };
    for (nth, why) in [
        (2, "length limit"),
        (3, "not a report"),
        (5, "10.91.5.2:9797"),
        (6, "answered with status 302"),
        (8, "age_seconds is 1844674407370955"),
    ] {
        let told = trouble(nth);
        assert!(told.contains(why), "{nth}: {told}");
    }
    // The good node's breach is told in time, whatever the others do.
    let before = cluster.told();
    let others: Vec<&String> = before.iter().filter(|told| !told.contains("node-7")).collect();
    assert!(others.is_empty(), "{before:?}");
    good.unguard();
    within(Duration::from_secs(4), "node-1 is told of", || {
        let told = cluster.told();
        if told.contains(&"EgressBreached node-1 imds".to_owned()) { Ok(()) } else { Err(format!("{told:?}")) }
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", reporter.pid())).unwrap();
    let rss: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    println!("RssAnon {rss} kB");
    assert!(rss < 40_000, "{rss} kB");
}

#[test]
fn a_pod_with_the_agents_label_that_is_not_ours_is_not_asked() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let stranger = cluster.bare(2);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    serve_in(&stranger.pod(), SocketAddr::from(([0, 0, 0, 0], 9797)), move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let mut pod = stranger.pod_object("stranger", "agent", "no-uid");
    pod["metadata"]["ownerReferences"] = json!([]);
    cluster.objects("node-2", &pod);
    let mut forged = stranger.pod_object("forged", "agent", "00000000-0000-0000-0000-000000000000");
    forged["metadata"]["ownerReferences"][0]["name"] = json!("another");
    cluster.objects("node-2", &forged);
    let _reporter: Process = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered"]);
    sleep(Duration::from_secs(5));
    assert_eq!(connections.load(Ordering::Relaxed), 0);
    assert_eq!(cluster.row("node-2"), ["grace: new_node"]);
    let warned = cluster.metrics().value("guardprobe_fleet_warnings", &[("warning", "not_ours")]);
    assert_eq!(warned, 2.0);
}
