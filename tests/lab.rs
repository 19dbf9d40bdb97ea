//! `guardprobe lab`: the story, the catalogue, and that nothing of it is left behind.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
#![expect(clippy::disallowed_methods, reason = "a test waits for facts, with an end")]
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guardprobe"));
    command.arg("lab").args(args).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The processes of a lab that run this binary, as folders of /proc.
fn lab_processes(binary: &str) -> Vec<PathBuf> {
    let alive = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours =
        |path: &PathBuf| fs::read(path.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("lab-role"));
    let exe = |path: &PathBuf| fs::read_link(path.join("exe")).is_ok_and(|exe| exe.to_string_lossy().starts_with(binary));
    alive.filter(|path| ours(path) && exe(path)).collect()
}

/// A copy of the binary that others may run, and that no other test runs.
fn copy(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("gpt-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.join("guardprobe");
    // By another process: while this one held it open to write, a child that some other test starts would hold it too, and it could not be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_guardprobe")).arg(&copy).status().unwrap();
    assert!(copied.success());
    copy
}

/// Waits until nothing of a lab is left, and removes its binary.
fn expect_nothing_left(binary: &Path) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let left = lab_processes(binary.to_str().unwrap());
        if left.is_empty() {
            return fs::remove_dir_all(binary.parent().unwrap()).unwrap();
        }
        assert!(Instant::now() < end, "still alive: {left:?}");
        std::thread::yield_now();
    }
}

/// Starts the catalogue, and waits until its first row: worlds stand then. Whoever has the reader of its rows keeps it going.
fn midway(binary: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child =
        Command::new(binary).args(["lab", "--scenario", "all"]).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let (mut line, mut rows) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
    rows.read_line(&mut line).unwrap();
    assert!(line.contains("guard-holds"), "{line}");
    assert!(!lab_processes(binary.to_str().unwrap()).is_empty());
    (child, rows)
}

