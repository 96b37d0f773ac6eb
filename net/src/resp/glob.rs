//! Patterns as Redis has them: `?` any byte, `*` any bytes, `[a-c]` `[^x]` one of them, `\` the next
//! byte as it is.
//!
//! A pattern is gone through once with one place to come back to, so that no pattern takes longer
//! than its length times that of the text.
//!
//! Not here: what is searched.

/// Whether a text fits a pattern.
#[must_use]
pub fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut behind) = (0, 0);
    // Behind the last star, and where in the text what it stands for ends.
    let mut star: Option<(usize, usize)> = None;
    while behind < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, behind));
                at += 1;
                continue;
            }
            Some(_) => {
                if let Some(next) = one(pattern, at, text[behind]) {
                    (at, behind) = (next, behind + 1);
                    continue;
                }
            }
            None => {}
        }
        let Some((again, upto)) = star else { return false };
        star = Some((again, upto + 1));
        (at, behind) = (again, upto + 1);
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whether a byte fits the piece of the pattern that stands there: where the next piece does.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern[at] {
        b'?' => Some(at + 1),
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        b'[' => class(pattern, at + 1, byte),
        plain => (plain == byte).then_some(at + 1),
    }
}

fn class(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let is_not = pattern.get(at) == Some(&b'^');
    at += usize::from(is_not);
    let mut is_in = false;
    loop {
        match pattern.get(at..) {
            // A class that does not end ends with the pattern.
            None | Some([]) => return (is_in != is_not).then_some(at),
            Some([b']', ..]) => return (is_in != is_not).then_some(at + 1),
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
    fn no_pattern_takes_for_ever() {
        let pattern = b"a*".repeat(2000);
        let text = vec![b'a'; 4000];
        assert!(fits(&pattern, &text));
        assert!(!fits(&[&pattern[..], b"b"].concat(), &text));
    }
}
