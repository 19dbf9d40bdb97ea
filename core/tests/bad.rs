//! Bad configurations, one file each in `bad/`, and beside it what its author gets to read.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
use guardprobe_core::parse::config::parse_bytes;
use std::{fs, path::Path, path::PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// What the author of this file gets to read, with the name of the file alone.
fn told(file: &Path) -> String {
    let name = Path::new(file.file_name().unwrap());
    match parse_bytes(&fs::read(file).unwrap(), "default") {
        Ok(_) => "nothing is wrong\n".to_owned(),
        Err(problems) => format!("{}\n", problems.in_file(name)),
    }
}

#[test]
fn every_bad_configuration_gets_exactly_its_messages() {
    let mut differences = String::new();
    for file in cases() {
        let (told, stored) = (told(&file), file.with_extension("txt"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&stored, &told).unwrap();
        }
        let expected = fs::read_to_string(&stored).unwrap_or_default();
        expected.lines().filter(|line| !told.lines().any(|l| l == *line)).for_each(|l| differences += &format!("- {l}\n"));
        told.lines().filter(|line| !expected.lines().any(|l| l == *line)).for_each(|l| differences += &format!("+ {l}\n"));
        assert!(!differences.is_empty() || told == expected, "{}: same lines in another order", file.display());
    }
    assert!(differences.is_empty(), "\n{differences}if that is right: UPDATE=1 cargo test -p guardprobe-core --test bad");
}

#[test]
fn every_bad_configuration_is_refused_and_there_are_enough_of_them() {
    assert!(cases().len() >= 25);
    for file in cases() {
        assert_ne!(told(&file), "nothing is wrong\n", "{}", file.display());
    }
}
