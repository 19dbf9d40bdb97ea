//! Reads the configuration file, and tells all its mistakes at once.
use super::fields::Fields;
use super::problem::{Place, Problems};
use super::target::{Seen, control, refuse_used_addresses, target};
use super::values;
use super::yaml::{self, Node};
use crate::model::config::{Config, Control, Expect, Kind, Target, write_duration};
use crate::model::finding::Attribution;
use crate::model::names;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::time::Duration;

/// The keys of the document.
const KEYS: [&str; 8] = ["guard", "interval", "timeout", "sentinel", "startup", "proof", "targets", "controls"];

/// The name of the guard when nobody gives one.
const GUARD: &str = "guard";

/// Reads a configuration file; `namespace` is put before a guard that has none.
///
/// # Errors
/// Every mistake with its place, in the order of the file. A syntax error hides what would come after it.
pub fn parse(text: &str, namespace: &str) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let config = match yaml::read(text, &mut problems) {
        Ok(Some(node)) => document(&node, namespace, &mut problems),
        Ok(None) => return Err(Problems::one(Place::START, "the file holds no configuration: expected at least targets")),
        Err(yaml::Unreadable) => None,
    };
    problems.unless_any(config)
}

/// As [`parse`], from the bytes of the file.
///
/// # Errors
/// As [`parse`], and for bytes that are no UTF-8.
pub fn parse_bytes(bytes: &[u8], namespace: &str) -> Result<Config, Problems> {
    parse(utf8(bytes)?, namespace)
}

/// The text of a file.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Problems> {
    std::str::from_utf8(bytes)
        .map_err(|error| Problems::one(end_of(&bytes[..error.valid_up_to()]), "a byte that is no UTF-8: expected UTF-8 text"))
}

/// The place after these bytes, which are UTF-8.
fn end_of(bytes: &[u8]) -> Place {
    let text = String::from_utf8_lossy(bytes);
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    Place { line: text.matches('\n').count() + 1, column: last_line.chars().count() + 1 }
}

/// The configuration of a pod that has no file: IMDS and the Kubernetes API, at the addresses that their kinds know.
pub fn built_in(namespace: &str) -> Config {
    Config {
        guard: format!("{namespace}/{GUARD}"),
        interval: names::INTERVAL,
        timeout: names::TIMEOUT,
        sentinel: Some(names::SENTINEL),
        startup: names::STARTUP,
        proof: names::PROOF,
        targets: [Kind::Imds, Kind::KubeApi].map(|kind| Target::of(kind.as_str(), kind)).into(),
        controls: Vec::new(),
    }
}

/// Reads `NAME=host:port`, the target of a quick question; its kind is tcp.
///
/// # Errors
/// Says what is wrong and what was expected.
pub fn target_flag(text: &str) -> Result<Target, String> {
    let expected = "expected NAME=host:port, such as vault=10.0.0.5:8200";
    let (name, address) = text.split_once('=').ok_or_else(|| format!("{text:?} has no name: {expected}"))?;
    let mut target = Target::of(&values::label(name)?, Kind::Tcp);
    target.addresses.push(values::address(address)?);
    Ok(target)
}

/// Reads an address to listen on: `ADDRESS:PORT`, or `:PORT` for every address of this machine.
///
/// # Errors
/// Says what is wrong and what was expected.
pub fn listen_flag(text: &str) -> Result<SocketAddr, String> {
    listen_at(text, "[::]")
}

/// As [`listen_flag`], where `:PORT` is a port of loopback: what listens there is not for the network.
///
/// # Errors
/// Says what is wrong and what was expected.
pub fn loopback_listen_flag(text: &str) -> Result<SocketAddr, String> {
    listen_at(text, "127.0.0.1")
}

fn listen_at(text: &str, everywhere: &str) -> Result<SocketAddr, String> {
    let written =
        if text.starts_with(':') { format!("{everywhere}{text}") } else { text.replacen("localhost:", "127.0.0.1:", 1) };
    written.parse().map_err(|_| {
        format!("{text:?} is no address to listen on: expected ADDRESS:PORT or :PORT, such as 0.0.0.0:9797 or :9797")
    })
}

/// Reads a duration that a flag gives: a number and a unit, such as 60s.
///
/// # Errors
/// Says what is wrong and what was expected.
pub fn duration_flag(text: &str) -> Result<Duration, String> {
    values::duration(text)
}

