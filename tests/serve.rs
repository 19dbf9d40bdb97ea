//! The listener against real clients, good and bad, by real sockets on the loopback. How long each thing may take at the agreed limits
//! is tested beside the code on a paused clock; here the limits are short where a test waits for their end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "clients look at the clock")]
#[path = "serve/world.rs"]
mod world;

use guardprobe::serve::{Limits, bind};
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use world::{Client, Pipelining, Published, Server, Unconnected, eventually};

const SHORT: Duration = Duration::from_millis(300);

/// The agreed limits, of which those that a test names are its own.
fn agreed() -> Limits {
    Limits::default()
}

/// The n-th client of its kind: four of each source address, as many as one may have.
fn fourth_part(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 0, nth / 4 + 1)
}

#[test]
fn a_get_is_answered_with_length_and_type_and_kept_by_nobody() {
    let server = Server::start(agreed());
    let response = server.client().get("/");
    assert_eq!((response.status(), response.body.as_str()), (200, "hello"));
    for (name, value) in [
        ("content-type", Some("text/plain")),
        ("content-length", Some("5")),
        ("cache-control", Some("no-store")),
        ("connection", None),
        ("server", None),
    ] {
        assert_eq!(response.header(name), value, "{name}: {response:?}");
    }
}

#[test]
fn every_address_is_ipv4_and_ipv6() {
    let server = Server::start_at("[::]:0", agreed());
    assert_eq!(server.client().get("/").status(), 200);
    let mut client = Client(std::net::TcpStream::connect(("::1", server.port)).unwrap());
    assert_eq!(client.get("/").status(), 200);
    let only_ipv4 = Server::start_at("127.0.0.1:0", agreed());
    assert_eq!(only_ipv4.client().get("/").status(), 200);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let message = bind(first.addr).await.unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot listen on {}: Address already in use", first.addr)), "{message}");
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start(agreed());
    let mut client = server.client();
    for _ in 0..100 {
        assert_eq!(client.get("/").body, "hello");
        assert_eq!(client.get("/nowhere").status(), 404);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_head_is_an_answer_without_its_body() {
    let server = Server::start(agreed());
    let mut client = server.client();
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    let response = client.head();
    assert_eq!((response.status(), response.header("content-length")), (200, Some("5")));
    assert_eq!(client.get("/").body, "hello", "what follows is the next answer");
}

#[test]
fn other_methods_are_told_what_is_allowed() {
    let server = Server::start(agreed());
    let mut client = server.client();
    for method in ["DELETE", "OPTIONS", "BREW"] {
        client.send(&format!("{method} / HTTP/1.1\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status(), response.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[test]
fn a_body_is_not_read_and_ends_the_connection() {
    let server = Server::start(agreed());
    for (method, status) in [("POST", 405), ("GET", 200)] {
        for announced in ["Content-Length: 1000000000", "Transfer-Encoding: chunked", "Content-Length: 9\r\nExpect: 100-continue"]
        {
            let mut client = server.client();
            client.send(&format!("{method} / HTTP/1.1\r\n{announced}\r\n\r\n"));
            let response = client.response();
            assert_eq!((response.status(), response.header("connection")), (status, Some("close")), "{method} {announced}");
            assert_eq!(client.read_to_end(), 0);
        }
    }
}

#[test]
fn nobody_is_switched_to_another_protocol() {
    let server = Server::start(agreed());
    let mut client = server.client();
    client.send(
        "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    assert_eq!(client.response().body, "hello");
    let mut client = server.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.read_to_end(), 0);
}

#[test]
fn a_head_has_its_bounds() {
    let server = Server::start(agreed());
    let headers = |count| (0..count).map(|nth| format!("x-{nth}: y\r\n")).collect::<String>();
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{}\r\n", headers(32)), 200),
        (format!("GET / HTTP/1.1\r\n{}\r\n", headers(33)), 431),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(7_000)), 200),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(9_000)), 431),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(9_000)), 431),
        ("hello?\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400),
    ] {
        let mut client = server.client();
        client.send(&request);
        let start: String = request.chars().take(40).collect();
        assert_eq!(client.response().status(), status, "{start}");
        if status != 200 {
            assert_eq!(client.read_to_end(), 0, "{start}");
        }
    }
}

