//! A directory of the demo's own, which is gone in the end.
//!
//! It lies where others may write too, so nobody can know its name before, it is made and never
//! found, and only its owner may look into it. What it is removed by is a file in it with a word that
//! was drawn for it: whatever else has come to lie at that path is left alone.
//!
//! Not here: a directory that was named, which stays.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, OPEN, Outcome};

/// The file that says whose the directory is.
const MARKER: &str = "DEMO";
/// So often a name is drawn that is taken.
const DRAWS: usize = 8;

/// What to remove, and by which word it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    path: PathBuf,
    word: String,
}

/// A directory that is gone when it is dropped.
#[derive(Debug)]
pub(super) struct Own(Claim);

impl Own {
    /// Makes one there.
    pub(super) fn new(parent: &Path) -> Outcome<Self> {
        let failed = |error: io::Error| {
            let next = format!("check that you may write there: ls -ld {}", parent.display());
            Failure::new(&OPEN, format!("{}: {error}", parent.display()), next)
        };
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..DRAWS {
            let word = drawn().map_err(failed)?;
            let path = parent.join(format!("trilith-demo-{word}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    fs::write(path.join(MARKER), &word).map_err(failed)?;
                    return Ok(Self(Claim { path, word }));
                }
                Err(why) => last = why,
            }
        }
        Err(failed(last))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// What removes it when there is no time to drop it.
    pub(super) fn claim(&self) -> Claim {
        self.0.clone()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl Claim {
    /// Removes it, if it is there and still ours.
    pub(super) fn remove(&self) {
        let is_ours =
            fs::read_to_string(self.path.join(MARKER)).is_ok_and(|word| word == self.word);
        let gone = if is_ours { fs::remove_dir_all(&self.path) } else { Ok(()) };
        if let Err(error) = gone {
            eprintln!("left behind: {} ({error})", self.path.display());
        } else if !is_ours && self.path.exists() {
            eprintln!("left alone: {} is not this demo's any more", self.path.display());
        }
    }
}

/// A word that nobody knows before.
fn drawn() -> io::Result<String> {
    let mut luck = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut luck)?;
    Ok(format!("{:016x}", u64::from_le_bytes(luck)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_what_was_made_is_removed() {
        let parent = std::env::temp_dir();
        let own = Own::new(&parent).unwrap();
        let path = own.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let other = Own::new(&parent).unwrap();
        assert_ne!(path, other.path());
        fs::create_dir(path.join("n1")).unwrap();
        drop(own);
        assert!(!path.exists());
        // Somebody else has put something in its place.
        let path = other.path().to_owned();
        fs::write(path.join(MARKER), "another").unwrap();
        drop(other);
        assert!(path.exists());
        fs::remove_dir_all(&path).unwrap();
    }
}
