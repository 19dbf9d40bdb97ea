//! From openings to incidents: what agents saw in one process each becomes one story for each guard, node and target.
//!
//! | rule | when | then |
//! | --- | --- | --- |
//! | open | an opening that no incident knows | an incident begins, named after that opening |
//! | join | an opening while the incident is open, also of a new boot | it is the same incident |
//! | reopen | an opening within 10 minutes of the end | the incident goes on |
//! | close | the last live opening closed | it ended when that did |
//! | close | no agent has it open, and one did not reach it in two rounds ([`closing`]) | it ended when the first of them began |
//! | close | the node is gone; nobody probes that target there | it ended with the last connection that is known |
//! | told late | an opening that came and went while nobody asked | opened and closed at once |
//! | starting | three boots in a row ended in `starting`, and could reach the target | an incident begins with the first of them |
//!
//! An end is `blocked` when it is proved well enough ([`Assessment`]), else `not_reachable`.
//!
//! Times of one place come from one node's clock and are compared with each other only. What this process has lived through it measures with
//! its own monotonic clock.
use super::closing::{self, ListedAddress, Streak};
use crate::model::finding::{Attribution, Doubt, Reason, Verdict};
use crate::model::heard::{Heading, Heard, HeardTarget};
use crate::model::incident::{Change, Changed, DOORS_MAX, Door, End, Ending, Happening, Incident, Place};
use crate::model::names;
use crate::model::notice::{NoticeReason, OwnEvent};
use crate::model::observation::{Evidence, Layer, Source};
use crate::model::report::{ClosedOpening, Opening};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How many closed openings of one place are remembered as dealt with: those that two agents list, twice.
const KNOWN_MAX: usize = 4 * names::RECENT_MAX + 1;
/// How many closed incidents, and how many transient openings, of one place wait until they are told.
const PAST_MAX: usize = names::RECENT_MAX;
/// How many targets of one guard and node are looked after: those of a configuration, and as many that a change of it has left behind.
const TARGETS_MAX: usize = 2 * names::TARGETS_MAX;

/// All incidents that matter now: open ones, and closed ones that may be reopened or are yet to be told.
#[derive(Debug, Clone, Default)]
pub struct Incidents {
    histories: BTreeMap<Place, IncidentHistory>,
    /// Closed openings older than this, when this process began, were told by those who came before.
    before: Duration,
    /// Events that are not written for good, by reason: of transient openings that follow one of which there is an Event, and of what was
    /// over for so long that nobody would look for it.
    suppressed: BTreeMap<NoticeReason, u64>,
}

/// What happened at one place.
#[derive(Debug, Clone, Default)]
struct IncidentHistory {
    current: Option<Tracked>,
    past: VecDeque<Tracked>,
    /// The first transient opening of each ten minutes; its `closed` names all of them.
    transients: VecDeque<Tracked>,
    /// The closed openings that were dealt with.
    known: VecDeque<String>,
    boots: BTreeMap<String, Boot>,
    /// Boots in a row that ended in `starting` with exposure, and when the first of them began.
    exposed: Option<(u32, Timestamp)>,
    /// Incidents that are over and were told by those who came before, as their Events say.
    before: VecDeque<Incident>,
}

/// The newest boot of a pod.
#[derive(Debug, Clone, PartialEq)]
struct Boot {
    id: String,
    began: Timestamp,
    /// True while all that it said was `starting`, and that it could reach the target.
    exposed: bool,
}

/// An incident, and what this process knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracked {
    /// The incident.
    pub incident: Incident,
    /// When this process learnt of it.
    pub learnt: Duration,
    /// When this process learnt of its end.
    pub ended: Option<Duration>,
    /// The ids of the openings that it joins, the newest few.
    pub openings: VecDeque<String>,
    /// The ids of those that are closed, the newest few; of a transient opening those of all within its ten minutes.
    pub closed: VecDeque<String>,
    /// Whether it heard of that end from an agent, and did not read of it in an Event.
    heard_end: bool,
    /// Whether an agent told this process of it: else only an Event does, which somebody may have planted.
    confirmed: bool,
    /// The openings that go on, each with the UID of its pod.
    live: BTreeMap<String, String>,
}

