//! Where an agent goes: the endpoints file, names, global addresses; and what it asks there.
use super::common::agent::{IMDS, QUICK};
use super::common::facts::{now, until};
use super::common::{Ca, ENDPOINT, IMDS4, World, dns_answer, imds, ip};
use guardprobe_core::model::finding::Verdict;
use jiff::SignedDuration;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A ConfigMap as the kubelet mounts it: the file is a link into `..data`, and `..data` is a link that is swapped.
struct Mounted {
    folder: PathBuf,
    revision: usize,
}

impl Mounted {
    fn new(world: &World) -> Self {
        let folder = PathBuf::from(world.file("mounted", "")).with_file_name("endpoints");
        fs::create_dir_all(&folder).unwrap();
        symlink("..data/endpoints.json", folder.join("endpoints.json")).unwrap();
        Mounted { folder, revision: 0 }
    }

    fn file(&self) -> String {
        self.folder.join("endpoints.json").to_string_lossy().into_owned()
    }

    /// Puts another content in place, from one look to the next.
    fn swap(&mut self, content: &str) {
        self.revision += 1;
        let data = format!("..{}", self.revision);
        fs::create_dir(self.folder.join(&data)).unwrap();
        fs::write(self.folder.join(&data).join("endpoints.json"), content).unwrap();
        symlink(&data, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).unwrap();
    }
}

fn endpoints(revision: &str, addresses: &[&str], minutes_ago: i64) -> String {
    let updated = now() - SignedDuration::from_mins(minutes_ago);
    serde_json::json!({"revision": revision, "updated": updated.to_string(), "addresses": addresses}).to_string()
}

fn api(mounted: &Mounted) -> String {
    format!("{QUICK}targets: [{{name: kube-api, kind: kube-api, endpointsFile: {}}}]\n", mounted.file())
}

#[test]
fn the_endpoints_file_is_read_anew_in_each_round_and_its_revision_echoed() {
    let world = World::new();
    world.populate();
    world.guard();
    let mut mounted = Mounted::new(&world);
    mounted.swap(&endpoints("r1", &[ENDPOINT], 0));
    let agent = world.agent(&api(&mounted));
    agent.until_verdict("kube-api", Verdict::Blocked);
    assert_eq!(agent.report().head.endpoints_revision.as_deref(), Some("r1"));
    mounted.swap(&endpoints("r2", &[ENDPOINT, "10.80.0.5:6443"], 59));
    until("the new revision", || agent.report().head.endpoints_revision, |revision| revision.as_deref() == Some("r2"));
    let tried: Vec<String> = agent.target("kube-api").observations.iter().map(|seen| seen.address.to_string()).collect();
    assert!(tried.contains(&"10.80.0.5:6443".to_owned()), "{tried:?}");
    assert_eq!(agent.target("kube-api").verdict, Verdict::Blocked);
}

