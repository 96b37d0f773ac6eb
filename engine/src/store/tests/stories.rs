//! What is promised, each by a short history.

use super::world::{World, number, session, text};
use crate::{
    command::{
        Body, Check, Command, Condition, Expiry, Failure, Found, Old, Only, Outcome, Refusal,
        Reply, Transaction, Write,
    },
    limits::{
        SESSION_AHEAD_MS_MAX, SESSION_IDLE_MS, SESSION_OLD_BYTES_MAX, SESSION_QUIET_MS,
        SESSION_REPLIES_MAX, SESSIONS_MAX, VALUE_BYTES_MAX_CLUSTER,
    },
    types::{Stamp, Version},
};
use bytes::Bytes;
use std::{string::ToString, vec, vec::Vec};

/// All stories, for those who plant bugs.
#[cfg(feature = "mutants")]
pub const STORIES: &[(&str, fn())] = &[
    ("a repetition", a_repetition_is_answered_and_not_executed),
    ("replies of requests", every_repetition_hears_its_own_reply),
    ("the window", below_the_floor_nobody_knows),
    ("a full window", a_full_window_forgets_the_lowest),
    ("idle clients", a_forgotten_client_is_not_taken_for_a_new_one),
    ("a full table", a_busy_client_is_not_forgotten_for_a_new_one),
    ("a closed session", who_has_closed_never_comes_again),
    ("the future", who_comes_from_the_future_is_refused),
    ("time", what_has_expired_is_not_there_for_any_command),
    ("a slow leader", time_never_falls),
    ("conditions", conditions_are_judged_by_what_is_there),
    ("expiries", an_expiry_is_changed_when_its_condition_holds),
    ("transactions", a_transaction_is_done_wholly_or_not_at_all),
    ("old values", an_old_value_is_told_and_a_long_one_not_kept),
    ("failures", what_cannot_be_computed_fails_for_certain),
    ("heavy replies", replies_that_weigh_too_much_are_refused_in_time),
];

fn add(key: &str, by: i64) -> Command {
    Command::Increment { key: text(key), by }
}

fn set(key: &str, value: &str) -> Command {
    set_if(key, value, Condition::Always)
}

fn set_if(key: &str, value: &str, condition: Condition) -> Command {
    let (key, value) = (text(key), text(value));
    Command::Set { key, value, expiry: Expiry::None, condition, want_old: false }
}

fn set_until(key: &str, value: &str, expiry: Expiry) -> Command {
    let (key, value) = (text(key), text(value));
    Command::Set { key, value, expiry, condition: Condition::Always, want_old: false }
}

fn delete(key: &str, condition: Condition) -> Command {
    Command::Delete { key: text(key), condition, want_old: false }
}

fn done(version: u64) -> Outcome {
    Outcome::Ok(Reply::Done { version: Version(version), old: Old::NotAsked })
}

fn unmet(found: Option<u64>) -> Outcome {
    Outcome::Ok(Reply::Unmet { found: found.map(Version), old: Old::NotAsked })
}

fn failed(failure: Failure, write: u32) -> Outcome {
    Outcome::Ok(Reply::Failed { failure, write })
}

const FORGOTTEN: Outcome = Outcome::Refused(Refusal::Forgotten);
const FULL: Outcome = Outcome::Refused(Refusal::SessionsFull);

#[cfg_attr(test, test)]
fn a_repetition_is_answered_and_not_executed() {
    let mut world = World::default();
    assert_eq!(world.at(1000, session(7, 1, 1, 1000), add("n", 5)), number(5, 1));
    assert_eq!(world.at(1000, session(7, 1, 1, 1000), add("n", 5)), number(5, 1));
    world.restart();
    assert_eq!(world.at(2000, session(7, 1, 1, 1000), add("n", 5)), number(5, 1));
    assert_eq!(world.get("n"), Some(b"5".as_slice()));
    assert_eq!(world.at(2000, session(7, 2, 2, 2000), add("n", 5)), number(10, 4));
    assert_eq!(world.run(2000, add("n", 5)), number(15, 5), "nobody is told nothing twice");
    assert_eq!(world.run(2000, add("n", 5)), number(20, 6));
}

