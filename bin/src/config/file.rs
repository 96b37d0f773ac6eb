//! A file of settings: TOML, a table for each group.
//!
//! Not here: what the settings are (`schema.rs`).

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Origin, Said};
use crate::failure::{CONFIGURATION, FILE, Failure, Outcome};

/// More than all settings and users take.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of a file that people write. Some never end, so no more than that is read.
///
/// # Errors
/// When it cannot be read, is longer, or is no text.
pub fn text_of(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if read as u64 > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(text)
}

/// What a file says, in its order, and what of it can be no setting.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) said: Vec<Said>,
    /// Where, and why.
    pub(super) wrong: Vec<String>,
}

/// What a file says.
///
/// # Errors
/// When it cannot be read, or is no TOML.
pub(super) fn read(path: &Path) -> Outcome<Parsed> {
    let name = path.display().to_string();
    let text = text_of(path, FILE_BYTES_MAX).map_err(|error| {
        Failure::new(&FILE, format!("{name}: {error}"), "name the file with --config")
    })?;
    parse(&name, &text)
}

pub(super) fn parse(path: &str, text: &str) -> Outcome<Parsed> {
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let root = DeTable::parse(text).map_err(|error| {
        let line = line_of(error.span().map_or(0, |span| span.start));
        let next = "trilith config default writes a file to begin with";
        Failure::new(&CONFIGURATION, format!("{path}:{line}: {}", error.message()), next)
    })?;
    let Parsed { mut said, mut wrong } = Parsed::default();
    for (group, table) in root.get_ref() {
        let DeValue::Table(table) = table.get_ref() else {
            let line = line_of(group.span().start);
            wrong.push(format!("{path}:{line}: {:?} is in no group", group.get_ref()));
            continue;
        };
        for (name, value) in table {
            let line = line_of(name.span().start);
            let name = format!("{}.{}", group.get_ref(), name.get_ref());
            let origin = Origin::File { path: path.to_owned(), line };
            match words(value) {
                Some(value) => said.push(Said { name, value, origin }),
                None => wrong.push(format!("{origin}: {name} is a {}", value.get_ref().type_str())),
            }
        }
    }
    said.sort_by_key(|said| match &said.origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    });
    Ok(Parsed { said, wrong })
}

/// The words of a value: several are said with commas between.
fn words(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(all) => {
            let all: Option<Vec<String>> = all.iter().map(words).collect();
            Some(all?.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_says_and_where() {
        let text = "# ours\n[raft]\nelection_ms = 1_000\n\n[cluster]\nmembers = [\n  \"1=a\",\n  \
                    \"2=b\",\n]\nname = 'x'\n[serve]\ninsecure = true\n";
        let told: Vec<_> = parse("a.toml", text)
            .unwrap()
            .said
            .into_iter()
            .map(|said| (said.name, said.value, said.origin.to_string()))
            .collect();
        let expected = [
            ("raft.election_ms", "1000", "a.toml:3"),
            ("cluster.members", "1=a,2=b", "a.toml:6"),
            ("cluster.name", "x", "a.toml:10"),
            ("serve.insecure", "true", "a.toml:12"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned()))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_file_that_never_ends_is_not_read_for_ever() {
        let why = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(why.contains("/dev/zero: it has more than 1048576 bytes"), "{why}");
    }

    #[test]
    fn what_nests_is_refused_however_deep() {
        let deep = format!("[cluster]\nmembers = {}", "[".repeat(200_000));
        let tables = format!("[cluster]\nmembers = {}", "{a=".repeat(100_000));
        for text in [deep, tables, "[".repeat(200_000)] {
            assert!(parse("a.toml", &text).is_err());
        }
    }

    #[test]
    fn what_is_no_setting_says_its_line() {
        let no_toml = parse("a.toml", "[raft]\nelection_ms = \n").unwrap_err().to_string();
        assert!(no_toml.contains("a.toml:2"));
        let wrong = |text: &str| parse("a.toml", text).unwrap().wrong.join("\n");
        let several = wrong("x = 1\n[raft]\nelection_ms = 1.5\ndrift_ppm = {}\n");
        assert_eq!(several.lines().count(), 3, "{several}");
        assert!(wrong("x = 1\n").contains("a.toml:1: \"x\" is in no group"));
        assert!(
            wrong("[raft]\n\nelection_ms = 1.5\n")
                .contains("a.toml:3: raft.election_ms is a float")
        );
        assert!(wrong("[raft]\nelection_ms = {a = 1}\n").contains("raft.election_ms is a table"));
    }
}
