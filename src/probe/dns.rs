//! One DNS query and its answer, over TCP or UDP.
use guardprobe_core::judge::control::is_own_answer;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// When an unanswered UDP query is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// The largest datagram that is read; a UDP answer without EDNS is at most 512 bytes. An answer over TCP is at most 65,535 bytes long.
const DATAGRAM_MAX: usize = 4096;

/// The length of a message's head in bytes (RFC 1035, 4.1.1).
const HEAD: usize = 12;

/// A query for the records of a name.
pub(super) fn query(name: &Name, record: RecordType) -> io::Result<Vec<u8>> {
    let mut message = Message::query();
    message.metadata.id = fastrand::u16(..);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), record));
    message.to_vec().map_err(io::Error::other)
}

/// A name server's answer to a query.
#[derive(Debug, Clone)]
pub(super) struct DnsAnswer {
    /// The response code.
    pub(super) code: ResponseCode,
    /// The whole answer; `None` where the server cut it off (TC), so that it has to be asked over TCP.
    pub(super) message: Option<Message>,
}

/// Sends the query on a connection that stands, and waits for its answer. The caller sets the deadline.
///
/// # Errors
/// The connection ended first, or what came back is no answer to the query.
pub(super) async fn over_tcp(stream: &mut TcpStream, query: &[u8]) -> io::Result<DnsAnswer> {
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    answer(query, &buffer).ok_or_else(|| io::Error::other("not an answer to the question"))
}

/// Sends the query by UDP, each second anew, until an answer comes. The caller sets the deadline.
///
/// # Errors
/// The kernel refused to send.
pub(super) async fn over_udp(address: SocketAddr, query: &[u8]) -> io::Result<DnsAnswer> {
    let any = if address.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        socket.send(query).await?;
        if let Ok(answer) = timeout(RESEND_AFTER, first_answer(&socket, query, &mut buffer)).await {
            return Ok(answer);
        }
    }
}

/// Passes over whatever else comes in: it must never be what makes us send.
async fn first_answer(socket: &UdpSocket, query: &[u8], buffer: &mut [u8]) -> DnsAnswer {
    loop {
        match socket.recv(buffer).await {
            Ok(length) => {
                if let Some(answer) = answer(query, &buffer[..length]) {
                    return answer;
                }
            }
            // Nobody listens there (any more); the next query may get through.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The bytes as an answer to that query, if they are one: the same id, and the same question. Of an answer that was cut off only the head
/// counts, since the rest may end within a record.
fn answer(query: &[u8], bytes: &[u8]) -> Option<DnsAnswer> {
    let head = bytes.get(..HEAD)?;
    let is_response = head[2] & 0x80 != 0 && head[..2] == query[..2];
    if !is_response {
        return None;
    }
    if head[2] & 0x02 != 0 {
        return Some(DnsAnswer { code: ResponseCode::from_low(head[3] & 0x0f), message: None });
    }
    let (asked, message) = (Message::from_vec(query).ok()?, Message::from_vec(bytes).ok()?);
    let code = message.metadata.response_code;
    // Some servers leave the question out where they refuse.
    let is_bare = message.queries.is_empty() && !is_own_answer(code.into());
    (message.queries == asked.queries || is_bare).then_some(DnsAnswer { code, message: Some(message) })
}
