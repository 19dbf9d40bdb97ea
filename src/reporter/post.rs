//! Writes Events: what the ledger says is next, at its rate. One that takes long keeps no other waiting.
use super::api_part::ApiPart;
use super::house::House;
use crate::cluster::{Cluster, Trouble};
use crate::show::notes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use guardprobe_core::judge::ledger::Act;
use guardprobe_core::model::names;
use guardprobe_core::model::notice::OwnEvent;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The shortest and the longest rest after failures.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long at most, whatever the API server says.
const BUSY_MAX: Duration = Duration::from_secs(60);
/// Events are written one after the other, unless one takes long ([`names::SLOW_WRITE`]), in a webhook for instance; so many that take long
/// are waited for at once. The last place is for what was not refused before.
const SLOW_MAX: usize = 4;

/// Writes for as long as the future lives; `write` is how. It returns the Event that was there already, if there was one.
pub(super) async fn post(house: &House, write: impl AsyncFn(&Act) -> Result<Option<OwnEvent>, Trouble>) -> ! {
    let mut failures = Failures::default();
    let mut writing = FuturesUnordered::new();
    let write_one = async |act: Act, began: Duration| {
        let result = write(&act).await;
        (act, began, result)
    };
    // When the newest of those that are being written began, and until when nothing is to be written.
    let (mut newest, mut rested) = (None, Duration::ZERO);
    loop {
        let may_at = newest.map_or(rested, |began: Duration| rested.max(began + names::SLOW_WRITE));
        let looked = house.now().up;
        let may = writing.len() < SLOW_MAX && may_at <= looked;
        if let Some(act) = may.then(|| house.next(writing.len() + 1 < SLOW_MAX)).flatten() {
            newest = Some(looked);
            writing.push(write_one(act, looked));
            continue;
        }
        // Where there is much to look through, that is not done for each piece of news.
        let pause = names::LOOK_PAUSE.max(10 * house.now().up.saturating_sub(looked));
        let is_full = writing.len() >= SLOW_MAX;
        let until_it_may = async {
            if is_full {
                std::future::pending::<()>().await;
            } else if !may {
                sleep(may_at.saturating_sub(looked)).await;
            } else {
                sleep(pause).await;
                // What waits for its turn, or is yet to settle, comes by time alone.
                let _ = timeout(house.look_again_within(), house.news()).await;
            }
        };
        tokio::select! {
            Some((act, began, result)) = writing.next() => {
                newest.take_if(|newest| *newest == began);
                let rest = note(house, &mut failures, &act, result);
                rested = house.now().up + rest;
            }
            () = until_it_may => {}
        }
    }
}

/// Notes how it went. Returns how long to rest.
fn note(house: &House, failures: &mut Failures, act: &Act, result: Result<Option<OwnEvent>, Trouble>) -> Duration {
    let trouble = match result {
        Ok(found) => {
            match found {
                Some(event) => house.found(&event),
                None => house.written(act),
            }
            house.works(&ApiPart::WritingEvents, None);
            *failures = Failures::default();
            return Duration::ZERO;
        }
        Err(trouble) => trouble,
    };
    let (event, reason) = (&act.notice().name, act.notice().reason.as_str());
    house.not_written(act, &trouble);
    let rest = failures.rest_after(event, &trouble);
    if trouble == Trouble::Conflict {
        tracing::warn!(event, "an Event of this name is not ours: the one about {reason} gets another name");
    } else {
        house.works(&ApiPart::WritingEvents, Some(trouble));
    }
    rest
}

/// Events in a row that could not be written.
#[derive(Debug, Default)]
struct Failures {
    last: Option<String>,
    rest: Duration,
}

impl Failures {
    /// How long to rest after a failure. One Event that fails, as often as it may, keeps no other waiting for longer than the shortest rest;
    /// when another one fails as well, the API server is not to be asked for a while.
    fn rest_after(&mut self, name: &str, trouble: &Trouble) -> Duration {
        let asked = match trouble {
            Trouble::Missing | Trouble::Conflict | Trouble::Invalid(_) | Trouble::Forbidden(_) => return Duration::ZERO,
            // That may be a webhook for some Events: each of them rests by itself.
            Trouble::Failed(_) => return BACKOFF.0,
            Trouble::Busy(seconds) => Duration::from_secs((*seconds).into()).min(BUSY_MAX),
            Trouble::Unauthenticated(_) | Trouble::Unreachable(_) => Duration::ZERO,
        };
        let is_another = self.last.as_ref().is_some_and(|last| last != name);
        self.last = Some(name.to_owned());
        if !is_another {
            return BACKOFF.0;
        }
        self.rest = (self.rest * 2).clamp(BACKOFF.0, BACKOFF.1);
        self.rest.max(asked)
    }
}

/// Writes one to the API server. Returns the Event that was there already, if there was one.
pub(super) async fn write(cluster: &Cluster, house: &House, act: &Act) -> Result<Option<OwnEvent>, Trouble> {
    let now = house.wall();
    match act {
        Act::Post(notice) => {
            let found = cluster.post(notice, &notes::note(notice), house.me(), now).await?;
            if found.is_none() {
                let (guard, target, event) = (&notice.guard, &notice.target, &notice.name);
                tracing::info!(%guard, target, event, "{}", notice.reason.as_str());
            }
            Ok(found)
        }
        Act::Renew { notice, count } => cluster.renew(notice, *count, now).await.map(|()| None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_that_fails_again_and_again_keeps_the_others_waiting_for_half_a_second_at_most() {
        let mut failures = Failures::default();
        let busy = Trouble::Busy(30);
        assert_eq!([0; 3].map(|_| failures.rest_after("one", &busy)), [BACKOFF.0; 3]);
        assert_eq!(failures.rest_after("another", &busy), Duration::from_secs(30), "it is busy for all");
        let gone = Trouble::Unreachable("no answer".into());
        let seconds = ["a", "b", "c", "d", "e", "f"].map(|name| failures.rest_after(name, &gone).as_secs_f64());
        assert_eq!(seconds, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        let broken = Trouble::Failed("500 failed calling webhook".into());
        assert_eq!(["a", "b", "c", "d"].map(|name| failures.rest_after(name, &broken)), [BACKOFF.0; 4], "the others go on");
        for mine in [Trouble::Missing, Trouble::Conflict, Trouble::Invalid("no".into()), Trouble::Forbidden("no".into())] {
            assert_eq!(failures.rest_after("g", &mine), Duration::ZERO);
        }
    }
}
