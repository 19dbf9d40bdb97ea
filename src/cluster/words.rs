//! An object of the API, turned into what is kept of it. What lacks a part without which it has no meaning is `None`.
use guardprobe_core::model::cluster::{
    DaemonSet, GuardName, Labels, Node, Placement, Pod, Requirement, Service, Taint, Toleration,
};
use guardprobe_core::model::names;
use guardprobe_core::model::notice::{NoticeReason, OwnEvent, Record};
use guardprobe_core::model::report::Role;
use guardprobe_core::parse::values::{self, is_dns_label};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The longest record of an Event that is read, in bytes; ours have about 2 KiB. Whoever may create Events can write 256 KiB into one.
const RECORD_MAX_BYTES: usize = 16 * 1024;
/// The longest id of an opening or incident in it.
const ID_MAX_BYTES: usize = 128;

pub(super) fn node(object: core::Node) -> Option<Node> {
    let meta = object.metadata;
    let conditions = object.status.and_then(|status| status.conditions).unwrap_or_default();
    Some(Node {
        name: meta.name?,
        uid: meta.uid?,
        created: meta.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |at| at.0),
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        deleting: meta.deletion_timestamp.is_some(),
        labels: meta.labels.unwrap_or_default(),
        taints: object.spec.and_then(|spec| spec.taints).unwrap_or_default().into_iter().map(taint).collect(),
    })
}

fn taint(taint: core::Taint) -> Taint {
    Taint { key: taint.key, value: taint.value.unwrap_or_default(), effect: taint.effect }
}

/// Whose agents or witnesses these labels say they are.
fn marked(meta: &ObjectMeta) -> Option<(GuardName, Role)> {
    let label = |key: &str| meta.labels.as_ref()?.get(key).map(String::as_str);
    let role = match label(names::ROLE_LABEL)? {
        "agent" => Role::Agent,
        "witness" => Role::Witness,
        _ => return None,
    };
    // One that has lost the label is nobody's; it must not stay what it was.
    let name = label(names::GUARD_LABEL).unwrap_or_default().to_owned();
    Some((GuardName { namespace: meta.namespace.clone()?, name }, role))
}

pub(super) fn pod(object: core::Pod) -> Option<Pod> {
    let (guard, role) = marked(&object.metadata)?;
    let (meta, spec, status) = (object.metadata, object.spec?, object.status.unwrap_or_default());
    let controller = meta.owner_references.unwrap_or_default().into_iter().find(|owner| owner.controller == Some(true));
    let ready = status.conditions.unwrap_or_default();
    // The address of a pod that has ended may be another's by now.
    let ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    Some(Pod {
        uid: meta.uid?,
        namespace: guard.namespace.clone(),
        name: meta.name?,
        guard,
        role,
        ip: status.pod_ip.filter(|_| !ended).and_then(|ip| ip.parse().ok()),
        ready: ready.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        deleting: meta.deletion_timestamp.is_some(),
        controller: controller.filter(|owner| owner.kind == "DaemonSet").map(|owner| owner.uid),
        labels: meta.labels.unwrap_or_default(),
        host_network: spec.host_network == Some(true),
        token_mounted: token_mounted(&spec),
        node: spec.node_name,
    })
}

/// Admission has written into the pod what is mounted: a token is a projected volume, or a Secret of the old kind.
fn token_mounted(spec: &core::PodSpec) -> bool {
    let volumes = spec.volumes.iter().flatten();
    let projected =
        volumes.filter_map(|volume| volume.projected.as_ref()).flat_map(|projected| projected.sources.iter().flatten());
    let mut tokens = projected.filter(|source| source.service_account_token.is_some());
    let places = spec.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    tokens.next().is_some() || places.into_iter().any(|mount| mount.mount_path == "/var/run/secrets/kubernetes.io/serviceaccount")
}

/// The interval that the annotation names; the usual one where it names none that can be read.
fn interval(meta: &ObjectMeta) -> Duration {
    let text = meta.annotations.as_ref().and_then(|annotations| annotations.get(names::INTERVAL_ANNOTATION));
    text.and_then(|text| values::duration(text).ok()).unwrap_or(names::INTERVAL)
}

