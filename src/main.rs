//! guardprobe: a table of contents. Each command is a module of the library; `lib.rs` is its map.
use clap::Parser;
use guardprobe::cli::{Cli, Command};
use guardprobe::{check, cli, lab};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    cli::log_to_stderr(&log);
    match command {
        Command::Check(args) => check::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::LabRole(args) => lab::role::run(&args),
    }
}
