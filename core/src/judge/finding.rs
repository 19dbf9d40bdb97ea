//! What one round says about one target: the rules of DESIGN §4, in their order. The first that matches decides.
//!
//! | rule | when | finding |
//! | --- | --- | --- |
//! | 1 | an address connected, and no negative control shows an interception (or none could be tried) | breached |
//! | 1, exception | a `kube-api` address that may have been released (endpoints file, literal) showed a certificate of another CA | `wrong_identity` |
//! | 2 | an address connected, and an interception is shown: breached when the target's identity is proved all the same, else | `intercepted` |
//! | 3 | an attempt failed by the prober's own fault; or was decided by this pod's own kernel | `local_error`, `denied_locally` |
//! | 4 | no must-reach control could be tried; or those of a tried family failed, or lost more than half of their attempts | `no_control`, `control_failed` |
//! | 5 | a name in use was not looked up in full; the endpoints file gave nothing; nothing was left to try | `resolve_failed`, `stale_addresses`, `no_addresses` |
//! | 6 | a reset came back, or an ICMP error of the address itself | `refused` |
//! | 7 | at least one address was tried, and each ended in a time-out, a rejection or unreachable | blocked; `unproved` below the threshold |
//!
//! Skipped addresses are ignored. A breach on one address outweighs any doubt about another: one success is proof.
use super::control::{self, Negative};
use crate::model::address::Family;
use crate::model::config::Kind;
use crate::model::finding::{Attribution, Doubt, Finding};
use crate::model::observation::{Evidence, Identity, Layer, Observation, Outcome, Source};
use crate::model::round::{ControlRound, TargetRound};
use std::net::SocketAddr;

/// A finding, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Verdict and reason.
    pub finding: Finding,
    /// The number of the rule that decided, 1 to 7.
    pub rule: u8,
    /// That rule and what it rests on, in words.
    pub why: String,
    /// How well rule 7 proves that the target is blocked, before any threshold. `None` where another rule decided.
    pub attribution: Option<Attribution>,
}

impl Judged {
    fn doubt(rule: u8, doubt: Doubt, why: String) -> Self {
        Judged { finding: Finding::Inconclusive(doubt), rule, why, attribution: None }
    }
}

/// Judges one target of one round. `proof` is the least attribution that is accepted as blocked, unless the target sets its own.
pub fn judge(target: &TargetRound, controls: &[ControlRound], proof: Attribution) -> Judged {
    let matched = breached(target, controls)
        .or_else(|| wrong_identity(target, controls))
        .or_else(|| intercepted(target))
        .or_else(|| prober_failed(target))
        .or_else(|| no_control(controls))
        .or_else(|| control_failed(target, controls))
        .or_else(|| addresses_missing(target))
        .or_else(|| refused(target));
    matched.unwrap_or_else(|| blocked(target, controls, proof))
}

/// What two passes in a row come to, where silence has to be seen twice: with random packet loss one silent pass is not rare enough.
pub fn confirm(first: &Judged, second: Judged) -> Judged {
    let silent = second.finding == Finding::Blocked(Attribution::Silence);
    if !silent || first.attribution >= Some(Attribution::Silence) {
        return second;
    }
    let why = format!("only the second of two passes was silent beside a firm control; the first: {}", first.why);
    if first.finding == Finding::Blocked(Attribution::Weak) {
        return Judged { why, ..first.clone() };
    }
    Judged { attribution: Some(Attribution::Weak), ..Judged::doubt(7, Doubt::Unproved, why) }
}

/// What one open address means by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Breach { rule: u8 },
    WrongIdentity,
    Intercepted,
}

fn standing(target: &TargetRound, controls: &[ControlRound], open: &Observation) -> Standing {
    let somebody_answers_for_all = control::interception(controls, open) == Negative::Connected;
    match open.identity {
        Some(Identity::Proven) if somebody_answers_for_all => Standing::Breach { rule: 2 },
        _ if somebody_answers_for_all => Standing::Intercepted,
        Some(Identity::Wrong) if target.kind == Kind::KubeApi && may_be_released(open) => Standing::WrongIdentity,
        _ => Standing::Breach { rule: 1 },
    }
}

