//! What the measurements write and read: keys, values, and who is asked for how often.
//!
//! A key is 16 bytes, the number of the key scattered over all 64 bits and written in hex, so that
//! neighbours in number are strangers in order. A value is a window of a pool of noise: nothing
//! compresses, and making one costs an addition.
//!
//! Not here: who is measured, and the clock.

/// A key of 16 printable bytes.
pub(crate) type Key = [u8; 16];

const POOL_BYTES: usize = 1 << 20;

/// Scatters a number over 64 bits; no two numbers meet.
pub(crate) const fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The key of that number.
pub(crate) fn key(number: u64) -> Key {
    let bits = scatter(number);
    let mut key = [0; 16];
    for (at, byte) in key.iter_mut().enumerate() {
        let nibble = (bits >> (60 - 4 * at)) & 0xF;
        *byte = b"0123456789abcdef"[nibble as usize];
    }
    key
}

/// A stream of numbers that is the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of that seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(scatter(seed))
    }

    /// 64 bits.
    pub(crate) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scatter(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(end);
        (wide >> 64) as u64
    }
}

/// Values of one length.
#[derive(Debug)]
pub(crate) struct Values {
    pool: Vec<u8>,
    len: usize,
}

impl Values {
    /// Values of `len` bytes, at most a megabyte.
    pub(crate) fn new(len: usize) -> Self {
        let mut dice = Dice::new(1);
        let mut pool = Vec::with_capacity(POOL_BYTES + len + 8);
        while pool.len() < POOL_BYTES + len {
            pool.extend_from_slice(&dice.bits().to_le_bytes());
        }
        Self { pool, len }
    }

    /// The value of key `number` in its `version`th writing.
    pub(crate) fn of(&self, number: u64, version: u64) -> &[u8] {
        let start = scatter(number ^ (version << 48)) as usize % POOL_BYTES;
        &self.pool[start..start + self.len]
    }
}

/// Reads a value as its user would: every cache line of it.
pub(crate) fn touch(value: &[u8]) -> u64 {
    let lines = value.iter().step_by(64).map(|byte| u64::from(*byte)).sum::<u64>();
    lines + value.len() as u64
}
