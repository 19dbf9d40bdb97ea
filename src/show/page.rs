//! The status page of a reporter: what is open, what is unknown, what is fine, in that order; then every node. Typed templates, so that all that comes
//! from an agent is escaped; nothing from elsewhere is loaded. It reads without JavaScript, which only puts what is new in its place.
use super::text::{clean, count, time};
use super::words;
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::finding::{Reason, Verdict};
use guardprobe_core::model::fleet::{Coverage, Excuse, Fleet, Row, TargetRow};
use guardprobe_core::model::incident::Incident;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// The type of the page.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";
/// What a browser may load for it: these two files, and itself again.
pub const SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// How it looks.
pub const STYLE: &str = include_str!("page/style.css");
/// How it stays up to date.
pub const LIVE: &str = include_str!("page/live.js");

/// How many rows of the matrix are on one page.
const ROWS: usize = 200;
/// How many lines of what is open or unknown are told in full before the matrix …
const LINES: usize = 50;
/// … and how many of one node: what one agent invents takes no other's place.
const LINES_OF_NODE: usize = 4;
/// How many targets have a column.
const COLUMNS: usize = 32;

/// What of the fleet is to be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only this guard.
    pub guard: Option<GuardName>,
    /// Only nodes with that in their names.
    pub find: String,
    /// Only nodes that are not well.
    pub bad: bool,
    /// In which order.
    pub order: Order,
    /// Which page, from 0.
    pub page: usize,
}

/// The order of the matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The worst first.
    #[default]
    Worst,
    /// What has been so the longest first.
    Since,
    /// By name.
    Node,
}

impl Order {
    /// All of them, with their words in a query and for people.
    pub const ALL: [(Order, &'static str, &'static str); 3] = [
        (Order::Worst, "worst", "the worst first"),
        (Order::Since, "since", "the longest first"),
        (Order::Node, "node", "by name"),
    ];

    fn word(self) -> &'static str {
        Order::ALL.iter().find(|(order, ..)| *order == self).map_or("worst", |(_, word, _)| word)
    }
}

/// Who tells it.
#[derive(Debug, Clone)]
pub struct Teller<'a> {
    /// When.
    pub now: Timestamp,
    /// Which reporter.
    pub reporter: &'a str,
    /// Whether it is the one that writes Events.
    pub leader: bool,
    /// What it does not know yet.
    pub pending: &'a [String],
}

/// How a row stands: worse is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Excluded,
    Blocked,
    Grace,
    Unproven,
    Uncovered,
    Open,
}

fn standing(row: &Row) -> Standing {
    let worst = row.targets.iter().filter_map(|target| target.verdict).max();
    match (row.coverage, worst) {
        (_, Some(Verdict::Breached)) => Standing::Open,
        (Coverage::Uncovered(_), _) => Standing::Uncovered,
        // That the reporter has just started is nobody's excuse.
        (Coverage::Grace(Excuse::ReporterStarting), _) => Standing::Unproven,
        (Coverage::Grace(_), _) => Standing::Grace,
        (Coverage::Excluded(_), _) => Standing::Excluded,
        (Coverage::Covered, Some(Verdict::Blocked)) => Standing::Blocked,
        (Coverage::Covered, _) => Standing::Unproven,
    }
}

fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Open => "open",
        Standing::Uncovered | Standing::Unproven => "doubt",
        Standing::Blocked => "well",
        Standing::Grace | Standing::Excluded => "none",
    }
}

/// Since when a row has been what it is, as far as that is known.
fn since(row: &Row) -> Option<Timestamp> {
    let worst = row.targets.iter().filter_map(|target| target.verdict).max();
    let of_worst = row.targets.iter().filter(|target| target.verdict == worst).filter_map(|target| target.since).min();
    row.uncovered_since.or(of_worst)
}

