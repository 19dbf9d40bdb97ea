//! The terminal that a person may sit at.
use std::io::{IsTerminal, Write};

/// Columns to fill: those of the terminal, else enough for a log.
pub fn width() -> usize {
    terminal_size::terminal_size().map_or(120, |(terminal_size::Width(columns), _)| usize::from(columns).clamp(60, 160))
}

/// True when standard error is a terminal that takes escape sequences: not with NO_COLOR or TERM=dumb (<https://no-color.org>).
pub fn takes_escapes() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Goes back to the start of the line and clears it, where that can be done.
pub fn clear_line() -> &'static str {
    if takes_escapes() { "\r\x1b[K" } else { "" }
}

/// Says something on standard error. Whoever has closed it misses it, and nothing else comes of that.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
