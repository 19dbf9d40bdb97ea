//! A name server that knows a handful of names, over UDP and TCP.
use super::DnsAnswers;
use crate::lab::plan;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// The names that exist, each with its addresses; anything else is NXDOMAIN.
fn lookup(name: &str) -> Option<Vec<IpAddr>> {
    match name {
        "kubernetes.default.svc.cluster.local." => Some(vec![plan::CLUSTER_IP.ip()]),
        "api.lab." => Some(plan::ENDPOINTS.map(|at| at.ip()).to_vec()),
        "metadata.lab." => Some(plan::IMDS.to_vec()),
        "vault.default.svc.cluster.local." => Some(vec![plan::VAULT_SERVICE.ip()]),
        "vault.lab." => plan::many().take(1).map(|at| vec![at.ip()]).next(),
        _ => None,
    }
}

/// The answer to a query, as bytes; none to what is no query.
fn answer(query: &[u8], answers: DnsAnswers) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let asked = query.queries.first()?.clone();
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let found = lookup(&asked.name().to_lowercase().to_ascii()).filter(|_| answers == DnsAnswers::Known);
    match (found, answers) {
        (_, DnsAnswers::Refused) => answer.metadata.response_code = ResponseCode::Refused,
        (_, DnsAnswers::Failure) => answer.metadata.response_code = ResponseCode::ServFail,
        (None, _) => answer.metadata.response_code = ResponseCode::NXDomain,
        (Some(addresses), _) => {
            let data = addresses.into_iter().filter_map(|ip| record_data(ip, asked.query_type()));
            answer.add_answers(data.map(|data| Record::from_rdata(asked.name().clone(), 5, data)));
        }
    }
    answer.add_query(asked);
    answer.to_vec().ok()
}

fn record_data(ip: IpAddr, asked: RecordType) -> Option<RData> {
    match (ip, asked) {
        (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(ip))),
        (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(ip))),
        _ => None,
    }
}

/// Binds, then answers datagrams for as long as the process lives.
pub(super) async fn serve_udp(at: SocketAddr, answers: DnsAnswers) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::bind(at).await?);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            // An error here is an ICMP answer to something sent before: somebody hung up.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            if let Some(answer) = answer(&buffer[..length], answers) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    Ok(())
}

/// Answers the queries of one connection, each behind its length.
pub(super) async fn answer_stream(mut stream: TcpStream, answers: DnsAnswers) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        let Some(answer) = answer(&query, answers) else { return Ok(()) };
        stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;

    fn ask(name: &str, kind: RecordType) -> (ResponseCode, usize) {
        ask_of(DnsAnswers::Known, name, kind)
    }

    fn ask_of(answers: DnsAnswers, name: &str, kind: RecordType) -> (ResponseCode, usize) {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = Message::from_vec(&answer(&query.to_vec().unwrap(), answers).unwrap()).unwrap();
        assert_eq!(answer.metadata.id, query.metadata.id);
        (answer.metadata.response_code, answer.answers.len())
    }

    #[test]
    fn what_exists_is_answered_and_what_does_not_is_nxdomain() {
        assert_eq!(ask("Kubernetes.default.svc.cluster.local.", RecordType::A), (ResponseCode::NoError, 1));
        assert_eq!(ask("kubernetes.default.svc.cluster.local.", RecordType::AAAA), (ResponseCode::NoError, 0));
        assert_eq!(ask("metadata.lab.", RecordType::AAAA), (ResponseCode::NoError, 1));
        assert_eq!(ask("nobody.lab.", RecordType::A), (ResponseCode::NXDomain, 0));
        for (answers, code) in [
            (DnsAnswers::NoSuchName, ResponseCode::NXDomain),
            (DnsAnswers::Refused, ResponseCode::Refused),
            (DnsAnswers::Failure, ResponseCode::ServFail),
        ] {
            assert_eq!(ask_of(answers, "metadata.lab.", RecordType::A), (code, 0));
        }
    }
}
