//! What a store says of a disk that is damaged, foreign, full or failing.
//!
//! Each refusal names what is wrong and what to do, and changes nothing; nothing acknowledged is
//! lost without leave; what is damaged is never taken for absent.
//!
//! Not here: crashes (`exhaust`), damage at random (`trilith_sim::fuzz`), clocks that jump and
//! tasks that interleave (`scenarios/`), real files (`engine/tests/refusals.rs`).

use trilith_engine::{
    codec,
    journal::{
        Damage, Journal, JournalError, JournalOptions, ManifestEdit, OnDamage, OpenError,
        OpenReport, Origin, Owner, Peer, ReadError, Record, RecordKind, SegmentKind, Sync, Verdict,
        files::segment_name,
        footer::FOOTER_MAGIC,
        format::{FRAME_ALIGN, FRAME_MAGIC, FrameHeader, Seed, SegmentHeader},
        identity::CurrentFile,
    },
    lone::{Effort, Store, StoreError, StoreOptions, WriteBatch},
    runtime::{DiskErrorKind, Runtime as _},
    types::{GroupId, Lsn, NodeId, SegmentId, Term, Uuid, Version},
    value::View as _,
};
use trilith_sim::{
    exhaust::journal::tiny,
    ledger::Ledger,
    platter::{Platter, PlatterOptions, Strike},
    still::Still,
};

type Opened = Result<(Store<Still>, OpenReport), StoreError>;

const VALUE: usize = 700;

fn options(journal: JournalOptions) -> StoreOptions {
    StoreOptions { journal, ..StoreOptions::default() }
}

fn open_with(still: &Still, journal: JournalOptions) -> Opened {
    still.block_on(Store::open(still.clone(), options(journal)))
}

fn open(still: &Still) -> Opened {
    open_with(still, tiny())
}

fn key(number: u8) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

fn put(still: &Still, store: &mut Store<Still>, number: u8) -> Result<(), StoreError> {
    let mut batch = WriteBatch::new();
    batch.put(key(number), vec![number | 1; VALUE]);
    still.block_on(store.commit(&[batch], Sync::Now)).remove(0).map(drop)
}

fn get(still: &Still, store: &Store<Still>, number: u8) -> Result<Option<Vec<u8>>, ReadError> {
    let found = still.block_on(store.view().get(&key(number), 0))?;
    Ok(found.map(|found| found.value))
}

/// A disk with eight keys in several journal segments: the last one unsealed, its last write
/// proven by nothing.
fn killed() -> Platter {
    let still = Still::with_seed(Platter::default(), 1);
    let (mut store, _) = open(&still).expect("an empty disk");
    for number in 0..8 {
        put(&still, &mut store, number).expect("a whole disk");
    }
    drop(store);
    still.after_death(2).platter().clone()
}

/// The same, compacted and closed: one data segment, everything sealed, with hints.
fn closed() -> Platter {
    let still = Still::with_seed(killed(), 2);
    let (mut store, _) = open(&still).expect("a whole disk");
    still.block_on(store.compact_all()).expect("a whole disk");
    put(&still, &mut store, 8).expect("a whole disk");
    still.block_on(store.close()).expect("a whole disk");
    still.after_death(3).platter().clone()
}

fn boot(disk: Platter) -> Still {
    Still::with_seed(disk, 9)
}

/// Opening refuses, in words that contain these, and changes nothing.
#[track_caller]
fn refused(disk: Platter, words: &[&str]) -> OpenError {
    let before = disk.fingerprint();
    let still = boot(disk);
    let Err(StoreError::Open(error)) = open(&still) else { panic!("it opened") };
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert_eq!(still.after_death(1).platter().fingerprint(), before, "it changed something");
    *error
}

#[track_caller]
fn has_all_but(still: &Still, store: &Store<Still>, lost: &[u8], until: u8) {
    for number in 0..until {
        let expect = (!lost.contains(&number)).then(|| vec![number | 1; VALUE]);
        assert_eq!(get(still, store, number), Ok(expect), "key {number}");
    }
}

/// Where in which file a value's bytes lie.
fn find(disk: &Platter, number: u8) -> (String, u64) {
    find_value(disk, number, number | 1)
}

/// The same for a value of other bytes.
fn find_value(disk: &Platter, number: u8, byte: u8) -> (String, u64) {
    // The value follows the key in a record, and nowhere else.
    let needle = [key(number), vec![byte; 16]].concat();
    for name in disk.file_names() {
        let bytes = disk.peek(&name).expect("it is there");
        if let Some(at) = bytes.windows(needle.len()).rposition(|window| window == needle) {
            return (name, at as u64 + 100);
        }
    }
    panic!("key {number} is nowhere");
}

