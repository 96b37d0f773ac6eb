//! Luck, as the engine may use it.

use core::ops::Range;

/// A stream of randomness. Good enough to name things uniquely; not for secrets.
pub trait Rng: Send + 'static {
    /// 64 random bits.
    fn next_u64(&mut self) -> u64;

    /// A number of the range, which must not be empty. The bias is below 2^-32 for ranges under
    /// 2^32, and nothing here is cryptography.
    ///
    /// # Panics
    /// On an empty range.
    fn range(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "a number of an empty range");
        let width = range.end - range.start;
        let scaled = (u128::from(self.next_u64()) * u128::from(width)) >> 64;
        range.start + u64::try_from(scaled).expect("a product of two u64, shifted, is a u64")
    }

    /// True `of` times in `out_of` on average.
    fn chance(&mut self, of: u64, out_of: u64) -> bool {
        self.range(0..out_of) < of
    }
}
