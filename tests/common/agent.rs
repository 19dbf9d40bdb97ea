//! `guardprobe agent` in the pod of a world: a child that is gone when its test is, asked over HTTP from inside a namespace.
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
use super::facts::{eventually, until};
use super::{World, inside};
use guardprobe_core::model::finding::Verdict;
use guardprobe_core::model::report::{Report, TargetReport, WitnessReport};
use guardprobe_core::model::transition::{Event, Line};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where agents listen by default.
pub(crate) const PORT: u16 = 9797;
/// The pod, as seen from the VPC.
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// Longer than any blocking query of a test.
const ANSWER: Duration = Duration::from_secs(40);

/// Rounds as quick as the configuration allows, and no startup window; targets are to follow.
pub(crate) const QUICK: &str = "guard: default/deny\ninterval: 1500ms\ntimeout: 1100ms\nsentinel: 200ms\nstartup: 0s\n";
/// A target for [`QUICK`].
pub(crate) const IMDS: &str = "targets: [{name: imds, kind: imds}]\n";

/// An agent that runs.
pub(crate) struct Agent<'w> {
    world: &'w World,
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    stderr: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// An agent with that configuration, listening when this returns.
    pub(crate) fn agent(&self, configuration: &str) -> Agent<'_> {
        let agent = self.agent_with(&["-c", &self.file("guardprobe.yaml", configuration)], |command| command);
        agent.until_it_listens();
        agent
    }

    /// An agent with these arguments, and with the command changed first; it may not listen yet, or never.
    pub(crate) fn agent_with(&self, args: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Agent<'_> {
        let mut child = self.agent_child(args, change, [Stdio::piped(), Stdio::piped()]);
        let (stdout, stderr) = (lines_of(child.stdout.take().unwrap()), lines_of(child.stderr.take().unwrap()));
        Agent { world: self, child, stdout, stderr }
    }

    /// An agent that writes to these, listening when this returns.
    pub(crate) fn agent_that_writes_to(&self, args: &[&str], streams: [Stdio; 2]) -> Agent<'_> {
        let child = self.agent_child(args, |command| command, streams);
        let agent = Agent { world: self, child, stdout: Arc::default(), stderr: Arc::default() };
        agent.until_it_listens();
        agent
    }

    fn agent_child(
        &self,
        args: &[&str],
        change: impl FnOnce(&mut Command) -> &mut Command,
        [stdout, stderr]: [Stdio; 2],
    ) -> Child {
        let mut command = self.in_the_pod();
        command.env("GUARDPROBE_POD", "agent-1");
        change(&mut command);
        command.arg(env!("CARGO_BIN_EXE_guardprobe")).arg("agent").args(args);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("iproute2 is installed")
    }
}

/// Collects lines on a thread of its own, so that the writer never waits.
pub(crate) fn lines_of(pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
    lines
}

