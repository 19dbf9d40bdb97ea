//! The fleet: what the cluster holds, and what its agents say, set beside each other.
//!
//! [`Known`] is fed by streams and asked at any time; [`fleet`] is a pure function of it. Nothing here compares the clocks of two machines:
//! how old a report is says its own age and how long ago it was received; how long a node has been so says this process' own clock. Only
//! whether a node is new is read from its time of creation, and that excuses it for no longer than this process has known it.
use super::incidents::{Assessment, Incidents};
use super::placement;
use super::warnings;
use crate::model::cluster::{DaemonSet, Guard, GuardName, Node, Pod, Service};
use crate::model::config::Kind;
use crate::model::finding::{Attribution, Doubt, Reason, Verdict};
use crate::model::fleet::{Coverage, Excuse, Fleet, Gap, PodRef, Row, Rules, TargetRow, Warning};
use crate::model::heard::{Heading, Heard, HeardTarget, Tried, Witnessed};
use crate::model::incident::{Incident, Place};
use crate::model::moment::Moment;
use crate::model::names;
use crate::model::report::{HeldProof, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything that streams have told.
#[derive(Debug, Clone)]
pub struct Known {
    /// The guards that this reporter looks after.
    pub guards: Vec<Guard>,
    /// The least attribution accepted as blocked.
    pub proof: Attribution,
    /// The numbers of the rules.
    pub rules: Rules,
    nodes: BTreeMap<String, NodeSeen>,
    pods: BTreeMap<String, PodSeen>,
    /// The UIDs of the pods on each node.
    on_node: BTreeMap<String, BTreeSet<String>>,
    daemon_sets: BTreeMap<String, DaemonSet>,
    pub(super) services: BTreeMap<(String, String), Service>,
    /// Where the API is, each with when we first heard of it.
    endpoints: BTreeMap<SocketAddr, Duration>,
    /// Since when something about a guard has been so that is normal for a while.
    pub(super) since: BTreeMap<(GuardName, Warning), Duration>,
}

#[derive(Debug, Clone)]
struct NodeSeen {
    node: Node,
    first: Duration,
    not_ready: Option<Duration>,
    deleting: Option<Duration>,
}

/// A pod, and what we have of it.
#[derive(Debug, Clone)]
pub struct PodSeen {
    /// The pod.
    pub pod: Pod,
    /// When we first heard of it.
    pub first: Duration,
    /// When it was deleted, if it was: its newest report speaks on until it is stale.
    pub gone: Option<Duration>,
    /// How the attempts to ask it went.
    pub contact: Contact,
    /// What it said last.
    pub newest: Option<Newest>,
}

/// How the attempts to ask a pod went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Contact {
    /// Not tried yet.
    #[default]
    None,
    /// The last answer was a report.
    Answered,
    /// No answer, or none in time; why.
    Failed(String),
    /// An answer that is not understood; why.
    Refused(String),
}

/// What a pod said last.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The report.
    pub said: Saying,
    /// When it was received.
    pub received: Duration,
}

/// A report of either role.
#[derive(Debug, Clone)]
pub enum Saying {
    /// Of an agent.
    Agent(Heard),
    /// Of a witness.
    Witness(Witnessed),
}

impl Newest {
    /// Who sent it, and of when it is.
    pub fn heading(&self) -> &Heading {
        match &self.said {
            Saying::Agent(heard) => &heard.heading,
            Saying::Witness(witnessed) => &witnessed.heading,
        }
    }

    /// How long ago its round ended.
    pub fn age(&self, now: Duration) -> Duration {
        self.heading().age + now.saturating_sub(self.received)
    }
}

impl PodSeen {
    /// What it said, when it is an agent and that is fresh. A pod that is gone has no interval any more.
    fn fresh(&self, known: &Known, now: Duration) -> Option<&Heard> {
        let newest = self.newest.as_ref()?;
        let interval = if self.gone.is_some() { None } else { known.interval_of(&self.pod.guard) };
        let stale = stale_after(&known.rules, newest.heading().interval, interval);
        match &newest.said {
            Saying::Agent(heard) if newest.age(now) <= stale => Some(heard),
            _ => None,
        }
    }

