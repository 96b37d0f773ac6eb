//! The cluster's secret, as nodes are told it, and those who ask at their port.
//!
//! It stands in a file or in the environment and is never an argument, which every process of the
//! machine may read. While it is changed there are two, one a line; who asks knows the first.
//!
//! A cluster that this program makes for itself (`demo`, `bench`, `kill`) has one of its own.
//!
//! Not here: how it is proven (`trilith_net::peer::proof`).

use clap::Args;
use std::{
    env,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use trilith_net::{
    client::ClientOptions,
    peer::{
        Trouble,
        hello::{Identity, Refusal},
        proof::{Secret, Secrets},
    },
};

use crate::{
    config::{Settings, text_of},
    failure::{CONFIGURATION, FILE, Failure, Outcome, STRANGER},
    password::luck,
};

/// Where those who ask look for it: what nodes read, too.
const VARIABLE: &str = "TRILITH_CLUSTER__SECRET";
const FILE_VARIABLE: &str = "TRILITH_CLUSTER__SECRET_FILE";

/// Two secrets of the longest kind, and many empty lines.
const FILE_BYTES_MAX: u64 = 64 << 10;

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
        Ok(ClientOptions { secret: secret.map(|all| all.first()), ..ClientOptions::default() })
    }
}

/// That the nodes that answer do not know who asks, if that is so. Who is let in by one of them is none
/// to ask whom the others take him for.
pub fn stranger(at: &[SocketAddr], told: &[Result<Identity, Trouble>]) -> Option<Failure> {
    if told.iter().any(Result::is_ok) {
        return None;
    }
    let mut told = at.iter().zip(told).filter_map(|(at, told)| Some((at, told.as_ref().err()?)));
    let (at, why) = told.find(|(_, why)| why.is_about_secrets())?;
    Some(unknown(*at, why))
}

/// That this node does not know who asks.
pub fn unknown(at: SocketAddr, why: &Trouble) -> Failure {
    let cause = match why {
        Trouble::Refusing(Refusal::NoSecret) => {
            format!("{at} asks for the cluster's secret, and none was named")
        }
        Trouble::Refusing(Refusal::Unproven) => {
            format!(
                "{at} asks for no secret, so it is of another cluster than the one that was named"
            )
        }
        Trouble::Refused(Refusal::Unproven) => {
            format!("{at} knows another secret than the one that was named")
        }
        other => format!("{at}: {other}"),
    };
    Failure::new(&STRANGER, cause, NAME_IT)
}

/// What to do about it.
pub const NAME_IT: &str = "name the file of the cluster's secret: --secret-file FILE";

/// The secrets that settings say, themselves or by a file.
///
/// # Errors
/// When they say both, or the file cannot be read, or has none.
pub fn said(settings: &Settings) -> Outcome<Option<Secrets>> {
    match (&settings.secret, &settings.secret_file) {
        (Some(_), Some(_)) => {
            let cause = "cluster.secret and cluster.secret_file are two ways to say one thing";
            Err(Failure::new(&CONFIGURATION, cause, "leave one of them out"))
        }
        (Some(secret), None) => Ok(Some(secret.0)),
        (None, Some(path)) => {
            if let Some(mode) = shown_to_others(path) {
                let (file, mode) = (path.display(), format!("{mode:04o}"));
                tracing::warn!(%file, mode, "others on this machine may have the cluster's secret: chmod 600, and change it if they did");
            }
            read(path).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// Who may have a file, where that is not this user alone.
fn shown_to_others(path: &Path) -> Option<u32> {
    // What cannot be looked at cannot be read either, and that is said.
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

fn of(text: &str, origin: &str) -> Outcome<Secrets> {
    Secrets::read(text.as_bytes()).map_err(|why| {
        Failure::new(&CONFIGURATION, format!("{origin}: {why}"), "trilith config secret makes one")
    })
}

fn read(path: &Path) -> Outcome<Secrets> {
    let name = path.display().to_string();
    let text = text_of(path, FILE_BYTES_MAX).map_err(|error| {
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

/// What is in that file; a new one, which only this user may read, when there is none. For a cluster of
/// which nobody else has to know.
///
/// # Errors
/// When there is no luck, or the file cannot be written, or what is there is none.
pub fn keep(path: &Path) -> Outcome<Secret> {
    if path.exists() {
        return read(path).map(|all| all.first());
    }
    let text = new()?;
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{text}")
    };
    let failed = |error: io::Error| {
        let name = path.display();
        Failure::new(&FILE, format!("{name}: {error}"), "name a directory that you may write to")
    };
    write().map_err(failed)?;
    of(&text, "a new secret").map(|all| all.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_kept_is_for_this_user_alone_and_stays() {
        let dir = env::temp_dir().join(format!("trilith-secret-{}", std::process::id()));
        let [path, other] = ["a", "b"].map(|name| dir.join(name));
        let first = keep(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let (again, second) = (keep(&path).unwrap(), keep(&other).unwrap());
        assert_eq!(shown_to_others(&path), None);
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(shown_to_others(&path), Some(mode));
        }
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((mode & 0o777, again), (0o600, first));
        assert_ne!(first, second, "each cluster has its own");
    }

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
