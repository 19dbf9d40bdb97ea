//! What it comes to, and what to do next: the clues that a report holds, in the order in which one would look.
use super::text::{clean, count, time};
use super::words;
use guardprobe_core::model::address::{Family, is_host_name};
use guardprobe_core::model::config::Kind;
use guardprobe_core::model::finding::{Attribution, Reason, Verdict};
use guardprobe_core::model::observation::{Evidence, Observation, Outcome};
use guardprobe_core::model::report::{Report, TargetReport};

/// One thing to do, and the command for it where there is one.
pub(super) struct Step {
    /// What to do, as a sentence.
    pub(super) text: String,
    /// A command to copy: never broken over lines, nothing from outside in it that a shell could mistake.
    pub(super) command: Option<String>,
}

impl Step {
    fn say(text: impl Into<String>) -> Self {
        Step { text: text.into(), command: None }
    }

    fn run(text: impl Into<String>, command: String) -> Self {
        Step { text: text.into(), command: Some(command) }
    }
}

/// The overall verdict in one sentence.
pub(super) fn summary(report: &Report) -> String {
    let concerned: Vec<&TargetReport> = of_verdict(report, report.verdict).collect();
    let share = format!("{} of {}", concerned.len(), count(report.targets.len(), "target"));
    let names = names(&concerned);
    match report.verdict {
        Verdict::Breached if concerned.iter().all(|target| target.finding != Verdict::Breached) => {
            format!("{names} was open and did not connect in this round; two blocked rounds in a row close a breach")
        }
        Verdict::Breached => format!("{names} can be reached from inside the guard ({share})"),
        Verdict::Inconclusive => format!("{names} not proven either way ({share})"),
        Verdict::Blocked => {
            let weakest = weakest(&concerned);
            let others = concerned.iter().any(|target| target.reason != Reason::Proof(weakest));
            format!("{share}; proof: {}{}", weakest.as_str(), if others { " or better" } else { "" })
        }
    }
}

/// What to do, most telling first. Never empty.
pub(super) fn next_steps(report: &Report) -> Vec<Step> {
    let breached: Vec<&TargetReport> = of_verdict(report, Verdict::Breached).collect();
    let mut steps = Vec::new();
    if !breached.is_empty() {
        steps.extend(clues(report, &breached));
        steps.extend(where_to_look(report));
        steps.extend(what_changed(report, &breached));
        steps.extend(consequences(&breached));
    }
    steps.extend(doubts(report));
    if report.verdict == Verdict::Blocked {
        steps.extend(better_proof(report));
    }
    steps
}

fn clues(report: &Report, breached: &[&TargetReport]) -> Vec<Step> {
    let mut steps = Grouped::default();
    for target in breached.iter().filter(|target| target.finding == Verdict::Breached) {
        steps.add(clue(target, something_holds(report)), target);
    }
    steps.steps()
}

/// What the pattern of open and closed addresses says of the cause.
fn clue(target: &TargetReport, something_holds: bool) -> &'static str {
    let (open, shut): (Vec<_>, Vec<_>) =
        target.observations.iter().filter(|seen| seen.tried()).partition(|seen| seen.connected());
    match () {
        () if only(&open, &shut, Family::Ipv6) => {
            "Only IPv6 is open: the policy has no rule for IPv6, or its enforcer fails on IPv6 (its log on this node tells)."
        }
        () if only(&open, &shut, Family::Ipv4) => {
            "Only IPv4 is open: the policy has no rule for IPv4, or its enforcer fails on IPv4 (its log on this node tells)."
        }
        () if shut.is_empty() && something_holds => {
            "Each of its addresses is open, other doors are shut: the policy most likely has no rule for it."
        }
        () if shut.is_empty() => "Each address is open: no policy, one that does not select this pod, or nobody who enforces it.",
        () if target.kind != Kind::KubeApi => "Some addresses are open: compare them with those that the policy denies.",
        () if open.iter().all(|seen| seen.service) => {
            "Only the ClusterIP is open: it led to an endpoint that is neither denied nor in this list."
        }
        () => "Some endpoints are open: the enforcer's set of their addresses is most likely out of date.",
    }
}

/// True when all that is open is of one family, and the other was tried and held.
fn only(open: &[&Observation], shut: &[&Observation], family: Family) -> bool {
    open.iter().all(|seen| seen.family == family) && !shut.is_empty() && shut.iter().all(|seen| seen.family != family)
}

/// True when some door looks shut by a rule, so that there is one in force.
fn something_holds(report: &Report) -> bool {
    let mut seen = report.targets.iter().flat_map(|target| &target.observations);
    seen.any(|seen| matches!(seen.outcome, Outcome::TimedOut | Outcome::Rejected))
}

