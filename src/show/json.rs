//! The report as JSON.
use guardprobe_core::model::report::Report;

/// The report in its schema, for machines that people sometimes read: indented, with a newline at the end.
pub fn json(report: &Report) -> String {
    // Only a map with keys that are no strings can fail, and a report has no map.
    let mut text = serde_json::to_string_pretty(report).expect("a report is plain data");
    text.push('\n');
    text
}
