//! Each thing a platter can do, shown by itself.

use super::*;

/// A disk with a root and one synced file of that content.
fn disk(bytes: &[u8]) -> (Platter, FileId) {
    let mut disk = Platter::default();
    disk.create_dir("").expect("made");
    let file = disk.open("f", Open::Create).expect("created");
    disk.write_at(file, 0, bytes).expect("written");
    disk.sync(file).expect("synced");
    disk.sync_dir("").expect("synced");
    (disk, file)
}

fn outcomes(disk: &Platter, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    disk.survivors(1_000).expect("few").map(|disk| disk.peek(name)).collect()
}

fn luck(seed: u64) -> Luck {
    Luck::new(seed, Domain::Named("platter tests"))
}

#[test]
fn synced_bytes_survive_and_unsynced_ones_in_any_subset_of_sectors() {
    let (mut disk, file) = disk(&[1; 1536]);
    assert_eq!(disk.survivors(1).expect("one outcome").total(), 1);
    disk.write_at(file, 256, &[2; 1024]).expect("written");
    let all = outcomes(&disk, "f");
    assert_eq!(all.len(), 8);
    for outcome in all.into_iter().flatten() {
        assert_eq!(outcome.len(), 1536);
        assert!(outcome[..256].iter().chain(&outcome[1280..]).all(|byte| *byte == 1));
        for sector in [256..512, 512..1024, 1024..1280] {
            let part = &outcome[sector];
            assert!(part.iter().all(|byte| *byte == part[0]), "a sector is old or new");
        }
    }
}

#[test]
fn a_sector_written_twice_may_survive_in_its_middle_version() {
    let (mut disk, file) = disk(b"old");
    disk.write_at(file, 0, b"mid").expect("written");
    disk.write_at(file, 0, b"new").expect("written");
    let all = outcomes(&disk, "f");
    let want = [&b"mid"[..], b"new", b"old"].map(|text| Some(text.to_vec()));
    assert_eq!(all.into_iter().collect::<Vec<_>>(), want);
}

#[test]
fn lengths_are_lost_and_kept_by_themselves() {
    let (mut disk, file) = disk(b"");
    disk.write_at(file, 0, b"one").expect("written");
    disk.write_at(file, 3, b"two").expect("written");
    let all: Vec<_> = outcomes(&disk, "f").into_iter().flatten().collect();
    // 0, 3 or 6 bytes; the sector is zeros, "one" or "onetwo", cut to that.
    assert!(all.contains(&Vec::new()) && all.contains(&b"one".to_vec()));
    assert!(all.contains(&b"onetwo".to_vec()) && all.contains(&b"one\0\0\0".to_vec()));
    assert!(all.contains(&vec![0; 6]));
    disk.sync(file).expect("synced");
    assert_eq!(outcomes(&disk, "f").len(), 1);
}

#[test]
fn names_are_certain_only_after_a_directory_sync() {
    let (mut disk, _) = disk(b"x");
    let new = disk.open("g.tmp", Open::Create).expect("created");
    disk.write_at(new, 0, b"y").expect("written");
    disk.sync(new).expect("synced");
    disk.rename("g.tmp", "f").expect("renamed");
    let shown: BTreeSet<Vec<(String, Vec<u8>)>> = disk
        .survivors(100)
        .expect("few")
        .map(|disk| {
            let names = disk.file_names().into_iter();
            names.map(|name| (name.clone(), disk.peek(&name).expect("there"))).collect()
        })
        .collect();
    let pair = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let want = BTreeSet::from([
        vec![pair("f", b"x")],
        vec![pair("f", b"x"), pair("g.tmp", b"y")],
        vec![pair("f", b"y")],
    ]);
    assert_eq!(shown, want);
    disk.sync_dir("").expect("synced");
    let all = outcomes(&disk, "f");
    assert_eq!(all, BTreeSet::from([Some(b"y".to_vec())]));
}

#[test]
fn what_is_in_a_lost_directory_is_lost() {
    let (mut disk, _) = disk(b"x");
    disk.create_dir("d").expect("made");
    let file = disk.open("d/g", Open::Create).expect("created");
    disk.sync(file).expect("synced");
    disk.sync_dir("d").expect("synced");
    assert_eq!(outcomes(&disk, "d/g"), BTreeSet::from([None, Some(Vec::new())]));
    disk.sync_dir("").expect("synced");
    assert_eq!(outcomes(&disk, "d/g"), BTreeSet::from([Some(Vec::new())]));
}

