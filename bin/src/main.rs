//! The `trilith` program: a table of commands over a cluster's nodes, the embedded store, its files
//! and its simulator.
//!
//! Each command is a module with one `run`; this file parses, dispatches, and turns a
//! [`Failure`](failure::Failure) into its exit code. Results go to standard output, everything else to standard
//! error, so that a pipe always holds data and nothing else.
//!
//! Not here: the router, which comes later.

#![allow(unreachable_pub, reason = "in a program, pub is what another module may use")]

mod asker;
mod check;
mod config;
mod directory;
mod failure;
mod log;
mod out;
mod password;
mod plot;
mod process;
mod progress;
mod secret;

mod bench;
mod cli;
mod ctl;
mod demo;
mod doctor;
mod engines;
mod generate;
mod inspect;
mod kill;
mod kv;
mod member;
mod server;
mod sim;
mod standalone;
mod store;

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use std::{
    io::{self, Write},
    process::ExitCode,
};

use config::LogFormat;
use failure::Outcome;
use out::{Cell, Format, Out};

/// A key-value store whose every failure can be replayed.
#[derive(Debug, Parser)]
#[command(name = "trilith", version, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,

    /// Also logs what happens, to standard error; a server logs at `info` without being asked.
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<tracing::Level>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures the store and, in the same run, what the machine itself can do.
    #[command(subcommand)]
    Bench(bench::Bench),

    /// Asks a cluster for one thing, or talks to it in Redis commands until there are no more.
    Cli(cli::Cli),

    /// Shows and checks the settings of a node.
    #[command(subcommand)]
    Config(config::Config),

    /// Looks after a cluster that runs.
    #[command(subcommand)]
    Ctl(ctl::Ctl),

    /// A cluster in one process, with a prompt to talk to it and to hurt it.
    Demo(demo::Demo),

    /// Looks whether this machine is one on which a node does well.
    Doctor(doctor::Doctor),

    /// Lists every code a command can fail with, and what it means.
    Errors,

    /// Writes a dashboard, alert rules or the list of metrics, for monitoring systems.
    #[command(subcommand)]
    Generate(generate::Generate),

    /// Reads a file of a store, or a whole directory, without opening the store.
    Inspect(inspect::Inspect),

    /// Kills a process that writes, many times, and looks for every acknowledged write.
    Kill(kill::Kill),

    /// Opens a directory and gets, sets, deletes, scans, compacts, verifies, imports.
    Kv(kv::Kv),

    /// Runs one node of a cluster until it is told to stop.
    Server(server::Server),

    /// Runs your workload against a simulated cluster, under faults, and judges what it saw.
    Sim(sim::Sim),

    /// Runs one node that is a cluster by itself, for any Redis client.
    Standalone(standalone::Standalone),

    /// Prints a completion script: `trilith completion bash > /etc/bash_completion.d/trilith`.
    Completion {
        /// Which shell's.
        shell: clap_complete::Shell,
    },

    /// Says which trilith this is.
    Version,
}

fn main() -> ExitCode {
    let outcome = match Arguments::try_parse() {
        Ok(arguments) => run(arguments.command, arguments.log, Out::new(arguments.output)),
        // Help, which somebody asked for or needs, is as clap has it.
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // When nobody reads it, the exit code still says of what kind it is.
            let _told = writeln!(io::stderr(), "{failure}").is_ok();
            ExitCode::from(failure.code.exit as u8)
        }
    }
}

fn is_help(error: &clap::Error) -> bool {
    let is_missing = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    is_missing || !error.use_stderr()
}

fn run(command: Command, level: Option<tracing::Level>, out: Out) -> Outcome {
    // A node's configuration says where nothing else does.
    match (&command, level) {
        (Command::Server(_) | Command::Standalone(_), _) | (_, None) => {}
        (_, Some(level)) => log::begin(level, LogFormat::Text)?,
    }
    match command {
        Command::Bench(bench) => bench::run(&bench, out),
        Command::Cli(cli) => cli::run(&cli, out),
        Command::Ctl(ctl) => ctl::run(&ctl, out),
        Command::Demo(demo) => demo::run(&demo, out),
        Command::Doctor(doctor) => doctor::run(&doctor, out),
        Command::Errors => {
            let rows = failure::CODES.iter().map(|code| {
                vec![code.name.into(), u64::from(code.exit as u8).into(), code.meaning.into()]
            });
            out.table(&["code", "exit", "meaning"], &rows.collect::<Vec<Vec<Cell>>>())
        }
        Command::Generate(generate) => generate::run(&generate, out),
        Command::Inspect(inspect) => inspect::run(&inspect, out),
        Command::Kill(kill) => kill::run(&kill, out),
        Command::Kv(kv) => kv::run(&kv, out),
        Command::Config(config) => config::run(&config, out),
        Command::Server(server) => server::run(&server, level, out),
        Command::Sim(sim) => sim::run(&sim, out),
        Command::Standalone(standalone) => standalone::run(&standalone, level, out),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "trilith", &mut script);
            out.raw(&script)
        }
        Command::Version => out.facts(&[
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("commit", option_env!("TRILITH_COMMIT").map_or(Cell::Absent, Cell::from)),
            ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }.into()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_commands_is_sound() {
        Arguments::command().debug_assert();
    }
}
