//! Acts for which the engine has an operation that means the same: asked once, answered at once.
//!
//! Everything else is read, done on a scratch and written as a transaction (`scratch.rs`), which
//! costs two rounds and may have to begin again. What commands are mostly used for is here.
//!
//! Not here: who asks (`front.rs`).

use bytes::Bytes;
use std::borrow::Cow;
use trilith_engine::command::{
    Command, Condition, Expiry, Failure, Found, Old, Only, Op, Refusal, Reply, Transaction, Write,
};

use super::{
    act::{Act, Answers, Set, When},
    scratch::{Late, NO_INTEGER, OVERFLOW, Said, Scratch, TOO_LONG},
};
use crate::limits::RESP_READ_BYTES_MAX;

/// What an act asks that is a read; its keys are of one group.
pub(super) fn reading(act: &Act) -> Op {
    let mut keys: Vec<Bytes> = act.keys().into_iter().cloned().collect();
    match act {
        act if !act.looks_into_values() => Op::Look(keys),
        _ if keys.len() == 1 => Op::Get(keys.remove(0)),
        _ => Op::GetMany(keys),
    }
}

/// What does a SET.
pub(super) fn set(Set { key, value, expiry, present, answers }: &Set) -> Command {
    Command::Set {
        key: key.clone(),
        value: value.clone(),
        expiry: *expiry,
        condition: match present {
            None => Condition::Always,
            Some(true) => Condition::Present,
            Some(false) => Condition::Absent,
        },
        want_old: *answers == Answers::Old,
    }
}

/// The operation that does it, if there is one; its keys are of one group.
pub(super) fn operation(act: &Act) -> Option<Op> {
    let command = match act {
        act if act.is_read() => return Some(reading(act)),
        Act::Set(known) => set(known),
        Act::Add(key, by) => Command::Increment { key: key.clone(), by: *by },
        Act::Append(key, value) => Command::Append { key: key.clone(), value: value.clone() },
        Act::GetDel(key) => {
            Command::Delete { key: key.clone(), condition: Condition::Always, want_old: true }
        }
        Act::Del(keys) => match &keys[..] {
            [key] => {
                Command::Delete { key: key.clone(), condition: Condition::Always, want_old: false }
            }
            _ => return None,
        },
        // A time that has passed for everybody. A full disk takes a deletion.
        Act::Expire(key, Expiry::At(1), When { only: Only::Always, must_have: false }) => {
            Command::Delete { key: key.clone(), condition: Condition::Always, want_old: false }
        }
        Act::Expire(key, expiry, When { only, must_have: false }) => {
            Command::Expire { key: key.clone(), expiry: *expiry, only: *only }
        }
        Act::Persist(key) => {
            Command::Expire { key: key.clone(), expiry: Expiry::None, only: Only::With }
        }
        Act::MSet(pairs) => {
            let set = |(key, value): &(Bytes, Bytes)| Write::Set {
                key: key.clone(),
                value: value.clone(),
                expiry: Expiry::None,
            };
            // One that is too large is refused where it is asked.
            let writes = pairs.iter().map(set).collect();
            Command::Transaction(Transaction::new(Vec::new(), writes).ok()?)
        }
        _ => return None,
    };
    Some(Op::Write(command))
}

