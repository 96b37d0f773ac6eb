//! The loads: the same bytes to every server, over so many connections.
//!
//! - closed: each connection sends so many requests, waits for all their answers, and goes on;
//! - open: requests are due at even times, and how long one took is counted from when it was due.
//!   A timer wakes once in a millisecond: what is due by then goes at once, and its lateness counts.
//!
//! Keys are `redis-benchmark`'s, so that each finds what the other wrote. Both loads run for a while
//! before anything is counted.
//!
//! Not here: who is asked (`servers.rs`), when something is due (`pace.rs`).

use std::{
    collections::VecDeque,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use trilith_engine::runtime::{
    Clock, Handle, Net, Runtime, Stream, StreamRead, StreamWrite, Task, timeout,
};
use trilith_net::os::{Os, OsReader, OsStream, OsWriter};

use super::{Ask, pace::Pace, servers::Server};
use crate::bench::{
    course::{Counted, curve},
    load::{Dice, Values},
    meter::{TICK_US, cpu_ticks},
    resp::{Answer, Answers, put_command},
};

/// Before anything is counted.
const WARM_UP: Duration = Duration::from_millis(200);
/// Who is not answered for so long is not answered.
const PATIENCE: Duration = Duration::from_secs(20);
/// Everything must have been written by then.
const FILLED_WITHIN: Duration = Duration::from_secs(300);
/// Connections that write everything, and how many requests each sends at once.
const FILLERS: u64 = 16;
const FILLED_AT_ONCE: usize = 64;
const READ_BYTES: usize = 64 << 10;

/// A load.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) ask: Ask,
    pub(super) connections: usize,
    /// Requests that a connection sends before it waits.
    pub(super) pipeline: usize,
    pub(super) keys: u64,
    pub(super) value_bytes: usize,
    pub(super) values: Arc<Values>,
    pub(super) time: Duration,
    /// Whether a picture is wanted of it.
    pub(super) is_drawn: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lap {
    pub(super) per_second: f64,
    /// In microseconds: the median, one in a hundred, one in a thousand.
    pub(super) micros: [f64; 3],
    /// The same for other shares, where a picture is wanted.
    pub(super) curve: Vec<(f64, f64)>,
    /// Microseconds of CPU for each operation: of the server.
    pub(super) server_us: f64,
    /// Of this process.
    pub(super) client_us: f64,
    /// Requests that were not answered as they should.
    pub(super) failed: u64,
    /// Why the first of them was not.
    pub(super) trouble: Option<String>,
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    counted: Mutex<Counted>,
    failed: AtomicU64,
    trouble: Mutex<Option<String>>,
    /// When the last answer of an open loop came, after its beginning.
    last_nanos: AtomicU64,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn new(load: &Load) -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(WARMING),
            counted: Mutex::new(Counted::new(load.is_drawn.then_some(load.time))),
            failed: AtomicU64::new(0),
            trouble: Mutex::new(None),
            last_nanos: AtomicU64::new(0),
        })
    }

    fn fail(&self, requests: u64, why: impl FnOnce() -> String) {
        if requests > 0 {
            self.failed.fetch_add(requests, Ordering::Relaxed);
            lock(&self.trouble).get_or_insert_with(why);
        }
    }
}

/// What the kernel had counted when it began.
struct Spending {
    at: Instant,
    server: u64,
    client: u64,
}

impl Spending {
    fn now(server: &Server) -> Self {
        let client = cpu_ticks(std::process::id());
        Self { at: Instant::now(), server: server.ticks(), client }
    }

    /// What came of the load since then, which was answered so long afterwards.
    fn lap(&self, shared: &Shared, took: Duration, then: &Self) -> Lap {
        let counted = lock(&shared.counted);
        let (times, count) = (&counted.times, counted.times.count() as f64);
        let micros = |from: u64, to: u64| to.saturating_sub(from) as f64 * TICK_US / count.max(1.0);
        Lap {
            per_second: count / took.as_secs_f64().max(1e-9),
            micros: [0.5, 0.99, 0.999].map(|share| times.micros(share)),
            curve: if counted.course.is_some() { curve(times) } else { Vec::new() },
            server_us: micros(self.server, then.server),
            client_us: micros(self.client, then.client),
            failed: shared.failed.load(Ordering::Relaxed),
            trouble: lock(&shared.trouble).clone(),
        }
    }
}