/// The whole page.
pub fn overview(fleet: &Fleet, teller: &Teller<'_>, wanted: &Wanted) -> String {
    let rows: Vec<&Row> = fleet.rows.iter().filter(|row| wanted.guard.as_ref().is_none_or(|guard| row.guard == *guard)).collect();
    // The sentence is about all of them: what is looked for hides nothing that is open.
    let (says, worst) = sentence(&rows, teller);
    let found: Vec<&Row> = rows.iter().copied().filter(|row| row.node.contains(&wanted.find)).collect();
    let live = html! {
        @if !teller.pending.is_empty() {
            p.doubt { "The reporter does not know the cluster yet. Pending: " (teller.pending.join("; ")) }
        }
        @if !wanted.find.is_empty() {
            p { "Only nodes with “" (clean(&wanted.find)) "” in their names: " (nodes(&found)) " of " (nodes(&rows)) "." }
        }
        (open(&found, teller.now))
        (unknown(&found, teller.now))
        (fine(&found))
        (warnings(fleet))
        (matrix(&found, teller.now, wanted))
    };
    frame(&says, class_of(worst, &rows, teller), "every guard on every node", &form(fleet, wanted), &live, teller).into_string()
}

fn nodes(rows: &[&Row]) -> usize {
    rows.iter().map(|row| row.node.as_str()).collect::<BTreeSet<_>>().len()
}

fn class_of(worst: Option<Standing>, rows: &[&Row], teller: &Teller<'_>) -> &'static str {
    if rows.is_empty() || !teller.pending.is_empty() { "doubt" } else { worst.map_or("doubt", class) }
}

/// The page in one sentence, and how bad it is.
fn sentence(rows: &[&Row], teller: &Teller<'_>) -> (String, Option<Standing>) {
    let of = |standing: Standing| rows.iter().filter(|row| self::standing(row) == standing).count();
    let (opened, uncovered, unproven, blocked) =
        (of(Standing::Open), of(Standing::Uncovered), of(Standing::Unproven), of(Standing::Blocked));
    let text = match (opened, uncovered + unproven) {
        _ if !teller.pending.is_empty() => "Not known yet: the reporter has just started".to_owned(),
        _ if rows.is_empty() => "There is no node, or no guard of that name".to_owned(),
        (0, 0) if blocked == 0 => "Nothing is known: no node has an agent that has reported".to_owned(),
        (0, 0) => format!("All that is tried is blocked, on {}", count(blocked, "node")),
        (0, unknown) => format!("Nothing is known to be open; {}", proves_nothing(unknown)),
        (_, 0) => format!("Open on {} of {}", opened, count(rows.len(), "node")),
        (_, unknown) => format!("Open on {} of {}; {}", opened, count(rows.len(), "node"), proves_nothing(unknown)),
    };
    (text, rows.iter().map(|row| standing(row)).filter(|standing| *standing != Standing::Excluded).max())
}

fn proves_nothing(nodes: usize) -> String {
    if nodes == 1 { "1 node proves nothing".to_owned() } else { format!("{nodes} nodes prove nothing") }
}

fn frame(says: &str, class: &str, title: &str, form: &Markup, live: &Markup, teller: &Teller<'_>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (says) " – guardprobe" }
                link rel="stylesheet" href="/style.css";
                script src="/live.js" defer {}
            }
            body {
                a.skip href="#live" { "To what is open and what is unknown" }
                p #stale.open role="alert" hidden {}
                header {
                    p { a href="/" { "guardprobe" } " · " (title) }
                    h1 #says class=(class) aria-live="polite" { (says) }
                }
                (form)
                main #live tabindex="-1" { (live) }
                footer {
                    p #asof { "As of " (time(teller.now)) ", by reporter " (clean(teller.reporter)) @if teller.leader { ", which writes the Events" } "." }
                    p { "For programs: " a href="/v1/fleet" { "/v1/fleet" } ". This page shows which doors are open: it is for who may know that." }
                }
            }
        }
    }
}

