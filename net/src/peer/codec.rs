//! Packets as bytes. Pure and total: any bytes give a packet or an error.
//!
//! ```text
//!   Raft      | group u32 | what | flag | 0 0 | from u64 | to u64 | term u64 |
//!             | up to four numbers u64, as many as `what` has | entries, verbatim |
//!   Beats     | heartbeats and their answers, as Raft's messages, one after the other |
//!   Chunk     | group u32 | last | 0    | 0 0 | from u64 | to u64 | at: term u64, index u64 |
//!             | sending u64 | offset u64 | crc u32 | 0 u32 | the piece |
//!   ChunkAck  | group u32 | state | 0   | 0 0 | from .. offset, as above |
//!   SnapshotAsk | group u32 | 0 0 0 0 | from u64 | to u64 | index u64 |
//!   Seat      | group u32 | 0 0 0 0 | replica u64 | directory, 16 bytes |
//!   Digest    | group u32 | 0 0 0 0 | replica u64 | index u64 | digest u64 |
//!   Pace      | microseconds u64 | wall clock, in ms, u64 |
//!   ValueAsk  | group u32 | 0 0 0 0 | version u64 | key |
//!   Value     | group u32 | 0 0 0 0 | one record, as in the journal |
//! ```
//! Entries travel as the journal has them: encoded once by the leader, copied once into the buffer
//! that goes to the socket, and taken by the receiver as a slice of what was read.
//!
//! There is one way to write a packet. A byte that has no meaning is zero, a flag is 0 or 1, and
//! nothing follows a message that carries no entries; anything else is refused, so that a bit of
//! it can be given a meaning one day. Numbers above [`PACKET_NUMBER_MAX`] are refused too: what adds one to
//! an index from a wire must not overflow. What the entries say is checked by whoever reads them.
//!
//! Not here: frames and checksums (`frame.rs`), the worked bytes (`docs/wire.md`).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use trilith_engine::{
    codec::Reader,
    limits::{KEY_BYTES_MAX, PACKET_NUMBER_MAX},
    never,
    packet::{Beat, Chunk, ChunkAck, ChunkState, Packet, SnapshotAsk, SnapshotId},
    planted,
    raft::{Body, EntryId, Message, Position},
    types::{GroupId, Index, ReplicaId, Term, Uuid, Version},
};

use crate::frame::{self, BadFrame, Frame, Kind, TooLong};

/// Before a message's own numbers.
const RAFT_BYTES: usize = 32;
/// Of a chunk, before the piece.
const CHUNK_BYTES: usize = 64;
/// Before the key of a value that is asked for.
const VALUE_ASK_BYTES: usize = 16;
/// Before the record of a value.
const VALUE_BYTES: usize = 8;
/// A whole acknowledgement.
const CHUNK_ACK_BYTES: usize = 56;

/// A message's body as its tag, its flag and its numbers.
struct Said {
    what: u8,
    flag: bool,
    numbers: [u64; 4],
}

/// Of each tag: how many numbers, whether the flag means something, whether entries follow.
const SHAPES: [(usize, bool, bool); 18] = [
    (2, false, false), // PreVote
    (1, true, false),  // PreVoteReply
    (2, true, false),  // Vote
    (0, true, false),  // VoteReply
    (4, false, true),  // Append
    (2, false, false), // AppendAck
    (3, true, false),  // AppendReject
    (2, true, false),  // Heartbeat
    (1, false, false), // HeartbeatAck
    (1, false, false), // Commit
    (0, false, false), // Deposed
    (0, true, false),  // TimeoutNow
    (1, false, false), // ReadAsk
    (2, false, false), // ReadAnswer
    (2, false, false), // RepairAsk
    (2, false, true),  // Repair
    (2, false, false), // NeverHad
    (2, false, false), // Committed
];

