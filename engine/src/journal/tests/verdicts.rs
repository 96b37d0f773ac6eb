//! Situations and what recovery concludes from them, as a table: what is on the disk, and in
//! words what is kept, what is rot, what was torn, and what cannot be known.

use alloc::{vec, vec::Vec};

use super::{SEGMENT_BYTES, Sketch, told};
use crate::{
    journal::{
        format::{SECTOR_BYTES, SEGMENT_HEADER_BYTES},
        verdict::{decide, decide_sealed},
        walk::{Evidence, Start, walk},
    },
    types::{Lsn, SegmentId, Uuid},
};

#[track_caller]
fn check(disk: &[Sketch], expect: &str) {
    let scans: Vec<_> = disk.iter().map(Sketch::scan).collect();
    assert_eq!(told(&decide(&scans, Lsn(0))), expect);
}

/// Three frames of one record, each acknowledged before the next was begun.
fn three() -> Sketch {
    Sketch::first().frame(0, &[b"one"]).frame(1, &[b"two"]).frame(2, &[b"three"])
}

/// A byte of a record's value, counted from its frame's beginning.
const VALUE: usize = 64 + 32 + 8;

#[test]
fn a_whole_log_is_kept_and_its_last_frame_is_unproven() {
    check(&[Sketch::first()], "keeps nothing");
    check(&[Sketch::first().frame(0, &[b"one"])], "keeps 1-1, unproven from 1");
    check(&[three()], "keeps 1-3, unproven from 3");
    check(&[three().seal(3)], "keeps 1-3");
    let lazy = Sketch::first().frame(0, &[b"one"]).frame(0, &[b"two", b"three"]);
    check(&[lazy], "keeps 1-3, unproven from 1");
}

#[test]
fn the_last_frame_is_torn_when_part_of_it_was_never_written() {
    let long = three().frame(3, &[&[4; 900], b"five"]);
    check(core::slice::from_ref(&long), "keeps 1-5, unproven from 4");
    let sectors = long.sectors(3);
    for sector in sectors.clone() {
        // The header proves what was there before it.
        let is_header = sector == sectors.start;
        let silent = "keeps 1-3, unproven from 3; Torn 4-";
        let expect = if is_header { silent } else { "keeps 1-3; Torn 4-5" };
        check(&[long.clone().unwritten(3, sector)], expect);
    }
    check(&[long.unwritten_frame(3)], "keeps 1-3, unproven from 3");
}

#[test]
fn a_changed_frame_is_rot_when_a_later_one_proves_it_and_ambiguous_otherwise() {
    check(&[three().flip(0, VALUE)], "keeps 2-3, unproven from 3; Rot 1-1");
    check(&[three().flip(1, VALUE)], "keeps 1-1 3-3, unproven from 3; Rot 2-2");
    check(&[three().flip(1, 20)], "keeps 1-1 3-3, unproven from 3; Rot 2-2");
    check(&[three().flip(0, VALUE).flip(1, VALUE)], "keeps 3-3, unproven from 3; Rot 1-1; Rot 2-2");
    check(&[three().flip(2, VALUE)], "keeps 1-2; Ambiguous 3-3");
    check(&[three().flip(2, 20)], "keeps 1-2, unproven from 2; Ambiguous 3-");
    // The idle seal is that later proof.
    check(&[three().seal(3).flip(2, VALUE)], "keeps 1-2; Rot 3-3; goes on at 4");
}

/// Torn or not, what a later frame says was durable is never cut.
#[test]
fn a_proven_frame_that_looks_unwritten_is_rot() {
    let lost = three().unwritten_frame(1).put(
        three().frames[2].offset as usize,
        &three().bytes[three().frames[2].offset as usize..three().end()],
    );
    check(&[lost], "keeps 1-1 3-3, unproven from 3; Rot 2-2");
}

/// A frame that never reached the device whole says in its header what was there before it.
#[test]
fn the_header_of_a_torn_frame_proves_what_it_says() {
    let disk = || {
        let sketch = Sketch::first().frame(0, &[b"one"]).frame(1, &[&[2; 1500]]);
        sketch.frame(2, &[&[3; 900]])
    };
    let torn = || {
        let last = disk().sectors(2).end - 1;
        disk().unwritten(2, last)
    };
    check(&[torn()], "keeps 1-2; Torn 3-3");
    // The sectors of an acknowledged frame are zeros again. Nothing whole comes after it.
    let middle = disk().sectors(1).start + 1;
    check(&[torn().unwritten(1, middle)], "keeps 1-1; Rot 2-2; Torn 3-3; goes on at 3");
    check(&[torn().flip(1, VALUE)], "keeps 1-1; Rot 2-2; Torn 3-3; goes on at 3");
    check(&[torn().flip(1, 20)], "keeps 1-1; Rot 2-2; Torn 3-3; goes on at 3");
    // What was written and changed is in doubt of its own.
    let both = disk().flip(1, VALUE).flip(2, VALUE);
    check(&[both], "keeps 1-1; Rot 2-2; Ambiguous 3-3; goes on at 3");
    // Without its header it is silent.
    check(&[disk().flip(1, VALUE).flip(2, 20)], "keeps 1-1; Ambiguous 2-2");
}