fn form(fleet: &Fleet, wanted: &Wanted) -> Markup {
    let guards: BTreeSet<String> = fleet.rows.iter().map(|row| row.guard.to_string()).collect();
    let chosen = wanted.guard.as_ref().map(GuardName::to_string);
    html! {
        form method="get" action="/" aria-label="What is shown" {
            label { "Guard"
                select name="guard" {
                    option value="" { "all" }
                    @for guard in &guards { option value=(guard) selected[chosen.as_ref() == Some(guard)] { (guard) } }
                }
            }
            label { "Node" input type="search" name="find" value=(wanted.find) placeholder="part of its name"; }
            label { "Which"
                select name="show" {
                    option value="all" { "all nodes" }
                    option value="bad" selected[wanted.bad] { "those that are not well" }
                }
            }
            label { "Order"
                select name="order" {
                    @for (order, word, text) in Order::ALL { option value=(word) selected[order == wanted.order] { (text) } }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

fn href(row: &Row) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("guard", &row.guard.to_string())
        .append_pair("node", &row.node)
        .finish();
    format!("/node?{query}")
}

/// How long ago, in the unit that a person would choose.
fn ago(now: Timestamp, since: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}\u{a0}s"),
        120..7_200 => format!("{}\u{a0}min", seconds / 60),
        7_200..172_800 => format!("{}\u{a0}h", seconds / 3_600),
        _ => format!("{}\u{a0}d", seconds / 86_400),
    }
}

fn when(now: Timestamp, at: Option<Timestamp>) -> Markup {
    html! { @if let Some(at) = at { time datetime=(time(at)) { (time(at)) } " (" (ago(now, at)) ")" } @else { "not known" } }
}

fn open<'a>(rows: &[&'a Row], now: Timestamp) -> Markup {
    let incidents =
        |row: &'a Row| row.targets.iter().filter_map(move |target| Some((row, &target.name, target.incident.as_ref()?)));
    let total = rows.iter().flat_map(|row| incidents(row)).count();
    // One agent that says everything is open does not push the others' lines off the page.
    let mut all: Vec<_> = rows.iter().flat_map(|row| incidents(row).take(LINES_OF_NODE)).collect();
    all.sort_by_key(|(row, _, incident)| (incident.started, &row.node));
    html! {
        section aria-labelledby="open" {
            h2 #open { "Open" }
            @if all.is_empty() { p { "Nothing is known to be open." } } @else {
                div.wide role="group" aria-label="Table of what is open" tabindex="0" { table {
                    caption { (count(total, "door")) ", open the longest first" (more(total, all.len().min(LINES))) }
                    thead { tr { th scope="col" { "Node" } th scope="col" { "Guard" } th scope="col" { "Target" } th scope="col" { "Open since" } th scope="col" { "How far it got" } th scope="col" { "Where" } } }
                    tbody { @for (row, target, incident) in all.iter().take(LINES) {
                        tr {
                            th scope="row" { a href=(href(row)) { (clean(&row.node)) } }
                            td { (row.guard) }
                            td.open { (clean(target)) }
                            td { (when(now, Some(incident.started))) }
                            td { (incident.layer.as_str()) ": " (incident.evidence.as_str()) small { (words::evidence(incident.evidence).means) } }
                            td { @for door in &incident.doors { div { (door.address) } } }
                        }
                    } }
                } }
            }
        }
    }
}

fn more(all: usize, shown: usize) -> String {
    if all > shown { format!("; {} more are in the table of all nodes", all - shown) } else { String::new() }
}

/// What to say of an incident whose end proved nothing.
fn was_open(incident: &Incident) -> String {
    let end = incident.end.map(|end| time(end.at)).unwrap_or_default();
    format!(
        "It was open from {} to {end}. It is no longer reachable, and that is not proved to be the guard. ",
        time(incident.started)
    )
}

fn unknown(rows: &[&Row], now: Timestamp) -> Markup {
    struct Line<'a> {
        row: &'a Row,
        target: &'a str,
        word: &'a str,
        means: String,
        since: Option<Timestamp>,
    }
    let mut all: Vec<Line<'_>> = Vec::new();
    for row in rows {
        if let Coverage::Uncovered(gap) = row.coverage {
            let trouble = row.trouble.as_deref().map(|trouble| format!(" ({})", clean(trouble))).unwrap_or_default();
            let means = format!("Nobody knows: {}{trouble}. {}", words::gap(gap).means, words::gap(gap).next);
            all.push(Line { row, target: "all of them", word: gap.as_str(), means, since: row.uncovered_since });
        }
        for target in row.targets.iter().filter(|target| target.verdict == Some(Verdict::Inconclusive)).take(LINES_OF_NODE) {
            let Some(reason @ Reason::Doubt(_)) = target.reason else { continue };
            let explained = words::reason(reason);
            let was_open = target.not_reachable.as_ref().map(was_open).unwrap_or_default();
            all.push(Line {
                row,
                target: &target.name,
                word: reason.as_str(),
                means: format!("{was_open}{} {}", explained.means, explained.next),
                since: target.since,
            });
        }
    }
    // What the reporter itself does not know stands before what agents say of themselves, with times of their own.
    all.sort_by_cached_key(|line| (line.row.uncovered_since.is_none(), line.since, line.row.node.clone()));
    html! {
        section aria-labelledby="unknown" {
            h2 #unknown { "Unknown" }
            @if all.is_empty() { p { "Nothing that should be known is unknown." } } @else {
                div.wide role="group" aria-label="Table of what is unknown" tabindex="0" { table {
                    caption { "Nodes and targets of which nothing is proved, the longest first" (more(all.len(), all.len().min(LINES))) }
                    thead { tr { th scope="col" { "Node" } th scope="col" { "Guard" } th scope="col" { "Target" } th scope="col" { "Since" } th scope="col" { "Why" } } }
                    tbody { @for line in all.iter().take(LINES) {
                        tr {
                            th scope="row" { a href=(href(line.row)) { (clean(&line.row.node)) } }
                            td { (line.row.guard) }
                            td { (clean(line.target)) }
                            td { (when(now, line.since)) }
                            td.doubt { (line.word) small { (line.means) } }
                        }
                    } }
                } }
            }
        }
    }
}

