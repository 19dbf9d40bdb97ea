//! What each word of the vocabulary means, and what to do about it: the one place that explains.
use guardprobe_core::model::finding::{Attribution, Doubt, Reason, Verdict};
use guardprobe_core::model::fleet::Gap;
use guardprobe_core::model::observation::{Evidence, Identity, Outcome};
use guardprobe_core::model::report::TargetReport;

/// A word explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// What it means, in one sentence or two.
    pub means: &'static str,
    /// What to do next.
    pub next: &'static str,
}

const fn words(means: &'static str, next: &'static str) -> Words {
    Words { means, next }
}

/// A reason explained.
pub fn reason(reason: Reason) -> Words {
    match reason {
        Reason::Proof(word) => attribution(word),
        Reason::Evidence(word) => evidence(word),
        Reason::Doubt(word) => doubt(word),
    }
}

/// The reason that the standing verdict rests on. After history that is not always the newest finding's: a breach stands on what
/// was seen while it was open.
pub fn standing(target: &TargetReport) -> Reason {
    match &target.opening {
        Some(opening) if target.verdict == Verdict::Breached && target.finding != Verdict::Breached => {
            Reason::Evidence(opening.evidence)
        }
        _ => target.reason,
    }
}

/// How one attempt ended, in a few words for where there is no detail.
pub fn outcome(word: Outcome) -> &'static str {
    match word {
        Outcome::Connected => "handshake completed",
        Outcome::TimedOut => "silence",
        Outcome::Rejected => "an ICMP prohibition came back",
        Outcome::Refused => "a reset came back",
        Outcome::Unreachable => "host or net unreachable came back",
        Outcome::DeniedLocally => "refused inside this pod",
        Outcome::LocalError => "the prober could not try",
        Outcome::Skipped => "not tried: this pod has no address or route of that family",
    }
}

/// Who answered, in a few words.
pub fn identity(word: Identity) -> &'static str {
    match word {
        Identity::Proven => "proved to be the target",
        Identity::Wrong => "somebody else's certificate",
    }
}

/// What an open door showed.
pub fn evidence(word: Evidence) -> Words {
    match word {
        Evidence::Connected => words(
            "It connects. No more was tried or learnt.",
            "A handshake is a way in: treat the door as open, whoever is behind it.",
        ),
        Evidence::NoAnswer => words(
            "It connects, then nothing comes within a second.",
            "The address is open, whatever keeps the answer away: an MTU hole or a slow server can.",
        ),
        Evidence::Closed => words(
            "It connects, then hangs up or resets without an answer.",
            "The address is open: a handshake got through. Who hangs up may answer another question.",
        ),
        Evidence::Answered => {
            words("It connects, and something spoke.", "Whatever speaks there speaks to every guarded pod on this node.")
        }
        Evidence::Identified => words(
            "The target itself answered: its certificate, or an answer that only it gives, proves it.",
            "Only the target's own authentication is left in front of it: see what guarded pods may do there.",
        ),
        Evidence::TokenIssued => words(
            "IMDSv2 gave a token: the credentials of the node's role are one GET away.",
            "Take the credentials of this node's role as readable by guarded pods while it was open: look for their use from elsewhere.",
        ),
    }
}

/// How well a `blocked` is proved.
pub fn attribution(word: Attribution) -> Words {
    match word {
        Attribution::Weak => words(
            "Nothing connected, but nothing proves that a guard is the reason.",
            "For a better proof give it a must-reach control of the same family that does not answer on this node, or a witness.",
        ),
        Attribution::Silence => {
            words("No answer, while a firm must-reach control of the same family answered.", "Nothing to do.")
        }
        Attribution::Rejected => {
            words("Something on the way rejected it by ICMP: neither this pod nor the target.", "Nothing to do.")
        }
        Attribution::Witnessed => words("The witness on this node reached the same address; this pod did not.", "Nothing to do."),
    }
}

/// Why a node is not known: what follows a colon, without a full stop.
pub fn gap(word: Gap) -> Words {
    match word {
        Gap::NoPod => words("there is no agent pod", "Look at the DaemonSet's events: can it schedule there?"),
        Gap::NotReady => words("its agent pod is not ready", "Look at the pod: kubectl describe, and its log."),
        Gap::NoConnection => words(
            "its agent does not answer the reporter",
            "Look at the pod's log, and whether a policy keeps the reporter from its port.",
        ),
        Gap::Stale => words("what its agent says is too old", "Look at the pod's log: does the prober run?"),
        Gap::RefusedSchema => words("what its agent says is not understood", "Bring agents and reporter to the same version."),
    }
}

/// Why nothing is proved.
pub fn doubt(word: Doubt) -> Words {
    match word {
        Doubt::WrongIdentity => words(
            "A server with a certificate of another CA answers there.",
            "The address was probably given up and is somebody else's now: bring the list of endpoints up to date.",
        ),
        Doubt::Intercepted => words(
            "Something answers in the target's place, and for addresses where nothing listens: a mesh sidecar or a transparent proxy.",
            "Take this pod out of the mesh or past the proxy: what it connects to is not the target.",
        ),
        Doubt::LocalError => words(
            "The prober could not even try: no descriptor, buffer or local port was left.",
            "Raise the limits of this container (ulimit -n), or find what uses them up.",
        ),
        Doubt::DeniedLocally => words(
            "This pod's own kernel said no: its packet filter, a route, seccomp, an LSM or cgroup BPF. They bind this pod only.",
            "Its neighbours may be open: try without that rule, route or profile, as the guarded pods run.",
        ),
        Doubt::NoControl => words(
            "No must-reach control could be tried, so silence proves nothing.",
            "Give this pod a name server that it can reach, or the configuration a must-reach control that is not in this pod.",
        ),
        Doubt::ControlFailed => words(
            "The must-reach controls failed: where the pod's network is dead, silence proves nothing.",
            "Mend the pod's network or the control first: is DNS up, and does a policy let this pod reach it?",
        ),
        Doubt::ResolveFailed => words(
            "A name in use was not looked up in full, so an address may not have been tried.",
            "Check the name, and the DNS of this pod (/etc/resolv.conf).",
        ),
        Doubt::StaleAddresses => words(
            "The endpoints file is missing, unreadable or too old, so a door may not have been tried.",
            "Check the ConfigMap that holds it, its mount in this pod, and the reporter that keeps it.",
        ),
        Doubt::NoAddresses => {
            words("Nothing was left to try.", "Give the target addresses, or the pod an address of their family.")
        }
        Doubt::Refused => words(
            "A reset, or an ICMP error of the address itself, came back: a closed port says the same as a policy that answers so.",
            "Connect from a pod without the guard's labels: if that works, it is the guard that answers. A witness proves that all the time.",
        ),
        Doubt::Unproved => words(
            "Nothing connected, but what this pod saw does not prove that a guard is the reason.",
            "Add what its last line names: a must-reach control of that family beyond this node (the chart's agent.reporterControl is one), or the witness. If a weaker proof is enough for you, set proof: weak for that target.",
        ),
        Doubt::Starting => {
            words("The window after process start is still open; the guard may be on its way.", "Wait for the end of the window.")
        }
        Doubt::MissingAddresses => words(
            "The API has an address that this agent has not tried for minutes.",
            "Check that the agent mounts the endpoints ConfigMap, and that its kubelet syncs it.",
        ),
        Doubt::Ending => words(
            "It connects, but only since this process was asked to end; its rules may be gone before it is.",
            "Nothing: this is no breach. The next pod on this node will tell.",
        ),
    }
}
