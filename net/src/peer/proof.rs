//! Proofs: that both sides of a connection know the cluster's secret, without saying it.
//!
//! ```text
//!   the one who connects                             the one who listens
//!     Hello ───────────────────────────────────────►
//!              ◄── Challenge  a number, drawn anew
//!     Proof    another number, and what the secret
//!              makes of Hello and both ─────────────►  compares
//!              ◄── Proof, Welcome  and what it makes of these, and the Welcome
//!                  or Refusal
//!     compares
//!     Ready ───────────────────────────────────────►
//! ```
//! Who connects proves himself first: before that, whoever listens has done nothing for him, and has
//! told him nothing from which the secret could be guessed. A node's directory is written down only
//! behind that (`accept.rs`).
//!
//! What the secret makes of something is a keyed digest (BLAKE2s). Its first byte says who proves, and
//! what: what one side has said is never what the other one has to say, so a proof that is sent back is
//! none. The Hello in it has both nodes, the cluster, the directory and the versions, and the Welcome
//! the node that was reached; so a proof that was made for somebody else, of another kind, or earlier
//! is none.
//!
//! A member that knows another directory of ours may make this node leave. So who refuses somebody who
//! has proven himself proves that too, and what others say who only are where a member should be is
//! no more than a reason why there is no link.
//!
//! While a secret is changed there are two. Each side proves itself with its first one and takes both,
//! and who listens answers with the one that it was shown; so nodes understand each other as long as
//! what each shows is known to all.
//!
//! The numbers need not be secret, but nobody may know them beforehand, and the runtime's luck does
//! not promise that. So they are drawn from it and put through the secret.
//!
//! What is said behind the handshake is neither encrypted nor proven: who can change what is on the
//! cable can do so still.
//!
//! Not here: who belongs to the cluster (`hello.rs`), TLS (there is none yet).

use std::fmt;

use blake2::{
    Blake2s256, Blake2sMac256, Digest,
    digest::{KeyInit, Mac},
};
use bytes::{BufMut, Bytes, BytesMut};
use trilith_engine::{
    codec::Reader,
    mark, planted,
    runtime::{Rng, StreamRead, StreamWrite},
};

use super::{
    Trouble,
    hello::{Hello, Refusal, Welcome, expect, put},
    stream::{Inlet, write_all},
};
use crate::{
    frame::{BadFrame, Frame, HEADER_BYTES, Kind},
    limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRETS_MAX},
};

/// A number that is drawn for one handshake.
pub type Nonce = [u8; 32];

const CHALLENGE_BYTES: usize = 32;
const PROOF_BYTES: usize = 64;

/// What stands before everything of which a digest is made under the secret, so that no two kinds of
/// it are one.
const PROOFS: &[u8] = b"trilith proof 1\n";
const NONCES: &[u8] = b"trilith nonce 1\n";

/// What all nodes of a cluster know, and who may ask at their port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a text is no secret. It does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSecret {
    /// It could be guessed for its length alone, or is too long.
    Length,
    /// It is more of them than there may be.
    Many,
}

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(
                f,
                "a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes in a line that nobody can \
                 guess: trilith config secret makes one"
            ),
            Self::Many => write!(f, "there are at most {SECRETS_MAX} secrets, one a line"),
        }
    }
}

impl std::error::Error for BadSecret {}

impl Secret {
    /// Of this text.
    ///
    /// # Errors
    /// When it could be guessed for its length alone.
    pub fn new(text: &[u8]) -> Result<Self, BadSecret> {
        let is_one = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len());
        if !is_one && !planted!("peer_any_secret_taken") {
            return Err(BadSecret::Length);
        }
        Ok(Self(
            Blake2s256::new()
                .chain_update(b"trilith secret 1\n")
                .chain_update(text)
                .finalize()
                .into(),
        ))
    }

    fn digest(&self, what: &[u8]) -> Blake2sMac256 {
        <Blake2sMac256 as KeyInit>::new(&self.0.into()).chain_update(what)
    }

    /// A number that nobody knew before.
    pub fn nonce(&self, luck: &mut impl Rng) -> Nonce {
        let mut digest = self.digest(NONCES);
        for _ in 0..4 {
            digest.update(&luck.next_u64().to_le_bytes());
        }
        digest.finalize().into_bytes().into()
    }

    fn of(&self, talk: &Talk<'_>) -> Blake2sMac256 {
        let Talk { hello, connects, listens, says } = talk;
        let digest = self.digest(PROOFS);
        if planted!("peer_proof_reflected") {
            return digest.chain_update(connects).chain_update(listens);
        }
        let (kind, said): (u8, &[u8]) = match says {
            Says::Hello => (1, &[]),
            Says::Welcome(body) => (2, body),
            Says::Refusal(body) => (3, body),
        };
        let digest = digest.chain_update([kind]).chain_update((hello.len() as u32).to_le_bytes());
        digest.chain_update(hello).chain_update(connects).chain_update(listens).chain_update(said)
    }

    /// The proof of one side in that handshake.
    #[must_use]
    pub fn prove(&self, talk: &Talk<'_>) -> [u8; 32] {
        self.of(talk).finalize().into_bytes().into()
    }

    /// Whether that is it.
    #[must_use]
    pub fn is_proven(&self, talk: &Talk<'_>, proof: &[u8; 32]) -> bool {
        self.of(talk).verify_slice(proof).is_ok() || planted!("peer_any_proof_taken")
    }
}

