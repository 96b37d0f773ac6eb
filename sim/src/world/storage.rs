//! Disks over time: each operation takes a while, may be stalled, and may be the last.
//!
//! The platter (`platter.rs`) says what an operation does; this says when. Between the moment a
//! program asks and the moment it is answered, an operation that changes something takes effect at
//! one end or the other, by luck: early, so that a crash in between finds it done; or late, so that
//! what another task does meanwhile overtakes it. A future that is dropped takes nothing back: its
//! operation happens all the same. When the process dies, what was asked and not yet done happens
//! or does not, by luck.
//!
//! A fault of the plan may strike *inside* the n-th operation that changes something. A power loss
//! there lets the platter do part of it.
//!
//! Not here: sectors, caches and what survives (`platter.rs`).

use std::task::{Poll, Waker};

use bytes::Bytes;
use trilith_engine::{
    planted,
    runtime::{DiskErrorKind, DiskResult, Entry, Open, ReadMode, Space},
};

use super::{
    latency::Latency,
    state::{Event, State},
    wire::keep,
};
use crate::{
    fault::{DiskFault, FaultKind},
    luck::Luck,
    platter::{Faults, FileId, Garbage, LockId, Platter, PlatterOptions},
};

/// How quick a disk is, and how large.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The device's size.
    pub capacity_bytes: u64,
    /// Where a power loss may leave garbage.
    pub garbage: Garbage,
    /// How long a read takes.
    pub read: Latency,
    /// How long a write into the cache takes, and everything else that changes no medium.
    pub write: Latency,
    /// How long a sync takes, of a file or of a directory.
    pub sync: Latency,
    /// What the device carries; zero: as much as you like.
    pub bytes_per_second: u64,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 40,
            garbage: Garbage::default(),
            // An NVMe disk in a rented machine: quick, with a tail.
            read: Latency::Exponential { min_us: 20, mean_us: 60 },
            write: Latency::Uniform { min_us: 2, max_us: 20 },
            sync: Latency::Exponential { min_us: 200, mean_us: 600 },
            bytes_per_second: 1 << 30,
        }
    }
}

/// One node's disk and its pace.
pub(crate) struct Drive {
    pub(crate) platter: Platter,
    luck: Luck,
    options: DiskOptions,
    /// Operations that changed something, over all lives.
    pub(crate) ops: u64,
    /// Answers nothing before.
    pub(crate) stalled_until: u64,
    /// How many times as long everything takes.
    pub(crate) times: u32,
    /// When the last byte so far has passed.
    busy_until: u64,
    /// Lies to be told once.
    once: Vec<DiskFault>,
    /// Files nobody holds, with operations still under way.
    closing: Vec<FileId>,
}

impl Drive {
    /// `of_platter` decides about lies and losses, `of_drive` about time.
    pub(crate) fn new(options: DiskOptions, of_platter: Luck, of_drive: Luck) -> Self {
        let platter = PlatterOptions {
            capacity_bytes: options.capacity_bytes,
            luck: of_platter,
            garbage: options.garbage,
        };
        Self {
            platter: Platter::new(platter),
            luck: of_drive,
            options,
            ops: 0,
            stalled_until: 0,
            times: 1,
            busy_until: 0,
            once: Vec::new(),
            closing: Vec::new(),
        }
    }

    /// What a machine does that has its power back: nothing the platter has not done already.
    pub(crate) fn power_on(&mut self) {
        self.busy_until = 0;
    }

    pub(crate) fn set_rate(&mut self, fault: DiskFault, per_million: u32) {
        let mut faults = self.platter.faults().clone();
        *rate(&mut faults, fault) = per_million;
        self.platter.set_faults(faults);
    }

    pub(crate) fn once(&mut self, fault: DiskFault) {
        self.once.push(fault);
    }

    /// Somebody fills the device up to so many bytes, or gives back what he took.
    pub(crate) fn fill(&mut self, but: Option<u64>) {
        let most = self.options.capacity_bytes;
        let left = but.map_or(most, |but| most.min(self.platter.used() + but));
        self.platter.set_capacity(left);
    }

    pub(crate) fn rot(&mut self, bits: u32) {
        for _ in 0..bits {
            self.platter.rot_somewhere(&mut self.luck);
        }
    }

    /// Another disk is put in, an empty one.
    pub(crate) fn wipe(&mut self) {
        self.platter.wipe();
    }

