//! Commands that only tell something: of the commands, the node, the connection.
//!
//! Not here: what changes a connection (`session.rs`).

use std::{borrow::Cow, fmt::Write as _};

use trilith_engine::{
    runtime::{Clock, Runtime, WallTime},
    store::slots::slot_of,
};

use super::{
    act::integer,
    commands::{COMMANDS, Spec, Verb},
    glob,
    guest::Which,
    hub::{Hub, REDIS_VERSION},
    reply::{Answer, Protocol},
    request::Words,
    scratch::Said,
    session::Session,
    syntax, tuned,
};
use crate::limits::RESP_NAMES_MAX;

/// Answers it.
pub(super) fn answer<R: Runtime>(
    hub: &Hub<R>,
    session: &Session,
    (spec, words): (&'static Spec, &Words),
    answer: &mut Answer<'_>,
) {
    if words.len() > RESP_NAMES_MAX {
        return answer.error(&format!("ERR at most {RESP_NAMES_MAX} words are taken here"));
    }
    if tuned::answer(hub, (spec.verb, words), answer) {
        return;
    }
    match spec.verb {
        Verb::Ping => ping(session, words, answer),
        Verb::Echo => answer.bulk(words.get(1)),
        Verb::Asking => answer.ok(),
        Verb::ClientNoEvict | Verb::ClientNoTouch | Verb::FunctionFlush | Verb::ScriptFlush => {
            option(spec.verb, words, answer);
        }
        Verb::ClientId => answer.integer(session.number as i64),
        Verb::ClientGetname if session.name().is_empty() => answer.nothing(),
        Verb::ClientGetname => answer.bulk(session.name()),
        Verb::ClientInfo
        | Verb::ClientList
        | Verb::ClientKill
        | Verb::ClientGetredir
        | Verb::ClientTrackinginfo
        | Verb::ClientUnblock => clients(hub, session, (spec.verb, words), answer),
        Verb::ClusterKeyslot => answer.integer(slot_of(words.get(2)).0.into()),
        Verb::ClusterCountkeysinslot
        | Verb::ClusterGetkeysinslot
        | Verb::ClusterInfo
        | Verb::ClusterMyid
        | Verb::ClusterNodes
        | Verb::ClusterShards
        | Verb::ClusterSlots => answer.error("ERR This instance has cluster support disabled"),
        Verb::Wait | Verb::Waitaof => {
            let others = if session.is_in_doubt { 0 } else { hub.front().members() / 2 };
            copies(others, spec.verb, words).write(answer);
        }
        Verb::AclWhoami => answer.bulk(session.user().as_bytes()),
        Verb::AclUsers | Verb::AclList => {
            let (names, is_list) = (hub.gate().names(), spec.verb == Verb::AclList);
            // What is kept of a password is told to nobody.
            let pass = if hub.gate().is_open() { "nopass " } else { "" };
            answer.array(names.len());
            for name in names {
                let whole = format!("user {name} on {pass}sanitize-payload ~* &* +@all");
                answer.bulk(if is_list { whole.as_bytes() } else { name.as_bytes() });
            }
        }
        Verb::AclCat => categories(words, answer),
        Verb::Command => listed(COMMANDS.iter(), answer, described),
        Verb::CommandCount => answer.integer(COMMANDS.len() as i64),
        Verb::CommandInfo => command_info(words, answer),
        Verb::CommandDocs => command_docs(words, answer),
        Verb::CommandList => command_list(words, answer),
        Verb::CommandGetkeys => command_keys(words, answer),
        Verb::Info => answer.verbatim(&info(hub, words, None)),
        Verb::Lastsave => answer.integer((wall(hub).0 / 1000) as i64),
        Verb::Time => {
            let WallTime(ms) = wall(hub);
            let (seconds, micros) = (ms / 1000, ms % 1000 * 1000);
            answer.array(2);
            answer.bulk(seconds.to_string().as_bytes());
            answer.bulk(micros.to_string().as_bytes());
        }
        Verb::Role => role(answer),
        Verb::Help => help(words, answer),
        // Whatever is a command of two words and was called with one.
        _ => {
            let name = spec.name.to_ascii_uppercase();
            answer.error(&format!("ERR unknown subcommand ''. Try {name} HELP."));
        }
    }
}

/// As a master without replicas: clients write to whomever they ask.
fn role(answer: &mut Answer<'_>) {
    answer.array(3);
    answer.bulk(b"master");
    answer.integer(0);
    answer.array(0);
}

/// Something that is so already, however it is wanted.
fn option(verb: Verb, words: &Words, answer: &mut Answer<'_>) {
    let (known, why): ([&[u8]; 2], _) = match verb {
        Verb::FunctionFlush => {
            ([b"sync", b"async"], "ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
        }
        Verb::ScriptFlush => {
            ([b"sync", b"async"], "ERR SCRIPT FLUSH only support SYNC|ASYNC option")
        }
        _ => ([b"on", b"off"], "ERR syntax error"),
    };
    let is_known = |word: &[u8]| known.iter().any(|one| word.eq_ignore_ascii_case(one));
    if words.len() > 3 || !words.iter().skip(2).all(is_known) {
        return answer.error(why);
    }
    answer.ok();
}

fn ping(session: &Session, words: &Words, answer: &mut Answer<'_>) {
    match words.len() {
        1 | 2 if session.is_subscriber && session.protocol == Protocol::Resp2 => {
            answer.array(2);
            answer.bulk(b"pong");
            answer.bulk(words.get(1));
        }
        1 => answer.simple("PONG"),
        2 => answer.bulk(words.get(1)),
        _ => answer.error("ERR wrong number of arguments for 'ping' command"),
    }
}

fn wall<R: Runtime>(hub: &Hub<R>) -> WallTime {
    hub.runtime().clock().wall()
}

fn listed<'a>(
    specs: impl Iterator<Item = &'a Spec>,
    answer: &mut Answer<'_>,
    each: fn(&str, &Spec, &mut Answer<'_>),
) {
    let specs: Vec<&Spec> = specs.collect();
    answer.array(specs.len());
    for spec in specs {
        each(spec.name, spec, answer);
    }
}

/// A command as COMMAND INFO has it.
fn described(name: &str, spec: &Spec, answer: &mut Answer<'_>) {
    answer.array(10);
    answer.bulk(name.as_bytes());
    answer.integer(spec.arity.into());
    answer.set(spec.flags.len());
    spec.flags.iter().for_each(|flag| answer.simple(flag));
    answer.integer(spec.keys.first as i64);
    answer.integer(spec.keys.last.into());
    answer.integer(if spec.keys.first == 0 { 0 } else { spec.keys.step as i64 });
    let categories: Vec<&str> = spec.categories().collect();
    answer.set(categories.len());
    categories.iter().for_each(|category| answer.simple(category));
    answer.array(0);
    answer.array(0);
    answer.array(spec.subcommands.len());
    for sub in spec.subcommands.values() {
        described(&format!("{name}|{}", sub.name), sub, answer);
    }
}

fn command_info(words: &Words, answer: &mut Answer<'_>) {
    if words.len() == 2 {
        return listed(COMMANDS.iter(), answer, described);
    }
    answer.array(words.len() - 2);
    for name in words.iter().skip(2) {
        match COMMANDS.get(name) {
            Some(spec) => described(spec.name, spec, answer),
            None => answer.no_array(),
        }
    }
}

fn command_docs(words: &Words, answer: &mut Answer<'_>) {
    let specs: Vec<&Spec> = if words.len() == 2 {
        COMMANDS.iter().collect()
    } else {
        words.iter().skip(2).filter_map(|name| COMMANDS.get(name)).collect()
    };
    answer.map(specs.len());
    for spec in specs {
        documented(spec.name, spec, answer);
    }
}

fn documented(name: &str, spec: &Spec, answer: &mut Answer<'_>) {
    answer.bulk(name.as_bytes());
    let has_subcommands = !spec.subcommands.is_empty();
    let parts = syntax::parts(spec.syntax);
    answer.map(3 + usize::from(!parts.is_empty()) + usize::from(has_subcommands));
    for (what, text) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group)] {
        answer.bulk(what.as_bytes());
        answer.bulk(text.as_bytes());
    }
    if !parts.is_empty() {
        answer.bulk(b"arguments");
        answer.array(parts.len());
        parts.iter().for_each(|part| part.write(answer));
    }
    if has_subcommands {
        answer.bulk(b"subcommands");
        answer.map(spec.subcommands.len());
        for sub in spec.subcommands.values() {
            documented(&format!("{name}|{}", sub.name), sub, answer);
        }
    }
}

