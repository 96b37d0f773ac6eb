//! What happens, as lines on standard error: text for people, JSON for programs.
//!
//! Not here: what is worth a line (whoever writes it), results (`out.rs`).

use std::io::{self, IsTerminal};

use tracing::Level;

use crate::{
    config::LogFormat,
    failure::{Failure, INTERNAL, Outcome},
};

/// Begins.
///
/// # Errors
/// When it had begun before.
pub fn begin(level: Level, format: LogFormat) -> Outcome {
    let is_json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    // When standard error is closed, it would say so there, and panic.
    let lines = lines.log_internal_errors(false);
    let begun = if is_json { lines.json().try_init() } else { lines.with_ansi(false).try_init() };
    begun.map_err(|error| Failure::new(&INTERNAL, error, "report it: two logs in one process"))
}
