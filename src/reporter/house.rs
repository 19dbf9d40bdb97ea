//! What a reporter knows: one place that watches, agents and the API server's answers are written to, and that the sites and the writer of
//! Events read. Synchronous, so that nothing in it waits.
use super::api_part::ApiPart;
use crate::cluster::Trouble;
use crate::cluster::watch::News;
use crate::process::clock::Clock;
use crate::process::output::Output;
use crate::show::fleet::{self as shown, Page, View};
use crate::show::fleet_metrics::{self, Counts, FleetState};
use crate::show::page::Teller;
use guardprobe_core::judge::election::Elector;
use guardprobe_core::judge::fleet::{self, Contact, Known, Saying};
use guardprobe_core::judge::incidents::{Incidents, ReportInput};
use guardprobe_core::judge::ledger::{Act, Ledger, Refusal};
use guardprobe_core::judge::notice::{self, Lasting};
use guardprobe_core::judge::rate::Bucket;
use guardprobe_core::model::cluster::{DaemonSet, GuardName, Node, Pod, Service};
use guardprobe_core::model::fleet::{Fleet, Warned};
use guardprobe_core::model::heard::{Heard, Witnessed};
use guardprobe_core::model::incident::{Change, Changed, FleetLine, Happening};
use guardprobe_core::model::moment::Moment;
use guardprobe_core::model::names;
use guardprobe_core::model::notice::OwnEvent;
use guardprobe_core::model::report::Role;
use guardprobe_core::parse::reporter::Settings;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How many guards and targets have a count of incidents.
const SERIES_MAX: usize = names::GUARDS_MAX * names::TARGETS_MAX;

/// All that a reporter knows.
#[derive(Debug)]
pub(super) struct House {
    clock: Clock,
    output: Output,
    me: String,
    node: Option<String>,
    inner: Mutex<Inner>,
    /// Something may be there to be written.
    news: Notify,
    /// Which pods are to be asked may have changed.
    pods: Notify,
    /// The addresses of the API may have changed.
    pub(super) endpoints_changed: Notify,
}

#[derive(Debug)]
struct Inner {
    known: Known,
    incidents: Incidents,
    ledger: Ledger,
    lasting: Lasting,
    elector: Elector,
    /// Whether it led when that was looked at last.
    led: bool,
    counts: Counts,
    /// As it was looked at last.
    fleet: Fleet,
    looked: Duration,
    ticked: Duration,
    /// Lists that have not ended yet.
    pending: BTreeSet<ApiPart>,
    /// What of the API fails now, by what it is for.
    trouble: BTreeMap<ApiPart, Option<(Trouble, Duration)>>,
    /// How many lines may still be written about each node that had some lately.
    lines: BTreeMap<String, Bucket>,
    /// Lines that were not written.
    lines_suppressed: u64,
    /// How many of them the log has told of.
    lines_suppressed_told: u64,
    /// For how long in all this process did not run when it should have.
    held_up: Duration,
    /// Whether an incident changed since the fleet was looked at.
    changed: bool,
    /// The namespaces from whose Events incidents were rebuilt.
    rebuilt: BTreeSet<String>,
    /// Whether an agent was heard.
    heard: bool,
    slices: BTreeMap<String, BTreeSet<SocketAddr>>,
    warned: Vec<Warned>,
    asked: BTreeMap<String, Role>,
}

