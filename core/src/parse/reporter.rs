//! Reads the configuration file of the reporter, and tells all its mistakes at once.
use super::fields::{Field, Fields};
use super::problem::{Place, Problems, quote};
use super::values;
use super::yaml::{self, Value};
use crate::model::cluster::{Guard, GuardName, Labels};
use crate::model::finding::Attribution;
use crate::model::fleet::Rules;
use crate::model::names;
use std::collections::BTreeSet;
use std::time::Duration;

/// The keys of the document.
const KEYS: [&str; 10] =
    ["guards", "proof", "stale", "grace", "unproven", "settled", "manyNodes", "manyPercent", "eventBurst", "eventsPerSecond"];
/// The keys of a guard.
const GUARD_KEYS: [&str; 2] = ["name", "labels"];
/// The shortest that any time of a rule may be: shorter, and a busy minute is an alarm.
const SHORTEST: Duration = Duration::from_secs(5);
const PER_SECOND: &str = "a number from 0.01 to 50";
/// The longest value of a label, as Kubernetes has it: a guard is named by one on its agents.
const LABEL_VALUE_MAX: usize = 63;

/// What a reporter is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The guards that it looks after: at least one.
    pub guards: Vec<Guard>,
    /// The least attribution accepted as blocked.
    pub proof: Attribution,
    /// The numbers of the rules.
    pub rules: Rules,
}

/// Reads a configuration file.
///
/// # Errors
/// Every mistake with its place, in the order of the file.
pub fn parse_bytes(bytes: &[u8]) -> Result<Settings, Problems> {
    let text = super::config::utf8(bytes)?;
    let mut problems = Problems::default();
    let settings = match yaml::read(text, &mut problems) {
        Ok(Some(node)) => document(&Field { path: String::new(), key_at: Place::START, node: &node }, &mut problems),
        Ok(None) => return Err(Problems::one(Place::START, "the file holds no configuration: expected at least guards")),
        Err(yaml::Unreadable) => None,
    };
    problems.unless_any(settings)
}

/// A guard of which only the name is told: `namespace/name`.
///
/// # Errors
/// As [`guard_name`].
pub fn guard(text: &str) -> Result<Guard, String> {
    Ok(Guard { name: guard_name(text)?, labels: Labels::new() })
}

/// Reads the name of a guard, `namespace/name`, whose name is also the value of a label.
///
/// # Errors
/// Says what is wrong and what was expected.
pub fn guard_name(text: &str) -> Result<GuardName, String> {
    let expected = "expected namespace/name, such as default/deny-imds";
    if !text.contains('/') {
        return Err(format!("{} has no namespace: {expected}", quote(text)));
    }
    let name: GuardName = values::guard(text, "")?.parse()?;
    if name.name.len() > LABEL_VALUE_MAX {
        return Err(format!(
            "{} is too long: expected a name of at most {LABEL_VALUE_MAX} characters, as it is a label's value",
            quote(text)
        ));
    }
    Ok(name)
}

fn document(field: &Field<'_>, problems: &mut Problems) -> Option<Settings> {
    let fields = Fields::open(field.node, "", "a mapping with guards", &KEYS, problems)?;
    let proof = fields.read("proof", "weak, silence, rejected or witnessed", problems, super::config::proof);
    let rules = rules(&fields, problems);
    let expected = format!("a list of 1 to {} guards, such as {{name: default/deny-imds}}", names::GUARDS_MAX);
    let items = fields.require("guards", &expected, problems)?.items(&expected, 1..=names::GUARDS_MAX, problems)?;
    let mut seen = BTreeSet::new();
    let guards = items.iter().filter_map(|field| item(field, &mut seen, problems)).collect();
    Some(Settings { guards, proof: proof.unwrap_or(names::PROOF), rules })
}

/// The numbers of the rules, as far as they are others than the agreed ones.
fn rules(fields: &Fields<'_>, problems: &mut Problems) -> Rules {
    let agreed = Rules::default();
    let mut duration = |key: &str, agreed: Duration| {
        let read = fields.read(key, values::DURATION, problems, values::duration_from(SHORTEST));
        read.unwrap_or(agreed)
    };
    let [stale, grace, unproven, settled] =
        [("stale", agreed.stale), ("grace", agreed.grace), ("unproven", agreed.unproven), ("settled", agreed.settled)]
            .map(|(key, agreed)| duration(key, agreed));
    let mut number = |key: &str, most: u32, agreed: u32| {
        let expected = format!("a whole number from 1 to {most}");
        let parse = |text: &str| {
            let read = text.parse().ok().filter(|number| (1..=most).contains(number));
            read.ok_or_else(|| format!("{} is out of range: expected {expected}", quote(text)))
        };
        fields.read(key, &expected, problems, parse).unwrap_or(agreed)
    };
    let many_nodes = number("manyNodes", 100_000, u32::try_from(agreed.many_nodes).unwrap_or(u32::MAX)) as usize;
    let many_percent = number("manyPercent", 100, u32::try_from(agreed.many_percent).unwrap_or(100)) as usize;
    let event_burst = number("eventBurst", 1000, agreed.event_burst);
    let events_per_second = fields.read("eventsPerSecond", PER_SECOND, problems, per_second).unwrap_or(agreed.events_per_second);
    Rules { stale, grace, unproven, settled, many_nodes, many_percent, event_burst, events_per_second }
}

