//! How one attempt ended, from what the kernel said about it.
//!
//! The table behind these rules was measured on Linux 6.18 with each kind of rejection in both families. Two things in it are not
//! obvious. An ICMP error and a reset can share one errno, and only the socket's error queue tells them apart. And a prohibition by
//! a router surfaces as EACCES over IPv6, as does a rule of this very container: again the queue decides.
use crate::model::address::Family;
use crate::model::observation::Outcome;
use std::net::IpAddr;

/// The errno values that mean something to a connect; numbers of Linux, the same on every architecture that Kubernetes runs on.
mod errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENFILE: i32 = 23;
    pub(super) const EMFILE: i32 = 24;
    pub(super) const EPIPE: i32 = 32;
    pub(super) const ENOPROTOOPT: i32 = 92;
    pub(super) const EAFNOSUPPORT: i32 = 97;
    pub(super) const EADDRNOTAVAIL: i32 = 99;
    pub(super) const ENETDOWN: i32 = 100;
    pub(super) const ENETUNREACH: i32 = 101;
    pub(super) const ECONNRESET: i32 = 104;
    pub(super) const ENOBUFS: i32 = 105;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const ECONNREFUSED: i32 = 111;
    pub(super) const EHOSTDOWN: i32 = 112;
    pub(super) const EHOSTUNREACH: i32 = 113;
}

/// An ICMP error that the kernel queued for the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// ICMP or ICMPv6.
    pub family: Family,
    /// The type field.
    pub kind: u8,
    /// The code field.
    pub code: u8,
    /// Its sender.
    pub from: Option<IpAddr>,
}

/// What the kernel said at the end of a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The handshake completed.
    Established,
    /// The budget was spent before anything came back.
    BudgetSpent,
    /// The budget was spent long before this process noticed: it was stopped, or starved, and may have missed the answer.
    HeldUp,
    /// `socket(2)` or `connect(2)` gave this errno at once: nothing was sent.
    ErrnoAtOnce(i32),
    /// SO_ERROR gave this errno later.
    Errno(i32),
}

/// What the outcome of an attempt depends on beside what the kernel said about it.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// The pod's own addresses: an ICMP error from one of them is this pod's own kernel's. `None` where the kernel did not tell them: then
    /// the prober lacks what it needs to judge an ICMP error.
    pub addresses: Option<&'a [IpAddr]>,
    /// True when the pod has a route beyond its own links in the family of the attempt.
    pub has_route: bool,
}

/// The outcome of an attempt, from its ending and from what stood in the error queue.
pub fn outcome(ending: Ending, queued: Option<Icmp>, local: Local<'_>) -> Outcome {
    match (ending, queued) {
        (Ending::Established, _) | (Ending::Errno(errno::ECONNRESET | errno::EPIPE), _) => Outcome::Connected,
        (_, Some(icmp)) if icmp.from.is_some_and(|from| local.addresses.is_some_and(|own| own.contains(&from))) => {
            Outcome::DeniedLocally
        }
        (_, Some(_)) if local.addresses.is_none() => Outcome::LocalError,
        (_, Some(icmp)) => icmp_outcome(icmp),
        (Ending::BudgetSpent, None) => Outcome::TimedOut,
        (Ending::HeldUp, None) => Outcome::LocalError,
        (Ending::ErrnoAtOnce(number), None) => outcome_at_once(number, local.has_route),
        (Ending::Errno(number), None) => errno_outcome(number),
    }
}

/// Nothing was sent, so this pod's own kernel decided. Without any route in the family guarded pods cannot get there either, and the
/// address counts as not tried; where there are routes to elsewhere, this one was taken out.
fn outcome_at_once(number: i32, has_route: bool) -> Outcome {
    match number {
        errno::ENETUNREACH if !has_route => Outcome::Skipped,
        // The last one is the family itself, refused although the pod has an address in it: without one nothing is tried.
        errno::ENETUNREACH | errno::EHOSTUNREACH | errno::EHOSTDOWN | errno::ENETDOWN | errno::EAFNOSUPPORT => {
            Outcome::DeniedLocally
        }
        number => errno_outcome(number),
    }
}

/// A reset after the handshake is ECONNRESET or EPIPE, one in answer to the SYN is ECONNREFUSED (`tcp_reset` in the kernel): so a
/// peer that accepts and hangs up at once has still been reached, and [`outcome`] calls it connected.
fn errno_outcome(number: i32) -> Outcome {
    match number {
        errno::ECONNREFUSED => Outcome::Refused,
        errno::ETIMEDOUT => Outcome::TimedOut,
        errno::ENETUNREACH | errno::EHOSTUNREACH | errno::EHOSTDOWN | errno::ENETDOWN => Outcome::Unreachable,
        // The kernel makes this one of ICMP protocol-unreachable only, whether or not the queue could be read.
        errno::ENOPROTOOPT => Outcome::Rejected,
        errno::EPERM | errno::EACCES | errno::EINVAL => Outcome::DeniedLocally,
        _ => Outcome::LocalError,
    }
}

