//! Reads the endpoints file: where the API servers are, as the reporter last saw it.
//!
//! Whoever writes that file tells the agent where to connect. So it is taken or refused as a whole, and nothing in it may lead
//! to the node itself or to its neighbours on the link.
use super::problem::json_words;
use crate::model::{address::is_link_local, names};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How far in the future a file may be written: two clocks in one cluster differ by less.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);
/// The longest revision; the reporter's is a hash of 64 hex digits at most.
const REVISION_LENGTH_MAX: usize = 64;
/// The longest text that can be an IPv6 address in brackets with a scope and a port.
const ADDRESS_LENGTH_MAX: usize = 80;

/// What an endpoints file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// A hash of the addresses, which the report echoes: 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`.
    pub revision: String,
    /// When the reporter last saw these addresses.
    pub updated: Timestamp,
    /// 1 to 64 addresses, none twice, in the order of the file, IPv4-mapped ones as IPv4.
    pub addresses: Vec<SocketAddr>,
}

/// The file as it is. Fields that a newer reporter may add are passed over.
#[derive(Deserialize)]
struct Wire {
    revision: String,
    updated: Timestamp,
    addresses: Vec<String>,
}

/// Reads an endpoints file, as of `now`.
///
/// # Errors
/// Says why the file is refused, and what was expected.
pub fn parse(bytes: &[u8], now: Timestamp) -> Result<Endpoints, String> {
    let limit = names::ENDPOINTS_MAX_BYTES;
    if bytes.len() as u64 > limit {
        return Err(format!("the endpoints file has more than {limit} bytes: expected at most that"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes); // a byte order mark
    if bytes.trim_ascii().is_empty() {
        return Err("the endpoints file is empty: expected JSON with revision, updated and addresses".to_owned());
    }
    let wire: Wire = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    Ok(Endpoints {
        revision: revision(wire.revision)?,
        updated: fresh(wire.updated, now)?,
        addresses: addresses(&wire.addresses)?,
    })
}

fn malformed(error: &serde_json::Error) -> String {
    format!("not an endpoints file: {}: expected JSON with revision, updated and addresses", json_words(error))
}

fn revision(text: String) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=REVISION_LENGTH_MAX).contains(&text.len()) && text.bytes().all(known) {
        return Ok(text);
    }
    Err(format!(
        "the revision of the endpoints file is malformed: expected 1 to {REVISION_LENGTH_MAX} of A-Z, a-z, 0-9, . _ and -"
    ))
}