#[test]
fn the_story_ends_in_blocked_breached_blocked() {
    let output = lab(&["--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let last = text(&output).lines().last().unwrap().to_owned();
    assert!(last.starts_with("blocked → breached → blocked   in "), "{last}");
}

/// Ends a held lab, whatever becomes of its test.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the held lab prints until that is in it.
fn read_until(out: &mut impl BufRead, wanted: &str) -> String {
    read_until_all(out, &[wanted.to_owned()])
}

/// What it prints until all of that is in it, in whatever order; for so long a test may take.
fn read_until_all(out: &mut impl BufRead, wanted: &[String]) -> String {
    let (mut text, begun) = (String::new(), Instant::now());
    while !wanted.iter().all(|wanted| text.contains(wanted)) {
        assert!(begun.elapsed() < Duration::from_secs(60), "not within a minute: {wanted:?}: {text}");
        assert!(out.read_line(&mut text).unwrap() > 0, "it ended before {wanted:?}: {text}");
    }
    text
}

#[test]
fn a_held_lab_answers_on_the_host_and_its_guards_are_switched_from_elsewhere() {
    let binary = copy("held");
    let mut command = Command::new(&binary);
    command.args(["lab", "--hold", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut held = Held(command.spawn().unwrap());
    let mut out = BufReader::new(held.0.stdout.take().unwrap());
    let told = read_until(&mut out, "End it with Ctrl-C");
    let after = |words: &str| told.split_once(words).unwrap().1.split(['/', ' ', '\n']).next().unwrap().to_owned();
    let (page, agent, reporter) =
        (after("verify --url http://"), after("\n                    curl http://"), after("metrics           curl http://"));
    read_until_all(&mut out, &[1, 2, 3].map(|node| format!("lab-node-{node}  blocked       kube-api  silence")));
    let verify = || Command::new(&binary).args(["verify", "--url", &format!("http://{page}")]).output().unwrap();
    let blocked = verify();
    assert!(blocked.status.code() == Some(0) && text(&blocked).contains("blocked on 3 nodes"), "{}", text(&blocked));

    let switch = |args: &[&str]| lab(&[&["guard"], args, &["--listen", &agent]].concat()).output().unwrap();
    assert_eq!(switch(&["off"]).status.code(), Some(0));
    let opened = read_until(&mut out, "opened at");
    assert!(opened.contains("lab-node-1  breached") && opened.contains("after the switch"), "{opened}");
    let event = read_until(&mut out, "Warning EgressBreached");
    assert!(event.contains("lab-node-1  Event  Warning EgressBreached"), "{event}");
    let metrics = get(&agent, "/metrics");
    assert!(metrics.contains(r#"target="imds",verdict="breached"} 1"#), "{metrics}");
    let metrics = get(&reporter, "/metrics");
    assert!(metrics.contains(r#"node="lab-node-1",target="imds"} 1"#), "{metrics}");
    assert!(get(&page, "/").contains("Open on 1 of 3 nodes"));
    let open = verify();
    assert!(open.status.code() == Some(1) && text(&open).contains("on 1 of 3 nodes"), "{}", text(&open));
    assert_eq!(switch(&["on"]).status.code(), Some(0));
    assert!(read_until(&mut out, "closed: it was open for").contains("blocked"));

    assert_eq!(switch(&["off", "--node", "all"]).status.code(), Some(0));
    read_until(&mut out, "lab-node-3  Event");
    let wrong = switch(&["off", "--node", "lab-node-4"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("the nodes here are lab-node-1, lab-node-2, lab-node-3, or all"), "{}", text(&wrong));
    // Ctrl-C is the way to end it.
    let sent = Command::new("kill").args(["-INT", &held.0.id().to_string()]).status().unwrap();
    assert!(sent.success() && held.0.wait().unwrap().code() == Some(0));
    let mut last = String::new();
    held.0.stderr.take().unwrap().read_to_string(&mut last).unwrap();
    assert!(last.ends_with("guardprobe lab: ended; nothing of it is left\n"), "{last}");
    expect_nothing_left(&binary);
    assert_eq!(switch(&["on"]).status.code(), Some(2), "nobody is there any more");
}

#[test]
fn a_held_lab_notices_that_a_stand_in_has_died() {
    let binary = copy("orphaned");
    let mut command = Command::new(&binary);
    command.args(["lab", "--hold", "--nodes", "1", "--listen", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut held = Held(command.spawn().unwrap());
    let mut out = BufReader::new(held.0.stdout.take().unwrap());
    read_until(&mut out, "lab-node-1  blocked       imds");
    let is_standin =
        |path: &PathBuf| fs::read(path.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("standins"));
    let standin = lab_processes(binary.to_str().unwrap()).into_iter().find(is_standin).unwrap();
    let pid = standin.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    assert_eq!(held.0.wait().unwrap().code(), Some(2));
    let mut said = String::new();
    held.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("a stand-in of lab-node-1 (IMDS, the API or DNS) has ended, and the lab with it"), "{said}");
    expect_nothing_left(&binary);
}

#[test]
fn a_disk_that_is_full_is_told_and_no_panic() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = lab(&["--list"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "guardprobe lab: standard output: No space left on device (os error 28)\n");
}

/// The body of an answer of the held agent.
fn get(at: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answer
}

#[test]
fn a_lab_is_held_on_a_loopback_address_only() {
    let output = lab(&["--hold", "--listen", "0.0.0.0:9797"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("expected a loopback address"), "{}", text(&output));
}

#[test]
fn an_unprivileged_user_sees_the_same() {
    let binary = copy("unprivileged");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary).args(["lab", "--once"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("blocked → breached → blocked"));
    expect_nothing_left(&binary);
}

#[test]
fn every_situation_of_the_catalogue_is_judged_as_expected() {
    let start = Instant::now();
    let output = lab(&["--scenario", "all"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let listed = text(&lab(&["--list"]).output().unwrap()).lines().count();
    assert!(listed >= 22, "{listed}");
    assert!(text(&output).contains(&format!("{listed} judged as expected, 0 not")), "{}", text(&output));
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

#[test]
fn killed_midway_it_leaves_nothing_behind() {
    let binary = copy("killed");
    let (mut child, _rows) = midway(&binary);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    expect_nothing_left(&binary);
}

#[test]
fn terminated_midway_it_leaves_nothing_behind() {
    let binary = copy("terminated");
    let (mut child, _rows) = midway(&binary);
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    expect_nothing_left(&binary);
}

#[test]
fn a_situation_that_does_not_exist_is_2_and_says_where_to_look() {
    let output = lab(&["--scenario", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("guardprobe lab --list names them"), "{}", text(&output));
}

#[test]
fn where_user_namespaces_are_forbidden_it_says_how_to_allow_them() {
    // A namespace may forbid itself children: the limit is per user namespace, so the machine's own stays as it is.
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec {} lab --once", env!("CARGO_BIN_EXE_guardprobe"));
    let output = Command::new("unshare").args(["-Ur", "sh", "-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("user.max_user_namespaces"), "{}", text(&output));
}