fn command_list(words: &Words, answer: &mut Answer<'_>) {
    let is_filtered = words.len() == 5 && words.get(2).eq_ignore_ascii_case(b"FILTERBY");
    if words.len() != 2 && !is_filtered {
        return answer.error("ERR syntax error");
    }
    let (by, what) = (words.get(3).to_ascii_lowercase(), words.get(4));
    if let Err(said) = glob::check(what) {
        return said.write(answer);
    }
    if !matches!(&by[..], b"" | b"aclcat" | b"pattern" | b"module") {
        return answer.error("ERR syntax error");
    }
    let fits = |spec: &&Spec| match &by[..] {
        b"aclcat" => {
            spec.categories().any(|category| category.as_bytes()[1..].eq_ignore_ascii_case(what))
        }
        b"pattern" => glob::fits(what, spec.name.as_bytes()),
        b"module" => false,
        _ => true,
    };
    listed(COMMANDS.iter().filter(fits), answer, |name, _, answer| answer.bulk(name.as_bytes()));
}

fn command_keys(words: &Words, answer: &mut Answer<'_>) {
    let asked = words.behind(2);
    let Some(spec) = COMMANDS.of(&asked) else {
        return answer.error("ERR Invalid command specified");
    };
    if !spec.takes(asked.len()) {
        return answer.error("ERR Invalid number of arguments specified for command");
    }
    let keys: Vec<usize> = spec.keys_of(asked.len()).collect();
    if keys.is_empty() {
        return answer.error("ERR The command has no key arguments");
    }
    answer.array(keys.len());
    keys.into_iter().for_each(|at| answer.bulk(asked.get(at)));
}

