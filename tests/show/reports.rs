//! Reports to look at, one for each situation that a reader meets.
use guardprobe_core::model::config::{ControlKind, Expect, Kind};
use guardprobe_core::model::control::{AnswerCount, ControlAttempts};
use guardprobe_core::model::finding::{Attribution, Doubt, Finding, Verdict};
use guardprobe_core::model::names::REPORT_SCHEMA;
use guardprobe_core::model::observation::{Evidence, Identity, Layer, Observation, Outcome, Source};
use guardprobe_core::model::report::{ClosedOpening, ControlReport, Head, Opening, Report, Role, TargetReport};
use jiff::Timestamp;

const IMDS4: &str = "169.254.169.254:80";
const IMDS6: &str = "[fd00:ec2::254]:80";
const SERVICE: &str = "10.100.0.1:443";
const ENDPOINTS: [&str; 2] = ["10.0.142.17:443", "10.0.201.88:443"];
const BREACH: &str = "it connected, and the must-not-connect control of the same port and family did not";

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("all blocked", all_blocked()),
        ("breached in v6 only", v6_only()),
        ("token issued", token_issued()),
        ("one endpoint missing", one_endpoint()),
        ("closed now, not yet twice", closing()),
        ("intercepted", intercepted()),
        ("control failed, no network", no_network()),
        ("resolve failed", resolve_failed()),
        ("IPv6 skipped, weak", skipped()),
        ("unproved", unproved()),
        ("one target, no controls", bare()),
        ("many targets", many()),
    ]
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn report(targets: Vec<TargetReport>, controls: Vec<ControlReport>) -> Report {
    let head = Head {
        schema: REPORT_SCHEMA.into(),
        guard: "default/deny-k8s-api-and-imds".into(),
        role: Role::Agent,
        node: Some("ip-10-0-142-23.eu-west-1.compute.internal".into()),
        pod: Some("guardprobe-agent-x7k2p".into()),
        version: "0.1.0".into(),
        config_hash: "3f2a9c01".into(),
        endpoints_revision: Some("b7d1".into()),
        boot: "5c0ffee5".into(),
        round: 12,
        started: at("2026-11-24T00:13:23.120Z"),
        finished: at("2026-11-24T00:13:25.640Z"),
        age_seconds: 0.0,
        interval_seconds: 15.0,
        waited_seconds: None,
    };
    Report {
        head,
        verdict: targets.iter().map(|target| target.verdict).max().unwrap_or(Verdict::Inconclusive),
        targets,
        controls,
    }
}

fn with_head(report: Report, change: impl FnOnce(Head) -> Head) -> Report {
    Report { head: change(report.head), ..report }
}

fn target(name: &str, kind: Kind, found: Finding, rule: u8, why: &str, observations: Vec<Observation>) -> TargetReport {
    TargetReport {
        name: name.into(),
        kind,
        verdict: found.verdict(),
        finding: found.verdict(),
        reason: found.reason(),
        attribution: if let Finding::Blocked(attribution) = found { Some(attribution) } else { None },
        proof: None,
        held_proof: None,
        rule,
        why: why.into(),
        since: at("2026-11-23T18:02:11Z"),
        opening: None,
        recent: Vec::new(),
        startup_exposure_seconds: 0.0,
        end_exposure_seconds: 0.0,
        addresses_given: false,
        unresolved: Vec::new(),
        observations,
    }
}

fn saw(address: &str, source: Source, outcome: Outcome, latency: f64) -> Observation {
    Observation { latency_seconds: latency, ..Observation::new(address.parse().unwrap(), source, outcome) }
}

fn silent(address: &str, source: Source) -> Observation {
    saw(address, source, Outcome::TimedOut, 2.5)
}

fn skipped6(address: &str) -> Observation {
    let detail = Some("no usable IPv6 source address in this pod".into());
    Observation { detail, ..saw(address, Source::Literal, Outcome::Skipped, 0.0) }
}

fn open(address: &str, source: Source, layer: Layer, evidence: Evidence, detail: &str) -> Observation {
    let seen = saw(address, source, Outcome::Connected, 0.000_62);
    Observation { layer, evidence: Some(evidence), detail: Some(detail.into()), ..seen }
}

