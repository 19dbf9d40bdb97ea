//! Many nodes, several replicas, what the set-up lacks, and what the agents are given.
use crate::common::cluster::{Cluster, FLEET, GUARD, Process, QUICK, REPORTER, guard_namespace, reporter_permissions};
use crate::common::facts::{eventually, until, within};
use guardprobe_core::parse::endpoints;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn two_hundred_nodes_that_breach_in_the_same_second_are_one_event_first_each_time() {
    let cluster = Cluster::new();
    let agents = cluster.simulated(200);
    // A container runtime's soft limit is no limit: it raises it to what it may have.
    let _reporter = cluster.reporter_under(&["prlimit", "--nofile=128:4096"]);
    cluster.until_ready();
    within(SOON, "all are covered", || covered(&cluster, 200.0));
    let breached = agents.breach(200);
    let began = Instant::now();
    until_open(&cluster, 200);
    println!("200 nodes in the fleet's metrics after {:?}", began.elapsed());
    sleep(Duration::from_secs(20).saturating_sub(began.elapsed()));
    let singles = assert_many(&cluster.events(), breached, 0);
    println!("{} Events of nodes in 20 s", singles.len());
    assert!((30..=46).contains(&singles.len()), "20 at once and one a second: {}", singles.len());
    assert!(singles.windows(2).all(|pair| pair[0] <= pair[1]));
    let waiting = cluster.metrics().value("guardprobe_events_waiting", &[]);
    assert!((150.0..=175.0).contains(&waiting), "{waiting}");
    // The same nodes again, while Events of the first time still wait: more than a minute after the first, and less than ten.
    agents.breach(0);
    until_open(&cluster, 0);
    sleep(Duration::from_secs(65).saturating_sub(began.elapsed()));
    let again = agents.breach(200);
    until_open(&cluster, 200);
    sleep(Duration::from_secs(8));
    let later = |event: &Event| event.event_time.as_ref().unwrap().0 >= again;
    let events: Vec<Event> = cluster.events().into_iter().filter(later).collect();
    // Half a second may pass before it is written: one that has waited since the first time may come before.
    assert_many(&events, again, 2);
}

/// Waits until so many nodes are open in the metrics.
fn until_open(cluster: &Cluster, nodes: usize) {
    within(SOON, "they are open", || {
        let count = cluster.metrics().values("guardprobe_fleet_breached", &[]).len();
        if count == nodes { Ok(()) } else { Err(count.to_string()) }
    });
}

/// Asserts that one Event tells of all nodes, within two seconds of their breach and after so many others at most, and each other one of a
/// node. Returns the seconds after which those came.
#[track_caller]
fn assert_many(events: &[Event], breached: Timestamp, before: usize) -> Vec<f64> {
    let mut events: Vec<&Event> = events.iter().filter(|event| event.reason.as_deref() == Some("EgressBreached")).collect();
    let is_of_node = |event: &&Event| event.regarding.as_ref().unwrap().kind.as_deref() == Some("Node");
    let place = events.iter().position(|event| !is_of_node(event)).unwrap_or_else(|| panic!("none tells of many: {events:#?}"));
    assert!(place <= before, "{place} came before");
    let many = events.remove(place);
    assert_eq!(many.regarding.as_ref().unwrap().name.as_deref(), Some("agents"));
    let note = many.note.as_deref().unwrap();
    let begins = format!(
        "200 of 200 nodes of guard {GUARD} are open (imds) within a minute: bare-0000, bare-0001, bare-0002 and 197 more. All nodes"
    );
    assert!(note.starts_with(&begins), "{note}");
    assert!(events.iter().all(is_of_node), "one of the fleet");
    let second = |event: &Event| event.event_time.as_ref().unwrap().0.duration_since(breached).as_secs_f64();
    let first = second(many);
    println!("the Event of the fleet {first:.3} s after");
    assert!(first < 2.0, "{first}");
    events.into_iter().map(second).collect()
}