/// What is taken for the secret of a cluster: one, or two while it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// What one proves oneself with.
    first: Secret,
    other: Option<Secret>,
}

impl From<Secret> for Secrets {
    fn from(first: Secret) -> Self {
        Self { first, other: None }
    }
}

impl Secrets {
    /// Of the lines of this text, but for those that are empty.
    ///
    /// # Errors
    /// When one of them is no secret, or there are too many, or none.
    pub fn read(text: &[u8]) -> Result<Self, BadSecret> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut lines = lines.filter(|line| !line.is_empty());
        let first = Secret::new(lines.next().unwrap_or_default())?;
        let other = lines.next().map(Secret::new).transpose()?;
        match lines.next() {
            Some(_) => Err(BadSecret::Many),
            None => Ok(Self { first, other }),
        }
    }

    /// What one proves oneself with.
    #[must_use]
    pub const fn first(&self) -> Secret {
        self.first
    }

    /// Which of them that proves.
    fn proven(&self, talk: &Talk<'_>, proof: &[u8; 32]) -> Option<Secret> {
        let other = self.other.filter(|_| !planted!("peer_other_secret_not_taken"));
        [Some(self.first), other].into_iter().flatten().find(|one| one.is_proven(talk, proof))
    }
}

/// What it is of which one side proves that it says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says<'a> {
    /// Who connects: that Hello.
    Hello,
    /// Who listens: the body of this Welcome.
    Welcome(&'a [u8]),
    /// The same of this Refusal.
    Refusal(&'a [u8]),
}

/// What was said in a handshake when one side proves itself.
#[derive(Clone, Copy, Debug)]
pub struct Talk<'a> {
    /// The body of the Hello.
    pub hello: &'a [u8],
    /// The number of who connects.
    pub connects: Nonce,
    /// The number of who listens.
    pub listens: Nonce,
    /// What is proven.
    pub says: Says<'a>,
}

/// Who listens wants to see that the secret is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// His number.
    pub nonce: Nonce,
}

impl Challenge {
    /// Appends its frame.
    pub fn put(&self, out: &mut BytesMut) {
        put(out, Kind::Challenge, |out| out.put_slice(&self.nonce));
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no Challenge.
    pub fn take(frame: &Frame) -> Result<Self, BadFrame> {
        expect(frame, Kind::Challenge, CHALLENGE_BYTES)?;
        Ok(Self { nonce: Reader::new(&frame.body).array()? })
    }
}

/// That it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The number of who proves it.
    pub nonce: Nonce,
    /// What the secret makes of it all.
    pub proof: [u8; 32],
}