fn say(body: &Body) -> Said {
    let said = |what, flag, numbers| Said { what, flag, numbers };
    let id = |what, id: EntryId| said(what, false, [id.term.0, id.index.0, 0, 0]);
    match *body {
        Body::PreVote { last } => id(0, last),
        Body::PreVoteReply { asked, granted } => said(1, granted, [asked.0, 0, 0, 0]),
        Body::Vote { last, forced } => said(2, forced, [last.term.0, last.index.0, 0, 0]),
        Body::VoteReply { granted } => said(3, granted, [0; 4]),
        Body::Append { prev, last, commit } => {
            said(4, false, [prev.term.0, prev.index.0, last.0, commit.0])
        }
        Body::AppendAck { matched } => id(5, matched),
        Body::AppendReject { at, hint, damaged } => {
            said(6, damaged, [at.0, hint.term.0, hint.index.0, 0])
        }
        Body::Heartbeat { commit, round, quiet } => said(7, quiet, [commit.0, round.0, 0, 0]),
        Body::HeartbeatAck { round } => said(8, false, [round.0, 0, 0, 0]),
        Body::Commit { commit } => said(9, false, [commit.0, 0, 0, 0]),
        Body::Deposed => said(10, false, [0; 4]),
        Body::TimeoutNow { is_free } => said(11, is_free, [0; 4]),
        Body::ReadAsk { position } => said(12, false, [position.0, 0, 0, 0]),
        Body::ReadAnswer { position, index } => said(13, false, [position.0, index.0, 0, 0]),
        Body::RepairAsk { id: of } => id(14, of),
        Body::Repair { id: of } => id(15, of),
        Body::NeverHad { id: of } => id(16, of),
        Body::Committed { id: of } => id(17, of),
    }
}

fn hear(said: &Said) -> Option<Body> {
    let [a, b, c, d] = said.numbers;
    let (id, flag) = (EntryId::new(a, b), said.flag);
    Some(match said.what {
        0 => Body::PreVote { last: id },
        1 => Body::PreVoteReply { asked: Term(a), granted: flag },
        2 => Body::Vote { last: id, forced: flag },
        3 => Body::VoteReply { granted: flag },
        4 => Body::Append { prev: id, last: Index(c), commit: Index(d) },
        5 => Body::AppendAck { matched: id },
        6 => Body::AppendReject { at: Index(a), hint: EntryId::new(b, c), damaged: flag },
        7 => Body::Heartbeat { commit: Index(a), round: Position(b), quiet: flag },
        8 => Body::HeartbeatAck { round: Position(a) },
        9 => Body::Commit { commit: Index(a) },
        10 => Body::Deposed,
        11 => Body::TimeoutNow { is_free: flag },
        12 => Body::ReadAsk { position: Position(a) },
        13 => Body::ReadAnswer { position: Position(a), index: Index(b) },
        14 => Body::RepairAsk { id },
        15 => Body::Repair { id },
        16 => Body::NeverHad { id },
        17 => Body::Committed { id },
        _ => return None,
    })
}