/// The key of that number, as `redis-benchmark` writes it.
pub(super) fn key(number: u64) -> [u8; 16] {
    let (mut key, mut rest) = (*b"key:000000000000", number);
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn put_request(out: &mut Vec<u8>, load: &Load, number: u64, version: u64) {
    let key = key(number);
    match load.ask {
        Ask::Set => put_command(out, &[b"SET", &key, load.values.of(number, version)]),
        Ask::Get => put_command(out, &[b"GET", &key]),
    }
}

/// Why an answer is not what was asked for; nothing when it is. Every key is there.
fn wrong(load: &Load, answer: &Answer) -> Option<String> {
    match (load.ask, answer) {
        (Ask::Set, Answer::Done) => None,
        (Ask::Get, Answer::Value(bytes)) if *bytes == load.value_bytes => None,
        (_, Answer::Error(why)) => Some(why.clone()),
        (_, other) => Some(format!("{other:?} is no answer to {}", load.ask.word())),
    }
}

/// Connects.
pub(super) async fn connect(os: &Os, at: SocketAddr) -> Result<OsStream, String> {
    let deadline = os.clock().now() + PATIENCE;
    os.net().connect(at, deadline).await.map_err(|why| why.to_string())
}

async fn send<W: StreamWrite>(writer: &mut W, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let taken = writer.write(bytes).await.map_err(|why| why.to_string())?;
        bytes = &bytes[taken..];
    }
    Ok(())
}

async fn receive<R: StreamRead>(reader: &mut R, piece: &mut [u8]) -> Result<usize, String> {
    match reader.read(piece).await {
        Ok(0) => Err("the server ended the connection".to_owned()),
        Ok(read) => Ok(read),
        Err(why) => Err(why.to_string()),
    }
}

/// Sends so many requests at once and waits for all answers; tells each when it has come.
async fn exchange(
    stream: &mut OsStream,
    piece: &mut [u8],
    requests: &[u8],
    count: usize,
    mut each: impl FnMut(Answer) + Send,
) -> Result<(), String> {
    send(stream, requests).await?;
    let (mut answers, mut heard) = (Answers::default(), 0);
    while heard < count {
        let read = receive(stream, piece).await?;
        answers.take(&piece[..read], |answer| {
            heard += 1;
            each(answer);
        })?;
    }
    if heard == count { Ok(()) } else { Err("more answers than requests".to_owned()) }
}

