//! A web server that says 200 to everything, and the reporter as far as its control goes: the header that names its node.
use guardprobe_core::model::names;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io};
use tokio::net::TcpStream;

/// Answers one connection; with a node's name as a reporter on that node does.
pub(super) async fn answer(stream: TcpStream, node: Option<String>) -> io::Result<()> {
    let service = service_fn(move |_: Request<Incoming>| {
        let mut answer = Response::new(Empty::<Bytes>::new());
        if let Some(node) = node.as_ref().and_then(|node| node.parse().ok()) {
            answer.headers_mut().insert(names::NODE_HEADER, node);
        }
        async { Ok::<_, Infallible>(answer) }
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}
