//! Commands that only tell something: of the commands, the node, the connection.
//!
//! Not here: what changes a connection (`session.rs`).

use std::fmt::Write as _;

use trilith_engine::runtime::{Clock, Runtime, WallTime};

use super::{
    commands::{COMMANDS, Spec, Verb},
    hub::Hub,
    reply::Answer,
    request::Words,
    session::Session,
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
    match spec.verb {
        Verb::Ping if words.len() == 1 => answer.simple("PONG"),
        Verb::Ping if words.len() == 2 => answer.bulk(words.get(1)),
        Verb::Ping => answer.error("ERR wrong number of arguments for 'ping' command"),
        Verb::Echo => answer.bulk(words.get(1)),
        Verb::Asking | Verb::ClientNoEvict | Verb::ClientNoTouch => answer.ok(),
        Verb::FunctionFlush | Verb::ScriptFlush => answer.ok(),
        Verb::ClientId => answer.integer(session.number as i64),
        Verb::ClientGetname if session.name().is_empty() => answer.nothing(),
        Verb::ClientGetname => answer.bulk(session.name()),
        Verb::ClientInfo => answer.verbatim(&format!("{}\n", session.line())),
        Verb::AclWhoami => answer.bulk(b"default"),
        Verb::AclCat => categories(words, answer),
        Verb::Command => listed(COMMANDS.iter(), answer, described),
        Verb::CommandCount => answer.integer(COMMANDS.len() as i64),
        Verb::CommandInfo => command_info(words, answer),
        Verb::CommandDocs => command_docs(words, answer),
        Verb::CommandList => command_list(words, answer),
        Verb::CommandGetkeys => command_keys(words, answer),
        Verb::ConfigGet => config(words, answer),
        Verb::Info => answer.verbatim(&info(hub, words)),
        Verb::Lastsave => answer.integer((wall(hub).0 / 1000) as i64),
        Verb::Time => {
            let WallTime(ms) = wall(hub);
            let (seconds, micros) = (ms / 1000, ms % 1000 * 1000);
            answer.array(2);
            answer.bulk(seconds.to_string().as_bytes());
            answer.bulk(micros.to_string().as_bytes());
        }
        Verb::Role => {
            answer.array(3);
            answer.bulk(b"master");
            answer.integer(0);
            answer.array(0);
        }
        Verb::Help => help(words, answer),
        // Whatever is a command of two words and was called with one.
        _ => {
            let name = spec.name.to_ascii_uppercase();
            answer.error(&format!("ERR unknown subcommand ''. Try {name} HELP."));
        }
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
    answer.map(3 + usize::from(has_subcommands));
    for (what, text) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group)] {
        answer.bulk(what.as_bytes());
        answer.bulk(text.as_bytes());
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
    let fits = |spec: &&Spec| match &by[..] {
        b"aclcat" => {
            spec.categories().any(|category| category.as_bytes()[1..].eq_ignore_ascii_case(what))
        }
        b"pattern" => super::glob::fits(what, spec.name.as_bytes()),
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

/// What programs ask for before they begin: every answer is durable here before it is given.
const CONFIG: [(&str, &str); 6] = [
    ("appendfsync", "always"),
    ("appendonly", "yes"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("proto-max-bulk-len", "8388608"),
    ("save", ""),
];

fn config(words: &Words, answer: &mut Answer<'_>) {
    let fits = |(name, _): &&(&str, &str)| {
        let mut patterns = words.iter().skip(2);
        patterns.any(|pattern| super::glob::fits(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let found: Vec<_> = CONFIG.iter().filter(fits).collect();
    answer.map(found.len());
    for (name, value) in found {
        answer.bulk(name.as_bytes());
        answer.bulk(value.as_bytes());
    }
}

/// INFO: sections of lines, which programs look through.
fn info<R: Runtime>(hub: &Hub<R>, words: &Words) -> String {
    let facts = hub.facts();
    let (connected, connections, commands) = hub.counted();
    let sections = [
        (
            "Server",
            format!(
                "redis_version:{}\r\ntrilith_version:{}\r\nredis_mode:standalone\r\narch_bits:64\r\n\
                 run_id:{}\r\nnode_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{}\r\n",
                facts.redis_version,
                facts.version,
                facts.directory,
                facts.node,
                facts.port,
                hub.uptime_seconds(),
            ),
        ),
        ("Clients", format!("connected_clients:{connected}\r\nblocked_clients:0\r\n")),
        ("Persistence", "loading:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n".into()),
        (
            "Stats",
            format!(
                "total_connections_received:{connections}\r\ntotal_commands_processed:{commands}\r\n"
            ),
        ),
        ("Replication", "role:master\r\nconnected_slaves:0\r\n".into()),
        ("Cluster", "cluster_enabled:0\r\n".into()),
    ];
    let is_wanted = |name: &str| {
        let all = [&b"all"[..], b"everything", b"default"];
        words.len() == 1
            || words.iter().skip(1).any(|word| {
                let word = word.to_ascii_lowercase();
                word == name.to_ascii_lowercase().as_bytes() || all.contains(&&word[..])
            })
    };
    let mut text = String::new();
    for (name, lines) in sections.iter().filter(|(name, _)| is_wanted(name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Memory that grows has room.
        _ = write!(text, "# {name}\r\n{lines}");
    }
    text
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