    /// What it reached, when it is a witness and that is fresh.
    fn witnessed(&self, now: Duration) -> Option<&BTreeSet<SocketAddr>> {
        let newest = self.newest.as_ref()?;
        match &newest.said {
            Saying::Witness(witnessed) if newest.age(now) <= names::WITNESSED => Some(&witnessed.reached),
            _ => None,
        }
    }

    fn reference(&self) -> PodRef {
        PodRef { namespace: self.pod.namespace.clone(), name: self.pod.name.clone(), uid: self.pod.uid.clone() }
    }
}

/// Returns after how long a report is stale: an agent may take as long as it says, but no longer than its guard is configured for.
fn stale_after(rules: &Rules, claimed: Duration, configured: Option<Duration>) -> Duration {
    let interval = configured.map_or(Duration::ZERO, |configured| claimed.min(configured));
    rules.stale.max(interval * names::STALE_INTERVALS)
}

impl Known {
    /// Nothing yet.
    pub fn new(guards: Vec<Guard>, proof: Attribution) -> Self {
        Known {
            guards,
            proof,
            rules: Rules::default(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            on_node: BTreeMap::new(),
            daemon_sets: BTreeMap::new(),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            since: BTreeMap::new(),
        }
    }

    /// A node is there, or is another than it was. Returns the UID of the node whose name it took, if that one is gone by that.
    pub fn node(&mut self, node: Node, now: Duration) -> Option<String> {
        let before = self.nodes.get(&node.name).filter(|before| before.node.uid == node.uid);
        let since = |is: bool, before: Option<Duration>| is.then(|| before.unwrap_or(now));
        let seen = NodeSeen {
            first: before.map_or(now, |before| before.first),
            not_ready: since(!node.ready, before.and_then(|before| before.not_ready)),
            deleting: since(node.deleting, before.and_then(|before| before.deleting)),
            node,
        };
        let uid = seen.node.uid.clone();
        let before = self.nodes.insert(seen.node.name.clone(), seen)?;
        (before.node.uid != uid).then_some(before.node.uid)
    }

    /// A node is gone. Returns its UID.
    pub fn node_gone(&mut self, name: &str) -> Option<String> {
        self.nodes.remove(name).map(|seen| seen.node.uid)
    }

    /// The names of all nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The UID of a node.
    pub fn node_uid(&self, name: &str) -> Option<&str> {
        self.nodes.get(name).map(|seen| seen.node.uid.as_str())
    }

    /// A pod is there, or is another than it was.
    pub fn pod(&mut self, pod: Pod, now: Duration) {
        if let Some(node) = &pod.node {
            self.on_node.entry(node.clone()).or_default().insert(pod.uid.clone());
        }
        match self.pods.get_mut(&pod.uid) {
            Some(seen) => (seen.pod, seen.gone) = (pod, None),
            None => {
                let seen = PodSeen { pod, first: now, gone: None, contact: Contact::None, newest: None };
                self.pods.insert(seen.pod.uid.clone(), seen);
            }
        }
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, uid: &str, now: Duration) {
        if let Some(seen) = self.pods.get_mut(uid) {
            seen.gone.get_or_insert(now);
        }
    }

    /// The pods that are there.
    pub fn pods(&self) -> impl Iterator<Item = &PodSeen> {
        self.pods.values().filter(|seen| seen.gone.is_none())
    }

    /// The pods that are to be asked: those of our DaemonSets that have an address and a node. Of several with one address only the newest
    /// can still have it.
    pub fn to_ask(&self) -> impl Iterator<Item = &Pod> {
        let askable = |seen: &&PodSeen| seen.pod.ip.is_some() && seen.pod.node.is_some() && self.is_ours(&seen.pod);
        let mut newest: BTreeMap<Option<IpAddr>, &PodSeen> = BTreeMap::new();
        for seen in self.pods().filter(askable) {
            let known = newest.entry(seen.pod.ip).or_insert(seen);
            if seen.first > known.first {
                *known = seen;
            }
        }
        newest.into_values().map(|seen| &seen.pod)
    }

    /// True when one of our DaemonSets controls that pod, and it says of itself what the DaemonSet says.
    pub fn is_ours(&self, pod: &Pod) -> bool {
        let controller = pod.controller.as_ref().and_then(|uid| self.daemon_sets.get(uid));
        controller.is_some_and(|set| set.guard == pod.guard && set.role == pod.role && self.looks_after(&set.guard))
    }

    /// The interval that the agents of a guard are configured for; `None` while no DaemonSet of it is there.
    fn interval_of(&self, guard: &GuardName) -> Option<Duration> {
        self.daemon_sets_of(guard, Role::Agent).map(|set| set.interval).max()
    }

    /// How well it is proved that a target of a report is blocked, with what the witnesses of its node reached.
    pub fn assess(&self, target: &HeardTarget, reached: &BTreeSet<SocketAddr>, now: Duration) -> Assessment {
        let missing = self.missing(target, now);
        let proof = target.proof.unwrap_or(self.proof);
        let (verdict, _) = judge(target, reached, &missing, proof);
        Assessment {
            blocked: attribution(target, reached).filter(|_| verdict == Verdict::Blocked),
            least: missing.is_empty().then_some(proof),
        }
    }

    /// The addresses of the API that we have known for long, and that this target does not try. One whose configuration names the
    /// addresses is to try just those.
    fn missing(&self, target: &HeardTarget, now: Duration) -> Vec<SocketAddr> {
        if target.kind != Kind::KubeApi || target.addresses_given || is_starting(target) {
            return Vec::new();
        }
        let tried = |address: &SocketAddr| {
            target.skipped.contains(address) || target.addresses.iter().any(|tried| tried.address == *address)
        };
        let long_known = |since: &Duration| now.saturating_sub(*since) >= names::ADDRESSES_MISSING;
        let known = self.endpoints.iter().filter(|(_, since)| long_known(since)).map(|(address, _)| *address);
        known.filter(|address| !tried(address)).collect()
    }

    /// True for a guard of this reporter.
    pub fn looks_after(&self, guard: &GuardName) -> bool {
        self.guards.iter().any(|known| known.name == *guard)
    }

    /// A DaemonSet is there, or is another than it was.
    pub fn daemon_set(&mut self, set: DaemonSet) {
        self.daemon_sets.insert(set.uid.clone(), set);
    }

    /// A DaemonSet is gone.
    pub fn daemon_set_gone(&mut self, uid: &str) {
        self.daemon_sets.remove(uid);
    }

    /// The DaemonSets of a guard.
    pub fn daemon_sets_of(&self, guard: &GuardName, role: Role) -> impl Iterator<Item = &DaemonSet> {
        self.daemon_sets.values().filter(move |set| set.guard == *guard && set.role == role)
    }

    /// The UIDs of all DaemonSets of a namespace.
    pub fn daemon_set_uids(&self, namespace: &str) -> Vec<String> {
        self.daemon_sets.values().filter(|set| set.guard.namespace == namespace).map(|set| set.uid.clone()).collect()
    }

    /// A Service is there, or is another than it was.
    pub fn service(&mut self, service: Service) {
        self.services.insert((service.namespace.clone(), service.name.clone()), service);
    }

    /// A Service is gone.
    pub fn service_gone(&mut self, namespace: &str, name: &str) {
        self.services.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// The names of all Services of a namespace.
    pub fn service_names(&self, namespace: &str) -> Vec<String> {
        self.services.keys().filter(|(of, _)| of == namespace).map(|(_, name)| name.clone()).collect()
    }

    /// The UIDs of all pods of a namespace.
    pub fn pod_uids(&self, namespace: &str) -> Vec<String> {
        self.pods().filter(|seen| seen.pod.namespace == namespace).map(|seen| seen.pod.uid.clone()).collect()
    }

    /// The addresses of the API, all of them. True when they are others than before.
    pub fn endpoints(&mut self, addresses: &BTreeSet<SocketAddr>, now: Duration) -> bool {
        let same =
            addresses.len() == self.endpoints.len() && addresses.iter().all(|address| self.endpoints.contains_key(address));
        self.endpoints =
            addresses.iter().map(|address| (*address, self.endpoints.get(address).copied().unwrap_or(now))).collect();
        !same
    }

    /// The addresses of the API.
    pub fn endpoint_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.keys().copied()
    }

    /// A pod said something.
    pub fn said(&mut self, uid: &str, said: Saying, received: Duration) {
        if let Some(seen) = self.pods.get_mut(uid) {
            seen.contact = Contact::Answered;
            seen.newest = Some(Newest { said, received });
        }
    }

    /// A pod did not answer, or not so that it can be understood.
    pub fn contact(&mut self, uid: &str, contact: Contact) {
        if let Some(seen) = self.pods.get_mut(uid) {
            seen.contact = contact;
        }
    }

    /// One pod.
    pub fn one(&self, uid: &str) -> Option<&PodSeen> {
        self.pods.get(uid)
    }

    /// Lets go of pods that are gone and whose last word is stale, and notes since when what is so has been so.
    pub fn tick(&mut self, now: Duration) {
        let is_over = |seen: &&PodSeen| seen.gone.is_some() && seen.fresh(self, now).is_none();
        let over: Vec<String> = self.pods.values().filter(is_over).map(|seen| seen.pod.uid.clone()).collect();
        over.iter().for_each(|uid| drop(self.pods.remove(uid)));
        let pods = &self.pods;
        self.on_node.values_mut().for_each(|uids| uids.retain(|uid| pods.contains_key(uid)));
        self.on_node.retain(|_, uids| !uids.is_empty());
        warnings::note(self, now);
    }

    /// What the witnesses of a node reached.
    pub fn reached_on(&self, node: &str, now: Duration) -> BTreeSet<SocketAddr> {
        self.ours_on(node).filter_map(|seen| seen.witnessed(now)).flatten().copied().collect()
    }

    /// The pods of our DaemonSets on a node.
    fn ours_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a PodSeen> {
        let pods = self.on_node.get(node).into_iter().flatten().filter_map(|uid| self.pods.get(uid));
        pods.filter(move |seen| seen.pod.node.as_deref() == Some(node) && self.is_ours(&seen.pod))
    }

    /// True when every other agent of that guard on that node was heard since then: two are there while they are replaced. A reporter waits
    /// for them for as long as a report is good for, and no longer.
    pub fn others_were_heard(&self, place: &Place, pod: &str, since: Duration, now: Duration) -> bool {
        let mut others = self.ours_on(&place.node).filter(|seen| {
            let is_agent = seen.pod.role == Role::Agent && seen.pod.guard == place.guard;
            is_agent && seen.pod.uid != pod && seen.gone.is_none()
        });
        let was_heard = |seen: &PodSeen| seen.newest.as_ref().is_some_and(|newest| newest.received >= since);
        now.saturating_sub(since) >= self.rules.stale || others.all(was_heard)
    }

    fn excuse(&self, seen: &NodeSeen, now: Moment) -> Option<Excuse> {
        let lately = |since: Option<Duration>| since.is_some_and(|since| now.up.saturating_sub(since) < self.rules.grace);
        let age = Duration::try_from(now.wall.duration_since(seen.node.created)).unwrap_or_default();
        if lately(seen.deleting) {
            Some(Excuse::NodeDeleting)
        } else if age < self.rules.grace && lately(Some(seen.first)) {
            Some(Excuse::NewNode)
        } else if lately(seen.not_ready) {
            Some(Excuse::NodeNotReady)
        } else {
            (now.up < names::GRACE_AT_START.min(self.rules.grace)).then_some(Excuse::ReporterStarting)
        }
    }
}

/// The fleet as it is now.
pub fn fleet(known: &Known, incidents: &Incidents, now: Moment) -> Fleet {
    let mut here: BTreeMap<(&GuardName, &str), Vec<&PodSeen>> = BTreeMap::new();
    let mut reached: BTreeMap<&str, BTreeSet<SocketAddr>> = BTreeMap::new();
    for seen in known.pods.values().filter(|seen| known.is_ours(&seen.pod)) {
        let Some(node) = seen.pod.node.as_deref() else { continue };
        match seen.pod.role {
            Role::Agent => here.entry((&seen.pod.guard, node)).or_default().push(seen),
            Role::Witness => reached.entry(node).or_default().extend(seen.witnessed(now.up).into_iter().flatten()),
        }
    }
    let nothing = BTreeSet::new();
    let mut rows = Vec::with_capacity(known.guards.len() * known.nodes.len());
    for guard in &known.guards {
        for seen in known.nodes.values() {
            let name = seen.node.name.as_str();
            let around =
                Around { known, incidents, guard: &guard.name, seen, reached: reached.get(name).unwrap_or(&nothing), now };
            let pods = here.get(&(&guard.name, name)).map(Vec::as_slice).unwrap_or_default();
            rows.push(around.row(pods));
        }
    }
    Fleet { rows, warnings: warnings::warnings(known, now.up) }
}

/// One guard on one node.
struct Around<'a> {
    known: &'a Known,
    incidents: &'a Incidents,
    guard: &'a GuardName,
    seen: &'a NodeSeen,
    reached: &'a BTreeSet<SocketAddr>,
    now: Moment,
}

