//! What reports look like, and that nothing in them can change that. `UPDATE=1 cargo test --test show` writes the snapshots anew.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly too")]
#[path = "show/reports.rs"]
mod reports;

use anstream::adapter::strip_str;
use guardprobe::show::{json::json, junit::junit, table::table};
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::observation::{Layer, Outcome};
use guardprobe_core::model::report::Report;
use quick_xml::events::{BytesStart, Event};
use std::{fs, path::Path};

/// Compares with a file that people can look at: `cat tests/show/table-80.ansi`.
fn snapshot(name: &str, is: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/show").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, is).unwrap();
    }
    let was = fs::read_to_string(&path).unwrap_or_default();
    assert!(was == is, "tests/show/{name} differs: run with UPDATE=1 and look at the difference. It is now:\n{is}");
}

fn pages(width: usize) -> String {
    reports::all().into_iter().map(|(name, report)| format!("=== {name} ===\n{}\n", table(&report, width))).collect()
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

#[test]
fn tables_look_as_they_did() {
    snapshot("table-80.ansi", &pages(80));
    snapshot("table-80.txt", &plain(&pages(80)));
    snapshot("table-120.txt", &plain(&pages(120)));
}

#[test]
fn no_line_but_a_command_is_wider_than_the_terminal_nor_ends_in_a_blank() {
    for width in [60, 72, 80, 100, 120, 200] {
        for line in plain(&pages(width)).lines().filter(|line| !line.starts_with("     kubectl")) {
            assert!(line.chars().count() <= width, "{width}: {line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn any_width_will_do() {
    for width in [0, 1, 10, 59, usize::MAX] {
        assert!(!pages(width).is_empty());
    }
}

#[test]
fn each_page_says_each_verdict_reason_rule_and_address() {
    for (name, report) in reports::all() {
        let page = plain(&table(&report, 1000));
        for target in &report.targets {
            assert!(page.contains(&format!("{}  {}", target.verdict.as_str().to_uppercase(), target.name)), "{name}\n{page}");
            assert!(page.contains(target.reason.as_str()), "{name}\n{page}");
            assert!(page.contains(&format!("rule {} of 7: {}", target.rule, target.why)), "{name}\n{page}");
        }
        let seen = report.targets.iter().flat_map(|target| &target.observations);
        for seen in seen.chain(report.controls.iter().flat_map(|control| &control.observations)) {
            assert!(page.contains(&seen.address.to_string()), "{name}\n{page}");
        }
    }
}

#[test]
fn the_worst_stands_first_and_the_overall_verdict_last() {
    let page = plain(&table(&reports::all().pop().unwrap().1, 80));
    let verdicts: Vec<&str> = page.lines().filter_map(|line| line.split("  ").next()).filter(|word| word.len() > 6).collect();
    let verdicts: Vec<&str> = verdicts.into_iter().filter(|word| word.chars().all(|c| c.is_ascii_uppercase())).collect();
    let expected = ["BREACHED", "INCONCLUSIVE", "INCONCLUSIVE", "BLOCKED", "BLOCKED", "BLOCKED", "BREACHED"];
    assert_eq!(verdicts, expected);
}

fn situation(name: &str) -> Report {
    reports::all().into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// Shuts or opens the addresses of the breached target, in their order.
fn with_doors(mut report: Report, doors: &[bool]) -> String {
    let target = report.targets.iter_mut().find(|target| target.verdict == Verdict::Breached).unwrap();
    for (seen, open) in target.observations.iter_mut().zip(doors) {
        seen.outcome = if *open { Outcome::Connected } else { Outcome::TimedOut };
        seen.layer = if *open { Layer::Tcp } else { Layer::None };
    }
    plain(&table(&report, 200))
}

#[test]
fn the_pattern_of_open_doors_says_where_to_look() {
    let (endpoint, family) = (|| situation("one endpoint missing"), || situation("breached in v6 only"));
    let cases = [
        (with_doors(endpoint(), &[false, false, true]), "Some endpoints are open"),
        (with_doors(endpoint(), &[true, false, false]), "Only the ClusterIP is open"),
        (with_doors(endpoint(), &[true, true, true]), "Each of its addresses is open, other doors are shut"),
        (with_doors(family(), &[false, true]), "Only IPv6 is open"),
        (with_doors(family(), &[true, false]), "Only IPv4 is open"),
        (with_doors(situation("token issued"), &[true, true]), "Each address is open"),
    ];
    for (page, expected) in cases {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
}

#[test]
fn nothing_from_outside_reaches_the_terminal_raw() {
    let report = reports::hostile();
    for width in [60, 80, 120] {
        let page = table(&report, width);
        let honest = |c: char| c == '\n' || c == '·' || (' '..='~').contains(&c);
        assert!(plain(&page).chars().all(honest), "{page}");
        assert!(!page.contains("\x1b]") && !page.contains("\x1b[2J"));
        assert!(!plain(&page).lines().any(|line| line.starts_with("BLOCKED imds")), "{page}");
    }
}

#[test]
fn nothing_from_outside_reaches_a_command_that_one_may_copy() {
    let page = plain(&table(&reports::hostile(), 400));
    assert!(!page.contains("kubectl"), "{page}");
}

#[test]
fn json_comes_back_as_the_same_report() {
    for (name, report) in reports::all().into_iter().chain([("hostile", reports::hostile())]) {
        let text = json(&report);
        assert!(text.ends_with("}\n"), "{name}");
        assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{name}\n{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report, "{name}");
    }
    snapshot("report.json", &json(&reports::all().remove(2).1));
}

#[test]
fn junit_looks_as_it_did() {
    snapshot("blocked.junit.xml", &junit(&reports::all().remove(0).1).unwrap());
    snapshot("many.junit.xml", &junit(&reports::all().pop().unwrap().1).unwrap());
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.try_get_attribute(name).unwrap()?;
    Some(found.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap().into_owned())
}

/// The tags of a document in order; fails where it is not well-formed.
fn tags(xml: &str) -> Vec<(String, BytesStart<'_>)> {
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_comments = true;
    let mut tags = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) | Event::Empty(tag) => tags.push((String::from_utf8(tag.name().as_ref().to_vec()).unwrap(), tag)),
            Event::Eof => return tags,
            Event::CData(_) | Event::Comment(_) | Event::DocType(_) | Event::PI(_) => panic!("something broke out:\n{xml}"),
            Event::Text(_) | Event::End(_) | Event::Decl(_) | Event::GeneralRef(_) => {}
        }
    }
}

#[test]
fn junit_is_well_formed_and_has_a_case_for_each_target() {
    for (name, report) in reports::all().into_iter().chain([("hostile", reports::hostile())]) {
        let xml = junit(&report).unwrap();
        let tags = tags(&xml);
        let known = ["testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "system-out"];
        assert!(tags.iter().all(|(tag, _)| known.contains(&tag.as_str())), "{name}\n{xml}");
        assert_eq!(tags.iter().filter(|(tag, _)| tag == "testcase").count(), report.targets.len(), "{name}");
        for (_, tag) in tags.iter().filter(|(tag, _)| tag.starts_with("test")) {
            let time: f64 = attribute(tag, "time").unwrap().parse().unwrap();
            assert!((0.0..60.0).contains(&time), "{name}: {time}");
        }
        assert!(xml.chars().all(|c| c == '\n' || !c.is_control()), "{name}\n{xml}");
    }
}

#[test]
fn junit_counts_breached_as_failures_and_inconclusive_as_errors() {
    let xml = junit(&reports::all().pop().unwrap().1).unwrap();
    let (_, suite) = tags(&xml).into_iter().find(|(tag, _)| tag == "testsuite").unwrap();
    let counts = ["tests", "failures", "errors", "skipped"].map(|name| attribute(&suite, name).unwrap());
    assert_eq!(counts, ["6", "1", "2", "0"]);
}
