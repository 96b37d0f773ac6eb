//! `trilith doctor`: whether this machine is one on which a node does well, a line for each thing that
//! matters.
//!
//! It looks where a node would be: at the directory's disk, the ports, the limits and the clock. What
//! it writes there is a file of its own, which is gone again in the end, also where the disk was full
//! in the middle. One that was killed before that leaves its file to the next one.
//!
//! Not here: a cluster that runs (`ctl/health.rs`), measuring (`bench`).

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use rustix::{
    fs::{StatVfs, statfs, statvfs},
    process::{Resource, getrlimit},
};

use crate::{
    bench::raw,
    check::{Check, judge},
    failure::{Outcome, UNFIT},
    member::FILES_MAX,
    out::Out,
};

/// How long the disk is measured.
const MEASURES: Duration = Duration::from_millis(500);
/// A value of the usual size.
const VALUE_BYTES: usize = 4096;
/// A sync that is slower than that for one in a hundred makes writes wait that people notice.
const SLOW_US: f64 = 50_000.0;
/// No disk that keeps what it says it has kept is as fast as that.
const FAST_US: f64 = 5.0;
const FREE_BYTES_MIN: u64 = 1 << 30;
const MEMORY_BYTES_MIN: u64 = 512 << 20;

/// What to look at.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Where a node would keep its data; the disk of the nearest directory that is there is measured.
    #[arg(long, default_value = "trilith-data", value_name = "DIR")]
    data: PathBuf,
    /// Where a node would listen.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "127.0.0.1:7379,127.0.0.1:7380,127.0.0.1:7381",
        value_name = "IP:PORT,…"
    )]
    ports: Vec<SocketAddr>,
}

/// Looks at everything, and judges.
pub fn run(doctor: &Doctor, out: Out) -> Outcome {
    let place = nearest(&doctor.data);
    let mut checks = vec![writable(&place), kind(&place), room(&place), syncs(&place)];
    checks.extend(doctor.ports.iter().map(|at| port(*at)));
    checks.extend([files(), memory(), clock()]);
    judge(&checks, &UNFIT, out)
}

/// That directory, or the nearest above it that is there. A file is what it is: no node keeps its
/// data there.
fn nearest(data: &Path) -> PathBuf {
    let path = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    let there = path.ancestors().find(|path| path.exists());
    there.unwrap_or_else(|| Path::new("/")).to_path_buf()
}

/// How a file of ours is called, before the number of who made it.
const OWN: &str = ".trilith-doctor-";

/// A file of our own, until it is dropped.
struct Own(PathBuf);

impl Own {
    fn at(place: &Path) -> Self {
        Self(place.join(format!("{OWN}{}", std::process::id())))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may never have been there.
        let _gone = fs::remove_file(&self.0);
    }
}

/// Takes away what others have left who were killed.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(OWN)?.parse::<u32>().ok());
        let is_gone = |number: u32| !Path::new(&format!("/proc/{number}")).exists();
        if maker.is_some_and(is_gone) {
            // Somebody else's stays where it is.
            let _gone = fs::remove_file(entry.path());
        }
    }
}

fn writable(place: &Path) -> Check {
    sweep(place);
    let own = Own::at(place);
    let written = fs::write(&own.0, "trilith").and_then(|()| fs::remove_file(&own.0));
    let found = match &written {
        Ok(()) => place.display().to_string(),
        Err(error) => format!("{}: {error}", place.display()),
    };
    let next = "name a directory with --data that this user may write to";
    Check { what: "data can be written", is_well: written.is_ok(), found, next }
}

/// Kinds of file systems that forget or that others may change, and how the kernel numbers them.
const UNFIT_KINDS: [(u64, &str); 6] = [
    (0x0102_1994, "tmpfs: it is gone with the power"),
    (0x8584_58f6, "ramfs: it is gone with the power"),
    (0x794c_7630, "overlay: it is gone with the container"),
    (0x6969, "nfs: a sync may not reach its disk, and locks may not hold"),
    (0xff53_4d42, "cifs: a sync may not reach its disk, and locks may not hold"),
    (0xfe53_4d42, "smb: a sync may not reach its disk, and locks may not hold"),
];

fn kind(place: &Path) -> Check {
    let unfit = statfs(place).ok().and_then(|stat| {
        let kind = stat.f_type as u64;
        UNFIT_KINDS.iter().find(|(unfit, _)| *unfit == kind).map(|(_, why)| *why)
    });
    let found = unfit.unwrap_or("a disk of this machine").to_owned();
    let next = "name a directory with --data that lies on a disk";
    Check { what: "file system", is_well: unfit.is_none(), found, next }
}

fn room(place: &Path) -> Check {
    let free = statvfs(place).map_or(0, |StatVfs { f_bavail, f_frsize, .. }| f_bavail * f_frsize);
    let found = format!("{} MiB are free", free >> 20);
    let next = "give it 1 GiB at least: a full disk refuses writes";
    Check { what: "room", is_well: free >= FREE_BYTES_MIN, found, next }
}

