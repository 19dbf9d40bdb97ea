//! Reading a mapping: which keys it may have, and what stands at each.
use super::problem::{Place, Problems, did_you_mean, nearest, quote};
use super::yaml::{Entry, Node, Value, child};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// A mapping of the file whose keys are all known, each taken once.
pub(super) struct Fields<'a> {
    path: String,
    at: Place,
    entries: BTreeMap<&'a str, &'a Entry>,
    /// The keys that an unknown key probably should have been: they are not missing as well.
    misspelt: Vec<&'static str>,
}

/// A key that is there, with its value.
pub(super) struct Field<'a> {
    pub(super) path: String,
    /// Where the key stands; of an item of a list, where its value stands.
    pub(super) key_at: Place,
    pub(super) node: &'a Node,
}

impl<'a> Fields<'a> {
    /// Opens the mapping that is expected at `path`; unknown and duplicate keys are told and left out.
    pub(super) fn open(
        node: &'a Node,
        path: &str,
        expected: &str,
        known: &[&'static str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let field = Field { path: path.to_owned(), key_at: node.at, node };
        let Value::Map(map) = &node.value else {
            field.wrong_type(expected, problems);
            return None;
        };
        let mut fields = Fields { path: path.to_owned(), at: node.at, entries: BTreeMap::new(), misspelt: Vec::new() };
        for entry in map {
            fields.admit(entry, known, problems);
        }
        fields.entries.retain(|key, _| known.contains(key));
        Some(fields)
    }

    fn admit(&mut self, entry: &'a Entry, known: &[&'static str], problems: &mut Problems) {
        if let Some(first) = self.entries.get(entry.key.as_str()) {
            let message = format!("duplicate key, given already at {}: expected once", first.at);
            problems.add(entry.at, &child(&self.path, &entry.key), message);
            return;
        }
        self.entries.insert(&entry.key, entry);
        if !known.contains(&entry.key.as_str()) {
            self.unknown(entry, known, problems);
        }
    }

    fn unknown(&mut self, entry: &Entry, known: &[&'static str], problems: &mut Problems) {
        // `<<: *name`: the alias has its problem, and once it is gone so is the key.
        if entry.key == "<<" && entry.node.value == Value::Refused {
            return;
        }
        let hint = did_you_mean(&entry.key, known.iter().copied());
        let message = format!("unknown key{hint}: expected one of {}", known.join(", "));
        problems.add(entry.at, &child(&self.path, &entry.key), message);
        self.misspelt.extend(nearest(&entry.key, known.iter().copied()));
    }

    /// The field of this key, when it is there.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let entry = self.entries.get(key)?;
        Some(Field { path: child(&self.path, key), key_at: entry.at, node: &entry.node })
    }

    /// The field of this key; its absence is told.
    pub(super) fn require(&self, key: &str, expected: &str, problems: &mut Problems) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() && !self.misspelt.contains(&key) {
            problems.add(self.at, &child(&self.path, key), format!("missing: expected {expected}"));
        }
        field
    }

    /// What `parse` makes of the text at this key. `None`: it is not there, or was told to be wrong.
    pub(super) fn read<T>(
        &self,
        key: &str,
        expected: &str,
        problems: &mut Problems,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.get(key)?.parse(expected, problems, parse)
    }

    /// True when the key is there, whatever stands at it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }
}

impl<'a> Field<'a> {
    /// What `parse` makes of the text here. `None`: it is no text, or a wrong one, and that is told.
    pub(super) fn parse<T>(
        &self,
        expected: &str,
        problems: &mut Problems,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Value::Text(text) = &self.node.value else {
            self.wrong_type(expected, problems);
            return None;
        };
        parse(text).map_err(|message| problems.add(self.node.at, &self.path, message)).ok()
    }

    /// The items of the list here, as many as `count` allows. `None`: it is no such list, and that is told.
    pub(super) fn items(&self, expected: &str, count: RangeInclusive<usize>, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        let Value::List(items) = &self.node.value else {
            self.wrong_type(expected, problems);
            return None;
        };
        if !count.contains(&items.len()) {
            let found = if items.is_empty() { "an empty list".to_owned() } else { format!("{} are too many", items.len()) };
            problems.add(self.node.at, &self.path, format!("{found}: expected {expected}"));
            return None;
        }
        let field = |(nth, node): (usize, &'a Node)| Field { path: format!("{}[{nth}]", self.path), key_at: node.at, node };
        Some(items.iter().enumerate().map(field).collect())
    }

    fn wrong_type(&self, expected: &str, problems: &mut Problems) {
        let (at, found) = match &self.node.value {
            // Nothing has no place that a person could look at: the key has.
            Value::Nothing => (self.key_at, "found nothing".to_owned()),
            Value::Text(text) => (self.node.at, format!("found the text {}", quote(text))),
            Value::List(_) => (self.node.at, "found a list".to_owned()),
            Value::Map(_) => (self.node.at, "found a mapping".to_owned()),
            Value::Refused => return,
        };
        problems.add(at, &self.path, format!("{found}: expected {expected}"));
    }
}
