//! The inspector: laws of the house that neither the compiler nor clippy can check.
//!
//! A rule is a function from the source tree to complaints, and a complaint names the file, the
//! line and the replacement. The tree is read once, a map from path to text, so that every rule
//! can also be shown a small tree with one planted violation: a test that cannot fail proves
//! nothing. The law of arrows is read from `engine/docs/architecture.md`: what people read there
//! is what is enforced.
//!
//! Not here: what clippy bans (`.clippy.toml` at the root) and what the compiler refuses (`no_std`).
#![expect(clippy::disallowed_methods, reason = "the inspector reads the source tree")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Path from the root of the repository, with `/`, and content.
type Tree = BTreeMap<String, String>;

/// A rule of the house.
type Rule = fn(&Tree) -> Vec<String>;

const RULES: &[(&str, Rule)] = &[
    ("the_top_holds_what_it_should", top),
    ("rooms_import_along_the_arrows", room_arrows),
    ("packages_depend_along_the_arrows", package_arrows),
    ("pure_rooms_do_not_wait", materials),
    ("the_engine_shares_nothing", sharing),
    ("every_file_says_what_it_is", headers),
    ("files_stay_readable", sizes),
    ("words_we_do_not_use", words),
    ("markdown_is_whole", markdown),
    ("clippy_reads_two_files", clippy_files),
    ("limits_have_reasons", limits),
    ("decisions_are_numbered_once", decisions),
    ("planted_bugs_are_in_the_catalogue", planted),
    ("stories_stand_on_their_page", stories),
];

const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bin",
    "engine",
    "net",
    "rust-toolchain.toml",
    "scenarios",
    "sim",
];

/// What the README's commands leave there, and git does not look at.
fn is_ignored(tree: &Tree, name: &str) -> bool {
    let ignored = tree.get(".gitignore").map_or("", String::as_str).lines();
    ignored.filter_map(|line| line.strip_prefix('/')).any(|line| match line.split_once('*') {
        Some((begins, ends)) => name.starts_with(begins) && name.ends_with(ends),
        None => name == line,
    })
}

fn top(tree: &Tree) -> Vec<String> {
    let names: BTreeSet<&str> = tree
        .keys()
        .map(|path| path.split_once('/').map_or(path.as_str(), |(top, _)| top))
        .collect();
    names
        .into_iter()
        .filter(|name| !name.starts_with('.') && !TOP.contains(name) && !is_ignored(tree, name))
        .map(|name| format!("{name}: not a name of the top level; put it into one of {TOP:?}"))
        .collect()
}

/// A row of the law: a room, what it is made of, and what it may import.
struct Room<'a> {
    material: &'a str,
    imports: BTreeSet<&'a str>,
}

const LAW: &str = "engine/docs/architecture.md";

/// The table between the two marks of the law's page.
fn law(tree: &Tree) -> BTreeMap<&str, Room<'_>> {
    let text = tree.get(LAW).map_or("", String::as_str);
    let table = text.split_once("<!-- arrows -->").map_or("", |(_, rest)| rest);
    let table = table.split_once("<!-- /arrows -->").map_or("", |(table, _)| table);
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, material, imports, ..] = cells.as_slice() else { return None };
        let imports = imports.split_whitespace().map(|word| word.trim_matches('`')).collect();
        Some((name.trim_matches('`'), Room { material, imports }))
    })
    .collect()
}

/// The room of a file of the engine; `None` for `lib.rs`, which is the map and not a room.
fn room(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("engine/src/")?;
    let first = rest.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib").then_some(name)
}

/// The lines of a Rust file that are code, with their numbers, comments cut off.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line = match line.find("//") {
            Some(0) => "",
            Some(at) if !line[..at].ends_with(':') => &line[..at],
            _ => line,
        };
        (!line.trim().is_empty()).then_some((index + 1, line))
    })
}

/// Whether a file is a test from its first line to its last.
fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.contains("/tests/") || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// The lines of code before the tests of the file.
fn own_code<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    if is_test(path) {
        return Vec::new();
    }
    let tests = |line: &str| line == "mod tests {" || line == "#[cfg(test)]";
    code(text).take_while(|(_, line)| !tests(line)).collect()
}