/// Appends a packet as a frame.
///
/// # Errors
/// [`TooLong`] when no frame can carry it; `out` is as before then.
pub fn encode(packet: &Packet, out: &mut BytesMut) -> Result<(), TooLong> {
    match packet {
        Packet::Raft { group, message, entries } => {
            frame::encode(out, Kind::Raft, |out| put_raft(out, *group, message, entries))
        }
        Packet::Beats(beats) => frame::encode(out, Kind::Beats, |out| {
            beats.iter().for_each(|beat| put_raft(out, beat.group, &beat.message, &[]));
        }),
        Packet::Chunk(chunk) => frame::encode(out, Kind::Chunk, |out| {
            put_snapshot(out, &chunk.id, u8::from(chunk.is_last), chunk.offset);
            out.put_u32_le(chunk.crc);
            out.put_u32_le(0);
            out.put_slice(&chunk.bytes);
        }),
        Packet::ChunkAck(ack) => frame::encode(out, Kind::ChunkAck, |out| {
            let state = match ack.state {
                ChunkState::Going => 0,
                ChunkState::Whole => 1,
                ChunkState::Refused => 2,
            };
            put_snapshot(out, &ack.id, state, ack.offset);
        }),
        Packet::SnapshotAsk(ask) => frame::encode(out, Kind::SnapshotAsk, |out| {
            out.put_u32_le(ask.group.0);
            out.put_u32_le(0);
            let numbers = [ask.from.0, ask.to.0, ask.at_least.0];
            numbers.into_iter().for_each(|number| put_number(out, number));
        }),
        Packet::Seat { group, replica, directory } => frame::encode(out, Kind::Seat, |out| {
            out.put_u32_le(group.0);
            out.put_u32_le(0);
            put_number(out, replica.0);
            out.put_slice(&directory.0);
        }),
        Packet::Digest { group, replica, at, digest } => frame::encode(out, Kind::Digest, |out| {
            out.put_u32_le(group.0);
            out.put_u32_le(0);
            [replica.0, at.0].into_iter().for_each(|number| put_number(out, number));
            out.put_u64_le(*digest);
        }),
        Packet::Pace { micros, wall_ms, mark_ms, heard_ms } => {
            frame::encode(out, Kind::Pace, |out| {
                put_number(out, *wall_ms);
                [micros, mark_ms, heard_ms].into_iter().for_each(|number| out.put_u32_le(*number));
            })
        }
        Packet::ValueAsk { group, version, key } => frame::encode(out, Kind::ValueAsk, |out| {
            out.put_u32_le(group.0);
            out.put_u32_le(0);
            put_number(out, version.0);
            out.put_slice(key);
        }),
        Packet::Value { group, record } => frame::encode(out, Kind::Value, |out| {
            out.put_u32_le(group.0);
            out.put_u32_le(0);
            out.put_slice(record);
        }),
    }
}

fn put_raft(out: &mut BytesMut, group: GroupId, message: &Message, entries: &[Bytes]) {
    let said = say(&message.body);
    let (count, _, carries) = SHAPES[usize::from(said.what)];
    let mut head = [0; RAFT_BYTES + 32];
    head[..4].copy_from_slice(&group.0.to_le_bytes());
    head[4..6].copy_from_slice(&[said.what, u8::from(said.flag)]);
    let fixed = [message.from.0, message.to.0, message.term.0];
    for (field, number) in head[8..].chunks_exact_mut(8).zip(fixed.into_iter().chain(said.numbers))
    {
        field.copy_from_slice(&sayable(number).to_le_bytes());
    }
    out.put_slice(&head[..RAFT_BYTES + 8 * count]);
    if never!(!carries && !entries.is_empty(), "entries travel with a message that names them") {
        return;
    }
    entries.iter().for_each(|piece| out.put_slice(piece));
}

fn put_snapshot(out: &mut BytesMut, id: &SnapshotId, first: u8, offset: u64) {
    out.put_u32_le(id.group.0);
    out.put_slice(&[first, 0, 0, 0]);
    let numbers = [id.from.0, id.to.0, id.at.term.0, id.at.index.0];
    numbers.into_iter().for_each(|number| put_number(out, number));
    out.put_u64_le(id.sending);
    put_number(out, offset);
}

fn put_number(out: &mut BytesMut, number: u64) {
    out.put_u64_le(sayable(number));
}

/// A number that the other side does not refuse: for what is too high the highest, which costs a
/// wrong number and not the link.
fn sayable(number: u64) -> u64 {
    if never!(number > PACKET_NUMBER_MAX, "a node tells only numbers that nodes take") {
        return PACKET_NUMBER_MAX;
    }
    number
}

