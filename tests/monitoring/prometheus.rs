//! A real Prometheus in a namespace of its own: it scrapes agents and reporters by the configuration of the documentation, and evaluates the rules
//! that are shipped: at their own pace, or as much faster as a test asks.
use super::expressions::concrete;
use crate::common::cluster::{Cluster, Node, Process};
use crate::common::facts::{self, eventually};
use crate::common::helm::{ours, read};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How much faster than shipped, and how often is scraped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) faster: u64,
    pub(crate) scrape: Duration,
}

/// The intervals that are shipped.
pub(crate) const SHIPPED: Pace = Pace { faster: 1, scrape: Duration::from_secs(15) };

/// A Prometheus, and where it is.
pub(crate) struct Prometheus<'c> {
    cluster: &'c Cluster,
    home: Node<'c>,
    pace: Pace,
    _process: Process,
}

/// The series of an answer: labels and value.
pub(crate) type Series = (BTreeMap<String, String>, f64);

impl<'c> Prometheus<'c> {
    /// Starts it in a namespace that nothing guards. Reporters are in the hub, at those ports.
    pub(crate) fn start(cluster: &'c Cluster, nth: u8, reporters: &[u16], pace: Pace) -> Self {
        let home = cluster.bare(nth);
        home.unguard();
        let rules = paced(&fs::read_to_string(ours("deploy/alerts/guardprobe.rules.yaml")).unwrap(), pace.faster);
        let found = reporters.iter().enumerate().map(|(nth, port)| {
            json!({
                "targets": [format!("10.91.{}.1:{port}", home.ip().octets()[2])],
                "labels": {
                    "__meta_kubernetes_namespace": "guardprobe",
                    "__meta_kubernetes_pod_name": format!("reporter-{}", nth + 1),
                    "__meta_kubernetes_pod_label_app_kubernetes_io_component": "reporter",
                    "__meta_kubernetes_pod_container_port_name": "metrics",
                },
            })
        });
        let config = json!({
            "global": {"scrape_interval": text(pace.scrape), "scrape_timeout": text(pace.scrape.min(Duration::from_secs(10)))},
            "rule_files": [cluster.file("rules.yaml", &rules)],
            "scrape_configs": jobs(cluster, found.collect()),
        });
        let file = cluster.file("prometheus.yaml", &config.to_string());
        let storage = cluster.folder.join("prometheus");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &home.pod(), "prometheus", "--log.level=warn", "--web.listen-address=0.0.0.0:9090"]);
        command.arg(format!("--config.file={file}")).arg(format!("--storage.tsdb.path={}", storage.display()));
        let process = Process::start(&mut command);
        let prometheus = Prometheus { cluster, home, pace, _process: process };
        eventually("Prometheus is ready", || match prometheus.get("/-/ready", &[]) {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        // The way from it to agents and reporters may be cut.
        cluster.nft(&format!(
            "add table ip gap; add set ip gap cut {{ type ifname; }}
             add chain ip gap in {{ type filter hook input priority -1; }}
             add rule ip gap in iifname @cut tcp dport {{ {} }} drop
             add chain ip gap forward {{ type filter hook forward priority -1; }}
             add rule ip gap forward iifname @cut tcp dport 9797 drop",
            reporters.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
        ));
        prometheus
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> std::io::Result<(u16, String)> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.cluster.try_get(&format!("{}:9090", self.home.ip()), &format!("{path}?{query}"))
    }

    #[track_caller]
    fn ask(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let (status, body) = self.get(path, query).unwrap();
        assert_eq!(status, 200, "{query:?}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["data"].clone()
    }

    /// What an expression is now.
    #[track_caller]
    pub(crate) fn query(&self, expression: &str) -> Vec<Series> {
        let data = self.ask("/api/v1/query", &[("query", expression)]);
        let series = |one: &Value| {
            let labels = serde_json::from_value(one["metric"].clone()).unwrap();
            (labels, one["value"][1].as_str().unwrap().parse().unwrap())
        };
        data["result"].as_array().unwrap().iter().map(series).collect()
    }

    /// How many samples an expression has over the last so many seconds.
    #[track_caller]
    pub(crate) fn samples(&self, expression: &str, seconds: i64) -> usize {
        let now = facts::now().as_second();
        let (from, to) = ((now - seconds).to_string(), now.to_string());
        let data = self.ask("/api/v1/query_range", &[("query", expression), ("start", &from), ("end", &to), ("step", "1")]);
        data["result"].as_array().unwrap().iter().map(|one| one["values"].as_array().unwrap().len()).sum()
    }

    /// The alerts that fire, each as `Name guard-less labels`, in order.
    pub(crate) fn firing(&self) -> Vec<String> {
        let data = self.ask("/api/v1/alerts", &[]);
        let firing = data["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        let short = |alert: &Value| {
            let label = |name: &str| alert["labels"][name].as_str();
            let parts = ["alertname", "node", "target", "what", "warning"].into_iter().filter_map(label);
            parts.collect::<Vec<_>>().join(" ")
        };
        let mut firing: Vec<String> = firing.map(short).collect();
        firing.sort();
        firing
    }

    /// Nothing can be scraped any more, or it can again.
    pub(crate) fn cut(&self, is: bool) {
        let act = if is { "add" } else { "delete" };
        self.cluster.nft(&format!("{act} element ip gap cut {{ v{} }}", self.home.ip().octets()[2]));
    }

    /// As long as that is at the shipped intervals, at this pace.
    pub(crate) fn paced(&self, shipped: Duration) -> Duration {
        shipped / u32::try_from(self.pace.faster).unwrap()
    }

    /// An expression of a dashboard, at this pace.
    pub(crate) fn expression(&self, shipped: &str) -> String {
        let minute = format!("{}", 60 / self.pace.faster);
        let text = shipped.replace(") * 60", &format!(") * {minute}"));
        concrete(&text).replace(" / 60", &format!(" / {minute}"))
    }
}

/// The scrape configuration of the documentation. Debian's Prometheus has no discovery of Kubernetes' objects, so it is given what that would
/// have told it of the pods that the API server has, and of the reporters.
fn jobs(cluster: &Cluster, reporters: Vec<Value>) -> Vec<Value> {
    let pods: Value = serde_json::from_str(&cluster.kubectl(&["get", "pods", "-n", "default", "-o", "json"])).unwrap();
    let pods: Vec<Value> = pods["items"].as_array().unwrap().iter().map(discovered).collect();
    let mut jobs = documented()["scrape_configs"].as_array().unwrap().clone();
    for (job, found) in jobs.iter_mut().zip([pods, reporters]) {
        let job = job.as_object_mut().unwrap();
        job.remove("kubernetes_sd_configs").unwrap();
        job.remove("scrape_interval").unwrap();
        job.insert("static_configs".to_owned(), found.into());
    }
    jobs
}

/// The configuration without the operator, as docs/monitoring.md has it.
pub(crate) fn documented() -> Value {
    let page = fs::read_to_string(ours("docs/monitoring.md")).unwrap();
    let block = page.split("```yaml\n").find(|block| block.starts_with("# prometheus.yaml\n")).unwrap();
    read(block.split("\n```").next().unwrap()).remove(0)
}

/// What Prometheus' discovery of pods says of one.
fn discovered(pod: &Value) -> Value {
    let (meta, port) = (&pod["metadata"], &pod["spec"]["containers"][0]["ports"][0]);
    let mut labels = json!({
        "__meta_kubernetes_namespace": meta["namespace"],
        "__meta_kubernetes_pod_name": meta["name"],
        "__meta_kubernetes_pod_node_name": pod["spec"]["nodeName"],
        "__meta_kubernetes_pod_container_port_name": port["name"],
    });
    for (name, value) in meta["labels"].as_object().unwrap() {
        let name = name.replace(['.', '/', '-'], "_");
        labels[format!("__meta_kubernetes_pod_label_{name}")] = value.clone();
        labels[format!("__meta_kubernetes_pod_labelpresent_{name}")] = json!("true");
    }
    json!({"targets": [format!("{}:{}", pod["status"]["podIP"].as_str().unwrap(), port["containerPort"])], "labels": labels})
}

fn text(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The rules with all their waits and intervals, and the windows of minutes in their expressions, so many times shorter.
pub(crate) fn paced(rules: &str, faster: u64) -> String {
    let shorter = |length: &str| -> Option<String> {
        let (number, unit) = length.split_at(length.find(|c: char| !c.is_ascii_digit())?);
        let milliseconds = number.parse::<u64>().ok()?
            * match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
        Some(format!("{}ms", milliseconds / faster))
    };
    let line = |line: &str| {
        let (key, rest) = line.split_once(": ").unwrap_or(("", ""));
        let waits = ["interval", "for", "keep_firing_for"].contains(&key.trim());
        let length = rest.split(' ').next().unwrap();
        let line = match shorter(length).filter(|_| waits) {
            Some(paced) => format!("{key}: {paced}"),
            None => line.to_owned(),
        };
        ["2m", "3m", "5m", "10m"]
            .iter()
            .fold(line, |line, window| line.replace(&format!("[{window}]"), &format!("[{}]", shorter(window).unwrap())))
    };
    rules.lines().map(|of| line(of) + "\n").collect()
}
