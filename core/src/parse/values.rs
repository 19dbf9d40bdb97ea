//! What a single text of the configuration may be. Each reader says what is wrong and what was expected in its place.
use super::problem::{alternatives, did_you_mean, quote};
use crate::model::{address::HostPort, address::is_host_name, config::write_duration, names};
use jiff::{SignedDuration, fmt::friendly::SpanParser};
use std::{path::PathBuf, time::Duration};

pub(super) const DURATION: &str = "a number and a unit, such as 15s, 2500ms or 1m30s";
pub(super) const ADDRESS: &str = "host:port, such as 10.0.0.5:8200, [2001:db8::5]:8200 or vault.example:8200";
pub(super) const LABEL: &str = "a DNS label, such as kube-api";
pub(super) const FILE: &str = "the path of a file";
pub(super) const SERVER_NAME: &str = "a DNS name, such as vault.example";
pub(super) const URL_PATH: &str = "a path that begins with /, such as /healthz";
pub(super) const GUARD: &str = "namespace/name or name, such as default/deny-imds";

/// The longest text that is looked at as host:port: a DNS name of 253 characters, its port, and room to tell what is wrong.
const ADDRESS_LENGTH_MAX: usize = 300;
/// The longest path: longer ones are cut off or refused by common HTTP servers, and are a mistake here.
const PATH_LENGTH_MAX: usize = 1024;

/// A duration as a person writes it, `15s`, `2500ms` or `1m30s`: whole milliseconds, from 0 to [`names::DURATION_MAX`].
///
/// # Errors
/// Says what is wrong and what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if number {
        return Err(format!("{} has no unit: expected {DURATION}", quote(text)));
    }
    let parsed = SpanParser::new().parse_duration(text);
    let signed = parsed.map_err(|_| format!("{} is not a duration: expected {DURATION}", quote(text)))?;
    whole_milliseconds(text, signed)
}

fn whole_milliseconds(text: &str, signed: SignedDuration) -> Result<Duration, String> {
    let text = quote(text);
    let duration = Duration::try_from(signed).map_err(|_| format!("{text} is negative: expected {DURATION}"))?;
    if duration > names::DURATION_MAX {
        return Err(format!("{text} is too long: expected at most {}h", names::DURATION_MAX.as_secs() / 3600));
    }
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(format!("{text} is too fine: expected whole milliseconds"));
    }
    Ok(duration)
}

/// A duration of at least `min`.
pub(super) fn duration_from(min: Duration) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| match duration(text)? {
        short if short < min => Err(format!("{} is too short: expected at least {}", quote(text), write_duration(min))),
        long_enough => Ok(long_enough),
    }
}

/// The sentinel's period; `None` for `off`.
pub(super) fn sentinel(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    duration_from(names::SENTINEL_MIN)(text).map(Some).map_err(|message| format!("{message}, or off"))
}

/// True for a DNS label as Kubernetes has them (RFC 1123): 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The name of a target or control: a DNS label.
pub(super) fn label(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not a DNS label: expected 1 to 63 of a-z, 0-9 and -, with no - at either end", quote(text)))
}

/// `namespace/name`, where `namespace` is put before a name alone.
pub(super) fn guard(text: &str, namespace: &str) -> Result<String, String> {
    let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
    // Dots stand between labels; the whole name has at most 253 characters (a DNS subdomain, as all names in Kubernetes).
    let subdomain = name.len() <= 253 && name.split('.').all(is_dns_label);
    if !is_dns_label(namespace) || !subdomain {
        return Err(format!("{} is not the name of a guard: expected {GUARD} (a-z, 0-9, - and .)", quote(text)));
    }
    Ok(format!("{namespace}/{name}"))
}

/// The path of a file.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err(format!("an empty text: expected {FILE}")),
        _ if text.len() > PATH_LENGTH_MAX || text.contains(char::is_control) => {
            Err(format!("{} is not a path: expected {FILE}, at most {PATH_LENGTH_MAX} bytes", quote(text)))
        }
        _ => Ok(PathBuf::from(text)),
    }
}

/// The path that an HTTP target is asked for.
pub(super) fn url_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("{} does not begin with /: expected {URL_PATH}", quote(text)));
    }
    // What goes into a request line must not be able to end it.
    if text.len() > PATH_LENGTH_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{} is not a path: expected at most {PATH_LENGTH_MAX} visible ASCII characters", quote(text)));
    }
    Ok(text.to_owned())
}

/// The name that a certificate must carry.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    let address = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if address || !is_host_name(text) {
        return Err(format!("{} is not a DNS name: expected {SERVER_NAME}", quote(text)));
    }
    Ok(text.trim_end_matches('.').to_ascii_lowercase())
}

/// Where something lives.
pub(super) fn address(text: &str) -> Result<HostPort, String> {
    if text.len() > ADDRESS_LENGTH_MAX {
        return Err(format!("{} is too long: expected {ADDRESS}", quote(text)));
    }
    if text.contains("://") {
        return Err(format!("{} is a URL: expected {ADDRESS}", quote(text)));
    }
    text.parse()
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{} is neither: expected true or false", quote(text))),
    }
}

/// One of a closed list of words; `what` names the list.
pub(super) fn one_of<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str, what: &str) -> impl Fn(&str) -> Result<T, String> {
    let words: Vec<(T, &'static str)> = all.iter().map(|value| (*value, word(*value))).collect();
    move |text| {
        let found = words.iter().find(|(_, word)| *word == text);
        found.map(|(value, _)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
            let hint = did_you_mean(text, words.iter().copied());
            format!("{} is not {what}{hint}: expected {}", quote(text), alternatives(&words))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let read = |text: &str| duration(text).map(|duration| duration.as_millis());
        for (text, milliseconds) in
            [("15s", 15_000), ("2500ms", 2_500), ("1m30s", 90_000), ("0s", 0), ("1.1s", 1_100), ("24h", 86_400_000)]
        {
            assert_eq!(read(text), Ok(milliseconds), "{text}");
        }
        for text in
            ["", "15", "1.5", "-1s", "1s ago", "PT1S", "25h", "1500us", "1.0005s", "1d", "s", "15 parsecs", "999999999999999h"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_reader_takes_for_a_duration_is_written_back_as_the_same() {
        for text in ["15s", "2500ms", "1m30s", "0s", "1.1s", "24h"] {
            let once = duration(text).unwrap();
            assert_eq!(duration(&write_duration(once)), Ok(once), "{text}");
        }
    }

    #[test]
    fn a_guard_without_a_slash_takes_the_namespace() {
        assert_eq!(guard("deny", "apps"), Ok("apps/deny".to_owned()));
        assert_eq!(guard("default/deny.v1", "apps"), Ok("default/deny.v1".to_owned()));
        for text in ["", "/", "a/", "/b", "a/b/c", "A/b", "a.b/c", "a/b_c", "a/.b", "a/-b", "a b"] {
            assert!(guard(text, "apps").is_err(), "{text}");
        }
        assert!(guard(&"a".repeat(300), "apps").is_err());
    }

    #[test]
    fn a_request_path_cannot_end_its_request_line() {
        assert!(url_path("/v1/sys/health?standbyok=true").is_ok());
        for text in ["", "healthz", "/a b", "/a\r\nHost: x", "/\u{e9}", "/\0"] {
            assert!(url_path(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_server_name_is_a_name_and_no_address() {
        assert_eq!(server_name("Vault.Example."), Ok("vault.example".to_owned()));
        for text in ["", "10.0.0.1", "::1", "a b", "-a", "a..b"] {
            assert!(server_name(text).is_err(), "{text}");
        }
    }
}