/// True for an address that a cluster gives up when an API server moves, so that somebody else may own it now: an endpoint. A ClusterIP
/// stays for as long as the Service, and a name is what its owner says it is.
fn may_be_released(seen: &Observation) -> bool {
    matches!(seen.source, Source::File | Source::Literal) && !seen.service
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
    let control = match control::interception(controls, worst) {
        Negative::Held => "and its negative control did not connect",
        Negative::Untried => "though its negative control could not be tried",
        Negative::Connected => "and proved its identity, although its negative control connected as well",
    };
    let why = format!("{} connected, {control}", worst.address);
    Some(Judged { finding: Finding::Breached(evidence(worst)), rule, why, attribution: None })
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
    let seen = open(target).min_by_key(|seen| seen.address)?;
    let also = match seen.neighbours {
        Some(neighbours) if neighbours.all_connect() => {
            format!("each of {} random addresses beside it", neighbours.tried)
        }
        _ => "an address where nothing listens".to_owned(),
    };
    let why = format!("{} connected, but so did {also}: something answers in the target's place", seen.address);
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

/// Rule 4, where there is nothing to prove that this pod's network works.
fn no_control(controls: &[ControlRound]) -> Option<Judged> {
    if control::any_tried(controls) {
        return None;
    }
    let why = match control::reason_not_tried(controls) {
        Some(reason) => format!("no must-reach control could be tried: {reason}"),
        None => "there is no must-reach control: this pod has no name server, and the configuration names none".to_owned(),
    };
    Some(Judged::doubt(4, Doubt::NoControl, why + "; so silence proves nothing"))
}

/// Rule 4, where must-reach controls show that this pod's network does not work.
fn control_failed(target: &TargetRound, controls: &[ControlRound]) -> Option<Judged> {
    let why = if !control::any_held(controls) {
        "no must-reach control answered in any family: the pod's own network may be dead".to_owned()
    } else {
        let families = Family::ALL.into_iter().filter(|family| tried(target).any(|seen| seen.family == *family));
        let mut doubts = families.filter_map(|family| family_doubt(controls, family));
        doubts.next()?
    };
    Some(Judged::doubt(4, Doubt::ControlFailed, why))
}

fn family_doubt(controls: &[ControlRound], family: Family) -> Option<String> {
    let failed = control::failed_in(controls, family).next().is_some();
    if failed && !control::any_held_in(controls, family) {
        return Some(format!("no must-reach control answered over {}: the pod's own network may be dead", family.title()));
    }
    let lossy = control::more_than_half_lost(controls, family);
    lossy.then(|| format!("more than half of the attempts to the must-reach controls over {} were lost", family.title()))
}

/// Rule 5.
fn addresses_missing(target: &TargetRound) -> Option<Judged> {
    if let Some(name) = target.unresolved.iter().min() {
        return Some(Judged::doubt(5, Doubt::ResolveFailed, format!("look-up of {name}")));
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
    let seen = tried(target).filter(|seen| is_refused(seen)).min_by_key(|seen| seen.address)?;
    let why = match seen.outcome {
        Outcome::Refused => format!(
            "{} answered with a reset: a packet got to some host, and a closed port says the same as a policy that resets",
            seen.address
        ),
        _ => format!(
            "{} itself sent the ICMP error: its host's own firewall says the same as a policy that answers in its name",
            seen.address
        ),
    };
    Some(Judged::doubt(6, Doubt::Refused, why))
}

/// True when the answer may be the target's own, so that a packet may have got there.
pub fn is_refused(seen: &Observation) -> bool {
    let icmp = matches!(seen.outcome, Outcome::Rejected | Outcome::Unreachable);
    seen.outcome == Outcome::Refused || (icmp && seen.rejected_by_itself())
}

/// Rule 7, and the level of proof that was asked for.
fn blocked(target: &TargetRound, controls: &[ControlRound], proof: Attribution) -> Judged {
    let attribution = attribution(target, controls);
    let proof = target.proof.unwrap_or(proof);
    if attribution < proof {
        let lack = lack_of_proof(target, controls, attribution);
        let why =
            format!("no address connected, which is proof {}, and {} is wanted: {lack}", attribution.as_str(), proof.as_str());
        return Judged { attribution: Some(attribution), ..Judged::doubt(7, Doubt::Unproved, why) };
    }
    let why = match attribution {
        Attribution::Witnessed | Attribution::Rejected => "each address was rejected by something on the way",
        Attribution::Silence => "no address connected, while a firm must-reach control of each family answered",
        Attribution::Weak => "no address connected, and nothing proves that a guard is the reason",
    };
    Judged { finding: Finding::Blocked(attribution), rule: 7, why: why.to_owned(), attribution: Some(attribution) }
}

/// How well it is proved that a target is blocked: as well as its weakest address. A Service's address whose endpoints were all tried
/// neither proves nor lowers.
fn attribution(target: &TargetRound, controls: &[ControlRound]) -> Attribution {
    tried(target).filter_map(|seen| address_attribution(target, seen, controls)).min().unwrap_or(Attribution::Weak)
}

/// How well it is proved that one address of a target is blocked, without a witness. `None`: it is not, or its endpoints speak for it.
pub fn address_attribution(target: &TargetRound, seen: &Observation, controls: &[ControlRound]) -> Option<Attribution> {
    if !seen.outcome.is_shut() || is_refused(seen) || seen.endpoints_tried {
        return None;
    }
    let silence = || {
        if is_silence_proof(target, seen, controls) { Attribution::Silence } else { Attribution::Weak }
    };
    // What was seen in an earlier round was proved then or not at all: the controls of this round say nothing about it.
    if seen.kept {
        return Some(seen.attribution.unwrap_or(Attribution::Weak));
    }
    Some(match seen.outcome {
        // kube-proxy rejects at a Service without endpoints.
        Outcome::Rejected if seen.service || !seen.rejected_on_the_way() => Attribution::Weak,
        Outcome::Rejected => Attribution::Rejected,
        Outcome::Unreachable if !seen.rejected_on_the_way() => Attribution::Weak,
        _ => silence(),
    })
}

/// True when silence at this address is a proof: the way to it works, and the address is more than a name server's word.
fn is_silence_proof(target: &TargetRound, seen: &Observation, controls: &[ControlRound]) -> bool {
    let firm = match seen.service {
        true => control::any_firm_service(controls, seen.family),
        false => control::any_firm(controls, seen.family),
    };
    firm && control::failed_in(controls, seen.family).next().is_none() && !is_known_by_dns_alone(target)
}

/// True when every address that was tried came from a look-up: whoever answers for the name decides what is tried.
fn is_known_by_dns_alone(target: &TargetRound) -> bool {
    tried(target).all(|seen| seen.source == Source::Dns)
}

/// What would prove more, by the address with the weakest proof.
fn lack_of_proof(target: &TargetRound, controls: &[ControlRound], attribution: Attribution) -> String {
    let of = |seen: &&Observation| address_attribution(target, seen, controls) == Some(attribution);
    let Some(seen) = tried(target).find(of) else { return "no address proves anything".to_owned() };
    let (address, family) = (seen.address, seen.family.title());
    if attribution > Attribution::Weak {
        return format!("{address} gave no better proof; only an ICMP rejection or a witness would be");
    }
    if seen.outcome == Outcome::Rejected && seen.service {
        return format!("{address} is a Service's address, and kube-proxy rejects too where a Service has no endpoints");
    }
    if !matches!(seen.outcome, Outcome::TimedOut) && !seen.rejected_on_the_way() {
        return format!("the ICMP error for {address} does not tell that somebody denies it, or nobody knows who sent it");
    }
    if is_known_by_dns_alone(target) {
        return format!("{address} is known by a name alone, and whoever answers for that name decides what is tried");
    }
    let shortfalls = control::shortfalls(controls, seen.family);
    if !shortfalls.is_empty() {
        return format!("{address} needs a firm must-reach control over {family}, and {}", shortfalls.join("; "));
    }
    if seen.service && control::any_firm(controls, seen.family) {
        return format!("{address} is a Service's address, and no firm must-reach control over {family} is a Service too");
    }
    format!("{address} needs a firm must-reach control over {family}, and there is none")
}

/// Marks a Service's addresses all of whose endpoints were tried in this round: those of a fresh endpoints file.
///
/// `api` is the address of the API's Service, `endpoints` those of the file: other Services have other endpoints.
pub fn mark_endpoints_tried(target: &mut TargetRound, api: &[SocketAddr], endpoints: &[SocketAddr]) {
    let was_tried =
        |endpoint: &SocketAddr| target.observations.iter().any(|seen| seen.address == *endpoint && seen.tried() && !seen.service);
    let all_tried = !endpoints.is_empty() && endpoints.iter().all(was_tried) && target.stale.is_none();
    for seen in &mut target.observations {
        seen.endpoints_tried = all_tried && seen.service && api.contains(&seen.address);
    }
}

/// The layer that an open target was reached at; `none` where nothing connected.
pub fn furthest(target: &TargetRound) -> Layer {
    target.observations.iter().map(|seen| seen.layer).max().unwrap_or(Layer::None)
}

#[cfg(test)]
mod tests;
