//! Our side as Redis clients meet it: Redis' protocol, and many requests on their way over a
//! connection.
//!
//! Whoever shares a connection is answered in the order in which they asked. What gathers while the
//! connection is written to goes out together, as with the other clients here.
//!
//! Not here: our own client (`ours.rs`), what requests and answers look like (`bench/resp.rs`).

use std::{
    collections::BTreeMap,
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};
use trilith_engine::runtime::{Clock, Net, Runtime, Stream, StreamRead, StreamWrite, Task, race};
use trilith_net::os::Os;

use super::race::Target;
use crate::bench::resp::{Answer, Answers, put_command};

const CONNECTS_WITHIN: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 64 << 10;

/// Connections to one node.
#[derive(Clone, Debug)]
pub(super) struct Front(Vec<Arc<Line>>);

/// A connection. When the last holder drops it, it ends.
#[derive(Debug)]
struct Line {
    shared: Arc<Shared>,
    _task: <<Os as Runtime>::Task as Task>::Handle,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    out: Vec<u8>,
    writer: Option<Waker>,
    /// The number of the next request, and of the next answer.
    asked: u64,
    answered: u64,
    calls: BTreeMap<u64, Call>,
    broken: Option<String>,
}

#[derive(Debug, Default)]
struct Call {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

impl State {
    /// Puts a request into what goes out; answers its number.
    fn begin(&mut self, words: &[&[u8]]) -> u64 {
        let number = self.asked;
        self.asked += 1;
        put_command(&mut self.out, words);
        self.calls.insert(number, Call::default());
        self.writer.take().into_iter().for_each(Waker::wake);
        number
    }

    /// Takes what came: whoever asked first is answered first.
    fn take(&mut self, answers: &mut Answers, bytes: &[u8]) -> Result<(), String> {
        let mut heard = Vec::new();
        answers.take(bytes, |answer| heard.push(answer))?;
        for answer in heard {
            let call = self.calls.get_mut(&self.answered);
            let call = call.ok_or("more answers than requests")?;
            call.answer = Some(answer);
            call.waker.take().into_iter().for_each(Waker::wake);
            self.answered += 1;
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection for everybody.
    fn break_with(&self, why: String) {
        let mut state = self.lock();
        state.broken.get_or_insert(why);
        let wakers = state.calls.values_mut().filter_map(|call| call.waker.take());
        let wakers: Vec<Waker> = wakers.collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Line {
    async fn open(os: &Os, at: SocketAddr) -> Result<Self, String> {
        let deadline = os.clock().now() + CONNECTS_WITHIN;
        let stream = os.net().connect(at, deadline).await.map_err(|why| why.to_string())?;
        let (reader, writer) = stream.split();
        let shared = Arc::new(Shared::default());
        let both = Arc::clone(&shared);
        let task = os.task().spawn("resp", async move {
            let _first = race(write(&both, writer), read(&both, reader)).await;
        });
        Ok(Self { shared, _task: task })
    }

    async fn call(&self, words: &[&[u8]]) -> Result<Answer, String> {
        let number = self.shared.lock().begin(words);
        poll_fn(|context| {
            let mut state = self.shared.lock();
            let answer = state.calls.get_mut(&number).and_then(|call| call.answer.take());
            if let Some(answer) = answer {
                state.calls.remove(&number);
                return Poll::Ready(Ok(answer));
            }
            if let Some(why) = &state.broken {
                return Poll::Ready(Err(why.clone()));
            }
            if let Some(call) = state.calls.get_mut(&number) {
                call.waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

async fn write<W: StreamWrite>(shared: &Shared, mut writer: W) {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        poll_fn(|context| {
            let mut state = shared.lock();
            if state.out.is_empty() {
                state.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(&mut state.out, &mut batch);
            Poll::Ready(())
        })
        .await;
        let mut rest = &batch[..];
        while !rest.is_empty() {
            match writer.write(rest).await {
                Ok(taken) => rest = &rest[taken..],
                Err(why) => return shared.break_with(why.to_string()),
            }
        }
    }
}

async fn read<S: StreamRead>(shared: &Shared, mut reader: S) {
    let (mut answers, mut piece) = (Answers::default(), vec![0; READ_BYTES]);
    loop {
        let read = match reader.read(&mut piece).await {
            Ok(0) => return shared.break_with("the node ended the connection".to_owned()),
            Ok(read) => read,
            Err(why) => return shared.break_with(why.to_string()),
        };
        let taken = shared.lock().take(&mut answers, &piece[..read]);
        if let Err(why) = taken {
            return shared.break_with(why);
        }
    }
}

impl Front {
    /// So many to one place.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(super) async fn connect(os: &Os, at: SocketAddr, count: usize) -> Result<Self, String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push(Arc::new(Line::open(os, at).await?));
        }
        Ok(Self(lines))
    }

    async fn call(&self, worker: usize, words: &[&[u8]]) -> Result<Answer, String> {
        match self.0[worker % self.0.len()].call(words).await? {
            Answer::Error(why) => Err(why),
            answer => Ok(answer),
        }
    }
}

impl Target for Front {
    async fn put(&self, worker: usize, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.call(worker, &[b"SET", key, value]).await.map(drop)
    }

    async fn get(&self, worker: usize, key: &[u8]) -> Result<(), String> {
        self.call(worker, &[b"GET", key]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_first_is_answered_first() {
        let (mut state, mut answers) = (State::default(), Answers::default());
        let first = state.begin(&[b"GET", b"a"]);
        let second = state.begin(&[b"GET", b"b"]);
        assert_eq!(state.out, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n");
        state.take(&mut answers, b"$2\r\nxx\r\n$-").unwrap();
        let answer = |state: &State, number: u64| state.calls[&number].answer.clone();
        assert_eq!((answer(&state, first), answer(&state, second)), (Some(Answer::Value(2)), None));
        state.take(&mut answers, b"1\r\n").unwrap();
        assert_eq!(answer(&state, second), Some(Answer::Nothing));
        assert!(state.take(&mut answers, b"+OK\r\n").is_err(), "nobody asked for it");
    }
}