/// A report, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// Guard, node and node UID as the Pod object says; its target is empty.
    pub place: &'a Place,
    /// The UID of the pod.
    pub pod: &'a str,
    /// What it said.
    pub heard: &'a Heard,
    /// True when it is known what every other agent of that guard on that node has open, or it is too late to wait for that.
    pub is_complete: bool,
    /// How long this process has run.
    pub now: Duration,
}

/// How well it is proved that a target is blocked, and what is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Assessment {
    /// The attribution of the newest round, with what the witness adds, where that is accepted as blocked.
    pub blocked: Option<Attribution>,
    /// The least attribution that is accepted of the round that closed an opening; `None` where none is.
    pub least: Option<Attribution>,
}

impl Assessment {
    /// Returns how an opening ended whose closing round had that attribution.
    fn ending(self, closing: Option<Attribution>) -> (Ending, Option<Attribution>) {
        let accepted = closing.filter(|closing| self.least.is_some_and(|least| *closing >= least));
        match self.blocked.max(accepted) {
            Some(attribution) => (Ending::Blocked, Some(attribution)),
            None => (Ending::NotReachable, None),
        }
    }
}

/// The meaning of a closed opening for the incidents of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClosedKind {
    /// It was dealt with: nothing is to be done.
    Known,
    /// It is a single connection between rounds.
    Transient,
    /// It is part of an incident that is over.
    Belongs,
    /// It was over before the incident that is open began: an incident of its own, told late.
    Late,
    /// It is part of the incident that is open.
    Current,
    /// It begins an incident, or reopens the last one.
    New,
    /// It closed so long ago that those who came before have told it.
    ToldBefore,
}

/// Returns what a closed opening is. `known`: it was dealt with; `ours`: it closed while this process lived, or while nobody did; `before`:
/// the incidents that were over when this process began.
fn closed_kind(
    closed: &ClosedOpening,
    known: bool,
    ours: bool,
    current: Option<&Incident>,
    before: &VecDeque<Incident>,
) -> ClosedKind {
    if known {
        return ClosedKind::Known;
    }
    if closed.transient {
        return if ours { ClosedKind::Transient } else { ClosedKind::ToldBefore };
    }
    match current {
        Some(current) if is_before(current, closed) && ours => ClosedKind::Late,
        Some(current) if is_before(current, closed) => ClosedKind::ToldBefore,
        Some(current) if current.is_open() => ClosedKind::Current,
        Some(current) if belongs_to(current, closed) => ClosedKind::Belongs,
        _ if before.iter().any(|incident| belongs_to(incident, closed)) => ClosedKind::Belongs,
        _ if ours => ClosedKind::New,
        _ => ClosedKind::ToldBefore,
    }
}

impl Incidents {
    /// None yet. `unled`: for how long, as far as is known, nobody has told of incidents before this process began.
    pub fn new(unled: Duration) -> Self {
        Incidents { before: unled.max(names::EVENTS_KEPT), ..Incidents::default() }
    }

    /// Nobody told of incidents for so long before this process began.
    pub fn nobody_told_for(&mut self, unled: Duration) {
        self.before = unled.max(names::EVENTS_KEPT);
    }

    /// Takes in an Event of ours that tells of an incident or a transient opening which this process has not heard of: it is from before
    /// this process began, or an agent said so to another replica only. Of each guard and node so many targets are taken in as are looked
    /// after.
    pub fn rebuild(&mut self, event: &OwnEvent, now: Duration) {
        let Some(incident) = event.record.incident.clone() else { return };
        let beside = Place { target: String::new(), ..incident.place.clone() };
        if !self.histories.contains_key(&incident.place) && self.beside(&beside).count() >= TARGETS_MAX {
            return;
        }
        let history = self.histories.entry(incident.place.clone()).or_default();
        event.record.closed.iter().for_each(|id| history.remember(id));
        let tracked = Tracked {
            ended: incident.end.map(|_| now),
            incident,
            learnt: now,
            openings: event.record.openings.iter().cloned().collect(),
            closed: event.record.closed.iter().cloned().collect(),
            heard_end: false,
            confirmed: false,
            live: BTreeMap::new(),
        };
        if event.reason.is_transient() {
            history.rebuild_transient(tracked);
        } else {
            history.rebuild(tracked);
        }
    }

