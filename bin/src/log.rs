//! What happens, as lines on standard error: text for people, JSON for programs.
//!
//! A process has one log. How much it says may be changed while it runs; no line costs more for that.
//!
//! Not here: what is worth a line (whoever writes it), who may change it (`trilith_net`), results
//! (`out.rs`).

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    Registry, fmt,
    layer::SubscriberExt,
    registry,
    reload::{self, Handle},
    util::SubscriberInitExt,
};

use crate::{
    config::LogFormat,
    failure::{Failure, INTERNAL, Outcome},
};

/// By which the one log is made to say more or less.
static DIAL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

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
    let (filter, dial) = reload::Layer::new(LevelFilter::from_level(level));
    // When standard error is closed, it would say so there, and panic.
    let lines = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let all = registry().with(filter);
    let begun = if is_json {
        all.with(lines.json()).try_init()
    } else {
        all.with(lines.with_ansi(false)).try_init()
    };
    begun.map_err(|error| Failure::new(&INTERNAL, error, "report it: two logs in one process"))?;
    let _first = DIAL.set(dial).is_ok();
    Ok(())
}

/// How much is logged, once that has begun.
pub fn level() -> Option<Level> {
    DIAL.get()?.clone_current()?.into_level()
}

/// Logs so much from now on. Whether there is a log.
pub fn set_level(level: Level) -> bool {
    DIAL.get().is_some_and(|dial| dial.reload(LevelFilter::from_level(level)).is_ok())
}
