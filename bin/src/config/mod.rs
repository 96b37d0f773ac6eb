//! Configuration: one table of settings, and what a file, the environment and flags say of them.
//!
//! ```text
//!   defaults  <  file (TOML)  <  environment (TRILITH_RAFT__ELECTION_MS)  <  flags (--election-ms)
//! ```
//! The table (`schema.rs`) is the only place where a setting is named. From it come the fields that
//! programs read, the flags, the names in the environment, `config check`, `config show`,
//! `config default` and the page `bin/docs/configure.md`.
//!
//! Every value is text until its setting reads it, wherever it comes from; so the same words mean
//! the same everywhere, and each knows where it was said. A name that is no setting is an error with
//! the likeliest one that is.
//!
//! Not here: what settings do (`server.rs`, `standalone.rs`, `log.rs`).

mod command;
mod file;
mod flags;
#[cfg(test)]
mod garbage;
mod schema;

pub use command::{Config, run};
pub use file::text_of;
pub use flags::Flags;
pub use schema::{LogFormat, SETTINGS, Setting, Settings, members_of};

use file::Parsed;
use schema::{read_user, user_of};
use std::{collections::BTreeMap, env, ffi::OsStr, fmt, path::Path};

use crate::failure::{CONFIGURATION, Failure, Outcome};

/// How names in the environment begin.
const PREFIX: &str = "TRILITH_";

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a file.
    File {
        /// Which.
        path: String,
        /// On which line.
        line: usize,
    },
    /// In the environment, under this name.
    Environment(String),
    /// With this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// Something that was said of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub name: String,
    /// What.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// All settings, and where each comes from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Their values.
    pub settings: Settings,
    /// In the order of the table.
    pub origins: Vec<Origin>,
    /// Where each user comes from.
    pub users: BTreeMap<String, Origin>,
}

impl Resolved {
    /// What all of it comes to, beside what is known to be wrong: later ones win.
    ///
    /// # Errors
    /// Everything that is wrong with it, and where.
    pub fn of(said: impl IntoIterator<Item = Said>, mut wrong: Vec<String>) -> Outcome<Self> {
        let origins = vec![Origin::Default; SETTINGS.len()];
        let mut resolved = Self { settings: Settings::default(), origins, users: BTreeMap::new() };
        for Said { name, value, origin } in said {
            if let Some(user) = user_of(&name) {
                match read_user(&mut resolved.settings.users, user, value.trim()) {
                    Ok(()) => _ = resolved.users.insert(user.to_owned(), origin),
                    Err(why) => wrong.push(format!("{origin}: {name}: {why}")),
                }
                continue;
            }
            let Some(at) = SETTINGS.iter().position(|setting| setting.name == name) else {
                wrong.push(format!("{origin}: {}", unknown(&name)));
                continue;
            };
            match (SETTINGS[at].read)(&mut resolved.settings, value.trim()) {
                Ok(()) => resolved.origins[at] = origin,
                Err(why) if SETTINGS[at].is_hidden() => {
                    wrong.push(format!("{origin}: {name}: {why}"));
                }
                Err(why) => wrong.push(format!("{origin}: {name} = {value:?}: {why}")),
            }
        }
        if wrong.is_empty() {
            return Ok(resolved);
        }
        let next = "trilith config default shows every setting with its default";
        Err(Failure::new(&CONFIGURATION, wrong.join("\n       "), next))
    }

    /// What the file (if one is named), the environment and these flags come to.
    ///
    /// # Errors
    /// As [`Resolved::of`], and when the file cannot be read.
    pub fn read(path: Option<&Path>, flags: Vec<Said>) -> Outcome<Self> {
        let Parsed { mut said, wrong } = match path {
            Some(path) => file::read(path)?,
            None => Parsed::default(),
        };
        said.extend(environment(env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        })));
        said.extend(flags);
        Self::of(said, wrong)
    }
}

/// What the environment says. Names of ours that are of no group are other programs' business,
/// unless somebody seems to have meant a setting.
fn environment(all: impl Iterator<Item = (String, String)>) -> Vec<Said> {
    let mut said: Vec<Said> = all
        .filter_map(|(name, value)| {
            let own = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
            let is_meant = || SETTINGS.iter().any(|setting| distance(&own, setting.name) <= 2);
            let setting = match own.split_once("__") {
                Some((group, own)) => format!("{group}.{own}"),
                // With a single line between the two it is no setting, and is refused as such.
                None if is_meant() => own,
                None => return None,
            };
            Some(Said { name: setting, value, origin: Origin::Environment(name) })
        })
        .collect();
    said.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    said
}

/// Whether something of that name in the environment is a setting.
pub fn is_setting(name: &OsStr) -> bool {
    name.to_str().and_then(|name| name.strip_prefix(PREFIX)).is_some_and(|own| own.contains("__"))
}

/// That it is no setting, and which one was probably meant.
fn unknown(name: &str) -> String {
    let nearest = SETTINGS.iter().map(|setting| (distance(name, setting.name), setting.name)).min();
    match nearest {
        Some((far, meant)) if far <= 2 + name.len() / 4 => {
            format!("there is no setting {name:?}; did you mean {meant:?}?")
        }
        _ => format!("there is no setting {name:?}"),
    }
}

