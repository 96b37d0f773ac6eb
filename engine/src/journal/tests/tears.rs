//! Torn and flipped frames, exhaustively: every subset of the sectors that a power loss can leave
//! behind, and every flipped bit.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::{Sketch, told};
use crate::{
    journal::{
        format::{SECTOR_BYTES, SEGMENT_HEADER_BYTES, is_zero},
        verdict::{Decision, Verdict},
    },
    types::Lsn,
};

/// A value whose first frame ends so that the next one begins at `phase` in its sector.
fn first_frame_up_to(phase: usize) -> Sketch {
    (0..)
        .map(|len| Sketch::first().frame(0, &[&vec![7; len * 8]]))
        .find(|sketch| sketch.end() % SECTOR_BYTES == phase)
        .expect("some length ends there")
}

/// Bodies that are hard to judge: zeros at a sector's beginning and end, nothing but zeros, a
/// single byte in a field of them, and ordinary ones.
fn bodies() -> Vec<Vec<Vec<u8>>> {
    let zeros = vec![0; 1300];
    let mut edged = zeros.clone();
    edged[0] = 1;
    edged[1299] = 1;
    let mut speck = zeros.clone();
    speck[700] = 1;
    vec![
        vec![b"one".to_vec()],
        vec![zeros],
        vec![b"x".to_vec(), edged, vec![0; 600]],
        vec![speck, b"y".to_vec()],
        vec![vec![9; 900], vec![8; 33], vec![0; 512], vec![]],
    ]
}

fn borrowed(values: &[Vec<u8>]) -> Vec<&[u8]> {
    values.iter().map(Vec::as_slice).collect()
}

/// The bytes of a frame that say something: without the zeros up to the next frame.
fn used(sketch: &Sketch, index: usize) -> Range<usize> {
    let frame = &sketch.frames[index];
    let start = frame.offset as usize;
    start..start + frame.header.layout(frame.offset).map_end
}

/// Every file that can be left when each of these sectors holds one of several versions.
fn for_every_mix(versions: &[&[u8]], sectors: Range<usize>, mut look: impl FnMut(&[u8])) {
    let mixes = versions.len().pow(sectors.len() as u32);
    assert!(mixes <= 1 << 13, "{mixes} mixes of {sectors:?}");
    let mut bytes = versions[0].to_vec();
    for mut mix in 0..mixes {
        for sector in sectors.clone() {
            let place = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            bytes[place.clone()].copy_from_slice(&versions[mix % versions.len()][place]);
            mix /= versions.len();
        }
        look(&bytes);
    }
}

/// A torn write is never taken for damage, and whole frames are never taken for torn ones.
fn check_torn(sketch: &Sketch, whole: &Sketch, unsynced: Range<usize>) {
    let decision = sketch.judged();
    let is_whole = |index: &usize| {
        let place = used(whole, *index);
        sketch.bytes[place.clone()] == whole.bytes[place]
    };
    let lost = unsynced.clone().find(|index| !is_whole(index));
    let expected = lost.map_or(whole.next_lsn, |index| whole.frames[index].header.first_lsn);
    assert!(decision.damages.is_empty(), "{}", told(&decision));
    assert_eq!(decision.next_lsn, expected, "{}", told(&decision));
    // What was cut is reported, when there is anything to see of it.
    let tail = lost.map_or(whole.end(), |index| whole.frames[index].offset as usize);
    let has_tail = !is_zero(&sketch.bytes[tail..]) && lost.is_some();
    assert_eq!(decision.torn.is_some(), has_tail, "{}", told(&decision));
}

#[test]
fn every_subset_of_a_torn_frames_sectors_is_torn() {
    for phase in (0..SECTOR_BYTES).step_by(64) {
        let first = first_frame_up_to(phase);
        for values in bodies() {
            let whole = first.clone().frame(1, &borrowed(&values));
            let mut sketch = whole.clone();
            for_every_mix(&[&whole.before[1], &whole.bytes], whole.sectors(1), |bytes| {
                sketch.bytes.copy_from_slice(bytes);
                check_torn(&sketch, &whole, 1..2);
            });
        }
    }
}