#[test]
fn a_directory_is_refused_to_whoever_it_does_not_belong_to() {
    let of = |cluster: u8, name, number| {
        let owner = Owner { cluster: Uuid([cluster; 16]), name, number: NodeId(number) };
        JournalOptions { owner: Some(owner), ..tiny() }
    };
    let still = Still::with_seed(Platter::default(), 1);
    let (store, report) = open_with(&still, of(1, 7, 3)).expect("an empty disk");
    assert_eq!(report.owner, of(1, 7, 3).owner);
    drop(store);
    let disk = still.after_death(2).platter().clone();
    let before = disk.fingerprint();
    let own = "node's own directory";
    for (other, word) in [(of(1, 7, 4), own), (of(1, 8, 3), own), (tiny(), "lone store")] {
        let still = boot(disk.clone());
        let Err(StoreError::Open(error)) = open_with(&still, other) else { panic!("it opened") };
        assert!(matches!(*error, OpenError::OtherOwner { .. }) && !error.is_retryable());
        let said = error.to_string();
        assert!(said.contains("node 3") && said.contains(word), "{said}");
        assert_eq!(still.after_death(1).platter().fingerprint(), before, "it changed something");
    }
    // Members may change, and with them what the cluster would be called if it were founded now.
    let (_, report) = open_with(&boot(disk), of(2, 7, 3)).expect("its own");
    assert_eq!(report.owner, of(1, 7, 3).owner, "what it was founded with stays");
}

#[test]
fn a_damaged_last_write_is_cut_only_with_leave() {
    let mut disk = killed();
    let (name, at) = find(&disk, 7);
    assert!(disk.rot(&name, at, 3));
    let words = ["may have been acknowledged", "accept_tail_loss", "backup"];
    let OpenError::Corrupt { damages } = refused(disk.clone(), &words) else { panic!("not so") };
    assert!(damages.iter().all(|damage| damage.verdict == Verdict::Ambiguous), "{damages:?}");

    let still = boot(disk.clone());
    assert!(open_with(&still, JournalOptions { accept_rot: true, ..tiny() }).is_err(), "another");
    let still = boot(disk);
    let leave = JournalOptions { accept_tail_loss: true, ..tiny() };
    let (store, report) = open_with(&still, leave).expect("it has leave");
    assert_eq!(report.accepted.len(), 1, "{report:?}");
    has_all_but(&still, &store, &[7], 8);
    drop(store);
    // Once is enough.
    let next = still.after_death(4);
    let (store, report) = open(&next).expect("it is whole again");
    assert!(report.accepted.is_empty());
    has_all_but(&next, &store, &[7], 8);
}

#[test]
fn rot_before_the_tail_is_gone_only_with_leave() {
    let mut disk = killed();
    let (name, at) = find(&disk, 2);
    assert!(disk.rot(&name, at, 0));
    let OpenError::Corrupt { damages } = refused(disk.clone(), &["durable data", "accept_rot"])
    else {
        panic!("not so")
    };
    assert!(damages.iter().all(|damage| damage.verdict == Verdict::Rot), "{damages:?}");
    let still = boot(disk.clone());
    let other = JournalOptions { accept_tail_loss: true, ..tiny() };
    assert!(open_with(&still, other).is_err(), "leave for something else");
    let still = boot(disk);
    let leave = JournalOptions { accept_rot: true, ..tiny() };
    let (mut store, report) = open_with(&still, leave).expect("it has leave");
    assert_eq!(report.accepted.len(), 1, "{report:?}");
    has_all_but(&still, &store, &[2], 8);
    // It goes on, is compacted, and asks for no leave again.
    put(&still, &mut store, 2).expect("it goes on");
    still.block_on(store.compact_all()).expect("what is left is whole");
    drop(store);
    let next = still.after_death(4);
    let (store, _) = open(&next).expect("it is whole again");
    has_all_but(&next, &store, &[], 8);
}