/// The first names after every `crate::` in a line, those of a braced list included.
fn imported(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(rest),
            Some(list) => {
                let mut depth = 0;
                let mut begin = 0;
                for (index, sign) in list.char_indices() {
                    match sign {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            found.push(&list[begin..index]);
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.push(&list[begin..index]);
                            begin = index + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    let name = |text: &'_ str| {
        let text = text.trim_start();
        text.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(text.len())
    };
    found
        .into_iter()
        .map(|text| &text.trim_start()[..name(text)])
        .filter(|name| !name.is_empty())
        .collect()
}

fn room_arrows(tree: &Tree) -> Vec<String> {
    let law = law(tree);
    let mut complaints = Vec::new();
    if law.is_empty() {
        complaints.push(format!("{LAW}: the table between the arrows marks is gone; restore it"));
    }
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let Some(from) = room(path) else { continue };
        let Some(row) = law.get(from) else {
            complaints.push(format!("{path}:1: the room {from} has no row; add it to {LAW}"));
            continue;
        };
        // An import over several lines is one statement: join it.
        let joined: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).fold(
            String::new(),
            |mut all, line| {
                all.push_str(line.trim());
                all.push(if line.trim_end().ends_with([';', '}']) { '\n' } else { ' ' });
                all
            },
        );
        for to in joined.lines().flat_map(imported) {
            let to = if matches!(to, "always" | "never" | "planted") { "mark" } else { to };
            if to != from && !row.imports.contains(to) {
                complaints.push(format!(
                    "{path}: {from} may not import {to}; hand it in as an argument, or change the \
                     law in {LAW} with a decision record"
                ));
            }
        }
    }
    for (name, _) in law.iter().filter(|(_, row)| !row.material.ends_with("to come")) {
        let prefix = format!("engine/src/{name}");
        if !tree.keys().any(|path| room(path) == Some(name)) {
            complaints.push(format!("{LAW}: {name} has a row but no {prefix}; take the row out"));
        }
    }
    complaints
}

/// Which packages of the house a package may depend on, tests included.
const PACKAGES: &[(&str, &[&str])] = &[
    ("engine/Cargo.toml", &[]),
    ("net/Cargo.toml", &["trilith-engine"]),
    ("sim/Cargo.toml", &["trilith-engine", "trilith-net"]),
    ("sim/madsim/Cargo.toml", &["trilith-engine", "trilith-net", "trilith-sim"]),
    ("bin/Cargo.toml", &["trilith-engine", "trilith-net", "trilith-sim"]),
];

/// Packages only some of ours may name.
const GUARDED: &[(&str, &[&str])] = &[
    ("tokio", &["Cargo.toml", "net/Cargo.toml", "bin/Cargo.toml"]),
    ("madsim", &["Cargo.toml", "sim/madsim/Cargo.toml"]),
    ("rand", &[]),
    ("getrandom", &[]),
];

fn package_arrows(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with("Cargo.toml")) {
        let lines =
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
        let mut section = "";
        for (index, line) in lines {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
                continue;
            }
            let name = line.split(['=', '.', ' ']).next().unwrap_or("").trim();
            if !section.ends_with("dependencies") || name.is_empty() {
                continue;
            }
            let allowed = PACKAGES.iter().find(|(manifest, _)| manifest == path);
            let is_ours = name.starts_with("trilith") && path != "Cargo.toml";
            if is_ours && !allowed.is_some_and(|(_, names)| names.contains(&name)) {
                complaints.push(format!(
                    "{path}:{}: this package may not depend on {name}; turn the arrow round with \
                     a trait",
                    index + 1
                ));
            }
            let guard = GUARDED.iter().find(|(guarded, _)| *guarded == name);
            if guard.is_some_and(|(_, manifests)| !manifests.contains(&path.as_str())) {
                complaints.push(format!(
                    "{path}:{}: {name} does not belong here; use the runtime traits",
                    index + 1
                ));
            }
        }
    }
    complaints
}

fn materials(tree: &Tree) -> Vec<String> {
    let law = law(tree);
    let mut complaints = Vec::new();
    for (path, text) in tree {
        let is_pure = room(path)
            .and_then(|name| law.get(name))
            .is_some_and(|r| r.material.starts_with("pure"));
        if !is_pure {
            continue;
        }
        for (number, line) in own_code(path, text) {
            for word in ["async ", ".await", "runtime::"] {
                if line.contains(word) {
                    complaints.push(format!(
                        "{path}:{number}: a pure room says `{}`; take what it waits for as an \
                         argument",
                        word.trim()
                    ));
                }
            }
        }
    }
    complaints
}

