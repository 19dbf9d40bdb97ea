//! Which nodes a DaemonSet wants, as its controller decides it.
//!
//! Taints that Kubernetes itself sets for a condition of the node (`node.kubernetes.io/…`, `node.cloudprovider.kubernetes.io/…`) are passed
//! over: they come and go, and a node that has one runs its workloads on.
use crate::model::cluster::{Labels, Node, Placement, Requirement, Taint, Toleration};
use crate::model::fleet::Exclusion;

/// The label by which EKS marks the nodes of Fargate.
const FARGATE: (&str, &str) = ("eks.amazonaws.com/compute-type", "fargate");
/// The label by which kubelets tell their system.
const OS: (&str, &str) = ("kubernetes.io/os", "windows");
/// Taints that say how a node is, and not whom it wants.
const CONDITIONS: [&str; 2] = ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];

/// Why no agent is expected on a node; `None`: one is.
pub fn excluded(placement: &Placement, node: &Node) -> Option<Exclusion> {
    let is = |(key, value): (&str, &str)| node.labels.get(key).is_some_and(|found| found == value);
    if is(FARGATE) {
        return Some(Exclusion::Fargate);
    }
    if is(OS) {
        return Some(Exclusion::Windows);
    }
    (!selects(placement, node)).then_some(Exclusion::NotSelected)
}

fn selects(placement: &Placement, node: &Node) -> bool {
    has_all(&node.labels, &placement.selector) && fits(placement, node) && tolerated(placement, node)
}

/// True when all of those labels are among these.
pub fn has_all(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn fits(placement: &Placement, node: &Node) -> bool {
    let Some(terms) = &placement.terms else { return true };
    // A term without requirements matches no object (API reference, NodeSelectorTerm).
    terms.iter().any(|term| !term.is_empty() && term.iter().all(|requirement| holds(requirement, node)))
}

fn holds(requirement: &Requirement, node: &Node) -> bool {
    let found = match &requirement.key {
        Some(key) => node.labels.get(key).map(String::as_str),
        None => Some(node.name.as_str()),
    };
    let listed = found.is_some_and(|found| requirement.values.iter().any(|value| value == found));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compared(found, requirement).is_some_and(|(found, limit)| found > limit),
        "Lt" => compared(found, requirement).is_some_and(|(found, limit)| found < limit),
        // An operator of a later Kubernetes: then the node is expected to have an agent, and shows when it has none.
        _ => true,
    }
}

fn compared(found: Option<&str>, requirement: &Requirement) -> Option<(i64, i64)> {
    Some((found?.parse().ok()?, requirement.values.first()?.parse().ok()?))
}

