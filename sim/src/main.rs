//! The `trilith-sim` program: run a seed, run a million, make a failure small, hunt planted bugs.
//!
//! Not here: anything but talking to people. What the words do is in the library.
#![expect(clippy::disallowed_methods, reason = "this is a program: it reads files and the clock")]

mod cli;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// The world trilith is tested in.
///
/// A run is (commit, seed, scenario): the same three give the same run, bit for bit, and its last
/// line, the digest, says so.
#[derive(Debug, Parser)]
#[command(name = "trilith-sim", version, arg_required_else_help = true)]
struct Program {
    /// Where the scenarios are, when it is not the repository's scenarios/.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    stories: Option<PathBuf>,
    /// Threads; all cores when not given.
    #[arg(long, global = true)]
    threads: Option<usize>,
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Run one seed of a scenario and say everything about it.
    Run(cli::run::Arguments),
    /// Run many seeds on all cores and group what fails.
    Swarm(cli::swarm::Arguments),
    /// Run seeds twice, in a batch and alone and recorded, and find where two runs of one seed part.
    Twice(cli::twice::Arguments),
    /// Make a failing run small and write it to scenarios/found.
    Shrink(cli::shrink::Arguments),
    /// Switch on planted bugs one by one and see which judge catches each.
    Mutants(cli::mutants::Arguments),
    /// List scenarios, judges, faults, mutants, and the marks and probes that nobody hit.
    List(cli::list::Arguments),
    /// Crash every short history everywhere, and the recoveries after it.
    Exhaust(cli::exhaust::Arguments),
    /// Visit every state of a small Raft group within a bound.
    Explore(cli::explore::Arguments),
    /// Feed parsers and recovery bytes that nobody wrote.
    Fuzz(cli::fuzz::Arguments),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let house = cli::House {
        scenarios: program.stories.unwrap_or_else(cli::scenarios_directory),
        threads: program.threads.unwrap_or_else(trilith_sim::swarm::cores),
    };
    let done = match &program.word {
        Word::Run(arguments) => cli::run::run(&house, arguments),
        Word::Swarm(arguments) => cli::swarm::run(&house, arguments),
        Word::Twice(arguments) => cli::twice::run(&house, arguments),
        Word::Shrink(arguments) => cli::shrink::run(&house, arguments),
        Word::Mutants(arguments) => cli::mutants::run(&house, arguments),
        Word::List(arguments) => cli::list::run(&house, arguments),
        Word::Exhaust(arguments) => cli::exhaust::run(&house, arguments),
        Word::Explore(arguments) => cli::explore::run(&house, arguments),
        Word::Fuzz(arguments) => cli::fuzz::run(&house, arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("trilith-sim: {why}");
            ExitCode::from(2)
        }
    }
}