/// Reads a frame's packet; its entries and pieces are slices of the frame.
///
/// # Errors
/// What is wrong with it.
pub fn decode(frame: Frame) -> Result<Packet, BadFrame> {
    match frame.kind {
        Kind::Raft => take_raft(frame.body),
        Kind::Beats => take_beats(&frame.body),
        Kind::Chunk => take_chunk(frame.body),
        Kind::ChunkAck => take_chunk_ack(&frame.body),
        Kind::SnapshotAsk => take_snapshot_ask(&frame.body),
        Kind::Seat => take_seat(&frame.body),
        Kind::Digest => take_digest(&frame.body),
        Kind::Pace => take_pace(&frame.body),
        Kind::ValueAsk => take_value_ask(frame.body),
        Kind::Value => take_value(frame.body),
        Kind::Hello
        | Kind::Welcome
        | Kind::Ready
        | Kind::Refusal
        | Kind::Challenge
        | Kind::Proof
        | Kind::Ping
        | Kind::Pong
        | Kind::Request
        | Kind::Response
        | Kind::Publish
        | Kind::SettingsAsk
        | Kind::Settings => Err(BadFrame::Unexpected(frame.kind)),
    }
}

fn number(reader: &mut Reader<'_>) -> Result<u64, BadFrame> {
    let number = reader.u64()?;
    if number > PACKET_NUMBER_MAX {
        Err(BadFrame::Body("a number is too high"))
    } else {
        Ok(number)
    }
}

fn flag(byte: u8) -> Result<bool, BadFrame> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BadFrame::Body("a flag is neither 0 nor 1")),
    }
}

fn zeros(bytes: &[u8]) -> Result<(), BadFrame> {
    if bytes.iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(BadFrame::Body("a reserved byte is not zero"))
    }
}

fn take_raft(mut body: Bytes) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(&body);
    let (group, message, carries) = take_message(&mut reader)?;
    let rest = reader.rest().len();
    if !carries && rest > 0 {
        return Err(BadFrame::Body("something follows a message without entries"));
    }
    body.advance(body.len() - rest);
    let entries = if body.is_empty() { Vec::new() } else { vec![body] };
    Ok(Packet::Raft { group, message, entries })
}

fn take_beats(body: &[u8]) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(body);
    let mut beats = Vec::new();
    while !reader.rest().is_empty() {
        let (group, message, _) = take_message(&mut reader)?;
        if !matches!(message.body, Body::Heartbeat { .. } | Body::HeartbeatAck { .. }) {
            return Err(BadFrame::Body("something else among the signs of life"));
        }
        beats.push(Beat { group, message });
    }
    Ok(Packet::Beats(beats))
}

/// A message without its entries, and whether some may follow.
fn take_message(reader: &mut Reader<'_>) -> Result<(GroupId, Message, bool), BadFrame> {
    let group = GroupId(reader.u32()?);
    let (what, flagged) = (reader.u8()?, flag(reader.u8()?)?);
    zeros(reader.take(2)?)?;
    let (from, to) = (ReplicaId(number(reader)?), ReplicaId(number(reader)?));
    let term = Term(number(reader)?);
    let shape = SHAPES.get(usize::from(what));
    let (count, has_flag, carries) = *shape.ok_or(BadFrame::Body("an unknown message"))?;
    let mut said = Said { what, flag: flagged, numbers: [0; 4] };
    for into in &mut said.numbers[..count] {
        *into = number(reader)?;
    }
    if flagged && !has_flag && !planted!("peer_meaningless_flag_taken") {
        return Err(BadFrame::Body("a flag where there is none"));
    }
    let body = hear(&said).ok_or(BadFrame::Body("an unknown message"))?;
    Ok((group, Message { from, to, term, body }, carries))
}

/// What chunks and their acknowledgements share: whose, the fifth byte, the offset.
fn take_snapshot(reader: &mut Reader<'_>) -> Result<(SnapshotId, u8, u64), BadFrame> {
    let (group, first) = (GroupId(reader.u32()?), reader.u8()?);
    zeros(reader.take(3)?)?;
    let (from, to) = (ReplicaId(number(reader)?), ReplicaId(number(reader)?));
    let at = EntryId::new(number(reader)?, number(reader)?);
    // Drawn from all of 64 bits; nobody counts with it.
    let sending = reader.u64()?;
    Ok((SnapshotId { group, from, to, at, sending }, first, number(reader)?))
}

