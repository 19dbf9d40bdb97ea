//! Who signed a certificate, whatever else is wrong with it.
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_PKCS1_RSASSAPSS, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519};
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

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
    let is_complete = shown.len() <= SHOWN_MAX;
    let (known, offered) = (parsed(authorities), parsed(&shown[..shown.len().min(SHOWN_MAX)]));
    // What could not be read, or was not looked at, may be the signer.
    let otherwise = (is_complete && known.len() == authorities.len() && offered.len() == shown.len()).then_some(false);
    let mut certificate = &leaf;
    for _ in 0..=offered.len() {
        match signer(&known, certificate) {
            Signer::Found(_) => return Some(true),
            Signer::Unknown => return None,
            Signer::Absent => {}
        }
        match signer(&offered, certificate) {
            Signer::Found(next) => certificate = next,
            Signer::Unknown => return None,
            Signer::Absent => return otherwise,
        }
    }
    otherwise
}

fn parsed<'der>(certificates: &'der [CertificateDer<'_>]) -> Vec<X509Certificate<'der>> {
    certificates.iter().filter_map(|der| Some(parse_x509_certificate(der).ok()?.1)).collect()
}

fn signer<'a, 'der>(candidates: &'a [X509Certificate<'der>], certificate: &X509Certificate<'_>) -> Signer<'a, 'der> {
    let mut found = Signer::Absent;
    for candidate in candidates.iter().filter(|candidate| candidate.subject() == certificate.issuer()) {
        match certificate.verify_signature(Some(candidate.public_key())) {
            Ok(()) => return Signer::Found(candidate),
            Err(_) if !is_verifiable(candidate, certificate) => found = Signer::Unknown,
            Err(_) => {}
        }
    }
    found
}

/// True for a signature that the library here can tell from a wrong one: its errors are the same for both.
fn is_verifiable(signer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    let algorithm = &certificate.signature_algorithm.algorithm;
    match signer.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => (2048..=8192).contains(&key.key_size()) && *algorithm != OID_PKCS1_RSASSAPSS,
        Ok(PublicKey::EC(_)) => [OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384].contains(algorithm),
        _ => *algorithm == OID_SIG_ED25519,
    }
}
