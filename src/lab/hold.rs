//! A lab that stays: some nodes with their agents and a reporter run until Ctrl-C, and whoever is at the keyboard takes guards away and brings them
//! back.
#![expect(clippy::disallowed_methods, reason = "the lab tells how long things took")]
use super::fleet::Fleet;
use super::listeners::Listeners;
use super::narrate::{colour, took};
use super::{Switch, forward, say};
use crate::process::runtime;
use crate::wire;
use anstream::eprintln;
use anstyle::{AnsiColor, Style};
use guardprobe_core::model::finding::{Reason, Verdict};
use guardprobe_core::model::names;
use guardprobe_core::model::notice::EventLine;
use guardprobe_core::model::transition::{Event, Line, Told, Transition};
use http_body_util::Empty;
use hyper::Request;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How often it is looked whether all processes of the lab are there, while nothing else happens.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// What can happen to a lab that is held.
enum Happened {
    /// Somebody pressed Enter.
    Key,
    /// Another terminal asked for guards to be so: the switch, a slash, and a node's name or all.
    Asked(String),
    /// The agent of that node wrote a line.
    Line(String, String),
    /// The reporter did.
    Told(String),
    /// The output of one of them has ended.
    Over,
}

/// Runs until it is killed. Standard input holds the listeners.
pub(super) fn hold(nodes: u8, keys: bool) -> io::Result<ExitCode> {
    let listeners = Listeners::receive(nodes)?;
    let start = Instant::now();
    say!("A fleet in a box: network namespaces on this machine, and nothing leaves it.\n");
    say!("  {nodes} × (pod ── node: kube-proxy, then the guard ── vpc: IMDS, two API endpoints, DNS), and a reporter");
    let mut fleet = Fleet::build(nodes)?;
    say!("  built in {}\n", took(start.elapsed()));
    let (to, happened) = channel();
    for (node, says) in fleet.agents_say().collect::<Vec<_>>() {
        listen(says, &to, move |line| Happened::Line(node.clone(), line.to_owned()));
    }
    listen(fleet.reporter_says(), &to, |line| Happened::Told(line.to_owned()));
    explain(&fleet, &listeners, keys)?;
    listen(fleet.open(listeners)?, &to, |line| Happened::Asked(line.to_owned()));
    if keys {
        // Standard input was the way in, so the keyboard is asked for by its own name.
        // Its end (Ctrl-D, a terminal that goes away) is no news.
        let (keyboard, to) = (File::open("/dev/tty"), to.clone());
        thread::spawn(move || {
            BufReader::new(keyboard.ok()?).lines().map_while(Result::ok).try_for_each(|_| to.send(Happened::Key)).ok()
        });
    }
    play(&mut fleet, &happened)
}

fn explain(fleet: &Fleet, listeners: &Listeners, keys: bool) -> io::Result<()> {
    let agents = listeners.agents.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let Some(agent) = agents.first() else { return Ok(()) };
    let (reporter, page) = (listeners.reporter.local_addr()?, listeners.page.local_addr()?);
    let names: Vec<&str> = fleet.nodes.iter().map(|node| node.name.as_str()).collect();
    let (first, key) = (names.first().copied().unwrap_or_default(), if keys { "press Enter, or " } else { "" });
    let (again, last) = (if keys { "Enter again, or " } else { "" }, names.last().copied().unwrap_or_default());
    let listen = if agent.to_string() == super::HOLD_AT { String::new() } else { format!(" --listen {agent}") };
    say!("An agent runs in the pod of each node ({}): every 5 s a round, every second a lone connect.", names.join(", "));
    say!("  the status page   http://{page}/");
    say!("  is all blocked?   guardprobe verify --url http://{page}");
    say!("  metrics           curl http://{reporter}/metrics    the reporter");
    for (name, at) in names.iter().zip(&agents) {
        say!("                    curl http://{at}/metrics    the agent of {name}; /v1/report for what it saw");
    }
    say!("Take the guard of {first} away: {key}in another terminal: guardprobe lab guard off{listen}");
    say!("Bring it back: {again}guardprobe lab guard on{listen}. Of another node, or of all: --node {last}, --node all.");
    say!("To look inside: {}", fleet.nodes.first().map(|node| node.world.way_in()).unwrap_or_default());
    say!(
        "End it with Ctrl-C; nothing is left behind. Times are UTC. A guard that goes again within ten minutes continues its incident.\n"
    );
    Ok(())
}