/// Frames that nobody asked to be durable share sectors, and a sector may hold any version it had.
#[test]
fn every_mix_of_two_unsynced_frames_keeps_a_prefix() {
    let shapes: [(&[u8], &[u8]); 4] =
        [(b"two", b"three"), (&[0; 300], b"x"), (b"x", &[0; 700]), (&[3; 500], &[0; 500])];
    for phase in (0..SECTOR_BYTES).step_by(64) {
        for (second, third) in shapes {
            let whole = first_frame_up_to(phase).frame(1, &[second]).frame(1, &[third]);
            let versions = [&whole.before[1][..], &whole.before[2], &whole.bytes];
            let sectors = whole.sectors(1).start..whole.sectors(2).end;
            let mut sketch = whole.clone();
            for_every_mix(&versions, sectors, |bytes| {
                sketch.bytes.copy_from_slice(bytes);
                check_torn(&sketch, &whole, 1..3);
            });
        }
    }
}

/// The first frame of a segment goes out together with the segment's header.
#[test]
fn every_subset_of_a_torn_first_frame_and_header_is_torn() {
    for values in bodies() {
        let whole = Sketch::first().frame(0, &borrowed(&values));
        let mut sketch = whole.clone();
        for header_written in [false, true] {
            let base = if header_written { &whole.bytes } else { &whole.before[0] };
            for_every_mix(&[&whole.before[0], &whole.bytes], whole.sectors(0), |bytes| {
                sketch.bytes.copy_from_slice(bytes);
                sketch.bytes[..SECTOR_BYTES].copy_from_slice(&base[..SECTOR_BYTES]);
                let decision = sketch.judged();
                // A whole frame needs no header to say whose it is.
                let frame = SEGMENT_HEADER_BYTES..whole.end();
                let is_whole = sketch.bytes[frame.clone()] == whole.bytes[frame];
                let next = if is_whole { whole.next_lsn } else { Lsn(1) };
                assert!(decision.damages.is_empty(), "{}", told(&decision));
                assert_eq!(decision.next_lsn, next, "{}", told(&decision));
            });
        }
    }
}

/// What recovery says about every flipped bit of `range`.
fn for_every_flip(sketch: &Sketch, range: Range<usize>, look: impl Fn(usize, u8, &Decision)) {
    let mut flipped = sketch.clone();
    for at in range {
        for bit in 0..8 {
            flipped.bytes[at] ^= 1 << bit;
            look(at, bit, &flipped.judged());
            flipped.bytes[at] ^= 1 << bit;
        }
    }
}

fn verdicts(decision: &Decision) -> Vec<Verdict> {
    decision.damages.iter().map(|damage| damage.verdict).collect()
}

/// Whether a flip at this place makes a sector's part of the frame all zero. Then the disk holds
/// bit for bit what it held before the frame was written, and nobody can tell the two apart.
fn looks_unwritten(sketch: &Sketch, index: usize, at: usize, bit: u8) -> bool {
    let frame = &sketch.frames[index];
    let layout = frame.header.layout(frame.offset);
    let covered = frame.offset as usize + 64..frame.offset as usize + layout.map_at;
    let sector = at / SECTOR_BYTES * SECTOR_BYTES;
    let part = covered.start.max(sector)..covered.end.min(sector + SECTOR_BYTES);
    let mut bytes = sketch.bytes[part.clone()].to_vec();
    if part.contains(&at) {
        bytes[at - part.start] ^= 1 << bit;
    }
    part.contains(&at) && is_zero(&bytes)
}

