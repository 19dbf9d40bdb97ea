//! Five thousand simulated agents and one reporter: what it costs, how late it is, and what becomes of it when a fifth of them vanish. By
//! hand: `./test slow`. Figures go to standard output.
use crate::common::cluster::{Cluster, Process};
use crate::common::facts::{cpu, memory, within};
use std::thread::sleep;
use std::time::{Duration, Instant};

const AGENTS: usize = 5000;

fn told_memory(what: &str, reporter: &Process) {
    let [rss, anon, peak] = ["VmRSS", "RssAnon", "VmHWM"].map(|name| memory(reporter.pid(), name));
    println!("{what}: RSS {rss:.1} MiB, RssAnon {anon:.1} MiB, peak {peak:.1} MiB");
}

/// The value of a series of the fleet's metrics.
fn value(cluster: &Cluster, series: &str) -> f64 {
    let page = cluster.try_get(crate::common::cluster::REPORTER, "/metrics").unwrap().1;
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).map_or(0.0, |value| value.parse().unwrap())
}

const COVERED: &str = "guardprobe_fleet_nodes{guard=\"default/deny\",state=\"covered\"}";
const UNCOVERED: &str = "guardprobe_fleet_nodes{guard=\"default/deny\",state=\"uncovered\"}";

#[test]
#[ignore = "minutes: ./test slow"]
fn five_thousand_agents_and_one_reporter() {
    let cluster = Cluster::new();
    let agents = cluster.simulated(AGENTS);
    let (made, began) = (Instant::now(), Instant::now());
    let reporter = cluster.reporter();
    println!("ready after {:.1} s", began.elapsed().as_secs_f64());
    within(Duration::from_secs(120), "all are covered", || {
        let covered = value(&cluster, COVERED);
        if covered == AGENTS as f64 { Ok(()) } else { Err(covered.to_string()) }
    });
    println!("{AGENTS} covered after {:.1} s, {:.1} s of CPU", began.elapsed().as_secs_f64(), cpu(reporter.pid()));
    told_memory("then", &reporter);

    let (before, began) = (cpu(reporter.pid()), Instant::now());
    sleep(Duration::from_secs(60));
    println!("at rest: {:.1} % of one core", (cpu(reporter.pid()) - before) / began.elapsed().as_secs_f64() * 100.0);
    told_memory("then", &reporter);
    let began = Instant::now();
    let page = cluster.try_get(crate::common::cluster::REPORTER, "/metrics").unwrap().1;
    println!("a scrape: {:.0} ms, {} kB", began.elapsed().as_secs_f64() * 1000.0, page.len() / 1024);

    // From the change of one agent's verdict until a scrape shows it.
    let mut late: Vec<f64> = Vec::new();
    for _ in 0..200 {
        let nth = fastrand::usize(0..AGENTS);
        let series = format!("guardprobe_fleet_breached{{guard=\"default/deny\",node=\"bare-{nth:04}\",target=\"imds\"}}");
        let began = Instant::now();
        agents.breach_one(nth);
        within(Duration::from_secs(30), &series, || if value(&cluster, &series) == 1.0 { Ok(()) } else { Err(String::new()) });
        late.push(began.elapsed().as_secs_f64() * 1000.0);
        sleep(Duration::from_millis(100 + fastrand::u64(0..100)));
    }
    late.sort_by(f64::total_cmp);
    println!(
        "from a verdict's change to the fleet's metrics, 200 trials: p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms",
        late[100], late[197], late[199]
    );
    told_memory("then", &reporter);

    // A fifth of them vanish at once. Nodes are new for ten minutes, and a missing report is excused for so long.
    sleep(Duration::from_secs(630).saturating_sub(made.elapsed()));
    let (before, began) = (cpu(reporter.pid()), Instant::now());
    agents.vanish(1000);
    within(Duration::from_secs(150), "the thousand are uncovered", || {
        sleep(Duration::from_secs(1)); // a scrape costs more than all else
        let uncovered = value(&cluster, UNCOVERED);
        if uncovered == 1000.0 { Ok(()) } else { Err(uncovered.to_string()) }
    });
    println!(
        "1,000 vanish: uncovered after {:.0} s, {:.1} % of one core until then",
        began.elapsed().as_secs_f64(),
        (cpu(reporter.pid()) - before) / began.elapsed().as_secs_f64() * 100.0
    );
    sleep(Duration::from_secs(30));
    assert_eq!(value(&cluster, COVERED), (AGENTS - 1000) as f64, "the others are as they were");
    let told = cluster.told();
    let uncovered: Vec<&String> = told.iter().filter(|told| told.starts_with("ProberUncovered")).collect();
    let many = uncovered.iter().position(|told| told.starts_with("ProberUncovered agents"));
    println!("Events about it until 30 s later: {}, the one about the DaemonSet among them at {many:?}", uncovered.len());
    told_memory("then", &reporter);
}