    /// Takes in an Event of another replica. Where the incident began earlier than what is open here, it is the same one and has its name;
    /// where it is over here as well, it ended as the Event says: so that both name it alike. Where it was reopened there, it is here. True
    /// when an incident is known here.
    pub fn adopt(&mut self, event: &OwnEvent, now: Duration) -> bool {
        let Some(incident) = &event.record.incident else { return false };
        let Some(history) = self.histories.get_mut(&incident.place) else { return false };
        let mut all = history.past.iter_mut().chain(&mut history.current);
        let same = all.find(|tracked| tracked.incident.id == incident.id && !tracked.incident.is_open());
        if let Some(same) = same.filter(|same| incident.reopened == same.incident.reopened && incident.end.is_some()) {
            same.incident.end = incident.end;
        }
        let Some(current) = history.current.as_mut() else { return false };
        if current.incident.is_open() && incident.is_open() && incident.started <= current.incident.started {
            current.incident.id.clone_from(&incident.id);
            current.incident.started = incident.started;
        }
        let is_same = current.incident.id == incident.id && incident.reopened > current.incident.reopened;
        if is_same && !current.incident.is_open() && incident.is_open() {
            (current.incident.end, current.ended, current.incident.reopened) = (None, None, incident.reopened);
            (current.heard_end, current.confirmed, current.learnt) = (false, false, now);
        }
        true
    }

    /// Takes in a report. `assess` says how well it is proved that a target of it is blocked.
    pub fn hear(&mut self, input: &ReportInput<'_>, assess: impl Fn(&HeardTarget) -> Assessment) -> Vec<Change> {
        let mut changes = Vec::new();
        self.make_room(input);
        for target in &input.heard.targets {
            let place = Place { target: target.name.clone(), ..input.place.clone() };
            let history = self.histories.entry(place.clone()).or_default();
            let target_input = TargetInput {
                place,
                pod: input.pod,
                heading: &input.heard.heading,
                target,
                assessment: assess(target),
                is_complete: input.is_complete,
                now: input.now,
                before: self.before,
            };
            let suppressed = history.hear(&target_input, &mut changes);
            self.suppress(NoticeReason::EgressOpenedBriefly, suppressed);
        }
        self.nobody_probes(input, &mut changes);
        changes
    }

    /// Lets go of targets that the report does not name, those with nothing open first, where with those that it names there would be too
    /// many: whatever was said before, by Events or by other agents, a report is heard.
    fn make_room(&mut self, input: &ReportInput<'_>) {
        if self.beside(input.place).count() + input.heard.targets.len() <= TARGETS_MAX {
            return;
        }
        let named: BTreeSet<&str> = input.heard.targets.iter().map(|target| target.name.as_str()).collect();
        let is_open = |history: &IncidentHistory| history.current.as_ref().is_some_and(|current| current.incident.is_open());
        let others = self.beside(input.place).filter(|(place, _)| !named.contains(place.target.as_str()));
        let mut others: Vec<(bool, Place)> = others.map(|(place, history)| (is_open(history), place.clone())).collect();
        others.sort();
        let too_many = (others.len() + named.len()).saturating_sub(TARGETS_MAX);
        for (_, place) in others.into_iter().take(too_many) {
            let was_open = self.histories.get(&place).is_some_and(is_open);
            self.histories.remove(&place);
            self.suppress(NoticeReason::EgressBreached, u64::from(was_open));
        }
    }

    fn suppress(&mut self, reason: NoticeReason, count: u64) {
        if count > 0 {
            *self.suppressed.entry(reason).or_default() += count;
        }
    }

    /// The number of Events that are not written for good, by reason.
    pub fn suppressed(&self) -> &BTreeMap<NoticeReason, u64> {
        &self.suppressed
    }

    /// The histories of a guard and node; the target of `place` is empty, so that it comes before all of them.
    fn beside<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = (&'a Place, &'a IncidentHistory)> {
        self.histories.range(place.clone()..).take_while(|(other, _)| other.is_beside(place))
    }

