//! Who asks an agent, and how rudely: rounds are not late for it.
use super::common::agent::{IMDS, QUICK, connect};
use super::common::facts::{eventually, now};
use super::common::{World, inside, ip};
use guardprobe_core::model::finding::Verdict;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const SOURCES: u8 = 50;
const EACH: usize = 20;

fn source(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 100 + number)
}

#[test]
fn a_thousand_idle_and_a_hundred_slow_clients_delay_no_round_and_keep_no_scraper_out() {
    let world = World::new();
    world.populate();
    world.guard();
    for number in 0..SOURCES {
        ip(&["-n", &world.vpc(), "addr", "add", &format!("{}/24", source(number)), "dev", "up0"]);
    }
    let agent = world.agent(&format!("{QUICK}{IMDS}"));
    agent.until_verdict("imds", Verdict::Blocked);
    let (rss, descriptors) = (agent.proc_status("RssAnon"), agent.descriptors());

    let over = Arc::new(AtomicBool::new(false));
    let idle = {
        let vpc = world.vpc();
        inside(&vpc, || {
            (0..EACH)
                .flat_map(|_| (0..SOURCES).filter_map(|n| connect(source(n), super::common::agent::POD).ok()))
                .collect::<Vec<TcpStream>>()
        })
    };
    let slow = {
        let (vpc, over) = (world.vpc(), Arc::clone(&over));
        thread::spawn(move || inside(&vpc, move || byte_per_second(&over)))
    };

    let (began, before) = (now(), agent.rounds());
    for _ in 0..20 {
        let answer = agent.get_from(Ipv4Addr::new(10, 1, 0, 1), "/metrics");
        assert_eq!(answer.status, 200);
        assert!(answer.took < Duration::from_secs(1), "{:?}", answer.took);
    }
    eventually("nine seconds under siege", || {
        let seconds = now().duration_since(began).as_secs_f64();
        if seconds > 9.0 { Ok(()) } else { Err(format!("{seconds} s")) }
    });
    let rounds = agent.rounds() - before;
    assert!((5..=7).contains(&rounds), "{rounds} rounds of 1.5 s in 9 s");
    assert_eq!(agent.target("imds").verdict, Verdict::Blocked);
    let (rss_now, descriptors_now) = (agent.proc_status("RssAnon"), agent.descriptors());
    assert!(descriptors_now < descriptors + 80, "{descriptors} descriptors before, {descriptors_now} under siege");
    assert!(rss_now < rss + 2048, "{rss} KiB before, {rss_now} under siege");
    over.store(true, Ordering::Relaxed);
    slow.join().unwrap();
    drop(idle);
}

/// A hundred clients that each send a byte of a request a second, and come back when they are shown out.
fn byte_per_second(over: &AtomicBool) {
    let mut clients: Vec<Option<TcpStream>> = (0..100).map(|_| None).collect();
    while !over.load(Ordering::Relaxed) {
        for (number, client) in clients.iter_mut().enumerate() {
            let from = source(u8::try_from(number).unwrap() % SOURCES);
            if client.as_mut().is_none_or(|stream| stream.write_all(b"G").is_err()) {
                *client = connect(from, super::common::agent::POD).ok();
            }
        }
        thread::sleep(Duration::from_secs(1)); // that is how slow they are
    }
}
