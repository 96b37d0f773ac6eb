//! `trilith cli`: asks a cluster for one thing, through the same client that programs use; or, told
//! nothing to ask, or a command of Redis, talks to it in those (`cli/talk.rs`).
//!
//! Not here: the client (`trilith_net::client`), a data directory without a server (`kv.rs`).

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use std::{
    env,
    future::pending,
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use trilith_engine::{
    command::{
        Command, Condition, Expiry, Failure as Unfit, Level, Op, Outcome as Told, Refusal, Reply,
    },
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CLUSTER},
    runtime::{Either, race},
};
use trilith_net::{
    client::{Client, ClientOptions, Wish, greet_all},
    os::{Os, run_core},
};

use crate::{
    asker::Asker,
    failure::{
        CONFIGURATION, Failure, INPUT, INTERNAL, NOT_FOUND, Outcome, REFUSED, TOO_LARGE,
        UNANSWERED, UNKNOWN,
    },
    member::{PEER_PORT, RESP_PORT},
    out::{Cell, Out, lossy},
    password::Who,
    secret::{self, Shared},
};

mod lines;
mod talk;

/// Where the cluster is, and what to ask it: one of the commands below, or any Redis command as it
/// is. Without anything to ask it reads Redis commands, one a line, until there are no more; `help`
/// tells which there are. Flags stand before a Redis command.
#[derive(Args, Debug)]
pub struct Cli {
    /// Nodes of the cluster, for get, set, delete and incr: any of them, the more the better. Without
    /// it and without --resp: 127.0.0.1:7381.
    #[arg(long, global = true, value_delimiter = ',', value_name = "IP:PORT,…")]
    at: Vec<SocketAddr>,
    /// Where nodes serve Redis clients; get, set, delete and incr are asked there too, when it is
    /// named. For Redis commands without it: 127.0.0.1:7379.
    #[arg(long, global = true, value_delimiter = ',', value_name = "IP:PORT,…")]
    resp: Vec<SocketAddr>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    shared: Shared,
    /// How long to try.
    #[arg(long, global = true, default_value_t = 10_000, value_name = "MS")]
    within_ms: u64,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prints the value of a key.
    Get {
        /// The key.
        key: String,
        /// What the answer must hold at least.
        #[arg(long, value_enum, default_value_t)]
        level: ReadLevel,
    },
    /// Gives a key a value; when the command ends, a majority has it on disk.
    Set {
        /// The key.
        key: String,
        /// The value; `-` reads it from standard input.
        value: String,
    },
    /// Takes a key away.
    Delete {
        /// The key.
        key: String,
    },
    /// Adds to a number, and prints the sum.
    Incr {
        /// The key.
        key: String,
        /// How much.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
    },
    /// Any Redis command.
    #[command(external_subcommand)]
    Redis(Vec<String>),
}

/// How much a read may leave open.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ReadLevel {
    /// What this node has, however old.
    Eventual,
    /// The newest, from whoever confirms it with a majority.
    Quorum,
    /// The newest, from the leader.
    #[default]
    Strong,
}

/// Does it.
pub fn run(cli: &Cli, out: Out) -> Outcome {
    let patience = Duration::from_millis(cli.within_ms);
    let or = |given: &[SocketAddr], port| match given {
        [] => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
        given => given.to_vec(),
    };
    let (at, resp) = (or(&cli.at, PEER_PORT), or(&cli.resp, RESP_PORT));
    if !cli.at.is_empty() && !cli.resp.is_empty() {
        let cause = "--at and --resp are two ways to ask";
        return Err(Failure::new(&INPUT, cause, "name one of them"));
    }
    match &cli.what {
        None | Some(What::Redis(_)) if !cli.at.is_empty() => {
            let cause = "--at is for get, set, delete and incr; Redis commands go to another port";
            Err(Failure::new(&INPUT, cause, "name that with --resp"))
        }
        None => talk::talk(&resp, asker(cli, patience)?, out),
        Some(What::Redis(words)) => talk::ask(&resp, words, asker(cli, patience)?, out),
        Some(what) if !cli.resp.is_empty() => {
            talk::One { what, at: &resp }.ask(asker(cli, patience)?, out)
        }
        Some(what) => One { what, at: &at, within: patience }.ask(cli.shared.client()?, out),
    }
}

/// Who asks where Redis clients are served.
fn asker(cli: &Cli, patience: Duration) -> Outcome<Asker> {
    Ok(Asker::new(patience).named(cli.who.login()?))
}

impl What {
    fn key(&self) -> &str {
        match self {
            Self::Get { key, .. }
            | Self::Set { key, .. }
            | Self::Delete { key }
            | Self::Incr { key, .. } => key,
            Self::Redis(words) => words.get(1).map_or("", String::as_str),
        }
    }
}

/// One thing that is asked.
struct One<'a> {
    what: &'a What,
    at: &'a [SocketAddr],
    within: Duration,
}

const fn write(command: Command) -> Op {
    Op::Write(command)
}

