//! What the page on monitoring says can be done: the scrape configuration, the routes, and an alert on one's own machine.
use super::prometheus::documented;
use super::rules::alert_names;
use crate::common::agent::lines_of;
use crate::common::facts::{eventually, within};
use crate::common::helm::{chart, objects, ours, read};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[test]
fn the_pod_monitors_of_the_chart_say_what_the_page_says_without_the_operator() {
    let rendered = objects(&chart().join("ci/minimal-values.yaml"), &["--set", "podMonitor.enabled=true"]);
    let jobs = documented()["scrape_configs"].as_array().unwrap().clone();
    for (name, job) in ["guardprobe-agent", "guardprobe-reporter"].into_iter().zip(jobs) {
        let monitor = rendered.iter().find(|one| one["kind"] == "PodMonitor" && one["metadata"]["name"] == name).unwrap();
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        assert_eq!(endpoint["interval"], job["scrape_interval"]);
        let relabelings = job["relabel_configs"].as_array().unwrap();
        let port =
            json!({"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": endpoint["port"], "action": "keep"});
        assert!(relabelings.contains(&port), "{relabelings:?}");
        for of_ours in endpoint["relabelings"].as_array().into_iter().flatten() {
            let same = json!({"source_labels": of_ours["sourceLabels"], "target_label": of_ours["targetLabel"]});
            assert!(relabelings.contains(&same), "{same} in {relabelings:?}");
        }
        let node = relabelings.iter().any(|relabeling| relabeling["target_label"] == "node");
        assert_eq!(node, name == "guardprobe-agent", "a reporter names the nodes that it speaks of");
    }
}

fn amtool(args: &[&str]) -> String {
    let output = Command::new("amtool").args(args).output().expect("amtool is unpacked (./test does it)");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn alertmanager_accepts_the_routes_and_wakes_a_person_for_what_is_critical() {
    let file = ours("deploy/alerts/alertmanager.yaml");
    let path = file.to_str().unwrap();
    amtool(&["check-config", path]);
    let config = format!("--config.file={path}");
    for (severity, receiver) in [("critical", "pager"), ("warning", "tickets"), ("info", "notes")] {
        let goes_to =
            amtool(&["config", "routes", "test", &config, &format!("severity={severity}"), "alertname=GuardprobeBreached"]);
        assert_eq!(goes_to, receiver);
    }
    let (known, content) = (alert_names(), &read(&fs::read_to_string(&file).unwrap())[0]);
    let named: BTreeSet<String> = content["inhibit_rules"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| ["source_matchers", "target_matchers"].map(|side| rule[side][0].as_str().unwrap().to_owned()))
        .map(|matcher| matcher.trim_start_matches("alertname=").trim_matches('"').to_owned())
        .collect();
    assert!(named.len() >= 6 && named.is_subset(&known), "{named:?}");
}

/// A child that is gone when its test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The alerts that fire, from a Prometheus on this machine's loopback.
fn firing(port: u16) -> Result<Vec<String>, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /api/v1/alerts HTTP/1.0\r\nHost: here\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().map_err(|error| error.to_string())?;
    let body = text.split_once("\r\n\r\n").ok_or("no answer")?.1;
    let answer: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let alerts = answer["data"]["alerts"].as_array().ok_or("not ready")?;
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    Ok(firing.map(|alert| format!("{} {}", alert["labels"]["alertname"].as_str().unwrap(), alert["labels"]["target"])).collect())
}

#[test]
fn on_ones_own_machine_the_alert_of_a_held_lab_fires() {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_guardprobe"));
    lab.args(["lab", "--hold", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut lab = Running(lab.spawn().unwrap());
    let said = lines_of(lab.0.stdout.take().unwrap());
    let ready = (1..=3).map(|node| format!("lab-node-{node}  blocked       kube-api")).collect::<Vec<_>>();
    let said = eventually("the lab says where it answers, and that all is blocked", || {
        let said = said.lock().unwrap().join("\n");
        if ready.iter().all(|line| said.contains(line)) { Ok(said) } else { Err(said) }
    });
    // In the order in which it tells them: the reporter, then the agent of each node.
    let answers: Vec<&str> = said.split("curl http://").skip(1).filter_map(|rest| Some(rest.split_once("/metrics")?.0)).collect();
    let at = answers[1];

    // The file of the page, but for the ports of this lab.
    let folder = std::env::temp_dir().join(format!("gpt{}-lab-prometheus", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut config = fs::read_to_string(ours("deploy/alerts/lab-prometheus.yaml")).unwrap();
    for (port, answer) in [9798, 9797, 9800, 9801].iter().zip(&answers) {
        let documented = format!("\"127.0.0.1:{port}\"");
        assert!(config.contains(&documented), "{config}");
        config = config.replace(&documented, &format!("\"{answer}\""));
    }
    let rules = ours("deploy/alerts/guardprobe.rules.yaml");
    let config = config.replace("guardprobe.rules.yaml", rules.to_str().unwrap());
    fs::write(folder.join("prometheus.yaml"), config).unwrap();
    let port = free_port();
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!("--config.file={}", folder.join("prometheus.yaml").display()));
    prometheus.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    prometheus.args([&format!("--web.listen-address=127.0.0.1:{port}"), "--log.level=error"]);
    let prometheus = Running(prometheus.spawn().expect("prometheus is unpacked (./test does it)"));
    within(Duration::from_secs(30), "nothing fires", || {
        firing(port).and_then(|all| if all.is_empty() { Ok(()) } else { Err(format!("{all:?}")) })
    });
    let switched = Command::new(env!("CARGO_BIN_EXE_guardprobe")).args(["lab", "guard", "off", "--listen", at]).status().unwrap();
    assert!(switched.success());
    within(Duration::from_secs(60), "the alert fires for both targets", || {
        let mut all = firing(port)?;
        all.sort();
        if all == ["GuardprobeBreached \"imds\"", "GuardprobeBreached \"kube-api\""] { Ok(()) } else { Err(format!("{all:?}")) }
    });
    drop((prometheus, lab));
    fs::remove_dir_all(folder).unwrap();
}
