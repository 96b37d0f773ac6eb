//! Whether a node's directory is still where it was, as long as the node runs.
//!
//! Files that are open stay, whoever removes or moves their directory: writes would go on, be
//! synced, be answered, and be found by nobody after the next start. So a node looks whether its
//! directory is the one that it opened, and ends when it is not: what it cannot keep it must not
//! acknowledge.
//!
//! Not here: whose a directory is (`trilith_engine::journal`), its lock, which goes with it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use trilith_engine::{
    journal::identity,
    runtime::{Clock, Runtime, Task},
};

/// How often it is looked for.
const LOOKS: Duration = Duration::from_secs(1);

/// A directory that was opened.
#[derive(Debug)]
pub struct Opened {
    data: PathBuf,
    /// The file that says whose it is, as the system numbers it.
    is: Option<(u64, u64)>,
}

impl Opened {
    /// The directory as it is now, with a node's files in it.
    pub fn now(data: &Path) -> Self {
        // Where it cannot be seen nothing is known of it.
        Self { data: data.to_owned(), is: number(data).ok().flatten() }
    }

    /// Answers when it is not there any more, or another one is there.
    pub async fn is_lost<R: Runtime>(&self, rt: &R) {
        loop {
            rt.clock().sleep_until(rt.clock().now() + LOOKS).await;
            let data = self.data.clone();
            // A network's file system may make one wait; the node does not.
            match rt.task().compute(move || number(&data)).await {
                Ok(found) if found != self.is && self.is.is_some() => return,
                // What cannot be looked at may be there.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Nothing, where it is not there.
fn number(data: &Path) -> io::Result<Option<(u64, u64)>> {
    match fs::metadata(data.join(identity::NODE)) {
        Ok(about) => Ok(Some((about.dev(), about.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