impl House {
    pub(super) fn new(settings: Settings, me: String, node: Option<String>, (clock, output): (Clock, Output)) -> Self {
        let mut pending = BTreeSet::from([ApiPart::Nodes, ApiPart::node_events(), ApiPart::Lease]);
        for guard in &settings.guards {
            let namespace = || guard.name.namespace.clone();
            pending.extend([ApiPart::Pods(namespace()), ApiPart::DaemonSets(namespace())]);
        }
        let mut known = Known::new(settings.guards, settings.proof);
        known.rules = settings.rules;
        let inner = Inner {
            known,
            incidents: Incidents::new(Duration::ZERO),
            ledger: Ledger::default(),
            lasting: Lasting::default(),
            elector: Elector::new(me.clone()),
            led: false,
            counts: Counts::default(),
            fleet: Fleet::default(),
            looked: Duration::ZERO,
            ticked: clock.now().up,
            pending,
            trouble: BTreeMap::new(),
            lines: BTreeMap::new(),
            lines_suppressed: 0,
            lines_suppressed_told: 0,
            held_up: Duration::ZERO,
            changed: false,
            rebuilt: BTreeSet::new(),
            heard: false,
            slices: BTreeMap::new(),
            warned: Vec::new(),
            asked: BTreeMap::new(),
        };
        let [news, pods, endpoints_changed] = [Notify::new(), Notify::new(), Notify::new()];
        House { clock, output, me, node, inner: Mutex::new(inner), news, pods, endpoints_changed }
    }

    /// A task that panicked while it held this has left at worst a change half told.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// The node that this reporter is on, as far as it was told.
    pub(super) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn introduction(&self) -> String {
        let inner = self.inner();
        inner.known.guards.iter().map(|guard| guard.name.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// The namespaces that hold a guard.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.inner().known.guards.iter().map(|guard| guard.name.namespace.clone()).collect()
    }

    // What the cluster holds.

    /// Takes in what a watch tells. `what` it is of is told when it fails.
    fn news_of<T>(&self, what: &ApiPart, news: News<T>, take: impl FnOnce(&mut Inner, Moment, News<T>)) {
        let now = self.now();
        let mut inner = self.inner();
        match news {
            News::Trouble(trouble) => inner.fails(what, Some(trouble), now),
            news => {
                if matches!(news, News::All(_)) && inner.pending.remove(what) {
                    // What was looked at before knew less.
                    inner.changed = true;
                }
                inner.fails(what, None, now);
                take(&mut inner, now, news);
            }
        }
        drop(inner);
        if what.decides_whom_to_ask() {
            self.pods.notify_one();
        }
        self.news.notify_one();
    }

    pub(super) fn nodes(&self, news: News<Node>) {
        self.news_of(&ApiPart::Nodes, news, |inner, now, news| {
            let mut gone = Vec::new();
            match news {
                News::All(nodes) => {
                    let there: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
                    let before: Vec<String> =
                        inner.known.node_names().filter(|name| !there.contains(name)).map(str::to_owned).collect();
                    before.iter().for_each(|name| drop(inner.known.node_gone(name)));
                    nodes.into_iter().for_each(|node| drop(inner.known.node(node, now.up)));
                    // Also an incident of a node that was gone before this process began, and that our Events tell of.
                    let there: BTreeSet<&str> = inner.known.node_names().filter_map(|name| inner.known.node_uid(name)).collect();
                    gone.extend(inner.incidents.node_uids().into_iter().filter(|uid| !there.contains(uid.as_str())));
                }
                News::Here(node) => gone.extend(inner.known.node(node, now.up)),
                News::Gone(node) => gone.extend(inner.known.node_gone(&node.name)),
                News::Trouble(_) => {}
            }
            for uid in gone {
                let changes = inner.incidents.node_gone(&uid, now.up);
                self.tell(inner, now, changes);
            }
        });
    }

    pub(super) fn pods(&self, namespace: &str, news: News<Pod>) {
        self.news_of(&ApiPart::Pods(namespace.to_owned()), news, |inner, now, news| match news {
            News::All(pods) => {
                let there: BTreeSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
                let gone: Vec<String> =
                    inner.known.pod_uids(namespace).into_iter().filter(|uid| !there.contains(uid.as_str())).collect();
                gone.iter().for_each(|uid| inner.pod_gone(uid, now));
                pods.into_iter().for_each(|pod| inner.known.pod(pod, now.up));
            }
            News::Here(pod) => inner.known.pod(pod, now.up),
            News::Gone(pod) => inner.pod_gone(&pod.uid, now),
            News::Trouble(_) => {}
        });
    }

    pub(super) fn daemon_sets(&self, namespace: &str, news: News<DaemonSet>) {
        self.news_of(&ApiPart::DaemonSets(namespace.to_owned()), news, |inner, _, news| match news {
            News::All(sets) => {
                inner.known.daemon_set_uids(namespace).iter().for_each(|uid| inner.known.daemon_set_gone(uid));
                sets.into_iter().for_each(|set| inner.known.daemon_set(set));
            }
            News::Here(set) => inner.known.daemon_set(set),
            News::Gone(set) => inner.known.daemon_set_gone(&set.uid),
            News::Trouble(_) => {}
        });
    }

    pub(super) fn services(&self, namespace: &str, news: News<Service>) {
        self.news_of(&ApiPart::Services(namespace.to_owned()), news, |inner, _, news| match news {
            News::All(services) => {
                inner.known.service_names(namespace).iter().for_each(|name| inner.known.service_gone(namespace, name));
                services.into_iter().for_each(|service| inner.known.service(service));
            }
            News::Here(service) => inner.known.service(service),
            News::Gone(service) => inner.known.service_gone(namespace, &service.name),
            News::Trouble(_) => {}
        });
    }

    pub(super) fn api_endpoints(&self, news: News<(String, BTreeSet<SocketAddr>)>) {
        self.news_of(&ApiPart::EndpointSlices, news, |inner, now, news| {
            match news {
                News::All(slices) => inner.slices = slices.into_iter().collect(),
                News::Here((name, addresses)) => drop(inner.slices.insert(name, addresses)),
                News::Gone((name, _)) => drop(inner.slices.remove(&name)),
                News::Trouble(_) => {}
            }
            let addresses: BTreeSet<SocketAddr> = inner.slices.values().flatten().copied().collect();
            // An API without an endpoint would not have told us so: that is a moment between two slices.
            if !addresses.is_empty() && inner.known.endpoints(&addresses, now.up) {
                tracing::info!("the API is at {}", addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", "));
                self.endpoints_changed.notify_one();
            }
        });
    }