    /// The same, to be changed.
    fn beside_mut<'a>(&'a mut self, place: &'a Place) -> impl Iterator<Item = (&'a Place, &'a mut IncidentHistory)> {
        self.histories.range_mut(place.clone()..).take_while(|(other, _)| other.is_beside(place))
    }

    /// Incidents of this node and guard whose target the report does not name.
    fn nobody_probes(&mut self, input: &ReportInput<'_>, changes: &mut Vec<Change>) {
        let named: BTreeSet<&str> = input.heard.targets.iter().map(|target| target.name.as_str()).collect();
        for (place, history) in self.beside_mut(input.place) {
            if !named.contains(place.target.as_str()) {
                history.forget_pod(input.pod);
                if input.is_complete {
                    history.close_without_proof(Ending::TargetGone, input.now, changes);
                }
            }
        }
        let empty = self
            .beside(input.place)
            .filter(|(place, history)| !named.contains(place.target.as_str()) && !history.has_more_to_tell());
        let empty: Vec<Place> = empty.map(|(place, _)| place.clone()).collect();
        empty.iter().for_each(|place| drop(self.histories.remove(place)));
    }

    /// A pod of that guard and node is gone: what it had open is nobody's now, until another boot says how it is. The place's target is empty.
    pub fn pod_gone(&mut self, place: &Place, pod: &str) {
        self.beside_mut(place).for_each(|(_, history)| history.forget_pod(pod));
    }

    /// A node is gone.
    pub fn node_gone(&mut self, node_uid: &str, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        for (place, history) in &mut self.histories {
            if place.node_uid == node_uid {
                history.current.iter_mut().for_each(|current| current.live.clear());
                history.close_without_proof(Ending::NodeGone, now, &mut changes);
            }
        }
        changes
    }

    /// The UIDs of all nodes that something is known of.
    pub fn node_uids(&self) -> BTreeSet<String> {
        self.histories.keys().map(|place| place.node_uid.clone()).collect()
    }

    /// The incident of a place that is open.
    pub fn open_at(&self, place: &Place) -> Option<&Incident> {
        let current = self.histories.get(place)?.current.as_ref()?;
        Some(&current.incident).filter(|incident| incident.is_open())
    }

    /// The open incidents beside a place, whose target is left empty: of its guard and node.
    pub fn open_beside<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Incident> {
        self.last_beside(place).filter(|incident| incident.is_open())
    }

    /// When this process learnt of the newest open incident beside a place, whose target is left empty, that no agent has told it of.
    pub fn unconfirmed_since(&self, place: &Place) -> Option<Duration> {
        let current = self.beside(place).filter_map(|(_, history)| history.current.as_ref());
        current.filter(|current| current.incident.is_open() && !current.confirmed).map(|current| current.learnt).max()
    }

    /// The incidents beside a place, whose target is left empty, that were the last there and whose end proved nothing.
    pub fn not_reachable_beside<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Incident> {
        self.last_beside(place).filter(|incident| incident.end.is_some_and(|end| end.how == Ending::NotReachable))
    }

    /// The last incident of each target beside a place, whose target is left empty.
    fn last_beside<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Incident> {
        self.beside(place).filter_map(|(_, history)| history.current.as_ref()).map(|current| &current.incident)
    }

    /// What agents said lately to be over, one for each place: so that a breach between two looks at the metrics is not lost to them.
    pub fn just_ended(&self, now: Duration) -> BTreeMap<&Place, Timestamp> {
        let lately = |tracked: &&Tracked| {
            tracked.heard_end && tracked.ended.is_some_and(|ended| now.saturating_sub(ended) <= names::ENDED_SHOWN)
        };
        let all = self.all().filter(|(_, transient)| !transient).map(|(tracked, _)| tracked).filter(lately);
        let mut ends: BTreeMap<&Place, Timestamp> = BTreeMap::new();
        let ended = all.filter_map(|tracked| Some((&tracked.incident.place, tracked.incident.end?)));
        for (place, end) in ended.filter(|(_, end)| end.how.is_by_probing()) {
            ends.entry(place).and_modify(|known| *known = end.at.max(*known)).or_insert(end.at);
        }
        ends
    }

    /// All that is to be told, open or over, each with whether it is a transient opening.
    pub fn all(&self) -> impl Iterator<Item = (&Tracked, bool)> {
        self.histories.values().flat_map(|history| {
            let incidents = history.past.iter().chain(&history.current).map(|tracked| (tracked, false));
            incidents.chain(history.transients.iter().map(|tracked| (tracked, true)))
        })
    }

    /// Lets go of what is over for good and was told, and of what has been over for so long that its Event would be gone by now. `told` says
    /// so of an incident or, when its second argument is true, of a transient opening.
    pub fn forget(&mut self, now: Duration, told: impl Fn(&Tracked, bool) -> bool) {
        let (mut incidents, mut transients) = (0, 0);
        for history in self.histories.values_mut() {
            let keep = |tracked: &Tracked, transient: bool, given_up: &mut u64| {
                let old = tracked.is_old(now);
                *given_up += u64::from(old && !told(tracked, transient));
                !(old || tracked.is_final(now) && told(tracked, transient))
            };
            history.past.retain(|tracked| keep(tracked, false, &mut incidents));
            history.transients.retain(|tracked| keep(tracked, true, &mut transients));
            history.current.take_if(|tracked| !keep(tracked, false, &mut incidents));
        }
        self.suppress(NoticeReason::EgressBreached, incidents);
        self.suppress(NoticeReason::EgressOpenedBriefly, transients);
    }

    /// Lets go of places that no node and no guard has any more; what is still to be told stays.
    pub fn forget_places(&mut self, gone: impl Fn(&Place) -> bool) {
        self.histories.retain(|place, history| history.has_more_to_tell() || !gone(place));
    }
}

