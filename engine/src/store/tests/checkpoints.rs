//! The bytes of a state, and the digest by which replicas compare.

use super::world::{World, session, text};
use crate::{
    command::{Command, Condition, Expiry},
    journal::format::FormatError,
    store::State,
};
use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::Index as At};
use std::{format, string::String, vec::Vec};

fn bytes_of(state: &State) -> Vec<u8> {
    let mut out = BytesMut::new();
    state.encode(&mut out);
    out.to_vec()
}

fn add(key: &str, by: i64) -> Command {
    Command::Increment { key: text(key), by }
}

/// A state with something of everything.
fn lived() -> World {
    let mut world = World::default();
    for sequence in 1..5 {
        world.at(1000, session(7, sequence, 2, 900), add("n", 1));
        let (key, value, condition) = (text("k"), text("v"), Condition::Absent);
        let set = Command::Set { key, value, expiry: Expiry::None, condition, want_old: true };
        world.at(1000, session(8, sequence, 1, 900), set);
    }
    world
}

#[test]
fn a_state_has_these_bytes() {
    let mut world = World::default();
    world.at(1000, session(7, 3, 2, 900), add("n", 5));
    let expect = "01 0100000000000000 0100000000000000 0000e80300000000 DIGEST \
                  0000000000000000 01000000 \
                  0700000000000000 0200000000000000 0000e80300000000 0000000000000000 01000000 \
                  0300000000000000 03 0500000000000000 0100000000000000";
    let digest: String =
        world.state.digest().to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let expect = expect.replace("DIGEST", &digest).replace(' ', "");
    let bytes = bytes_of(&world.state);
    assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expect);
    assert_eq!(State::decode(&bytes), Ok(world.state));
}

#[test]
fn a_state_of_another_version_is_not_read() {
    let mut bytes = bytes_of(&lived().state);
    bytes[0] = 2;
    assert_eq!(State::decode(&bytes), Err(FormatError::Newer { found: 2 }));
}

#[test]
fn replicas_that_decide_differently_have_another_digest() {
    let history = |first: i64| {
        let mut world = World::default();
        world.run(1000, add("n", first));
        let digest = world.state.digest();
        // The same entries from here on.
        world.run(1000, add("n", 1));
        (digest, world.state.digest())
    };
    let (one, other) = (history(1), history(2));
    assert!(one.0 != other.0 && one.1 != other.1);
    // One of them has lost a value: the same entry is decided differently.
    let (mut whole, mut lossy) = (lived(), lived());
    lossy.values.clear();
    assert_eq!(whole.state, lossy.state);
    let set = |world: &mut World| {
        let (key, value, condition) = (text("k"), text("w"), Condition::Absent);
        let set = Command::Set { key, value, expiry: Expiry::None, condition, want_old: false };
        world.run(1000, set);
        world.state.digest()
    };
    assert_ne!(set(&mut whole), set(&mut lossy));
}

proptest! {
    #[test]
    fn what_is_read_as_a_state_has_these_bytes(
        changes in vec((any::<At>(), 0..16_u8), 1..3), cut in any::<At>(),
        noise in vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = bytes_of(&lived().state);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())], &noise] {
            if let Ok(state) = State::decode(bytes) {
                prop_assert_eq!(bytes_of(&state), bytes);
            }
        }
    }
}
