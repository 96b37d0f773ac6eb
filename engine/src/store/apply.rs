//! What each command does: a function of the entry, the time, and what is there.
//!
//! A command either leaves every key as it was, or does all of its writes: its own records count
//! (`is_effective`), and what had to be computed stands beside them as derived records. Nothing here
//! depends on whether an expired key is still lying around.
//!
//! Not here: whether a command is executed at all (`sessions.rs`).

use super::{Derived, Seen, Sight};
use crate::{
    command::{
        Body, Command, Condition, Entry, Expiry, Failure, Found, Old, Only, Place, Reply,
        Transaction, Write,
    },
    limits::VALUE_BYTES_MAX_CLUSTER,
    mark, planted,
    types::{Stamp, Version},
};
use alloc::{string::ToString, vec::Vec};
use bytes::Bytes;
use core::num::NonZeroU64;

/// What a command did: whether its records count, what is written besides, and the reply.
type Done<'a> = (bool, Vec<Derived<'a>>, Reply);

/// The keys whose values an entry may look at, if they are there.
pub fn needs<'a>(entry: &Entry<'a>) -> impl Iterator<Item = &'a [u8]> {
    let none: &[Write<&'a [u8]>] = &[];
    let (one, many) = match &entry.body {
        Body::Command(_, command) => match command {
            Command::Set { key, want_old: true, .. }
            | Command::Delete { key, want_old: true, .. }
            | Command::Increment { key, .. }
            | Command::Append { key, .. }
            | Command::Expire { key, .. } => (Some(*key), none),
            Command::Transaction(transaction) => (None, transaction.writes()),
            Command::Set { .. }
            | Command::Delete { .. }
            | Command::Clock
            | Command::CloseSession => (None, none),
        },
        Body::Noop | Body::Leave | Body::Change(_) => (None, none),
    };
    let added = many.iter().filter_map(|write| match write {
        Write::Increment { key, .. } => Some(*key),
        Write::Set { .. } | Write::Delete { .. } => None,
    });
    one.into_iter().chain(added)
}

/// Executes a command at a time.
pub(super) fn perform<'a>(
    place: Place,
    now: Stamp,
    command: &Command<&'a [u8]>,
    sight: &impl Sight,
) -> Done<'a> {
    let scene = Scene { place, now, version: Version(place.index.0), sight };
    match command {
        Command::Set { key, value, expiry, condition, want_old } => {
            scene.set(key, value, *expiry, *condition, *want_old)
        }
        Command::Delete { key, condition, want_old } => scene.delete(key, *condition, *want_old),
        Command::Increment { key, by } => scene.increment(key, *by),
        Command::Append { key, value } => scene.append(key, value),
        Command::Expire { key, expiry, only } => scene.expire(key, *expiry, *only),
        Command::Transaction(transaction) => scene.transaction(transaction),
        Command::Clock | Command::CloseSession => (false, Vec::new(), scene.done(Old::NotAsked)),
    }
}

/// What a command is executed in.
struct Scene<'s, S> {
    place: Place,
    now: Stamp,
    version: Version,
    sight: &'s S,
}

