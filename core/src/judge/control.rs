//! Controls: what they proved, each for its own family.
use crate::model::address::{Family, is_link_local};
use crate::model::config::{ControlKind, Expect};
use crate::model::observation::{Evidence, Observation, Outcome};
use crate::model::round::ControlRound;

/// What the must-not-connect control of a port and family said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negative {
    /// Nothing answered where nothing lives: who connects has reached somebody.
    Held,
    /// Something answered where nothing lives: it answers in everybody's place.
    Connected,
    /// It could not be tried.
    Untried,
}

/// Whether a control did what it must; `None` when it was not tried.
pub fn held(control: &ControlRound) -> Option<bool> {
    match control.expect {
        Expect::MustReach if !tried(control) => None,
        Expect::MustReach => Some(control.observations.iter().any(|seen| reached(control.kind, seen))),
        Expect::MustNotConnect => {
            let mut answers = control.observations.iter().filter(|seen| answers_the_question(seen)).peekable();
            answers.peek()?;
            Some(!answers.any(Observation::connected))
        }
    }
}

/// A control all of whose names gave no address has been tried, and failed.
fn tried(control: &ControlRound) -> bool {
    nowhere_to_be_found(control) || control.observations.iter().any(Observation::tried)
}

fn nowhere_to_be_found(control: &ControlRound) -> bool {
    control.observations.is_empty() && !control.unresolved.is_empty()
}

/// A DNS control wants an answer: a connection to a port that then says nothing is no sign of life.
fn reached(kind: ControlKind, seen: &Observation) -> bool {
    match kind {
        ControlKind::Dns => seen.evidence >= Some(Evidence::Answered),
        ControlKind::Tcp | ControlKind::Reporter => seen.connected(),
    }
}

/// True when a must-not-connect attempt says anything: an attempt that never left the prober does not.
fn answers_the_question(seen: &Observation) -> bool {
    !matches!(seen.outcome, Outcome::Skipped | Outcome::LocalError | Outcome::DeniedLocally)
}

/// True when must-reach controls of that family were tried and none held. A control none of whose names resolved
/// counts for each family: nobody knows which it would have been, and a doubt is never in favour.
pub fn family_failed(controls: &[ControlRound], family: Family) -> bool {
    let concerned = |control: &&ControlRound| {
        nowhere_to_be_found(control) || control.observations.iter().any(|seen| seen.family == family && seen.tried())
    };
    must_reach(controls).any(|control| concerned(&control)) && !held_in(controls, family, |_| true)
}

/// True when a must-reach control of that family held that is not known to answer on this very node.
pub fn held_off_node(controls: &[ControlRound], family: Family) -> bool {
    held_in(controls, family, |seen| !seen.on_node && !is_link_local(seen.address.ip()))
}

fn held_in(controls: &[ControlRound], family: Family, accept: impl Fn(&Observation) -> bool) -> bool {
    must_reach(controls).any(|control| {
        control.observations.iter().any(|seen| seen.family == family && reached(control.kind, seen) && accept(seen))
    })
}

fn must_reach(controls: &[ControlRound]) -> impl Iterator<Item = &ControlRound> {
    controls.iter().filter(|control| control.expect == Expect::MustReach)
}

/// What the must-not-connect controls say of a target's address: those with its port and family.
pub fn negative(controls: &[ControlRound], of: &Observation) -> Negative {
    let twins =
        controls.iter().filter(|control| control.expect == Expect::MustNotConnect).flat_map(|control| &control.observations);
    let twins = twins.filter(|seen| seen.family == of.family && seen.address.port() == of.address.port());
    twins.fold(Negative::Untried, |so_far, seen| match so_far {
        Negative::Connected => Negative::Connected,
        _ if seen.connected() => Negative::Connected,
        _ if answers_the_question(seen) => Negative::Held,
        other => other,
    })
}
