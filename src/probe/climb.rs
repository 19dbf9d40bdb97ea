//! The climb: what is asked of a door that turned out open, to learn who is behind it. Never a credential, never a body.
use super::tls::{self, Ca, Certificate};
use crate::wire::{self, Head, Heard};
use guardprobe_core::model::config::Kind;
use guardprobe_core::model::names::{self, API_SERVER_NAME, CLIMB_TIMEOUT};
use guardprobe_core::model::observation::{Evidence, Identity, Layer, Observation};
use guardprobe_core::model::outside::cut;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Method, Request};
use rustls::pki_types::ServerName;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The header by which a token's time to live is asked for, and given, in seconds.
const IMDS_TOKEN_TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";

/// What is asked, once a connection to one address stands.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// The kind of the target.
    pub(super) kind: Kind,
    /// Whether TLS comes first, and as whom.
    pub(super) tls: Option<Tls>,
    /// What is asked over HTTP.
    pub(super) http: Option<Ask>,
    /// PEM file of the CA of a public endpoint, where it has one of its own.
    pub(super) public_endpoint_ca_file: Option<PathBuf>,
}

impl Question {
    /// The question for one address of the target.
    pub(super) fn of(&self, public_endpoint: bool) -> Cow<'_, Self> {
        let (Some(tls), Some(ca_file), true) = (&self.tls, &self.public_endpoint_ca_file, public_endpoint) else {
            return Cow::Borrowed(self);
        };
        // Behind a name of its own it shows that CA's certificate, and to others perhaps the cluster's.
        let ca_files = tls.ca_files.iter().chain([ca_file]).cloned().collect();
        let tls = Tls { ca_files, ..tls.clone() };
        Cow::Owned(Question { tls: Some(tls), ..self.clone() })
    }
}

/// A TLS handshake to be made.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    /// SNI, and the name that the certificate must carry. By default the host that was named; of an API server's bare address
    /// `kubernetes.default.svc`.
    pub(super) server_name: Option<String>,
    /// PEM files of the CAs that count.
    pub(super) ca_files: Vec<PathBuf>,
}

/// An HTTP request to be sent.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: Method,
    path: String,
    header: Option<(&'static str, &'static str)>,
}

impl Ask {
    pub(super) fn get(path: &str) -> Self {
        Ask { method: Method::GET, path: path.to_owned(), header: None }
    }

    /// What each metadata service is asked. All of these cost no credential; a GET without a token is never sent to IMDS, since
    /// CloudWatch counts it as `MetadataNoToken` and pages somebody.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        let with = |path: &str, name, value| Some(Ask { header: Some((name, value)), ..Ask::get(path) });
        match kind {
            Kind::Imds => {
                Some(Ask { method: Method::PUT, path: "/latest/api/token".to_owned(), header: Some((IMDS_TOKEN_TTL, "1")) })
            }
            Kind::AzureImds => with("/metadata/versions", "Metadata", "true"),
            Kind::GcpMetadata => with("/", "Metadata-Flavor", "Google"),
            Kind::AzureWireserver => Some(Ask::get("/?comp=versions")),
            Kind::EksPodIdentity | Kind::Oci | Kind::Http => Some(Ask::get("/")),
            Kind::KubeApi | Kind::Tcp | Kind::Tls | Kind::Kubelet => None,
        }
    }
}

/// What the climb learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Climbed {
    layer: Layer,
    evidence: Evidence,
    identity: Option<Identity>,
    detail: Option<String>,
}

impl Climbed {
    fn at(layer: Layer, evidence: Evidence, detail: impl Into<String>) -> Self {
        Climbed { layer, evidence, identity: None, detail: Some(detail.into()) }
    }

    /// It hung up right after the handshake: it has been reached, but cannot be asked. Where nothing would be asked, nothing more is learnt.
    pub(super) fn hung_up(question: &Question) -> Self {
        let asks = question.tls.is_some() || question.http.is_some();
        let evidence = if asks { Evidence::Closed } else { Evidence::Connected };
        Climbed { layer: Layer::Tcp, evidence, identity: None, detail: None }
    }

