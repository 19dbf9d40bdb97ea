//! The page beside the policies, and the policies' own texts.
use guardprobe_core::model::config::Kind;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub(crate) const FILES: [&str; 5] = [
    "calico-networkpolicy.yaml",
    "calico-globalnetworkpolicy.yaml",
    "kubernetes-networkpolicy.yaml",
    "cilium-networkpolicy.yaml",
    "cilium-clusterwidenetworkpolicy.yaml",
];

/// A file of `deploy/policies`.
pub(crate) fn shipped(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/policies").join(file)).unwrap()
}

/// What the page says that a policy does not cover: the name of each thing, and whether it says that this was not run.
pub(crate) fn not_covered(section: &str) -> Vec<(String, bool)> {
    let page = shipped("README.md");
    let (_, rest) = page.split_once(&format!("\n### {section}\n")).unwrap_or_else(|| panic!("the page has no section {section}"));
    let text = rest.split("\n#").next().unwrap();
    let items = text.split("\n- ").skip(1).map(|item| item.split_whitespace().collect::<Vec<_>>().join(" "));
    items
        .map(|item| {
            let name = item.strip_prefix("**").and_then(|item| item.split("**").next());
            (name.unwrap_or_else(|| panic!("no name: {item}")).to_owned(), item.ends_with("Not run here."))
        })
        .collect()
}

/// Asserts that the page says of a policy that it leaves open exactly what a test has shown to be open; the rest it must call not run.
#[track_caller]
pub(crate) fn assert_told(file: &str, shown: &BTreeSet<&str>) {
    let told = not_covered(file);
    let plain: BTreeSet<&str> = told.iter().filter(|(_, not_run)| !not_run).map(|(name, _)| name.as_str()).collect();
    assert_eq!(&plain, shown, "deploy/policies/README.md, {file}: what it says without \"Not run here\", and what was shown");
}

/// The built-in addresses of these policies' targets, as the policies write them.
pub(crate) fn denied() -> BTreeSet<String> {
    let kinds = [Kind::Imds, Kind::EksPodIdentity];
    kinds.iter().flat_map(|kind| kind.built_in()).map(|address| network(address)).collect()
}

fn network(address: &str) -> String {
    let ip = address.parse::<std::net::SocketAddr>().unwrap().ip();
    format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })
}

#[test]
fn each_policy_denies_every_built_in_address_or_the_page_says_that_it_does_not() {
    let open: Vec<String> = not_covered("All of them").into_iter().map(|(name, _)| name).collect();
    for file in FILES {
        let text = shipped(file);
        let rules: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for address in Kind::ALL.iter().flat_map(|kind| kind.built_in()).map(|address| network(address)) {
            let told = open.iter().any(|name| address.starts_with(&format!("{name}/")));
            let written = rules.iter().any(|line| line.contains(&address));
            assert!(written != told, "{file}: {address} is written: {written}, said to be open: {told}");
        }
    }
}

#[test]
fn each_policy_is_named_in_the_table_and_begins_by_saying_what_it_does_and_what_not() {
    let page = shipped("README.md");
    for file in FILES {
        assert!(page.contains(&format!("\n| `{file}`")), "{file} is not in the table");
        let text = shipped(file);
        for word in ["# Denies: ", "\n# Allows: ", "\n# Does not cover, among other things: ", "\n# Apply: "] {
            let head = text.split("\napiVersion").next().unwrap();
            assert!(head.contains(word), "{file} does not say {word}");
        }
        assert!(text.contains("\n  name: deny-k8s-api-and-imds\n"), "{file} has another name");
    }
}
