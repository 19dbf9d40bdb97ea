//! Who signed a certificate, whatever else is wrong with it.
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::parse_x509_certificate;

/// How many of the certificates that a server shows are looked at.
const SHOWN_MAX: usize = 8;

/// Whether one of several certificates signed another.
enum Signer<'a, 'der> {
    Found(&'a X509Certificate<'der>),
    /// One of them bears the issuer's name, but its signature uses an algorithm that is not known here.
    Unknown,
    Absent,
}

/// True when one of `authorities` signed the certificate, itself or through those that were shown with it; `None` where that cannot be told.
pub(super) fn is_signed_by(
    authorities: &[CertificateDer<'_>],
    leaf: &CertificateDer<'_>,
    shown: &[CertificateDer<'_>],
) -> Option<bool> {
    let (_, leaf) = parse_x509_certificate(leaf).ok()?;
    let (authorities, shown) = (parsed(authorities), parsed(&shown[..shown.len().min(SHOWN_MAX)]));
    let mut certificate = &leaf;
    for _ in 0..=shown.len() {
        match signer(&authorities, certificate) {
            Signer::Found(_) => return Some(true),
            Signer::Unknown => return None,
            Signer::Absent => {}
        }
        match signer(&shown, certificate) {
            Signer::Found(next) => certificate = next,
            Signer::Unknown => return None,
            Signer::Absent => return Some(false),
        }
    }
    Some(false)
}

fn parsed<'der>(certificates: &'der [CertificateDer<'_>]) -> Vec<X509Certificate<'der>> {
    certificates.iter().filter_map(|der| Some(parse_x509_certificate(der).ok()?.1)).collect()
}

fn signer<'a, 'der>(candidates: &'a [X509Certificate<'der>], certificate: &X509Certificate<'_>) -> Signer<'a, 'der> {
    let mut found = Signer::Absent;
    for candidate in candidates.iter().filter(|candidate| candidate.subject() == certificate.issuer()) {
        match certificate.verify_signature(Some(candidate.public_key())) {
            Ok(()) => return Signer::Found(candidate),
            Err(X509Error::SignatureUnsupportedAlgorithm) => found = Signer::Unknown,
            Err(_) => {}
        }
    }
    found
}