    /// The observation of the connection, with what was learnt after it.
    pub(super) fn onto(self, seen: Observation) -> Observation {
        let evidence = Some(self.evidence);
        // A header, a certificate or an error may be as long as whoever answers likes.
        let detail = self.detail.map(|detail| cut(&detail, names::DETAIL_MAX_BYTES)).or(seen.detail);
        Observation { layer: self.layer, evidence, identity: self.identity, detail, ..seen }
    }
}

/// Climbs for at most [`CLIMB_TIMEOUT`] a step. `host` is the name by which the address was found, if it was.
pub(super) async fn climb(question: &Question, host: Option<&str>, address: SocketAddr, stream: TcpStream) -> Climbed {
    match (&question.tls, &question.http) {
        (_, Some(_)) if question.kind == Kind::Http && is_imds(address) => {
            Climbed::at(Layer::Tcp, Evidence::Connected, "no GET is sent to a metadata service: kind imds asks it safely")
        }
        (None, None) => Climbed { layer: Layer::Tcp, evidence: Evidence::Connected, identity: None, detail: None },
        (None, Some(ask)) => http(question.kind, ask, host, address, stream, Layer::Tcp).await,
        (Some(tls), ask) => over_tls(question.kind, tls, ask.as_ref(), host, address, stream).await,
    }
}

/// A GET without a token raises `MetadataNoToken` and may name a credentials path, whatever kind somebody gave the address.
fn is_imds(address: SocketAddr) -> bool {
    Kind::Imds.built_in().iter().filter_map(|text| text.parse::<SocketAddr>().ok()).any(|imds| imds.ip() == address.ip())
}

async fn over_tls(
    kind: Kind,
    tls: &Tls,
    ask: Option<&Ask>,
    host: Option<&str>,
    address: SocketAddr,
    stream: TcpStream,
) -> Climbed {
    let of_kind = Some(API_SERVER_NAME).filter(|_| kind == Kind::KubeApi);
    let name = server_name(tls.server_name.as_deref().or(host).or(of_kind), address);
    let ca = Ca::read(&tls.ca_files).await;
    let (stream, heard) = Heard::listen(stream);
    let shaken = timeout(CLIMB_TIMEOUT, tls::handshake(stream, name, &ca)).await;
    let (stream, certificate) = match shaken {
        Ok(Ok(done)) => done,
        Ok(Err(error)) if heard.load(Ordering::Relaxed) => {
            return Climbed::at(Layer::Tcp, Evidence::Answered, format!("the TLS handshake broke: {error}"));
        }
        Err(_) if heard.load(Ordering::Relaxed) => {
            return Climbed::at(Layer::Tcp, Evidence::Answered, "the TLS handshake did not complete in time");
        }
        Ok(Err(_)) => {
            return Climbed::at(Layer::Tcp, Evidence::Closed, "connects, then hangs up without an answer to a TLS handshake");
        }
        Err(_) => return Climbed::at(Layer::Tcp, Evidence::NoAnswer, "connects, then no answer to a TLS handshake"),
    };
    let shown = recognise_certificate(kind, &certificate);
    match ask {
        None => shown,
        Some(ask) => {
            let answer = http(kind, ask, tls.server_name.as_deref().or(host), address, stream, Layer::Tls).await;
            // An HTTP answer adds a layer; it cannot take back what the certificate proved.
            Climbed { evidence: answer.evidence.max(shown.evidence), identity: shown.identity, ..answer }
        }
    }
}

/// The name for SNI. What is no DNS name goes by its address, which sends no SNI.
fn server_name(name: Option<&str>, address: SocketAddr) -> ServerName<'static> {
    let name = name.map(|name| name.trim_end_matches('.').to_owned());
    name.and_then(|name| ServerName::try_from(name).ok()).unwrap_or_else(|| ServerName::from(address.ip()))
}

