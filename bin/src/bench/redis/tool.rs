//! The cross-check: what `redis-benchmark` measures of the same server, with the same connections and
//! as many requests on their way.
//!
//! It asks for keys of the same names and values of the same length, and says what it found in lines
//! of CSV.
//!
//! Not here: our own load (`drive.rs`).

use std::{fs, path::Path, process::Stdio, time::Duration};
use trilith_engine::runtime::{Clock, Runtime};
use trilith_net::os::Os;

use super::{drive::Load, servers::Server};
use crate::process::Process;

/// The program.
pub(super) const TOOL: &str = "redis-benchmark";
/// It ends long before, or never.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Has it ask so many times.
///
/// # Errors
/// Why it could not.
pub(super) async fn run(
    os: &Os,
    server: &Server,
    load: &Load,
    requests: u64,
    dir: &Path,
) -> Result<Told, String> {
    let path = dir.join("redis-benchmark.csv");
    let file = fs::File::create(&path).map_err(|why| why.to_string())?;
    let test = load.ask.word();
    let mut command = Process::command(TOOL);
    let (at, flag) = (server.at, |number: u64| number.to_string());
    command.args(["-h", &at.ip().to_string(), "-p", &flag(u64::from(at.port()))]);
    command.args(["-t", test, "-n", &flag(requests), "-r", &flag(load.keys)]);
    command.args(["-c", &flag(load.connections as u64), "-P", &flag(load.pipeline as u64)]);
    command.args(["-d", &flag(load.value_bytes as u64), "--csv"]);
    command.stdout(file).stderr(Stdio::null());
    let mut process = Process::start(&mut command).map_err(|why| why.to_string())?;
    let until = os.clock().now() + ENDS_WITHIN;
    let status = loop {
        if let Some(status) = process.ended().map_err(|why| why.to_string())? {
            break status;
        }
        if os.clock().now() >= until {
            return Err(format!("it did not end within {ENDS_WITHIN:?}"));
        }
        os.clock().sleep_until(os.clock().now() + LOOK_EVERY).await;
    };
    let text = fs::read_to_string(&path).map_err(|why| why.to_string())?;
    if !status.success() {
        return Err(status.to_string());
    }
    parse(&text, test).ok_or_else(|| format!("it said nothing of {test}"))
}

/// What lines with a head say of one test.
fn parse(text: &str, test: &str) -> Option<Told> {
    let mut lines = text.lines().map(cells);
    let head = lines.find(|cells| cells.first() == Some(&"test"))?;
    let row =
        lines.find(|cells| cells.first().is_some_and(|name| name.eq_ignore_ascii_case(test)))?;
    let number = |name: &str| -> Option<f64> {
        row.get(head.iter().position(|cell| *cell == name)?)?.parse().ok()
    };
    Some(Told {
        per_second: number("rps")?,
        p50_us: number("p50_latency_ms")? * 1e3,
        p99_us: number("p99_latency_ms")? * 1e3,
    })
}

fn cells(line: &str) -> Vec<&str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
        \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
        \"SET\",\"98039.22\",\"0.207\",\"0.040\",\"0.250\",\"0.223\",\"3.847\",\"4.071\"\n\
        \"GET\",\"161290.33\",\"0.107\",\"0.040\",\"0.125\",\"0.223\",\"0.5\",\"4.071\"\n";

    #[test]
    fn a_line_is_read_by_the_names_of_its_columns() {
        let set = Told { per_second: 98_039.22, p50_us: 250.0, p99_us: 3_847.0 };
        assert_eq!(parse(SAID, "set"), Some(set));
        let get = Told { per_second: 161_290.33, p50_us: 125.0, p99_us: 500.0 };
        assert_eq!(parse(SAID, "get"), Some(get));
        assert_eq!(parse(SAID, "incr"), None);
        assert_eq!(parse("\"SET\",\"98039.22\"\n", "set"), None, "no names");
        assert_eq!(parse(&SAID.replace("rps", "else"), "set"), None);
        assert_eq!(parse("", "set"), None);
    }
}
