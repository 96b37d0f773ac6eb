//! Bytes that nobody wrote, in what people keep in files: backups, users, secrets.
//!
//! A backup that was changed by chance is an error, or what it was; one whose checksums were made
//! right again is judged by its form alone, and what is read of it is in order. A line of a user is
//! taken only if judging a password costs no more than it may, and a secret only if it is long enough.
//!
//! Not here: the settings around them (`bin/src/config`), the journal's files (`journal`, `recovery`).

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    codec::crc,
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CLUSTER},
    runtime::Rng as _,
    types::{GroupId, Stamp, Uuid, Version},
};
use trilith_net::{
    backup::format::{
        BLOCK_BYTES, BLOCK_HEAD_BYTES, Damage, Facts, Line, Manifest, Record, Scanner, Writer,
    },
    limits::{
        ARGON_KIB_MAX, ARGON_KIB_PASSES_MAX, ARGON_LANES_MAX, SECRET_BYTES_MAX, SECRET_BYTES_MIN,
        SECRETS_MAX,
    },
    peer::proof::Secrets,
    users::Kept,
};

use super::{Fed, damage, noise, texts::like};
use crate::luck::{Domain, Luck};

fn luck(seed: u64) -> Luck {
    Luck::new(seed, Domain::Named("fuzz"))
}

const BACKUP: Uuid = Uuid([0xba; 16]);

fn facts(group: u32) -> Facts {
    let (applied, stamp) = (Version(40), Stamp(1 << 20));
    Facts { backup: BACKUP, group: GroupId(group), groups: 2, applied, stamp }
}

/// Some records, their keys rising, with values of up to so many bytes.
fn records(long: usize, luck: &mut Luck) -> Vec<Record> {
    let count = luck.range(0..12);
    let record = |nth: u64| {
        let mut key = nth.to_be_bytes()[6..].to_vec();
        key.extend_from_slice(&noise(6, luck));
        let value = Bytes::from(vec![nth as u8; luck.index(long)]);
        let (version, expires_ms) = (Version(luck.next_u64()), luck.coin().then_some(nth));
        Record { key: key.into(), value, version, expires_ms }
    };
    (0..count).map(record).collect()
}

fn write(facts: Facts, records: &[Record]) -> Result<(Vec<u8>, Line), String> {
    let (mut writer, mut out) = (Writer::new(facts), BytesMut::new());
    for record in records {
        writer.push(record).map_err(|why| why.to_string())?;
        out.extend_from_slice(&writer.take());
    }
    let (rest, line) = writer.finish();
    out.extend_from_slice(&rest);
    Ok((out.to_vec(), line))
}

/// The longest that is asked for at once: a block that was almost full, and the largest record.
const ASKED_MOST: usize = BLOCK_BYTES + 32 + KEY_BYTES_MAX + VALUE_BYTES_MAX_CLUSTER;

/// What is read of a group's file until it ends or is damaged.
fn read(bytes: &[u8], line: Line) -> Result<(Vec<Record>, Option<Damage>), String> {
    let (bytes, mut scanner) = (Bytes::copy_from_slice(bytes), Scanner::new(line));
    let mut all = Vec::new();
    if let Err(why) = scanner.check_len(bytes.len() as u64) {
        return Ok((all, Some(why)));
    }
    while let Some((offset, len)) = scanner.wants() {
        if len > ASKED_MOST {
            return Err(format!("{len} bytes are asked for"));
        }
        let from = (offset as usize).min(bytes.len());
        let piece = bytes.slice(from..from.saturating_add(len).min(bytes.len()));
        match scanner.take(&piece) {
            Ok(records) => all.extend(records),
            Err(why) => return Ok((all, Some(why))),
        }
    }
    Ok((all, None))
}

/// Makes the checksums of blocks right again, as far as their lengths lead.
fn seal(bytes: &mut [u8], backup: Uuid, group: u32) {
    let (mut at, mut number) = (0, 0_u64);
    while at + BLOCK_HEAD_BYTES <= bytes.len() {
        let place = crc(crc(0, &backup.0), &group.to_le_bytes());
        let seed = crc(place, &number.to_le_bytes());
        let length = bytes[at + 4..].first_chunk::<4>().copied().map_or(0, u32::from_le_bytes);
        let body = at + BLOCK_HEAD_BYTES;
        let end = body.saturating_add(length as usize).min(bytes.len());
        let sum = crc(seed, &bytes[body..end]);
        bytes[at + 8..at + 12].copy_from_slice(&sum.to_le_bytes());
        let own = crc(seed, &bytes[at..at + 12]);
        bytes[at + 12..body].copy_from_slice(&own.to_le_bytes());
        (at, number) = (end, number + 1);
    }
}