#[test]
fn an_endpoints_file_that_is_no_good_is_never_blocked() {
    let world = World::new();
    world.populate();
    world.guard();
    let mut mounted = Mounted::new(&world);
    let good = || endpoints("r1", &[ENDPOINT], 0);
    let many: Vec<String> = (1..=65).map(|port| format!("10.90.0.10:{port}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let half = good()[..40].to_owned();
    // What is said of it, and what was done to it.
    let bad = [
        ("not an endpoints file", half),
        ("the endpoints file is empty", String::new()), // as on a full disk
        ("more than 65536 bytes", format!("{}{}", good(), " ".repeat(65 * 1024))),
        ("holds 65 addresses", endpoints("r1", &many, 0)),
        ("is loopback", endpoints("r1", &[ENDPOINT, "127.0.0.1:443"], 0)),
        ("is link-local", endpoints("r1", &[ENDPOINT, "169.254.1.1:443"], 0)),
        ("is multicast", endpoints("r1", &[ENDPOINT, "[ff02::1]:443"], 0)),
        ("61 minutes ago", endpoints("r1", &[ENDPOINT], 61)),
        ("in the future", endpoints("r1", &[ENDPOINT], -60)),
    ];
    mounted.swap(&good());
    let agent = world.agent(&api(&mounted));
    agent.until_verdict("kube-api", Verdict::Blocked);
    let stale = |why: &str| {
        let told = until(why, || agent.target("kube-api"), |target| target.why.contains(why));
        assert_eq!((told.verdict, told.reason.as_str()), (Verdict::Inconclusive, "stale_addresses"), "{told:?}");
    };
    for (why, content) in &bad {
        mounted.swap(content);
        stale(why);
        mounted.swap(&good());
        agent.until_verdict("kube-api", Verdict::Blocked);
    }
    fs::remove_file(mounted.folder.join("..data")).unwrap();
    stale("No such file");
    let blocked = agent.lines().iter().filter(|line| line.transition.verdict == Verdict::Blocked).count();
    assert_eq!(blocked, 1 + bad.len(), "blocked when the file is good, and never in between: {:?}", agent.stdout());
    mounted.swap(&good());
    agent.until_verdict("kube-api", Verdict::Blocked);
}

#[test]
fn a_full_disk_under_the_endpoints_file_is_never_blocked() {
    let world = World::new();
    world.populate();
    world.guard();
    let folder = PathBuf::from(world.file("disk", "")).with_file_name("full");
    fs::create_dir_all(&folder).unwrap();
    let disk = Disk::mount(&folder);
    let file = folder.join("endpoints.json");
    fs::write(&file, endpoints("r1", &[ENDPOINT], 0)).unwrap();
    let text = format!("{QUICK}targets: [{{name: kube-api, kind: kube-api, endpointsFile: {}}}]\n", file.display());
    let agent = world.agent(&text);
    agent.until_verdict("kube-api", Verdict::Blocked);
    // Whoever writes in place truncates first, and then finds no room.
    let _ = fs::write(folder.join("ballast"), vec![0; 1024 * 1024]);
    assert!(fs::write(&file, " ".repeat(8192) + &endpoints("r2", &[ENDPOINT], 0)).is_err(), "the disk is full");
    agent.until_finding("kube-api", "inconclusive: stale_addresses");
    drop(agent);
    drop(disk);
}

/// A file system of 16 KiB, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        let status =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(at).status().unwrap();
        assert!(status.success());
        Disk(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An answer to the query with these addresses, whatever was asked for.
fn answer_with(query: &[u8], addresses: impl ExactSizeIterator<Item = [u8; 4]>) -> Vec<u8> {
    let count = u8::try_from(addresses.len()).unwrap();
    let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]].concat();
    answer.extend(question(query));
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address);
    }
    answer
}

/// The question of a query: name, type and class.
fn question(query: &[u8]) -> &[u8] {
    let end = query[12..].iter().position(|byte| *byte == 0).unwrap();
    &query[12..12 + end + 5]
}

#[test]
fn a_resolver_that_lies_invents_nothing() {
    type Answer = fn(&[u8]) -> Vec<u8>;
    let lies: [(&str, Answer, &str); 5] = [
        ("noise", |_| vec![0x5a; 60], "inconclusive: resolve_failed"),
        (
            "somebody else's answer",
            |query| [&[!query[0], query[1]], &dns_answer(query)[2..]].concat(),
            "inconclusive: resolve_failed",
        ),
        ("no such name", |query| dns_answer(&[&query[..12], b"\x01x\0\0\x01\0\x01"].concat()), "inconclusive: resolve_failed"),
        (
            "many addresses of others",
            |query| answer_with(query, (1..29).map(|last| [203, 0, 113, last])),
            "inconclusive: unproved",
        ),
        // More of them than fit into what a client asks for.
        (
            "more than was asked for",
            |query| answer_with(query, (1..201).map(|last| [203, 0, 113, last])),
            "inconclusive: resolve_failed",
        ),
    ];
    for (what, answer, expected) in lies {
        let world = World::new();
        world.resolver();
        world.serve_dns_with(answer);
        world.guard();
        let targets = "targets: [{name: vault, kind: tcp, addresses: ['vault.example:8200']}]\n";
        let control = "controls: [{name: alive, expect: must-reach, kind: tcp, addresses: ['10.80.0.7:53']}]\n";
        ip(&["-n", &world.vpc(), "addr", "add", "10.80.0.7/32", "dev", "lo"]);
        world.serve("10.80.0.7:53", drop);
        let agent = world.agent(&format!("{QUICK}{targets}{control}"));
        until(what, || agent.finding("vault"), |found| found.starts_with(expected));
        let target = agent.target("vault");
        assert!(target.observations.len() <= 64 && target.opening.is_none() && target.recent.is_empty(), "{what}: {target:?}");
    }
}