/// What the answer to its operation says.
pub(super) fn render(act: &Act, reply: Reply, late: Late) -> Said {
    match (act, reply) {
        (Act::Get(_), Reply::Value(found)) => found.map_or(Said::Nothing, bulk),
        (act, Reply::Value(found)) => {
            let mut scratch = Scratch::new(late);
            act.keys()
                .into_iter()
                .take(1)
                .for_each(|key| scratch.learn(key.clone(), found.clone()));
            scratch.perform(act)
        }
        (Act::MGet(_), Reply::Values(found)) => {
            let one = |found: Option<Found>| found.map_or(Said::Nothing, bulk);
            Said::Many(found.into_iter().map(one).collect())
        }
        (act, Reply::Values(found)) => {
            let mut scratch = Scratch::new(late);
            act.keys()
                .into_iter()
                .zip(found)
                .for_each(|(key, one)| scratch.learn(key.clone(), one));
            scratch.perform(act)
        }
        (Act::Set(set), Reply::Done { old, .. }) => set_said(set.answers, true, old),
        (Act::Set(set), Reply::Unmet { old, .. }) => set_said(set.answers, false, old),
        (Act::GetDel(_), Reply::Done { old, .. } | Reply::Unmet { old, .. }) => old_said(old),
        (_, Reply::Done { .. }) => Said::Number(1),
        (_, Reply::Unmet { .. }) => Said::Number(0),
        (_, Reply::Number { number, .. }) => Said::Number(number),
        (_, Reply::Length { bytes, .. }) => Said::Number(bytes as i64),
        (_, Reply::Committed { .. }) => Said::Ok,
        (_, Reply::Failed { failure, .. }) => failed(failure),
        (
            _,
            Reply::Conflict { .. }
            | Reply::Page { .. }
            | Reply::Count(_)
            | Reply::Cut(_)
            | Reply::Replacing(_),
        ) => STRANGE,
    }
}

fn bulk(found: Found) -> Said {
    Said::Bulk(found.value)
}

fn set_said(answers: Answers, is_done: bool, old: Old) -> Said {
    match answers {
        Answers::Old => old_said(old),
        Answers::Flag => Said::Number(is_done.into()),
        Answers::Ok if is_done => Said::Ok,
        Answers::Ok => Said::Nothing,
    }
}

fn old_said(old: Old) -> Said {
    match old {
        Old::Found(found) => bulk(found),
        Old::Absent | Old::NotAsked => Said::Nothing,
        Old::NotKept => Said::Error(Cow::Borrowed(
            "INDOUBT it was done; the answer was lost, and the old value is too long to be kept for \
             another one",
        )),
    }
}

/// Of an answer that no node should give.
pub(super) const STRANGE: Said =
    Said::Error(Cow::Borrowed("INDOUBT a node answered something else than was asked"));

/// Why a write could not be made of what is there.
pub(super) const fn failed(failure: Failure) -> Said {
    match failure {
        Failure::NotAnInteger => NO_INTEGER,
        Failure::Overflow => OVERFLOW,
        Failure::TooLong => TOO_LONG,
    }
}

/// Why a part of an act would be refused whatever is there, if so.
pub(super) fn refusal(part: &Act) -> Option<Refusal> {
    let op = match part {
        Act::MSet(_) => {
            let mut scratch = Scratch::new(Late { stamp_ms: 0, clock_ms: 0 });
            let written = scratch.perform_all(std::slice::from_ref(part));
            match written.and_then(|_said| scratch.transaction()) {
                Ok(transaction) => Op::Write(Command::Transaction(transaction?)),
                Err(refusal) => return Some(refusal),
            }
        }
        other => Op::Look(other.keys().into_iter().cloned().collect()),
    };
    op.check().err()
}

/// More was to be read than may be held: for one answer, or to be written again.
pub(super) fn too_much_read(is_answer: bool) -> Said {
    if !is_answer {
        return refused(Refusal::TooLarge);
    }
    const MIB: usize = RESP_READ_BYTES_MAX >> 20;
    Said::Error(Cow::Owned(format!(
        "ERR an answer has at most {MIB} MiB of values: ask for fewer keys at once"
    )))
}

/// Why nothing happened.
pub(super) fn refused(refusal: Refusal) -> Said {
    let text = match refusal {
        Refusal::ValueTooLong => return TOO_LONG,
        Refusal::KeyTooLong => "ERR a key has at most 65535 bytes",
        Refusal::TooLarge => {
            "ERR too much at once: a transaction has at most 1024 keys and 9 MiB; nothing happened"
        }
        Refusal::ManyGroups => CROSSSLOT,
        Refusal::Level => "CONSISTENCY a write is always strong; nothing happened",
        Refusal::TooStale => "STALEREAD no replica that is new enough answered in time",
        Refusal::Overloaded | Refusal::SessionsFull => {
            "UNAVAILABLE too much is under way; nothing happened: try again"
        }
        Refusal::Malformed | Refusal::KeyTwice => {
            "ERR the node did not understand what it was asked; nothing happened: report it"
        }
        // The word of Redis for a server that is full: programs know it.
        Refusal::DiskFull => {
            "OOM the leader's disk is full; nothing happened: delete keys, or make room"
        }
        Refusal::FromTheFuture => {
            "UNAVAILABLE this node's clock is far ahead of the group's; nothing happened: set the \
             clocks right"
        }
        Refusal::Damaged => {
            "UNAVAILABLE a replica has stopped because it is damaged, and no other one led in time; \
             nothing happened: see its node's log"
        }
        Refusal::Stopping => {
            "UNAVAILABLE the node that was asked is going down; nothing happened: try again"
        }
        Refusal::NoGroup
        | Refusal::NotLeader(_)
        | Refusal::TooLate
        | Refusal::NoCut
        | Refusal::Forgotten => {
            "UNAVAILABLE no majority answered in time; nothing happened: try again"
        }
    };
    Said::Error(Cow::Borrowed(text))
}

