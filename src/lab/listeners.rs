//! The listeners of a held lab: made where the host's loopback is, and handed to the first process inside by its standard input, a Unix socket.
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// How many there are: for the first node's agent, the reporter, and its page.
pub(super) const COUNT: usize = 3;

/// Takes the port and the ones after it, or free ones for port 0.
///
/// # Errors
/// One of them is taken, and which.
pub(super) fn bind(first: SocketAddr) -> io::Result<[TcpListener; COUNT]> {
    let one = |nth: u16| {
        let port = if first.port() == 0 { Some(0) } else { first.port().checked_add(nth) };
        let at =
            port.map(|port| SocketAddr::new(first.ip(), port)).ok_or_else(|| io::Error::other("no port is left after it"))?;
        TcpListener::bind(at).map_err(|error| io::Error::new(error.kind(), format!("{at}: {error}")))
    };
    Ok([one(0)?, one(1)?, one(2)?])
}

/// Hands them over: what comes out is the standard input of the process that [`receive`]s them.
pub(super) fn send(listeners: &[TcpListener; COUNT]) -> io::Result<OwnedFd> {
    let (here, there) = UnixStream::pair()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = listeners.each_ref().map(AsFd::as_fd);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no space for the listeners"));
    }
    // What is sent stays in the socket until it is read, though this end is closed by then.
    sendmsg(&here, &[IoSlice::new(b"L")], &mut control, SendFlags::empty())?;
    Ok(there.into())
}

/// Takes them from standard input.
///
/// # Errors
/// There are none.
pub(super) fn receive() -> io::Result<[TcpListener; COUNT]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNT))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let listeners: Vec<TcpListener> = rights.flatten().map(TcpListener::from).collect();
    listeners.try_into().map_err(|_| io::Error::other("standard input holds no listeners"))
}
