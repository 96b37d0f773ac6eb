//! The journal on a still disk: every crash point, every outcome, and recovery again.
//!
//! Each record's key is its LSN, so the hints of an opened journal name every record that is left.
//! After each crash the same three questions: is everything that was acknowledged there, is there
//! nothing that was never written, and does no frame stand half there?
//!
//! Not here: the simulated world with tasks and time (`scenarios/`), the codecs' own tests (in the
//! engine).

use std::collections::BTreeMap;

use trilith_engine::{
    journal::{
        Expect, Installed, Journal, JournalError, JournalOptions, OpenError, OpenReport, Record,
        RecordKind, Sync,
    },
    types::{GroupId, Loc, Lsn, Term, Version},
};
use trilith_sim::{
    luck::{Domain, Luck},
    platter::{Platter, PlatterOptions, Strike},
    still::Still,
};

const GROUP: GroupId = GroupId(1);

fn tiny() -> JournalOptions {
    JournalOptions {
        first_segment_bytes: 8 << 10,
        segment_bytes_max: 16 << 10,
        manifest_bytes: 8 << 10,
        reserve_bytes: 0,
        ..JournalOptions::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A frame with records whose values have these lengths.
    Append(&'static [usize], Sync),
    Sync,
    Idle,
    Rotate,
    Chores,
    /// Drops the oldest sealed segment. Its records are then gone for good.
    DropOldest,
}

/// What a run knows when it ends.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The highest LSN that was acknowledged as durable.
    durable: u64,
    /// The last LSN of every frame handed over.
    frame_ends: Vec<u64>,
    /// Value lengths by LSN.
    lens: BTreeMap<u64, usize>,
    /// LSNs that an acknowledged edit dropped, and those of one that may have happened.
    dropped: Vec<u64>,
    maybe_dropped: Vec<u64>,
}

/// The value of a record: half of it zeros, so that a sector of zeros proves nothing by itself.
fn value(lsn: u64, len: usize) -> Vec<u8> {
    let mut value = vec![0; len];
    for (index, byte) in value.iter_mut().enumerate() {
        if index % 1024 < 300 {
            *byte = (lsn as u8) ^ (index as u8) | 1;
        }
    }
    value
}

fn key(lsn: u64) -> [u8; 8] {
    lsn.to_be_bytes()
}

async fn append(
    journal: &mut Journal<Still>,
    known: &mut Known,
    lens: &[usize],
    sync: Sync,
) -> Result<(), JournalError> {
    let mut frame = journal.frame();
    for len in lens {
        let lsn = frame.next_lsn().0;
        let value = value(lsn, *len);
        let record = Record {
            group: GROUP,
            kind: RecordKind::Put,
            version: Version(lsn),
            term: Term(0),
            expires_ms: None,
            key: &key(lsn),
            value: &value,
        };
        known.lens.insert(lsn, *len);
        assert_eq!(frame.push(&record), Ok(Lsn(lsn)));
    }
    known.frame_ends.push(frame.next_lsn().0 - 1);
    let persisted = journal.append(frame, sync).await?;
    if sync == Sync::Now {
        assert!(persisted.is_durable);
        known.durable = persisted.last.0;
    }
    Ok(())
}

async fn chores(journal: &mut Journal<Still>) -> Result<(), JournalError> {
    while let Some(chore) = journal.plan() {
        let done = chore.run().await;
        if let Installed::NotPrepared(_) = journal.install(done).await? {
            break;
        }
    }
    Ok(())
}

async fn step(
    journal: &mut Journal<Still>,
    known: &mut Known,
    step: &Step,
) -> Result<(), JournalError> {
    match step {
        Step::Append(lens, sync) => append(journal, known, lens, *sync).await?,
        Step::Sync => known.durable = journal.sync().await?.0,
        Step::Idle => journal.seal_idle().await?,
        Step::Rotate => {
            journal.rotate().await?;
            known.durable = journal.durable_lsn().0;
        }
        Step::Chores => chores(journal).await?,
        Step::DropOldest => {
            let oldest = journal.segments().find(|info| info.is_sealed);
            let Some(info) = oldest else { return Ok(()) };
            let source = journal.hint_source(info.id).expect("a sealed segment has hints");
            let Ok(hints) = source.load().await else { return Ok(()) };
            known.maybe_dropped = hints.iter().map(|hint| hint.version.0).collect();
            let drop = vec![info.id];
            drop_segments(journal, drop).await?;
            known.dropped.append(&mut known.maybe_dropped);
        }
    }
    assert_eq!(journal.invariants(), Ok(()));
    Ok(())
}

async fn drop_segments(
    journal: &mut Journal<Still>,
    drop: Vec<trilith_engine::types::SegmentId>,
) -> Result<(), JournalError> {
    journal.edit(trilith_engine::journal::ManifestEdit { drop, ..Default::default() }).await
}

/// Opens and runs a history until its end or the first refusal.
fn run(still: &Still, options: JournalOptions, steps: &[Step], close: bool) -> Known {
    let mut known = Known::default();
    still.block_on(async {
        let Ok((mut journal, _)) = Journal::open(still, options).await else { return };
        known.durable = journal.durable_lsn().0;
        for one in steps {
            if step(&mut journal, &mut known, one).await.is_err() {
                return;
            }
        }
        if close && journal.close().await.is_ok() {
            known.durable = known.frame_ends.last().copied().unwrap_or(0);
        }
    });
    known
}

/// Opens a survivor and asks the three questions. Then writes one more record and asks again.
fn check(still: &Still, options: JournalOptions, known: &Known) -> Result<OpenReport, OpenError> {
    let report = still.block_on(async {
        let (mut journal, recovered) = Journal::open(still, options).await?;
        assert_eq!(journal.invariants(), Ok(()));
        let found = read_all(&journal, &recovered.segments).await;
        let last = recovered.report.last_lsn.0;
        let report = recovered.report;
        assert!(last >= known.durable, "acknowledged {} but only {last} is left", known.durable);
        let is_end = last == 0 || last == known.durable || known.frame_ends.contains(&last);
        assert!(is_end, "half a frame: {last} of {:?}", known.frame_ends);
        for lsn in 1..=last {
            let present = found.contains_key(&lsn);
            let is_dropped = known.dropped.contains(&lsn);
            let maybe = known.maybe_dropped.contains(&lsn);
            assert!(present || is_dropped || maybe, "LSN {lsn} is gone");
            assert!(!(present && is_dropped), "LSN {lsn} is back");
        }
        for (lsn, bytes) in &found {
            let len = known.lens.get(lsn).copied().unwrap_or_else(|| panic!("phantom {lsn}"));
            assert!(*lsn <= last && *bytes == value(*lsn, len), "LSN {lsn} has another value");
        }
        let mut after = known.clone();
        append(&mut journal, &mut after, &[100], Sync::Now).await.expect("it goes on");
        Ok::<_, OpenError>(report)
    })?;
    Ok(report)
}

async fn read_all(
    journal: &Journal<Still>,
    segments: &[trilith_engine::journal::SegmentHints],
) -> BTreeMap<u64, Vec<u8>> {
    let files = journal.files();
    let mut found = BTreeMap::new();
    for hints in segments {
        let mut count = 0;
        for hint in hints.iter() {
            let expect = Expect { group: GROUP, key: hint.key, version: hint.version };
            let loc: Loc = hint.loc;
            let record = files.read(loc, expect).await.expect("a hinted record can be read");
            found.insert(hint.version.0, record.value().to_vec());
            count += 1;
        }
        assert_eq!(count, hints.len());
    }
    found
}

fn blank_disk() -> Platter {
    Platter::new(PlatterOptions::default())
}

/// Crashes a history at every operation and checks every outcome up to `bound` of them.
struct Enumerated {
    crash_points: usize,
    outcomes: usize,
    sampled: usize,
    recoveries: usize,
    torn: usize,
}

fn enumerate(base: &Platter, steps: &[Step], close: bool, bound: usize) -> Enumerated {
    let whole = Still::with_seed(base.clone(), 1);
    run(&whole, tiny(), steps, close);
    let (first, last) = (base.op_count(), whole.platter().op_count());
    let mut count = Enumerated { crash_points: 0, outcomes: 0, sampled: 0, recoveries: 0, torn: 0 };
    let mut luck = Luck::new(7, Domain::Disk(0));
    for crash in first..=last {
        let mut platter = base.clone();
        platter.crash_at(crash);
        let still = Still::with_seed(platter, 1);
        let known = run(&still, tiny(), steps, close);
        count.crash_points += 1;
        let crashed = still.platter().clone();
        let survivors: Vec<Platter> = match crashed.survivors(bound) {
            Some(all) => {
                let all: Vec<Platter> = all.collect();
                count.outcomes += all.len();
                all
            }
            None => {
                count.sampled += bound / 4;
                (0..bound / 4)
                    .map(|_| {
                        let mut one = crashed.clone();
                        one.power_loss(&mut luck);
                        one
                    })
                    .collect()
            }
        };
        for survivor in survivors {
            count.recoveries += 1;
            let report = check(&Still::with_seed(survivor, 2), tiny(), &known);
            let report = report.unwrap_or_else(|error| panic!("crash at {crash}: {error}"));
            count.torn += usize::from(report.torn.is_some());
        }
        // The same operation fails instead, the journal stops, and the process is killed: the cache
        // keeps what the medium does not have.
        if crash == last {
            break;
        }
        let mut platter = base.clone();
        platter.strike_at(crash, Strike::Error);
        let failed = Still::with_seed(platter, 1);
        let known = run(&failed, tiny(), steps, close);
        let killed = failed.after_death(3);
        count.recoveries += 1;
        check(&killed, tiny(), &known).unwrap_or_else(|error| panic!("kill at {crash}: {error}"));
    }
    count
}

#[test]
fn what_was_written_is_read_again_after_a_clean_close() {
    let still = Still::new(blank_disk());
    let steps = [
        Step::Append(&[10, 700, 0], Sync::Now),
        Step::Append(&[3000], Sync::Now),
        Step::Chores,
        Step::Append(&[2500, 20], Sync::Later),
        Step::Append(&[20_000], Sync::Now),
        Step::Idle,
        Step::Append(&[1], Sync::Now),
    ];
    let known = run(&still, tiny(), &steps, true);
    assert_eq!(known.durable, 8);
    let next = still.after_death(2);
    let report = check(&next, tiny(), &known).expect("it opens");
    assert!(report.clean && report.segments_walked == 0, "{report:?}");
}

/// Runs one history through all its crash points and says how much that was.
fn survive(name: &str, steps: &[Step], close: bool) -> Enumerated {
    let count = enumerate(&blank_disk(), steps, close, 512);
    println!(
        "{name}: {} crash points, {} outcomes, {} sampled, {} recoveries, {} torn",
        count.crash_points, count.outcomes, count.sampled, count.recoveries, count.torn
    );
    count
}

#[test]
fn every_crash_point_of_a_short_history_is_survived() {
    let steps = [
        Step::Append(&[10, 700], Sync::Now),
        Step::Append(&[1200], Sync::Now),
        Step::Append(&[2500], Sync::Now),
        Step::Append(&[40], Sync::Now),
    ];
    let count = survive("appends and a rotation", &steps, false);
    assert!(count.torn > 0 && count.outcomes > 100);
}

#[test]
fn every_crash_point_of_lazy_appends_is_survived() {
    let steps = [
        Step::Append(&[600], Sync::Later),
        Step::Append(&[10], Sync::Later),
        Step::Sync,
        Step::Append(&[900], Sync::Later),
        Step::Append(&[300, 20], Sync::Now),
        Step::Idle,
        Step::Append(&[5], Sync::Later),
        Step::Rotate,
    ];
    survive("lazy appends", &steps, false);
}

#[test]
fn every_crash_point_of_sealing_behind_the_active_segment_is_survived() {
    let steps = [
        Step::Append(&[3000], Sync::Now),
        Step::Append(&[600], Sync::Now),
        Step::Chores,
        Step::Append(&[10], Sync::Now),
    ];
    survive("seal behind", &steps, false);
    let steps = [
        // Frames that end on a sector.
        Step::Append(&[2996], Sync::Now),
        Step::Rotate,
        Step::Append(&[10], Sync::Now),
        Step::Chores,
    ];
    survive("seal before the second frame", &steps, true);
}

#[test]
fn every_crash_point_of_sealing_dropping_and_recycling_is_survived() {
    let steps = [
        Step::Append(&[3000], Sync::Now),
        Step::Rotate,
        Step::Chores,
        Step::Append(&[500, 1500], Sync::Now),
        Step::DropOldest,
        Step::Chores,
        Step::Append(&[100], Sync::Now),
    ];
    survive("seal, drop, recycle, close", &steps, true);
}
