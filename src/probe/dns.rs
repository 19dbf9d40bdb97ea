//! A DNS control: any well-formed answer, NXDOMAIN included, proves that the pod's network carries packets both ways.
#![expect(clippy::disallowed_methods, reason = "an exchange is timed here, at the edge")]
use super::connect::connect;
use futures_util::future::{Either, select};
use guardprobe_core::model::observation::{Evidence, Observation, Outcome, Source};
use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

/// How long UDP is alone before TCP is tried as well, so that in quiet times the cluster's DNS sees one packet a round.
const TCP_AFTER: Duration = Duration::from_millis(300);
/// When an unanswered query is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// The largest answer that is read; a UDP answer without EDNS is at most 512 bytes.
const ANSWER_MAX: usize = 4096;

/// Asks one resolver for an address of `name`, over UDP and, a little later, over TCP.
pub(super) async fn ask(address: SocketAddr, source: Source, name: &Name, budget: Duration) -> Observation {
    let start = Instant::now();
    let query = match query(name) {
        Ok(query) => query,
        Err(error) => return failed(address, source, Outcome::LocalError, error.to_string()),
    };
    let over_udp = pin!(async { timeout(budget, udp(address, &query)).await.ok()?.ok() });
    let over_tcp = pin!(async {
        sleep(TCP_AFTER.min(budget)).await;
        tcp(address, source, &query, budget.saturating_sub(TCP_AFTER)).await
    });
    let answer = match select(over_udp, over_tcp).await {
        Either::Left((Some(answer), _)) => Ok((answer, "UDP")),
        Either::Left((None, over_tcp)) => over_tcp.await.map(|answer| (answer, "TCP")),
        Either::Right((Ok(answer), _)) => Ok((answer, "TCP")),
        Either::Right((Err(seen), over_udp)) => over_udp.await.map(|answer| (answer, "UDP")).ok_or(seen),
    };
    match answer {
        Ok((answer, way)) => answered(address, source, start.elapsed(), &answer, way),
        Err(seen) => seen,
    }
}

fn query(name: &Name) -> io::Result<Vec<u8>> {
    let mut message = Message::query();
    message.metadata.id = fastrand::u16(..);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), RecordType::A));
    message.to_vec().map_err(io::Error::other)
}

async fn udp(address: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let any = if address.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    let mut buffer = vec![0; ANSWER_MAX];
    loop {
        socket.send(query).await?;
        if let Ok(answer) = timeout(RESEND_AFTER, first_answer(&socket, query, &mut buffer)).await {
            return Ok(answer);
        }
    }
}

/// Passes over whatever else comes in: it must never be what makes us send.
async fn first_answer(socket: &UdpSocket, query: &[u8], buffer: &mut [u8]) -> Message {
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

async fn tcp(address: SocketAddr, source: Source, query: &[u8], budget: Duration) -> Result<Message, Observation> {
    let mut attempt = connect(address, budget).await;
    let seen = attempt.observation(address, source);
    let Some(mut stream) = attempt.stream.take() else { return Err(seen) };
    let exchange = async {
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
        let mut buffer = vec![0; usize::from(stream.read_u16().await?).min(ANSWER_MAX)];
        stream.read_exact(&mut buffer).await?;
        answer(query, &buffer).ok_or_else(|| io::Error::other("not an answer to the question"))
    };
    match timeout(budget.saturating_sub(attempt.latency), exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Observation { detail: Some(format!("connects, but gives no DNS answer: {error}")), ..seen }),
        Err(_) => Err(Observation { detail: Some("connects, but gives no DNS answer".to_owned()), ..seen }),
    }
}

/// The bytes as an answer to that query, if they are one.
fn answer(query: &[u8], bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let same = bytes.get(..2) == query.get(..2);
    (same && message.metadata.message_type == MessageType::Response).then_some(message)
}

fn answered(address: SocketAddr, source: Source, latency: Duration, answer: &Message, way: &str) -> Observation {
    Observation {
        latency_seconds: latency.as_secs_f64(),
        evidence: Some(Evidence::Answered),
        detail: Some(format!("DNS answer over {way}: {}", answer.metadata.response_code)),
        ..Observation::new(address, source, Outcome::Connected)
    }
}

fn failed(address: SocketAddr, source: Source, outcome: Outcome, detail: String) -> Observation {
    Observation { detail: Some(detail), ..Observation::new(address, source, outcome) }
}