#[cfg_attr(test, test)]
fn every_repetition_hears_its_own_reply() {
    let mut world = World::default();
    for sequence in [3, 1, 4, 9, 2] {
        let reply = world.at(1000, session(7, sequence, 1, 1000), add("n", 1));
        assert!(matches!(reply, Outcome::Ok(Reply::Number { .. })), "in any order, with gaps");
    }
    let again = [(3, 1), (1, 2), (4, 3), (9, 4), (2, 5)];
    for (sequence, told) in again {
        let reply = world.at(1000, session(7, sequence, 1, 1000), add("n", 1));
        assert_eq!(reply, number(told, told.cast_unsigned()));
    }
    let other = world.at(1000, session(8, 1, 1, 1000), add("n", 1));
    assert_eq!(other, number(6, 11), "another client has numbers of its own");
    // Whoever asks again for something else under the same number hears of the first.
    assert_eq!(world.at(1000, session(8, 1, 1, 1000), set("n", "0")), number(6, 11));
}

#[cfg_attr(test, test)]
fn below_the_floor_nobody_knows() {
    let mut world = World::default();
    world.at(1000, session(7, 1, 1, 1000), add("n", 1));
    world.at(1000, session(7, 5, 4, 1000), add("n", 1));
    assert_eq!(world.at(1000, session(7, 1, 1, 1000), add("n", 1)), Outcome::Unknown);
    assert_eq!(world.at(1000, session(7, 3, 1, 1000), add("n", 1)), Outcome::Unknown);
    world.restart();
    assert_eq!(world.at(1000, session(7, 3, 1, 1000), add("n", 1)), Outcome::Unknown);
    assert_eq!(world.at(1000, session(7, 4, 4, 1000), add("n", 1)), number(3, 6));
    assert_eq!(world.get("n"), Some(b"3".as_slice()));
}

#[cfg_attr(test, test)]
fn a_full_window_forgets_the_lowest() {
    let mut world = World::default();
    let count = SESSION_REPLIES_MAX as u64;
    for sequence in 1..=count {
        world.at(1000, session(7, sequence * 2, 1, 1000), add("n", 1));
    }
    assert_eq!(world.at(1000, session(7, 2, 1, 1000), add("n", 1)), number(1, 1));
    world.at(1000, session(7, count * 2 + 2, 1, 1000), add("n", 1));
    assert_eq!(world.at(1000, session(7, 2, 1, 1000), add("n", 1)), Outcome::Unknown);
    assert_eq!(world.at(1000, session(7, 3, 1, 1000), add("n", 1)), Outcome::Unknown);
    assert_eq!(world.at(1000, session(7, 4, 1, 1000), add("n", 1)), number(2, 2));
}

#[cfg_attr(test, test)]
fn a_forgotten_client_is_not_taken_for_a_new_one() {
    let mut world = World::default();
    assert_eq!(world.at(1000, session(7, 1, 1, 900), add("n", 1)), number(1, 1));
    let later = 2000 + SESSION_IDLE_MS;
    world.apply_body(Stamp::at_ms(later), &Body::Noop);
    assert_eq!(world.state.sessions(), 0, "an hour is long");
    world.restart();
    // The repetition was first sent before the client was forgotten, whenever it arrives.
    assert_eq!(world.at(later, session(7, 1, 1, 900), add("n", 1)), FORGOTTEN);
    // What is new was first sent afterwards, and that cannot have been executed.
    assert_eq!(world.at(later, session(7, 2, 1, later), add("n", 1)), number(2, 4));
    assert_eq!(world.at(later, session(7, 1, 1, 900), add("n", 1)), FORGOTTEN);
    assert_eq!(world.get("n"), Some(b"2".as_slice()));
}