#[test]
fn a_name_that_is_certainly_gone_is_not_brought_back_by_an_older_rename() {
    let (mut disk, _) = disk(b"x");
    disk.create_dir("d").expect("made");
    disk.sync_dir("").expect("synced");
    disk.rename("f", "d/f").expect("renamed");
    disk.remove("d/f").expect("removed");
    disk.sync_dir("d").expect("synced");
    disk.sync_dir("").expect("synced");
    assert_eq!(outcomes(&disk, "d/f"), BTreeSet::from([None]));
    assert_eq!(outcomes(&disk, "f"), BTreeSet::from([None]));
}

#[test]
fn a_removed_file_may_come_back_until_its_directory_is_synced() {
    let (mut disk, file) = disk(b"x");
    disk.remove("f").expect("removed");
    assert_eq!(disk.peek("f"), None);
    assert_eq!(disk.read_at(file, 0, vec![0; 4], ReadMode::Cached).expect("read"), b"x");
    assert_eq!(outcomes(&disk, "f"), BTreeSet::from([None, Some(b"x".to_vec())]));
    disk.sync_dir("").expect("synced");
    assert_eq!(outcomes(&disk, "f"), BTreeSet::from([None]));
}

#[test]
fn a_crash_inside_an_operation_stops_everything_until_the_power_is_back() {
    let (mut disk, file) = disk(&[1; 512]);
    disk.crash_at(disk.op_count() + 1);
    disk.write_at(file, 0, &[2; 512]).expect("before the crash");
    let error = disk.sync(file).expect_err("the power is gone");
    assert_eq!(error.kind, DiskErrorKind::Io);
    assert!(disk.is_off() && disk.list("").is_err() && disk.open("f", Open::Read).is_err());
    assert_eq!(outcomes(&disk, "f").len(), 2);
    disk.power_loss(&mut luck(1));
    assert!(!disk.is_off());
    assert!(disk.len(file).is_err(), "the old handle is dead");
    disk.open("f", Open::Read).expect("a new one is fine");
    assert_eq!(disk.probes().count(Happened::CrashInOperation), 1);
}

#[test]
fn random_losses_are_among_all_losses_and_reach_all_of_them() {
    let (mut disk, file) = disk(&[1; 1024]);
    disk.write_at(file, 0, &[2; 1024]).expect("written");
    disk.write_at(file, 512, &[3; 512]).expect("written");
    disk.open("g", Open::Create).expect("created");
    let all: BTreeSet<u64> =
        disk.survivors(100).expect("few").map(|disk| disk.fingerprint()).collect();
    assert_eq!(all.len(), 12);
    let mut luck = luck(2);
    let mut seen = BTreeSet::new();
    for _ in 0..500 {
        let mut disk = disk.clone();
        disk.power_loss(&mut luck);
        seen.insert(disk.fingerprint());
    }
    assert_eq!(seen, all);
}

#[test]
fn garbage_never_hits_a_sector_that_held_synced_bytes() {
    for garbage in [Garbage::Never, Garbage::Unwritten, Garbage::Zeros] {
        let mut luck = luck(3);
        let mut hit = 0;
        for _ in 0..300 {
            let mut disk = Platter::new(PlatterOptions { garbage, ..PlatterOptions::default() });
            disk.create_dir("").expect("made");
            let file = disk.open("f", Open::Create).expect("created");
            disk.write_at(file, 0, &[1; 512]).expect("written");
            disk.allocate(file, 2048).expect("allocated");
            disk.sync(file).expect("synced");
            disk.sync_dir("").expect("synced");
            disk.write_at(file, 0, &[2; 4096]).expect("written");
            disk.power_loss(&mut luck);
            let bytes = disk.peek("f").expect("there");
            assert!(bytes[..512] == [1; 512] || bytes[..512] == [2; 512]);
            let may = |sector: &[u8]| sector == [0; 512] || sector == [2; 512];
            if garbage != Garbage::Zeros {
                assert!(bytes[512..2048].chunks(512).all(may));
            }
            hit += disk.probes().count(Happened::SectorGarbage);
        }
        assert_eq!(hit == 0, garbage == Garbage::Never, "{garbage:?}");
    }
}