fn proven(seen: Observation) -> Observation {
    Observation { identity: Some(Identity::Proven), ..seen }
}

fn service(seen: Observation) -> Observation {
    Observation { service: true, ..seen }
}

fn control(name: &str, expect: Expect, held: Option<bool>, observations: Vec<Observation>) -> ControlReport {
    ControlReport { name: name.into(), expect, kind: ControlKind::Tcp, held, observations }
}

fn dns() -> ControlReport {
    let answer =
        open("10.100.0.10:53", Source::Literal, Layer::Tcp, Evidence::Answered, "DNS answer over TCP: Non-Existent Domain");
    let tcp = AnswerCount { made: 1, answered: 1 };
    let attempts = Some(ControlAttempts { tcp, firm: true, ..ControlAttempts::default() });
    control("dns", Expect::MustReach, Some(true), vec![Observation { attempts, ..answer }])
}

fn nowhere(held: Option<bool>, observations: Vec<Observation>) -> ControlReport {
    control("nowhere", Expect::MustNotConnect, held, observations)
}

fn blocked_api() -> TargetReport {
    let mut seen = vec![service(silent(SERVICE, Source::Env))];
    seen.extend(ENDPOINTS.map(|address| silent(address, Source::File)));
    let why = "each of 3 addresses ended in silence while dns, which is not on this node, answered over IPv4";
    target("kube-api", Kind::KubeApi, Finding::Blocked(Attribution::Silence), 7, why, seen)
}

fn blocked_imds() -> TargetReport {
    let rejected = saw(IMDS4, Source::Literal, Outcome::Rejected, 0.000_31);
    let detail = Some("ICMP administratively prohibited (3/13) from 10.0.142.23".into());
    let seen = vec![Observation { detail, ..rejected }, skipped6(IMDS6)];
    let why = "its one address was rejected on the way";
    target("imds", Kind::Imds, Finding::Blocked(Attribution::Rejected), 7, why, seen)
}

fn opening(evidence: Evidence, layer: Layer) -> Opening {
    Opening {
        id: "5c0ffee5.1".into(),
        started: at("2026-11-24T00:10:03.4Z"),
        last_connected: at("2026-11-24T00:13:23.2Z"),
        layer,
        evidence,
        addresses: Vec::new(),
    }
}

fn breached(mut target: TargetReport, evidence: Evidence, layer: Layer) -> TargetReport {
    target.since = at("2026-11-24T00:10:03.4Z");
    target.opening = Some(opening(evidence, layer));
    target
}

fn all_blocked() -> Report {
    report(vec![blocked_imds(), blocked_api()], vec![dns()])
}

fn v6_only() -> Report {
    let answer = open(IMDS6, Source::Literal, Layer::Http, Evidence::Identified, "HTTP 401, Server: EC2ws");
    let seen = vec![silent(IMDS4, Source::Literal), proven(answer)];
    let imds = target("imds", Kind::Imds, Finding::Breached(Evidence::Identified), 1, BREACH, seen);
    let twin = saw("[fd00:ec2::9d3a]:80", Source::Literal, Outcome::TimedOut, 0.1);
    report(vec![breached(imds, Evidence::Identified, Layer::Http), blocked_api()], vec![dns(), nowhere(Some(true), vec![twin])])
}

fn token_issued() -> Report {
    let answer = open(IMDS4, Source::Literal, Layer::Http, Evidence::TokenIssued, "HTTP 200, Server: EC2ws");
    let seen = vec![proven(answer), skipped6(IMDS6)];
    let imds = target("imds", Kind::Imds, Finding::Breached(Evidence::TokenIssued), 1, BREACH, seen);
    let why = "certificate verified against the cluster's CA";
    let verified = |address, source| proven(open(address, source, Layer::Tls, Evidence::Identified, why));
    let mut seen = vec![service(verified(SERVICE, Source::Env))];
    seen.extend(ENDPOINTS.map(|address| verified(address, Source::File)));
    let api = target("kube-api", Kind::KubeApi, Finding::Breached(Evidence::Identified), 1, BREACH, seen);
    let twins = ["169.254.255.77:80", "198.51.100.77:443"].map(|a| saw(a, Source::Literal, Outcome::TimedOut, 0.1));
    let targets = vec![breached(imds, Evidence::TokenIssued, Layer::Http), breached(api, Evidence::Identified, Layer::Tls)];
    report(targets, vec![dns(), nowhere(Some(true), twins.to_vec())])
}