#[cfg_attr(test, test)]
fn a_busy_client_is_not_forgotten_for_a_new_one() {
    let mut world = World::default();
    for client in 1..=SESSIONS_MAX as u64 {
        world.at(1000, session(client, 1, 1, 1000), add("n", 1));
    }
    let late = 1000 + SESSION_QUIET_MS;
    let one_more = session(1 << 40, 1, 1, late - 1);
    assert_eq!(world.at(late - 1, one_more, add("n", 1)), FULL);
    let all = SESSIONS_MAX as i64;
    assert_eq!(world.get("n"), Some(all.to_string().as_bytes()), "refused, and nothing happened");
    let (heard, silent) = (session(1, 1, 1, 1000), session(2, 1, 1, 1000));
    assert_eq!(world.at(late, heard, add("n", 1)), number(1, 1));
    let outcome = world.at(late, one_more, add("n", 1));
    assert!(matches!(outcome, Outcome::Ok(Reply::Number { .. })), "a quiet one makes room");
    assert_eq!(world.at(late, heard, add("n", 1)), number(1, 1), "not one that was heard of");
    assert_eq!(world.at(late, silent, add("n", 1)), FORGOTTEN);
}

#[cfg_attr(test, test)]
fn who_has_closed_never_comes_again() {
    let mut world = World::default();
    world.at(1000, session(7, 1, 1, 1000), add("n", 1));
    assert_eq!(world.at(1000, session(7, 2, 2, 1000), Command::CloseSession), done(2));
    for sequence in [1, 2, 3, 1 << 40] {
        let late = world.at(1000, session(7, sequence, 1, 1000), add("n", 1));
        assert_eq!(late, Outcome::Unknown);
    }
    assert_eq!(world.get("n"), Some(b"1".as_slice()));
}

#[cfg_attr(test, test)]
fn who_comes_from_the_future_is_refused() {
    let mut world = World::default();
    let ahead = 1000 + SESSION_AHEAD_MS_MAX;
    let refused = Outcome::Refused(Refusal::FromTheFuture);
    assert_eq!(world.at(1000, session(7, 1, 1, ahead + 1), add("n", 1)), refused);
    assert_eq!(world.state.sessions(), 0);
    assert_eq!(world.at(1001, session(7, 1, 1, ahead + 1), add("n", 1)), number(1, 2));
}

#[cfg_attr(test, test)]
fn what_has_expired_is_not_there_for_any_command() {
    let mut world = World::default();
    world.run(1000, set_until("n", "41", Expiry::After(500)));
    assert_eq!(world.run(1499, add("n", 1)), number(42, 2), "an increment keeps the expiry");
    assert_eq!(world.run(1500, add("n", 1)), number(1, 3), "and begins anew after it");
    assert_eq!(world.run(9000, add("n", 1)), number(2, 4), "without one");
    world.run(9000, set_until("k", "v", Expiry::At(9100)));
    assert_eq!(world.run(9100, set_if("k", "w", Condition::Present)), unmet(None));
    assert_eq!(world.run(9100, delete("k", Condition::Always)), unmet(None));
    assert_eq!(world.run(9100, set_if("k", "w", Condition::Absent)), done(8));
    world.run(9100, set_until("k", "v", Expiry::After(100)));
    assert_eq!(world.run(9150, set_until("k", "w", Expiry::Keep)), done(10));
    let length = Reply::Length { bytes: 2, version: Version(11) };
    let append = Command::Append { key: text("k"), value: text("x") };
    assert_eq!(world.run(9199, append), Outcome::Ok(length));
    assert_eq!(world.get("k"), Some(b"wx".as_slice()));
    world.run(9200, Command::Clock);
    assert_eq!(world.get("k"), None, "both kept the expiry");
}

#[cfg_attr(test, test)]
fn time_never_falls() {
    let mut world = World::default();
    world.run(1000, set_until("k", "v", Expiry::At(2000)));
    world.run(2000, Command::Clock);
    assert_eq!(world.run(1500, set_if("k", "w", Condition::Absent)), done(3));
    assert_eq!(world.state.stamp(), Stamp::at_ms(2000));
}

