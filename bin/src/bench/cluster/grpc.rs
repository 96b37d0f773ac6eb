//! The least of HTTP/2 and gRPC that asks etcd for things: unary calls, many at once, over one
//! connection.
//!
//! Written by hand, for two reasons: no dependency enters the program for the sake of a rival, and
//! the rival's client costs next to nothing, so that what is measured is its servers.
//!
//! Headers are sent literally and never put into the connection's table; what comes back is not
//! decoded, since only its end matters: a call that brought a message and ended has succeeded, one
//! that ended without a message has failed. The server's windows are kept to; ours are opened wide.
//!
//! Not here: what the messages say (`etcd.rs`).

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

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
/// What a server lets a connection send before it has said anything.
const FIRST_WINDOW: i64 = 65_535;
/// Our own window: opened by so much at first, and again whenever so much has come.
const WINDOW_STEP: u32 = 1 << 24;
const READ_BYTES: usize = 64 << 10;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RESET: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GO_AWAY: u8 = 7;
    pub(super) const WINDOW: u8 = 8;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A connection. Calls share it; when the last holder drops it, it ends.
#[derive(Clone, Debug)]
pub(super) struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    _task: <<Os as Runtime>::Task as Task>::Handle,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    out: Vec<u8>,
    writer: Option<Waker>,
    next_stream: u32,
    window: i64,
    /// Calls that wait for the window.
    narrow: Vec<Waker>,
    calls: BTreeMap<u32, Call>,
    received: u32,
    broken: Option<String>,
}

