//! The dashboards and Grafana's alerts: what `dashboards/build` makes of its sources, whose queries ask for what there is. There is no Grafana here:
//! that its model knows each field is due to the builders that they are made with; that each query has an answer is shown by `live`.
use super::expressions::{catalogue, labels_of_result, understand};
use super::rules::{recorded, rules};
use crate::common::helm::{chart, objects, ours, read};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

pub(crate) const DASHBOARDS: [&str; 2] = ["fleet", "node"];

/// A dashboard as it is shipped.
fn dashboard(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(ours(&format!("dashboards/{name}.json"))).unwrap()).unwrap()
}

/// One query of a dashboard.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// Dashboard and title of the panel.
    pub(crate) panel: String,
    pub(crate) expression: String,
    pub(crate) legend: String,
    pub(crate) instant: bool,
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

/// Every query of every panel.
pub(crate) fn queries() -> Vec<Query> {
    let mut all = Vec::new();
    for name in DASHBOARDS {
        for panel in panels(&dashboard(name)) {
            for target in panel["targets"].as_array().unwrap() {
                let text = |field: &str| target[field].as_str().unwrap_or_default().to_owned();
                let panel = format!("{name}: {}", panel["title"].as_str().unwrap());
                all.push(Query {
                    panel,
                    expression: text("expr"),
                    legend: text("legendFormat"),
                    instant: target["instant"] == true,
                });
            }
        }
    }
    all
}

/// Grafana's alerts.
pub(crate) fn grafana_alerts() -> Vec<Value> {
    let file = &read(&fs::read_to_string(ours("deploy/alerts/grafana.yaml")).unwrap())[0];
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

#[test]
fn what_is_made_is_made_of_the_sources_and_shipped_by_the_chart() {
    let folder = std::env::temp_dir().join(format!("gpt{}-dashboards", std::process::id()));
    let update = std::env::var_os("UPDATE").is_some();
    let to = if update { ours(".") } else { folder.clone() };
    let output = Command::new(ours("dashboards/build")).arg(&to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["dashboards/fleet.json", "dashboards/node.json", "docs/dashboards.md", "deploy/alerts/grafana.yaml"] {
        let (made, kept) = (fs::read_to_string(to.join(file)).unwrap(), fs::read_to_string(ours(file)).unwrap_or_default());
        assert!(made == kept, "{file} differs from what dashboards/build makes: run with UPDATE=1 and read the difference");
    }
    if !update {
        fs::remove_dir_all(folder).unwrap();
    }
    the_chart_ships_the_dashboards(update);
}

#[test]
fn each_query_asks_for_what_there_is() {
    let (catalogue, queries) = (catalogue(&recorded()), queries());
    assert!(queries.len() > 50, "{}", queries.len());
    for Query { panel, expression, legend, .. } in queries {
        let found = understand(&expression, &catalogue);
        assert!(found.wrong.is_empty(), "{panel}: {:?}\n{expression}", found.wrong);
        assert!(!found.metrics.is_empty(), "{panel}");
        let labels = labels_of_result(&expression, &catalogue);
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            assert!(labels.contains(label), "{panel}: its legend has {label:?}, which its series have not: {labels:?}");
        }
        // An absent series is never drawn as zero of something, and a rate is over what Grafana knows of the scrape interval.
        assert!(!expression.contains("vector("), "{panel}: {expression}");
        let over = expression.split("rate(").skip(1).all(|rest| rest.contains("[$__rate_interval]"));
        assert!(over, "{panel}: {expression}");
        assert!(expression.contains("$cluster") || expression.contains("ALERTS"), "{panel} mixes clusters: {expression}");
    }
}

#[test]
fn each_panel_says_what_it_shows_in_which_unit_and_what_it_is_without_data() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        assert!(dashboard["uid"].as_str().unwrap().len() <= 40 && dashboard.get("id").is_none(), "an id is Grafana's to give");
        assert_eq!((&dashboard["editable"], dashboard["schemaVersion"].as_u64().unwrap() >= 39), (&Value::Bool(false), true));
        assert!(dashboard.get("__inputs").is_none(), "a provisioned dashboard has no inputs");
        let variables: Vec<&str> =
            dashboard["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(&variables[..3], ["datasource", "cluster", "guard"]);
        let panels = panels(&dashboard);
        let titles: BTreeSet<&str> = panels.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
        assert_eq!(titles.len(), panels.len(), "each title once");
        for panel in panels {
            let (title, defaults) = (panel["title"].as_str().unwrap(), &panel["fieldConfig"]["defaults"]);
            assert!(panel["description"].as_str().unwrap().ends_with('.'), "{name}: {title}");
            assert!(panel.get("id").is_none_or(Value::is_null), "{title}: an id is Grafana's to give");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert_eq!(defaults["noValue"], "no data", "{title}");
            assert!(defaults["unit"].is_string() && defaults["thresholds"]["steps"].is_array(), "{title}");
            let nothing = defaults["mappings"].as_array().unwrap().iter().find(|mapping| mapping["type"] == "special");
            assert_eq!(nothing.unwrap()["options"]["result"]["color"], "semi-dark-orange", "{title}: nothing is not good");
            if panel["type"] == "timeseries" {
                assert_eq!(defaults["custom"]["spanNulls"], false, "{title}: a gap is a gap");
            }
            if panel["type"] == "state-timeline" {
                assert!(defaults["custom"].get("spanNulls").is_none(), "{title}: spanning is not the default");
            }
        }
    }
}

