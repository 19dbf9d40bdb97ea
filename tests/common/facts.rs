//! Facts that are looked for until they hold, or until an end.
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
use jiff::{SignedDuration, Timestamp};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything is waited for that ought to come soon, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until there is something; a failure tells what was there last.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, look)
}

/// As [`eventually`], for so long.
#[track_caller]
pub(crate) fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if Instant::now() >= end => panic!("not within {patience:?}: {what}; last: {last}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Looks until it is so; for facts that are shown by themselves.
#[track_caller]
pub(crate) fn until<T: std::fmt::Debug>(what: &str, mut value: impl FnMut() -> T, is: impl Fn(&T) -> bool) -> T {
    eventually(what, || {
        let now = value();
        if is(&now) { Ok(now) } else { Err(format!("{now:?}")) }
    })
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Asserts that a moment lies between two others, give or take what a clock is read late.
#[track_caller]
pub(crate) fn assert_between(what: &str, from: Timestamp, at: Timestamp, to: Timestamp) {
    let early = from.duration_since(at).as_secs_f64();
    let late = at.duration_since(to).as_secs_f64();
    assert!(early <= SLACK, "{what} at {at} is {early:.3} s before {from}");
    assert!(late <= SLACK, "{what} at {at} is {late:.3} s after {to}");
}

/// Seconds that a step of a process may be late on a machine that has other things to do.
pub(crate) const SLACK: f64 = 0.3;

/// That long after a moment.
pub(crate) fn after(at: Timestamp, length: Duration) -> Timestamp {
    at + SignedDuration::try_from(length).unwrap()
}

/// Seconds of CPU that a process has used.
pub(crate) fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid)).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap()).collect();
    (ticks[0] + ticks[1]) / 100.0
}

/// A line of `/proc/<pid>/status`, in MiB.
pub(crate) fn memory(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}
