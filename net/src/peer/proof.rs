//! Proofs: that both sides of a connection know the cluster's secret, without saying it.
//!
//! ```text
//!   the one who connects                             the one who listens
//!     Hello ───────────────────────────────────────►
//!              ◄── Challenge  a number, drawn anew
//!     Proof    another number, and what the secret
//!              makes of Hello and both ─────────────►  compares
//!              ◄── Proof, Welcome  and what it makes of these, and the Welcome
//!     compares
//!     Ready ───────────────────────────────────────►
//! ```
//! Who connects proves himself first: before that, whoever listens has done nothing for him, and has
//! told him nothing from which the secret could be guessed. A node's directory is written down only
//! behind that (`accept.rs`).
//!
//! What the secret makes of something is a keyed digest (BLAKE2s). Its first byte says who proves:
//! what one side has said is never what the other one has to say, so a proof that is sent back is
//! none. The Hello in it has both nodes, the cluster, the directory and the versions, and the Welcome
//! the node that was reached; so a proof that was made for somebody else, of another kind, or earlier
//! is none.
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
    limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN},
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
pub struct BadSecret;

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes that nobody can guess: \
             trilith config secret makes one"
        )
    }
}

impl std::error::Error for BadSecret {}

impl Secret {
    /// Of this text.
    ///
    /// # Errors
    /// When it could be guessed for its length alone.
    pub fn new(text: &[u8]) -> Result<Self, BadSecret> {
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len()) {
            return Err(BadSecret);
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
        let Talk { hello, connects, listens, welcome } = talk;
        let digest = self.digest(PROOFS);
        if planted!("peer_proof_reflected") {
            return digest.chain_update(connects).chain_update(listens);
        }
        let side = if welcome.is_some() { 2 } else { 1 };
        let digest = digest.chain_update([side]).chain_update((hello.len() as u32).to_le_bytes());
        let digest = digest.chain_update(hello).chain_update(connects).chain_update(listens);
        digest.chain_update(welcome.unwrap_or_default())
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

/// What was said in a handshake when one side proves itself. Who listens has said Welcome by then.
#[derive(Clone, Copy, Debug)]
pub struct Talk<'a> {
    /// The body of the Hello.
    pub hello: &'a [u8],
    /// The number of who connects.
    pub connects: Nonce,
    /// The number of who listens.
    pub listens: Nonce,
    /// The body of the Welcome, where it is who listens that proves itself.
    pub welcome: Option<&'a [u8]>,
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
    if frame.kind == Kind::Refusal {
        return Err(Trouble::Refused(Refusal::take(&frame)?));
    }
    Ok(frame)
}

/// What who connects says and hears until he is welcome. Both have proven themselves then, if he
/// knows a secret.
pub(crate) async fn introduce<S: StreamRead, W: StreamWrite>(
    inlet: &mut Inlet<S>,
    writer: &mut W,
    hello: &Hello,
    known: Option<(Secret, Nonce)>,
) -> Result<Welcome, Trouble> {
    let mut words = BytesMut::new();
    hello.put(&mut words);
    write_all(writer, &words).await?;
    let frame = unrefused(inlet).await?;
    let (secret, connects) = match (frame.kind, known) {
        (Kind::Challenge, None) => return Err(Trouble::Refusing(Refusal::NoSecret)),
        (Kind::Challenge, Some(known)) => known,
        (_, None) => return Ok(Welcome::take(&frame)?),
        // It is welcome without having shown anything, and so would be anybody.
        (_, Some(_)) => return Err(Trouble::Refusing(Refusal::Unproven)),
    };
    let listens = Challenge::take(&frame)?.nonce;
    let hello = words.split_off(HEADER_BYTES).freeze();
    let talk = Talk { hello: &hello, connects, listens, welcome: None };
    words.clear();
    Proof { nonce: connects, proof: secret.prove(&talk) }.put(&mut words);
    write_all(writer, &words).await?;
    let proof = Proof::take(&unrefused(inlet).await?)?.proof;
    let frame = unrefused(inlet).await?;
    let welcome = Welcome::take(&frame)?;
    let talk = Talk { welcome: Some(&frame.body), ..talk };
    if !secret.is_proven(&talk, &proof) {
        return Err(Trouble::Refusing(Refusal::Unproven));
    }
    Ok(welcome)
}

/// Who connects, as far as he has proven himself to who listens.
pub(super) struct Proven {
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
        (secret, listens): (Secret, Nonce),
    ) -> Result<Self, Trouble> {
        let mut words = BytesMut::new();
        Challenge { nonce: listens }.put(&mut words);
        write_all(writer, &words).await?;
        let Proof { nonce: connects, proof } = Proof::take(&unrefused(inlet).await?)?;
        let talk = Talk { hello: &hello, connects, listens, welcome: None };
        if !secret.is_proven(&talk, &proof) {
            mark!("peer: somebody did not know the secret");
            return Err(Trouble::Refusing(Refusal::Unproven));
        }
        mark!("peer: somebody knew the secret");
        Ok(Self { secret, hello, connects, listens })
    }

    /// Appends the own proof, which comes before that Welcome.
    pub(super) fn answer(&self, welcome: &[u8], out: &mut BytesMut) {
        let Self { secret, hello, connects, listens } = self;
        let (connects, listens, welcome) = (*connects, *listens, Some(welcome));
        let talk = Talk { hello, connects, listens, welcome };
        Proof { nonce: listens, proof: secret.prove(&talk) }.put(out);
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
        assert_eq!(Secret::new(b"short"), Err(BadSecret));
        assert_eq!(Secret::new(&[b'a'; SECRET_BYTES_MAX + 1]), Err(BadSecret));
        assert_ne!(secret(ONE), secret(b"another one that nobody can guess or find"));
        assert_eq!(format!("{:?}", secret(ONE)), "Secret");
    }

    /// What is proven of one talk is not proven of any other.
    #[test]
    fn a_proof_is_of_one_talk_and_one_side() {
        let (one, two) = (secret(ONE), secret(b"another one that nobody can guess or find"));
        let talk = Talk { hello: b"hello", connects: [1; 32], listens: [2; 32], welcome: None };
        let proof = one.prove(&talk);
        assert!(one.is_proven(&talk, &proof));
        assert!(!two.is_proven(&talk, &proof), "another secret");
        let others = [
            Talk { hello: b"hell", ..talk },
            Talk { hello: b"", ..talk },
            Talk { connects: [2; 32], ..talk },
            Talk { connects: [2; 32], listens: [1; 32], ..talk },
            Talk { listens: [3; 32], ..talk },
            Talk { welcome: Some(b""), ..talk },
            Talk { welcome: Some(b"welcome"), ..talk },
        ];
        for (nth, other) in others.iter().enumerate() {
            assert!(!one.is_proven(other, &proof), "talk {nth}");
            assert!(!one.is_proven(&talk, &one.prove(other)), "talk {nth}");
        }
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
