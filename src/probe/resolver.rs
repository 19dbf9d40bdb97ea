//! Looks names up: each family by itself, absolute names only, and each failure in its own words.
//!
//! The resolver library that this replaced tried search domains before the name as written, answered 127.0.0.1 for a search domain
//! `localhost`, gave a name up for one malformed search domain, and told A and AAAA apart only where both had failed. A probe must know
//! which of these happened: a name that was not looked up in full is a doubt, not a `blocked`.
#![expect(clippy::disallowed_methods, reason = "a look-up ends in time, and that is told here, at the edge")]
use super::dns::{self, DnsAnswer};
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
    hosts_file: String,
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
            hosts_file: pod.hosts_file.clone(),
            cluster_domain: pod.cluster_domain(),
            budget,
        }
    }

    /// The addresses of `host` in the families in which the pod has one itself. What the hosts file says counts before any name server,
    /// as for every program in the pod.
    pub(super) async fn look_up(&self, host: &str, network: &PodNetwork) -> LookedUp {
        let is_own = |ip| network.has(ip);
        let in_hosts_file = resolv::hosts_entries(&self.hosts_file, host);
        if !in_hosts_file.is_empty() {
            return lookup::conclude(&[(Family::Ipv4, FamilyAnswer::Addresses(in_hosts_file))], is_own);
        }
        let deadline = Instant::now() + self.budget;
        let mut answers: Vec<(Family, FamilyAnswer)> = Vec::new();
        for absolute in lookup::absolute_names(host, &self.cluster_domain, &self.search) {
            let asked = network.families.iter();
            let asked = asked.map(|family| async { (*family, self.in_family(&absolute, *family, deadline).await) });
            let newest = join_all(asked).await;
            let is_nothing = newest.iter().all(|(_, answer)| answer.is_nothing());
            // A name that exists without an address says more than one that does not exist.
            if !is_nothing || answers.iter().all(|(_, answer)| *answer == FamilyAnswer::NoSuchName) {
                answers = newest;
            }
            if !is_nothing {
                break;
            }
        }
        lookup::conclude(&answers, is_own)
    }

    async fn in_family(&self, absolute: &str, family: Family, deadline: Instant) -> FamilyAnswer {
        match Name::from_ascii(absolute) {
            Ok(name) => self.addresses(name, family, deadline).await.unwrap_or_else(FamilyAnswer::Failed),
            Err(_) => FamilyAnswer::Failed(format!("{absolute:?} is no name that a name server can be asked for")),
        }
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
            // Without a further alias it is asked no further.
            if !found.is_empty() || left.len() == known {
                return Ok(FamilyAnswer::Addresses(found));
            }
        }
    }

    /// The answer of the first name server that gives one; that of a later one only where it has records, or where all before it failed:
    /// another server may not know the cluster's names. Without any, what was wrong with the first.
    async fn answer(&self, name: &Name, record: RecordType, deadline: Instant) -> Result<Message, Failure> {
        let exchanges = self.servers.iter().enumerate().map(|(place, server)| async move {
            sleep(NEXT_SERVER_AFTER * place as u32).await;
            (place, exchange(*server, name, record, deadline).await)
        });
        let mut asked: FuturesUnordered<_> = exchanges.collect();
        let mut answers: Vec<Option<Result<Message, Failure>>> = vec![None; self.servers.len()];
        while let Some((place, answer)) = asked.next().await {
            if answer.as_ref().is_ok_and(|message| !message.answers.is_empty()) {
                return answer;
            }
            answers[place] = Some(answer);
            let first = answers.iter().find(|answer| !matches!(answer, Some(Err(_))));
            if let Some(Some(Ok(message))) = first {
                return Ok(message.clone());
            }
        }
        let failures = answers.into_iter().flatten().filter_map(Result::err);
        Err(failures.into_iter().next().unwrap_or_else(|| "this pod has no name server".to_owned()))
    }
}

/// Asks one name server: over UDP, and over TCP where the answer did not fit into a datagram.
async fn exchange(server: SocketAddr, name: &Name, record: RecordType, deadline: Instant) -> Result<Message, Failure> {
    let ip = server.ip();
    let query = dns::query(name, record).map_err(|error| error.to_string())?;
    let by_udp = timeout_at(deadline, dns::over_udp(server, &query)).await;
    let answer = match by_udp {
        Err(_) => return Err(format!("no answer from the name server {ip}")),
        Ok(Err(error)) => return Err(format!("the name server {ip} cannot be asked: {error}")),
        Ok(Ok(answer)) => answer,
    };
    let whole = match answer.message {
        Some(_) => Some(answer),
        None => timeout_at(deadline, over_new_connection(server, &query)).await.ok().and_then(Result::ok),
    };
    let Some(DnsAnswer { code, message: Some(message) }) = whole else {
        return Err(format!("the answer of the name server {ip} is too long for UDP, and over TCP none came whole"));
    };
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
        code => Err(format!("the name server {ip} answered: {code}")),
    }
}

async fn over_new_connection(server: SocketAddr, query: &[u8]) -> std::io::Result<DnsAnswer> {
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