impl Around<'_> {
    fn row(&self, pods: &[&PodSeen]) -> Row {
        let fresh: Vec<&PodSeen> = pods.iter().copied().filter(|seen| seen.fresh(self.known, self.now.up).is_some()).collect();
        let targets = self.targets(&fresh);
        let speaker = self.speaker(&fresh).or_else(|| pods.iter().copied().max_by_key(|seen| (seen.gone.is_none(), seen.first)));
        let newest = speaker.and_then(|seen| seen.newest.as_ref());
        let trouble = speaker.filter(|_| fresh.is_empty()).and_then(|seen| match &seen.contact {
            Contact::Failed(why) | Contact::Refused(why) => Some(why.clone()),
            Contact::None | Contact::Answered => None,
        });
        Row {
            guard: self.guard.clone(),
            node: self.seen.node.name.clone(),
            node_uid: self.seen.node.uid.clone(),
            coverage: self.coverage(pods, !fresh.is_empty()),
            uncovered_since: None,
            trouble,
            pod: speaker.map(PodSeen::reference),
            age_seconds: newest.map(|newest| newest.age(self.now.up).as_secs_f64()),
            round_seconds: newest.and_then(|newest| newest.heading().took()).map(|took| took.as_secs_f64()),
            report: newest.map(|newest| (newest.heading().boot.clone(), newest.heading().round)),
            targets,
        }
    }

    /// The pod that is shown for the node: the one with the worst news, else the newest.
    fn speaker<'p>(&self, fresh: &[&'p PodSeen]) -> Option<&'p PodSeen> {
        let worst = |seen: &PodSeen| {
            let verdicts = seen.fresh(self.known, self.now.up).into_iter().flat_map(|heard| &heard.targets);
            verdicts.filter(|target| !is_starting(target)).map(|target| target.verdict).max()
        };
        fresh.iter().copied().max_by_key(|seen| (worst(seen), seen.gone.is_none(), seen.first))
    }

    fn coverage(&self, pods: &[&PodSeen], fresh: bool) -> Coverage {
        if fresh {
            return Coverage::Covered;
        }
        let there: Vec<&PodSeen> = pods.iter().copied().filter(|seen| seen.gone.is_none()).collect();
        let sets: Vec<&DaemonSet> = self.known.daemon_sets_of(self.guard, Role::Agent).collect();
        let exclusion = sets.iter().map(|set| placement::excluded(&set.placement, &self.seen.node)).min().flatten();
        if let Some(exclusion) = exclusion.filter(|_| there.is_empty()) {
            return Coverage::Excluded(exclusion);
        }
        if let Some(excuse) = self.known.excuse(self.seen, self.now) {
            return Coverage::Grace(excuse);
        }
        Coverage::Uncovered(gap(&there))
    }

    fn targets(&self, fresh: &[&PodSeen]) -> Vec<TargetRow> {
        let mut rows: BTreeMap<String, TargetRow> = BTreeMap::new();
        let since_received =
            |seen: &PodSeen| seen.newest.as_ref().map_or(Duration::ZERO, |newest| self.now.up.saturating_sub(newest.received));
        let heard: Vec<(&Heard, Duration)> =
            fresh.iter().filter_map(|seen| Some((seen.fresh(self.known, self.now.up)?, since_received(seen)))).collect();
        let all = || heard.iter().flat_map(|(heard, since)| heard.targets.iter().map(move |target| (target, *since)));
        for (target, since_received) in all() {
            let others = all().map(|(other, _)| other).filter(|other| other.name == target.name);
            if is_starting(target) && others.clone().any(|other| !is_starting(other)) {
                continue;
            }
            let row = self.target(target, since_received);
            match rows.get(&row.name) {
                // Of two that are blocked the weaker proof counts.
                Some(known) if known.verdict > row.verdict || (known.verdict == row.verdict && proof(known) <= proof(&row)) => {}
                _ => drop(rows.insert(row.name.clone(), row)),
            }
        }
        let (node, node_uid) = (self.seen.node.name.clone(), self.seen.node.uid.clone());
        let here = Place { guard: self.guard.clone(), node, node_uid, target: String::new() };
        for incident in self.incidents.open_beside(&here) {
            let row = rows.entry(incident.place.target.clone()).or_insert_with(|| unknown(&incident.place.target));
            breached(row, incident);
        }
        for incident in self.incidents.not_reachable_beside(&here) {
            if let Some(row) = rows.get_mut(&incident.place.target).filter(|row| row.verdict == Some(Verdict::Inconclusive)) {
                row.not_reachable = Some(incident.clone());
            }
        }
        rows.into_values().collect()
    }

    fn target(&self, target: &HeardTarget, since_received: Duration) -> TargetRow {
        let missing = self.known.missing(target, self.now.up);
        let proof = target.proof.unwrap_or(self.known.proof);
        let held = held_proof(target, since_received);
        let alone = judge(target, self.reached, &missing, proof);
        // Where the round alone proves enough, with what the witness adds, nothing rests on an older one.
        let held = held.filter(|held| alone.1 == Reason::Doubt(Doubt::Unproved) && held.attribution >= proof);
        let (verdict, reason) = held.map_or(alone, |held| (Verdict::Blocked, Reason::Proof(held.attribution)));
        TargetRow {
            name: target.name.clone(),
            kind: Some(target.kind),
            verdict: Some(verdict),
            reason: Some(reason),
            since: Some(target.since),
            held_proof_seconds: held.map(|held| held.age_seconds),
            incident: None,
            not_reachable: None,
            missing_addresses: missing,
        }
    }
}