impl Proof {
    /// Appends its frame.
    pub fn put(&self, out: &mut BytesMut) {
        put(out, Kind::Proof, |out| {
            out.put_slice(&self.nonce);
            out.put_slice(&self.proof);
        });
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no Proof.
    pub fn take(frame: &Frame) -> Result<Self, BadFrame> {
        expect(frame, Kind::Proof, PROOF_BYTES)?;
        let mut reader = Reader::new(&frame.body);
        Ok(Self { nonce: reader.array()?, proof: reader.array()? })
    }
}

/// The next frame, unless the other side refuses.
async fn unrefused<S: StreamRead>(inlet: &mut Inlet<S>) -> Result<Frame, Trouble> {
    let frame = inlet.frame().await?;
    if frame.kind == Kind::Refusal { Err(unproven(&frame)) } else { Ok(frame) }
}

/// Why there is no link, as somebody says who may be anybody.
fn unproven(refusal: &Frame) -> Trouble {
    Refusal::take(refusal).map_or_else(Trouble::from, Trouble::Refused)
}

/// What who connects says and hears until he is welcome, or is refused by somebody who may. Both have
/// proven themselves then, if he knows a secret.
pub(crate) async fn introduce<S: StreamRead, W: StreamWrite>(
    inlet: &mut Inlet<S>,
    writer: &mut W,
    hello: &Hello,
    known: Option<(Secret, Nonce)>,
) -> Result<Result<Welcome, Refusal>, Trouble> {
    let mut words = BytesMut::new();
    hello.put(&mut words);
    write_all(writer, &words).await?;
    let frame = inlet.frame().await?;
    let (secret, connects) = match (frame.kind, known) {
        (Kind::Challenge, None) => return Err(Trouble::Refusing(Refusal::NoSecret)),
        (Kind::Challenge, Some(known)) => known,
        (_, None) => return Ok(answer(&frame)?),
        (Kind::Refusal, Some(_)) if planted!("peer_stranger_refuses") => {
            return Ok(answer(&frame)?);
        }
        (Kind::Refusal, Some(_)) => return Err(unproven(&frame)),
        // It is welcome without having shown anything, and so would be anybody.
        (_, Some(_)) => return Err(Trouble::Refusing(Refusal::Unproven)),
    };
    let listens = Challenge::take(&frame)?.nonce;
    let hello = words.split_off(HEADER_BYTES).freeze();
    let talk = Talk { hello: &hello, connects, listens, says: Says::Hello };
    words.clear();
    Proof { nonce: connects, proof: secret.prove(&talk) }.put(&mut words);
    write_all(writer, &words).await?;
    let proof = Proof::take(&unrefused(inlet).await?)?.proof;
    let frame = inlet.frame().await?;
    let answer = answer(&frame)?;
    let says = if answer.is_ok() { Says::Welcome } else { Says::Refusal };
    let talk = Talk { says: says(&frame.body), ..talk };
    if !secret.is_proven(&talk, &proof) {
        return Err(Trouble::Refusing(Refusal::Unproven));
    }
    Ok(answer)
}

/// What who listens says in the end.
fn answer(frame: &Frame) -> Result<Result<Welcome, Refusal>, BadFrame> {
    if frame.kind == Kind::Refusal {
        return Refusal::take(frame).map(Err);
    }
    Welcome::take(frame).map(Ok)
}

/// Who connects, as far as he has proven himself to who listens.
pub(super) struct Proven {
    /// The one that he knows.
    secret: Secret,
    /// The body of his Hello.
    hello: Bytes,
    connects: Nonce,
    listens: Nonce,
}

impl Proven {
    /// Has him prove himself.
    pub(super) async fn ask<S: StreamRead, W: StreamWrite>(
        inlet: &mut Inlet<S>,
        writer: &mut W,
        hello: Bytes,
        (secrets, listens): (Secrets, Nonce),
    ) -> Result<Self, Trouble> {
        let mut words = BytesMut::new();
        Challenge { nonce: listens }.put(&mut words);
        write_all(writer, &words).await?;
        let Proof { nonce: connects, proof } = Proof::take(&unrefused(inlet).await?)?;
        let talk = Talk { hello: &hello, connects, listens, says: Says::Hello };
        let Some(known) = secrets.proven(&talk, &proof) else {
            mark!("peer: somebody did not know the secret");
            return Err(Trouble::Refusing(Refusal::Unproven));
        };
        mark!("peer: somebody knew the secret");
        let secret = if planted!("peer_answers_with_its_own") { secrets.first } else { known };
        Ok(Self { secret, hello, connects, listens })
    }

    /// Appends the own proof, which comes before what is said.
    pub(super) fn answer(&self, says: Says<'_>, out: &mut BytesMut) {
        let Self { secret, hello, connects, listens } = self;
        let (connects, listens) = (*connects, *listens);
        let talk = Talk { hello, connects, listens, says };
        Proof { nonce: listens, proof: secret.prove(&talk) }.put(out);
    }

    /// The same before a Refusal, which comes when its connection ends.
    pub(super) async fn refuse<W: StreamWrite>(
        &self,
        refusal: Refusal,
        writer: &mut W,
    ) -> Result<(), Trouble> {
        let (mut refused, mut words) = (BytesMut::new(), BytesMut::new());
        refusal.put(&mut refused);
        self.answer(Says::Refusal(&refused[HEADER_BYTES..]), &mut words);
        write_all(writer, &words).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &[u8]) -> Secret {
        Secret::new(text).unwrap()
    }