#[cfg_attr(test, test)]
fn conditions_are_judged_by_what_is_there() {
    let mut world = World::default();
    let version = |version| Condition::Version(Version(version));
    assert_eq!(world.run(1, set_if("k", "0", Condition::Present)), unmet(None));
    assert_eq!(world.run(1, set_if("k", "0", version(1))), unmet(None));
    assert_eq!(world.run(1, set_if("k", "1", Condition::Absent)), done(3));
    assert_eq!(world.run(1, set_if("k", "2", Condition::Absent)), unmet(Some(3)));
    assert_eq!(world.run(1, set_if("k", "3", Condition::Present)), done(5));
    assert_eq!(world.run(1, set_if("k", "4", version(3))), unmet(Some(5)));
    assert_eq!(world.run(1, set_if("k", "5", version(6))), unmet(Some(5)));
    assert_eq!(world.run(1, set_if("k", "6", version(5))), done(8));
    assert_eq!(world.run(1, delete("k", version(5))), unmet(Some(8)));
    assert_eq!(world.run(1, delete("k", Condition::Absent)), unmet(Some(8)));
    assert_eq!(world.get("k"), Some(b"6".as_slice()));
    assert_eq!(world.run(1, delete("k", version(8))), done(11));
    assert_eq!(world.run(1, delete("k", Condition::Always)), unmet(None));
}

#[cfg_attr(test, test)]
fn an_expiry_is_changed_when_its_condition_holds() {
    let mut world = World::default();
    let expire = |expiry, only| Command::Expire { key: text("k"), expiry, only };
    assert_eq!(world.run(1, expire(Expiry::At(50), Only::Always)), unmet(None));
    world.run(1, set("k", "v"));
    assert_eq!(world.run(1, expire(Expiry::At(50), Only::With)), unmet(Some(2)));
    assert_eq!(world.run(1, expire(Expiry::At(50), Only::Later)), unmet(Some(2)));
    assert_eq!(world.run(1, expire(Expiry::None, Only::Always)), unmet(Some(2)));
    assert_eq!(world.run(1, expire(Expiry::At(50), Only::Earlier)), done(6));
    assert_eq!(world.run(1, expire(Expiry::At(60), Only::Without)), unmet(Some(6)));
    assert_eq!(world.run(1, expire(Expiry::At(50), Only::Later)), unmet(Some(6)));
    assert_eq!(world.run(1, expire(Expiry::After(59), Only::Later)), done(9));
    assert_eq!(world.run(59, expire(Expiry::Keep, Only::Always)), unmet(Some(9)));
    assert_eq!(world.run(59, expire(Expiry::None, Only::With)), done(11));
    assert_eq!(world.run(99, expire(Expiry::At(98), Only::Always)), done(12), "that deletes it");
    assert!(world.values.is_empty());
}

#[cfg_attr(test, test)]
fn a_transaction_is_done_wholly_or_not_at_all() {
    let mut world = World::default();
    let run = |world: &mut World, checks: &[(&str, Option<u64>)], writes: &[Write]| {
        let check = |(key, version): &(&str, Option<u64>)| Check {
            key: text(key),
            version: version.map(Version),
        };
        let checks = checks.iter().map(check).collect();
        let transaction = Transaction::new(checks, writes.to_vec()).unwrap();
        world.run(100, Command::Transaction(transaction))
    };
    let put =
        |key: &str, value: &str, expiry| Write::Set { key: text(key), value: text(value), expiry };
    let sum = |key: &str, by| Write::Increment { key: text(key), by };
    let gone = |key: &str| Write::Delete { key: text(key) };
    let committed = |version, numbers: &[i64]| {
        Outcome::Ok(Reply::Committed { version: Version(version), numbers: numbers.to_vec() })
    };
    let first =
        [put("a", "x", Expiry::After(50)), sum("n", 3), gone("z"), put("b", "7", Expiry::None)];
    assert_eq!(run(&mut world, &[("a", None)], &first), committed(1, &[3]));
    let conflict = Reply::Conflict { check: 1, found: Some(Version(1)) };
    let late = run(&mut world, &[("n", Some(1)), ("b", None)], &[gone("n"), gone("b")]);
    assert_eq!(late, Outcome::Ok(conflict));
    // The second increment fails: nothing of the first, nor of the sets.
    let fails = [put("b", "8", Expiry::None), sum("n", 1), sum("a", 1)];
    assert_eq!(run(&mut world, &[], &fails), failed(Failure::NotAnInteger, 2));
    assert_eq!(world.get("b"), Some(b"7".as_slice()));
    assert_eq!(world.get("n"), Some(b"3".as_slice()));
    let last = [put("a", "y", Expiry::Keep), sum("b", -7), gone("n")];
    assert_eq!(run(&mut world, &[("b", Some(1))], &last), committed(4, &[0]));
    assert_eq!((world.get("a"), world.get("n")), (Some(b"y".as_slice()), None));
    world.run(150, Command::Clock);
    assert_eq!((world.get("a"), world.get("b")), (None, Some(b"0".as_slice())));
    assert_eq!(run(&mut world, &[("a", None)], &[]), committed(6, &[]), "only a question");
}

