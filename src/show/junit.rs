//! The report as a JUnit test result: a suite for the guard, a case for each target.
use super::rows::{Columns, Hope};
use super::text::{clean, time};
use super::words;
use anstream::adapter::strip_str;
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::report::{Report, TargetReport};
use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// Nothing folds lines in a test result.
const WIDTH: usize = 240;

/// Where there was no answer: one case, which is an error.
///
/// # Errors
/// As [`junit`].
pub fn no_answer(command: &str, why: &str) -> Result<String, SerializeError> {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type("no_answer").set_message(clean(why));
    let mut suite = TestSuite::new(command);
    suite.add_test_case(TestCase::new("an answer", status));
    let mut results = quick_junit::Report::new(command);
    results.add_test_suite(suite);
    results.to_string()
}

/// A report as JUnit XML: breached is a failure, inconclusive an error, blocked a success that says in system-out how it was
/// proved. Times are in seconds.
///
/// # Errors
/// When the XML can't be written; no report is known that does that.
pub fn junit(report: &Report) -> Result<String, SerializeError> {
    let mut results = quick_junit::Report::new("guardprobe");
    results.set_time(took(report)).add_test_suite(suite(report));
    results.to_string()
}

fn suite(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new(clean(&report.head.guard));
    suite.set_time(took(report));
    // By hand, since the crate's own way asks for another crate's clock types.
    suite.extra.insert("timestamp".into(), time(report.head.started).into());
    for (name, value) in properties(report) {
        suite.add_property((name, clean(value).as_str()));
    }
    suite.add_test_cases(report.targets.iter().map(|target| case(report, target)));
    suite
}

fn properties(report: &Report) -> Vec<(&'static str, &str)> {
    let known =
        [("version", report.head.version.as_str()), ("config_hash", &report.head.config_hash), ("boot", &report.head.boot)];
    let told = [("node", report.head.node.as_deref()), ("pod", report.head.pod.as_deref())];
    let told = told.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    known.into_iter().chain(told).collect()
}

fn case(report: &Report, target: &TargetReport) -> TestCase {
    let mut case = TestCase::new(clean(&target.name), status(report, target));
    case.set_classname(clean(&report.head.guard)).set_time(longest(target));
    if target.verdict == Verdict::Blocked {
        case.set_system_out(format!("{}\n{}", message(target), text(report, target)));
    }
    case
}

fn status(report: &Report, target: &TargetReport) -> TestCaseStatus {
    let mut status = match target.verdict {
        Verdict::Blocked => return TestCaseStatus::success(),
        Verdict::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Breached => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    status.set_type(words::standing(target).as_str()).set_message(message(target)).set_description(text(report, target));
    status
}

fn message(target: &TargetReport) -> String {
    let reason = words::standing(target);
    format!("{}: {}: {}", target.verdict.as_str(), reason.as_str(), words::reason(reason).means)
}

fn text(report: &Report, target: &TargetReport) -> String {
    let rows = Columns::of(report, 0, WIDTH);
    let mut text = rows.titles();
    text.extend(target.observations.iter().map(|seen| rows.row(seen, Hope::Closed(target.finding))));
    text.extend(target.unresolved.iter().map(|name| format!("look-up of {}\n", clean(name))));
    text += &format!("rule {}: {}\n", target.rule, clean(&target.why));
    strip_str(&text).to_string()
}

fn took(report: &Report) -> Duration {
    Duration::try_from(report.head.finished.duration_since(report.head.started)).unwrap_or_default()
}

/// Addresses are tried side by side: a target took as long as its slowest.
fn longest(target: &TargetReport) -> Duration {
    let seconds = target.observations.iter().map(|seen| seen.latency_seconds).fold(0.0, f64::max);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
