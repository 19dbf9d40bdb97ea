//! Good configurations, and what the reader makes of any text.
use guardprobe_core::model::address::is_link_local;
use guardprobe_core::model::config::{Config, ControlKind, Expect, Kind};
use guardprobe_core::model::{finding::Attribution, names};
use guardprobe_core::parse::{config, endpoints, resolv};
use proptest::prelude::*;
use std::time::Duration;

/// The example of the documentation, each kind of target and control once.
const EXAMPLE: &str = r#"
guard: default/deny-k8s-api-and-imds
interval: 15s                       # one round
timeout: 2500ms
sentinel: 1s
startup: 30s
proof: weak
targets:
  - {name: imds, kind: imds}
  - {name: kube-api, kind: kube-api, endpointsFile: /etc/guardprobe/endpoints/endpoints.json, caFile: /etc/guardprobe/ca/ca.crt}
  - {name: vault, kind: tcp, addresses: ["10.0.0.5:8200", "[2001:db8::5]:8200", "vault.example:8200"]}
  - {name: admin, kind: http, addresses: ["10.0.0.6:443"], serverName: admin.example, caFile: /etc/ca.crt, path: /}
  - {name: pod-identity, kind: eks-pod-identity}
controls:
  - {name: dns, expect: must-reach, kind: tcp, addresses: ["10.100.0.10:53"]}
  - {name: nowhere, expect: must-not-connect}
"#;

fn read(text: &str) -> Config {
    config::parse(text, "apps").unwrap_or_else(|problems| panic!("{}", problems.in_file("config.yaml".as_ref())))
}

fn first_message(text: &str) -> String {
    config::parse(text, "apps").expect_err(text).as_slice()[0].message.clone()
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let config = read(EXAMPLE);
    assert_eq!(config.guard, "default/deny-k8s-api-and-imds");
    assert_eq!((config.interval, config.timeout), (Duration::from_secs(15), Duration::from_millis(2500)));
    let kinds: Vec<Kind> = config.targets.iter().map(|target| target.kind).collect();
    assert_eq!(kinds, [Kind::Imds, Kind::KubeApi, Kind::Tcp, Kind::Http, Kind::EksPodIdentity]);
    let vault: Vec<String> = config.targets[2].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(vault, ["10.0.0.5:8200", "[2001:db8::5]:8200", "vault.example:8200"]);
    assert_eq!(config.targets[1].endpoints_file.as_deref(), Some(names::ENDPOINTS_FILE.as_ref()));
    assert_eq!(config.controls[1].expect, Expect::MustNotConnect);
}

#[test]
fn targets_alone_are_enough_and_the_rest_is_built_in() {
    let config = read("targets:\n  - {name: imds, kind: imds}\n  - {name: kube-api, kind: kube-api}\n");
    assert_eq!(config, config::built_in("apps"));
    assert_eq!(config.guard, "apps/guard");
    assert_eq!(config.proof, Attribution::Silence);
}

#[test]
fn every_key_is_read_into_its_place() {
    let config = read(
        "{guard: deny, sentinel: off, startup: 0s, proof: silence, interval: 1m30s, timeout: 1100ms, \
         targets: [{name: a, kind: kube-api, publicEndpoint: 'API.example:443'}, {name: b, kind: tls, addresses: ['b:1'], serverName: B.example}, \
         {name: c, kind: kubelet}], \
         controls: [{name: a, expect: must-reach, kind: reporter, addresses: ['r:1'], onNode: true}, {name: d, expect: must-reach, kind: dns, addresses: ['10.0.0.1:53']}]}",
    );
    assert_eq!((config.guard.as_str(), config.sentinel, config.startup), ("apps/deny", None, Duration::ZERO));
    assert_eq!(config.proof, Attribution::Silence);
    assert_eq!(config.targets[0].public_endpoint.as_ref().map(ToString::to_string).as_deref(), Some("api.example:443"));
    assert_eq!(config.targets[1].server_name.as_deref(), Some("b.example"));
    assert_eq!((config.controls[0].kind, config.controls[0].on_node), (ControlKind::Reporter, true));
    assert_eq!((config.controls[1].kind, config.controls[1].on_node), (ControlKind::Dns, false));
}

