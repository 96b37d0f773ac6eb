//! Sorted keys, packed: what a leaf and an inner node of the index keep instead of a list of boxes.
//!
//! A boxed key costs a pointer, a length, an allocation and a cache miss for every comparison. Here
//! the keys of one node share one buffer:
//!
//! ```text
//! ┌────────┬────────────┬───────────┬─────────────────────┐
//! │ prefix │ heads, 4·n │ ends, 2·n │ rest of each key    │
//! └────────┴────────────┴───────────┴─────────────────────┘
//! key i = prefix ++ head i ++ rest i
//! ```
//!
//! The prefix is what all keys have in common. The head is the next four bytes as a big-endian
//! number, so a search compares integers that lie side by side and looks at a rest only when heads
//! are equal. When some key has fewer than four bytes after the prefix, heads are padded with
//! zeros and the rests keep everything (`skip` is 0 instead of 4), so lengths stay known.
//!
//! A key that does not fit the node's shape (another prefix, too short a tail) makes the node
//! repack through [`Flat`]; everything else is done in place.
//!
//! Invariants: keys ascend strictly; `ends` ascend and the last is the length of the rests, at
//! most 65535; with `skip` 4 every key has at least four bytes after the prefix.
//!
//! Not here: what the keys lead to (`leaf.rs`, `tree.rs`).

use alloc::vec::Vec;
use core::{cmp::Ordering, ops::Range};

const HEAD: usize = 4;
const END: usize = 2;
/// Room for this many more bytes is taken when a buffer grows: about eight short keys. Growing by
/// half, as vectors do, would waste a sixth of the index.
const GROW_BYTES: usize = 128;

/// The packed keys of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    buffer: Vec<u8>,
    len: u16,
    prefix: u16,
    skip: u8,
}

/// A key seen by one node: its first four bytes after the prefix, and all of them.
struct Tail<'a> {
    head: u32,
    suffix: &'a [u8],
}

fn head_of(suffix: &[u8]) -> u32 {
    match suffix.first_chunk::<HEAD>() {
        Some(head) => u32::from_be_bytes(*head),
        None => {
            let mut head = [0; HEAD];
            head[..suffix.len()].copy_from_slice(suffix);
            u32::from_be_bytes(head)
        }
    }
}

/// How many bytes two keys have in common at the front.
pub(super) fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}

impl Keys {
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// What this costs beyond its own struct.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The bytes of the rests: what bounds a node of long keys.
    pub(super) fn rest_bytes(&self) -> usize {
        self.len().checked_sub(1).map_or(0, |last| self.end(last))
    }

    const fn text_at(&self) -> usize {
        self.len() * (HEAD + END) + self.prefix as usize
    }

    fn heads(&self) -> &[[u8; HEAD]] {
        self.buffer[usize::from(self.prefix)..self.ends_at()].as_chunks().0
    }

    const fn ends_at(&self) -> usize {
        self.prefix as usize + self.len() * HEAD
    }

    fn prefix(&self) -> &[u8] {
        &self.buffer[..usize::from(self.prefix)]
    }

