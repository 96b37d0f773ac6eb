//! The log of the first format, read only. Pure.
//!
//! ```text
//! │ magic 4 │ version 2 │ op 1 │ key_len 4 │ val_len 4 │ key │ value │ crc 4 │   little-endian
//!   "KV01"      1        0 set, 1 delete                                 CRC-32 of op … value
//! ```
//!
//! The checksum covers neither the frame's place nor its neighbours, and nothing says what was
//! durable, so a damaged frame cannot be told from one that was being written. The rule of that
//! format is the only honest one: read up to the first frame that is not whole, and say where that
//! was. What we write ourselves is richer for this reason (`format.rs`).
//!
//! A log that is in memory is [`read`] from it. One that is not is fed to [`Pieces`], which holds
//! one piece and the frame it cuts, and refuses a frame that is longer than any store takes: a
//! damaged length must not be a reason to hold four gigabytes.
//!
//! Invariants: any bytes give entries and then at most one error; pieces give what the whole gives.
//!
//! Not here: taking the entries over into a store (`embedded`).

use alloc::vec::Vec;
use core::fmt;

use crate::{
    codec::{self, Reader, Truncated},
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_EMBEDDED},
};

/// How a frame begins.
pub const MAGIC: [u8; 4] = *b"KV01";
/// The only version there is.
pub const VERSION: u16 = 1;

/// One operation of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where its frame begins.
    pub offset: u64,
    /// The key.
    pub key: &'a [u8],
    /// The value it was given; `None` when it was deleted.
    pub value: Option<&'a [u8]>,
}

/// Why the rest of a log is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends in the middle of a frame, as it does when the writer died.
    Truncated,
    /// No frame begins there.
    NotOurs,
    /// A later version of the format.
    Version(u16),
    /// No such operation.
    Operation(u8),
    /// The checksum does not fit.
    Checksum,
    /// Longer than any store takes, or its length is damaged.
    TooLong {
        /// The key's length, as the frame tells it.
        key: u32,
        /// The value's.
        value: u32,
    },
}

/// Where a log stops making sense, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedLogError {
    /// Where the frame begins that is not whole.
    pub offset: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for SeedLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: ", self.offset)?;
        match self.fault {
            Fault::Truncated => f.write_str("the log ends in the middle of a record"),
            Fault::NotOurs => f.write_str("no record begins there"),
            Fault::Version(found) => write!(f, "format version {found}, known is {VERSION}"),
            Fault::Operation(found) => write!(f, "operation {found} is neither set nor delete"),
            Fault::Checksum => f.write_str("the record's checksum does not fit"),
            Fault::TooLong { key, value } => write!(
                f,
                "the record names a key of {key} and a value of {value} bytes, a store takes \
                 {KEY_BYTES_MAX} and {VALUE_BYTES_MAX_EMBEDDED}; it is damaged, or too long"
            ),
        }
    }
}

impl core::error::Error for SeedLogError {}

impl From<Truncated> for Fault {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// The entries of a log, in order, and then at most one error.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, SeedLogError>> {
    let mut rest = Some(bytes);
    core::iter::from_fn(move || {
        let here = rest.filter(|rest| !rest.is_empty())?;
        let offset = (bytes.len() - here.len()) as u64;
        let mut reader = Reader::new(here);
        match entry(&mut reader, offset) {
            Ok(entry) => {
                rest = Some(reader.rest());
                Some(Ok(entry))
            }
            Err(fault) => {
                rest = None;
                Some(Err(SeedLogError { offset, fault }))
            }
        }
    })
}

/// A log that comes in pieces.
#[derive(Debug, Default)]
pub struct Pieces {
    /// What has come and is not past.
    held: Vec<u8>,
    /// How much of it is read.
    taken: usize,
    /// Where in the log `held[taken..]` begins.
    offset: u64,
    is_whole: bool,
}

impl Pieces {
    /// The next piece. All entries of those before should have been taken.
    pub fn push(&mut self, piece: &[u8]) {
        self.held.drain(..core::mem::take(&mut self.taken));
        self.held.extend_from_slice(piece);
    }

    /// There are no more: what is left of a frame is cut short.
    pub const fn end(&mut self) {
        self.is_whole = true;
    }

    /// The next entry; none when it needs the next piece, or when there was no more. After an
    /// error there is only that error.
    pub fn next_entry(&mut self) -> Option<Result<Entry<'_>, SeedLogError>> {
        let offset = self.offset;
        let here = self.held.get(self.taken..).filter(|here| !here.is_empty())?;
        let mut reader = Reader::new(here);
        match entry(&mut reader, offset) {
            Ok(entry) => {
                let bytes = here.len() - reader.rest().len();
                self.taken += bytes;
                self.offset += bytes as u64;
                Some(Ok(entry))
            }
            Err(Fault::Truncated) if !self.is_whole => None,
            Err(fault) => Some(Err(SeedLogError { offset, fault })),
        }
    }
}