fn categories(words: &Words, answer: &mut Answer<'_>) {
    let mut found: Vec<String> = match words.len() {
        2 => {
            let all = COMMANDS.iter().flat_map(Spec::categories);
            all.map(|category| category[1..].to_string()).collect()
        }
        3 => {
            let is_in = |spec: &&Spec| {
                let mut all = spec.categories();
                all.any(|category| category.as_bytes()[1..].eq_ignore_ascii_case(words.get(2)))
            };
            COMMANDS.iter().filter(is_in).map(|spec| spec.name.to_string()).collect()
        }
        _ => return answer.error("ERR syntax error"),
    };
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        let asked = String::from_utf8_lossy(words.get(2)).into_owned();
        return answer.error(&format!("ERR Unknown category '{asked}'"));
    }
    answer.array(found.len());
    found.iter().for_each(|name| answer.bulk(name.as_bytes()));
}

/// CLIENT, of what is about all connections.
fn clients<R: Runtime>(
    hub: &Hub<R>,
    session: &Session,
    (verb, words): (Verb, &Words),
    answer: &mut Answer<'_>,
) {
    let (own, now, at) = (session.number, hub.runtime().clock().now(), hub.facts().at);
    match verb {
        Verb::ClientInfo => {
            let line = hub.guests().get(&own).map(|guest| guest.line(at, now)).unwrap_or_default();
            answer.verbatim(&format!("{line}\n"));
        }
        Verb::ClientList => match Which::listed(words) {
            Ok(which) => {
                let guests = hub.guests();
                let meant = guests.values().filter(|guest| which.means(guest, own, now));
                let lines = meant.map(|guest| guest.line(at, now) + "\n").collect::<String>();
                answer.verbatim(&lines);
            }
            Err(said) => said.write(answer),
        },
        Verb::ClientKill => match Which::killed(words, &hub.gate().names()) {
            Ok(which) => {
                let meant: Vec<u64> = {
                    let guests = hub.guests();
                    let meant = guests.values().filter(|guest| which.means(guest, own, now));
                    meant.map(|guest| guest.number).collect()
                };
                let killed = meant.into_iter().filter(|number| hub.kill(*number)).count();
                match (which.is_old, killed) {
                    (true, 0) => answer.error("ERR No such client"),
                    (true, _) => answer.ok(),
                    (false, killed) => answer.integer(killed as i64),
                }
            }
            Err(said) => said.write(answer),
        },
        Verb::ClientGetredir => answer.integer(-1),
        Verb::ClientTrackinginfo => {
            answer.map(3);
            answer.bulk(b"flags");
            answer.set(1);
            answer.bulk(b"off");
            answer.bulk(b"redirect");
            answer.integer(-1);
            answer.bulk(b"prefixes");
            answer.array(0);
        }
        // UNBLOCK: nobody ever waits for a key here.
        _ => match (integer(words.get(2)), &words.get(3).to_ascii_lowercase()[..]) {
            (_, what) if !matches!(what, b"" | b"timeout" | b"error") => {
                answer.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
            }
            (Err(why), _) => answer.error(&why),
            (Ok(_), _) => answer.integer(0),
        },
    }
}

