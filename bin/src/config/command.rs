//! `trilith config`: what settings there are, what they are now, and whether a file is in order.
//!
//! Not here: how they are read (`mod.rs`).

use clap::Subcommand;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{
    Flags, Origin, Resolved, SETTINGS, Settings,
    schema::{Scope, USERS, USERS_ABOUT, shown_user},
};
use crate::{
    failure::Outcome,
    out::{Cell, Out},
    password, secret, server, standalone,
};

/// Settings, and where they come from.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Reads a file as a server would, with the environment, and says everything that is wrong.
    Check {
        /// Which.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Shows every setting as a server would have it.
    Show {
        /// With this file.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// And where each comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Writes a file with every setting and its default, to begin with.
    Default,
    /// Makes the line that is kept of a password. It is asked for twice, or read from a pipe.
    HashPassword,
    /// Makes a secret for a cluster.
    Secret,
}

/// Runs it.
///
/// # Errors
/// What is wrong with the settings.
pub fn run(config: &Config, out: Out) -> Outcome {
    match config {
        Config::Check { file } => {
            let resolved = Resolved::read(Some(file), Vec::new())?;
            let begin = check(file, &resolved.settings)?;
            let is_said = |origin: &&Origin| **origin != Origin::Default;
            let said = resolved.origins.iter().filter(is_said).count() + resolved.users.len();
            let lacking = server::lacking(&resolved.settings);
            let names: Vec<_> = lacking.iter().map(|setting| setting.name).collect();
            let lacks = if names.is_empty() { Cell::Absent } else { names.join(", ").into() };
            out.facts(&[
                ("settings", said.into()),
                ("wrong", 0_u64.into()),
                ("server_lacks", lacks),
            ])?;
            out.next(&format!("{begin} --config {}", file.display()));
            Ok(())
        }
        Config::Show { config, origin } => {
            let resolved = Resolved::read(config.as_deref(), Vec::new())?;
            let rows = SETTINGS.iter().zip(&resolved.origins).map(|(setting, from)| {
                let value = (setting.shown)(&resolved.settings).map_or(Cell::Absent, Cell::from);
                let mut row = vec![setting.name.into(), value, setting.scope.word().into()];
                if *origin {
                    row.push(from.to_string().into());
                }
                row
            });
            let users = resolved.settings.users.iter().map(|(name, kept)| {
                let setting = format!("{USERS}.{name}");
                let scope = Scope::Cluster.word();
                let mut row = vec![setting.into(), shown_user(kept).into(), scope.into()];
                if *origin {
                    let from = resolved.users.get(&**name);
                    row.push(from.map_or(Cell::Absent, |from| from.to_string().into()));
                }
                row
            });
            let columns: &[&str] = if *origin {
                &["setting", "value", "scope", "origin"]
            } else {
                &["setting", "value", "scope"]
            };
            out.table(columns, &rows.chain(users).collect::<Vec<Vec<Cell>>>())
        }
        Config::Default => out.raw(default_file().as_bytes()),
        Config::HashPassword => {
            let kept = password::kept(&password::new()?)?.to_string();
            if out.is_json() {
                return out.facts(&[("hash", kept.into())]);
            }
            out.raw(format!("{kept}\n").as_bytes())?;
            out.next("put it into the file of every node: [users], NAME = \"…\"");
            Ok(())
        }
        Config::Secret => {
            let made = secret::new()?;
            if out.is_json() {
                return out.facts(&[("secret", made.into())]);
            }
            out.raw(format!("{made}\n").as_bytes())?;
            out.next("keep it in a file that only the nodes' user may read: cluster.secret_file");
            Ok(())
        }
    }
}

/// Whether a node would begin with these settings; the command that begins one. Which member it is
/// may be said to each with a flag.
fn check(file: &Path, settings: &Settings) -> Outcome<String> {
    if !SETTINGS.iter().any(|setting| setting.is_of_many() && !setting.is_usual(settings)) {
        standalone::plan(&Flags::<true>::of_file(file).resolve()?)?;
        return Ok("trilith standalone".to_owned());
    }
    let mut any = settings.clone();
    match &any.members {
        Some(members) => {
            any.node = any.node.or_else(|| members.0.first().map(|(node, _)| node.0));
            server::plan(&any)?;
        }
        // Nothing is known of the others, so it is looked at as one that has none.
        None => _ = standalone::plan(settings)?,
    }
    let lacking = server::lacking(settings);
    Ok(format!("trilith server {}", server::as_flags(&lacking)).trim_end().to_owned())
}

/// A file with every setting; what has no default is commented out.
fn default_file() -> String {
    let mut text = String::from(
        "# Settings of trilith. The environment is stronger (TRILITH_RAFT__ELECTION_MS=500), and\n\
         # flags are strongest. Those marked [cluster] are the same on every member.\n",
    );
    let mut group = "";
    for setting in SETTINGS {
        let (own, name) = setting.parts();
        if own != group {
            group = own;
            // Writing into a string does not fail.
            let _written = write!(text, "\n[{group}]\n");
        }
        let _written = writeln!(text, "# [{}] {}.", setting.scope.word(), setting.about);
        let quoted = |words: &str| match words.parse::<u64>().is_ok() || words == "false" {
            true => words.to_owned(),
            false => format!("{words:?}"),
        };
        let _written = match (setting.shown)(&Settings::default()) {
            Some(words) => writeln!(text, "{name} = {}", quoted(&words)),
            None => writeln!(text, "# {name} = \"{}\"", setting.kind),
        };
    }
    let _written = write!(
        text,
        "\n[{USERS}]\n# [{}] {USERS_ABOUT}.\n# alice = \"$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH\"\n",
        Scope::Cluster.word(),
    );
    text
}

/// The page about all settings.
#[cfg(test)]
fn page() -> String {
    let mut text = String::from(
        "# Configure\n\n\
         Made from the table of settings (`bin/src/config/schema.rs`); a test compares them, and \
         `UPDATE_DOCS=1 cargo test -p trilith config` writes it anew.\n\n\
         A value is looked for in this order, and what is found later counts: the default, the file \
         (`--config FILE`, TOML), the environment, flags.\n\
         What is said of the *cluster* must be the same on every member.\n\
         A name that is no setting is an error, with the likeliest one that is.\n\n\
         ```text\n\
         trilith config default > node1.toml    a file with every setting\n\
         trilith config check node1.toml        everything that is wrong with it, and where\n\
         trilith config show --config node1.toml --origin\n\
         ```\n\n\
         | setting | flag | environment | value | default | scope | what it is |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for setting in SETTINGS {
        let usual = (setting.shown)(&Settings::default())
            .map_or("–".to_owned(), |words| format!("`{words}`"));
        let flag = match setting.is_hidden() {
            true => "–".to_owned(),
            false => format!("`--{}`", setting.flag),
        };
        let _written = writeln!(
            text,
            "| `{}` | {flag} | `{}` | {} | {usual} | {} | {} |",
            setting.name,
            setting.variable(),
            setting.kind,
            setting.scope.word(),
            setting.about,
        );
    }
    let _written = writeln!(
        text,
        "| `{USERS}.NAME` | – | `TRILITH_USERS__NAME` | PHC string | – | {} | {USERS_ABOUT} |\n\n\
         A name in the environment is in small letters.\n\
         Nodes that differ in users still belong together: a password is changed on one after the \
         other, by restarting it.\n\
         `config show` tells what a password costs to judge and not its hash, and what is wrong with a \
         hash is said without it.",
        Scope::Cluster.word(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_of_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configure.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap();
        assert!(there == page(), "UPDATE_DOCS=1 cargo test -p trilith config");
    }

    #[test]
    fn the_default_file_is_in_order_and_says_the_defaults() {
        let dir = std::env::temp_dir().join(format!("trilith-config-{}", std::process::id()));
        std::fs::write(&dir, default_file()).unwrap();
        let resolved = Resolved::read(Some(&dir), Vec::new()).unwrap();
        std::fs::remove_file(&dir).unwrap();
        for setting in SETTINGS {
            let shown = |settings| (setting.shown)(settings);
            assert_eq!(shown(&resolved.settings), shown(&Settings::default()), "{}", setting.name);
        }
    }

    #[test]
    fn a_file_is_checked_as_the_server_would() {
        let path = std::env::temp_dir().join(format!("trilith-check-{}", std::process::id()));
        let checked = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let resolved = Resolved::read(Some(&path), Vec::new()).unwrap();
            check(&path, &resolved.settings).map_err(|why| why.cause)
        };
        let members = "[cluster]\nmembers = \"1=127.0.0.1:7381,2=127.0.0.1:7391\"\n";
        assert_eq!(checked(&default_file()).unwrap(), "trilith standalone");
        let lacking = checked(members).unwrap();
        assert!(lacking.starts_with("trilith server --node "), "{lacking}");
        for (text, wrong) in [
            ("[http]\nlisten = \"127.0.0.1:7379\"\n", "127.0.0.1:7379 is to be for nodes"),
            ("[resp]\nlisten = \"0.0.0.0:7379\"\n", "is reached from other machines"),
            (&format!("{members}[node]\nid = 3\n"), "node 3 is not among"),
            (&format!("{members}[resp]\nlisten = \"127.0.0.1:7381\"\n"), "7381 is to be for"),
            (&members.replace("7391", "7381"), "two members have the address"),
        ] {
            let why = checked(text).unwrap_err();
            assert!(why.contains(wrong), "{text}: {why}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
