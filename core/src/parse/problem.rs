//! What is wrong with a file: every mistake with its place, in the order of the file.
use std::{fmt, path::Path};

/// How many mistakes are shown. Beyond that somebody has given us the wrong file.
pub const SHOWN_MAX: usize = 50;

/// How much of a text is quoted, in characters.
const QUOTE_MAX: usize = 60;

/// A place in a file: line and column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl Place {
    /// The start of the file: where a mistake of the whole file is reported.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line of the key or value at fault, from 1; of a missing field, the line of its mapping.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What it is about, such as `targets[1].addresses[0]`; empty when it is the file as a whole.
    pub field: String,
    /// What is wrong: what was expected.
    pub message: String,
}

/// All mistakes of one file: at least one when it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The mistakes, in the order of the file.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// The mistakes with the name of their file, one line each: `FILE:LINE:COLUMN: FIELD: what is wrong: what was expected`.
    pub fn in_file<'a>(&'a self, file: &'a Path) -> impl fmt::Display + 'a {
        InFile { problems: &self.0, file }
    }

    pub(super) fn add(&mut self, at: Place, field: &str, message: impl Into<String>) {
        self.0.push(Problem { line: at.line, column: at.column, field: field.to_owned(), message: message.into() });
    }

    /// A single mistake, of the file as a whole.
    pub(super) fn one(at: Place, message: impl Into<String>) -> Self {
        let mut problems = Problems::default();
        problems.add(at, "", message);
        problems
    }

    /// `value`, unless something is wrong; then the mistakes in the order of the file.
    pub(super) fn unless_any<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        self.0.sort_by_key(|problem| (problem.line, problem.column));
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

struct InFile<'a> {
    problems: &'a [Problem],
    file: &'a Path,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (nth, Problem { line, column, field, message }) in self.problems.iter().take(SHOWN_MAX).enumerate() {
            let newline = if nth == 0 { "" } else { "\n" };
            let colon = if field.is_empty() { "" } else { ": " };
            write!(f, "{newline}{file}:{line}:{column}: {field}{colon}{message}")?;
        }
        match self.problems.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{file}: and {more} more"),
        }
    }
}

/// What is wrong with a JSON text, without the names that types have in this program.
pub(super) fn json_words(error: &serde_json::Error) -> String {
    let at = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Eof => "it is cut off".to_owned(),
        serde_json::error::Category::Data => {
            let text = error.to_string();
            let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
            match missing {
                Some((field, _)) => format!("it has no field {field:?} ({at})"),
                None => format!("a field is not of the kind that it must be ({at})"),
            }
        }
        _ => format!("it is no JSON ({at})"),
    }
}

/// A text from outside as a message shows it: in quotes, on one line, not longer than a line.
pub fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A key as part of a path: as it is when it looks like one, else quoted.
pub(super) fn key_name(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !key.is_empty() && key.len() <= QUOTE_MAX && key.bytes().all(plain) { key.to_owned() } else { quote(key) }
}

/// `, did you mean WORD?` when `text` is nearly one of `words`, else nothing.
pub fn did_you_mean<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, words).map(|word| format!(", did you mean {word}?")).unwrap_or_default()
}

/// The word that `text` nearly is.
pub(super) fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > QUOTE_MAX {
        return None;
    }
    let text = folded(text);
    let distance = |word: &str| strsim::osa_distance(&text, &folded(word));
    let nearest = words.into_iter().map(|word| (distance(word), word)).min_by_key(|(distance, _)| *distance);
    // One slip for each three letters: "adresses" is addresses, "foo" is not "tcp".
    nearest.filter(|(distance, word)| *distance <= word.len() / 3 && *distance < text.len()).map(|(_, word)| word)
}

/// The spelling without what people mix up: case, `_` and `-`.
fn folded(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// `a, b or c`.
pub fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let words = ["addresses", "serverName", "kube-api", "tcp"];
        assert_eq!(did_you_mean("adresses", words), ", did you mean addresses?");
        assert_eq!(did_you_mean("server_name", words), ", did you mean serverName?");
        assert_eq!(did_you_mean("kubeapi", words), ", did you mean kube-api?");
        assert_eq!(did_you_mean("tpc", words), ", did you mean tcp?");
        assert_eq!(did_you_mean("foo", words), "");
        assert_eq!(did_you_mean("", words), "");
        assert_eq!(did_you_mean(&"a".repeat(100_000), words), "");
    }

    #[test]
    fn a_quoted_text_stays_on_one_short_line() {
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert!(quote(&"é".repeat(1000)).chars().count() < 70);
        assert_eq!(key_name("serverName"), "serverName");
        assert_eq!(key_name("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
    }

    #[test]
    fn a_wrong_file_does_not_fill_the_screen() {
        let mut problems = Problems::default();
        (0..SHOWN_MAX + 7).for_each(|line| problems.add(Place { line, column: 1 }, "x", "wrong"));
        let shown = problems.in_file(Path::new("f")).to_string();
        assert_eq!(shown.lines().count(), SHOWN_MAX + 1);
        assert!(shown.ends_with("f: and 7 more"));
    }
}
