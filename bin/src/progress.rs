//! How long work shows that it moves: a bar on a terminal, a line now and then elsewhere.
//!
//! Both go to standard error. A line appears at most every [`LINE_EVERY`], so that a log of an
//! hour's work stays a page.
//!
//! Not here: results (`out.rs`).

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::{
    fmt,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

/// Often enough to see that it lives, seldom enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Some work under way.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    began: Instant,
    said: Instant,
}

fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // A writer that refuses is indicatif's own buffer, which does not.
    let written = write!(out, "{:.0}/s", state.per_sec());
    debug_assert!(written.is_ok(), "a string takes what is written to it");
}

impl Progress {
    /// Begins; `total` is 0 when nobody knows.
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let shape = match total {
                0 => "{msg} {human_pos} {rate}",
                _ => "{msg} [{bar:30}] {human_pos}/{human_len} {rate} eta {eta}",
            };
            if let Ok(style) = ProgressStyle::with_template(shape) {
                bar.set_style(style.progress_chars("=> ").with_key("rate", rate));
            }
            bar.with_message(what)
        });
        let now = Instant::now();
        Self { what, total, done: 0, bar, began: now, said: now }
    }

    /// Says how much is done by now.
    pub fn at(&mut self, done: u64) {
        self.done = done;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.said.elapsed() >= LINE_EVERY => {
                self.said = Instant::now();
                self.line("");
            }
            None => {}
        }
    }

    /// One more.
    pub fn step(&mut self) {
        self.at(self.done + 1);
    }

    /// Ends. Work that took no time says nothing.
    pub fn finish(mut self) {
        match self.bar.take() {
            Some(bar) => bar.finish_and_clear(),
            None if self.began.elapsed() >= LINE_EVERY => self.line(", done"),
            None => {}
        }
    }

    fn line(&self, end: &str) {
        let Self { what, total, done, .. } = self;
        let seconds = self.began.elapsed().as_secs();
        if *total == 0 {
            eprintln!("{what}: {done} after {seconds} s{end}");
        } else {
            eprintln!("{what}: {done} of {total} after {seconds} s{end}");
        }
    }
}
