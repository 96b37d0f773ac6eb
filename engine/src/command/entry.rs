//! An entry of the log: one head record and, for a transaction, its parts.
//!
//! ```text
//! head     Put, Tombstone or Command; version = index, term = the entry's, and a section
//! section  kind 1 │ options 1 │ stamp 8 │ [version 8] │ [session 28]
//!            kind     0 command, 1 nothing, 2 change of the membership, 3 joint one left
//!            options  of a SET or DELETE as in `verb`; bit 3: a session follows
//! parts    Put and Tombstone records of the same group, version and term
//! ```
//! What may become the value of a key as it stands is a record of its own; what depends on the
//! state (an increment, an expiry that is kept) is words in the value of a Command record, and
//! the state machine derives the value when the entry is applied.
//!
//! Invariants: an entry is self-contained, so the bytes that a leader made are those of every
//! replica, for as long as the entry lives; its length is known before its index is.
//!
//! Not here: whether an entry has an effect (`store`); frames and their places (`journal`).

use super::{
    Session,
    bytes::{Read, SESSION_BYTES, finish, put_session, take_session},
    verb::{
        Command, Condition, Expiry, Transaction, Write, options, put_condition_version,
        take_options, version_bytes,
    },
};
use crate::{
    codec::Reader,
    journal::{
        Origin, RECORD_HEADER_BYTES, Record, RecordKind,
        format::{self, FormatError, RECORD_ALIGN},
    },
    limits::{RAFT_ENTRY_BYTES_MAX, VALUE_BYTES_MAX_CLUSTER},
    types::{ClientId, GroupId, Index, Stamp, Term, Version},
};
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

const SECTION_BYTES: usize = 10;
const SECTION_BYTES_MAX: usize = SECTION_BYTES + 8 + SESSION_BYTES;
const OPTION_SESSION: u8 = 8;
/// The tag of a transaction's words.
const TRANSACTION: u8 = 8;

/// What an entry is for: the kinds of Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A command.
    Normal = 0,
    /// Nothing: a leader's first entry, or the renewal of its lease.
    Noop = 1,
    /// A change of the membership.
    Change = 2,
    /// The joint membership is left.
    Leave = 3,
}

impl EntryKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Normal,
            1 => Self::Noop,
            2 => Self::Change,
            3 => Self::Leave,
            _ => return None,
        })
    }
}

/// Where and when an entry stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The group.
    pub group: GroupId,
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
    /// The leader's time.
    pub stamp: Stamp,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<B = Bytes> {
    /// Nothing.
    Noop,
    /// The membership changes, in bytes of whoever changes it.
    Change(B),
    /// The joint membership is left.
    Leave,
    /// A client's command.
    Command(Session, Command<B>),
}

impl<B> Body<B> {
    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::Noop => EntryKind::Noop,
            Self::Change(_) => EntryKind::Change,
            Self::Leave => EntryKind::Leave,
            Self::Command(..) => EntryKind::Normal,
        }
    }
}

/// How long an entry will be.
#[must_use]
pub fn encoded_bytes<B: AsRef<[u8]>>(body: &Body<B>) -> usize {
    match body {
        Body::Noop | Body::Leave => head_bytes(SECTION_BYTES, false, 0, 0),
        Body::Change(change) => head_bytes(SECTION_BYTES, false, 0, change.as_ref().len()),
        Body::Command(session, command) => command_bytes(session.is_kept(), command),
    }
}