/// A second value of key 2, written and damaged behind the first one; the first is served with
/// leave. Then the bytes are right again, as after a controller's lie: compaction must not take
/// them for the newest value, or it would let the first one go and keep neither.
#[test]
fn what_was_given_up_stays_given_up_when_its_bytes_come_back() {
    const SECOND: u8 = 0x55;
    for is_closed in [false, true] {
        let still = Still::with_seed(killed(), 2);
        let (mut store, _) = open(&still).expect("a whole disk");
        let mut batch = WriteBatch::new();
        batch.put(key(2), vec![SECOND; VALUE]);
        assert!(still.block_on(store.commit(&[batch], Sync::Now))[0].is_ok());
        // Of its segment something is kept: the last write is moved elsewhere.
        for _ in 0..2 {
            put(&still, &mut store, 8).expect("a whole disk");
        }
        if is_closed {
            still.block_on(store.close()).expect("a whole disk");
        }
        let mut disk = still.after_death(3).platter().clone();
        let (name, at) = find_value(&disk, 2, SECOND);
        let hints = disk.peek(&name).and_then(|bytes| {
            let magic = FOOTER_MAGIC.to_le_bytes();
            bytes.windows(4).rposition(|window| window == magic)
        });
        let flip = |disk: &mut Platter| {
            assert!(disk.rot(&name, at, 0));
            assert!(hints.is_none_or(|at| disk.rot(&name, at as u64, 0)));
        };
        flip(&mut disk);
        let still = boot(disk);
        let leave = JournalOptions { accept_rot: true, ..tiny() };
        let (mut store, report) = open_with(&still, leave).expect("it has leave");
        assert_eq!((report.accepted.len(), hints.is_some()), (1, is_closed), "{report:?}");
        has_all_but(&still, &store, &[], 9);
        flip(&mut still.platter());
        still.block_on(store.compact_all()).expect("what is left is whole");
        has_all_but(&still, &store, &[], 9);
        drop(store);
        let next = still.after_death(4);
        let (store, _) = open(&next).expect("it is whole");
        has_all_but(&next, &store, &[], 9);
    }
}

/// A compaction has listed its copies, and the victims, which no edit calls sealed yet, are lost
/// with leave. The journal would begin again below the copies, and what is written then would be
/// taken for older than they are.
#[test]
fn what_follows_a_lost_journal_is_newer_than_the_copies_of_it() {
    let still = Still::with_seed(killed(), 2);
    let (mut store, _) = open(&still).expect("a whole disk");
    for number in 0..4 {
        put(&still, &mut store, number).expect("a whole disk");
    }
    still.block_on(store.rotate()).expect("a whole disk");
    // Chores that would seal are begun and never done.
    let compaction = loop {
        let chore = store.plan(Effort::Everything).expect("a compaction comes");
        if chore.is_compaction() {
            break chore;
        }
    };
    let done = still.block_on(compaction.run());
    assert!(still.block_on(store.install(done)).expect("a whole disk").is_some(), "the copies");
    drop(store);
    let mut disk = still.after_death(3).platter().clone();
    for name in disk.file_names().into_iter().filter(|name| name.starts_with("j/")) {
        assert!(disk.lose_file(&name));
    }
    let still = boot(disk);
    let leave = JournalOptions { accept_rot: true, ..tiny() };
    let (mut store, _) = open_with(&still, leave).expect("it has leave");
    has_all_but(&still, &store, &[], 8);
    let mut batch = WriteBatch::new();
    batch.put(key(2), *b"newer");
    assert!(still.block_on(store.commit(&[batch], Sync::Now))[0].is_ok());
    assert_eq!(get(&still, &store, 2), Ok(Some(b"newer".to_vec())));
    drop(store);
    let next = still.after_death(4);
    let (store, report) = open(&next).expect("it is whole");
    assert!(report.accepted.is_empty());
    assert_eq!(get(&next, &store, 2), Ok(Some(b"newer".to_vec())));
}

/// The disk with its manifest renamed to this number, every checksum right.
fn renumbered(mut disk: Platter, id: SegmentId) -> Platter {
    let current = disk.peek("CURRENT").expect("it is there");
    let current = CurrentFile::decode(&current).expect("it is whole");
    let name = segment_name(SegmentKind::Manifest, current.manifest);
    let mut bytes = disk.peek(&name).expect("it is there");
    let header = SegmentHeader { id, ..SegmentHeader::decode(&bytes).expect("it is whole") };
    bytes[..128].copy_from_slice(&header.encode());
    let (seed, mut at, mut previous_crc) = (Seed::of(header.uuid), 4096, 0);
    while let Ok(frame) = FrameHeader::decode(&bytes[at..], seed, at as u64) {
        let front = FrameHeader { segment: id, previous_crc, ..frame }.encode(seed, at as u64);
        bytes[at..at + front.len()].copy_from_slice(&front);
        previous_crc = u32::from_le_bytes([front[4], front[5], front[6], front[7]]);
        at += frame.layout(at as u64).end;
    }
    disk.lose_file(&name);
    disk.place(&segment_name(SegmentKind::Manifest, id), &bytes);
    disk.place("CURRENT", &CurrentFile { manifest: id, ..current }.encode());
    disk
}