impl Tracked {
    /// True when it is over and nothing can reopen it.
    pub fn is_final(&self, now: Duration) -> bool {
        self.ended.is_some_and(|ended| now.saturating_sub(ended) > names::REOPEN)
    }

    /// True when it has been over for longer than the API server keeps an Event.
    fn is_old(&self, now: Duration) -> bool {
        self.ended.is_some_and(|ended| now.saturating_sub(ended) > names::EVENTS_KEPT)
    }

    fn new(input: &TargetInput<'_>, opening: &Opening) -> Self {
        let incident = Incident {
            id: opening.id.clone(),
            place: input.place.clone(),
            started: opening.started,
            last_connected: opening.last_connected,
            layer: opening.layer,
            evidence: opening.evidence,
            doors: Vec::new(),
            openings: 0,
            reopened: 0,
            end: None,
        };
        let mut tracked = Tracked {
            incident,
            learnt: input.now,
            ended: None,
            openings: VecDeque::new(),
            closed: VecDeque::new(),
            heard_end: false,
            confirmed: true,
            live: BTreeMap::new(),
        };
        tracked.join(input, opening);
        tracked
    }

    /// Takes in an opening. True when more is known than before.
    fn join(&mut self, input: &TargetInput<'_>, opening: &Opening) -> bool {
        self.confirmed = true;
        let incident = &mut self.incident;
        let before = (incident.layer, incident.evidence, incident.doors.len(), incident.openings);
        incident.started = incident.started.min(opening.started);
        incident.last_connected = incident.last_connected.max(opening.last_connected);
        incident.layer = incident.layer.max(opening.layer);
        incident.evidence = incident.evidence.max(opening.evidence);
        if !self.openings.contains(&opening.id) {
            incident.openings += 1;
            push_bounded(&mut self.openings, opening.id.clone(), names::RECENT_MAX);
        }
        for address in &opening.addresses {
            if incident.doors.len() < DOORS_MAX && incident.doors.iter().all(|door| door.address != *address) {
                incident.doors.push(Door { address: *address, source: input.source(*address) });
            }
        }
        before != (incident.layer, incident.evidence, incident.doors.len(), incident.openings)
    }

    /// Notes that an opening of it is closed.
    fn opening_closed(&mut self, id: &str) {
        self.live.remove(id);
        push_bounded(&mut self.closed, id.to_owned(), names::RECENT_MAX);
    }

    fn close(&mut self, at: Timestamp, (how, attribution): (Ending, Option<Attribution>), now: Duration) {
        self.incident.end = Some(End { at: at.max(self.incident.started), how, attribution });
        (self.ended, self.heard_end) = (Some(now), true);
    }

    fn reopen(&mut self) {
        (self.incident.end, self.ended, self.heard_end) = (None, None, false);
        self.incident.reopened += 1;
    }

    fn change(&self, event: Happening) -> Change {
        Change { event, what: Changed::Incident { incident: self.incident.clone() } }
    }
}

