//! The Kubernetes API, as far as anybody without a token gets: a TLS handshake, and `/version`.
use crate::lab::plan;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::{convert::Infallible, io, sync::Arc};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A certificate authority, made anew each time.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        CertifiedIssuer::self_signed(params, KeyPair::generate()?).map(Authority)
    }

    /// Its certificate, as pods have it mounted.
    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }
}

/// An API server with its certificate.
#[derive(Clone)]
pub(super) struct Server {
    tls: TlsAcceptor,
    version: Arc<str>,
}

impl Server {
    /// A server whose certificate names the API, its ClusterIP and these.
    pub(super) fn new(
        issuer: &Authority,
        mut names: Vec<String>,
        token: &str,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        names.extend(plan::API_NAMES.map(str::to_owned));
        names.push(plan::CLUSTER_IP.ip().to_string());
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(names)?.signed_by(&key, &issuer.0)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)?;
        let version = serde_json::json!({"major": "1", "minor": "36", "gitVersion": format!("v1.36.0-lab+{token}")});
        Ok(Server { tls: TlsAcceptor::from(Arc::new(config)), version: version.to_string().into() })
    }

    /// Answers one connection.
    pub(super) async fn answer(self, stream: TcpStream) -> io::Result<()> {
        let stream = self.tls.accept(stream).await?;
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = respond(request.uri().path(), &self.version);
            async { Ok::<_, Infallible>(answer) }
        });
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
    }
}

fn respond(path: &str, version: &str) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/version" => (StatusCode::OK, version.to_owned()),
        _ => (StatusCode::FORBIDDEN, r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":403}"#.to_owned()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
}

/// Says something that is no TLS, and hangs up.
pub(super) async fn babble(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"220 not what you are looking for\r\n").await?;
    stream.shutdown().await?;
    // Read on until the other side is done: an unread hello would turn the end into a reset.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}