/// WAIT and WAITAOF: what was answered is on the disks of a majority, and nobody knows of more.
/// Where a write of this connection is in doubt nobody knows of anything.
fn copies(others: usize, verb: Verb, words: &Words) -> Said {
    let wrong = |why: &'static str| Said::Error(Cow::Borrowed(why));
    let no_integer = "ERR value is not an integer or out of range";
    let Ok(timeout) = integer(words.get(words.len() - 1)) else {
        return wrong("ERR timeout is not an integer or out of range");
    };
    let Ok(wanted) = integer(words.get(words.len() - 2)) else { return wrong(no_integer) };
    // WAIT has what is less than nobody at once.
    if wanted < 0 && verb == Verb::Waitaof {
        return wrong("ERR value is out of range, must be positive");
    }
    if timeout < 0 {
        return wrong("ERR timeout is negative");
    }
    // A majority, but for one: the node that answers counts apart.
    let others = Said::Number(others as i64);
    if verb == Verb::Wait {
        return others;
    }
    match integer(words.get(1)) {
        Ok(0 | 1) => Said::Many(vec![Said::Number(1), others]),
        _ => wrong("ERR value is out of range, must be between 0 and 1"),
    }
}

/// Whether INFO is asked for a section, by its name or with others.
pub(super) fn is_section_wanted(words: &Words, name: &str) -> bool {
    let all = [&b"all"[..], b"everything", b"default"];
    let is_it = |word: &[u8]| {
        let word = word.to_ascii_lowercase();
        word == name.to_ascii_lowercase().as_bytes() || all.contains(&&word[..])
    };
    words.len() == 1 || words.iter().skip(1).any(is_it)
}

