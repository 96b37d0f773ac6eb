//! Users: who may come in, and what is kept of their passwords.
//!
//! Of a password only what argon2id made of it is kept, as one line of text that other programs
//! write too (a PHC string):
//!
//! ```text
//!   $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
//!                  │       │   └ lanes
//!                  │       └ passes over the memory
//!                  └ memory in KiB
//! ```
//! Whoever writes such a line says what it costs to judge one password, and a stranger may have
//! that done; so what is costly beyond [`ARGON_KIB_MAX`] and [`ARGON_KIB_PASSES_MAX`] is refused
//! when it is read, and no node begins with it.
//!
//! Not here: when a password is judged, and where (`gate.rs`), what a user may do (everything).

use std::{collections::BTreeMap, fmt, sync::Arc};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ctutils::CtEq;
use trilith_engine::planted;

use crate::limits::{
    ARGON_KIB_MAX, ARGON_KIB_PASSES_MAX, ARGON_LANES_MAX, PASSWORD_BYTES_MAX, USER_NAME_BYTES_MAX,
    USERS_MAX,
};

/// A user's name.
pub type Name = Arc<str>;

/// Who is meant where a password is said alone.
pub const DEFAULT: &str = "default";

/// How long a salt and a hash may be, in bytes.
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
const HASH_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// What it costs to judge a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes it is divided into.
    pub lanes: u32,
}

impl Cost {
    /// What new ones have: some twenty milliseconds.
    pub const USUAL: Self = Self { memory_kib: 19_456, passes: 2, lanes: 1 };

    /// Whether a node can bear it.
    fn check(self) -> Result<Params, BadHash> {
        let Self { memory_kib, passes, lanes } = self;
        let all = u64::from(memory_kib) * u64::from(passes);
        if memory_kib > ARGON_KIB_MAX || all > ARGON_KIB_PASSES_MAX || lanes > ARGON_LANES_MAX {
            return Err(BadHash::Cost);
        }
        Params::new(memory_kib, passes, lanes, None).map_err(|_below| BadHash::Form)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={},t={},p={}", self.memory_kib, self.passes, self.lanes)
    }
}

/// Why a text is no password that was kept. It never repeats the text: that may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHash {
    /// It is nothing of the kind.
    Form,
    /// It is of another algorithm.
    Algorithm,
    /// It is of another version of argon2.
    Version,
    /// Judging one password would take too much of a node.
    Cost,
}

impl fmt::Display for BadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "it is no hash like $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH: \
                 trilith config hash-password makes one",
            ),
            Self::Algorithm => f.write_str("its hash is not of argon2id"),
            Self::Version => f.write_str("its hash is not of version 19 of argon2"),
            Self::Cost => write!(
                f,
                "its hash would take one login too much of a node: m is at most {ARGON_KIB_MAX}, m \
                 times t at most {ARGON_KIB_PASSES_MAX}, p at most {ARGON_LANES_MAX}"
            ),
        }
    }
}

impl std::error::Error for BadHash {}

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.cost)
    }
}

impl fmt::Display for Kept {
    /// The line that is written down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.hash));
        write!(f, "$argon2id$v=19${}${salt}${hash}", self.cost)
    }
}

/// A number as it is written in such a line.
fn number(text: Option<&str>, name: &str) -> Result<u32, BadHash> {
    let digits = text.and_then(|text| text.strip_prefix(name)).ok_or(BadHash::Form)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHash::Form);
    }
    // What is too long to be a number is too much.
    if digits.is_empty() { Err(BadHash::Form) } else { Ok(digits.parse().unwrap_or(u32::MAX)) }
}

fn bytes(text: Option<&str>, range: &std::ops::RangeInclusive<usize>) -> Result<Vec<u8>, BadHash> {
    let bytes = text.and_then(|text| STANDARD_NO_PAD.decode(text).ok());
    bytes.filter(|bytes| range.contains(&bytes.len())).ok_or(BadHash::Form)
}

