//! The directory of a backup: filled once, in an order that leaves no doubt, and read back.
//!
//! ```text
//!   empty ─► MANIFEST.new, empty ─► group-1 … group-N, each synced ─► MANIFEST.new, synced ─► MANIFEST
//!            claims it                                      unfinished until here │ whole, when
//!                                                                                  │ its name is synced
//! ```
//! A directory that holds anything is not written to, and of two who begin at once one is told so.
//! Whatever goes wrong before the manifest has its name leaves a directory that is refused as
//! unfinished.
//!
//! Not here: the bytes (`format.rs`), where they come from (`create.rs`) and go to (`restore.rs`).

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    planted,
    runtime::{Disk, DiskErrorKind, DiskResult, File, Open, ReadMode},
    types::GroupId,
};

use super::{
    Error,
    format::{
        Damage, Facts, Line, MANIFEST, MANIFEST_BYTES_MAX, MANIFEST_NEW, Manifest, Record, Scanner,
        Writer, file_of,
    },
};

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct Shelf<D: Disk> {
    disk: D,
    /// Below the disk's root; empty for that itself.
    dir: String,
}

impl<D: Disk> Shelf<D> {
    pub(super) fn new(disk: &D, dir: &str) -> Self {
        Self { disk: disk.clone(), dir: dir.to_owned() }
    }

    fn name(&self, file: &str) -> String {
        if self.dir.is_empty() { file.to_owned() } else { format!("{}/{file}", self.dir) }
    }

    /// Makes the directory, which must be empty if it is there, and claims it: who fails later takes
    /// away what he finds, and that shall be his own.
    pub(super) async fn begin(&self) -> Result<(), Error> {
        self.disk.create_dir("").await?;
        self.disk.create_dir(&self.dir).await?;
        if let Some(first) = self.disk.list(&self.dir).await?.into_iter().next() {
            return Err(Error::Taken(first.name));
        }
        if !planted!("backup_claims_nothing") {
            self.claim().await?;
        }
        if !self.dir.is_empty() {
            self.disk.sync_dir("").await?;
        }
        Ok(())
    }

    async fn claim(&self) -> Result<(), Error> {
        match self.disk.open(&self.name(MANIFEST_NEW), Open::Create).await {
            Err(why) if why.kind == DiskErrorKind::Exists => {
                return Err(Error::Taken(MANIFEST_NEW.to_owned()));
            }
            claimed => _ = claimed?,
        }
        // Somebody may have begun and ended since the directory was empty.
        let held = self.disk.list(&self.dir).await?;
        if let Some(other) = held.into_iter().find(|entry| entry.name != MANIFEST_NEW) {
            self.disk.remove(&self.name(MANIFEST_NEW)).await?;
            return Err(Error::Taken(other.name));
        }
        Ok(())
    }

    /// Begins a group's file.
    pub(super) async fn group(&self, group: GroupId) -> Result<GroupFile<D>, Error> {
        let file = self.disk.open(&self.name(&file_of(group)), Open::Create).await?;
        Ok(GroupFile { file, offset: 0, writer: None })
    }

    /// Says that the backup is whole.
    pub(super) async fn finish(&self, manifest: &Manifest) -> Result<(), Error> {
        let (new, name) = (self.name(MANIFEST_NEW), self.name(MANIFEST));
        let how = if planted!("backup_claims_nothing") { Open::Create } else { Open::Write };
        let file = self.disk.open(&new, how).await?;
        file.write_at(0, manifest.encode()).await?;
        file.sync().await?;
        // Before the name is there: the groups' names must be durable with it or before it.
        self.disk.sync_dir(&self.dir).await?;
        self.disk.rename(&new, &name).await?;
        self.disk.sync_dir(&self.dir).await?;
        Ok(())
    }

    /// Takes away what was written, as far as that can be done: nothing of it is of use. First what
    /// would call the rest whole, if it has its name and that may not be durable.
    pub(super) async fn clear(&self, groups: u32) {
        let first =
            (!planted!("backup_failed_one_keeps_its_manifest")).then(|| MANIFEST.to_owned());
        let files = (1..=groups).map(|group| file_of(GroupId(group)));
        for file in first.into_iter().chain(files).chain([MANIFEST_NEW.to_owned()]) {
            if let Err(why) = self.disk.remove(&self.name(&file)).await {
                tracing::debug!(%why, "a file of an unfinished backup");
            }
        }
    }