/// For the API server it counts whose CA signed, whatever else is wrong: a cluster may have been made without the usual names.
fn recognise_certificate(kind: Kind, certificate: &Certificate) -> Climbed {
    let shown = |evidence, identity, words: String| Climbed { layer: Layer::Tls, evidence, identity, detail: Some(words) };
    let whose = if kind == Kind::KubeApi { "the cluster's CA" } else { "the expected CA" };
    match certificate {
        Certificate::Proven => shown(Evidence::Identified, Some(Identity::Proven), format!("certificate of {whose}")),
        Certificate::Flawed(flaw) if kind == Kind::KubeApi => {
            shown(Evidence::Identified, Some(Identity::Proven), format!("certificate of {whose}, though {flaw}"))
        }
        Certificate::Flawed(flaw) => shown(Evidence::Answered, None, format!("certificate of {whose}, but {flaw}")),
        Certificate::OtherCa(why) => {
            shown(Evidence::Answered, Some(Identity::Wrong), format!("certificate is not of {whose} ({why})"))
        }
        Certificate::Unchecked(why) => {
            shown(Evidence::Answered, None, format!("TLS handshake completed; certificate not checked ({why})"))
        }
    }
}

async fn http<S>(kind: Kind, ask: &Ask, host: Option<&str>, address: SocketAddr, stream: S, below: Layer) -> Climbed
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, heard) = Heard::listen(stream);
    let request = match request(ask, host, address) {
        Ok(request) => request,
        Err(error) => return Climbed::at(below, Evidence::Connected, format!("no request could be made: {error}")),
    };
    match timeout(CLIMB_TIMEOUT, wire::exchange(stream, request)).await {
        Ok(Ok(head)) => recognise_head(kind, &head),
        _ if heard.load(Ordering::Relaxed) => Climbed::at(below, Evidence::Answered, "answers, but not in HTTP"),
        Ok(Err(_)) => Climbed::at(
            below,
            Evidence::Closed,
            format!("connects, then hangs up without an answer to {} {}", ask.method, ask.path),
        ),
        Err(_) => Climbed::at(below, Evidence::NoAnswer, format!("connects, then no answer to {} {}", ask.method, ask.path)),
    }
}

fn request(ask: &Ask, host: Option<&str>, address: SocketAddr) -> hyper::http::Result<Request<Empty<Bytes>>> {
    let authority = host.map_or_else(|| address.to_string(), |host| format!("{host}:{}", address.port()));
    let request = Request::builder()
        .method(ask.method.clone())
        .uri(&ask.path)
        .header("Host", authority)
        .header("User-Agent", concat!("guardprobe/", env!("CARGO_PKG_VERSION")));
    let request = ask.header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    request.body(Empty::new())
}

/// What an answer's head proves. Only status and headers are looked at.
fn recognise_head(kind: Kind, head: &Head) -> Climbed {
    let server = head.header("server").unwrap_or("-");
    let token = head.status.as_u16() == 200 && head.header(IMDS_TOKEN_TTL).is_some();
    let itself = match kind {
        Kind::Imds => server.eq_ignore_ascii_case("EC2ws") || head.header(IMDS_TOKEN_TTL).is_some(),
        Kind::GcpMetadata => head.header("metadata-flavor").is_some_and(|flavor| flavor.eq_ignore_ascii_case("Google")),
        _ => false,
    };
    let evidence = match kind {
        // Any web server may say 200 to a PUT; with a token IMDS gives its time to live (EC2 user guide, IMDSv2).
        Kind::Imds if token => Evidence::TokenIssued,
        _ if itself => Evidence::Identified,
        _ => Evidence::Answered,
    };
    let detail = Some(format!("HTTP {}, Server: {server}", head.status.as_u16()));
    Climbed { layer: Layer::Http, evidence, identity: itself.then_some(Identity::Proven), detail }
}
