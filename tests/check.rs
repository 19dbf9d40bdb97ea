//! `guardprobe check` against real packets, in namespaces made by hand.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the clock")]
#[path = "check/calls.rs"]
mod calls;
#[path = "check/certificates.rs"]
mod certificates;
mod common;
#[path = "check/names.rs"]
mod names;
use common::{Ca, Checked, ENDPOINT, IMDS4, World, guardprobe, imds, inside};
use guardprobe_core::model::observation::{Layer, Outcome};
use std::io::{Read, Write};
use std::process::Command;

/// The configuration of DESIGN §7, with the paths and addresses of this world.
fn configuration(world: &World) -> String {
    let endpoints = format!(r#"{{"revision":"r1","updated":"{}","addresses":["{ENDPOINT}"]}}"#, now());
    let (endpoints, ca) = (world.file("endpoints.json", &endpoints), world.file("ca.crt", &world.ca.pem()));
    let text = format!(
        "guard: default/deny-k8s-api-and-imds
interval: 15s
timeout: 2500ms
sentinel: 1s
startup: 30s
proof: weak
targets:
  - {{name: imds, kind: imds}}
  - {{name: kube-api, kind: kube-api, endpointsFile: {endpoints}, caFile: {ca}}}
  - {{name: vault, kind: tcp, addresses: [\"10.80.0.5:8200\", \"[2001:db8::5]:8200\", \"vault.example:8200\"]}}
  - {{name: admin, kind: http, addresses: [\"10.80.0.6:443\"], serverName: admin.example, caFile: {ca}, path: /}}
  - {{name: pod-identity, kind: eks-pod-identity}}
controls:
  - {{name: dns, expect: must-reach, kind: dns, addresses: [\"10.96.0.10:53\"]}}
  - {{name: beyond, expect: must-reach, addresses: [\"[fd01::1]:7000\"]}}
  - {{name: nowhere, expect: must-not-connect}}
"
    );
    world.file("guardprobe.yaml", &text)
}

fn now() -> String {
    String::from_utf8(Command::new("date").args(["-u", "+%FT%TZ"]).output().unwrap().stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn expect(checked: &Checked, status: i32, findings: &[(&str, &str)]) {
    for (target, finding) in findings {
        assert_eq!(checked.finding(target), *finding, "{}", checked.stdout());
    }
    assert_eq!(checked.status(), status, "{}", checked.stdout());
}

#[test]
fn a_guard_that_holds_is_0_and_silence() {
    let world = World::new();
    world.populate();
    world.guard();
    world.serve("[fd01::1]:7000", drop);
    let checked = world.check(&["-c", &configuration(&world), "-o", "json"]);
    let targets = ["imds", "kube-api", "vault", "admin", "pod-identity"];
    expect(&checked, 0, &targets.map(|target| (target, "blocked: silence")));
    let report = checked.report();
    assert_eq!((report.head.guard.as_str(), report.head.node.as_deref()), ("default/deny-k8s-api-and-imds", Some("node-1")));
    assert_eq!(report.head.endpoints_revision.as_deref(), Some("r1"));
    let api: Vec<String> =
        report.targets[1].observations.iter().map(|seen| format!("{} {}", seen.address, seen.service)).collect();
    assert_eq!(api, ["10.96.0.1:443 true", "10.90.0.10:6443 false"]);
    let nowhere = report.controls.iter().find(|control| control.name == "nowhere").unwrap();
    assert_eq!(nowhere.held, None, "nothing connected, so it need not be tried");
}

#[test]
fn who_waits_is_content_with_a_guard_that_comes_late_and_not_with_one_that_never_does() {
    let world = World::new();
    world.populate();
    let config = world.file("imds.yaml", "timeout: 1100ms\ntargets: [{name: imds, kind: imds}]\n");
    let late = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(1500)); // a round or two later than the check
            world.guard();
        });
        world.check(&["-c", &config, "-o", "json", "--wait", "30s"])
    });
    expect(&late, 0, &[("imds", "blocked: silence")]);
    assert!(late.stderr().contains("s left: imds breached (token_issued)"), "{}", late.stderr());
    world.unguard();
    let never = world.check(&["-c", &config, "-o", "json", "--wait", "4s"]);
    expect(&never, 1, &[("imds", "breached: token_issued")]);
    assert!(never.stderr().lines().filter(|line| line.contains("not blocked yet")).count() >= 2, "{}", never.stderr());
}

#[test]
fn no_guard_is_1_and_says_how_far_it_got() {
    let world = World::new();
    world.populate();
    world.serve("[fd01::1]:7000", drop);
    let checked = world.check(&["-c", &configuration(&world), "-o", "json"]);
    expect(
        &checked,
        1,
        &[("imds", "breached: token_issued"), ("kube-api", "breached: identified"), ("vault", "inconclusive: refused")],
    );
    let report = checked.report();
    assert_eq!(report.targets[0].opening.as_ref().map(|opening| opening.layer), Some(Layer::Http));
    assert!(report.controls.iter().any(|control| control.name == "nowhere" && control.held == Some(true)));
    assert!(!checked.stdout().contains("SECRET-TOKEN"), "no body of IMDS may be kept");
}

#[test]
fn a_dead_resolver_is_3_and_proves_nothing() {
    let world = World::new();
    world.populate();
    world.guard();
    world.nft("add rule inet guard in ip daddr 10.96.0.10 drop");
    let checked = world.check(&["-c", &configuration(&world), "-o", "json"]);
    expect(&checked, 3, &[("imds", "inconclusive: control_failed"), ("kube-api", "inconclusive: control_failed")]);
}

#[test]
fn a_bad_configuration_is_2_with_every_mistake_and_nothing_is_sent() {
    let world = World::new();
    world.populate();
    world.nft("add table inet count; add chain inet count in { type filter hook input priority -10; }; add rule inet count in tcp flags syn counter");
    let path = world.file("bad.yaml", "guard: a/b\ntimeout: 500ms\ntargets:\n  - {name: imds, kind: imdss}\n");
    let checked = world.check(&["-c", &path]);
    assert_eq!(checked.status(), 2);
    for expected in [":2:10: timeout:", ":4:24: targets[0].kind:", "did you mean"] {
        assert!(checked.stderr().contains(expected), "{expected:?} in\n{}", checked.stderr());
    }
    let counted = world.run_in(&world.vpc(), Command::new("nft").args(["list", "chain", "inet", "count", "in"]));
    assert!(String::from_utf8_lossy(&counted.stdout).contains("packets 0 "), "{}", String::from_utf8_lossy(&counted.stdout));
}

#[test]
fn without_a_file_a_pod_knows_its_targets() {
    let world = World::new();
    world.populate();
    world.guard();
    let checked = world.check(&["-o", "json"]);
    expect(&checked, 0, &[("imds", "blocked: silence"), ("kube-api", "blocked: silence")]);
    assert_eq!(checked.report().head.guard, "default/guard", "the namespace is that of the resolver's search list");
}

#[test]
fn only_ipv6_forgotten_is_a_breach() {
    let world = World::new();
    world.populate();
    world.nft("add table inet guard; add chain inet guard in { type filter hook input priority 0; }");
    world.nft("add rule inet guard in ip daddr 169.254.169.254 drop");
    let checked = world.check(&["-o", "json"]);
    assert_eq!(checked.finding("imds"), "breached: token_issued");
    let report = checked.report();
    let ends: Vec<Outcome> = report.targets[0].observations.iter().map(|seen| seen.outcome).collect();
    assert_eq!(ends, [Outcome::TimedOut, Outcome::Connected]);
}

#[test]
fn a_peer_that_accepts_and_resets_at_once_has_been_reached() {
    let world = World::new();
    world.populate();
    world.serve("10.80.0.5:8200", |stream| socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap());
    let checked = world.check(&["--target", "vault=10.80.0.5:8200", "-o", "json"]);
    expect(&checked, 1, &[("vault", "breached: connected")]);
}

#[test]
fn another_ca_at_an_api_address_is_a_wrong_identity() {
    let world = World::new();
    world.populate();
    let (_, other) = (world.guard(), Ca::new());
    world.nft("flush chain inet guard in");
    world.serve_tls("10.80.0.5:6443", &other);
    let ca = world.file("ca.crt", &world.ca.pem());
    let text = format!("targets: [{{name: api, kind: kube-api, caFile: {ca}, addresses: [\"10.80.0.5:6443\"]}}]");
    let checked = world.check(&["-c", &world.file("c.yaml", &text), "-o", "json"]);
    expect(&checked, 3, &[("api", "inconclusive: wrong_identity")]);
    let checked = world.check(&["-c", &world.file("c.yaml", &text.replace("10.80.0.5:6443", ENDPOINT)), "-o", "json"]);
    expect(&checked, 1, &[("api", "breached: identified")]);
}

#[test]
fn silence_after_the_handshake_is_a_breach_that_the_hop_limit_hides() {
    let world = World::new();
    world.resolver();
    world.serve_dns();
    world.serve(IMDS4, |mut stream| while stream.read(&mut [0; 64]).unwrap_or(0) > 0 {});
    let checked = world.check(&["-c", &world.file("c.yaml", "targets: [{name: imds, kind: imds}]"), "-o", "json"]);
    expect(&checked, 1, &[("imds", "breached: no_answer")]);
}

#[test]
fn whoever_answers_for_every_address_proves_nothing_unless_it_is_the_target() {
    let world = World::new();
    world.populate();
    world.serve("10.1.0.1:15001", |mut stream| while stream.read(&mut [0; 64]).unwrap_or(0) > 0 {});
    world.nft("add table ip mesh; add chain ip mesh pre { type nat hook prerouting priority -100; }");
    world.nft("add rule ip mesh pre tcp dport { 80, 443 } dnat to 10.1.0.1:15001");
    let config = world.file("c.yaml", "targets: [{name: imds, kind: imds, addresses: [\"169.254.169.254:80\"]}]");
    let checked = world.check(&["-c", &config, "-o", "json"]);
    expect(&checked, 3, &[("imds", "inconclusive: intercepted")]);
    // One that hands the connection on to the real metadata service is a door all the same.
    world.serve("10.1.0.1:15002", imds);
    world.nft("flush chain ip mesh pre; add rule ip mesh pre tcp dport { 80, 443 } dnat to 10.1.0.1:15002");
    let checked = world.check(&["-c", &config, "-o", "json"]);
    expect(&checked, 1, &[("imds", "breached: token_issued")]);
}

#[test]
fn no_descriptor_left_is_the_probers_own_fault() {
    let world = World::new();
    world.populate();
    world.guard();
    let checked = world.check_with(&["-o", "json"], |command| command.args(["prlimit", "--nofile=9:9"]));
    expect(&checked, 3, &[("imds", "inconclusive: local_error")]);
    let checked = world.check_with(&["-o", "json"], |command| command.args(["prlimit", "--nofile=6:6"]));
    assert_eq!(checked.status(), 3);
    assert!(checked.stdout().contains("\"error\": \"not proven: local_error: "), "{}", checked.stdout());
    assert!(
        checked.stderr().contains("not proven: local_error: this process cannot even begin to probe"),
        "{}",
        checked.stderr()
    );
}

#[test]
fn a_family_without_a_source_address_is_skipped_and_shown() {
    let world = World::new();
    world.populate();
    world.guard();
    world.run_in(&world.pod(), Command::new("sysctl").args(["-w", "net.ipv6.conf.all.disable_ipv6=1"]));
    let checked = world.check(&["-o", "json"]);
    expect(&checked, 0, &[("imds", "blocked: silence")]);
    assert_eq!(checked.report().targets[0].observations[1].outcome, Outcome::Skipped);
}

#[test]
fn routes_and_rejections_each_have_their_place() {
    let world = World::new();
    world.populate();
    let target = ["--target", "t=10.80.0.5:8200", "-o", "json"];
    let cases = [
        ("prohibit", "inconclusive: denied_locally"),
        ("blackhole", "inconclusive: denied_locally"),
        ("unreachable", "inconclusive: denied_locally"),
        ("throw", "inconclusive: denied_locally"),
    ];
    for (route, finding) in cases {
        world.run_in(&world.pod(), Command::new("ip").args(["route", "add", route, "10.80.0.5/32"]));
        assert_eq!(world.check(&target).finding("t"), finding, "{route}");
        world.run_in(&world.pod(), Command::new("ip").args(["route", "del", route, "10.80.0.5/32"]));
    }
    world.nft("add table inet guard; add chain inet guard in { type filter hook input priority 0; }");
    let cases = [
        ("reject with tcp reset", "inconclusive: refused"),
        // The host of the target itself sends these.
        ("reject with icmp port-unreachable", "inconclusive: refused"),
        ("reject with icmp admin-prohibited", "inconclusive: refused"),
        ("reject with icmp host-unreachable", "inconclusive: refused"),
    ];
    for (rule, finding) in cases {
        world.nft(&format!("flush chain inet guard in; add rule inet guard in ip daddr 10.80.0.5 meta l4proto tcp {rule}"));
        assert_eq!(world.check(&target).finding("t"), finding, "{rule}");
    }
    // A router on the way sends these.
    world.nft("flush chain inet guard in");
    inside(&world.vpc(), || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    for (route, finding) in
        [("prohibit", "blocked: rejected"), ("unreachable", "blocked: silence"), ("blackhole", "blocked: silence")]
    {
        world.run_in(&world.vpc(), Command::new("ip").args(["route", "add", route, "10.80.0.99/32"]));
        let checked = world.check(&["--target", "t=10.80.0.99:8200", "-o", "json"]);
        assert_eq!(checked.finding("t"), finding, "{route}: {}", checked.stdout());
        world.run_in(&world.vpc(), Command::new("ip").args(["route", "del", route, "10.80.0.99/32"]));
    }
}

#[test]
fn what_the_pods_own_packet_filter_rejects_says_nothing_of_its_neighbours() {
    let world = World::new();
    world.populate();
    world.guard();
    let rules = "add table inet own; add chain inet own out { type filter hook output priority 0; };
                 add rule inet own out ip daddr 169.254.169.254 reject; add rule inet own out ip6 daddr fd00:ec2::254 reject";
    world.run_in(&world.pod(), Command::new("nft").arg(rules));
    let checked = world.check(&["-o", "json"]);
    expect(&checked, 3, &[("imds", "inconclusive: denied_locally"), ("kube-api", "blocked: silence")]);
}

#[test]
fn nothing_probes_from_a_forbidden_namespace() {
    let output = guardprobe().args(["check", "--target", "x=192.0.2.1:9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("GUARDPROBE_FORBIDDEN_NETNS"));
}

#[test]
fn a_name_without_an_address_is_never_blocked() {
    let world = World::new();
    world.populate();
    world.guard();
    let checked = world.check(&["--target", "t=nobody.example:443", "-o", "json"]);
    expect(&checked, 3, &[("t", "inconclusive: resolve_failed")]);
    assert!(checked.report().targets[0].unresolved[0].contains("nobody.example:443: no such name"), "{}", checked.stdout());
    let checked = world.check(&["--target", "t=vault.example:8200", "-o", "json"]);
    expect(&checked, 3, &[("t", "inconclusive: unproved")]);
    assert!(checked.report().targets[0].why.contains("known by a name alone"), "{}", checked.stdout());
    let checked = world.check(&["--target", "t=vault.example:8200", "--proof", "weak", "-o", "json"]);
    expect(&checked, 0, &[("t", "blocked: weak")]);
}

#[test]
fn an_endpoints_file_that_cannot_be_trusted_is_stale() {
    let world = World::new();
    world.populate();
    world.guard();
    let with = |content: Option<String>| {
        let path = world.file("endpoints.json", content.as_deref().unwrap_or_default());
        if content.is_none() {
            std::fs::remove_file(&path).unwrap();
        }
        let text = format!("targets: [{{name: api, kind: kube-api, endpointsFile: {path}}}]");
        world.check(&["-c", &world.file("c.yaml", &text), "-o", "json"])
    };
    let file =
        |updated: &str, address: &str| Some(format!(r#"{{"revision":"r","updated":"{updated}","addresses":["{address}"]}}"#));
    for content in [None, Some("{".to_owned()), file("2020-01-01T00:00:00Z", ENDPOINT), file(&now(), "127.0.0.1:6443")] {
        expect(&with(content), 3, &[("api", "inconclusive: stale_addresses")]);
    }
    expect(&with(file(&now(), ENDPOINT)), 0, &[("api", "blocked: silence")]);
}

#[test]
fn each_kind_of_door_is_asked_in_its_own_language() {
    let world = World::new();
    world.populate();
    world.serve("10.80.0.5:80", |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n");
    });
    world.serve("10.80.0.5:21", |mut stream| {
        let _ = stream.write_all(b"220 hello\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    world.serve_tls("10.80.0.5:443", &world.ca);
    let ca = world.file("ca.crt", &world.ca.pem());
    let text = format!(
        "targets:
  - {{name: http, kind: http, addresses: [\"10.80.0.5:80\"]}}
  - {{name: no-http, kind: http, addresses: [\"10.80.0.5:21\"]}}
  - {{name: https, kind: http, addresses: [\"10.80.0.5:443\"], serverName: kubernetes.default.svc, caFile: {ca}, path: /}}
  - {{name: tls, kind: tls, addresses: [\"10.80.0.5:443\"], serverName: kubernetes.default.svc, caFile: {ca}}}
  - {{name: tls-unchecked, kind: tls, addresses: [\"10.80.0.5:443\"]}}
  - {{name: no-tls, kind: kube-api, addresses: [\"10.80.0.5:21\"], caFile: {ca}}}
"
    );
    let checked = world.check(&["-c", &world.file("c.yaml", &text), "-o", "json"]);
    let expected = [
        ("http", "breached: answered", Layer::Http),
        ("no-http", "breached: answered", Layer::Tcp),
        ("https", "breached: identified", Layer::Tls),
        ("tls", "breached: identified", Layer::Tls),
        ("tls-unchecked", "breached: answered", Layer::Tls),
        ("no-tls", "breached: answered", Layer::Tcp),
    ];
    for (index, (name, finding, layer)) in expected.into_iter().enumerate() {
        assert_eq!(checked.finding(name), finding, "{}", checked.stdout());
        assert_eq!(checked.report().targets[index].observations[0].layer, layer, "{name}");
    }
}

#[test]
fn what_a_pipeline_reads_is_what_a_person_reads() {
    let world = World::new();
    world.populate();
    let table = world.check(&[]);
    assert_eq!(table.status(), 1);
    for expected in ["BREACHED", "token_issued", "169.254.169.254:80", "rule 1 of 7"] {
        assert!(table.stdout().contains(expected), "{expected:?} in\n{}", table.stdout());
    }
    assert!(!table.stdout().contains('\u{1b}'), "no colour into a pipe");
    let junit = world.check(&["-o", "junit"]);
    assert_eq!(junit.status(), 1);
    assert!(junit.stdout().contains("<failure") && junit.stdout().contains("imds"), "{}", junit.stdout());
}

#[test]
fn a_family_that_seccomp_refuses_is_denied_locally() {
    let world = World::new();
    world.populate();
    world.guard();
    let refuse = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/refuse-family");
    let checked = world.check_with(&["-o", "json"], |command| command.arg(refuse).arg("10"));
    expect(&checked, 3, &[("imds", "inconclusive: denied_locally"), ("kube-api", "blocked: silence")]);
    assert!(checked.stdout().contains("EAFNOSUPPORT"), "{}", checked.stdout());
}

/// A world whose API is open, and a configuration with that CA file.
fn with_ca_file(world: &World, path: &str) -> String {
    world.file("ca.yaml", &format!("targets: [{{name: api, kind: kube-api, caFile: {path}, addresses: ['{ENDPOINT}']}}]"))
}

#[test]
fn a_ca_file_that_is_of_no_use_is_told_at_start_and_never_by_its_content() {
    let world = World::new();
    world.populate();
    let (certificate, key) = world.ca.pair(&["kubernetes.default.svc"], "server", None);
    let on_one_line = |pem: &str| pem.replace('\n', "\\n").into_bytes();
    let secret = key.lines().nth(1).unwrap();
    let cut_off = key.split("-----END").next().unwrap().to_owned();
    for (name, content, why) in [
        ("one-line-key.pem", on_one_line(&key), "is it written on one line?"),
        ("one-line-certificate.pem", on_one_line(&certificate), "is it written on one line?"),
        ("cut-off.pem", cut_off.into_bytes(), "its PEM has no END line"),
        ("key.pem", key.clone().into_bytes(), "holds no certificate"),
        ("der.crt", b"\x30\x82\x01\x0a0123456789".to_vec(), "is in DER"),
        ("text.txt", format!("password: {secret}").into_bytes(), "holds no certificate"),
        ("empty", Vec::new(), "holds no certificate"),
    ] {
        let path = world.file(name, "");
        std::fs::write(&path, &content).unwrap();
        let checked = world.check(&["-c", &with_ca_file(&world, &path), "-o", "json"]);
        expect(&checked, 1, &[("api", "breached: answered")]);
        let (stdout, stderr) = (checked.stdout(), checked.stderr());
        assert!(stderr.contains(&format!("target api: caFile {path}: ")) && stderr.contains(why), "{name}: {stderr}");
        // Neither as text nor as a list of numbers.
        let numbers = |text: &str| text.bytes().take(6).map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        for leak in [secret[..12].to_owned(), numbers(secret), numbers("-----BEGIN"), numbers("-----END")] {
            assert!(!stdout.contains(&leak) && !stderr.contains(&leak), "{name}: {leak} in {stdout}{stderr}");
        }
    }
}

#[test]
fn a_ca_file_with_a_byte_order_mark_is_read() {
    let world = World::new();
    world.populate();
    let path = world.file("ca.crt", &format!("\u{feff}{}", world.ca.pem()));
    let checked = world.check(&["-c", &with_ca_file(&world, &path), "-o", "json"]);
    expect(&checked, 1, &[("api", "breached: identified")]);
    assert!(!checked.stderr().contains("caFile"), "{}", checked.stderr());
}

#[test]
fn a_file_that_is_missing_huge_or_a_pipe_holds_nothing_up() {
    let world = World::new();
    world.populate();
    let (huge, pipe) = (world.file("huge", ""), world.file("x", "") + "-pipe");
    assert!(Command::new("truncate").args(["-s", "600M", &huge]).status().unwrap().success());
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, why) in
        [(huge.as_str(), "has more than 1048576 bytes"), (&pipe, "is no regular file"), ("/nowhere/ca.crt", "No such file")]
    {
        let began = std::time::Instant::now();
        // A tenth of the file is more memory than it may have.
        let config = with_ca_file(&world, path);
        let checked =
            world.check_with(&["-c", &config, "-o", "json"], |command| command.args(["prlimit", "--data=60000000", "--"]));
        expect(&checked, 1, &[("api", "breached: answered")]);
        assert!(
            checked.stderr().contains(&format!("target api: caFile {path}: ")) && checked.stderr().contains(why),
            "{}",
            checked.stderr()
        );
        assert!(began.elapsed() < std::time::Duration::from_secs(6), "{path}: {:?}", began.elapsed());
    }
    let checked = world.check(&["-c", &pipe]);
    assert_eq!((checked.status(), checked.stderr().contains("is no regular file")), (2, true), "{}", checked.stderr());
}

#[test]
fn an_endpoints_file_is_told_at_start_and_never_by_its_content() {
    let world = World::new();
    world.populate();
    world.guard();
    for (content, why) in [
        ("{\"revision\": \"hunter2hunter2\"", "it is cut off"),
        ("hunter2hunter2", "it is no JSON"),
        ("{\"revision\": [\"hunter2hunter2\"]}", "a field is not of the kind that it must be"),
    ] {
        let endpoints = world.file("endpoints.json", content);
        let text = format!("targets: [{{name: api, kind: kube-api, endpointsFile: {endpoints}}}]");
        let checked = world.check(&["-c", &world.file("c.yaml", &text), "-o", "json"]);
        expect(&checked, 3, &[("api", "inconclusive: stale_addresses")]);
        let said = checked.stderr() + &checked.stdout();
        assert!(said.contains(&format!("endpointsFile {endpoints}: ")) && said.contains(why), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_negative_control_that_connects_at_start_is_warned_of() {
    let world = World::new();
    world.populate();
    world.guard();
    let text = "targets: [{name: imds, kind: imds}]
controls:
  - {name: dns, expect: must-reach, kind: dns, addresses: ['10.96.0.10:53', '[fd10:96::a]:53']}
  - {name: nowhere, expect: must-not-connect, addresses: ['10.80.0.6:80', '10.80.0.7:80']}";
    world.nft("flush chain inet guard in; add rule inet guard in ip daddr 169.254.169.254 drop; add rule inet guard in ip6 daddr fd00:ec2::254 drop");
    world.serve("10.80.0.6:80", drop);
    let checked = world.check(&["-c", &world.file("c.yaml", text), "-o", "json"]);
    expect(&checked, 0, &[("imds", "blocked: silence")]);
    let warning = "the must-not-connect control nowhere connects at 10.80.0.6:80";
    assert!(checked.stderr().contains(warning) && !checked.stderr().contains("10.80.0.7:80"), "{}", checked.stderr());
}

#[test]
fn a_name_server_over_udp_alone_proves_nothing_of_tcp() {
    let world = World::new();
    world.resolver();
    for address in ["10.96.0.10:53", "[fd10:96::a]:53"] {
        world.serve_dns_over_udp(address, std::sync::Arc::new(common::dns_answer));
    }
    world.guard();
    world.nft("add rule inet guard in tcp dport 53 drop");
    let checked = world.check(&["-o", "json"]);
    expect(&checked, 3, &[("imds", "inconclusive: unproved"), ("kube-api", "inconclusive: unproved")]);
    assert!(checked.report().targets[0].why.contains("dns answers over UDP only"), "{}", checked.stdout());
    let checked = world.check(&["-o", "json", "--proof", "weak"]);
    expect(&checked, 0, &[("imds", "blocked: weak"), ("kube-api", "blocked: weak")]);
}
