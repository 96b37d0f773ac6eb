//! What is promised, each by a short history.

use super::world::{World, session, text};
use crate::{
    command::{Command, Condition, Expiry, Outcome, Reply},
    types::Version,
};

fn add(key: &str, by: i64) -> Command {
    Command::Increment { key: text(key), by }
}

fn number(number: i64, version: u64) -> Outcome {
    Outcome::Ok(Reply::Number { number, version: Version(version) })
}

#[test]
fn a_repetition_is_answered_and_not_executed() {
    let mut world = World::default();
    assert_eq!(world.at(1000, session(7, 1, 1, 1000), add("n", 5)), number(5, 1));
    assert_eq!(world.at(1000, session(7, 1, 1, 1000), add("n", 5)), number(5, 1));
    world.restart();
    assert_eq!(world.at(2000, session(7, 1, 1, 1000), add("n", 5)), number(5, 1));
    assert_eq!(world.get("n"), Some(b"5".as_slice()));
    assert_eq!(world.at(2000, session(7, 2, 2, 2000), add("n", 5)), number(10, 4));
}

#[test]
fn what_has_expired_is_not_there_for_any_command() {
    let mut world = World::default();
    let (expiry, condition) = (Expiry::After(500), Condition::Always);
    let (key, value) = (text("n"), text("41"));
    world.run(1000, Command::Set { key, value, expiry, condition, want_old: false });
    assert_eq!(world.run(1499, add("n", 1)), number(42, 2), "an increment keeps the expiry");
    assert_eq!(world.run(1500, add("n", 1)), number(1, 3), "and begins anew after it");
    assert_eq!(world.run(9000, add("n", 1)), number(2, 4), "without one");
}
