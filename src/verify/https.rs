//! TLS on the way to a reporter behind an ingress: `--url https://…`, `--ca-file`, `--bearer-token-file`.
use super::door::Url;
use crate::wire::authorities::authorities;
use guardprobe_core::model::names;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How many bytes of a token file are read.
const TOKEN_MAX_BYTES: u64 = 64 * 1024;

/// Which certificates are trusted: those of a CA file, else those that this machine trusts.
///
/// # Errors
/// The CA file is of no use; or this machine has no certificates.
pub(super) fn configuration(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let verifier = match ca_file {
        Some(path) => {
            let bytes = read(path, names::CA_MAX_BYTES + 1).map_err(|why| format!("--ca-file {}: {why}", path.display()))?;
            let read = authorities(&bytes).map_err(|why| format!("--ca-file {} {why}", path.display()))?;
            builder.with_root_certificates(read.roots)
        }
        None => builder
            .with_platform_verifier()
            .map_err(|error| format!("this machine has no certificates to trust ({error}): expected --ca-file FILE"))?,
    };
    Ok(Arc::new(verifier.with_no_client_auth()))
}

/// The token in a file, as a header carries it.
///
/// # Errors
/// It cannot be read, or it is no token. The message never holds it.
pub(super) fn bearer_token(path: &Path) -> Result<String, String> {
    let of_file = |why: String| format!("--bearer-token-file {}: {why}", path.display());
    let bytes = read(path, TOKEN_MAX_BYTES).map_err(|error| of_file(error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(text) } else { Err(of_file("it holds no token: expected one line without spaces".to_owned())) }
}

fn read(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Shakes hands on a connection that stands. The caller sets the deadline.
///
/// # Errors
/// Why there is no TLS, in words.
pub(super) async fn handshake<S>(stream: S, url: &Url, config: Arc<ClientConfig>) -> Result<TlsStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(url.host().to_owned()).map_err(|_| format!("{} is no name for TLS", url.host()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| in_words(&error.to_string(), url.host()))
}

/// Why a handshake failed, with the remedy for what is frequent.
fn in_words(text: &str, host: &str) -> String {
    if text.contains("UnknownIssuer") || text.contains("BadSignature") {
        return "its certificate is not of a CA that is trusted here: --ca-file FILE names the CA".to_owned();
    }
    if text.contains("not valid for name") || text.contains("NotValidForName") {
        return format!("its certificate is not for {host}");
    }
    if text.contains("InvalidContentType") || text.contains("corrupt message") {
        return "it speaks no TLS: expected --url http://HOST:PORT".to_owned();
    }
    text.to_owned()
}