/// How long the entry of a command is.
pub(super) fn command_bytes<B: AsRef<[u8]>>(has_session: bool, command: &Command<B>) -> usize {
    let section = SECTION_BYTES + if has_session { SESSION_BYTES } else { 0 };
    match command {
        Command::Set { key, value, expiry, condition, .. } if !matches!(expiry, Expiry::Keep) => {
            let section = section + version_bytes(*condition);
            let expires = !matches!(expiry, Expiry::None);
            head_bytes(section, expires, key.as_ref().len(), value.as_ref().len())
        }
        Command::Delete { key, condition, .. } => {
            head_bytes(section + version_bytes(*condition), false, key.as_ref().len(), 0)
        }
        Command::Transaction(transaction) => {
            let words = 1 + transaction.words_bytes(false);
            let parts = transaction.writes().iter().filter(|write| write.is_part());
            head_bytes(section, false, 0, words) + parts.map(part_bytes).sum::<usize>()
        }
        Command::Set { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::Expire { .. }
        | Command::Clock
        | Command::CloseSession => head_bytes(section, false, 0, command.words_bytes()),
    }
}

const fn head_bytes(section: usize, expires: bool, key: usize, value: usize) -> usize {
    let expiry = if expires { 8 } else { 0 };
    (RECORD_HEADER_BYTES + expiry + 1 + section + key + value).next_multiple_of(RECORD_ALIGN)
}

fn part_bytes<B: AsRef<[u8]>>(write: &Write<B>) -> usize {
    let (expires, key, value) = match write {
        Write::Set { key, value, expiry } => (!matches!(expiry, Expiry::None), key, value.as_ref()),
        Write::Delete { key } | Write::Increment { key, .. } => (false, key, [].as_slice()),
    };
    let expiry = if expires { 8 } else { 0 };
    let len = RECORD_HEADER_BYTES + expiry + key.as_ref().len() + value.len();
    len.next_multiple_of(RECORD_ALIGN)
}

/// Appends an entry.
///
/// # Panics
/// When its command does not pass its [check](Command::check).
pub fn encode<B: AsRef<[u8]>>(out: &mut BytesMut, place: Place, body: &Body<B>) {
    let start = out.len();
    let len = encoded_bytes(body);
    out.reserve(len);
    match body {
        Body::Noop | Body::Leave => head(place, body.kind(), None).put(out, &[]),
        Body::Change(change) => head(place, body.kind(), None).put(out, change.as_ref()),
        Body::Command(session, command) => put_command(out, place, session, command),
    }
    assert!(out.len() - start == len, "an entry is as long as was said");
}

fn put_command<B: AsRef<[u8]>>(
    out: &mut BytesMut,
    place: Place,
    session: &Session,
    command: &Command<B>,
) {
    let mut head = head(place, EntryKind::Normal, Some(session));
    match command {
        Command::Set { key, value, expiry, condition, want_old }
            if !matches!(expiry, Expiry::Keep) =>
        {
            head.kind = RecordKind::Put;
            head.options = (*condition, *want_old);
            head.expires_ms = expires_ms(*expiry, place.stamp);
            head.key = key.as_ref();
            head.put(out, value.as_ref());
        }
        Command::Delete { key, condition, want_old } => {
            head.kind = RecordKind::Tombstone;
            head.options = (*condition, *want_old);
            head.key = key.as_ref();
            head.put(out, &[]);
        }
        Command::Transaction(transaction) => {
            let mut words = BytesMut::with_capacity(1 + transaction.words_bytes(false));
            words.put_u8(TRANSACTION);
            transaction.put_words(&mut words, false);
            head.put(out, &words);
            for write in transaction.writes().iter().filter(|write| write.is_part()) {
                part(place, write).encode(out);
            }
        }
        Command::Set { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::Expire { .. }
        | Command::Clock
        | Command::CloseSession => {
            let mut words = BytesMut::with_capacity(command.words_bytes());
            command.put_words(&mut words);
            head.put(out, &words);
        }
    }
}

/// Until when a record counts that is written at this stamp. 0 is no moment of a record.
fn expires_ms(expiry: Expiry, stamp: Stamp) -> Option<u64> {
    match expiry.from(stamp) {
        Expiry::At(ms) => Some(ms.max(1)),
        Expiry::None | Expiry::After(_) | Expiry::Keep => None,
    }
}

/// A head record that is being made.
struct HeadRecord<'a> {
    place: Place,
    entry: EntryKind,
    session: Option<&'a Session>,
    kind: RecordKind,
    options: (Condition, bool),
    expires_ms: Option<u64>,
    key: &'a [u8],
}

const fn head(place: Place, entry: EntryKind, session: Option<&Session>) -> HeadRecord<'_> {
    let options = (Condition::Always, false);
    HeadRecord {
        place,
        entry,
        session,
        kind: RecordKind::Command,
        options,
        expires_ms: None,
        key: &[],
    }
}

impl HeadRecord<'_> {
    fn put(&self, out: &mut BytesMut, value: &[u8]) {
        // On the stack: this is made for every write.
        let mut buffer = [0; SECTION_BYTES_MAX];
        let mut section = &mut buffer[..];
        let session = self.session.filter(|session| session.is_kept());
        let (condition, want_old) = self.options;
        section.put_u8(self.entry as u8);
        let flag = if session.is_some() { OPTION_SESSION } else { 0 };
        section.put_u8(options(condition, want_old) | flag);
        section.put_u64_le(self.place.stamp.0);
        put_condition_version(&mut section, condition);
        if let Some(session) = session {
            put_session(&mut section, session);
        }
        let len = SECTION_BYTES_MAX - section.len();
        let record = Record {
            group: self.place.group,
            kind: self.kind,
            origin: Origin::Entry(&buffer[..len]),
            version: Version(self.place.index.0),
            term: self.place.term,
            expires_ms: self.expires_ms,
            key: self.key,
            value,
        };
        record.encode(out);
    }
}