/// Writes one key.
///
/// # Errors
/// Why it could not be written.
pub(super) async fn set_once(mut stream: OsStream, key: &[u8]) -> Result<(), String> {
    let (mut out, mut piece, mut answered) = (Vec::new(), vec![0; READ_BYTES], None);
    put_command(&mut out, &[b"SET", key, b"0"]);
    exchange(&mut stream, &mut piece, &out, 1, |answer| answered = Some(answer)).await?;
    match answered {
        Some(Answer::Done) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Writes every key once.
///
/// # Errors
/// Why one could not be written.
pub(super) async fn fill(os: &Os, at: SocketAddr, load: &Load) -> Result<(), String> {
    let load = Load { ask: Ask::Set, pipeline: FILLED_AT_ONCE, ..load.clone() };
    let trouble = Arc::new(Mutex::new(None));
    let mut fillers = Vec::new();
    for filler in 0..FILLERS {
        let stream = connect(os, at).await?;
        let (load, trouble) = (load.clone(), Arc::clone(&trouble));
        fillers.push(os.task().spawn("filler", async move {
            if let Err(why) = fill_share(stream, &load, filler).await {
                lock(&trouble).get_or_insert(why);
            }
        }));
    }
    let until = os.clock().now() + FILLED_WITHIN;
    for filler in fillers {
        if timeout(os.clock(), until, filler.join()).await.is_err() {
            return Err(format!("the keys were not written within {FILLED_WITHIN:?}"));
        }
    }
    let trouble = lock(&trouble).take();
    trouble.map_or(Ok(()), Err)
}

async fn fill_share(mut stream: OsStream, load: &Load, filler: u64) -> Result<(), String> {
    let (mut out, mut piece) = (Vec::new(), vec![0; READ_BYTES]);
    let numbers: Vec<u64> = (filler..load.keys).step_by(FILLERS as usize).collect();
    for some in numbers.chunks(load.pipeline) {
        out.clear();
        some.iter().for_each(|number| put_request(&mut out, load, *number, 0));
        let mut trouble = None;
        exchange(&mut stream, &mut piece, &out, some.len(), |answer| {
            trouble = trouble.take().or_else(|| wrong(load, &answer));
        })
        .await?;
        if let Some(why) = trouble {
            return Err(why);
        }
    }
    Ok(())
}

async fn pause(os: &Os, time: Duration) {
    os.clock().sleep_until(os.clock().now() + time).await;
}

/// Each connection asks again when it has been answered.
///
/// # Errors
/// When the server cannot be reached.
pub(super) async fn closed(os: &Os, server: &Server, load: &Load) -> Result<Lap, String> {
    let shared = Shared::new(load);
    let mut workers = Vec::new();
    for line in 0..load.connections {
        let stream = connect(os, server.at).await?;
        let (load, shared) = (load.clone(), Arc::clone(&shared));
        workers.push(os.task().spawn("line", async move {
            if let Err(why) = ask_again(stream, &load, line, &shared).await {
                shared.fail(load.pipeline as u64, || why);
            }
        }));
    }
    pause(os, WARM_UP).await;
    let before = Spending::now(server);
    lock(&shared.counted).begin();
    shared.phase.store(COUNTING, Ordering::Relaxed);
    pause(os, load.time).await;
    shared.phase.store(OVER, Ordering::Relaxed);
    let after = Spending::now(server);
    let until = os.clock().now() + PATIENCE;
    for worker in workers {
        if timeout(os.clock(), until, worker.join()).await.is_err() {
            shared.fail(load.pipeline as u64, || format!("not answered within {PATIENCE:?}"));
        }
    }
    Ok(before.lap(&shared, after.at - before.at, &after))
}

async fn ask_again(
    mut stream: OsStream,
    load: &Load,
    line: usize,
    shared: &Shared,
) -> Result<(), String> {
    let mut dice = Dice::new(line as u64 + 1);
    let (mut out, mut piece, mut version) = (Vec::new(), vec![0; READ_BYTES], 0);
    while shared.phase.load(Ordering::Relaxed) != OVER {
        out.clear();
        for _ in 0..load.pipeline {
            version += 1;
            put_request(&mut out, load, dice.below(load.keys), version);
        }
        let begin = Instant::now();
        exchange(&mut stream, &mut piece, &out, load.pipeline, |answer| {
            if let Some(why) = wrong(load, &answer) {
                shared.fail(1, || why);
            } else if shared.phase.load(Ordering::Relaxed) == COUNTING {
                lock(&shared.counted).add(begin.elapsed());
            }
        })
        .await?;
    }
    Ok(())
}

/// One connection of an open loop, as both of its halves see it.
#[derive(Clone, Debug)]
struct Lane {
    load: Load,
    shared: Arc<Shared>,
    begin: Instant,
    /// When each request was due that is on its way.
    due: Arc<Mutex<VecDeque<Duration>>>,
}

/// So many requests a second are due, whatever becomes of them.
///
/// # Errors
/// When the server cannot be reached.
pub(super) async fn open(
    os: &Os,
    server: &Server,
    load: &Load,
    per_second: u64,
) -> Result<Lap, String> {
    let shared = Shared::new(load);
    let mut streams = Vec::new();
    for _ in 0..load.connections {
        streams.push(connect(os, server.at).await?.split());
    }
    let begin = Instant::now();
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    for (line, (reader, writer)) in streams.into_iter().enumerate() {
        let pace = Pace::new(per_second, load.connections as u64, line as u64, WARM_UP + load.time);
        let due = Arc::new(Mutex::new(VecDeque::new()));
        let lane = Lane { load: load.clone(), shared: Arc::clone(&shared), begin, due };
        let dice = Dice::new(line as u64 + 1);
        senders.push(
            os.task().spawn("sender", send_due(os.clone(), writer, pace, dice, lane.clone())),
        );
        readers.push(os.task().spawn("reader", read_due(reader, pace.left(), lane)));
    }
    pause(os, WARM_UP.saturating_sub(begin.elapsed())).await;
    let before = Spending::now(server);
    lock(&shared.counted).begin();
    let until = os.clock().now() + load.time + PATIENCE;
    for reader in readers {
        if timeout(os.clock(), until, reader.join()).await.is_err() {
            shared.fail(1, || format!("not answered within {PATIENCE:?}"));
        }
    }
    // Only now: a connection that we end may be ended with answers still to come.
    drop(senders);
    let last = Duration::from_nanos(shared.last_nanos.load(Ordering::Relaxed));
    let took = last.saturating_sub(WARM_UP).max(load.time);
    Ok(before.lap(&shared, took, &Spending::now(server)))
}

/// Sends what is due on a connection, and then keeps it.
async fn send_due(os: Os, mut writer: OsWriter, mut pace: Pace, mut dice: Dice, lane: Lane) {
    let Lane { load, shared, begin, due } = lane;
    let (mut out, mut version) = (Vec::new(), 0);
    while let Some(next) = pace.next() {
        pause(&os, next.saturating_sub(begin.elapsed())).await;
        out.clear();
        pace.take(begin.elapsed(), |at| {
            version += 1;
            put_request(&mut out, &load, dice.below(load.keys), version);
            lock(&due).push_back(at);
        });
        if let Err(why) = send(&mut writer, &out).await {
            shared.fail(1, || why);
            break;
        }
    }
    pending::<()>().await;
}

/// Reads as many answers as there will be.
async fn read_due(mut reader: OsReader, mut left: u64, lane: Lane) {
    let (mut answers, mut piece) = (Answers::default(), vec![0; READ_BYTES]);
    while left > 0 {
        let heard = match receive(&mut reader, &mut piece).await {
            Ok(read) => lane.hear(&mut answers, &piece[..read]),
            Err(why) => Err(why),
        };
        match heard {
            Ok(heard) => left = left.saturating_sub(heard),
            Err(why) => return lane.shared.fail(left, || why),
        }
    }
}

impl Lane {
    /// Takes what came, and counts what was due after the beginning of the counting; answers how many
    /// answers it was.
    fn hear(&self, answers: &mut Answers, bytes: &[u8]) -> Result<u64, String> {
        let now = self.begin.elapsed();
        let (mut heard, mut strangers) = (0, 0);
        let (mut due, mut counted) = (lock(&self.due), lock(&self.shared.counted));
        answers.take(bytes, |answer| {
            heard += 1;
            match (due.pop_front(), wrong(&self.load, &answer)) {
                (None, _) => strangers += 1,
                (Some(_), Some(why)) => self.shared.fail(1, || why),
                (Some(at), None) if at >= WARM_UP => counted.add(now.saturating_sub(at)),
                (Some(_), None) => {}
            }
        })?;
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.shared.last_nanos.fetch_max(nanos, Ordering::Relaxed);
        if strangers == 0 { Ok(heard) } else { Err("more answers than requests".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(ask: Ask) -> Load {
        Load {
            ask,
            connections: 1,
            pipeline: 1,
            keys: 10,
            value_bytes: 3,
            values: Arc::new(Values::new(3)),
            time: Duration::ZERO,
            is_drawn: false,
        }
    }

    #[test]
    fn keys_are_those_of_redis_benchmark() {
        assert_eq!(&key(0), b"key:000000000000");
        assert_eq!(&key(90_417), b"key:000000090417");
    }

    #[test]
    fn requests_ask_for_what_the_load_says() {
        let mut out = Vec::new();
        put_request(&mut out, &load(Ask::Get), 7, 1);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000007\r\n");
        out.clear();
        put_request(&mut out, &load(Ask::Set), 7, 1);
        let begin = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$3\r\n";
        assert!(out.starts_with(begin) && out.len() == begin.len() + 5, "{}", out.escape_ascii());
    }

    #[test]
    fn only_what_was_asked_for_counts() {
        let (set, get) = (load(Ask::Set), load(Ask::Get));
        assert_eq!(wrong(&set, &Answer::Done), None);
        assert_eq!(wrong(&get, &Answer::Value(3)), None);
        for (load, answer) in [
            (&get, Answer::Done),
            (&get, Answer::Nothing),
            (&get, Answer::Value(4)),
            (&set, Answer::Value(3)),
            (&set, Answer::Nothing),
        ] {
            assert!(wrong(load, &answer).is_some(), "{answer:?}");
        }
        let refused = Answer::Error("OOM".to_owned());
        assert_eq!(wrong(&set, &refused), Some("OOM".to_owned()));
    }

    #[test]
    fn an_answer_is_counted_from_when_it_was_due() {
        let load = load(Ask::Set);
        let ago = |time: Duration| Instant::now().checked_sub(time).expect("it ran so long ago");
        let due = Arc::new(Mutex::new(VecDeque::from([Duration::ZERO, WARM_UP, WARM_UP])));
        let (shared, begin) = (Shared::new(&load), ago(WARM_UP + Duration::from_millis(500)));
        let lane = Lane { load, shared, begin, due };
        let mut answers = Answers::default();
        // The first was due before anything counted.
        assert_eq!(lane.hear(&mut answers, b"+OK\r\n+OK\r\n-no\r\n+O"), Ok(3));
        let counted = lock(&lane.shared.counted).clone();
        assert_eq!(counted.times.count(), 1);
        assert!(counted.times.micros(1.0) >= 499_000.0, "{}", counted.times.micros(1.0));
        assert_eq!(lane.shared.failed.load(Ordering::Relaxed), 1);
        assert_eq!(lock(&lane.shared.trouble).as_deref(), Some("no"));
        assert!(lane.hear(&mut answers, b"K\r\n").is_err(), "nobody asked for it");
    }
}
