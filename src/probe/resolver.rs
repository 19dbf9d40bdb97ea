//! Looks names up: each family by itself, absolute names only, and each failure in its own words.
//!
//! The resolver library that this replaced tried search domains before the name as written, answered 127.0.0.1 for a search domain
//! `localhost`, gave a name up for one malformed search domain, and told A and AAAA apart only where both had failed. A probe must know
//! which of these happened: a name that was not looked up in full is a doubt, not a `blocked`.
#![expect(clippy::disallowed_methods, reason = "a look-up ends in time, and that is told here, at the edge")]
use super::dns;
use super::pod::{Pod, PodNetwork};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use guardprobe_core::judge::lookup::{self, FamilyAnswer, LookedUp};
use guardprobe_core::model::address::Family;
use guardprobe_core::model::names;
use guardprobe_core::parse::resolv;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

/// How long one name server is alone before the next is asked as well.
const NEXT_SERVER_AFTER: Duration = Duration::from_millis(300);

/// The name servers of a pod, and how it writes names out.
#[derive(Debug)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    cluster_domain: String,
    /// What the look-up of one name may take.
    budget: Duration,
}

/// Why a name server's answer cannot be used, in words.
type Failure = String;

impl Resolver {
    pub(super) fn new(pod: &Pod, budget: Duration) -> Self {
        let servers = resolv::nameservers(&pod.resolv_conf);
        Resolver {
            servers: servers.into_iter().map(|ip| SocketAddr::new(ip.to_canonical(), 53)).collect(),
            search: resolv::search_domains(&pod.resolv_conf),
            cluster_domain: pod.cluster_domain(),
            budget,
        }
    }

    /// The addresses of `host` in the families in which the pod has one itself.
    pub(super) async fn look_up(&self, host: &str, network: &PodNetwork) -> LookedUp {
        let deadline = Instant::now() + self.budget;
        let asked = network.families.iter().map(|family| async move { (*family, self.in_family(host, *family, deadline).await) });
        lookup::conclude(&join_all(asked).await, |ip| network.has(ip))
    }

    async fn in_family(&self, host: &str, family: Family, deadline: Instant) -> FamilyAnswer {
        for absolute in lookup::absolute_names(host, &self.cluster_domain, &self.search) {
            let Ok(name) = Name::from_ascii(&absolute) else {
                return FamilyAnswer::Failed(format!("{absolute:?} is no name that a name server can be asked for"));
            };
            match self.addresses(name, family, deadline).await {
                Ok(FamilyAnswer::NoSuchName) => {}
                Ok(answer) => return answer,
                Err(why) => return FamilyAnswer::Failed(why),
            }
        }
        FamilyAnswer::NoSuchName
    }

    /// The addresses of an absolute name. Follows aliases that the name server did not follow itself.
    async fn addresses(&self, mut name: Name, family: Family, deadline: Instant) -> Result<FamilyAnswer, Failure> {
        let record = if family == Family::Ipv4 { RecordType::A } else { RecordType::AAAA };
        let mut left: Vec<Name> = Vec::new();
        loop {
            let message = self.answer(&name, record, deadline).await?;
            let known = left.len();
            while let Some(next) = alias(&message, &name) {
                left.push(std::mem::replace(&mut name, next));
                if left.contains(&name) || left.len() > names::ALIASES_MAX {
                    return Err(format!(
                        "its aliases form a loop, or more than {} of them follow each other",
                        names::ALIASES_MAX
                    ));
                }
            }
            if message.metadata.response_code == ResponseCode::NXDomain {
                return Ok(FamilyAnswer::NoSuchName);
            }
            let found = addresses_in(&message, &name);
            if !found.is_empty() || left.len() == known {
                return Ok(FamilyAnswer::Addresses(found));
            }
        }
    }

    /// The first answer of any name server that can be used; else what was wrong with the first.
    async fn answer(&self, name: &Name, record: RecordType, deadline: Instant) -> Result<Message, Failure> {
        let mut asked: FuturesUnordered<_> = self
            .servers
            .iter()
            .enumerate()
            .map(|(place, server)| async move {
                sleep(NEXT_SERVER_AFTER * place as u32).await;
                (place, exchange(*server, name, record, deadline).await)
            })
            .collect();
        let mut first_failure: Option<(usize, Failure)> = None;
        while let Some((place, answer)) = asked.next().await {
            match answer {
                Ok(message) => return Ok(message),
                Err(why) if first_failure.as_ref().is_none_or(|(known, _)| place < *known) => first_failure = Some((place, why)),
                Err(_) => {}
            }
        }
        Err(first_failure.map_or_else(|| "this pod has no name server".to_owned(), |(_, why)| why))
    }
}

/// Asks one name server: over UDP, and over TCP where the answer did not fit into a datagram.
async fn exchange(server: SocketAddr, name: &Name, record: RecordType, deadline: Instant) -> Result<Message, Failure> {
    let ip = server.ip();
    let query = dns::query(name, record).map_err(|error| error.to_string())?;
    let mut answer = timeout_at(deadline, dns::over_udp(server, &query)).await;
    if matches!(&answer, Ok(Ok(message)) if message.metadata.truncation) {
        answer = timeout_at(deadline, over_new_connection(server, &query)).await;
        if !matches!(&answer, Ok(Ok(_))) {
            return Err(format!("the answer of {ip} needs TCP, and over TCP none came"));
        }
    }
    let message = match answer {
        Err(_) => return Err(format!("no answer from the name server {ip}")),
        Ok(Err(error)) => return Err(format!("the name server {ip} cannot be asked: {error}")),
        Ok(Ok(message)) => message,
    };
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
        code => Err(format!("the name server {ip} answered: {code}")),
    }
}

async fn over_new_connection(server: SocketAddr, query: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    dns::over_tcp(&mut stream, query).await
}

/// What a name is an alias of, by the records of an answer.
fn alias(message: &Message, name: &Name) -> Option<Name> {
    message.answers.iter().filter(|record| record.name == *name).find_map(|record| match &record.data {
        RData::CNAME(alias) => Some(alias.0.clone()),
        _ => None,
    })
}

fn addresses_in(message: &Message, name: &Name) -> Vec<IpAddr> {
    let of_name = message.answers.iter().filter(|record| record.name == *name);
    of_name.filter_map(|record| record.data.ip_addr()).collect()
}
