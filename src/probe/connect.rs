//! One attempt: a new socket from a new port, and how the kernel says it ended.
//!
//! socket2, the error queue and raw errno values live in this file and nowhere else.
#![expect(clippy::disallowed_methods, reason = "an attempt is timed here, at the edge")]
use super::pod::PodNetwork;
use futures_util::future::select_all;
use guardprobe_core::judge::attempt::{self, Ending, Icmp};
use guardprobe_core::model::address::Family;
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome, Source};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Attempt {
    ending: Ending,
    queued: Option<Icmp>,
    pub(super) outcome: Outcome,
    /// From before `connect(2)` until the outcome was known.
    pub(super) latency: Duration,
    /// The connection, where one stands.
    pub(super) stream: Option<TcpStream>,
}

impl Attempt {
    /// True when the connection stood at the first SYN.
    pub(super) fn stood_at_first_syn(&self) -> bool {
        self.outcome == Outcome::Connected && self.latency < names::FIRST_SYN
    }

    /// The size of the connection's segments in bytes (TCP_MAXSEG), where one stands.
    pub(super) fn segment_size(&self) -> Option<u32> {
        SockRef::from(self.stream.as_ref()?).tcp_mss().ok()
    }

    /// The observation that this attempt is, before anything is asked on its connection.
    pub(super) fn observation(&self, address: SocketAddr, source: Source) -> Observation {
        Observation {
            latency_seconds: self.latency.as_secs_f64(),
            detail: self.detail(),
            sender: self.sender(),
            ..Observation::new(address, source, self.outcome)
        }
    }

    /// The sender of the ICMP error that ended it, where that says something.
    pub(super) fn sender(&self) -> Option<IpAddr> {
        attempt::sender(self.queued)
    }

    /// The outcome in words, where there is more to say.
    pub(super) fn detail(&self) -> Option<String> {
        attempt::detail(self.ending, self.queued)
    }
}

/// Tries to connect for at most `budget`. Whatever goes wrong is an ending, never an error.
///
/// The socket closes with a reset (SO_LINGER 0), so that neither side keeps state of a probe.
pub(super) async fn connect(network: &PodNetwork, address: SocketAddr, budget: Duration) -> Attempt {
    let start = Instant::now();
    connect_until(network, address, start, start + budget).await
}

/// As [`connect`], by several connections at once: the first that stands, else what says least that nobody is let through.
pub(super) async fn connect_any(network: &PodNetwork, address: SocketAddr, budget: Duration, flows: usize) -> Attempt {
    let all = (0..flows.max(1)).map(|_| Box::pin(connect(network, address, budget)));
    let (mut worst, _, mut running) = select_all(all).await;
    while worst.outcome != Outcome::Connected && !running.is_empty() {
        let (next, _, rest) = select_all(running).await;
        running = rest;
        if rank(next.outcome) < rank(worst.outcome) {
            worst = next;
        }
    }
    worst
}

/// The order in which outcomes speak for all flows to one address: doubts first, the best proof last.
fn rank(outcome: Outcome) -> usize {
    const DOUBTS_FIRST: [Outcome; 8] = [
        Outcome::Connected,
        Outcome::LocalError,
        Outcome::DeniedLocally,
        Outcome::Refused,
        Outcome::Unreachable,
        Outcome::TimedOut,
        Outcome::Rejected,
        Outcome::Skipped,
    ];
    DOUBTS_FIRST.iter().position(|known| *known == outcome).unwrap_or(0)
}

/// As [`connect`], from `start` until then: attempts that end at the same instant cost the process one awakening.
pub(super) async fn connect_until(network: &PodNetwork, address: SocketAddr, start: Instant, deadline: Instant) -> Attempt {
    let local = network.local(Family::of(address.ip()));
    let end = |ending, queued, stream| {
        let outcome = attempt::outcome(ending, queued, local);
        Attempt { ending, queued, outcome, latency: start.elapsed(), stream }
    };
    let stream = match begin(address) {
        Ok(stream) => stream,
        Err(error) => return end(Ending::ErrnoAtOnce(error.raw_os_error().unwrap_or(0)), None, None),
    };
    match timeout_at(deadline.into(), settled(&stream)).await {
        Err(_) if deadline.elapsed() > names::HELD_UP => end(Ending::HeldUp, None, None),
        Err(_) => end(Ending::BudgetSpent, queued(&stream), None),
        Ok(Err((ending, queued))) => end(ending, queued, None),
        Ok(Ok(())) => end(Ending::Established, None, Some(stream)),
    }
}

/// A connection on its way: the SYN is sent when this returns.
fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    ask_for_errors(&socket, address);
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => TcpStream::from_std(socket.into()),
    }
}

/// Without the error queue (some sandboxes have none) a rejection may look like a reset or a local rule: never like a block.
fn ask_for_errors(socket: &Socket, address: SocketAddr) {
    let _ = match address {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &true),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &true),
    };
}

/// Waits until the handshake completed or failed.
///
/// Over IPv6 an ICMP error may wake us through the queue alone, while SO_ERROR is still 0 and the kernel goes on trying: so
/// "no error" is not yet "connected", and only a peer address proves it.
async fn settled(stream: &TcpStream) -> Result<(), (Ending, Option<Icmp>)> {
    loop {
        stream.writable().await.map_err(|error| (errno(&error), None))?;
        if let Some(error) = stream.take_error().unwrap_or_else(Some) {
            return Err((errno(&error), queued(stream)));
        }
        if stream.peer_addr().is_ok() {
            return Ok(());
        }
        if let Some(icmp) = queued(stream) {
            return Err((Ending::Errno(0), Some(icmp)));
        }
        // Nothing has happened after all: forget this readiness and wait for the next.
        let _ = stream.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}

fn errno(error: &io::Error) -> Ending {
    Ending::Errno(error.raw_os_error().unwrap_or(0))
}

/// The first ICMP error in the socket's queue. A reset leaves none.
fn queued(stream: &TcpStream) -> Option<Icmp> {
    let mut payload = [0u8; 64];
    let mut iov = [IoSliceMut::new(&mut payload)];
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(stream.as_raw_fd(), &mut iov, Some(&mut control), flags).ok()?;
    message.cmsgs().ok()?.find_map(icmp)
}

fn icmp(message: ControlMessageOwned) -> Option<Icmp> {
    const ORIGIN_ICMP: u8 = nix::libc::SO_EE_ORIGIN_ICMP;
    const ORIGIN_ICMP6: u8 = nix::libc::SO_EE_ORIGIN_ICMP6;
    let (family, error, from) = match message {
        ControlMessageOwned::Ipv4RecvErr(error, from) => {
            (Family::Ipv4, error, from.map(|from| IpAddr::from(from.sin_addr.s_addr.to_ne_bytes())))
        }
        ControlMessageOwned::Ipv6RecvErr(error, from) => {
            (Family::Ipv6, error, from.map(|from| IpAddr::from(from.sin6_addr.s6_addr)))
        }
        _ => return None,
    };
    let from = from.filter(|ip| !ip.is_unspecified());
    let network = matches!(error.ee_origin, ORIGIN_ICMP | ORIGIN_ICMP6);
    network.then_some(Icmp { family, kind: error.ee_type, code: error.ee_code, from })
}
