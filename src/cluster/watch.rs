//! Lists and watches, by kube's runtime: it lists, watches, lists anew when it must (410), and backs off as the ecosystem does. What is not
//! kept of an object is dropped as it arrives.
use super::{Cluster, Trouble, words};
use futures_util::{StreamExt, TryStream, TryStreamExt, pin_mut};
use guardprobe_core::model::cluster::{DaemonSet, Node, Pod, Service};
use guardprobe_core::model::names;
use guardprobe_core::model::notice::OwnEvent;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config, DefaultBackoff, Event, watcher};
use kube::runtime::{WatchStreamExt, watcher::Error};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// How long one watch lasts: a connection that died silently is noticed within this time and five seconds.
const WATCH_SECONDS: u32 = 60;

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum News<T> {
    /// These are all that there are.
    All(Vec<T>),
    /// This one is there, or is another than it was.
    Here(T),
    /// This one is gone.
    Gone(T),
    /// Nothing new for now; why. It goes on by itself.
    Trouble(Trouble),
}

impl Cluster {
    /// All nodes.
    pub async fn nodes(&self, tell: impl FnMut(News<Node>)) {
        follow(Api::all(self.client.clone()), Config::default(), words::node, tell).await;
    }

    /// The pods of a namespace that have our labels.
    pub async fn pods(&self, namespace: &str, tell: impl FnMut(News<Pod>)) {
        follow(Api::namespaced(self.client.clone(), namespace), Config::default().labels(names::ROLE_LABEL), words::pod, tell)
            .await;
    }

    /// The DaemonSets of a namespace that have our labels.
    pub async fn daemon_sets(&self, namespace: &str, tell: impl FnMut(News<DaemonSet>)) {
        let config = Config::default().labels(names::ROLE_LABEL);
        follow(Api::namespaced(self.client.clone(), namespace), config, words::daemon_set, tell).await;
    }

    /// The Services of a namespace.
    pub async fn services(&self, namespace: &str, tell: impl FnMut(News<Service>)) {
        follow(Api::namespaced(self.client.clone(), namespace), Config::default(), words::service, tell).await;
    }

    /// The EndpointSlices of the API's own Service, each with its name.
    pub async fn api_endpoints(&self, tell: impl FnMut(News<(String, BTreeSet<SocketAddr>)>)) {
        let (namespace, service) = names::API_SERVICE;
        let config = Config::default().labels(&format!("kubernetes.io/service-name={service}"));
        follow(Api::namespaced(self.client.clone(), namespace), config, words::endpoint_slice, tell).await;
    }

    /// The addresses of the API now, by a list and not by a watch.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn list_api_endpoints(&self) -> Result<BTreeSet<SocketAddr>, Trouble> {
        let (namespace, service) = names::API_SERVICE;
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        match timeout(names::API_TIMEOUT, slices.list(&params)).await {
            Ok(listed) => {
                Ok(listed?.items.into_iter().filter_map(words::endpoint_slice).flat_map(|(_, addresses)| addresses).collect())
            }
            Err(_) => Err(Trouble::Unreachable(format!("not within {} s", names::API_TIMEOUT.as_secs()))),
        }
    }

    /// The Events of a namespace that say they are ours.
    pub async fn own_events(&self, namespace: &str, tell: impl FnMut(News<OwnEvent>)) {
        let config = Config::default().labels(&format!("{}={}", names::MANAGER_LABEL, names::MANAGER));
        follow(Api::namespaced(self.client.clone(), namespace), config, words::event, tell).await;
    }
}

/// Tells of all objects for as long as the future lives.
async fn follow<K, T>(api: Api<K>, config: Config, words: impl Fn(K) -> Option<T>, tell: impl FnMut(News<T>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    told(watcher(api, config.timeout(WATCH_SECONDS)).backoff(Patience::new()), words, tell).await;
}

/// The rest between two failures, twice as long each time from 0.8 s to 30 s, as client-go has it. kube starts over after any event; but a list that fails begins with one too, so that
/// a rest would never grow: here it takes two in a row.
struct Patience {
    rests: DefaultBackoff,
    events: u32,
}

impl Patience {
    fn new() -> Self {
        Patience { rests: DefaultBackoff::default(), events: 0 }
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if std::mem::take(&mut self.events) > 1 {
            self.rests.reset();
        }
        self.rests.next()
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.events = self.events.saturating_add(1);
    }
}

async fn told<K, T>(
    stream: impl TryStream<Ok = Event<K>, Error = Error>,
    words: impl Fn(K) -> Option<T>,
    mut tell: impl FnMut(News<T>),
) {
    let mut listed = Vec::new();
    let stream = stream.into_stream();
    pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => listed.extend(words(object)),
            Ok(Event::InitDone) => tell(News::All(std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => words(object).into_iter().for_each(|here| tell(News::Here(here))),
            Ok(Event::Delete(object)) => words(object).into_iter().for_each(|gone| tell(News::Gone(gone))),
            Err(error) => tell(News::Trouble(trouble(error))),
        }
    }
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => error.into(),
        Error::WatchError(status) => status.into(),
        watcher::Error::NoResourceVersion => Trouble::Unreachable("an object without resourceVersion".to_owned()),
    }
}
