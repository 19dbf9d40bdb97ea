//! One agent, asked on behalf of somebody who looks at the page of its node: its newest round, in words. Each agent by one at a time, and for two
//! seconds: it takes few connections, and one of them is the collector's. An agent that is slow delays nobody who looks at another.
use crate::show::page::LastRound;
use crate::show::table;
use crate::wire;
use guardprobe_core::model::names;
use guardprobe_core::model::report::Report;
use guardprobe_core::parse::report;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Columns of the page.
const WIDTH: usize = 120;
/// For how long an answer is shown again.
const KEPT: Duration = Duration::from_secs(2);
/// Of how many agents it is kept while nobody asks.
const KEPT_MAX: usize = 32;
/// How much of an answer is shown, in bytes: hundreds of addresses.
const TEXT_MAX: usize = 32 * 1024;
/// How much of each string of an answer is shown, in bytes …
const STRING_MAX: usize = 512;
/// … and how many addresses of each target.
const OBSERVATIONS_SHOWN: usize = 100;
/// How long an agent may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The rounds that were asked for lately.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<BTreeMap<IpAddr, Arc<Kept>>>);

/// What one agent said lately: locked while it is asked.
type Kept = tokio::sync::Mutex<Option<(Duration, LastRound)>>;

impl Rounds {
    /// The newest round of that pod.
    pub(super) async fn last_round(&self, agent: Option<(String, IpAddr)>, now: Duration) -> LastRound {
        let Some((pod, ip)) = agent else {
            return LastRound::None("There is no agent on this node that could be asked.".to_owned());
        };
        let kept = self.kept(ip);
        let mut kept = kept.lock().await;
        if let Some((_, round)) = kept.as_ref().filter(|(at, _)| now.saturating_sub(*at) < KEPT) {
            return round.clone();
        }
        let address = SocketAddr::new(ip, names::AGENT_PORT);
        let round = match timeout(PATIENCE, told(&pod, address)).await {
            Ok(Ok(text)) => LastRound::Told(text),
            Ok(Err(why)) => LastRound::None(format!("Its agent at {address} could not be asked: {why}.")),
            Err(_) => LastRound::None(format!("Its agent at {address} did not answer within {} s.", PATIENCE.as_secs())),
        };
        *kept = Some((now, round.clone()));
        round
    }

    /// The place for what an agent says. Places that nobody waits at are forgotten, but for as many as a look around takes.
    fn kept(&self, ip: IpAddr) -> Arc<Kept> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT_MAX {
            all.retain(|_, kept| Arc::strong_count(kept) > 1);
        }
        Arc::clone(all.entry(ip).or_default())
    }
}

async fn told(pod: &str, address: SocketAddr) -> Result<String, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let request = Request::get("/v1/report").header("Host", address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let (head, body) = wire::fetch(stream, request, names::REPORT_MAX_BYTES).await.map_err(|error| error.to_string())?;
    if head.status != StatusCode::OK {
        return Err(format!("it answered with status {}", head.status.as_u16()));
    }
    let heard = report::agent(&body)?; // the bounds of what is taken from a pod
    if heard.heading.pod.is_some_and(|says| says != pod) {
        return Err("it says that it is another pod".to_owned());
    }
    let mut report: Report = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    bound(&mut report);
    Ok(shortened(table::plain(&report, WIDTH)))
}

/// Bounds what is made into words: a report may have a megabyte in one string, of which the words would have many times as much.
fn bound(report: &mut Report) {
    // What is in it is made harmless when it is shown: nothing is changed here.
    let short = |text: &mut String| {
        if text.len() > STRING_MAX {
            text.truncate(text.floor_char_boundary(STRING_MAX));
            text.push('…');
        }
    };
    short(&mut report.head.guard);
    report.head.node.iter_mut().chain(&mut report.head.pod).for_each(short);
    for target in &mut report.targets {
        target.unresolved.truncate(OBSERVATIONS_SHOWN);
        target.observations.truncate(OBSERVATIONS_SHOWN);
        target.unresolved.iter_mut().chain([&mut target.name, &mut target.why]).for_each(short);
        target.observations.iter_mut().filter_map(|seen| seen.detail.as_mut()).for_each(short);
    }
    for control in &mut report.controls {
        control.observations.truncate(OBSERVATIONS_SHOWN);
        short(&mut control.name);
        control.observations.iter_mut().filter_map(|seen| seen.detail.as_mut()).for_each(short);
    }
}

/// What of a text is shown: whole lines, as long as there is room.
fn shortened(mut text: String) -> String {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let whole = text.len();
    let end = text.bytes().take(TEXT_MAX).rposition(|byte| byte == b'\n').map_or(0, |newline| newline + 1);
    text.truncate(end);
    text.push_str(&format!("… and more: all of it has {} kB\n", whole / 1024));
    text
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the clock")]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    async fn ask(rounds: &Rounds, last: u8) -> (LastRound, Duration) {
        let began = Instant::now();
        let round = rounds.last_round(Some(("agent".to_owned(), IpAddr::from([127, 77, 0, last]))), Duration::ZERO).await;
        (round, began.elapsed())
    }

    #[tokio::test]
    async fn agents_that_never_answer_delay_only_those_who_ask_for_them() {
        let slow = [1, 2, 3].map(|last| SocketAddr::from(([127, 77, 0, last], names::AGENT_PORT)));
        let mut listeners = Vec::new();
        for address in slow {
            listeners.push(TcpListener::bind(address).await.unwrap());
        }
        let rounds = Rounds::default();
        let beside = async {
            sleep(Duration::from_millis(100)).await;
            ask(&rounds, 4).await
        };
        let (one, again, _, _, (other, took)) =
            tokio::join!(ask(&rounds, 1), ask(&rounds, 1), ask(&rounds, 2), ask(&rounds, 3), beside);
        assert!(matches!(&other, LastRound::None(why) if why.contains("could not be asked")), "nobody listens there");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(matches!(&one.0, LastRound::None(why) if why.contains("did not answer within 2 s")));
        assert!(one.1 < Duration::from_millis(2500) && again.1 < Duration::from_millis(2500), "{:?} {:?}", one.1, again.1);
    }

    #[test]
    fn no_more_agents_are_remembered_than_are_looked_at() {
        let rounds = Rounds::default();
        let held = rounds.kept(IpAddr::from([10, 0, 0, 1]));
        (0..=255).for_each(|last| drop(rounds.kept(IpAddr::from([10, 0, 1, last]))));
        assert!(rounds.0.lock().unwrap().len() <= KEPT_MAX);
        assert!(Arc::ptr_eq(&held, &rounds.kept(IpAddr::from([10, 0, 0, 1]))), "one that is waited at stays");
    }

    #[test]
    fn a_text_that_is_too_long_ends_with_a_whole_line_and_says_so() {
        assert_eq!(shortened("a\nb\n".into()), "a\nb\n");
        let text = shortened("äöü\n".repeat(10_000));
        assert!(text.len() < TEXT_MAX + 64 && text.ends_with("äöü\n… and more: all of it has 68 kB\n"), "{}", text.len());
        assert_eq!(shortened("x".repeat(TEXT_MAX + 1)), "… and more: all of it has 32 kB\n");
    }
}
