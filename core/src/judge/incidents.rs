//! From openings to incidents: what agents saw in one process each becomes one story for each guard, node and target.
//!
//! | rule | when | then |
//! | --- | --- | --- |
//! | open | an opening that no incident knows | an incident begins, named after that opening |
//! | join | an opening while the incident is open, also of a new boot | it is the same incident |
//! | reopen | an opening within 10 minutes of the end | the incident goes on |
//! | close | the last live opening closed | it ended when that did |
//! | close | its agent is gone, and another boot was blocked for two rounds | it ended when that began |
//! | close | the node is gone; nobody probes that target there | it ended with the last connection that is known |
//! | told late | an opening that came and went while nobody asked | opened and closed at once |
//! | starting | three boots in a row ended in `starting`, and could reach the target | an incident begins with the first of them |
//!
//! Times of one place come from one node's clock and are compared with each other only. What this process has lived through it measures with
//! its own monotonic clock.
use crate::model::address::Family;
use crate::model::finding::{Attribution, Doubt, Reason, Verdict};
use crate::model::heard::{Heading, Heard, HeardTarget};
use crate::model::incident::{Change, Changed, DOORS_MAX, Door, End, Ending, Happening, Incident, Place};
use crate::model::names;
use crate::model::observation::{Evidence, Layer, Source};
use crate::model::report::{ClosedOpening, Opening};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How many openings of one place are remembered as dealt with: those of the last two boots.
const KNOWN_MAX: usize = 2 * names::RECENT_MAX + 1;
/// How many closed incidents, and how many transient openings, of one place wait until they are told.
const PAST_MAX: usize = names::RECENT_MAX;
/// How many targets of one guard and node are looked after: those of a configuration, and as many that a change of it has left behind.
const TARGETS_MAX: usize = 2 * names::TARGETS_MAX;

/// All incidents that matter now: open ones, and closed ones that may be reopened or are yet to be told.
#[derive(Debug, Clone, Default)]
pub struct Incidents {
    stories: BTreeMap<Place, Story>,
    /// Closed openings older than this, when this process began, were told by those who came before.
    before: Duration,
}

/// What happened at one place.
#[derive(Debug, Clone, Default)]
struct Story {
    current: Option<Tracked>,
    past: VecDeque<Tracked>,
    transients: VecDeque<Tracked>,
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
    /// When the first blocked round that we heard of began.
    blocked: Option<Timestamp>,
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
    /// Whether it heard of that end from an agent, and did not read of it in an Event.
    heard_end: bool,
    /// The openings that go on, each with the UID of its pod.
    live: BTreeMap<String, String>,
}

/// A report, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Hearing<'a> {
    /// Guard, node and node UID as the Pod object says; its target is empty.
    pub place: &'a Place,
    /// The UID of the pod.
    pub pod: &'a str,
    /// What it said.
    pub heard: &'a Heard,
    /// How long this process has run.
    pub now: Duration,
}

impl Incidents {
    /// None yet. `unled`: for how long, as far as is known, nobody has told of incidents before this process began.
    pub fn new(unled: Duration) -> Self {
        Incidents { stories: BTreeMap::new(), before: unled.max(names::EVENTS_KEPT) }
    }

    /// Nobody told of incidents for so long before this process began.
    pub fn nobody_told_for(&mut self, unled: Duration) {
        self.before = unled.max(names::EVENTS_KEPT);
    }

    /// An incident that an Event of ours tells of, before anything was heard of its place.
    pub fn rebuild(&mut self, incident: Incident, now: Duration) {
        let story = self.stories.entry(incident.place.clone()).or_default();
        let order = |incident: &Incident| (incident.started, incident.reopened, incident.end.is_some(), incident.openings);
        let newer = story.current.as_ref().is_none_or(|known| order(&incident) > order(&known.incident));
        let over = if newer { story.current.take().map(|known| known.incident) } else { Some(incident.clone()) };
        if let Some(over) = over.filter(|over| over.end.is_some()) {
            story.before.push_back(over);
            story.before.truncate(PAST_MAX);
        }
        if newer {
            let ended = incident.end.map(|_| now);
            story.current = Some(Tracked { incident, learnt: now, ended, heard_end: false, live: BTreeMap::new() });
        }
    }

    /// An incident that an Event of another replica tells of: where it began earlier than what is open here, it is the same one, and has its
    /// name. True when there is one open here.
    pub fn adopt(&mut self, incident: &Incident) -> bool {
        let Some(current) = self.stories.get_mut(&incident.place).and_then(|story| story.current.as_mut()) else { return false };
        if current.incident.is_open() && incident.is_open() && incident.started <= current.incident.started {
            current.incident.id.clone_from(&incident.id);
            current.incident.started = incident.started;
        }
        true
    }