impl Kept {
    /// Reads the line that was written down.
    ///
    /// # Errors
    /// When it is none, or costs too much.
    pub fn read(text: &str) -> Result<Self, BadHash> {
        let mut parts = text.split('$');
        if parts.next() != Some("") {
            return Err(BadHash::Form);
        }
        if parts.next() != Some("argon2id") {
            return Err(BadHash::Algorithm);
        }
        if parts.next() != Some("v=19") {
            return Err(BadHash::Version);
        }
        let mut cost = parts.next().ok_or(BadHash::Form)?.split(',');
        let (memory_kib, passes, lanes) =
            (number(cost.next(), "m=")?, number(cost.next(), "t=")?, number(cost.next(), "p=")?);
        let (salt, hash) = (bytes(parts.next(), &SALT_BYTES)?, bytes(parts.next(), &HASH_BYTES)?);
        if parts.next().is_some() || cost.next().is_some() {
            return Err(BadHash::Form);
        }
        let cost = Cost { memory_kib, passes, lanes };
        if !planted!("auth_any_cost_taken") {
            cost.check()?;
        }
        Ok(Self { cost, salt, hash })
    }

    /// What is to be kept of a password, with a salt that nobody else has.
    ///
    /// # Errors
    /// When that costs too much.
    pub fn make(password: &[u8], salt: [u8; 16], cost: Cost) -> Result<Self, BadHash> {
        let mut kept = Self { cost, salt: salt.to_vec(), hash: vec![0; 32] };
        kept.hash = kept.hashed(password).ok_or(BadHash::Form)?;
        cost.check().map(|_fits| kept)
    }

    /// Whether it is of that password. Takes as long as it costs, whatever the answer.
    #[must_use]
    pub fn is(&self, password: &[u8]) -> bool {
        let hashed = self.hashed(password);
        hashed.is_some_and(|hashed| hashed.as_slice().ct_eq(&self.hash).into())
    }

    fn hashed(&self, password: &[u8]) -> Option<Vec<u8>> {
        let params = self.cost.check().ok()?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hash = vec![0; self.hash.len()];
        argon.hash_password_into(password, &self.salt, &mut hash).ok()?;
        Some(hash)
    }

    /// What judging one costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The hash alone.
    pub(crate) fn hash(&self) -> &[u8] {
        &self.hash
    }
}

/// Why somebody cannot be a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadUser {
    /// The name cannot be one.
    Name,
    /// There are as many as there may be.
    Many,
}

impl fmt::Display for BadUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                f,
                "a user's name has 1 to {USER_NAME_BYTES_MAX} letters, digits or any of - _ . @"
            ),
            Self::Many => write!(f, "there are at most {USERS_MAX} users"),
        }
    }
}

impl std::error::Error for BadUser {}

/// All users. When there is none, nobody is asked who he is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<Name, Kept>);

impl Users {
    /// One more, or another password of one.
    ///
    /// # Errors
    /// When nobody can be called so, or there are too many.
    pub fn put(&mut self, name: &str, kept: Kept) -> Result<(), BadUser> {
        let is_part =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
        if name.is_empty() || name.len() > USER_NAME_BYTES_MAX || !name.bytes().all(is_part) {
            return Err(BadUser::Name);
        }
        if self.0.len() >= USERS_MAX && !self.0.contains_key(name) {
            return Err(BadUser::Many);
        }
        self.0.insert(name.into(), kept);
        Ok(())
    }

