//! The table of settings.
//!
//! Each has a name in a file (`group.name`), a flag, a type that reads its words, a default, and who
//! must agree on it: what is said of the *cluster* must be the same on every member, what is said of
//! a *node* may differ.
//!
//! Beside them stand the users, who have no names of ours: each has a line in the table `[users]`.
//! They are said of the cluster, since any node serves any client; but nodes that differ there still
//! belong together, so that a password can be changed on one after the other.
//!
//! Not here: where words come from (`mod.rs`), what settings do.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use trilith_engine::{journal::JournalOptions, shard::ShardOptions, types::NodeId};
use trilith_net::{
    peer::proof::Secrets,
    users::{Kept, Users},
};

/// Who must agree on a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All members say the same.
    Cluster,
    /// Each says its own.
    Node,
}

impl Scope {
    /// As a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
        }
    }
}

/// A setting.
pub struct Setting {
    /// In a file.
    pub name: &'static str,
    /// On a command line.
    pub flag: &'static str,
    /// What its words are.
    pub kind: &'static str,
    /// Who must agree on it.
    pub scope: Scope,
    /// What it is.
    pub about: &'static str,
    /// Reads its words.
    pub read: fn(&mut Settings, &str) -> Result<(), String>,
    /// Its words; nothing where it is not said.
    pub shown: fn(&Settings) -> Option<String>,
}

/// What a setting holds.
trait Words: Sized {
    /// What its words are.
    const KIND: &'static str;
    /// From its words.
    fn read(text: &str, range: Option<RangeInclusive<u64>>) -> Result<Self, String>;
    /// Its words; nothing where it is not said.
    fn shown(&self) -> Option<String>;
}

impl<T: Words> Words for Option<T> {
    const KIND: &'static str = T::KIND;

    fn read(text: &str, range: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        T::read(text, range).map(Some)
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(T::shown)
    }
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl Words for $type {
            const KIND: &'static str = "whole number";

            fn read(text: &str, range: Option<RangeInclusive<u64>>) -> Result<Self, String> {
                let digits = text.replace('_', "");
                let number: u64 = digits.parse().ok().ok_or_else(|| "it is no whole number".to_owned())?;
                let range = range.unwrap_or(0..=u64::from(Self::MAX));
                if !range.contains(&number) {
                    return Err(format!("it is not between {} and {}", range.start(), range.end()));
                }
                Self::try_from(number).ok().ok_or_else(|| format!("it is above {}", Self::MAX))
            }

            fn shown(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

whole!(u16, u32, u64);

impl Words for bool {
    const KIND: &'static str = "true or false";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        text.parse().ok().ok_or_else(|| "it is neither true nor false".to_owned())
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Words for String {
    const KIND: &'static str = "text";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
    }

    fn shown(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Words for PathBuf {
    const KIND: &'static str = "path";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        String::read(text, None).map(Self::from)
    }

    fn shown(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl Words for SocketAddr {
    const KIND: &'static str = "IP:PORT";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        text.parse().ok().ok_or_else(|| "it is no address like 127.0.0.1:7379".to_owned())
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// The members of a cluster, and where each listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(pub Vec<(NodeId, SocketAddr)>);

impl Words for Members {
    const KIND: &'static str = "1=IP:PORT,…";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        let member = |text: &str| {
            let (node, at) = text.split_once('=').ok_or("a member is like 1=127.0.0.1:7381")?;
            let node = u64::read(node.trim(), None).map_err(|why| format!("{node:?}: {why}"))?;
            let at = SocketAddr::read(at.trim(), None).map_err(|why| format!("{at:?}: {why}"))?;
            Ok((NodeId(node), at))
        };
        text.split(',').map(member).collect::<Result<_, String>>().map(Self)
    }

    fn shown(&self) -> Option<String> {
        let all: Vec<String> = self.0.iter().map(|(node, at)| format!("{node}={at}")).collect();
        Some(all.join(","))
    }
}

/// The members that are named so, and where each listens.
///
/// # Errors
/// Why it is no list of members.
pub fn members_of(text: &str) -> Result<Vec<(NodeId, SocketAddr)>, String> {
    Members::read(text, None).map(|members| members.0)
}

/// Names that a port is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Words for Names {
    const KIND: &'static str = "NAME,…";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let name = |name: &str| match name.trim().trim_end_matches('.') {
            name if !name.is_empty() && name.bytes().all(is_part) => Ok(name.to_owned()),
            name => Err(format!("{name:?} is no name like db.example.com")),
        };
        text.split(',').map(name).collect::<Result<_, String>>().map(Self)
    }

    fn shown(&self) -> Option<String> {
        Some(self.0.join(","))
    }
}

/// The cluster's secret, or two, which are shown nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Hidden(pub Secrets);

impl Words for Hidden {
    const KIND: &'static str = "secret";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        Secrets::read(text.as_bytes()).map(Self).map_err(|why| why.to_string())
    }

    fn shown(&self) -> Option<String> {
        Some("(not shown)".to_owned())
    }
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people on a terminal, JSON elsewhere.
    Auto,
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Words for LogFormat {
    const KIND: &'static str = "auto, text or json";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it is none of auto, text, json".to_owned()),
        }
    }