fn fine(rows: &[&Row]) -> Markup {
    let mut guards: BTreeMap<&GuardName, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|row| guards.entry(&row.guard).or_default().push(row));
    let of = |rows: &[&Row], standing: Standing| rows.iter().filter(|row| self::standing(row) == standing).count();
    html! {
        section aria-labelledby="fine" {
            h2 #fine { "Fine" }
            div.wide role="group" aria-label="Table of what is fine" tabindex="0" { table {
                caption { "Nodes of each guard, and how well blocked is proved" }
                thead { tr { th scope="col" { "Guard" } th scope="col" { "Blocked" } th scope="col" { "Proved by" } th scope="col" { "Excused" } th scope="col" { "Left out" } } }
                tbody { @for (guard, rows) in &guards {
                    tr {
                        th scope="row" { (guard) }
                        td class=(if of(rows, Standing::Blocked) > 0 { "well" } else { "none" }) { (of(rows, Standing::Blocked)) " of " (rows.len()) }
                        td { (proofs(rows)) }
                        td { (of(rows, Standing::Grace)) }
                        td { (of(rows, Standing::Excluded)) }
                    }
                } }
            } }
            @for (proof, means) in proofs_mean(rows) { p.means { (proof) ": " (means) } }
        }
    }
}

/// What each kind of proof means that a target of these has.
fn proofs_mean(rows: &[&Row]) -> BTreeMap<&'static str, &'static str> {
    let proofs = rows.iter().flat_map(|row| &row.targets).filter(|target| target.verdict == Some(Verdict::Blocked));
    proofs.filter_map(|target| target.reason).map(|reason| (reason.as_str(), words::reason(reason).means)).collect()
}

fn proofs(rows: &[&Row]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for target in rows.iter().flat_map(|row| &row.targets).filter(|target| target.verdict == Some(Verdict::Blocked)) {
        *counts.entry((&target.name, target.reason.map_or("", Reason::as_str))).or_default() += 1;
    }
    counts.iter().map(|((target, proof), nodes)| format!("{}: {nodes} {proof}", clean(target))).collect::<Vec<_>>().join(", ")
}

fn warnings(fleet: &Fleet) -> Markup {
    html! {
        @if !fleet.warnings.is_empty() {
            section aria-labelledby="setup" {
                h2 #setup { "The set-up" }
                ul { @for warned in &fleet.warnings {
                    li.doubt { (warned.warning.as_str()) " in " (warned.guard) ": " (warned.count) " (" (clean(&warned.examples.join(", "))) ")" }
                } }
            }
        }
    }
}

