//! Names: every address is tried, or the target is in doubt. A name server of the tests answers on real packets.
use super::common::{DNS, DNS6, World, inside, ip};
use guardprobe_core::model::observation::Outcome;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::fs;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the name server says of a name and a record type.
enum Reply {
    Addresses(Vec<IpAddr>),
    Alias(&'static str),
    Code(ResponseCode),
    Silence,
}

use Reply::{Addresses, Alias, Code, Silence};

type Zone = fn(&str, RecordType) -> Reply;

fn nobody() -> Reply {
    Code(ResponseCode::NXDomain)
}

fn addresses(texts: &[&str]) -> Reply {
    Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
}

/// 10.80.1.1 and those after it.
fn row(count: u8) -> Reply {
    Addresses((1..=count).map(|last| IpAddr::from([10, 80, 1, last])).collect())
}

/// What a name server that holds `zone` answers to a query; empty where it says nothing.
fn answer(query: &[u8], zone: Zone, asked: &Mutex<Vec<String>>) -> Vec<u8> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let (name, kind) = (question.name().to_lowercase().to_ascii(), question.query_type());
    asked.lock().unwrap().push(format!("{kind} {name}"));
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    let owner = question.name().clone();
    answer.add_query(question);
    let reply = if name.starts_with("kubernetes.") { zone(&name, kind) } else { zone(name.trim_end_matches('.'), kind) };
    match reply {
        Silence => return Vec::new(),
        Code(code) => answer.metadata.response_code = code,
        Alias(target) => {
            let target = RData::CNAME(CNAME(Name::from_ascii(target).unwrap()));
            answer.add_answer(Record::from_rdata(owner, 5, target));
        }
        Addresses(all) => {
            let records = all.into_iter().filter_map(|ip| match (ip, kind) {
                (IpAddr::V4(ip), RecordType::A) => Some(Record::from_rdata(owner.clone(), 5, RData::A(A(ip)))),
                (IpAddr::V6(ip), RecordType::AAAA) => Some(Record::from_rdata(owner.clone(), 5, RData::AAAA(AAAA(ip)))),
                _ => None,
            });
            answer.add_answers(records);
        }
    }
    answer.to_vec().unwrap()
}

/// One name server's world, what is probed there, and what must be said of it.
struct Case {
    what: &'static str,
    zone: Zone,
    target: &'static str,
    search: &'static str,
    expected: &'static str,
    /// A part of the words that are said.
    why: &'static str,
}

const VAULT: &str = "{name: t, kind: tcp, addresses: ['vault.example:8200']}";
const API: &str = "{name: t, kind: kube-api}";
const SEARCH: &str = "default.svc.cluster.local svc.cluster.local cluster.local";

const CASE: Case =
    Case { what: "", zone: |_, _| nobody(), target: VAULT, search: SEARCH, expected: "inconclusive: resolve_failed", why: "" };

/// What a case showed.
struct Seen {
    finding: String,
    why: String,
    /// The addresses that were tried.
    tried: Vec<String>,
    /// The queries that the name server got, in order, without those of the DNS control.
    asked: Vec<String>,
}