    fn shown(&self) -> Option<String> {
        let word = match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        };
        Some(word.to_owned())
    }
}

impl Words for tracing::Level {
    const KIND: &'static str = "error, warn, info, debug or trace";

    fn read(text: &str, _: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        text.parse().ok().ok_or_else(|| "it is none of error, warn, info, debug, trace".to_owned())
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string().to_ascii_lowercase())
    }
}

macro_rules! settings {
    ($($field:ident: $type:ty = $usual:expr, $name:literal, $flag:literal, $scope:ident
        $(, $range:expr)?; $about:literal)*) => {
        /// The values of all settings.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $(#[doc = $about] pub $field: $type,)*
            /// Who may be a Redis or HTTP client.
            pub users: Users,
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($field: $usual,)* users: Users::default() }
            }
        }

        /// All settings, group by group.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            flag: $flag,
            kind: <$type as Words>::KIND,
            scope: Scope::$scope,
            about: $about,
            read: |settings, text| {
                #[allow(unused_assignments, unused_mut, reason = "most have no range of their own")]
                let mut range = None;
                $(range = Some($range);)?
                settings.$field = Words::read(text, range)?;
                Ok(())
            },
            shown: |settings| settings.$field.shown(),
        }),*];
    };
}

settings! {
    cluster: String = "default".to_owned(), "cluster.name", "cluster", Cluster;
    "The cluster's name"
    members: Option<Members> = None, "cluster.members", "members", Cluster;
    "All members, this one among them"
    groups: u16 = 1, "cluster.groups", "groups", Cluster, 1..=16_384;
    "How many groups the keys are split over; for ever"

    secret: Option<Hidden> = None, "cluster.secret", "", Cluster;
    "What all nodes know, and who asks at their port: they prove it to each other and never say it. A second one in another line is taken too, while it is changed. Without any nobody is asked for it"
    secret_file: Option<PathBuf> = None, "cluster.secret_file", "secret-file", Node;
    "A file with that in the place of cluster.secret"

    node: Option<u64> = None, "node.id", "node", Node, 1..=i64::MAX as u64;
    "The number of this node, from 1"
    data: Option<PathBuf> = None, "node.data", "data", Node;
    "Where this node keeps its data; made when it is not there"
    listen: Option<SocketAddr> = None, "node.listen", "listen", Node;
    "Where to listen for nodes and for `trilith cli`, when that is not this node's address among the members"

    resp: Option<SocketAddr> = None, "resp.listen", "resp", Node;
    "Where Redis clients are served; a cluster's node serves none unless this says where"
    http: Option<SocketAddr> = None, "http.listen", "http", Node;
    "Where HTTP clients are served; a cluster's node serves none unless this says where"
    http_hosts: Option<Names> = None, "http.hosts", "http-hosts", Node;
    "Names by which HTTP clients may ask for this node, beside its addresses and localhost; a web page can have any other name point here"
    text: Option<SocketAddr> = None, "text.listen", "text", Node;
    "Where clients of the text protocol are served; none are unless this says where"
    within_ms: u64 = 5000, "serve.within_ms", "within-ms", Node, 10..=600_000;
    "How long what a Redis, HTTP or text client asks may take before it is answered that it did not happen, or that nobody knows"
    farewell_ms: u64 = 0, "serve.farewell_ms", "farewell-ms", Node, 0..=600_000;
    "How long a node that was told to end still serves, while /readyz says that it ends: so long as balancers need to send nobody to it any more"
    insecure: bool = false, "serve.insecure", "insecure", Node;
    "Listens beyond this machine also where nobody is asked who he is"

    election_ms: u64 = 1000, "raft.election_ms", "election-ms", Cluster, 50..=60_000;
    "How long a leader may be silent before others replace it"
    drift_ppm: Option<u32> = None, "raft.drift_ppm", "drift-ppm", Node, 1..=500_000;
    "How far the rates of two nodes' clocks differ at most, in millionths: given, this node serves reads without asking the others where it leads"

    segment_bytes: u64 = JournalOptions::default().segment_bytes_max, "storage.segment_bytes", "segment-bytes", Node, 8192..=268_435_456;
    "How large a segment of the journal becomes"
    reserve_bytes: u64 = ShardOptions::default().journal.reserve_bytes, "storage.reserve_bytes", "reserve-bytes", Node;
    "How much of the disk is kept back, so that a full one can be emptied"
    retain_bytes: u64 = ShardOptions::default().retain_bytes, "storage.retain_bytes", "retain-bytes", Node;
    "How much of the journal is kept for followers that are behind"
    compaction_rate: u64 = ShardOptions::default().compaction_bytes_per_second, "storage.compaction_bytes_per_second", "compaction-bytes-per-second", Node;
    "How many bytes a second compaction moves at most; 0 for no limit"
    scrub_rate: u64 = ShardOptions::default().scrub_bytes_per_second, "storage.scrub_bytes_per_second", "scrub-bytes-per-second", Node;
    "How many bytes a second are read to see whether they are still whole; 0 for none"
    cache_bytes: u64 = ShardOptions::default().cache_bytes, "storage.cache_bytes", "cache-bytes", Node;
    "How many bytes of applied entries each group keeps in memory for its followers"
    hot_bytes: u64 = ShardOptions::default().hot_bytes, "storage.hot_bytes", "hot-bytes", Node, 0..=1 << 40;
    "How many bytes of memory hold values that were read lately; 0 for none"

    log_level: tracing::Level = tracing::Level::INFO, "log.level", "log-level", Node;
    "What is logged, to standard error"
    log_format: LogFormat = LogFormat::Auto, "log.format", "log-format", Node;
    "How it is logged: text on a terminal and JSON elsewhere, or always the same"
}