fn proof(row: &TargetRow) -> Option<Attribution> {
    match row.reason {
        Some(Reason::Proof(proof)) => Some(proof),
        _ => None,
    }
}

fn is_starting(target: &HeardTarget) -> bool {
    target.verdict == Verdict::Inconclusive && target.reason == Reason::Doubt(Doubt::Starting)
}

fn unknown(target: &str) -> TargetRow {
    TargetRow {
        name: target.to_owned(),
        kind: None,
        verdict: None,
        reason: None,
        since: None,
        held_proof_seconds: None,
        incident: None,
        not_reachable: None,
        missing_addresses: Vec::new(),
    }
}

fn breached(row: &mut TargetRow, incident: &Incident) {
    (row.verdict, row.reason) = (Some(Verdict::Breached), Some(Reason::Evidence(incident.evidence)));
    (row.since, row.incident) = (Some(incident.started), Some(incident.clone()));
}

/// Why a node without a fresh report has none. Of several pods the one that came furthest tells.
fn gap(there: &[&PodSeen]) -> Gap {
    let of = |seen: &&PodSeen| match &seen.contact {
        Contact::Refused(_) => Gap::RefusedSchema,
        Contact::Answered => Gap::Stale,
        _ if !seen.pod.ready || seen.pod.ip.is_none() => Gap::NotReady,
        Contact::None | Contact::Failed(_) => Gap::NoConnection,
    };
    there.iter().map(of).max().unwrap_or(Gap::NoPod)
}

