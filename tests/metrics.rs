//! The metrics page: documented, accepted by Prometheus' own linter, complete from the first scrape, and without an address in it.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
use guardprobe::show::fleet_metrics::{self, Counts, FLEET_METRICS, FleetState, IncidentCount};
use guardprobe::show::metrics::{Described, METRICS, Page, State};
use guardprobe_core::judge::finding;
use guardprobe_core::judge::history::Histories;
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::config::{ControlKind, Expect, Kind};
use guardprobe_core::model::finding::{Attribution, Doubt, Reason, Verdict};
use guardprobe_core::model::fleet::{Coverage, Fleet, Gap, Row, TargetRow, Warned, Warning};
use guardprobe_core::model::incident::{Ending, Incident, Place};
use guardprobe_core::model::moment::Moment;
use guardprobe_core::model::names::REPORT_SCHEMA;
use guardprobe_core::model::notice::NoticeReason;
use guardprobe_core::model::observation::{Evidence, Layer, Observation, Outcome, Source};
use guardprobe_core::model::report::{Head, Role};
use guardprobe_core::model::round::{ControlRound, Round, TargetRound};
use guardprobe_core::model::tally::{Tally, TargetTally};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const START: &str = "2026-03-01T12:00:00Z";

fn at(seconds: u64) -> Moment {
    Moment { wall: START.parse().unwrap(), up: Duration::ZERO }.after(Duration::from_secs(seconds))
}

fn head(role: Role) -> Head {
    Head {
        schema: REPORT_SCHEMA.into(),
        guard: "default/guard".into(),
        role,
        node: None,
        pod: None,
        version: "0.1.0".into(),
        config_hash: "c0ffee".into(),
        endpoints_revision: None,
        boot: "b00".into(),
        round: 1,
        started: START.parse().unwrap(),
        finished: START.parse().unwrap(),
        age_seconds: 0.0,
        interval_seconds: 15.0,
        waited_seconds: None,
    }
}

/// A round of one target; its control held where `control` says so, and was not tried where it is `None`.
fn round(observations: Vec<Observation>, control: Option<Outcome>) -> Round {
    let alive = |outcome| Observation::new("10.90.0.53:53".parse().unwrap(), Source::Literal, outcome);
    Round {
        targets: vec![TargetRound {
            name: "imds".into(),
            kind: Kind::Imds,
            proof: None,
            addresses_given: false,
            observations,
            unresolved: vec![],
            stale: None,
        }],
        controls: vec![ControlRound {
            name: "alive".into(),
            expect: Expect::MustReach,
            kind: ControlKind::Tcp,
            observations: control.map(alive).into_iter().collect(),
            unresolved: vec![],
        }],
        endpoints_revision: None,
    }
}

fn seen(outcome: Outcome) -> Observation {
    Observation { latency_seconds: 0.002, ..Observation::new("169.254.169.254:80".parse().unwrap(), Source::Literal, outcome) }
}

fn histories() -> Histories {
    Histories::new("b00", at(0), Duration::from_millis(17_500), ["imds".to_owned()].into_iter())
}

fn tally() -> Tally {
    Tally { targets: vec![TargetTally::default()], rounds: 0 }
}

/// What a process that has seen nothing yet says.
fn first_page(role: Role) -> String {
    let (head, tally, round) = (head(role), tally(), round(vec![], None));
    let state = State {
        head: &head,
        tally: &tally,
        round: &round,
        age: Duration::ZERO,
        vouched: Duration::from_secs(17),
        lines_lost: [("stdout", 0), ("stderr", 0)],
    };
    match role {
        Role::Agent => Page::new().agent(&state, &histories(), Duration::ZERO).to_owned(),
        Role::Witness => Page::new().witness(&state).to_owned(),
    }
}