fn covered(cluster: &Cluster, nodes: f64) -> Result<(), String> {
    let count = cluster.metrics().value("guardprobe_fleet_nodes", &[("state", "covered")]);
    if count == nodes { Ok(()) } else { Err(count.to_string()) }
}

#[test]
fn of_two_replicas_one_writes_and_the_other_takes_over() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|nth| cluster.node(nth));
    let _agents = [one, two].map(|node| node.agent());
    let first = cluster.reporter();
    first.until_said("leads: writes Events");
    let other = ["--listen", "127.0.0.1:9898", "--fleet-listen", "127.0.0.1:9899"];
    let mut second = cluster.reporter_as("reporter-2", &other);
    eventually("the second is ready", || match cluster.try_get("127.0.0.1:9898", "/readyz") {
        Ok((200, _)) => Ok(()),
        answer => Err(format!("{answer:?}")),
    });
    let leader =
        |address: &str| cluster.try_get(address, "/metrics").unwrap().1.lines().any(|line| line == "guardprobe_leader 1");
    assert!(leader(REPORTER) && !leader("127.0.0.1:9898"));
    one.unguard();
    cluster.until_told(SOON, &["EgressBreached node-1 imds"]);
    // The leader stops where it is, like one whose node has gone: the other waits until the Lease is old, and no longer.
    first.signal(nix::sys::signal::Signal::SIGSTOP);
    let began = Instant::now();
    second.until_said("leads: writes Events");
    let took = began.elapsed();
    println!("the other leads after {took:?}");
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(19), "{took:?}");
    two.unguard();
    let told = ["EgressBreached node-1 imds", "EgressBreached node-2 imds"];
    cluster.until_told(SOON, &told);
    // And when the first one wakes up it does not write what it missed.
    first.signal(nix::sys::signal::Signal::SIGCONT);
    first.until_said("leads no longer");
    sleep(Duration::from_secs(3));
    cluster.until_told(SOON, &told);
    assert!(!leader(REPORTER) && leader("127.0.0.1:9898"));
    // One that is asked to end hands over at once.
    second.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(second.status(), 0);
    let began = Instant::now();
    until("the first leads again", || leader(REPORTER), |leads| *leads);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// The file as a kubelet mounts it: a link to a folder that is replaced as a whole.
fn mount(folder: &std::path::Path, turn: usize, file: &str) {
    let version = folder.join(format!("..{turn}"));
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("endpoints.json"), file).unwrap();
    let half = folder.join("..data_tmp");
    symlink(format!("..{turn}"), &half).unwrap();
    std::fs::rename(&half, folder.join("..data")).unwrap();
    if turn == 0 {
        symlink("..data/endpoints.json", folder.join("endpoints.json")).unwrap();
    } else {
        std::fs::remove_dir_all(folder.join(format!("..{}", turn - 1))).unwrap();
    }
}