/// The proof on which the agent's `blocked` stands, with its age now; `None` once it is too old for that. No agent can hold what only a
/// witness proves.
fn held_proof(target: &HeardTarget, since_received: Duration) -> Option<HeldProof> {
    let held = target.held_proof.filter(|_| target.verdict == Verdict::Blocked)?;
    let age_seconds = held.age_seconds + since_received.as_secs_f64();
    let attribution = held.attribution.min(Attribution::Rejected);
    (age_seconds < names::PROOF_HOLDS.as_secs_f64()).then_some(HeldProof { attribution, age_seconds })
}

/// What the newest round of a fresh report says of a target, with what the witness of its node adds; `proof` is what is asked for.
pub fn judge(
    target: &HeardTarget,
    reached: &BTreeSet<SocketAddr>,
    missing: &[SocketAddr],
    proof: Attribution,
) -> (Verdict, Reason) {
    let doubt = |doubt| (Verdict::Inconclusive, Reason::Doubt(doubt));
    match attribution(target, reached) {
        _ if target.verdict == Verdict::Breached => (Verdict::Breached, evidence(target)),
        // It says blocked of something that it has not tried.
        None if target.verdict == Verdict::Blocked => doubt(Doubt::Unproved),
        None => (target.verdict, target.reason),
        Some(_) if !missing.is_empty() => doubt(Doubt::MissingAddresses),
        Some(attribution) if attribution < proof => doubt(Doubt::Unproved),
        Some(attribution) => (Verdict::Blocked, Reason::Proof(attribution)),
    }
}

