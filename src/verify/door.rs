//! The ways to a reporter's fleet: a URL, or a port-forward to one of its pods. The conversation goes on as long as it holds; where it breaks, another
//! begins, with another replica if there is one.
#![expect(clippy::disallowed_methods, reason = "whether credentials are still valid is told here, at the edge")]
use super::https;
use crate::cluster::forward::{Forwarded, Line};
use crate::cluster::{Access, Cluster, LoggedIn, Trouble};
use crate::wire::Conversation;
use guardprobe_core::model::names;
use guardprobe_core::model::verified::ToldRow;
use guardprobe_core::parse::fleet;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use jiff::Timestamp;
use rustls::ClientConfig;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The port of a reporter's fleet, as the chart has it.
pub(super) const FLEET_PORT: u16 = 9799;
/// How many pages of the fleet are read: a bound, not an expectation.
const PAGES_MAX: u32 = 100;
/// How many bytes of them all: 5,000 nodes, each with an open door, have a tenth of it.
const FLEET_MAX_BYTES: usize = 128 * 1024 * 1024;

/// How long before their end credentials are fetched anew.
const CREDENTIALS_MARGIN: Duration = Duration::from_secs(10);
/// How many replicas are tried before it is said that none answers: as many as the chart has, and one more.
const REPLICAS: usize = 3;

/// Why nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    /// It cannot be asked like that: usage, configuration, permissions.
    Refused(String),
    /// It does not know who asks.
    Unauthenticated(String),
    /// It was asked, and nobody answered.
    NotProven(String),
    /// There are reporters, and none of them is ready yet: worth waiting for.
    NotReady(String),
}

impl Closed {
    /// Why, without what follows from it.
    pub(super) fn why(&self) -> &str {
        let (Closed::Refused(why) | Closed::Unauthenticated(why) | Closed::NotProven(why) | Closed::NotReady(why)) = self;
        why
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::Refused(why) | Closed::Unauthenticated(why) => f.write_str(why),
            Closed::NotProven(why) | Closed::NotReady(why) => write!(f, "not proven: {why}"),
        }
    }
}

/// Where a reporter tells its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    is_tls: bool,
    authority: String,
    host: String,
    port: u16,
}

impl Url {
    /// The host, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// True where a token would be read by nobody on the way: over TLS, and within this machine.
    pub(super) fn is_private(&self) -> bool {
        let is_loopback = self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.is_tls || is_loopback || self.host == "localhost"
    }
}