impl Case {
    fn run(&self, prepare: impl FnOnce(&World)) -> Seen {
        let world = World::new();
        world.resolver();
        let resolv = Path::new("/etc/netns").join(world.pod()).join("resolv.conf");
        let text = fs::read_to_string(&resolv).unwrap().replace(SEARCH, self.search);
        fs::write(&resolv, text).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (zone, log) = (self.zone, Arc::clone(&asked));
        world.serve_dns_with(move |query| answer(query, zone, &log));
        ip(&["-n", &world.vpc(), "addr", "add", "10.80.1.1/24", "dev", "lo"]);
        world.guard();
        world.nft("add rule inet guard in ip daddr 10.80.1.0-10.80.1.80 drop");
        prepare(&world);
        let control = "{name: alive, expect: must-reach, kind: tcp, addresses: ['10.80.2.1:53', '[2001:db8::1]:53']}";
        for address in ["10.80.2.1", "2001:db8::1"] {
            ip(&["-n", &world.vpc(), "addr", "add", address, "dev", "lo"]);
        }
        world.serve("10.80.2.1:53", drop);
        world.serve("[2001:db8::1]:53", drop);
        let file = world.file("names.yaml", &format!("proof: weak\ntargets: [{}]\ncontrols: [{control}]\n", self.target));
        let checked = world.check(&["-c", &file, "-o", "json"]);
        let target = checked.report().targets[0].clone();
        let tried = target.observations.iter().filter(|seen| seen.outcome != Outcome::Skipped);
        Seen {
            finding: checked.finding("t"),
            why: target.why.clone(),
            tried: tried.map(|seen| seen.address.to_string()).collect(),
            asked: asked.lock().unwrap().clone(),
        }
    }
}

/// Runs cases beside each other: most of their time is waiting.
fn all(cases: &[Case]) -> Vec<Seen> {
    thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(|| case.run(|_| ()))).collect();
        let seen: Vec<Seen> = running.into_iter().map(|thread| thread.join().unwrap()).collect();
        for (case, seen) in cases.iter().zip(&seen) {
            assert_eq!(seen.finding, case.expected, "{}: {}", case.what, seen.why);
            assert!(seen.why.contains(case.why), "{}: {:?} in {:?}", case.what, case.why, seen.why);
        }
        seen
    })
}

#[test]
fn each_address_of_a_name_is_tried() {
    let seen = Case { zone: |_, kind| if kind == RecordType::A { row(20) } else { addresses(&[]) }, ..CASE }.run(|world| {
        world.nft("flush chain inet guard in");
        world.nft("add rule inet guard in ip daddr 10.80.1.1-10.80.1.16 drop");
        (17..=20).for_each(|last| world.serve(&format!("10.80.1.{last}:8200"), drop));
    });
    assert_eq!((seen.finding.as_str(), seen.tried.len()), ("breached: connected", 20), "{}", seen.why);
    assert_eq!(seen.asked.len(), 2, "one query a family: {:?}", seen.asked);
}

#[test]
fn an_answer_too_long_for_a_datagram_is_fetched_over_tcp() {
    let seen = all(&[
        Case { zone: |_, _| row(64), expected: "blocked: weak", what: "64 addresses", ..CASE },
        Case { zone: |_, _| row(70), why: "70 addresses, and only 64", what: "70 addresses", ..CASE },
    ]);
    assert_eq!(seen.iter().map(|seen| seen.tried.len()).collect::<Vec<_>>(), [64, 64], "the first are tried all the same");
}

#[test]
fn a_family_without_an_answer_is_a_doubt_that_has_its_words() {
    all(&[
        Case {
            what: "A answered, AAAA SERVFAIL",
            zone: |_, kind| if kind == RecordType::A { row(1) } else { Code(ResponseCode::ServFail) },
            why: "look-up of vault.example:8200: IPv6: the name server 10.96.0.10 answered: Server Failure",
            ..CASE
        },
        Case {
            what: "A REFUSED, AAAA answered",
            zone: |_, kind| if kind == RecordType::A { Code(ResponseCode::Refused) } else { addresses(&["2001:db8::5"]) },
            why: "IPv4: the name server 10.96.0.10 answered: Query Refused",
            ..CASE
        },
        Case {
            what: "AAAA silent",
            zone: |_, kind| if kind == RecordType::A { row(1) } else { Silence },
            why: "IPv6: no answer from the name server 10.96.0.10",
            ..CASE
        },
        Case {
            what: "the API's own name",
            zone: |_, _| Code(ResponseCode::ServFail),
            target: API,
            why: "look-up of kubernetes.default.svc:443: IPv4: the name server 10.96.0.10 answered: Server Failure",
            ..CASE
        },
        Case { what: "NXDOMAIN", why: "look-up of vault.example:8200: no such name", ..CASE },
        Case { what: "no records at all", zone: |_, _| addresses(&[]), why: "the name has no address", ..CASE },
        Case {
            what: "AAAA without records",
            zone: |_, kind| if kind == RecordType::A { row(1) } else { nobody() },
            expected: "blocked: weak",
            ..CASE
        },
    ]);
}

