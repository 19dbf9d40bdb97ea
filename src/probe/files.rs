//! Mounted files, read beside a round and not on its thread: each only if it is a regular file, each with a bound.
//!
//! No error of this file carries a byte of what was read: whatever is mounted in the wrong place may be a key.
use guardprobe_core::model::names;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often somebody who waits for a path looks again.
const TURN_PERIOD: Duration = Duration::from_millis(5);

/// A path that is being read: a disk that does not answer holds one thread for each file, however often that is asked for.
struct Turn(PathBuf);

/// The paths that are being read.
static READING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl Turn {
    /// Waits until nobody else reads the path. The caller sets the deadline.
    async fn wait(path: &Path) -> Self {
        loop {
            if let Some(turn) = Turn::take(path) {
                return turn;
            }
            sleep(TURN_PERIOD).await;
        }
    }

    fn take(path: &Path) -> Option<Self> {
        let mut reading = READING.lock().unwrap_or_else(PoisonError::into_inner);
        reading.insert(path.to_owned()).then(|| Turn(path.to_owned()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        READING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Reads at most `most` bytes and one, so that the caller can tell a file that is too large.
///
/// # Errors
/// The file, and why it cannot be read: it is missing, no regular file, or the disk does not answer.
pub async fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let reading = async {
        let turn = Turn::wait(path).await;
        tokio::task::spawn_blocking(move || read_regular(&turn.0, most)).await
    };
    let read = match timeout(names::FILE_TIMEOUT, reading).await {
        Ok(Ok(read)) => read.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("the reader ended".to_owned()),
        Err(_) => Err(format!("not read within {} ms: does its disk answer?", names::FILE_TIMEOUT.as_millis())),
    };
    read.map_err(|why| format!("{}: {why}", path.display()))
}

/// As [`read`], on this thread: for a process that has nothing else to do yet.
///
/// # Errors
/// As [`read`], without the file's name.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Opened and only then looked at: the kubelet may swap the link in between. Without the flag a pipe would block until somebody writes.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::with_capacity(4096);
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