fn one_endpoint() -> Report {
    let verified =
        open(ENDPOINTS[1], Source::File, Layer::Tls, Evidence::Identified, "certificate verified against the cluster's CA");
    let seen = vec![service(silent(SERVICE, Source::Env)), silent(ENDPOINTS[0], Source::File), proven(verified)];
    let api = target("kube-api", Kind::KubeApi, Finding::Breached(Evidence::Identified), 1, BREACH, seen);
    report(
        vec![blocked_imds(), breached(api, Evidence::Identified, Layer::Tls)],
        vec![dns(), nowhere(Some(true), vec![silent("198.51.100.9:443", Source::Literal)])],
    )
}

/// `check --target db=db.example:5432`, outside of any cluster.
fn bare() -> Report {
    let seen = vec![open("192.0.2.44:5432", Source::Dns, Layer::Tcp, Evidence::Connected, "db.example")];
    let why = "it connected, and no must-not-connect control of the same port and family could be tried";
    let mut db = target("db", Kind::Tcp, Finding::Breached(Evidence::Connected), 1, why, seen);
    db.since = at("2026-11-24T00:13:23.120Z");
    with_head(report(vec![db], Vec::new()), |head| Head { node: None, pod: None, guard: "local/check".into(), round: 1, ..head })
}

fn closing() -> Report {
    let mut imds = breached(blocked_imds(), Evidence::NoAnswer, Layer::Tcp);
    imds.verdict = Verdict::Breached;
    imds.startup_exposure_seconds = 1.2;
    let old =
        Opening { id: "5c0ffee5.0".into(), started: at("2026-11-23T21:40:00Z"), ..opening(Evidence::Connected, Layer::Tcp) };
    imds.recent = vec![ClosedOpening { opening: old, ended: at("2026-11-23T21:40:01Z"), attribution: None, transient: true }];
    report(vec![imds, blocked_api()], vec![dns()])
}

fn intercepted() -> Report {
    let seen =
        vec![open(IMDS4, Source::Literal, Layer::Tcp, Evidence::NoAnswer, "connected, then nothing for 1 s"), skipped6(IMDS6)];
    let why = "it connected, but so did the must-not-connect control on port 80, and nothing proved who answered";
    let imds = target("imds", Kind::Imds, Finding::Inconclusive(Doubt::Intercepted), 2, why, seen);
    let twin = saw("169.254.255.41:80", Source::Literal, Outcome::Connected, 0.000_3);
    report(vec![imds], vec![dns(), nowhere(Some(false), vec![twin])])
}

fn no_network() -> Report {
    let unreachable = |address: &str, source| {
        let detail = Some("ENETUNREACH: no route in this pod".into());
        Observation { detail, ..saw(address, source, Outcome::Unreachable, 0.000_02) }
    };
    let why = "must-reach control dns failed, and no other of IPv4 held";
    let found = Finding::Inconclusive(Doubt::ControlFailed);
    let seen = vec![unreachable(IMDS4, Source::Literal), skipped6(IMDS6)];
    let imds = target("imds", Kind::Imds, found, 4, why, seen);
    let api = target("kube-api", Kind::KubeApi, found, 4, why, vec![service(unreachable(SERVICE, Source::Env))]);
    let dns = control("dns", Expect::MustReach, Some(false), vec![unreachable("10.100.0.10:53", Source::Literal)]);
    with_head(report(vec![imds, api], vec![dns]), |head| Head { node: None, pod: None, guard: "local/egress".into(), ..head })
}

