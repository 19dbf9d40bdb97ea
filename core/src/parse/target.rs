//! Targets and controls of the configuration file.
use super::fields::{Field, Fields};
use super::problem::{Place, Problems, alternatives};
use super::values;
use crate::model::address::HostPort;
use crate::model::config::{Control, ControlKind, Expect, Kind, Target};
use crate::model::names::ADDRESSES_MAX;
use std::collections::HashMap;
use std::hash::Hash;

/// The keys of a target.
pub(super) const TARGET_KEYS: [&str; 10] = [
    "name",
    "kind",
    "addresses",
    "endpointsFile",
    "caFile",
    "serverName",
    "path",
    "publicEndpoint",
    "publicEndpointCaFile",
    "proof",
];
const PROOF_LEVELS: &str = "weak, silence, rejected or witnessed";
/// The keys of a control.
pub(super) const CONTROL_KEYS: [&str; 5] = ["name", "expect", "kind", "addresses", "onNode"];

/// The keys that only some kinds know what to do with.
const KEYS_OF_KINDS: [(&str, &[Kind]); 6] = [
    ("endpointsFile", &[Kind::KubeApi]),
    ("caFile", &[Kind::KubeApi, Kind::Tls, Kind::Http]),
    ("serverName", &[Kind::Tls, Kind::Http]),
    ("path", &[Kind::Http]),
    ("publicEndpoint", &[Kind::KubeApi]),
    ("publicEndpointCaFile", &[Kind::KubeApi]),
];

/// What was seen already, and where: names in a list, addresses in a target.
pub(super) struct Seen<T>(HashMap<T, Place>);

impl<T: Hash + Eq> Seen<T> {
    pub(super) fn new() -> Self {
        Seen(HashMap::new())
    }

    /// Tells when `value` was seen before.
    fn once(&mut self, value: T, shown: &str, field: &Field<'_>, problems: &mut Problems) {
        match self.0.get(&value) {
            Some(first) => {
                let message = format!("\"{shown}\" is given already at {first}: expected each once");
                problems.add(field.node.at, &field.path, message);
            }
            None => {
                self.0.insert(value, field.node.at);
            }
        }
    }
}

/// Reads one item of `targets`. `None`: it has no use without what was told to be wrong.
pub(super) fn target(item: &Field<'_>, names: &mut Seen<String>, problems: &mut Problems) -> Option<Target> {
    let fields = Fields::open(item.node, &item.path, "a mapping with name and kind", &TARGET_KEYS, problems)?;
    let name = name(&fields, names, problems);
    let kind = kind(&fields, problems);
    let addresses = addresses(&fields, problems);
    let target = Target {
        addresses: addresses.unwrap_or_default(),
        endpoints_file: fields.read("endpointsFile", values::FILE, problems, values::file),
        ca_file: fields.read("caFile", values::FILE, problems, values::file),
        server_name: fields.read("serverName", values::SERVER_NAME, problems, values::server_name),
        path: fields.read("path", values::URL_PATH, problems, values::url_path),
        public_endpoint: fields.read("publicEndpoint", values::ADDRESS, problems, values::address),
        public_endpoint_ca_file: fields.read("publicEndpointCaFile", values::FILE, problems, values::file),
        proof: fields.read("proof", PROOF_LEVELS, problems, super::config::proof),
        ..Target::of(&name?, kind?)
    };
    kind_fits(target.kind, &fields, problems);
    public_endpoint_is_named(&fields, problems);
    Some(target)
}

fn name(fields: &Fields<'_>, names: &mut Seen<String>, problems: &mut Problems) -> Option<String> {
    let field = fields.require("name", values::LABEL, problems)?;
    let name = field.parse(values::LABEL, problems, values::label)?;
    names.once(name.clone(), &name, &field, problems);
    Some(name)
}

fn kind(fields: &Fields<'_>, problems: &mut Problems) -> Option<Kind> {
    let expected = alternatives(&Kind::ALL.map(Kind::as_str));
    let field = fields.require("kind", &expected, problems)?;
    field.parse(&expected, problems, values::one_of(&Kind::ALL, Kind::as_str, "a kind of target"))
}