fn syncs(place: &Path) -> Check {
    let what = "durable write";
    let own = Own::at(place);
    let times = raw::syncs_of(&own.0, VALUE_BYTES, raw::SYNC_FILE_BYTES, MEASURES);
    let times = match times {
        Ok(times) => times,
        Err(error) => {
            let next = "see the disk: a node would stop there too";
            return Check { what, is_well: false, found: error.to_string(), next };
        }
    };
    let (median, slow) = (times.micros(0.5), times.micros(0.99));
    let found =
        format!("4 KiB and fdatasync: median {median:.0} us, one in a hundred {slow:.0} us");
    let next = match median < FAST_US {
        true => "no disk is so fast: what lies below it may forget when the power goes",
        false => "every write waits for it: see what else uses the disk, or take another one",
    };
    Check { what, is_well: median >= FAST_US && slow <= SLOW_US, found, next }
}

fn port(at: SocketAddr) -> Check {
    let what = "port";
    let Err(error) = TcpListener::bind(at) else {
        return Check { what, is_well: true, found: format!("{at} is free"), next: "" };
    };
    let (found, next) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!("somebody listens at {at}"),
            "end who listens there, or name other ports to the node and to --ports",
        ),
        io::ErrorKind::AddrNotAvailable => {
            (format!("this machine has no address {}", at.ip()), "see ip address for those it has")
        }
        io::ErrorKind::PermissionDenied => {
            (format!("{at}: {error}"), "name ports above 1023, or run it as who may listen there")
        }
        _ => (format!("{at}: {error}"), "name other ports to the node and to --ports"),
    };
    Check { what, is_well: false, found, next }
}

fn files() -> Check {
    let most = getrlimit(Resource::Nofile).maximum;
    let found = most.map_or_else(|| "no limit".to_owned(), |most| format!("{most} at most"));
    let is_well = most.is_none_or(|most| most >= FILES_MAX as u64);
    let next = "raise the hard limit: ulimit -Hn, or LimitNOFILE= of the service";
    Check { what: "open files", is_well, found, next }
}

/// What the machine has left, and what the group of processes may still take: in a container the
/// machine's own number says nothing.
fn memory() -> Check {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let machine = kib.map(|kib| kib << 10);
    // It says max, which is no number, where there is no limit.
    let most = number("/sys/fs/cgroup/memory.max");
    let taken = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
    let group = most.map(|most| most.saturating_sub(taken));
    let left = machine.into_iter().chain(group).min();
    let found = left.map_or_else(|| "unknown".to_owned(), |left| format!("{} MiB", left >> 20));
    let is_well = left.is_none_or(|left| left >= MEMORY_BYTES_MIN);
    let next = "give it 512 MiB at least: all keys are kept in memory";
    Check { what: "memory", is_well, found, next }
}

/// Clocks that take microseconds to look at, which a node does at every turn.
const SLOW_CLOCKS: [&str; 3] = ["hpet", "acpi_pm", "jiffies"];

fn clock() -> Check {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = fs::read_to_string(SOURCE).unwrap_or_default();
    let source = source.trim();
    let is_well = !SLOW_CLOCKS.contains(&source);
    let found = if source.is_empty() { "unknown" } else { source }.to_owned();
    let next = "a machine or a kernel whose clock is tsc or kvm-clock is many times faster";
    Check { what: "clock", is_well, found, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk in the middle of a write, or who pulled the plug, left a file each time.
    #[test]
    fn no_file_of_ours_stays() {
        let place = std::env::temp_dir().join(format!("trilith-own-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        {
            let own = Own::at(&place);
            fs::write(&own.0, "half").unwrap();
        }
        // No process has that number; the other file is none of ours.
        fs::write(place.join(format!("{OWN}4294967295")), "old").unwrap();
        fs::write(place.join(".trilith-doctor-notes"), "somebody's").unwrap();
        assert!(writable(&place).is_well);
        let left: Vec<_> =
            fs::read_dir(&place).unwrap().flatten().map(|it| it.file_name()).collect();
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(left, [".trilith-doctor-notes"]);
    }

    #[test]
    fn what_is_not_well_says_what_to_do() {
        assert_eq!(nearest(Path::new("/tmp/there is/no such/directory")), Path::new("/tmp"));
        let nowhere = Path::new("/proc");
        assert!(!writable(nowhere).is_well && !syncs(nowhere).is_well);
        if Path::new("/dev/shm").is_dir() {
            assert!(!kind(Path::new("/dev/shm")).is_well);
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let check = port(at);
        assert!(!check.is_well && check.found.contains("listens"), "{check:?}");
        // An address of documents, which no machine has.
        let check = port("192.0.2.1:7381".parse().unwrap());
        assert!(!check.is_well && check.found.contains("192.0.2.1"), "{check:?}");
    }
}