#[derive(Debug, Default)]
struct Call {
    message: Vec<u8>,
    is_over: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection for everybody.
    fn break_with(&self, why: String) {
        let mut state = self.lock();
        state.broken.get_or_insert(why);
        let wakers = state.calls.values_mut().filter_map(|call| call.waker.take());
        let wakers: Vec<Waker> = wakers.collect();
        let narrow = std::mem::take(&mut state.narrow);
        drop(state);
        wakers.into_iter().chain(narrow).for_each(Waker::wake);
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&len[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
}

/// A header whose name stands in the static table, without an entry in the dynamic one.
fn put_header(out: &mut Vec<u8>, name: u8, value: &str) {
    if name < 15 {
        out.push(name);
    } else {
        out.extend_from_slice(&[15, name - 15]);
    }
    out.push(value.len().min(126) as u8);
    out.extend_from_slice(value.as_bytes());
}

fn headers(path: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` stand in the table whole.
    let mut block = vec![0x83, 0x86];
    put_header(&mut block, 4, path);
    put_header(&mut block, 1, "localhost");
    put_header(&mut block, 31, "application/grpc");
    block.extend_from_slice(b"\x00\x02te\x08trailers");
    block
}

impl Connection {
    /// Connects.
    pub(super) async fn open(os: &Os, at: SocketAddr) -> Result<Self, String> {
        let deadline = os.clock().now() + Duration::from_secs(2);
        let stream = os.net().connect(at, deadline).await.map_err(|why| why.to_string())?;
        let (reader, writer) = stream.split();
        let mut out = PREFACE.to_vec();
        put_frame(&mut out, kind::SETTINGS, 0, 0, &[]);
        put_frame(&mut out, kind::WINDOW, 0, 0, &WINDOW_STEP.to_be_bytes());
        let state = State {
            out,
            writer: None,
            next_stream: 1,
            window: FIRST_WINDOW,
            narrow: Vec::new(),
            calls: BTreeMap::new(),
            received: 0,
            broken: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let both = Arc::clone(&shared);
        let task = os.task().spawn("grpc", async move {
            let _first = race(write(&both, writer), read(&both, reader)).await;
        });
        Ok(Self(Arc::new(Inner { shared, _task: task })))
    }

    /// Calls a method, and answers its message.
    pub(super) async fn call(&self, path: &'static str, message: &[u8]) -> Result<Vec<u8>, String> {
        let shared = &*self.0.shared;
        let framed = message.len() + 5;
        let mut stream = 0;
        poll_fn(|context| {
            let mut state = shared.lock();
            if let Some(why) = &state.broken {
                return Poll::Ready(Err(why.clone()));
            }
            if stream == 0 {
                if state.window < framed as i64 {
                    state.narrow.push(context.waker().clone());
                    return Poll::Pending;
                }
                stream = state.begin(path, message);
            }
            let Some(call) = state.calls.get_mut(&stream) else { return Poll::Pending };
            if !call.is_over {
                call.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            let call = state.calls.remove(&stream).unwrap_or_default();
            // Behind one byte of flags and four of length.
            match call.message.get(5..) {
                Some(message) => Poll::Ready(Ok(message.to_vec())),
                None => Poll::Ready(Err(format!("{path} failed"))),
            }
        })
        .await
    }
}

impl State {
    /// Puts a call into what goes out; answers its number.
    fn begin(&mut self, path: &str, message: &[u8]) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        put_frame(&mut self.out, kind::HEADERS, END_HEADERS, stream, &headers(path));
        let mut framed = Vec::with_capacity(message.len() + 5);
        framed.push(0);
        framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
        framed.extend_from_slice(message);
        put_frame(&mut self.out, kind::DATA, END_STREAM, stream, &framed);
        self.window -= framed.len() as i64;
        self.calls.insert(stream, Call::default());
        self.ring();
        stream
    }

    fn ring(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn take_frame(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) -> Result<(), String> {
        match kind {
            kind::DATA | kind::HEADERS => {
                if kind == kind::DATA {
                    self.received += body.len() as u32;
                    if self.received >= WINDOW_STEP / 2 {
                        let step = std::mem::take(&mut self.received).to_be_bytes();
                        put_frame(&mut self.out, kind::WINDOW, 0, 0, &step);
                        self.ring();
                    }
                }
                let Some(call) = self.calls.get_mut(&stream) else { return Ok(()) };
                if kind == kind::DATA {
                    call.message.extend_from_slice(body);
                }
                if flags & END_STREAM != 0 {
                    call.is_over = true;
                    call.waker.take().into_iter().for_each(Waker::wake);
                }
            }
            kind::RESET => {
                let Some(call) = self.calls.get_mut(&stream) else { return Ok(()) };
                call.message.clear();
                call.is_over = true;
                call.waker.take().into_iter().for_each(Waker::wake);
            }
            kind::SETTINGS | kind::PING if flags & ACK == 0 => {
                let body = if kind == kind::PING { body } else { &[] };
                put_frame(&mut self.out, kind, ACK, 0, body);
                self.ring();
            }
            kind::WINDOW if stream == 0 => {
                let step: [u8; 4] = body.try_into().map_err(|_len| "a window of no four bytes")?;
                self.window += i64::from(u32::from_be_bytes(step));
                self.narrow.drain(..).for_each(Waker::wake);
            }
            kind::GO_AWAY => return Err("the server wants no more".to_owned()),
            // Windows of streams, acknowledgements, and what later versions say.
            _ => {}
        }
        Ok(())
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
    let (mut buffer, mut scratch) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        match reader.read(&mut scratch).await {
            Ok(0) => return shared.break_with("the server ended the connection".to_owned()),
            Ok(read) => buffer.extend_from_slice(&scratch[..read]),
            Err(why) => return shared.break_with(why.to_string()),
        }
        match take_frames(&mut shared.lock(), &buffer) {
            Ok(taken) => drop(buffer.drain(..taken)),
            Err(why) => return shared.break_with(why),
        }
    }
}

/// Takes all whole frames; answers how many bytes they are.
fn take_frames(state: &mut State, bytes: &[u8]) -> Result<usize, String> {
    let mut at = 0;
    while let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) =
        bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>())
    {
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s0 & 0x7F, s1, s2, s3]);
        let Some(body) = bytes.get(at + HEADER_BYTES..at + HEADER_BYTES + len) else { break };
        state.take_frame(kind, flags, stream, body)?;
        at += HEADER_BYTES + len;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            out: Vec::new(),
            writer: None,
            next_stream: 1,
            window: 20,
            narrow: Vec::new(),
            calls: BTreeMap::new(),
            received: 0,
            broken: None,
        }
    }

    #[test]
    fn a_call_ends_with_its_stream_and_not_with_its_message() {
        let mut state = state();
        let stream = state.begin("/a/B", b"ask");
        assert_eq!(state.window, 12, "a message and its five bytes");
        let (mut said, data) = (Vec::new(), [&[0, 0, 0, 0, 2][..], b"ok"].concat());
        put_frame(&mut said, kind::DATA, 0, stream, &data);
        assert_eq!(take_frames(&mut state, &said[..said.len() - 1]), Ok(0), "not whole yet");
        assert_eq!(take_frames(&mut state, &said), Ok(said.len()));
        assert!(!state.calls[&stream].is_over);
        let mut said = Vec::new();
        put_frame(&mut said, kind::HEADERS, END_HEADERS | END_STREAM, stream, &[]);
        assert_eq!(take_frames(&mut state, &said), Ok(said.len()));
        assert!(state.calls[&stream].is_over);
        assert_eq!(&state.calls[&stream].message[5..], b"ok");
    }

    #[test]
    fn what_the_server_asks_for_is_answered() {
        let (mut state, mut said, mut wanted) = (state(), Vec::new(), Vec::new());
        put_frame(&mut said, kind::PING, 0, 0, b"12345678");
        put_frame(&mut wanted, kind::PING, ACK, 0, b"12345678");
        put_frame(&mut said, kind::SETTINGS, 0, 0, &[0; 6]);
        put_frame(&mut wanted, kind::SETTINGS, ACK, 0, &[]);
        put_frame(&mut said, kind::WINDOW, 0, 0, &7_u32.to_be_bytes());
        assert_eq!(take_frames(&mut state, &said), Ok(said.len()));
        assert_eq!((state.out, state.window), (wanted, 27));
    }
}
