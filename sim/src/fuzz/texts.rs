//! Text that is nearly right: what people and programs write, changed where it hurts.
//!
//! What `damage` does to any bytes, and two things that only text has: numbers that nobody would say
//! in the place of those that were said, and pieces of other texts of the kind, put anywhere.
//!
//! Not here: who reads them (`doors`, `keep`, `bin/src/config`).

use trilith_engine::runtime::Rng as _;

use super::{damage, noise};
use crate::luck::Luck;

/// Numbers at the edges of what anybody takes: of words, keys, values and requests, of 16 to 64 bits.
const NUMBERS: [&str; 30] = [
    "0",
    "-0",
    "00",
    "-1",
    "+1",
    "1",
    "7",
    "64",
    "255",
    "1024",
    "1025",
    "65535",
    "65536",
    "65599",
    "1048576",
    "1048577",
    "8388608",
    "8388609",
    "12582912",
    "33554432",
    "33554433",
    "536870912",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "99999999999999999999999999999999999",
];

/// Something like these: one to three of them, mostly changed; sometimes noise.
pub fn like(samples: &[&[u8]], luck: &mut Luck) -> Vec<u8> {
    if luck.chance(1, 10) {
        return noise(300, luck);
    }
    let mut bytes = Vec::new();
    for _ in 0..luck.range(1..4) {
        bytes.extend_from_slice(luck.pick::<&[u8]>(samples));
    }
    if luck.chance(7, 8) {
        twist(&mut bytes, samples, luck);
    }
    bytes
}

/// Changes a text, up to four times.
pub fn twist(bytes: &mut Vec<u8>, others: &[&[u8]], luck: &mut Luck) {
    for _ in 0..luck.range(1..5) {
        match luck.range(0..4) {
            0 => damage(bytes, luck),
            1 | 2 => say_another_number(bytes, luck),
            _ => {
                let (at, piece) = (place(bytes, luck), piece(luck.pick::<&[u8]>(others), luck));
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// All of a text, or a part of it.
fn piece(text: &[u8], luck: &mut Luck) -> Vec<u8> {
    if luck.coin() {
        return text.to_vec();
    }
    let from = luck.index(text.len() + 1);
    text[from..from + luck.index(text.len() - from + 1)].to_vec()
}

/// Where a line begins, or anywhere.
fn place(bytes: &[u8], luck: &mut Luck) -> usize {
    let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
    if ends.is_empty() || luck.coin() {
        return luck.index(bytes.len() + 1);
    }
    *luck.pick(&ends) + 1
}

/// Puts another number in the place of one.
fn say_another_number(bytes: &mut Vec<u8>, luck: &mut Luck) {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let begins = |at: &usize| is_digit(*at) && (*at == 0 || !is_digit(*at - 1));
    let places: Vec<usize> = (0..bytes.len()).filter(begins).collect();
    if places.is_empty() {
        return;
    }
    let from = *luck.pick(&places);
    let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(from..from + length, luck.pick(&NUMBERS).bytes());
}

/// The same bytes as a connection may bring them.
pub fn pieces<'a>(bytes: &'a [u8], luck: &mut Luck) -> Vec<&'a [u8]> {
    let (most, mut pieces, mut rest) = (*luck.pick(&[1, 2, 5, 30, 400]), Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(1 + luck.index(most)));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::luck::Domain;

    /// Most of it is neither what was written nor far from it.
    #[test]
    fn texts_are_changed_and_still_look_like_texts() {
        let samples: [&[u8]; 2] = [b"SET a 100\n", b"GET key\n"];
        let (mut whole, mut numbers, mut others) = (0, 0, 0);
        for seed in 0..2000 {
            let mut luck = Luck::new(seed, Domain::Named("texts"));
            let bytes = like(&samples, &mut luck);
            let has = |piece: &[u8]| bytes.windows(piece.len()).any(|window| window == piece);
            whole += u32::from(bytes == samples[0] || bytes == samples[1]);
            numbers += u32::from(has(b"536870912"));
            others += u32::from(has(b"SET") || has(b"GET") || has(b"key"));
            let brought = pieces(&bytes, &mut luck);
            assert_eq!(brought.concat(), bytes);
            assert!(brought.iter().all(|piece| !piece.is_empty()));
        }
        assert!((20..400).contains(&whole), "{whole}");
        assert!(numbers > 5 && others > 1000, "{numbers} {others}");
    }
}
