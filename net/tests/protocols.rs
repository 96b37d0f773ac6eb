//! The page of protocols is what the table of commands says.
#![expect(clippy::disallowed_methods, reason = "a page is a file, and its test reads it")]

use std::{env, fs};

/// `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_page_of_protocols_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../bin/docs/protocols.md");
    let page = trilith_net::resp::page::page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, &page).unwrap();
    }
    let is_current = fs::read_to_string(path).is_ok_and(|there| there == page);
    assert!(is_current, "UPDATE_DOCS=1 cargo test -p trilith-net --test protocols");
}