    pub(crate) fn swap(&mut self, other: &mut Self) {
        self.platter.swap_with(&mut other.platter);
    }

    /// Quick and honest again.
    pub(crate) fn calm(&mut self) {
        (self.stalled_until, self.times) = (0, 1);
        self.once.clear();
        self.platter.set_faults(Faults::default());
        self.fill(None);
    }

    /// How long an operation takes from now on.
    fn takes(&mut self, now: u64, request: &Request) -> u64 {
        let (latency, bytes) = match request {
            Request::Read { buffer, .. } => (self.options.read, buffer.len()),
            Request::Write { bytes, .. } => (self.options.write, bytes.len()),
            Request::Sync(_) | Request::SyncDir(_) => (self.options.sync, 0),
            _ => (self.options.write, 0),
        };
        let mut delay = latency.draw(&mut self.luck);
        let carried = (bytes as u64 * 1_000_000_000).checked_div(self.options.bytes_per_second);
        if let Some(nanos) = carried.filter(|nanos| *nanos > 0) {
            self.busy_until = self.busy_until.max(now) + nanos;
            delay += self.busy_until - now;
        }
        delay.saturating_mul(u64::from(self.times))
    }

    /// Does it, with the lie that waits for such an operation.
    fn perform(&mut self, request: Request) -> DiskResult<Answer> {
        if matches!(request, Request::Sync(_)) && planted!("world_sync_skipped") {
            return Ok(Answer::Done);
        }
        let lie = self.once.iter().position(|fault| request.suits(*fault));
        let Some(fault) = lie.map(|at| self.once.remove(at)) else {
            return request.perform(&mut self.platter);
        };
        let usual = self.platter.faults().clone();
        self.set_rate(fault, 1_000_000);
        let answer = request.perform(&mut self.platter);
        self.platter.set_faults(usual);
        answer
    }
}

fn rate(faults: &mut Faults, fault: DiskFault) -> &mut u32 {
    match fault {
        DiskFault::ReadError => &mut faults.read_error,
        DiskFault::ReadFlip => &mut faults.read_flip,
        DiskFault::ReadStale => &mut faults.read_stale,
        DiskFault::WriteError => &mut faults.write_error,
        DiskFault::NoSpace => &mut faults.write_no_space,
        DiskFault::SyncError => &mut faults.sync_error,
        DiskFault::SyncDirError => &mut faults.sync_dir_error,
        DiskFault::Phantom => &mut faults.phantom_write,
        DiskFault::Misdirect => &mut faults.misdirected_write,
        DiskFault::LatentError => &mut faults.latent_error,
    }
}

/// What a program asks of its disk.
#[derive(Debug)]
pub(crate) enum Request {
    Open(String, Open),
    CreateDir(String),
    Lock(String),
    List(String),
    Rename(String, String),
    Remove(String),
    SyncDir(String),
    Space,
    Read { file: FileId, offset: u64, buffer: Vec<u8>, mode: ReadMode },
    Write { file: FileId, offset: u64, bytes: Bytes },
    Allocate(FileId, u64),
    Len(FileId),
    SetLen(FileId, u64),
    Sync(FileId),
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Done,
    File(FileId),
    Lock(LockId),
    Entries(Vec<Entry>),
    Space(Space),
    Bytes(Vec<u8>),
    Len(u64),
}

impl Request {
    fn changes(&self) -> bool {
        match self {
            Self::Open(_, how) => *how == Open::Create,
            Self::List(_) | Self::Space | Self::Read { .. } | Self::Len(_) => false,
            _ => true,
        }
    }

    const fn file(&self) -> Option<FileId> {
        match self {
            Self::Read { file, .. }
            | Self::Write { file, .. }
            | Self::Allocate(file, _)
            | Self::Len(file)
            | Self::SetLen(file, _)
            | Self::Sync(file) => Some(*file),
            _ => None,
        }
    }

    fn suits(&self, fault: DiskFault) -> bool {
        match fault {
            DiskFault::ReadError | DiskFault::ReadFlip | DiskFault::ReadStale => {
                matches!(self, Self::Read { .. })
            }
            DiskFault::WriteError | DiskFault::NoSpace => matches!(self, Self::Write { .. }),
            DiskFault::SyncDirError => matches!(self, Self::SyncDir(_)),
            DiskFault::SyncError
            | DiskFault::Phantom
            | DiskFault::Misdirect
            | DiskFault::LatentError => matches!(self, Self::Sync(_)),
        }
    }