fn fresh(updated: Timestamp, now: Timestamp) -> Result<Timestamp, String> {
    let age = now.duration_since(updated);
    let max = names::ENDPOINTS_MAX_AGE.as_secs() / 60;
    if age.unsigned_abs() > names::ENDPOINTS_MAX_AGE && age.is_positive() {
        return Err(format!("the endpoints file was written {} minutes ago: expected at most {max}", age.as_mins()));
    }
    if -AHEAD_MAX > age {
        return Err(format!(
            "the endpoints file was written at {updated}, in the future: expected at most 5 minutes ahead of {now}"
        ));
    }
    Ok(updated)
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>, String> {
    let max = names::ENDPOINTS_MAX_ADDRESSES;
    if texts.is_empty() || texts.len() > max {
        return Err(format!("the endpoints file holds {} addresses: expected 1 to {max}", texts.len()));
    }
    let mut addresses = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let address = address(index + 1, text)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Reads the address with that number in the file, from 1. The error gives the number and never the text.
fn address(number: usize, text: &str) -> Result<SocketAddr, String> {
    let refused = |what: &str, expected: &str| Err(format!("address {number} in the endpoints file {what}: expected {expected}"));
    let socket = match text.parse::<SocketAddr>() {
        Ok(socket) if text.len() <= ADDRESS_LENGTH_MAX => socket,
        _ => return refused("is not an address", "ip:port, such as 10.0.1.10:443 or [2001:db8::10]:443"),
    };
    if socket.port() == 0 {
        return refused("has port 0", "1 to 65535");
    }
    let ip = socket.ip().to_canonical();
    match forbidden(ip) {
        Some(what) => refused(what, "the address of an API server"),
        None => Ok(SocketAddr::new(ip, socket.port())),
    }
}

/// Why a connection to this address would not be one to an API server elsewhere. `ip` is canonical.
fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip {
        _ if ip.is_loopback() => Some("is loopback"),
        _ if is_link_local(ip) => Some("is link-local"),
        _ if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) => Some("is multicast"),
        // All of 0.0.0.0/8 is "this host on this network" (RFC 1122, 3.2.1.3).
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("is unspecified"),
        _ if ip.is_unspecified() => Some("is unspecified"),
        // ::/96 is the deprecated form of IPv4 addresses in IPv6 (RFC 4291, 2.5.5.1), loopback among them.
        IpAddr::V6(ip) if ip.segments()[..6] == [0; 6] => Some("is an IPv4-compatible address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn file(addresses: &str, updated: &str) -> String {
        format!(r#"{{"revision":"a1b2","updated":"{updated}","addresses":[{addresses}],"added-later":{{"x":1}}}}"#)
    }

    fn read(text: &str) -> Result<Endpoints, String> {
        parse(text.as_bytes(), NOW.parse().unwrap())
    }

    fn refusal(text: &str) -> String {
        read(text).expect_err(text)
    }

    #[test]
    fn a_reporters_file_is_read_and_fields_of_a_newer_one_are_passed_over() {
        let endpoints =
            read(&file(r#""10.0.1.10:443","[2001:db8::1]:443","10.0.1.10:443","[::ffff:10.0.1.10]:443""#, NOW)).unwrap();
        assert_eq!(endpoints.addresses, ["10.0.1.10:443".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap()]);
        assert_eq!((endpoints.revision.as_str(), endpoints.updated), ("a1b2", NOW.parse().unwrap()));
    }

    #[test]
    fn one_address_that_leads_home_refuses_the_file() {
        for (address, why) in [
            ("127.0.0.1:443", "is loopback"),
            ("[::1]:443", "is loopback"),
            ("[::ffff:127.0.0.1]:443", "is loopback"),
            ("169.254.169.254:80", "is link-local"),
            ("[fe80::1]:443", "is link-local"),
            ("[fe80::1%2]:443", "is link-local"),
            ("[::ffff:169.254.169.254]:80", "is link-local"),
            ("224.0.0.1:443", "is multicast"),
            ("[ff02::1]:443", "is multicast"),
            ("255.255.255.255:443", "is multicast"),
            ("0.0.0.0:443", "is unspecified"),
            ("0.1.2.3:443", "is unspecified"),
            ("[::]:443", "is unspecified"),
            ("[::127.0.0.1]:443", "is an IPv4-compatible address"),
            ("10.0.0.1:0", "has port 0"),
            ("10.0.0.1", "is not an address"),
            ("api.example:443", "is not an address"),
        ] {
            let refusal = refusal(&file(&format!(r#""10.0.1.10:443","{address}""#), NOW));
            assert!(refusal.contains(&format!("address 2 in the endpoints file {why}: expected ")), "{refusal}");
            assert!(!refusal.contains(address), "no content of a file: {refusal}");
        }
    }

    #[test]
    fn a_file_that_is_old_or_from_the_future_is_refused_and_the_limits_are_not() {
        let address = r#""10.0.1.10:443""#;
        for updated in ["2026-03-01T11:00:00Z", "2026-03-01T12:05:00Z", "2026-03-01T13:04:00+01:00"] {
            assert!(read(&file(address, updated)).is_ok(), "{updated}");
        }
        assert!(refusal(&file(address, "2026-03-01T10:59:59Z")).contains("60 minutes ago: expected at most 60"));
        assert!(refusal(&file(address, "2026-03-01T12:05:01Z")).contains("in the future"));
        assert!(refusal(&file(address, "yesterday")).contains("not an endpoints file"));
    }

    #[test]
    fn what_is_no_endpoints_file_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("{", "not an endpoints file"),
            ("[]", "not an endpoints file"),
            (r#"{"revision":"a","updated":"2026-03-01T12:00:00Z"}"#, "it has no field \"addresses\""),
            (r#"{"revision":1,"updated":"2026-03-01T12:00:00Z","addresses":[]}"#, "a field is not of the kind that it must be"),
            (&file("", NOW), "holds 0 addresses: expected 1 to 64"),
            (&file(&vec![r#""10.0.1.10:443""#; 65].join(","), NOW), "holds 65 addresses: expected 1 to 64"),
            (&file("443", NOW), "not an endpoints file"),
            (&file(r#""10.0.0.1:1""#, NOW).replace("a1b2", "a b"), "revision"),
            (&file(r#""10.0.0.1:1""#, NOW).replace("a1b2", ""), "revision"),
            (&file(r#""10.0.0.1:1""#, NOW).replace("a1b2", &"a".repeat(65)), "revision"),
            (&" ".repeat(65 * 1024), "more than 65536 bytes"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(why), "{refusal}");
        }
    }
}
