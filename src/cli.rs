//! Flags, and their environment twins. Every command's own arguments stand beside the command.
use crate::process::terminal;
use crate::{agent, check, lab, reporter, verify};
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use guardprobe_core::model::names;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

const AFTER: &str = "\
Examples:
  See a guard hold, fall and come back on this machine, no cluster needed:
      guardprobe lab
  The same, to play with: the agent keeps running, and you take its guard away:
      guardprobe lab --hold
  On every node, all the time:
      guardprobe agent -c guardprobe.yaml
  In one place that may use the Kubernetes API, to know every node:
      guardprobe reporter -c reporter.yaml
  After an upgrade, from a laptop or a pipeline: is every node blocked?
      guardprobe verify
  In any pod: are IMDS and the Kubernetes API blocked from here, now?
      guardprobe check
  The same for the targets of a configuration, for programs:
      guardprobe check -c guardprobe.yaml -o json
  A quick question about one address:
      guardprobe check --target vault=10.0.0.5:8200

Exit status of check and verify: 0 all blocked, 1 breached, 2 usage or configuration, 3 not proven.";

/// The version, and the commit where the build says it (deploy/image/build does).
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("GUARDPROBE_REVISION") {
    Some(revision) => format!("{} (revision {revision})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").to_owned(),
});

/// Proves that the egress guard in front of the metadata service and the Kubernetes API holds.
#[derive(Debug, Parser)]
#[command(version = VERSION.as_str(), about, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log to stderr: a level, or module=level pairs; info, with less of some libraries, when not given.
    #[arg(
        long,
        global = true,
        env = "GUARDPROBE_LOG",
        hide_default_value = true,
        default_value = "info,kube_client=off,kube_runtime=error"
    )]
    pub log: String,
    /// How the log looks.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "GUARDPROBE_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// Looks of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the prober: round after round, with metrics, health and the report on a port. What the DaemonSet runs.
    Agent(agent::AgentArgs),
    /// Know every node: ask all agents, write Kubernetes Events, serve the fleet's metrics. What the Deployment runs.
    Reporter(reporter::ReporterArgs),
    /// One round, here, now: is each target blocked from this pod? Needs no cluster access and no configuration.
    Check(check::CheckArgs),
    /// The whole fleet, from a laptop or a pipeline: waits until every node has finished a round of its own, and tells which are blocked.
    Verify(verify::VerifyArgs),
    /// A node in a box: watch a real guard hold, fall and come back on this machine. No cluster, no root.
    Lab(lab::LabArgs),
    /// What a shell completes after `guardprobe`: source it, or put it where your shell looks.
    #[command(
        after_help = "Example, for bash:\n  guardprobe completions bash > ~/.local/share/bash-completion/completions/guardprobe"
    )]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual pages, one for each command, into a folder.
    #[command(after_help = "Example:\n  guardprobe man ~/.local/share/man/man1 && man guardprobe-verify")]
    Man {
        /// The folder; it is made where it is not there.
        folder: PathBuf,
    },
    /// One process of a lab; started by `lab` itself.
    #[command(hide = true)]
    LabRole(lab::role::RoleArgs),
}

/// Writes what a shell completes.
pub fn completions(shell: Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "guardprobe", &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// Writes the manual pages.
pub fn man(folder: &Path) -> ExitCode {
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guardprobe man: {} cannot be written: {error}", folder.display());
            ExitCode::from(names::EXIT_USAGE)
        }
    }
}

/// What kubectl calls a plugin of ours.
const PLUGIN: &str = "kubectl-guardprobe";

/// The arguments as they are meant: called as a plugin of kubectl without a command, it is `verify`.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.into_iter().collect();
    let plugin = given.first().is_some_and(|program| Path::new(program).file_stem() == Some(OsStr::new(PLUGIN)));
    let known = |word: &OsStr| word.to_str().is_some_and(|word| Cli::command().find_subcommand(word).is_some());
    let asks = |word: &OsStr| ["help", "-h", "--help", "-V", "--version"].iter().any(|flag| word == *flag);
    if plugin && !given.get(1).is_some_and(|word| known(word) || asks(word)) {
        given.insert(1, "verify".into());
    }
    given
}

