//! Whether something is well: a line for each thing that must be, and an exit code for all of them.
//!
//! Each thing that is not well says what to do about it; the failure names the first of them and how
//! many more there are.
//!
//! Not here: what is looked at (`ctl/health.rs`, `doctor.rs`).

use crate::{
    failure::{Code, Failure, Outcome},
    out::{Cell, Out},
};

/// One thing that was looked at.
#[derive(Debug)]
pub struct Check {
    /// What must be so.
    pub what: &'static str,
    /// Whether it is.
    pub is_well: bool,
    /// What was found; where it is not well, what it is about.
    pub found: String,
    /// What to do where it is not well.
    pub next: &'static str,
}

/// Shows all, and fails with `code` unless all is well.
pub fn judge(checks: &[Check], code: &'static Code, out: Out) -> Outcome {
    let row = |check: &Check| {
        let next = if check.is_well { Cell::Absent } else { check.next.into() };
        vec![check.what.into(), check.is_well.into(), check.found.as_str().into(), next]
    };
    let rows: Vec<_> = checks.iter().map(row).collect();
    out.table(&["check", "is_well", "found", "next"], &rows)?;
    let ill: Vec<_> = checks.iter().filter(|check| !check.is_well).collect();
    let Some(first) = ill.first() else { return Ok(()) };
    let more = if ill.len() > 1 { format!("; and {} more", ill.len() - 1) } else { String::new() };
    Err(Failure::new(code, format!("{}: {}{more}", first.what, first.found), first.next))
}
