//! The commands that there are: one table, from which everything else comes.
//!
//! `commands.txt` has a line for each: name ; arity ; flags ; keys ; since ; what it does ; syntax.
//! A name of two words is a subcommand. The arity counts the name's words; a negative one is the
//! least. The keys are the first, the last (negative from the end) and the step. From the table
//! come what is called (`Verb`), `COMMAND` in all its kinds, the categories of ACLs, the keys by
//! which a command is routed, completion, and the page of compatibility.
//!
//! Invariants: each verb has its line and each line its verb; names are found whatever their case.
//!
//! Not here: what a command means (`act.rs` and `session.rs`).

use std::{collections::BTreeMap, sync::LazyLock};

use super::request::Words;

macro_rules! verbs {
    ($($verb:ident = $name:literal,)*) => {
        /// A command, by what it does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "their table says it")]
        pub enum Verb {
            $($verb,)*
            /// Whatever can be asked of a command that has subcommands.
            Help,
        }

        impl Verb {
            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$verb),)*
                    name if name.ends_with(" help") => Some(Self::Help),
                    _ => None,
                }
            }
        }
    };
}

verbs! {
    Acl = "acl",
    AclCat = "acl cat",
    AclList = "acl list",
    AclUsers = "acl users",
    AclWhoami = "acl whoami",
    Append = "append",
    Asking = "asking",
    Auth = "auth",
    Client = "client",
    ClientGetname = "client getname",
    ClientGetredir = "client getredir",
    ClientId = "client id",
    ClientInfo = "client info",
    ClientKill = "client kill",
    ClientList = "client list",
    ClientNoEvict = "client no-evict",
    ClientNoTouch = "client no-touch",
    ClientReply = "client reply",
    ClientSetinfo = "client setinfo",
    ClientSetname = "client setname",
    ClientTrackinginfo = "client trackinginfo",
    ClientUnblock = "client unblock",
    Cluster = "cluster",
    ClusterCountkeysinslot = "cluster countkeysinslot",
    ClusterGetkeysinslot = "cluster getkeysinslot",
    ClusterInfo = "cluster info",
    ClusterKeyslot = "cluster keyslot",
    ClusterMyid = "cluster myid",
    ClusterNodes = "cluster nodes",
    ClusterShards = "cluster shards",
    ClusterSlots = "cluster slots",
    Command = "command",
    CommandCount = "command count",
    CommandDocs = "command docs",
    CommandGetkeys = "command getkeys",
    CommandInfo = "command info",
    CommandList = "command list",
    Config = "config",
    ConfigGet = "config get",
    ConfigResetstat = "config resetstat",
    ConfigRewrite = "config rewrite",
    ConfigSet = "config set",
    Consistency = "consistency",
    Copy = "copy",
    Dbsize = "dbsize",
    Decr = "decr",
    Decrby = "decrby",
    Del = "del",
    Discard = "discard",
    Echo = "echo",
    Exec = "exec",
    Exists = "exists",
    Expire = "expire",
    Expireat = "expireat",
    Expiretime = "expiretime",
    Flushall = "flushall",
    Flushdb = "flushdb",
    Function = "function",
    FunctionFlush = "function flush",
    Get = "get",
    Getdel = "getdel",
    Getex = "getex",
    Getrange = "getrange",
    Getset = "getset",
    Hello = "hello",
    Incr = "incr",
    Incrby = "incrby",
    Incrbyfloat = "incrbyfloat",
    Info = "info",
    Keys = "keys",
    Lastsave = "lastsave",
    Latency = "latency",
    LatencyDoctor = "latency doctor",
    LatencyHistory = "latency history",
    LatencyLatest = "latency latest",
    LatencyReset = "latency reset",
    Memory = "memory",
    MemoryUsage = "memory usage",
    Mget = "mget",
    Mset = "mset",
    Msetnx = "msetnx",
    Multi = "multi",
    Object = "object",
    ObjectEncoding = "object encoding",
    ObjectIdletime = "object idletime",
    ObjectRefcount = "object refcount",
    Persist = "persist",
    Pexpire = "pexpire",
    Pexpireat = "pexpireat",
    Pexpiretime = "pexpiretime",
    Ping = "ping",
    Psetex = "psetex",
    Psubscribe = "psubscribe",
    Pttl = "pttl",
    Publish = "publish",
    Pubsub = "pubsub",
    PubsubChannels = "pubsub channels",
    PubsubNumpat = "pubsub numpat",
    PubsubNumsub = "pubsub numsub",
    PubsubShardchannels = "pubsub shardchannels",
    PubsubShardnumsub = "pubsub shardnumsub",
    Punsubscribe = "punsubscribe",
    Quit = "quit",
    Randomkey = "randomkey",
    Readonly = "readonly",
    Readwrite = "readwrite",
    Rename = "rename",
    Renamenx = "renamenx",
    Reset = "reset",
    Role = "role",
    Scan = "scan",
    Script = "script",
    ScriptFlush = "script flush",
    Select = "select",
    Set = "set",
    Setex = "setex",
    Setnx = "setnx",
    Setrange = "setrange",
    Slowlog = "slowlog",
    SlowlogGet = "slowlog get",
    SlowlogLen = "slowlog len",
    SlowlogPhases = "slowlog phases",
    SlowlogReset = "slowlog reset",
    Spublish = "spublish",
    Ssubscribe = "ssubscribe",
    Strlen = "strlen",
    Subscribe = "subscribe",
    Substr = "substr",
    Sunsubscribe = "sunsubscribe",
    Time = "time",
    Touch = "touch",
    Ttl = "ttl",
    Type = "type",
    Unlink = "unlink",
    Unsubscribe = "unsubscribe",
    Unwatch = "unwatch",
    Wait = "wait",
    Waitaof = "waitaof",
    Watch = "watch",
    Explain = "explain",
    With = "with",
}

