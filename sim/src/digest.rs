//! A run in 64 bits: everything that happened, in order, folded into one number.
//!
//! Two runs that did the same have the same digest; two that parted anywhere almost surely do not.
//! What goes in are polls, events and results (bytes read, bytes written, what the clock said), not
//! only the random draws: code that asks a hash map for its order draws nothing from the world's
//! luck, and shows only in what it does next.
//!
//! One multiplication of 64 by 64 bits for each word, folded. No adversary is meant.
//!
//! Not here: who feeds it (`world/`), who compares it (`twice.rs`).

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// An odd number with bits everywhere (the golden ratio), so that products spread.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Added after each step: a product that becomes zero must not stay zero.
const OFFSET: u64 = 0x2545_f491_4f6c_dd1d;

/// A rolling digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// Folds one number in.
    #[inline]
    pub fn word(&mut self, word: u64) {
        let product = u128::from(self.0.rotate_left(29) ^ word ^ SPREAD) * u128::from(SPREAD);
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = (low ^ high).wrapping_add(OFFSET);
    }

    /// Folds bytes in, and how many there were.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// Folds a name in.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

/// A digest that is fed without a lock, by one thread at a time.
#[derive(Debug, Default)]
pub(crate) struct Rolling(AtomicU64);

impl Rolling {
    #[inline]
    fn fold(&self, what: impl FnOnce(&mut Digest)) {
        let mut digest = self.digest();
        what(&mut digest);
        self.0.store(digest.0, Ordering::Relaxed);
    }

    /// As [`Digest::word`].
    #[inline]
    pub(crate) fn word(&self, word: u64) {
        self.fold(|digest| digest.word(word));
    }

    /// As [`Digest::bytes`].
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        self.fold(|digest| digest.bytes(bytes));
    }

    /// As [`Digest::text`].
    pub(crate) fn text(&self, text: &str) {
        self.fold(|digest| digest.text(text));
    }

    /// What it has come to.
    #[inline]
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.0.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(feed: impl FnOnce(&mut Digest)) -> u64 {
        let mut digest = Digest::default();
        feed(&mut digest);
        digest.0
    }

    #[test]
    fn order_length_and_content_all_count() {
        let mut seen = vec![
            of(|_| ()),
            of(|digest| digest.word(0)),
            of(|digest| {
                digest.word(0);
                digest.word(0);
            }),
            of(|digest| {
                digest.word(1);
                digest.word(2);
            }),
            of(|digest| {
                digest.word(2);
                digest.word(1);
            }),
            of(|digest| digest.bytes(b"")),
            of(|digest| digest.bytes(b"abc")),
            of(|digest| digest.bytes(b"abc\0")),
            of(|digest| digest.bytes(b"abcdefgh")),
            of(|digest| digest.bytes(b"abcdefghi")),
            of(|digest| digest.word(SPREAD)),
        ];
        seen.sort_unstable();
        let all = seen.len();
        seen.dedup();
        // bytes(b"") is the word 0, by construction: the one pair that agrees.
        assert_eq!(seen.len(), all - 1);
    }

    #[test]
    fn a_digest_means_the_same_forever() {
        let number = of(|digest| digest.text("the same on every machine"));
        assert_eq!(format!("{}", Digest(number)), format!("{number:016x}"));
        assert_eq!(number, 551_146_337_203_162_456);
    }
}
