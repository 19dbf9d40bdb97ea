//! TLS that finishes every handshake it can, and says whose certificate it saw.
//!
//! A verifier that aborts would hide what the climb is for: whether a handshake *completes* with somebody else's certificate. So this one
//! records its judgement and lets the handshake go on; nothing is ever sent on such a connection but what proves who answers.
use super::{files, issuer};
use crate::wire::authorities::{Authorities, authorities};
use guardprobe_core::model::names;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whose certificate a completed handshake showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Certificate {
    /// Of the CA that was asked for, and for the name that was asked for.
    Proven,
    /// Of that CA, but no client would accept it; in words, why.
    Flawed(String),
    /// Not of that CA; in words, why.
    OtherCa(String),
    /// There was no CA to check with, or its signature cannot be verified here; in words, why.
    Unchecked(String),
}

/// The certificates that a target's own must be of, or why there are none.
#[derive(Debug, Clone)]
pub(super) struct Ca(Result<Arc<Authorities>, String>);

impl Ca {
    /// Reads PEM files, beside the round; those that can be read count together. A CA that cannot be read is no error here: an address is
    /// not less open for it.
    pub(super) async fn read(paths: &[PathBuf]) -> Self {
        let mut all: Option<Authorities> = None;
        let mut wrong: Vec<String> = Vec::new();
        for path in paths {
            let bytes = files::read(path, names::CA_MAX_BYTES).await;
            match bytes.and_then(|bytes| authorities(&bytes).map_err(|why| format!("{}: {why}", path.display()))) {
                Ok(read) => all = Some(all.map_or_else(|| read.clone(), |before| before.and(&read))),
                Err(why) => wrong.push(why),
            }
        }
        Ca(match (all, wrong.is_empty()) {
            (Some(all), _) => Ok(Arc::new(all)),
            (None, true) => Err("no CA file".to_owned()),
            (None, false) => Err(wrong.join("; ")),
        })
    }

    /// Why there are no certificates to check with.
    pub(super) fn unusable(self) -> Option<String> {
        self.0.err()
    }
}

/// Shakes hands over `stream` with SNI `name`. The caller sets the deadline.
///
/// # Errors
/// The handshake did not complete: the other side hung up, or does not speak TLS.
pub(super) async fn handshake<S>(stream: S, name: ServerName<'static>, ca: &Ca) -> std::io::Result<(TlsStream<S>, Certificate)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Recorder { ca: ca.clone(), seen: OnceLock::new(), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let certificate = verifier.seen.get().cloned();
    Ok((stream, certificate.unwrap_or_else(|| Certificate::Unchecked("no certificate was shown".to_owned()))))
}

#[derive(Debug)]
struct Recorder {
    ca: Ca,
    seen: OnceLock<Certificate>,
    provider: Arc<CryptoProvider>,
}

impl Recorder {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Certificate {
        let Authorities { certificates, roots } = match &self.ca.0 {
            Ok(ca) => ca.as_ref(),
            Err(why) => return Certificate::Unchecked(why.clone()),
        };
        // A server may show the very certificate that the CA file holds.
        let of_the_ca = || {
            let parsed = ParsedCertificate::try_from(leaf)?;
            if certificates.contains(leaf) { Ok(()) } else { self.of_the_ca(&parsed, roots, chain, now) }?;
            verify_server_name(&parsed, name)
        };
        match of_the_ca() {
            Ok(()) => Certificate::Proven,
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                Certificate::OtherCa("signed by another CA".to_owned())
            }
            Err(error) => flawed(&error, certificates, leaf, chain, name),
        }
    }

    /// Whose a certificate is does not depend on the clock: one that has expired, or that a wrong clock calls not yet valid, is asked
    /// about again at a time when it was valid.
    fn of_the_ca(
        &self,
        leaf: &ParsedCertificate<'_>,
        roots: &RootCertStore,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let at = |time| verify_server_cert_signed_by_trust_anchor(leaf, roots, chain, time, algorithms);
        match at(now) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => at(not_after),
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => at(not_before),
            other => other,
        }
    }
}

/// What a certificate is that clients refuse for this error. Some flaws are found before the signature is looked at, so the signature is
/// looked at here: only another CA's certificate is somebody else's.
fn flawed(
    error: &Error,
    authorities: &[CertificateDer<'_>],
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
) -> Certificate {
    let words = flaw(error, name);
    if authorities.contains(leaf) {
        return Certificate::Flawed(words);
    }
    match issuer::is_signed_by(authorities, leaf, chain) {
        Some(true) => Certificate::Flawed(words),
        Some(false) => Certificate::OtherCa("signed by another CA".to_owned()),
        None => Certificate::Unchecked(format!("its signature cannot be verified here, and {words}")),
    }
}

/// Why clients refuse a certificate, as the end of "certificate of the CA, though …".
fn flaw(error: &Error, name: &ServerName<'_>) -> String {
    let Error::InvalidCertificate(error) = error else { return "it cannot be read".to_owned() };
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("not for {}", name.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "not for servers".to_owned(),
        CertificateError::BadEncoding => "it is not encoded as clients expect".to_owned(),
        CertificateError::UnhandledCriticalExtension => "it has a critical extension that clients do not know".to_owned(),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it says CA:TRUE, as only a CA's own does".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "it is no X.509 version 3 certificate".to_owned()
        }
        _ => "clients do not accept it".to_owned(),
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen.get_or_init(|| self.judge(leaf, chain, name, now));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
