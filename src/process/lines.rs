//! One JSON line on standard output for each transition.
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::io::Write;
use std::os::fd::AsFd;

/// Writes a line, unless nobody takes what was written before: nothing here waits for whoever reads the log. `what` it is about is told
/// when it is lost.
pub fn write(line: &impl Serialize, what: &str) {
    let stdout = std::io::stdout();
    let mut ready = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    let taken = poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0);
    let written = serde_json::to_vec(line).map(|mut bytes| {
        bytes.push(b'\n');
        bytes
    });
    match written {
        Ok(bytes) if taken => drop(stdout.lock().write_all(&bytes)),
        _ => tracing::warn!(what, "a line is lost: nobody takes standard output"),
    }
}
