//! The status page in a real browser, of a real reporter with real agents, and of thousands.
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
mod common;

use common::cluster::{Cluster, Process};
use common::facts::within;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const PAGE: &str = "http://127.0.0.1:9799/";

/// A browser in the hub, where the reporter's loopback is.
struct Browser {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

/// The browser's driver with its packages, in the user's cache: installed once a machine.
fn driver() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
    let package = fs::read_to_string(sources.join("package.json")).unwrap();
    let versions: String = package.chars().filter(|c| c.is_ascii_digit()).collect();
    let folder = cache.join(format!("guardprobe-test/page-node-{versions}"));
    fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "browser.mjs"] {
        fs::copy(sources.join(file), folder.join(file)).unwrap();
    }
    if !folder.join("node_modules/axe-core/axe.min.js").exists() || !folder.join("node_modules/playwright-core").exists() {
        let mut install = Command::new("npm");
        install.args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(&folder);
        assert!(install.status().expect("npm is installed").success(), "the browser's driver could not be installed");
    }
    folder.join("browser.mjs")
}

impl Browser {
    fn start(cluster: &Cluster) -> Self {
        let driver = driver();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &cluster.hub(), "node"]).arg(driver).arg("/usr/bin/chromium");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Browser { child, answers }
    }

    #[track_caller]
    fn tell(&mut self, words: &[&str]) -> Value {
        writeln!(self.child.stdin.as_mut().unwrap(), "{}", words.join("\t")).unwrap();
        let mut line = String::new();
        assert!(self.answers.read_line(&mut line).unwrap() > 0, "{words:?}: the browser is gone (is chromium installed?)");
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer.get("error").is_none(), "{words:?}: {answer}");
        answer
    }

    /// Nothing that a screen reader or a keyboard trips over, nothing from elsewhere, and no complaint of the browser.
    #[track_caller]
    fn audit(&mut self, what: &str) {
        let found = self.tell(&["audit"]);
        assert_eq!(found["violations"], Value::Array(vec![]), "{what}");
        assert_eq!(found["complaints"], Value::Array(vec![]), "{what}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.stdin.take()); // it closes the browser and ends
        let end = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where pictures go, for somebody to look at them: only when asked for.
fn picture(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("GUARDPROBE_PICTURES") {
        browser.tell(&["picture", Path::new(&folder).join(name).to_str().unwrap()]);
    }
}

#[test]
fn a_person_sees_a_breach_without_reloading_and_what_it_rests_on() {
    let cluster = Cluster::new();
    let nodes = [1, 2, 3].map(|nth| cluster.node(nth));
    let mut agents: Vec<Option<Process>> = nodes.iter().map(|node| Some(node.agent())).collect();
    let mut reporter = Some(cluster.quick_reporter());
    for node in &nodes {
        cluster.until_row(&node.name(), SOON, &["covered", "imds blocked"]);
    }
    let mut browser = Browser::start(&cluster);
    let opened = browser.tell(&["open", PAGE, "light", "1280"]);
    assert_eq!(opened["status"], 200);
    let policy = opened["headers"]["content-security-policy"].as_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let read = browser.tell(&["text"]);
    assert_eq!(read["says"], "All that is tried is blocked, on 3 nodes");
    assert!(read["text"].as_str().unwrap().contains("Nothing is known to be open."), "{read}");
    browser.audit("all is well");
    picture(&mut browser, "well.png");

    // The guard falls on one node, and nobody touches the page; an agent dies on another.
    let removed = Instant::now();
    nodes[1].unguard();
    let seen = browser.tell(&["until", "Open on 1 of 3 nodes"]);
    println!("the page says so {:.1} s after the removal of the guard", removed.elapsed().as_secs_f64());
    assert_eq!(seen["same"], true, "without loading it again");
    agents[2] = None;
    browser.tell(&["until", "1 node proves nothing"]);
    let text = browser.tell(&["text"])["text"].as_str().unwrap().to_owned();
    for part in
        ["node-2", "token_issued", "169.254.169.254:80", "no_connection", "Nobody knows: its agent does not answer the reporter"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let places = ["\nOpen\n", "\nUnknown\n", "\nFine\n", "\nEvery node\n"]
        .map(|heading| text.find(heading).unwrap_or_else(|| panic!("{heading}: {text}")));
    assert!(places.is_sorted(), "what is open stands first");
    browser.audit("a breach");
    picture(&mut browser, "breach-light.png");
    let plain = browser.tell(&["plain", PAGE]);
    assert!(plain["text"].as_str().unwrap().contains("token_issued"), "without JavaScript it reads the same: {plain}");
    browser.tell(&["open", PAGE, "dark", "1280"]);
    browser.audit("a breach, dark");
    picture(&mut browser, "breach-dark.png");
    browser.tell(&["open", PAGE, "light", "390"]);
    browser.audit("a breach, on a phone");
    picture(&mut browser, "breach-phone.png");

    // By keyboard to the node that is open: its newest round, in words.
    browser.tell(&["open", &format!("{PAGE}?find=node-2"), "light", "1280"]);
    let skipped = browser.tell(&["press", "Tab"]);
    assert!(skipped["focus"].as_str().unwrap().contains("skip"), "{skipped}");
    let at = browser.tell(&["press", "Enter", "Tab", "Tab"]);
    assert!(at["focus"].as_str().unwrap().contains("node=node-2"), "{at}");
    browser.tell(&["press", "Enter"]);
    within(SOON, "the node's page", || {
        let text = browser.tell(&["text"])["text"].as_str().unwrap().to_owned();
        if text.contains("rule 1 of 7") { Ok(()) } else { Err(text) }
    });
    let text = browser.tell(&["text"])["text"].as_str().unwrap().to_owned();
    for part in ["node-2: open", "BREACHED", "169.254.169.254:80", "control dns", "must-reach: held"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    browser.audit("one node");
    picture(&mut browser, "node.png");

    // The reporter goes: the page says that it is old, and does not go on looking well.
    browser.tell(&["open", PAGE, "light", "1280"]);
    reporter.take();
    within(SOON, "the page says that it is old", || {
        let text = browser.tell(&["text"])["text"].as_str().unwrap().to_owned();
        if text.contains("what you see is old, and says nothing of now") { Ok(()) } else { Err(text) }
    });
    picture(&mut browser, "stale.png");
}

/// An agent that says what an attacker would.
fn hostile() -> String {
    let now = jiff::Timestamp::now();
    let evil = "</td><script>document.title='owned'</script><img src=x onerror=alert(1)>";
    let observation = serde_json::json!({"address": "169.254.169.254:80", "family": "ipv4", "source": "literal", "outcome": "timed_out",
        "layer": "none", "latency_seconds": 2.5, "detail": format!("{evil}\u{1b}[2J\u{202e}")});
    let target = serde_json::json!({"name": "imds", "kind": "imds", "verdict": "inconclusive", "finding": "inconclusive", "reason": "control_failed", "rule": 4,
        "why": evil, "since": now, "opening": null, "recent": [], "startup_exposure_seconds": 0.0, "observations": [observation]});
    serde_json::json!({"schema": "guardprobe.report/v1", "guard": evil, "role": "agent", "node": evil, "pod": null, "version": "1.0",
        "config_hash": "x", "endpoints_revision": null, "boot": "b", "round": 1, "started": now, "finished": now, "age_seconds": 1.0, "interval_seconds": 15.0,
        "verdict": "inconclusive", "targets": [target], "controls": []})
    .to_string()
}

#[test]
fn what_a_hostile_agent_says_is_text_and_nothing_else() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    common::cluster::serve_in(&node.pod(), "0.0.0.0:9797".parse().unwrap(), |mut stream| {
        let mut head = [0; 1024];
        while std::io::Read::read(&mut stream, &mut head).is_ok_and(|length| length > 0) {
            std::thread::sleep(Duration::from_millis(300));
            let body = hostile();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    let _reporter = cluster.quick_reporter();
    within(SOON, "the agent is heard", || {
        let row = cluster.row("node-1");
        if row.first().is_some_and(|first| first == "covered") { Ok(()) } else { Err(format!("{row:?}")) }
    });
    let mut browser = Browser::start(&cluster);
    for path in ["", "node?guard=default/deny&node=node-1", "?find=%3Cscript%3Ealert(1)%3C/script%3E"] {
        browser.tell(&["open", &format!("{PAGE}{path}"), "light", "1280"]);
        let read = browser.tell(&["text"]);
        assert!(read["title"].as_str().unwrap().ends_with("– guardprobe"), "{path}: {read}");
        browser.audit(path);
        if path.starts_with("node") {
            let text = read["text"].as_str().unwrap();
            assert!(
                text.contains("<script>") && text.contains("\\u{1b}") && text.contains("\\u{202e}"),
                "it is to be read: {text}"
            );
        }
    }
}

#[test]
fn many_nodes_stay_usable() {
    let cluster = Cluster::new();
    let count = std::env::var("GUARDPROBE_NODES").map_or(400, |nodes| nodes.parse().unwrap());
    let agents = cluster.simulated(count);
    let _reporter = cluster.reporter_under(&["prlimit", "--nofile=128:8192"]);
    cluster.until_ready();
    within(SOON, "all are covered", || {
        let covered = cluster.metrics().value("guardprobe_fleet_nodes", &[("state", "covered")]);
        if covered == count as f64 { Ok(()) } else { Err(covered.to_string()) }
    });
    let mut browser = Browser::start(&cluster);
    let opened = browser.tell(&["open", PAGE, "light", "1280"]);
    println!("{count} nodes: the page is there after {} ms", opened["took"]);
    let text = browser.tell(&["text"])["text"].as_str().unwrap().to_owned();
    assert!(text.contains(&format!("1 to 200 of {count}")) && text.contains("Page 1 of"), "{text}");
    browser.audit("many nodes");
    let breached = Instant::now();
    agents.breach(count / 10);
    browser.tell(&["until", &format!("Open on {} of {count} nodes", count / 10)]);
    println!("{count} nodes: a tenth of them open is on the page after {} ms", breached.elapsed().as_millis());
    picture(&mut browser, "many.png");
    browser.tell(&["open", &format!("{PAGE}?show=bad&order=since&page=0"), "light", "1280"]);
    let text = browser.tell(&["text"])["text"].as_str().unwrap().to_owned();
    assert!(text.contains(&format!("1 to {} of {}\n", (count / 10).min(200), count / 10)), "{text}");
    browser.tell(&["open", &format!("{PAGE}?find=bare-0399"), "light", "1280"]);
    assert!(browser.tell(&["text"])["text"].as_str().unwrap().contains("1 to 1 of 1"));
}