/// What is written with the last numbers could be read by nobody.
#[test]
fn a_store_whose_numbers_are_used_up_is_left_alone() {
    let still = boot(renumbered(killed(), SegmentId(i32::MAX as u32 / 2)));
    let (store, _) = open(&still).expect("there are some left");
    has_all_but(&still, &store, &[], 8);
    let last = renumbered(killed(), SegmentId(i32::MAX as u32));
    refused(last, &["MANIFEST-7fffffff", "has used up its numbers", "backup"]);
}

#[test]
fn what_is_missing_is_said_and_not_taken_for_empty() {
    for name in closed().file_names() {
        let mut disk = closed();
        assert!(disk.lose_file(&name));
        match name.as_str() {
            "LOCK" => assert!(open(&boot(disk)).is_ok(), "a lock is nobody's"),
            "CURRENT" => _ = refused(disk, &["CURRENT is missing", "backup"]),
            "NODE" => _ = refused(disk, &["NODE cannot be used", "backup"]),
            manifest if manifest.starts_with("MANIFEST") => {
                refused(disk, &[manifest, "cannot be used", "backup"]);
            }
            segment => {
                let sealed = boot(closed());
                let (store, _) = open(&sealed).expect("it is whole");
                // A prepared segment holds nothing, but that it is gone is strange enough.
                let holds = find(&closed(), 0).0 == segment || find(&closed(), 8).0 == segment;
                drop(store);
                refused(disk.clone(), &["a missing file", "accept_rot"]);
                let still = boot(disk);
                let leave = JournalOptions { accept_rot: true, ..tiny() };
                let (store, report) = open_with(&still, leave).expect("it has leave");
                assert_eq!(report.accepted.len(), 1, "{report:?}");
                let left = (0..9).filter(|n| get(&still, &store, *n) == Ok(None)).count();
                assert_eq!(left > 0, holds, "{segment}");
            }
        }
    }
}

#[test]
fn a_file_of_which_half_was_written_is_refused_or_harmless() {
    let mut refusals = 0;
    for disk in [killed(), closed()] {
        let keys = if disk.fingerprint() == killed().fingerprint() { 8 } else { 9 };
        for name in disk.file_names() {
            let len = disk.peek(&name).expect("it is there").len() as u64;
            for cut in [0, 1, len / 2, len.saturating_sub(1)] {
                let mut disk = disk.clone();
                if len == 0 || !disk.cut_file(&name, cut) {
                    continue;
                }
                let still = boot(disk);
                match open(&still) {
                    Ok((store, _)) => has_all_but(&still, &store, &[], keys),
                    Err(error) => {
                        refusals += 1;
                        let said = error.to_string();
                        assert!(said.contains("backup") || said.contains("missing"), "{said}");
                    }
                }
            }
        }
    }
    assert!(refusals > 8, "{refusals}");
}

#[test]
fn what_is_not_ours_stays() {
    let mut disk = closed();
    let theirs = ["notes.txt", "old.tmp", "j/backup.tar", "d/00000001.seg.bak", "photos/a.jpg"];
    for name in theirs {
        disk.place(name, b"theirs");
    }
    let still = boot(disk);
    let (store, report) = open(&still).expect("they are in nobody's way");
    has_all_but(&still, &store, &[], 9);
    assert_eq!(report.orphans_removed, 0);
    for name in theirs {
        assert_eq!(still.platter().peek(name).as_deref(), Some(b"theirs".as_slice()), "{name}");
    }
    let mut foreign = Platter::default();
    foreign.place("notes.txt", b"theirs");
    refused(foreign, &["notes.txt", "name an empty or a new directory"]);
}

#[test]
fn a_newer_format_is_not_guessed_at() {
    for name in closed().file_names() {
        let mut disk = closed();
        let mut bytes = disk.peek(&name).expect("it is there");
        let covered = match name.as_str() {
            "LOCK" => continue,
            "NODE" | "CURRENT" => 8..64,
            _ if bytes[..4] == [0; 4] => continue,
            _ => 8..128,
        };
        bytes[8..10].copy_from_slice(&77_u16.to_le_bytes());
        let crc = codec::crc(0, &bytes[covered]).to_le_bytes();
        bytes[4..8].copy_from_slice(&crc);
        disk.place(&name, &bytes);
        refused(disk, &[&name, "format version 77", "or a later one"]);
    }
}

