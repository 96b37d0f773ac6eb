//! What the toy's nodes and clients say to each other, and how it looks as bytes.
//!
//! ```text
//! frame: | length u32 | crc u32 of the body | body: tag u8, fields |     little-endian
//! ```
//! A stream gives bytes in pieces of any size and may flip some; a frame is taken only when it is
//! whole and its checksum fits. Whatever else arrives ends the connection.
//!
//! Not here: who says what when (`toy_node`, `toy_client`).

use bytes::Bytes;
use trilith_engine::{
    codec::{Reader, crc},
    runtime::{NetError, NetErrorKind, NetResult, StreamRead, StreamWrite},
};

use crate::history::{Answer, Call};

/// A frame longer than this is garbage: 64 entries of 64 bytes and room to spare.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// One write of the replicated log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which life of the primary made it.
    pub epoch: u64,
    /// Who asked; [`NOBODY`] for the entry that begins an epoch.
    pub client: u32,
    /// That client's number for the request: what makes a retry recognisable.
    pub sequence: u64,
    /// The operation in the run's history.
    pub id: u32,
    /// The key.
    pub key: u32,
    /// What to do to it.
    pub call: Call,
}

/// The client of an entry that nobody asked for.
pub const NOBODY: u32 = u32::MAX;

/// What a node tells a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Done; this was the answer, after this many entries.
    Done(Answer, u64),
    /// Not by me, and nothing was done: ask the primary.
    NotPrimary,
    /// Not now, and nothing was done.
    Busy,
    /// An older request than one already seen; what became of it is not known here.
    Old,
}

/// Everything that can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A client asks.
    Request(Entry),
    /// A node answers the request of that number.
    Reply(u64, Told),
    /// A primary opens a link, with its epoch.
    Hello(u64),
    /// A backup shows how far its log goes: last epoch, length, chain.
    Welcome {
        /// The epoch of its last entry.
        epoch: u64,
        /// How many entries.
        len: u64,
        /// The checksum chain over all of them.
        chain: u32,
    },
    /// A primary sends entries.
    Prepare {
        /// Its epoch.
        epoch: u64,
        /// The position of the first entry.
        from: u64,
        /// The chain before it.
        before: u32,
        /// How many entries are committed.
        commit: u64,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// A backup holds this many entries durably, and they are the primary's.
    Prepared(u64),
    /// A backup's log is another one there.
    Conflict,
    /// A primary without a disk asks for entries from here on.
    Fetch(u64),
    /// A backup gives them.
    Entries(Vec<Entry>),
}

fn put_call(out: &mut Vec<u8>, call: Call) {
    let (tag, first, second) = match call {
        Call::Get => (0u8, 0, 0),
        Call::Set(value) => (1, value, 0),
        Call::Delete => (2, 0, 0),
        Call::Cas { from: None, to } => (3, 0, to),
        Call::Cas { from: Some(from), to } => (4, from, to),
        Call::Incr(by) => (5, by, 0),
    };
    out.push(tag);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&second.to_le_bytes());
}

fn take_call(reader: &mut Reader<'_>) -> Option<Call> {
    let (tag, first, second) = (reader.u8().ok()?, reader.u64().ok()?, reader.u64().ok()?);
    Some(match tag {
        0 => Call::Get,
        1 => Call::Set(first),
        2 => Call::Delete,
        3 => Call::Cas { from: None, to: second },
        4 => Call::Cas { from: Some(first), to: second },
        5 => Call::Incr(first),
        _ => return None,
    })
}

impl Entry {
    /// Appends its bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.client.to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.key.to_le_bytes());
        put_call(out, self.call);
    }

    /// Reads what `put` wrote.
    pub fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let (epoch, sequence) = (reader.u64().ok()?, reader.u64().ok()?);
        let (client, id, key) = (reader.u32().ok()?, reader.u32().ok()?, reader.u32().ok()?);
        Some(Self { epoch, client, sequence, id, key, call: take_call(reader)? })
    }
}

fn put_told(out: &mut Vec<u8>, told: Told) {
    let (tag, value, position) = match told {
        Told::Done(Answer::Done, at) => (0u8, 0, at),
        Told::Done(Answer::Value(None), at) => (1, 0, at),
        Told::Done(Answer::Value(Some(value)), at) => (2, value, at),
        Told::Done(Answer::Swapped(swapped), at) => (3, u64::from(swapped), at),
        Told::NotPrimary => (4, 0, 0),
        Told::Busy => (5, 0, 0),
        Told::Old => (6, 0, 0),
    };
    out.push(tag);
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&position.to_le_bytes());
}

fn take_told(reader: &mut Reader<'_>) -> Option<Told> {
    let (tag, value, at) = (reader.u8().ok()?, reader.u64().ok()?, reader.u64().ok()?);
    Some(match tag {
        0 => Told::Done(Answer::Done, at),
        1 => Told::Done(Answer::Value(None), at),
        2 => Told::Done(Answer::Value(Some(value)), at),
        3 => Told::Done(Answer::Swapped(value != 0), at),
        4 => Told::NotPrimary,
        5 => Told::Busy,
        6 => Told::Old,
        _ => return None,
    })
}

fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    entries.iter().for_each(|entry| entry.put(out));
}

