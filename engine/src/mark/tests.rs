//! The switch with which unit tests plant a bug, one thread at a time.

use crate::mark::{Sink, install};
use std::{boxed::Box, cell::Cell, format, panic, string::String, thread_local};

thread_local! {
    static ON: Cell<&'static str> = const { Cell::new("") };
    static BROKEN: Cell<&'static str> = const { Cell::new("") };
}

struct Switch;

impl Sink for Switch {
    fn mark(&self, _name: &'static str) {}

    fn broken(&self, claim: &'static str, _file: &'static str, _line: u32) {
        BROKEN.set(claim);
    }

    fn planted(&self, name: &'static str) -> bool {
        ON.get() == name
    }
}

/// Runs a piece of work with the bug of that name.
pub(crate) fn with<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    install(Box::new(Switch));
    ON.set(name);
    let done = work();
    ON.set("");
    done
}

/// Whether something is wrong with a piece of work: it says so, it panics, or a belief broke.
pub(crate) fn is_wrong(
    work: impl FnOnce() -> Option<String> + panic::UnwindSafe,
) -> Option<String> {
    BROKEN.set("");
    let said = match panic::catch_unwind(work) {
        Ok(said) => said,
        Err(cause) => {
            let text = cause.downcast_ref::<String>().cloned();
            let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).into()));
            Some(format!("assertion: {}", text.unwrap_or_default()))
        }
    };
    said.or_else(|| Some(BROKEN.get()).filter(|claim| !claim.is_empty()).map(String::from))
}
