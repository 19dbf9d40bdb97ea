//! One JSON line on standard output for each transition.
use guardprobe_core::model::transition::Line;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Write;
use std::os::fd::AsFd;

/// Writes a line, unless nobody takes what was written before: rounds must not wait for whoever reads the log.
pub(super) fn write(line: &Line) {
    let stdout = std::io::stdout();
    let mut ready = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    let taken = poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0);
    let written = serde_json::to_vec(line).map(|mut bytes| {
        bytes.push(b'\n');
        bytes
    });
    match written {
        Ok(bytes) if taken => drop(stdout.lock().write_all(&bytes)),
        _ => tracing::warn!(
            of = line.transition.target,
            event = line.transition.event.as_str(),
            "a line is lost: nobody takes standard output"
        ),
    }
}