/// Tells of each line that comes out of there, and of its end.
fn listen(from: Option<impl Read + Send + 'static>, to: &Sender<Happened>, what: impl Fn(&str) -> Happened + Send + 'static) {
    let (Some(from), to) = (from, to.clone()) else { return };
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(what(&line)).is_err() {
                return;
            }
        }
        let _ = to.send(Happened::Over);
    });
}

/// The guard of each node, and when it was switched last.
struct Guards(Vec<(Switch, Option<Instant>)>);

fn play(fleet: &mut Fleet, happened: &Receiver<Happened>) -> io::Result<ExitCode> {
    let mut guards = Guards(vec![(Switch::On, None); fleet.nodes.len()]);
    let first = fleet.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
    let mut told = BTreeMap::new();
    loop {
        match happened.recv_timeout(LOOK_PERIOD) {
            Ok(Happened::Key) if guards.0.iter().any(|(guard, _)| *guard == Switch::Off) => {
                guards.switch(fleet, Switch::On, forward::ALL)?;
            }
            Ok(Happened::Key) => guards.switch(fleet, Switch::Off, &first)?,
            Ok(Happened::Asked(words)) => {
                let (to, node) = words.split_once('/').unwrap_or_default();
                guards.switch(fleet, if to == "on" { Switch::On } else { Switch::Off }, node)?;
            }
            Ok(Happened::Line(node, line)) => match serde_json::from_str(&line) {
                Ok(Line { transition, .. }) => {
                    // What changed in an opening alone is no news here.
                    let now = (transition.verdict, transition.reason);
                    let before = told.insert((node.clone(), transition.target.clone()), now);
                    if before != Some(now) || transition.event != Event::Changed {
                        tell(&node, &transition, guards.switched(fleet, &node));
                    }
                }
                Err(_) => say!("{line}"),
            },
            Ok(Happened::Told(line)) => post(&line),
            Ok(Happened::Over) | Err(_) => {
                let Some(ended) = fleet.ended() else { continue };
                // Ctrl-C reaches every process of the lab: the first to go is no news.
                thread::sleep(Duration::from_millis(500));
                return Err(io::Error::other(format!("{ended} has ended, and the lab with it")));
            }
        }
    }
}

impl Guards {
    fn switched(&self, fleet: &Fleet, node: &str) -> Option<Instant> {
        let at = fleet.nodes.iter().position(|known| known.name == node)?;
        self.0.get(at)?.1
    }

    /// Switches the guard of a node, or of all of them.
    fn switch(&mut self, fleet: &mut Fleet, to: Switch, node: &str) -> io::Result<()> {
        let state = if to == Switch::On { "up" } else { "gone" };
        for (known, (guard, switched)) in fleet.nodes.iter_mut().zip(&mut self.0) {
            if node != forward::ALL && known.name != node {
                continue;
            }
            if *guard == to {
                continue;
            }
            if to == Switch::On {
                known.world.guard_up()?
            } else {
                known.world.guard_down()?
            }
            (*guard, *switched) = (to, Some(Instant::now()));
            say!("{}  {:<10}  the guard is {state}", clock_time(Timestamp::now()), known.name);
        }
        Ok(())
    }
}

/// The time of day, with milliseconds (UTC).
fn clock_time(time: Timestamp) -> String {
    time.strftime("%H:%M:%S%.3f").to_string()
}

