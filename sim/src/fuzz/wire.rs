//! Bytes that nobody wrote, on the lines between nodes, and between them and their clients.
//!
//! Frames are changed as a cable changes them, and then no changed one may be taken; or by somebody
//! who makes the checksum right again, and then whatever is understood is what is written: there is
//! one way to say each thing, so what was read is written again byte for byte.
//!
//! Not here: whole links (`subject/links.rs`), Redis, HTTP and text (`doors`).

use std::{fmt, ops::Bound};

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    codec,
    command::{
        Command, Condition, Expiry, Found, Level, Old, Op, Outcome, Phases, Refusal, Reply,
        Request, Response, Scan, Session, Told,
    },
    runtime::Rng as _,
    shard::Standing,
    types::{ClientId, GroupId, NodeId, Sequence, Stamp, Uuid, Version},
};
use trilith_net::{
    frame::{self, BadFrame, Decoder, Frame, HEADER_BYTES, Kind},
    limits::FRAME_BODY_BYTES_MAX,
    peer::{
        codec::{decode, encode},
        hello::{Hello, Identity, MAGIC, Purpose, Ready, Refusal as No, Versions, Welcome},
        proof::{Challenge, Proof},
    },
    resp::post::Message,
};

use super::{Fed, damage, noise, texts::pieces};
use crate::luck::{Domain, Luck};

fn luck(seed: u64) -> Luck {
    Luck::new(seed, Domain::Named("fuzz"))
}

/// A number of any length.
fn number(luck: &mut Luck) -> u64 {
    luck.next_u64() >> luck.range(0..64)
}

fn uuid(luck: &mut Luck) -> Uuid {
    Uuid::from_draws(luck.next_u64(), luck.next_u64())
}

/// A frame of that body.
fn framed(kind: Kind, body: &[u8]) -> Result<BytesMut, String> {
    let mut out = BytesMut::new();
    let written = frame::encode(&mut out, kind, |out| out.extend_from_slice(body));
    written.map(|()| out).map_err(|why| why.to_string())
}