/// INFO: sections of lines, which programs look through.
pub(super) fn info<R: Runtime>(hub: &Hub<R>, words: &Words, keys: Option<u64>) -> String {
    let facts = hub.facts();
    let (connected, connections, commands) = hub.counted();
    let sections = [
        (
            "Server",
            format!(
                "redis_version:{}\r\ntrilith_version:{}\r\nredis_mode:standalone\r\narch_bits:64\r\n\
                 run_id:{}\r\nnode_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{}\r\n",
                REDIS_VERSION,
                facts.version,
                facts.directory,
                facts.node,
                facts.at.port(),
                hub.uptime_seconds(),
            ),
        ),
        ("Clients", format!("connected_clients:{connected}\r\nblocked_clients:0\r\n")),
        ("Memory", memory((facts.host.resident_bytes)())),
        ("Persistence", "loading:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n".into()),
        (
            "Stats",
            format!(
                "total_connections_received:{connections}\r\ntotal_commands_processed:{commands}\r\n"
            ),
        ),
        ("Replication", "role:master\r\nconnected_slaves:0\r\n".into()),
        ("Cluster", "cluster_enabled:0\r\n".into()),
        ("Keyspace", keys.map_or_else(String::new, keyspace)),
    ];
    let mut text = String::new();
    for (name, lines) in sections.iter().filter(|(name, _)| is_section_wanted(words, name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Memory that grows has room.
        _ = write!(text, "# {name}\r\n{lines}");
    }
    text
}

/// What the process holds of the machine's memory, as the system says: the store counts no bytes of its
/// own that would add up to it.
fn memory(resident: u64) -> String {
    let human = bytes_shown(resident);
    format!(
        "used_memory:{resident}\r\nused_memory_human:{human}\r\nused_memory_rss:{resident}\r\n\
         used_memory_rss_human:{human}\r\nmaxmemory:0\r\nmaxmemory_human:0B\r\n\
         maxmemory_policy:noeviction\r\nmem_fragmentation_ratio:1.00\r\n"
    )
}

/// Bytes as Redis shows them to people.
fn bytes_shown(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut unit, mut size) = (0, bytes / 1024);
    while size >= 1024 && unit + 1 < UNITS.len() {
        (unit, size) = (unit + 1, size / 1024);
    }
    let hundredths = (u128::from(bytes) * 100) >> (10 * (unit + 1));
    format!("{}.{:02}{}", hundredths / 100, hundredths % 100, UNITS[unit])
}

/// How many keys there are; nothing when there are none. How many of them expire nobody counts.
fn keyspace(keys: u64) -> String {
    if keys == 0 { String::new() } else { format!("db0:keys={keys},expires=0,avg_ttl=0\r\n") }
}

fn help(words: &Words, answer: &mut Answer<'_>) {
    let Some(spec) = COMMANDS.get(words.get(0)) else { return answer.no_array() };
    let name = spec.name.to_ascii_uppercase();
    let mut lines = vec![format!("{name} <subcommand> [<arg> ...]. Subcommands are:")];
    for sub in spec.subcommands.values() {
        lines.push(format!("{} {}", sub.name.to_ascii_uppercase(), sub.syntax).trim_end().into());
        lines.push(format!("    {}.", sub.summary));
    }
    answer.array(lines.len());
    lines.iter().for_each(|line| answer.simple(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_are_told_in_the_form_of_redis() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (6_856_704, "6.53M"),
            (25_276_510_208, "23.54G"),
            (u64::MAX, "16777215.99T"),
        ] {
            assert_eq!(bytes_shown(bytes), shown);
        }
        assert_eq!(keyspace(0), "");
        assert_eq!(keyspace(7), "db0:keys=7,expires=0,avg_ttl=0\r\n");
    }

    #[test]
    fn so_many_copies_are_told_as_a_majority_has() {
        let told = |members: usize, line: &str| {
            let words: Words = line.split(' ').collect();
            copies(members / 2, COMMANDS.of(&words).unwrap().verb, &words)
        };
        for (members, others) in [(1, 0), (2, 1), (3, 1), (5, 2)] {
            assert_eq!(told(members, "wait 0 0"), Said::Number(others));
            assert_eq!(told(members, "wait 9 100"), Said::Number(others));
            let both = Said::Many(vec![Said::Number(1), Said::Number(others)]);
            assert_eq!(told(members, "waitaof 1 1 0"), both);
        }
        let error = |why: &'static str| Said::Error(Cow::Borrowed(why));
        assert_eq!(told(3, "wait -1 0"), Said::Number(1));
        assert_eq!(told(3, "waitaof 1 -1 0"), error("ERR value is out of range, must be positive"));
        assert_eq!(told(3, "wait 1 -1"), error("ERR timeout is negative"));
        assert_eq!(told(3, "wait 1 x"), error("ERR timeout is not an integer or out of range"));
        assert_eq!(told(3, "wait x 1"), error("ERR value is not an integer or out of range"));
        let range = error("ERR value is out of range, must be between 0 and 1");
        assert_eq!(told(3, "waitaof 2 1 0"), range);
    }
}
