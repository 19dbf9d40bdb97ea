//! Who writes, by a Lease; and what the one who does keeps up to date for the agents.
use super::api_part::ApiPart;
use super::house::House;
use crate::cluster::{Cluster, Trouble};
use crate::show::endpoints;
use futures_util::future::join_all;
use guardprobe_core::judge::election::Step;
use guardprobe_core::judge::schedule::Schedule;
use guardprobe_core::model::names;
use std::time::Duration;
use tokio::time::sleep;

/// The shortest rest between two looks at what is due.
const LEAST_REST: Duration = Duration::from_secs(1);

/// Stands for election for as long as the future lives, and keeps the endpoints ConfigMap while it leads.
pub(super) async fn lead(cluster: &Cluster, house: &House, namespace: &str) -> ! {
    let mut first = true;
    let elect = async {
        loop {
            match elect(cluster, house, namespace, &mut first).await {
                Err(Trouble::Conflict) => house.elect(|elector, _| elector.lost()),
                outcome => {
                    // The passing of time may have ended it.
                    house.elect(|_, _| ());
                    house.works(&ApiPart::Lease, outcome.err());
                }
            }
            sleep(names::LEASE_PERIOD.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        }
    };
    tokio::select! {
        never = elect => never,
        never = keep_endpoints(cluster, house) => never,
    }
}

async fn elect(cluster: &Cluster, house: &House, namespace: &str, first: &mut bool) -> Result<(), Trouble> {
    let (lease, renewed) = cluster.lease(namespace).await?;
    if std::mem::replace(first, false) {
        house.nobody_led_for(renewed.map_or(Duration::ZERO, |at| house.wall().duration_since(at).unsigned_abs()));
    }
    let step = house.elect(|elector, now| elector.step(&lease, now));
    if step == Step::Wait {
        return Ok(());
    }
    let began = house.now();
    cluster.write_lease(namespace, house.me(), &lease, began.wall).await?;
    house.elect(|elector, _| elector.written(began.up));
    Ok(())
}

/// Gives the Lease up, so that another need not wait until it is old.
pub(super) async fn give_up(cluster: &Cluster, house: &House, namespace: &str) {
    if !house.leads() {
        return;
    }
    if let Ok((lease, _)) = cluster.lease(namespace).await
        && lease.holder.as_deref() == Some(house.me())
    {
        let _ = cluster.write_lease(namespace, "", &lease, house.wall()).await;
    }
}

/// Writes the ConfigMaps when the addresses change, when this one begins to lead, and now and then: each namespace by its own schedule.
async fn keep_endpoints(cluster: &Cluster, house: &House) -> ! {
    let mut schedule = Schedule::new(house.namespaces(), names::ENDPOINTS_RENEWAL);
    loop {
        if house.leads() {
            write_endpoints(cluster, house, &mut schedule).await;
        }
        // One that does not lead has nothing to do until it does.
        let rest = schedule.until_next(house.now().up).filter(|_| house.leads()).unwrap_or(names::ENDPOINTS_RENEWAL);
        tokio::select! {
            () = sleep(rest.max(LEAST_REST)) => {}
            () = house.endpoints_changed.notified() => schedule.all_at_once(),
        }
    }
}

/// Writes the ConfigMaps that are due, all at once: one that hangs keeps no other waiting. They are stamped with the time of a list that the
/// API server gave just now. What a watch said last may be hours old, and nobody would know.
async fn write_endpoints(cluster: &Cluster, house: &House, schedule: &mut Schedule<String>) {
    let due = schedule.due(house.now().up);
    if due.is_empty() || house.endpoints().is_empty() {
        return;
    }
    let listed = cluster.list_api_endpoints().await;
    let file = listed.and_then(|addresses| endpoints::file(&addresses, house.wall()).map_err(Trouble::Invalid));
    let file = match file {
        Ok(file) => file,
        Err(trouble) => {
            house.works(&ApiPart::EndpointsFile, Some(trouble));
            due.iter().for_each(|namespace| schedule.failed(namespace, house.now().up));
            return;
        }
    };
    house.works(&ApiPart::EndpointsFile, None);
    let write = |namespace: String| async {
        // Whoever loses the lead meanwhile leaves the rest to another.
        let written = if house.leads() { cluster.write_endpoints(&namespace, &file).await } else { Ok(()) };
        (namespace, written)
    };
    for (namespace, written) in join_all(due.into_iter().map(write)).await {
        let now = house.now().up;
        match &written {
            Ok(()) => schedule.done(&namespace, now),
            Err(_) => schedule.failed(&namespace, now),
        }
        house.works(&ApiPart::EndpointsConfigMap(namespace), written.err());
    }
}