fn part<B: AsRef<[u8]>>(place: Place, write: &Write<B>) -> Record<'_> {
    let (kind, expires_ms, value) = match write {
        Write::Set { value, expiry, .. } => {
            (RecordKind::Put, expires_ms(*expiry, place.stamp), value.as_ref())
        }
        Write::Delete { .. } | Write::Increment { .. } => {
            (RecordKind::Tombstone, None, [].as_slice())
        }
    };
    Record {
        group: place.group,
        kind,
        origin: Origin::Part,
        version: Version(place.index.0),
        term: place.term,
        expires_ms,
        key: write.key().as_ref(),
        value,
    }
}

/// An entry, seen in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where and when it stands.
    pub place: Place,
    /// What it says.
    pub body: Body<&'a [u8]>,
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads an entry, which must be all of the bytes, with the checksums of its records.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Read<Self> {
        whole(Self::first(bytes)?)
    }

    /// Reads an entry whose records were verified before: checksums are not looked at.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn parse(bytes: &'a [u8]) -> Read<Self> {
        whole(Self::front(bytes, Record::parse)?)
    }

    /// Reads the entry at the front of several, with the checksums of its records; answers what is
    /// behind it too.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn first(bytes: &'a [u8]) -> Read<(Self, &'a [u8])> {
        Self::front(bytes, Record::decode)
    }

    fn front(
        bytes: &'a [u8],
        read: impl Fn(&'a [u8]) -> Read<(Record<'a>, usize)>,
    ) -> Read<(Self, &'a [u8])> {
        let mut rest = bytes;
        let head = take_record(&mut rest, &read)?;
        let Origin::Entry(section) = head.origin else {
            return Err(FormatError::Field("flags"));
        };
        let section = Section::decode(section, head.kind)?;
        let (group, term, version) = (head.group, head.term, head.version);
        let mut parts = Vec::new();
        while is_part(rest) {
            let part = take_record(&mut rest, &read)?;
            if (part.group, part.term, part.version) != (group, term, version) {
                return Err(FormatError::Field("part"));
            }
            parts.push(part);
        }
        let body = section.body(&head, parts)?;
        let place = Place { group, term, index: Index(version.0), stamp: section.stamp };
        let bytes = &bytes[..bytes.len() - rest.len()];
        if bytes.len() > RAFT_ENTRY_BYTES_MAX as usize {
            return Err(FormatError::Field("length"));
        }
        Ok((Self { place, body, bytes }, rest))
    }

    /// What the section of an entry's head says first: what the entry is for, and when it was made.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn glance(section: &[u8]) -> Read<(EntryKind, Stamp)> {
        let mut reader = Reader::new(section);
        let kind = EntryKind::from_byte(reader.u8()?).ok_or(FormatError::Field("entry"))?;
        reader.u8()?;
        Ok((kind, Stamp(reader.u64()?)))
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        self.body.kind()
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The checksum of its head record: of the entry, in 32 bits, but for the parts.
    #[must_use]
    pub fn crc(&self) -> u32 {
        Reader::new(self.bytes).u32().unwrap_or_default()
    }

    /// Those of its records that say what a key's value is, if the entry has an effect: with where
    /// each begins in the entry's bytes, and how long it is without padding.
    pub fn records(&self) -> impl Iterator<Item = (usize, usize, Record<'a>)> + use<'a> {
        let bytes = self.bytes;
        let mut at = 0;
        core::iter::from_fn(move || {
            let (record, len) = Record::parse(bytes.get(at..)?).ok()?;
            let here = at;
            at += len.next_multiple_of(RECORD_ALIGN);
            Some((here, len, record))
        })
        .filter(|(_, _, record)| record.kind.is_of_a_key())
    }
}

fn whole<'a>((entry, rest): (Entry<'a>, &'a [u8])) -> Read<Entry<'a>> {
    finish(&Reader::new(rest)).map(|()| entry)
}

/// Whether a part record follows: what tells an entry's end.
fn is_part(rest: &[u8]) -> bool {
    matches!(Record::parse(rest), Ok((Record { origin: Origin::Part, .. }, _)))
}

fn take_record<'a>(
    rest: &mut &'a [u8],
    read: impl Fn(&'a [u8]) -> Read<(Record<'a>, usize)>,
) -> Read<Record<'a>> {
    let (record, len) = read(rest)?;
    if record.kind.is_of_a_key() && record.value.len() > VALUE_BYTES_MAX_CLUSTER {
        return Err(FormatError::Field("value_len"));
    }
    let padded = len.next_multiple_of(RECORD_ALIGN);
    let (bytes, behind) = rest.split_at_checked(padded).ok_or(FormatError::Truncated)?;
    if !format::is_zero(&bytes[len..]) {
        return Err(FormatError::Field("padding"));
    }
    *rest = behind;
    Ok(record)
}