#[test]
fn frames_that_were_not_synced_prove_nothing_about_each_other() {
    let long = [4; 600];
    let lazy = || Sketch::first().frame(0, &[b"one"]).frame(1, &[&long]).frame(1, &[&long]);
    check(&[lazy()], "keeps 1-3, unproven from 2");
    let second = lazy().sectors(1);
    check(&[lazy().unwritten(1, second.start + 1)], "keeps 1-1; Torn 2-2");
    check(&[lazy().flip(1, VALUE)], "keeps 1-1; Ambiguous 2-3");
    // One sync later the same damage is rot, and everything behind it stays.
    let synced = lazy().frame(3, &[b"four"]).flip(1, VALUE);
    check(&[synced], "keeps 1-1 3-4, unproven from 4; Rot 2-2");
}

#[test]
fn a_value_full_of_zeros_is_not_a_sector_that_was_never_written() {
    let zeros = [0; 4 * SECTOR_BYTES];
    let disk = || Sketch::first().frame(0, &[b"one"]).frame(1, &[&zeros]);
    check(&[disk()], "keeps 1-2, unproven from 2");
    // A sector in the middle of the value is the same, written or not.
    let sectors = disk().sectors(1);
    check(&[disk().unwritten(1, sectors.start + 2)], "keeps 1-2, unproven from 2");
    check(&[disk().unwritten(1, sectors.end - 1)], "keeps 1-1; Torn 2-2");
    let ambiguous = "keeps 1-1; Ambiguous 2-2";
    check(&[disk().flip(1, VALUE + 900)], ambiguous);
    // The map says of this sector that it is not zero: the map is what changed.
    let map = disk().frames[1].header.layout(disk().frames[1].offset).map_at;
    check(&[disk().flip(1, map + 8)], ambiguous);
}

/// A footer is written behind the frames of a segment that the manifest does not know as sealed.
#[test]
fn a_footer_is_never_taken_for_a_damaged_frame() {
    for values in [1, 3, 40] {
        let value = [7; 30];
        let values = vec![&value[..]; values];
        let full = Sketch::first().frame(0, &[b"one"]).frame(1, &values);
        let last = full.next_lsn.0 - 1;
        let (at, footer) = full.footer();
        assert_eq!(at % SECTOR_BYTES, 0);
        let sectors = footer.len().div_ceil(SECTOR_BYTES);
        for subset in 1..1_usize << sectors {
            let mut half = full.clone();
            for sector in (0..sectors).filter(|sector| subset >> sector & 1 == 1) {
                let end = footer.len().min((sector + 1) * SECTOR_BYTES);
                half = half.put(at + sector * SECTOR_BYTES, &footer[sector * SECTOR_BYTES..end]);
            }
            let next = full.following().frame(last, &[b"next"]);
            let all = std::format!("keeps 1-{}, unproven from {}", last + 1, last + 1);
            check(&[half.clone(), next], &all);
            // Nobody has begun the next segment: something lies there, and no record is missing.
            let kept = std::format!("keeps 1-{last}, unproven from 2; Torn {}-", last + 1);
            check(&[half], &kept);
        }
    }
}

#[test]
fn the_header_of_the_next_segment_proves_everything_before_it() {
    let next = || three().following().frame(3, &[b"four"]);
    check(&[three(), next()], "keeps 1-4, unproven from 4");
    check(&[three().flip(2, VALUE), next()], "keeps 1-2 4-4, unproven from 4; Rot 3-3");
    let lost = three().unwritten_frame(2);
    check(&[lost.clone(), next()], "keeps 1-2 4-4, unproven from 4; Rot 3-3");
    // Its header alone is enough; its own first frame was torn.
    check(&[lost, next().unwritten_frame(0)], "keeps 1-2; Rot 3-3; goes on at 4");
    // A seal that was lost there carried nothing.
    check(&[three().seal(3).flip(3, 20), next()], "keeps 1-4, unproven from 4");
    // Numbers do not tell the order of writing.
    check(&[next(), three()], "keeps 1-4, unproven from 4");
}

#[test]
fn a_segment_that_was_being_begun_is_torn() {
    let next = || three().following().frame(3, &[b"four"]);
    let header_lost = next().put(0, &[0; SECTOR_BYTES]);
    // A whole frame needs no header to say whose it is.
    check(&[three(), header_lost], "keeps 1-4, unproven from 4");
    check(&[three(), next().unwritten_frame(0)], "keeps 1-3");
    let neither = next().put(0, &[0; SECTOR_BYTES]).unwritten_frame(0);
    check(&[three(), neither], "keeps 1-3, unproven from 3");
    // A header that was written and changed is another matter.
    let ambiguous = "keeps 1-3; Ambiguous 4-";
    check(&[three(), next().put(20, &[99]).flip(0, VALUE)], ambiguous);
    check(&[three(), next().put(20, &[99])], "keeps 1-4, unproven from 4");
}