/// What an agent wrote, for a person, and how long after the guard was switched.
fn tell(node: &str, transition: &Transition, switched: Option<Instant>) {
    let style = colour(transition.verdict);
    let time = clock_time(transition.time);
    let (verdict, reason) = (transition.verdict.as_str(), transition.reason.as_str());
    let more = match (transition.verdict, transition.reason) {
        (Verdict::Breached, Reason::Proof(_)) => "   found shut in one round: a second one ends the breach".to_owned(),
        _ => more(transition.event, transition.opening.as_ref()),
    };
    let after = switched.filter(|_| matches!(transition.event, Event::Opened | Event::Closed));
    let after = after.map(|at| format!(", {} after the switch", took(at.elapsed()))).unwrap_or_default();
    say!("{time}  {node:<10}  {style}{verdict:<12}{style:#}  {:<8}  {reason}{more}{after}", transition.target);
}

fn more(event: Event, opening: Option<&Told>) -> String {
    match (event, opening) {
        (Event::Opened, Some(Told::Open(open))) => {
            let addresses: Vec<String> = open.addresses.iter().map(ToString::to_string).collect();
            format!("   opened at {}, as far as {}", addresses.join(", "), open.layer.as_str())
        }
        (Event::Closed | Event::Transient, Some(Told::Closed(closed))) => {
            let open_for = Duration::try_from(closed.ended - closed.opening.started).unwrap_or_default();
            format!("   {}: it was open for {}", event.as_str(), took(open_for))
        }
        (Event::Changed, _) => String::new(),
        (event, _) => format!("   {}", event.as_str()),
    }
}

/// What the reporter would post, as far as a terminal has room: the rest of the note is on the page, and in `kubectl describe node`.
fn post(line: &str) {
    let Ok(EventLine { reason, regarding, note, .. }) = serde_json::from_str(line) else { return };
    let word = reason.event_type();
    let colour = if word == "Warning" { AnsiColor::Yellow } else { AnsiColor::Green };
    let style = Style::new().fg_color(Some(colour.into()));
    let note = note.split_once(". ").map_or(note.clone(), |(first, _)| format!("{first} …"));
    say!("{}  {regarding:<10}  Event  {style}{word} {}{style:#}  {note}", clock_time(Timestamp::now()), reason.as_str());
}

/// Asks a lab that is held in another terminal to switch the guard of a node, or of all.
pub(super) fn switch(at: SocketAddr, to: Switch, node: &str) -> ExitCode {
    let words = format!("{}/{node}", if to == Switch::On { "on" } else { "off" });
    let said = match ask(at, &words) {
        Ok((true, said)) if said == words => {
            let of = if node == forward::ALL { "every node".to_owned() } else { node.to_owned() };
            say!("the guard of {of} in the lab at {at} is {}", if to == Switch::On { "up" } else { "gone" });
            return ExitCode::SUCCESS;
        }
        Ok((false, said)) if said.starts_with("the nodes here are ") => format!("no node is called {node:?}: {said}, or all"),
        Ok(_) => format!("what answers at {at} is no lab"),
        Err(error) => format!("no lab is held at {at} ({error}): start one with guardprobe lab --hold"),
    };
    eprintln!("guardprobe lab: {said}");
    ExitCode::from(names::EXIT_LAB_UNABLE)
}

/// Whether a lab has heard it, and what it said.
fn ask(at: SocketAddr, words: &str) -> io::Result<(bool, String)> {
    let runtime = runtime::single()?;
    let request = Request::post(format!("{}{words}", forward::SWITCH))
        .header(forward::HEADER, "1")
        .header("Host", at.to_string())
        .body(Empty::new());
    let request = request.map_err(io::Error::other)?;
    runtime.block_on(async {
        let answered = timeout(names::CLIMB_TIMEOUT, async { wire::fetch(TcpStream::connect(at).await?, request, 1024).await });
        let (head, body) = answered.await??;
        Ok((head.status.is_success(), String::from_utf8_lossy(body.as_ref().trim_ascii()).into_owned()))
    })
}
