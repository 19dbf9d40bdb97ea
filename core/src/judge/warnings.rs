//! Warnings about the set-up: what makes verdicts worth less than they seem.
use super::fleet::{Known, PodSeen};
use super::placement::has_all;
use crate::model::cluster::{GuardName, Labels};
use crate::model::fleet::{Warned, Warning};
use crate::model::report::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many examples a warning names.
const EXAMPLES: usize = 3;

/// Notes since when agents of a guard have differed.
pub(super) fn note(known: &mut Known, now: Duration) {
    let mut mixed = BTreeSet::new();
    for guard in known.guards.iter().map(|guard| &guard.name) {
        for warning in [Warning::MixedVersions, Warning::MixedConfigurations] {
            if values(known, guard, warning).len() > 1 {
                mixed.insert((guard.clone(), warning));
            }
        }
    }
    known.since.retain(|key, _| mixed.contains(key));
    for key in mixed {
        known.since.entry(key).or_insert(now);
    }
}

/// The different versions, or configurations, of a guard's agents.
fn values<'a>(known: &'a Known, guard: &GuardName, warning: Warning) -> BTreeSet<&'a str> {
    let headings = agents(known, guard).filter_map(|seen| seen.newest.as_ref()).map(|newest| newest.heading());
    headings
        .map(|heading| if warning == Warning::MixedVersions { heading.version.as_str() } else { &heading.config_hash })
        .collect()
}

/// The agents of a guard that are ours, and there.
fn agents<'a>(known: &'a Known, guard: &GuardName) -> impl Iterator<Item = &'a PodSeen> {
    let guard = guard.clone();
    known.pods().filter(move |seen| seen.pod.guard == guard && seen.pod.role == Role::Agent && known.is_ours(&seen.pod))
}

/// All warnings, in the order of the guards.
pub(super) fn warnings(known: &Known, now: Duration) -> Vec<Warned> {
    let mut all = Vec::new();
    for guard in &known.guards {
        let name = &guard.name;
        let pod = |seen: &PodSeen| format!("{}/{}", seen.pod.namespace, seen.pod.name);
        let pods = |is: &dyn Fn(&PodSeen) -> bool| agents(known, name).filter(|seen| is(seen)).map(pod).collect::<Vec<_>>();
        let lacks = |seen: &PodSeen| !has_all(&seen.pod.labels, &guard.labels);
        let mixed = |warning| {
            let long =
                known.since.get(&(name.clone(), warning)).is_some_and(|since| now.saturating_sub(*since) >= known.rules.settled);
            let values = values(known, name, warning).into_iter().map(str::to_owned);
            values.filter(|_| long).collect::<Vec<_>>()
        };
        let found = [
            (Warning::ServiceSelectsAgent, services(known, name)),
            (Warning::TokenMounted, pods(&|seen| seen.pod.token_mounted)),
            (Warning::HostNetwork, pods(&|seen| seen.pod.host_network)),
            (Warning::TwoAgents, two_agents(known, name, now)),
            (Warning::GuardLabelsMissing, pods(&lacks)),
            (Warning::MixedVersions, mixed(Warning::MixedVersions)),
            (Warning::MixedConfigurations, mixed(Warning::MixedConfigurations)),
            (Warning::NotOurs, strangers(known, name)),
            (Warning::NoDaemonSet, no_daemon_set(known, name)),
        ];
        all.extend(found.into_iter().filter(|(_, what)| !what.is_empty()).map(|(warning, mut what)| {
            let count = what.len();
            what.truncate(EXAMPLES);
            Warned { guard: name.clone(), warning, count, examples: what }
        }));
    }
    all
}

fn services(known: &Known, guard: &GuardName) -> Vec<String> {
    // Thousands of agents differ in next to no label.
    let labels: BTreeSet<&Labels> = agents(known, guard).map(|seen| &seen.pod.labels).collect();
    let here = known.services.values().filter(|service| service.namespace == guard.namespace && !service.selector.is_empty());
    let selects = here.filter(|service| labels.iter().any(|labels| has_all(labels, &service.selector)));
    selects.map(|service| format!("{}/{}", service.namespace, service.name)).collect()
}

/// Nodes where the second agent has been for long; one that is being deleted does not count.
fn two_agents(known: &Known, guard: &GuardName, now: Duration) -> Vec<String> {
    let mut on: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in agents(known, guard).filter(|seen| !seen.pod.deleting && now.saturating_sub(seen.first) >= known.rules.settled) {
        seen.pod.node.iter().for_each(|node| *on.entry(node).or_default() += 1);
    }
    on.into_iter().filter(|(_, count)| *count > 1).map(|(node, _)| node.to_owned()).collect()
}

/// Pods with the labels of an agent or witness that are not ours.
fn strangers(known: &Known, guard: &GuardName) -> Vec<String> {
    let strange = known.pods().filter(|seen| seen.pod.guard == *guard && !known.is_ours(&seen.pod));
    strange.map(|seen| format!("{}/{}", seen.pod.namespace, seen.pod.name)).collect()
}

fn no_daemon_set(known: &Known, guard: &GuardName) -> Vec<String> {
    let none = known.daemon_sets_of(guard, Role::Agent).next().is_none();
    none.then(|| guard.to_string()).into_iter().collect()
}
