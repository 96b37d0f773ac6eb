//! The cluster's secret, as nodes are told it, and those who ask at their port.
//!
//! It stands in a file or in the environment and is never an argument, which every process of the
//! machine may read.
//!
//! Not here: how it is proven (`trilith_net::peer::proof`).

use clap::Args;
use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use trilith_net::{client::ClientOptions, peer::proof::Secret};

use crate::{
    config::Settings,
    failure::{CONFIGURATION, FILE, Failure, Outcome},
    password::luck,
};

/// Where those who ask look for it: what nodes read, too.
const VARIABLE: &str = "TRILITH_CLUSTER__SECRET";
const FILE_VARIABLE: &str = "TRILITH_CLUSTER__SECRET_FILE";

/// What somebody who asks at the nodes' own port must know, where the cluster has a secret.
#[derive(Args, Debug, Default)]
pub struct Shared {
    /// A file with the cluster's secret. Without it TRILITH_CLUSTER__SECRET_FILE and
    /// TRILITH_CLUSTER__SECRET are looked at.
    #[arg(long, global = true, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Shared {
    /// A client that knows it, if it was said.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn client(&self) -> Outcome<ClientOptions> {
        let named = env::var_os(FILE_VARIABLE).map(PathBuf::from);
        let path = self.secret_file.clone().or(named);
        let secret = match (path, env::var(VARIABLE)) {
            (Some(path), _) => Some(read(&path)?),
            (None, Ok(text)) => Some(of(&text, VARIABLE)?),
            (None, Err(_)) => None,
        };
        Ok(ClientOptions { secret, ..ClientOptions::default() })
    }
}

/// The secret that settings say, themselves or by a file.
///
/// # Errors
/// When they say two, or it cannot be read, or is none.
pub fn said(settings: &Settings) -> Outcome<Option<Secret>> {
    match (&settings.secret, &settings.secret_file) {
        (Some(_), Some(_)) => {
            let cause = "cluster.secret and cluster.secret_file are two ways to say one thing";
            Err(Failure::new(&CONFIGURATION, cause, "leave one of them out"))
        }
        (Some(secret), None) => Ok(Some(secret.0)),
        (None, Some(path)) => read(path).map(Some),
        (None, None) => Ok(None),
    }
}

fn of(text: &str, origin: &str) -> Outcome<Secret> {
    Secret::new(text.trim().as_bytes()).map_err(|why| {
        Failure::new(&CONFIGURATION, format!("{origin}: {why}"), "trilith config secret makes one")
    })
}

fn read(path: &Path) -> Outcome<Secret> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        let next = "name a file that holds the secret and that this user may read";
        Failure::new(&FILE, format!("{name}: {error}"), next)
    })?;
    of(&text, &name)
}

/// A new one: as much luck as its key has, in hex.
///
/// # Errors
/// When the system has none to give.
pub fn new() -> Outcome<String> {
    let mut text = String::new();
    for byte in luck::<32>()? {
        // Writing into a string does not fail.
        let _written = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_is_one_and_no_two_are_the_same() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert_ne!(one, other);
        assert!(of(&one, "x").is_ok() && one.len() == 64);
        let why = of("hunter2", "x").unwrap_err().to_string();
        assert!(
            why.contains("x: a secret has 32 to 1024 bytes") && !why.contains("hunter2"),
            "{why}"
        );
    }
}
