//! Who is let in, and who gives place. A function of what is known; no socket, no clock.
use super::limits::Limits;
use super::progress::Doing;
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
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is room.
    Welcome,
    /// There will be, once the connection of this index is ended.
    InPlaceOf(usize),
    /// Its source has as many as one source may have.
    SourceFull,
    /// Everybody who is there is busy.
    Full,
}

/// Decides on a new connection from `source`.
///
/// With every place taken, the one that has been asking for longest gives place, since it holds one and wants nothing; without such,
/// the one that has waited longest for its answer, since it may ask again; without such, the one that has been reading for longest,
/// if that is longer than a client that reads at all takes. So nobody can hold a place against others by being slow.
pub(super) fn admit(source: IpAddr, guests: &[Guest], limits: &Limits) -> Admission {
    if guests.iter().filter(|guest| guest.source == source).count() >= limits.per_source {
        return Admission::SourceFull;
    }
    if guests.len() < limits.connections {
        return Admission::Welcome;
    }
    let candidates =
        guests.iter().enumerate().filter_map(|(nth, guest)| Some((rank(guest, limits)?, Reverse(guest.lasting), nth)));
    candidates.min().map_or(Admission::Full, |(_, _, nth)| Admission::InPlaceOf(nth))
}

/// Whose turn it is to give place, the least first; never, for one who is reading its answer.
fn rank(guest: &Guest, limits: &Limits) -> Option<u8> {
    match guest.doing {
        Doing::Asking => Some(0),
        Doing::Waiting => Some(1),
        Doing::Reading if guest.lasting > limits.send_grace => Some(2),
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
            ([(Reading, 9_000), (Waiting, 60_000), (Asking, 1)], 2),
            ([(Asking, 5), (Asking, 7), (Asking, 6)], 1),
            ([(Reading, 9_000), (Waiting, 1), (Waiting, 2)], 2),
            ([(Reading, 1_001), (Reading, 1_002), (Reading, 1)], 1),
        ] {
            assert_eq!(admit_to(&doings), Admission::InPlaceOf(place), "{doings:?}");
        }
    }

    #[test]
    fn who_reads_what_was_just_answered_keeps_its_place() {
        assert_eq!(admit_to(&[(Reading, 0), (Reading, 999), (Reading, 1_000)]), Admission::Full);
    }

    #[test]
    fn a_source_has_its_share_and_no_more_even_where_others_would_give_place() {
        let guest = |number, doing| Guest { source: source(number), doing, lasting: Duration::ZERO };
        let limits = Limits { per_source: 2, connections: 3, ..Limits::default() };
        let two = [guest(1, Asking), guest(1, Waiting)];
        assert_eq!(admit(source(1), &two, &limits), Admission::SourceFull);
        assert_eq!(admit(source(2), &two, &limits), Admission::Welcome);
        let full = [guest(1, Asking), guest(1, Waiting), guest(2, Waiting)];
        assert_eq!(admit(source(1), &full, &limits), Admission::SourceFull);
        assert_eq!(admit(source(2), &full, &limits), Admission::InPlaceOf(0));
    }
}