    /// Takes in a report. `attribution` says how well it is proved that a target of it is blocked.
    pub fn hear(&mut self, hearing: &Hearing<'_>, attribution: impl Fn(&HeardTarget) -> Option<Attribution>) -> Vec<Change> {
        let mut changes = Vec::new();
        for target in &hearing.heard.targets {
            let place = Place { target: target.name.clone(), ..hearing.place.clone() };
            if !self.stories.contains_key(&place) && self.beside(hearing.place).count() >= TARGETS_MAX {
                continue;
            }
            let story = self.stories.entry(place.clone()).or_default();
            let said =
                Said { place, pod: hearing.pod, heading: &hearing.heard.heading, target, now: hearing.now, before: self.before };
            story.hear(&said, attribution(target), &mut changes);
        }
        self.nobody_probes(hearing, &mut changes);
        changes
    }

    /// The stories of a guard and node; the target of `place` is empty, so that it comes before all of them.
    fn beside<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = (&'a Place, &'a Story)> {
        self.stories.range(place.clone()..).take_while(|(other, _)| other.is_beside(place))
    }

    /// The same, to be changed.
    fn beside_mut<'a>(&'a mut self, place: &'a Place) -> impl Iterator<Item = (&'a Place, &'a mut Story)> {
        self.stories.range_mut(place.clone()..).take_while(|(other, _)| other.is_beside(place))
    }

    /// Incidents of this node and guard whose target the report does not name.
    fn nobody_probes(&mut self, hearing: &Hearing<'_>, changes: &mut Vec<Change>) {
        let named: BTreeSet<&str> = hearing.heard.targets.iter().map(|target| target.name.as_str()).collect();
        for (place, story) in self.beside_mut(hearing.place) {
            if !named.contains(place.target.as_str()) {
                story.forget_pod(hearing.pod);
                story.close_without_proof(Ending::TargetGone, hearing.now, changes);
            }
        }
        let empty = self
            .beside(hearing.place)
            .filter(|(place, story)| !named.contains(place.target.as_str()) && !story.has_more_to_tell());
        let empty: Vec<Place> = empty.map(|(place, _)| place.clone()).collect();
        empty.iter().for_each(|place| drop(self.stories.remove(place)));
    }

    /// A pod of that guard and node is gone: what it had open is nobody's now, until another boot says how it is. The place's target is empty.
    pub fn pod_gone(&mut self, place: &Place, pod: &str) {
        self.beside_mut(place).for_each(|(_, story)| story.forget_pod(pod));
    }

    /// A node is gone.
    pub fn node_gone(&mut self, node_uid: &str, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        for (place, story) in &mut self.stories {
            if place.node_uid == node_uid {
                story.current.iter_mut().for_each(|current| current.live.clear());
                story.close_without_proof(Ending::NodeGone, now, &mut changes);
            }
        }
        changes
    }

    /// The UIDs of all nodes that something is known of.
    pub fn node_uids(&self) -> BTreeSet<String> {
        self.stories.keys().map(|place| place.node_uid.clone()).collect()
    }

    /// The incident of a place that is open.
    pub fn open_at(&self, place: &Place) -> Option<&Incident> {
        let current = self.stories.get(place)?.current.as_ref()?;
        Some(&current.incident).filter(|incident| incident.is_open())
    }

    /// The open incidents beside a place, whose target is left empty: of its guard and node.
    pub fn open_beside<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Incident> {
        let current = self.beside(place).filter_map(|(_, story)| story.current.as_ref());
        current.map(|current| &current.incident).filter(|incident| incident.is_open())
    }

    /// What agents proved lately to be over, one for each place: so that a breach between two looks at the metrics is not lost to them.
    pub fn just_ended(&self, now: Duration) -> BTreeMap<&Place, Timestamp> {
        let lately = |tracked: &&Tracked| {
            tracked.heard_end && tracked.ended.is_some_and(|ended| now.saturating_sub(ended) <= names::ENDED_SHOWN)
        };
        let all = self.all().filter(|(_, transient)| !transient).map(|(tracked, _)| tracked).filter(lately);
        let mut ends: BTreeMap<&Place, Timestamp> = BTreeMap::new();
        let proved = all.filter_map(|tracked| Some((&tracked.incident.place, tracked.incident.end?)));
        for (place, end) in proved.filter(|(_, end)| end.how == Ending::Blocked).map(|(place, end)| (place, end.at)) {
            ends.entry(place).and_modify(|known| *known = end.max(*known)).or_insert(end);
        }
        ends
    }

    /// All that is to be told, open or over, each with whether it is a transient opening.
    pub fn all(&self) -> impl Iterator<Item = (&Tracked, bool)> {
        self.stories.values().flat_map(|story| {
            let incidents = story.past.iter().chain(&story.current).map(|tracked| (tracked, false));
            incidents.chain(story.transients.iter().map(|tracked| (tracked, true)))
        })
    }

    /// Lets go of what is over for good and was told. `told` says so of an incident or, when its second argument is true, of a transient
    /// opening.
    pub fn forget(&mut self, now: Duration, told: impl Fn(&Tracked, bool) -> bool) {
        for story in self.stories.values_mut() {
            story.past.retain(|tracked| !tracked.is_final(now) || !told(tracked, false));
            story.transients.retain(|tracked| !tracked.is_final(now) || !told(tracked, true));
            story.current.take_if(|tracked| tracked.is_final(now) && told(tracked, false));
        }
    }

    /// Lets go of places that no node and no guard has any more; what is still to be told stays.
    pub fn forget_places(&mut self, gone: impl Fn(&Place) -> bool) {
        self.stories.retain(|place, story| story.has_more_to_tell() || !gone(place));
    }
}