/// The sender of an ICMP error that tells of a denial or of a way that is not there. Time exceeded, a parameter problem or a failed source
/// route tell of neither, whoever sends them.
pub fn sender(queued: Option<Icmp>) -> Option<IpAddr> {
    let icmp = queued?;
    let tells = match (icmp.family, icmp.kind, icmp.code) {
        (Family::Ipv4, 3, 0 | 1 | 6 | 7) | (Family::Ipv6, 1, 0 | 3) => true,
        _ => icmp_outcome(icmp) == Outcome::Rejected,
    };
    icmp.from.filter(|_| tells)
}

/// RFC 792 and RFC 1812 for IPv4, RFC 4443 for IPv6 (whose codes 5 and 6 are "more informative subsets" of prohibition, code 1).
fn icmp_outcome(icmp: Icmp) -> Outcome {
    match (icmp.family, icmp.kind, icmp.code) {
        (Family::Ipv4, 3, 2 | 3 | 9 | 10 | 13) => Outcome::Rejected,
        (Family::Ipv6, 1, 1 | 4 | 5 | 6) | (Family::Ipv6, 4, 1) => Outcome::Rejected,
        _ => Outcome::Unreachable,
    }
}

/// The ending in words, for people; `None` where there is nothing to say beyond the outcome.
pub fn detail(ending: Ending, queued: Option<Icmp>) -> Option<String> {
    match (ending, queued) {
        (Ending::Errno(errno::ECONNRESET | errno::EPIPE), _) => Some("reset right after the handshake".to_owned()),
        (Ending::Established, _) => None,
        (_, Some(icmp)) => Some(icmp_words(icmp)),
        (Ending::BudgetSpent, None) => None,
        (Ending::HeldUp, None) => Some("this process did not run when the time was up".to_owned()),
        (Ending::ErrnoAtOnce(number) | Ending::Errno(number), None) => Some(errno_words(number)),
    }
}

fn icmp_words(icmp: Icmp) -> String {
    let (protocol, meaning) = match icmp.family {
        Family::Ipv4 => ("ICMP", icmp4_meaning(icmp.kind, icmp.code)),
        Family::Ipv6 => ("ICMPv6", icmp6_meaning(icmp.kind, icmp.code)),
    };
    let from = icmp.from.map(|ip| format!(" from {ip}")).unwrap_or_default();
    format!("{protocol} {meaning} ({}/{}){from}", icmp.kind, icmp.code)
}

fn icmp4_meaning(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (3, 0) => "net unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 9) => "net prohibited",
        (3, 10) => "host prohibited",
        (3, 13) => "administratively prohibited",
        (11, _) => "time exceeded",
        _ => "error",
    }
}

fn icmp6_meaning(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (1, 0) => "no route",
        (1, 1) => "administratively prohibited",
        (1, 2) => "beyond scope of source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed policy",
        (1, 6) => "reject route",
        (3, _) => "time exceeded",
        (4, 1) => "protocol unreachable",
        _ => "error",
    }
}

