//! Who is let in, and who gives place. A function of what is known; no socket, no clock.
use super::limits::Limits;
use super::progress::Doing;
use guardprobe_core::model::names;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

/// A connection that is there already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest {
    /// Its source address; IPv4, where it is mapped into IPv6.
    pub(super) source: IpAddr,
    pub(super) doing: Doing,
    /// For how long it has been doing that.
    pub(super) lasting: Duration,
    /// Whether it asks for more than its share.
    pub(super) is_greedy: bool,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is room.
    Welcome,
    /// There will be, once the connection of this index is ended.
    InPlaceOf(usize),
    /// Its source has as many as one source may have, and all of those are busy.
    SourceFull,
    /// Everybody who is there is busy.
    Full,
}

/// Decides on a new connection from `source`.
///
/// With every place taken, one of those that are there gives place; the first of this list, and of those the one that has done so for
/// longest. So nobody can hold a place against others by being slow or by being quick.
///
/// 1. One that asks for more than its share.
/// 2. One that has asked for nothing for a while: it holds a place and wants nothing.
/// 3. One that has waited for its answer for a while: for news, and it may ask again.
/// 4. One that has been reading for longer than a client that reads at all takes.
/// 5. One that has just connected, or had its answer just now.
/// 6. One that has just asked.
///
/// The same holds among the connections of a source that has as many as one source may have.
pub(super) fn admit(source: IpAddr, guests: &[Guest], limits: &Limits) -> Admission {
    let source_is_full = guests.iter().filter(|guest| guest.source == source).count() >= limits.per_source;
    if !source_is_full && guests.len() < limits.connections {
        return Admission::Welcome;
    }
    let candidates = guests.iter().enumerate().filter(|(_, guest)| !source_is_full || guest.source == source);
    let ranked = candidates.filter_map(|(nth, guest)| Some((rank(guest, limits)?, Reverse(guest.lasting), nth)));
    let nobody = if source_is_full { Admission::SourceFull } else { Admission::Full };
    ranked.min().map_or(nobody, |(_, _, nth)| Admission::InPlaceOf(nth))
}

/// Whose turn it is to give place, the least first; never, for one who is reading its answer.
fn rank(guest: &Guest, limits: &Limits) -> Option<u8> {
    match guest.doing {
        _ if guest.is_greedy => Some(1),
        Doing::Asking if guest.lasting > names::CONNECTED_GRACE => Some(2),
        Doing::Waiting if guest.lasting > limits.send_grace => Some(3),
        Doing::Reading if guest.lasting > limits.send_grace => Some(4),
        Doing::Asking => Some(5),
        Doing::Waiting => Some(6),
        Doing::Reading => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Doing::{Asking, Reading, Waiting};

    fn source(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    /// Guests of a source each, doing something for so many milliseconds.
    fn guests(doings: &[(Doing, u64)]) -> Vec<Guest> {
        let guest = |(number, &(doing, ms)): (usize, &(Doing, u64))| Guest {
            source: source(u8::try_from(number).unwrap()),
            doing,
            lasting: Duration::from_millis(ms),
            is_greedy: false,
        };
        doings.iter().enumerate().map(guest).collect()
    }

    fn admit_to(doings: &[(Doing, u64)]) -> Admission {
        let limits = Limits { connections: 3, ..Limits::default() };
        admit(source(200), &guests(doings), &limits)
    }

    #[test]
    fn there_is_room_until_every_place_is_taken() {
        assert_eq!(admit_to(&[]), Admission::Welcome);
        assert_eq!(admit_to(&[(Asking, 9_000), (Asking, 9_000)]), Admission::Welcome);
    }

    #[test]
    fn who_wants_nothing_gives_place_before_who_waits_and_before_who_reads() {
        for (doings, place) in [
            ([(Reading, 9_000), (Waiting, 60_000), (Asking, 51)], 2),
            ([(Reading, 9_000), (Waiting, 60_000), (Asking, 49)], 1),
            ([(Asking, 55), (Asking, 57), (Asking, 56)], 1),
            ([(Asking, 5), (Asking, 7), (Asking, 6)], 1),
            ([(Reading, 9_000), (Waiting, 1_001), (Waiting, 1_002)], 2),
            ([(Reading, 1_001), (Reading, 1_002), (Reading, 1)], 1),
            ([(Reading, 1_001), (Waiting, 999), (Asking, 49)], 0),
            ([(Reading, 999), (Waiting, 999), (Asking, 49)], 2),
            ([(Reading, 999), (Waiting, 998), (Waiting, 999)], 2),
        ] {
            assert_eq!(admit_to(&doings), Admission::InPlaceOf(place), "{doings:?}");
        }
    }

    #[test]
    fn who_reads_what_was_just_answered_keeps_its_place() {
        assert_eq!(admit_to(&[(Reading, 0), (Reading, 999), (Reading, 1_000)]), Admission::Full);
    }

    #[test]
    fn who_asks_for_more_than_its_share_gives_place_first_whatever_it_does() {
        let limits = Limits { connections: 3, ..Limits::default() };
        let mut all = guests(&[(Asking, 9_000), (Reading, 1), (Waiting, 60_000)]);
        all[1].is_greedy = true;
        assert_eq!(admit(source(200), &all, &limits), Admission::InPlaceOf(1));
    }

    #[test]
    fn a_source_has_its_share_and_makes_room_for_itself_alone() {
        let guest = |number, doing| Guest { source: source(number), doing, lasting: Duration::ZERO, is_greedy: false };
        let limits = Limits { per_source: 2, connections: 3, ..Limits::default() };
        let two = [guest(1, Waiting), guest(1, Asking)];
        assert_eq!(admit(source(1), &two, &limits), Admission::InPlaceOf(1), "the other one has just asked");
        assert_eq!(admit(source(2), &two, &limits), Admission::Welcome);
        let busy = [guest(1, Reading), guest(1, Reading), guest(2, Asking)];
        assert_eq!(admit(source(1), &busy, &limits), Admission::SourceFull, "nobody else makes room for it");
        assert_eq!(admit(source(3), &busy, &limits), Admission::InPlaceOf(2));
    }
}
