//! Where a key belongs: 16,384 slots by CRC-16, spread evenly over groups.
//!
//! A slot is the hash of a key, by the rule that clients of Redis Cluster know: CRC-16 of the XMODEM
//! kind, of the part between the first `{` and the first `}` behind it if there is something between
//! them, of the whole key otherwise. So keys with one `{tag}` lie together, and may be written
//! together.
//!
//! Slots move between groups; keys do not move between slots. Until slots can move, group `i` of `n`
//! (counted from 0) has the slots from `i * 16384 / n` on, up to those of the next.
//!
//! Not here: which group has which number and where it lives.

use crate::types::Slot;
use core::ops::Range;

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// The slot of a key.
#[must_use]
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16(tag(key)) % SLOTS)
}

/// Which of so many groups has a slot.
///
/// # Panics
/// When there is no group, or no such slot.
#[must_use]
pub fn group_of(slot: Slot, groups: u16) -> u16 {
    assert!(slot.0 < SLOTS, "one of the slots");
    assert!(groups > 0 && groups <= SLOTS, "each group has a slot");
    // The last group whose first slot is not behind this one.
    let group = ((u32::from(slot.0) + 1) * u32::from(groups)).div_ceil(u32::from(SLOTS)) - 1;
    group as u16
}

/// The slots that one of so many groups has.
///
/// # Panics
/// When there is no such group.
#[must_use]
pub fn slots_of(group: u16, groups: u16) -> Range<u16> {
    assert!(group < groups && groups <= SLOTS, "one of the groups, each with a slot");
    let first = |group: u16| (u32::from(group) * u32::from(SLOTS) / u32::from(groups)) as u16;
    first(group)..first(group + 1)
}

/// What of a key is hashed.
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let behind = &key[open + 1..];
    match behind.iter().position(|byte| *byte == b'}') {
        None | Some(0) => key,
        Some(close) => &behind[..close],
    }
}

const POLYNOMIAL: u16 = 0x1021;

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { POLYNOMIAL };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let [high, _] = crc.to_be_bytes();
        crc << 8 ^ TABLE[usize::from(high ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    /// Slots as clients of Redis Cluster know them.
    #[test]
    fn keys_lie_where_other_clients_look_for_them() {
        let check = |key: &str, slot: u16| assert_eq!(slot_of(key.as_bytes()), Slot(slot), "{key}");
        check("123456789", 12739);
        check("foo", 12182);
        check("bar", 5061);
        check("hello", 866);
        check("somekey", 11058);
        check("foo{hash_tag}", 2515);
        check("bar{hash_tag}", 2515);
        check("", 0);
    }

    #[test]
    fn only_the_first_whole_tag_is_hashed() {
        let same = |one: &[u8], other: &[u8]| assert_eq!(slot_of(one), slot_of(other));
        same(b"{user1000}.following", b"{user1000}.followers");
        same(b"foo{{bar}}zap", b"{bar");
        same(b"foo{bar}{zap}", b"bar");
        assert_eq!(tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(tag(b"foo{bar"), b"foo{bar");
        assert_eq!(tag(b"foo}{bar"), b"foo}{bar");
    }

    #[test]
    fn every_slot_has_one_group_and_groups_are_even() {
        for groups in [1, 2, 3, 5, 7, 100, 1000, SLOTS] {
            let mut next = 0;
            for group in 0..groups {
                let slots = slots_of(group, groups);
                assert_eq!(slots.start, next);
                let (least, len) = (SLOTS / groups, slots.end - slots.start);
                assert!(len == least || len == least + 1);
                for slot in slots.clone() {
                    assert_eq!(group_of(Slot(slot), groups), group);
                }
                next = slots.end;
            }
            assert_eq!(next, SLOTS);
        }
    }
}
