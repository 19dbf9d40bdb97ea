//! The JSON Schema of the configuration file is checked in, and says what the reader does.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
use guardprobe_core::{model::config::json_schema, parse::config::parse};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

fn checked_in() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config.schema.json")
}

#[test]
fn the_schema_checked_in_is_the_one_the_types_give() {
    let generated = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::write(checked_in(), &generated).unwrap();
    }
    let stored = fs::read_to_string(checked_in()).unwrap_or_default();
    assert!(stored == generated, "deploy/config.schema.json is out of date: run `UPDATE=1 cargo test -p guardprobe-core schema`");
}

/// The keys that the reader offers when it is given one that it does not know, in the mapping that `text` gives it in.
fn keys_of_the_reader(text: &str) -> BTreeSet<String> {
    let problems = parse(text, "default").unwrap_err();
    let unknown = problems.as_slice().iter().find(|problem| problem.message.starts_with("unknown key")).expect(text);
    let (_, keys) = unknown.message.split_once(": expected one of ").expect(text);
    keys.split(", ").map(str::to_owned).collect()
}

fn keys_of_the_schema(object: &Value) -> BTreeSet<String> {
    assert_eq!(object["additionalProperties"], false);
    object["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn schema_and_reader_know_the_same_keys() {
    let schema = json_schema();
    let target = "targets: [{zzzzzzzz: 1}]";
    let control = "{targets: [{name: imds, kind: imds}], controls: [{zzzzzzzz: 1}]}";
    assert_eq!(keys_of_the_schema(&schema), keys_of_the_reader("zzzzzzzz: 1"));
    assert_eq!(keys_of_the_schema(&schema["$defs"]["Target"]), keys_of_the_reader(target));
    assert_eq!(keys_of_the_schema(&schema["$defs"]["Control"]), keys_of_the_reader(control));
}

#[test]
fn schema_and_reader_require_the_same_keys() {
    let schema = json_schema();
    assert_eq!(schema["required"], serde_json::json!(["targets"]));
    assert_eq!(schema["$defs"]["Target"]["required"], serde_json::json!(["name", "kind"]));
    assert_eq!(schema["$defs"]["Control"]["required"], serde_json::json!(["name", "expect"]));
    let missing = |text: &str| -> Vec<String> {
        let problems = parse(text, "default").unwrap_err();
        problems.as_slice().iter().filter(|p| p.message.starts_with("missing")).map(|p| p.field.clone()).collect()
    };
    assert_eq!(missing("{}"), ["targets"]);
    assert_eq!(missing("targets: [{}]"), ["targets[0].name", "targets[0].kind"]);
    let control = "{targets: [{name: imds, kind: imds}], controls: [{}]}";
    assert_eq!(missing(control), ["controls[0].name", "controls[0].expect"]);
}

#[test]
fn a_default_in_the_schema_is_what_the_reader_fills_in() {
    let config = parse("targets: [{name: imds, kind: imds}]", "default").unwrap();
    let config = serde_json::to_value(config).unwrap();
    let schema = json_schema();
    for key in ["interval", "timeout", "sentinel", "startup", "proof", "controls"] {
        assert_eq!(schema["properties"][key]["default"], config[key], "{key}");
    }
}

#[test]
fn nothing_in_the_schema_may_be_null() {
    assert!(!json_schema().to_string().contains("null"));
}