    /// The addresses of the API.
    pub(super) fn endpoints(&self) -> BTreeSet<SocketAddr> {
        self.inner().known.endpoint_addresses().collect()
    }

    /// The Events of a namespace that say they are ours. The first time, incidents are rebuilt from them.
    pub(super) fn own_events(&self, namespace: &str, news: News<OwnEvent>) {
        self.news_of(&ApiPart::Events(namespace.to_owned()), news, |inner, now, news| match news {
            News::All(events) => {
                inner.ledger.listed(namespace, &events, now.up);
                let is_first = inner.rebuilt.insert(namespace.to_owned());
                inner.learn_from(&events, is_first, now);
            }
            News::Here(event) => {
                inner.ledger.seen(&event, now.up);
                inner.learn_from(std::slice::from_ref(&event), false, now);
            }
            News::Gone(event) => inner.ledger.gone(namespace, &event.name),
            News::Trouble(_) => {}
        });
    }

    /// How long nobody led before this process began, as the Lease says.
    pub(super) fn nobody_led_for(&self, unled: Duration) {
        let mut inner = self.inner();
        inner.incidents.nobody_told_for(unled);
        inner.pending.remove(&ApiPart::Lease);
        drop(inner);
        self.pods.notify_one();
    }

    // What the agents say.

    /// How long an agent may wait for news before it answers all the same: so that an answer is never stale.
    pub(super) fn wait(&self) -> Duration {
        (self.inner().known.rules.stale / names::STALE_INTERVALS).min(names::WAIT)
    }

    /// Waits until the pods that are to be asked may be others.
    pub(super) async fn pods_changed(&self) {
        self.pods.notified().await;
    }

