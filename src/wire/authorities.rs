//! Certificates of a CA, as a PEM file holds them. No error ever carries a byte of the file: it may be a key.
use guardprobe_core::model::names;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// The certificates of a PEM file.
#[derive(Debug, Clone)]
pub struct Authorities {
    /// All of them.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Those that can be used as roots of trust.
    pub roots: RootCertStore,
}

impl Authorities {
    /// These and those of another file.
    pub fn and(mut self, other: &Authorities) -> Self {
        self.certificates.extend(other.certificates.iter().cloned());
        self.roots.roots.extend(other.roots.roots.iter().cloned());
        self
    }
}

/// Reads a PEM file's content. A byte order mark is passed over.
///
/// # Errors
/// What is wrong with it and what was expected, in words that follow the name of the file.
pub fn authorities(bytes: &[u8]) -> Result<Authorities, String> {
    const EXPECTED: &str = "expected certificates in PEM";
    if bytes.len() as u64 > names::CA_MAX_BYTES {
        return Err(format!("has more than {} bytes: {EXPECTED}", names::CA_MAX_BYTES));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if text.first() == Some(&0x30) {
        return Err(format!("is in DER: {EXPECTED} (openssl x509 -inform der)"));
    }
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    let certificates = read.map_err(|error| format!("{}: {EXPECTED}", pem_words(&error)))?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    match (certificates.len(), usable) {
        (0, _) => Err(format!("holds no certificate: {EXPECTED}")),
        (_, 0) => Err(format!("holds no certificate that can be used: {EXPECTED}")),
        _ => Ok(Authorities { certificates, roots }),
    }
}

/// What is wrong with a PEM file, without a byte of it.
fn pem_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its PEM has no END line (is it cut off, or written on one line?)",
        pem::Error::IllegalSectionStart { .. } => "its PEM has a malformed BEGIN line (is it written on one line?)",
        pem::Error::Base64Decode(_) => "its PEM is not base64",
        pem::Error::SectionTooLarge => "its PEM has a section that is too large",
        _ => "its PEM cannot be read",
    }
}
