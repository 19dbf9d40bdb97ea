//! From a loopback port to a port of another network namespace: a process there whose standard input is the listener. The one to the first node's
//! agent also takes the word to take a guard away or to bring it back, and hands that to the lab on its standard output.
use super::role;
use crate::process::runtime;
use crate::wire::relay::{every, relay, turn_away};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The request by which guards are switched, before `on` or `off`, a slash and the name of a node or `all`.
pub(super) const SWITCH: &str = "/lab/guard/";
/// A header that the request has, which a page from elsewhere cannot send without being asked first.
pub(super) const HEADER: &str = "guardprobe-lab";
/// In place of a node's name: every node.
pub(super) const ALL: &str = "all";
/// How many connections are forwarded at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// What such a process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Forward {
    /// Where it leads.
    pub(super) to: SocketAddr,
    /// The nodes about whose guards it takes words.
    pub(super) nodes: Vec<String>,
}

/// Starts one where the calling thread is.
pub(super) fn start(forward: &Forward, listener: TcpListener, words: Stdio) -> io::Result<Child> {
    role::command("forward", &serde_json::to_string(forward)?).stdin(OwnedFd::from(listener)).stdout(words).spawn()
}

/// Serves until the lab ends.
///
/// # Errors
/// Standard input is no listener.
pub(super) fn run(forward: Forward) -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let runtime = runtime::single()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        every(listener, CONNECTIONS_MAX, |stream| serve(stream, forward.clone())).await
    })
}

async fn serve(from: TcpStream, forward: Forward) -> io::Result<()> {
    if forward.nodes.is_empty() {
        return pass(from, forward.to).await;
    }
    let mut start = [0; 256];
    let length = timeout(PATIENCE, from.peek(&mut start)).await??;
    let start = String::from_utf8_lossy(&start[..length]).into_owned();
    let switch = start.strip_prefix("POST ").and_then(|rest| rest.strip_prefix(SWITCH)).and_then(|rest| rest.split(' ').next());
    match switch {
        Some(words) if start.contains(HEADER) && is_known(words, &forward.nodes) => {
            io::stdout().write_all(format!("{words}\n").as_bytes())?;
            io::stdout().flush()?;
            turn_away(from, "200 OK", words).await
        }
        Some(_) => turn_away(from, "404 Not Found", &format!("the nodes here are {}", forward.nodes.join(", "))).await,
        None => pass(from, forward.to).await,
    }
}

/// True for `on` or `off`, and one of the nodes or all.
fn is_known(words: &str, nodes: &[String]) -> bool {
    let node = words.strip_prefix("on/").or_else(|| words.strip_prefix("off/"));
    node.is_some_and(|node| node == ALL || nodes.iter().any(|known| known == node))
}

async fn pass(mut from: TcpStream, to: SocketAddr) -> io::Result<()> {
    match TcpStream::connect(to).await {
        Ok(to) => {
            relay(&mut from, to).await;
            Ok(())
        }
        Err(_) => turn_away(from, "503 Service Unavailable", "what is asked for is not there yet").await,
    }
}
