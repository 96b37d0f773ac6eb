//! Settings that nobody wrote: files, environments and flags, changed where it hurts.
//!
//! Whatever is taken can be shown, and what is shown is read as the same; whatever is not taken is
//! refused. The program that ships is no part of the fuzzer (`trilith-sim fuzz`), so its settings are
//! tested here, by texts that are changed as they are there.
//!
//! Not here: the settings one by one (`schema.rs`).

use clap::{Args as _, Command, FromArgMatches as _};
use trilith_engine::runtime::Rng as _;
use trilith_sim::{
    fuzz::texts::{like, twist},
    luck::{Domain, Luck},
};

use super::{Flags, Resolved, SETTINGS, Said, Settings, environment, file::parse};

const FILES: [&[u8]; 9] = [
    b"# ours\n[raft]\nelection_ms = 1_000\ndrift_ppm = 200\n",
    b"[cluster]\nname = 'x'\nmembers = [\n  \"1=127.0.0.1:7381\",\n  \"2=[::1]:7382\",\n]\ngroups = 16\n",
    b"[node]\nid = 1\ndata = \"a b\"\nlisten = \"0.0.0.0:7381\"\n",
    b"[resp]\nlisten = \"127.0.0.1:7379\"\n[http]\nhosts = \"db.example.com.,a\"\n",
    b"[serve]\ninsecure = true\nwithin_ms = 5000\n[log]\nlevel = \"warn\"\nformat = \"json\"\n",
    b"[storage]\nsegment_bytes = 8192\nreserve_bytes = 0\ncache_bytes = 18446744073709551615\n",
    b"[users]\nalice = \"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\"\n",
    b"cluster.secret = \"0123456789abcdef0123456789abcdef\"\n",
    b"[[[[[[{a = {b = [1979-05-27T07:32:00Z, 1e9, 0xff, \"\\u00e9\", '''\n''']}}",
];

const VALUES: [&[u8]; 9] = [
    b"1_000",
    b"127.0.0.1:7379",
    b"1=127.0.0.1:7381,2=[::1]:1",
    b"true",
    b"trace",
    b" json ",
    b"db.example.com",
    b"0123456789abcdef0123456789abcdef",
    b"",
];

/// Whether they are taken; what is taken is shown and read again.
fn taken(said: Vec<Said>) -> bool {
    let Ok(resolved) = Resolved::of(said, Vec::new()) else { return false };
    shown_again(&resolved.settings);
    true
}

fn shown_again(settings: &Settings) {
    for setting in SETTINGS.iter().filter(|setting| !setting.is_hidden()) {
        let Some(words) = (setting.shown)(settings) else { continue };
        let mut again = Settings::default();
        let read = (setting.read)(&mut again, &words);
        assert_eq!(read, Ok(()), "{}: {words:?}", setting.name);
        assert_eq!((setting.shown)(&again), Some(words), "{}", setting.name);
    }
}

fn text(samples: &[&[u8]], luck: &mut Luck) -> String {
    String::from_utf8_lossy(&like(samples, luck)).into_owned()
}

#[test]
fn files_that_nobody_wrote_are_settings_or_refused() {
    let (mut all, mut read) = (0, 0);
    for seed in 0..20_000 {
        let mut luck = Luck::new(seed, Domain::Named("files"));
        let Ok(parsed) = parse("a.toml", &text(&FILES, &mut luck)) else { continue };
        read += 1;
        all += u32::from(parsed.wrong.is_empty() && taken(parsed.said));
    }
    // Neither is everything taken nor everything refused: something was looked at.
    assert!(all > 200 && read > all + 200, "{all} of {read}");
}

#[test]
fn environments_that_nobody_set_are_settings_or_refused() {
    let (mut all, mut some) = (0, 0);
    for seed in 0..20_000 {
        let mut luck = Luck::new(seed, Domain::Named("environments"));
        let mut pairs = Vec::new();
        for _ in 0..luck.range(0..3) {
            let mut name = luck.pick(SETTINGS).variable().into_bytes();
            if luck.chance(1, 3) {
                twist(&mut name, &[b"TRILITH_", b"__", b"USERS__ALICE"], &mut luck);
            }
            let name = String::from_utf8_lossy(&name).into_owned();
            pairs.push((name, text(&VALUES, &mut luck)));
        }
        let said = environment(pairs.into_iter());
        some += u32::from(!said.is_empty());
        all += u32::from(!said.is_empty() && taken(said));
    }
    assert!(all > 100 && some > all + 200, "{all} of {some}");
}

#[test]
fn flags_that_nobody_gave_are_settings_or_refused() {
    let (mut all, mut refused) = (0, 0);
    for seed in 0..1000 {
        let mut luck = Luck::new(seed, Domain::Named("flags"));
        let mut words = vec!["test".to_owned()];
        for _ in 0..luck.range(1..3) {
            let (flag, value) = (luck.pick(SETTINGS).flag, text(&VALUES, &mut luck));
            if luck.coin() {
                words.push(format!("--{flag}={value}"));
            } else {
                words.extend([format!("--{flag}"), value]);
            }
        }
        let command = Flags::<false>::augment_args(Command::new("test"));
        let flags = command.try_get_matches_from(words);
        match flags.map(|matches| Flags::<false>::from_arg_matches(&matches).unwrap().resolve()) {
            Ok(Ok(settings)) => {
                shown_again(&settings);
                all += 1;
            }
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    assert!(all > 10 && refused > 100, "{all} taken, {refused} refused");
}
