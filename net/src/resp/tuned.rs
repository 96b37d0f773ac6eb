//! What is configured, and what is told of commands that took long: CONFIG, SLOWLOG, LATENCY.
//!
//! | parameter | may be set |
//! | --- | --- |
//! | `slowlog-log-slower-than`, `slowlog-max-len`, `latency-monitor-threshold` | yes, of this node, until it ends |
//! | `loglevel`, where the process has a log of its own | yes, of this process, until it ends |
//! | all others | no: they say how it is, for programs that ask before they begin |
//!
//! Not here: what the parameters of `trilith` itself are (`bin`), the log itself (`slow.rs`).

use std::time::Duration;

use tracing::Level;
use trilith_engine::runtime::Runtime;

use super::{
    act::integer,
    commands::Verb,
    glob,
    hub::Hub,
    reply::Answer,
    request::Words,
    slow::{self, Slow},
    way,
};
use crate::limits::{RESP_CONNECTIONS_MAX, RESP_PATTERNS_BYTES_MAX, SLOW_LOG_LIMIT};

/// What programs ask for before they begin: every answer is durable here before it is given.
const FIXED: [(&str, &str); 12] = [
    ("appendfsync", "always"),
    ("appendonly", "yes"),
    ("cluster-enabled", "no"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("notify-keyspace-events", ""),
    ("proto-max-bulk-len", "8388608"),
    ("requirepass", ""),
    ("save", ""),
    ("tcp-keepalive", "60"),
    ("timeout", "0"),
];

const LOG_FROM: &str = "slowlog-log-slower-than";
const LOG_MAX: &str = "slowlog-max-len";
const MOMENTS_FROM: &str = "latency-monitor-threshold";
const LOUDNESS: &str = "loglevel";

/// All parameters, in order.
fn parameters<R: Runtime>(hub: &Hub<R>) -> Vec<(&'static str, String)> {
    let slow = hub.slow();
    let mut all: Vec<_> = FIXED.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    all.push(("maxclients", RESP_CONNECTIONS_MAX.to_string()));
    all.push(("port", hub.facts().at.port().to_string()));
    all.push((LOG_FROM, slow.log_from.to_string()));
    all.push((LOG_MAX, slow.log_max.to_string()));
    all.push((MOMENTS_FROM, slow.moments_from.to_string()));
    let loudness = (hub.facts().host.log_level)();
    all.extend(loudness.map(|level| (LOUDNESS, level.as_str().to_ascii_lowercase())));
    all.sort_unstable();
    all
}

/// Answers it, if it is one of these.
pub(super) fn answer<R: Runtime>(
    hub: &Hub<R>,
    (verb, words): (Verb, &Words),
    answer: &mut Answer<'_>,
) -> bool {
    match verb {
        Verb::ConfigGet => get(hub, words, answer),
        Verb::ConfigSet => match set(hub, words) {
            Ok(()) => answer.ok(),
            Err(why) => answer.error(&why),
        },
        Verb::ConfigResetstat => {
            hub.reset();
            answer.ok();
        }
        Verb::ConfigRewrite => answer.error("ERR The server is running without a config file"),
        Verb::SlowlogGet => log(&hub.slow(), count(words, "get"), answer, write_entry),
        Verb::SlowlogPhases => log(&hub.slow(), count(words, "phases"), answer, write_way),
        Verb::SlowlogLen => answer.integer(hub.slow().log().len() as i64),
        Verb::SlowlogReset => {
            hub.slow().forget_log();
            answer.ok();
        }
        Verb::LatencyLatest => latest(&hub.slow(), answer),
        Verb::LatencyHistory => {
            let slow = hub.slow();
            let is_known = words.get(2).eq_ignore_ascii_case(b"command");
            let moments: Vec<_> = slow.moments().filter(|_| is_known).collect();
            answer.array(moments.len());
            for moment in moments {
                answer.array(2);
                answer.integer(moment.at_s as i64);
                answer.integer(moment.ms as i64);
            }
        }
        Verb::LatencyReset => {
            let is_meant = words.len() == 2
                || words.iter().skip(2).any(|it| it.eq_ignore_ascii_case(b"command"));
            answer.integer((is_meant && hub.slow().forget_moments()).into());
        }
        Verb::LatencyDoctor => answer.verbatim(&doctor(&hub.slow())),
        _ => return false,
    }
    true
}

fn get<R: Runtime>(hub: &Hub<R>, words: &Words, answer: &mut Answer<'_>) {
    let patterns = || words.iter().skip(2);
    if let Err(said) = patterns().try_for_each(glob::check) {
        return said.write(answer);
    }
    if patterns().map(<[u8]>::len).sum::<usize>() > RESP_PATTERNS_BYTES_MAX {
        return answer
            .error(&format!("ERR patterns have at most {RESP_PATTERNS_BYTES_MAX} bytes together"));
    }
    let fits = |(name, _): &(&str, String)| {
        patterns().any(|pattern| glob::fits(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let found: Vec<_> = parameters(hub).into_iter().filter(fits).collect();
    answer.map(found.len());
    for (name, value) in found {
        answer.bulk(name.as_bytes());
        answer.bulk(value.as_bytes());
    }
}

/// Changes all that is named, or nothing.
fn set<R: Runtime>(hub: &Hub<R>, words: &Words) -> Result<(), String> {
    if !words.len().is_multiple_of(2) {
        return Err("ERR wrong number of arguments for 'config|set' command".into());
    }
    let known = parameters(hub);
    let mut slow = hub.slow();
    let (mut log_from, mut log_max, mut moments_from) =
        (slow.log_from, slow.log_max, slow.moments_from);
    let mut loudness = None;
    for at in (2..words.len()).step_by(2) {
        let (name, value) = (words.get(at).to_ascii_lowercase(), words.get(at + 1));
        let shown = String::from_utf8_lossy(words.get(at)).into_owned();
        let failed = |why: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{shown}') - {why}")
        };
        let number =
            || integer(value).map_err(|_why| failed("argument couldn't be parsed into an integer"));
        let range =
            |most: &str| failed(&format!("argument must be between 0 and {most} inclusive"));
        let found = known.iter().find(|(known, _)| known.as_bytes() == name);
        let Some((known, now)) = found else {
            return Err(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"
            ));
        };
        match *known {
            LOG_FROM => {
                log_from = number()?;
                if log_from < -1 {
                    return Err(failed(
                        "argument must be between -1 and 9223372036854775807 inclusive",
                    ));
                }
            }
            LOG_MAX => {
                let max = usize::try_from(number()?).ok().filter(|max| *max <= SLOW_LOG_LIMIT);
                log_max = max.ok_or_else(|| range(&SLOW_LOG_LIMIT.to_string()))?;
            }
            MOMENTS_FROM => {
                let from = u64::try_from(number()?);
                moments_from = from.map_err(|_negative| range("9223372036854775807"))?;
            }
            LOUDNESS => {
                let words = "argument must be one of error, warn, info, debug, trace";
                loudness = Some(level(value).ok_or_else(|| failed(words))?);
            }
            // Whoever says how it is changes nothing.
            _ if now.as_bytes() == value => {}
            _ => return Err(failed("can't set immutable config")),
        }
    }
    (slow.log_from, slow.log_max, slow.moments_from) = (log_from, log_max, moments_from);
    slow.cut();
    if let Some(level) = loudness {
        // A process that tells its level can change it.
        let _is_set = (hub.facts().host.set_log_level)(level);
        tracing::info!(%level, "a client has set how much is logged");
    }
    Ok(())
}

/// How much is to be logged, in our words or in those of Redis.
fn level(word: &[u8]) -> Option<Level> {
    match &word.to_ascii_lowercase()[..] {
        b"error" | b"nothing" => Some(Level::ERROR),
        b"warn" | b"warning" => Some(Level::WARN),
        b"info" | b"notice" => Some(Level::INFO),
        b"debug" | b"verbose" => Some(Level::DEBUG),
        b"trace" => Some(Level::TRACE),
        _ => None,
    }
}

/// How many entries of the slow log are wanted.
fn count(words: &Words, command: &str) -> Result<usize, String> {
    match words.len() {
        2 => Ok(10),
        3 => match integer(words.get(2)) {
            Ok(-1) => Ok(usize::MAX),
            // What is no number is no count, either.
            count => count
                .ok()
                .and_then(|count| usize::try_from(count).ok())
                .ok_or_else(|| "ERR count should be greater than or equal to -1".to_owned()),
        },
        _ => Err(format!("ERR wrong number of arguments for 'slowlog|{command}' command")),
    }
}

/// So many entries of the slow log, each told so.
fn log(
    slow: &Slow,
    count: Result<usize, String>,
    answer: &mut Answer<'_>,
    write: impl Fn(&slow::Entry, &mut Answer<'_>),
) {
    let count = match count {
        Ok(count) => count,
        Err(why) => return answer.error(&why),
    };
    answer.array(slow.log().len().min(count));
    slow.log().take(count).for_each(|entry| write(entry, answer));
}

/// As Redis tells it.
fn write_entry(entry: &slow::Entry, answer: &mut Answer<'_>) {
    answer.array(6);
    write_what(entry, answer);
    answer.bulk(entry.from.to_string().as_bytes());
    answer.bulk(&entry.name);
}

/// Where its time went: clients take an entry apart that they know from Redis, and break on a longer
/// one, so this is told apart.
fn write_way(entry: &slow::Entry, answer: &mut Answer<'_>) {
    answer.array(5);
    write_what(entry, answer);
    let Some(phases) = entry.phases else { return answer.nothing() };
    answer.map(5);
    way::write_phases(answer, Duration::from_micros(entry.micros), phases);
}

fn write_what(entry: &slow::Entry, answer: &mut Answer<'_>) {
    answer.integer(entry.id as i64);
    answer.integer(entry.at_s as i64);
    answer.integer(entry.micros as i64);
    answer.array(entry.words.len());
    entry.words.iter().for_each(|word| answer.bulk(word));
}

fn latest(slow: &Slow, answer: &mut Answer<'_>) {
    let Some(last) = slow.moments().last() else { return answer.array(0) };
    answer.array(1);
    answer.array(4);
    answer.bulk(b"command");
    answer.integer(last.at_s as i64);
    answer.integer(last.ms as i64);
    answer.integer(slow.longest_ms() as i64);
}

fn doctor(slow: &Slow) -> String {
    match (slow.moments_from, slow.moments().last()) {
        (0, _) => format!("Nobody looks: CONFIG SET {MOMENTS_FROM} says from how many ms on.\n"),
        (from, None) => format!("No command has taken {from} ms.\n"),
        (from, Some(last)) => format!(
            "Commands took {from} ms or more in {} seconds, the longest {} ms, the last one {} ms. A \
             command waits for a majority's disks: SLOWLOG GET tells which ones.\n",
            slow.moments().len(),
            slow.longest_ms(),
            last.ms,
        ),
    }
}