/// Reads `http://HOST:PORT`, or the same with https.
///
/// # Errors
/// One line: what was expected.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let expected = "expected http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:9799";
    let uri = Uri::from_str(text).map_err(|error| format!("{error}: {expected}"))?;
    let is_tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(other) => return Err(format!("{other} is not spoken here: {expected}")),
        None => return Err(format!("no scheme: {expected}")),
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!("no path is needed: {expected}"));
    }
    let authority = uri.authority().ok_or(expected)?;
    // A port that is none is not seen as one, and a name before an @ would be sent as part of the host.
    let no_port = authority.port().is_none() && authority.as_str() != authority.host();
    if authority.host().is_empty() || authority.as_str().contains('@') || no_port {
        return Err(format!("no host and port: {expected}"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    Ok(Url { is_tls, authority: authority.to_string(), host, port })
}

/// A URL, and what is needed to be let in there.
pub(super) struct Direct {
    url: Url,
    tls: Option<Arc<ClientConfig>>,
    token_file: Option<PathBuf>,
}

impl Direct {
    /// Reads the files that belong to it.
    pub(super) fn new(url: &Url, ca_file: Option<&Path>, token_file: Option<&Path>) -> Result<Self, Closed> {
        if ca_file.is_some() && !url.is_tls {
            return Err(Closed::Refused("--ca-file has no meaning with http: expected --url https://HOST:PORT".to_owned()));
        }
        if token_file.is_some() && !url.is_private() {
            return Err(Closed::Refused(
                "a token is not sent over http, where others could read it: expected --url https://HOST:PORT".to_owned(),
            ));
        }
        let tls = if url.is_tls { Some(https::configuration(ca_file).map_err(Closed::Refused)?) } else { None };
        let direct = Direct { url: url.clone(), tls, token_file: token_file.map(Path::to_owned) };
        direct.token()?;
        Ok(direct)
    }

    /// The token, read anew for each connection: mounted ones change.
    fn token(&self) -> Result<Option<String>, Closed> {
        self.token_file.as_deref().map(https::bearer_token).transpose().map_err(Closed::Refused)
    }

    async fn begin(&self) -> Result<Open, Closed> {
        let url = &self.url;
        let unreachable = |why: String| Closed::NotProven(format!("nobody answers at {}: {why}", url.authority));
        let began = timeout(names::API_TIMEOUT, self.conversation()).await;
        let began = began.unwrap_or_else(|_| Err(format!("no connection within {} s", names::API_TIMEOUT.as_secs())));
        let authority = url.authority.clone();
        let conversation = began.map_err(unreachable)?;
        Ok(Open { conversation, host: authority.clone(), at: authority, token: self.token()?, line: None })
    }

    async fn conversation(&self) -> Result<Conversation, String> {
        let words = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect((self.url.host(), self.url.port)).await.map_err(words)?;
        match &self.tls {
            None => Conversation::begin(stream).await.map_err(words),
            Some(tls) => {
                let stream = https::handshake(stream, &self.url, Arc::clone(tls)).await?;
                Conversation::begin(stream).await.map_err(words)
            }
        }
    }
}

/// One of the ways.
pub(super) enum Way {
    Direct(Direct),
    Forward(Box<Forward>),
}

/// A port-forward by the API server.
pub(super) struct Forward {
    access: Access,
    login: Option<LoggedIn>,
    pub(super) namespace: String,
    longest: Duration,
    /// Credentials were got once: what hinders now may pass.
    has_been_in: bool,
}

impl Forward {
    /// The cluster, with credentials that are still valid: once they end, they are fetched anew.
    pub(super) async fn cluster(&mut self) -> Result<Cluster, Closed> {
        let soon = Timestamp::now() + CREDENTIALS_MARGIN;
        let is_valid = |login: &LoggedIn| login.valid_until.is_none_or(|until| until > soon);
        let login = match self.login.take().filter(is_valid) {
            Some(login) => login,
            None => self.access.log_in(self.longest).await.map_err(|why| match self.has_been_in {
                true => Closed::NotProven(why),
                false => Closed::Refused(otherwise(&why)),
            })?,
        };
        self.has_been_in = true;
        Ok(self.login.insert(login).cluster.clone())
    }

    /// A stream to a reporter, which one by turns. Credentials that are not accepted are fetched anew once.
    pub(super) async fn stream(&mut self, turn: usize) -> Result<(String, Forwarded), Closed> {
        match forward(&self.cluster().await?, &self.namespace, turn).await {
            Err(Closed::Unauthenticated(_)) if self.access.fetches_credentials() => {
                self.login = None;
                forward(&self.cluster().await?, &self.namespace, turn).await
            }
            done => done,
        }
    }
}

/// Why there is no access, and the other way in.
fn otherwise(why: &str) -> String {
    format!("{why}; or --url http://HOST:PORT of a reporter that you reach otherwise")
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

impl Way {
    /// By the kubeconfig in force, or the service account of this pod. What gives the credentials may take that long.
    pub(super) async fn find(namespace: &str, context: Option<&str>, longest: Duration) -> Result<Self, Closed> {
        let longest = longest.max(names::API_TIMEOUT);
        let access = Access::find(context, longest).await.map_err(|why| Closed::Refused(otherwise(&why)))?;
        let namespace = namespace.to_owned();
        let mut forward = Forward { access, login: None, namespace, longest, has_been_in: false };
        forward.cluster().await?;
        Ok(Way::Forward(Box::new(forward)))
    }
}

/// A way, and the conversation that goes on.
pub(super) struct Door {
    way: Way,
    open: Option<Open>,
    reporter: String,
    /// Which of the replicas is tried next; and how many of them did not answer since one did.
    turn: usize,
    failed: usize,
    /// How many pages the fleet had.
    pages: u32,
}

struct Open {
    conversation: Conversation,
    /// What the request names: on loopback a reporter answers to no other name.
    host: String,
    /// What people are told.
    at: String,
    /// The bearer token that is sent.
    token: Option<String>,
    /// What the conversation goes by, where it was forwarded.
    line: Option<Line>,
}

/// The whole fleet, as it was told.
pub(super) struct Told {
    pub(super) pending: Vec<String>,
    pub(super) rows: Vec<ToldRow>,
}

impl Door {
    pub(super) fn new(way: Way) -> Self {
        Door { way, open: None, reporter: String::new(), turn: 0, failed: 0, pages: 1 }
    }

    /// How many pages the fleet had, at least one.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// True when more replicas than are usual did not answer, one after the other.
    pub(super) fn tried_all(&self) -> bool {
        self.failed >= REPLICAS
    }

    /// What is needed for more port-forwards, where it is one, or else the URL.
    pub(super) fn into_forward(self) -> Result<Forward, Url> {
        match self.way {
            Way::Direct(direct) => Err(direct.url),
            Way::Forward(forward) => Ok(*forward),
        }
    }

    /// The reporter that answered last.
    pub(super) fn reporter(&self) -> &str {
        &self.reporter
    }

    /// Every row, page by page.
    pub(super) async fn fleet(&mut self) -> Result<Told, Closed> {
        let told = self.every_page().await;
        match &told {
            Ok(_) => self.failed = 0,
            Err(closed) => {
                self.open = None;
                self.turn += 1;
                self.failed += usize::from(!matches!(closed, Closed::NotReady(_)));
            }
        }
        told
    }

    async fn every_page(&mut self) -> Result<Told, Closed> {
        let (mut rows, mut pending, mut after) = (Vec::new(), BTreeSet::new(), None::<String>);
        let mut bytes = 0;
        for read in 1..=PAGES_MAX {
            let query =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(after.iter().map(|after| ("after", after))).finish();
            let body = self.get(&format!("/v1/fleet?{query}")).await?;
            bytes += body.len();
            if bytes > FLEET_MAX_BYTES {
                return Err(Closed::NotProven(format!("the fleet is longer than {} MiB", FLEET_MAX_BYTES >> 20)));
            }
            let page = fleet::page(&body).map_err(Closed::NotProven)?;
            pending.extend(page.pending);
            self.reporter = page.reporter;
            rows.extend(page.rows);
            if page.next.is_none() {
                self.pages = read;
                return Ok(Told { pending: pending.into_iter().collect(), rows });
            }
            if page.next == after {
                break; // it leads nowhere
            }
            after = page.next;
        }
        Err(Closed::NotProven(format!("the fleet has no end within {PAGES_MAX} pages")))
    }

    async fn get(&mut self, path: &str) -> Result<Bytes, Closed> {
        if self.open.is_none() {
            self.open = Some(self.begin().await?);
        }
        let Some(open) = &mut self.open else { unreachable!("it was just opened") };
        let request = Request::get(path).header("host", &open.host);
        let request =
            open.token.iter().fold(request, |request, token| request.header("authorization", format!("Bearer {token}")));
        let request = request.body(Empty::new());
        let request = request.map_err(|error| Closed::Refused(error.to_string()))?;
        let asked = timeout(names::API_TIMEOUT, open.conversation.ask(request, names::FLEET_PAGE_MAX_BYTES)).await;
        let at = open.at.clone();
        let unreachable = |why: String| Closed::NotProven(format!("the reporter at {at} does not answer: {why}"));
        let (head, body) = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let complaint = match &mut open.line {
                    Some(line) => line.complaint().await,
                    None => None,
                };
                return Err(unreachable(complaint.unwrap_or_else(|| error.to_string())));
            }
            Err(_) => return Err(unreachable(format!("not within {} s", names::API_TIMEOUT.as_secs()))),
        };
        match head.status {
            StatusCode::OK => Ok(body),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Closed::Refused(format!("{at} answers {}: it wants credentials (--bearer-token-file FILE)", head.status)))
            }
            status => Err(Closed::NotProven(format!("{at} answers {status}: expected a reporter's fleet port ({FLEET_PORT})"))),
        }
    }

    async fn begin(&mut self) -> Result<Open, Closed> {
        match &mut self.way {
            Way::Direct(direct) => direct.begin().await,
            Way::Forward(way) => {
                let (at, Forwarded { stream, line }) = way.stream(self.turn).await?;
                let conversation =
                    Conversation::begin(stream).await.map_err(|error| Closed::NotProven(format!("{at}: {error}")))?;
                Ok(Open { conversation, host: "localhost".to_owned(), at, token: None, line: Some(line) })
            }
        }
    }
}

