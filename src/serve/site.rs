//! What is asked, and what is answered.
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, StatusCode, Uri};

/// A GET as a site sees it. A HEAD is the same to it: the listener keeps the body back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path as it was sent, such as `/v1/report`; nothing in it is decoded.
    pub path: String,
    /// Names and values of the query, decoded, in the order of the request. What is not UTF-8 in them is U+FFFD.
    pub query: Vec<(String, String)>,
    /// The name that the client believes it is talking to, as its `Host` says, without the port. Empty when it does not say.
    pub host: String,
}

impl Asked {
    pub(super) fn new(uri: &Uri, headers: &HeaderMap) -> Self {
        let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
        let host = host.map(|host| host.host().trim_matches(['[', ']']).to_ascii_lowercase()).unwrap_or_default();
        Asked { path: uri.path().to_owned(), query: query.into_owned().collect(), host }
    }
}

/// An answer. `Content-Length` and `Cache-Control: no-store` are the listener's to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// Headers beyond that; mostly none.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// `200 OK` with a body.
    pub fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Answer { status: StatusCode::OK, content_type, headers: HeaderMap::new(), body: body.into() }
    }

    /// A status with a line for a person to read.
    pub fn text(status: StatusCode, line: &str) -> Self {
        Answer { status, ..Answer::ok("text/plain; charset=utf-8", format!("{line}\n")) }
    }
}

/// What answers requests: the agent, the reporter.
pub trait Site: Send + Sync + 'static {
    /// Answers one GET. It may wait, but less than [`super::Limits::answer`]; when the client leaves, the future is dropped.
    fn answer(&self, asked: Asked) -> impl Future<Output = Answer> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_keeps_its_order() {
        let headers = HeaderMap::from_iter([(HOST, "[::1]:9799".parse().unwrap())]);
        let asked = Asked::new(&Uri::from_static("/v1/report?wait=30s&after=a%2Eb&wait=1s&x+y=%ff&on"), &headers);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let query = vec![pair("wait", "30s"), pair("after", "a.b"), pair("wait", "1s"), pair("x y", "\u{fffd}"), pair("on", "")];
        assert_eq!(asked, Asked { path: "/v1/report".to_owned(), query, host: "::1".to_owned() });
    }
}