/// A group's file, or a manifest, of a backup.
pub(super) fn backups(seed: u64) -> Fed {
    let mut luck = luck(seed);
    if luck.chance(1, 3) {
        return manifest(&mut luck);
    }
    // Now and then there is more than one block of them.
    let long = if luck.chance(1, 200) { BLOCK_BYTES / 4 } else { 60 };
    let written = records(long, &mut luck);
    let (whole, line) = write(facts(1), &written)?;
    let mut bytes = if luck.chance(1, 20) { noise(300, &mut luck) } else { whole.clone() };
    let is_forged = luck.coin();
    damage(&mut bytes, &mut luck);
    if is_forged {
        seal(&mut bytes, BACKUP, 1);
    }
    let (read, trouble) = read(&bytes, line)?;
    if !read.is_sorted_by(|one, other| one.key < other.key) {
        return Err(format!("keys do not rise in {read:?}"));
    }
    if trouble.is_none() && bytes != whole {
        return Err("another file is taken for what was written".to_owned());
    }
    if !is_forged && !written.starts_with(&read) {
        return Err(format!("{read:?} was never written"));
    }
    // What was written, before most of it may have been cut off, took memory here as well.
    Ok(bytes.len().max(whole.len()))
}

fn manifest(luck: &mut Luck) -> Fed {
    let mut lines = Vec::new();
    for group in [1, 2] {
        lines.push(write(facts(group), &records(60, luck))?.1);
    }
    let cluster = Uuid([0xcc; 16]);
    let manifest = Manifest { backup: BACKUP, cluster, began_ms: 1, ended_ms: 2, lines };
    let mut bytes = manifest.encode().to_vec();
    let is_forged = luck.coin();
    damage(&mut bytes, luck);
    if is_forged {
        seal(&mut bytes, Uuid::default(), 0);
    }
    match Manifest::decode(&bytes) {
        Ok(read) if !is_forged && read != manifest => Err(format!("{read:?} was never written")),
        Ok(read) if read.encode()[..] != bytes[..] => Err(format!("{read:?} does not read back")),
        Ok(_) | Err(_) => Ok(bytes.len()),
    }
}

const USERS: [&[u8]; 5] = [
    b"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    b"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    b"$argon2i$v=19$m=8,t=1,p=1$",
    b"$argon2id$v=16$m=65536,t=4,p=16$",
    b",t=4294967295,p=",
];

/// Lines of users: what is kept of their passwords.
pub(super) fn users(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let bytes = like(&USERS, &mut luck);
    let text = String::from_utf8_lossy(&bytes);
    match Kept::read(&text) {
        Ok(kept) => {
            let cost = kept.cost();
            let all = u64::from(cost.memory_kib) * u64::from(cost.passes);
            let is_dear = cost.memory_kib > ARGON_KIB_MAX || cost.lanes > ARGON_LANES_MAX;
            if is_dear || all > ARGON_KIB_PASSES_MAX {
                return Err(format!("{cost:?} is what a stranger can have taken"));
            }
            if Kept::read(&kept.to_string()).as_ref() != Ok(&kept) {
                return Err(format!("{kept} does not read back"));
            }
            Ok(bytes.len())
        }
        Err(_) => Ok(bytes.len()),
    }
}

const SECRETS: [&[u8]; 4] = [
    b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    b"correct horse battery staple and more\r\n",
    b"\n \t\n",
    b"hunter2\n",
];

/// The cluster's secrets, one a line.
pub(super) fn secrets(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut bytes = like(&SECRETS, &mut luck);
    if luck.chance(1, 20) {
        bytes.resize(bytes.len() + SECRET_BYTES_MAX, b'x');
    }
    let read = Secrets::read(&bytes);
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    let range = SECRET_BYTES_MIN..=SECRET_BYTES_MAX;
    let are_some = (1..=SECRETS_MAX).contains(&lines.len());
    let are_secrets = are_some && lines.iter().all(|line| range.contains(&line.len()));
    if read.is_ok() != are_secrets {
        return Err(format!("{} lines are taken as {read:?}", lines.len()));
    }
    Ok(bytes.len())
}
