//! The proxy on the way to the API server: of the kubeconfig, else of the environment.
use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use std::env;
use std::net::IpAddr;

const EXPECTED: &str = "expected http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";

/// The proxy that a kubeconfig names. NO_PROXY does not change it, as for kubectl.
///
/// # Errors
/// What is wrong, and what was expected.
pub(super) fn of_kubeconfig(text: &str) -> Result<Uri, String> {
    read("proxy-url", text)
}

/// The proxy that the environment names for this server: HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY or loopback takes the server out.
///
/// # Errors
/// What is wrong, and what was expected.
pub(super) fn of_environment(server: &Uri) -> Result<Option<Uri>, String> {
    let (upper, lower) =
        if server.scheme_str() == Some("http") { ("HTTP_PROXY", "http_proxy") } else { ("HTTPS_PROXY", "https_proxy") };
    let Some((name, text)) = [upper, lower].into_iter().find_map(|name| Some((name, variable(name)?))) else { return Ok(None) };
    let without = ["NO_PROXY", "no_proxy"].into_iter().find_map(variable).unwrap_or_default();
    if is_loopback(server) || !is_intercepted(server, &without) {
        return Ok(None);
    }
    // The environment may leave the scheme out, as curl and kubectl let it.
    let text = if text.contains("://") { text } else { format!("http://{text}") };
    read(name, &text).map(Some)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn read(name: &str, text: &str) -> Result<Uri, String> {
    // Both look names up at the proxy.
    let text = text.trim().replacen("socks5h://", "socks5://", 1);
    let url: Uri = text.parse().map_err(|error| format!("{name}: {error}: {EXPECTED}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("socks5"), Some(_)) if url.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            Err(format!("{name}: a name and a password for a socks5 proxy are not sent here: expected one without"))
        }
        // SOCKS has a port of its own (RFC 1928, 3).
        (Some("socks5"), Some(host)) if !host.is_empty() && url.port().is_none() => {
            format!("socks5://{host}:1080").parse().map_err(|error| format!("{name}: {error}: {EXPECTED}"))
        }
        (Some("http" | "https" | "socks5"), Some(host)) if !host.is_empty() => Ok(url),
        (Some(scheme @ ("socks4" | "socks")), _) => Err(format!("{name}: {scheme} is not spoken here: {EXPECTED}")),
        _ => Err(format!("{name} is no URL of a proxy: {EXPECTED}")),
    }
}

fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// True when NO_PROXY does not name the server.
fn is_intercepted(server: &Uri, no_proxy: &str) -> bool {
    let entries = no_proxy.split([',', ' ']).map(str::trim);
    // The library takes a star for names only.
    if entries.clone().any(|entry| entry == "*") {
        return false;
    }
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let without = entries.filter_map(|entry| of_port(entry, port)).collect::<Vec<_>>().join(",");
    // Which proxy it would be does not matter here.
    let matcher = Matcher::builder().http("http://proxy:1").https("http://proxy:1").no(without).build();
    matcher.intercept(server).is_some()
}

/// An entry of NO_PROXY without its port; `None` where that is another port.
fn of_port(entry: &str, port: u16) -> Option<&str> {
    // A star before a domain changes nothing, as for kubectl.
    let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
    if let Some(address) = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')) {
        return Some(address);
    }
    let Some((host, text)) = entry.rsplit_once(':') else { return Some(entry) };
    let is_ipv6 = entry.parse::<IpAddr>().is_ok() || host.contains(':') && !host.ends_with(']');
    match text.parse::<u16>() {
        Ok(number) if !is_ipv6 => (number == port).then(|| host.trim_start_matches('[').trim_end_matches(']')),
        _ => Some(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_takes_hosts_domains_addresses_ranges_and_ports_out() {
        for (server, without, intercepted) in [
            ("https://api.corp.example:6443", "", true),
            ("https://api.corp.example:6443", "corp.example", false),
            ("https://api.corp.example:6443", ".corp.example", false),
            ("https://api.corp.example:6443", "other.example, api.corp.example", false),
            ("https://api.corp.example:6443", "api.corp.example:6443", false),
            ("https://api.corp.example:6443", "api.corp.example:443", true),
            ("https://xcorp.example", "corp.example", true),
            ("https://10.1.2.3:6443", "10.0.0.0/8", false),
            ("https://10.1.2.3:6443", "10.1.2.3", false),
            ("https://10.1.2.3:6443", "10.1.2.3:6443", false),
            ("https://10.1.2.3:6443", "192.168.0.0/16", true),
            ("https://[fd00::1]:6443", "fd00::1", false),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", false),
            ("https://[fd00::1]:6443", "fd00::/8", false),
            ("https://[fd00::1]:6443", "[fd00::1]", false),
            ("https://api.corp.example", "*.corp.example", false),
            ("https://api.corp.example", "*", false),
            ("https://10.1.2.3:6443", "x.example, *", false),
        ] {
            assert_eq!(is_intercepted(&server.parse().unwrap(), without), intercepted, "{server} {without}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_with_a_scheme_that_is_spoken() {
        for (text, expected) in [
            ("http://proxy:3128", Ok("http://proxy:3128/")),
            ("https://user:pass@proxy", Ok("https://user:pass@proxy/")),
            ("socks5://proxy:1080", Ok("socks5://proxy:1080/")),
            ("socks5h://proxy:1080", Ok("socks5://proxy:1080/")),
            ("socks5://proxy", Ok("socks5://proxy:1080/")),
            ("socks5://user:pass@proxy:1080", Err("are not sent here")),
            ("socks4://proxy:1080", Err("socks4 is not spoken here")),
            ("ftp://proxy", Err("is no URL of a proxy")),
            ("proxy:3128", Err("is no URL of a proxy")),
            ("http://pro xy", Err("expected http://HOST:PORT")),
        ] {
            match (read("proxy-url", text), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.to_string(), expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{text}: {why}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn loopback_has_no_proxy() {
        for (server, expected) in [
            ("https://127.0.0.1:6443", true),
            ("https://[::1]:6443", true),
            ("https://localhost", true),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&server.parse().unwrap()), expected, "{server}");
        }
    }
}
