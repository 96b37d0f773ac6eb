//! What both ends of a connection do: read frames, write bytes, notice silence, say why one leaves.
//!
//! Not here: what is said (`link.rs`, `accept.rs`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::BytesMut;
use trilith_engine::{
    planted,
    runtime::{Clock, Instant, NetError, NetErrorKind, StreamRead, StreamWrite, timeout},
};

use super::{Trouble, hello::Refusal};
use crate::frame::{BadFrame, Decoder, Frame};

/// One read before the handshake is over, and where little is said.
const SMALL_READ_BYTES: usize = 1 << 10;

/// The receiving half of a connection, as frames.
///
/// The stream reads into a buffer that is made once; what was read is copied from there to where
/// frames are cut. Reading straight into that place would want zeros there before every read.
#[derive(Debug)]
pub(crate) struct Inlet<S> {
    reader: S,
    scratch: Box<[u8]>,
    decoder: Decoder,
}

impl<S: StreamRead> Inlet<S> {
    pub(crate) fn new(reader: S) -> Self {
        let scratch = vec![0; SMALL_READ_BYTES].into_boxed_slice();
        Self { reader, scratch, decoder: Decoder::new(SMALL_READ_BYTES) }
    }

    /// The handshake is over: long frames are welcome, and read in large pieces.
    pub(crate) fn agreed(&mut self, read_bytes: usize, body_max: usize) {
        self.scratch = vec![0; read_bytes].into_boxed_slice();
        self.decoder.agreed(read_bytes, body_max);
    }

    /// Reads something.
    pub(crate) async fn read(&mut self) -> Result<(), Trouble> {
        match self.reader.read(&mut self.scratch).await {
            Ok(0) => Err(Trouble::Ended),
            Ok(read) => {
                self.decoder.feed(&self.scratch[..read]);
                Ok(())
            }
            Err(why) => Err(Trouble::Net(why)),
        }
    }

    /// How many bytes are held that are no frame yet.
    pub(crate) fn held(&self) -> usize {
        self.decoder.held()
    }

    /// The next frame that has been read.
    pub(crate) fn take(&mut self) -> Result<Option<Frame>, BadFrame> {
        self.decoder.take()
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Result<Frame, Trouble> {
        loop {
            match self.take()? {
                Some(frame) => return Ok(frame),
                None => self.read().await?,
            }
        }
    }
}

/// Some bytes are written. The stream may take them in parts.
pub(crate) async fn write_some<W: StreamWrite>(
    writer: &mut W,
    bytes: &[u8],
) -> Result<usize, Trouble> {
    match writer.write(bytes).await {
        Ok(0) => {
            Err(Trouble::Net(NetError::new(NetErrorKind::Reset, "the stream takes nothing more")))
        }
        Ok(_) if planted!("peer_half_a_write_is_a_write") => Ok(bytes.len()),
        Ok(taken) => Ok(taken),
        Err(why) => Err(Trouble::Net(why)),
    }
}

/// All bytes are written.
pub(crate) async fn write_all<W: StreamWrite>(writer: &mut W, bytes: &[u8]) -> Result<(), Trouble> {
    let mut written = 0;
    while written < bytes.len() {
        written += write_some(writer, &bytes[written..]).await?;
    }
    Ok(())
}

/// Says why, and goes when that was read.
pub(crate) async fn dismiss<C: Clock, S: StreamRead, W: StreamWrite>(
    clock: &C,
    within: Duration,
    inlet: &mut Inlet<S>,
    writer: &mut W,
    refusal: Refusal,
) {
    let mut words = BytesMut::new();
    refusal.put(&mut words);
    part(clock, within, (&mut inlet.reader, writer), &mut inlet.scratch, &words).await;
}

/// Says something last, and waits until the other side has had the time to read it: what closes a
/// connection with unread bytes resets it, and a reset may overtake the last words.
pub(crate) async fn part<C: Clock, S: StreamRead, W: StreamWrite>(
    clock: &C,
    within: Duration,
    (reader, writer): (&mut S, &mut W),
    scratch: &mut [u8],
    words: &[u8],
) {
    let said = async {
        write_all(writer, words).await?;
        writer.shutdown().await.map_err(Trouble::Net)?;
        loop {
            if reader.read(scratch).await.map_err(Trouble::Net)? == 0 {
                return Ok::<(), Trouble>(());
            }
        }
    };
    // Whether it was heard changes nothing here.
    let _heard = timeout(clock, clock.now() + within, said).await;
}

/// When the other side last gave a sign of life.
#[derive(Debug)]
pub(crate) struct Signs(AtomicU64);

/// It is we who do not listen at the moment.
const DEAF: u64 = u64::MAX;

impl Signs {
    pub(crate) fn new(now: Instant) -> Self {
        Self(AtomicU64::new(now.0))
    }

    pub(crate) fn seen(&self, now: Instant) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// From now on until the next sign silence means nothing.
    pub(crate) fn deaf(&self) {
        self.0.store(DEAF, Ordering::Relaxed);
    }

    /// Whether there was none for so long.
    pub(crate) fn is_silent(&self, now: Instant, silence: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last != DEAF && now >= Instant(last) + silence && !planted!("peer_silence_ignored")
    }
}
