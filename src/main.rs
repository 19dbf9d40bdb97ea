//! guardprobe: a table of contents. Each command is a module of the library; `lib.rs` is its map.
use guardprobe::cli::{Cli, Command};
use guardprobe::process::output::Output;
use guardprobe::{agent, check, cli, lab, reporter, verify};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Cli { command, log, log_format } = match cli::parse(cli::arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let lasting = |run: &dyn Fn(Output) -> ExitCode| {
        let (output, _writers) = Output::start();
        output.tell_panics();
        cli::log_to(&log, log_format, output.clone());
        run(output)
    };
    if !matches!(command, Command::Agent(_) | Command::Reporter(_)) {
        cli::log_to(&log, log_format, std::io::stderr);
    }
    match command {
        Command::Agent(args) => lasting(&|output| agent::run(&args, output)),
        Command::Reporter(args) => lasting(&|output| reporter::run(&args, output)),
        Command::Check(args) => check::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Completions { shell } => cli::completions(shell),
        Command::Man { folder } => cli::man(&folder),
        Command::LabRole(args) => lab::role::run(&args),
    }
}