fn entry<'a>(reader: &mut Reader<'a>, offset: u64) -> Result<Entry<'a>, Fault> {
    if reader.array::<4>()? != MAGIC {
        return Err(Fault::NotOurs);
    }
    let version = reader.u16()?;
    if version != VERSION {
        return Err(Fault::Version(version));
    }
    let covered = reader.rest();
    let operation = reader.u8()?;
    let (key, value) = (reader.u32()?, reader.u32()?);
    if key as usize > KEY_BYTES_MAX || value as usize > VALUE_BYTES_MAX_EMBEDDED {
        return Err(Fault::TooLong { key, value });
    }
    let (key, value) = (reader.take(key as usize)?, reader.take(value as usize)?);
    let covered = covered.get(..covered.len() - reader.rest().len()).ok_or(Fault::Truncated)?;
    if reader.u32()? != codec::crc(0, covered) {
        return Err(Fault::Checksum);
    }
    match operation {
        0 => Ok(Entry { offset, key, value: Some(value) }),
        1 => Ok(Entry { offset, key, value: None }),
        other => Err(Fault::Operation(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn frame(operation: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut body = vec![operation];
        body.extend((key.len() as u32).to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(key);
        body.extend(value);
        let crc = codec::crc(0, &body).to_le_bytes();
        [MAGIC.as_slice(), &VERSION.to_le_bytes(), &body, &crc].concat()
    }

    /// A set of `a` to `1`, byte by byte: a log written elsewhere can be held against this.
    #[test]
    fn the_worked_example_reads_as_it_should() {
        let bytes = b"KV01\x01\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00a1\xab\x53\x21\x62";
        assert_eq!(bytes.as_slice(), frame(0, b"a", b"1"));
        let entries: Vec<_> = read(bytes).collect();
        assert_eq!(entries, [Ok(Entry { offset: 0, key: b"a", value: Some(b"1") })]);
    }

    #[track_caller]
    fn check(second: &[u8], expect: Fault) {
        let first = frame(0, b"a", b"1");
        let log = [first.as_slice(), second].concat();
        let entries: Vec<_> = read(&log).collect();
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!(entries[1], Err(SeedLogError { offset: first.len() as u64, fault: expect }));
    }

    #[test]
    fn the_first_frame_that_is_not_whole_ends_the_log() {
        let whole = frame(1, b"b", b"");
        check(&whole[..whole.len() - 1], Fault::Truncated);
        check(&whole[..3], Fault::Truncated);
        check(b"KV02 and so on", Fault::NotOurs);
        check(&frame(7, b"b", b""), Fault::Operation(7));
        let mut newer = whole.clone();
        newer[4] = 2;
        check(&newer, Fault::Version(2));
        let mut rotten = whole;
        rotten[15] ^= 1;
        check(&rotten, Fault::Checksum);
    }

    #[test]
    fn a_length_no_store_takes_is_not_waited_for() {
        let mut long = frame(0, b"b", b"");
        long[11..15].copy_from_slice(&u32::MAX.to_le_bytes());
        check(&long, Fault::TooLong { key: 1, value: u32::MAX });
        let mut pieces = Pieces::default();
        pieces.push(&long);
        assert!(pieces.next_entry().is_some_and(|entry| entry.is_err()), "it waits for the value");
    }

    proptest! {
        #[test]
        fn whatever_was_written_is_read(
            operations in proptest::collection::vec(
                (any::<Vec<u8>>(), proptest::option::of(any::<Vec<u8>>())), 0..20),
        ) {
            let log: Vec<u8> = operations
                .iter()
                .flat_map(|(key, value)| match value {
                    Some(value) => frame(0, key, value),
                    None => frame(1, key, b""),
                })
                .collect();
            let read: Result<Vec<_>, _> = read(&log).collect();
            let read = read.expect("a whole log");
            prop_assert_eq!(read.len(), operations.len());
            for (entry, (key, value)) in read.iter().zip(&operations) {
                prop_assert_eq!((entry.key, entry.value), (key.as_slice(), value.as_deref()));
            }
        }

        #[test]
        fn any_bytes_end_with_at_most_one_error(
            mut bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            prop_assert!(read(&bytes).filter(Result::is_err).count() <= 1);
            let mut log = frame(0, b"key", b"value");
            log.append(&mut bytes);
            let at = at.index(log.len());
            log[at] ^= 1_u8 << bit;
            prop_assert!(read(&log).filter(Result::is_err).count() <= 1);
        }

        #[test]
        fn pieces_give_what_the_whole_gives(
            operations in proptest::collection::vec((0..3_u8, any::<Vec<u8>>()), 0..10),
            sizes in proptest::collection::vec(1..200_usize, 1..10),
            cut in 0..30_usize,
        ) {
            let mut log: Vec<u8> =
                operations.iter().flat_map(|(operation, key)| frame(*operation, key, b"v")).collect();
            log.truncate(log.len().saturating_sub(cut));
            let told = |entry: Result<Entry<'_>, SeedLogError>| {
                entry.map(|entry| (entry.offset, entry.key.to_vec(), entry.value.map(<[u8]>::to_vec)))
            };
            let whole: Vec<_> = read(&log).map(told).collect();
            let (mut found, mut rest, mut pieces) = (Vec::new(), log.as_slice(), Pieces::default());
            let mut sizes = sizes.iter().cycle();
            loop {
                while let Some(entry) = pieces.next_entry() {
                    let entry = told(entry);
                    let is_error = entry.is_err();
                    found.push(entry);
                    if is_error {
                        break;
                    }
                }
                if rest.is_empty() || found.last().is_some_and(Result::is_err) {
                    break;
                }
                let (piece, later) = rest.split_at(rest.len().min(*sizes.next().expect("endless")));
                rest = later;
                pieces.push(piece);
                if rest.is_empty() {
                    pieces.end();
                }
            }
            prop_assert_eq!(found, whole);
        }
    }
}
