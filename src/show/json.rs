//! Reports as JSON.
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::names;
use serde::Serialize;

/// A report of an agent or a witness in its schema, for machines that people sometimes read: indented, with a newline at the end.
pub fn json(report: &impl Serialize) -> String {
    // Only a map with keys that are no strings can fail, and a report has no map.
    let text = serde_json::to_string_pretty(report).expect("a report is plain data");
    let mut out = String::with_capacity(text.len() + 1);
    text.chars().for_each(|c| harmless(c, &mut out));
    out.push('\n');
    out
}

/// For programs, where a check could not begin: the schema of a report, with the reason and nothing else.
pub fn no_report(why: &str, status: u8) -> String {
    let verdict = Verdict::Inconclusive;
    json(&serde_json::json!({
        "schema": names::REPORT_SCHEMA, "verdict": verdict, "exit_status": status, "error": why, "targets": [], "controls": []
    }))
}

/// JSON lets C1 controls and bidirectional marks through raw, and a terminal obeys them: they are written as `\u009b`. Beyond
/// ASCII there is nothing in JSON but the inside of strings, where that means the same.
fn harmless(c: char, out: &mut String) {
    match c {
        '\n' | ' '..='~' => out.push(c),
        other if other.escape_debug().len() == 1 => out.push(other),
        other => out.extend(other.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
    }
}