impl ReadLevel {
    /// As Redis clients say it.
    const fn name(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Quorum => "quorum",
            Self::Strong => "strong",
        }
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A value of the command line, or all of standard input.
fn given(value: &str) -> Outcome<Bytes> {
    if value != "-" {
        return Ok(bytes(value));
    }
    // One byte more than there may be, for the client to refuse: a pipe may never end.
    let (mut read, enough) = (Vec::new(), VALUE_BYTES_MAX_CLUSTER as u64 + 1);
    io::stdin().lock().take(enough).read_to_end(&mut read).map_err(|error| {
        Failure::new(&INPUT, error, "give the value as an argument, or pipe it in")
    })?;
    Ok(read.into())
}

impl One<'_> {
    fn ask(&self, options: ClientOptions, out: Out) -> Outcome {
        let (op, level) = match self.what {
            What::Get { key, level } => (Op::Get(bytes(key)), *level),
            What::Set { key, value } => {
                let (key, value) = (bytes(key), given(value)?);
                let (expiry, condition) = (Expiry::None, Condition::Always);
                (
                    write(Command::Set { key, value, expiry, condition, want_old: false }),
                    ReadLevel::Strong,
                )
            }
            What::Delete { key } => {
                let (key, condition) = (bytes(key), Condition::Always);
                (write(Command::Delete { key, condition, want_old: false }), ReadLevel::Strong)
            }
            What::Incr { key, by } => {
                (write(Command::Increment { key: bytes(key), by: *by }), ReadLevel::Strong)
            }
            // It was asked elsewhere.
            What::Redis(_) => return Ok(()),
        };
        let level = match level {
            ReadLevel::Eventual => Level::Eventual,
            ReadLevel::Quorum => Level::Quorum,
            ReadLevel::Strong => Level::Strong,
        };
        let wish = Wish { level, staleness_ms: 0, within: self.within };
        // No file is touched: the directory is where we are.
        let ran = run_core(env::temp_dir(), |os| async move {
            let client = Client::start(&os, self.at, options);
            match race(client.call(op, wish), self.is_stranger(&os, &options)).await {
                Either::Left(response) => Ok(response),
                Either::Right(failure) => Err(failure),
            }
        });
        let response = ran.map_err(|error| Failure::new(&INTERNAL, error, "see ulimit -n"))??;
        match response.outcome {
            Told::Ok(reply) => self.show(reply, out),
            Told::Refused(refusal) => Err(self.refused(refusal)),
            Told::Unknown => {
                let next = format!("look whether it did: {}", self.again("get"));
                Err(Failure::new(
                    &UNKNOWN,
                    format!("no answer in {} ms", self.within.as_millis()),
                    next,
                ))
            }
        }
    }

    /// Ends only when nobody who answers knows who asks: the call would be tried to its end.
    async fn is_stranger(&self, os: &Os, options: &ClientOptions) -> Failure {
        let told = greet_all(os, self.at, options.secret, options.connect_within).await;
        match secret::stranger(self.at, &told) {
            Some(failure) => failure,
            None => pending().await,
        }
    }

    /// The same cluster and key, for another command.
    fn again(&self, what: &str) -> String {
        let at: Vec<String> = self.at.iter().map(SocketAddr::to_string).collect();
        format!("trilith cli --at {} {what} {}", at.join(","), self.what.key())
    }

    fn show(&self, reply: Reply, out: Out) -> Outcome {
        let key = self.what.key();
        match reply {
            Reply::Value(Some(found)) if out.is_json() => out.facts(&[
                ("key", key.into()),
                ("value", lossy(&found.value).into()),
                ("version", found.version.0.into()),
            ]),
            Reply::Value(Some(found)) => out.raw(&[&found.value[..], b"\n"].concat()),
            Reply::Number { number, version } if out.is_json() => out.facts(&[
                ("key", key.into()),
                ("number", number.to_string().into()),
                ("version", version.0.into()),
            ]),
            Reply::Number { number, .. } => out.raw(format!("{number}\n").as_bytes()),
            Reply::Done { version, .. } => {
                if out.is_json() {
                    let version: Cell = version.0.into();
                    out.facts(&[("key", key.into()), ("version", version)])?;
                }
                out.next(&self.again("get"));
                Ok(())
            }
            Reply::Value(None) | Reply::Unmet { .. } => {
                Err(Failure::new(&NOT_FOUND, key, format!("{} VALUE", self.again("set"))))
            }
            Reply::Failed { failure, .. } => {
                let cause = match failure {
                    Unfit::NotAnInteger => "it holds no number",
                    Unfit::Overflow => "the sum does not fit 64 bits",
                    Unfit::TooLong => "the value would be too long",
                };
                let cause = format!("{key}: {cause}");
                Err(Failure::new(&INPUT, cause, self.again("get")))
            }
            other => {
                let cause = format!("an answer to another question: {other:?}");
                Err(Failure::new(&INTERNAL, cause, "report it"))
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> Failure {
        match refusal {
            Refusal::KeyTooLong | Refusal::ValueTooLong | Refusal::TooLarge => {
                let cause = format!(
                    "{refusal}: a key has at most {KEY_BYTES_MAX} bytes and a value \
                     {VALUE_BYTES_MAX_CLUSTER}"
                );
                Failure::new(&TOO_LARGE, cause, "store it in parts")
            }
            // Nobody was heard, or only those who do not lead.
            Refusal::TooLate | Refusal::NotLeader(_) | Refusal::Stopping => {
                let next = "see whether a majority of the nodes runs, and what they log; name more of \
                            them with --at";
                let cause = match refusal {
                    Refusal::NotLeader(_) => "nobody leads".to_owned(),
                    _ => format!("nobody answered in {} ms", self.within.as_millis()),
                };
                Failure::new(&UNANSWERED, cause, next)
            }
            Refusal::NoGroup => Failure::new(&CONFIGURATION, refusal, "see --groups of the nodes"),
            refusal => Failure::new(&REFUSED, refusal, "try again later"),
        }
    }
}
