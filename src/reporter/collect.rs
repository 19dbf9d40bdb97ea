//! What the agents say: one connection to each, and on it one blocking query after another.
use super::house::House;
use crate::wire::Conversation;
use guardprobe_core::judge::fleet::Contact;
use guardprobe_core::judge::rate::Bucket;
use guardprobe_core::model::cluster::Pod;
use guardprobe_core::model::heard::Heading;
use guardprobe_core::model::names;
use guardprobe_core::model::report::Role;
use guardprobe_core::parse::problem::quote;
use guardprobe_core::parse::report;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Asks every pod that is to be asked, for as long as the future lives.
pub(super) async fn collect(house: &Arc<House>) -> ! {
    let gates = Arc::new(Gates {
        answering: Semaphore::new(names::CONNECTING_MAX),
        failing: Semaphore::new(names::CONNECTING_FAILED_MAX),
    });
    let mut tasks = JoinSet::new();
    let mut asking: HashMap<String, (SocketAddr, AbortHandle)> = HashMap::new();
    loop {
        let mut wanted = HashMap::new();
        for pod in house.to_ask() {
            if let Some(ip) = pod.ip {
                wanted.insert(pod.uid.clone(), (SocketAddr::new(ip, names::AGENT_PORT), pod));
            }
        }
        asking.retain(|uid, (address, task)| {
            let goes_on = wanted.get(uid).is_some_and(|(now, _)| now == address) && !task.is_finished();
            if !goes_on {
                task.abort();
            }
            goes_on
        });
        for (uid, (address, pod)) in wanted {
            asking.entry(uid).or_insert_with(|| {
                let asked = Asked { house: Arc::clone(house), gates: Arc::clone(&gates), pod, address };
                (address, tasks.spawn(asked.for_ever()))
            });
        }
        while tasks.try_join_next().is_some() {}
        let _ = timeout(names::AGENTS_PERIOD, house.pods_changed()).await;
        // A list of thousands comes one by one.
        sleep(names::AGENTS_PAUSE).await;
    }
}

/// How many agents are being connected to at once. Those that did not answer last time wait for each other, and keep nobody else waiting.
struct Gates {
    answering: Semaphore,
    failing: Semaphore,
}

/// How long to rest after an answer of that length: an agent has news now and then, and one that answers without end is heard once a second.
fn rest_after(pace: &mut Bucket, bytes: usize, now: Duration) -> Duration {
    pace.fill(names::AGENT_ANSWERS, 1.0, now);
    let left = pace.pay(1.0 + bytes as f64 / names::REPORT_USUAL_BYTES as f64);
    Duration::from_secs_f64((1.0 - left).max(0.0))
}

/// One pod that is asked.
struct Asked {
    house: Arc<House>,
    gates: Arc<Gates>,
    pod: Pod,
    address: SocketAddr,
}

impl Asked {
    async fn for_ever(self) {
        let (shortest, longest) = names::AGENT_BACKOFF;
        let mut pace = Bucket::default();
        let (mut after, mut rest, mut failed) = (None, shortest, false);
        loop {
            let ended = self.session(&mut after, &mut rest, &mut pace, failed).await;
            failed = ended.is_err();
            if let Err(contact) = ended {
                tracing::debug!(pod = self.pod.name, node = self.pod.node, "{contact:?}");
                self.house.contact(&self.pod.uid, self.pod.role, contact);
                after = None;
            }
            sleep(rest.mul_f64(0.5 + fastrand::f64())).await;
            rest = (rest * 2).min(longest);
        }
    }

    /// Asks on one connection until it ends. `after` is what is known already; `rest` is short again after each answer that was of use.
    async fn session(
        &self,
        after: &mut Option<String>,
        rest: &mut Duration,
        pace: &mut Bucket,
        failed: bool,
    ) -> Result<(), Contact> {
        let mut conversation = self.connect(failed).await?;
        loop {
            let (newest, bytes) = self.ask(&mut conversation, after.as_deref()).await?;
            sleep(rest_after(pace, bytes, self.house.now().up)).await;
            *after = newest;
            if after.is_none() {
                return Ok(()); // its node is not known yet, or not any more: again, but not at once
            }
            *rest = names::AGENT_BACKOFF.0;
            if !conversation.goes_on().await {
                return Ok(()); // an agent ends a connection after minutes, between two answers
            }
        }
    }

    async fn connect(&self, failed_before: bool) -> Result<Conversation, Contact> {
        let failed = |why: String| Contact::Failed(format!("{}: {why}", self.address));
        let gate = if failed_before { &self.gates.failing } else { &self.gates.answering };
        let _turn = gate.acquire().await.map_err(|error| failed(error.to_string()))?;
        let stream = match timeout(names::AGENT_CONNECT_TIMEOUT, TcpStream::connect(self.address)).await {
            Err(_) => return Err(failed(format!("no connection within {} s", names::AGENT_CONNECT_TIMEOUT.as_secs()))),
            Ok(connected) => connected.map_err(|error| failed(error.to_string()))?,
        };
        let _ = stream.set_nodelay(true);
        Conversation::begin(stream).await.map_err(|error| failed(error.to_string()))
    }

    /// One query. What comes back is what to ask for next time, and how long the answer was.
    async fn ask(&self, conversation: &mut Conversation, after: Option<&str>) -> Result<(Option<String>, usize), Contact> {
        let failed = |why: String| Contact::Failed(format!("{}: {why}", self.address));
        let wait = self.house.wait();
        let query = after.map(|after| format!("?after={after}&wait={}ms", wait.as_millis())).unwrap_or_default();
        let request =
            Request::get(format!("/v1/report{query}")).header("Host", self.address.to_string()).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| failed(error.to_string()))?;
        let limit = wait + names::AGENT_ANSWER_SLACK;
        let asked = self.house.now().up;
        let (head, body) = match timeout(limit, conversation.ask(request, names::REPORT_MAX_BYTES)).await {
            Err(_) => return Err(failed(format!("no answer within {} s", limit.as_secs()))),
            Ok(answer) => answer.map_err(|error| failed(error.to_string()))?,
        };
        if head.status != StatusCode::OK {
            return Err(failed(format!("answered with status {}", head.status.as_u16())));
        }
        let took = self.house.now().up.saturating_sub(asked);
        Ok((self.take(&body, took)?, body.len()))
    }

    /// Another process than that pod's, at an address that it had: what it says would be taken for this pod's.
    fn check_name(&self, heading: &Heading) -> Result<(), Contact> {
        match &heading.pod {
            Some(pod) if *pod != self.pod.name => Err(Contact::Refused(format!("it says that it is pod {}", quote(pod)))),
            _ => Ok(()),
        }
    }

    /// Takes in an answer that came `took` after its question.
    fn take(&self, body: &[u8], took: Duration) -> Result<Option<String>, Contact> {
        let uid = &self.pod.uid;
        match self.pod.role {
            Role::Agent => {
                let mut heard = report::agent(body).map_err(Contact::Refused)?;
                heard.heading.arrived(took);
                self.check_name(&heard.heading)?;
                let newest = format!("{}.{}", heard.heading.boot, heard.heading.round);
                Ok(self.house.heard(uid, heard).then_some(newest))
            }
            Role::Witness => {
                let mut witnessed = report::witness(body).map_err(Contact::Refused)?;
                witnessed.heading.arrived(took);
                self.check_name(&witnessed.heading)?;
                let newest = format!("{}.{}", witnessed.heading.boot, witnessed.heading.round);
                self.house.witnessed(uid, witnessed);
                Ok(Some(newest))
            }
        }
    }
}
