//! Decimal fractions: what INCRBYFLOAT adds, exactly.
//!
//! Redis adds with more bits than a double has and shows 17 digits behind the point, so that 0.1
//! and 0.2 come to 0.3. Every replica must come to the same, on whatever machine, so we add decimal
//! digits: as many as fit 128 bits, 17 of them behind the point. Numbers beyond that are doubles.
//!
//! Not here: integers (`INCR`), which the engine adds.

use std::fmt;

/// Digits behind the point.
const DIGITS: u32 = 17;
const ONE: i128 = 10_i128.pow(DIGITS);

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decimal {
    /// So many of the last digit.
    Exact(i128),
    /// One that is larger, or finer.
    Rough(f64),
}

impl Decimal {
    /// What a word says, if it is a number.
    #[must_use]
    pub fn read(word: &[u8]) -> Option<Self> {
        let text = str::from_utf8(word).ok()?;
        let begins = |byte: &u8| byte.is_ascii_digit() || b"+-.".contains(byte) || is_inf(word);
        if !word.first().is_some_and(begins) {
            return None;
        }
        if let Some(exact) = exact(text) {
            return Some(Self::Exact(exact));
        }
        let rough: f64 = text.parse().ok()?;
        (!rough.is_nan()).then_some(Self::Rough(rough))
    }

    /// The sum, if it is a number that can be written down.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        if let (Self::Exact(left), Self::Exact(right)) = (self, other)
            && let Some(sum) = left.checked_add(right)
        {
            return Some(Self::Exact(sum));
        }
        let sum = self.rough() + other.rough();
        sum.is_finite().then_some(Self::Rough(sum))
    }

    fn rough(self) -> f64 {
        match self {
            Self::Exact(exact) => exact as f64 / ONE as f64,
            Self::Rough(rough) => rough,
        }
    }
}

fn is_inf(word: &[u8]) -> bool {
    word.len() >= 3 && word[..3].eq_ignore_ascii_case(b"inf")
}

/// Digits, perhaps a point among them, perhaps an exponent behind: if that fits.
fn exact(text: &str) -> Option<i128> {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    // Farther than that nothing fits.
    if exponent.unsigned_abs() >= 64 {
        return None;
    }
    let (is_negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut number: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    let shift = (DIGITS as i32 + exponent).checked_sub(i32::try_from(fraction.len()).ok()?)?;
    if shift >= 0 {
        number = number.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?;
    } else {
        let unit = 10_i128.checked_pow(shift.unsigned_abs())?;
        // Finer than can be kept.
        number = (number % unit == 0).then_some(number / unit)?;
    }
    Some(if is_negative { -number } else { number })
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = match self {
            // Small and fine: as many digits as Redis shows.
            Self::Rough(rough) if rough.abs() < 1.0 => {
                exact(&format!("{rough:.17}")).unwrap_or_default()
            }
            Self::Rough(rough) => return write!(f, "{rough}"),
            Self::Exact(exact) => *exact,
        };
        let sign = if exact < 0 { "-" } else { "" };
        let (whole, fraction) =
            (exact.unsigned_abs() / ONE as u128, exact.unsigned_abs() % ONE as u128);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:0width$}", width = DIGITS as usize);
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(left: &str, right: &str) -> Option<String> {
        let (left, right) = (Decimal::read(left.as_bytes())?, Decimal::read(right.as_bytes())?);
        left.plus(right).map(|sum| sum.to_string())
    }

    #[test]
    fn sums_are_those_of_paper() {
        let cases = [
            ("10.50", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-5.5", "-2.5"),
            ("-0.5", "0.5", "0"),
            ("1e30", "1", "1000000000000000000000000000000"),
            (".5", "+1.", "1.5"),
            // As Redis shows what is finer than it shows.
            ("1e-20", "0", "0"),
            ("-1e-20", "0", "0"),
            ("1.5e-17", "0", "0.00000000000000002"),
            ("0.1234567890123456789", "0", "0.12345678901234568"),
        ];
        for (left, right, told) in cases {
            assert_eq!(sum(left, right).as_deref(), Some(told), "{left} + {right}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for wrong in ["", " 1", "1 ", "abc", "nan", "1.2.3", "-", ".", "e5", "0x10", "infinit"] {
            assert_eq!(Decimal::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(Decimal::read(b"inf").is_some() && sum("inf", "1").is_none());
        assert_eq!(sum("1e308", "1e308"), None);
    }

    #[test]
    fn an_exponent_is_a_number_of_any_size() {
        for exponent in [i32::MIN, i32::MAX, -65, -64, -63, 63, 64, 65] {
            let text = format!("1e{exponent}");
            let _read = Decimal::read(text.as_bytes());
            let _read = Decimal::read(format!("1.{}e{exponent}", "0".repeat(70_000)).as_bytes());
        }
        assert_eq!(sum("1e-2147483648", "1").as_deref(), Some("1"));
        assert_eq!(sum("1e-9223372036854775808", "1").as_deref(), Some("1"));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_what_it_was(text in "-?[0-9]{1,15}(\\.[0-9]{1,17})?") {
            let number = Decimal::read(text.as_bytes()).unwrap();
            prop_assert_eq!(Decimal::read(number.to_string().as_bytes()), Some(number));
        }

        #[test]
        fn no_word_makes_it_panic(text in "[-+.e0-9infa]{0,50}") {
            if let Some(number) = Decimal::read(text.as_bytes()) {
                let _sum = number.plus(number).map(|sum| sum.to_string());
            }
        }
    }
}