impl Tracked {
    /// True when it is over and nothing can reopen it.
    pub fn is_final(&self, now: Duration) -> bool {
        self.ended.is_some_and(|ended| now.saturating_sub(ended) > names::REOPEN)
    }

    fn new(said: &Said<'_>, opening: &Opening) -> Self {
        let incident = Incident {
            id: opening.id.clone(),
            place: said.place.clone(),
            started: opening.started,
            last_connected: opening.last_connected,
            layer: opening.layer,
            evidence: opening.evidence,
            doors: Vec::new(),
            openings: 0,
            reopened: 0,
            end: None,
        };
        let mut tracked = Tracked { incident, learnt: said.now, ended: None, heard_end: false, live: BTreeMap::new() };
        tracked.join(said, opening, true);
        tracked
    }

    /// Takes in an opening, of which `first` says whether it is new here. True when more is known than before.
    fn join(&mut self, said: &Said<'_>, opening: &Opening, first: bool) -> bool {
        let incident = &mut self.incident;
        let before = (incident.layer, incident.evidence, incident.doors.len(), incident.openings);
        incident.started = incident.started.min(opening.started);
        incident.last_connected = incident.last_connected.max(opening.last_connected);
        incident.layer = incident.layer.max(opening.layer);
        incident.evidence = incident.evidence.max(opening.evidence);
        incident.openings += u32::from(first);
        for address in &opening.addresses {
            if incident.doors.len() < DOORS_MAX && incident.doors.iter().all(|door| door.address != *address) {
                incident.doors.push(Door { address: *address, source: said.source(*address) });
            }
        }
        before != (incident.layer, incident.evidence, incident.doors.len(), incident.openings)
    }

    fn close(&mut self, at: Timestamp, how: Ending, attribution: Option<Attribution>, now: Duration) {
        self.incident.end = Some(End { at: at.max(self.incident.started), how, attribution });
        (self.ended, self.heard_end) = (Some(now), true);
    }

    fn told_as(&self, event: Happening) -> Change {
        Change { event, what: Changed::Incident { incident: self.incident.clone() } }
    }
}

/// What one report says of one target.
struct Said<'a> {
    place: Place,
    pod: &'a str,
    heading: &'a Heading,
    target: &'a HeardTarget,
    now: Duration,
    before: Duration,
}