/// The table of users, and how its names begin.
pub const USERS: &str = "users";

/// What stands in the table of users, for pages.
pub const USERS_ABOUT: &str = "A user who may be a Redis, HTTP or text client, and what argon2id made of \
                               his password: trilith config hash-password. Without any user nobody is \
                               asked who he is";

/// Which user a name in a file or in the environment is of.
#[must_use]
pub fn user_of(name: &str) -> Option<&str> {
    name.strip_prefix(USERS)?.strip_prefix('.')
}

/// Reads what is said of a user. What is wrong with it never repeats it: that may be a password.
///
/// # Errors
/// Why it cannot be.
pub fn read_user(users: &mut Users, name: &str, words: &str) -> Result<(), String> {
    let kept = Kept::read(words).map_err(|why| why.to_string())?;
    users.put(name, kept).map_err(|why| why.to_string())
}

/// What may be shown of what is kept of a password.
#[must_use]
pub fn shown_user(kept: &Kept) -> String {
    format!("argon2id {}", kept.cost())
}

impl Setting {
    /// In the environment.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", super::PREFIX, self.name.replace('.', "__").to_ascii_uppercase())
    }

    /// Whether its words are shown to nobody. Such a one has no flag: arguments can be seen by all.
    #[must_use]
    pub const fn is_hidden(&self) -> bool {
        self.flag.is_empty()
    }

    /// Its group and its name within that.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_flags_are_said_once_and_groups_lie_together() {
        let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        let flags: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.flag).collect();
        assert_eq!((names.len(), flags.len()), (SETTINGS.len(), SETTINGS.len()));
        let mut groups: Vec<_> = SETTINGS.iter().map(|setting| setting.parts().0).collect();
        groups.dedup();
        let distinct: BTreeSet<_> = groups.iter().collect();
        assert_eq!(distinct.len(), groups.len(), "{groups:?}");
    }

    #[test]
    fn what_is_shown_is_read_again() {
        let mut settings = Settings::default();
        let members = Members(vec![(NodeId(1), ([127, 0, 0, 1], 7381).into())]);
        (settings.members, settings.node) = (Some(members), Some(1));
        (settings.data, settings.drift_ppm) = (Some("a b".into()), Some(1000));
        settings.resp = Some(([127, 0, 0, 1], 7379).into());
        let mut other = Settings::default();
        for setting in SETTINGS {
            if let Some(words) = (setting.shown)(&settings) {
                (setting.read)(&mut other, &words).unwrap();
                assert_eq!((setting.shown)(&other), Some(words), "{}", setting.name);
            }
        }
    }

    #[test]
    fn words_that_cannot_be_say_why() {
        let wrong = |name: &str, words: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
            (setting.read)(&mut Settings::default(), words).unwrap_err()
        };
        assert_eq!(wrong("cluster.groups", "0"), "it is not between 1 and 16384");
        assert_eq!(wrong("cluster.groups", "-1"), "it is no whole number");
        assert_eq!(wrong("cluster.name", ""), "it is empty");
        assert_eq!(wrong("resp.listen", "7379"), "it is no address like 127.0.0.1:7379");
        assert_eq!(wrong("cluster.members", "127.0.0.1:1"), "a member is like 1=127.0.0.1:7381");
        assert_eq!(wrong("cluster.members", "a=127.0.0.1:1"), "\"a\": it is no whole number");
        assert_eq!(wrong("serve.insecure", "yes"), "it is neither true nor false");
        assert_eq!(wrong("log.format", "xml"), "it is none of auto, text, json");
    }
}