impl<S: Sight> Scene<'_, S> {
    /// What is there, by the group's time.
    fn see(&self, key: &[u8]) -> Option<Seen> {
        let seen = self.sight.place(key)?;
        let is_over = seen.expires_ms.is_some_and(|ms| ms.get() <= self.now.ms());
        (!is_over || planted!("store_expired_is_there")).then_some(seen)
    }

    /// The value of what is there.
    fn value(&self, key: &[u8]) -> &[u8] {
        self.sight.value(key).expect("the values that an entry needs are looked up before it")
    }

    const fn done(&self, old: Old) -> Reply {
        Reply::Done { version: self.version, old }
    }

    fn old(&self, key: &[u8], seen: Option<Seen>, want_old: bool) -> Old {
        match seen {
            _ if !want_old => Old::NotAsked,
            None => Old::Absent,
            Some(Seen { version, expires_ms, .. }) => Old::Found(Found {
                version,
                expires_ms: expires_ms.map(NonZeroU64::get),
                value: Bytes::copy_from_slice(self.value(key)),
            }),
        }
    }

    fn unmet<'a>(&self, key: &[u8], seen: Option<Seen>, want_old: bool) -> Done<'a> {
        let found = seen.map(|seen| seen.version);
        (false, Vec::new(), Reply::Unmet { found, old: self.old(key, seen, want_old) })
    }

    fn failed<'a>(failure: Failure, write: usize) -> Done<'a> {
        (false, Vec::new(), Reply::Failed { failure, write: write as u32 })
    }

    fn set<'a>(
        &self,
        key: &'a [u8],
        value: &[u8],
        expiry: Expiry,
        condition: Condition,
        want_old: bool,
    ) -> Done<'a> {
        let keeps = matches!(expiry, Expiry::Keep);
        // A plain SET, which most writes are, looks at nothing.
        if !keeps && !want_old && condition == Condition::Always {
            return (true, Vec::new(), self.done(Old::NotAsked));
        }
        let seen = self.see(key);
        if !holds(condition, seen) {
            return self.unmet(key, seen, want_old);
        }
        let old = self.old(key, seen, want_old);
        let mut derived = Vec::new();
        if keeps {
            let expires_ms = self.expires_ms(expiry, seen);
            derived.push(Derived { key, value: Some(value.to_vec()), expires_ms });
        }
        (!keeps, derived, self.done(old))
    }

    fn delete<'a>(&self, key: &'a [u8], condition: Condition, want_old: bool) -> Done<'a> {
        let seen = self.see(key);
        if seen.is_none() || !holds(condition, seen) {
            return self.unmet(key, seen, want_old);
        }
        (true, Vec::new(), self.done(self.old(key, seen, want_old)))
    }

    fn increment<'a>(&self, key: &'a [u8], by: i64) -> Done<'a> {
        match self.add(key, by) {
            Ok((derived, number)) => {
                let reply = Reply::Number { number, version: self.version };
                (true, alloc::vec![derived], reply)
            }
            Err(failure) => Self::failed(failure, 0),
        }
    }

    fn add<'a>(&self, key: &'a [u8], by: i64) -> Result<(Derived<'a>, i64), Failure> {
        let seen = self.see(key);
        let before = match seen {
            Some(_) => integer(self.value(key)).ok_or(Failure::NotAnInteger)?,
            None => 0,
        };
        let number = before.checked_add(by).ok_or(Failure::Overflow)?;
        let value = Some(number.to_string().into_bytes());
        Ok((Derived { key, value, expires_ms: self.expires_ms(Expiry::Keep, seen) }, number))
    }

    fn append<'a>(&self, key: &'a [u8], more: &[u8]) -> Done<'a> {
        let seen = self.see(key);
        let bytes = seen.map_or(0, |seen| seen.value_bytes) + more.len();
        if bytes > VALUE_BYTES_MAX_CLUSTER {
            mark!("store_append_is_too_long");
            return Self::failed(Failure::TooLong, 0);
        }
        let mut value = Vec::with_capacity(bytes);
        value.extend_from_slice(seen.map_or(&[], |_| self.value(key)));
        value.extend_from_slice(more);
        let reply = Reply::Length { bytes: value.len() as u64, version: self.version };
        let expires_ms = self.expires_ms(Expiry::Keep, seen);
        (true, alloc::vec![Derived { key, value: Some(value), expires_ms }], reply)
    }

    fn expire<'a>(&self, key: &'a [u8], expiry: Expiry, only: Only) -> Done<'a> {
        let seen = self.see(key);
        let Some(Seen { expires_ms: old, .. }) = seen else {
            return self.unmet(key, None, false);
        };
        let new = self.expires_ms(expiry, seen);
        // What never expires lives longest.
        let moment = |expires_ms: Option<NonZeroU64>| expires_ms.map_or(u64::MAX, NonZeroU64::get);
        let holds = match only {
            Only::Always => true,
            Only::Without => old.is_none(),
            Only::With => old.is_some(),
            Only::Later => moment(new) > moment(old),
            Only::Earlier => moment(new) < moment(old),
        };
        if !holds || new == old {
            return self.unmet(key, seen, false);
        }
        let is_over = moment(new) <= self.now.ms();
        let value = (!is_over).then(|| self.value(key).to_vec());
        let expires_ms = new.filter(|_| !is_over);
        let derived = alloc::vec![Derived { key, value, expires_ms }];
        (true, derived, self.done(Old::NotAsked))
    }

    fn transaction<'a>(&self, transaction: &Transaction<&'a [u8]>) -> Done<'a> {
        for (at, check) in transaction.checks().iter().enumerate() {
            let found = self.see(check.key).map(|seen| seen.version);
            if found != check.version && !planted!("store_checks_not_compared") {
                let reply = Reply::Conflict { check: at as u32, found };
                return (false, Vec::new(), reply);
            }
        }
        let (mut derived, mut numbers) = (Vec::new(), Vec::new());
        for (at, write) in transaction.writes().iter().enumerate() {
            match write {
                Write::Set { key, value, expiry: Expiry::Keep } => {
                    let expires_ms = self.expires_ms(Expiry::Keep, self.see(key));
                    derived.push(Derived { key, value: Some(value.to_vec()), expires_ms });
                }
                Write::Set { .. } | Write::Delete { .. } => {}
                Write::Increment { key, by } => match self.add(key, *by) {
                    Ok((sum, number)) => {
                        derived.push(sum);
                        numbers.push(number);
                    }
                    Err(failure) => {
                        let (_, none, reply) = Self::failed(failure, at);
                        let is_half = planted!("store_transaction_by_halves");
                        return (is_half, if is_half { derived } else { none }, reply);
                    }
                },
            }
        }
        (true, derived, Reply::Committed { version: self.version, numbers })
    }

    /// Until when a new value counts.
    fn expires_ms(&self, expiry: Expiry, seen: Option<Seen>) -> Option<NonZeroU64> {
        match expiry.from(self.place.stamp) {
            Expiry::At(ms) => NonZeroU64::new(ms.max(1)),
            Expiry::Keep if planted!("store_derived_loses_expiry") => None,
            Expiry::Keep => seen.and_then(|seen| seen.expires_ms),
            Expiry::None | Expiry::After(_) => None,
        }
    }
}

fn holds(condition: Condition, seen: Option<Seen>) -> bool {
    let found = seen.map(|seen| seen.version);
    if let (true, Condition::Version(version)) =
        (planted!("store_condition_on_an_older_version"), condition)
    {
        return found.is_some_and(|found| found >= version);
    }
    condition.holds(found)
}

/// A decimal number of 64 bits, written as we would write it: no sign but a minus, no leading zeros,
/// nothing around it.
fn integer(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let is_plain = match digits {
        [] => false,
        [b'0'] => value.len() == 1,
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
    };
    let text = core::str::from_utf8(value).ok()?;
    if is_plain { text.parse().ok() } else { None }
}
