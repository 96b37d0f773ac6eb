//! Meters: what a node's ports and links have seen in this life, as plain numbers.
//!
//! All tasks of a core run on one thread, so a number is read and written without a locked
//! instruction; the atomic is only there so that tasks may share it. Nothing is allocated, and a
//! stream is metered where its bytes pass anyway, once for each call of the system.
//!
//! Invariant: what is counted never goes back within a life. What is held falls again
//! (`held.rs`); it stands here since every port has these.
//!
//! Not here: what a shard counts (`trilith_engine::shard`), names and text (`metrics`).

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use trilith_engine::{
    runtime::{NetResult, Stream, StreamRead, StreamWrite},
    spread::Spread,
};

use crate::held::Totals;

/// A number that rises. One thread counts.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Took(Mutex<Spread>);

impl Took {
    fn lock(&self) -> MutexGuard<'_, Spread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So often it took so long.
    pub fn note(&self, took: Duration) {
        self.lock().note(took);
    }

    /// What was noted.
    #[must_use]
    pub fn get(&self) -> Spread {
        *self.lock()
    }
}

/// What a port has seen.
#[derive(Debug, Default)]
pub struct PortMeter {
    /// Connections that were accepted.
    pub accepted: Count,
    /// Those that have ended.
    pub ended: Count,
    /// How often all places were taken, and whoever came waited in the kernel's queue.
    pub full: Count,
    /// Connections that were sent away: for who they are, or for what they said.
    pub refused: Count,
    /// Passwords that were wrong, or of nobody.
    pub wrong_logins: Count,
    /// Bytes that came.
    pub read_bytes: Count,
    /// Bytes that went.
    pub written_bytes: Count,
}

/// What a node's ports have seen.
#[derive(Debug, Default)]
pub struct Meters {
    /// Of nodes, and of clients that speak our own protocol.
    pub peer: PortMeter,
    /// Of Redis clients.
    pub resp: PortMeter,
    /// Of HTTP clients.
    pub http: PortMeter,
    /// Of clients of the text protocol.
    pub text: PortMeter,
    /// Commands of Redis clients.
    pub commands: Count,
    /// Those that were answered with an error.
    pub command_errors: Count,
    /// How long they took, those that were on their way together once.
    pub commands_took: Took,
    /// Connections of Redis clients that were let go since they took nothing of what they were
    /// answered, or sent nothing more of something long.
    pub resp_stalled: Count,
    /// Answers to HTTP clients: of a status from 200 on, from 300 on, 400, 500.
    pub answers: [Count; 4],
    /// How long these took.
    pub answers_took: Took,
    /// What all connections hold together.
    pub(crate) totals: Totals,
}

/// Which of a node's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// [`Meters::peer`].
    Peer,
    /// [`Meters::resp`].
    Resp,
    /// [`Meters::http`].
    Http,
    /// [`Meters::text`].
    Text,
}

impl Which {
    /// As metrics and logs call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Resp => "resp",
            Self::Http => "http",
            Self::Text => "text",
        }
    }
}

impl Meters {
    /// A port's.
    #[must_use]
    pub const fn port(&self, which: Which) -> &PortMeter {
        match which {
            Which::Peer => &self.peer,
            Which::Resp => &self.resp,
            Which::Http => &self.http,
            Which::Text => &self.text,
        }
    }

    /// An HTTP client was answered with that status, so long after it had asked.
    pub fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.answers[class].add(1);
        self.answers_took.note(took);
    }
}

/// Where a stream's bytes are counted.
pub type Place = (std::sync::Arc<Meters>, Which);

/// A stream, or a half of one, whose bytes are counted.
#[derive(Debug)]
pub struct Metered<S> {
    stream: S,
    place: Place,
}

impl<S> Metered<S> {
    /// That stream, counted there.
    pub const fn new(stream: S, place: Place) -> Self {
        Self { stream, place }
    }

    fn port(&self) -> &PortMeter {
        self.place.0.port(self.place.1)
    }
}

impl<S: StreamRead> StreamRead for Metered<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        let read = self.stream.read(buffer).await?;
        self.port().read_bytes.add(read as u64);
        Ok(read)
    }
}

impl<S: StreamWrite> StreamWrite for Metered<S> {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        let taken = self.stream.write(buffer).await?;
        self.port().written_bytes.add(taken as u64);
        Ok(taken)
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        self.stream.shutdown().await
    }
}

impl<S: Stream> Stream for Metered<S> {
    type Reader = Metered<S::Reader>;
    type Writer = Metered<S::Writer>;

    fn split(self) -> (Self::Reader, Self::Writer) {
        let Self { stream, place } = self;
        let (reader, writer) = stream.split();
        (Metered::new(reader, place.clone()), Metered::new(writer, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_by_the_hundreds_of_its_status() {
        let meters = Meters::default();
        for status in [200, 204, 304, 404, 412, 503, 504, 999, 100] {
            meters.answered(status, Duration::from_millis(2));
        }
        let counts: Vec<u64> = meters.answers.iter().map(Count::get).collect();
        assert_eq!(counts, [3, 1, 2, 3]);
        assert_eq!(meters.answers_took.get().count(), 9);
    }
}