#[test]
fn no_search_domain_answers_in_the_place_of_a_name_with_a_dot() {
    let wildcard: Zone = |name, _| if name.ends_with(".corp.test") { row(1) } else { nobody() };
    let exists: Zone = |name, kind| if name == "vault.example" && kind == RecordType::A { row(1) } else { nobody() };
    let seen = all(&[
        Case { what: "a wildcard", zone: wildcard, search: "corp.test", why: "no such name", ..CASE },
        Case { what: "localhost", zone: exists, search: "localhost corp.test", expected: "blocked: weak", ..CASE },
        Case { what: "a malformed domain", zone: exists, search: "foo..bar corp.test", expected: "blocked: weak", ..CASE },
        Case {
            what: "a Service",
            zone: |name, _| if name == "vault.apps.svc.cluster.local" { row(1) } else { nobody() },
            target: "{name: t, kind: tcp, addresses: ['vault.apps.svc:8200']}",
            expected: "blocked: weak",
            ..CASE
        },
        Case {
            what: "a name without a dot",
            zone: |name, _| if name == "vault.default.svc.cluster.local" { row(1) } else { nobody() },
            target: "{name: t, kind: tcp, addresses: ['vault:8200']}",
            expected: "blocked: weak",
            ..CASE
        },
    ]);
    for (seen, asked) in seen.iter().zip(["vault.example.", "vault.example.", "vault.example.", "vault.apps.svc.cluster.local."])
    {
        let mut queries = seen.asked.clone();
        queries.sort();
        assert_eq!(queries, [format!("A {asked}"), format!("AAAA {asked}")]);
        assert!(seen.tried.iter().all(|address| address == "10.80.1.1:8200"), "{:?}", seen.tried);
    }
}

#[test]
fn aliases_are_followed_and_a_loop_costs_a_few_queries() {
    let seen = all(&[
        Case {
            what: "a loop",
            zone: |name, _| Alias(if name == "vault.example" { "b.example." } else { "vault.example." }),
            why: "its aliases form a loop",
            ..CASE
        },
        Case {
            what: "an alias of an alias",
            zone: |name, kind| match name {
                "vault.example" => Alias("b.example."),
                "b.example" => Alias("c.example."),
                "c.example" if kind == RecordType::A => row(1),
                _ => addresses(&[]),
            },
            expected: "blocked: weak",
            ..CASE
        },
        Case {
            what: "an alias of nothing",
            zone: |name, _| if name == "vault.example" { Alias("b.example.") } else { nobody() },
            why: "no such name",
            ..CASE
        },
    ]);
    assert_eq!(seen[0].asked.len(), 4, "two names, each in both families: {:?}", seen[0].asked);
}

#[test]
fn an_address_that_cannot_be_meant_is_not_tried() {
    let seen = all(&[
        Case { what: "unspecified", zone: |_, _| addresses(&["0.0.0.0", "10.80.1.1"]), why: "0.0.0.0 is unspecified", ..CASE },
        Case { what: "multicast", zone: |_, _| addresses(&["224.0.0.9", "10.80.1.1"]), why: "is multicast", ..CASE },
        Case { what: "broadcast", zone: |_, _| addresses(&["255.255.255.255", "10.80.1.1"]), why: "is broadcast", ..CASE },
        Case { what: "IPv6 loopback", zone: |_, _| addresses(&["::1", "10.80.1.1"]), why: "::1 is loopback", ..CASE },
    ]);
    for seen in seen {
        assert_eq!(seen.tried, ["10.80.1.1:8200"], "{}", seen.why);
    }
    // A listener of the pod's own answers at all of these; that is no breach.
    for (what, zone) in
        [("loopback", (|_, _| addresses(&["127.0.0.1"])) as Zone), ("this pod's own", |_, _| addresses(&["10.1.0.2"]))]
    {
        let seen = Case { zone, ..CASE }.run(|world| {
            let listener = inside(&world.pod(), || TcpListener::bind("0.0.0.0:8200").unwrap());
            thread::spawn(move || listener.incoming().for_each(drop));
        });
        assert_eq!(seen.finding, "inconclusive: resolve_failed", "{what}: {}", seen.why);
        assert!(seen.why.contains(what) && seen.tried.is_empty(), "{what}: {} {:?}", seen.why, seen.tried);
    }
}

