//! Agents by the thousand: one listener in a namespace answers for each address of a network as the agent there, with the report and the
//! blocking query of a real one. What they say is set by the test.
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
use super::{inside, ip};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// What the agents say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    /// The number of the newest report.
    round: u64,
    /// How many of the agents, from the first on, are breached, since when, and in which round that began.
    breached: (usize, Timestamp, u64),
    /// The same of those that are over, each with its end.
    over: Vec<(usize, Timestamp, u64, Timestamp)>,
    /// One that is breached besides, and how often that has changed.
    single: (Option<usize>, u64),
    /// How many of them, from the last on, are gone: their connections end, and new ones get no answer.
    gone: usize,
    count: usize,
}

/// Agents that say what they are told to.
pub(crate) struct Simulated {
    scene: watch::Sender<Scene>,
    pub(crate) count: usize,
}

/// The address of an agent: in 10.92.0.0/16, 250 in each of its networks.
pub(crate) fn address(nth: usize) -> Ipv4Addr {
    let (third, fourth) = (u8::try_from(nth / 250).unwrap(), u8::try_from(nth % 250 + 1).unwrap());
    Ipv4Addr::new(10, 92, third, fourth)
}

fn number(ip: IpAddr) -> usize {
    let IpAddr::V4(ip) = ip.to_canonical() else { return usize::MAX };
    usize::from(ip.octets()[2]) * 250 + usize::from(ip.octets()[3]) - 1
}

impl Simulated {
    /// Starts so many in a namespace.
    pub(crate) fn start(namespace: &str, count: usize) -> Self {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        ip(&["-n", namespace, "route", "add", "local", "10.92.0.0/16", "dev", "lo"]);
        let scene = watch::Sender::new(Scene {
            round: 1,
            breached: (0, Timestamp::now(), 1),
            over: Vec::new(),
            single: (None, 0),
            gone: 0,
            count,
        });
        let (seen, (ready, is_ready)) = (scene.subscribe(), std::sync::mpsc::channel());
        let namespace = namespace.to_owned();
        std::thread::spawn(move || {
            inside(&namespace, move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking(), None).unwrap();
                    socket.set_reuse_address(true).unwrap();
                    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 9797)).into()).unwrap();
                    socket.listen(4096).unwrap();
                    ready.send(()).unwrap();
                    serve(TcpListener::from_std(socket.into()).unwrap(), seen).await;
                });
            });
        });
        is_ready.recv().unwrap();
        Simulated { scene, count }
    }

    /// The first so many are breached from now on, all at once; none: all are blocked.
    pub(crate) fn breach(&self, count: usize) -> Timestamp {
        let now = Timestamp::now();
        self.scene.send_modify(|scene| {
            scene.round += 1;
            let (before, since, round) = std::mem::replace(&mut scene.breached, (count, now, scene.round));
            if before > 0 {
                scene.over.push((before, since, round, now));
            }
        });
        now
    }

    /// One of them is breached from now on, and no other.
    pub(crate) fn breach_one(&self, nth: usize) {
        self.scene.send_modify(|scene| {
            scene.breached = (0, Timestamp::now(), scene.round);
            scene.single = (Some(nth), scene.single.1 + 1);
        });
    }

    /// The last so many vanish.
    pub(crate) fn vanish(&self, count: usize) {
        self.scene.send_modify(|scene| {
            scene.gone = count;
            scene.round += 1;
        });
    }
}

async fn serve(listener: TcpListener, scene: watch::Receiver<Scene>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (scene, nth) = (scene.clone(), number(stream.local_addr().unwrap().ip()));
        tokio::spawn(async move {
            let gone = |scene: &Scene| nth >= scene.count - scene.gone;
            if gone(&scene.borrow()) {
                return std::future::pending().await; // it holds the connection and says nothing
            }
            let vanished = vanished(scene.clone(), nth);
            let service = service_fn(move |request: Request<Incoming>| {
                let scene = scene.clone();
                async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer(&request, scene, nth).await)))) }
            });
            tokio::select! {
                _ = hyper::server::conn::http1::Builder::new().max_buf_size(8 * 1024).serve_connection(TokioIo::new(stream), service) => {}
                () = vanished => {}
            }
        });
    }
}

async fn vanished(mut scene: watch::Receiver<Scene>, nth: usize) {
    let _ = scene.wait_for(|scene| nth >= scene.count - scene.gone).await;
}

