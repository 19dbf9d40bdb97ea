//! Wrong calls, as a new user makes them: each message says what to do next, and programs get their document.
use super::common::{World, own_namespace};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The program where it may not probe: no call of this file gets as far as that.
fn call(args: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guardprobe"));
    command.env_clear().env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace()).envs(environment.iter().copied()).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that reads no input has ended by then.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_call_says_what_to_do_next() {
    let nothing: &[(&str, &str)] = &[];
    for (args, environment, input, expected) in [
        (&["chek"][..], nothing, "", "a similar subcommand exists: 'check'"),
        (&["lab", "hold"], nothing, "", "'hold' is an option: guardprobe lab --hold"),
        (&["lab", "list"], nothing, "", "'list' is an option: guardprobe lab --list"),
        (&["lab", "--scenario", "hop-limt"], nothing, "", "a similar value exists: 'hop-limit'"),
        (&["lab", "--nodes", "20", "--hold"], nothing, "", "20 is not in 1..=9"),
        (&["lab", "--listen", "0.0.0.0:9797"], nothing, "", "expected a loopback address and port"),
        (&["verify", "default/deny"], nothing, "", "guardprobe verify --guard default/deny"),
        (&["verify", "node-1"], nothing, "", "guardprobe verify --node node-1"),
        (&["verify", "--gard", "x"], nothing, "", "a similar argument exists: '--guard'"),
        (&["verify", "--output", "yaml"], nothing, "", "[possible values: table, json, junit, markdown]"),
        (&["verify", "--wait", "5"], nothing, "", "expected a number and a unit, such as 15s"),
        (&["verify", "--url", "127.0.0.1:9799"], nothing, "", "expected http://HOST:PORT or https://HOST:PORT"),
        (&["verify", "--url", "http://127.0.0.1:1", "--ca-file", "x"], nothing, "", "expected --url https://HOST:PORT"),
        (&["verify", "--url", "http://10.0.0.1:1", "--bearer-token-file", "x"], nothing, "", "a token is not sent over http"),
        (&["verify", "--url", "https://x", "--ca-file", "/nowhere"], nothing, "", "--ca-file /nowhere: No such file"),
        (&["check", "imds"], nothing, "", "guardprobe check --target NAME=HOST:PORT"),
        (&["check", "--target", "vault=10.0.0.5"], nothing, "", "expected host:port, such as 10.0.0.5:8200"),
        (&["check", "--target", "x=10.0.0.0/24:80"], nothing, "", "is a range: expected one address"),
        (&["check", "-c", "/nowhere"], nothing, "", "/nowhere: cannot be read: No such file"),
        (
            &["check", "-c", "-"],
            nothing,
            "targets: [{name: x, kind: imd}]",
            "standard input:1:27: targets[0].kind: \"imd\" is not a kind of target, did you mean imds?",
        ),
        (&["check"], &[("GUARDPROBE_REPORTER_ADDRESS", "reporter")], "", "GUARDPROBE_REPORTER_ADDRESS: \"reporter\" has no port"),
        (&["agent", "--listen", "9797"], nothing, "", "expected ADDRESS:PORT or :PORT, such as 0.0.0.0:9797 or :9797"),
        (&["agent", "--listen", ":97977"], nothing, "", "expected ADDRESS:PORT or :PORT"),
        (&["agent", "--log", "verbose"], nothing, "", "\"verbose\" is no level: expected off, error, warn, info, debug or trace"),
        (&["agent", "--role", "watcher"], nothing, "", "[possible values: agent, witness]"),
        (&["reporter"], nothing, "", "expected --config FILE, or --guard NAMESPACE/NAME"),
        (&["check"], &[("GUARDPROBE_PROOF", "some")], "", "expected weak, silence, rejected or witnessed"),
    ] {
        let output = call(args, environment, input);
        let text = said(&output);
        assert!(output.status.code() == Some(2) && text.contains(expected), "{args:?}: {:?} {text}", output.status);
        assert!(!text.contains("panicked") && text.lines().count() < 12, "{args:?}: {text}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    for name in [
        "GUARDPROBE_PROOF",
        "GUARDPROBE_OUTPUT",
        "GUARDPROBE_CONFIG",
        "GUARDPROBE_LOG",
        "GUARDPROBE_LOG_FORMAT",
        "GUARDPROBE_REPORTER_ADDRESS",
    ] {
        let output = call(&["check"], &[(name, "")], "");
        assert!(said(&output).starts_with("GUARDPROBE_FORBIDDEN_NETNS forbids"), "{name}: {}", said(&output));
    }
    let output = call(&["verify", "--wait", "1s"], &[("GUARDPROBE_URL", ""), ("HOME", "/nowhere")], "");
    assert!(said(&output).contains("there is no kubeconfig"), "{}", said(&output));
}

#[test]
fn help_is_a_command_too() {
    for args in [&["help"][..], &["help", "verify"], &["--help"]] {
        let output = call(args, &[], "");
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Usage: guardprobe"), "{args:?}");
    }
}

#[test]
fn programs_get_a_document_also_where_nothing_could_begin() {
    let json = |args: &[&str]| -> serde_json::Value {
        let output = call(args, &[("HOME", "/nowhere")], "");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    };
    for (args, schema) in [
        (&["check", "-o", "json", "-c", "/nowhere"][..], "guardprobe.report/v1"),
        (&["check", "--output=json", "--wat"], "guardprobe.report/v1"),
        (&["verify", "-o", "json"], "guardprobe.verify/v1"),
        (&["verify", "-ojson", "--gard", "x"], "guardprobe.verify/v1"),
    ] {
        let document = json(args);
        assert_eq!((document["schema"].as_str(), document["exit_status"].as_u64()), (Some(schema), Some(2)), "{document}");
        assert!(document["error"].as_str().is_some_and(|why| !why.is_empty()), "{document}");
    }
    for args in
        [&["check", "-o", "junit", "-c", "/nowhere"][..], &["verify", "-o", "junit"], &["verify", "-o", "junit", "--gard"]]
    {
        let output = call(args, &[("HOME", "/nowhere")], "");
        assert!(String::from_utf8_lossy(&output.stdout).contains("errors=\"1\""), "{args:?}: {}", said(&output));
    }
    let output = call(&["verify", "-o", "markdown"], &[("HOME", "/nowhere")], "");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("### guardprobe verify: "), "{}", said(&output));
}

