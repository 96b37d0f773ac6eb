//! Recovery, when it changes the directory: what nothing proves is written again, a new manifest says
//! what is left, and what belongs to nothing goes.
//!
//! Every step before `CURRENT` points at the new manifest writes only files that belong to nothing; a
//! crash in between leaves orphans, and the next opening does the same again from the same bytes.
//!
//! Not here: what is found (`recovery.rs`), the order of it all (`open.rs`).

use alloc::{sync::Arc, vec::Vec};
use bytes::{Bytes, BytesMut};

use super::{
    edits::{Change, FooterRef, Sealed},
    files::{DATA_DIR, JOURNAL_DIR, SegmentFile, is_segment_name, read_range, segment_name},
    footer::{self, SegmentHints},
    format::{
        EditId, FRAME_ALIGN, SEGMENT_HEADER_BYTES, Seed, SegmentHeader, SegmentKind, records,
    },
    frame::{FrameBuilder, Place},
    identity::CurrentFile,
    manifest::{
        CURRENT_TMP, ManifestLog, create_over, is_manifest_name, point_current, remove_quietly,
    },
    open::{NODE_TMP, draw_uuid},
    recovery::Recovery,
    report::OpenError,
    salvage::{DamagedFrame, salvage_all},
    settle::TailSegment,
    verdict::{Damage, Decision, Kept, Verdict},
    walk::FrameAt,
};
use crate::{
    mark, planted,
    runtime::{Disk, File, ReadMode, Runtime},
    types::{Lsn, SegmentId, Uuid},
};