#[cfg_attr(test, test)]
fn an_old_value_is_told_and_a_long_one_not_kept() {
    let mut world = World::default();
    let get_set = |value: &[u8]| Command::Set {
        key: text("k"),
        value: Bytes::copy_from_slice(value),
        expiry: Expiry::None,
        condition: Condition::Always,
        want_old: true,
    };
    let long = vec![b'x'; SESSION_OLD_BYTES_MAX + 1];
    let told = |version, old| Outcome::Ok(Reply::Done { version: Version(version), old });
    let was = |version, value: &[u8]| {
        let value = Bytes::copy_from_slice(value);
        Old::Found(Found { version: Version(version), expires_ms: None, value })
    };
    assert_eq!(world.at(1, session(7, 1, 1, 1), get_set(b"1")), told(1, Old::Absent));
    assert_eq!(world.at(1, session(7, 2, 1, 1), get_set(&long)), told(2, was(1, b"1")));
    assert_eq!(world.at(1, session(7, 3, 1, 1), get_set(b"3")), told(3, was(2, &long)));
    assert_eq!(world.at(1, session(7, 2, 1, 1), get_set(&long)), told(2, was(1, b"1")));
    assert_eq!(world.at(1, session(7, 3, 1, 1), get_set(b"3")), told(3, Old::NotKept));
}

#[cfg_attr(test, test)]
fn what_cannot_be_computed_fails_for_certain() {
    let mut world = World::default();
    for value in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "0x1"] {
        world.run(1, set("k", value));
        assert_eq!(world.run(1, add("k", 1)), failed(Failure::NotAnInteger, 0), "{value:?}");
    }
    for (sequence, value, by) in [(1, i64::MAX, 1), (2, i64::MIN, -1)] {
        world.run(1, set("k", &value.to_string()));
        let client = session(7, sequence, 1, 1);
        assert_eq!(world.at(1, client, add("k", by)), failed(Failure::Overflow, 0));
        world.run(1, set("k", "0"));
        let again = world.at(1, client, add("k", by));
        assert_eq!(again, failed(Failure::Overflow, 0), "kept like any reply");
    }
    let value = Bytes::from(vec![b'x'; VALUE_BYTES_MAX_CLUSTER]);
    world.run(1, Command::Append { key: text("long"), value });
    let more = Command::Append { key: text("long"), value: text("x") };
    assert_eq!(world.run(1, more), failed(Failure::TooLong, 0));
}

#[cfg_attr(test, test)]
fn replies_that_weigh_too_much_are_refused_in_time() {
    let mut world = World::default();
    let value = Bytes::from(vec![b'x'; SESSION_OLD_BYTES_MAX]);
    let get_set = || Command::Set {
        key: text("k"),
        value: value.clone(),
        expiry: Expiry::None,
        condition: Condition::Always,
        want_old: true,
    };
    let outcomes: Vec<Outcome> = (0..10_000)
        .map(|at| world.at(1, session(1 + at / 1000, 1 + at, 1, 1), get_set()))
        .collect();
    let first = outcomes.iter().position(|outcome| *outcome == FULL).expect("there is a bound");
    assert!((7000..8000).contains(&first), "8 MiB of them: {first}");
    let next = session(1, 2000, 1, 1 + SESSION_QUIET_MS);
    let outcome = world.at(1 + SESSION_QUIET_MS, next, get_set());
    assert!(matches!(outcome, Outcome::Ok(_)), "the quiet ones make room");
}
