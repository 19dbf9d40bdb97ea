//! Reads a report as the reporter takes it: from a pod that may be broken, or somebody else's.
//!
//! Whose it is says the Pod object, never the body: guard, node and pod in it are not looked at. Everything else is bounded before it is
//! kept. Fields of a newer version are passed over; a word that is not known refuses the report, since what it means is not known.
use super::problem::quote;
use super::values::is_dns_label;
use crate::judge::heard;
use crate::model::heard::{Heading, Heard, Witnessed};
use crate::model::names;
use crate::model::observation::Observation;
use crate::model::report::{ControlReport, Head, Opening, Report, Role, WitnessReport};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// The longest id, version, hash or revision in a report; ours have at most 64 characters.
const WORD_LENGTH_MAX: usize = 64;

/// The longest name of a pod, as Kubernetes has it.
const POD_LENGTH_MAX: usize = 253;
/// How much is told of what is wrong with a body: it may quote a word of it.
const WRONG_MAX: usize = 200;
/// The longest time in a report: about three years, so that sums of such times are times.
const SECONDS_MAX: Duration = Duration::from_secs(100_000_000);

/// What every schema of ours begins with.
#[derive(Deserialize)]
struct Schema {
    schema: String,
}

/// Reads an agent's report.
///
/// # Errors
/// One line: what is wrong with it, and what was expected.
pub fn agent(bytes: &[u8]) -> Result<Heard, String> {
    let report: Report = read(bytes)?;
    let heading = heading(&report.head, Role::Agent)?;
    controls(&report.controls)?;
    target_names(report.targets.iter().map(|target| target.name.as_str()))?;
    for target in &report.targets {
        observations(&target.name, &target.observations)?;
        at_most("recent openings", target.recent.len(), names::RECENT_MAX)?;
        let closed = target.recent.iter().map(|closed| &closed.opening);
        closed.chain(&target.opening).try_for_each(opening)?;
        seconds("startup_exposure_seconds", target.startup_exposure_seconds)?;
    }
    Ok(heard::agent(heading, report))
}

/// Reads a witness's report.
///
/// # Errors
/// As [`agent`].
pub fn witness(bytes: &[u8]) -> Result<Witnessed, String> {
    let report: WitnessReport = read(bytes)?;
    let heading = heading(&report.head, Role::Witness)?;
    controls(&report.controls)?;
    target_names(report.targets.iter().map(|target| target.name.as_str()))?;
    for target in &report.targets {
        at_most("observations", target.observations.len(), names::OBSERVATIONS_MAX)?;
    }
    Ok(heard::witness(heading, &report))
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let expected = names::REPORT_SCHEMA;
    let schema: Schema =
        serde_json::from_slice(bytes).map_err(|error| format!("not a report: {}: expected {expected}", cut(&error)))?;
    if schema.schema != expected {
        return Err(format!("the schema is {}: expected {expected}", quote(&schema.schema)));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("not a report of {expected}: {}", cut(&error)))
}

fn cut(error: &serde_json::Error) -> String {
    error.to_string().chars().take(WRONG_MAX).collect()
}

fn heading(head: &Head, role: Role) -> Result<Heading, String> {
    if head.role != role {
        return Err("the role is another one than the pod's".to_owned());
    }
    let revision = head.endpoints_revision.as_deref().unwrap_or("none");
    let words = [("boot", &*head.boot), ("version", &*head.version), ("config_hash", &*head.config_hash), ("revision", revision)];
    words.into_iter().try_for_each(|(name, text)| word(name, text))?;
    if head.pod.as_ref().is_some_and(|pod| pod.len() > POD_LENGTH_MAX) {
        return Err(format!("pod is longer than {POD_LENGTH_MAX} characters: expected the name of a pod"));
    }
    let interval = seconds("interval_seconds", head.interval_seconds)?;
    if interval.is_zero() || interval > names::DURATION_MAX {
        return Err(format!("interval_seconds is {}: expected more than 0 and at most a day", head.interval_seconds));
    }
    Ok(Heading {
        boot: head.boot.clone(),
        round: head.round,
        pod: head.pod.clone(),
        version: head.version.clone(),
        config_hash: head.config_hash.clone(),
        endpoints_revision: head.endpoints_revision.clone(),
        interval,
        age: seconds("age_seconds", head.age_seconds)?,
        waited: head.waited_seconds.map(|waited| seconds("waited_seconds", waited)).transpose()?,
        started: head.started,
        finished: head.finished,
    })
}

/// An id, a hash, a version: visible ASCII without quotes, and not long.
fn word(name: &str, text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    if (1..=WORD_LENGTH_MAX).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err(format!("{name} is {}: expected 1 to {WORD_LENGTH_MAX} of A-Z, a-z, 0-9, . _ + and -", quote(text)))
}

fn seconds(name: &str, seconds: f64) -> Result<Duration, String> {
    let read = Duration::try_from_secs_f64(seconds).ok().filter(|read| *read <= SECONDS_MAX);
    read.ok_or_else(|| format!("{name} is {seconds}: expected seconds, not negative, and at most those of a few years"))
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count <= most { Ok(()) } else { Err(format!("{count} {what}: expected at most {most}")) }
}

fn target_names<'a>(targets: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in targets {
        if !is_dns_label(name) || !seen.insert(name) {
            return Err(format!("a target is named {}: expected a DNS label, each once", quote(name)));
        }
        at_most("targets", seen.len(), names::TARGETS_MAX)?;
    }
    if seen.is_empty() { Err("no targets: expected at least one".to_owned()) } else { Ok(()) }
}