#[test]
fn the_addresses_of_the_api_reach_the_agents_by_a_config_map() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let reporter = cluster.reporter();
    let file = || {
        eventually("the ConfigMap", || {
            let path = "jsonpath={.data.endpoints\\.json}";
            let output = cluster.try_kubectl(&["get", "configmap", "-n", &guard_namespace(), "guardprobe-endpoints", "-o", path]);
            let is_filled = output.status.success() && !output.stdout.is_empty();
            if is_filled { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(format!("{output:?}")) }
        })
    };
    let first = file();
    let read = endpoints::parse(first.as_bytes(), Timestamp::now()).unwrap();
    assert_eq!(read.addresses, ["10.90.0.10:16443".parse().unwrap()]);

    let folder = cluster.folder.join("endpoints");
    std::fs::create_dir_all(&folder).unwrap();
    mount(&folder, 0, &first);
    let target = format!("{{name: kube-api, kind: kube-api, endpointsFile: {}}}", folder.join("endpoints.json").display());
    let _agent = node.agent_with(&format!("guard: {GUARD}\n{QUICK}targets: [{target}]\n"), &[]);
    cluster.until_row("node-1", SOON, &["covered", "kube-api blocked"]);
    let report =
        || -> Value { serde_json::from_str(&cluster.try_get(&format!("{}:9797", node.ip()), "/v1/report").unwrap().1).unwrap() };
    assert_eq!(report()["endpoints_revision"], read.revision);
    // Another address of the API appears: the reporter tells it, the kubelet swaps the link, the agent tries it and echoes the revision.
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "another", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": ["10.90.0.11"]}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]
    });
    cluster.apply(&slice.to_string());
    let second = until("the ConfigMap has both", file, |file| file.contains("10.90.0.11:6443"));
    let revision = endpoints::parse(second.as_bytes(), Timestamp::now()).unwrap().revision;
    assert_ne!(revision, read.revision);
    mount(&folder, 1, &second);
    until("the agent echoes the revision", report, |report| report["endpoints_revision"] == revision.as_str());
    let tried = report()["targets"][0]["observations"].to_string();
    assert!(tried.contains("10.90.0.11:6443"), "{tried}");
    // The reporter makes none: where it is deleted, that is said, and what is put there again is filled.
    cluster.kubectl(&["delete", "configmap", "-n", &guard_namespace(), "guardprobe-endpoints"]);
    cluster.kubectl(&["delete", "endpointslice", "another"]);
    reporter.until_said("not found; the Lease and the ConfigMaps for the endpoints file are made by the chart");
    assert!(
        cluster
            .metrics()
            .0
            .contains(&format!("guardprobe_api_trouble{{what=\"the endpoints ConfigMap in {}\"}} 1", guard_namespace()))
    );
    cluster.apply(&reporter_permissions());
    let third = until("it is filled", file, |file| !file.is_empty());
    assert!(!third.contains("10.90.0.11"), "{third}");
}

#[test]
fn the_set_up_is_warned_about_in_log_metrics_and_fleet() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let bare = cluster.bare(2);
    let set = cluster.daemon_set("agents", "agent");
    let mut pod = bare.pod_object("agent-2", "agent", &set);
    pod["spec"]["hostNetwork"] = json!(true);
    pod["spec"]["automountServiceAccountToken"] = json!(true);
    pod["metadata"]["labels"]["egress"] = json!("restricted");
    cluster.objects("node-2", &pod);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "catch-all", "namespace": guard_namespace()},
                         "spec": {"selector": {"set": "agents"}, "ports": [{"port": 80}]}});
    cluster.apply(&service.to_string());
    let settings = cluster.file("reporter.yaml", &format!("guards:\n  - {{name: {GUARD}, labels: {{egress: restricted}}}}\n"));
    let reporter = cluster.reporter_as("reporter-1", &["-c", &settings]);
    cluster.until_ready();
    let warned = || {
        let fleet = cluster.fleet();
        let warnings = fleet["warnings"].as_array().cloned().unwrap_or_default();
        let short = |warning: &Value| {
            format!("{} {} {}", warning["warning"].as_str().unwrap(), warning["count"], warning["examples"][0].as_str().unwrap())
        };
        warnings.iter().map(short).collect::<Vec<_>>()
    };
    let wanted = [
        ("service_selects_agent", "catch-all"),
        ("token_mounted", "agent-2"),
        ("host_network", "agent-2"),
        ("guard_labels_missing", "agent-1"),
    ];
    let wanted = wanted.map(|(warning, what)| format!("{warning} 1 {}/{what}", guard_namespace()));
    until("the warnings", warned, |warned| *warned == wanted);
    for warning in ["service_selects_agent", "token_mounted", "host_network", "guard_labels_missing"] {
        reporter.until_said(&format!("warning=\"{warning}\""));
        assert_eq!(cluster.metrics().value("guardprobe_fleet_warnings", &[("warning", warning)]), 1.0);
    }
    cluster.kubectl(&["delete", "service", "-n", &guard_namespace(), "catch-all"]);
    until("one less", warned, |warned| *warned == wanted[1..]);
}