/// What an agent says after a round that found this, `late` seconds after it.
fn page_after(outcome: Outcome, late: u64) -> String {
    let (head, mut tally, mut histories) = (head(Role::Agent), tally(), histories());
    let round = round(vec![seen(outcome)], Some(Outcome::Connected));
    round.targets[0].observations.iter().for_each(|seen| tally.targets[0].probe(seen));
    tally.rounds = 1;
    let judged = finding::judge(&round.targets[0], &round.controls, Attribution::Weak);
    histories.finished(0, at(1), at(2), &round.targets[0], &judged);
    let state = State {
        head: &head,
        tally: &tally,
        round: &round,
        age: Duration::from_secs(late),
        vouched: Duration::from_secs(17),
        lines_lost: [("stdout", 3), ("stderr", 4)],
    };
    Page::new().agent(&state, &histories, Duration::from_secs(2 + late)).to_owned()
}

fn samples(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn the_documentation_lists_what_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let row = |metric: &Described, who: &str| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels = if labels.is_empty() { labels } else { labels + " " };
        format!("| `{}` | {kind} | {labels}|{who} {} |\n", metric.name, metric.help)
    };
    let who = |metric: &Described| match metric.role {
        None => " both |",
        Some(Role::Agent) => " agent |",
        Some(Role::Witness) => " witness |",
    };
    let rows: String = METRICS.iter().map(|metric| row(metric, who(metric))).collect();
    let fleet: String = FLEET_METRICS.iter().map(|metric| row(metric, "")).collect();
    let intro = "# Metrics\n\nWhat `/metrics` of an agent or a witness says. State is computed at the scrape from the newest round, so no series is stale; every \
                 combination of labels is\nthere from the first scrape on, counters at 0. No address and no error text is ever a label. The PodMonitor adds `node`.\n\n\
                 This page is made from the lists in `src/show/metrics.rs` and `src/show/fleet_metrics.rs` (`UPDATE=1 cargo test --test metrics`).\n\n";
    let of_the_reporter = "\n## The reporter\n\nOf the whole fleet, counted at the scrape. A single node has a series only while something is wrong with it, so the number of \
                           series does not\ngrow with the cluster. Every replica says this of itself: rules take the maximum over replicas.\n\n";
    let is = format!(
        "{intro}| name | type | labels | who | what it says |\n| --- | --- | --- | --- | --- |\n{rows}{of_the_reporter}\
         | name | type | labels | what it says |\n| --- | --- | --- | --- |\n{fleet}"
    );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(was == is, "docs/metrics.md differs: run with UPDATE=1 and read the difference");
}