    fn perform(self, platter: &mut Platter) -> DiskResult<Answer> {
        match self {
            Self::Open(name, how) => platter.open(&name, how).map(Answer::File),
            Self::CreateDir(name) => platter.create_dir(&name).map(|()| Answer::Done),
            Self::Lock(name) => platter.lock(&name).map(Answer::Lock),
            Self::List(dir) => platter.list(&dir).map(Answer::Entries),
            Self::Rename(from, to) => platter.rename(&from, &to).map(|()| Answer::Done),
            Self::Remove(name) => platter.remove(&name).map(|()| Answer::Done),
            Self::SyncDir(dir) => platter.sync_dir(&dir).map(|()| Answer::Done),
            Self::Space => platter.space().map(Answer::Space),
            Self::Read { file, offset, buffer, mode } => {
                platter.read_at(file, offset, buffer, mode).map(Answer::Bytes)
            }
            Self::Write { file, offset, bytes } => {
                platter.write_at(file, offset, &bytes).map(|()| Answer::Done)
            }
            Self::Allocate(file, len) => platter.allocate(file, len).map(|()| Answer::Done),
            Self::Len(file) => platter.len(file).map(Answer::Len),
            Self::SetLen(file, len) => platter.set_len(file, len).map(|()| Answer::Done),
            Self::Sync(file) => platter.sync(file).map(|()| Answer::Done),
        }
    }

    /// For the digest and for people.
    const fn word(&self) -> (u64, &'static str) {
        match self {
            Self::Open(..) => (1, "open"),
            Self::CreateDir(_) => (2, "create_dir"),
            Self::Lock(_) => (3, "lock"),
            Self::List(_) => (4, "list"),
            Self::Rename(..) => (5, "rename"),
            Self::Remove(_) => (6, "remove"),
            Self::SyncDir(_) => (7, "sync_dir"),
            Self::Space => (8, "space"),
            Self::Read { .. } => (9, "read"),
            Self::Write { .. } => (10, "write"),
            Self::Allocate(..) => (11, "allocate"),
            Self::Len(_) => (12, "len"),
            Self::SetLen(..) => (13, "set_len"),
            Self::Sync(_) => (14, "sync"),
        }
    }

    fn text(&self, platter: &Platter) -> String {
        let word = self.word().1;
        let name = |file: &FileId| platter.name_of(*file).unwrap_or("a closed file").to_owned();
        match self {
            Self::Open(name, how) => format!("{word} {name} {how:?}"),
            Self::Rename(from, to) => format!("{word} {from} -> {to}"),
            Self::CreateDir(name)
            | Self::Lock(name)
            | Self::List(name)
            | Self::Remove(name)
            | Self::SyncDir(name) => format!("{word} {}", if name.is_empty() { "." } else { name }),
            Self::Space => word.to_string(),
            Self::Read { file, offset, buffer, mode } => {
                format!("{word} {} {offset}+{} {mode:?}", name(file), buffer.len())
            }
            Self::Write { file, offset, bytes } => {
                format!("{word} {} {offset}+{}", name(file), bytes.len())
            }
            Self::Allocate(file, len) | Self::SetLen(file, len) => {
                format!("{word} {} {len}", name(file))
            }
            Self::Len(file) | Self::Sync(file) => format!("{word} {}", name(file)),
        }
    }
}

/// Names an operation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpKey {
    slot: u32,
    generation: u32,
}

impl OpKey {
    pub(crate) fn number(self) -> u64 {
        u64::from(self.slot)
    }
}

struct Op {
    node: u32,
    /// Not done yet.
    request: Option<Request>,
    /// Done, not told yet.
    answer: Option<DiskResult<Answer>>,
    /// The time is over: it may be told.
    ripe: bool,
    waker: Option<Waker>,
    /// Nobody waits any more.
    abandoned: bool,
}

struct OpSlot {
    generation: u32,
    op: Option<Op>,
}

/// The operations under way, of all nodes.
#[derive(Default)]
pub(crate) struct Ops {
    slots: Vec<OpSlot>,
    free: Vec<u32>,
}

