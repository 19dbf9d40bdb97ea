//! Text on a terminal: nothing from outside reaches it raw, and nothing is wider than asked where that can be helped.
use anstyle::{AnsiColor, Style};
use guardprobe_core::model::finding::Verdict;
use jiff::Timestamp;
use std::fmt::Display;

/// Where the eye starts.
pub(super) const BOLD: Style = Style::new().bold();
/// What is there for completeness.
pub(super) const FAINT: Style = Style::new().dimmed();
/// What is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What is not known.
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is as it is.
pub(super) const PLAIN: Style = Style::new();

/// The colour of a verdict.
pub(super) fn colour(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Blocked => GOOD,
        Verdict::Inconclusive => DOUBTFUL,
        Verdict::Breached => BAD,
    }
}

/// Text in a style. A style without effect leaves no trace.
pub(super) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Text from outside, made harmless: control, bidirectional and invisible characters become `\u{…}`, `\n` and the like, so
/// that a server's header or a certificate's name can't move the cursor, recolour a verdict or add a line.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            other => out.extend(other.escape_debug()),
        }
    }
    out
}

/// Breaks text between words into lines of at most `width`; a word that is longer is cut.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace().flat_map(|word| cut(word, width.max(1))) {
        let line = lines.last().map_or(0, |line| columns(line));
        if line > 0 && line + 1 + columns(&word) > width {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(&word);
        }
    }
    lines
}

fn cut(word: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = word.chars().collect();
    chars.chunks(width).map(|piece| piece.iter().collect()).collect()
}

/// How many columns a text without styles takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Wrapped lines behind a label, each after the first indented below its beginning.
pub(super) fn hang(label: &str, style: Style, text: &str, width: usize) -> String {
    let indent = " ".repeat(columns(label));
    let lines = wrap(text, width.saturating_sub(columns(label)));
    let lines = lines.iter().enumerate().map(|(n, line)| {
        let lead = if n == 0 { label } else { indent.as_str() };
        format!("{lead}{}\n", paint(style, line))
    });
    lines.collect()
}

/// A duration in the unit that a person would choose.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v < 0.000_05 => "<0.1ms".to_owned(),
        v if v < 0.00995 => format!("{:.1}ms", v * 1e3),
        v if v < 0.9995 => format!("{:.0}ms", v * 1e3),
        v if v < 99.95 => format!("{v:.1}s"),
        v => format!("{v:.0}s"),
    }
}

/// A time to the second: 2026-11-24T00:13:23Z.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// `1 target`, `2 targets`.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_escaped() {
        assert_eq!(clean("a\x1b[31mb\r\n\t\u{9b}c"), "a\\u{1b}[31mb\\r\\n\\t\\u{9b}c");
        assert_eq!(clean("\u{202e}\u{200b}\u{feff}\u{2028}\u{ffff}"), "\\u{202e}\\u{200b}\\u{feff}\\u{2028}\\u{ffff}");
        assert_eq!(clean("plain \"quotes\" \\ and é"), "plain \"quotes\" \\ and é");
    }

    #[test]
    fn lines_break_between_words_and_long_words_are_cut() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij x", 4), ["abcd", "efgh", "ij x"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("ab", 0), ["a", "b"]);
    }

    #[test]
    fn durations_have_the_unit_that_a_person_would_choose() {
        let said = [0.0, 0.00042, 0.0042, 0.00996, 0.042, 0.9996, 2.5, 150.0].map(seconds);
        assert_eq!(said, ["<0.1ms", "0.4ms", "4.2ms", "10ms", "42ms", "1.0s", "2.5s", "150s"]);
    }
}
