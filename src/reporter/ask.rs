//! One agent, asked on behalf of somebody who looks at the page of its node: its newest round, in words.
use crate::show::page::LastRound;
use crate::show::table;
use crate::wire;
use guardprobe_core::model::names;
use guardprobe_core::model::report::Report;
use guardprobe_core::parse::report;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Columns of the page.
const WIDTH: usize = 120;

/// The newest round of the agent at that address.
pub(super) async fn last_round(ip: Option<IpAddr>) -> LastRound {
    let Some(ip) = ip else { return LastRound::None("There is no agent on this node that could be asked.".to_owned()) };
    let address = SocketAddr::new(ip, names::AGENT_PORT);
    match timeout(names::AGENT_CONNECT_TIMEOUT, told(address)).await {
        Ok(Ok(text)) => LastRound::Told(text),
        Ok(Err(why)) => LastRound::None(format!("Its agent at {address} could not be asked: {why}.")),
        Err(_) => {
            LastRound::None(format!("Its agent at {address} did not answer within {} s.", names::AGENT_CONNECT_TIMEOUT.as_secs()))
        }
    }
}

async fn told(address: SocketAddr) -> Result<String, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let request = Request::get("/v1/report").header("Host", address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let (head, body) = wire::fetch(stream, request, names::REPORT_MAX_BYTES).await.map_err(|error| error.to_string())?;
    if head.status != StatusCode::OK {
        return Err(format!("it answered with status {}", head.status.as_u16()));
    }
    report::agent(&body)?; // the bounds of what is taken from a pod
    let report: Report = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(table::plain(&report, WIDTH))
}