fn take_chunk(mut body: Bytes) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(&body);
    let (id, last, offset) = take_snapshot(&mut reader)?;
    let (crc, is_last) = (reader.u32()?, flag(last)?);
    zeros(reader.take(4)?)?;
    body.advance(CHUNK_BYTES);
    Ok(Packet::Chunk(Chunk { id, offset, bytes: body, crc, is_last }))
}

fn take_chunk_ack(body: &[u8]) -> Result<Packet, BadFrame> {
    if body.len() != CHUNK_ACK_BYTES {
        return Err(BadFrame::Body("an acknowledgement of another length"));
    }
    let (id, state, offset) = take_snapshot(&mut Reader::new(body))?;
    let state = match state {
        0 => ChunkState::Going,
        1 => ChunkState::Whole,
        2 => ChunkState::Refused,
        _ => return Err(BadFrame::Body("an unknown state of a snapshot")),
    };
    Ok(Packet::ChunkAck(ChunkAck { id, offset, state }))
}

fn take_snapshot_ask(body: &[u8]) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(body);
    let group = GroupId(reader.u32()?);
    zeros(reader.take(4)?)?;
    let (from, to) = (ReplicaId(number(&mut reader)?), ReplicaId(number(&mut reader)?));
    let at_least = Index(number(&mut reader)?);
    if !reader.rest().is_empty() {
        return Err(BadFrame::Body("something follows what is asked for"));
    }
    Ok(Packet::SnapshotAsk(SnapshotAsk { group, from, to, at_least }))
}

fn take_seat(body: &[u8]) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(body);
    let group = GroupId(reader.u32()?);
    zeros(reader.take(4)?)?;
    let (replica, directory) = (ReplicaId(number(&mut reader)?), Uuid(reader.array()?));
    if !reader.rest().is_empty() {
        return Err(BadFrame::Body("something follows a seat"));
    }
    Ok(Packet::Seat { group, replica, directory })
}

fn take_digest(body: &[u8]) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(body);
    let group = GroupId(reader.u32()?);
    zeros(reader.take(4)?)?;
    let (replica, at) = (ReplicaId(number(&mut reader)?), Index(number(&mut reader)?));
    // Any number is a digest.
    let digest = reader.u64()?;
    if !reader.rest().is_empty() {
        return Err(BadFrame::Body("something follows a digest"));
    }
    Ok(Packet::Digest { group, replica, at, digest })
}

fn take_pace(body: &[u8]) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(body);
    let (wall_ms, micros) = (number(&mut reader)?, reader.u32()?);
    let (mark_ms, heard_ms) = (reader.u32()?, reader.u32()?);
    if !reader.rest().is_empty() {
        return Err(BadFrame::Body("something follows a pace"));
    }
    Ok(Packet::Pace { micros, wall_ms, mark_ms, heard_ms })
}

fn take_value_ask(mut body: Bytes) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(&body);
    let group = GroupId(reader.u32()?);
    zeros(reader.take(4)?)?;
    let version = Version(number(&mut reader)?);
    body.advance(VALUE_ASK_BYTES);
    if body.len() > KEY_BYTES_MAX {
        return Err(BadFrame::Body("a key is too long"));
    }
    Ok(Packet::ValueAsk { group, version, key: body })
}