#[test]
fn what_is_not_known_is_told_as_well() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|nth| cluster.node(nth));
    // A control that cannot be reached: nothing is proved, whatever is silent.
    let dead = "controls: [{name: dead, expect: must-reach, kind: tcp, addresses: [\"10.90.0.99:1\"]}]";
    let _doubtful = one.agent_with(&format!("guard: {GUARD}\n{QUICK}targets: [{{name: imds, kind: imds}}]\n{dead}\n"), &[]);
    let mut agent = two.agent();
    let settings = cluster.file("reporter.yaml", &format!("guards: [{{name: {GUARD}}}]\nstale: 6s\ngrace: 5s\nunproven: 5s\n"));
    let reporter = cluster.reporter_as("reporter-1", &["-c", &settings]);
    cluster.until_ready();
    cluster.until_row("node-1", SOON, &["covered", "imds inconclusive control_failed"]);
    cluster.until_row("node-2", SOON, &["covered", "imds blocked"]);
    cluster.until_told(SOON, &["EgressUnproven node-1 imds"]);
    let note = cluster.events()[0].note.clone().unwrap();
    assert!(note.contains("control_failed") && note.contains("is DNS up"), "{note}");
    agent.kill();
    cluster.until_row("node-2", SOON, &["uncovered: no_connection"]);
    assert_eq!(cluster.metrics().value("guardprobe_fleet_uncovered", &[("node", "node-2"), ("reason", "no_connection")]), 1.0);
    assert_eq!(
        cluster.metrics().value("guardprobe_fleet_verdict_nodes", &[("verdict", "blocked")]),
        0.0,
        "stale is never blocked"
    );
    cluster.until_told(SOON, &["EgressUnproven node-1 imds", "ProberUncovered node-2 "]);
    let _agent = two.agent();
    cluster.until_row("node-2", SOON, &["covered", "imds blocked"]);
    let coverage = || {
        let lines = reporter.lines();
        let word = |line: &Value, key: &str| line[key].as_str().unwrap_or("-").to_owned();
        let told = lines
            .iter()
            .filter(|line| line["node"] == "node-2")
            .map(|line| format!("{} {}", word(line, "event"), word(line, "reason")));
        told.collect::<Vec<_>>()
    };
    until("both lines", coverage, |lines| *lines == ["uncovered no_connection", "covered -"]);
}

#[test]
fn the_witness_of_a_node_turns_silence_and_resets_into_proof() {
    let cluster = Cluster::new();
    let [agents, witnesses] = [1, 2].map(|nth| if nth == 1 { cluster.node(1) } else { cluster.bare(2) });
    let set = cluster.daemon_set("witnesses", "witness");
    // The witness is on node-1 too; its pod is beyond no guard.
    let mut pod = witnesses.pod_object("agent-2", "witness", &set);
    pod["spec"]["nodeName"] = json!("node-1");
    cluster.objects("node-1", &pod);
    witnesses.unguard();
    let configuration =
        format!("guard: {GUARD}\n{QUICK}targets: [{{name: imds, kind: imds, addresses: [\"169.254.169.254:80\"]}}]\n");
    let _agent = agents.agent_with(&configuration, &[]);
    let reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked silence"]);
    let _witness = witnesses.agent_with(&configuration, &["--role", "witness"]);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked witnessed"]);
    // The guard resets instead: a closed port would say the same, but the witness shows that it is none.
    cluster.nft("insert rule ip guard in iifname v1 ip daddr 169.254.169.254 tcp dport 80 reject with tcp reset");
    until(
        "the agent says refused",
        || cluster.try_get(&format!("{}:9797", agents.ip()), "/v1/report").unwrap().1,
        |report| report.contains("\"refused\""),
    );
    cluster.until_row("node-1", SOON, &["covered", "imds blocked witnessed"]);
    drop(reporter);
    let _reporter = cluster.reporter_as("reporter-1", &["--proof", "witnessed"]);
    cluster.until_row("node-1", SOON, &["covered", "imds blocked witnessed"]);
}