fn sharing(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let shared = ["Mutex", "RwLock", "RefCell", "Condvar", "thread_local!", "std::rc", "alloc::rc"];
    for (path, text) in tree.iter().filter(|(path, _)| path.starts_with("engine/src/")) {
        if room(path) == Some("embedded") {
            continue;
        }
        for (number, line) in own_code(path, text) {
            for word in shared.iter().filter(|word| line.contains(**word)) {
                complaints.push(format!(
                    "{path}:{number}: {word} in the engine; give the state one owner and hand it \
                     over by runtime::queue"
                ));
            }
        }
    }
    complaints
}

fn headers(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        if !text.starts_with("//!") {
            complaints.push(format!("{path}:1: no `//!` header; say what it is, why, and how"));
        }
        let header = text.lines().take_while(|line| line.starts_with("//!"));
        let is_room = path.ends_with("/mod.rs") || path.ends_with("src/lib.rs");
        if is_room && !header.clone().any(|line| line.contains("Not here:")) {
            complaints.push(format!("{path}:1: the header lacks `Not here:`; say what is absent"));
        }
    }
    complaints
}

/// The wall for lines of code in a file; 600 is comfortable.
const FILE_CODE_LINES_MAX: usize = 1000;

fn sizes(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let lines = if is_test(path) { code(text).count() } else { own_code(path, text).len() };
        if lines > FILE_CODE_LINES_MAX {
            complaints.push(format!(
                "{path}: {lines} lines of code, {FILE_CODE_LINES_MAX} is the wall; split it where \
                 the state or the level changes"
            ));
        }
    }
    complaints
}

/// A word, where it is looked for, and what to write instead. Split in two, so that this file does
/// not trip over itself.
const WORDS: &[(&str, &str, &str, &str)] = &[
    ("FIX", "ME", ".rs", "mend it, or open an issue"),
    ("XX", "X", ".rs", "say what is meant"),
    ("TO", "DO", ".rs", "do it, or say under `Not here:` that it is absent"),
    ("#[ign", "ore", ".rs", "a test runs or is deleted; long runs are programs"),
    ("dbg", "!(", ".rs", "use tracing"),
    ("/ho", "me/", "", "use a relative path"),
    ("/ro", "ot/", "", "use a relative path"),
    ("/wo", "rk/", "", "use a relative path"),
    ("/tmp/", "wt", "", "use a relative path"),
    ("/tmp/", "team", "", "use a relative path"),
    ("/Use", "rs/", "", "use a relative path"),
    ("SEA", "MS.md", "", "cite a page of the repository"),
    ("desi", "gn/house", "", "cite a page of the repository"),
    ("sha", "red/seeds", "", "cite a page of the repository"),
];

/// File names that say nothing.
const GRAB_BAGS: &[&str] = &["utils", "util", "helpers", "helper", "misc", "common", "manager"];

fn words(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree {
        let stem = path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or("");
        if GRAB_BAGS.contains(&stem) {
            complaints.push(format!("{path}: a grab bag; name it after what it holds"));
        }
        for (first, second, kind, instead) in WORDS.iter().filter(|word| path.ends_with(word.2)) {
            let word = format!("{first}{second}");
            if !text.contains(&word) {
                continue;
            }
            let hits = text.lines().enumerate().filter(|(_, line)| line.contains(&word));
            for (index, _) in hits {
                complaints.push(format!("{path}:{}: {word}{kind:.0}; {instead}", index + 1));
            }
        }
        if !path.ends_with(".rs") {
            continue;
        }
        for (number, line) in own_code(path, text) {
            let glob = line.contains("use ") && line.contains("::*");
            if glob && !line.contains("prelude::*") {
                complaints.push(format!("{path}:{number}: a glob import; name what you take"));
            }
        }
    }
    complaints
}

/// The lines of a Markdown file outside code blocks.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((index + 1, line));
        }
    }
    lines
}

fn markdown(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
        let prose = prose(text);
        let titles = prose.iter().filter(|(_, line)| line.starts_with("# ")).count();
        if titles != 1 {
            complaints.push(format!("{path}:1: {titles} titles; a page has one `# title`"));
        }
        let here = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for (number, line) in prose {
            for (at, _) in line.match_indices("](") {
                let target = line[at + 2..].split(')').next().unwrap_or("");
                let target = target.split('#').next().unwrap_or("");
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                let resolved = resolve(here, target);
                let prefix = format!("{resolved}/");
                let exists = tree.contains_key(&resolved)
                    || tree.keys().any(|name| name.starts_with(&prefix));
                if !exists {
                    complaints.push(format!("{path}:{number}: {target} does not exist; mend it"));
                }
            }
        }
    }
    complaints
}

