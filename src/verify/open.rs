//! The status page in a browser: a loopback port of this machine, from which each connection goes on to a reporter by a port-forward of its own.
use super::door::{Closed, Door, FLEET_PORT, Forward, forward};
use crate::cluster::forward::Forwarded;
use crate::process::terminal;
use crate::show::clean;
use crate::wire::Heard;
use crate::wire::relay::{every, relay, turn_away};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// How many connections are forwarded at once: a browser comes with six.
const CONNECTIONS_MAX: usize = 32;

/// Opens the page of the reporter behind that door, which has answered; `shown` is told when it is there to be looked at. Where it is reached by
/// port-forward, serves it until the future is dropped.
///
/// # Errors
/// This machine gives no loopback port.
pub(super) async fn page(door: Door, shown: impl Fn()) -> Result<(), Closed> {
    let reporter = door.reporter().to_owned();
    let way = match door.into_forward() {
        Ok(way) => way,
        Err(url) => {
            show(&url.to_string(), &format!("told by {reporter}"));
            return Ok(());
        }
    };
    let listener = listen().await.map_err(|error| Closed::NotProven(format!("no loopback port for the page: {error}")))?;
    let at = listener.local_addr().map_err(|error| Closed::NotProven(error.to_string()))?;
    show(&format!("http://{at}/"), &format!("forwarded to the reporters of namespace {}; Ctrl-C ends it", way.namespace));
    shown();
    let way = Arc::new(Mutex::new(way));
    every(listener, CONNECTIONS_MAX, |stream| {
        let way = Arc::clone(&way);
        async move { serve(stream, &way).await }
    })
    .await
}

/// The reporter's own port where it is free, so that the address is the same next time.
async fn listen() -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, FLEET_PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}

fn show(url: &str, how: &str) {
    let _ = writeln!(io::stdout().lock(), "The status page: {url}   ({})", clean(how));
    if open::that_detached(url).is_err() {
        terminal::say("no browser could be started here: open it yourself");
    }
}

/// A stream to a reporter: the first, else another replica.
async fn forward_to_any(way: &Mutex<Forward>) -> Result<(String, Forwarded), Closed> {
    let (cluster, namespace) = {
        let mut way = way.lock().await;
        (way.cluster().await?, way.namespace.clone())
    };
    match forward(&cluster, &namespace, 0).await {
        Err(Closed::NotProven(_) | Closed::NotReady(_)) => forward(&cluster, &namespace, 1).await,
        Err(Closed::Unauthenticated(_)) => way.lock().await.stream(0).await,
        done => done,
    }
}

/// One connection. Why there is no page is told in the browser.
async fn serve(mut stream: TcpStream, way: &Mutex<Forward>) -> io::Result<()> {
    match forward_to_any(way).await {
        Ok((at, Forwarded { stream: to, mut line })) => {
            let (to, anything) = Heard::listen(to);
            relay(&mut stream, to).await;
            if anything.load(Ordering::Relaxed) {
                return Ok(());
            }
            let why = line.complaint().await.unwrap_or_else(|| "it ended the connection".to_owned());
            turn_away(stream, "502 Bad Gateway", &format!("{at} gave no answer: {why}")).await
        }
        Err(closed) => turn_away(stream, "502 Bad Gateway", &closed.to_string()).await,
    }
}