fn matrix(rows: &[&Row], now: Timestamp, wanted: &Wanted) -> Markup {
    let mut shown: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| !wanted.bad || !matches!(standing(row), Standing::Blocked | Standing::Excluded))
        .collect();
    match wanted.order {
        Order::Worst => shown.sort_by_cached_key(|row| (std::cmp::Reverse(standing(row)), since(row), &row.guard, &row.node)),
        Order::Since => shown.sort_by_cached_key(|row| (since(row).is_none(), since(row), &row.guard, &row.node)),
        Order::Node => shown.sort_by_key(|row| (&row.node, &row.guard)),
    }
    let (all, first) = (shown.len(), wanted.page * ROWS);
    let here: Vec<&Row> = shown.into_iter().skip(first).take(ROWS).collect();
    let targets = columns(&here);
    html! {
        section aria-labelledby="all" {
            h2 #all { "Every node" }
            @if here.is_empty() { p { "No node of these." } } @else {
                div.wide role="group" aria-label="Table of every node" tabindex="0" { table {
                    caption { (first + 1) " to " (first + here.len()) " of " (all) }
                    thead { tr { th scope="col" { "Node" } th scope="col" { "Guard" } th scope="col" { "Known" } @for target in &targets { th scope="col" { (clean(target)) } } th scope="col" { "Since" } } }
                    tbody { @for row in &here { (line(row, &targets, now)) } }
                } }
            }
            (pages(all, wanted))
        }
    }
}

/// The targets that have a column, by name: where there are too many, those that most nodes have, so that what one agent invents takes no
/// column of another's.
fn columns<'a>(rows: &[&'a Row]) -> BTreeSet<&'a str> {
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().flat_map(|row| &row.targets).for_each(|target| *nodes.entry(&target.name).or_default() += 1);
    let mut names: Vec<(&str, usize)> = nodes.into_iter().collect();
    names.sort_by_key(|(name, nodes)| (std::cmp::Reverse(*nodes), *name));
    names.into_iter().take(COLUMNS).map(|(name, _)| name).collect()
}

fn line(row: &Row, targets: &BTreeSet<&str>, now: Timestamp) -> Markup {
    let known = match row.coverage.reason() {
        Some(reason) => format!("{}: {reason}", row.coverage.state()),
        None => row.coverage.state().to_owned(),
    };
    let coverage = if let Coverage::Uncovered(_) = row.coverage { "doubt" } else { "" };
    html! {
        tr {
            th scope="row" { a href=(href(row)) { (clean(&row.node)) } }
            td { (row.guard) }
            td class=(coverage) { (known) }
            @for name in targets { (cell(row.targets.iter().find(|target| target.name == *name))) }
            td { (when(now, since(row))) }
        }
    }
}

fn cell(target: Option<&TargetRow>) -> Markup {
    let Some((verdict, target)) = target.and_then(|target| Some((target.verdict?, target))) else {
        return html! { td.none { "–" } };
    };
    let class = match verdict {
        Verdict::Breached => "open",
        Verdict::Inconclusive => "doubt",
        Verdict::Blocked => "well",
    };
    html! { td class=(class) { (verdict.as_str()) small { (target.reason.map_or("", Reason::as_str)) } } }
}

fn pages(all: usize, wanted: &Wanted) -> Markup {
    let last = all.saturating_sub(1) / ROWS;
    let link = |page: usize| {
        let guard = wanted.guard.as_ref().map(GuardName::to_string).unwrap_or_default();
        let show = if wanted.bad { "bad" } else { "all" };
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("guard", guard.as_str()),
                ("find", &wanted.find),
                ("show", show),
                ("order", wanted.order.word()),
                ("page", &page.to_string()),
            ])
            .finish();
        format!("/?{query}#all")
    };
    html! {
        @if last > 0 {
            nav.pages aria-label="Pages of the table" {
                @if wanted.page > 0 { a href=(link(wanted.page.min(last + 1) - 1)) rel="prev" { "Earlier" } }
                span { "Page " (wanted.page + 1) " of " (last + 1) }
                @if wanted.page < last { a href=(link(wanted.page + 1)) rel="next" { "Further" } }
            }
        }
    }
}

/// What is known of one node beyond its row.
#[derive(Debug, Clone)]
pub enum LastRound {
    /// The newest report of its agent, in words.
    Told(String),
    /// None could be had; why.
    None(String),
}

