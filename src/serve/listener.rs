//! Binding, accepting, and letting in.
use super::admission::{Admission, Guest, admit};
use super::connection;
use super::limits::Limits;
use super::progress::Progress;
use super::site::Site;
use futures_util::FutureExt;
use guardprobe_core::model::names;
use hyper::StatusCode;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::sleep;

/// A listener that is bound, and not yet serving: clients that connect already are served later.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens: with the port that it got, if port 0 was asked for.
    pub addr: SocketAddr,
    listener: TcpListener,
}

/// Binds `listen`. `[::]` takes IPv4 as well, and where there is no IPv6 it becomes `0.0.0.0`.
///
/// # Errors
/// The address cannot be listened on; the message names it and says why.
pub async fn bind(listen: SocketAddr) -> io::Result<Bound> {
    let named = |addr, error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"));
    let listener = match open(listen) {
        Err(error) => match without_ipv6(listen, &error) {
            Some(ipv4) => open(ipv4).map_err(|error| named(ipv4, error))?,
            None => return Err(named(listen, error)),
        },
        Ok(listener) => listener,
    };
    Ok(Bound { addr: listener.local_addr()?, listener })
}

fn open(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM.nonblocking().cloexec(), None)?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?; // whatever net.ipv6.bindv6only says
    }
    socket.set_reuse_address(true)?; // connections of our predecessor that linger are no obstacle
    socket.bind(&listen.into())?;
    socket.listen(names::LISTEN_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where to listen instead, when `listen` is every address and `error` says that this system has no IPv6.
fn without_ipv6(listen: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let no_ipv6 = matches!(error.raw_os_error(), Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL));
    let every = listen.is_ipv6() && listen.ip().is_unspecified();
    (every && no_ipv6).then(|| (Ipv4Addr::UNSPECIFIED, listen.port()).into())
}

impl Bound {
    /// Serves `site` within the agreed limits for as long as the future lives; when it is dropped, all connections end.
    pub async fn serve(self, site: Arc<impl Site>) -> ! {
        self.serve_within(Limits::default(), site).await
    }

    /// The same within other limits.
    pub async fn serve_within(self, limits: Limits, site: Arc<impl Site>) -> ! {
        let mut house = House { limits, site, tasks: JoinSet::new(), guests: Vec::new() };
        let mut failing = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    failing = false;
                    // The prober runs on this thread too; and who has just hung up is then no longer counted.
                    yield_now().await;
                    house.receive(stream, peer.ip().to_canonical());
                    // More of those that wait already: where all who are in have much to ask, a turn takes long.
                    for _ in 1..names::ACCEPTED_AT_ONCE {
                        let Some(Ok((stream, peer))) = self.listener.accept().now_or_never() else { break };
                        house.receive(stream, peer.ip().to_canonical());
                    }
                }
                Err(error) if is_of_one_connection(&error) => yield_now().await,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("cannot accept connections at {} for now: {error}", self.addr);
                    }
                    sleep(names::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// True when a connection was over before it was accepted: the next one may be fine. All else (no descriptors, no memory) lasts.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Everybody who is connected.
struct House<T> {
    limits: Limits,
    site: Arc<T>,
    tasks: JoinSet<()>,
    guests: Vec<Connected>,
}

struct Connected {
    source: IpAddr,
    progress: Arc<Progress>,
    task: AbortHandle,
}

impl<T: Site> House<T> {
    /// Lets a new connection in, or not.
    fn receive(&mut self, stream: TcpStream, source: IpAddr) {
        self.forget_the_gone();
        let guests: Vec<Guest> = self.guests.iter().map(Connected::guest).collect();
        match admit(source, &guests, &self.limits) {
            Admission::Welcome => self.welcome(stream, source),
            Admission::InPlaceOf(nth) => {
                let Connected { source: other, task, .. } = self.guests.swap_remove(nth);
                tracing::debug!("a connection of {other} gives place to one of {source}");
                task.abort();
                self.welcome(stream, source);
            }
            Admission::SourceFull => {
                let line = format!("at most {} connections of one address", self.limits.per_source);
                turn_away(stream, StatusCode::TOO_MANY_REQUESTS, &line);
            }
            Admission::Full => turn_away(stream, StatusCode::SERVICE_UNAVAILABLE, "too many connections: try again"),
        }
    }

    fn welcome(&mut self, stream: TcpStream, source: IpAddr) {
        prepare(&stream, &self.limits);
        let progress = Arc::new(Progress::begin(self.limits));
        let task = self.tasks.spawn(connection::serve(stream, Arc::clone(&self.site), Arc::clone(&progress)));
        self.guests.push(Connected { source, progress, task });
    }

    fn forget_the_gone(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.guests.retain(|guest| !guest.task.is_finished());
    }
}

impl Connected {
    fn guest(&self) -> Guest {
        let (doing, lasting) = self.progress.doing();
        Guest { source: self.source, doing, lasting, is_greedy: self.progress.is_greedy() }
    }
}

/// Options that make a connection better, and without which it works as well.
fn prepare(stream: &TcpStream, limits: &Limits) {
    let _ = stream.set_nodelay(true);
    // What is in the kernel's hands when we hang up must not stay there for a client that never reads.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(limits.send));
}

/// Says why and hangs up. What cannot be said at once stays unsaid: nothing here waits.
fn turn_away(stream: TcpStream, status: StatusCode, line: &str) {
    let Ok(mut stream) = stream.into_std() else { return };
    // A request left unread would turn our farewell into a reset.
    let _ = stream.read(&mut [0; names::REQUEST_HEAD_MAX_BYTES]);
    let _ = stream.write(connection::refusal(status, line).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_every_address_has_a_twin_without_ipv6() {
        let no_family = io::Error::from_raw_os_error(nix::libc::EAFNOSUPPORT);
        let no_address = io::Error::from_raw_os_error(nix::libc::EADDRNOTAVAIL);
        let in_use = io::Error::from_raw_os_error(nix::libc::EADDRINUSE);
        for (listen, error, instead) in [
            ("[::]:9797", &no_family, Some("0.0.0.0:9797")),
            ("[::]:9797", &no_address, Some("0.0.0.0:9797")),
            ("[::]:9797", &in_use, None),
            ("[::1]:9797", &no_family, None),
            ("0.0.0.0:9797", &no_address, None),
        ] {
            let instead = instead.map(|addr| addr.parse().unwrap());
            assert_eq!(without_ipv6(listen.parse().unwrap(), error), instead, "{listen}: {error}");
        }
    }
}