impl<R: Runtime> Recovery<'_, R> {
    /// Seals or drops what was scanned, and writes what nothing proves again. Answers what the
    /// next segment names as the one before it.
    pub(super) async fn commit(
        &mut self,
        rng: &mut R::Rng,
        decision: &Decision,
    ) -> Result<(Uuid, u32), OpenError> {
        let mut previous = self.last_sealed();
        let mut unproven: Vec<FrameBuilder> = Vec::new();
        let unsealed = core::mem::take(&mut self.unsealed);
        for (index, unsealed) in unsealed.into_iter().enumerate() {
            let Some(kept) = decision.kept.iter().find(|kept| kept.index == index) else {
                self.changes.push(Change::Drop { id: unsealed.listed.id });
                continue;
            };
            let bytes = match unsealed.bytes {
                Some(bytes) => bytes,
                None => {
                    let end = unsealed.listed.bytes;
                    read_range(&unsealed.segment.file, 0, end, ReadMode::Uncached).await?
                }
            };
            let proven = if planted!("append_to_old_tail") {
                &kept.frames[..]
            } else {
                let frames = &kept.frames[kept.proven_frames..];
                if !frames.is_empty() {
                    // They may be in a cache of the device only. Should they go with the power while
                    // their copy stays, the copy would look like a segment that was forgotten.
                    unsealed.segment.file.sync().await?;
                }
                unproven.extend(rebuild(&bytes, frames));
                &kept.frames[..kept.proven_frames]
            };
            let is_gap = self.reports() && !kept.lost.is_empty();
            if proven.is_empty() && !is_gap {
                self.changes.push(Change::Drop { id: unsealed.listed.id });
                continue;
            }
            let mut sealed = sealed_of(kept, proven);
            if self.reports() {
                // What is missing at its end belongs to it: the next opening finds it missing again.
                let last = sealed.lost.iter().map(|(_, last)| *last).max();
                sealed.last_lsn = sealed.last_lsn.max(last.unwrap_or_default());
                let of_it = decision.damages.iter().filter(|damage| {
                    damage.segment == unsealed.listed.id && damage.verdict == Verdict::Rot
                });
                let end = of_it.map(|damage| used_end(&bytes, damage)).max();
                sealed.frames_end = sealed.frames_end.max(end.unwrap_or(0));
            }
            if kept.base_lsn >= previous.0 {
                previous = (kept.base_lsn, unsealed.listed.uuid, sealed.last_crc);
            }
            let (id, listed_bytes) = (unsealed.listed.id, unsealed.listed.bytes);
            self.changes.push(Change::Seal { id, bytes: listed_bytes, sealed });
            let of_it = decision.damages.iter().filter(|damage| damage.segment == id);
            let damaged = salvage_all(id, unsealed.listed.uuid, &bytes, of_it);
            self.take_in(id, kept.base_lsn, Bytes::from(bytes), proven, damaged);
            self.files = self.files.with(unsealed.segment);
        }
        unproven.sort_by_key(FrameBuilder::first_lsn);
        let lost = self.lost_end;
        let first = unproven.first().map(FrameBuilder::first_lsn).or(lost.map(|(first, _)| first));
        if let Some(first) = first {
            mark!("journal_suffix_rewritten");
            let (uuid, crc) = self
                .rewrite(rng, first, unproven, lost, decision, (previous.1, previous.2))
                .await?;
            previous = (first, uuid, crc);
        }
        Ok((previous.1, previous.2))
    }

    /// What a segment of the old tail holds: hints, or records for the owner to look at.
    fn take_in(
        &mut self,
        id: SegmentId,
        base_lsn: Lsn,
        bytes: Bytes,
        frames: &[FrameAt],
        damaged: Vec<DamagedFrame>,
    ) {
        if self.options.settled_by_owner {
            let frames = frames.to_vec();
            self.tail.push(TailSegment { id, base_lsn, bytes, frames, damaged });
        } else {
            self.hints.insert(id, SegmentHints::of_frames(id, &bytes, frames));
        }
    }

    fn last_sealed(&self) -> (Lsn, Uuid, u32) {
        let sealed =
            self.state.segments.values().filter(|listed| listed.kind == SegmentKind::Journal);
        sealed
            .filter_map(|listed| {
                let sealed = listed.sealed.as_ref()?;
                Some((sealed.base_lsn, listed.uuid, sealed.last_crc))
            })
            .max_by_key(|(base_lsn, ..)| *base_lsn)
            .unwrap_or((Lsn(0), Uuid::default(), 0))
    }

    /// Writes unproven frames into a fresh segment, with its footer, durably.
    async fn rewrite(
        &mut self,
        rng: &mut R::Rng,
        base_lsn: Lsn,
        frames: Vec<FrameBuilder>,
        lost: Option<(Lsn, Lsn)>,
        decision: &Decision,
        previous: (Uuid, u32),
    ) -> Result<(Uuid, u32), OpenError> {
        let (id, uuid) = (self.state.next_segment.max(SegmentId(1)), draw_uuid(rng));
        let header = SegmentHeader {
            kind: SegmentKind::Journal,
            id,
            uuid,
            node: self.node,
            base_lsn,
            previous: previous.0,
            previous_crc: previous.1,
        };
        let mut bytes = header.encode().to_vec();
        bytes.resize(SEGMENT_HEADER_BYTES, 0);
        let seed = Seed::of(uuid);
        let (mut last_crc, mut placed) = (previous.1, Vec::new());
        let scar = lost.filter(|_| self.is_doubtful && !planted!("journal_doubt_is_forgotten"));
        let scar = scar.map(|(_, last)| FrameBuilder::scar(last.next(), &decision.tail_groups));
        for frame in frames.into_iter().chain(scar) {
            let offset = bytes.len() as u64;
            let durable_lsn = decision.proven.min(Lsn(base_lsn.0 - 1));
            // The newest edit that was read may be in a cache only, and this must not outlive it.
            let edit = EditId::default();
            let previous_crc = last_crc;
            let place = Place { segment: id, seed, offset, durable_lsn, previous_crc, edit };
            let built = frame.finish(place);
            bytes.extend_from_slice(&built.bytes);
            last_crc = built.header.crc;
            self.report.rewritten_records += u64::from(built.header.records);
            placed.push(FrameAt { offset, end: bytes.len() as u64, header: built.header });
        }
        let frames_end = bytes.len() as u64;
        let offset = footer::footer_offset(frames_end);
        bytes.resize(offset as usize, 0);
        let footer = footer::build(id, &bytes, &placed).finish(id, seed, offset);
        let mut footer_ref = None;
        if self.options.settled_by_owner {
            // It is settled later: until then there is room for its footer, and none.
            bytes.resize(bytes.len() + footer.len(), 0);
        } else {
            footer_ref = Some(FooterRef { offset, bytes: footer.len() as u64 });
            bytes.extend_from_slice(&footer);
        }
        let file = create_over(self.disk, &segment_name(SegmentKind::Journal, id)).await?;
        let (len, bytes) = (bytes.len() as u64, Bytes::from(bytes));
        file.write_at(0, bytes.clone()).await?;
        if !planted!("rewrite_without_sync") {
            file.sync().await?;
        }
        self.disk.sync_dir(JOURNAL_DIR).await?;
        let sealed = Sealed {
            base_lsn,
            last_lsn: Lsn(decision.next_lsn.0 - 1),
            frames_end,
            last_crc,
            footer: footer_ref,
            lost: lost.into_iter().collect(),
        };
        self.changes.push(Change::Prepare { id, uuid, bytes: len });
        self.changes.push(Change::Seal { id, bytes: len, sealed });
        self.take_in(id, base_lsn, bytes, &placed, Vec::new());
        let segment = SegmentFile { id, uuid, kind: SegmentKind::Journal, file };
        self.files = self.files.with(Arc::new(segment));
        Ok((uuid, last_crc))
    }

    /// Writes the new state as a new manifest and makes it count: the commit point.
    pub(super) async fn install_state(
        &mut self,
        rng: &mut R::Rng,
        current: &CurrentFile,
    ) -> Result<ManifestLog<R>, OpenError> {
        let name = segment_name(SegmentKind::Manifest, current.manifest);
        for change in &self.changes {
            let file = name.clone();
            let applied = self.state.apply(change);
            applied.map_err(|why| OpenError::Contradiction { file, why })?;
        }
        self.state.is_closed = false;
        let manifest = ManifestLog::create(
            self.disk,
            current.manifest.next(),
            draw_uuid(rng),
            self.node,
            &self.state,
            self.options.manifest_bytes,
        )
        .await?;
        point_current(self.disk, &manifest.current()).await?;
        Ok(manifest)
    }

    /// Removes files that belong to nothing: what a crash left behind, and what was just replaced.
    pub(super) async fn remove_orphans(
        &mut self,
        manifest: &ManifestLog<R>,
    ) -> Result<(), OpenError> {
        let mut removed = 0;
        for (dir, kind) in [(JOURNAL_DIR, SegmentKind::Journal), (DATA_DIR, SegmentKind::Data)] {
            let before = removed;
            for entry in self.disk.list(dir).await? {
                let name = alloc::format!("{dir}/{}", entry.name);
                // What has no name of ours is somebody else's, whatever it does here.
                let is_ours = is_segment_name(&entry.name) && !entry.is_dir;
                let is_listed = self.is_listed(kind, &name);
                if is_ours && !is_listed && remove_quietly(self.disk, &name).await {
                    removed += 1;
                }
            }
            if removed > before {
                self.disk.sync_dir(dir).await?;
            }
        }
        let keep = segment_name(SegmentKind::Manifest, manifest.id);
        for entry in self.disk.list("").await? {
            let is_old = is_manifest_name(&entry.name) && entry.name != keep;
            let is_half = entry.name == NODE_TMP || entry.name == CURRENT_TMP;
            if (is_old || is_half) && !entry.is_dir {
                remove_quietly(self.disk, &entry.name).await;
            }
        }
        self.report.orphans_removed = removed;
        Ok(())
    }
}

