//! One agent, asked on behalf of somebody who looks at the page of its node: its newest round, in words. One at a time, and each for two seconds: an
//! agent takes few connections, and one of them is the collector's.
use crate::show::page::LastRound;
use crate::show::table;
use crate::wire;
use guardprobe_core::model::names;
use guardprobe_core::model::report::Report;
use guardprobe_core::parse::report;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Columns of the page.
const WIDTH: usize = 120;
/// For how long an answer is shown again.
const KEPT: Duration = Duration::from_secs(2);

/// The rounds that were asked for lately.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<BTreeMap<IpAddr, (Duration, LastRound)>>);

impl Rounds {
    /// The newest round of that pod.
    pub(super) async fn last_round(&self, agent: Option<(String, IpAddr)>, now: Duration) -> LastRound {
        let Some((pod, ip)) = agent else {
            return LastRound::None("There is no agent on this node that could be asked.".to_owned());
        };
        let mut kept = self.0.lock().await;
        kept.retain(|_, (at, _)| now.saturating_sub(*at) < KEPT);
        if let Some((_, round)) = kept.get(&ip) {
            return round.clone();
        }
        let address = SocketAddr::new(ip, names::AGENT_PORT);
        let round = match timeout(names::AGENT_CONNECT_TIMEOUT, told(&pod, address)).await {
            Ok(Ok(text)) => LastRound::Told(text),
            Ok(Err(why)) => LastRound::None(format!("Its agent at {address} could not be asked: {why}.")),
            Err(_) => LastRound::None(format!(
                "Its agent at {address} did not answer within {} s.",
                names::AGENT_CONNECT_TIMEOUT.as_secs()
            )),
        };
        kept.insert(ip, (now, round.clone()));
        round
    }
}

async fn told(pod: &str, address: SocketAddr) -> Result<String, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let request = Request::get("/v1/report").header("Host", address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let (head, body) = wire::fetch(stream, request, names::REPORT_MAX_BYTES).await.map_err(|error| error.to_string())?;
    if head.status != StatusCode::OK {
        return Err(format!("it answered with status {}", head.status.as_u16()));
    }
    let heard = report::agent(&body)?; // the bounds of what is taken from a pod
    if heard.heading.pod.is_some_and(|says| says != pod) {
        return Err("it says that it is another pod".to_owned());
    }
    let report: Report = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(table::plain(&report, WIDTH))
}
