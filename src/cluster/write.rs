//! What is written: Events, the endpoints ConfigMap, the Lease. Each call has a deadline.
use super::{Cluster, Trouble, words};
use guardprobe_core::judge::election::Lease;
use guardprobe_core::model::names;
use guardprobe_core::model::notice::{Notice, OwnEvent, Regarding};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// The longest instance name that an Event takes.
const INSTANCE_MAX: usize = 128;

/// Waits for a call, but not for ever.
async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match timeout(names::API_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(Trouble::from),
        Err(_) => Err(Trouble::Unreachable(format!("not within {} s", names::API_TIMEOUT.as_secs()))),
    }
}

fn reference(notice: &Notice) -> ObjectReference {
    let (api_version, kind, name, uid, namespace) = match &notice.regarding {
        Regarding::Node { name, uid } => ("v1", "Node", name, uid, None),
        Regarding::DaemonSet { name, uid } => ("apps/v1", "DaemonSet", name, uid, Some(notice.guard.namespace.clone())),
    };
    let [api_version, kind] = [api_version, kind].map(|text| Some(text.to_owned()));
    ObjectReference {
        api_version,
        kind,
        name: Some(name.clone()),
        uid: Some(uid.clone()),
        namespace,
        ..ObjectReference::default()
    }
}

/// What the Event of a notice carries, as JSON.
fn record(notice: &Notice) -> String {
    serde_json::to_string(&notice.record()).unwrap_or_default()
}

/// The Event of a notice.
fn event(notice: &Notice, note: &str, instance: &str, now: Timestamp) -> Event {
    let related = notice.related.as_ref().map(|pod| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    });
    Event {
        metadata: ObjectMeta {
            name: Some(notice.name.clone()),
            namespace: Some(notice.namespace().to_owned()),
            labels: Some([(names::MANAGER_LABEL.to_owned(), names::MANAGER.to_owned())].into()),
            annotations: Some([(names::RECORD_ANNOTATION.to_owned(), record(notice))].into()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(notice.reason.event_type().to_owned()),
        reason: Some(notice.reason.as_str().to_owned()),
        action: Some(notice.reason.action().to_owned()),
        note: Some(note.to_owned()),
        regarding: Some(reference(notice)),
        related,
        reporting_controller: Some(names::MANAGER.to_owned()),
        reporting_instance: Some(instance.chars().take(INSTANCE_MAX).collect()),
        ..Event::default()
    }
}

impl Cluster {
    fn events(&self, notice: &Notice) -> Api<Event> {
        Api::namespaced(self.client.clone(), notice.namespace())
    }

    /// Writes the Event of a notice. Where one of that name with the same subject is there already, it is returned as it stands.
    ///
    /// # Errors
    /// As the API server says; [`Trouble::Conflict`] when an Event of that name is about something else, so that it is not ours.
    pub async fn post(&self, notice: &Notice, note: &str, instance: &str, now: Timestamp) -> Result<Option<OwnEvent>, Trouble> {
        let event = event(notice, note, instance, now);
        let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
        match in_time(self.events(notice).create(&params, &event)).await {
            Err(Trouble::Conflict) => self.ours(notice).await.map(Some),
            other => other.map(|_| None),
        }
    }

    /// The Event that has the name of a notice, if it is the one that the notice asks for.
    async fn ours(&self, notice: &Notice) -> Result<OwnEvent, Trouble> {
        let there = words::event(in_time(self.events(notice).get(&notice.name)).await?);
        there.filter(|event| event.subject() == notice.subject()).ok_or(Trouble::Conflict)
    }

    /// Says that what an Event tells of goes on, what is known by now, and how often it was seen. That also renews its time to live.
    ///
    /// # Errors
    /// As the API server says; [`Trouble::Missing`] when the Event is gone.
    pub async fn renew(&self, notice: &Notice, count: i32, now: Timestamp) -> Result<(), Trouble> {
        let series = EventSeries { count, last_observed_time: MicroTime(now) };
        let metadata = json!({ "annotations": { names::RECORD_ANNOTATION: record(notice) } });
        let patch = Patch::Merge(json!({ "metadata": metadata, "series": series }));
        in_time(self.events(notice).patch(&notice.name, &PatchParams::default(), &patch)).await.map(drop)
    }

    /// Writes the endpoints file into the ConfigMap of a namespace, which the manifests make: whoever may create ConfigMaps may create any.
    ///
    /// # Errors
    /// As the API server says; [`Trouble::Missing`] where there is no such ConfigMap.
    pub async fn write_endpoints(&self, namespace: &str, file: &str) -> Result<(), Trouble> {
        let patch = Patch::Merge(json!({ "data": { names::ENDPOINTS_KEY: file } }));
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        in_time(api.patch(names::ENDPOINTS_CONFIG_MAP, &params, &patch)).await.map(drop)
    }

    fn leases(&self, namespace: &str) -> Api<coordination::Lease> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The Lease, which the manifests make, and when it was renewed last.
    ///
    /// # Errors
    /// As the API server says; [`Trouble::Missing`] where there is no such Lease.
    pub async fn lease(&self, namespace: &str) -> Result<(Lease, Option<Timestamp>), Trouble> {
        let lease = in_time(self.leases(namespace).get(names::LEASE)).await?;
        let spec = lease.spec.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let read = Lease {
            holder: spec.holder_identity,
            duration: seconds.map_or(names::LEASE_DURATION, Duration::from_secs),
            version: lease.metadata.resource_version.unwrap_or_default(),
            transitions: spec.lease_transitions.unwrap_or(0),
            acquired: spec.acquire_time.map(|at| at.0),
        };
        Ok((read, spec.renew_time.map(|at| at.0)))
    }

    /// Writes the Lease in place of the one that was read. `holder` empty gives it up.
    ///
    /// # Errors
    /// As the API server says; [`Trouble::Conflict`] when another was first.
    pub async fn write_lease(&self, namespace: &str, holder: &str, read: &Lease, now: Timestamp) -> Result<(), Trouble> {
        let taken = read.holder.as_deref() != Some(holder);
        let acquired = read.acquired.filter(|_| !taken);
        let transitions = read.transitions.saturating_add(i32::from(taken));
        let spec = coordination::LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(names::LEASE_DURATION.as_secs()).ok(),
            lease_transitions: Some(transitions),
            acquire_time: Some(MicroTime(acquired.unwrap_or(now))),
            renew_time: Some(MicroTime(now)),
            ..coordination::LeaseSpec::default()
        };
        // The version that was read: whoever else has written meanwhile was first. Labels and annotations stay as they are.
        let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": read.version }, "spec": spec }));
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        in_time(self.leases(namespace).patch(names::LEASE, &params, &patch)).await.map(drop)
    }
}
