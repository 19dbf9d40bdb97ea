//! The EC2 instance metadata service, version 2 only: a token for a `PUT`, everything else for the token.
use super::Hops;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderMap, SERVER};
use hyper::{Method, Request, Response, StatusCode, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::{convert::Infallible, io};
use tokio::net::TcpStream;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

type Answer = Response<Full<Bytes>>;

/// Answers one connection. The handshake is over by now, so a hop limit of one holds for the answers alone.
pub(super) async fn answer(stream: TcpStream, token: String, hops: Hops) -> io::Result<()> {
    if hops == Hops::One {
        let socket = SockRef::from(&stream);
        if stream.local_addr()?.is_ipv4() { socket.set_ttl_v4(1)? } else { socket.set_unicast_hops_v6(1)? }
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = respond(request.method(), request.uri().path(), request.headers(), &token);
        async { Ok::<_, Infallible>(answer) }
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

fn respond(method: &Method, path: &str, headers: &HeaderMap, token: &str) -> Answer {
    let ttl = headers.get(TTL).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    match (method, path, ttl) {
        // A token is not for those behind a proxy.
        (&Method::PUT, "/latest/api/token", _) if headers.contains_key("x-forwarded-for") => plain(StatusCode::FORBIDDEN, ""),
        (&Method::PUT, "/latest/api/token", Some(ttl @ 1..=21600)) => {
            let mut answer = plain(StatusCode::OK, token);
            answer.headers_mut().insert(TTL, ttl.into());
            answer
        }
        (&Method::PUT, "/latest/api/token", _) => plain(StatusCode::BAD_REQUEST, ""),
        (&Method::PUT, ..) => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
        _ if headers.get(TOKEN).is_some_and(|sent| sent.as_bytes() == token.as_bytes()) => plain(StatusCode::OK, "latest\n"),
        _ => {
            let mut answer = plain(StatusCode::UNAUTHORIZED, "");
            answer.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
            answer
        }
    }
}

fn plain(status: StatusCode, body: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_owned())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(SERVER, hyper::header::HeaderValue::from_static("EC2ws"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, path: &str, header: Option<(&'static str, &str)>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        respond(&method, path, &headers, "secret").status().as_u16()
    }

    #[test]
    fn a_token_is_given_for_a_put_with_a_good_ttl_only() {
        let put = |ttl| status(Method::PUT, "/latest/api/token", Some((TTL, ttl)));
        assert_eq!(["1", "21600", "0", "21601", "one"].map(put), [200, 200, 400, 400, 400]);
        assert_eq!(status(Method::PUT, "/latest/api/token", None), 400);
        assert_eq!(status(Method::PUT, "/latest/meta-data/", Some((TTL, "1"))), 405);
    }

    #[test]
    fn data_is_given_for_the_token_only() {
        assert_eq!(status(Method::GET, "/latest/", None), 401);
        assert_eq!(status(Method::GET, "/latest/", Some((TOKEN, "guess"))), 401);
        assert_eq!(status(Method::GET, "/latest/", Some((TOKEN, "secret"))), 200);
    }
}
