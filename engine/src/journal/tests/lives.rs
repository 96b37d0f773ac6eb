//! Random histories of one segment: a power loss in the middle of what was not synced, and a
//! flipped bit besides. What was acknowledged is kept, or somebody is told.

use alloc::{vec, vec::Vec};
use proptest::{collection, prelude::*, sample::Index};

use super::{Sketch, told};
use crate::{
    journal::{format::SECTOR_BYTES, verdict::Decision},
    types::Lsn,
};

/// A frame: its values, and whether it waits for the device.
type Step = (Vec<Vec<u8>>, bool);

/// Zeros, zeros with something at their end, and noise: what sectors are judged by.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0_usize..1600).prop_map(|len| vec![0; len]),
        (0_usize..900).prop_map(|len| [vec![0; len], vec![9; 9]].concat()),
        collection::vec(any::<u8>(), 0..200),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    (collection::vec(any_value(), 1..4), any::<bool>())
}

/// What a writer of these frames leaves, and the LSN up to which it acknowledged. The last frame
/// was on its way, whatever it waited for.
fn live(steps: &[Step]) -> (Sketch, u64, usize) {
    let (mut sketch, mut durable, mut synced) = (Sketch::sized(1, 1, 48 << 10), 0, 0);
    for (index, (values, waits)) in steps.iter().enumerate() {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        sketch = sketch.frame(durable, &values);
        if *waits && index + 1 < steps.len() {
            durable = sketch.next_lsn.0 - 1;
            synced = index + 1;
        }
    }
    (sketch, durable, synced)
}

/// Every sector that an unsynced frame touched holds one of the versions that it had.
fn crash(whole: &Sketch, synced: usize, luck: &[Index]) -> Sketch {
    let mut sketch = whole.clone();
    let mut versions: Vec<&[u8]> = whole.before[synced..].iter().map(Vec::as_slice).collect();
    versions.push(&whole.bytes);
    let first = whole.sectors(synced).start;
    let last = whole.sectors(whole.frames.len() - 1).end;
    // The header goes out with the first frame.
    let header = (synced == 0).then_some(0);
    for (draw, sector) in header.into_iter().chain(first..last).enumerate() {
        let version = luck[draw % luck.len()].index(versions.len());
        let place = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        sketch.bytes[place.clone()].copy_from_slice(&versions[version][place]);
    }
    sketch
}

/// Whether a record can be read, or a damage names it.
fn is_accounted_for(decision: &Decision, lsn: u64) -> bool {
    let kept = decision
        .kept
        .iter()
        .flat_map(|kept| &kept.frames)
        .any(|frame| (frame.header.first_lsn.0..frame.header.next_lsn().0).contains(&lsn));
    kept || decision
        .damages
        .iter()
        .any(|damage| damage.first_lsn.0 <= lsn && damage.last_lsn.is_none_or(|last| lsn <= last.0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_power_loss_is_never_taken_for_damage_and_keeps_what_was_acknowledged(
        steps in collection::vec(any_step(), 1..7),
        luck in collection::vec(any::<Index>(), 97),
    ) {
        let (whole, durable, synced) = live(&steps);
        let decision = crash(&whole, synced, &luck).judged();
        prop_assert!(decision.damages.is_empty(), "{}", told(&decision));
        prop_assert!(decision.next_lsn > Lsn(durable), "{}", told(&decision));
        prop_assert!(decision.next_lsn <= whole.next_lsn, "{}", told(&decision));
        let kept: Vec<_> = decision.kept.iter().flat_map(|kept| &kept.frames).collect();
        let written: Vec<_> = whole.frames.iter().take(kept.len()).collect();
        prop_assert_eq!(kept, written, "what is kept is how the log began");
    }

    #[test]
    fn a_flipped_bit_loses_nothing_that_was_acknowledged_without_a_word(
        steps in collection::vec(any_step(), 2..7),
        luck in collection::vec(any::<Index>(), 97),
        (at, bit) in (any::<Index>(), 0_u32..8),
    ) {
        let (whole, durable, synced) = live(&steps);
        prop_assume!(synced > 0);
        let mut sketch = crash(&whole, synced, &luck);
        let at = at.index(whole.frames[synced - 1].end as usize);
        sketch.bytes[at] ^= 1_u8 << bit;
        let sector = at / SECTOR_BYTES * SECTOR_BYTES;
        let zeroed = sketch.bytes[sector..sector + SECTOR_BYTES].iter().all(|byte| *byte == 0);
        prop_assume!(!zeroed, "as if it had never been written: see the page of the format");
        let decision = sketch.judged();
        for lsn in 1..=durable {
            prop_assert!(is_accounted_for(&decision, lsn), "{lsn}: {}", told(&decision));
        }
    }
}