#[test]
fn whatever_the_name_of_the_api_leads_to_is_the_api() {
    let elsewhere = [10, 80, 0, 7];
    let world = World::new();
    world.resolver();
    world.serve_dns_with(move |query| answer_with(query, [elsewhere].into_iter()));
    world.guard();
    ip(&["-n", &world.vpc(), "addr", "add", "10.80.0.7/32", "dev", "lo"]);
    let ca = world.file("ca.crt", &world.ca.pem());
    let agent = world.agent(&format!("{QUICK}targets: [{{name: kube-api, kind: kube-api, caFile: {ca}}}]\n"));
    until("a host that refuses", || agent.finding("kube-api"), |found| found == "inconclusive: refused");
    // A name is never released, so what answers there answers for the API (DESIGN §4, rule 1).
    world.serve_tls("10.80.0.7:443", &Ca::new());
    until("a host with another CA", || agent.finding("kube-api"), |found| found == "breached: answered");
    assert_eq!(agent.target("kube-api").opening.unwrap().addresses, ["10.80.0.7:443".parse().unwrap()]);
}

#[test]
fn a_global_address_is_tried_once_a_minute_and_never_by_a_sentinel() {
    let world = World::new();
    world.populate();
    world.guard();
    let targets = "targets: [{name: far, kind: tcp, addresses: ['[2001:db8::5]:8200', '10.80.0.5:8200']}]\n";
    let agent = world.agent(&format!("{QUICK}{targets}"));
    agent.rounds_later(4);
    let page = agent.metrics();
    let probes = |family| page.value("guardprobe_probes_total", &[("family", family), ("outcome", "timed_out")]);
    assert_eq!(probes("ipv6"), 1.0);
    assert!(probes("ipv4") >= 4.0, "{}", page.0);
    let sentinels = |family| page.value("guardprobe_sentinels_total", &[("family", family), ("outcome", "timed_out")]);
    assert_eq!(sentinels("ipv6"), 0.0);
    assert!(sentinels("ipv4") >= 1.0, "{}", page.0);
    let seen = agent.target("far").observations;
    let kept: Vec<bool> = seen.iter().map(|seen| seen.kept).collect();
    assert_eq!(kept, [true, false], "{seen:?}");
}

#[test]
fn an_open_door_is_asked_once_and_not_in_every_round() {
    let world = World::new();
    world.resolver();
    world.serve_dns();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    world.serve(IMDS4, move |stream| {
        // A connection that says nothing is no question.
        if stream.peek(&mut [0; 1]).is_ok_and(|length| length > 0) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        imds(stream);
    });
    let agent = world.agent(&format!("{QUICK}{IMDS}"));
    agent.until_finding("imds", "breached: token_issued");
    agent.rounds_later(3);
    assert_eq!(agent.finding("imds"), "breached: token_issued");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(agent.target("imds").opening.unwrap().addresses, [IMDS4.parse().unwrap()]);
}

#[test]
fn a_witness_says_what_it_reaches_and_judges_nothing() {
    let world = World::new();
    world.populate();
    let targets = format!(
        "{QUICK}targets: [{{name: imds, kind: imds}}, {{name: kube-api, kind: kube-api}}, {{name: nobody, kind: tcp, addresses: ['10.80.0.6:1']}}]\n"
    );
    let file = world.file("guardprobe.yaml", &targets);
    let agent = world.agent_with(&["-c", &file, "--role", "witness"], |command| command);
    agent.until_it_listens();
    until("a round", || agent.rounds(), |rounds| *rounds == 1);
    let text = agent.get("/v1/report").body;
    for word in ["verdict", "blocked", "breached", "opening"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    let report = agent.witness_report();
    assert_eq!(report.head.interval_seconds, 60.0);
    let reached = |name: &str| {
        let target = report.targets.iter().find(|target| target.name == name).unwrap();
        target.observations.iter().map(|seen| seen.reached).collect::<Vec<bool>>()
    };
    assert_eq!((reached("imds"), reached("kube-api"), reached("nobody")), (vec![true, true], vec![true], vec![false]));
    let page = agent.metrics();
    let metric = |target| page.of("guardprobe_witness_reached", target);
    assert_eq!(["imds", "kube-api", "nobody"].map(metric), [1.0, 1.0, 0.0]);
    assert!(!page.0.contains("guardprobe_verdict") && !page.0.contains("guardprobe_breaches_total"), "{}", page.0);
    assert_eq!(agent.stdout(), Vec::<String>::new(), "a witness has no transitions");
}