pub(super) fn daemon_set(object: apps::DaemonSet) -> Option<DaemonSet> {
    let (guard, role) = marked(&object.metadata)?;
    let interval = interval(&object.metadata);
    let placement = placement(object.spec.and_then(|spec| spec.template.spec).unwrap_or_default());
    Some(DaemonSet { uid: object.metadata.uid?, name: object.metadata.name?, guard, role, placement, interval })
}

fn placement(spec: core::PodSpec) -> Placement {
    let required = spec.affinity.and_then(|affinity| affinity.node_affinity);
    let required = required.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution);
    Placement {
        selector: spec.node_selector.unwrap_or_default(),
        terms: required.map(|selector| selector.node_selector_terms.into_iter().map(term).collect()),
        tolerations: spec.tolerations.unwrap_or_default().into_iter().map(toleration).collect(),
    }
}

fn term(term: core::NodeSelectorTerm) -> Vec<Requirement> {
    let requirement = |key: Option<String>, one: core::NodeSelectorRequirement| Requirement {
        key,
        operator: one.operator,
        values: one.values.unwrap_or_default(),
    };
    let labels = term.match_expressions.unwrap_or_default().into_iter().map(|one| requirement(Some(one.key.clone()), one));
    // The only field that the API takes here is metadata.name.
    let fields = term.match_fields.unwrap_or_default().into_iter().map(|one| requirement(None, one));
    labels.chain(fields).collect()
}

fn toleration(toleration: core::Toleration) -> Toleration {
    let exists = toleration.operator.as_deref() == Some("Exists");
    Toleration {
        key: toleration.key.filter(|key| !key.is_empty()),
        value: if exists { None } else { Some(toleration.value.unwrap_or_default()) },
        effect: toleration.effect.filter(|effect| !effect.is_empty()),
    }
}

pub(super) fn service(object: core::Service) -> Option<Service> {
    let selector: Labels = object.spec.and_then(|spec| spec.selector).unwrap_or_default();
    Some(Service { namespace: object.metadata.namespace?, name: object.metadata.name?, selector })
}

/// A slice of the API's endpoints: its name, and the addresses of those that are not known to be unready.
pub(super) fn endpoint_slice(object: EndpointSlice) -> Option<(String, BTreeSet<SocketAddr>)> {
    let name = object.metadata.name?;
    let ready = object
        .endpoints
        .unwrap_or_default()
        .into_iter()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false));
    let ips: Vec<IpAddr> = ready.flat_map(|endpoint| endpoint.addresses).filter_map(|address| address.parse().ok()).collect();
    let ports = object.ports.unwrap_or_default().into_iter().filter_map(|port| u16::try_from(port.port?).ok());
    Some((name, ports.flat_map(|port| ips.iter().map(move |ip| SocketAddr::new(*ip, port))).collect()))
}

/// True when ids and targets of a record are such as ours are.
fn is_bounded(record: &Record) -> bool {
    let incident = record.incident.as_ref();
    let mut ids = record.openings.iter().chain(&record.closed).chain(incident.map(|incident| &incident.id));
    let mut targets = incident.map(|incident| &incident.place.target).into_iter().chain([&record.target]);
    ids.all(|id| id.len() <= ID_MAX_BYTES) && targets.all(|target| target.is_empty() || is_dns_label(target))
}

/// An Event, if it says that it is one of ours.
pub(super) fn event(object: events::Event) -> Option<OwnEvent> {
    let record = object.metadata.annotations.as_ref()?.get(names::RECORD_ANNOTATION)?;
    let reason: NoticeReason = object.reason?.parse().ok()?;
    if object.reporting_controller.as_deref() != Some(names::MANAGER) || object.type_.as_deref() != Some(reason.event_type()) {
        return None;
    }
    if record.len() > RECORD_MAX_BYTES {
        return None;
    }
    let record: Record = serde_json::from_str(record).ok()?;
    if !is_bounded(&record) {
        return None;
    }
    Some(OwnEvent {
        namespace: object.metadata.namespace?,
        name: object.metadata.name?,
        reason,
        regarding: object.regarding?.uid?,
        count: object.series.map_or(1, |series| series.count),
        record,
    })
}