/// One node under one guard: its row, and the newest round in words.
pub fn node(row: &Row, round: &LastRound, teller: &Teller<'_>) -> String {
    let state = standing(row);
    let says = match state {
        Standing::Open => "open",
        Standing::Uncovered => "unknown",
        Standing::Unproven => "not proved",
        Standing::Grace => "excused for a while",
        Standing::Blocked => "blocked",
        Standing::Excluded => "left out: no agent can be there",
    };
    let targets: BTreeSet<&str> = row.targets.iter().map(|target| target.name.as_str()).collect();
    let live = html! {
        (open(&[row], teller.now))
        (unknown(&[row], teller.now))
        section aria-labelledby="row" {
            h2 #row { "As the fleet has it" }
            div.wide role="group" aria-label="Table of this node" tabindex="0" { table {
                thead { tr { th scope="col" { "Node" } th scope="col" { "Guard" } th scope="col" { "Known" } @for target in &targets { th scope="col" { (clean(target)) } } th scope="col" { "Since" } } }
                tbody { (line(row, &targets, teller.now)) }
            } }
        }
        section aria-labelledby="round" {
            h2 #round { "The newest round, in the agent's words" }
            @match round {
                LastRound::Told(text) => pre tabindex="0" aria-labelledby="round" { (text) },
                LastRound::None(why) => p.doubt { (clean(why)) },
            }
        }
    };
    frame(&format!("{}: {says}", clean(&row.node)), class(state), &format!("guard {}", row.guard), &html! {}, &live, teller)
        .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardprobe_core::model::finding::{Attribution, Doubt};

    fn row(node: &str, targets: &[&str], reason: Reason) -> Row {
        let verdict = if matches!(reason, Reason::Proof(_)) { Verdict::Blocked } else { Verdict::Inconclusive };
        let target = |name: &&str| TargetRow {
            name: (*name).to_owned(),
            kind: None,
            verdict: Some(verdict),
            reason: Some(reason),
            since: None,
            held_proof_seconds: None,
            incident: None,
            not_reachable: None,
            missing_addresses: vec![],
        };
        Row {
            guard: "default/deny".parse().unwrap(),
            node: node.to_owned(),
            node_uid: format!("uid-{node}"),
            coverage: Coverage::Covered,
            uncovered_since: None,
            trouble: None,
            pod: None,
            age_seconds: None,
            round_seconds: None,
            report: None,
            targets: targets.iter().map(target).collect(),
        }
    }

    fn shown(rows: Vec<Row>, find: &str) -> String {
        let teller = Teller { now: Timestamp::UNIX_EPOCH, reporter: "reporter-0", leader: true, pending: &[] };
        let wanted = Wanted { find: find.to_owned(), ..Wanted::default() };
        overview(&Fleet { rows, warnings: vec![] }, &teller, &wanted)
    }

    const SILENCE: Reason = Reason::Proof(Attribution::Silence);
    const DOUBT: Reason = Reason::Doubt(Doubt::ControlFailed);

    #[test]
    fn targets_that_one_agent_invents_take_no_column_of_those_that_all_have() {
        let invented: Vec<String> = (0..32).map(|nth| format!("a{nth:02}")).collect();
        let invented: Vec<&str> = invented.iter().map(String::as_str).collect();
        let page = shown(vec![row("n1", &invented, SILENCE), row("n2", &["imds"], SILENCE), row("n3", &["imds"], SILENCE)], "");
        assert!(page.contains("<th scope=\"col\">imds</th>"), "{page}");
        assert!(page.contains("<th scope=\"col\">a30</th>") && !page.contains("<th scope=\"col\">a31</th>"));
    }

    #[test]
    fn what_is_looked_for_is_what_every_list_shows() {
        let rows = || vec![row("node-1", &["imds"], DOUBT), row("node-2", &["imds"], DOUBT)];
        let page = shown(rows(), "node-2");
        assert!(page.contains("1 of 2") && page.contains("2 nodes prove nothing"), "the sentence is about all: {page}");
        assert!(page.contains(">node-2<") && !page.contains(">node-1<"), "{page}");
        let page = shown(rows(), "nowhere");
        assert!(page.contains("“nowhere” in their names: 0 of 2") && !page.contains(">node-1<"), "{page}");
    }

    #[test]
    fn none_that_is_fine_is_no_good_news_and_each_proof_says_what_it_means() {
        let page = shown(vec![row("node-1", &["imds"], DOUBT)], "");
        assert!(page.contains("<td class=\"none\">0 of 1</td>"), "{page}");
        let page = shown(vec![row("node-1", &["imds"], SILENCE)], "");
        let means = words::reason(SILENCE).means;
        assert!(page.contains("<td class=\"well\">1 of 1</td>") && page.contains(means), "{means}: {page}");
    }
}
