//! Taking a snapshot in: chunks become records in data segments that nobody lists yet.
//!
//! A task of its own, which knows the journal only by the writers that it is given. It ends with
//! everything durable and an index of it, or with nothing: whatever it wrote and nobody wants goes
//! with it, and a life that ends amid leaves segments that no manifest lists, which the next one
//! removes.
//!
//! Not here: which sending is taken in, and what becomes of it (`snapshot.rs`).

use alloc::vec::Vec;
use core::{num::NonZeroU64, time::Duration};

use super::{
    checkpoint::{self, Checkpoint},
    snapshot::{Arrived, News, PATIENCE, TRIES},
};
use crate::{
    codec,
    journal::{DataSegment, DataWriter, Record, RecordKind},
    mark,
    packet::{Chunk, SnapshotId},
    planted,
    runtime::{Clock, Receiver, Runtime, Sender, timeout},
    types::NodeId,
    value::{Builder, Place},
};

/// How long a receiver waits for the next chunk: until its sender has given up, and as long again.
const INTAKE_PATIENCE: Duration = PATIENCE.saturating_mul(2 * TRIES);

/// The checksum of everything up to the end of a chunk, if it goes on from what had this one.
pub(super) fn verify(before: u32, chunk: &Chunk) -> Option<u32> {
    let crc = codec::crc(before, &chunk.bytes);
    if crc != chunk.crc && !planted!("shard_snapshot_checksum_ignored") {
        mark!("shard_damaged_chunk");
        return None;
    }
    Some(crc)
}

/// Whether a record may be the next one of a snapshot: its keys rise from the first segment to the
/// last, and nothing in it is newer than it is itself. A sender whose memory is broken says anything.
pub(super) fn is_next(id: &SnapshotId, tree: &Builder, record: &Record<'_>) -> bool {
    let is_of_it = record.group == id.group && record.kind == RecordKind::Put;
    let rises = tree.takes(record.key) || planted!("shard_snapshot_order_unjudged");
    let is_newer = record.version.0 > id.at.index.0;
    is_of_it && rises && (!is_newer || planted!("shard_snapshot_newer_than_itself"))
}

/// The receiving side of a snapshot.
pub(super) struct Intake<R: Runtime> {
    id: SnapshotId,
    from: NodeId,
    writers: Receiver<DataWriter<R>>,
    writer: Option<DataWriter<R>>,
    segments: Vec<DataSegment<R>>,
    segment_bytes: u64,
    tree: Builder,
    checkpoint: Option<Checkpoint>,
    offset: u64,
    crc: u32,
    news: Sender<News<R>>,
}

impl<R: Runtime> Intake<R> {
    pub(super) fn new(
        id: SnapshotId,
        from: NodeId,
        writers: Receiver<DataWriter<R>>,
        segment_bytes: u64,
        news: Sender<News<R>>,
    ) -> Self {
        Self {
            id,
            from,
            writers,
            writer: None,
            segments: Vec::new(),
            segment_bytes,
            tree: Builder::default(),
            checkpoint: None,
            offset: 0,
            crc: 0,
            news,
        }
    }

    /// Takes chunks until the last one. `None` when it cannot be taken, or nobody goes on with it:
    /// nothing is left of it then.
    pub(super) async fn run(mut self, rt: &R, chunks: Receiver<Chunk>) -> Option<Arrived<R>> {
        let checkpoint = match self.take_all(rt, chunks).await {
            Some(()) => self.checkpoint.take(),
            None => None,
        };
        let Some(checkpoint) = checkpoint else {
            self.discard(rt).await;
            return None;
        };
        let Self { id, from, segments, tree, .. } = self;
        Some(Arrived::new(id, from, checkpoint, segments, tree.finish()))
    }

    async fn take_all(&mut self, rt: &R, mut chunks: Receiver<Chunk>) -> Option<()> {
        loop {
            let until = rt.clock().now() + INTAKE_PATIENCE;
            let chunk = timeout(rt.clock(), until, chunks.recv()).await.ok()?.ok()?;
            if chunk.offset == self.offset {
                let is_last = chunk.is_last;
                self.take(chunk).await?;
                if is_last {
                    return self.end_segment().await;
                }
            }
            self.news.send(News::Going(self.id, self.offset)).await.ok()?;
        }
    }

    /// Removes what was written.
    async fn discard(self, rt: &R) {
        if planted!("shard_failed_intake_keeps_its_files") {
            return;
        }
        mark!("shard_failed_intake_removed");
        if let Some(writer) = self.writer {
            writer.abort().await;
        }
        for segment in self.segments {
            segment.discard(rt).await;
        }
    }

    async fn take(&mut self, chunk: Chunk) -> Option<()> {
        self.crc = verify(self.crc, &chunk)?;
        let mut rest = &chunk.bytes[..];
        if self.checkpoint.is_none() {
            let mut reader = codec::Reader::new(rest);
            let len = reader.u32().ok()? as usize;
            let header = reader.take(len).ok()?;
            self.checkpoint = Some(checkpoint::decode(self.id.at, header).ok()?);
            rest = reader.rest();
        }
        while !rest.is_empty() {
            let (record, len) = Record::decode(rest).ok()?;
            if !is_next(&self.id, &self.tree, &record) {
                mark!("shard_snapshot_of_no_state");
                return None;
            }
            self.write(&record).await?;
            rest = rest.get(len.next_multiple_of(8)..)?;
        }
        self.offset += chunk.bytes.len() as u64;
        Some(())
    }

    async fn write(&mut self, record: &Record<'_>) -> Option<()> {
        let is_full =
            self.writer.as_ref().is_some_and(|writer| writer.bytes() >= self.segment_bytes);
        if is_full {
            self.end_segment().await?;
        }
        if self.writer.is_none() {
            self.news.send(News::Wants(self.id)).await.ok()?;
            self.writer = Some(self.writers.recv().await.ok()?);
        }
        let loc = self.writer.as_mut()?.push(record).await.ok()?;
        let expires_ms = record.expires_ms.and_then(NonZeroU64::new);
        self.tree.push(record.key, Place { loc, version: record.version, expires_ms });
        Some(())
    }

    async fn end_segment(&mut self) -> Option<()> {
        if let Some(writer) = self.writer.take() {
            self.segments.push(writer.finish().await.ok()?);
        }
        Some(())
    }
}