/// What one report says of one target.
struct TargetInput<'a> {
    place: Place,
    pod: &'a str,
    heading: &'a Heading,
    target: &'a HeardTarget,
    assessment: Assessment,
    is_complete: bool,
    now: Duration,
    before: Duration,
}

impl TargetInput<'_> {
    fn source(&self, address: SocketAddr) -> Option<Source> {
        self.target.addresses.iter().find(|tried| tried.address == address).map(|tried| tried.source)
    }

    /// Every address of the newest round, with the rounds in a row that did not reach it.
    fn listed(&self) -> Vec<ListedAddress<Timestamp>> {
        let tried = self.target.addresses.iter().map(|tried| {
            let streak =
                tried.not_reached.map(|rounds| Streak { first: rounds.first, previous: rounds.previous, newest: rounds.newest });
            ListedAddress { address: tried.address, tried: true, streak }
        });
        let skipped = self.target.skipped.iter();
        tried.chain(skipped.map(|address| ListedAddress { address: *address, tried: false, streak: None })).collect()
    }

    /// How long ago that was, by the agent's own clock and by how old its report is.
    fn ago(&self, at: Timestamp) -> Duration {
        let until_report = Duration::try_from(self.heading.finished.duration_since(at)).unwrap_or_default();
        until_report + self.heading.age
    }

    /// Whether an opening that closed then is for us to tell: it closed while this process lived, or while nobody did.
    fn is_ours_to_tell(&self, ended: Timestamp) -> bool {
        self.ago(ended) < self.now + self.before
    }
}

impl IncidentHistory {
    /// Takes in what an Event says of an incident. The newest one is the current one.
    fn rebuild(&mut self, tracked: Tracked) {
        let order = |incident: &Incident| (incident.started, incident.reopened, incident.end.is_some(), incident.openings);
        let newer = self.current.as_ref().is_none_or(|known| order(&tracked.incident) > order(&known.incident));
        let over = if newer { self.current.replace(tracked) } else { Some(tracked) };
        if let Some(over) = over.filter(|over| over.incident.end.is_some()) {
            push_bounded(&mut self.before, over.incident, PAST_MAX);
        }
    }

    /// Takes in what an Event says of transient openings.
    fn rebuild_transient(&mut self, tracked: Tracked) {
        push_bounded(&mut self.transients, tracked, PAST_MAX);
        self.transients.make_contiguous().sort_by_key(|tracked| tracked.incident.started);
    }

    /// Takes in a report. Returns how many Events it suppresses.
    fn hear(&mut self, input: &TargetInput<'_>, changes: &mut Vec<Change>) -> u64 {
        self.note_boot(input, changes);
        let mut suppressed = 0;
        for closed in input.target.recent.iter().rev() {
            suppressed += u64::from(self.closed(input, closed, changes));
        }
        self.drop_unnamed_openings(input);
        match &input.target.opening {
            Some(opening) => self.opened(input, opening, changes),
            None => self.close_unattended(input, changes),
        }
        suppressed
    }

    /// Notes which boot of its pod this is, and what the one before came to.
    fn note_boot(&mut self, input: &TargetInput<'_>, changes: &mut Vec<Change>) {
        let target = input.target;
        let starting = target.reason == Reason::Doubt(Doubt::Starting) && target.verdict == Verdict::Inconclusive;
        let exposed = starting && !target.startup_exposure.is_zero();
        let last = self.boots.get(input.pod).cloned();
        if let Some(last) = last.as_ref().filter(|last| last.id != input.heading.boot) {
            self.exposed = match (last.exposed, self.exposed) {
                (true, Some((count, since))) => Some((count + 1, since)),
                (true, None) => Some((1, last.began)),
                (false, _) => None,
            };
        }
        let same = last.filter(|last| last.id == input.heading.boot);
        let began = same.map_or(input.heading.started, |boot| boot.began);
        self.boots.insert(input.pod.to_owned(), Boot { id: input.heading.boot.clone(), began, exposed });
        if !starting && target.opening.is_none() {
            self.exposed = None;
        }
        if self.exposed.is_some_and(|(count, _)| count >= names::EXPOSED_BOOTS) {
            self.open_for_exposure(input, changes);
        }
    }