fn evidence(target: &HeardTarget) -> Reason {
    target.opening.as_ref().map_or(target.reason, |opening| Reason::Evidence(opening.evidence))
}

/// How well it is proved that a target is blocked: as well as its weakest address, each of which the witness may prove. `None`: it is not
/// blocked. A reset from an address that the witness reaches is the policy's.
pub fn attribution(target: &HeardTarget, reached: &BTreeSet<SocketAddr>) -> Option<Attribution> {
    let of = |tried: &Tried| match tried.alone {
        _ if reached.contains(&tried.address) => Some(Attribution::Witnessed),
        alone => alone,
    };
    let may_be_blocked = match (target.verdict, target.reason) {
        (Verdict::Blocked, _) => true,
        (Verdict::Inconclusive, Reason::Doubt(Doubt::Unproved)) => true,
        (Verdict::Inconclusive, Reason::Doubt(Doubt::Refused)) => {
            target.addresses.iter().all(|tried| !tried.refused || reached.contains(&tried.address))
        }
        _ => false,
    };
    if !may_be_blocked {
        return None;
    }
    let counted = target.addresses.iter().filter(|tried| !tried.endpoints_tried);
    counted.map(of).min()?
}

/// Where a report of that pod belongs: its guard and its node, as the Pod object says. The target is left empty.
pub fn place_of(known: &Known, pod: &Pod) -> Option<Place> {
    let node = pod.node.as_deref()?;
    let node_uid = known.node_uid(node)?.to_owned();
    Some(Place { guard: pod.guard.clone(), node: node.to_owned(), node_uid, target: String::new() })
}

#[cfg(test)]
mod tests;
