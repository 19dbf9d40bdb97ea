//! The listener in a process that has no file descriptor left. A file of its own, since the limit is the process's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "serve/world.rs"]
mod world;

use guardprobe::serve::Limits;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::time::Duration;
use world::{Server, Unconnected};

/// CPU time that this process has used.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros =
        [usage.user_time(), usage.system_time()].map(|time| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap());
    Duration::from_micros(micros.iter().sum())
}

#[test]
fn without_descriptors_the_listener_rests_and_goes_on_when_there_are_some() {
    let server = Server::start(Limits::default());
    let mut first = server.client();
    assert_eq!(first.get("/").status(), 200);
    let unconnected = Unconnected::new(Ipv4Addr::LOCALHOST);

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(256), hard).unwrap();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let mut client = unconnected.connect(server.port);
    client.send("GET / HTTP/1.1\r\n\r\n");

    let before = used();
    client.0.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let nothing = client.0.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "not accepted");
    assert!(used() - before < Duration::from_millis(300), "it spins: {:?} of CPU time in a second", used() - before);
    assert_eq!(first.get("/").status(), 200, "those who are in are served");

    drop(taken);
    assert_eq!(client.response().body, "hello");
}
