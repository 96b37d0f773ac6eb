//! The flags of commands that run nodes: one for each setting that the command has, and `--config`.
//!
//! Not here: what the settings are (`schema.rs`).

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use std::path::{Path, PathBuf};

use trilith_engine::codec;
use trilith_net::peer::settings;

use super::{
    Origin, Resolved, SETTINGS, Said, Setting, Settings,
    schema::{Scope, USERS, shown_user},
};
use crate::failure::{CONFIGURATION, Failure, Outcome};

/// What was said with flags. A command leaves out the settings that mean nothing to it: those of
/// these names.
#[derive(Clone, Debug, Default)]
pub struct Flags<const ALONE: bool> {
    config: Option<PathBuf>,
    said: Vec<Said>,
}

/// What is usual for a node that is alone, where it is not what is usual for others.
const USUAL_ALONE: &[(&str, &str)] = &[
    ("node.data", "trilith-data/standalone"),
    ("node.listen", "127.0.0.1:7381"),
    ("resp.listen", "127.0.0.1:7379"),
    ("http.listen", "127.0.0.1:7380"),
    // Nobody else can lead, so there is nobody to give time to: the first write waits this long.
    ("raft.election_ms", "150"),
];

/// What is to be logged.
const LOG_LEVEL: &str = "log.level";

/// What means nothing to a node that is alone.
const OF_MANY: &[&str] =
    &["cluster.name", "cluster.members", "cluster.groups", "node.id", "raft.drift_ppm"];

impl Setting {
    /// Whether it means nothing to a node that is alone.
    pub(super) fn is_of_many(&self) -> bool {
        OF_MANY.contains(&self.name)
    }

    /// Whether it is what it is where nothing is said.
    pub(super) fn is_usual(&self, settings: &Settings) -> bool {
        (self.shown)(settings) == (self.shown)(&Settings::default())
    }
}

impl<const ALONE: bool> Flags<ALONE> {
    fn help(setting: &Setting) -> String {
        let (about, variable) = (setting.about, setting.variable());
        match Self::usual(setting) {
            Some(usual) => format!("{about} [env: {variable}] [default: {usual}]"),
            None => format!("{about} [env: {variable}]"),
        }
    }

    /// Whether it means something here.
    fn knows(setting: &Setting) -> bool {
        !(ALONE && setting.is_of_many())
    }

    /// Whether it has a flag here.
    fn has(setting: &Setting) -> bool {
        Self::knows(setting) && !setting.is_hidden()
    }

    /// What is said where nothing else is.
    fn usual(setting: &Setting) -> Option<String> {
        let own = USUAL_ALONE.iter().find(|(name, _)| ALONE && *name == setting.name);
        own.map(|(_, usual)| (*usual).to_owned()).or_else(|| (setting.shown)(&Settings::default()))
    }

    /// None, beside this file.
    pub(super) fn of_file(file: &Path) -> Self {
        Self { config: Some(file.to_owned()), said: Vec::new() }
    }

    /// What they come to, with the file and the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it, and where.
    pub fn resolve(&self) -> Outcome<Settings> {
        self.resolve_all(None).map(|resolved| resolved.settings)
    }

    /// The same, and where each comes from. What is to be logged may have been said to the program
    /// (`--log`), and not to the command.
    ///
    /// # Errors
    /// Everything that is wrong with it, and where.
    pub fn resolve_all(&self, level: Option<tracing::Level>) -> Outcome<Resolved> {
        let mut resolved = Resolved::read(self.config.as_deref(), self.said.clone())?;
        let Resolved { settings, origins, .. } = &mut resolved;
        Self::check(settings, origins)?;
        for (setting, origin) in SETTINGS.iter().zip(origins) {
            if let Some(usual) = Self::usual(setting).filter(|_| *origin == Origin::Default) {
                // A test reads all of them.
                let _read = (setting.read)(settings, &usual);
            }
            if let Some(level) = level.filter(|_| setting.name == LOG_LEVEL) {
                (settings.log_level, *origin) = (level, Origin::Flag("log"));
            }
        }
        Ok(resolved)
    }