    /// Three boots could reach the target, and none lived to the end of its startup window.
    fn open_for_exposure(&mut self, input: &TargetInput<'_>, changes: &mut Vec<Change>) {
        let Some((_, since)) = self.exposed.take() else { return };
        if self.current.as_ref().is_some_and(|current| current.incident.is_open()) {
            return;
        }
        let id = format!("{}.starting", input.heading.boot);
        let (started, last_connected) = (since, input.heading.started);
        let opening =
            Opening { id, started, last_connected, layer: Layer::Tcp, evidence: Evidence::Connected, addresses: Vec::new() };
        self.open_anew(input, &opening, changes);
    }

    /// An opening goes on.
    fn opened(&mut self, input: &TargetInput<'_>, opening: &Opening, changes: &mut Vec<Change>) {
        match &mut self.current {
            Some(current) if current.incident.is_open() => {
                if current.join(input, opening) {
                    changes.push(current.change(Happening::Changed));
                }
            }
            Some(current) if reopens(&current.incident, opening) => {
                current.join(input, opening);
                current.reopen();
                changes.push(current.change(Happening::Reopened));
            }
            _ => self.open_anew(input, opening, changes),
        }
        if let Some(current) = &mut self.current {
            current.live.insert(opening.id.clone(), input.pod.to_owned());
        }
    }

    fn open_anew(&mut self, input: &TargetInput<'_>, opening: &Opening, changes: &mut Vec<Change>) {
        let tracked = Tracked::new(input, opening);
        changes.push(tracked.change(Happening::Opened));
        if let Some(before) = self.current.replace(tracked) {
            push_bounded(&mut self.past, before, PAST_MAX);
        }
    }

    /// An opening is over. True when it suppresses an Event.
    fn closed(&mut self, input: &TargetInput<'_>, closed: &ClosedOpening, changes: &mut Vec<Change>) -> bool {
        let known = self.known.contains(&closed.opening.id);
        let ours = input.is_ours_to_tell(closed.ended);
        let current = self.current.as_ref().map(|current| &current.incident);
        let kind = closed_kind(closed, known, ours, current, &self.before);
        self.remember(&closed.opening.id);
        match kind {
            ClosedKind::Known | ClosedKind::Belongs | ClosedKind::ToldBefore => {}
            ClosedKind::Transient => return self.transient(input, closed, changes),
            ClosedKind::Late => self.told_late(input, closed, changes),
            ClosedKind::Current | ClosedKind::New => self.close_opening(input, closed, changes),
        }
        false
    }

    /// Notes that a closed opening was dealt with.
    fn remember(&mut self, id: &str) {
        if !self.known.iter().any(|known| known == id) {
            push_bounded(&mut self.known, id.to_owned(), KNOWN_MAX);
        }
    }

    /// Closes an opening of the current incident, or of a new one, and the incident with it when none of its openings goes on.
    fn close_opening(&mut self, input: &TargetInput<'_>, closed: &ClosedOpening, changes: &mut Vec<Change>) {
        let mut news = Vec::new();
        self.opened(input, &closed.opening, &mut news);
        if let Some(current) = &mut self.current {
            current.opening_closed(&closed.opening.id);
            // Another pod's opening goes on by itself; another boot's of this pod ended with its process, and this one was blocked since.
            let is_last = current.live.values().all(|pod| pod == input.pod && input.target.opening.is_none());
            if is_last && input.is_complete {
                current.live.clear();
                current.close(closed.ended, input.assessment.ending(closed.attribution), input.now);
                news.retain(|change| change.event != Happening::Changed);
                news.push(current.change(Happening::Closed));
            }
        }
        changes.extend(news);
    }

    /// One that was over before the incident that is open began, and that nobody has told of.
    fn told_late(&mut self, input: &TargetInput<'_>, closed: &ClosedOpening, changes: &mut Vec<Change>) {
        let mut tracked = Tracked::new(input, &closed.opening);
        changes.push(tracked.change(Happening::Opened));
        tracked.opening_closed(&closed.opening.id);
        let by_its_round = Assessment { blocked: None, ..input.assessment };
        tracked.close(closed.ended, by_its_round.ending(closed.attribution), input.now);
        changes.push(tracked.change(Happening::Closed));
        push_bounded(&mut self.past, tracked, PAST_MAX);
    }