/// A dropped segment's file is used again under a new number and a new uuid. It is zeroed first;
/// when that was lost, its old frames are still no frames of the new one.
#[test]
fn what_a_recycled_segment_held_before_is_never_replayed() {
    let old = Sketch::sized(9, 1, SEGMENT_BYTES)
        .frame(0, &[b"old one"])
        .frame(1, &[b"old two"])
        .frame(2, &[&[6; 900]]);
    let stale = |at: usize| (at, old.bytes[at..].to_vec());
    let (at, bytes) = stale(three().end());
    let recycled = three().put(at, &bytes);
    check(&[recycled], "keeps 1-3, unproven from 3; Ambiguous 4-");
    let second = old.frames[1].offset as usize;
    let one = Sketch::first().frame(0, &[b"uno    "]);
    assert_eq!(one.end(), second, "the new frame ends where an old one begins");
    let (at, bytes) = stale(second);
    let expect = "keeps 1-1, unproven from 1; Ambiguous 2-";
    check(&[one.put(at, &bytes)], expect);
    // Nothing of the new incarnation reached it.
    let (_, bytes) = stale(0);
    check(&[Sketch::first().put(0, &bytes)], "keeps nothing; Ambiguous 1-");
}

/// A write that arrived elsewhere: whole, ours, and in the wrong place.
#[test]
fn a_misplaced_frame_is_not_a_frame() {
    let at = |index: usize| three().frames[index].offset as usize;
    let third = three().bytes[at(2)..three().end()].to_vec();
    let moved = Sketch::first().frame(0, &[b"one"]).put(at(1), &third);
    check(&[moved], "keeps 1-1, unproven from 1; Ambiguous 2-");
    check(&[three().put(at(1), &third)], "keeps 1-1 3-3, unproven from 3; Rot 2-2");
}

/// An old version of a whole frame in its own place: its checksum fits, the chain does not.
#[test]
fn a_frame_that_does_not_follow_the_one_before_is_not_one() {
    let other = Sketch::first().frame(0, &[b"uno"]).frame(1, &[b"dos"]);
    let second = other.frames[1].offset as usize;
    let (end, bytes) = (other.end(), &other.bytes);
    check(&[three().put(second, &bytes[second..end])], "keeps 1-1 3-3, unproven from 3; Rot 2-2");
}

#[test]
fn a_file_that_is_too_short_is_rot() {
    let mut short = three();
    short.cut_short_bytes = 4096;
    check(&[short], "keeps 1-3, unproven from 3; Rot 4-");
    let mut cut = three();
    cut.bytes.truncate(cut.frames[2].offset as usize + 64);
    cut.cut_short_bytes = 4096;
    check(&[cut], "keeps 1-2, unproven from 2; Ambiguous 3-; Rot 3-");
}

#[test]
fn two_segments_never_hold_the_same_records() {
    let copy = Sketch { id: SegmentId(2), ..three() };
    check(&[three(), copy], "keeps 1-3, unproven from 3; Rot no records");
}

/// What the manifest knows counts like a frame that says so.
#[test]
fn the_manifest_proves_what_it_says_was_sealed() {
    let scan = three().flip(2, VALUE).scan();
    let sealed = decide_sealed(scan, Lsn(0), Lsn(3));
    assert_eq!(told(&sealed), "keeps 1-2; Rot 3-3; goes on at 4");
    let scan = three().unwritten_frame(2).scan();
    let sealed = decide_sealed(scan, Lsn(0), Lsn(3));
    assert_eq!(told(&sealed), "keeps 1-2; Rot 3-3; goes on at 4");
    let after = Sketch::sized(2, 8, SEGMENT_BYTES).frame(7, &[b"eight"]);
    assert_eq!(told(&decide(&[after.scan()], Lsn(7))), "keeps 8-8, unproven from 8");
    // Between what is sealed and what follows nothing may be missing.
    let gap = decide(&[after.scan()], Lsn(5));
    assert_eq!(told(&gap), "keeps 8-8, unproven from 8; Rot 6-7");
}

#[test]
fn a_hole_says_whose_records_it_held() {
    let damaged = three().flip(1, VALUE);
    let scan = damaged.scan();
    let hole = scan.walk.holes().next().expect("a hole");
    assert_eq!((hole.expected_lsn, hole.evidence), (Lsn(2), Evidence::Strange));
    let damage = &damaged.judged().damages[0];
    let groups: Vec<_> = damage.groups.iter().map(|entry| (entry.group.0, entry.records)).collect();
    assert_eq!(groups, [(1, 1)]);
    assert_eq!(damage.offset, damaged.frames[1].offset);
    // Without its header nobody can say.
    assert_eq!(three().flip(1, 20).judged().damages[0].groups, []);
}

/// Whatever the bytes are, a walk ends and answers.
#[test]
fn a_walk_of_nothing_ends() {
    let start = Start {
        id: SegmentId(1),
        uuid: Uuid::default(),
        first_lsn: None,
        previous_crc: None,
        end: None,
    };
    for len in [0, 1, 64, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + 1, 2 * SEGMENT_HEADER_BYTES]
    {
        assert_eq!(walk(&vec![0; len], &start).pieces.len(), 0);
        assert_eq!(walk(&vec![0xff; len], &start).frames().count(), 0);
    }
}
