//! The way to a reporter's loopback, by a port-forward of the API server. Needs `list` of pods, and `get` and `create` of
//! pods/portforward, in its namespace: permissions of whoever verifies. (A WebSocket is a GET; API servers since 1.35 want `create` as well.)
use super::{Cluster, Trouble};
use guardprobe_core::model::names;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Portforwarder};
use kube::client::UpgradeConnectionError;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::time::timeout;

/// How long a kubelet may take to say why a stream has ended.
const COMPLAINT: Duration = Duration::from_secs(1);

/// A stream to a port of a pod, for as long as its line lives.
pub struct Forwarded {
    /// The stream.
    pub stream: DuplexStream,
    /// What it goes by.
    pub line: Line,
}

/// What a forwarded stream goes by: it ends with this.
pub struct Line {
    way: Portforwarder,
    complaint: Option<Pin<Box<dyn Future<Output = Option<String>> + Send>>>,
}

impl Line {
    /// Why the stream has ended, if the kubelet says so: nobody listens at that port, for instance.
    pub async fn complaint(&mut self) -> Option<String> {
        timeout(COMPLAINT, self.complaint.take()?).await.ok()?
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.way.abort();
    }
}

impl Cluster {
    /// The reporters of a namespace that run and are ready, by name; and how many there are that are not.
    ///
    /// # Errors
    /// The pods could not be listed.
    pub async fn reporters(&self, namespace: &str) -> Result<(Vec<String>, usize), Trouble> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(names::REPORTER_SELECTOR);
        let pods = in_time(pods.list(&params)).await?.items;
        let (ready, others): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(is_ready);
        let mut names: Vec<String> = ready.into_iter().filter_map(|pod| pod.metadata.name).collect();
        names.sort();
        Ok((names, others.len()))
    }

    /// A stream to the fleet port of a reporter.
    ///
    /// # Errors
    /// The API server, or the kubelet behind it, does not forward.
    pub async fn forward(&self, namespace: &str, pod: &str, port: u16) -> Result<Forwarded, Trouble> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut way = in_time(pods.portforward(pod, &[port])).await?;
        let stream =
            way.take_stream(port).ok_or_else(|| Trouble::Unreachable(format!("port {port} of {pod} was not forwarded")))?;
        let complaint = way.take_error(port).map(|complaint| Box::pin(complaint) as Pin<Box<_>>);
        Ok(Forwarded { stream, line: Line { way, complaint } })
    }
}

fn is_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let ready = |condition: &k8s_openapi::api::core::v1::PodCondition| condition.type_ == "Ready" && condition.status == "True";
    pod.metadata.deletion_timestamp.is_none() && status.conditions.iter().flatten().any(ready)
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    let refused = |status| format!("the API server answered {status} to the port-forward");
    match timeout(names::API_TIMEOUT, call).await {
        Ok(Err(kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)))) => Err(match status.as_u16() {
            401 => Trouble::Unauthenticated(refused(status)),
            403 => Trouble::Forbidden(refused(status)),
            _ => Trouble::Unreachable(refused(status)),
        }),
        Ok(answer) => answer.map_err(Trouble::from),
        Err(_) => Err(Trouble::Unreachable(format!("not within {} s", names::API_TIMEOUT.as_secs()))),
    }
}