    /// The pods that are to be asked; none before it is known, or known that it will not be, what was told of incidents before.
    pub(super) fn to_ask(&self) -> Vec<Pod> {
        let mut inner = self.inner();
        let now = self.now().up;
        if [ApiPart::node_events(), ApiPart::Lease].iter().any(|what| inner.must_wait_for(what, now)) {
            return Vec::new();
        }
        let pods: Vec<Pod> = inner.known.to_ask().cloned().collect();
        inner.asked = pods.iter().map(|pod| (pod.uid.clone(), pod.role)).collect();
        pods
    }

    /// An agent's report. False when its node is not known yet: then it is to be asked again soon.
    pub(super) fn heard(&self, uid: &str, mut heard: Heard) -> bool {
        let now = self.now();
        let mut inner = self.inner();
        let inner = &mut *inner;
        // A pod that is gone may run on for a while; what it says then would be taken back by nobody.
        let seen = inner.known.one(uid).filter(|seen| seen.gone.is_none());
        let Some(place) = seen.and_then(|seen| fleet::place_of(&inner.known, &seen.pod)) else { return false };
        let reached = inner.known.reached_on(&place.node, now.up);
        let unconfirmed = inner.incidents.unconfirmed_since(&place);
        let is_complete = unconfirmed.is_none_or(|since| inner.known.others_were_heard(&place, uid, since, now.up));
        let input = ReportInput { place: &place, pod: uid, heard: &heard, is_complete, now: now.up };
        let changes = inner.incidents.hear(&input, |target| inner.known.assess(target, &reached, now.up));
        inner.counts.reports.entry(Role::Agent.as_str()).or_default().0 += 1;
        inner.heard = true;
        heard.targets.iter_mut().for_each(|target| target.recent = Vec::new());
        inner.known.said(uid, Saying::Agent(heard), now.up);
        if !changes.is_empty() {
            self.tell(inner, now, changes);
            self.news.notify_one();
        }
        true
    }

    /// A witness's report.
    pub(super) fn witnessed(&self, uid: &str, witnessed: Witnessed) {
        let now = self.now();
        let mut inner = self.inner();
        inner.counts.reports.entry(Role::Witness.as_str()).or_default().0 += 1;
        inner.known.said(uid, Saying::Witness(witnessed), now.up);
    }

    /// An agent or witness did not answer, or not so that it can be understood.
    pub(super) fn contact(&self, uid: &str, role: Role, contact: Contact) {
        let mut inner = self.inner();
        if let Contact::Refused(_) = &contact {
            inner.counts.reports.entry(role.as_str()).or_default().1 += 1;
        }
        inner.known.contact(uid, contact);
    }

    // What is written.

    /// Waits until there may be something to write.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// What to write next, if it is ours to write; what was refused before only where `retries` says so.
    pub(super) fn next(&self, retries: bool) -> Option<Act> {
        let now = self.now();
        let mut inner = self.inner();
        let inner = &mut *inner;
        if !inner.elector.leads(now.up) || inner.must_wait_for(&ApiPart::node_events(), now.up) {
            return None;
        }
        // How many nodes are very many is a share of all of them.
        if inner.fleet.rows.is_empty() {
            return None;
        }
        let wanted = notice::wanted(&inner.fleet, &inner.incidents, &inner.lasting, &inner.known.rules, now.up);
        let fleet = &inner.fleet;
        let act = inner.ledger.next(&wanted, &inner.known, |guard| notice::judged_nodes(fleet, guard), (now, retries))?;
        inner.ledger.being_written(act.notice(), now.up);
        Some(act)
    }

    /// How long the writer of Events may rest before it looks again: briefly while news wait for others of their kind.
    pub(super) fn look_again_within(&self) -> Duration {
        if self.inner().ledger.is_gathering() { names::GATHERING_PAUSE } else { names::SETTLE }
    }

