//! Fuzzing: bytes that nobody wrote, for everything that reads bytes.
//!
//! Three kinds of input: noise; what the code itself writes with a few bytes changed, cut or
//! doubled, which gets past the first look; and what it writes with a number changed and every
//! checksum made right again, which gets past all of them. A target must answer something; it may
//! not panic, and it may not take memory that the input does not pay for: it tells how long its
//! input was, and the program, which counts what is allocated, compares ([`memory_for`]).
//!
//! A seed is an input: a failure is replayed by its number.
//!
//! What comes to a port is read twice, at once and in pieces, and must be the same; what was
//! understood is written and must be read as the same.
//!
//! Not here: coverage guidance. Inputs are made from our own formats instead. Settings, which are read
//! by the program that ships (`bin/src/config`).

mod doors;
mod forge;
mod journal;
mod keep;
mod recovery;
pub mod texts;
mod wire;

use trilith_engine::runtime::Rng;

use crate::{
    history::{Answer, Call, History},
    luck::{Domain, Luck},
    subject::toy_wire::{Entry, Message, Told},
};

/// How many bytes an input had; or what should not have happened.
pub type Fed = Result<usize, String>;

/// Something that reads bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// How many times more than the cheapest one input costs.
    pub cost: u64,
    /// Feeds it the input of that number.
    pub feed: fn(u64) -> Fed,
}

/// All targets.
#[must_use]
pub const fn targets() -> &'static [Target] {
    &[
        Target { name: "toy_wire", cost: 1, feed: toy_wire },
        Target { name: "history_text", cost: 4, feed: history_text },
        Target { name: "identities", cost: 1, feed: journal::identities },
        Target { name: "frames", cost: 1, feed: journal::frames },
        Target { name: "records", cost: 1, feed: journal::pieces },
        Target { name: "footers", cost: 1, feed: journal::footers },
        Target { name: "edits", cost: 1, feed: journal::edits },
        Target { name: "first_log", cost: 1, feed: journal::first_log },
        Target { name: "resp", cost: 2, feed: doors::resp },
        Target { name: "resp_answers", cost: 2, feed: doors::answers },
        Target { name: "http", cost: 2, feed: doors::http },
        Target { name: "http_questions", cost: 2, feed: doors::questions },
        Target { name: "http_batches", cost: 2, feed: doors::batches },
        Target { name: "text", cost: 2, feed: doors::typed },
        Target { name: "peer_frames", cost: 1, feed: wire::frames },
        Target { name: "peer_packets", cost: 1, feed: wire::packets },
        Target { name: "peer_handshakes", cost: 1, feed: wire::handshakes },
        Target { name: "peer_calls", cost: 1, feed: wire::calls },
        Target { name: "backups", cost: 4, feed: keep::backups },
        Target { name: "users", cost: 1, feed: keep::users },
        Target { name: "secrets", cost: 1, feed: keep::secrets },
        Target { name: "recovery", cost: 10, feed: recovery::directory },
    ]
}

/// The most memory that an input of so many bytes may take, the simulated disk that it lies on
/// included. Far less than what one unchecked length of 32 bits would ask for.
#[must_use]
pub const fn memory_for(input_bytes: usize) -> usize {
    (1 << 20) + 16 * input_bytes
}

/// Changes, cuts, doubles: up to four times.
pub fn damage(bytes: &mut Vec<u8>, luck: &mut Luck) {
    for _ in 0..luck.range(1..5) {
        if bytes.is_empty() {
            bytes.push(luck.next_u64() as u8);
            continue;
        }
        let at = luck.range(0..bytes.len() as u64) as usize;
        match luck.range(0..6) {
            0 => bytes[at] ^= 1 << luck.range(0..8),
            1 => bytes[at] = luck.next_u64() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, luck.next_u64() as u8),
            4 => {
                let end = (at + luck.range(1..64) as usize).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + 8).min(bytes.len());
                let extreme =
                    [0, u64::MAX, u64::from(u32::MAX), 1 << 63][luck.range(0..4) as usize];
                bytes[at..end].copy_from_slice(&extreme.to_le_bytes()[..end - at]);
            }
        }
    }
}

/// Noise of up to so many bytes.
pub fn noise(most: u64, luck: &mut Luck) -> Vec<u8> {
    let length = luck.range(0..most);
    (0..length).map(|_| luck.next_u64() as u8).collect()
}

fn toy_wire(seed: u64) -> Fed {
    let mut luck = Luck::new(seed, Domain::Named("fuzz"));
    let bytes = if luck.chance(1, 4) {
        noise(200, &mut luck)
    } else {
        let call = Call::Cas { from: Some(luck.next_u64()), to: luck.next_u64() };
        let entry = Entry { epoch: luck.next_u64(), client: 1, sequence: 2, id: 3, key: 4, call };
        let count = luck.range(0..5) as usize;
        let message = match luck.range(0..3) {
            0 => Message::Prepare {
                epoch: 1,
                from: 2,
                before: 3,
                commit: 4,
                entries: vec![entry; count],
            },
            1 => Message::Reply(luck.next_u64(), Told::Done(Answer::Value(Some(1)), 2)),
            _ => Message::Entries(vec![entry; count]),
        };
        let mut bytes = message.frame().split_off(8);
        damage(&mut bytes, &mut luck);
        bytes
    };
    // Whatever it reads, it must be able to write, and read again as the same.
    match Message::parse(&bytes) {
        Some(message) if Message::parse(&message.frame()[8..]) != Some(message.clone()) => {
            Err(format!("{message:?} does not read back"))
        }
        _ => Ok(bytes.len()),
    }
}

fn history_text(seed: u64) -> Fed {
    let mut luck = Luck::new(seed, Domain::Named("fuzz"));
    let mut bytes =
        b"1 2 c0 k0 set 5 = done\n3 - c1 k0 cas 5>6 = unknown\n4 5 c2 k0 get = 6".to_vec();
    damage(&mut bytes, &mut luck);
    let text = String::from_utf8_lossy(&bytes);
    match text.parse::<History>() {
        Ok(history) => {
            let again: Result<History, _> = history.to_string().parse();
            let same = again.is_ok_and(|again| again.operations == history.operations);
            if same { Ok(bytes.len()) } else { Err(format!("{text:?} does not read back")) }
        }
        Err(_refused) => Ok(bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_every_target() {
        for target in targets() {
            for seed in 0..2000 / target.cost {
                let fed = (target.feed)(seed);
                assert!(fed.is_ok(), "{} 0x{seed:x}: {fed:?}", target.name);
            }
        }
    }
}