/// A relative link, seen from a directory.
fn resolve(here: &str, target: &str) -> String {
    let mut parts: Vec<&str> = here.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn clippy_files(tree: &Tree) -> Vec<String> {
    let allowed = [".clippy.toml", "bin/.clippy.toml"];
    let mut complaints: Vec<String> = tree
        .keys()
        .filter(|path| path.ends_with("clippy.toml") && !allowed.contains(&path.as_str()))
        .map(|path| {
            format!("{path}: clippy merges no files, this one switches the law off; delete it")
        })
        .collect();
    for path in allowed.into_iter().filter(|path| !tree.contains_key(*path)) {
        complaints.push(format!("{path}: it is gone; restore it"));
    }
    complaints
}

fn limits(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with("/limits.rs")) {
        let mut before = "";
        for (index, line) in text.lines().enumerate() {
            let documented = before.starts_with("///") && before.trim_end().ends_with(['.', ')']);
            if line.starts_with("pub const") && !documented {
                complaints
                    .push(format!("{path}:{}: a limit without its reason; say why", index + 1));
            }
            before = line;
        }
    }
    complaints
}

fn decisions(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, text) in tree {
        let Some(name) = path.strip_prefix("engine/docs/adr/") else { continue };
        let number = name.split('-').next().unwrap_or("");
        let numbered = number.len() == 4 && number.bytes().all(|digit| digit.is_ascii_digit());
        if !numbered {
            complaints.push(format!("{path}: no number; name it NNNN-what-was-decided.md"));
        }
        if let Some(other) = taken.insert(number, path) {
            complaints.push(format!("{path}: {number} is {other} already; take the next number"));
        }
        if numbered && !text.starts_with(&format!("# {number}. ")) {
            complaints.push(format!("{path}: another title; begin it with # {number}. "));
        }
        let text = text.to_lowercase();
        for part in ["context", "decision", "alternative", "notice"] {
            if !text.contains(part) {
                complaints.push(format!(
                    "{path}: no word of {part}; a record has context, decision, alternatives and \
                     how we would notice that it was wrong"
                ));
            }
        }
    }
    complaints
}

/// The names in `planted!("…")` of the code.
fn planted_names(tree: &Tree) -> BTreeMap<&str, &str> {
    let mut names = BTreeMap::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        if path.starts_with("sim/tests/") {
            continue;
        }
        for (_, line) in code(text) {
            for (at, matched) in line.match_indices("planted!(\"") {
                if let Some((name, _)) = line[at + matched.len()..].split_once('"') {
                    names.insert(name, path.as_str());
                }
            }
        }
    }
    names
}

/// The catalogue: a file, and those in the folder beside it.
const CATALOGUE: &str = "sim/src/mutants/catalogue";

fn catalogue(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| path.starts_with(CATALOGUE))
}

fn planted(tree: &Tree) -> Vec<String> {
    let known: BTreeSet<&str> = catalogue(tree)
        .flat_map(|(_, text)| text.split("planted(").skip(1))
        .filter_map(|rest| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0))
        .collect();
    // The catalogue comes with the judges; without it there is nothing to compare.
    if known.is_empty() {
        return Vec::new();
    }
    let names = planted_names(tree);
    let unknown = names.iter().filter(|(name, _)| !known.contains(*name)).map(|(name, path)| {
        format!("{path}: the planted bug {name} is in no catalogue; add it to {CATALOGUE}")
    });
    let nowhere = known.iter().filter(|name| !names.contains_key(*name)).map(|name| {
        format!("{CATALOGUE}: {name} is planted nowhere; take it out, or plant it in the code")
    });
    unknown.chain(nowhere).collect()
}

/// Its bugs are options, not `planted!`.
const TOY: &str = "sim/src/subject/toy.rs";
const STORIES: &str = "engine/docs/raft-stories.md";
const SCRIPTS: &str = "engine/src/raft/tests/scripts/";