/// Where the frames end that a damage hit: what is damaged can say whose it was.
fn used_end(bytes: &[u8], damage: &Damage) -> u64 {
    let end = usize::try_from(damage.offset + damage.bytes).unwrap_or(usize::MAX);
    let used = bytes[..bytes.len().min(end)].iter().rposition(|byte| *byte != 0);
    used.map_or(0, |last| (last as u64 + 1).next_multiple_of(FRAME_ALIGN as u64))
}

fn sealed_of(kept: &Kept, proven: &[FrameAt]) -> Sealed {
    let last = proven.last();
    Sealed {
        base_lsn: kept.base_lsn,
        last_lsn: last.map_or(kept.last_lsn, |frame| Lsn(frame.header.next_lsn().0 - 1)),
        frames_end: last.map_or(kept.frames_end, |frame| frame.end),
        last_crc: last.map_or(kept.last_crc, |frame| frame.header.crc),
        footer: None,
        lost: kept.lost.clone(),
    }
}

/// The records of verified frames, in frames that can be placed elsewhere. Seals carry nothing.
fn rebuild<'a>(bytes: &'a [u8], frames: &'a [FrameAt]) -> impl Iterator<Item = FrameBuilder> + 'a {
    frames.iter().filter(|frame| frame.header.records > 0).map(|frame| {
        let mut builder = FrameBuilder::new(frame.header.first_lsn, BytesMut::new());
        for (_, record) in records(frame.body(bytes)).flatten() {
            let pushed = builder.push(&record);
            // It came out of a frame of the same limits.
            assert!(pushed.is_ok(), "a record that was in a frame fits in a frame");
        }
        builder
    })
}
