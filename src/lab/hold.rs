//! A lab that stays: the agent runs until Ctrl-C, and whoever is at the keyboard takes the guard away and brings it back.
#![expect(clippy::disallowed_methods, reason = "the lab tells how long things took")]
use super::agent::Agent;
use super::narrate::{colour, introduce, took};
use super::world::World;
use super::{Switch, forward, role};
use crate::process::runtime;
use crate::wire;
use anstream::{eprintln, println};
use guardprobe_core::model::names;
use guardprobe_core::model::transition::{Event, Line, Told};
use http_body_util::Empty;
use hyper::Request;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What the held agent is told: rounds close enough together that a person sees the end of a breach come.
const CONFIG: &str = "interval: 5s\ntargets: [{name: imds, kind: imds}, {name: kube-api, kind: kube-api}]\n";

/// What can happen to a lab that is held.
enum Happened {
    /// Somebody pressed Enter.
    Key,
    /// Another terminal asked for the guard to be so.
    Asked(Switch),
    /// The agent wrote a line.
    Line(String),
    /// The agent, or the way to it, is gone.
    Over,
}

/// Runs until it is killed. Standard input is the listener at `at`.
pub(super) fn hold(at: SocketAddr, keys: bool) -> io::Result<ExitCode> {
    let mut world = introduce()?;
    world.enter_pod()?;
    let forward = role::command("forward", "").stdin(Stdio::inherit()).stdout(Stdio::piped()).spawn()?;
    let mut agent = Agent::start(&world, CONFIG)?;
    let (to, happened) = channel();
    listen(forward.stdout, &to, |line| Happened::Asked(if line == "on" { Switch::On } else { Switch::Off }));
    listen(agent.process.stdout.take(), &to, |line| Happened::Line(line.to_owned()));
    if keys {
        // Standard input is the listener, so the keyboard is asked for by its own name.
        listen(File::open("/dev/tty").ok(), &to, |_| Happened::Key);
    }
    explain(at, keys);
    play(&mut world, &happened)
}

fn explain(at: SocketAddr, keys: bool) {
    println!("The agent runs in the pod: every 5 s a round, every second a lone connect. Look at it:");
    println!("  curl http://{at}/metrics");
    println!("  curl http://{at}/v1/report");
    let key = if keys { "press Enter, or " } else { "" };
    let listen = if at.to_string() == super::HOLD_AT { String::new() } else { format!(" --listen {at}") };
    println!("Take the guard away: {key}in another terminal: guardprobe lab guard off{listen}   (and back: on)");
    println!("End it with Ctrl-C; nothing is left behind.\n");
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

fn play(world: &mut World, happened: &Receiver<Happened>) -> io::Result<ExitCode> {
    let (mut guard, mut switched) = (Switch::On, None);
    loop {
        let wanted = match happened.recv() {
            Ok(Happened::Key) if guard == Switch::On => Switch::Off,
            Ok(Happened::Key) => Switch::On,
            Ok(Happened::Asked(wanted)) => wanted,
            Ok(Happened::Line(line)) => {
                tell(&line, switched);
                continue;
            }
            Ok(Happened::Over) | Err(_) => {
                // Ctrl-C reaches every process of the lab: the first to go is no news.
                thread::sleep(Duration::from_millis(500));
                return Err(io::Error::other("the agent, or the way to it, has ended"));
            }
        };
        if wanted != guard {
            if wanted == Switch::On {
                world.guard_up()?
            } else {
                world.guard_down()?
            }
            (guard, switched) = (wanted, Some(Instant::now()));
        }
        let state = if guard == Switch::On { "up" } else { "gone: somebody deleted the policy" };
        println!("            the guard is {state}");
    }
}

/// What the agent wrote, for a person, and how long after the guard was switched.
fn tell(line: &str, switched: Option<Instant>) {
    let Ok(Line { transition, .. }) = serde_json::from_str(line) else { return println!("{line}") };
    let style = colour(transition.verdict);
    let time = transition.time.to_string();
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time).get(..12).unwrap_or_default().to_owned();
    let (verdict, reason) = (transition.verdict.as_str(), transition.reason.as_str());
    let more = more(transition.event, transition.opening.as_ref());
    let after = switched.filter(|_| matches!(transition.event, Event::Opened | Event::Closed));
    let after = after.map(|at| format!(", {} after the switch", took(at.elapsed()))).unwrap_or_default();
    println!("{time}  {style}{verdict:<12}{style:#}  {:<8}  {reason}{more}{after}", transition.target);
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

/// Asks a lab that is held in another terminal to switch its guard.
pub(super) fn switch(at: SocketAddr, to: Switch) -> ExitCode {
    let word = if to == Switch::On { "on" } else { "off" };
    match ask(at, word) {
        Ok(true) => {
            println!("the guard of the lab at {at} is {}", if to == Switch::On { "up" } else { "gone" });
            ExitCode::SUCCESS
        }
        Ok(false) => {
            eprintln!("guardprobe lab: what answers at {at} is no lab");
            ExitCode::from(names::EXIT_LAB_UNABLE)
        }
        Err(error) => {
            eprintln!("guardprobe lab: no lab is held at {at} ({error}): start one with guardprobe lab --hold");
            ExitCode::from(names::EXIT_LAB_UNABLE)
        }
    }
}

/// True when a lab has heard it.
fn ask(at: SocketAddr, word: &str) -> io::Result<bool> {
    let runtime = runtime::single()?;
    let request = Request::post(format!("{}{word}", forward::SWITCH)).header("Host", at.to_string()).body(Empty::new());
    let request = request.map_err(io::Error::other)?;
    runtime.block_on(async {
        let answered = timeout(names::CLIMB_TIMEOUT, async { wire::fetch(TcpStream::connect(at).await?, request, 1024).await });
        let (head, body) = answered.await??;
        Ok(head.status.is_success() && body.as_ref().trim_ascii() == word.as_bytes())
    })
}