#[test]
fn another_nodes_files_are_told_apart() {
    let other = {
        let still = Still::with_seed(Platter::default(), 77);
        let (mut store, _) = open(&still).expect("an empty disk");
        for number in 0..8 {
            put(&still, &mut store, number).expect("a whole disk");
        }
        still.block_on(store.compact_all()).expect("a whole disk");
        put(&still, &mut store, 8).expect("a whole disk");
        still.block_on(store.close()).expect("a whole disk");
        still.after_death(1).platter().clone()
    };
    let mut swapped = 0;
    for name in closed().file_names() {
        let theirs = other.file_names().into_iter().find(|their| their[..2] == name[..2]);
        let Some(bytes) = theirs.and_then(|name| other.peek(&name)) else { continue };
        if name == "LOCK" || bytes.len() < 64 || bytes[..4] == [0; 4] {
            continue;
        }
        let mut disk = closed();
        if name != "NODE" && disk.peek(&name).expect("it is there")[..4] == [0; 4] {
            continue;
        }
        disk.place(&name, &bytes);
        match name.as_str() {
            "CURRENT" => _ = refused(disk, &["cannot be used"]),
            _ => _ = refused(disk, &["belongs to node", "put it back where it came from"]),
        }
        swapped += 1;
    }
    assert!(swapped >= 4, "{swapped}");
}

#[test]
fn a_directory_that_is_open_is_not_opened_again() {
    let still = boot(closed());
    let (store, _) = open(&still).expect("it is whole");
    let Err(StoreError::Open(error)) = open(&still) else { panic!("twice") };
    assert!(matches!(*error, OpenError::Locked) && error.is_retryable());
    assert!(error.to_string().contains("stop it first"), "{error}");
    drop(store);
    assert!(open(&still).is_ok());
}

#[test]
fn a_full_disk_refuses_writes_takes_deletions_and_recovers_by_itself() {
    let full = PlatterOptions { capacity_bytes: 400 << 10, ..PlatterOptions::default() };
    let still = Still::with_seed(Platter::new(full), 1);
    let journal = JournalOptions { reserve_bytes: 96 << 10, ..tiny() };
    let (mut store, _) = open_with(&still, journal).expect("an empty disk");
    let fill = |store: &mut Store<Still>| {
        for round in 0..4000_u32 {
            let mut batch = WriteBatch::new();
            batch.put(key((round % 200) as u8), vec![round as u8 | 1; VALUE]);
            match still.block_on(store.commit(&[batch], Sync::Now)).remove(0) {
                Ok(_) => {}
                Err(error) => return error,
            }
            // Chores go on where there is room for them.
            let _no_room = still.block_on(store.work(Effort::Chores));
        }
        panic!("it never was full");
    };
    let error = fill(&mut store);
    assert_eq!(error, StoreError::Journal(JournalError::NoSpace));
    assert!(error.is_retryable() && !error.is_stopped());
    assert!(error.to_string().contains("delete and compact"), "{error}");
    // Nothing is lost, and the last write did not half happen.
    let keys = store.stats().keys;
    let mut batch = WriteBatch::new();
    for number in 0..200 {
        batch.delete(key(number));
    }
    still.block_on(store.commit(&[batch], Sync::Now)).remove(0).expect("deletions are taken");
    assert!(keys > 90 && store.stats().keys == 0);
    still.block_on(store.compact_all()).expect("compaction goes on");
    put(&still, &mut store, 1).expect("it has recovered by itself");
    store.invariants().expect("they hold");
    // A second time, and then the disk grows instead.
    assert_eq!(fill(&mut store), StoreError::Journal(JournalError::NoSpace));
    still.platter().set_capacity(800 << 10);
    put(&still, &mut store, 1).expect("room is all it needs");
    drop(store);
    let next = still.after_death(5);
    let (store, _) = open_with(&next, journal).expect("it is whole");
    assert_eq!(get(&next, &store, 1), Ok(Some(vec![1; VALUE])));
}