/// Reads the command line and the environment. A variable that is set to nothing counts as not set.
pub fn parse(given: Vec<OsString>) -> Result<Cli, ExitCode> {
    let command = without_empty_variables(Cli::command(), &|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
    match command.try_get_matches_from(given.clone()).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => Ok(cli),
        Err(error) => Err(refuse(error, &given)),
    }
}

/// The command whose arguments do not look at variables that are set to nothing.
fn without_empty_variables(command: clap::Command, is_empty: &dyn Fn(&OsStr) -> bool) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(name) if is_empty(name) => arg.env(Resettable::Reset),
        _ => arg,
    });
    command.mut_subcommands(|command| without_empty_variables(command, is_empty))
}

/// Prints what is wrong with a command line, with what may have been meant; programs get a document.
fn refuse(mut error: clap::Error, given: &[OsString]) -> ExitCode {
    let words: Vec<&str> = given.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let named = named_command(&words);
    if let Some(tip) = named.and_then(|named| tip(&error, named)) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    if is_long_list(&error) {
        error.insert(ContextKind::ValidValue, ContextValue::None);
    }
    if !error.use_stderr() {
        let _ = error.print(); // help and version
        return ExitCode::SUCCESS;
    }
    let rendered = error.render().to_string();
    let clean = without_credentials(&rendered);
    if clean == rendered {
        let _ = error.print();
    } else {
        terminal::say(clean.trim_end());
    }
    let why = clean.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    write_document(named, &words, &why.split_whitespace().collect::<Vec<_>>().join(" "));
    ExitCode::from(names::EXIT_USAGE)
}

/// The command that a command line names.
fn named_command<'a>(words: &[&'a str]) -> Option<&'a str> {
    let known = Cli::command();
    words.iter().copied().find(|word| known.find_subcommand(word).is_some())
}

/// Writes the document of a command line that cannot be read, where it asks for one.
fn write_document(named: Option<&str>, words: &[&str], why: &str) {
    let variable = std::env::var("GUARDPROBE_OUTPUT").ok();
    let Some(format) = format_of(words).or_else(|| variable.filter(|format| !format.is_empty())) else { return };
    match named {
        Some("check") => {
            if let Ok(output) = check::Output::from_str(&format, true) {
                check::write_error_document(output, why, names::EXIT_USAGE);
            }
        }
        Some("verify") => {
            if let Ok(output) = verify::Output::from_str(&format, true) {
                verify::write_error_document(output, why, names::EXIT_USAGE);
            }
        }
        _ => {}
    }
}

/// The format that `-o FORMAT`, `-oFORMAT`, `-o=FORMAT`, `--output FORMAT` or `--output=FORMAT` asks for.
fn format_of(words: &[&str]) -> Option<String> {
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let apart = pairs.find(|(flag, _)| matches!(**flag, "-o" | "--output")).map(|(_, value)| *value);
    let together = || words.iter().find_map(|word| word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o")));
    let format = apart.or_else(together)?.trim_start_matches('=');
    (!format.is_empty()).then(|| format.to_owned())
}

/// A text without what stands between `//` and `@` of a URL: it may be a password.
fn without_credentials(text: &str) -> String {
    let mut parts = text.split("//");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(part.len());
        let after = part[..end].rfind('@').map_or(0, |at| at + 1);
        clean += "//";
        clean += &part[after..];
    }
    clean
}

/// True where so many values are possible that nobody reads the list: it has a command of its own (`lab --list`).
fn is_long_list(error: &clap::Error) -> bool {
    const READABLE: usize = 12;
    matches!(error.get(ContextKind::ValidValue), Some(ContextValue::Strings(values)) if values.len() > READABLE)
}

