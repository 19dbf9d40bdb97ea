//! What one round says about one target: the rules, in the order in which they are asked. The first that matches decides.
//!
//! | rule | when | finding |
//! | --- | --- | --- |
//! | 1 | an address connected, and where nothing lives nothing connected (or that could not be tried) | breached |
//! | 1, exception | a `kube-api` address completed a TLS handshake with a certificate that is not of the cluster's CA | `wrong_identity` |
//! | 2 | an address connected, but so did the place where nothing lives: breached when its identity is proven all the same, else | `intercepted` |
//! | 3 | an attempt failed by the prober's own fault; or by this container's own kernel rules | `local_error`, `denied_locally` |
//! | 4 | must-reach controls of a tried family failed and none of that family held | `control_failed` |
//! | 5 | a name in use gave no address; the endpoints file gave nothing; nothing was left to try | `resolve_failed`, `stale_addresses`, `no_addresses` |
//! | 6 | a reset came back | `refused` |
//! | 7 | at least one address was tried, and each ended in silence, a rejection or no route | blocked |
//!
//! Skipped addresses are ignored. A breach on one address outweighs any doubt about another: one success is proof.
use super::control::{self, Negative};
use crate::model::address::Family;
use crate::model::config::Kind;
use crate::model::finding::{Attribution, Doubt, Finding};
use crate::model::observation::{Evidence, Identity, Layer, Observation, Outcome};
use crate::model::round::{ControlRound, TargetRound};

/// A finding, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Verdict and reason.
    pub finding: Finding,
    /// The number of the rule that decided, 1 to 7.
    pub rule: u8,
    /// That rule and what it rests on, in words.
    pub why: String,
}

impl Judged {
    fn doubt(rule: u8, doubt: Doubt, why: String) -> Self {
        Judged { finding: Finding::Inconclusive(doubt), rule, why }
    }
}

/// Judges one target of one round. `proof` is the least attribution that is accepted as blocked.
pub fn judge(target: &TargetRound, controls: &[ControlRound], proof: Attribution) -> Judged {
    let matched = breached(target, controls)
        .or_else(|| wrong_identity(target, controls))
        .or_else(|| intercepted(target))
        .or_else(|| prober_failed(target))
        .or_else(|| control_failed(target, controls))
        .or_else(|| addresses_missing(target))
        .or_else(|| refused(target));
    matched.unwrap_or_else(|| blocked(target, controls, proof))
}

/// What one open address means by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Breach { rule: u8 },
    WrongIdentity,
    Intercepted,
}

fn standing(target: &TargetRound, controls: &[ControlRound], open: &Observation) -> Standing {
    let somebody_answers_for_all = control::negative(controls, open) == Negative::Connected;
    match open.identity {
        Some(Identity::Proven) if somebody_answers_for_all => Standing::Breach { rule: 2 },
        _ if somebody_answers_for_all => Standing::Intercepted,
        Some(Identity::Wrong) if target.kind == Kind::KubeApi => Standing::WrongIdentity,
        _ => Standing::Breach { rule: 1 },
    }
}

/// True when an observation shows that the target itself was reached: whoever answered does not answer in its place.
pub fn reached(target: &TargetRound, controls: &[ControlRound], seen: &Observation) -> bool {
    seen.connected() && matches!(standing(target, controls, seen), Standing::Breach { .. })
}

fn open(target: &TargetRound) -> impl Iterator<Item = &Observation> {
    target.observations.iter().filter(|seen| seen.connected())
}

fn tried(target: &TargetRound) -> impl Iterator<Item = &Observation> {
    target.observations.iter().filter(|seen| seen.tried())
}

/// Rule 1, and the part of rule 2 that still proves a breach.
fn breached(target: &TargetRound, controls: &[ControlRound]) -> Option<Judged> {
    let breaches = open(target).filter_map(|seen| match standing(target, controls, seen) {
        Standing::Breach { rule } => Some((seen, rule)),
        _ => None,
    });
    // The furthest one speaks for all; by address among equals, so that the order of trying does not show.
    let (worst, rule) =
        breaches.max_by_key(|(seen, rule)| (evidence(seen), seen.layer, *rule == 1, std::cmp::Reverse(seen.address)))?;
    let control = match control::negative(controls, worst) {
        Negative::Held => "and nothing connected where nothing lives".to_owned(),
        Negative::Untried => "though its must-not-connect control could not be tried".to_owned(),
        Negative::Connected => "and proved who it is, although something also connects where nothing lives".to_owned(),
    };
    let why = format!("{} connected, {control}", worst.address);
    Some(Judged { finding: Finding::Breached(evidence(worst)), rule, why })
}

/// The evidence of an open address; a connection by itself is the least.
fn evidence(open: &Observation) -> Evidence {
    open.evidence.unwrap_or(Evidence::Connected)
}

/// The exception of rule 1: a released endpoint address that somebody else owns now.
fn wrong_identity(target: &TargetRound, controls: &[ControlRound]) -> Option<Judged> {
    let wrong = open(target).filter(|seen| standing(target, controls, seen) == Standing::WrongIdentity);
    let address = wrong.map(|seen| seen.address).min()?;
    let why = format!("{address} completed a TLS handshake with a certificate that is not of the cluster's CA");
    Some(Judged::doubt(1, Doubt::WrongIdentity, why))
}