fn errno_words(number: i32) -> String {
    let words = match number {
        errno::ECONNREFUSED => "reset (RST) in answer to the SYN",
        errno::ETIMEDOUT => "the kernel gave up",
        errno::ENETUNREACH => "ENETUNREACH: no route in this pod",
        errno::EHOSTUNREACH => "EHOSTUNREACH: an unreachable route in this pod",
        errno::EHOSTDOWN => "EHOSTDOWN: the neighbour is down",
        errno::ENETDOWN => "ENETDOWN: the interface is down",
        errno::ENOPROTOOPT => "ENOPROTOOPT: protocol unreachable",
        errno::EPERM => "EPERM: refused by this container's own seccomp, LSM or cgroup rules",
        errno::EACCES => "EACCES: refused by a prohibit route, an LSM or cgroup rules in this pod",
        errno::EINVAL => "EINVAL: a blackhole route in this pod",
        errno::EAFNOSUPPORT => "EAFNOSUPPORT: this container may not use this family (seccomp), or it is switched off",
        errno::EADDRNOTAVAIL => "EADDRNOTAVAIL: no local port or source address left",
        errno::EMFILE => "EMFILE: no file descriptor left in this process",
        errno::ENFILE => "ENFILE: no file descriptor left on this node",
        errno::ENOBUFS => "ENOBUFS: no buffer left",
        errno::ENOMEM => "ENOMEM: no memory left",
        errno::EAGAIN => "EAGAIN: no local resource left",
        _ => return format!("errno {number}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::*;

    fn icmp(family: Family, kind: u8, code: u8) -> Option<Icmp> {
        Some(Icmp { family, kind, code, from: None })
    }

    /// A pod with an address and a route.
    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 2));
    const LOCAL: Local<'static> = Local { addresses: Some(&[OWN]), has_route: true };

    /// The measured table: ending, queue, outcome.
    #[test]
    fn each_measured_ending_has_its_outcome() {
        let v4 = |kind, code| icmp(Family::Ipv4, kind, code);
        let v6 = |kind, code| icmp(Family::Ipv6, kind, code);
        let cases = [
            ("open", Ending::Established, None, Connected),
            ("accepted, then reset at once", Ending::Errno(104), None, Connected),
            ("accepted, closed, then reset", Ending::Errno(32), None, Connected),
            ("silence", Ending::BudgetSpent, None, TimedOut),
            ("this process did not run", Ending::HeldUp, None, LocalError),
            ("the kernel's own time-out", Ending::Errno(110), None, TimedOut),
            ("closed port, or a policy that resets", Ending::Errno(111), None, Refused),
            ("v4 port-unreachable", Ending::Errno(111), v4(3, 3), Rejected),
            ("v4 admin-prohibited", Ending::Errno(113), v4(3, 13), Rejected),
            ("v4 host-prohibited", Ending::Errno(113), v4(3, 10), Rejected),
            ("v4 net-prohibited", Ending::Errno(101), v4(3, 9), Rejected),
            ("v4 protocol-unreachable", Ending::Errno(92), v4(3, 2), Rejected),
            ("v4 protocol-unreachable, queue unread", Ending::Errno(92), None, Rejected),
            ("v4 host-unreachable", Ending::Errno(113), v4(3, 1), Unreachable),
            ("v4 net-unreachable", Ending::Errno(101), v4(3, 0), Unreachable),
            ("v4 time exceeded", Ending::Errno(113), v4(11, 0), Unreachable),
            ("v6 port-unreachable", Ending::Errno(111), v6(1, 4), Rejected),
            ("v6 admin-prohibited", Ending::Errno(13), v6(1, 1), Rejected),
            ("v6 policy-fail", Ending::Errno(13), v6(1, 5), Rejected),
            ("v6 reject-route", Ending::Errno(13), v6(1, 6), Rejected),
            ("v6 unknown next header", Ending::Errno(71), v6(4, 1), Rejected),
            ("v6 erroneous header", Ending::Errno(71), v6(4, 0), Unreachable),
            ("v6 no route", Ending::Errno(101), v6(1, 0), Unreachable),
            ("v6 beyond scope", Ending::Errno(113), v6(1, 2), Unreachable),
            ("v6 address-unreachable", Ending::Errno(113), v6(1, 3), Unreachable),
            ("a late rejection that the budget overtook", Ending::BudgetSpent, v4(3, 13), Rejected),
            ("unreachable, queue unread", Ending::Errno(113), None, Unreachable),
            ("net unreachable, queue unread", Ending::Errno(101), None, Unreachable),
            ("host down, queue unread", Ending::Errno(112), None, Unreachable),
            ("interface went down", Ending::Errno(100), None, Unreachable),
            ("this route was taken out", Ending::ErrnoAtOnce(101), None, DeniedLocally),
            ("unreachable route in the pod", Ending::ErrnoAtOnce(113), None, DeniedLocally),
            ("neighbour down", Ending::ErrnoAtOnce(112), None, DeniedLocally),
            ("interface down", Ending::ErrnoAtOnce(100), None, DeniedLocally),
            ("prohibit route in the pod", Ending::ErrnoAtOnce(13), None, DeniedLocally),
            ("seccomp or cgroup", Ending::ErrnoAtOnce(1), None, DeniedLocally),
            ("blackhole route in the pod", Ending::ErrnoAtOnce(22), None, DeniedLocally),
            ("a family that seccomp refuses", Ending::ErrnoAtOnce(97), None, DeniedLocally),
            ("no descriptor", Ending::ErrnoAtOnce(24), None, LocalError),
            ("no descriptor on the node", Ending::ErrnoAtOnce(23), None, LocalError),
            ("no port", Ending::ErrnoAtOnce(99), None, LocalError),
            ("no buffer", Ending::ErrnoAtOnce(105), None, LocalError),
            ("no memory", Ending::ErrnoAtOnce(12), None, LocalError),
            ("try again", Ending::ErrnoAtOnce(11), None, LocalError),
            ("an errno that nobody foresaw", Ending::ErrnoAtOnce(4095), None, LocalError),
        ];
        for (name, ending, queued, expected) in cases {
            assert_eq!(outcome(ending, queued, LOCAL), expected, "{name}");
        }
    }

    #[test]
    fn without_any_route_in_the_family_nothing_was_tried() {
        let no_route = Local { has_route: false, ..LOCAL };
        assert_eq!(outcome(Ending::ErrnoAtOnce(101), None, no_route), Skipped);
        for number in [1, 13, 22, 97, 100, 112, 113] {
            assert_eq!(outcome(Ending::ErrnoAtOnce(number), None, no_route), DeniedLocally, "errno {number}");
        }
        assert_eq!(outcome(Ending::Errno(101), None, no_route), Unreachable, "a packet had been sent by then");
    }

    #[test]
    fn the_sender_counts_where_the_error_tells_of_a_denial_or_of_no_way() {
        let from = Some(IpAddr::from([10, 0, 0, 1]));
        let counts = |family, kind, code| sender(Some(Icmp { family, kind, code, from })) == from;
        for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 6), (3, 7), (3, 9), (3, 10), (3, 13)] {
            assert!(counts(Family::Ipv4, kind, code), "{kind}/{code}");
        }
        for (kind, code) in [(11, 0), (11, 1), (12, 0), (3, 5), (3, 11), (3, 12), (3, 14), (3, 15)] {
            assert!(!counts(Family::Ipv4, kind, code), "{kind}/{code}");
        }
        for (kind, code, expected) in [
            (1, 0, true),
            (1, 1, true),
            (1, 3, true),
            (1, 4, true),
            (1, 5, true),
            (4, 1, true),
            (1, 2, false),
            (3, 0, false),
            (4, 0, false),
        ] {
            assert_eq!(counts(Family::Ipv6, kind, code), expected, "v6 {kind}/{code}");
        }
        assert_eq!(sender(None), None);
    }

    #[test]
    fn an_icmp_error_of_this_pod_itself_is_its_own_kernels_word() {
        for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 10), (3, 13)] {
            for (from, expected) in [(OWN, true), (IpAddr::from([10, 1, 0, 1]), false)] {
                let queued = Some(Icmp { family: Family::Ipv4, kind, code, from: Some(from) });
                let ended = outcome(Ending::Errno(111), queued, LOCAL);
                assert_eq!(ended == DeniedLocally, expected, "{kind}/{code} from {from}");
            }
        }
    }

    #[test]
    fn without_its_own_addresses_the_prober_cannot_judge_an_icmp_error() {
        let unknown = Local { addresses: None, ..LOCAL };
        let queued = icmp(Family::Ipv4, 3, 13);
        assert_eq!(outcome(Ending::Errno(113), queued, unknown), LocalError);
        assert_eq!(outcome(Ending::BudgetSpent, None, unknown), TimedOut);
    }

    #[test]
    fn only_a_completed_handshake_counts_as_connected() {
        for number in 0..4096 {
            let connected = outcome(Ending::Errno(number), None, LOCAL) == Connected;
            assert_eq!(connected, number == 104 || number == 32, "errno {number}");
            assert_ne!(outcome(Ending::ErrnoAtOnce(number), None, LOCAL), Connected, "errno {number} at once");
        }
    }

    #[test]
    fn details_name_the_errno_or_the_icmp_message_and_its_sender() {
        let from = Some(IpAddr::from([10, 0, 0, 1]));
        let prohibited = Icmp { family: Family::Ipv4, kind: 3, code: 13, from };
        let said = |ending, queued| detail(ending, queued).unwrap_or_default();
        assert_eq!(said(Ending::Errno(113), Some(prohibited)), "ICMP administratively prohibited (3/13) from 10.0.0.1");
        assert_eq!(said(Ending::Errno(24), None), "EMFILE: no file descriptor left in this process");
        assert_eq!(said(Ending::Errno(4095), None), "errno 4095");
        assert_eq!(said(Ending::Errno(104), None), "reset right after the handshake");
        assert_eq!(detail(Ending::Established, None), None);
        assert_eq!(detail(Ending::BudgetSpent, None), None);
    }

    #[test]
    fn each_code_has_its_own_words() {
        let words = |family, kind, code| icmp_words(Icmp { family, kind, code, from: None });
        let mut all: Vec<String> = Vec::new();
        all.extend([(3, 0), (3, 1), (3, 2), (3, 3), (3, 9), (3, 10), (3, 13), (11, 0)].map(|(k, c)| words(Family::Ipv4, k, c)));
        all.extend(
            [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (3, 0), (4, 1)].map(|(k, c)| words(Family::Ipv6, k, c)),
        );
        assert!(all.iter().all(|words| !words.contains("error")), "{all:?}");
        assert_eq!(words(Family::Ipv4, 12, 0), "ICMP error (12/0)");
        assert_eq!(words(Family::Ipv6, 4, 0), "ICMPv6 error (4/0)");
        for number in [1, 11, 12, 13, 22, 23, 24, 92, 97, 99, 100, 101, 105, 110, 111, 112, 113] {
            assert!(!errno_words(number).starts_with("errno"), "{number}");
        }
    }
}