/// The page of stories names what there is: scripts, tests, scenarios, planted bugs; and every script
/// and every planted bug of the room stands on it.
fn stories(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.get(STORIES) else { return Vec::new() };
    let is_name = |word: &&str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/".contains(c);
        word.contains('_') && word.chars().all(plain)
    };
    let said: BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    let mut tests = BTreeSet::new();
    for (_, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        tests.extend(text.split("fn ").skip(1).filter_map(|rest| Some(rest.split_once('(')?.0)));
    }
    let catalogues: Vec<&String> =
        catalogue(tree).map(|(_, text)| text).chain(tree.get(TOY)).collect();
    let exists = |name: &str| {
        let quoted = format!("\"{name}\"");
        tree.contains_key(&format!("{SCRIPTS}{name}.txt"))
            || tree.contains_key(&format!("scenarios/{name}.toml"))
            || tests.contains(name)
            || catalogues.iter().any(|text| text.contains(&quoted))
    };
    let missing = said.iter().filter(|name| !exists(name));
    let mut complaints: Vec<String> = missing
        .map(|name| format!("{STORIES}: {name} is no story, test, scenario or planted bug"))
        .collect();
    let told = tree.keys().filter_map(|path| path.strip_prefix(SCRIPTS)?.strip_suffix(".txt"));
    let bugs = planted_names(tree).into_keys().filter(|name| name.starts_with("raft_"));
    let unsaid = told.chain(bugs).filter(|name| !said.contains(name));
    complaints.extend(unsaid.map(|name| format!("{STORIES}: {name} is not on the page")));
    complaints
}

/// Reads what the rules look at: text files under the rooms, and the top's own.
fn read_tree(root: &Path) -> Tree {
    fn walk(root: &Path, dir: &Path, tree: &mut Tree) {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("the source tree can be read")
            .map(|entry| entry.expect("the source tree can be read"))
            .collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let relative = path
                .strip_prefix(root)
                .expect("the source tree can be read")
                .to_string_lossy()
                .replace('\\', "/");
            let skipped = ["target", ".git", "trilith-data"];
            if skipped
                .iter()
                .any(|name| relative == *name || relative.ends_with(&format!("/{name}")))
            {
                continue;
            }
            if entry.file_type().expect("the source tree can be read").is_dir() {
                walk(root, &path, tree);
            } else {
                let text =
                    fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                tree.insert(relative, text.expect("the source tree can be read"));
            }
        }
    }
    let mut tree = Tree::new();
    walk(root, root, &mut tree);
    tree
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the source tree can be read");
    let tree = read_tree(root);
    assert!(tree.contains_key("engine/src/lib.rs"), "the tree was read");
    let complaints: Vec<String> = RULES
        .iter()
        .flat_map(|(name, rule)| rule(&tree).into_iter().map(move |text| format!("{name}: {text}")))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// A house so small that every rule holds.