/// Rule 2: what is left of the open addresses after a breach and a wrong identity are ruled out.
fn intercepted(target: &TargetRound) -> Option<Judged> {
    let address = open(target).map(|seen| seen.address).min()?;
    let why = format!("{address} connected, but so did an address where nothing lives: something answers in the target's place");
    Some(Judged::doubt(2, Doubt::Intercepted, why))
}

/// Rule 3.
fn prober_failed(target: &TargetRound) -> Option<Judged> {
    let first = |outcome| target.observations.iter().filter(|seen| seen.outcome == outcome).min_by_key(|seen| seen.address);
    let said = |seen: &Observation| seen.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    if let Some(seen) = first(Outcome::LocalError) {
        let why = format!("{} could not be tried by the prober's own fault{}", seen.address, said(seen));
        return Some(Judged::doubt(3, Doubt::LocalError, why));
    }
    let seen = first(Outcome::DeniedLocally)?;
    let why = format!("{} was denied inside this pod{}, which says nothing about its neighbours", seen.address, said(seen));
    Some(Judged::doubt(3, Doubt::DeniedLocally, why))
}

/// Rule 4.
fn control_failed(target: &TargetRound, controls: &[ControlRound]) -> Option<Judged> {
    let tried_in = |family: Family| tried(target).any(|seen| seen.family == family);
    let family = Family::ALL.into_iter().find(|family| tried_in(*family) && control::family_failed(controls, *family))?;
    let why = format!("no must-reach control held over {}: the pod's own network may be dead", family.title());
    Some(Judged::doubt(4, Doubt::ControlFailed, why))
}

/// Rule 5.
fn addresses_missing(target: &TargetRound) -> Option<Judged> {
    if let Some(name) = target.unresolved.iter().min() {
        return Some(Judged::doubt(5, Doubt::ResolveFailed, format!("no address for {name}")));
    }
    if let Some(stale) = &target.stale {
        return Some(Judged::doubt(5, Doubt::StaleAddresses, format!("the endpoints file gave no addresses: {stale}")));
    }
    if tried(target).next().is_some() {
        return None;
    }
    let why =
        if target.observations.is_empty() { "no address is known" } else { "the pod has no usable source address in any family" };
    Some(Judged::doubt(5, Doubt::NoAddresses, format!("{why}: nothing was left to try")))
}

/// Rule 6.
fn refused(target: &TargetRound) -> Option<Judged> {
    let address = tried(target).filter(|seen| seen.outcome == Outcome::Refused).map(|seen| seen.address).min()?;
    let why = format!(
        "{address} answered with a reset: a packet got to some host, and a closed port says the same as a policy that resets"
    );
    Some(Judged::doubt(6, Doubt::Refused, why))
}

/// Rule 7, and the level of proof that was asked for.
fn blocked(target: &TargetRound, controls: &[ControlRound], proof: Attribution) -> Judged {
    let attribution = attribution(target, controls);
    let basis = match attribution {
        Attribution::Witnessed | Attribution::Rejected => "something on the way said no to each address",
        Attribution::Silence => "each address stayed unreachable while a must-reach control of its family held",
        Attribution::Weak => "each address stayed unreachable, but nothing proves that it is alive or the way to it open",
    };
    if attribution < proof {
        let why = format!("{basis}: proof {}, less than the {} that was asked for", attribution.as_str(), proof.as_str());
        return Judged::doubt(7, Doubt::Unproved, why);
    }
    Judged { finding: Finding::Blocked(attribution), rule: 7, why: basis.to_owned() }
}

/// How well it is proved that a target is blocked: as well as its weakest address. A Service address proves nothing alone, since
/// policy is evaluated after kube-proxy's DNAT: without endpoints, or without kube-proxy, it is silent or rejected vacuously.
fn attribution(target: &TargetRound, controls: &[ControlRound]) -> Attribution {
    let only_services = tried(target).all(|seen| seen.service);
    let weakest = tried(target).map(|seen| address_attribution(seen, controls)).min();
    weakest.filter(|_| !only_services).unwrap_or(Attribution::Weak)
}

/// How well it is proved that one address is blocked, without a witness; `None`: it is not.
pub fn alone(seen: &Observation, controls: &[ControlRound]) -> Option<Attribution> {
    let shut = matches!(seen.outcome, Outcome::TimedOut | Outcome::Rejected | Outcome::Unreachable);
    shut.then(|| address_attribution(seen, controls))
}

fn address_attribution(seen: &Observation, controls: &[ControlRound]) -> Attribution {
    match seen.outcome {
        Outcome::Rejected if !seen.service => Attribution::Rejected,
        Outcome::Rejected | Outcome::TimedOut if control::held_off_node(controls, seen.family) => Attribution::Silence,
        _ => Attribution::Weak,
    }
}

/// The layer that an open target was reached at; `none` where nothing connected.
pub fn furthest(target: &TargetRound) -> Layer {
    target.observations.iter().map(|seen| seen.layer).max().unwrap_or(Layer::None)
}

#[cfg(test)]
mod tests;
