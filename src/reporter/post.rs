//! Writes Events: what the ledger says is next, one at a time, at its rate.
use super::api_part::ApiPart;
use super::house::House;
use crate::cluster::{Cluster, Trouble};
use crate::show::notes;
use guardprobe_core::judge::ledger::Act;
use guardprobe_core::model::names;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The shortest and the longest rest after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long at most, whatever the API server says.
const BUSY_MAX: Duration = Duration::from_secs(60);

/// Writes for as long as the future lives; `write` is how.
pub(super) async fn post(house: &House, write: impl AsyncFn(&Act) -> Result<(), Trouble>) -> ! {
    let mut rest = BACKOFF.0;
    loop {
        let looked = house.now().up;
        let Some(act) = house.next() else {
            // Where there is much to look through, that is not done for each piece of news.
            sleep(names::LOOK_PAUSE.max(10 * house.now().up.saturating_sub(looked))).await;
            // What waits for its turn, or is yet to settle, comes by time alone.
            let _ = timeout(house.look_again_within(), house.news()).await;
            continue;
        };
        match write(&act).await {
            Ok(()) => {
                house.written(&act);
                house.works(&ApiPart::WritingEvents, None);
                rest = BACKOFF.0;
            }
            // Its name is somebody else's: it gets another one at once.
            Err(Trouble::Conflict) => {
                let event = &act.notice().name;
                tracing::warn!(
                    event,
                    "an Event of this name is not ours: the one about {} gets another name",
                    act.notice().reason.as_str()
                );
                house.not_written(&act, &Trouble::Conflict);
            }
            Err(trouble) => {
                house.not_written(&act, &trouble);
                let pause = pause(&trouble, rest);
                house.works(&ApiPart::WritingEvents, Some(trouble));
                sleep(pause).await;
                rest = (rest * 2).min(BACKOFF.1);
            }
        }
    }
}

/// How long to rest after a failure.
fn pause(trouble: &Trouble, rest: Duration) -> Duration {
    match trouble {
        Trouble::Missing | Trouble::Conflict | Trouble::Invalid(_) | Trouble::Forbidden(_) => Duration::ZERO,
        Trouble::Busy(seconds) => Duration::from_secs((*seconds).into()).min(BUSY_MAX),
        Trouble::Unauthenticated(_) | Trouble::Unreachable(_) => rest,
    }
}

/// Writes one to the API server.
pub(super) async fn write(cluster: &Cluster, house: &House, act: &Act) -> Result<(), Trouble> {
    let now = house.wall();
    match act {
        Act::Post(notice) => {
            cluster.post(notice, &notes::note(notice), house.me(), now).await?;
            tracing::info!(guard = %notice.guard, target = notice.target, event = notice.name, "{}", notice.reason.as_str());
            Ok(())
        }
        Act::Renew { notice, count } => cluster.renew(notice, *count, now).await,
    }
}
