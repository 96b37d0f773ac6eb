//! What a command shows: tables for people, JSON lines for programs, on standard output only.
//!
//! The format is asked for (`-o`), the colour is decided here: never in a pipe, never with
//! `NO_COLOR` set. Words about progress and next steps go to standard error and are left out of
//! JSON runs' standard output, so that a pipe always holds data and nothing else.
//!
//! Not here: progress of long work (`progress.rs`), failures (`failure.rs`).

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use crate::failure::Outcome;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// One JSON object a line, for programs.
    Json,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A whole number.
    Number(u64),
    /// A measured number, shown with a few digits.
    Measure(f64),
    /// Yes or no.
    Flag(bool),
    /// Nothing to say.
    Absent,
    /// What is shaped otherwise.
    Json(serde_json::Value),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(u64::from(number))
    }
}
impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}
impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Measure(number)
    }
}
impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl Cell {
    fn to_text(&self) -> String {
        match self {
            Self::Text(text) => printable(text),
            Self::Number(number) => number.to_string(),
            Self::Measure(number) => measured(*number),
            Self::Flag(true) => "yes".to_owned(),
            Self::Flag(false) => "no".to_owned(),
            Self::Absent => "-".to_owned(),
            Self::Json(value) => value.to_string(),
        }
    }

    fn to_json(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Measure(number) if number.is_finite() => format!("{number:.4}"),
            Self::Flag(flag) => flag.to_string(),
            Self::Measure(_) | Self::Absent => "null".to_owned(),
            Self::Json(value) => value.to_string(),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Measure(_))
    }
}

/// A number a person can compare: three digits that mean something.
fn measured(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// Control characters of somebody's data must not reach the terminal.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut all, sign| {
        if sign.is_control() {
            all.extend(sign.escape_default());
        } else {
            all.push(sign);
        }
        all
    })
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    let mut all = String::from("\"");
    for sign in text.chars() {
        match sign {
            '"' => all.push_str("\\\""),
            '\\' => all.push_str("\\\\"),
            sign if (sign as u32) < 0x20 => {
                all.push_str(&format!("\\u{:04x}", sign as u32));
            }
            sign => all.push(sign),
        }
    }
    all.push('"');
    all
}

/// Bytes as a person can read them: text where they are text, `\xNN` where not.
pub fn lossy(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    format: Format,
    is_colourful: bool,
}

impl Out {
    /// Decides once how this process prints.
    pub fn new(format: Format) -> Self {
        let is_wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, is_colourful: is_wanted && io::stdout().is_terminal() }
    }

    /// Whether programs read us.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// A heading, or nothing in JSON.
    pub fn title(self, text: &str) -> Outcome {
        match (self.format, self.is_colourful) {
            (Format::Json, _) => Ok(()),
            (Format::Table, true) => self.raw(format!("\n\u{1b}[1m{text}\u{1b}[0m\n").as_bytes()),
            (Format::Table, false) => self.raw(format!("\n{text}\n").as_bytes()),
        }
    }

    /// A line for people, or nothing in JSON.
    pub fn say(self, text: &str) -> Outcome {
        if self.is_json() { Ok(()) } else { self.raw(format!("{text}\n").as_bytes()) }
    }

    /// The next useful command: people want it, pipes do not.
    pub fn next(self, command: &str) {
        if io::stderr().is_terminal() && !self.is_json() {
            eprintln!("next: {command}");
        }
    }

    /// Bytes as they are.
    pub fn raw(self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// One row of many, at once: columns apart by a tab, or one JSON object.
    pub fn row(self, columns: &[&str], row: &[Cell]) -> Outcome {
        let text = match self.format {
            Format::Json => json_lines(columns, &[row.to_vec()]),
            Format::Table => {
                let cells: Vec<String> = row.iter().map(Cell::to_text).collect();
                format!("{}\n", cells.join("\t"))
            }
        };
        self.raw(text.as_bytes())
    }

    /// Rows of named columns.
    pub fn table(self, columns: &[&str], rows: &[Vec<Cell>]) -> Outcome {
        let text = match self.format {
            Format::Json => json_lines(columns, rows),
            Format::Table => aligned(columns, rows, self.is_colourful),
        };
        self.raw(text.as_bytes())
    }

    /// One thing with named values: a column of them for people, one object in JSON.
    pub fn facts(self, facts: &[(&str, Cell)]) -> Outcome {
        let text = match self.format {
            Format::Json => {
                let columns: Vec<&str> = facts.iter().map(|(name, _)| *name).collect();
                json_lines(&columns, &[facts.iter().map(|(_, cell)| cell.clone()).collect()])
            }
            Format::Table => {
                let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                facts.iter().fold(String::new(), |mut all, (name, cell)| {
                    all.push_str(&format!("{name:<width$}  {}\n", cell.to_text()));
                    all
                })
            }
        };
        self.raw(text.as_bytes())
    }
}

fn json_lines(columns: &[&str], rows: &[Vec<Cell>]) -> String {
    rows.iter().fold(String::new(), |mut all, row| {
        let pairs = columns.iter().zip(row);
        let fields: Vec<String> =
            pairs.map(|(name, cell)| format!("{}:{}", quoted(name), cell.to_json())).collect();
        all.push_str(&format!("{{{}}}\n", fields.join(",")));
        all
    })
}

fn aligned(columns: &[&str], rows: &[Vec<Cell>], is_colourful: bool) -> String {
    let texts: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(Cell::to_text).collect()).collect();
    let width = |index: usize| {
        let widest = texts.iter().filter_map(|row| row.get(index)).map(|text| text.chars().count());
        widest.chain([columns[index].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let is_number: Vec<bool> = (0..columns.len())
        .map(|index| rows.iter().any(|row| row.get(index).is_some_and(Cell::is_number)))
        .collect();
    let line = |texts: Vec<&str>| {
        let cells: Vec<String> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let width = widths[index];
                if is_number[index] { format!("{text:>width$}") } else { format!("{text:<width$}") }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut all = line(columns.to_vec());
    if is_colourful {
        all = format!("\u{1b}[1m{all}\u{1b}[0m");
    }
    all.push('\n');
    for row in &texts {
        all.push_str(&line(row.iter().map(String::as_str).collect()));
        all.push('\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec!["a\nb".into(), 7_u64.into(), Cell::Absent],
            vec!["é\"".into(), 1234_u64.into(), 0.5.into()],
        ]
    }

    #[test]
    fn a_table_is_aligned_and_shows_no_control_characters() {
        let text = aligned(&["key", "bytes", "ratio"], &rows(), false);
        assert_eq!(text, "key   bytes  ratio\na\\nb      7      -\né\"     1234   0.50\n");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = json_lines(&["key", "bytes", "ratio"], &rows());
        let first = r#"{"key":"a\u000ab","bytes":7,"ratio":null}"#;
        let second = r#"{"key":"é\"","bytes":1234,"ratio":0.5000}"#;
        assert_eq!(text, format!("{first}\n{second}\n"));
    }
}
