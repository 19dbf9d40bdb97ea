//! The chart grants what the code does, and no more.
use guardprobe::cluster::{RULES, Rule, Scope};
use std::path::Path;

const INTRO: &str = "\
# What the reporter may do, and nothing else, by where it holds: in the whole cluster, in the namespace `default`, in each namespace with a
# guard, in the reporter's own. Made from `RULES` in src/cluster/mod.rs: UPDATE=1 cargo test --test rbac
";

fn rules() -> String {
    let scopes = [("cluster", Scope::Cluster), ("default", Scope::Default), ("guards", Scope::Guards), ("own", Scope::Own)];
    let part = |(key, scope)| -> String {
        let rules: String = RULES.iter().filter(|rule| rule.scope == scope).map(one).collect();
        format!("{key}:\n{rules}")
    };
    INTRO.to_owned() + &scopes.map(part).concat()
}

fn one(rule: &Rule) -> String {
    let name = rule.name.map(|name| format!("    resourceNames: [{name}]\n")).unwrap_or_default();
    let Rule { group, resource, verbs, why, .. } = rule;
    let verbs = verbs.join(", ");
    format!("  # {why}\n  - apiGroups: [\"{group}\"]\n    resources: [{resource}]\n{name}    verbs: [{verbs}]\n")
}

#[test]
fn the_chart_grants_what_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/charts/guardprobe/files/rbac.yaml");
    let is = rules();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(was == is, "deploy/charts/guardprobe/files/rbac.yaml differs: run with UPDATE=1 and read the difference");
}

#[test]
fn nothing_secret_is_read_and_nothing_is_deleted() {
    for rule in RULES {
        assert!(
            !rule.resource.contains("secret") && !rule.verbs.iter().any(|verb| verb.contains("delete") || *verb == "*"),
            "{rule:?}"
        );
        assert!(rule.resource != "*" && rule.group != "*" && !rule.resource.contains('/'), "{rule:?}");
    }
}