fn take_value(mut body: Bytes) -> Result<Packet, BadFrame> {
    let mut reader = Reader::new(&body);
    let group = GroupId(reader.u32()?);
    zeros(reader.take(4)?)?;
    body.advance(VALUE_BYTES);
    Ok(Packet::Value { group, record: body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame::Decoder, limits::FRAME_BODY_BYTES_MAX};
    use proptest::{
        collection::vec,
        prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    };

    fn bodies() -> impl Strategy<Value = Body> {
        let number = 0..=PACKET_NUMBER_MAX;
        let numbers = (number.clone(), number.clone(), number.clone(), number);
        (0..18_u8, any::<bool>(), numbers).prop_map(|(what, flag, (a, b, c, d))| {
            let (count, has_flag, _) = SHAPES[usize::from(what)];
            let mut numbers = [a, b, c, d];
            numbers[count..].fill(0);
            hear(&Said { what, flag: flag && has_flag, numbers }).unwrap()
        })
    }

    fn numbers() -> impl Strategy<Value = u64> + Clone {
        0..=PACKET_NUMBER_MAX
    }

    fn wishes() -> impl Strategy<Value = Packet> {
        let wish = (any::<u32>(), numbers(), numbers(), numbers());
        wish.prop_map(|(group, from, to, at_least)| {
            let (from, to, at_least) = (ReplicaId(from), ReplicaId(to), Index(at_least));
            Packet::SnapshotAsk(SnapshotAsk { group: GroupId(group), from, to, at_least })
        })
    }

    fn packets() -> impl Strategy<Value = Packet> {
        let id = (any::<u32>(), numbers(), numbers(), any::<u64>());
        let id = id.prop_map(|(group, from, term, sending)| SnapshotId {
            group: GroupId(group),
            from: ReplicaId(from),
            to: ReplicaId(from / 2),
            at: EntryId::new(term, term / 3),
            sending,
        });
        let raft = (any::<u32>(), bodies(), numbers(), vec(any::<u8>(), 0..40));
        let raft = raft.prop_map(|(group, body, from, entries)| {
            let message =
                Message { from: ReplicaId(from), to: ReplicaId(7), term: Term(from), body };
            let carries = SHAPES[usize::from(say(&body).what)].2 && !entries.is_empty();
            let entries = if carries { vec![Bytes::from(entries)] } else { vec![] };
            Packet::Raft { group: GroupId(group), message, entries }
        });
        let chunk = (id.clone(), numbers(), vec(any::<u8>(), 0..40), any::<u32>(), any::<bool>());
        let chunk = chunk.prop_map(|(id, offset, bytes, crc, is_last)| {
            Packet::Chunk(Chunk { id, offset, bytes: bytes.into(), crc, is_last })
        });
        let states = [ChunkState::Going, ChunkState::Whole, ChunkState::Refused];
        let state = prop_oneof![Just(states[0]), Just(states[1]), Just(states[2])];
        let ack = (id, numbers(), state)
            .prop_map(|(id, offset, state)| Packet::ChunkAck(ChunkAck { id, offset, state }));
        let beat = (any::<u32>(), numbers(), any::<bool>()).prop_map(|(group, term, is_ack)| {
            let round = Position(term / 2);
            let body = if is_ack {
                Body::HeartbeatAck { round }
            } else {
                Body::Heartbeat { commit: Index(term / 3), round, quiet: term % 2 == 0 }
            };
            let (from, to) = (ReplicaId(term), ReplicaId(7));
            Beat { group: GroupId(group), message: Message { from, to, term: Term(term), body } }
        });
        let beats = vec(beat, 0..4).prop_map(Packet::Beats);
        let seat = (any::<u32>(), numbers(), any::<[u8; 16]>());
        let seat = seat.prop_map(|(group, replica, directory)| Packet::Seat {
            group: GroupId(group),
            replica: ReplicaId(replica),
            directory: Uuid(directory),
        });
        let digest = (any::<u32>(), numbers(), any::<u64>());
        let digest = digest.prop_map(|(group, replica, digest)| Packet::Digest {
            group: GroupId(group),
            replica: ReplicaId(replica),
            at: Index(replica / 2),
            digest,
        });
        let pace = (any::<u32>(), numbers(), any::<u32>(), any::<u32>());
        let pace = pace.prop_map(|(micros, wall_ms, mark_ms, heard_ms)| Packet::Pace {
            micros,
            wall_ms,
            mark_ms,
            heard_ms,
        });
        let ask = (any::<u32>(), numbers(), vec(any::<u8>(), 0..40));
        let ask = ask.prop_map(|(group, version, key)| Packet::ValueAsk {
            group: GroupId(group),
            version: Version(version),
            key: key.into(),
        });
        let value = (any::<u32>(), vec(any::<u8>(), 0..40));
        let value = value.prop_map(|(group, record)| Packet::Value {
            group: GroupId(group),
            record: record.into(),
        });
        prop_oneof![
            4 => raft, 1 => chunk, 1 => ack, 1 => beats, 1 => seat, 1 => digest, 1 => pace, 1 => ask, 1 => value,
            1 => wishes()
        ]
    }

    fn framed(packet: &Packet) -> Frame {
        let mut bytes = BytesMut::new();
        encode(packet, &mut bytes).unwrap();
        let mut decoder = Decoder::new(64);
        decoder.agreed(64, FRAME_BODY_BYTES_MAX);
        decoder.feed(&bytes);
        decoder.take().unwrap().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packet in packets()) {
            prop_assert_eq!(decode(framed(&packet)), Ok(packet));
        }

        #[test]
        fn no_part_of_a_body_is_a_packet_of_another_length(packet in packets()) {
            let whole = framed(&packet);
            for cut in 0..whole.body.len() {
                let frame = Frame { body: whole.body.slice(..cut), ..whole };
                // Shorter entries are still entries: their own checksums tell.
                let read = decode(frame);
                prop_assert!(read.is_err() || read != Ok(packet.clone()));
            }
        }

        #[test]
        fn there_is_one_way_to_write_what_is_read(kind in 0..10_usize, mut body: Vec<u8>, tame: bool) {
            if tame && body.len() > 5 {
                (body[4], body[5]) = (body[4] % 19, body[5] % 2);
                body[6..].iter_mut().step_by(3).for_each(|byte| *byte = 0);
            }
            let kinds = [
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
            let kind = kinds[kind];
            let frame = Frame { kind, body: body.clone().into() };
            if let Ok(packet) = decode(frame) {
                prop_assert_eq!(&framed(&packet).body[..], &body[..]);
            }
        }

        #[test]
        fn altered_bodies_say_something_else_or_nothing(packet in packets(), at: usize, to: u8) {
            let whole = framed(&packet);
            let mut body = whole.body.to_vec();
            let at = at % body.len().max(1);
            if body.get(at).is_some_and(|byte| *byte != to) {
                body[at] = to;
                let read = decode(Frame { kind: whole.kind, body: body.into() });
                prop_assert!(read != Ok(packet));
            }
        }
    }

    #[test]
    fn entries_are_slices_of_what_was_read() {
        let message = Message {
            from: ReplicaId(1),
            to: ReplicaId(2),
            term: Term(3),
            body: Body::Append { prev: EntryId::new(1, 2), last: Index(4), commit: Index(2) },
        };
        let entries = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        let frame = framed(&Packet::Raft { group: GroupId(9), message, entries });
        let whole = frame.body.as_ptr_range();
        let Ok(Packet::Raft { entries, .. }) = decode(frame) else { panic!("a message") };
        assert_eq!(entries, [Bytes::from_static(b"onetwo")]);
        assert_eq!(entries[0].as_ptr_range().end, whole.end);
    }

    #[test]
    fn an_index_that_would_overflow_is_refused() {
        let commit = Body::Commit { commit: Index(PACKET_NUMBER_MAX) };
        let message = Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(3), body: commit };
        let frame = framed(&Packet::Raft { group: GroupId(9), message, entries: vec![] });
        let mut body = frame.body.to_vec();
        body[RAFT_BYTES..].copy_from_slice(&(PACKET_NUMBER_MAX + 1).to_le_bytes());
        let frame = Frame { body: body.into(), ..frame };
        assert_eq!(decode(frame), Err(BadFrame::Body("a number is too high")));
    }

    #[test]
    #[should_panic(expected = "a node tells only numbers that nodes take")]
    fn what_others_refuse_is_not_sent() {
        framed(&Packet::Pace { micros: 0, wall_ms: u64::MAX, mark_ms: 0, heard_ms: 0 });
    }
}