/// The list at `addresses`; `None` when there is none to use.
fn addresses(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<HostPort>> {
    let expected = format!("a list of 1 to {ADDRESSES_MAX} texts, such as [\"10.0.0.5:8200\"]");
    let items = fields.get("addresses")?.items(&expected, 1..=ADDRESSES_MAX, problems)?;
    let mut seen = Seen::new();
    let mut addresses = Vec::new();
    for item in &items {
        if let Some(address) = item.parse(values::ADDRESS, problems, values::address) {
            seen.once(address.clone(), &address.to_string(), item, problems);
            addresses.push(address);
        }
    }
    Some(addresses)
}

/// Tells which keys the kind needs and lacks, or has and cannot use.
fn kind_fits(kind: Kind, fields: &Fields<'_>, problems: &mut Problems) {
    if kind.needs_addresses() {
        fields.require("addresses", &format!("a list such as [\"10.0.0.5:8200\"] with kind {}", kind.as_str()), problems);
    }
    for (key, kinds) in KEYS_OF_KINDS {
        if let Some(field) = fields.get(key).filter(|_| !kinds.contains(&kind)) {
            let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            let message = format!("has no meaning with kind {}: expected only with {}", kind.as_str(), alternatives(&words));
            problems.add(field.key_at, &field.path, message);
        }
    }
}

/// Tells of a CA file for a public endpoint that is not named.
fn public_endpoint_is_named(fields: &Fields<'_>, problems: &mut Problems) {
    if let Some(field) = fields.get("publicEndpointCaFile").filter(|_| fields.get("publicEndpoint").is_none()) {
        problems.add(field.key_at, &field.path, "has no meaning without publicEndpoint: expected host:port there");
    }
}

/// Reads one item of `controls`. `None`: it has no use without what was told to be wrong.
pub(super) fn control(item: &Field<'_>, names: &mut Seen<String>, problems: &mut Problems) -> Option<Control> {
    let fields = Fields::open(item.node, &item.path, "a mapping with name and expect", &CONTROL_KEYS, problems)?;
    let name = name(&fields, names, problems);
    let expect = expect(&fields, problems);
    let kind = control_kind(&fields, problems);
    let addresses = addresses(&fields, problems);
    let on_node = fields.read("onNode", "true or false", problems, values::boolean);
    match expect? {
        Expect::MustReach => {
            fields.require("addresses", "a list such as [\"10.100.0.10:53\"] with expect must-reach", problems);
        }
        Expect::MustNotConnect => must_not_connect_fits(kind, &fields, problems),
    }
    let kind = kind.unwrap_or(ControlKind::Tcp);
    Some(Control {
        name: name?,
        expect: expect?,
        kind,
        addresses: addresses.unwrap_or_default(),
        on_node: on_node.unwrap_or(false),
    })
}

/// Refuses a must-not-connect control that names an address of a target or of a must-reach control: it would connect, and each breach of its
/// port would be taken for an interception.
pub(super) fn refuse_used_addresses(
    item: &Field<'_>,
    control: &Control,
    targets: &[Target],
    controls: &[Control],
    problems: &mut Problems,
) {
    let of_targets =
        targets.iter().flat_map(|target| target_addresses(target).map(move |at| (format!("target {}", target.name), at)));
    let must_reach = controls.iter().filter(|other| other.expect == Expect::MustReach);
    let of_controls = must_reach
        .flat_map(|other| other.addresses.iter().map(move |at| (format!("must-reach control {}", other.name), at.clone())));
    let alive: Vec<(String, HostPort)> = of_targets.chain(of_controls).collect();
    for address in &control.addresses {
        if let Some((owner, _)) = alive.iter().find(|(_, other)| other == address) {
            let message = format!("{address} is an address of {owner}: expected an address where nothing listens");
            problems.add(item.node.at, &format!("{}.addresses", item.path), message);
        }
    }
}

/// The addresses that a target names, or that its kind has built in.
fn target_addresses(target: &Target) -> impl Iterator<Item = HostPort> {
    let built_in = target.kind.built_in().iter().filter(|_| target.addresses.is_empty()).filter_map(|text| text.parse().ok());
    target.addresses.iter().chain(&target.public_endpoint).cloned().chain(built_in)
}

fn expect(fields: &Fields<'_>, problems: &mut Problems) -> Option<Expect> {
    const ALL: [Expect; 2] = [Expect::MustReach, Expect::MustNotConnect];
    let expected = alternatives(&ALL.map(Expect::as_str));
    let field = fields.require("expect", &expected, problems)?;
    field.parse(&expected, problems, values::one_of(&ALL, Expect::as_str, "an expectation"))
}

fn control_kind(fields: &Fields<'_>, problems: &mut Problems) -> Option<ControlKind> {
    let parse = values::one_of(&ControlKind::ALL, ControlKind::as_str, "a kind of control");
    fields.read("kind", &alternatives(&ControlKind::ALL.map(ControlKind::as_str)), problems, parse)
}

fn must_not_connect_fits(kind: Option<ControlKind>, fields: &Fields<'_>, problems: &mut Problems) {
    if let (Some(kind @ (ControlKind::Dns | ControlKind::Reporter)), Some(field)) = (kind, fields.get("kind")) {
        let message = format!("{} cannot be asked with expect must-not-connect: expected tcp", kind.as_str());
        problems.add(field.node.at, &field.path, message);
    }
    if let Some(field) = fields.get("onNode") {
        problems.add(field.key_at, &field.path, "has no meaning with must-not-connect: expected only with must-reach");
    }
}
