//! The startup window: when the rules of a new pod can be taken to be in place.
use crate::model::names::STARTUP_BLOCKED;
use crate::model::observation::Outcome;
use std::net::SocketAddr;
use std::time::Duration;

/// One address that is tried while the window is open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Door {
    address: SocketAddr,
    /// How often in a row it was blocked or refused, counted since a control was firm.
    blocked: u32,
    /// True when its newest try reached the target.
    open: bool,
    /// True when any try connected.
    ever_connected: bool,
}

/// What the tries of the window have said so far, target by target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    doors: Vec<Vec<Door>>,
    control_firm: Option<Duration>,
}

impl Startup {
    /// Nothing tried yet.
    pub fn new(targets: usize) -> Self {
        Startup { doors: vec![Vec::new(); targets], control_firm: None }
    }

    /// These addresses of a target are tried from now on, and no others.
    pub fn list(&mut self, target: usize, addresses: &[SocketAddr]) {
        let doors = &mut self.doors[target];
        doors.retain(|door| addresses.contains(&door.address));
        for address in addresses {
            if doors.iter().all(|door| door.address != *address) {
                doors.push(Door { address: *address, blocked: 0, open: false, ever_connected: false });
            }
        }
    }

    /// A must-reach control was seen to be firm at `at` after process start.
    pub fn control_firm(&mut self, at: Duration) {
        self.control_firm.get_or_insert(at);
    }

    /// How a try ended that began at `began` after process start; `exposed` when it reached the target, and not somebody who answers in
    /// everybody's place. Silence before the pod's network is known to work proves nothing.
    pub fn tried(&mut self, target: usize, address: SocketAddr, began: Duration, outcome: Outcome, exposed: bool) {
        let network_works = self.control_firm.is_some_and(|firm| firm <= began);
        let Some(door) = self.doors[target].iter_mut().find(|door| door.address == address) else { return };
        door.open = exposed;
        door.ever_connected |= outcome == Outcome::Connected;
        match outcome {
            outcome if network_works && (outcome.is_shut() || outcome == Outcome::Refused) => door.blocked += 1,
            _ => door.blocked = 0,
        }
    }

    /// True for an address that has connected: it is tried less often from then on.
    pub fn has_connected(&self, target: usize, address: SocketAddr) -> bool {
        self.doors[target].iter().any(|door| door.address == address && door.ever_connected)
    }

    /// True when the newest try of any of a target's addresses reached it.
    pub fn open(&self, target: usize) -> bool {
        self.doors[target].iter().any(|door| door.open)
    }

    /// True when a must-reach control was firm and every address was blocked often enough in a row since. A target without an address
    /// that can be tried so often goes with the others; where there is none at all, only the end of the window will tell.
    pub fn settled(&self) -> bool {
        let mut doors = self.doors.iter().flatten().peekable();
        self.control_firm.is_some() && doors.peek().is_some() && doors.all(|door| door.blocked >= STARTUP_BLOCKED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "169.254.169.254:80";
    const B: &str = "10.96.0.1:443";
    const C: &str = "[fd00:ec2::254]:80";

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn started() -> Startup {
        let mut startup = Startup::new(2);
        startup.list(0, &[A.parse().unwrap()]);
        startup.list(1, &[B.parse().unwrap()]);
        startup
    }

    fn tries(startup: &mut Startup, times: u32, outcome: Outcome) {
        for _ in 0..times {
            startup.tried(0, A.parse().unwrap(), at(5), outcome, outcome == Outcome::Connected);
            startup.tried(1, B.parse().unwrap(), at(5), outcome, outcome == Outcome::Connected);
        }
    }

    #[test]
    fn ten_blocked_tries_in_a_row_after_a_control_was_firm_settle_it() {
        for outcome in [Outcome::TimedOut, Outcome::Rejected, Outcome::Unreachable, Outcome::Refused] {
            let mut startup = started();
            startup.control_firm(at(1));
            tries(&mut startup, 9, outcome);
            assert!(!startup.settled());
            tries(&mut startup, 1, outcome);
            assert!(startup.settled());
        }
    }

    #[test]
    fn silence_before_a_control_was_firm_settles_nothing() {
        let mut startup = started();
        tries(&mut startup, 20, Outcome::TimedOut);
        assert!(!startup.settled());
        startup.control_firm(at(6));
        tries(&mut startup, 20, Outcome::TimedOut);
        assert!(!startup.settled(), "those tries began before");
    }

    #[test]
    fn anything_else_starts_the_count_anew() {
        for outcome in [Outcome::Connected, Outcome::LocalError, Outcome::DeniedLocally] {
            let mut startup = started();
            startup.control_firm(at(1));
            tries(&mut startup, 9, Outcome::TimedOut);
            tries(&mut startup, 1, outcome);
            tries(&mut startup, 9, Outcome::TimedOut);
            assert!(!startup.settled(), "{outcome:?}");
            tries(&mut startup, 1, Outcome::TimedOut);
            assert!(startup.settled(), "{outcome:?}");
        }
    }

    #[test]
    fn one_target_alone_settles_nothing_and_a_new_address_starts_at_zero() {
        let mut startup = started();
        startup.control_firm(at(1));
        tries(&mut startup, 10, Outcome::TimedOut);
        startup.list(1, &[B.parse().unwrap(), C.parse().unwrap()]);
        assert!(!startup.settled());
        startup.list(1, &[]);
        assert!(startup.settled(), "a target that has nothing to be tried goes with the others");
        startup.list(0, &[]);
        assert!(!startup.settled(), "nothing was tried at all");
    }

    #[test]
    fn an_address_that_stays_listed_keeps_its_count_and_is_listed_once() {
        let mut startup = started();
        startup.control_firm(at(1));
        tries(&mut startup, 9, Outcome::TimedOut);
        startup.list(0, &[A.parse().unwrap(), C.parse().unwrap()]);
        startup.list(0, &[A.parse().unwrap()]);
        tries(&mut startup, 1, Outcome::TimedOut);
        assert!(startup.settled());
    }

    #[test]
    fn an_address_that_did_not_connect_goes_on_in_a_hurry() {
        let mut startup = started();
        let (a, b) = (A.parse().unwrap(), C.parse().unwrap());
        startup.list(0, &[a, b]);
        startup.tried(0, a, at(1), Outcome::Connected, true);
        assert!(startup.has_connected(0, a));
        assert!(!startup.has_connected(0, b), "its neighbour did");
        assert!(!startup.has_connected(1, B.parse().unwrap()));
    }

    #[test]
    fn what_connected_last_is_open_and_what_ever_did_is_remembered() {
        let mut startup = started();
        let a = A.parse().unwrap();
        startup.tried(0, a, at(1), Outcome::Connected, true);
        assert!(startup.open(0) && !startup.open(1) && startup.has_connected(0, a));
        startup.tried(0, a, at(2), Outcome::TimedOut, false);
        assert!(!startup.open(0) && startup.has_connected(0, a));
        startup.tried(0, B.parse().unwrap(), at(2), Outcome::Connected, true);
        assert!(!startup.open(0), "an address that nobody listed");
        startup.tried(0, a, at(3), Outcome::Connected, false);
        assert!(!startup.open(0) && startup.has_connected(0, a), "somebody answers in everybody's place");
    }
}