/// What may have been meant by a word that the command `of` does not take.
fn tip(error: &clap::Error, of: &str) -> Option<String> {
    let context = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].into_iter().find_map(|kind| error.get(kind));
    let Some(ContextValue::String(word)) = context else { return None };
    if word.starts_with("--scenario") && error.get(ContextKind::SuggestedValue).is_none() {
        return Some("guardprobe lab --list names them".to_owned());
    }
    let command = Cli::command();
    let command = command.find_subcommand(of)?;
    if command.get_arguments().any(|arg| arg.get_long() == Some(word)) {
        return Some(format!("'{word}' is an option: guardprobe {of} --{word}"));
    }
    match of {
        "verify" if word.contains('/') => Some(format!("a guard is named by an option: guardprobe verify --guard {word}")),
        "verify" => Some(format!("a node is named by an option: guardprobe verify --node {word}")),
        "check" => Some("an address is named by an option: guardprobe check --target NAME=HOST:PORT".to_owned()),
        _ => None,
    }
    .filter(|_| !word.starts_with('-'))
}

/// Reads a log filter. A word alone is a level: the library would take it for the name of a module.
fn log_filter(filter: &str) -> Result<Targets, String> {
    let words = filter.split(',').map(str::trim).filter(|word| !word.contains('='));
    if let Some(word) = words.into_iter().find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(format!("{word:?} is no level"));
    }
    filter.parse().map_err(|error: ParseError| error.to_string())
}

/// Sends the log to where that writes. A filter that cannot be read falls back to warnings, and says so.
pub fn log_to<W>(filter: &str, format: LogFormat, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (targets, complaint) = match log_filter(filter) {
        Ok(targets) => (targets, None),
        Err(why) => (Targets::new().with_default(tracing::Level::WARN), Some(why)),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(terminal::takes_escapes()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(targets)).init();
    if let Some(why) = complaint {
        tracing::warn!(
            "--log {filter}: {why}: expected off, error, warn, info, debug or trace, or module=level pairs; warn is in force"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_manual_page_and_is_completed() {
        let folder = std::env::temp_dir().join(format!("gpt{}-man", std::process::id()));
        assert_eq!(man(&folder), ExitCode::SUCCESS);
        let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(page("guardprobe.1").contains("guard"), "the overview");
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(page(&format!("guardprobe-{name}.1")).contains("SYNOPSIS"), "{name}");
        }
        assert_eq!(man(Path::new("/dev/null/man")), ExitCode::from(names::EXIT_USAGE));
        std::fs::remove_dir_all(folder).unwrap();
        let mut completed = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "guardprobe", &mut completed);
        assert!(String::from_utf8(completed).unwrap().contains("--fleet-listen"));
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (text, clean) in [
            ("value 'https://ci:pass@word@host/x' for", "value 'https://host/x' for"),
            ("https://host:1 and mail a@b", "https://host:1 and mail a@b"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without_credentials(text), clean);
        }
    }

    #[test]
    fn as_a_plugin_of_kubectl_it_verifies_unless_it_is_told_otherwise() {
        for (given, meant) in [
            (&["/usr/bin/kubectl-guardprobe"][..], &["/usr/bin/kubectl-guardprobe", "verify"][..]),
            (&["kubectl-guardprobe", "--wait", "5m"], &["kubectl-guardprobe", "verify", "--wait", "5m"]),
            (&["kubectl-guardprobe", "lab", "--list"], &["kubectl-guardprobe", "lab", "--list"]),
            (&["kubectl-guardprobe", "--help"], &["kubectl-guardprobe", "--help"]),
            (&["kubectl-guardprobe", "help"], &["kubectl-guardprobe", "help"]),
            (&["guardprobe", "check"], &["guardprobe", "check"]),
            (&["guardprobe"], &["guardprobe"]),
        ] {
            let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
            assert_eq!(arguments(words(given)), words(meant));
        }
    }
}
