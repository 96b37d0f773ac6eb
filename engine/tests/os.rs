//! The embedded store's door against an operating system that refuses.
//!
//! Real refusals, without a device that can be made to fail: a limit on the size of files, a full
//! `tmpfs`, a directory that may not be written, a file whose `fsync` always fails (those of
//! `/proc`), a lock held by a process that is then killed. Where a process must be limited or must
//! die, the test starts its own program once more, as one of the `child_` tests below; those do
//! nothing when run by themselves.
//!
//! Not here: what every door promises (`contract.rs`).
#![cfg(feature = "embedded")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a door's tests look behind it"
)]

use std::{
    env, fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use trilith_engine::{
    embedded::os::{Native, block_on},
    runtime::{Disk, DiskErrorKind, File, Open, Runtime},
};

/// Tells a child its directory; without it a `child_` test does nothing.
const CHILD: &str = "TRILITH_TEST_CHILD";

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("trilith-refusals-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// This program once more, to run one test alone.
fn again(child: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", child, "--nocapture"]).env(CHILD, dir);
    command
}

fn child_dir() -> Option<PathBuf> {
    env::var_os(CHILD).map(PathBuf::from)
}

fn must_succeed(mut command: Command) {
    // A copied program is busy as long as another test's child, forked while it was written, has
    // not begun its own.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.unwrap(),
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "the child failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Fills files until the system refuses, and checks that it says so and that the store's files
/// stay usable.
fn run_out_of_space(native: &Native) {
    block_on(async {
        let disk = native.disk();
        let file = disk.open("a", Open::Create).await.unwrap();
        file.allocate(64 << 10).await.unwrap();
        file.sync().await.unwrap();

        let refused = file.allocate(64 << 20).await.unwrap_err();
        assert_eq!(refused.kind, DiskErrorKind::NoSpace, "{refused}");
        assert_eq!(file.len().await.unwrap(), 64 << 10, "a refused allocation takes nothing");

        let bytes = Bytes::from(vec![7; 64 << 20]);
        let refused = file.write_at(0, bytes).await.unwrap_err();
        assert_eq!(refused.kind, DiskErrorKind::NoSpace, "{refused}");
        assert!(refused.name.ends_with("/a"), "{refused}");

        // Within what was allocated a write needs no new room.
        file.write_at(1000, Bytes::from_static(b"still here")).await.unwrap();
        file.sync().await.unwrap();
    });
}

#[test]
fn a_file_that_may_not_grow_is_a_full_disk() {
    let scratch = Scratch::new();
    let child = again("child_with_a_limit", &scratch.0);
    let mut limited = Command::new("sh");
    // Blocks of 512 bytes; without the trap the first refused write would kill the process.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh"]);
    limited.arg(child.get_program()).args(child.get_args()).env(CHILD, &scratch.0);
    must_succeed(limited);
}

#[test]
fn child_with_a_limit() {
    if let Some(dir) = child_dir() {
        run_out_of_space(&Native::new(dir));
    }
}

#[test]
fn a_full_device_refuses_and_stays_usable() {
    let scratch = Scratch::new();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&scratch.0);
    let is_mounted = mount.output().is_ok_and(|output| output.status.success());
    if !is_mounted {
        println!("skipped: only root can mount a small device");
        return;
    }
    let native = Native::new(&scratch.0);
    let space = block_on(native.disk().space()).unwrap();
    let outcome = std::panic::catch_unwind(|| run_out_of_space(&native));
    Command::new("umount").arg(&scratch.0).status().unwrap();
    assert_eq!(space.total_bytes, 1 << 20);
    assert!(outcome.is_ok(), "see above");
}

#[test]
fn a_directory_that_may_not_be_written_denies() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("old"), b"old").unwrap();
    fs::set_permissions(scratch.0.join("old"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o555)).unwrap();
    // The program itself may lie where only its owner can reach it.
    let program = env::temp_dir().join(format!("trilith-denied-{}", std::process::id()));
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let mut child = Command::new(&program);
    child.args(["--exact", "child_without_rights", "--nocapture"]).env(CHILD, &scratch.0);
    child.current_dir("/");
    if fs::metadata(&program).unwrap().uid() == 0 {
        // Nobody: root may write everywhere.
        child.uid(65534).gid(65534);
    }
    must_succeed(child);
    fs::remove_file(program).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn child_without_rights() {
    let Some(dir) = child_dir() else { return };
    let native = Native::new(&dir);
    block_on(async {
        let disk = native.disk();
        let denied = |error: trilith_engine::runtime::DiskError, what: &str| {
            assert_eq!(error.kind, DiskErrorKind::Denied, "{what}: {error}");
            assert!(error.name.starts_with(&*dir.to_string_lossy()), "{what}: {error}");
            assert!(error.detail.contains("ermission"), "{what}: {error}");
        };
        denied(disk.open("new", Open::Create).await.unwrap_err(), "create");
        denied(disk.open("old", Open::Write).await.unwrap_err(), "open");
        denied(disk.create_dir("dir").await.unwrap_err(), "create_dir");
        denied(disk.rename("old", "new").await.unwrap_err(), "rename");
        denied(disk.remove("old").await.unwrap_err(), "remove");
        denied(disk.lock("LOCK").await.unwrap_err(), "lock");
        disk.open("old", Open::Read).await.unwrap();
        disk.list("").await.unwrap();
    });
}

#[test]
fn a_file_is_poisoned_by_its_first_failed_sync() {
    // The kernel has no way to sync these, and says so: the one regular file whose sync fails
    // everywhere and without special rights.
    let native = Native::new("/proc/self");
    block_on(async {
        let file = native.disk().open("comm", Open::Write).await.unwrap();
        let twin = file.clone();
        file.sync().await.unwrap_err();
        let poisoned = |error: trilith_engine::runtime::DiskError| {
            assert_eq!(error.kind, DiskErrorKind::Poisoned, "{error}");
        };
        poisoned(file.sync().await.unwrap_err());
        poisoned(file.write_at(0, Bytes::from_static(b"x")).await.unwrap_err());
        poisoned(file.len().await.unwrap_err());
        poisoned(file.set_len(0).await.unwrap_err());
        poisoned(file.allocate(1).await.unwrap_err());
        let mode = trilith_engine::runtime::ReadMode::Cached;
        poisoned(twin.read_at(0, vec![0; 4], mode).await.unwrap_err());
        // The poison is the open file's; another life opens it anew.
        let again = native.disk().open("comm", Open::Read).await.unwrap();
        again.read_at(0, vec![0; 4], mode).await.unwrap();
    });
}

#[test]
fn a_lock_dies_with_its_process() {
    let scratch = Scratch::new();
    let mut child = again("child_with_a_lock", &scratch.0).stdout(Stdio::piped()).spawn().unwrap();
    wait_for_line(&mut child, "locked");
    let native = Native::new(&scratch.0);
    let held = block_on(native.disk().lock("LOCK")).unwrap_err();
    assert_eq!(held.kind, DiskErrorKind::Locked);
    assert_eq!(held.detail, format!("process {}", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    block_on(native.disk().lock("LOCK")).unwrap();
}

fn wait_for_line(child: &mut Child, word: &str) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(word));
    assert!(found, "the child never said {word}");
}

#[test]
fn child_with_a_lock() {
    let Some(dir) = child_dir() else { return };
    let native = Native::new(dir);
    let lock = block_on(native.disk().lock("LOCK")).unwrap();
    println!("locked");
    std::io::stdout().flush().unwrap();
    loop {
        // Until it is killed.
        std::thread::park();
        let _held = &lock;
    }
}

#[test]
fn a_program_that_runs_may_not_be_written() {
    let scratch = Scratch::new();
    std::os::unix::fs::symlink(env::current_exe().unwrap(), scratch.0.join("busy")).unwrap();
    let native = Native::new(&scratch.0);
    let busy = block_on(native.disk().open("busy", Open::Write)).unwrap_err();
    assert_eq!(busy.kind, DiskErrorKind::Denied, "{busy}");
}

#[test]
fn a_directory_or_a_pipe_in_a_files_place_is_refused() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("dir")).unwrap();
    let made = Command::new("mkfifo").arg(scratch.0.join("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()));
    let native = Native::new(&scratch.0);
    for name in ["dir", "pipe"] {
        for how in [Open::Read, Open::Write] {
            // The pipe must not hold us up, either.
            let refused = block_on(native.disk().open(name, how)).unwrap_err();
            assert_eq!(refused.kind, DiskErrorKind::Invalid, "{name} {how:?}: {refused}");
        }
        let taken = block_on(native.disk().open(name, Open::Create)).unwrap_err();
        assert_eq!(taken.kind, DiskErrorKind::Exists, "{name}: {taken}");
    }
}