    /// It was written.
    pub(super) fn written(&self, act: &Act) {
        let now = self.now();
        let mut inner = self.inner();
        let notice = act.notice();
        *inner.counts.posted.entry(notice.reason.as_str()).or_default() += 1;
        inner.ledger.written(act, now.up);
    }

    /// It was there already.
    pub(super) fn found(&self, event: &OwnEvent) {
        let now = self.now();
        self.inner().ledger.found(event, now.up);
    }

    /// It could not be.
    pub(super) fn not_written(&self, act: &Act, trouble: &Trouble) {
        let now = self.now().up;
        let mut inner = self.inner();
        let inner = &mut *inner;
        let notice = act.notice();
        *inner.counts.failed.entry(notice.reason.as_str()).or_default() += 1;
        match trouble {
            Trouble::Missing if matches!(act, Act::Renew { .. }) => inner.ledger.gone(notice.namespace(), &notice.name),
            Trouble::Conflict if matches!(act, Act::Post(_)) => {
                inner.counts.names_taken += 1;
                inner.ledger.taken(notice, now);
            }
            // A webhook may refuse one Event and no other, and a namespace may be gone.
            Trouble::Forbidden(_) | Trouble::Missing | Trouble::Invalid(_) | Trouble::Conflict => {
                inner.ledger.refused(notice, Refusal::ThisOne, now);
            }
            Trouble::Busy(seconds) => {
                inner.ledger.refused(notice, Refusal::ForNow(Duration::from_secs((*seconds).into())), now);
            }
            Trouble::Unauthenticated(_) | Trouble::Unreachable(_) | Trouble::Failed(_) => {
                inner.ledger.refused(notice, Refusal::ForNow(Duration::ZERO), now);
            }
        }
    }

    /// Something that is done at the API now and then works, or does not.
    pub(super) fn works(&self, what: &ApiPart, trouble: Option<Trouble>) {
        let now = self.now();
        self.inner().fails(what, trouble, now);
    }

    /// Decides on the Lease.
    pub(super) fn elect<T>(&self, decide: impl FnOnce(&mut Elector, Duration) -> T) -> T {
        let now = self.now().up;
        let mut inner = self.inner();
        let decided = decide(&mut inner.elector, now);
        let leads = inner.elector.leads(now);
        if std::mem::replace(&mut inner.led, leads) != leads {
            tracing::info!(reporter = self.me, "{}", if leads { "leads: writes Events from now on" } else { "leads no longer" });
            self.news.notify_one();
            self.endpoints_changed.notify_one();
        }
        decided
    }

    pub(super) fn leads(&self) -> bool {
        self.inner().elector.leads(self.now().up)
    }

    // What is so by the passing of time.

    /// Looks at the whole fleet.
    pub(super) fn tick(&self) {
        let now = self.now();
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.known.tick(now.up);
        inner.fleet = inner.look(now);
        (inner.changed, inner.looked) = (false, now.up);
        let changes = inner.lasting.look(&inner.fleet, now);
        inner.lasting.date(&mut inner.fleet);
        self.tell(inner, now, changes);
        inner.ledger.forget(now.up); // also on a replica that writes nothing
        let ledger = &inner.ledger;
        inner.incidents.forget(now.up, |tracked, transient| ledger.is_told(tracked, transient, now.up));
        let known = &inner.known;
        inner.incidents.forget_places(|place| known.node_uid(&place.node) != Some(&place.node_uid));
        inner.note_held_up(now);
        inner.forget_trouble(now);
        inner.lines.retain(|_, lines| lines.fill(names::NODE_LINES, 1.0, now.up) < names::NODE_LINES);
        let count = inner.lines_suppressed - std::mem::replace(&mut inner.lines_suppressed_told, inner.lines_suppressed);
        if count > 0 {
            tracing::warn!(
                count,
                "lines were not written: one node has more than {} to tell, and one a second",
                names::NODE_LINES
            );
        }
        inner.tell_warnings();
    }