#[test]
fn a_source_has_four_connections_and_no_say_over_others() {
    let patient = Duration::from_secs(60);
    let server = Server::start(Limits { send: patient, send_grace: patient, ..agreed() });
    let mut busy: Vec<Client> =
        (0..4).map(|_| Unconnected::new(Ipv4Addr::LOCALHOST).with_a_small_buffer().connect(server.port)).collect();
    busy.iter_mut().for_each(Client::start_reading);
    let mut fifth = server.client();
    assert_eq!(fifth.response().status(), 429);
    assert_eq!(fifth.read_to_end(), 0);
    assert_eq!(server.client_from(Ipv4Addr::new(127, 0, 0, 2)).get("/").status(), 200);
    drop(busy.pop());
    eventually("who has left no longer counts", || server.client().get("/").status() == 200);
}

/// A kubelet's probes come from the node's address, as does whatever else runs on its network.
#[test]
fn idle_connections_of_a_source_give_place_to_a_new_one_of_it() {
    let server = Server::start(agreed());
    let mut idle: Vec<Client> = (0..4).map(|_| server.client()).collect();
    idle.iter_mut().take(2).for_each(|client| assert_eq!(client.get("/").status(), 200));
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(server.client().get("/").status(), 200);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    // One that waits for news gives place as well, and others' connections do not.
    let mut other = server.client_from(Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(other.get("/").status(), 200);
    let mut waiting: Vec<Client> = (0..4).map(|_| server.client()).collect();
    waiting.iter_mut().for_each(|client| client.send("GET /v1/report?after=b007.1&wait=60s HTTP/1.1\r\n\r\n"));
    assert_eq!(server.client().get("/").status(), 200);
    assert_eq!(other.get("/").status(), 200);
}

/// 400 clients of 100 addresses, each of which sends request after request without waiting, while somebody else asks now and then.
#[test]
fn clients_that_ask_without_end_keep_nobody_out() {
    allow_descriptors(4096);
    let server = Server::start(agreed());
    let (port, over) = (server.port, Arc::new(AtomicBool::new(false)));
    let flood: Vec<_> = (0..4)
        .map(|part: u8| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut clients: Vec<Pipelining> =
                    (0..100).map(|nth| Pipelining::new(Ipv4Addr::new(127, 3, part, nth / 4 + 1), port)).collect();
                while !over.load(Ordering::Relaxed) {
                    clients.iter_mut().for_each(Pipelining::go_on);
                }
                clients.iter().map(|client| client.connections).sum::<u64>()
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        let start = Instant::now();
        let answer = server.client().get("/");
        assert_eq!((answer.status(), answer.body.as_str()), (200, "hello"));
        slowest = slowest.max(start.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    over.store(true, Ordering::Relaxed);
    let connections: u64 = flood.into_iter().map(|part| part.join().unwrap()).sum();
    println!("the slowest of 30 took {slowest:?}, beside {connections} connections of 400 clients");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// 1,000 clients that connect and say nothing, from 250 addresses, while somebody else scrapes on a new connection each time.
#[test]
fn idle_clients_keep_nobody_out() {
    allow_descriptors(4096);
    let server = Server::start(agreed());
    let port = server.port;
    let flood = thread::spawn(move || -> Vec<Client> {
        let source = |nth: u16| Ipv4Addr::new(127, 2, 0, u8::try_from(nth / 4).unwrap() + 1);
        (0..1000).map(|nth| Unconnected::new(source(nth)).connect(port)).collect()
    });
    let mut slowest = Duration::ZERO;
    let mut scrape = || {
        let start = Instant::now();
        assert_eq!(server.client().get("/").body, "hello");
        slowest = slowest.max(start.elapsed());
    };
    while !flood.is_finished() {
        scrape();
    }
    let idle = flood.join().unwrap();
    scrape();
    assert!(slowest < Duration::from_secs(2), "a scrape took {slowest:?}");
    eventually("64 connections are left", || server.connections() <= 64);
    eventually("the others gave place", || idle.iter().filter(|client| client.is_ended()).count() >= 1000 - 64);
}

#[test]
fn who_has_waited_longest_for_news_gives_place() {
    let patient = Duration::from_secs(60);
    let server = Server::start(Limits { send: patient, send_grace: patient, ..agreed() });
    let mut clients: Vec<Client> = (0..64).map(|nth| server.client_from(fourth_part(nth))).collect();
    let mut reader = clients.pop().unwrap();
    for (nth, client) in clients.iter_mut().enumerate() {
        client.send("GET /v1/report?after=b007.1&wait=60s HTTP/1.1\r\n\r\n");
        if nth % 21 == 0 {
            assert_eq!(reader.get("/").body, "hello", "and what was sent before is read");
        }
    }
    reader.start_reading();
    assert_eq!(server.client().get("/").body, "hello");
    eventually("the first gives place", || clients[0].is_ended());
    server.publisher.send_replace(Published { round: 2, changed: 2 });
    for client in &mut clients[1..] {
        assert_eq!(client.response().body, "round 2");
    }
}

#[test]
fn who_reads_too_slowly_keeps_nobody_out_for_long() {
    let server = Server::start(Limits { send: Duration::from_secs(60), send_grace: SHORT, ..agreed() });
    let slow: Vec<Client> = (0..64)
        .map(|nth| {
            let mut client = Unconnected::new(fourth_part(nth)).with_a_small_buffer().connect(server.port);
            client.start_reading();
            client
        })
        .collect();
    eventually("somebody else is served", || server.client().get("/").status() == 200);
    assert_eq!(slow.len(), 64);
}

#[test]
fn busy_readers_are_left_alone_and_a_newcomer_is_told_to_try_again() {
    let limits = Limits { connections: 1, send: Duration::from_secs(60), send_grace: Duration::from_secs(60), ..agreed() };
    let server = Server::start(limits);
    let mut reader = server.client();
    reader.start_reading();
    let mut newcomer = server.client_from(Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(newcomer.response().status(), 503);
    assert_eq!(reader.response().body.len(), world::LARGE, "it has all the time that is allowed");
}

#[test]
fn a_byte_now_and_then_is_not_enough() {
    let server = Server::start(Limits { head: SHORT, ..agreed() });
    let mut client = server.client();
    let start = Instant::now();
    eventually("the connection is ended", || client.is_ended() || client.0.write_all(b"G").is_err());
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    eventually("nothing is left of it", || server.connections() == 0);
}

#[test]
fn an_answer_that_nobody_reads_is_dropped() {
    let server = Server::start(Limits { send: SHORT, ..agreed() });
    let mut client = server.client();
    client.start_reading();
    eventually("the connection is ended", || server.connections() == 0);
    assert!(client.read_to_end() < world::LARGE);
}

#[test]
fn a_blocking_query_is_answered_by_the_change_it_waits_for() {
    let server = Server::start(agreed());
    let mut reporter = server.client();
    assert_eq!(reporter.get("/v1/report").body, "round 1");
    assert_eq!(reporter.get("/v1/report?after=gone.7&wait=60s").body, "round 1", "of another boot");
    reporter.send("GET /v1/report?after=b007.1&wait=60s HTTP/1.1\r\n\r\n");
    // An answer on another connection says that the first one is being waited for; a round without change leaves it waiting.
    let mut other = server.client();
    other.send("GET /v1/report?after=b007.1&wait=60s&on=round HTTP/1.1\r\n\r\n");
    server.publisher.send_replace(Published { round: 2, changed: 1 });
    assert_eq!(other.response().body, "round 2");
    assert!(!reporter.is_ended(), "still waiting");
    let start = Instant::now();
    server.publisher.send_replace(Published { round: 3, changed: 3 });
    assert_eq!(reporter.response().body, "round 3");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_blocking_query_is_answered_at_the_end_of_its_wait() {
    let server = Server::start(agreed());
    let mut reporter = server.client();
    let start = Instant::now();
    assert_eq!(reporter.get("/v1/report?after=b007.1&wait=300ms").body, "round 1");
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    assert_eq!(reporter.get("/v1/report?after=b007.1&wait=0s").body, "round 1");
}

#[test]
fn a_wrong_query_is_told_what_is_wrong() {
    let server = Server::start(agreed());
    let response = server.client().get("/v1/report?wait=30");
    assert_eq!(response.status(), 400);
    assert_eq!(response.body, "wait: \"30\" has no unit: expected a number and a unit, such as 15s, 2500ms or 1m30s\n");
}

#[test]
fn who_closes_its_side_is_answered_if_the_answer_is_at_hand() {
    let server = Server::start(agreed());
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.close_own_side();
    assert_eq!(client.response().body, "hello");
    assert_eq!(client.read_to_end(), 0);

    let mut client = server.client();
    client.send("GET /large HTTP/1.1\r\n\r\n");
    client.close_own_side();
    assert!(client.read_to_end() > world::LARGE);

    let mut client = server.client();
    client.send("GET /v1/report?after=b007.1&wait=60s HTTP/1.1\r\n\r\n");
    client.close_own_side();
    assert_eq!(client.read_to_end(), 0, "and does not hold a place while it waits");
    eventually("nothing is left of them", || server.connections() == 0);
}

/// Raises the soft limit of descriptors: there are as many clients in this process as it has to serve.
fn allow_descriptors(least: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= least, "this test needs {least} file descriptors, and the hard limit is {hard}");
    if soft < least {
        setrlimit(Resource::RLIMIT_NOFILE, least, hard).unwrap();
    }
}