fn tolerated(placement: &Placement, node: &Node) -> bool {
    let keeps_away = |taint: &&Taint| {
        taint.effect != "PreferNoSchedule" && !CONDITIONS.iter().any(|condition| taint.key.starts_with(condition))
    };
    node.taints.iter().filter(keeps_away).all(|taint| placement.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    toleration.key.as_ref().is_none_or(|key| *key == taint.key)
        && toleration.value.as_ref().is_none_or(|value| *value == taint.value)
        && toleration.effect.as_ref().is_none_or(|effect| *effect == taint.effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &[(&str, &str)], taints: &[(&str, &str, &str)]) -> Node {
        let text = |text: &str| text.to_owned();
        Node {
            name: text("n1"),
            uid: text("u1"),
            created: jiff::Timestamp::UNIX_EPOCH,
            ready: true,
            deleting: false,
            labels: labels.iter().map(|(key, value)| (text(key), text(value))).collect(),
            taints: taints
                .iter()
                .map(|(key, value, effect)| Taint { key: text(key), value: text(value), effect: text(effect) })
                .collect(),
        }
    }

    fn requirement(key: Option<&str>, operator: &str, values: &[&str]) -> Requirement {
        Requirement {
            key: key.map(str::to_owned),
            operator: operator.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    fn toleration(key: Option<&str>, value: Option<&str>, effect: Option<&str>) -> Toleration {
        Toleration { key: key.map(str::to_owned), value: value.map(str::to_owned), effect: effect.map(str::to_owned) }
    }

    #[test]
    fn nodes_that_can_have_no_agent_are_excluded_with_the_reason() {
        let everywhere = Placement { tolerations: vec![toleration(None, None, None)], ..Placement::default() };
        for (labels, why) in [
            (vec![], None),
            (vec![("eks.amazonaws.com/compute-type", "fargate")], Some(Exclusion::Fargate)),
            (vec![("eks.amazonaws.com/compute-type", "ec2")], None),
            (vec![("kubernetes.io/os", "windows")], Some(Exclusion::Windows)),
            (vec![("kubernetes.io/os", "linux")], None),
        ] {
            assert_eq!(excluded(&everywhere, &node(&labels, &[])), why, "{labels:?}");
        }
        let gpu = Placement { selector: [("gpu".to_owned(), "yes".to_owned())].into(), ..Placement::default() };
        assert_eq!(excluded(&gpu, &node(&[], &[])), Some(Exclusion::NotSelected));
        assert_eq!(excluded(&gpu, &node(&[("gpu", "yes")], &[])), None);
    }

    #[test]
    fn the_required_affinity_decides_as_the_scheduler_does() {
        let node = node(&[("zone", "a"), ("size", "8")], &[]);
        for (requirement, fits) in [
            (requirement(Some("zone"), "In", &["a", "b"]), true),
            (requirement(Some("zone"), "In", &["b"]), false),
            (requirement(Some("zone"), "NotIn", &["b"]), true),
            (requirement(Some("zone"), "NotIn", &["a"]), false),
            (requirement(Some("rack"), "NotIn", &["a"]), true),
            (requirement(Some("zone"), "Exists", &[]), true),
            (requirement(Some("rack"), "Exists", &[]), false),
            (requirement(Some("rack"), "DoesNotExist", &[]), true),
            (requirement(Some("zone"), "DoesNotExist", &[]), false),
            (requirement(Some("size"), "Gt", &["4"]), true),
            (requirement(Some("size"), "Gt", &["8"]), false),
            (requirement(Some("size"), "Lt", &["9"]), true),
            (requirement(Some("size"), "Lt", &["8"]), false),
            (requirement(Some("zone"), "Gt", &["1"]), false),
            (requirement(None, "In", &["n1"]), true),
            (requirement(None, "In", &["n2"]), false),
            (requirement(Some("zone"), "Rhymes", &["b"]), true),
        ] {
            let placement = |terms| Placement { terms: Some(terms), ..Placement::default() };
            assert_eq!(selects(&placement(vec![vec![requirement.clone()]]), &node), fits, "{requirement:?}");
            // Terms are alternatives, requirements are not.
            let never = vec![self::requirement(Some("rack"), "Exists", &[])];
            assert_eq!(selects(&placement(vec![never.clone(), vec![requirement.clone()]]), &node), fits);
            assert!(!selects(&placement(vec![[vec![requirement], never].concat()]), &node));
        }
        let empty = |terms| Placement { terms: Some(terms), ..Placement::default() };
        assert!(!selects(&empty(vec![]), &node) && !selects(&empty(vec![vec![]]), &node));
    }

    #[test]
    fn a_taint_keeps_away_unless_it_is_tolerated_or_a_condition() {
        let with = |tolerations| Placement { tolerations, ..Placement::default() };
        for (taint, tolerations, selected) in [
            (("gpu", "yes", "NoSchedule"), vec![], false),
            (("gpu", "yes", "NoExecute"), vec![], false),
            (("gpu", "yes", "PreferNoSchedule"), vec![], true),
            (("gpu", "yes", "NoSchedule"), vec![toleration(None, None, None)], true),
            (("gpu", "yes", "NoSchedule"), vec![toleration(Some("gpu"), None, None)], true),
            (("gpu", "yes", "NoSchedule"), vec![toleration(Some("gpu"), Some("no"), None)], false),
            (("gpu", "yes", "NoSchedule"), vec![toleration(Some("gpu"), Some("yes"), Some("NoSchedule"))], true),
            (("gpu", "yes", "NoSchedule"), vec![toleration(Some("gpu"), Some("yes"), Some("NoExecute"))], false),
            (("gpu", "yes", "NoSchedule"), vec![toleration(Some("tpu"), None, None)], false),
            (("node.kubernetes.io/not-ready", "", "NoSchedule"), vec![], true),
            (("node.kubernetes.io/unschedulable", "", "NoSchedule"), vec![], true),
            (("node.cloudprovider.kubernetes.io/shutdown", "", "NoSchedule"), vec![], true),
        ] {
            assert_eq!(selects(&with(tolerations.clone()), &node(&[], &[taint])), selected, "{taint:?} {tolerations:?}");
        }
    }
}