/// A blocking query: at once when the round asked after is not the newest, else when there is news, or the wait ends.
async fn answer(request: &Request<Incoming>, mut scene: watch::Receiver<Scene>, nth: usize) -> String {
    let query = request.uri().query().unwrap_or_default();
    let known = query.split('&').find_map(|part| part.strip_prefix("after=")?.rsplit_once('.')?.1.parse::<u64>().ok());
    if let Some(known) = known {
        let _ = timeout(Duration::from_secs(30), scene.wait_for(|scene| scene.round_of(nth) != known)).await;
    }
    let scene = scene.borrow().clone();
    report(&scene, nth).to_string()
}

impl Scene {
    /// The number of an agent's newest report: others are not disturbed by what changes of one.
    fn round_of(&self, nth: usize) -> u64 {
        self.round * 1000 + if self.single.0 == Some(nth) { self.single.1 % 1000 } else { 0 }
    }
}

/// A report of two targets, as long as a real one of them.
fn report(scene: &Scene, nth: usize) -> Value {
    let (count, since, began) = scene.breached;
    let breached = nth < count || scene.single.0 == Some(nth);
    let now = Timestamp::now();
    let boot = format!("{nth:016x}");
    let observation = |address: &str| {
        let outcome = if breached { "connected" } else { "timed_out" };
        let layer = if breached { "http" } else { "none" };
        json!({"address": address, "family": "ipv4", "source": "literal", "outcome": outcome, "layer": layer, "latency_seconds": 2.5,
               "detail": "silence for 2.5 s", "attribution": if breached { Value::Null } else { json!("silence") }})
    };
    let opening = |id: u64, since: Timestamp, last: Timestamp, addresses: &[&str]| {
        json!({"id": format!("{boot}.{id}"), "started": since, "last_connected": last, "layer": "http", "evidence": "token_issued",
               "addresses": addresses})
    };
    let target = |name: &str, kind: &str, addresses: &[&str], breached: bool| {
        let (verdict, reason) = if breached { ("breached", "token_issued") } else { ("blocked", "silence") };
        let id = if scene.single.0 == Some(nth) { scene.round_of(nth) } else { began };
        let open = breached.then(|| opening(id, since, now, addresses));
        let was_open = scene.over.iter().rev().filter(|(count, ..)| nth < *count && name == "imds");
        let recent: Vec<Value> = was_open
            .map(|(_, since, id, ended)| {
                let mut closed = opening(*id, *since, *since, addresses);
                (closed["ended"], closed["transient"], closed["attribution"]) = (json!(ended), json!(false), json!("silence"));
                closed
            })
            .collect();
        let observations: Vec<Value> = addresses.iter().map(|address| observation(address)).collect();
        json!({"name": name, "kind": kind, "verdict": verdict, "finding": verdict, "reason": reason, "rule": 7,
               "why": "no address connected, while a firm must-reach control of each family answered", "since": since,
               "opening": open, "recent": recent, "startup_exposure_seconds": 0.0, "observations": observations})
    };
    let dns = json!({"address": "10.96.0.10:53", "family": "ipv4", "source": "literal", "outcome": "connected", "layer": "tcp",
                     "latency_seconds": 0.001, "detail": "DNS answer over TCP: No Error", "evidence": "answered",
                     "attempts": {"tcp": {"made": 1, "answered": 1}, "udp": {"made": 0, "answered": 0}, "firm": true}});
    json!({
        "schema": "guardprobe.report/v1", "guard": "default/deny", "role": "agent", "node": format!("bare-{nth:04}"), "pod": null,
        "version": "0.1.0", "config_hash": "c0ffee", "endpoints_revision": null, "boot": boot, "round": scene.round_of(nth),
        "started": now, "finished": now, "age_seconds": 3.0, "interval_seconds": 15.0,
        "verdict": if breached { "breached" } else { "blocked" },
        "targets": [
            target("imds", "imds", &["169.254.169.254:80", "169.254.169.253:80"], breached),
            target("kube-api", "kube-api", &["10.96.0.1:443", "10.90.0.10:16443", "10.90.0.11:16443"], false),
        ],
        "controls": [{"name": "dns", "expect": "must-reach", "kind": "dns", "held": true, "observations": [dns]},
                     {"name": "nowhere", "expect": "must-not-connect", "kind": "tcp", "held": null, "observations": []}],
    })
}
