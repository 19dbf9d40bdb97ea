//! From a loopback port of the host to the agent in its pod: a process in the pod's network namespace whose standard input is the host's
//! listener. It also takes the word to take the guard away or to bring it back, and hands that to the lab on its standard output.
use super::plan;
use crate::process::runtime;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The request by which the guard is switched, before `on` or `off`.
pub(super) const SWITCH: &str = "/lab/guard/";
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until the lab ends.
///
/// # Errors
/// Standard input is no listener.
pub(super) fn run() -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let runtime = runtime::single()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    })
}

async fn serve(mut from: TcpStream) -> io::Result<()> {
    let mut start = [0; 64];
    let length = timeout(PATIENCE, from.peek(&mut start)).await??;
    let start = String::from_utf8_lossy(&start[..length]).into_owned();
    let switch = start.strip_prefix("POST ").and_then(|rest| rest.strip_prefix(SWITCH)).and_then(|rest| rest.split(' ').next());
    match switch {
        Some(word @ ("on" | "off")) => {
            io::stdout().write_all(format!("{word}\n").as_bytes())?;
            io::stdout().flush()?;
            answer(from, "200 OK", word).await
        }
        Some(_) => answer(from, "404 Not Found", "expected on or off").await,
        None => match TcpStream::connect(plan::AGENT).await {
            Ok(mut to) => tokio::io::copy_bidirectional(&mut from, &mut to).await.map(drop),
            Err(_) => answer(from, "503 Service Unavailable", "the agent is not there yet").await,
        },
    }
}

async fn answer(mut to: TcpStream, status: &str, text: &str) -> io::Result<()> {
    let length = text.len() + 1;
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}\n");
    to.write_all(answer.as_bytes()).await?;
    to.shutdown().await?;
    // An unread request would turn the end into a reset, and the answer would be lost.
    timeout(Duration::from_secs(1), tokio::io::copy(&mut to, &mut tokio::io::sink())).await?.map(drop)
}
