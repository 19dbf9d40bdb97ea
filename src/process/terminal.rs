//! The terminal that a person may sit at.

/// Columns to fill: those of the terminal, else enough for a log.
pub fn width() -> usize {
    terminal_size::terminal_size().map_or(120, |(terminal_size::Width(columns), _)| usize::from(columns).clamp(60, 160))
}