/// The fingerprint of a configuration with its defaults: the first 12 hex digits of the SHA-256 of its JSON.
pub fn hash(config: &Config) -> String {
    // Only a path that is no UTF-8 has no JSON, and none comes from a file; its debug form identifies it as well.
    let json = serde_json::to_vec(config).unwrap_or_else(|_| format!("{config:?}").into_bytes());
    Sha256::digest(json).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn document(node: &Node, namespace: &str, problems: &mut Problems) -> Option<Config> {
    let fields = Fields::open(node, "", "a mapping with targets", &KEYS, problems)?;
    let guard = fields.read("guard", values::GUARD, problems, |text| values::guard(text, namespace));
    let (interval, timeout) = interval_and_timeout(&fields, problems);
    let sentinel = fields.read("sentinel", "a period such as 1s, or off", problems, values::sentinel);
    let startup = fields.read("startup", values::DURATION, problems, values::duration);
    let proof = fields.read("proof", "weak, silence, rejected or witnessed", problems, proof);
    let targets = targets(&fields, problems);
    let controls = controls(&fields, targets.as_deref().unwrap_or_default(), problems);
    let fallback = built_in(namespace);
    Some(Config {
        guard: guard.unwrap_or(fallback.guard),
        interval,
        timeout,
        sentinel: sentinel.unwrap_or(fallback.sentinel),
        startup: startup.unwrap_or(fallback.startup),
        proof: proof.unwrap_or(fallback.proof),
        targets: targets?,
        controls,
    })
}

/// A level of proof.
pub(super) fn proof(text: &str) -> Result<Attribution, String> {
    values::one_of(&Attribution::ALL, Attribution::as_str, "a level of proof")(text)
}

fn interval_and_timeout(fields: &Fields<'_>, problems: &mut Problems) -> (Duration, Duration) {
    let parse = values::duration_from(names::TIMEOUT_MIN);
    let interval = fields.read("interval", values::DURATION, problems, &parse);
    let timeout = fields.read("timeout", values::DURATION, problems, &parse);
    let told = (fields.has("interval") && interval.is_none()) || (fields.has("timeout") && timeout.is_none());
    let (interval, timeout) = (interval.unwrap_or(names::INTERVAL), timeout.unwrap_or(names::TIMEOUT));
    if !told && timeout > interval {
        timeout_exceeds_interval(fields, interval, timeout, problems);
    }
    (interval, timeout)
}

/// Points to the timeout when the file has one, else to the interval, which then is too short for the default.
fn timeout_exceeds_interval(fields: &Fields<'_>, interval: Duration, timeout: Duration, problems: &mut Problems) {
    let (interval, timeout) = (write_duration(interval), write_duration(timeout));
    if let Some(field) = fields.get("timeout") {
        let message = format!("{timeout} is longer than the interval of {interval}: expected at most the interval");
        problems.add(field.node.at, &field.path, message);
    } else if let Some(field) = fields.get("interval") {
        let message =
            format!("{interval} is shorter than the timeout, {timeout} by default: expected at least that, or a timeout as well");
        problems.add(field.node.at, &field.path, message);
    }
}

fn targets(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<Target>> {
    let expected = format!("a list of 1 to {} targets, such as {{name: imds, kind: imds}}", names::TARGETS_MAX);
    let items = fields.require("targets", &expected, problems)?.items(&expected, 1..=names::TARGETS_MAX, problems)?;
    let mut seen = Seen::new();
    Some(items.iter().filter_map(|item| target(item, &mut seen, problems)).collect())
}

fn controls(fields: &Fields<'_>, targets: &[Target], problems: &mut Problems) -> Vec<Control> {
    let expected = format!("a list of at most {} controls", names::TARGETS_MAX);
    let items = fields.get("controls").and_then(|field| field.items(&expected, 0..=names::TARGETS_MAX, problems));
    let mut seen = Seen::new();
    let read: Vec<_> = items.iter().flatten().map(|item| (item, control(item, &mut seen, problems))).collect();
    let controls: Vec<Control> = read.iter().filter_map(|(_, control)| control.clone()).collect();
    for (item, control) in &read {
        if let Some(control) = control.as_ref().filter(|control| control.expect == Expect::MustNotConnect) {
            refuse_used_addresses(item, control, targets, &controls, problems);
        }
    }
    controls
}
