//! TLS that finishes every handshake it can, and says whose certificate it saw.
//!
//! A verifier that aborts would hide what the climb is for: whether a handshake *completes* with somebody else's certificate. So this one
//! records its judgement and lets the handshake go on; nothing is ever sent on such a connection but what proves who answers.
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whose certificate a completed handshake showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Certificate {
    /// Of the CA that was asked for, and for the name that was asked for.
    Proven,
    /// Of that CA, but for other names.
    OtherName,
    /// Not of that CA; in words, why.
    OtherCa(String),
    /// There was no CA to check with; in words, why.
    Unchecked(String),
}

/// The certificates that a target's own must be of, or why there are none.
#[derive(Debug, Clone)]
pub(super) struct Ca(Result<(Vec<CertificateDer<'static>>, Arc<RootCertStore>), String>);

impl Ca {
    /// Reads a PEM file. A CA that cannot be read is no error here: a door is not less open for it.
    pub(super) fn read(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Ca(Err("no CA file".to_owned())) };
        if !path.is_file() {
            return Ca(Err(format!("{}: is no file", path.display())));
        }
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        match certificates {
            Err(error) => Ca(Err(format!("{}: {error}", path.display()))),
            Ok(certificates) => {
                let mut roots = RootCertStore::empty();
                let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
                if usable == 0 {
                    return Ca(Err(format!("{}: holds no certificate", path.display())));
                }
                Ca(Ok((certificates, Arc::new(roots))))
            }
        }
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
        let (certificates, roots) = match &self.ca.0 {
            Ok(ca) => ca,
            Err(why) => return Certificate::Unchecked(why.clone()),
        };
        let parsed = match ParsedCertificate::try_from(leaf) {
            Ok(parsed) => parsed,
            Err(error) => return Certificate::Unchecked(error.to_string()),
        };
        // A server may show the very certificate that the CA file holds.
        if !certificates.contains(leaf)
            && let Err(error) = self.of_the_ca(&parsed, roots, chain, now)
        {
            return not_proven(&error);
        }
        if verify_server_name(&parsed, name).is_ok() { Certificate::Proven } else { Certificate::OtherName }
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

/// A certificate that cannot be checked is not thereby somebody else's.
fn not_proven(error: &Error) -> Certificate {
    use CertificateError::{BadEncoding, UnsupportedSignatureAlgorithmContext, UnsupportedSignatureAlgorithmForPublicKeyContext};
    match error {
        Error::InvalidCertificate(
            BadEncoding | UnsupportedSignatureAlgorithmContext { .. } | UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => Certificate::Unchecked(error.to_string()),
        _ => Certificate::OtherCa(error.to_string()),
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
