//! When a breach is over: the one rule that agent and reporter share (DESIGN §4, "Opening and closing").
//!
//! | round | effect on an address |
//! | --- | --- |
//! | rules 1 to 4 decided, or the round is no verdict (`starting`, `ending`) | its count starts again, as that of every address |
//! | the address timed out, was rejected, unreachable or refused | the round counts |
//! | the address was not tried, or its observation was kept from an earlier round | no effect |
//! | a sentinel connects | its count starts again, as that of every address |
//!
//! A breach is over after two counted rounds in a row that began after its last connection, for each address that had connected. For an
//! address that is no longer listed another address of its family counts. The end is the start of the first of the two rounds.
use crate::model::address::Family;
use crate::model::finding::{Doubt, Reason};
use crate::model::observation::{Observation, Outcome};
use std::net::SocketAddr;

/// Rounds in a row that tried one address and did not reach it. `T` is a time of one clock: of the process in the agent, of the node in
/// the reporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak<T> {
    /// The start of the first round.
    pub first: T,
    /// The start of the round before the newest one; `None` while there is only one.
    pub previous: Option<T>,
    /// The start of the newest round.
    pub newest: T,
}

impl<T: Copy + PartialEq> Streak<T> {
    /// The streak after one more round. A round that is counted already changes nothing.
    pub fn extended(streak: Option<Self>, round: T) -> Self {
        match streak {
            None => Streak { first: round, previous: None, newest: round },
            Some(known) if known.newest == round => known,
            Some(known) => Streak { first: known.first, previous: Some(known.newest), newest: round },
        }
    }

    /// The same rounds by another clock.
    pub fn by<U>(self, clock: impl Fn(T) -> U) -> Streak<U> {
        Streak { first: clock(self.first), previous: self.previous.map(&clock), newest: clock(self.newest) }
    }
}

/// One address of the newest round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedAddress<T> {
    /// The address.
    pub address: SocketAddr,
    /// False where the pod has no source address in its family.
    pub tried: bool,
    /// The rounds in a row that did not reach it.
    pub streak: Option<Streak<T>>,
}

/// True for a finding after which every count starts again: rules 1 to 4, and what is no verdict of a round.
pub fn starts_again(reason: Reason) -> bool {
    match reason {
        Reason::Evidence(_) => true,
        Reason::Proof(_) => false,
        Reason::Doubt(doubt) => match doubt {
            Doubt::WrongIdentity | Doubt::Intercepted => true,
            Doubt::LocalError | Doubt::DeniedLocally => true,
            Doubt::NoControl | Doubt::ControlFailed => true,
            Doubt::Starting | Doubt::Ending => true,
            Doubt::ResolveFailed | Doubt::StaleAddresses | Doubt::NoAddresses => false,
            Doubt::Refused | Doubt::Unproved | Doubt::MissingAddresses => false,
        },
    }
}

/// The effect of one observation on the count of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The address was tried and not reached.
    Counts,
    /// The address was not tried in this round.
    None,
    /// The address connected, or could not be tried properly.
    StartsAgain,
}

/// Returns the effect of an observation, where the finding of its round does not make every count start again.
pub fn effect(seen: &Observation) -> Effect {
    match seen.outcome {
        _ if seen.kept || !seen.tried() => Effect::None,
        Outcome::Refused => Effect::Counts,
        outcome if outcome.is_shut() => Effect::Counts,
        _ => Effect::StartsAgain,
    }
}

/// Returns when a breach ended; `None` while it goes on.
///
/// `connected`: the addresses that had connected, none where they are not known; `last`: the newest connection; `listed`: every address of
/// the newest round.
pub fn end<T: Copy + Ord>(connected: &[SocketAddr], last: T, listed: &[ListedAddress<T>]) -> Option<T> {
    if connected.is_empty() {
        // Nobody knows which address it was: every one that is tried has to hold.
        let tried = listed.iter().filter(|listed| listed.tried);
        return all_over(tried.map(|listed| over_since(listed.streak, last)));
    }
    all_over(connected.iter().map(|address| address_over_since(*address, last, listed)))
}

/// Returns the latest of these ends; `None` when one is missing or there is none at all.
fn all_over<T: Ord>(mut ends: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = ends.next()??;
    ends.try_fold(first, |latest, end| Some(latest.max(end?)))
}

fn address_over_since<T: Copy + Ord>(address: SocketAddr, last: T, listed: &[ListedAddress<T>]) -> Option<T> {
    if let Some(listed) = listed.iter().find(|listed| listed.address == address) {
        return over_since(listed.streak, last);
    }
    let family = Family::of(address.ip());
    let others = listed.iter().filter(|other| Family::of(other.address.ip()) == family);
    others.filter_map(|other| over_since(other.streak, last)).min()
}