fn small_house() -> Tree {
    let law = "# Law\n<!-- arrows -->\n| `types` | pure | |\n| `disk` | driven | `types` |\n\
               <!-- /arrows -->\n";
    [
        (LAW, law),
        ("engine/src/lib.rs", "//! Map.\n//! Not here: much.\n"),
        ("engine/src/types.rs", "//! Words.\n"),
        ("engine/src/disk/mod.rs", "//! Disk.\n//! Not here: much.\nuse crate::types::A;\n"),
        ("engine/Cargo.toml", "[dependencies]\nbytes = \"1\"\n"),
        (".clippy.toml", ""),
        ("bin/.clippy.toml", ""),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .collect()
}

/// Plants one file into the small house and says what the named rule makes of it.
#[track_caller]
fn check(rule: &str, path: &str, text: &str, expect: &str) {
    let mut tree = small_house();
    for (name, rule) in RULES {
        assert_eq!(rule(&tree), Vec::<String>::new(), "{name} fails on a house without fault");
    }
    tree.insert(path.to_owned(), text.to_owned());
    let rule = RULES.iter().find(|(name, _)| *name == rule).expect("a rule of that name").1;
    let complaints = rule(&tree);
    assert!(complaints.iter().any(|text| text.contains(expect)), "{expect}: got {complaints:?}");
}

#[test]
fn each_rule_finds_its_planted_violation() {
    check("the_top_holds_what_it_should", "docs/a.md", "# A", "docs: not a name");
    let arrows = "rooms_import_along_the_arrows";
    check(
        arrows,
        "engine/src/types.rs",
        "//! W.\nuse crate::disk::D;",
        "types may not import disk",
    );
    let listed = "//! W.\nuse crate::{\n    codec::{A, B},\n    types,\n};";
    check(arrows, "engine/src/disk/mod.rs", listed, "disk may not import codec");
    check(arrows, "engine/src/attic.rs", "//! A.", "attic has no row");
    let absent = "<!-- arrows -->\n| `types` | pure | |\n| `disk` | driven | |\n| `ghost` | pure | |\n<!-- /arrows -->";
    check(arrows, LAW, absent, "ghost has a row but no");
    check(arrows, LAW, "# Law", "the table between the arrows marks is gone");
    let packages = "packages_depend_along_the_arrows";
    check(packages, "net/Cargo.toml", "[dev-dependencies]\ntrilith-sim = \"1\"", "trilith-sim");
    check(
        packages,
        "engine/Cargo.toml",
        "[dependencies]\ntokio.workspace = true",
        "tokio does not",
    );
    let pure = "//! W.\npub async fn wait() {}";
    check("pure_rooms_do_not_wait", "engine/src/types.rs", pure, "a pure room says `async`");
    let mutex = "//! D.\nuse std::sync::Mutex;";
    check("the_engine_shares_nothing", "engine/src/disk/a.rs", mutex, "Mutex in the engine");
    check("every_file_says_what_it_is", "net/src/a.rs", "fn a() {}", "no `//!` header");
    check("every_file_says_what_it_is", "net/src/a/mod.rs", "//! A.", "lacks `Not here:`");
    let long = format!("//! A.\n{}", "fn a() {}\n".repeat(FILE_CODE_LINES_MAX + 1));
    check("files_stay_readable", "net/src/a.rs", &long, "is the wall");
    let words = "words_we_do_not_use";
    for (first, second, kind, instead) in WORDS {
        let path = if kind.is_empty() { "net/a.md" } else { "net/src/a.rs" };
        check(words, path, &format!("//! # A\n{first}{second}"), instead);
    }
    check(words, "net/src/utils.rs", "//! A.", "a grab bag");
    check(words, "net/src/a.rs", "//! A.\nuse bytes::*;", "a glob import");
    check("markdown_is_whole", "net/a.md", "# A\n# B", "2 titles");
    check("markdown_is_whole", "net/a.md", "# A\n[b](../b.md)", "../b.md does not exist");
    check("clippy_reads_two_files", "sim/clippy.toml", "", "switches the law off");
    let bare = "//! L.\npub const A: usize = 1;";
    check("limits_have_reasons", "engine/src/limits.rs", bare, "a limit without its reason");
    let record = "# A\ncontext decision alternatives notice";
    let decisions = "decisions_are_numbered_once";
    check(decisions, "engine/docs/adr/one.md", record, "no number");
    check(decisions, "engine/docs/adr/0001-a.md", "# A\ncontext", "no word of decision");
    check(decisions, "engine/docs/adr/0001-a.md", "# 1. A\ncontext", "another title");
    let mut tree = small_house();
    tree.insert(STORIES.to_owned(), "# A\n`a_story`, `raft_a`".to_owned());
    tree.insert(format!("{SCRIPTS}another.txt"), String::new());
    tree.insert(format!("{CATALOGUE}.rs"), "\"raft_a\"".to_owned());
    tree.insert(
        "engine/src/raft/b.rs".to_owned(),
        "planted!(\"raft_a\") planted!(\"raft_b\")".to_owned(),
    );
    let complaints = self::stories(&tree).concat();
    for expect in ["a_story is no story", "another is not on the page", "raft_b is not on the page"]
    {
        assert!(complaints.contains(expect), "{expect}: {complaints}");
    }
    assert!(!complaints.contains("raft_a is"), "{complaints}");
    let mut tree = small_house();
    for name in ["0001-a.md", "0001-b.md"] {
        tree.insert(format!("engine/docs/adr/{name}"), record.to_owned());
    }
    assert!(self::decisions(&tree).concat().contains("take the next number"), "two of one number");
}

#[test]
fn what_git_ignores_may_lie_around() {
    let mut tree = small_house();
    tree.insert(".gitignore".to_owned(), "/target\n/a*.log\n".to_owned());
    for path in ["target/a", "a1.log", "b1.log"] {
        tree.insert(path.to_owned(), String::new());
    }
    let complaints = self::top(&tree);
    assert!(complaints.len() == 1 && complaints[0].starts_with("b1.log"), "{complaints:?}");
}

#[test]
fn the_catalogue_is_what_is_planted() {
    let planted = "//! D.\nfn a() { if planted!(\"b\") {} }";
    let mut tree = small_house();
    tree.insert(format!("{CATALOGUE}/raft.rs"), "planted(\n    \"a\", \"\")".to_owned());
    tree.insert("engine/src/disk/a.rs".to_owned(), planted.to_owned());
    let complaints = self::planted(&tree).concat();
    for expect in ["the planted bug b", "a is planted nowhere"] {
        assert!(complaints.contains(expect), "{expect}: {complaints}");
    }
}