/// Which keys a command names: the first and the last word, and the step between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// 0 for none.
    pub first: usize,
    /// Counted from the end when negative.
    pub last: i32,
    /// How far from one to the next.
    pub step: usize,
}

/// A line of the table.
#[derive(Debug)]
pub struct Spec {
    /// What it is.
    pub verb: Verb,
    /// Its name in small letters; a subcommand's without that of its command.
    pub name: &'static str,
    /// How many words, its own among them; at least so many when negative.
    pub arity: i32,
    /// As Redis has them.
    pub flags: Vec<&'static str>,
    /// The keys among its words.
    pub keys: Keys,
    /// Whose line it stands under.
    pub group: &'static str,
    /// Since which version of Redis it is known.
    pub since: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The words behind its name.
    pub syntax: &'static str,
    /// Its subcommands, by name.
    pub subcommands: BTreeMap<&'static str, Spec>,
}

impl Spec {
    /// Whether it has that flag.
    #[must_use]
    pub fn is(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// Whether it can have so many words.
    #[must_use]
    pub fn takes(&self, words: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= arity } else { words == arity }
    }

    /// Where its keys stand among so many words.
    pub fn keys_of(&self, words: usize) -> impl Iterator<Item = usize> + use<> {
        let Keys { first, last, step } = self.keys;
        let last = if last < 0 { words as i64 + i64::from(last) } else { last.into() };
        let last = usize::try_from(last).unwrap_or(0).min(words.saturating_sub(1));
        let none = first == 0 || last < first;
        (first..=last).step_by(step.max(1)).filter(move |_| !none)
    }

    /// The categories of ACLs that it belongs to, with their sign.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> + '_ {
        let of_group = match self.group {
            "string" => "@string",
            "generic" => "@keyspace",
            "transactions" => "@transaction",
            "pubsub" => "@pubsub",
            "connection" => "@connection",
            "scripting" => "@scripting",
            _ => "",
        };
        let all = [
            (self.is("write"), "@write"),
            (self.is("readonly"), "@read"),
            (!of_group.is_empty(), of_group),
            (self.is("admin"), "@admin"),
            (
                self.is("admin") || matches!(self.name, "keys" | "flushall" | "flushdb"),
                "@dangerous",
            ),
            (self.is("fast"), "@fast"),
            (!self.is("fast"), "@slow"),
        ];
        all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, category)| category)
    }
}

