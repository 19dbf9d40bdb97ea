//! Lone tries: one connect, one SYN, no climb. Sentinels between rounds, and the tries of the startup window.
#![expect(clippy::disallowed_methods, reason = "an attempt is timed here, at the edge")]
use super::connect::{connect, connect_until};
use super::controls::{intercepted, must_not_connect};
use super::pod;
use super::round::{Around, Prober};
use futures_util::future::join_all;
use guardprobe_core::judge::control;
use guardprobe_core::model::address::{Family, is_private};
use guardprobe_core::model::names;
use guardprobe_core::model::observation::{Observation, Outcome, Source};
use guardprobe_core::model::round::ControlRound;
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
}

impl Prober {
    /// The addresses that lone tries may go to: those known without asking a resolver that cost no port of a NAT gateway, in the families
    /// that this pod has now.
    pub fn doors(&self) -> Vec<Door> {
        let families = pod::usable_families(pod::addresses().as_deref());
        let targets = self.config.targets.iter().enumerate();
        let doors = targets.flat_map(|(target, named)| {
            let known = self.locator.known(named).addresses.into_iter();
            known.map(move |known| Door { target, address: known.socket, source: known.source })
        });
        doors.filter(|door| is_private(door.address.ip()) && families.contains(&Family::of(door.address.ip()))).collect()
    }

    /// One connect to one door, for as long as that.
    pub async fn knock(&self, door: Door, deadline: tokio::time::Instant) -> Observation {
        let start = Instant::now();
        connect_until(door.address, start, deadline.into_std()).await.observation(door.address, door.source)
    }

    /// As [`Prober::knock`], for the startup window. The second value is true when something connects where nothing lives, too, so that
    /// a connection says nothing about the guard.
    pub async fn knock_twice(&self, door: Door, budget: Duration) -> (Observation, bool) {
        let attempt = connect(door.address, budget).await;
        let seen = attempt.observation(door.address, door.source);
        if seen.outcome != Outcome::Connected {
            return (seen, false);
        }
        let negatives = self.controls.negatives(&self.locator).await;
        let nowhere = must_not_connect(door.address, attempt.latency, &negatives, self.config.timeout).await;
        (seen, intercepted(&nowhere))
    }

    /// True when any must-reach control holds now; for at most `timeout` of the configuration.
    pub async fn any_control_holds(&self) -> bool {
        let own = pod::addresses();
        let families = pod::usable_families(own.as_deref());
        let own = own.unwrap_or_default();
        let around = Around::for_controls(&families, &own, self.config.timeout + names::CLIMB_TIMEOUT);
        let asked = self.controls.all.iter().map(|control| async {
            let asked = self.controls.must_reach(control, &self.locator, &self.pod, &around).await;
            let (name, expect, kind) = (control.name.clone(), control.expect, control.kind);
            let round = ControlRound { name, expect, kind, observations: asked.observations, unresolved: asked.unresolved };
            !round.observations.is_empty() && control::held(&round) == Some(true)
        });
        join_all(asked).await.into_iter().any(|held| held)
    }
}
