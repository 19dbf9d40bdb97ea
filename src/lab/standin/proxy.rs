//! A mesh's proxy: it accepts for everybody, then connects to where the pod wanted to go.
use crate::lab::plan;
use nix::sys::socket::{SockaddrIn, SockaddrIn6, getsockopt, setsockopt, sockopt};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use tokio::net::{TcpSocket, TcpStream};

/// Joins a redirected connection with one to its original destination; hangs up when there is none.
pub(super) async fn forward(mut from: TcpStream) -> io::Result<()> {
    let wanted = original(&from)?;
    let socket = if wanted.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    setsockopt(&socket, sockopt::Mark, &plan::PROXY_MARK)?;
    let mut to = socket.connect(wanted).await?;
    tokio::io::copy_bidirectional(&mut from, &mut to).await.map(drop)
}

fn original(stream: &TcpStream) -> io::Result<SocketAddr> {
    Ok(match stream.local_addr()? {
        local if local.ip().to_canonical().is_ipv4() => {
            SocketAddrV4::from(SockaddrIn::from(getsockopt(stream, sockopt::OriginalDst)?)).into()
        }
        _ => SocketAddrV6::from(SockaddrIn6::from(getsockopt(stream, sockopt::Ip6tOriginalDst)?)).into(),
    })
}