    /// A single connection between rounds: one Event in ten minutes, by the node's clock. True when there is one already.
    fn transient(&mut self, input: &TargetInput<'_>, closed: &ClosedOpening, changes: &mut Vec<Change>) -> bool {
        let mut tracked = Tracked::new(input, &closed.opening);
        tracked.opening_closed(&closed.opening.id);
        tracked.close(closed.ended, (Ending::NotReachable, None), input.now);
        changes.push(tracked.change(Happening::Transient));
        let period = SignedDuration::try_from(names::TRANSIENT_PERIOD).unwrap_or(SignedDuration::MAX);
        let since = |first: &Tracked| closed.opening.started.duration_since(first.incident.started).abs();
        match self.transients.back_mut().filter(|first| since(first) < period) {
            Some(first) => {
                first.opening_closed(&closed.opening.id);
                true
            }
            None => {
                push_bounded(&mut self.transients, tracked, PAST_MAX);
                false
            }
        }
    }

    /// An opening of this pod that its report does not name any more is not live.
    fn drop_unnamed_openings(&mut self, input: &TargetInput<'_>) {
        if let Some(current) = &mut self.current {
            let goes_on = |id: &String| input.target.opening.as_ref().is_some_and(|opening| opening.id == *id);
            current.live.retain(|id, pod| pod != input.pod || goes_on(id));
        }
    }

    fn forget_pod(&mut self, pod: &str) {
        self.boots.remove(pod);
        self.current.iter_mut().for_each(|current| current.live.retain(|_, of| of != pod));
    }

    /// True while something of it may still be told, or be reopened.
    fn has_more_to_tell(&self) -> bool {
        self.current.is_some() || !self.past.is_empty() || !self.transients.is_empty()
    }

    /// The incident that is open, though no agent has it open any more.
    fn unattended(&mut self) -> Option<&mut Tracked> {
        self.current.as_mut().filter(|current| current.incident.is_open() && current.live.is_empty())
    }

    /// Closes an incident that no agent has open any more when two rounds of another boot or pod did not reach it.
    fn close_unattended(&mut self, input: &TargetInput<'_>, changes: &mut Vec<Change>) {
        let Some(current) = self.unattended() else { return };
        if !current.confirmed {
            // Nothing connected later than the node's clock says.
            current.incident.last_connected = current.incident.last_connected.min(input.heading.finished);
        }
        if !input.is_complete || closing::starts_again(input.target.reason) {
            return;
        }
        let listed = input.listed();
        let mut connected: Vec<SocketAddr> = current.incident.doors.iter().map(|door| door.address).collect();
        if !current.confirmed && input.now.saturating_sub(current.learnt) >= names::SETTLED {
            // An Event may name any address: what no agent there tries holds nothing open for ever.
            connected.retain(|address| listed.iter().any(|listed| listed.address == *address));
        }
        if let Some(end) = closing::end(&connected, current.incident.last_connected, &listed) {
            current.close(end, input.assessment.ending(None), input.now);
            changes.push(current.change(Happening::Closed));
        }
    }

    fn close_without_proof(&mut self, how: Ending, now: Duration, changes: &mut Vec<Change>) {
        if let Some(current) = self.unattended() {
            current.close(current.incident.last_connected, (how, None), now);
            changes.push(current.change(Happening::Closed));
        }
    }
}

/// Adds one, and drops the oldest beyond so many.
fn push_bounded<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    all.push_back(one);
    if all.len() > most {
        all.pop_front();
    }
}

/// True when an opening began so soon after the incident's end that it is the same one.
fn reopens(incident: &Incident, opening: &Opening) -> bool {
    let within = SignedDuration::try_from(names::REOPEN).unwrap_or(SignedDuration::MAX);
    let soon = |end: End| end.how != Ending::NodeGone && opening.started.duration_since(end.at) <= within;
    opening.started >= incident.started && incident.end.is_some_and(soon)
}

/// True when a closed opening was over before the incident, which is open, began.
fn is_before(incident: &Incident, closed: &ClosedOpening) -> bool {
    incident.is_open() && closed.ended < incident.started && incident.id != closed.opening.id
}

/// True when a closed opening is part of an incident that is over.
fn belongs_to(incident: &Incident, closed: &ClosedOpening) -> bool {
    incident.end.is_some_and(|end| closed.opening.started >= incident.started && closed.ended <= end.at)
}

#[cfg(test)]
mod tests;
