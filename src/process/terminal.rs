//! The terminal that a person may sit at.
use std::io::Write;

/// Columns to fill: those of the terminal, else enough for a log.
pub fn width() -> usize {
    terminal_size::terminal_size().map_or(120, |(terminal_size::Width(columns), _)| usize::from(columns).clamp(60, 160))
}

/// Says something on standard error. Whoever has closed it misses it, and nothing else comes of that.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
