//! YAML as a tree in which every key and value knows its place.
//!
//! Built on the events of `granit-parser`, the parser below serde-saphyr, because three things get lost on the way through
//! serde: the place of a key, the second of two equal keys, and the text of a plain scalar (`off` would arrive as a boolean).
//! What a configuration does not need is refused: aliases (so no alias bomb), tags, and a second document.
use super::problem::{Place, Problems, key_name, quote};
use crate::model::names;
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle};

/// How deep lists and mappings may be nested. A configuration needs four.
const DEPTH_MAX: usize = 16;

/// The text is no YAML, and the problem is told already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Its first character; of a value that is not there, where it would be.
    pub(super) at: Place,
    /// What it is.
    pub(super) value: Value,
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Nothing,
    /// A text as it is written, without its quotes. Numbers and booleans are texts too.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file, with every duplicate.
    Map(Vec<Entry>),
    /// Something that was refused, and has its problem already.
    Refused,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) at: Place,
    /// The key.
    pub(super) key: String,
    /// Its value.
    pub(super) node: Node,
}

/// Reads one YAML document. `None`: the text holds nothing but comments.
///
/// # Errors
/// What is wrong is added to `problems`; after [`Unreadable`] there is no tree to look at.
pub(super) fn read(text: &str, problems: &mut Problems) -> Result<Option<Node>, Unreadable> {
    if text.len() as u64 > names::CONFIG_MAX_BYTES {
        let message = format!("{} bytes are too many: expected at most {}", text.len(), names::CONFIG_MAX_BYTES);
        problems.add(Place::START, "", message);
        return Err(Unreadable);
    }
    let options = granit_parser::options! {
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
        emit_unresolved_aliases: true,
    };
    let events = Parser::new_from_str_with_options(text, options);
    Builder { text, events, problems, open: Vec::new() }.stream()
}

struct Builder<'t, 'p> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    problems: &'p mut Problems,
    /// The brackets that are open, with their places.
    open: Vec<(char, Place)>,
}

impl<'t> Builder<'t, '_> {
    fn stream(mut self) -> Result<Option<Node>, Unreadable> {
        let mut document = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(document),
                Event::DocumentStart(..) if document.is_some() => {
                    let message = "a second document begins: expected one document in the file, without ---";
                    self.problems.add(place(span), "", message);
                    return Ok(document);
                }
                Event::DocumentStart(..) => {
                    let next = self.next()?;
                    document = Some(self.node(next, "")?);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Unreadable> {
        loop {
            match self.events.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(next)) => return Ok(next),
                Some(Err(error)) => {
                    self.syntax_error(&error);
                    return Err(Unreadable);
                }
                None => return Err(Unreadable),
            }
        }
    }

    fn node(&mut self, (event, span): (Event<'t>, Span), path: &str) -> Result<Node, Unreadable> {
        let at = place(span);
        let tagged = event.tag().is_some();
        let refused = self.refuse_properties(&event, at, path);
        let value = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(style, ..) => self.bracketed('[', style, at, |this| this.list(path))?,
            Event::MappingStart(style, ..) => self.bracketed('{', style, at, |this| this.map(path))?,
            _ => Value::Refused,
        };
        Ok(Node { at, value: if refused && tagged { Value::Refused } else { value } })
    }

    /// Refuses aliases, anchors and tags. An anchor alone does no harm to what it stands at.
    fn refuse_properties(&mut self, event: &Event<'_>, at: Place, path: &str) -> bool {
        let message = match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => "an alias (*name) is not supported: expected the value itself",
            _ if event.anchor_id().is_some() => "an anchor (&name) is not supported: expected the value alone",
            _ if event.tag().is_some() => "a tag (!name) is not supported: expected the value alone",
            _ => return false,
        };
        self.problems.add(at, path, message);
        true
    }

    /// Remembers an open bracket while what is in it is read, so that a syntax error can point to it.
    fn bracketed(
        &mut self,
        bracket: char,
        style: StructureStyle,
        at: Place,
        read: impl FnOnce(&mut Self) -> Result<Value, Unreadable>,
    ) -> Result<Value, Unreadable> {
        let flow = style == StructureStyle::Flow;
        if flow {
            self.open.push((bracket, at));
        }
        let value = read(self)?;
        if flow {
            self.open.pop();
        }
        Ok(value)
    }

    fn list(&mut self, path: &str) -> Result<Value, Unreadable> {
        let mut items = Vec::new();
        loop {
            let next = self.next()?;
            if next.0 == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            items.push(self.node(next, &format!("{path}[{}]", items.len()))?);
        }
    }

    fn map(&mut self, path: &str) -> Result<Value, Unreadable> {
        let (mut entries, mut refused) = (Vec::new(), false);
        loop {
            let next = self.next()?;
            if next.0 == Event::MappingEnd {
                let nothing_left = refused && entries.is_empty();
                return Ok(if nothing_left { Value::Refused } else { Value::Map(entries) });
            }
            let key = self.node(next, path)?;
            let name = self.key_text(&key, path);
            let below = child(path, name.as_deref().unwrap_or("?"));
            let next = self.next()?;
            let node = self.node(next, &below)?;
            refused |= name.is_none();
            entries.extend(name.map(|name| Entry { at: key.at, key: name, node }));
        }
    }

    /// The key as a text; anything else is told, unless it has been.
    fn key_text(&mut self, key: &Node, path: &str) -> Option<String> {
        match &key.value {
            Value::Text(text) => Some(text.clone()),
            Value::Nothing => Some(String::new()),
            Value::Refused => None,
            Value::List(_) | Value::Map(_) => {
                let message = "a bracket opens where a key was expected: put a text that begins with [ or { into quotes";
                self.problems.add(key.at, path, message);
                None
            }
        }
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let at = Place { line: error.marker().line().max(1), column: error.marker().col() + 1 };
        let open = self.open.last().filter(|(_, open)| *open != at);
        let hint = open.map(|(bracket, open)| format!(" (is the {bracket} of {open} closed?)")).unwrap_or_default();
        self.problems.add(at, "", format!("not YAML: {}{hint}", explanation(error, self.begins_line(at))));
    }

    /// True when nothing but blanks stands before this place in its line.
    fn begins_line(&self, at: Place) -> bool {
        let line = self.text.lines().nth(at.line - 1).unwrap_or_default();
        line.chars().take(at.column - 1).all(char::is_whitespace)
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" if style == ScalarStyle::Plain => Value::Nothing,
        _ => Value::Text(text.to_owned()),
    }
}