fn where_to_look(report: &Report) -> Vec<Step> {
    let Some(namespace) = namespace(report) else {
        return vec![Step::say(
            "See that the rules are still loaded where this traffic passes (nft list ruleset, iptables-save).",
        )];
    };
    let policies = format!("kubectl -n {namespace} get networkpolicies");
    let kinds = "(Calico: networkpolicies.projectcalico.org, Cilium: ciliumnetworkpolicies)";
    let mut steps = Vec::new();
    if something_holds(report) {
        steps.push(Step::run(
            format!("Some doors are shut, so a policy seems to be in force: read its rules. {kinds}"),
            policies + " -o yaml",
        ));
    } else {
        steps.push(Step::run(format!("Is the policy there? {kinds}"), policies));
        let pod = report.head.pod.as_deref().filter(|name| is_host_name(name)).map(|name| format!(" {name}")).unwrap_or_default();
        let labels = format!("kubectl -n {namespace} get pods{pod} --show-labels");
        steps.push(Step::run("Does its selector match the labels of this pod?", labels));
    }
    let node = report.head.node.as_deref().filter(|name| is_host_name(name));
    let pods = node.map(|node| format!("kubectl get pods -A --field-selector spec.nodeName={node}"));
    let text = "Is the enforcer on this node ready (calico-node, aws-node, cilium)? Are other nodes breached?".to_owned();
    steps.push(Step { text, command: pods });
    steps
}

fn what_changed(report: &Report, breached: &[&TargetReport]) -> Option<Step> {
    let since = breached.iter().map(|target| target.since).min().filter(|since| *since < report.head.started)?;
    Some(Step::say(format!("What changed shortly before {}? A policy, a label, an agent's restart or upgrade.", time(since))))
}

fn consequences(breached: &[&TargetReport]) -> Vec<Step> {
    let mut steps = Grouped::default();
    for target in breached {
        let reason = words::standing(target);
        let imds_is_silent = target.kind == Kind::Imds && reason == Reason::Evidence(Evidence::NoAnswer);
        steps.add(if imds_is_silent { HOP_LIMIT } else { words::reason(reason).next }, target);
    }
    steps.steps()
}

/// What may keep the answers of IMDS away, beside what keeps any answer away.
const HOP_LIMIT: &str = "The address is open, whatever keeps the answer away. A hop limit of 1 for the instance is one possibility: \
                         then a limit of 2, or a request without a token, gets an answer.";

fn doubts(report: &Report) -> Vec<Step> {
    let mut steps = Grouped::default();
    for target in of_verdict(report, Verdict::Inconclusive) {
        steps.add(words::reason(target.reason).next, target);
    }
    steps.steps()
}

fn better_proof(report: &Report) -> Vec<Step> {
    let mut weak = Grouped::default();
    for target in report.targets.iter().filter(|target| target.reason == Reason::Proof(Attribution::Weak)) {
        weak.add(words::attribution(Attribution::Weak).next, target);
    }
    let mut steps = weak.steps();
    steps.extend(untried(report).map(|family| {
        let family = family.title();
        Step::say(format!(
            "{family} was not tried, as this pod has no usable address in it: fine if guarded pods have none either."
        ))
    }));
    if steps.is_empty() {
        steps.push(Step::say(words::attribution(weakest(&report.targets.iter().collect::<Vec<_>>())).next));
    }
    steps
}

fn untried(report: &Report) -> impl Iterator<Item = Family> {
    let seen = |family| report.targets.iter().flat_map(|target| &target.observations).filter(move |seen| seen.family == family);
    Family::ALL.into_iter().filter(move |family| seen(*family).any(|seen| !seen.tried()))
}

fn weakest(targets: &[&TargetReport]) -> Attribution {
    let proofs = targets.iter().filter_map(|target| match target.reason {
        Reason::Proof(proof) => Some(proof),
        Reason::Evidence(_) | Reason::Doubt(_) => None,
    });
    proofs.min().unwrap_or(Attribution::Weak)
}

/// The guard's namespace, where it is one that a command line may carry. `local` is the name outside of any cluster.
fn namespace(report: &Report) -> Option<&str> {
    let namespace = report.head.guard.split_once('/')?.0;
    (is_host_name(namespace) && namespace != "local").then_some(namespace)
}

fn of_verdict(report: &Report, verdict: Verdict) -> impl Iterator<Item = &TargetReport> {
    report.targets.iter().filter(move |target| target.verdict == verdict)
}

fn names(targets: &[&TargetReport]) -> String {
    targets.iter().map(|target| clean(&target.name)).collect::<Vec<_>>().join(", ")
}

/// Steps with the targets that ask for them, so that ten targets with one cause give one line.
#[derive(Default)]
struct Grouped<'a>(Vec<(&'static str, Vec<&'a TargetReport>)>);

impl<'a> Grouped<'a> {
    fn add(&mut self, text: &'static str, target: &'a TargetReport) {
        match self.0.iter_mut().find(|(known, _)| *known == text) {
            Some((_, targets)) => targets.push(target),
            None => self.0.push((text, vec![target])),
        }
    }

    fn steps(self) -> Vec<Step> {
        self.0.into_iter().map(|(text, targets)| Step::say(format!("{}: {text}", names(&targets)))).collect()
    }
}