#[test]
fn every_flipped_bit_of_a_proven_frame_is_rot() {
    for values in bodies() {
        let sketch = Sketch::first().frame(0, &borrowed(&values));
        let (last, proven) = (sketch.next_lsn.0, sketch.next_lsn.0 - 1);
        let sketch = sketch.frame(proven, &[b"proof"]);
        for_every_flip(&sketch, used(&sketch, 0), |at, bit, decision| {
            let told = told(decision);
            assert_eq!(verdicts(decision), [Verdict::Rot], "byte {at}, bit {bit}: {told}");
            let damage = &decision.damages[0];
            let range = (damage.first_lsn, damage.last_lsn);
            assert_eq!(range, (Lsn(1), Some(Lsn(proven))), "byte {at}, bit {bit}: {told}");
            assert_eq!(decision.next_lsn, Lsn(last + 1), "what lies behind is kept: {told}");
        });
    }
}

#[test]
fn every_flipped_bit_of_the_last_frame_is_ambiguous() {
    for phase in [0, 64, 448] {
        for values in bodies() {
            let sketch = first_frame_up_to(phase).frame(1, &borrowed(&values));
            for_every_flip(&sketch, used(&sketch, 1), |at, bit, decision| {
                let told = told(decision);
                if looks_unwritten(&sketch, 1, at, bit) {
                    assert_eq!((verdicts(decision).len(), decision.torn.is_some()), (0, true));
                    return;
                }
                let expected = [Verdict::Ambiguous];
                assert_eq!(verdicts(decision), expected, "byte {at}, bit {bit}: {told}");
                assert_eq!(decision.next_lsn, Lsn(2), "byte {at}, bit {bit}: {told}");
            });
        }
    }
}

/// A seal carries no record: without it the last frame is unproven, and stays.
#[test]
fn a_flipped_bit_of_a_seal_loses_no_record() {
    let sketch = Sketch::first().frame(0, &[b"one", b"two"]).seal(2);
    for_every_flip(&sketch, used(&sketch, 1), |at, bit, decision| {
        let told = told(decision);
        assert_eq!(decision.next_lsn, Lsn(3), "byte {at}, bit {bit}: {told}");
        assert_eq!(verdicts(decision), [], "byte {at}, bit {bit}: {told}");
    });
}

/// Nothing looks at the rest of the header's page, at the zeros between frames, and at what lies
/// behind the last one unless it may be the beginning of a frame.
#[test]
fn flipped_bits_where_nothing_stands_lose_no_record() {
    let sketch = Sketch::first().frame(0, &[b"one"]).frame(1, &[b"two"]);
    let (first, last) = (used(&sketch, 0), used(&sketch, 1));
    let ignored = [128..SEGMENT_HEADER_BYTES, first.end..last.start, last.end..sketch.end()];
    for range in ignored {
        for_every_flip(&sketch, range, |at, bit, decision| {
            assert_eq!(told(decision), "keeps 1-2, unproven from 2", "byte {at}, bit {bit}");
        });
    }
    for_every_flip(&sketch, sketch.end()..sketch.end() + 3 * SECTOR_BYTES, |at, bit, decision| {
        let told = told(decision);
        assert!(told.starts_with("keeps 1-2, unproven from 2; "), "byte {at}, bit {bit}: {told}");
    });
}

/// Without a header nothing says where the segment begins, but its frames prove each other.
#[test]
fn every_flipped_bit_of_a_segment_header_is_noticed() {
    let sketch = Sketch::first().frame(0, &[b"one"]).frame(1, &[b"two"]);
    for_every_flip(&sketch, 0..128, |at, bit, decision| {
        assert_eq!(told(decision), "keeps 1-2, unproven from 2", "byte {at}, bit {bit}");
        assert_eq!(decision.headless.len(), 1, "byte {at}, bit {bit}");
    });
    let alone = Sketch::first().frame(0, &[b"one"]);
    for_every_flip(&alone, 0..128, |at, bit, decision| {
        assert_eq!(told(decision), "keeps 1-1, unproven from 1", "byte {at}, bit {bit}");
        assert_eq!(decision.headless.len(), 1, "byte {at}, bit {bit}");
    });
}
