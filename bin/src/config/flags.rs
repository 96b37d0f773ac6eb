//! The flags of commands that run nodes: one for each setting that the command has, and `--config`.
//!
//! Not here: what the settings are (`schema.rs`).

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use std::path::{Path, PathBuf};

use super::{Origin, Resolved, SETTINGS, Said, Setting, Settings};
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
        let Resolved { mut settings, origins, .. } =
            Resolved::read(self.config.as_deref(), self.said.clone())?;
        Self::check(&settings, &origins)?;
        for (setting, origin) in SETTINGS.iter().zip(origins) {
            if let Some(usual) = Self::usual(setting).filter(|_| origin == Origin::Default) {
                // A test reads all of them.
                let _read = (setting.read)(&mut settings, &usual);
            }
        }
        Ok(settings)
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
        let many = Flags::<true>::augment_args(Command::new("test"));
        assert!(many.try_get_matches_from(["test", "--members", "1=127.0.0.1:1"]).is_err());
    }
}