#[test]
fn a_failed_sync_poisons_and_the_cache_hides_what_was_dropped() {
    let mut dropped = 0;
    for seed in 0..50 {
        let (mut disk, file) = disk(&[1; 512]);
        disk.luck = luck(seed);
        disk.write_at(file, 0, &[2; 512]).expect("written");
        disk.strike_at(disk.op_count(), Strike::Error);
        assert_eq!(disk.sync(file).expect_err("struck").kind, DiskErrorKind::Io);
        assert_eq!(disk.sync(file).expect_err("poisoned").kind, DiskErrorKind::Poisoned);
        assert_eq!(disk.len(file).expect_err("poisoned").kind, DiskErrorKind::Poisoned);
        disk.process_death();
        let file = disk.open("f", Open::Write).expect("opened");
        disk.sync(file).expect("a second sync says all is well");
        let cached = disk.read_at(file, 0, vec![0; 512], ReadMode::Cached).expect("read");
        assert_eq!(cached, [2; 512]);
        let medium = disk.read_at(file, 0, vec![0; 512], ReadMode::Uncached).expect("read");
        if medium == [1; 512] {
            dropped += 1;
            let mut evicted = disk.clone();
            evicted.evict();
            assert_eq!(evicted.peek("f").expect("there"), [1; 512]);
        }
        let mut again = disk.clone();
        again.write_at(file, 0, &[2; 512]).expect("the same bytes");
        again.sync(file).expect("whole");
        again.power_loss(&mut luck(0));
        assert_eq!(again.peek("f").expect("there"), [2; 512], "what is written is written back");
        disk.power_loss(&mut luck(0));
        assert_eq!(disk.peek("f").expect("there"), medium);
    }
    assert!(dropped > 10, "{dropped}");
}

#[test]
fn phantom_and_misdirected_writes_show_after_the_cache_is_gone() {
    let (disk, file) = disk(&[1; 2048]);
    let mut phantom = disk.clone();
    phantom.write_at(file, 0, &[2; 512]).expect("written");
    phantom.strike_at(phantom.op_count(), Strike::Phantom);
    phantom.sync(file).expect("it says so");
    assert_eq!(phantom.peek("f").expect("there")[..512], [2; 512]);
    phantom.power_loss(&mut luck(0));
    assert_eq!(phantom.peek("f").expect("there"), [1; 2048]);

    let mut seen = 0;
    for seed in 0..20 {
        let mut disk = disk.clone();
        disk.luck = luck(seed);
        disk.write_at(file, 0, &[2; 512]).expect("written");
        disk.strike_at(disk.op_count(), Strike::Misdirect);
        disk.sync(file).expect("it says so");
        if disk.probes().count(Happened::MisdirectedWrite) == 0 {
            continue;
        }
        seen += 1;
        disk.evict();
        let bytes = disk.peek("f").expect("there");
        assert_eq!(bytes[..512], [1; 512]);
        assert_eq!(bytes.chunks(512).filter(|sector| *sector == [2; 512]).count(), 1);
    }
    assert!(seen > 5);
}

#[test]
fn a_full_disk_refuses_new_blocks_and_lets_old_ones_be_written() {
    let mut disk = Platter::new(PlatterOptions { capacity_bytes: 16_384, ..Default::default() });
    disk.create_dir("").expect("made");
    let file = disk.open("f", Open::Create).expect("created");
    disk.allocate(file, 12_288).expect("allocated");
    disk.sync(file).expect("synced");
    assert_eq!(disk.space().expect("told").free_bytes, 4_096);
    assert_eq!(
        disk.write_at(file, 12_288, &[1; 8_192]).expect_err("full").kind,
        DiskErrorKind::NoSpace
    );
    disk.set_capacity(0);
    disk.write_at(file, 0, &[1; 12_288]).expect("its blocks are there");
    disk.sync(file).expect("synced");
    disk.set_capacity(16_384);
    disk.remove("f").expect("removed");
    assert_eq!(disk.space().expect("told").free_bytes, 4_096, "it is still open");
    disk.close(file);
    assert_eq!(disk.space().expect("told").free_bytes, 16_384);
}