impl Agent<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    pub(crate) fn until_it_listens(&self) {
        eventually("the agent listens", || {
            self.try_get("/livez").map(drop).map_err(|error| format!("{error}: {}", self.stderr()))
        });
    }

    /// The exit status, once it has ended by itself.
    pub(crate) fn status(&mut self) -> i32 {
        let child = &mut self.child;
        let status = eventually("the agent ends", || child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
        status.code().unwrap_or_else(|| panic!("{status}"))
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    /// Everything on standard output.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lock().unwrap().clone()
    }

    /// The transitions so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.stdout().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Each event of a target so far.
    pub(crate) fn events(&self, target: &str) -> Vec<Event> {
        self.lines().iter().filter(|line| line.transition.target == target).map(|line| line.transition.event).collect()
    }

    /// The first line of that event for that target, once it is there.
    #[track_caller]
    pub(crate) fn line(&self, target: &str, event: Event) -> Line {
        eventually(&format!("a line that {target} is {}", event.as_str()), || {
            let found =
                self.lines().into_iter().find(|line| (line.transition.target.as_str(), line.transition.event) == (target, event));
            found.ok_or_else(|| format!("{:?}", self.stdout()))
        })
    }

    /// An answer to a GET over the pod's loopback.
    pub(crate) fn try_get(&self, path: &str) -> io::Result<Answer> {
        self.ask(path).join().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|error| panic!("{path}: {error}: {}", self.stderr()))
    }

    /// The same while the test goes on.
    pub(crate) fn ask(&self, path: &str) -> JoinHandle<io::Result<Answer>> {
        let (pod, path) = (self.world.pod(), path.to_owned());
        thread::spawn(move || inside(&pod, move || get(connect(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)?, &path)))
    }

    /// An answer to a GET from an address in the VPC.
    pub(crate) fn get_from(&self, source: Ipv4Addr, path: &str) -> Answer {
        let path = path.to_owned();
        inside(&self.world.vpc(), move || get(connect(source, POD)?, &path)).unwrap()
    }

    pub(crate) fn report(&self) -> Report {
        self.get("/v1/report").report()
    }

    pub(crate) fn witness_report(&self) -> WitnessReport {
        let answer = self.get("/v1/report");
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
    }

    pub(crate) fn target(&self, name: &str) -> TargetReport {
        target(self.report(), name)
    }

    /// `verdict: reason` of a target.
    pub(crate) fn finding(&self, name: &str) -> String {
        let target = self.target(name);
        format!("{}: {}", target.verdict.as_str(), target.reason.as_str())
    }

    #[track_caller]
    pub(crate) fn until_finding(&self, name: &str, finding: &str) {
        until(&format!("{name} is {finding}"), || self.finding(name), |found| found.starts_with(finding));
    }

    /// Waits until the verdict is that.
    #[track_caller]
    pub(crate) fn until_verdict(&self, name: &str, verdict: Verdict) -> TargetReport {
        until(&format!("{name} is {}", verdict.as_str()), || self.target(name), |target| target.verdict == verdict)
    }

    pub(crate) fn metrics(&self) -> Page {
        Page(self.get("/metrics").body)
    }

    /// How many rounds have ended.
    pub(crate) fn rounds(&self) -> u64 {
        self.metrics().value("guardprobe_rounds_total", &[]) as u64
    }

    /// Waits until so many more rounds have ended.
    #[track_caller]
    pub(crate) fn rounds_later(&self, more: u64) {
        let before = self.rounds();
        until(&format!("{more} more rounds than {before}"), || self.rounds(), |rounds| *rounds >= before + more);
    }

    /// Waits for the end of a round, as a blocking query tells it.
    pub(crate) fn next_round(&self) -> Report {
        let head = self.report().head;
        self.get(&format!("/v1/report?after={}.{}&wait=30s&on=round", head.boot, head.round)).report()
    }

    /// A number of `/proc/<pid>/status`: RssAnon in kB, Threads and so on.
    pub(crate) fn proc_status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// How many file descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let (stderr, stdout) = (self.stderr(), self.stdout());
            let last = &stdout[stdout.len().saturating_sub(20)..];
            eprintln!("standard error of the agent:\n{stderr}\nits last lines:\n{}", last.join("\n"));
        }
    }
}

/// One target of a report.
pub(crate) fn target(report: Report, name: &str) -> TargetReport {
    report.targets.into_iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
}

/// A connection to an agent's port.
pub(crate) fn connect(source: impl Into<IpAddr>, to: impl Into<IpAddr>) -> io::Result<TcpStream> {
    let (source, to) = (SocketAddr::new(source.into(), 0), SocketAddr::new(to.into(), PORT));
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&source.into())?;
    socket.connect_timeout(&to.into(), ANSWER)?;
    socket.set_read_timeout(Some(ANSWER))?;
    Ok(socket.into())
}

fn get(mut stream: TcpStream, path: &str) -> io::Result<Answer> {
    let asked = Instant::now();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: body.to_owned(), took: asked.elapsed() })
}

/// What an agent answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn report(&self) -> Report {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Page(pub(crate) String);

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Page {
    /// All of its samples. No label value of ours has a quote or a comma in it.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect()
    }

    /// The value of the one series of that name with these labels among its own.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.values(name, labels);
        assert_eq!(found.len(), 1, "{name} {labels:?} in\n{}", self.0);
        found[0]
    }

    /// The values of each series of that name with these labels among its own.
    pub(crate) fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let has = |sample: &Sample| labels.iter().all(|(name, value)| sample.labels.contains(&((*name).into(), (*value).into())));
        self.samples().into_iter().filter(|sample| sample.name == name && has(sample)).map(|sample| sample.value).collect()
    }

    /// The value of a series of `{guard,target}`.
    #[track_caller]
    pub(crate) fn of(&self, name: &str, target: &str) -> f64 {
        self.value(name, &[("target", target)])
    }

    /// The verdict that is 1.
    pub(crate) fn verdict(&self, target: &str) -> String {
        let samples = self.samples().into_iter();
        let mut ones = samples.filter(|sample| sample.name == "guardprobe_verdict" && sample.value == 1.0).filter_map(|sample| {
            let label = |name: &str| sample.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            label("verdict").filter(|_| label("target").as_deref() == Some(target))
        });
        let one = ones.next().unwrap_or_else(|| panic!("no verdict of {target} in\n{}", self.0));
        assert_eq!(ones.next(), None, "one verdict at a time");
        one
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.strip_suffix('}').and_then(|series| series.split_once('{')).unwrap_or((series, ""));
    let pairs = labels.split("\",").map(|pair| pair.trim_end_matches('"')).filter(|pair| !pair.is_empty());
    let labels: Option<Vec<_>> = pairs.map(|pair| pair.split_once("=\"")).collect();
    let labels = labels?.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}
