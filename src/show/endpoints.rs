//! The endpoints file: where the API is, for agents to read.
use guardprobe_core::parse::endpoints;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The file for these addresses, as of `now`. Its revision is a hash of them: 16 hex digits.
///
/// # Errors
/// An agent would refuse it: no addresses, too many, or one that leads home.
pub fn file(addresses: &BTreeSet<SocketAddr>, now: Timestamp) -> Result<String, String> {
    let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let revision: String = Sha256::digest(texts.join("\n")).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let file = json!({ "revision": revision, "updated": now, "addresses": texts }).to_string();
    endpoints::parse(file.as_bytes(), now).map(|_| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addresses: &[&str]) -> Result<String, String> {
        file(&addresses.iter().map(|address| address.parse().unwrap()).collect(), "2026-03-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn an_agent_reads_what_is_written_and_the_revision_is_that_of_the_addresses() {
        let written = of(&["10.0.1.11:443", "10.0.1.10:443"]).unwrap();
        let now: Timestamp = "2026-03-01T12:30:00Z".parse().unwrap();
        let read = endpoints::parse(written.as_bytes(), now).unwrap();
        assert_eq!(read.addresses, ["10.0.1.10:443".parse().unwrap(), "10.0.1.11:443".parse().unwrap()]);
        assert_eq!(written, of(&["10.0.1.10:443", "10.0.1.11:443"]).unwrap());
        let other = endpoints::parse(of(&["10.0.1.10:443"]).unwrap().as_bytes(), now).unwrap();
        assert_ne!(read.revision, other.revision);
    }

    #[test]
    fn what_an_agent_would_refuse_is_not_written() {
        for (addresses, why) in
            [(vec![], "holds 0 addresses"), (vec!["127.0.0.1:443"], "is loopback"), (vec!["169.254.169.254:80"], "is link-local")]
        {
            let refused = of(&addresses).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
