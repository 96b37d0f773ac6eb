//! Runs the program as a user would: arguments in, exit code and two streams out.
//!
//! Not here: what the program should answer (the tests beside this folder).
#![allow(dead_code, unreachable_pub, reason = "each test file takes a part of it")]

use std::{
    fs, io,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use trilith_net::resp::heard::Heard;

/// A directory of the test's own, gone when the test has passed.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty one of that name; names are unique among tests.
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                panic!("{}: {error}", path.display())
            }
            _ => {}
        }
        fs::create_dir_all(&path).expect("the target directory can be written");
        Self(path)
    }

    /// A path in it, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a failed test leaves behind is evidence.
        if !std::thread::panicking() && fs::remove_dir_all(&self.0).is_err() {
            eprintln!("left behind: {}", self.0.display());
        }
    }
}

/// The program, with nothing on its standard input.
pub fn trilith() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trilith"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Answer {
    Answer::of(trilith().args(arguments).output().expect("the program starts"))
}

/// Runs it to its end, with these lines on its standard input.
pub fn fed(arguments: &[&str], lines: &str) -> Answer {
    let mut child = trilith().args(arguments).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    // It may have read enough.
    let _read = input.write_all(lines.as_bytes()).is_ok();
    drop(input);
    Answer::of(child.wait_with_output().expect("it ends"))
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Answer {
    /// Of a process that has ended.
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It worked; answers its standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It failed as a program should: this exit code, this error code, a next step, no panic.
    #[track_caller]
    pub fn failed(self, exit: i32, code: &str) {
        assert_eq!(self.code, Some(exit), "{self:?}");
        assert!(self.err.starts_with(&format!("{code}: ")), "{self:?}");
        assert!(self.err.contains("\nnext: "), "an error without a next step: {self:?}");
        self.calm();
    }

    /// The same of what tells how it goes before it fails.
    #[track_caller]
    pub fn failed_after_its_log(self, exit: i32, code: &str) {
        let from = self.err.find(&format!("{code}: ")).unwrap_or_else(|| panic!("{self:?}"));
        Self { err: self.err[from..].to_owned(), ..self }.failed(exit, code);
    }

    /// However it ended, it did not panic.
    #[track_caller]
    pub fn calm(&self) {
        assert!(self.code.is_some(), "a signal ended it: {self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

/// Addresses that nobody listens at. On Linux of this process alone, so that nobody takes them while
/// a node is down: connections come from 127.0.0.1.
pub fn addresses(count: usize) -> Vec<SocketAddr> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + high % 250, middle, low);
    let ip = if cfg!(target_os = "linux") { own } else { Ipv4Addr::LOCALHOST };
    let held: Vec<_> =
        (0..count).map(|_| TcpListener::bind((ip, 0)).expect("loopback has ports")).collect();
    held.iter().map(|socket| socket.local_addr().expect("it is bound")).collect()
}

/// A node that runs; killed with the value.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts a member of a cluster and waits until it listens.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        Self::of(&[&["server"], arguments].concat())
    }

    /// Starts whatever serves and waits until it listens.
    #[track_caller]
    pub fn of(arguments: &[&str]) -> Self {
        Self::begin(arguments).unwrap_or_else(|answer| panic!("it did not start: {answer:?}"))
    }

    /// Starts whatever serves and waits until it listens, or has said why it does not.
    pub fn begin(arguments: &[&str]) -> Result<Self, Answer> {
        let mut child = trilith().args(arguments).spawn().expect("it starts");
        let mut said = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("it says something");
        if said.is_empty() {
            return Err(Answer::of(child.wait_with_output().expect("it ends")));
        }
        Ok(Self(child))
    }

    /// Sends it a signal, waits for its end, and answers how it ended.
    pub fn end(self, signal: &str) -> Answer {
        self.signal(signal);
        self.ended()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("there is a kill");
        assert!(sent.success(), "kill {signal} {id}");
    }

    /// Waits until it ends by itself, and answers how it did.
    pub fn ended(mut self) -> Answer {
        let status = self.0.wait().expect("it ends");
        let mut err = String::new();
        let mut piped = self.0.stderr.take().expect("it is piped");
        piped.read_to_string(&mut err).expect("it wrote text");
        Answer { code: status.code(), out: String::new(), err }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A Redis client: one connection, one question at a time.
#[derive(Debug)]
pub struct Redis(TcpStream);

impl Redis {
    /// Connected to whoever listens there, as soon as somebody does.
    #[track_caller]
    pub fn to(at: SocketAddr) -> Self {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(at) {
                Ok(stream) => {
                    let patience = Some(Duration::from_secs(30));
                    stream.set_read_timeout(patience).expect("a socket takes a timeout");
                    return Self(stream);
                }
                Err(error) => assert!(Instant::now() < until, "{at}: {error}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks, and shows the answer as people see it.
    #[track_caller]
    pub fn ask(&mut self, words: &[&str]) -> String {
        self.tries(words).unwrap_or_else(|| panic!("the connection ended before {words:?}"))
    }

    /// The same of a connection that may have ended.
    #[track_caller]
    pub fn tries(&mut self, words: &[&str]) -> Option<String> {
        self.hears(words).ok()
    }

    /// The same; of a connection that has ended, what of an answer came before its end.
    ///
    /// # Errors
    /// That it has ended.
    #[track_caller]
    pub fn hears(&mut self, words: &[&str]) -> Result<String, Vec<u8>> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.write_all(request.as_bytes()).map_err(|_gone| Vec::new())?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 1 << 12]);
        loop {
            match read_some(&mut self.0, &mut piece) {
                Ok(0) => return Err(bytes),
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(bytes),
                Err(error) => panic!("no answer in time: {error}"),
            }
            if let Some((heard, length)) = Heard::first(&bytes).expect("it speaks RESP") {
                assert_eq!(length, bytes.len(), "more than one answer to {words:?}");
                return Ok(heard.to_string());
            }
        }
    }
}

/// What has come, as soon as something has. A signal is no end of it: a machine that is held for a
/// moment interrupts whoever reads with a deadline.
pub fn read_some(from: &mut impl io::Read, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
