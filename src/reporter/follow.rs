//! What the cluster holds, as the API tells it: every watch feeds the house.
use super::house::House;
use crate::cluster::Cluster;
use futures_util::future::{join_all, join3};
use guardprobe_core::model::names;

/// Follows everything, for as long as the future lives.
pub(super) async fn follow(cluster: &Cluster, house: &House) {
    let namespaces = house.namespaces();
    let each = namespaces.iter().map(|namespace| async move {
        let events = async {
            if namespace != names::NODE_EVENTS_NAMESPACE {
                cluster.own_events(namespace, |news| house.own_events(namespace, news)).await;
            }
        };
        let pods = cluster.pods(namespace, |news| house.pods(namespace, news));
        let sets = cluster.daemon_sets(namespace, |news| house.daemon_sets(namespace, news));
        let services = cluster.services(namespace, |news| house.services(namespace, news));
        tokio::join!(events, pods, sets, services);
    });
    let events = cluster.own_events(names::NODE_EVENTS_NAMESPACE, |news| house.own_events(names::NODE_EVENTS_NAMESPACE, news));
    let nodes = cluster.nodes(|news| house.nodes(news));
    let endpoints = cluster.api_endpoints(|news| house.api_endpoints(news));
    tokio::join!(join_all(each), join3(events, nodes, endpoints));
}