/// Makes the checksums of frames right again, as far as their lengths lead.
fn seal(frames: &mut [u8]) {
    let mut at = 0;
    while at + HEADER_BYTES <= frames.len() {
        let end = at.saturating_add(frame::first_len(&frames[at..])).min(frames.len());
        let sum = codec::crc(0, &frames[at + 4..end]);
        frames[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
}

/// All frames of a connection, and what is wrong behind them.
fn cut(
    pieces: &[&[u8]],
    body_max: Option<usize>,
) -> Result<(Vec<Frame>, Option<BadFrame>), String> {
    let (mut decoder, mut all, mut came) = (Decoder::new(64), Vec::new(), 0);
    if let Some(body_max) = body_max {
        decoder.agreed(64, body_max);
    }
    for piece in pieces {
        decoder.feed(piece);
        came += piece.len();
        loop {
            match decoder.take() {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(why) => return Ok((all, Some(why))),
            }
        }
        if decoder.held() > came {
            return Err(format!("{} bytes are held of {came}", decoder.held()));
        }
    }
    Ok((all, None))
}

/// Frames of any kind.
pub(super) fn frames(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut bytes = Vec::new();
    for _ in 0..luck.range(0..4) {
        let (kind, body) = (*luck.pick(&Kind::ALL), noise(90, &mut luck));
        bytes.extend_from_slice(&framed(kind, &body)?);
    }
    if bytes.is_empty() {
        bytes = noise(200, &mut luck);
    } else if luck.chance(3, 4) {
        damage(&mut bytes, &mut luck);
        if luck.coin() {
            seal(&mut bytes);
        }
    }
    let body_max = luck.coin().then_some(FRAME_BODY_BYTES_MAX);
    let (all, trouble) = cut(&[&bytes], body_max)?;
    let again = cut(&pieces(&bytes, &mut luck), body_max)?;
    if (&all, &trouble) != (&again.0, &again.1) {
        return Err(format!("{all:?} {trouble:?} in pieces is {again:?}"));
    }
    let mut at = 0;
    for frame in all {
        let written = framed(frame.kind, &frame.body)?;
        if bytes.get(at..at + written.len()) != Some(&written[..]) {
            return Err(format!("{frame:?} is not what came"));
        }
        at += written.len();
    }
    Ok(bytes.len())
}

/// The kinds that carry packets.
const PACKETS: [Kind; 10] = [
    Kind::Raft,
    Kind::Chunk,
    Kind::ChunkAck,
    Kind::Beats,
    Kind::Seat,
    Kind::Digest,
    Kind::Pace,
    Kind::ValueAsk,
    Kind::Value,
    Kind::SnapshotAsk,
];

/// A body that could be one of a packet: a group, a tag and a flag, some numbers, some bytes.
fn body(kind: Kind, luck: &mut Luck) -> Vec<u8> {
    let mut body = Vec::new();
    let messages = if kind == Kind::Beats { luck.range(0..4) } else { 1 };
    for _ in 0..messages {
        let (tag, count) = match kind {
            Kind::Beats if luck.coin() => (7, 5),
            Kind::Beats => (8, 4),
            Kind::Raft => (luck.range(0..19), luck.range(3..8)),
            Kind::Chunk => (luck.range(0..3), 7),
            Kind::ChunkAck => (luck.range(0..4), 6),
            _ => (0, luck.range(1..5)),
        };
        body.extend_from_slice(&(number(luck) as u32).to_le_bytes());
        body.extend_from_slice(&[tag as u8, u8::from(luck.chance(1, 4)), 0, 0]);
        for _ in 0..count {
            body.extend_from_slice(&(number(luck) >> 8).to_le_bytes());
        }
    }
    if luck.chance(1, 4) {
        body.extend_from_slice(&noise(40, luck));
    }
    body
}

/// Packets: messages of replicas, snapshots, what nodes tell each other.
pub(super) fn packets(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let kind = *luck.pick(&PACKETS);
    let mut bytes = body(kind, &mut luck);
    if luck.coin() {
        damage(&mut bytes, &mut luck);
    }
    let body = Bytes::from(bytes);
    let Ok(packet) = decode(Frame { kind, body: body.clone() }) else { return Ok(body.len()) };
    let mut out = BytesMut::new();
    encode(&packet, &mut out).map_err(|why| format!("{packet:?}: {why}"))?;
    if out[HEADER_BYTES..] != body[..] {
        return Err(format!("{packet:?} is written otherwise than it was read"));
    }
    Ok(body.len())
}

/// Some frame of a handshake.
fn greeting(luck: &mut Luck) -> BytesMut {
    let mut out = BytesMut::new();
    let (cluster, node) = (uuid(luck), NodeId(number(luck)));
    let who = Identity { cluster, node, directory: uuid(luck) };
    let versions = Versions { min: luck.range(0..3) as u8, max: luck.range(0..3) as u8 };
    match luck.range(0..6) {
        0 => {
            let purpose = if luck.coin() {
                Purpose::Peer { who, whom: NodeId(number(luck)) }
            } else {
                Purpose::Client { client: ClientId(number(luck)), cluster }
            };
            Hello { versions, purpose }.put(&mut out);
        }
        1 => {
            let standing = if luck.coin() { Standing::Seated } else { Standing::Founder };
            Welcome { version: 1, standing, who, token: luck.next_u64() }.put(&mut out);
        }
        2 => Ready { token: luck.next_u64() }.put(&mut out),
        3 => Challenge { nonce: [luck.next_u64() as u8; 32] }.put(&mut out),
        4 => Proof { nonce: [1; 32], proof: [luck.next_u64() as u8; 32] }.put(&mut out),
        _ => {
            let directory = uuid(luck);
            let refusals = [
                No::Version(versions),
                No::AlienCluster { cluster },
                No::WrongNode { node },
                No::TwoNodesWithOneId { node, directory },
                No::OtherDirectory { node, directory },
                No::Unproven,
                No::Unknown(luck.next_u64() as u8),
            ];
            luck.pick(&refusals).put(&mut out);
        }
    }
    out
}

/// The only frame of these bytes.
fn only(bytes: &[u8]) -> Result<Frame, String> {
    match cut(&[bytes], None)? {
        (mut all, None) if all.len() == 1 => all.pop().ok_or_else(|| "no frame".to_owned()),
        other => Err(format!("a greeting is read as {other:?}")),
    }
}

/// That what was understood of a greeting is understood again when it is written.
fn again<T: PartialEq + fmt::Debug>(
    frame: &Frame,
    take: impl Fn(&Frame) -> Result<T, BadFrame>,
    put: impl Fn(&T, &mut BytesMut),
) -> Result<(), String> {
    let Ok(understood) = take(frame) else { return Ok(()) };
    let mut out = BytesMut::new();
    put(&understood, &mut out);
    match take(&only(&out)?) {
        Ok(same) if same == understood => Ok(()),
        other => Err(format!("{understood:?} is read back as {other:?}")),
    }
}

/// Handshakes, as strangers send them.
pub(super) fn handshakes(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut bytes = greeting(&mut luck).to_vec();
    if luck.chance(7, 8) {
        damage(&mut bytes, &mut luck);
        seal(&mut bytes);
    }
    let (all, _) = cut(&[&bytes], None)?;
    for frame in &all {
        again(frame, Hello::take, Hello::put)?;
        again(frame, Welcome::take, Welcome::put)?;
        again(frame, Ready::take, |ready, out| ready.put(out))?;
        again(frame, Challenge::take, Challenge::put)?;
        again(frame, Proof::take, Proof::put)?;
        again(frame, No::take, |refusal, out| refusal.put(out))?;
        if Hello::take(frame).is_ok() && !frame.body.starts_with(&MAGIC) {
            return Err("somebody else's greeting is taken for one of ours".to_owned());
        }
    }
    Ok(bytes.len())
}

fn short(luck: &mut Luck) -> Bytes {
    noise(12, luck).into()
}

/// What a client may ask.
fn request(luck: &mut Luck) -> Request {
    let (key, condition) = (short(luck), Condition::Version(Version(number(luck))));
    let op = match luck.range(0..8) {
        0 => Op::Get(key),
        1 => Op::GetMany(vec![key, short(luck)]),
        2 => Op::Look(vec![key]),
        3 => Op::Count(GroupId(number(luck) as u32)),
        4 => {
            let (start, end) = (Bound::Included(key), Bound::Excluded(short(luck)));
            let group = GroupId(number(luck) as u32);
            Op::Scan(Scan { group, start, end, keys_max: 7, bytes_max: 99, has_values: true })
        }
        5 => {
            let (value, expiry) = (short(luck), Expiry::After(number(luck)));
            Op::Write(Command::Set { key, value, expiry, condition, want_old: luck.coin() })
        }
        6 => Op::Write(Command::Delete { key, condition, want_old: false }),
        _ => Op::Write(Command::Increment { key, by: number(luck).cast_signed() }),
    };
    let session = if luck.coin() {
        Session::NOBODY
    } else {
        let (client, sequence) = (ClientId(number(luck) | 1), Sequence(7));
        Session { client, sequence, oldest: Sequence(3), since: Stamp(number(luck)) }
    };
    let level = *luck.pick(&[Level::Eventual, Level::Quorum, Level::Strong]);
    Request { session, level, patience_ms: 100, staleness_ms: number(luck) as u32, op }
}

/// What it may be told.
fn response(luck: &mut Luck) -> Response {
    let version = Version(number(luck));
    let found = Found { version, expires_ms: luck.coin().then_some(7), value: short(luck) };
    let outcome = match luck.range(0..8) {
        0 => Outcome::Ok(Reply::Value(None)),
        1 => Outcome::Ok(Reply::Value(Some(found))),
        2 => Outcome::Ok(Reply::Done { version, old: Old::Found(found) }),
        3 => Outcome::Ok(Reply::Unmet { found: Some(version), old: Old::Absent }),
        4 => Outcome::Ok(Reply::Number { number: -7, version }),
        5 => Outcome::Refused(Refusal::NotLeader(luck.coin().then_some(NodeId(2)))),
        6 => Outcome::Refused(Refusal::Overloaded),
        _ => Outcome::Unknown,
    };
    let level = *luck.pick(&[Level::Eventual, Level::Quorum, Level::Strong]);
    let phases = Phases { queue_us: 1, persist_us: 2, replicate_us: 3, apply_us: 4 };
    let told =
        Told { level, staleness_ms: 3, applied: version, stamp: Stamp(number(luck)), phases };
    Response { sequence: Sequence(number(luck)), told, outcome }
}

/// What clients of the native protocol ask and are told, and what nodes publish for each other.
pub(super) fn calls(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut out = BytesMut::new();
    let what = luck.range(0..3);
    match what {
        0 => request(&mut luck).encode(&mut out),
        1 => response(&mut luck).encode(&mut out),
        _ => {
            let (is_sharded, channel, text) = (luck.coin(), short(&mut luck), short(&mut luck));
            Message { is_sharded, channel, text }.put(&mut out);
        }
    }
    let mut bytes = out.to_vec();
    if luck.chance(7, 8) {
        damage(&mut bytes, &mut luck);
    }
    let (body, mut written) = (Bytes::from(bytes), BytesMut::new());
    let understood = match what {
        0 => Request::decode(&body).ok().map(|request| request.encode(&mut written)),
        1 => Response::decode(&body).ok().map(|response| response.encode(&mut written)),
        _ => Message::take(&body).map(|message| message.put(&mut written)),
    };
    if understood.is_some() && written[..] != body[..] {
        return Err(format!("{body:?} is written as {written:?}"));
    }
    Ok(body.len())
}