/// A stream to the fleet port of a ready reporter, which one by turns; and what people are told of where it leads.
pub(super) async fn forward(cluster: &Cluster, namespace: &str, turn: usize) -> Result<(String, Forwarded), Closed> {
    let failed = |what: &str, trouble: Trouble| match trouble {
        Trouble::Forbidden(why) => Closed::Refused(format!(
            "not permitted: {why}. It needs list of pods, and get and create of pods/portforward, in namespace {namespace}: kubectl auth can-i get pods/portforward -n {namespace}"
        )),
        Trouble::Unauthenticated(why) => Closed::Unauthenticated(format!(
            "the API server does not accept these credentials ({why}): are they expired? kubectl get pods -n {namespace} asks with the same"
        )),
        other => Closed::NotProven(format!("{what}: {other}")),
    };
    let (ready, others) =
        cluster.reporters(namespace).await.map_err(|trouble| failed("the reporters could not be listed", trouble))?;
    let Some(pod) = ready.get(turn % ready.len().max(1)) else {
        return Err(match others {
            0 => Closed::NotProven(format!(
                "no reporter in namespace {namespace} (pods with the label {}): is it installed there, or elsewhere (--namespace)?",
                names::REPORTER_SELECTOR
            )),
            _ => Closed::NotReady(format!(
                "no reporter in namespace {namespace} is ready ({others} are not): kubectl describe pods -n {namespace} -l {}",
                names::REPORTER_SELECTOR
            )),
        });
    };
    let at = format!("{namespace}/{pod}");
    let forwarded = cluster.forward(namespace, pod, FLEET_PORT).await;
    Ok((at.clone(), forwarded.map_err(|trouble| failed(&format!("no port-forward to {at}"), trouble))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        let read = url("http://[::1]:9799/").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.authority.as_str()), ("::1", 9799, "[::1]:9799"));
        assert_eq!(url("http://reporter.example").unwrap().port, 80);
        for (text, expected) in [
            ("ftp://a:1", "ftp is not spoken here"),
            ("127.0.0.1:9799", "expected http://HOST:PORT"),
            ("http://a:1/v1/fleet", "no path is needed"),
            ("http://127.0.0.1:79799", "no host and port"),
            ("http://somebody@a:1", "no host and port"),
            ("http://:9799", "expected http://HOST:PORT"),
        ] {
            let wrong = url(text).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }
}