    /// Writes a line for each change, and counts.
    fn tell(&self, inner: &mut Inner, now: Moment, changes: Vec<Change>) {
        let leader = inner.elector.leads(now.up);
        inner.changed |= !changes.is_empty();
        for change in changes {
            inner.count(&change);
            let (schema, reporter) = (names::INCIDENT_SCHEMA.to_owned(), self.me.clone());
            let node = match &change.what {
                Changed::Incident { incident } => &incident.place.node,
                Changed::Coverage { node, .. } => node,
            };
            if !inner.may_tell(node, now) {
                continue;
            }
            self.output.line(&FleetLine { schema, time: now.wall, reporter, leader, change });
        }
    }

    // What is answered.

    /// The page for Prometheus.
    pub(super) fn metrics(&self) -> String {
        let now = self.now();
        let mut inner = self.inner();
        inner.refresh(now);
        let (inner, fleet) = (&*inner, &inner.fleet);
        let trouble = inner.trouble.iter().map(|(what, trouble)| (what.to_string(), trouble.is_some())).collect();
        // Of a cluster that is not known yet "no node is uncovered" would be true, and wrong.
        let known = inner.pendings().is_empty();
        fleet_metrics::page(&FleetState {
            fleet,
            guards: inner.known.guards.iter().filter(|_| known).map(|guard| &guard.name).collect(),
            ended: inner.incidents.just_ended(now.up),
            counts: &inner.counts,
            waiting: inner.ledger.waiting(),
            events_suppressed: inner.incidents.suppressed(),
            lines_suppressed: inner.lines_suppressed,
            lines_lost: self.output.lost(),
            held_up: inner.held_up,
            leader: inner.elector.leads(now.up),
            asked: inner.asking(),
            trouble,
            endpoints: inner.known.endpoint_addresses().count(),
        })
    }

    /// A page of the fleet, as JSON.
    pub(super) fn fleet(&self, page: &Page) -> String {
        let now = self.now();
        let mut inner = self.inner();
        inner.refresh(now);
        let looked = now.up.saturating_sub(inner.looked);
        let view =
            View { time: now.wall, reporter: &self.me, leader: inner.elector.leads(now.up), pending: inner.pendings(), looked };
        shown::page(&inner.fleet, view, page)
    }

    /// A page for people, made of the fleet now by `make`.
    pub(super) fn page<T>(&self, make: impl FnOnce(&Fleet, &Teller<'_>) -> T) -> T {
        let now = self.now();
        let mut inner = self.inner();
        inner.refresh(now);
        let pending = inner.pendings();
        let teller = Teller { now: now.wall, reporter: &self.me, leader: inner.elector.leads(now.up), pending: &pending };
        make(&inner.fleet, &teller)
    }

    /// The agent whose report counts for a node: its name, and where it is.
    pub(super) fn agent_of(&self, guard: &GuardName, node: &str) -> Option<(String, IpAddr)> {
        let inner = self.inner();
        let row = inner.fleet.rows.iter().find(|row| row.guard == *guard && row.node == node)?;
        let pod = row.pod.as_ref()?;
        let asked = inner.asked.contains_key(&pod.uid); // another pod may have its address
        let seen = inner.known.one(&pod.uid).filter(|seen| seen.gone.is_none() && asked)?;
        Some((pod.name.clone(), seen.pod.ip?))
    }

    /// Whether it works.
    ///
    /// # Errors
    /// It has not looked at the fleet for long.
    pub(super) fn alive(&self) -> Result<(), String> {
        let late = self.now().up.saturating_sub(self.inner().ticked);
        if late < names::REPORTER_HANGS { Ok(()) } else { Err(format!("has not looked at the fleet for {} s", late.as_secs())) }
    }

    /// Whether it knows the cluster. Once it does it stays so, whatever becomes of the API server.
    ///
    /// # Errors
    /// What is pending.
    pub(super) fn ready(&self) -> Result<(), String> {
        let pending = self.inner().pendings();
        if pending.is_empty() { Ok(()) } else { Err(format!("pending: {}", pending.join("; "))) }
    }

    /// What the wall clock says.
    pub(super) fn wall(&self) -> Timestamp {
        self.now().wall
    }
}

impl Inner {
    /// The fleet now. While lists are pending what is missing may be on its way, and is no fault of the set-up.
    fn look(&self, now: Moment) -> Fleet {
        let mut fleet = fleet::fleet(&self.known, &self.incidents, now);
        if !self.pendings().is_empty() {
            fleet.warnings.clear();
        }
        fleet
    }