/// The path of what `key` holds in the mapping at `path`.
pub(super) fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key_name(key) } else { format!("{path}.{}", key_name(key)) }
}

fn place(span: Span) -> Place {
    Place { line: span.start.line().max(1), column: span.start.col() + 1 }
}

/// A syntax error in words for somebody who knows YAML from its examples; rare ones in the parser's own words.
fn explanation(error: &ScanError, begins_line: bool) -> String {
    use ErrorKind as E;
    let fixed = match error.kind() {
        E::SimpleKeyExpected => "a line without a colon: expected `key: value`",
        E::MappingValueNotAllowed => {
            "a colon where no key can stand: check the indentation, and put a value that contains `: ` into quotes"
        }
        E::ExpectedBlockMappingKey if !begins_line => "more text after the end of a value: put the whole value into quotes",
        E::ExpectedBlockMappingKey | E::InvalidIndentation => "wrong indentation: expected a key in the column of the keys above",
        E::ExpectedBlockSequenceEntry => "wrong indentation: expected a further `- ` of the list above, or a key further left",
        E::TabInBlockIndentation | E::TabInIndentation | E::TabNotAllowed => "a tab in the indentation: expected spaces",
        E::UnclosedQuotedScalar => "a quote is opened and never closed",
        E::ExpectedFlowMappingSeparator => "expected `,` or `}`",
        E::ExpectedFlowSequenceSeparator => "expected `,` or `]`",
        E::InvalidColonPlacement => "a colon where none can stand: expected `,` or a closing bracket",
        E::MisplacedFlowCollectionEnd => "a closing bracket without an opening one",
        E::RecursionLimitExceeded => return format!("lists or mappings are nested deeper than {DEPTH_MAX}"),
        E::UnclosedFlowCollection { open } => return format!("the `{open}` is never closed"),
        E::UnexpectedCharacter { character } => {
            return format!("a value cannot begin with {}: put it into quotes", quote(&character.to_string()));
        }
        _ => return error.info(),
    };
    fixed.to_owned()
}
