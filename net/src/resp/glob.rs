//! Patterns as Redis has them: `?` any byte, `*` any bytes, `[a-c]` `[^x]` one of them, `\` the next
//! byte as it is.
//!
//! A pattern is gone through once with one place to come back to, so that no pattern takes longer
//! than its length times that of the text. That may still be long, so a match can pause: who
//! matches gives so many steps, and others of his core go on when they are used up.
//!
//! Not here: what is searched.

use trilith_engine::runtime::Task;

use super::scratch::Said;
use crate::limits::{GLOB_STEPS, RESP_PATTERN_BYTES_MAX};

/// Whether a text fits a pattern, both short.
#[must_use]
pub fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let mut steps = usize::MAX;
    Match::default().goes_on(pattern, text, &mut steps).unwrap_or(false)
}

/// The same of long ones: whenever the steps are used up, others go on.
pub(super) async fn fits_by_steps<T: Task>(
    task: &T,
    (pattern, text): (&[u8], &[u8]),
    steps: &mut usize,
) -> bool {
    let mut begun = Match::default();
    loop {
        if let Some(fits) = begun.goes_on(pattern, text, steps) {
            return fits;
        }
        task.yield_now().await;
        *steps = GLOB_STEPS;
    }
}

/// Whether a pattern may be as long as that.
///
/// # Errors
/// When it is too long.
pub(super) fn check(pattern: &[u8]) -> Result<(), Said> {
    if pattern.len() <= RESP_PATTERN_BYTES_MAX {
        return Ok(());
    }
    let why = format!("ERR a pattern has at most {RESP_PATTERN_BYTES_MAX} bytes");
    Err(Said::Error(why.into()))
}

/// A match that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Match {
    at: usize,
    behind: usize,
    /// Behind the last star, and where in the text what it stands for ends.
    star: Option<(usize, usize)>,
}

impl Match {
    /// Goes on for so many steps. Whether the text fits; nothing when they are used up before that
    /// is known.
    pub(super) fn goes_on(
        &mut self,
        pattern: &[u8],
        text: &[u8],
        steps: &mut usize,
    ) -> Option<bool> {
        while self.behind < text.len() {
            if *steps == 0 {
                return None;
            }
            *steps -= 1;
            match pattern.get(self.at) {
                Some(b'*') => {
                    self.star = Some((self.at + 1, self.behind));
                    self.at += 1;
                    continue;
                }
                Some(_) => {
                    let (fits, next) = one(pattern, self.at, text[self.behind]);
                    // A class is gone through to its end.
                    *steps = steps.saturating_sub(next - self.at - 1);
                    if fits {
                        (self.at, self.behind) = (next, self.behind + 1);
                        continue;
                    }
                }
                None => {}
            }
            let Some((again, upto)) = self.star else { return Some(false) };
            self.star = Some((again, upto + 1));
            (self.at, self.behind) = (again, upto + 1);
        }
        *steps = steps.saturating_sub(1);
        Some(pattern[self.at..].iter().all(|byte| *byte == b'*'))
    }
}

/// Whether a byte fits the piece of the pattern that stands there, and where the next piece does.
fn one(pattern: &[u8], at: usize, byte: u8) -> (bool, usize) {
    match pattern[at] {
        b'?' => (true, at + 1),
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte, at + 2),
        b'[' => class(pattern, at + 1, byte),
        plain => (plain == byte, at + 1),
    }
}

fn class(pattern: &[u8], mut at: usize, byte: u8) -> (bool, usize) {
    let is_not = pattern.get(at) == Some(&b'^');
    at += usize::from(is_not);
    let mut is_in = false;
    loop {
        match pattern.get(at..) {
            // A class that does not end ends with the pattern.
            None | Some([]) => return (is_in != is_not, at),
            Some([b']', ..]) => return (is_in != is_not, at + 1),
            Some([b'\\', escaped, ..]) => {
                is_in |= *escaped == byte;
                at += 2;
            }
            Some([low, b'-', high, ..]) => {
                is_in |= (*low.min(high)..=*low.max(high)).contains(&byte);
                at += 3;
            }
            Some([plain, ..]) => {
                is_in |= *plain == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_what_they_say() {
        let cases = [
            ("", "", true),
            ("*", "", true),
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("[abc", "b", true),
            ("a", "", false),
            ("", "a", false),
            ("a*", "ab", true),
        ];
        for (pattern, text, is_so) in cases {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), is_so, "{pattern} {text}");
        }
    }

    #[test]
    fn a_match_that_pauses_comes_to_the_same() {
        let (pattern, text) = (b"*[a-c]?b*[^x]d", b"aabcbbabxdbd");
        let mut pauses = 0;
        let mut begun = Match::default();
        let fits = loop {
            match begun.goes_on(pattern, text, &mut 3) {
                Some(fits) => break fits,
                None => pauses += 1,
            }
        };
        assert!(fits && pauses > 3, "{pauses}");
        // A class costs what it is long.
        let long = [b"[", &b"x".repeat(1000)[..], b"]"].concat();
        let mut steps = 5000;
        assert_eq!(
            Match::default().goes_on(&[b"*", &long[..]].concat(), &[b'a'; 99], &mut steps),
            None
        );
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let pattern = b"a*".repeat(2000);
        let text = vec![b'a'; 4000];
        assert!(fits(&pattern, &text));
        assert!(!fits(&[&pattern[..], b"b"].concat(), &text));
    }
}
