//! A node's disk: the platter, with the time it takes.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use trilith_engine::runtime::{Disk, DiskResult, Entry, File, Open, ReadMode, Space};

use super::Seat;
use crate::{
    platter::{FileId, LockId},
    world::storage::{Answer, OpKey, Request},
};

/// A node's data directory.
#[derive(Clone)]
pub struct SimDisk(pub(super) Seat);

/// An open file.
#[derive(Clone)]
pub struct SimFile(Arc<Held<FileId>>);

/// A held lock.
pub struct SimLock(#[expect(dead_code, reason = "held to be dropped")] Held<LockId>);

struct Held<T: Release> {
    seat: Seat,
    what: T,
}

trait Release: Copy {
    fn release(self, seat: &Seat);
}

impl Release for FileId {
    fn release(self, seat: &Seat) {
        if let Some(mut state) = seat.alive() {
            state.disk_close(seat.node, self);
        }
    }
}

impl Release for LockId {
    fn release(self, seat: &Seat) {
        if let Some(mut state) = seat.alive() {
            state.nodes[seat.node as usize].drive.platter.unlock(self);
        }
    }
}

impl<T: Release> Drop for Held<T> {
    fn drop(&mut self) {
        self.what.release(&self.seat);
    }
}

/// An operation: asked at its first poll, answered later, done even when dropped in between.
struct Operation<'a> {
    seat: &'a Seat,
    stage: Stage,
}

enum Stage {
    New(Request),
    Asked(OpKey),
    Over,
}

impl<'a> Operation<'a> {
    const fn new(seat: &'a Seat, request: Request) -> Self {
        Self { seat, stage: Stage::New(request) }
    }
}

impl Future for Operation<'_> {
    type Output = DiskResult<Answer>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(mut state) = this.seat.alive() else { return Poll::Pending };
        match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::New(request) => {
                let asked = state.disk_ask(this.seat.node, request, context.waker());
                this.stage = asked.map_or(Stage::Over, Stage::Asked);
                Poll::Pending
            }
            Stage::Asked(op) => {
                let answer = state.disk_answer(op, context.waker());
                if answer.is_pending() {
                    this.stage = Stage::Asked(op);
                }
                answer
            }
            Stage::Over => Poll::Pending,
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Stage::Asked(op) = self.stage
            && let Some(mut state) = self.seat.alive()
        {
            state.disk_abandon(op);
        }
    }
}

fn wrong() -> ! {
    unreachable!("a disk answers what it was asked")
}

impl SimDisk {
    async fn ask(&self, request: Request) -> DiskResult<Answer> {
        Operation::new(&self.0, request).await
    }

    async fn order(&self, request: Request) -> DiskResult<()> {
        self.ask(request).await.map(drop)
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    async fn open(&self, name: &str, how: Open) -> DiskResult<SimFile> {
        match self.ask(Request::Open(name.to_string(), how)).await? {
            Answer::File(what) => Ok(SimFile(Arc::new(Held { seat: self.0.clone(), what }))),
            _ => wrong(),
        }
    }

    async fn create_dir(&self, name: &str) -> DiskResult<()> {
        self.order(Request::CreateDir(name.to_string())).await
    }

    async fn lock(&self, name: &str) -> DiskResult<SimLock> {
        match self.ask(Request::Lock(name.to_string())).await? {
            Answer::Lock(what) => Ok(SimLock(Held { seat: self.0.clone(), what })),
            _ => wrong(),
        }
    }

    async fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        match self.ask(Request::List(dir.to_string())).await? {
            Answer::Entries(entries) => Ok(entries),
            _ => wrong(),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        self.order(Request::Rename(from.to_string(), to.to_string())).await
    }

    async fn remove(&self, name: &str) -> DiskResult<()> {
        self.order(Request::Remove(name.to_string())).await
    }

    async fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        self.order(Request::SyncDir(dir.to_string())).await
    }

    async fn space(&self) -> DiskResult<Space> {
        match self.ask(Request::Space).await? {
            Answer::Space(space) => Ok(space),
            _ => wrong(),
        }
    }
}

impl SimFile {
    async fn ask(&self, request: Request) -> DiskResult<Answer> {
        Operation::new(&self.0.seat, request).await
    }

    async fn order(&self, request: Request) -> DiskResult<()> {
        self.ask(request).await.map(drop)
    }
}

impl File for SimFile {
    async fn read_at(&self, offset: u64, buffer: Vec<u8>, mode: ReadMode) -> DiskResult<Vec<u8>> {
        let file = self.0.what;
        match self.ask(Request::Read { file, offset, buffer, mode }).await? {
            Answer::Bytes(bytes) => Ok(bytes),
            _ => wrong(),
        }
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> DiskResult<()> {
        let file = self.0.what;
        self.order(Request::Write { file, offset, bytes }).await
    }

    async fn allocate(&self, len: u64) -> DiskResult<()> {
        self.order(Request::Allocate(self.0.what, len)).await
    }

    async fn len(&self) -> DiskResult<u64> {
        match self.ask(Request::Len(self.0.what)).await? {
            Answer::Len(len) => Ok(len),
            _ => wrong(),
        }
    }

    async fn set_len(&self, len: u64) -> DiskResult<()> {
        self.order(Request::SetLen(self.0.what, len)).await
    }

    async fn sync(&self) -> DiskResult<()> {
        self.order(Request::Sync(self.0.what)).await
    }
}