#[test]
fn a_terminal_without_escapes_gets_none() {
    let on_a_terminal = |environment: &[(&str, &str)]| {
        let program = env!("CARGO_BIN_EXE_guardprobe");
        let mut command = Command::new("script");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("GUARDPROBE_FORBIDDEN_NETNS", own_namespace());
        command.envs(environment.iter().copied());
        let line = format!("{program} verify --wait 1s --url http://127.0.0.1:9; {program} check; {program} agent --log verbose");
        let output = command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let with = on_a_terminal(&[("TERM", "xterm")]);
    assert!(with.contains('\u{1b}'), "it is a terminal: {with:?}");
    for environment in [[("TERM", "dumb"), ("X", "1")], [("TERM", "xterm"), ("NO_COLOR", "1")]] {
        let text = on_a_terminal(&environment);
        assert!(text.contains("nobody answers") && !text.contains('\u{1b}'), "{environment:?}: {text:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_not_proved() {
    let world = World::new();
    world.populate();
    world.guard();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = world.in_the_pod();
    command.arg(env!("CARGO_BIN_EXE_guardprobe")).args(["check", "--target", "vault=10.80.0.5:8200", "-o", "json"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let text = said(&output);
    assert!(output.status.code() == Some(3) && text.contains("the result could not be written: No space left"), "{text}");
}
