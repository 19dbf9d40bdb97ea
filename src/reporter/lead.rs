//! Who writes, by a Lease; and what the one who does keeps up to date for the agents.
use super::house::{House, LEASE};
use crate::cluster::{Cluster, Trouble};
use crate::show::endpoints;
use guardprobe_core::judge::election::{Lease, Step};
use guardprobe_core::model::names;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

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
                    house.works(LEASE, outcome.err());
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
    let read = cluster.lease(namespace).await?;
    if std::mem::replace(first, false) {
        let renewed = read.as_ref().and_then(|(_, renewed)| *renewed);
        house.nobody_led_for(renewed.map_or(Duration::ZERO, |at| house.wall().duration_since(at).unsigned_abs()));
    }
    let lease: Option<Lease> = read.map(|(lease, _)| lease);
    let step = house.elect(|elector, now| elector.step(lease.as_ref(), now));
    if step == Step::Wait {
        return Ok(());
    }
    let began = house.now();
    cluster.write_lease(namespace, house.me(), lease.as_ref(), began.wall).await?;
    house.elect(|elector, _| elector.written(began.up));
    Ok(())
}

/// Gives the Lease up, so that another need not wait until it is old.
pub(super) async fn give_up(cluster: &Cluster, house: &House, namespace: &str) {
    if !house.leads() {
        return;
    }
    if let Ok(Some((lease, _))) = cluster.lease(namespace).await
        && lease.holder.as_deref() == Some(house.me())
    {
        let _ = cluster.write_lease(namespace, "", Some(&lease), house.wall()).await;
    }
}

/// Writes the ConfigMaps when the addresses change, when this one begins to lead, and now and then; those that failed again sooner.
async fn keep_endpoints(cluster: &Cluster, house: &House) -> ! {
    let mut due = house.namespaces();
    loop {
        let failed = if house.leads() { write_endpoints(cluster, house, due).await } else { BTreeSet::new() };
        tokio::select! {
            () = sleep(names::LEASE_DURATION), if !failed.is_empty() => due = failed,
            () = sleep(names::ENDPOINTS_RENEWAL) => due = house.namespaces(),
            () = house.endpoints_changed.notified() => due = house.namespaces(),
        }
    }
}

/// Writes the ConfigMaps of these namespaces; gives those that could not be written. Whoever loses the lead meanwhile leaves the rest to
/// another.
async fn write_endpoints(cluster: &Cluster, house: &House, namespaces: BTreeSet<String>) -> BTreeSet<String> {
    const WHAT: &str = "the endpoints ConfigMap";
    let addresses = house.endpoints();
    if addresses.is_empty() {
        return BTreeSet::new();
    }
    let file = match endpoints::file(&addresses, house.wall()) {
        Ok(file) => file,
        Err(message) => {
            house.works(WHAT, Some(Trouble::Invalid(message)));
            return namespaces;
        }
    };
    let (mut failed, mut trouble) = (BTreeSet::new(), None);
    for namespace in namespaces {
        if house.leads()
            && let Err(error) = cluster.write_endpoints(&namespace, &file).await
        {
            failed.insert(namespace);
            trouble = Some(error);
        }
    }
    house.works(WHAT, trouble);
    failed
}