/// The table.
#[derive(Debug)]
pub struct Table(BTreeMap<&'static str, Spec>);

/// The table, read once.
pub static COMMANDS: LazyLock<Table> = LazyLock::new(|| read(include_str!("commands.txt")));

/// No name is longer.
const NAME_BYTES_MAX: usize = 20;

impl Table {
    /// The command of that name, in whatever case.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Spec> {
        find(&self.0, name)
    }

    /// The command of a request, or the subcommand that it names.
    #[must_use]
    pub fn of(&self, words: &Words) -> Option<&Spec> {
        let spec = self.get(words.get(0))?;
        if spec.subcommands.is_empty() || words.len() < 2 {
            return Some(spec);
        }
        find(&spec.subcommands, words.get(1))
    }

    /// All commands, by name; subcommands stand with theirs.
    pub fn iter(&self) -> impl Iterator<Item = &Spec> {
        self.0.values()
    }

    /// How many commands there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn find<'a>(specs: &'a BTreeMap<&'static str, Spec>, name: &[u8]) -> Option<&'a Spec> {
    let mut small = [0; NAME_BYTES_MAX];
    let small = small.get_mut(..name.len())?;
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    specs.get(str::from_utf8(small).ok()?)
}

/// Reads the table. A line that cannot be read is a line of ours, and a test says so.
fn read(text: &'static str) -> Table {
    let (mut specs, mut group) = (BTreeMap::new(), "");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            group = name;
        } else if let Some((name, spec)) = read_line(line, group) {
            match name.split_once(' ') {
                Some((command, _)) => {
                    let of: Option<&mut Spec> = specs.get_mut(command);
                    of.map(|of| of.subcommands.insert(spec.name, spec));
                }
                None => _ = specs.insert(name, spec),
            }
        }
    }
    Table(specs)
}

fn read_line(line: &'static str, group: &'static str) -> Option<(&'static str, Spec)> {
    let columns: Vec<&str> = line.splitn(7, " ;").map(str::trim).collect();
    let [name, arity, flags, keys, since, summary, syntax] = columns[..] else { return None };
    let listed = |text: &'static str| text.split(' ').filter(|word| *word != "-");
    let keys: Vec<i32> = listed(keys).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let first = keys.first().map_or(0, |first| first.unsigned_abs() as usize);
    let spec = Spec {
        verb: Verb::named(name)?,
        name: name.rsplit(' ').next()?,
        arity: arity.parse().ok()?,
        flags: listed(flags).collect(),
        keys: Keys {
            first,
            last: keys.get(1).copied().unwrap_or(first as i32),
            step: keys.get(2).map_or(1, |step| step.unsigned_abs() as usize),
        },
        group,
        since,
        summary,
        syntax,
        subcommands: BTreeMap::new(),
    };
    Some((name, spec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("commands.txt").lines();
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        let read = COMMANDS.iter().map(|spec| 1 + spec.subcommands.len()).sum::<usize>();
        assert_eq!(read, lines);
        let all =
            || COMMANDS.iter().flat_map(|spec| [spec].into_iter().chain(spec.subcommands.values()));
        let verbs: BTreeSet<Verb> = all().map(|spec| spec.verb).collect();
        let helps = all().filter(|spec| spec.verb == Verb::Help).count();
        assert_eq!(verbs.len() - 1 + helps, lines, "each has a verb of its own");
        for spec in all() {
            assert!(!spec.summary.is_empty() && spec.name.len() <= NAME_BYTES_MAX, "{}", spec.name);
            assert!(spec.arity != 0 && !spec.group.is_empty(), "{}", spec.name);
        }
    }

    #[test]
    fn a_command_is_found_in_any_case_and_by_its_subcommand() {
        let verb = |line: &str| COMMANDS.of(&line.split(' ').collect()).map(|spec| spec.verb);
        assert_eq!(verb("gEt a"), Some(Verb::Get));
        assert_eq!(verb("CLIENT no-EVICT on"), Some(Verb::ClientNoEvict));
        assert_eq!(verb("client"), Some(Verb::Client));
        assert_eq!(verb("object help"), Some(Verb::Help));
        for unknown in ["", "gett", "client what", "a-name-that-is-longer-than-any"] {
            assert_eq!(verb(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_commands_keys_are_where_the_table_says() {
        let keys = |line: &str| {
            let words: Words = line.split(' ').collect();
            let spec = COMMANDS.of(&words).unwrap();
            spec.keys_of(words.len()).map(|at| words.share(at)).collect::<Vec<_>>()
        };
        assert_eq!(keys("get a"), ["a"]);
        assert_eq!(keys("mset a 1 b 2"), ["a", "b"]);
        assert_eq!(keys("del a b c"), ["a", "b", "c"]);
        assert_eq!(keys("rename a b"), ["a", "b"]);
        assert_eq!(keys("memory usage a samples 5"), ["a"]);
        assert!(keys("ping").is_empty() && keys("get").is_empty());
    }
}