fn controls(controls: &[ControlReport]) -> Result<(), String> {
    // The configured ones, and the three that are made by default.
    at_most("controls", controls.len(), names::TARGETS_MAX + 3)?;
    controls.iter().try_for_each(|control| observations("a control", &control.observations))
}

fn observations(of: &str, observations: &[Observation]) -> Result<(), String> {
    at_most(&format!("observations of {of}"), observations.len(), names::OBSERVATIONS_MAX)
}

fn opening(opening: &Opening) -> Result<(), String> {
    word("the id of an opening", &opening.id)?;
    at_most("addresses of an opening", opening.addresses.len(), names::TRACKED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({
            "schema": "guardprobe.report/v1", "guard": "a/b", "role": "agent", "node": "n", "pod": "p", "version": "0.1.0",
            "config_hash": "c0ffee", "endpoints_revision": null, "boot": "b00", "round": 3, "started": "2026-03-01T12:00:00Z",
            "finished": "2026-03-01T12:00:02Z", "age_seconds": 1.5, "interval_seconds": 15.0, "verdict": "blocked",
            "added_later": {"x": 1},
            "targets": [{
                "name": "imds", "kind": "imds", "verdict": "blocked", "finding": "blocked", "reason": "silence", "rule": 7, "why": "",
                "since": "2026-03-01T11:00:00Z", "opening": null, "recent": [], "startup_exposure_seconds": 0.0,
                "observations": [{
                    "address": "169.254.169.254:80", "family": "ipv4", "source": "literal", "outcome": "timed_out", "layer": "none",
                    "latency_seconds": 2.5, "detail": null
                }]
            }],
            "controls": []
        })
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> String {
        let mut report = good();
        change(&mut report);
        agent(report.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn a_report_is_read_and_fields_of_a_newer_version_are_passed_over() {
        let heard = agent(good().to_string().as_bytes()).unwrap();
        assert_eq!(
            (heard.heading.boot.as_str(), heard.heading.round, heard.heading.age),
            ("b00", 3, Duration::from_millis(1500))
        );
        assert_eq!((heard.targets.len(), heard.targets[0].addresses.len()), (1, 1));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_reason() {
        let opening = |id: &str| {
            json!({"id": id, "started": "2026-03-01T12:00:00Z", "last_connected": "2026-03-01T12:00:00Z", "layer": "tcp",
                   "evidence": "connected", "addresses": []})
        };
        let closed = |id: &str| {
            let mut closed = opening(id);
            closed["ended"] = json!("2026-03-01T12:00:01Z");
            closed["transient"] = json!(false);
            closed
        };
        let many = |item: &Value, count: usize| Value::Array(vec![item.clone(); count]);
        let target = good()["targets"][0].clone();
        let observation = target["observations"][0].clone();
        for (refusal, why) in [
            (
                refusal(|r| r["schema"] = json!("guardprobe.report/v2")),
                "the schema is \"guardprobe.report/v2\": expected guardprobe.report/v1",
            ),
            (refusal(|r| r["schema"] = json!(7)), "not a report"),
            (refusal(|r| r["role"] = json!("witness")), "the role is another one"),
            (refusal(|r| r["targets"][0]["reason"] = json!("a_new_word")), "not a report of guardprobe.report/v1"),
            (refusal(|r| r["boot"] = json!("")), "boot is \"\": expected 1 to 64"),
            (refusal(|r| r["boot"] = json!("a b")), "boot is"),
            (refusal(|r| r["version"] = json!("x".repeat(65))), "version is"),
            (refusal(|r| r["endpoints_revision"] = json!("\u{1b}[31m")), "revision is"),
            (refusal(|r| r["age_seconds"] = json!(-1.0)), "age_seconds is -1"),
            (refusal(|r| r["age_seconds"] = json!(1e19)), "age_seconds is 10000000000000000000"),
            (refusal(|r| r["interval_seconds"] = json!(0.0)), "interval_seconds is 0"),
            (refusal(|r| r["interval_seconds"] = json!(1e6)), "at most a day"),
            (refusal(|r| r["targets"] = json!([])), "no targets"),
            (refusal(|r| r["targets"][0]["name"] = json!("A\n")), "expected a DNS label"),
            (refusal(|r| r["targets"] = many(&target, 2)), "each once"),
            (
                refusal(|r| r["targets"][0]["observations"] = many(&observation, names::OBSERVATIONS_MAX + 1)),
                "observations of imds",
            ),
            (refusal(|r| r["targets"][0]["recent"] = many(&closed("b00.1"), 17)), "17 recent openings: expected at most 16"),
            (refusal(|r| r["targets"][0]["opening"] = opening("<b>")), "the id of an opening"),
            (refusal(|r| r["targets"][0]["startup_exposure_seconds"] = json!(-0.5)), "startup_exposure_seconds"),
        ] {
            assert!(refusal.contains(why), "{refusal}: {why}");
        }
        assert!(refusal(|r| r["targets"][0]["verdict"] = json!("x".repeat(1_000_000))).len() < 300);
        assert!(agent(b"<html>").unwrap_err().contains("not a report"));
        assert!(agent(b"").unwrap_err().contains("not a report"));
    }

    #[test]
    fn the_most_that_a_configuration_can_give_is_taken() {
        let mut report = good();
        let observation = report["targets"][0]["observations"][0].clone();
        report["targets"][0]["observations"] = Value::Array(vec![observation; names::OBSERVATIONS_MAX]);
        assert!(agent(report.to_string().as_bytes()).is_ok());
    }
}