fn take_entries(reader: &mut Reader<'_>) -> Option<Vec<Entry>> {
    let count = reader.u64().ok()?;
    (0..count).map(|_| Entry::take(reader)).collect()
}

impl Message {
    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut number = |tag: u8, numbers: &[u64]| {
            out.push(tag);
            numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        };
        match self {
            Self::Request(_) => number(0, &[]),
            Self::Reply(sequence, _) => number(1, &[*sequence]),
            Self::Hello(epoch) => number(2, &[*epoch]),
            Self::Welcome { epoch, len, chain } => number(3, &[*epoch, *len, u64::from(*chain)]),
            Self::Prepare { epoch, from, before, commit, .. } => {
                number(4, &[*epoch, *from, u64::from(*before), *commit]);
            }
            Self::Prepared(len) => number(5, &[*len]),
            Self::Conflict => number(6, &[]),
            Self::Fetch(from) => number(7, &[*from]),
            Self::Entries(_) => number(8, &[]),
        }
        match self {
            Self::Request(entry) => entry.put(&mut out),
            Self::Reply(_, told) => put_told(&mut out, *told),
            Self::Prepare { entries, .. } | Self::Entries(entries) => {
                put_entries(&mut out, entries);
            }
            Self::Hello(_)
            | Self::Welcome { .. }
            | Self::Prepared(_)
            | Self::Conflict
            | Self::Fetch(_) => {}
        }
        out
    }

    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let body = self.body();
        let mut frame = Vec::with_capacity(body.len() + 8);
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend_from_slice(&crc(0, &body).to_le_bytes());
        frame.extend_from_slice(&body);
        frame
    }

    /// Reads a body; `None` for anything that is not one.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let message = match reader.u8().ok()? {
            0 => Self::Request(Entry::take(&mut reader)?),
            1 => Self::Reply(reader.u64().ok()?, take_told(&mut reader)?),
            2 => Self::Hello(reader.u64().ok()?),
            3 => Self::Welcome {
                epoch: reader.u64().ok()?,
                len: reader.u64().ok()?,
                chain: u32::try_from(reader.u64().ok()?).ok()?,
            },
            4 => Self::Prepare {
                epoch: reader.u64().ok()?,
                from: reader.u64().ok()?,
                before: u32::try_from(reader.u64().ok()?).ok()?,
                commit: reader.u64().ok()?,
                entries: take_entries(&mut reader)?,
            },
            5 => Self::Prepared(reader.u64().ok()?),
            6 => Self::Conflict,
            7 => Self::Fetch(reader.u64().ok()?),
            8 => Self::Entries(take_entries(&mut reader)?),
            _ => return None,
        };
        reader.rest().is_empty().then_some(message)
    }
}

/// Sends a whole frame.
///
/// # Errors
/// What the network says.
pub async fn send<W: StreamWrite>(writer: &mut W, message: &Message) -> NetResult<()> {
    let frame = Bytes::from(message.frame());
    let mut sent = 0;
    while sent < frame.len() {
        sent += writer.write(&frame[sent..]).await?;
    }
    Ok(())
}

async fn fill<S: StreamRead>(reader: &mut S, buffer: &mut [u8]) -> NetResult<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]).await? {
            0 => return Err(NetError::new(NetErrorKind::Reset, "the other side has ended")),
            taken => filled += taken,
        }
    }
    Ok(())
}

/// Receives a whole frame. `trusting` takes it without looking at its checksum (a planted bug).
///
/// # Errors
/// What the network says, or that the bytes are no frame.
pub async fn receive<S: StreamRead>(reader: &mut S, trusting: bool) -> NetResult<Message> {
    let garbage = |why: &str| Err(NetError::new(NetErrorKind::Other, why));
    let mut head = [0; 8];
    fill(reader, &mut head).await?;
    let mut fields = Reader::new(&head);
    let length = fields.u32().map_or(usize::MAX, |length| length as usize);
    let expected = fields.u32().unwrap_or_default();
    if length > FRAME_BYTES_MAX {
        return garbage("a frame of impossible length");
    }
    let mut body = vec![0; length];
    fill(reader, &mut body).await?;
    if crc(0, &body) != expected && !trusting {
        return garbage("a frame with a wrong checksum");
    }
    Message::parse(&body).map_or_else(|| garbage("a frame that says nothing"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_reads_back_and_no_prefix_of_it_does() {
        let call = Call::Cas { from: Some(3), to: 4 };
        let entry = Entry { epoch: 1, client: 2, sequence: 3, id: 4, key: 5, call };
        let messages = [
            Message::Request(entry),
            Message::Reply(7, Told::Done(Answer::Value(Some(9)), 4)),
            Message::Reply(7, Told::Busy),
            Message::Hello(3),
            Message::Welcome { epoch: 1, len: 2, chain: 3 },
            Message::Prepare { epoch: 1, from: 2, before: 3, commit: 4, entries: vec![entry; 3] },
            Message::Prepared(6),
            Message::Conflict,
            Message::Fetch(1),
            Message::Entries(vec![entry]),
        ];
        for message in messages {
            let body = message.body();
            assert_eq!(Message::parse(&body).as_ref(), Some(&message));
            for cut in 0..body.len() {
                assert_eq!(Message::parse(&body[..cut]), None);
            }
        }
    }
}
