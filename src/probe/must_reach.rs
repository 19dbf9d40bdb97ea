//! One address of a must-reach control: its attempts in this round, and what is remembered of it until the next.
#![expect(clippy::disallowed_methods, reason = "an attempt is timed here, at the edge")]
use super::addresses::Address;
use super::connect::connect;
use super::dns;
use super::pod::PodNetwork;
use crate::wire;
use futures_util::future::join_all;
use guardprobe_core::judge::control::{self, ATTEMPTS_MAX, FIRM_ATTEMPTS};
use guardprobe_core::model::config::ControlKind;
use guardprobe_core::model::control::{ControlAttempt, Protocol};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Evidence, Layer, Observation, Outcome};
use guardprobe_core::model::outside::cut;
use hickory_proto::rr::{Name, RecordType};
use http_body_util::Empty;
use hyper::Request;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long TCP is alone before UDP is tried as well.
const UDP_AFTER: Duration = Duration::from_millis(300);

/// What is remembered of an address of a must-reach control from one round to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ControlMemory {
    /// When it became firm by as many attempts as that takes, unless a later round showed less.
    firm_since: Option<Instant>,
    /// When its counterparts were asked its question, and whether all of them answered.
    counterparts: Option<(Instant, bool)>,
    /// True when it answered in its last round. Before that one attempt comes first: it shows whether anybody is there at all, and bears
    /// what only the first packet to an address meets (a neighbour that has to be found).
    answered: bool,
}

impl ControlMemory {
    fn is_firm(&self) -> bool {
        self.firm_since.is_some_and(|since| since.elapsed() < names::FIRM_HOLDS)
    }

    /// Forgets that it was firm, so that the next round proves it anew.
    pub(super) fn forget_firm(&mut self) {
        self.firm_since = None;
    }
}

/// One address of a must-reach control, and what its attempts need to know.
pub(super) struct ControlProbe<'a> {
    pub(super) kind: ControlKind,
    pub(super) address: &'a Address,
    /// What a name server is asked for.
    pub(super) question: &'a Name,
    /// What one attempt may take.
    pub(super) budget: Duration,
    pub(super) network: &'a PodNetwork,
    /// The name of this node, where it is known.
    pub(super) node: Option<&'a str>,
    /// The address is known to be on this very node.
    pub(super) on_node: bool,
}

/// How one attempt ended.
struct AttemptResult {
    attempt: ControlAttempt,
    outcome: Outcome,
    latency: Duration,
    detail: Option<String>,
    sender: Option<IpAddr>,
}

/// The attempts of one round.
#[derive(Default)]
struct Attempts {
    /// Those that only led to others: one that should have kept a firm address firm, or the first of all.
    earlier: Vec<AttemptResult>,
    /// Those that decide whether the address is firm.
    deciding: Vec<AttemptResult>,
    /// How many good ones of the latter make it firm.
    wanted: usize,
}