#[test]
fn a_reporter_answers_agents_whose_control_it_is_and_says_what_it_cannot_do() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let _reporter = cluster.reporter();
    // An agent that has it as its control, on another node than it.
    let mut command = node.in_the_pod();
    let file = cluster.file("check.yaml", "targets: [{name: imds, kind: imds, addresses: [\"169.254.169.254:80\"]}]\n");
    command.env("GUARDPROBE_REPORTER_ADDRESS", "10.91.1.1:9798").env("GUARDPROBE_NODE", "node-9");
    command.args([env!("CARGO_BIN_EXE_guardprobe"), "check", "-c", &file, "-o", "json"]);
    let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let control = report["controls"].as_array().unwrap().iter().find(|control| control["name"] == "reporter").unwrap();
    assert_eq!(
        (control["held"].as_bool(), control["observations"][0]["detail"].as_str()),
        (Some(true), Some("the reporter answers from node node-1"))
    );
    // The fleet is not on the network, and a slip in a query is told.
    assert_eq!(cluster.try_get(REPORTER, "/v1/fleet").unwrap().0, 404);
    let (status, body) = cluster.try_get(FLEET, "/v1/fleet?node=x").unwrap();
    assert_eq!((status, body.as_str()), (400, "\"node\" is not a parameter: expected guard, after or limit\n"));
    assert!(cluster.try_get("10.90.0.10:9799", "/v1/fleet").is_err(), "on loopback alone");
}

#[test]
fn the_fleet_is_told_page_by_page() {
    let cluster = Cluster::new();
    let _agents = cluster.simulated(25);
    let _reporter = cluster.reporter();
    within(SOON, "all are covered", || covered(&cluster, 25.0));
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (_, body) = cluster.try_get(FLEET, &format!("/v1/fleet?limit=10{after}")).unwrap();
        let page: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (page["schema"].as_str(), page["guards"][0]["nodes"]["covered"].as_u64()),
            (Some("guardprobe.fleet/v1"), Some(25))
        );
        seen.extend(page["rows"].as_array().unwrap().iter().map(|row| row["node"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, (0..25).map(|nth| format!("bare-{nth:04}")).collect::<Vec<_>>());
}

#[test]
fn what_it_is_told_wrongly_is_refused_with_the_place() {
    let cluster_less = |args: &[&str]| {
        let mut command = crate::common::guardprobe();
        command.args(["reporter"]).args(args).env("KUBECONFIG", "/nonexistent").env("HOME", "/nonexistent");
        let mut process = Process::start(&mut command);
        (process.status(), process.stderr())
    };
    let (status, said) = cluster_less(&["--guard", "deny"]);
    assert_eq!(
        (status, said.as_str()),
        (2, "--guard: \"deny\" has no namespace: expected namespace/name, such as default/deny-imds")
    );
    let (status, said) = cluster_less(&[]);
    assert_eq!(
        (status, said.as_str()),
        (2, "guardprobe reporter: no guard to look after: expected --config FILE, or --guard NAMESPACE/NAME")
    );
    let (status, said) = cluster_less(&["--guard", "a/b"]);
    assert!(
        status == 2 && said.contains("no access to the Kubernetes API") && said.contains("this is no pod with a service account"),
        "{said}"
    );
    let file = std::env::temp_dir().join(format!("gp-reporter-{}.yaml", std::process::id()));
    std::fs::write(&file, "guards: [{name: a/b, label: {}}]\n").unwrap();
    let (status, said) = cluster_less(&["-c", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert!(status == 2 && said.contains(":1:22: guards[0].label: unknown key, did you mean labels?"), "{said}");
}

#[test]
fn a_reporter_that_starts_counts_the_nodes_before_it_calls_some_very_many() {
    let cluster = Cluster::new();
    let agents = cluster.simulated(200);
    agents.breach(15);
    let _reporter = cluster.reporter();
    within(SOON, "each is told", || if cluster.told().len() >= 15 { Ok(()) } else { Err(format!("{:?}", cluster.told())) });
    let of_many: Vec<String> = cluster.told().into_iter().filter(|told| told.contains("agents")).collect();
    assert_eq!(of_many, Vec::<String>::new(), "15 of 200 are not very many");
}