/// Returns the start of the first of two rounds in a row that began after the last connection. Of a streak that began before it only the
/// last two rounds are known.
fn over_since<T: Copy + Ord>(streak: Option<Streak<T>>, last: T) -> Option<T> {
    let streak = streak?;
    let previous = streak.previous.filter(|previous| *previous > last)?;
    Some(if streak.first > last { streak.first } else { previous })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Attribution;
    use crate::model::observation::{Evidence, Source};

    const A: &str = "10.0.0.1:443";
    const B: &str = "10.0.0.2:443";
    const V6: &str = "[fd00::1]:443";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A streak of the rounds that began then.
    fn rounds(rounds: &[i32]) -> Option<Streak<i32>> {
        rounds.iter().fold(None, |streak, round| Some(Streak::extended(streak, *round)))
    }

    #[test]
    fn two_rounds_after_the_last_connection_end_it_at_the_first() {
        for (streak, expected) in [
            (vec![], None),
            (vec![20], None),
            (vec![20, 35], Some(20)),
            (vec![20, 20, 20], None),
            (vec![20, 35, 50], Some(20)),
            // A streak that began before the last connection, at 10: only rounds after it count.
            (vec![5, 20], None),
            (vec![5, 10, 20], None),
            (vec![5, 20, 35], Some(20)),
            (vec![10, 20, 35, 50], Some(35)),
        ] {
            let listed = ListedAddress { address: address(A), tried: true, streak: rounds(&streak) };
            assert_eq!(end(&[address(A)], 10, &[listed]), expected, "{streak:?}");
        }
    }

    #[test]
    fn each_address_that_had_connected_is_judged_or_another_of_its_family_once_it_is_not_listed() {
        let over = || rounds(&[20, 35]);
        let later = || rounds(&[50, 65]);
        for (connected, listed, expected) in [
            (vec![A], vec![(A, over()), (B, None)], Some(20)),
            (vec![A], vec![(A, None), (B, over())], None),
            (vec![A], vec![(B, over())], Some(20)),
            (vec![A], vec![(B, later()), ("10.0.0.3:443", over())], Some(20)),
            (vec![A], vec![(V6, over())], None),
            (vec![A, V6], vec![(A, over()), (V6, later())], Some(50)),
            (vec![A, V6], vec![(A, over()), (V6, rounds(&[50]))], None),
            (vec![A], vec![], None),
            (vec![], vec![(A, over()), (V6, later())], Some(50)),
            (vec![], vec![(A, over()), (V6, None)], None),
            (vec![], vec![], None),
        ] {
            let addresses: Vec<SocketAddr> = connected.iter().map(|text| address(text)).collect();
            let listed = listed.into_iter().map(|(text, streak)| ListedAddress { address: address(text), tried: true, streak });
            let listed: Vec<_> = listed.collect();
            assert_eq!(end(&addresses, 10, &listed), expected, "{connected:?} {listed:?}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_tried_holds_only_its_own_end_up() {
        let listed = [(A, true, rounds(&[20, 35])), (V6, false, None)].map(|(text, tried, streak)| ListedAddress {
            address: address(text),
            tried,
            streak,
        });
        assert_eq!(end(&[], 10, &listed), Some(20));
        assert_eq!(end(&[address(A)], 10, &listed), Some(20));
        assert_eq!(end(&[address(V6)], 10, &listed), None);
    }

    #[test]
    fn rules_one_to_four_make_every_count_start_again() {
        let again = [
            Doubt::WrongIdentity,
            Doubt::Intercepted,
            Doubt::LocalError,
            Doubt::DeniedLocally,
            Doubt::NoControl,
            Doubt::ControlFailed,
            Doubt::Starting,
            Doubt::Ending,
        ];
        for doubt in Doubt::ALL {
            assert_eq!(starts_again(Reason::Doubt(doubt)), again.contains(&doubt), "{doubt:?}");
        }
        assert!(starts_again(Reason::Evidence(Evidence::Connected)));
        assert!(!starts_again(Reason::Proof(Attribution::Weak)));
    }

    #[test]
    fn an_address_that_was_tried_and_not_reached_counts() {
        for (outcome, expected) in [
            (Outcome::TimedOut, Effect::Counts),
            (Outcome::Rejected, Effect::Counts),
            (Outcome::Unreachable, Effect::Counts),
            (Outcome::Refused, Effect::Counts),
            (Outcome::Connected, Effect::StartsAgain),
            (Outcome::LocalError, Effect::StartsAgain),
            (Outcome::DeniedLocally, Effect::StartsAgain),
            (Outcome::Skipped, Effect::None),
        ] {
            let seen = Observation::new(address(A), Source::Literal, outcome);
            assert_eq!(effect(&seen), expected, "{outcome:?}");
            assert_eq!(effect(&Observation { kept: true, ..seen }), Effect::None, "{outcome:?}");
        }
    }
}
