//! The one thread that a program runs on.
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::unix::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// How many descriptors a runtime takes, two by two: for its poller, its waker, and the pair by which signals arrive.
const PAIRS: usize = 3;

/// A runtime of one thread.
///
/// # Errors
/// There are no descriptors left for it. (tokio itself would panic: the client of the Kubernetes API switches its signals on for every
/// program of this binary.)
pub fn single() -> io::Result<Runtime> {
    let spare: Vec<_> = (0..PAIRS).map(|_| UnixStream::pair()).collect::<io::Result<_>>()?;
    drop(spare);
    Builder::new_current_thread().enable_all().build()
}

/// Container runtimes start processes with a low soft limit, for the sake of old programs that use select(2).
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
