//! Bytes as a part of a path or a query: `%20`.
//!
//! Not here: which part (`route.rs`).

use std::fmt::Write as _;

use super::answer::Problem;

/// Bytes that were written as text, some of them as `%20`; in a query a plus is a space.
///
/// # Errors
/// When a percent sign has no two digits behind it.
pub(super) fn decode(text: &str, in_query: bool) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'%' => {
                let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                let is_hex = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let byte = digits.filter(is_hex).and_then(|two| u8::from_str_radix(two, 16).ok());
                let what = "a percent sign without two digits behind it";
                bytes.push(byte.ok_or_else(|| Problem::bad(what, "write it as %25"))?);
                rest = &rest[2..];
            }
            b'+' if in_query => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    Ok(bytes)
}

/// Bytes as a part of a query.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            // Writing into a string does not fail.
            byte => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_plain_where_it_can_be() {
        assert_eq!(encode(b"a-b_c.d~/ +%\xFF"), "a-b_c.d~%2F%20%2B%25%FF");
        assert_eq!(decode("a+b%2bc", true).unwrap(), b"a b+c");
        assert_eq!(decode("a+b", false).unwrap(), b"a+b");
        for text in ["%", "%f", "%zz", "%+1", "a%\u{e9}"] {
            assert!(decode(text, false).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_are_what_they_were(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes), true).unwrap(), bytes);
        }
    }
}