#[test]
fn chances_happen_and_are_counted() {
    let (mut disk, _) = disk(&[1; 8192]);
    disk.set_faults(Faults {
        read_error: 100_000,
        read_flip: 100_000,
        read_stale: 100_000,
        write_error: 100_000,
        write_no_space: 100_000,
        sync_error: 100_000,
        phantom_write: 100_000,
        misdirected_write: 100_000,
        sync_dir_error: 100_000,
        latent_error: 50_000,
    });
    for round in 0..300_u64 {
        let file = disk.open("f", Open::Write).expect("opened");
        let written = disk.write_at(file, round * 37 % 8_000, &[round as u8; 100]);
        if written.is_ok() {
            let _may_fail = disk.sync(file);
        }
        let _may_fail = disk.read_at(file, 0, vec![0; 8192], ReadMode::Cached);
        let _may_fail = disk.sync_dir("");
        disk.close(file);
    }
    for what in [
        Happened::ReadError,
        Happened::ReadFlip,
        Happened::ReadStale,
        Happened::WriteError,
        Happened::NoSpace,
        Happened::SyncError,
        Happened::SyncErrorDroppedPages,
        Happened::SyncDirError,
        Happened::PhantomWrite,
        Happened::MisdirectedWrite,
        Happened::LatentError,
    ] {
        assert!(disk.probes().count(what) > 0, "{what}");
    }
}

#[test]
fn damage_at_rest_does_what_it_says() {
    let (mut disk, file) = disk(&[1; 1024]);
    assert!(disk.rot("f", 700, 3));
    assert_eq!(disk.peek("f").expect("there")[700], 1 ^ 8);
    assert!(!disk.rot("f", 1024, 0) && !disk.rot("none", 0, 0));
    let spot = disk.rot_somewhere(&mut luck(4)).expect("there is something to rot");
    assert_eq!(spot.name, "f");
    assert!(disk.zero_sector("f", 600));
    assert_eq!(disk.peek("f").expect("there")[512..], [0; 512]);
    assert!(disk.misplace(("f", 0), ("f", 512), 1));
    let bytes = disk.peek("f").expect("there");
    assert_eq!(bytes[..512], bytes[512..]);
    assert!(disk.break_sector("f", 512));
    disk.read_at(file, 0, vec![0; 512], ReadMode::Cached).expect("the other sector is fine");
    disk.read_at(file, 0, vec![0; 513], ReadMode::Cached).expect_err("this one is not");
    disk.write_at(file, 512, &[9; 512]).expect("written");
    disk.sync(file).expect("synced");
    disk.read_at(file, 0, vec![0; 1024], ReadMode::Uncached).expect("written anew, it is well");
    assert!(disk.cut_file("f", 100));
    assert_eq!(disk.peek("f").expect("there").len(), 100);
    assert!(disk.lose_file("f"));
    assert_eq!(disk.peek("f"), None);
    disk.place("a/b/c", b"placed");
    let mut other = Platter::default();
    other.swap_with(&mut disk);
    assert_eq!(other.peek("a/b/c").expect("there"), b"placed");
    other.wipe();
    assert!(other.list("").is_err());
}

#[test]
fn locks_and_handles_of_an_earlier_life_do_nothing() {
    let (mut disk, file) = disk(b"x");
    let lock = disk.lock("LOCK").expect("free");
    assert_eq!(disk.lock("LOCK").expect_err("held").kind, DiskErrorKind::Locked);
    disk.process_death();
    let again = disk.lock("LOCK").expect("free");
    disk.unlock(lock);
    assert_eq!(disk.lock("LOCK").expect_err("held").kind, DiskErrorKind::Locked);
    disk.unlock(again);
    disk.lock("LOCK").expect("free");
    assert!(disk.write_at(file, 0, b"y").is_err());
    disk.close(file);
    assert_eq!(disk.peek("f").expect("there"), b"x");
}

#[test]
fn a_mebibyte_of_zeros_costs_nothing_to_keep_and_to_fork() {
    let (mut disk, _) = disk(b"");
    for index in 0..64 {
        let file = disk.open(&format!("s{index}"), Open::Create).expect("created");
        disk.allocate(file, 1 << 20).expect("allocated");
        disk.write_at(file, 0, &vec![0; 1 << 20]).expect("written");
        assert!(disk.survivors(1).is_none());
        disk.sync(file).expect("synced");
    }
    disk.sync_dir("").expect("synced");
    let forks: Vec<Platter> = (0..100).map(|_| disk.clone()).collect();
    assert_eq!(forks[99].fingerprint(), disk.fingerprint());
}
