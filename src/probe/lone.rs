//! Lone tries: one connect, one SYN, no climb. Sentinels between rounds, and the tries of the startup window.
#![expect(clippy::disallowed_methods, reason = "an attempt is timed here, at the edge")]
use super::connect::{connect, connect_until};
use super::controls::{intercepted, must_not_connect, neighbours};
use super::pod::PodNetwork;
use super::round::{Prober, RoundContext};
use futures_util::future::join_all;
use guardprobe_core::judge::control;
use guardprobe_core::model::address::{Family, is_private};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome, Source};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An address that may be tried as often as every second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Door {
    /// The target's place in the configuration.
    pub target: usize,
    /// Where it is.
    pub address: SocketAddr,
    source: Source,
    service: bool,
}

impl Prober {
    /// The addresses that lone tries may go to: those known without asking a resolver that cost no port of a NAT gateway, in the families
    /// that this pod has now. A Service's address is translated on the node, whatever its range.
    pub fn doors(&self, network: &PodNetwork) -> Vec<Door> {
        let targets = self.config.targets.iter().enumerate();
        let known = targets
            .flat_map(|(target, named)| self.locator.known(named).addresses.into_iter().map(move |address| (target, address)));
        let usable = known.filter(|(_, address)| {
            let ip = address.socket.ip();
            (address.service || is_private(ip)) && network.families.contains(&Family::of(ip))
        });
        usable
            .map(|(target, address)| Door { target, address: address.socket, source: address.source, service: address.service })
            .collect()
    }

    /// One connect to one door, for as long as that.
    pub async fn knock(&self, network: &PodNetwork, door: Door, deadline: tokio::time::Instant) -> Observation {
        let start = Instant::now();
        connect_until(network, door.address, start, deadline.into_std()).await.observation(door.address, door.source)
    }

    /// As [`Prober::knock`], for the startup window. The second value is true when a negative control or the hosts beside the address
    /// connect, too, so that a connection says nothing about the guard.
    pub async fn knock_twice(&self, network: &PodNetwork, door: Door, budget: Duration) -> (Observation, bool) {
        let attempt = connect(network, door.address, budget).await;
        let seen = attempt.observation(door.address, door.source);
        if seen.outcome != Outcome::Connected {
            return (seen, false);
        }
        let negatives = self.controls.negatives(&self.locator, network).await;
        let (latency, most) = (attempt.latency, self.config.timeout);
        let negative = must_not_connect(network, door.address, latency, &negatives, most).await;
        if intercepted(&negative) {
            return (seen, true);
        }
        let neighbours = neighbours(network, (door.address, door.service), latency, most).await;
        (seen, neighbours.all_connect())
    }

    /// True when any must-reach control is firm now; for at most the time that a control may take.
    pub async fn any_control_is_firm(&self) -> bool {
        let network = PodNetwork::look();
        let longest = names::FIRST_SYN + self.config.timeout + names::CLIMB_TIMEOUT;
        let context = RoundContext::for_controls(&network, longest);
        let asked = (0..self.controls.all.len()).map(|index| self.controls.must_reach(index, &self.locator, &self.pod, &context));
        join_all(asked).await.iter().flat_map(|asked| &asked.observations).any(control::is_firm)
    }
}