#[test]
fn prometheus_own_linter_finds_nothing() {
    for page in [
        first_page(Role::Agent),
        first_page(Role::Witness),
        page_after(Outcome::Connected, 1),
        page_after(Outcome::TimedOut, 60),
        fleet_page(),
    ] {
        let mut lint =
            Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        lint.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let said = lint.wait_with_output().unwrap();
        assert!(said.status.success(), "{}\n{page}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn each_metric_is_on_the_page_of_its_role_and_on_no_other() {
    for role in [Role::Agent, Role::Witness] {
        let page = if role == Role::Agent { page_after(Outcome::TimedOut, 1) } else { first_page(role) };
        for metric in METRICS {
            let wanted = metric.role.is_none_or(|of| of == role);
            let untried = role == Role::Witness && metric.name == "guardprobe_control_held";
            let there = page.contains(&format!("# TYPE {} ", metric.name)) && page.contains(&format!("# HELP {} ", metric.name));
            assert_eq!(there, wanted && !untried, "{} for {role:?}", metric.name);
        }
    }
}

#[test]
fn every_combination_starts_at_zero() {
    let page = first_page(Role::Agent);
    for line in samples(&page) {
        let one = line.contains("reason=\"starting\"") || line.contains("verdict=\"inconclusive\"") || line.contains("_info{");
        let expected = if one && !line.contains("seconds_total") { "1" } else { "0" };
        assert_eq!(line.rsplit(' ').next(), Some(expected), "{line}");
    }
    for wanted in [
        r#"guardprobe_probes_total{guard="default/guard",target="imds",family="ipv6",outcome="denied_locally"} 0"#,
        r#"guardprobe_sentinels_total{guard="default/guard",target="imds",family="ipv4",outcome="connected"} 0"#,
        r#"guardprobe_verdict{guard="default/guard",target="imds",verdict="breached"} 0"#,
        r#"guardprobe_inconclusive{guard="default/guard",target="imds",reason="ending"} 0"#,
    ] {
        assert!(page.contains(wanted), "{wanted} is not in\n{page}");
    }
}

#[test]
fn no_address_is_ever_a_label() {
    for page in [page_after(Outcome::Connected, 1), page_after(Outcome::TimedOut, 1)] {
        for line in samples(&page) {
            assert!(!line.contains("169.254") && !line.contains("10.90"), "{line}");
        }
    }
}

#[test]
fn state_is_that_of_the_round_and_no_round_vouches_for_blocked_for_ever() {
    let fresh = page_after(Outcome::TimedOut, 1);
    assert!(fresh.contains(r#"verdict="blocked"} 1"#), "{fresh}");
    assert!(fresh.contains(r#"guardprobe_control_held{guard="default/guard",control="alive",expect="must-reach"} 1"#));
    assert!(fresh.contains("guardprobe_probe_duration_seconds_count{guard=\"default/guard\",target=\"imds\"} 1"));
    let stale = page_after(Outcome::TimedOut, 60);
    assert!(stale.contains(r#"verdict="blocked"} 0"#) && stale.contains(r#"reason="local_error"} 1"#), "{stale}");
    assert!(
        stale.contains(r#"guardprobe_verdict_seconds_total{guard="default/guard",target="imds",verdict="blocked"} 17.5"#),
        "{stale}"
    );
    let breached = page_after(Outcome::Connected, 60);
    assert!(breached.contains(r#"guardprobe_verdict{guard="default/guard",target="imds",verdict="breached"} 1"#), "{breached}");
    assert!(breached.contains(r#"guardprobe_breaches_total{guard="default/guard",target="imds"} 1"#));
}

#[test]
fn a_page_that_is_used_again_says_what_a_new_one_says() {
    let (head, tally, mut histories, mut used) = (head(Role::Agent), tally(), histories(), Page::new());
    for (outcome, control) in
        [(Outcome::TimedOut, Some(Outcome::Connected)), (Outcome::Connected, None), (Outcome::Refused, Some(Outcome::TimedOut))]
    {
        let round = round(vec![seen(outcome)], control);
        let judged = finding::judge(&round.targets[0], &round.controls, Attribution::Weak);
        histories.finished(0, at(1), at(2), &round.targets[0], &judged);
        let state = State {
            head: &head,
            tally: &tally,
            round: &round,
            age: Duration::ZERO,
            vouched: Duration::from_secs(17),
            lines_lost: [("stdout", 3), ("stderr", 4)],
        };
        let again = used.agent(&state, &histories, Duration::from_secs(3)).to_owned();
        assert_eq!(again, Page::new().agent(&state, &histories, Duration::from_secs(3)));
    }
}

fn guard() -> GuardName {
    "default/deny".parse().unwrap()
}

/// One target of one node: what is said of it, and whether an incident is open.
fn target(name: &str, verdict: Verdict, reason: Reason) -> TargetRow {
    let incident = (verdict == Verdict::Breached).then(|| Incident {
        id: "b00.1".into(),
        place: Place { guard: guard(), node: "n1".into(), node_uid: "u1".into(), target: name.into() },
        started: at(0).wall,
        last_connected: at(1).wall,
        layer: Layer::Tcp,
        evidence: Evidence::Connected,
        doors: vec![],
        openings: 1,
        reopened: 0,
        end: None,
    });
    TargetRow {
        name: name.into(),
        kind: Some(Kind::Imds),
        verdict: Some(verdict),
        reason: Some(reason),
        since: None,
        incident,
        held_proof_seconds: None,
        not_reachable: None,
        missing_addresses: vec![],
    }
}

fn row(node: &str, coverage: Coverage, targets: Vec<TargetRow>) -> Row {
    Row {
        guard: guard(),
        node: node.into(),
        node_uid: format!("uid-{node}"),
        coverage,
        uncovered_since: matches!(coverage, Coverage::Uncovered(_)).then(|| at(30).wall),
        trouble: None,
        pod: None,
        age_seconds: Some(4.5),
        round_seconds: Some(2.5),
        report: None,
        targets,
    }
}

/// What a reporter says of four nodes: one blocked, one open, one in doubt, one of which nothing is known.
fn fleet_page() -> String {
    let rows = vec![
        row("n1", Coverage::Covered, vec![target("imds", Verdict::Blocked, Reason::Proof(Attribution::Witnessed))]),
        row("n2", Coverage::Covered, vec![target("imds", Verdict::Breached, Reason::Evidence(Evidence::Connected))]),
        row("n3", Coverage::Covered, vec![target("imds", Verdict::Inconclusive, Reason::Doubt(Doubt::ControlFailed))]),
        row("n4", Coverage::Uncovered(Gap::Stale), vec![]),
    ];
    let warnings = vec![Warned { guard: guard(), warning: Warning::TokenMounted, count: 2, examples: vec![] }];
    page_of(Fleet { rows, warnings })
}

fn page_of(fleet: Fleet) -> String {
    let count = IncidentCount { begun: 1, ended: [(Ending::NotReachable, 2)].into() };
    let counts = Counts {
        incidents: [((guard(), "imds".to_owned()), count)].into(),
        names_taken: 5,
        posted: [("EgressBreached", 3)].into(),
        failed: [("EgressBreached", 1)].into(),
        reports: [("agent", (40, 2))].into(),
    };
    let ended = Place { guard: guard(), node: "n3".into(), node_uid: "u3".into(), target: "imds".into() };
    fleet_metrics::page(&FleetState {
        fleet: &fleet,
        guards: vec![&guard()],
        ended: [(&ended, at(20).wall)].into(),
        counts: &counts,
        waiting: 7,
        events_suppressed: &[(NoticeReason::EgressOpenedBriefly, 6)].into(),
        lines_suppressed: 8,
        lines_lost: [("stdout", 5), ("stderr", 6)],
        held_up: Duration::from_millis(2500),
        leader: true,
        asked: [("agent", (4, 3))].into(),
        trouble: [("nodes".to_owned(), false), ("the lease".to_owned(), true)].into(),
        endpoints: 2,
    })
}

#[test]
fn every_metric_of_a_reporter_is_on_its_page_and_says_what_it_says() {
    let page = fleet_page();
    for metric in FLEET_METRICS {
        assert!(page.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
    }
    for line in [
        r#"guardprobe_fleet_nodes{guard="default/deny",state="covered"} 3"#,
        r#"guardprobe_fleet_nodes{guard="default/deny",state="uncovered"} 1"#,
        r#"guardprobe_fleet_nodes{guard="default/deny",state="excluded"} 0"#,
        r#"guardprobe_fleet_verdict_nodes{guard="default/deny",target="imds",verdict="blocked"} 1"#,
        r#"guardprobe_fleet_verdict_nodes{guard="default/deny",target="imds",verdict="breached"} 1"#,
        r#"guardprobe_fleet_attribution_nodes{guard="default/deny",target="imds",attribution="witnessed"} 1"#,
        r#"guardprobe_fleet_attribution_nodes{guard="default/deny",target="imds",attribution="weak"} 0"#,
        r#"guardprobe_fleet_breached{guard="default/deny",node="n2",target="imds"} 1"#,
        r#"guardprobe_fleet_breach_start_time_seconds{guard="default/deny",node="n2",target="imds"} 1772366400"#,
        r#"guardprobe_fleet_breach_end_time_seconds{guard="default/deny",node="n3",target="imds"} 1772366420"#,
        r#"guardprobe_incidents_ended_total{guard="default/deny",target="imds",how="not_reachable"} 2"#,
        r#"guardprobe_incidents_ended_total{guard="default/deny",target="imds",how="blocked"} 0"#,
        r#"guardprobe_events_suppressed_total{reason="EgressOpenedBriefly"} 6"#,
        r#"guardprobe_events_suppressed_total{reason="EgressBreached"} 0"#,
        "guardprobe_event_names_taken_total 5",
        "guardprobe_lines_suppressed_total 8",
        "guardprobe_reporter_lines_lost_total{stream=\"stdout\"} 5",
        "guardprobe_reporter_lines_lost_total{stream=\"stderr\"} 6",
        "guardprobe_reporter_held_up_seconds_total 2.5",
        r#"guardprobe_fleet_grace_nodes{guard="default/deny",reason="reporter_starting"} 0"#,
        r#"guardprobe_fleet_inconclusive{guard="default/deny",node="n3",target="imds",reason="control_failed"} 1"#,
        r#"guardprobe_fleet_excluded_nodes{guard="default/deny",reason="fargate"} 0"#,
        r#"guardprobe_fleet_uncovered{guard="default/deny",node="n4",reason="stale"} 1"#,
        r#"guardprobe_fleet_uncovered_since_time_seconds{guard="default/deny",node="n4"} 1772366430"#,
        r#"guardprobe_fleet_inconclusive_nodes{guard="default/deny",target="imds",reason="control_failed"} 1"#,
        r#"guardprobe_fleet_report_age_seconds{guard="default/deny"} 4.5"#,
        r#"guardprobe_fleet_warnings{guard="default/deny",warning="token_mounted"} 2"#,
        r#"guardprobe_fleet_warnings{guard="default/deny",warning="host_network"} 0"#,
        r#"guardprobe_api_trouble{what="the lease"} 1"#,
        r#"guardprobe_agents_asked{role="agent"} 4"#,
        r#"guardprobe_agents_answering{role="agent"} 3"#,
        r#"guardprobe_reports_refused_total{role="agent"} 2"#,
        r#"guardprobe_events_posted_total{reason="EgressBreached"} 3"#,
        r#"guardprobe_events_posted_total{reason="ProberUncovered"} 0"#,
        r#"guardprobe_events_failed_total{reason="EgressBreached"} 1"#,
        "guardprobe_events_waiting 7",
        "guardprobe_leader 1",
    ] {
        assert!(page.lines().any(|is| is == line), "{line} is not in\n{page}");
    }
    let single = |page: &str| page.lines().filter(|line| line.contains("node=\"")).count();
    assert_eq!(single(&page), 6, "a node has a series only while something is wrong with it");
}

#[test]
fn incidents_of_a_target_are_counted_from_zero() {
    let blocked = target("vault", Verdict::Blocked, Reason::Proof(Attribution::Silence));
    let page = page_of(Fleet { rows: vec![row("n1", Coverage::Covered, vec![blocked])], warnings: vec![] });
    for line in [
        r#"guardprobe_incidents_total{guard="default/deny",target="vault"} 0"#,
        r#"guardprobe_incidents_total{guard="default/deny",target="imds"} 1"#,
    ] {
        assert!(page.lines().any(|is| is == line), "{line} is not in\n{page}");
    }
}

#[test]
fn what_one_agent_invents_takes_the_place_of_no_target() {
    let blocked = |name: &str| target(name, Verdict::Blocked, Reason::Proof(Attribution::Silence));
    let mut rows: Vec<Row> = (0..3).map(|nth| row(&format!("n{nth}"), Coverage::Covered, vec![blocked("vault")])).collect();
    let invented = (0..32).map(|nth| blocked(&format!("a{nth:02}"))).collect();
    rows.push(row("hostile", Coverage::Covered, invented));
    let page = page_of(Fleet { rows, warnings: vec![] });
    assert!(
        page.contains(r#"guardprobe_fleet_verdict_nodes{guard="default/deny",target="vault",verdict="blocked"} 3"#),
        "{page}"
    );
    let targets =
        page.lines().filter(|line| line.starts_with("guardprobe_fleet_verdict_nodes") && line.contains("\"blocked\"")).count();
    assert_eq!(targets, 32, "and there is an end of them");
}
