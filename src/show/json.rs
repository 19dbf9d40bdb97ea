//! Reports as JSON.
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

/// JSON lets C1 controls and bidirectional marks through raw, and a terminal obeys them: they are written as `\u009b`. Beyond
/// ASCII there is nothing in JSON but the inside of strings, where that means the same.
fn harmless(c: char, out: &mut String) {
    match c {
        '\n' | ' '..='~' => out.push(c),
        other if other.escape_debug().len() == 1 => out.push(other),
        other => out.extend(other.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
    }
}
