//! Being asked to end, as bytes on a socket. (tokio's own signals take descriptors in every program of this binary and panic where none is
//! left: a check that has run out of descriptors must be able to say so.)
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io;
use std::os::unix::net::UnixStream as Pipe;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// SIGTERM and SIGINT, which from now on do no longer what they do by default.
#[derive(Debug)]
pub struct Signals {
    terminate: UnixStream,
    interrupt: UnixStream,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn catch() -> io::Result<Self> {
        Ok(Signals { terminate: catch(SIGTERM)?, interrupt: catch(SIGINT)? })
    }

    /// Waits for SIGTERM, `true`, or SIGINT, `false`.
    ///
    /// # Errors
    /// The socket that carries the signal is broken.
    pub async fn terminated(&mut self) -> io::Result<bool> {
        tokio::select! {
            read = self.terminate.read_u8() => read.map(|_| true),
            read = self.interrupt.read_u8() => read.map(|_| false),
        }
    }
}

fn catch(signal: i32) -> io::Result<UnixStream> {
    let (read, write) = Pipe::pair()?;
    write.set_nonblocking(true)?;
    read.set_nonblocking(true)?;
    pipe::register(signal, write)?;
    UnixStream::from_std(read)
}
