//! Bytes in and out: little-endian integers, bounds always checked, and the one checksum.
//!
//! Whatever comes from a disk or a wire is read through [`Reader`], which answers [`Truncated`]
//! and never panics. The checksum is CRC-32 (IEEE): it catches every burst of up to 32 bits and
//! runs at memory speed on every machine we know. A *seed* makes the same bytes check differently
//! in another place, so that stale or misdirected bytes never verify.
//!
//! Not here: any format. Formats live beside what they describe.

use core::fmt;

/// The input ended before the value did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the input ends in the middle of a value")
    }
}

impl core::error::Error for Truncated {}

/// Reads from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`Truncated`] when there are fewer; nothing is taken then.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes an array.
    ///
    /// # Errors
    /// [`Truncated`] when there are fewer bytes; nothing is taken then.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a little-endian `u16`.
    ///
    /// # Errors
    /// [`Truncated`] near the end.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes a little-endian `u32`.
    ///
    /// # Errors
    /// [`Truncated`] near the end.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a little-endian `u64`.
    ///
    /// # Errors
    /// [`Truncated`] near the end.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }
}

/// CRC-32 of `bytes`, beginning from `seed` (0 for none).
#[must_use]
pub fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_takes_nothing_when_there_is_too_little() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(Truncated));
        assert_eq!(reader.u16(), Ok(0x0201));
        assert_eq!(reader.rest(), &[3]);
    }

    #[test]
    fn the_checksum_is_the_known_one_and_the_seed_matters() {
        assert_eq!(crc(0, b"123456789"), 0xcbf4_3926);
        assert_ne!(crc(1, b"123456789"), crc(0, b"123456789"));
        assert_eq!(crc(crc(0, b"1234"), b"56789"), crc(0, b"123456789"));
    }
}
