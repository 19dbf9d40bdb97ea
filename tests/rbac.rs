//! The manifest of the reporter's permissions is what its code may do, and no more.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
use guardprobe::cluster::{RULES, Rule, Scope};
use std::fmt::Write;
use std::path::Path;

const INTRO: &str = "\
# What the reporter may do, and nothing else. Made from `RULES` in src/cluster/mod.rs: UPDATE=1 cargo test --test rbac
#
# The namespace `guardprobe` is the reporter's own. The parts named guardprobe-reporter-guards are for the namespace of the guard, here
# `default`: apply them once in each namespace that holds one.
apiVersion: v1
kind: ServiceAccount
metadata:
  name: guardprobe-reporter
  namespace: guardprobe
";

/// Kind, name and namespace of the role that carries the rules of a scope.
fn role(scope: Scope) -> (&'static str, &'static str, Option<&'static str>) {
    match scope {
        Scope::Cluster => ("ClusterRole", "guardprobe-reporter", None),
        Scope::Default => ("Role", "guardprobe-reporter", Some("default")),
        Scope::Guards => ("Role", "guardprobe-reporter-guards", Some("default")),
        Scope::Own => ("Role", "guardprobe-reporter", Some("guardprobe")),
    }
}

fn manifest() -> String {
    let mut text = INTRO.to_owned();
    for scope in [Scope::Cluster, Scope::Default, Scope::Guards, Scope::Own] {
        let (kind, name, namespace) = role(scope);
        let namespace = namespace.map(|namespace| format!("  namespace: {namespace}\n")).unwrap_or_default();
        let head = |kind: &str| {
            format!("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{namespace}")
        };
        text += &head(kind);
        text += "rules:\n";
        RULES.iter().filter(|rule| rule.scope == scope).for_each(|rule| text += &one(rule));
        text += &head(&format!("{kind}Binding"));
        let group = "rbac.authorization.k8s.io";
        write!(text, "roleRef:\n  apiGroup: {group}\n  kind: {kind}\n  name: {name}\n").unwrap();
        text += "subjects:\n  - kind: ServiceAccount\n    name: guardprobe-reporter\n    namespace: guardprobe\n";
    }
    text
}

fn one(rule: &Rule) -> String {
    let name = rule.name.map(|name| format!("    resourceNames: [{name}]\n")).unwrap_or_default();
    let Rule { group, resource, verbs, why, .. } = rule;
    let verbs = verbs.join(", ");
    format!("  # {why}\n  - apiGroups: [\"{group}\"]\n    resources: [{resource}]\n{name}    verbs: [{verbs}]\n")
}

#[test]
fn the_manifest_grants_what_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/reporter/rbac.yaml");
    let is = manifest();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(was == is, "deploy/reporter/rbac.yaml differs: run with UPDATE=1 and read the difference");
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
