//! What the pages say is so: their links lead somewhere, their values are those of the chart, their flags those of the program.
#![expect(clippy::unwrap_used, reason = "a page that cannot be read is a failure")]
mod common;

use common::helm::{helm, ours};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn pages() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "*.md"]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let pages: Vec<PathBuf> = String::from_utf8(listed.stdout).unwrap().lines().map(ours).collect();
    assert!(pages.len() >= 8, "{pages:?}");
    pages
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| -> String {
        let kept =
            heading.trim().to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(path.exists(), "{}: {target} leads nowhere", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(path).unwrap());
                assert!(there.contains(anchor), "{}: {target}: there is {there:?}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 15, "{links}");
}

/// The code blocks of a page that begin with that line.
fn blocks(page: &Path, first: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    blocks.filter(|(_, content)| content.starts_with(first)).map(|(_, content)| content.to_owned()).collect()
}

#[test]
fn every_values_file_of_the_pages_renders() {
    let found: Vec<String> = pages().iter().flat_map(|page| blocks(page, "# values.yaml\n")).collect();
    assert!(found.len() >= 5, "{}", found.len());
    for values in found {
        let file = std::env::temp_dir().join(format!("gpt{}-docs.yaml", std::process::id()));
        fs::write(&file, &values).unwrap();
        let chart = ours("deploy/charts/guardprobe");
        let args = ["template".as_ref(), "guardprobe".as_ref(), chart.as_os_str(), "--values".as_ref(), file.as_os_str()];
        let output = helm(args);
        fs::remove_file(&file).unwrap();
        assert!(output.status.success(), "{values}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn names_that_the_pages_take_from_the_chart_are_in_it() {
    let schema: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(ours("deploy/charts/guardprobe/values.schema.json")).unwrap()).unwrap();
    let mut names = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for span in text.split('`').skip(1).step_by(2) {
            let name = span.split([':', ' ']).next().unwrap();
            let mut parts = name.split('.');
            let first = parts.next().unwrap();
            let of_the_chart = ["networkPolicy", "podMonitor", "prometheusRule", "agent", "reporter", "witness", "rbac", "tests"];
            if !of_the_chart.contains(&first) || !name.contains('.') || name.contains('/') || name.ends_with(".yaml") {
                continue;
            }
            let known = parts.try_fold(&schema["properties"][first], |place, part| place["properties"].get(part));
            assert!(known.is_some(), "{}: the chart has no value {name}", page.display());
            names += 1;
        }
    }
    assert!(names >= 5, "{names}");
}
