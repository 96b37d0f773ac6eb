//! Recorded histories with known verdicts, one file each under `histories/`.
#![allow(clippy::disallowed_methods, reason = "the recorded histories are files")]

use std::{error::Error, fs, path::Path};

use trilith_sim::{
    check::{Verdict, linearizable},
    history::History,
};

#[test]
fn recorded_histories_get_their_known_verdicts() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut judged = 0;
    let files = fs::read_dir(directory)?;
    for file in files {
        let path = file?.path();
        let text = fs::read_to_string(&path)?;
        let history: History = text.parse().map_err(|why| format!("{}: {why}", path.display()))?;
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# verdict: "));
        let found = match linearizable::check(&history) {
            Verdict::Holds => "ok",
            Verdict::Violated(_) => "violated",
            Verdict::Unknown(_) => "unknown",
        };
        assert_eq!(expected, Some(found), "{}", path.display());
        judged += 1;
    }
    assert!(judged >= 12, "only {judged} histories were found");
    Ok(())
}