/// How many letters one has to change, add or leave out to come from one word to the other.
pub fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (to, wanted) in other.bytes().enumerate() {
            let change = before + usize::from(letter != wanted);
            before = row[to + 1];
            row[to + 1] = change.min(before + 1).min(row[to] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str, origin: Origin) -> Said {
        Said { name: name.to_owned(), value: value.to_owned(), origin }
    }

    /// Nodes that this program starts for itself are not to have them.
    #[test]
    fn settings_in_the_environment_are_known_by_their_names() {
        let is = |name: &str| is_setting(OsStr::new(name));
        assert!(is("TRILITH_CLUSTER__SECRET") && is("TRILITH_USERS__ALICE"));
        assert!(!is("TRILITH_LOG") && !is("TRILITH_PASSWORD") && !is("PATH") && !is("MY__OWN"));
    }

    #[test]
    fn what_is_said_later_counts() {
        let flag = Origin::Flag("election-ms");
        let file = Origin::File { path: "a.toml".into(), line: 3 };
        let all = [
            said("raft.election_ms", "300", file.clone()),
            said("cluster.groups", "7", file.clone()),
            said("raft.election_ms", "400", flag.clone()),
        ];
        let resolved = Resolved::of(all, Vec::new()).unwrap();
        assert_eq!((resolved.settings.election_ms, resolved.settings.groups), (400, 7));
        let at = |name| SETTINGS.iter().position(|setting| setting.name == name).unwrap();
        assert_eq!(resolved.origins[at("raft.election_ms")], flag);
        assert_eq!(resolved.origins[at("cluster.groups")], file);
        assert_eq!(resolved.origins[at("cluster.name")], Origin::Default);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let all = [
            said("raft.election", "300", Origin::File { path: "a.toml".into(), line: 2 }),
            said("cluster.groups", "many", Origin::Environment("TRILITH_CLUSTER__GROUPS".into())),
            said("raft.election_ms", "1", Origin::Flag("election-ms")),
            said("weather.now", "sun", Origin::File { path: "a.toml".into(), line: 9 }),
        ];
        let failure = Resolved::of(all, Vec::new()).unwrap_err().to_string();
        for part in [
            "a.toml:2: there is no setting \"raft.election\"; did you mean \"raft.election_ms\"?",
            "TRILITH_CLUSTER__GROUPS: cluster.groups = \"many\": it is no whole number",
            "--election-ms: raft.election_ms = \"1\": it is not between 50 and 60000",
            "a.toml:9: there is no setting \"weather.now\"",
        ] {
            assert!(failure.contains(part), "{part}\nis not in\n{failure}");
        }
    }

    #[test]
    fn the_environment_names_settings_in_capitals() {
        let all = [("PATH", "/bin"), ("TRILITH_LOG", "x"), ("TRILITH_RAFT__ELECTION_MS", "70")];
        let all = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let expected = Origin::Environment("TRILITH_RAFT__ELECTION_MS".into());
        assert_eq!(environment(all), [said("raft.election_ms", "70", expected)]);
        let half = ("TRILITH_SERVE_INSECURE".to_owned(), "true".to_owned());
        let failure =
            Resolved::of(environment([half].into_iter()), Vec::new()).unwrap_err().to_string();
        let meant = "TRILITH_SERVE_INSECURE: there is no setting \"serve_insecure\"; did you mean";
        assert!(failure.contains(meant), "{failure}");
    }

    #[test]
    fn users_are_lines_of_a_table_and_wrong_ones_are_not_repeated() {
        let kept =
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let line = |line| Origin::File { path: "a.toml".into(), line };
        let variable = ("TRILITH_USERS__ALICE".to_owned(), kept.to_owned());
        let mut all = vec![said("users.alice", kept, line(3)), said("users.b.c", kept, line(4))];
        all.extend(environment([variable].into_iter()));
        let resolved = Resolved::of(all, Vec::new()).unwrap();
        let users: Vec<_> = resolved.settings.users.iter().map(|(name, _)| &**name).collect();
        assert_eq!(users, ["alice", "b.c"]);
        assert_eq!(resolved.users["alice"].to_string(), "TRILITH_USERS__ALICE");
        assert_eq!(resolved.users["b.c"].to_string(), "a.toml:4");
        let dear = kept.replace("m=8", "m=1000000");
        let all = [
            said("users.alice", "hunter2", line(1)),
            said("users.a b", kept, line(2)),
            said("users.bob", &dear, line(3)),
            said("users", "x", line(4)),
            said("cluster.secret", "hunter2", line(5)),
        ];
        let failure = Resolved::of(all, Vec::new()).unwrap_err().to_string();
        for part in [
            "a.toml:1: users.alice: it is no hash like $argon2id$",
            "a.toml:2: users.a b: a user's name has 1 to 64 letters",
            "a.toml:3: users.bob: its hash would take one login too much of a node",
            "a.toml:4: there is no setting \"users\"",
            "a.toml:5: cluster.secret: a secret has 32 to 1024 bytes",
        ] {
            assert!(failure.contains(part), "{part}\nis not in\n{failure}");
        }
        assert!(!failure.contains("hunter2") && !failure.contains("c29tZXNhbHQ"), "{failure}");
    }

    #[test]
    fn words_are_as_far_apart_as_their_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("election", "election"), 0);
        assert_eq!(distance("resp.lisen", "resp.listen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
