//! What the code under test logs, as lines of the trace.
//!
//! While a traced world runs, its thread's events go to a list; after each poll the list becomes
//! lines of the task's node. A world without a trace hears nothing, and nobody's luck is touched.
//!
//! Not here: what real programs do with events (`bin`).

use std::{cell::RefCell, fmt};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

thread_local! {
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Listens to this thread until what is answered is dropped.
pub(crate) fn listen() -> DefaultGuard {
    tracing::subscriber::set_default(Listener)
}

/// What was said since this was asked last.
pub(crate) fn said() -> Vec<String> {
    SAID.with_borrow_mut(std::mem::take)
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Words(format!("{}: ", event.metadata().level()));
        event.record(&mut line);
        SAID.with_borrow_mut(|said| said.push(line.0));
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        // A string takes whatever is written.
        _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}
