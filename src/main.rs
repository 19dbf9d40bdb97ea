//! guardprobe: a table of contents. Each command is a module of the library; `lib.rs` is its map.
use guardprobe::cli::{Cli, Command};
use guardprobe::{agent, check, cli, lab, reporter, verify};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Cli { command, log, log_format } = match cli::parse(cli::arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    cli::log_to_stderr(&log, log_format);
    match command {
        Command::Agent(args) => agent::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Reporter(args) => reporter::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Completions { shell } => cli::completions(shell),
        Command::Man { folder } => cli::man(&folder),
        Command::LabRole(args) => lab::role::run(&args),
    }
}