/// A head's section.
struct Section {
    kind: EntryKind,
    stamp: Stamp,
    condition: Condition,
    want_old: bool,
    session: Session,
}

impl Section {
    fn decode(bytes: &[u8], kind: RecordKind) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        let entry = EntryKind::from_byte(reader.u8()?).ok_or(FormatError::Field("entry"))?;
        let options = reader.u8()?;
        let stamp = Stamp(reader.u64()?);
        let (condition, want_old) = take_options(options & !OPTION_SESSION, &mut reader)?;
        let has_session = options & OPTION_SESSION != 0;
        let session = if has_session { take_session(&mut reader)? } else { Session::NOBODY };
        finish(&reader)?;
        if has_session && session.client == ClientId(0) {
            return Err(FormatError::Field("client"));
        }
        let is_key = kind.is_of_a_key();
        let is_plain = condition == Condition::Always && !want_old;
        if (!is_key && !is_plain) || (entry != EntryKind::Normal && (is_key || has_session)) {
            return Err(FormatError::Field("options"));
        }
        Ok(Self { kind: entry, stamp, condition, want_old, session })
    }

    fn body<'a>(&self, head: &Record<'a>, parts: Vec<Record<'a>>) -> Read<Body<&'a [u8]>> {
        let mut parts = parts.into_iter();
        let Self { condition, want_old, .. } = *self;
        let body = match (self.kind, head.kind) {
            (EntryKind::Noop, _) if is_bare(head, true) => Body::Noop,
            (EntryKind::Leave, _) if is_bare(head, true) => Body::Leave,
            (EntryKind::Change, _) if is_bare(head, false) => Body::Change(head.value),
            (EntryKind::Normal, RecordKind::Put) => {
                let (key, value, expiry) = (head.key, head.value, expiry(head)?);
                self.command(Command::Set { key, value, expiry, condition, want_old })
            }
            (EntryKind::Normal, RecordKind::Tombstone)
                if head.expires_ms.is_none() && head.value.is_empty() =>
            {
                self.command(Command::Delete { key: head.key, condition, want_old })
            }
            (EntryKind::Normal, RecordKind::Command) if is_bare(head, false) => {
                let mut reader = Reader::new(head.value);
                let tag = reader.u8()?;
                let command = if tag == TRANSACTION {
                    let writes = parts.by_ref().map(|part| write_of(&part));
                    Command::Transaction(Transaction::take_words(&mut reader, Some(writes))?)
                } else {
                    Command::take_words(tag, &mut reader)?
                };
                finish(&reader)?;
                if !is_words(&command) {
                    return Err(FormatError::Field("command"));
                }
                self.command(command)
            }
            _ => return Err(FormatError::Field("entry")),
        };
        if parts.next().is_some() {
            return Err(FormatError::Field("parts"));
        }
        Ok(body)
    }

    fn command<'a>(&self, command: Command<&'a [u8]>) -> Body<&'a [u8]> {
        Body::Command(self.session, command)
    }
}

/// Whether a command is one that stands as words in an entry, and not as a record.
fn is_words(command: &Command<&[u8]>) -> bool {
    match command {
        Command::Set { expiry, .. } => matches!(expiry, Expiry::Keep),
        Command::Delete { .. } => false,
        Command::Increment { .. }
        | Command::Append { .. }
        | Command::Expire { .. }
        | Command::Transaction(_)
        | Command::Clock
        | Command::CloseSession => true,
    }
}

/// Whether a Command record has nothing besides its section, or its section and a value.
const fn is_bare(head: &Record<'_>, is_empty: bool) -> bool {
    head.key.is_empty() && head.expires_ms.is_none() && (head.value.is_empty() || !is_empty)
}

const fn expiry(record: &Record<'_>) -> Read<Expiry> {
    match record.expires_ms {
        None => Ok(Expiry::None),
        Some(0) => Err(FormatError::Field("expiry")),
        Some(ms) => Ok(Expiry::At(ms)),
    }
}

/// The write that a part is.
fn write_of<'a>(part: &Record<'a>) -> Read<Write<&'a [u8]>> {
    match part.kind {
        RecordKind::Put => {
            Ok(Write::Set { key: part.key, value: part.value, expiry: expiry(part)? })
        }
        RecordKind::Tombstone if part.value.is_empty() && part.expires_ms.is_none() => {
            Ok(Write::Delete { key: part.key })
        }
        RecordKind::Tombstone
        | RecordKind::Command
        | RecordKind::Hard
        | RecordKind::Checkpoint
        | RecordKind::Edit => Err(FormatError::Field("part")),
    }
}
