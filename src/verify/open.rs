//! The status page in a browser: a loopback port of this machine, from which each connection goes on to a reporter by a port-forward of its own.
use super::door::{Closed, Door, FLEET_PORT, Way, forward};
use guardprobe_core::model::names;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// How many connections are forwarded at once: a browser comes with six.
const CONNECTIONS_MAX: usize = 32;

/// Opens the page in a browser and, where it is reached by port-forward, serves it until the future is dropped.
///
/// # Errors
/// No reporter answers, or this machine gives no loopback port.
pub(super) async fn page(way: Way) -> Result<(), Closed> {
    let mut door = Door::new(way);
    // Whoever is not permitted, or finds nobody there, is told so here and not by a browser.
    door.fleet().await?;
    let (url, reporter) = (door.url().map(ToString::to_string), door.reporter().to_owned());
    let Some((cluster, namespace)) = door.into_forward() else {
        let url = url.unwrap_or_default();
        show(&url, &format!("told by {reporter}"));
        return Ok(());
    };
    let listener = listen().await.map_err(|error| Closed::NotProven(format!("no loopback port for the page: {error}")))?;
    let at = listener.local_addr().map_err(|error| Closed::NotProven(error.to_string()))?;
    show(&format!("http://{at}/"), &format!("forwarded to the reporters of namespace {namespace}; Ctrl-C ends it"));
    let (cluster, gate) = (Arc::new(cluster), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let mut turn = 0;
    loop {
        let Ok(place) = Arc::clone(&gate).acquire_owned().await else { return Ok(()) };
        let Ok((mut stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await; // no descriptor left, for instance
            continue;
        };
        let (cluster, namespace) = (Arc::clone(&cluster), namespace.clone());
        turn += 1;
        tokio::spawn(async move {
            let _place = place;
            // Another replica may answer.
            let forwarded = match forward(&cluster, &namespace, 0).await {
                Err(Closed::NotProven(_)) => forward(&cluster, &namespace, turn).await,
                done => done,
            };
            match forwarded {
                Ok((_, mut forwarded)) => drop(copy_bidirectional(&mut stream, &mut forwarded.stream).await),
                Err(closed) => drop(refuse(stream, &closed.to_string()).await),
            }
        });
    }
}

/// The reporter's own port where it is free, so that the address is the same next time.
async fn listen() -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, FLEET_PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}

fn show(url: &str, how: &str) {
    anstream::println!("The status page: {url}   ({how})");
    if let Err(error) = open::that_detached(url) {
        anstream::eprintln!("no browser could be started here ({error}): open it yourself");
    }
}

/// Says in the browser why there is no page.
async fn refuse(mut to: TcpStream, why: &str) -> io::Result<()> {
    let head = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n";
    to.write_all(format!("{head}Content-Length: {}\r\n\r\n{why}", why.len()).as_bytes()).await?;
    to.shutdown().await?;
    // An unread request would turn the end into a reset, and the answer would be lost.
    timeout(names::API_TIMEOUT, tokio::io::copy(&mut to, &mut tokio::io::sink())).await?.map(drop)
}