/// How many Events a second may be asked for: the API server has other clients.
fn per_second(text: &str) -> Result<f64, String> {
    let read = text.parse().ok().filter(|rate: &f64| (0.01..=50.0).contains(rate));
    read.ok_or_else(|| format!("{} is out of range: expected {PER_SECOND}", quote(text)))
}

fn item(item: &Field<'_>, seen: &mut BTreeSet<GuardName>, problems: &mut Problems) -> Option<Guard> {
    let fields = Fields::open(item.node, &item.path, "a mapping with name and labels", &GUARD_KEYS, problems)?;
    let field = fields.require("name", "namespace/name, such as default/deny-imds", problems)?;
    let name = field.parse("namespace/name, such as default/deny-imds", problems, guard_name)?;
    if !seen.insert(name.clone()) {
        problems.add(field.node.at, &field.path, format!("\"{name}\" is given already: expected each once"));
    }
    let labels = fields.get("labels").map_or_else(Labels::new, |field| labels(&field, problems));
    Some(Guard { name, labels })
}

fn labels(field: &Field<'_>, problems: &mut Problems) -> Labels {
    let Value::Map(entries) = &field.node.value else {
        problems.add(field.node.at, &field.path, "found no mapping: expected labels, such as {egress: restricted}");
        return Labels::new();
    };
    let mut labels = Labels::new();
    for entry in entries {
        let path = yaml::child(&field.path, &entry.key);
        match &entry.node.value {
            Value::Text(text) => {
                if labels.insert(entry.key.clone(), text.clone()).is_some() {
                    problems.add(entry.at, &path, "duplicate key: expected once");
                }
            }
            _ => problems.add(entry.node.at, &path, "found no text: expected the value of a label"),
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = parse_bytes(text.as_bytes()).unwrap_err();
        problems.as_slice().iter().map(|p| format!("{}:{}: {}: {}", p.line, p.column, p.field, p.message)).collect()
    }

    #[test]
    fn guards_are_read_with_their_labels() {
        let text = "guards:\n  - {name: default/deny, labels: {egress: restricted, app.kubernetes.io/tier: \"1\"}}\n  - {name: b/c}\nproof: silence\n";
        let settings = parse_bytes(text.as_bytes()).unwrap();
        assert_eq!(settings.proof, Attribution::Silence);
        assert_eq!(settings.guards[0].name.to_string(), "default/deny");
        assert_eq!(settings.guards[0].labels["app.kubernetes.io/tier"], "1");
        assert!(settings.guards[1].labels.is_empty());
        assert_eq!(settings.rules, Rules::default());
    }

    #[test]
    fn the_numbers_of_the_rules_may_be_others() {
        let text = "guards: [{name: a/b}]\nstale: 3m\ngrace: 1m\nunproven: 30m\nsettled: 15m\nmanyNodes: 50\nmanyPercent: 25\neventBurst: 5\neventsPerSecond: 0.5\n";
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let rules = Rules {
            stale: minutes(3),
            grace: minutes(1),
            unproven: minutes(30),
            settled: minutes(15),
            many_nodes: 50,
            many_percent: 25,
            event_burst: 5,
            events_per_second: 0.5,
        };
        assert_eq!(parse_bytes(text.as_bytes()).unwrap().rules, rules);
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        for (text, expected) in [
            ("", "1:1: : the file holds no configuration: expected at least guards"),
            ("guards: []\n", "1:9: guards: an empty list: expected a list of 1 to 64 guards, such as {name: default/deny-imds}"),
            (
                "guards: [{name: deny}]\n",
                "1:17: guards[0].name: \"deny\" has no namespace: expected namespace/name, such as default/deny-imds",
            ),
            ("guards: [{name: a/b}, {name: a/b}]\n", "1:30: guards[1].name: \"a/b\" is given already: expected each once"),
            (
                "guards: [{name: a/b, labels: x}]\n",
                "1:30: guards[0].labels: found no mapping: expected labels, such as {egress: restricted}",
            ),
            (
                "guards: [{name: a/b, labels: {x: [1]}}]\n",
                "1:34: guards[0].labels.x: found no text: expected the value of a label",
            ),
            (
                "guards: [{name: a/b, label: {}}]\n",
                "1:22: guards[0].label: unknown key, did you mean labels?: expected one of name, labels",
            ),
            ("stale: 1s\n", "1:8: stale: \"1s\" is too short: expected at least 5s"),
            ("manyPercent: 0\n", "1:14: manyPercent: \"0\" is out of range: expected a whole number from 1 to 100"),
            ("eventBurst: many\n", "1:13: eventBurst: \"many\" is out of range: expected a whole number from 1 to 1000"),
            ("eventsPerSecond: NaN\n", "1:18: eventsPerSecond: \"NaN\" is out of range: expected a number from 0.01 to 50"),
            ("proof: strong\n", "1:8: proof: \"strong\" is not a level of proof: expected weak, silence, rejected or witnessed"),
        ] {
            assert!(problems(text).contains(&expected.to_owned()), "{text}: {:?}", problems(text));
        }
        let long = format!("guards: [{{name: a/{}}}]\n", "b".repeat(64));
        assert!(
            problems(&long)[0].contains("not the name of a guard") || problems(&long)[0].contains("at most 63"),
            "{:?}",
            problems(&long)
        );
        let dotted = format!("guards: [{{name: a/{}.{}}}]\n", "b".repeat(40), "c".repeat(40));
        assert!(problems(&dotted)[0].contains("at most 63"));
    }
}