#[test]
fn off_needs_no_quotes_and_may_have_them() {
    for off in ["off", "'off'", "\"off\""] {
        assert_eq!(read(&format!("sentinel: {off}\ntargets: [{{name: a, kind: imds}}]")).sentinel, None);
    }
    assert!(first_message("sentinel: false\ntargets: [{name: a, kind: imds}]").ends_with(", or off"));
}

#[test]
fn no_controls_may_be_written_down() {
    assert_eq!(read("controls: []\ntargets: [{name: a, kind: imds}]").controls, []);
}

#[test]
fn a_windows_file_and_a_byte_order_mark_are_read() {
    let text = format!("\u{feff}{}", EXAMPLE.replace('\n', "\r\n"));
    assert_eq!(read(&text), read(EXAMPLE));
}

#[test]
fn aliases_cannot_multiply_and_depth_is_bounded() {
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    (1..30).for_each(|n| bomb += &format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
    assert!(config::parse(&bomb, "apps").is_err());
    assert!(first_message(&"[".repeat(100_000)).contains("nested deeper"));
    assert!(first_message(&format!("targets: {}", "{a: ".repeat(100))).contains("nested deeper"));
    assert!(first_message(&" ".repeat(names::CONFIG_MAX_BYTES as usize + 1)).contains("too many"));
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    let problems = config::parse_bytes(b"guard: g\nproof: \xff\n", "apps").unwrap_err();
    assert_eq!(problems.in_file("f".as_ref()).to_string(), "f:2:8: a byte that is no UTF-8: expected UTF-8 text");
}

#[test]
fn the_hash_follows_the_meaning_and_not_the_spelling() {
    let hash = config::hash(&read(EXAMPLE));
    assert!(hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    assert_eq!(hash, config::hash(&read(&EXAMPLE.replace("2500ms", "2.5s  # the same"))));
    assert_ne!(hash, config::hash(&read(&EXAMPLE.replace("8200", "8201"))));
}

#[test]
fn a_target_flag_is_a_name_and_an_address() {
    let target = config::target_flag("vault=10.0.0.5:8200").unwrap();
    assert_eq!(
        (target.name.as_str(), target.kind, target.addresses[0].to_string().as_str()),
        ("vault", Kind::Tcp, "10.0.0.5:8200")
    );
    let error = |text: &str| config::target_flag(text).expect_err(text);
    assert!(error("10.0.0.5:8200").contains("expected NAME=host:port"));
    assert!(error("Vault=10.0.0.5:8200").contains("DNS label"));
    assert!(error("vault=10.0.0.5").contains("has no port"));
    assert!(error("=10.0.0.5:1").contains("DNS label"));
}

/// Text that is nearly a configuration, so that the reader gets past the syntax.
fn nearly_a_configuration() -> impl Strategy<Value = String> {
    let words =
        ["targets", "name", "kind", "tcp", "controls", "addresses", "10.0.0.1:80", "imds", "15s", "&a", "*a", "!t", "---", "<<"];
    let glue = [": ", "\n", "\n  ", "\n  - ", "{", "}", "[", "]", ", ", "\"", "'", "\t", "|", ">", "# ", "? "];
    let piece = prop_oneof![prop::sample::select(words.to_vec()), prop::sample::select(glue.to_vec())];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The example with a piece of it replaced: one mistake in an otherwise good file.
fn a_slip_in_the_example() -> impl Strategy<Value = String> {
    (0..EXAMPLE.len(), 0..20usize, ".{0,8}").prop_map(|(from, length, with)| {
        let (before, after) = (&EXAMPLE.get(..from).unwrap_or(""), EXAMPLE.get(from + length..).unwrap_or(""));
        format!("{before}{with}{after}")
    })
}

fn never_silent(text: &str) {
    if let Err(problems) = config::parse(text, "apps") {
        assert!(!problems.as_slice().is_empty(), "an error without a word: {text:?}");
        let lines = text.split(['\n', '\r']).count() + 1; // a lone CR breaks a line of YAML, too
        for problem in problems.as_slice() {
            assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem:?} in {text:?}");
            assert!(!problem.message.is_empty() && !problem.message.contains(char::is_control), "{problem:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_or_fail_without_a_word(text in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
        never_silent(&text);
    }

    #[test]
    fn nothing_that_is_nearly_a_configuration_does_either(text in nearly_a_configuration()) {
        never_silent(&text);
    }

    #[test]
    fn nor_does_a_slip_in_a_good_one(text in a_slip_in_the_example()) {
        never_silent(&text);
    }

    #[test]
    fn no_endpoints_file_leads_to_the_node_itself(ip in addresses_of_all_sorts(), port: u16) {
        let now = "2026-03-01T12:00:00Z";
        let address = std::net::SocketAddr::new(ip, port);
        let file = format!(r#"{{"revision":"a","updated":"{now}","addresses":["10.0.0.1:443","{address}"]}}"#);
        if let Ok(endpoints) = endpoints::parse(file.as_bytes(), now.parse().unwrap()) {
            for address in endpoints.addresses {
                let ip = address.ip();
                prop_assert_eq!(ip, ip.to_canonical());
                prop_assert!(address.port() != 0 && !ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified());
                prop_assert!(!is_link_local(ip));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_endpoints_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = endpoints::parse(&bytes, "2026-03-01T12:00:00Z".parse().unwrap());
    }

    #[test]
    fn no_text_makes_the_resolv_conf_reader_panic(text in "((search|nameserver|domain|options)? ?\\PC{0,30}\n){0,5}") {
        let _ = (resolv::namespace(&text), resolv::cluster_domain(&text));
        prop_assert!(resolv::nameservers(&text).len() <= 3);
    }
}

/// Any address, and often one near the borders of those that are refused, also as IPv4-mapped IPv6.
fn addresses_of_all_sorts() -> impl Strategy<Value = std::net::IpAddr> {
    let first = prop::sample::select(vec![0u8, 10, 127, 169, 223, 224, 239, 255]);
    let v4 = (first, prop::sample::select(vec![0u8, 1, 253, 254, 255]), any::<[u8; 2]>()).prop_map(|(a, b, [c, d])| [a, b, c, d]);
    let head = prop::sample::select(vec![0u16, 0x2001, 0xfe80, 0xfebf, 0xfec0, 0xff02, 0xfd00]);
    let v6 = (head, any::<u16>()).prop_map(|(head, tail)| std::net::IpAddr::from([head, 0, 0, 0, 0, 0, 0, tail]));
    prop_oneof![
        any::<std::net::IpAddr>(),
        v4.clone().prop_map(std::net::IpAddr::from),
        v4.prop_map(|v4| std::net::Ipv4Addr::from(v4).to_ipv6_mapped().into()),
        v6
    ]
}

#[test]
fn the_documented_example_of_a_configuration_is_read_and_names_the_agreed_numbers() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/check.md")).unwrap();
    let (_, rest) = page.split_once("A configuration, with every key:\n\n```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let read = config::parse(example, "apps").unwrap_or_else(|problems| panic!("{}", problems.in_file("docs/check.md".as_ref())));
    let plain = config::parse("targets: [{name: imds, kind: imds}]", "apps").unwrap();
    assert_eq!((read.targets.len(), read.controls.len()), (5, 2));
    let numbers = |of: &Config| (of.interval, of.timeout, of.sentinel, of.startup, of.proof);
    assert_eq!(numbers(&read), numbers(&plain));
}

#[test]
fn the_documented_example_of_a_reporter_is_read_and_names_the_agreed_numbers() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reporter.md")).unwrap();
    let (_, rest) = page.split_once("# guardprobe reporter -c reporter.yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let read = guardprobe_core::parse::reporter::parse_bytes(example.as_bytes());
    let settings = read.unwrap_or_else(|problems| panic!("{}", problems.in_file("docs/reporter.md".as_ref())));
    assert_eq!(settings.guards[0].name.to_string(), "default/deny-k8s-api-and-imds");
    assert_eq!(settings.guards[0].labels["egress"], "restricted");
    assert_eq!(settings.rules, guardprobe_core::model::fleet::Rules::default());
}