fn resolve_failed() -> Report {
    let mut api = blocked_api();
    let found = Finding::Inconclusive(Doubt::ResolveFailed);
    (api.verdict, api.finding, api.reason, api.rule) = (found.verdict(), found.verdict(), found.reason(), 5);
    api.why = "1 name gave no address".into();
    api.unresolved = vec!["kubernetes.default.svc: no such name (NXDOMAIN)".into()];
    report(vec![blocked_imds(), api], vec![dns()])
}

fn skipped() -> Report {
    let seen = vec![silent(IMDS4, Source::Literal), skipped6(IMDS6)];
    let why = "silence, but only controls on this node answered";
    let imds = target("imds", Kind::Imds, Finding::Blocked(Attribution::Weak), 7, why, seen);
    let mut dns = dns();
    dns.observations[0].address = "169.254.20.10:53".parse().unwrap();
    dns.observations[0].on_node = true;
    let first = report(vec![TargetReport { since: at("2026-11-24T00:13:23.120Z"), ..imds }], vec![dns]);
    with_head(first, |head| Head { round: 1, ..head })
}

fn unproved() -> Report {
    let endpoint = "[2600:1f18:4a3b:9c00:7d21:88fe:1234:5678]:443";
    let seen = vec![silent(endpoint, Source::File), silent(ENDPOINTS[0], Source::File)];
    let why = "blocked with attribution weak, but --proof asks for silence: no must-reach control of IPv6 was tried";
    let api = target("kube-api", Kind::KubeApi, Finding::Inconclusive(Doubt::Unproved), 7, why, seen);
    report(vec![api], vec![dns()])
}

fn many() -> Report {
    let vault = |n: u8| {
        let address = format!("10.0.0.{n}:8200");
        let mut one = blocked_api();
        one.name = format!("vault-{n}");
        one.kind = Kind::Tcp;
        one.why = "its one address ended in silence while dns, which is not on this node, answered over IPv4".into();
        one.observations = vec![silent(&address, Source::Literal)];
        one
    };
    let mut targets: Vec<TargetReport> = (1..=5).map(vault).collect();
    let found = Finding::Inconclusive(Doubt::Refused);
    for target in &mut targets[1..3] {
        (target.verdict, target.finding, target.reason, target.rule) = (found.verdict(), found.verdict(), found.reason(), 6);
        target.why = "a reset came back from its one address".into();
        target.observations[0].outcome = Outcome::Refused;
        target.observations[0].latency_seconds = 0.001_4;
        target.observations[0].detail = Some("reset (RST) in answer to the SYN".into());
    }
    let seen = vec![open("10.0.0.9:8443", Source::Dns, Layer::Tcp, Evidence::Connected, "admin.example")];
    let admin = target("admin", Kind::Tcp, Finding::Breached(Evidence::Connected), 1, BREACH, seen);
    let admin = TargetReport { why: "it connected; the must-not-connect control could not be tried".into(), ..admin };
    targets.push(breached(admin, Evidence::Connected, Layer::Tcp));
    report(targets, vec![dns(), nowhere(None, vec![saw("198.51.100.9:8443", Source::Literal, Outcome::LocalError, 0.0)])])
}

/// A report whose every string tries to break out of where it is shown.
pub(crate) fn hostile() -> Report {
    let evil = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\nBLOCKED  imds\r]]><script>alert(1)</script>&\"'\u{202e}\u{0}\u{fffe}\t-->";
    let mut report = many();
    for text in [&mut report.head.guard, &mut report.head.version, &mut report.head.config_hash, &mut report.head.boot] {
        *text = format!("{evil}/{evil}");
    }
    (report.head.node, report.head.pod) = (Some(evil.into()), Some(evil.into()));
    for target in &mut report.targets {
        (target.name, target.why, target.unresolved) = (evil.into(), evil.into(), vec![evil.into()]);
        target.observations.iter_mut().for_each(|seen| seen.detail = Some(evil.into()));
    }
    for control in &mut report.controls {
        control.name = evil.into();
        control.observations.iter_mut().for_each(|seen| seen.detail = Some(evil.into()));
    }
    report
}
