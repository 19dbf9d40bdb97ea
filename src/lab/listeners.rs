//! The listeners of a held lab: made where the host's loopback is, and handed to the first process inside by its standard input, a Unix socket.
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// How many nodes a lab may have: so that space for all listeners is known.
pub(super) const NODES_MAX: u8 = 9;
const MOST: usize = NODES_MAX as usize + 2;

/// Where the host gets in.
pub(super) struct Listeners {
    /// To the agent of each node.
    pub(super) agents: Vec<TcpListener>,
    pub(super) reporter: TcpListener,
    /// To the reporter's status page.
    pub(super) page: TcpListener,
}

impl Listeners {
    /// Takes a port for the first agent, the next two for the reporter and its page, and those after them for the other agents; or free ones for
    /// port 0.
    ///
    /// # Errors
    /// One of them is taken, and which.
    pub(super) fn bind(first: SocketAddr, nodes: u8) -> io::Result<Self> {
        let one = |nth: u16| {
            let port = if first.port() == 0 { Some(0) } else { first.port().checked_add(nth) };
            let port = port.ok_or_else(|| io::Error::other("too few ports are left after it"))?;
            let at = SocketAddr::new(first.ip(), port);
            TcpListener::bind(at).map_err(|error| io::Error::new(error.kind(), format!("{at}: {error}")))
        };
        let agents = (0..nodes).map(|nth| one(if nth == 0 { 0 } else { u16::from(nth) + 2 })).collect::<io::Result<_>>()?;
        Ok(Listeners { agents, reporter: one(1)?, page: one(2)? })
    }

    /// Hands them over: what comes out is the standard input of the process that [`Listeners::receive`]s them.
    pub(super) fn send(&self) -> io::Result<OwnedFd> {
        let (here, there) = UnixStream::pair()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = [&self.reporter, &self.page].into_iter().chain(&self.agents).map(AsFd::as_fd).collect();
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
    /// They are not there.
    pub(super) fn receive(nodes: u8) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let mut all = rights.flatten().map(TcpListener::from);
        let (reporter, page, agents) = (all.next(), all.next(), all.collect::<Vec<_>>());
        match (reporter, page) {
            // Who has no descriptors left is given fewer.
            (Some(reporter), Some(page)) if agents.len() == usize::from(nodes) => Ok(Listeners { agents, reporter, page }),
            _ => Err(io::Error::other("not all listeners have arrived: are there file descriptors left?")),
        }
    }
}
