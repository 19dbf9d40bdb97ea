//! The arrows of the house: which room of `src` may know which. (The core is a crate of its own, so there the compiler keeps them.)
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
use std::fs;
use std::path::{Path, PathBuf};
use syn::UseTree;
use syn::visit::{self, Visit};

/// Each room with those that it may know. Rooms that touch the world do not know each other, and programs do not know other programs.
const MAY_KNOW: [(&str, &[&str]); 14] = [
    ("wire", &[]),
    ("probe", &["wire"]),
    ("show", &[]),
    ("serve", &[]),
    ("settings", &["probe"]),
    ("speaker", &["probe"]),
    ("check", &["probe", "process", "settings", "show", "speaker"]),
    ("cluster", &["wire"]),
    ("process", &[]),
    ("reporter", &["cluster", "process", "serve", "settings", "show", "wire"]),
    ("agent", &["probe", "process", "serve", "settings", "show", "speaker"]),
    ("lab", &["process", "wire"]),
    ("verify", &["cluster", "process", "show", "wire"]),
    ("cli", &["agent", "check", "lab", "process", "reporter", "verify"]),
];

/// Collects the rooms that a file names by `crate::…` or by enough `super::…`.
struct Arrows {
    /// The modules above the file, from the crate's root.
    inside: Vec<String>,
    found: Vec<String>,
}

impl Arrows {
    fn path(&mut self, segments: &[String]) {
        let supers = segments.iter().take_while(|segment| *segment == "super").count();
        let room = match segments.first().map(String::as_str) {
            Some("crate") => segments.get(1),
            Some("super") if supers >= self.inside.len() => segments.get(supers),
            _ => None,
        };
        self.found.extend(room.cloned());
    }

    fn tree(&mut self, tree: &UseTree, before: &[String]) {
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &[before, &[path.ident.to_string()]].concat()),
            UseTree::Name(name) => self.path(&[before, &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.path(&[before, &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.path(before),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, before)),
        }
    }
}

impl<'ast> Visit<'ast> for Arrows {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// The modules that a file is in, from the crate's root: `src/lab/standin/mod.rs` is in lab, standin.
fn modules(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let parts = parts.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    parts.filter(|part| part != "mod").collect()
}

fn arrows_of(text: &str, inside: Vec<String>) -> Vec<String> {
    let mut arrows = Arrows { inside, found: Vec::new() };
    arrows.visit_file(&syn::parse_file(text).unwrap());
    arrows.found
}

#[test]
fn every_room_knows_only_the_rooms_that_it_may_know() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let inside = modules(file.strip_prefix(&root).unwrap());
        let Some((room, known)) = MAY_KNOW.iter().find(|(room, _)| *room == inside[0]) else {
            assert!(matches!(inside[0].as_str(), "main" | "lib"), "{} is no room that this test knows", inside[0]);
            continue;
        };
        let found = arrows_of(&fs::read_to_string(&file).unwrap(), inside.clone());
        let strange = found.into_iter().filter(|other| other != room && !known.contains(&other.as_str()));
        wrong.extend(strange.map(|other| format!("{}: {room} may not know {other}", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_arrow_is_found_however_it_is_written() {
    let inside = || vec!["show".to_owned(), "table".to_owned()];
    for text in [
        "use crate::probe::round;",
        "use crate::{probe, show};",
        "use super::super::probe::x as y;",
        "fn f() { crate::probe::pod::look(); }",
        "fn f(x: &crate::probe::Pod) {}",
    ] {
        assert!(arrows_of(text, inside()).contains(&"probe".to_owned()), "{text}");
    }
    assert!(arrows_of("use super::words::probe; use guardprobe_core::probe;", inside()).is_empty());
}
