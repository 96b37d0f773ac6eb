//! What the machine needs for one sync and one round trip: what no cluster on it can beat.
//!
//! The sync also by three writers at once, each in a file of its own, as three nodes write; the
//! round trip is a hundred bytes there and back over the loopback, between two threads that wait
//! in the kernel.
//!
//! Not here: any cluster.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    bench::{
        meter::Times,
        raw::{SYNC_FILE_BYTES, syncs_of},
    },
    out::Cell,
};

/// In microseconds: the median, one in a hundred.
#[derive(Debug)]
pub(super) struct Limits {
    /// A small write and its fdatasync, alone on the device.
    pub(super) sync_us: [f64; 2],
    /// The same while two others do so, too.
    pub(super) three_syncs_us: [f64; 2],
    /// A hundred bytes there and back over the loopback.
    pub(super) round_trip_us: [f64; 2],
}

impl Limits {
    /// As a table.
    pub(super) fn rows(&self) -> Vec<Vec<Cell>> {
        let rows = [
            ("write and fdatasync, p50", self.sync_us[0]),
            ("write and fdatasync, p99", self.sync_us[1]),
            ("the same by three at once, p50", self.three_syncs_us[0]),
            ("the same by three at once, p99", self.three_syncs_us[1]),
            ("round trip over the loopback, p50", self.round_trip_us[0]),
            ("round trip over the loopback, p99", self.round_trip_us[1]),
        ];
        rows.into_iter().map(|(name, us)| vec![name.into(), us.into(), "us".into()]).collect()
    }
}

/// Takes them, for about three times `time`.
pub(super) fn measure(dir: &Path, time: Duration) -> io::Result<Limits> {
    let ends = |times: Times| [times.micros(0.5), times.micros(0.99)];
    let alone = syncs_of(&dir.join("raw-sync"), 100, SYNC_FILE_BYTES, time)?;
    let three = thread::scope(|scope| {
        let writer = |at: u32| {
            let path = dir.join(format!("raw-sync-{at}"));
            scope.spawn(move || syncs_of(&path, 100, SYNC_FILE_BYTES, time))
        };
        let writers = [0, 1, 2].map(writer);
        let mut all = Times::new();
        for writer in writers {
            let one = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.merge(&one);
        }
        Ok::<_, io::Error>(all)
    })?;
    Ok(Limits {
        sync_us: ends(alone),
        three_syncs_us: ends(three),
        round_trip_us: ends(round_trips(time)?),
    })
}

/// How long a hundred bytes take there and back over the loopback, for `time`.
pub(crate) fn round_trips(time: Duration) -> io::Result<Times> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    thread::scope(|scope| {
        let echo = scope.spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let mut bytes = [0; 100];
            while stream.read_exact(&mut bytes).is_ok() {
                stream.write_all(&bytes)?;
            }
            Ok::<_, io::Error>(())
        });
        let mut stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        let (mut times, mut bytes) = (Times::new(), [7; 100]);
        let start = Instant::now();
        while start.elapsed() < time {
            let begin = Instant::now();
            stream.write_all(&bytes)?;
            stream.read_exact(&mut bytes)?;
            times.add(begin.elapsed());
        }
        drop(stream);
        echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(times)
    })
}