    /// What a node tells of it to who asks at the nodes' port: what may be seen, and where it was said.
    pub fn told(resolved: &Resolved) -> Vec<settings::Setting> {
        let Resolved { settings, origins, users } = resolved;
        let known = SETTINGS.iter().zip(origins).filter(|(setting, _)| Self::knows(setting));
        let own = known.map(|(setting, origin)| {
            let value = (setting.shown)(settings);
            let mark = if setting.is_hidden() { 0 } else { mark(value.as_deref()) };
            told(setting.name.to_owned(), setting.scope, value, origin, mark)
        });
        let users = settings.users.iter().map(|(name, kept)| {
            let origin = users.get(&**name).unwrap_or(&Origin::Default);
            let mark = codec::crc(0, kept.to_string().as_bytes());
            let value = Some(shown_user(kept));
            told(format!("{USERS}.{name}"), Scope::Cluster, value, origin, mark)
        });
        own.chain(users).collect()
    }

    /// What means nothing to it may be said as the default, which a file with every setting does.
    fn check(settings: &Settings, origins: &[Origin]) -> Outcome {
        let all = SETTINGS.iter().zip(origins);
        let said = all.filter(|(setting, _)| !Self::knows(setting) && !setting.is_usual(settings));
        let wrong = said.map(|(setting, origin)| {
            format!("{origin}: {} means nothing to a node that is alone", setting.name)
        });
        let wrong: Vec<String> = wrong.collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let next = "leave it out, or run a member of a cluster: trilith server";
        Err(Failure::new(&CONFIGURATION, wrong.join("\n       "), next))
    }
}

fn told(
    name: String,
    scope: Scope,
    value: Option<String>,
    origin: &Origin,
    mark: u32,
) -> settings::Setting {
    let (is_shared, origin) = (scope == Scope::Cluster, origin.to_string());
    settings::Setting { name, is_shared, value, origin, mark }
}

/// The same for what means the same: a list may be said in any order.
fn mark(value: Option<&str>) -> u32 {
    let mut words: Vec<&str> = value.unwrap_or("").split(',').collect();
    words.sort_unstable();
    codec::crc(u32::from(value.is_some()), words.join(",").as_bytes())
}