impl Ops {
    fn add(&mut self, op: Op) -> OpKey {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(OpSlot { generation: 0, op: None });
                (self.slots.len() - 1) as u32
            }
        };
        let place = &mut self.slots[slot as usize];
        place.op = Some(op);
        OpKey { slot, generation: place.generation }
    }

    fn get(&mut self, key: OpKey) -> Option<&mut Op> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.op.as_mut() } else { None }
    }

    fn remove(&mut self, key: OpKey) -> Option<Op> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let op = slot.op.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(op)
    }

    /// Whether something is still to be done to a file.
    fn touches(&self, node: u32, file: FileId) -> bool {
        self.slots
            .iter()
            .filter_map(|slot| slot.op.as_ref())
            .any(|op| op.node == node && op.request.as_ref().and_then(Request::file) == Some(file))
    }

    fn of_node(&self, node: u32) -> Vec<OpKey> {
        (0_u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.op.as_ref().is_some_and(|op| op.node == node))
            .map(|(at, slot)| OpKey { slot: at, generation: slot.generation })
            .collect()
    }
}

impl State {
    /// Asks a disk for something; `None` when the asker died of it.
    pub(crate) fn disk_ask(&mut self, node: u32, request: Request, waker: &Waker) -> Option<OpKey> {
        let now = self.now;
        self.pane.digest.word(u64::from(node) << 8 | request.word().0);
        if let Request::Write { bytes, offset, .. } = &request {
            self.pane.digest.word(*offset);
            self.pane.digest.bytes(bytes);
        }
        let changes = request.changes();
        if self.trace.hears() {
            let text = request.text(&self.nodes[node as usize].drive.platter);
            if let Some(tape) = self.trace.tape().filter(|_| changes) {
                tape.disk(now, node, text.clone(), false);
            }
            self.line(node, || format!("disk {text}"));
        }
        let drive = &mut self.nodes[node as usize].drive;
        let delay = drive.takes(now, &request);
        let early = changes && drive.luck.coin();
        let slow = drive.times > 1;
        if slow {
            self.probe("disk.slow");
        }
        if changes {
            let drive = &mut self.nodes[node as usize].drive;
            drive.ops += 1;
            let count = drive.ops;
            let request = self.strike_inside(node, count, request)?;
            return Some(self.disk_begin(node, request, early, delay, waker));
        }
        Some(self.disk_begin(node, request, early, delay, waker))
    }

    /// The faults that the plan put inside this operation.
    fn strike_inside(&mut self, node: u32, count: u64, request: Request) -> Option<Request> {
        let mut request = Some(request);
        let life = self.nodes[node as usize].life;
        for what in self.faults_of_disk_op(node, count) {
            self.probe("fault.inside_disk_op");
            let drive = &mut self.nodes[node as usize].drive;
            match &what {
                FaultKind::PowerLoss { nodes, .. } if nodes.contains(&node) => {
                    drive.platter.crash_at(drive.platter.op_count());
                    // What it answers is for nobody.
                    drop(request.take().map(|request| drive.perform(request)));
                }
                FaultKind::Kill { node: dies, .. } if *dies == node && drive.luck.coin() => {
                    drop(request.take().map(|request| drive.perform(request)));
                }
                _ => {}
            }
            self.weigh(node);
            self.strike(&what);
        }
        request.filter(|_| self.alive(node, life))
    }

    fn disk_begin(
        &mut self,
        node: u32,
        request: Request,
        early: bool,
        delay: u64,
        waker: &Waker,
    ) -> OpKey {
        let drive = &mut self.nodes[node as usize].drive;
        let (request, answer) = match early {
            true => (None, Some(drive.perform(request))),
            false => (Some(request), None),
        };
        if early {
            self.weigh(node);
        }
        let waker = Some(waker.clone());
        let op = self.ops.add(Op { node, request, answer, ripe: false, waker, abandoned: false });
        self.timeline.push(self.now + delay, Event::Disk { op });
        op
    }

    pub(crate) fn disk_done(&mut self, key: OpKey) {
        let now = self.now;
        let Some(op) = self.ops.get(key) else { return };
        let node = op.node;
        let drive = &mut self.nodes[node as usize].drive;
        if drive.stalled_until > now {
            let again = drive.stalled_until;
            self.timeline.push(again, Event::Disk { op: key });
            return self.probe("disk.stalled");
        }
        let mut let_go = None;
        let mut changes = false;
        if let Some(request) = op.request.take() {
            let_go = request.file().filter(|file| drive.closing.contains(file));
            changes = request.changes();
            op.answer = Some(drive.perform(request));
        }
        op.ripe = true;
        op.waker.take().into_iter().for_each(Waker::wake);
        let failed = matches!(op.answer, Some(Err(_)));
        if op.abandoned {
            self.disk_forget(key);
        }
        self.pane.digest.word(u64::from(failed));
        if changes {
            self.weigh(node);
        }
        if let Some(file) = let_go {
            self.disk_close(node, file);
        }
        if self.nodes[node as usize].drive.platter.is_off() {
            // Somebody planned a crash on the platter itself.
            self.power_loss(node);
        }
    }

