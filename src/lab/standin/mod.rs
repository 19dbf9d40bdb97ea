//! Stand-ins for what lives in a vpc: they answer as the real ones do, and carry a random token that tells who answered.
//!
//! One process per place runs them (`lab-role standins`): it binds everything, then says so in one line on standard output, and
//! lives until its standard input ends.
mod api;
mod dns;
mod imds;
mod proxy;
mod web;

use crate::process::runtime;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// One service, and where it listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Service {
    /// The EC2 instance metadata service, version 2.
    Imds { at: Vec<SocketAddr>, hops: Hops },
    /// The Kubernetes API.
    Api { at: Vec<SocketAddr>, is: Api },
    /// A name server.
    Dns { at: Vec<SocketAddr>, answers: DnsAnswers },
    /// A reporter that says it runs on that node; without one, a web server that is none.
    Reporter { at: Vec<SocketAddr>, node: Option<String> },
    /// A web server that says 200 to everything.
    Web { at: Vec<SocketAddr> },
    /// Accepts every connection, and hangs up.
    HangUp { at: Vec<SocketAddr> },
    /// Accepts every connection, and says nothing.
    Mute { at: Vec<SocketAddr> },
    /// Connects whoever was redirected here to where they wanted to go.
    Proxy { at: Vec<SocketAddr> },
}

/// How far the answers of the metadata service get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Hops {
    /// As far as they are meant to.
    Enough,
    /// As far as the node: `HttpPutResponseHopLimit` 1.
    One,
}

/// What a name server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DnsAnswers {
    /// What it knows; NXDOMAIN to all else.
    Known,
    /// NXDOMAIN to everything.
    NoSuchName,
    /// REFUSED to everything.
    Refused,
    /// SERVFAIL to everything.
    Failure,
}

/// What answers at the API's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Api {
    /// An API server of this cluster.
    Ours,
    /// A TLS server of somebody else's CA.
    Others,
    /// Something that speaks, but no TLS.
    Garbage,
    /// Something that accepts, and says nothing.
    Mute,
}

/// What the process says once everything is bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The random token by which its answers are known.
    pub(super) token: String,
    /// The CA of this cluster, PEM.
    pub(super) ca: String,
    /// Its process id, as the host counts.
    pub(super) host_pid: u32,
}

/// Runs the services until standard input ends.
///
/// # Errors
/// An address that cannot be bound.
pub(super) fn run(services: Vec<Service>) -> io::Result<()> {
    let runtime = runtime::single()?;
    runtime.block_on(async {
        let token = format!("{:016x}", fastrand::u64(..));
        let authority = api::Authority::new().map_err(io::Error::other)?;
        for service in services {
            start(service, &token, &authority).await?;
        }
        let ready = Ready { token, ca: authority.pem(), host_pid: super::role::host_pid() };
        println!("{}", serde_json::to_string(&ready)?);
        io::stdout().flush()?;
        tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
        Ok(())
    })
}

async fn start(service: Service, token: &str, authority: &api::Authority) -> io::Result<()> {
    match service {
        Service::Imds { at, hops } => {
            for at in at {
                let token = token.to_owned();
                serve(at, move |stream| imds::answer(stream, token.clone(), hops)).await?;
            }
        }
        Service::Api { at, is } => start_api(at, is, token, authority).await?,
        Service::Dns { at, answers } => {
            for at in at {
                dns::serve_udp(at, answers).await?;
                serve(at, move |stream| dns::answer_stream(stream, answers)).await?;
            }
        }
        Service::Reporter { at, node } => {
            for at in at {
                let node = node.clone();
                serve(at, move |stream| web::answer(stream, node.clone())).await?;
            }
        }
        Service::Web { at } => {
            for at in at {
                serve(at, |stream| web::answer(stream, None)).await?;
            }
        }
        Service::HangUp { at } => {
            for at in at {
                serve(at, hang_up).await?;
            }
        }
        Service::Mute { at } => {
            for at in at {
                serve(at, hold).await?;
            }
        }
        Service::Proxy { at } => {
            for at in at {
                serve(at, proxy::forward).await?;
            }
        }
    }
    Ok(())
}

async fn start_api(at: Vec<SocketAddr>, is: Api, token: &str, authority: &api::Authority) -> io::Result<()> {
    let stranger = api::Authority::new().map_err(io::Error::other)?;
    let issuer = if is == Api::Others { &stranger } else { authority };
    let names: Vec<String> = at.iter().map(|at| at.ip().to_string()).collect();
    let server = api::Server::new(issuer, names, token).map_err(io::Error::other)?;
    for at in at {
        let server = server.clone();
        match is {
            Api::Ours | Api::Others => serve(at, move |stream| server.clone().answer(stream)).await?,
            Api::Garbage => serve(at, api::babble).await?,
            Api::Mute => serve(at, hold).await?,
        }
    }
    Ok(())
}

/// Binds, then answers every connection in a task of its own; an answer that fails is its caller's loss.
async fn serve<F, A>(at: SocketAddr, answer: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind(at).await.map_err(|e| io::Error::new(e.kind(), format!("a stand-in at {at}: {e}")))?;
    tokio::spawn(async move {
        // A connection that was reset before it was accepted is no reason to stop.
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        }
    });
    Ok(())
}

/// Waits for the first byte, and ends the connection.
async fn hang_up(mut stream: TcpStream) -> io::Result<()> {
    tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await.map(drop)
}

/// Says nothing for as long as the other side stays.
async fn hold(mut stream: TcpStream) -> io::Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}
