//! Medians, spreads and ratios, as Markdown and as JSON.
//!
//! Not here: where the samples come from.

use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write};

/// A row of the result.
pub(crate) struct Row {
    /// As in the samples.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// More is better; else less is.
    pub(crate) more: bool,
    /// Divides the sample for display.
    scale: f64,
}

const fn row(name: &'static str, title: &'static str, more: bool, scale: f64) -> Row {
    Row { name, title, more, scale }
}

/// Every row, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    row("load", "bulk load, thousand keys/s", true, 1e3),
    row("load_cpu", "bulk load, CPU µs a key", false, 1.0),
    row("durable1", "durable writes, 1 thread, /s", true, 1.0),
    row("durable1_p50", "… p50, µs", false, 1.0),
    row("durable1_p99", "… p99, µs", false, 1.0),
    row("durable1_cpu", "… CPU µs a write", false, 1.0),
    row("durable16", "durable writes, 16 threads, /s", true, 1.0),
    row("durable16_p50", "… p50, µs", false, 1.0),
    row("durable16_p99", "… p99, µs", false, 1.0),
    row("durable16_cpu", "… CPU µs a write", false, 1.0),
    row("batch16", "durable batches of 16, keys/s", true, 1.0),
    row("batch16_p50", "… p50 of a batch, µs", false, 1.0),
    row("batch16_p99", "… p99 of a batch, µs", false, 1.0),
    row("get1", "point reads, hot, 1 thread, thousand/s", true, 1e3),
    row("get2", "point reads, hot, 2 threads, thousand/s", true, 1e3),
    row("scan", "range scans of 100 keys, /s", true, 1.0),
    row("scan_sorted", "… after compaction, /s", true, 1.0),
    row("mixed1", "50/50 zipfian, 1 thread, thousand/s", true, 1e3),
    row("mixed2", "50/50 zipfian, 2 threads, thousand/s", true, 1e3),
    row("overwrite", "overwriting, thousand keys/s", true, 1e3),
    row("close", "clean close, ms", false, 1.0),
    row("reopen", "reopen after a clean close, ms", false, 1.0),
    row("reopen_crash", "reopen after kill -9, ms", false, 1.0),
    row("memory", "memory a key after all of it, bytes", false, 1.0),
    row("memory_compacted", "memory a key after a compaction of everything, bytes", false, 1.0),
    row("memory_loaded", "memory a key after the load, bytes", false, 1.0),
    row("memory_reopened", "memory a key after a reopening, bytes", false, 1.0),
    row("disk_loaded", "disk after the load, times the data", false, 1.0),
    row("disk", "disk after overwriting five times, times the data", false, 1.0),
    row("load_amp", "device bytes written a byte loaded", false, 1.0),
    row("load_amp_own", "… by the engine's own count", false, 1.0),
    row("overwrite_amp", "device bytes written a byte overwritten", false, 1.0),
    row("durable1_amp", "device bytes a byte, durable, 1 thread", false, 1.0),
    row("durable16_amp", "device bytes a byte, durable, 16 threads", false, 1.0),
    row("pread_ns", "pread of a value, cached, ns", false, 1.0),
    row("sync_growing", "fdatasync of a growing file, p50, µs", false, 1.0),
    row("memcpy_gbps", "memcpy, GB/s", true, 1.0),
    row("crc_gbps", "CRC-32, GB/s", true, 1.0),
    row("foreign", "cores others kept busy meanwhile", false, 1.0),
];

/// (value bytes, engine, row) to one sample a run.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<(usize, String, String), Vec<f64>>);

/// The median and how far the extremes are from it, relative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    median: f64,
    spread: f64,
}

impl Samples {
    /// One more.
    pub(crate) fn add(&mut self, value_bytes: usize, engine: &str, row: &str, sample: f64) {
        let key = (value_bytes, engine.to_owned(), row.to_owned());
        self.0.entry(key).or_default().push(sample);
    }

    fn figure(&self, value_bytes: usize, engine: &str, row: &str) -> Option<Figure> {
        let key = (value_bytes, engine.to_owned(), row.to_owned());
        let mut sorted = self.0.get(&key)?.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        let spread = if median == 0.0 { 0.0 } else { (high - low) / 2.0 / median.abs() };
        Some(Figure { median, spread })
    }

    /// A table for each value size: medians, their spread, and how many times better we are.
    pub(crate) fn markdown(&self, sizes: &[usize], engines: &[&str], ours: &str) -> String {
        let mut text = String::new();
        for size in sizes {
            // Writing to a String cannot fail.
            let _ok = writeln!(text, "\n### Values of {size} bytes\n");
            let _ok = writeln!(text, "| | {} |", engines.join(" | "));
            let _ok = writeln!(text, "| --- |{}", " --- |".repeat(engines.len()));
            for row in ROWS {
                let cells: Vec<String> =
                    engines.iter().map(|engine| self.cell(*size, engine, row, ours)).collect();
                if cells.iter().any(|cell| cell != "–") {
                    let _ok = writeln!(text, "| {} | {} |", row.title, cells.join(" | "));
                }
            }
        }
        text
    }

    fn cell(&self, size: usize, engine: &str, row: &Row, ours: &str) -> String {
        let Some(figure) = self.figure(size, engine, row.name) else { return "–".to_owned() };
        let mut cell = number(figure.median / row.scale);
        if figure.spread >= 0.005 {
            let _ok = write!(cell, " ±{:.0}%", figure.spread * 100.0);
        }
        let us = self.figure(size, ours, row.name).filter(|_| engine != ours);
        if let Some(us) = us
            && us.median > 0.0
            && figure.median > 0.0
        {
            let ratio =
                if row.more { us.median / figure.median } else { figure.median / us.median };
            let mark = if ratio < 1.0 { "**" } else { "" };
            let _ok = write!(cell, " ({mark}{}×{mark})", number(ratio));
        }
        cell
    }

    /// Everything, every sample included.
    pub(crate) fn json(&self) -> Value {
        let rows = self.0.iter().map(|((size, engine, row), samples)| {
            let figure = self.figure(*size, engine, row);
            json!({
                "value_bytes": size,
                "engine": engine,
                "row": row,
                "median": figure.map(|figure| figure.median),
                "spread": figure.map(|figure| figure.spread),
                "samples": samples,
            })
        });
        Value::Array(rows.collect())
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        big if big >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(w, r)| (w, Some(r)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}
