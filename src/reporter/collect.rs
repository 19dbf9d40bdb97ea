//! What the agents say: one connection to each, and on it one blocking query after another.
use super::house::House;
use crate::wire::Conversation;
use guardprobe_core::judge::fleet::Contact;
use guardprobe_core::model::cluster::Pod;
use guardprobe_core::model::names;
use guardprobe_core::model::report::Role;
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
    let gate = Arc::new(Semaphore::new(names::CONNECTING_MAX));
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
                let asked = Asked { house: Arc::clone(house), gate: Arc::clone(&gate), pod, address };
                (address, tasks.spawn(asked.for_ever()))
            });
        }
        while tasks.try_join_next().is_some() {}
        let _ = timeout(names::AGENTS_PERIOD, house.pods_changed()).await;
        // A list of thousands comes one by one.
        sleep(names::AGENTS_PAUSE).await;
    }
}

/// One pod that is asked.
struct Asked {
    house: Arc<House>,
    gate: Arc<Semaphore>,
    pod: Pod,
    address: SocketAddr,
}

impl Asked {
    async fn for_ever(self) {
        let (shortest, longest) = names::AGENT_BACKOFF;
        let (mut after, mut rest) = (None, shortest);
        loop {
            match self.session(&mut after, &mut rest).await {
                Ok(()) => {}
                Err(contact) => {
                    tracing::debug!(pod = self.pod.name, node = self.pod.node, "{contact:?}");
                    self.house.contact(&self.pod.uid, self.pod.role, contact);
                    after = None;
                }
            }
            sleep(rest.mul_f64(0.5 + fastrand::f64())).await;
            rest = (rest * 2).min(longest);
        }
    }

    /// Asks on one connection until it ends. `after` is what is known already; `rest` is short again after each answer.
    async fn session(&self, after: &mut Option<String>, rest: &mut Duration) -> Result<(), Contact> {
        let mut conversation = self.connect().await?;
        let mut credit = names::AGENT_ANSWERS;
        loop {
            let asked = self.house.now().up;
            let newest = self.ask(&mut conversation, after.as_deref()).await?;
            let took = self.house.now().up.saturating_sub(asked);
            // An agent has news now and then; one that answers without end is listened to once a second.
            credit = (credit - 1.0 + took.as_secs_f64()).min(names::AGENT_ANSWERS);
            if credit < 1.0 || newest.is_none() {
                sleep(names::AGENT_PERIOD).await;
                credit += names::AGENT_PERIOD.as_secs_f64();
            }
            (*after, *rest) = (newest, names::AGENT_BACKOFF.0);
            if !conversation.goes_on().await {
                return Ok(()); // an agent ends a connection after minutes, between two answers
            }
        }
    }

    async fn connect(&self) -> Result<Conversation, Contact> {
        let failed = |why: String| Contact::Failed(format!("{}: {why}", self.address));
        let _turn = self.gate.acquire().await.map_err(|error| failed(error.to_string()))?;
        let stream = match timeout(names::AGENT_CONNECT_TIMEOUT, TcpStream::connect(self.address)).await {
            Err(_) => return Err(failed(format!("no connection within {} s", names::AGENT_CONNECT_TIMEOUT.as_secs()))),
            Ok(connected) => connected.map_err(|error| failed(error.to_string()))?,
        };
        let _ = stream.set_nodelay(true);
        Conversation::begin(stream).await.map_err(|error| failed(error.to_string()))
    }

    /// One query. What comes back is what to ask for next time.
    async fn ask(&self, conversation: &mut Conversation, after: Option<&str>) -> Result<Option<String>, Contact> {
        let failed = |why: String| Contact::Failed(format!("{}: {why}", self.address));
        let wait = self.house.wait();
        let query = after.map(|after| format!("?after={after}&wait={}ms", wait.as_millis())).unwrap_or_default();
        let request =
            Request::get(format!("/v1/report{query}")).header("Host", self.address.to_string()).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| failed(error.to_string()))?;
        let limit = wait + names::AGENT_ANSWER_SLACK;
        let (head, body) = match timeout(limit, conversation.ask(request, names::REPORT_MAX_BYTES)).await {
            Err(_) => return Err(failed(format!("no answer within {} s", limit.as_secs()))),
            Ok(answer) => answer.map_err(|error| failed(error.to_string()))?,
        };
        if head.status != StatusCode::OK {
            return Err(failed(format!("answered with status {}", head.status.as_u16())));
        }
        self.take(&body)
    }

    fn take(&self, body: &[u8]) -> Result<Option<String>, Contact> {
        let uid = &self.pod.uid;
        match self.pod.role {
            Role::Agent => {
                let heard = report::agent(body).map_err(Contact::Refused)?;
                let newest = format!("{}.{}", heard.heading.boot, heard.heading.round);
                Ok(self.house.heard(uid, heard).then_some(newest))
            }
            Role::Witness => {
                let witnessed = report::witness(body).map_err(Contact::Refused)?;
                let newest = format!("{}.{}", witnessed.heading.boot, witnessed.heading.round);
                self.house.witnessed(uid, witnessed);
                Ok(Some(newest))
            }
        }
    }
}