fn the_chart_ships_the_dashboards(update: bool) {
    let rendered = objects(&chart().join("ci/everything-values.yaml"), &[]);
    for name in DASHBOARDS {
        let (text, copy) = (
            fs::read_to_string(ours(&format!("dashboards/{name}.json"))).unwrap(),
            chart().join(format!("files/dashboards/{name}.json")),
        );
        if update {
            fs::write(&copy, &text).unwrap();
        }
        assert!(fs::read_to_string(&copy).unwrap_or_default() == text, "{} differs: run with UPDATE=1", copy.display());
        let map = rendered.iter().find(|object| object["metadata"]["name"] == format!("egress-probe-dashboard-{name}")).unwrap();
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let carried = map["data"].as_object().unwrap().values().next().unwrap().as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(carried).unwrap(), dashboard(name));
    }
}

#[test]
fn grafanas_alerts_are_those_of_prometheus_and_alert_on_no_data_and_on_errors() {
    let catalogue = catalogue(&recorded());
    let (made, of) = (grafana_alerts(), rules());
    let of: Vec<&Value> = of.iter().map(|(_, rule)| rule).filter(|rule| rule["alert"].is_string()).collect();
    assert_eq!(made.len(), of.len());
    let uids: BTreeSet<&str> = made.iter().map(|alert| alert["uid"].as_str().unwrap()).collect();
    assert!(uids.len() == made.len() && uids.iter().all(|uid| uid.len() <= 40), "{uids:?}");
    for (alert, rule) in made.iter().zip(of) {
        let title = alert["title"].as_str().unwrap();
        assert_eq!((&alert["title"], &alert["labels"]), (&rule["alert"], &rule["labels"]));
        assert_eq!((&alert["noDataState"], &alert["execErrState"]), (&"Alerting".into(), &"Alerting".into()), "{title}");
        assert_eq!(alert["for"].as_str().unwrap(), rule["for"].as_str().unwrap_or("0s"));
        let (query, condition) = (&alert["data"][0], &alert["data"][1]);
        assert_eq!(alert["condition"], condition["refId"]);
        assert_eq!((&query["datasourceUid"], &condition["datasourceUid"]), (&"prometheus".into(), &"__expr__".into()));
        assert_eq!(condition["model"]["expression"], query["refId"]);
        let expression = query["model"]["expr"].as_str().unwrap();
        let found = understand(expression, &catalogue);
        assert!(found.wrong.is_empty(), "{title}: {:?}", found.wrong);
        assert!(expression.contains(rule["expr"].as_str().unwrap().trim()), "{title}: {expression}");
        // What fires at once keeps in mind that it did; what waits must not be reached by a moment that is remembered.
        let (waits, keeps) = (rule["for"].is_string(), rule["keep_firing_for"].as_str());
        assert_eq!(expression.contains(":15s]"), keeps.is_some() && !waits, "{title}: {expression}");
        assert_eq!(alert["keepFiringFor"].as_str(), keeps.filter(|_| waits), "{title}");
        // Grafana has no $value of Prometheus' kind.
        for note in alert["annotations"].as_object().unwrap().values() {
            assert!(!note.as_str().unwrap().replace("$values.A.Value", "").contains("$value"), "{title}: {note}");
        }
    }
}