impl Said<'_> {
    fn source(&self, address: SocketAddr) -> Option<Source> {
        self.target.addresses.iter().find(|tried| tried.address == address).map(|tried| tried.source)
    }

    /// Whether that address was tried, or another of its family where it is not listed any more.
    fn tried(&self, address: SocketAddr) -> bool {
        let tried = &self.target.addresses;
        let family = Family::of(address.ip());
        let listed = tried.iter().any(|tried| tried.address == address);
        let skipped = self.target.skipped.contains(&address);
        listed || (!skipped && tried.iter().any(|tried| Family::of(tried.address.ip()) == family))
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

impl Story {
    fn hear(&mut self, said: &Said<'_>, attribution: Option<Attribution>, changes: &mut Vec<Change>) {
        self.turn_of_boots(said, changes);
        for closed in said.target.recent.iter().rev() {
            self.closed(said, closed, attribution, changes);
        }
        self.goes_on(said);
        if let Some(opening) = &said.target.opening {
            self.opened(said, opening, changes);
        } else if let Some(since) = self.conclusively_blocked(said) {
            self.close_orphan(said, since, attribution, changes);
        }
    }

    /// Notes which boot of its pod this is, and what the one before came to.
    fn turn_of_boots(&mut self, said: &Said<'_>, changes: &mut Vec<Change>) {
        let target = said.target;
        let starting = target.reason == Reason::Doubt(Doubt::Starting) && target.verdict == Verdict::Inconclusive;
        let exposed = starting && !target.startup_exposure.is_zero();
        let last = self.boots.get(said.pod).cloned();
        if let Some(last) = last.as_ref().filter(|last| last.id != said.heading.boot) {
            self.exposed = match (last.exposed, self.exposed) {
                (true, Some((count, since))) => Some((count + 1, since)),
                (true, None) => Some((1, last.began)),
                (false, _) => None,
            };
        }
        let same = last.filter(|last| last.id == said.heading.boot);
        let began = same.as_ref().map_or(said.heading.started, |boot| boot.began);
        let blocked = same.as_ref().and_then(|boot| boot.blocked);
        let blocked = blocked.or_else(|| (target.verdict == Verdict::Blocked).then_some(said.heading.started));
        let blocked = blocked.filter(|_| target.verdict == Verdict::Blocked);
        self.boots.insert(said.pod.to_owned(), Boot { id: said.heading.boot.clone(), began, exposed, blocked });
        if !starting && target.opening.is_none() {
            self.exposed = None;
        }
        if self.exposed.is_some_and(|(count, _)| count >= names::EXPOSED_BOOTS) {
            self.open_for_exposure(said, changes);
        }
    }

    /// Three boots could reach the target, and none lived to the end of its startup window.
    fn open_for_exposure(&mut self, said: &Said<'_>, changes: &mut Vec<Change>) {
        let Some((_, since)) = self.exposed.take() else { return };
        if self.current.as_ref().is_some_and(|current| current.incident.is_open()) {
            return;
        }
        let id = format!("{}.starting", said.heading.boot);
        let (started, last_connected) = (since, said.heading.started);
        let opening =
            Opening { id, started, last_connected, layer: Layer::Tcp, evidence: Evidence::Connected, addresses: Vec::new() };
        self.open_anew(said, &opening, changes);
    }

    /// An opening goes on.
    fn opened(&mut self, said: &Said<'_>, opening: &Opening, changes: &mut Vec<Change>) {
        match &mut self.current {
            Some(current) if current.incident.is_open() => {
                let first = !current.live.contains_key(&opening.id) && current.incident.id != opening.id;
                if current.join(said, opening, first) {
                    changes.push(current.told_as(Happening::Changed));
                }
            }
            Some(current) if reopens(&current.incident, opening) => {
                current.join(said, opening, true);
                (current.incident.end, current.ended) = (None, None);
                current.incident.reopened += 1;
                changes.push(current.told_as(Happening::Reopened));
            }
            _ => self.open_anew(said, opening, changes),
        }
        if let Some(current) = &mut self.current {
            current.live.insert(opening.id.clone(), said.pod.to_owned());
        }
    }

    fn open_anew(&mut self, said: &Said<'_>, opening: &Opening, changes: &mut Vec<Change>) {
        let tracked = Tracked::new(said, opening);
        changes.push(tracked.told_as(Happening::Opened));
        if let Some(before) = self.current.replace(tracked) {
            keep(&mut self.past, before);
        }
    }

    /// An opening is over.
    fn closed(&mut self, said: &Said<'_>, closed: &ClosedOpening, attribution: Option<Attribution>, changes: &mut Vec<Change>) {
        let opening = &closed.opening;
        if self.known.contains(&opening.id) {
            return;
        }
        self.known.push_back(opening.id.clone());
        if self.known.len() > KNOWN_MAX {
            self.known.pop_front();
        }
        let ours = said.is_ours_to_tell(closed.ended);
        if closed.transient {
            if ours {
                self.transient(said, closed, changes);
            }
            return;
        }
        match &self.current {
            Some(current) if is_before(&current.incident, closed) => {
                if ours {
                    self.told_late(said, closed, changes);
                }
                return;
            }
            Some(current) if current.incident.is_open() => {}
            Some(current) if belongs_to(&current.incident, closed) => return,
            _ if self.before.iter().any(|incident| belongs_to(incident, closed)) => return,
            _ if !ours => return,
            _ => {}
        }
        let mut news = Vec::new();
        self.opened(said, opening, &mut news);
        if let Some(current) = &mut self.current {
            current.live.remove(&opening.id);
            // Another pod's opening goes on by itself; another boot's of this pod ended with its process, and this one was blocked since.
            if current.live.values().all(|pod| pod == said.pod && said.target.opening.is_none()) {
                current.live.clear();
                current.close(closed.ended, Ending::Blocked, attribution, said.now);
                news.retain(|change| change.event != Happening::Changed);
                news.push(current.told_as(Happening::Closed));
            }
        }
        changes.extend(news);
    }

    /// One that was over before the incident that is open began, and that nobody has told of.
    fn told_late(&mut self, said: &Said<'_>, closed: &ClosedOpening, changes: &mut Vec<Change>) {
        let mut tracked = Tracked::new(said, &closed.opening);
        changes.push(tracked.told_as(Happening::Opened));
        tracked.close(closed.ended, Ending::Blocked, None, said.now);
        changes.push(tracked.told_as(Happening::Closed));
        keep(&mut self.past, tracked);
    }

    /// A single connection between rounds: one Event in ten minutes, by the node's clock.
    fn transient(&mut self, said: &Said<'_>, closed: &ClosedOpening, changes: &mut Vec<Change>) {
        let mut tracked = Tracked::new(said, &closed.opening);
        tracked.close(closed.ended, Ending::Blocked, None, said.now);
        changes.push(tracked.told_as(Happening::Transient));
        let period = SignedDuration::try_from(names::TRANSIENT_PERIOD).unwrap_or(SignedDuration::MAX);
        let since_last = self.transients.back().map(|last| closed.opening.started.duration_since(last.incident.started).abs());
        if since_last.is_none_or(|since| since >= period) {
            keep(&mut self.transients, tracked);
        }
    }

    /// What this pod had open and does not name any more is nobody's.
    fn goes_on(&mut self, said: &Said<'_>) {
        if let Some(current) = &mut self.current {
            let goes_on = |id: &String| said.target.opening.as_ref().is_some_and(|opening| opening.id == *id);
            current.live.retain(|id, pod| pod != said.pod || goes_on(id));
        }
    }

    fn forget_pod(&mut self, pod: &str) {
        self.boots.remove(pod);
        self.current.iter_mut().for_each(|current| current.live.retain(|_, of| of != pod));
    }

    /// Since when this boot has been blocked, if that is two rounds in a row by now: the verdict stood before the newest round began, or we
    /// heard of an earlier blocked round.
    fn conclusively_blocked(&self, said: &Said<'_>) -> Option<Timestamp> {
        let target = said.target;
        let first_heard = self.boots.get(said.pod)?.blocked?;
        let twice = target.since < said.heading.started || first_heard != said.heading.started;
        (target.verdict == Verdict::Blocked && twice).then_some(target.since)
    }

    /// True while something of it may still be told, or be reopened.
    fn has_more_to_tell(&self) -> bool {
        self.current.is_some() || !self.past.is_empty() || !self.transients.is_empty()
    }

    /// The incident is open, but all whose opening it was are gone: the guard holds, says another, which tried what had connected.
    fn close_orphan(&mut self, said: &Said<'_>, since: Timestamp, attribution: Option<Attribution>, changes: &mut Vec<Change>) {
        let now = said.now;
        let tried = |current: &Tracked| current.incident.doors.iter().all(|door| said.tried(door.address));
        let orphan = |current: &&mut Tracked| current.incident.is_open() && current.live.is_empty() && tried(current);
        if let Some(current) = self.current.as_mut().filter(orphan) {
            let at = since.max(current.incident.last_connected);
            current.close(at, Ending::Blocked, attribution, now);
            changes.push(current.told_as(Happening::Closed));
        }
    }

    fn close_without_proof(&mut self, how: Ending, now: Duration, changes: &mut Vec<Change>) {
        let orphan = |current: &&mut Tracked| current.incident.is_open() && current.live.is_empty();
        if let Some(current) = self.current.as_mut().filter(orphan) {
            current.close(current.incident.last_connected, how, None, now);
            changes.push(current.told_as(Happening::Closed));
        }
    }
}

/// Keeps the newest few.
fn keep(few: &mut VecDeque<Tracked>, tracked: Tracked) {
    few.push_back(tracked);
    if few.len() > PAST_MAX {
        few.pop_front();
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