/// Somebody else has taken what was free of a disk. A life that finds it so cannot begin, says why,
/// and leaves everything as it is; with a little room it begins.
#[test]
fn opening_without_room_is_refused_and_loses_nothing() {
    for seed in 0..8 {
        let still = Still::with_seed(killed(), seed);
        let used = still.platter().used();
        let mut refused = 0;
        for left in (0..).step_by(2 << 10) {
            still.platter().set_capacity(used + left);
            match open(&still) {
                Ok((store, _)) => {
                    let all = (0..8).map(|number| get(&still, &store, number));
                    assert!(
                        all.zip(0..).all(|(got, number)| got == Ok(Some(vec![number | 1; VALUE])))
                    );
                    break;
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    assert!(error.to_string().contains("the disk is full"), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0);
    }
}

/// Writes, and then deletions, take what a disk of each of some sizes has. How many sizes, and on how
/// many the manifest still has room for more than it holds.
fn delete_until_full(planted: &[&str]) -> (u32, u32) {
    let ledger = Ledger::new(planted.iter().copied());
    let _entered = ledger.enter();
    let options = JournalOptions { reserve_bytes: 64 << 10, ..tiny() };
    let (mut all, mut whole) = (0, 0);
    for capacity_kib in (200..300).step_by(4) {
        let capacity_bytes = capacity_kib << 10;
        let disk = Platter::new(PlatterOptions { capacity_bytes, ..PlatterOptions::default() });
        let still = Still::with_seed(disk, 1);
        let opened = still.block_on(Journal::open(&still, options));
        let (mut journal, _) = opened.expect("an empty disk");
        for kind in [RecordKind::Put, RecordKind::Tombstone] {
            let error = loop {
                let mut frame = journal.frame();
                let record = Record {
                    group: GroupId(1),
                    kind,
                    version: Version(1),
                    term: Term(1),
                    expires_ms: None,
                    origin: Origin::State,
                    key: &[b'x'; 1000],
                    value: &[],
                };
                frame.push(&record).expect("a small one");
                if let Err(error) = still.block_on(journal.append(frame, Sync::Now)) {
                    break error;
                }
            };
            assert_eq!(error, JournalError::NoSpace);
        }
        all += 1;
        whole += u32::from((0..100).all(|nth| {
            let peer = Peer { directory: Uuid::from_draws(nth, 1), is_seated: true };
            let edit = ManifestEdit { peers: vec![(NodeId(2), peer)], ..ManifestEdit::default() };
            still.block_on(journal.edit(edit)).is_ok()
        }));
    }
    (all, whole)
}

/// Deletions may take the last room of a disk, only not what the manifest needs: nothing of what
/// they give back is given back before it says so.
#[test]
fn deletions_leave_room_for_the_manifest() {
    let (all, whole) = delete_until_full(&[]);
    assert_eq!(all, whole);
}

#[cfg(feature = "mutants")]
#[test]
fn deletions_that_leave_the_manifest_no_room_are_noticed() {
    let (all, whole) = delete_until_full(&["journal_relief_takes_the_roll"]);
    assert!(whole < all, "{whole} of {all}");
}

#[test]
fn no_room_at_any_operation_is_never_a_dead_end() {
    let whole = {
        let still = boot(closed());
        let (mut store, _) = open(&still).expect("it is whole");
        put(&still, &mut store, 3).expect("a whole disk");
        still.block_on(store.compact_all()).expect("a whole disk");
        still.platter().op_count()
    };
    let mut told = 0;
    for op in closed().op_count()..whole {
        let mut disk = closed();
        disk.strike_at(op, Strike::NoSpace);
        let still = boot(disk);
        let Ok((mut store, _)) = open(&still) else {
            let again = still.after_death(1);
            assert!(open(&again).is_ok(), "operation {op}: opening is a dead end");
            continue;
        };
        let written = put(&still, &mut store, 3);
        let compacted = still.block_on(store.compact_all());
        told += u32::from(written.is_err() || compacted.is_err());
        if !store.is_stopped() {
            // The lack of room was for a moment: everything works now.
            still.clock().advance(60_000_000_000);
            put(&still, &mut store, 3).unwrap_or_else(|error| panic!("operation {op}: {error}"));
            let again = still.block_on(store.compact_all());
            again.unwrap_or_else(|error| panic!("operation {op}: {error}"));
            has_all_but(&still, &store, &[], 9);
            store.invariants().expect("they hold");
        }
        drop(store);
        let next = still.after_death(1);
        let (store, _) = open(&next).unwrap_or_else(|error| panic!("operation {op}: {error}"));
        has_all_but(&next, &store, &[], 9);
    }
    assert!(told > 0);
}

#[test]
fn a_sector_that_cannot_be_read_is_an_error_and_no_absence() {
    let mut disk = closed();
    let (name, at) = find(&disk, 4);
    assert!(disk.break_sector(&name, at));
    let still = boot(disk);
    let (mut store, _) = open(&still).expect("hints do not read values");
    let read = get(&still, &store, 4);
    assert!(
        matches!(&read, Err(ReadError::Disk(why)) if why.kind == DiskErrorKind::Io),
        "{read:?}"
    );
    assert_eq!(get(&still, &store, 1), Ok(Some(vec![1; VALUE])));
    // Compaction must not throw away what it could not read, and it says so.
    put(&still, &mut store, 8).expect("writing goes on");
    let compacted = still.block_on(store.compact_all());
    assert!(matches!(compacted, Err(StoreError::Compact(_))), "{compacted:?}");
    assert!(get(&still, &store, 4).is_err());
    let report = still.block_on(store.verification().run(|| {}));
    assert!(report.damaged >= 2, "{report:?}");
    assert_eq!(report.keys, 9);
}

/// The manifest without its last edit: from there on it is zeros, as if never written.
fn forget_last_edit(disk: &mut Platter) {
    let name = disk.file_names().into_iter().find(|name| name.starts_with("MANIFEST"));
    let name = name.expect("there is a manifest");
    let bytes = disk.peek(&name).expect("it is there");
    let magic = FRAME_MAGIC.to_le_bytes();
    let is_frame = |at: &usize| bytes[*at..].starts_with(&magic);
    let at = (0..bytes.len()).step_by(FRAME_ALIGN).rfind(is_frame).expect("it has edits");
    assert!(disk.overwrite(&name, at as u64, &vec![0; bytes.len() - at]));
}

/// One more durable record.
fn append(still: &Still, journal: &mut Journal<Still>) {
    let mut frame = journal.frame();
    let record = Record {
        group: GroupId(1),
        kind: RecordKind::Put,
        version: Version(frame.next_lsn().0),
        term: Term(0),
        expires_ms: None,
        origin: Origin::State,
        key: b"key",
        value: &[7; VALUE],
    };
    frame.push(&record).expect("it fits");
    let persisted = still.block_on(journal.append(frame, Sync::Now)).expect("a whole disk");
    assert!(persisted.is_durable);
}

/// A group is added by an edit, perhaps with a frame behind it, and the edit is gone.
fn forgets_a_group(rests: bool) -> Platter {
    let still = Still::with_seed(Platter::default(), 1);
    let opening = Journal::open(&still, tiny());
    let (mut journal, _) = still.block_on(opening).expect("an empty disk");
    append(&still, &mut journal);
    let edit = ManifestEdit { add_groups: vec![GroupId(7)], ..ManifestEdit::default() };
    still.block_on(journal.edit(edit)).expect("a whole disk");
    if rests {
        append(&still, &mut journal);
    }
    drop(journal);
    let mut disk = still.after_death(2).platter().clone();
    forget_last_edit(&mut disk);
    disk
}

#[test]
fn an_edit_that_frames_rest_on_is_not_forgotten() {
    let words = ["MANIFEST-00000001", "frames of the journal rest on", "accept_rot"];
    let OpenError::Corrupt { damages } = refused(forgets_a_group(true), &words) else {
        panic!("something else")
    };
    assert!(matches!(damages[..], [Damage { verdict: Verdict::Forgotten, .. }]), "{damages:?}");
    // Who has others to ask must not go on either, and neither does a second attempt.
    let still = boot(forgets_a_group(true));
    let replica = JournalOptions { settled_by_owner: true, damage: OnDamage::Report, ..tiny() };
    for _ in 0..2 {
        let refused = still.block_on(Journal::open(&still, replica)).expect_err("an edit is lost");
        assert_eq!(
            refused.to_string(),
            OpenError::Corrupt { damages: damages.clone() }.to_string()
        );
    }
    // Whoever goes on without it is told once.
    let leave = JournalOptions { accept_rot: true, ..tiny() };
    let (journal, found) = still.block_on(Journal::open(&still, leave)).expect("with leave");
    assert_eq!(found.report.accepted, damages);
    assert_eq!(journal.groups().count(), 0);
    assert_eq!(found.report.last_lsn, Lsn(2));
    drop(journal);
    let (_, found) = still.block_on(Journal::open(&still, tiny())).expect("it was accepted");
    assert!(found.report.accepted.is_empty());
}

#[test]
fn an_edit_that_nothing_rests_on_may_never_have_been_made() {
    let still = boot(forgets_a_group(false));
    let (journal, found) = still.block_on(Journal::open(&still, tiny())).expect("nothing is lost");
    assert_eq!(journal.groups().count(), 0);
    assert_eq!(found.report.last_lsn, Lsn(1));
}

#[test]
fn a_segment_that_was_in_use_is_never_removed_as_garbage() {
    // Its footer is not there, or there and not yet in the manifest.
    for begins_a_footer in [false, true] {
        let still = Still::with_seed(Platter::default(), 1);
        let opening = Journal::open(&still, tiny());
        let (mut journal, _) = still.block_on(opening).expect("an empty disk");
        append(&still, &mut journal);
        still.block_on(journal.rotate()).expect("a whole disk");
        if begins_a_footer {
            // Then the process dies, before the manifest says that the segment is sealed.
            still.block_on(journal.plan().expect("a segment to seal").run());
        }
        drop(journal);
        let mut disk = still.after_death(2).platter().clone();
        forget_last_edit(&mut disk);
        refused(disk, &["its line in the manifest", "accept_rot"]);
    }
}

#[test]
fn a_segment_that_was_not_begun_is_garbage_without_its_line() {
    let still = Still::with_seed(Platter::default(), 1);
    let (mut store, _) = open(&still).expect("an empty disk");
    put(&still, &mut store, 1).expect("a whole disk");
    while let Some(chore) = store.plan(Effort::Chores) {
        let done = still.block_on(chore.run());
        still.block_on(store.install(done)).expect("a whole disk");
    }
    drop(store);
    // The last line was that of a spare.
    let mut disk = still.after_death(2).platter().clone();
    forget_last_edit(&mut disk);
    let still = boot(disk);
    let (store, report) = open(&still).expect("nothing is lost");
    assert!(report.orphans_removed > 0, "{report:?}");
    assert_eq!(get(&still, &store, 1), Ok(Some(vec![1; VALUE])));
}

#[test]
fn a_failed_write_or_sync_stops_the_store() {
    // The write's own operations: its bytes, and their sync.
    for behind in [0, 1] {
        let still = boot(closed());
        let (mut store, _) = open(&still).expect("it is whole");
        put(&still, &mut store, 0).expect("a whole disk");
        let op = still.platter().op_count() + behind;
        still.platter().strike_at(op, Strike::Error);
        let failed = put(&still, &mut store, 1).expect_err("the disk failed");
        assert!(matches!(failed, StoreError::Journal(JournalError::Failed(_))), "{failed}");
        assert!(store.is_stopped() && failed.is_stopped() && !failed.is_retryable());
        let later = put(&still, &mut store, 2).expect_err("it has stopped");
        assert_eq!(later, StoreError::Journal(JournalError::Stopped));
        assert!(still.block_on(store.compact_all()).is_err());
        assert!(store.plan(Effort::Everything).is_none());
        // What lies in other files is still served; the file that failed answers nothing more.
        assert_eq!(get(&still, &store, 5), Ok(Some(vec![5; VALUE])));
        drop(store);
        let next = still.after_death(1);
        let (store, _) = open(&next).expect("it recovers");
        has_all_but(&next, &store, &[], 9);
    }
}

#[test]
fn refused_hints_fall_back_to_reading_everything() {
    let mut refused = 0;
    for bit in 0..64 {
        let mut disk = closed();
        let (name, _) = find(&disk, 4);
        let bytes = disk.peek(&name).expect("it is there");
        // Somewhere in the footer, which ends the file.
        let at = bytes.len() as u64 - 1 - bit * 7;
        assert!(disk.rot(&name, at, (bit % 8) as u8));
        let still = boot(disk);
        let (store, report) = open(&still).expect("hints are only hints");
        refused += report.hints_rejected.len();
        has_all_but(&still, &store, &[], 9);
    }
    assert!(refused > 32, "{refused}");
}

#[test]
fn rot_in_sealed_segments_is_found_by_looking() {
    let mut disk = closed();
    for number in [1, 5] {
        let (name, at) = find(&disk, number);
        assert!(disk.rot(&name, at, 6));
    }
    let still = boot(disk);
    let (mut store, _) = open(&still).expect("hints do not read values");
    let report = still.block_on(store.verification().run(|| {}));
    assert!(report.damages.iter().any(|finding| finding.contains("key-1")), "{report:?}");
    assert!(report.damages.iter().any(|finding| finding.contains("key-5")), "{report:?}");
    assert!(report.damages.iter().any(|finding| finding.starts_with("segment")), "{report:?}");
    assert!(matches!(get(&still, &store, 1), Err(ReadError::Damaged { .. })));
    // Compaction leaves the damaged segment as it is, says so, and does the rest.
    put(&still, &mut store, 8).expect("writing goes on");
    let compacted = still.block_on(store.compact_all());
    assert!(matches!(compacted, Err(StoreError::Compact(_))), "{compacted:?}");
    for number in [0, 2, 3, 4, 6, 7, 8] {
        assert_eq!(get(&still, &store, number), Ok(Some(vec![number | 1; VALUE])));
    }
    assert!(get(&still, &store, 5).is_err());
}