    const ONE: &[u8] = b"a secret that nobody can guess, nor find";

    #[test]
    fn a_secret_is_long_and_shown_nowhere() {
        assert_eq!(Secret::new(b"short"), Err(BadSecret::Length));
        assert_eq!(Secret::new(&[b'a'; SECRET_BYTES_MAX + 1]), Err(BadSecret::Length));
        assert_ne!(secret(ONE), secret(b"another one that nobody can guess or find"));
        assert_eq!(format!("{:?}", secret(ONE)), "Secret");
    }

    #[test]
    fn secrets_are_lines_and_the_first_is_shown() {
        let read = |text: &str| Secrets::read(text.as_bytes());
        let (old, new) = ("o".repeat(32), "n".repeat(32));
        let (first, other) = (secret(old.as_bytes()), Some(secret(new.as_bytes())));
        assert_eq!(read(&old), Ok(first.into()));
        assert_eq!(read(&format!("\n {old} \r\n\n")), Ok(first.into()));
        assert_eq!(read(&format!("{old}\n{new}\n")), Ok(Secrets { first, other }));
        assert_eq!(read(&format!("{old}\n{new}\n{old}")), Err(BadSecret::Many));
        for wrong in ["", "\n", "short", &format!("{old}\nshort")] {
            assert_eq!(read(wrong), Err(BadSecret::Length), "{wrong}");
        }
    }

    #[test]
    fn each_of_two_secrets_is_taken_and_no_third() {
        let [old, new, third] =
            ["old", "new", "???"].map(|text| secret(text.repeat(11).as_bytes()));
        let talk = Talk { hello: b"hello", connects: [1; 32], listens: [2; 32], says: Says::Hello };
        let both = Secrets { first: new, other: Some(old) };
        assert_eq!(both.first(), new);
        assert_eq!(both.proven(&talk, &old.prove(&talk)), Some(old));
        assert_eq!(both.proven(&talk, &new.prove(&talk)), Some(new));
        assert_eq!(both.proven(&talk, &third.prove(&talk)), None);
        assert_eq!(Secrets::from(new).proven(&talk, &old.prove(&talk)), None);
    }

    /// What is proven of one talk is not proven of any other.
    #[test]
    fn a_proof_is_of_one_talk_and_one_side() {
        let (one, two) = (secret(ONE), secret(b"another one that nobody can guess or find"));
        let says = Says::Hello;
        let talk = Talk { hello: b"hello", connects: [1; 32], listens: [2; 32], says };
        let proof = one.prove(&talk);
        assert!(one.is_proven(&talk, &proof));
        assert!(!two.is_proven(&talk, &proof), "another secret");
        let others = [
            Talk { hello: b"hell", ..talk },
            Talk { hello: b"", ..talk },
            Talk { connects: [2; 32], ..talk },
            Talk { connects: [2; 32], listens: [1; 32], ..talk },
            Talk { listens: [3; 32], ..talk },
            Talk { says: Says::Welcome(b""), ..talk },
            Talk { says: Says::Welcome(b"welcome"), ..talk },
            Talk { says: Says::Refusal(b""), ..talk },
        ];
        for (nth, other) in others.iter().enumerate() {
            assert!(!one.is_proven(other, &proof), "talk {nth}");
            assert!(!one.is_proven(&talk, &one.prove(other)), "talk {nth}");
        }
        let welcome = Talk { says: Says::Welcome(b"a"), ..talk };
        let refusal = Talk { says: Says::Refusal(b"a"), ..talk };
        assert!(!one.is_proven(&refusal, &one.prove(&welcome)), "a yes is no no");
        let mut wrong = proof;
        wrong[31] ^= 1;
        assert!(!one.is_proven(&talk, &wrong));
    }

    #[test]
    fn numbers_are_drawn_anew_and_of_the_secret() {
        struct Counts(u64);
        impl Rng for Counts {
            fn next_u64(&mut self) -> u64 {
                self.0 += 1;
                self.0
            }
        }
        let (mut luck, one) = (Counts(0), secret(ONE));
        let (first, second) = (one.nonce(&mut luck), one.nonce(&mut luck));
        assert_ne!(first, second);
        let two = secret(b"another one that nobody can guess or find");
        assert_ne!(two.nonce(&mut Counts(0)), first, "who knows the luck does not know the number");
        assert_eq!(one.nonce(&mut Counts(0)), first);
    }
}