impl ControlProbe<'_> {
    /// Tries the address, and says what that showed; `memory` is brought up to date.
    pub(super) async fn observe(&self, memory: &mut ControlMemory) -> Observation {
        let answered = Cell::new(false);
        let due = memory.counterparts.is_none_or(|(asked, _)| asked.elapsed() >= names::FIRM_HOLDS);
        let counterparts = async { if self.on_node || !due { None } else { self.counterparts_answer().await } };
        let (attempts, udp, counterparts) =
            tokio::join!(self.tcp_attempts(memory, &answered), self.udp_attempt(&answered), counterparts);
        // Where the control itself gave no answer its counterparts had no network, or nobody to answer for them yet.
        if let Some(all_answer) = counterparts.filter(|_| answered.get()) {
            memory.counterparts = Some((Instant::now(), all_answer));
        }
        self.conclude(memory, attempts, udp)
    }

    /// One attempt where that is enough, else as many as make the address firm.
    async fn tcp_attempts(&self, memory: &ControlMemory, answered: &Cell<bool>) -> Attempts {
        if self.on_node {
            return Attempts { deciding: vec![self.tcp_attempt(self.address.socket, answered).await], ..Attempts::default() };
        }
        if memory.is_firm() {
            return self.keep_firm(answered).await;
        }
        if !memory.answered {
            let first = self.tcp_attempt(self.address.socket, answered).await;
            if !first.attempt.answered {
                return Attempts { deciding: vec![first], wanted: FIRM_ATTEMPTS, ..Attempts::default() };
            }
            return Attempts { earlier: vec![first], ..self.become_firm(answered).await };
        }
        self.become_firm(answered).await
    }

    /// A firm address stays firm by one good attempt; where that one is late or bad, it has to become firm anew, at once.
    async fn keep_firm(&self, answered: &Cell<bool>) -> Attempts {
        let mut one = pin!(self.good_attempts(1, answered));
        match timeout(names::FIRST_SYN, &mut one).await {
            Ok(results) if is_firm(&results, 1) => Attempts { deciding: results, wanted: 1, ..Attempts::default() },
            Ok(earlier) if earlier.len() >= ATTEMPTS_MAX => Attempts { deciding: earlier, wanted: 1, ..Attempts::default() },
            Ok(earlier) => Attempts { earlier, ..self.become_firm(answered).await },
            Err(_) => {
                let (earlier, anew) = tokio::join!(one, self.become_firm(answered));
                Attempts { earlier, ..anew }
            }
        }
    }

    async fn become_firm(&self, answered: &Cell<bool>) -> Attempts {
        let deciding = self.good_attempts(FIRM_ATTEMPTS, answered).await;
        Attempts { deciding, wanted: FIRM_ATTEMPTS, ..Attempts::default() }
    }

    /// Attempts until `wanted` of them were good, or one shows that the address is not firm.
    async fn good_attempts(&self, wanted: usize, answered: &Cell<bool>) -> Vec<AttemptResult> {
        let mut results: Vec<AttemptResult> = Vec::new();
        loop {
            let more = control::more_attempts(&plain(&results), wanted);
            if more == 0 {
                return results;
            }
            results.extend(join_all((0..more).map(|_| self.tcp_attempt(self.address.socket, answered))).await);
        }
    }

    /// True when each of three random hosts beside the address answers its question: somebody answers for everybody. `None` where some do, or
    /// could not be asked: with packet loss that is the same, and the next round asks again.
    async fn counterparts_answer(&self) -> Option<bool> {
        let not_the_control = &Cell::new(false);
        let asked = super::controls::hosts_beside(self.address.socket.ip(), self.address.service)
            .map(|ip| self.tcp_attempt(SocketAddr::new(ip, self.address.socket.port()), not_the_control));
        let results = join_all(asked).await;
        let answers = results.iter().filter(|result| result.attempt.answered).count();
        let all_asked = results.iter().all(|result| result.outcome != Outcome::LocalError);
        (all_asked && (answers == 0 || answers == results.len())).then_some(answers > 0)
    }

    /// One connection and its question. `answered` turns true with an answer.
    async fn tcp_attempt(&self, socket: SocketAddr, answered: &Cell<bool>) -> AttemptResult {
        let began = Instant::now();
        let mut attempt = connect(self.network, socket, self.budget).await;
        let first_syn = attempt.stood_at_first_syn();
        let over_loopback = attempt.segment_size().is_some_and(|size| self.network.is_over_loopback(size));
        let mut result = AttemptResult {
            attempt: ControlAttempt {
                protocol: Protocol::Tcp,
                answered: false,
                own_answer: false,
                first_syn,
                on_node: self.on_node,
                over_loopback,
            },
            outcome: attempt.outcome,
            latency: attempt.latency,
            detail: attempt.detail(),
            sender: attempt.sender(),
        };
        if let Some(stream) = attempt.stream.take() {
            self.ask(stream, &mut result, self.budget.saturating_sub(attempt.latency)).await;
            result.latency = began.elapsed();
        }
        answered.set(answered.get() || result.attempt.answered);
        result
    }

    /// Asks the control's question on a connection that stands.
    async fn ask(&self, mut stream: TcpStream, result: &mut AttemptResult, left: Duration) {
        let attempt = &mut result.attempt;
        match self.kind {
            ControlKind::Tcp => (attempt.answered, attempt.own_answer) = (true, true),
            ControlKind::Dns => {
                let Ok(query) = dns::query(self.question, RecordType::A) else { return };
                match timeout(left, dns::over_tcp(&mut stream, &query)).await {
                    Ok(Ok(answer)) => {
                        let code = answer.code;
                        (attempt.answered, attempt.own_answer) = (true, control::is_own_answer(code.into()));
                        result.detail = Some(format!("DNS answer over TCP: {code}"));
                    }
                    Ok(Err(error)) => result.detail = Some(format!("connects, but gives no DNS answer: {error}")),
                    Err(_) => result.detail = Some("connects, but gives no DNS answer".to_owned()),
                }
            }
            ControlKind::Reporter => match timeout(left.min(names::CLIMB_TIMEOUT), reach(stream, self.address.socket)).await {
                Ok(ReporterAnswer::Node(node)) => {
                    (attempt.answered, attempt.own_answer) = (true, true);
                    // Without the name of this node nobody can tell that it is another one.
                    attempt.on_node |= self.node.is_none_or(|own| own.eq_ignore_ascii_case(&node));
                    result.detail = Some(format!("the reporter answers from node {node}"));
                }
                Ok(ReporterAnswer::Other) => {
                    attempt.answered = true;
                    result.detail = Some("answers over HTTP, but not as a reporter does".to_owned());
                }
                Ok(ReporterAnswer::None) | Err(_) => result.detail = Some("connects, but gives no HTTP answer".to_owned()),
            },
        }
    }

    /// A name server is asked over UDP as well, unless it has answered over TCP by then.
    async fn udp_attempt(&self, answered: &Cell<bool>) -> Option<AttemptResult> {
        if self.kind != ControlKind::Dns {
            return None;
        }
        sleep(UDP_AFTER.min(self.budget)).await;
        if answered.get() {
            return None;
        }
        let began = Instant::now();
        let query = dns::query(self.question, RecordType::A).ok()?;
        let answer = timeout(self.budget.saturating_sub(UDP_AFTER), dns::over_udp(self.address.socket, &query)).await;
        let code = answer.ok().and_then(Result::ok).map(|answer| answer.code);
        Some(AttemptResult {
            attempt: ControlAttempt {
                protocol: Protocol::Udp,
                answered: code.is_some(),
                own_answer: code.is_some_and(|code| control::is_own_answer(code.into())),
                first_syn: false,
                on_node: self.on_node,
                over_loopback: false,
            },
            outcome: if code.is_some() { Outcome::Connected } else { Outcome::TimedOut },
            latency: began.elapsed(),
            detail: code.map(|code| format!("DNS answer over UDP: {code}")),
            sender: None,
        })
    }

    /// What all attempts of the round come to.
    fn conclude(&self, memory: &mut ControlMemory, attempts: Attempts, udp: Option<AttemptResult>) -> Observation {
        let Attempts { mut earlier, deciding, wanted } = attempts;
        earlier.extend(udp);
        let address = self.address;
        let not_tried = |detail: &str| Observation {
            service: address.service,
            detail: Some(detail.to_owned()),
            ..Observation::new(address.socket, address.source, Outcome::Skipped)
        };
        if memory.counterparts.is_some_and(|(_, all_answer)| all_answer) {
            memory.firm_since = None;
            return not_tried("random addresses beside it answer its question as well: something answers in everybody's place");
        }
        let evaluated = control::evaluate_attempts(&plain(&earlier), &plain(&deciding), wanted);
        let Some(mut evaluated) = evaluated else {
            memory.firm_since = None;
            return not_tried("the connection stayed in this pod (loopback)");
        };
        let mut all: Vec<&AttemptResult> = deciding.iter().chain(&earlier).collect();
        all.sort_by_key(|result| (!result.attempt.answered, !result.attempt.own_answer, !result.attempt.first_syn));
        let answers: Vec<&&AttemptResult> = all.iter().filter(|result| result.attempt.answered).collect();
        let on_node = self.on_node || (!answers.is_empty() && answers.iter().all(|result| result.attempt.on_node));
        evaluated.firm &= !on_node && (self.on_node || memory.counterparts.is_some());
        memory.answered = !answers.is_empty();
        memory.firm_since = match (evaluated.firm, memory.firm_since) {
            (true, Some(since)) if wanted == 1 => Some(since),
            (firm, _) => firm.then(Instant::now),
        };
        let best = all.first();
        let outcome = best.map_or(Outcome::TimedOut, |best| best.outcome);
        let speaks = self.kind != ControlKind::Tcp && best.is_some_and(|best| best.attempt.answered);
        Observation {
            layer: if outcome == Outcome::Connected { Layer::Tcp } else { Layer::None },
            latency_seconds: best.map_or(0.0, |best| best.latency.as_secs_f64()),
            detail: best.and_then(|best| Some(cut(best.detail.as_deref()?, names::DETAIL_MAX_BYTES))),
            sender: best.and_then(|best| best.sender),
            evidence: speaks.then_some(Evidence::Answered),
            service: address.service,
            on_node,
            attempts: Some(evaluated),
            ..Observation::new(address.socket, address.source, outcome)
        }
    }
}

fn plain(results: &[AttemptResult]) -> Vec<ControlAttempt> {
    results.iter().map(|result| result.attempt).collect()
}

fn is_firm(results: &[AttemptResult], wanted: usize) -> bool {
    control::evaluate_attempts(&[], &plain(results), wanted).is_some_and(|evaluated| evaluated.firm)
}

/// What is at the address of a reporter.
enum ReporterAnswer {
    /// No HTTP answer.
    None,
    /// One without the header of a reporter.
    Other,
    /// A reporter, on that node.
    Node(String),
}

/// Asks a reporter where it runs.
async fn reach(stream: TcpStream, address: SocketAddr) -> ReporterAnswer {
    let request = Request::get(names::REACH_PATH).header("Host", address.to_string()).body(Empty::new());
    let Ok(request) = request else { return ReporterAnswer::None };
    match wire::exchange(stream, request).await {
        Err(_) => ReporterAnswer::None,
        Ok(head) => match head.header(names::NODE_HEADER) {
            Some(node) if !node.is_empty() && head.status.is_success() => {
                ReporterAnswer::Node(cut(node, names::NODE_NAME_MAX_BYTES))
            }
            _ => ReporterAnswer::Other,
        },
    }
}