    /// Looks at the fleet anew where an incident changed since; what changes otherwise may be as old as a tick.
    fn refresh(&mut self, now: Moment) {
        if self.changed && now.up.saturating_sub(self.looked) >= names::FLEET_FRESH {
            self.fleet = self.look(now);
            self.lasting.date(&mut self.fleet);
            (self.changed, self.looked) = (false, now.up);
        }
    }

    /// Counts incidents that begin, and those that end by how they did.
    fn count(&mut self, change: &Change) {
        let Changed::Incident { incident } = &change.what else { return };
        let key = (incident.place.guard.clone(), incident.place.target.clone());
        if self.counts.incidents.len() >= SERIES_MAX && !self.counts.incidents.contains_key(&key) {
            return;
        }
        let count = self.counts.incidents.entry(key).or_default();
        match (change.event, incident.end) {
            (Happening::Opened, _) => count.begun += 1,
            (Happening::Closed, Some(end)) => *count.ended.entry(end.how).or_default() += 1,
            _ => {}
        }
    }

    fn pod_gone(&mut self, uid: &str, now: Moment) {
        if let Some(place) = self.known.one(uid).and_then(|seen| fleet::place_of(&self.known, &seen.pod)) {
            self.incidents.pod_gone(&place, uid);
        }
        self.known.pod_gone(uid, now.up);
    }

    /// True while nothing can be asked yet because of that: at most for a while, and not where it will never be allowed.
    fn must_wait_for(&self, what: &ApiPart, now: Duration) -> bool {
        let forbidden = matches!(self.trouble.get(what), Some(Some((Trouble::Forbidden(_), _))));
        self.pending.contains(what) && !forbidden && now < names::WAIT
    }

    /// Learns of incidents from Events. The first list of a namespace tells of what those before said. Whatever comes later was said by
    /// another replica, or by this one: what is known here has its name, and an open one that no agent has told this one of is taken in.
    fn learn_from(&mut self, events: &[OwnEvent], is_first_list: bool, now: Moment) {
        // Incidents are told in one namespace: whoever may write Events in a guard's has no say in them.
        let of_nodes = events.iter().filter(|event| event.namespace == names::NODE_EVENTS_NAMESPACE);
        for event in of_nodes.filter(|event| notice::is_named_for_its_incident(event)) {
            let Some(incident) = &event.record.incident else { continue };
            let node = self.known.node_uid(&incident.place.node);
            let may_be_there = self.pending.contains(&ApiPart::Nodes) || node == Some(&incident.place.node_uid);
            if !may_be_there || !self.known.looks_after(&incident.place.guard) {
                continue;
            }
            let is_new_to_us = if event.reason.is_transient() {
                is_first_list
            } else if is_first_list {
                !(self.heard && self.incidents.adopt(event, now.up))
            } else {
                !self.incidents.adopt(event, now.up) && incident.is_open() && !self.ledger.tells_the_end_of(incident)
            };
            if is_new_to_us {
                self.incidents.rebuild(event, now.up);
            }
        }
    }