    /// Whether nobody is asked who he is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Kept)> {
        self.0.iter()
    }

    /// Who is called so, and what is kept of his password.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(&Name, &Kept)> {
        self.0.get_key_value(std::str::from_utf8(name).ok()?)
    }

    /// Whether that can be a password at all.
    #[must_use]
    pub const fn takes(password: &[u8]) -> bool {
        !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cheap, so that tests are quick.
    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    #[test]
    fn a_password_is_known_again_and_no_other() {
        let kept = Kept::make(b"open sesame", [7; 16], CHEAP).unwrap();
        let line = kept.to_string();
        assert!(line.starts_with("$argon2id$v=19$m=8,t=1,p=1$BwcHBwcHBwcHBwcHBwcHBw$"), "{line}");
        let read = Kept::read(&line).unwrap();
        assert_eq!(read, kept);
        assert!(read.is(b"open sesame"));
        for wrong in [&b"open sesam"[..], b"open sesame ", b"Open sesame", b""] {
            assert!(!read.is(wrong));
        }
        assert_ne!(Kept::make(b"open sesame", [8; 16], CHEAP).unwrap(), kept, "salted");
        assert_eq!(format!("{kept:?}"), "Kept(m=8,t=1,p=1)", "a hash is shown nowhere");
    }

    /// What the reference program (`argon2`) writes for "password" with the salt "somesalt":
    /// 64 MiB, two passes, one lane.
    #[test]
    fn what_other_programs_write_is_read() {
        let line = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ\
                    $CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(Kept::read(line).unwrap().is(b"password"));
    }

    #[test]
    fn what_is_no_hash_says_why_and_not_what() {
        let tail = "$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let with = |cost: &str| Kept::read(&format!("$argon2id$v=19${cost}{tail}")).err();
        assert_eq!(with("m=65536,t=4,p=1"), None);
        for dear in
            ["m=65537,t=1,p=1", "m=65536,t=5,p=1", "m=8,t=99999999999,p=1", "m=512,t=1,p=17"]
        {
            assert_eq!(with(dear), Some(BadHash::Cost), "{dear}");
        }
        for form in
            ["", "m=8", "m=8,t=1", "m=8,t=0,p=1", "m=8,t=1,p=0", "m=7,t=1,p=1", "m=8,t=1,p=2"]
        {
            assert_eq!(with(form), Some(BadHash::Form), "{form}");
        }
        for form in ["t=1,m=8,p=1", "m=8,t=1,p=1,keyid=a", "m=+8,t=1,p=1", "m=8,t=1,p="] {
            assert_eq!(with(form), Some(BadHash::Form), "{form}");
        }
        let why = |text: &str| Kept::read(text).unwrap_err();
        assert_eq!(why("hunter2"), BadHash::Form);
        assert_eq!(why(&format!("$argon2i$v=19$m=8,t=1,p=1{tail}")), BadHash::Algorithm);
        assert_eq!(why("$2b$12$abcdefghijklmnopqrstuv"), BadHash::Algorithm);
        assert_eq!(why(&format!("$argon2id$v=16$m=8,t=1,p=1{tail}")), BadHash::Version);
        assert_eq!(why(&format!("$argon2id$m=8,t=1,p=1{tail}")), BadHash::Version);
        assert_eq!(why(&format!("$argon2id$v=19$m=8,t=1,p=1{tail}$")), BadHash::Form);
        assert_eq!(
            why("$argon2id$v=19$m=8,t=1,p=1$c29tZQ$CTFhFdXPJO1aFaMaO6Mm5c8y"),
            BadHash::Form
        );
        assert_eq!(why("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFh"), BadHash::Form);
        assert!(!why("hunter2").to_string().contains("hunter2"));
    }

    #[test]
    fn users_have_names_and_are_not_too_many() {
        let (mut users, kept) = (Users::default(), Kept::make(b"x", [7; 16], CHEAP).unwrap());
        assert!(users.is_empty());
        for wrong in ["", "a b", "a:b", "a\"", &"n".repeat(USER_NAME_BYTES_MAX + 1)] {
            assert_eq!(users.put(wrong, kept.clone()), Err(BadUser::Name), "{wrong}");
        }
        for nth in 0..USERS_MAX {
            assert_eq!(users.put(&format!("u{nth}@example.org"), kept.clone()), Ok(()));
        }
        assert_eq!(users.put("one.more", kept.clone()), Err(BadUser::Many));
        assert_eq!(users.put("u7@example.org", kept), Ok(()), "another password");
        assert!(users.find(b"u7@example.org").is_some() && users.find(b"\xff").is_none());
    }
}
