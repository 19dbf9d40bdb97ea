//! The rules: promtool's checks and tests of them, and that each alert is complete: tested both ways, explained, and about metrics that there are.
use super::expressions::{catalogue, labels_of_result, understand};
use crate::common::helm::{chart, objects, ours, read};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const RULES: &str = "deploy/alerts/guardprobe.rules.yaml";

/// Every rule: the name of its group, and it.
pub(crate) fn rules() -> Vec<(String, Value)> {
    let file = &read(&fs::read_to_string(ours(RULES)).unwrap())[0];
    let of = |group: &Value| {
        let name = group["name"].as_str().unwrap().to_owned();
        group["rules"].as_array().unwrap().iter().map(move |rule| (name.clone(), rule.clone())).collect::<Vec<_>>()
    };
    file["groups"].as_array().unwrap().iter().flat_map(of).collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().map(|(_, rule)| rule).filter(|rule| rule["alert"].is_string()).collect()
}

/// The names of all alerts.
pub(crate) fn alert_names() -> BTreeSet<String> {
    alerts().iter().map(|alert| name(alert).to_owned()).collect()
}

fn name(alert: &Value) -> &str {
    alert["alert"].as_str().unwrap()
}

/// What the rules record, with the labels of each.
pub(crate) fn recorded() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (_, rule) in rules() {
        if let Some(record) = rule["record"].as_str() {
            let expression = rule["expr"].as_str().unwrap();
            let has = [
                ("cluster", true),
                ("guard", true),
                ("target", expression.contains("target")),
                ("node", expression.starts_with("count by")),
            ];
            let labels = has.into_iter().filter(|(_, is)| *is).map(|(label, _)| label.to_owned()).collect();
            all.insert(record.to_owned(), labels);
        }
    }
    all
}

#[track_caller]
fn promtool(args: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool").args(args).args(files).output().expect("promtool is installed (./test does it)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
}

fn tests() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ours("deploy/alerts/tests").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn promtool_accepts_the_rules_and_its_tests_of_them_pass() {
    promtool(&["check", "rules"], &[ours(RULES)]);
    assert!(tests().len() >= 2);
    promtool(&["test", "rules"], &tests());
}

#[test]
fn each_alert_has_a_test_that_fires_it_and_one_that_does_not() {
    let (mut fires, mut does_not) = (BTreeSet::new(), BTreeSet::new());
    for file in tests() {
        let content = &read(&fs::read_to_string(file).unwrap())[0];
        for test in content["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().into_iter().flatten() {
                let set = if case["exp_alerts"].as_array().unwrap().is_empty() { &mut does_not } else { &mut fires };
                set.insert(case["alertname"].as_str().unwrap().to_owned());
            }
        }
    }
    let all = alert_names();
    assert!(all.len() >= 15, "{all:?}");
    assert_eq!(fires, all);
    assert_eq!(does_not, all);
}

#[test]
fn each_rule_asks_for_what_there_is_and_keeps_clusters_apart() {
    let catalogue = catalogue(&recorded());
    for (group, rule) in rules() {
        let expression = rule["expr"].as_str().unwrap();
        let found = understand(expression, &catalogue);
        assert!(found.wrong.is_empty(), "{group}: {expression}: {:?}", found.wrong);
        let absent = expression.starts_with("absent(");
        let labels = labels_of_result(expression, &catalogue);
        assert!(absent || labels.contains("cluster"), "{expression} merges clusters");
        // An absent series is never read as zero of something.
        assert!(!expression.contains("vector("), "{expression}");
    }
}

#[test]
fn each_alert_says_what_happened_how_bad_it_is_and_where_to_read_on() {
    let catalogue = catalogue(&recorded());
    for alert in alerts() {
        let (name, notes) = (name(&alert), &alert["annotations"]);
        assert!(["critical", "warning", "info"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        let (summary, description) = (notes["summary"].as_str().unwrap(), notes["description"].as_str().unwrap());
        assert!(summary.ends_with('.') && !summary.contains("{{"), "{name}: a summary is a sentence that is the same each time");
        assert!(description.ends_with('.') || description.ends_with("}}"), "{name}: {description}");
        let labels = labels_of_result(alert["expr"].as_str().unwrap(), &catalogue);
        for used in description.split("$labels.").skip(1) {
            let label: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(labels.contains(&label), "{name}: there is no label {label}: {labels:?}");
        }
        let runbook = format!("docs/runbooks/{name}.md");
        assert_eq!(notes["runbook_url"], runbook);
        let page = fs::read_to_string(ours(&runbook)).unwrap_or_else(|error| panic!("{runbook}: {error}"));
        for part in [
            &format!("# {name}\n"),
            "## What it means\n",
            "## What to look at, in this order\n",
            "## Policy, enforcer, node or configuration\n",
            "## How to close it\n",
            "## For the auditor\n",
        ] {
            assert!(page.contains(part), "{runbook} has no {part:?}");
        }
        // A breach is not over because whoever saw it is gone.
        if name == "GuardprobeBreached" {
            let remembers = alert["expr"].as_str().unwrap().contains("last_over_time(guardprobe:breached[10m])");
            assert!(remembers && alert["keep_firing_for"].is_string(), "{name}");
        }
    }
}

#[test]
fn there_is_no_runbook_without_its_alert() {
    let known: BTreeSet<String> = alert_names().iter().map(|name| format!("{name}.md")).collect();
    let pages = ours("docs/runbooks").read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> = pages.filter(|page| page != "README.md").collect();
    assert_eq!(pages, known);
    let list = fs::read_to_string(ours("docs/runbooks/README.md")).unwrap();
    known.iter().for_each(|page| assert!(list.contains(&format!("({page})")), "docs/runbooks/README.md does not list {page}"));
}

/// The rules of a rendered PrometheusRule.
fn rendered(values: &Path, more: &[&str]) -> Value {
    let objects = objects(values, more);
    objects.into_iter().find(|object| object["kind"] == "PrometheusRule").unwrap()["spec"].clone()
}

#[test]
fn the_chart_ships_these_rules_but_for_those_that_are_switched_off() {
    let (ours, copy) = (fs::read_to_string(ours(RULES)).unwrap(), chart().join("files/rules.yaml"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&copy, &ours).unwrap();
    }
    assert!(fs::read_to_string(&copy).unwrap_or_default() == ours, "{} differs: run with UPDATE=1", copy.display());
    let minimal = chart().join("ci/minimal-values.yaml");
    let all = rendered(&minimal, &["--set", "prometheusRule.enabled=true"]);
    assert_eq!(all, read(&ours)[0], "every rule as it is written");
    let some = rendered(&chart().join("ci/everything-values.yaml"), &[]);
    let text = some.to_string();
    assert!(
        !text.contains("GuardprobeWeakProof") && text.contains("GuardprobeBreached") && text.contains("guardprobe:proved_nodes")
    );
    assert!(
        text.contains(r#""runbook_url":"https://git.example/guardprobe/blob/main/docs/runbooks/GuardprobeBreached.md""#),
        "{text}"
    );
    let file = std::env::temp_dir().join(format!("gpt{}-rendered.yaml", std::process::id()));
    fs::write(&file, some.to_string()).unwrap();
    promtool(&["check", "rules"], std::slice::from_ref(&file));
    fs::remove_file(&file).unwrap();
}