#[test]
fn a_family_that_the_pod_does_not_have_is_not_asked_for() {
    let zone: Zone = |_, kind| if kind == RecordType::A { row(1) } else { Code(ResponseCode::ServFail) };
    let seen = Case { zone, ..CASE }.run(|world| ip(&["-n", &world.pod(), "-6", "addr", "flush", "dev", "eth0"]));
    assert_eq!((seen.finding.as_str(), seen.asked), ("blocked: weak", vec!["A vault.example.".to_owned()]), "{}", seen.why);
}

#[test]
fn a_later_name_server_that_does_not_know_the_name_says_nothing_while_the_first_is_on_its_way() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let world = World::new();
    world.resolver();
    world.guard();
    let log = Arc::clone(&asked);
    // The first answers after half a second; the second, which is asked meanwhile, knows nobody.
    let slow = move |query: &[u8]| {
        thread::sleep(Duration::from_millis(500));
        answer(query, |_, kind| if kind == RecordType::AAAA { addresses(&["2001:db8::5"]) } else { row(1) }, &log)
    };
    world.serve_dns_over_udp(&format!("{DNS}:53"), Arc::new(slow));
    let log = Arc::clone(&asked);
    world.serve_dns_over_udp(&format!("[{DNS6}]:53"), Arc::new(move |query: &[u8]| answer(query, |_, _| nobody(), &log)));
    world.serve("[2001:db8::5]:8200", drop);
    world.nft("flush chain inet guard in");
    let file = world.file("c.yaml", &format!("targets: [{VAULT}]\n"));
    let checked = world.check(&["-c", &file, "-o", "json"]);
    assert_eq!(checked.finding("t"), "breached: connected", "{}", checked.stdout());
    let tried = checked.report().targets[0].observations.len();
    assert_eq!(tried, 2, "both families: {}", checked.stdout());
}

#[test]
fn the_hosts_file_counts_before_any_name_server() {
    let seen = Case { zone: |_, _| row(2), expected: "", ..CASE }.run(|world| {
        let folder = Path::new("/etc/netns").join(world.pod());
        fs::write(folder.join("hosts"), "127.0.0.1 localhost\n10.80.0.6 vault.example\n").unwrap();
        world.nft("flush chain inet guard in");
        world.serve("10.80.0.6:8200", drop);
    });
    assert_eq!((seen.finding.as_str(), seen.tried), ("breached: connected", vec!["10.80.0.6:8200".to_owned()]));
    assert!(seen.asked.is_empty(), "{:?}", seen.asked);
}

#[test]
fn a_search_domain_without_an_address_does_not_end_the_search() {
    let seen = all(&[Case {
        what: "a namespace of that name",
        zone: |name, kind| match name {
            "vault.svc.cluster.local" => addresses(&[]),
            "vault.corp.test" if kind == RecordType::A => row(1),
            "vault.corp.test" => addresses(&[]),
            _ => nobody(),
        },
        target: "{name: t, kind: tcp, addresses: ['vault:8200']}",
        search: "default.svc.cluster.local svc.cluster.local corp.test",
        expected: "blocked: weak",
        ..CASE
    }]);
    assert_eq!(seen[0].tried, ["10.80.1.1:8200"]);
}