    fn end(&self, index: usize) -> usize {
        let at = self.ends_at() + index * END;
        usize::from(u16::from_le_bytes([self.buffer[at], self.buffer[at + 1]]))
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.end(before))
    }

    fn rest(&self, index: usize) -> &[u8] {
        &self.buffer[self.text_at()..][self.start(index)..self.end(index)]
    }

    /// The key without the prefix, or on which side of all keys it lies.
    fn tail<'k>(&self, key: &'k [u8]) -> Result<Tail<'k>, Ordering> {
        let prefix = self.prefix();
        match key.split_at_checked(prefix.len()) {
            Some((front, suffix)) if front == prefix => Ok(Tail { head: head_of(suffix), suffix }),
            _ => Err(key.cmp(prefix)),
        }
    }

    /// A key of equal head against key `index`.
    fn compare(&self, tail: &Tail<'_>, index: usize) -> Ordering {
        if self.skip == 0 {
            return tail.suffix.cmp(self.rest(index));
        }
        // Heads are equal although the sought key has no four bytes left: it is the shorter one.
        tail.suffix.get(HEAD..).map_or(Ordering::Less, |rest| rest.cmp(self.rest(index)))
    }

    /// Where `key` is, or where it would go.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let tail = match self.tail(key) {
            Ok(tail) => tail,
            Err(Ordering::Less) => return Err(0),
            Err(_) => return Err(self.len()),
        };
        let heads = self.heads();
        // Counting looks at every head, and yet it is quicker than halving: many at a time, no
        // branch to be guessed, and the lines of memory come side by side. Wrapping, because a
        // checked sum is counted one by one.
        let below = |head: &[u8; HEAD]| u32::from(u32::from_le_bytes(*head) < tail.head);
        let mut low = heads.iter().fold(0_u32, |n, head| n.wrapping_add(below(head))) as usize;
        let mut high = low;
        while heads.get(high).is_some_and(|head| u32::from_le_bytes(*head) == tail.head) {
            // Mostly one; a run of equal heads is cut by halves below.
            high += 1;
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(&tail, middle) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
            }
        }
        Err(low)
    }

    /// Appends key `index` to `out`.
    pub(super) fn write(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix());
        if self.skip > 0 {
            let mut head = self.heads()[index];
            head.reverse();
            out.extend_from_slice(&head);
        }
        out.extend_from_slice(self.rest(index));
    }

    /// Puts a new key at `index`, if it fits this node's shape; answers whether it did.
    pub(super) fn insert(&mut self, index: usize, key: &[u8]) -> bool {
        let Ok(Tail { head, suffix }) = self.tail(key) else { return false };
        let skip = usize::from(self.skip);
        let Some(rest) = suffix.get(skip..) else { return false };
        if self.rest_bytes() + rest.len() > usize::from(u16::MAX) || self.len == u16::MAX {
            return false;
        }
        let start = self.start(index);
        let (heads, ends) = (usize::from(self.prefix), self.ends_at());
        let at = self.text_at() + start;
        let (old, grown) = (self.buffer.len(), HEAD + END + rest.len());
        if self.buffer.capacity() - old < grown {
            self.buffer.reserve_exact(grown + GROW_BYTES);
        }
        let buffer = &mut self.buffer;
        buffer.resize(old + grown, 0);
        // From the back to the front, so that nothing is overwritten before it has moved.
        buffer.copy_within(at..old, at + grown);
        buffer.copy_within(ends + index * END..at, ends + index * END + HEAD + END);
        buffer.copy_within(ends..ends + index * END, ends + HEAD);
        buffer.copy_within(heads + index * HEAD..ends, heads + (index + 1) * HEAD);
        let at = at + HEAD + END;
        buffer[at..at + rest.len()].copy_from_slice(rest);
        buffer[heads + index * HEAD..][..HEAD].copy_from_slice(&head.to_le_bytes());
        self.len += 1;
        self.shift_ends(index, rest.len() as u16, start + rest.len());
        true
    }

    /// Writes the end of key `index`, and moves those after it by so much. Wrapping, because
    /// checked sums are made one by one; a shift down is a shift up by what is missing to 65536.
    fn shift_ends(&mut self, index: usize, by: u16, own: usize) {
        let (ends, text) = (self.ends_at(), self.text_at());
        let ends = self.buffer[ends..text].as_chunks_mut::<END>().0;
        for end in &mut ends[index + 1..] {
            *end = u16::from_le_bytes(*end).wrapping_add(by).to_le_bytes();
        }
        ends[index] = u16::try_from(own).expect("rests fit 16 bits").to_le_bytes();
    }

    /// Takes key `index` out.
    pub(super) fn remove(&mut self, index: usize) {
        let (n, start, end) = (self.len(), self.start(index), self.end(index));
        let gone = end - start;
        if index + 1 < n {
            let next = self.end(index + 1) - gone;
            self.shift_ends(index + 1, (gone as u16).wrapping_neg(), next);
        }
        let (heads, old) = (usize::from(self.prefix), self.buffer.len());
        let (ends, text) = (self.ends_at(), self.text_at());
        let buffer = &mut self.buffer;
        buffer.copy_within(heads + (index + 1) * HEAD..ends, heads + index * HEAD);
        buffer.copy_within(ends..ends + index * END, ends - HEAD);
        buffer.copy_within(ends + (index + 1) * END..text + start, ends - HEAD + index * END);
        buffer.copy_within(text + end..old, text + start - HEAD - END);
        buffer.truncate(old - gone - HEAD - END);
        if buffer.capacity() > buffer.len() + 4 * GROW_BYTES {
            buffer.shrink_to(buffer.len() + GROW_BYTES);
        }
        self.len -= 1;
    }
}

/// Keys laid out plainly, to be packed anew.
#[derive(Debug, Default)]
pub(super) struct Flat {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Flat {
    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    pub(super) fn push(&mut self, key: &[u8]) {
        self.text.extend_from_slice(key);
        self.ends.push(self.text.len());
    }

    pub(super) fn push_all(&mut self, keys: &Keys, range: Range<usize>) {
        for index in range {
            keys.write(index, &mut self.text);
            self.ends.push(self.text.len());
        }
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// The bytes of a range of keys once their common prefix is taken away.
    pub(super) fn rest_bytes(&self, range: &Range<usize>) -> usize {
        if range.is_empty() {
            return 0;
        }
        let start = range.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        let shared = common(self.get(range.start), self.get(range.end - 1));
        self.ends[range.end - 1] - start - shared * range.len()
    }

    /// The bytes of all keys and one more, once their common prefix is taken away.
    pub(super) fn rest_bytes_with(&self, key: &[u8]) -> usize {
        if self.ends.is_empty() {
            return 0;
        }
        self.text.len() + key.len() - common(self.get(0), key) * (self.len() + 1)
    }

    /// Packs a range of keys. The caller has seen to it that the rests fit 16 bits.
    pub(super) fn pack(&self, range: Range<usize>) -> Keys {
        let n = range.len();
        if n == 0 {
            return Keys::default();
        }
        // A single key would be all prefix, and the next one would not fit.
        let shared =
            if n == 1 { 0 } else { common(self.get(range.start), self.get(range.end - 1)) };
        let skip = if range.clone().all(|i| self.get(i).len() >= shared + HEAD) { HEAD } else { 0 };
        let mut keys = Keys {
            buffer: Vec::new(),
            len: u16::try_from(n).expect("a node has fewer keys than 65536"),
            prefix: u16::try_from(shared).expect("a key is shorter than 65536 bytes"),
            skip: if skip == 0 { 0 } else { 4 },
        };
        let text: usize = range.clone().map(|i| self.get(i).len() - shared - skip).sum();
        keys.buffer.reserve_exact(n * (HEAD + END) + shared + text);
        keys.buffer.extend_from_slice(&self.get(range.start)[..shared]);
        for i in range.clone() {
            keys.buffer.extend_from_slice(&head_of(&self.get(i)[shared..]).to_le_bytes());
        }
        let mut end = 0;
        for i in range.clone() {
            end += self.get(i).len() - shared - skip;
            let end = u16::try_from(end).expect("rests fit 16 bits");
            keys.buffer.extend_from_slice(&end.to_le_bytes());
        }
        for i in range {
            keys.buffer.extend_from_slice(&self.get(i)[shared + skip..]);
        }
        keys
    }
}
