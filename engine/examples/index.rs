//! How much memory the index takes for a key, and how long its operations take.
//!
//! `cargo run --release -p trilith-engine --example index [-- KEYS]`: keys of 16 random bytes, one
//! thread. Resident memory is what the operating system says before and after, on Linux.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures")]

use std::{env, fs, hint::black_box, ops::Bound, time::Instant};

use trilith_engine::{
    types::{Loc, SegmentId, Version},
    value::{Builder, Place, Tree},
};

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let mix = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    };
    let seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&mix(seed).to_be_bytes());
    key[8..].copy_from_slice(&mix(seed ^ 0x5555).to_be_bytes());
    key
}

fn place(n: u64) -> Place {
    let loc = Loc { segment: SegmentId(1), offset_words: u32::try_from(n).unwrap_or(0), len: 148 };
    Place { loc, version: Version(n), expires_ms: None }
}

fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn timed(what: &str, times: u64, run: impl FnOnce()) {
    let before = Instant::now();
    run();
    let nanos = before.elapsed().as_nanos() / u128::from(times.max(1));
    println!("{what:<34} {nanos:>7} ns");
}

fn main() {
    let n: u64 = env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let empty = resident_bytes();
    let mut tree = Tree::new();
    timed("insert, random", n, || (0..n).for_each(|i| _ = tree.insert(&key(i), place(i))));
    let resident = resident_bytes().saturating_sub(empty);
    let keys = tree.len();
    println!("{:<34} {:>7.1} B", "a key, by its own count", tree.bytes() as f64 / keys as f64);
    println!("{:<34} {:>7.1} B", "a key, resident", resident as f64 / keys as f64);
    let order = |i: u64| key(i.wrapping_mul(7919) % n);
    timed("get, random", n, || (0..n).for_each(|i| _ = black_box(tree.get(&order(i)))));
    timed("overwrite, random", n, || {
        (0..n).for_each(|i| _ = tree.insert(&order(i), place(n + i)));
    });
    timed("walk all, a key", n, || {
        let mut cursor = tree.range(Bound::Unbounded, Bound::Unbounded);
        while let Some(next) = cursor.next() {
            black_box(next);
        }
    });
    timed("scan of 100, a key", n, || {
        (0..n / 100).for_each(|i| {
            let from = order(i);
            let mut cursor = tree.range(Bound::Included(&from), Bound::Unbounded);
            (0..100).for_each(|_| _ = black_box(cursor.next()));
        });
    });
    let shared = n.min(100_000);
    timed("overwrite under a fresh snapshot", shared, || {
        for i in 0..shared {
            let snapshot = tree.clone();
            tree.insert(&order(i), place(2 * n + i));
            black_box(&snapshot);
        }
    });
    let mut sorted: Vec<_> = (0..n).map(key).collect();
    sorted.sort_unstable();
    let mut built = Tree::new();
    timed("bulk build, a key", n, || {
        let mut builder = Builder::default();
        (0_u64..).zip(&sorted).for_each(|(i, key)| builder.push(key, place(i)));
        built = builder.finish();
    });
    println!("{:<34} {:>7.1} B", "a key, bulk built", built.bytes() as f64 / built.len() as f64);
    timed("get, random, bulk built", n, || {
        (0..n).for_each(|i| _ = black_box(built.get(&order(i))));
    });
}