impl<const ALONE: bool> FromArgMatches for Flags<ALONE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let config = matches.get_one("config").cloned();
        let said = SETTINGS.iter().filter(|setting| Self::has(setting)).filter_map(|setting| {
            let value: &String = matches.get_one(setting.name)?;
            let origin = Origin::Flag(setting.flag);
            Some(Said { name: setting.name.to_owned(), value: value.clone(), origin })
        });
        Ok(Self { config, said: said.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<const ALONE: bool> Args for Flags<ALONE> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Reads settings from this file (TOML); see trilith config default");
        let flags = SETTINGS.iter().filter(|setting| Self::has(setting)).map(|setting| {
            let flag = Arg::new(setting.name)
                .long(setting.flag)
                .value_name(setting.kind)
                .action(ArgAction::Set)
                .help(Self::help(setting));
            // Said without a value it means yes.
            let is_flag = setting.kind == "true or false";
            let flag = if is_flag { flag.num_args(0..=1).require_equals(true) } else { flag };
            if is_flag { flag.default_missing_value("true") } else { flag }
        });
        command.arg(config).args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_can_be_read_and_is_overruled() {
        for (name, usual) in USUAL_ALONE {
            let setting = SETTINGS.iter().find(|setting| setting.name == *name).unwrap();
            (setting.read)(&mut Settings::default(), usual).unwrap();
        }
        let said = |args: &[&str]| {
            let command = Flags::<true>::augment_args(Command::new("test"));
            let matches = command.try_get_matches_from([&["test"], args].concat()).unwrap();
            Flags::<true>::from_arg_matches(&matches).unwrap().resolve().unwrap()
        };
        assert_eq!(said(&[]).election_ms, 150);
        assert_eq!(said(&["--election-ms", "70"]).election_ms, 70);
        assert!(!said(&[]).insecure && said(&["--insecure"]).insecure);
        let path = std::env::temp_dir().join(format!("trilith-alone-{}", std::process::id()));
        std::fs::write(&path, "[cluster]\nname = \"default\"\ngroups = 4\n").unwrap();
        let flags = Flags::<true> { config: Some(path.clone()), said: Vec::new() };
        let failure = flags.resolve().unwrap_err().to_string();
        let other = Flags::<false> { config: Some(path.clone()), said: Vec::new() };
        assert_eq!(other.resolve().unwrap().groups, 4);
        std::fs::remove_file(&path).unwrap();
        let why = ":3: cluster.groups means nothing to a node that is alone";
        assert!(failure.contains(why) && !failure.contains("cluster.name"), "{failure}");
        // What it tells of itself says where each was said.
        let command = Flags::<true>::augment_args(Command::new("test"));
        let matches = command.try_get_matches_from(["test", "--election-ms", "70"]).unwrap();
        let flags = Flags::<true>::from_arg_matches(&matches).unwrap();
        let told = Flags::<true>::told(&flags.resolve_all(Some(tracing::Level::DEBUG)).unwrap());
        let shown = |name: &str| {
            let one = told.iter().find(|told| told.name == name)?;
            Some(format!("{} {}", one.value.as_deref().unwrap_or("-"), one.origin))
        };
        assert_eq!(shown("raft.election_ms").as_deref(), Some("70 --election-ms"));
        assert_eq!(shown("resp.listen").as_deref(), Some("127.0.0.1:7379 default"));
        assert_eq!(shown("log.level").as_deref(), Some("debug --log"));
        assert_eq!(shown("cluster.groups"), None, "it means nothing to a node that is alone");
        let many = Flags::<true>::augment_args(Command::new("test"));
        assert!(many.try_get_matches_from(["test", "--members", "1=127.0.0.1:1"]).is_err());
    }

    #[test]
    fn what_a_node_tells_has_no_secret_and_no_hash_and_tells_those_apart() {
        let hash = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let kept = format!("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ${hash}");
        let told = |members: &str, kept: &str| {
            let secret = "what only the nodes of this cluster know";
            let all = [("cluster.members", members), ("cluster.secret", secret)];
            let said = all.into_iter().chain([("users.alice", kept)]).map(|(name, value)| {
                let origin = Origin::File { path: "a.toml".into(), line: 3 };
                Said { name: name.to_owned(), value: value.to_owned(), origin }
            });
            Flags::<false>::told(&Resolved::of(said, Vec::new()).unwrap())
        };
        let members = "1=127.0.0.1:7381,2=127.0.0.1:7391";
        let one = told(members, &kept);
        let text = format!("{one:?}");
        for hidden in ["what only", "c29tZXNhbHQ", hash] {
            assert!(!text.contains(hidden), "{hidden} is in {text}");
        }
        let find = |all: &[settings::Setting], name: &str| {
            all.iter().find(|told| told.name == name).cloned().unwrap()
        };
        let alice = find(&one, "users.alice");
        assert_eq!(alice.value.as_deref(), Some("argon2id m=8,t=1,p=1"));
        assert_eq!((alice.is_shared, alice.origin.as_str()), (true, "a.toml:3"));
        let secret = find(&one, "cluster.secret");
        assert_eq!((secret.value.as_deref(), secret.mark), (Some("(not shown)"), 0));
        let other = told("2=127.0.0.1:7391,1=127.0.0.1:7381", &kept.replace("CTFh", "CTFi"));
        let mark = |all: &[settings::Setting], name: &str| find(all, name).mark;
        assert_eq!(mark(&one, "cluster.members"), mark(&other, "cluster.members"));
        assert_ne!(mark(&one, "users.alice"), mark(&other, "users.alice"));
        assert_ne!(mark(&one, "cluster.groups"), mark(&one, "raft.drift_ppm"));
    }
}