    /// Notes that something fails, or does not, and says so once.
    fn fails(&mut self, what: &ApiPart, trouble: Option<Trouble>, now: Moment) {
        let before = self.trouble.insert(what.clone(), trouble.clone().map(|trouble| (trouble, now.up))).flatten();
        match (before, trouble) {
            (before, Some(trouble)) => {
                let kind = std::mem::discriminant(&trouble);
                if before.is_none_or(|(before, _)| std::mem::discriminant(&before) != kind) {
                    tracing::warn!(%what, "{trouble}{}", advice(&trouble));
                }
            }
            (Some(_), None) => tracing::info!(%what, "works again"),
            (None, None) => {}
        }
    }

    /// A watch that goes on says nothing while nothing changes: what has not failed again for long works.
    fn forget_trouble(&mut self, now: Moment) {
        let old = |at: &Duration| now.up.saturating_sub(*at) > names::TROUBLE_KEPT;
        let over: Vec<ApiPart> = self
            .trouble
            .iter()
            .filter(|(_, trouble)| trouble.as_ref().is_some_and(|(_, at)| old(at)))
            .map(|(what, _)| what.clone())
            .collect();
        over.iter().for_each(|what| self.fails(what, None, now));
    }

    /// Whether one more line about that node may be written: what one agent invents must not push out what others have to say.
    fn may_tell(&mut self, node: &str, now: Moment) -> bool {
        let lines = self.lines.entry(node.to_owned()).or_default();
        lines.fill(names::NODE_LINES, 1.0, now.up);
        let may = lines.take();
        self.lines_suppressed += u64::from(!may);
        may
    }

    /// Says when this process did not run for a while: what it read after that may be older than it looks, by as much at most.
    fn note_held_up(&mut self, now: Moment) {
        let late = now.up.saturating_sub(std::mem::replace(&mut self.ticked, now.up)).saturating_sub(names::FLEET_PERIOD);
        if late >= names::HELD_UP {
            self.held_up += late;
            tracing::warn!(
                "did not run for {:.1} s: is the CPU limit too low? Reports that were read late count as older",
                late.as_secs_f64()
            );
        }
    }

    fn pendings(&self) -> Vec<String> {
        let why = |what: &ApiPart| match self.trouble.get(what).and_then(Option::as_ref) {
            Some((trouble, _)) => format!("{what} ({trouble})"),
            None => what.to_string(),
        };
        // Without its Events it cannot know what was told, but it can say how the fleet is.
        self.pending.iter().filter(|what| !what.is_before_asking()).map(why).collect()
    }

    fn asking(&self) -> BTreeMap<&'static str, (usize, usize)> {
        let mut asking = BTreeMap::from([Role::Agent, Role::Witness].map(|role| (role.as_str(), (0, 0))));
        for (uid, role) in &self.asked {
            let Some(seen) = self.known.one(uid) else { continue };
            let counts = asking.entry(role.as_str()).or_default();
            counts.0 += 1;
            counts.1 += usize::from(seen.contact == Contact::Answered);
        }
        asking
    }

    fn tell_warnings(&mut self) {
        let same = |one: &Warned, other: &Warned| (&one.guard, one.warning) == (&other.guard, other.warning);
        for warned in self.fleet.warnings.iter().filter(|warned| !self.warned.iter().any(|known| same(known, warned))) {
            let (guard, warning) = (warned.guard.to_string(), warned.warning.as_str());
            tracing::warn!(guard, warning, count = warned.count, "{}", warned.examples.join(", "));
        }
        self.warned.clone_from(&self.fleet.warnings);
    }
}

fn advice(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Forbidden(_) => {
            "; the permissions that a reporter needs are those of the chart (rbac.yaml); it goes on with the rest"
        }
        Trouble::Unauthenticated(_) => "; is the token expired, or its ServiceAccount gone? Agents are asked all the same",
        Trouble::Missing => {
            "; the Lease and the ConfigMaps for the endpoints file are made by the chart, and by deploy/kustomize"
        }
        Trouble::Unreachable(_) | Trouble::Failed(_) | Trouble::Busy(_) => "; agents are asked all the same",
        _ => "",
    }
}
