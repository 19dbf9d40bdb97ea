//! The one thread that a program runs on.
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::io;
use tokio::runtime::{Builder, Runtime};

/// How many descriptors a runtime takes: for its poller, its waker, and the pair by which signals arrive.
const DESCRIPTORS: usize = 6;

/// A runtime of one thread.
///
/// # Errors
/// There are no descriptors left for it. (tokio itself would panic: the client of the Kubernetes API switches its signals on for every
/// program of this binary.)
pub fn single() -> io::Result<Runtime> {
    let spare: Vec<File> = (0..DESCRIPTORS).map(|_| File::open("/dev/null")).collect::<io::Result<_>>()?;
    drop(spare);
    Builder::new_current_thread().enable_all().build()
}

/// Container runtimes start processes with a low soft limit, for the sake of old programs that use select(2).
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