    pub(crate) fn disk_answer(&mut self, key: OpKey, waker: &Waker) -> Poll<DiskResult<Answer>> {
        let Some(op) = self.ops.get(key) else { return Poll::Pending };
        if !op.ripe {
            keep(&mut op.waker, waker);
            return Poll::Pending;
        }
        let node = op.node;
        let Some(answer) = self.ops.remove(key).and_then(|op| op.answer) else {
            return Poll::Pending;
        };
        match &answer {
            Ok(Answer::Bytes(bytes)) => self.pane.digest.bytes(bytes),
            Ok(Answer::Len(len)) => self.pane.digest.word(*len),
            Ok(_) => {}
            Err(error) => {
                self.pane.digest.word(error.kind as u64 + 1);
                self.line(node, || format!("disk error: {error}"));
                let now = self.now;
                // Who asks for a file that is not there is told so; no disk failed.
                let failed = error.kind != DiskErrorKind::NotFound;
                if let Some(tape) = self.trace.tape() {
                    tape.disk(now, node, error.to_string(), failed);
                }
            }
        }
        Poll::Ready(answer)
    }

    /// Nobody holds a file any more. It stays open until what was asked of it is done.
    pub(crate) fn disk_close(&mut self, node: u32, file: FileId) {
        let busy = self.ops.touches(node, file);
        let drive = &mut self.nodes[node as usize].drive;
        drive.closing.retain(|closing| *closing != file);
        if busy {
            drive.closing.push(file);
        } else {
            drive.platter.close(file);
        }
    }

    /// Nobody waits for this operation any more; it happens all the same.
    pub(crate) fn disk_abandon(&mut self, key: OpKey) {
        let Some(op) = self.ops.get(key) else { return };
        if planted!("world_dropped_write_undone") {
            op.request = None;
        }
        op.abandoned = true;
        op.waker = None;
        if op.ripe {
            self.disk_forget(key);
        }
    }

    fn disk_forget(&mut self, key: OpKey) {
        let Some(op) = self.ops.remove(key) else { return };
        let platter = &mut self.nodes[op.node as usize].drive.platter;
        match op.answer {
            Some(Ok(Answer::File(file))) => platter.close(file),
            Some(Ok(Answer::Lock(lock))) => platter.unlock(lock),
            _ => {}
        }
    }

    /// Notes what a disk would lose now.
    pub(crate) fn weigh(&mut self, node: u32) {
        let now = self.now;
        if let Some(tape) = self.trace.tape() {
            tape.stake(now, node, self.nodes[node as usize].drive.platter.at_stake());
        }
    }

    /// What was asked and not yet done happens, or not.
    fn disk_last_wishes(&mut self, node: u32) {
        self.nodes[node as usize].drive.closing.clear();
        for key in self.ops.of_node(node) {
            let Some(op) = self.ops.remove(key) else { continue };
            let drive = &mut self.nodes[node as usize].drive;
            if let Some(request) = op.request.filter(Request::changes)
                && drive.luck.coin()
            {
                // What it answers is for nobody.
                drop(drive.perform(request));
            }
        }
    }

    pub(crate) fn disk_process_death(&mut self, node: u32) {
        if planted!("world_kill_loses_cache") {
            return self.disk_power_loss(node);
        }
        self.disk_last_wishes(node);
        self.nodes[node as usize].drive.platter.process_death();
        self.weigh(node);
    }

    pub(crate) fn disk_power_loss(&mut self, node: u32) {
        self.disk_last_wishes(node);
        let drive = &mut self.nodes[node as usize].drive;
        if planted!("world_power_loss_keeps_cache") {
            return drive.platter.process_death();
        }
        drive.platter.power_loss(&mut drive.luck);
        let left = drive.platter.fingerprint();
        self.pane.digest.word(left);
        self.weigh(node);
    }
}
