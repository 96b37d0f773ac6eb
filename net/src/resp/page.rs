//! Which commands there are and which there are not, as a page for people: `bin/docs/protocols.md`.
//!
//! It is made of the table of commands and of the list of those that Redis has beside them; a test
//! compares the page that is there, and another one the two lists.
//!
//! Not here: the page's test (`net/tests/protocols.rs`).

use std::fmt::Write as _;

use super::commands::{COMMANDS, Spec};

/// What the list has, by groups.
fn missing() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let mut lines = include_str!("missing.txt").lines().skip_while(|line| !line.is_empty());
    lines.next();
    std::iter::from_fn(move || {
        let group = lines.next()?.strip_prefix("# ")?;
        Some((group, lines.next()?.split(' ').collect()))
    })
}

/// What is other than in Redis, by command. Each is said where somebody looks for it.
const NOTES: [(&str, &str); 25] = [
    ("acl list", "without what is kept of passwords; every user may do everything"),
    (
        "auth",
        "where no users are configured any password of the user `default` will do; behind a wrong one the connection waits, longer each time",
    ),
    ("client kill", "`LADDR` is nobody's"),
    ("client no-evict", "no key is ever evicted"),
    ("cluster", "as of a Redis without cluster mode: any node serves any key"),
    (
        "config set",
        "of this node, until it ends: `loglevel`, `slowlog-*` and `latency-monitor-threshold`",
    ),
    ("copy", "of keys of one slot, in a cluster"),
    ("dbsize", "counts no key that is over; not in MULTI"),
    ("del", "over several groups, and of more than 1,024 keys, it is not one moment"),
    (
        "exec",
        "a key that was not there when it was watched, and is not there now, counts as unchanged; what it says is bounded by some 32 MiB",
    ),
    ("explain", "only what reads or writes keys; at most 256 attempts are told; not in MULTI"),
    (
        "flushall",
        "deletes some 1,024 keys at a time: what is written meanwhile may stay; has ten minutes altogether; not in MULTI",
    ),
    ("flushdb", "as FLUSHALL: there is one database"),
    (
        "keys",
        "at most 262,144 keys; a pattern has at most 1,024 bytes, here and elsewhere; not in MULTI",
    ),
    (
        "mget",
        "over several groups, and of more than 1,024 keys or 9 MiB, it is not one moment; at most 32 MiB of values",
    ),
    ("mset", "over several groups it is not one moment; at most 1,024 keys and 9 MiB of each"),
    ("msetnx", "of keys of one slot, in a cluster"),
    ("multi", "of keys of one slot, in a cluster; at most 1,024 commands and 1,024 keys"),
    ("publish", "counts this node's subscribers; those of other nodes hear it too"),
    ("pubsub channels", "at most some 32 MiB of names"),
    ("randomkey", "walks to the key: it costs as much as half of KEYS; not in MULTI"),
    ("rename", "of keys of one slot, in a cluster"),
    (
        "scan",
        "a cursor is known to one node, and forgotten when 16,384 newer ones are; nothing is met twice; not in MULTI",
    ),
    (
        "slowlog phases",
        "those of the answer that took its node longest, of what is one entry; what is left of the entry's time is `route-us`",
    ),
    (
        "wait",
        "a write that was answered is on a majority's disks: so many are told, at once; none while the connection's last write is in doubt",
    ),
];

fn note(name: &str) -> &'static str {
    NOTES.iter().find(|(known, _)| *known == name).map_or("", |(_, note)| note)
}

fn row(page: &mut String, of: Option<&Spec>, spec: &Spec) {
    let name = of.map_or_else(String::new, |of| format!("{} ", of.name)) + spec.name;
    let call = format!("{} {}", name.to_ascii_uppercase(), spec.syntax).replace('|', "\\|");
    let note = note(&name);
    let (call, summary) = (call.trim_end(), spec.summary);
    let note = if note.is_empty() { String::new() } else { format!("; {note}") };
    // Memory that grows has room.
    _ = writeln!(page, "| `{call}` | {summary}{note} |");
}

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(HEAD);
    let mut groups: Vec<&str> = COMMANDS.iter().map(|spec| spec.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        _ = write!(
            page,
            "\n### {group}\n\n| command | what it does, and what is other than in Redis |\n| --- | --- |\n"
        );
        for spec in COMMANDS.iter().filter(|spec| spec.group == group) {
            if spec.subcommands.is_empty() || spec.takes(1) {
                row(&mut page, None, spec);
            }
            let told = spec.subcommands.values().filter(|sub| sub.name != "help");
            told.for_each(|sub| row(&mut page, Some(spec), sub));
        }
    }
    page.push_str(MISSING);
    for (group, names) in missing() {
        let names: Vec<String> = names
            .iter()
            .map(|name| format!("`{}`", name.to_ascii_uppercase().replace('|', " ")))
            .collect();
        _ = writeln!(page, "| {group} | {} |", names.join(", "));
    }
    page
}

const HEAD: &str = "# Protocols

This page is made of the table of commands: `UPDATE_DOCS=1 cargo test -p trilith-net --test protocols` writes it anew.

## Redis

Nodes speak RESP2 and RESP3, as Redis 7.4 does: pipelines, lines that people type, `HELLO 3`, MULTI and WATCH, messages.
Errors have the words of Redis where a program can tell, and these codes of our own beside them:

| an error that begins with | says |
| --- | --- |
| `UNAVAILABLE` | nothing happened: no majority answered in time, or too much is under way |
| `INDOUBT` | nobody knows whether it happened: look before you do it again |
| `CONSISTENCY` | the level that was asked for is not one that this command can have |
| `STALEREAD` | an eventual read found no replica that is new enough |
| `CROSSSLOT` | the keys must lie in one slot, in a cluster: give them a common `{tag}` |

Clients that are used as they are, unchanged: `redis-cli`, `redis-benchmark` (`-t ping,set,get,incr,mset`) and redis-py, which CI runs; ioredis 6.0 and redis-rs 1.8 (RESP3, pipelines, transactions, walks, messages), tried on 2026-11-23.

A request that begins with `POST` or `Host:` ends its connection without a word: it comes from a web page.
A key has at most 65,535 bytes, a value 8 MiB, a request 32 MiB.
What all connections to a node hold beside 64 KiB each, requests that are not whole and answers that nobody reads, is at most 512 MiB: beyond that a long request is answered with `UNAVAILABLE` and ends its connection, and an answer that is not read within a second ends it too.

## Commands
";

const MISSING: &str = "
## What there is not

Values are strings; there are no scripts, no modules, and no replication by the protocol of Redis.
Everything else that Redis 7.4 has and that is not listed above:

| group | commands |
| --- | --- |
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::Words;

    #[test]
    fn what_is_missing_is_not_there() {
        let mut count = 0;
        for (group, names) in missing() {
            for name in names {
                let words: Words = name.split('|').collect();
                assert!(COMMANDS.of(&words).is_none(), "{name} of {group} is there");
                count += 1;
            }
        }
        assert!(count > 200, "{count}");
    }

    #[test]
    fn every_note_is_of_a_command() {
        for (name, _) in NOTES {
            assert!(COMMANDS.of(&name.split(' ').collect()).is_some(), "{name}");
        }
        let sorted = NOTES.windows(2).all(|two| two[0].0 < two[1].0);
        assert!(sorted, "they are in order");
    }
}