/// Of keys that do not lie together.
pub(super) const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// What nobody knows.
pub(super) const fn unknown() -> Said {
    Said::Error(Cow::Borrowed("INDOUBT it may have happened: no answer came in time"))
}

/// Of what was done in one group and not in another one.
pub(super) fn partly(why: &str) -> Said {
    let why = why.strip_prefix("INDOUBT ").unwrap_or(why);
    Said::Error(Cow::Owned(format!("INDOUBT a part of it was done; of another part: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{commands::COMMANDS, request::split};
    use trilith_engine::types::Version;

    fn act(line: &str) -> Act {
        let words = split(line.as_bytes()).unwrap();
        Act::read(COMMANDS.of(&words).unwrap(), &words).unwrap().unwrap()
    }

    fn found(value: &'static str) -> Found {
        Found {
            version: Version(3),
            expires_ms: Some(9000),
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    #[test]
    fn what_commands_are_mostly_used_for_is_one_operation() {
        for line in [
            "get a",
            "ttl a",
            "set a 1 nx get",
            "incr a",
            "append a b",
            "del a",
            "getdel a",
            "expire a 1 gt",
            "persist a",
            "mset a 1 b 2",
        ] {
            assert!(operation(&act(line)).is_some(), "{line}");
        }
        for line in [
            "del a b",
            "setrange a 1 x",
            "incrbyfloat a 1",
            "rename a b",
            "getex a ex 1",
            "msetnx a 1",
            "expire a 1 xx lt",
        ] {
            assert!(operation(&act(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn an_answer_says_what_the_command_wants_to_hear() {
        let version = Version(7);
        let old = Old::Found(found("x"));
        let said = |line: &str, reply: Reply| {
            // The group's time stands; the clock goes on.
            let late = Late { stamp_ms: 1000, clock_ms: 4000 };
            render(&act(line), reply, late)
        };
        let done = |old: Old| Reply::Done { version, old };
        let unmet = |old: Old| Reply::Unmet { found: None, old };
        assert_eq!(said("set a 1", done(Old::NotAsked)), Said::Ok);
        assert_eq!(said("set a 1 nx", unmet(Old::NotAsked)), Said::Nothing);
        assert_eq!(said("set a 1 nx get", unmet(old.clone())), Said::Bulk("x".into()));
        assert_eq!(said("setnx a 1", unmet(Old::NotAsked)), Said::Number(0));
        assert_eq!(said("getdel a", done(old)), Said::Bulk("x".into()));
        assert_eq!(said("getdel a", unmet(Old::Absent)), Said::Nothing);
        assert_eq!(said("del a", done(Old::NotAsked)), Said::Number(1));
        assert_eq!(said("pttl a", Reply::Value(Some(found("x")))), Said::Number(5000));
        assert_eq!(said("strlen a", Reply::Value(None)), Said::Number(0));
        let both = Reply::Values(vec![Some(found("x")), None]);
        assert_eq!(said("exists a b", both.clone()), Said::Number(1));
        assert_eq!(said("mget a b", both), Said::Many(vec![Said::Bulk("x".into()), Said::Nothing]));
        assert_eq!(
            said("incr a", Reply::Failed { failure: Failure::Overflow, write: 0 }),
            OVERFLOW
        );
    }
}