    /// What the manifest says.
    pub(super) async fn manifest(&self) -> Result<Manifest, Error> {
        let file = match self.disk.open(&self.name(MANIFEST), Open::Read).await {
            Ok(file) => file,
            Err(why) if why.kind == DiskErrorKind::NotFound => {
                let held = self.disk.list(&self.dir).await.unwrap_or_default();
                let is_ours = |name: &str| name == MANIFEST_NEW || name.starts_with("group-");
                let is_begun = held.iter().any(|entry| is_ours(&entry.name));
                return Err(if is_begun { Error::Unfinished } else { Error::Missing });
            }
            Err(why) => return Err(why.into()),
        };
        let damaged = |why| Error::Damaged { file: MANIFEST.to_owned(), offset: 0, why };
        let bytes = read(&file, 0, MANIFEST_BYTES_MAX + 1).await?;
        Manifest::decode(&bytes).map_err(damaged)
    }

    /// Begins to read a group's file.
    pub(super) async fn reader(&self, line: Line) -> Result<GroupReader<D>, Error> {
        let name = file_of(line.facts.group);
        let file = match self.disk.open(&self.name(&name), Open::Read).await {
            Ok(file) => file,
            Err(why) if why.kind == DiskErrorKind::NotFound => {
                return Err(Error::Damaged { file: name, offset: 0, why: Damage::Short });
            }
            Err(why) => return Err(why.into()),
        };
        let len = file.len().await?;
        let reader = GroupReader::<D> { name, file, scanner: Scanner::new(line) };
        reader.scanner.check_len(len).map_err(|why| reader.damaged(len.min(line.bytes), why))?;
        Ok(reader)
    }
}

async fn read<F: File>(file: &F, offset: u64, len: usize) -> DiskResult<Bytes> {
    Ok(file.read_at(offset, vec![0; len], ReadMode::Cached).await?.into())
}

/// A group's file that is being written.
#[derive(Debug)]
pub(super) struct GroupFile<D: Disk> {
    file: D::File,
    offset: u64,
    writer: Option<Writer>,
}

impl<D: Disk> GroupFile<D> {
    /// Begins with that moment of the group, whatever was written before.
    pub(super) async fn begin(&mut self, facts: Facts) -> Result<(), Error> {
        self.file.set_len(0).await?;
        (self.offset, self.writer) = (0, Some(Writer::new(facts)));
        Ok(())
    }

    /// More records.
    pub(super) async fn push(&mut self, records: &[Record]) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        for record in records {
            writer.push(record).map_err(Error::Answer)?;
        }
        let bytes = writer.take();
        self.write(bytes).await
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let len = bytes.len() as u64;
        if len > 0 {
            self.file.write_at(self.offset, bytes).await?;
        }
        self.offset += len;
        Ok(())
    }

    /// How many records there are by now.
    pub(super) fn records(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::records)
    }

    /// Makes all of it durable. What the manifest is to say, if it was begun.
    pub(super) async fn finish(&mut self) -> Result<Option<Line>, Error> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let (bytes, line) = writer.finish();
        self.write(bytes).await?;
        if !planted!("backup_files_not_synced") {
            self.file.sync().await?;
        }
        Ok(Some(line))
    }
}

/// A group's file that is being read.
#[derive(Debug)]
pub(super) struct GroupReader<D: Disk> {
    name: String,
    file: D::File,
    scanner: Scanner,
}

impl<D: Disk> GroupReader<D> {
    /// More records; none when that was all, and all of it is what the manifest says.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        while let Some((offset, len)) = self.scanner.wants() {
            let bytes = self.piece(offset, len).await?;
            let records = self.scanner.take(&bytes).map_err(|why| self.damaged(offset, why))?;
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    /// Those bytes, as far as they are there. A disk may answer less than was asked for.
    async fn piece(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let first = read(&self.file, offset, len).await?;
        if first.len() == len || first.is_empty() {
            return Ok(first);
        }
        let mut all = BytesMut::from(first);
        while all.len() < len {
            let more = read(&self.file, offset + all.len() as u64, len - all.len()).await?;
            if more.is_empty() {
                break;
            }
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }

    fn damaged(&self, offset: u64, why: Damage) -> Error {
        Error::Damaged { file: self.name.clone(), offset, why }
    }
}
