//! Reads: confirmed by the core where the level asks for it, then served from a view.
//!
//! Reads of a group that arrive together share one question to the core, and what the core answers
//! serves all of them. A read is served when the state has taken what the core named; until then
//! it waits, and whoever asks may stop waiting (`owed.rs`).
//!
//! Time, for a read that is current: a key has expired when the newest stamp that the state has taken
//! says so. One that would be over by now makes time go on first (`time.rs`). A read of whatever is
//! here goes by the clocks as well.
//!
//! What was read lately is not asked of the disk again (`value/hot.rs`).
//!
//! Not here: rounds and leases (`raft`), how old a state may be (`fresh.rs`).

use alloc::vec::Vec;
use bytes::Bytes;
use core::num::NonZeroU64;

use super::{Outbox, Shard, fresh::staleness_ms, group::Reading, time::is_overdue};
use crate::{
    command::{Found, Level, Op, Outcome, Refusal, Reply, Told},
    journal::ReadError,
    limits, mark, planted,
    raft::Input,
    runtime::Runtime,
    types::{GroupId, Index, Version},
    value::{self, HotValues, IndexView, View},
};

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A read of whatever is here, if that is new enough; otherwise it is asked for.
    pub(super) fn glance(&mut self, id: GroupId, reading: Reading, allowed_ms: u32) {
        self.leave_a_question(id);
        let drift_ppm = self.drift_ppm();
        let Some(group) = self.groups.get_mut(&id) else { return };
        let age = group.fresh.age(group.raft.applied(), reading.at);
        if allowed_ms > 0 && staleness_ms(age, drift_ppm) > allowed_ms {
            mark!("shard_state_too_old_for_a_read");
            return self.ask(id, reading);
        }
        group.confirmed.push_front((Index(0), reading));
        self.readable.insert(id);
    }

    /// A question that nobody waits for, so that later readers can be told how old the state is.
    fn leave_a_question(&mut self, id: GroupId) {
        let (now, every) = (self.now(), self.options.raft.heartbeat);
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.fresh.wants(now, every) {
            group.fresh.ask(group.raft.next_read(), now);
            self.step(id, Input::Read);
        }
    }

    /// How slow this node's clock may be.
    fn drift_ppm(&self) -> u32 {
        self.options.raft.drift_ppm.unwrap_or(0)
    }

    /// A read that must see everything acknowledged before it.
    pub(super) fn ask(&mut self, id: GroupId, reading: Reading) {
        let now = self.now();
        // The answer may come with the step, so the read must be in its queue before.
        let Some(group) = self.groups.get_mut(&id) else { return };
        let position = group.raft.next_read();
        group.fresh.ask(position, now);
        group.asked.push_back((position, reading));
        self.step(id, Input::Read);
    }

    /// Serves the reads that wait for nothing but the disk.
    pub(super) async fn answer_reads(&mut self) {
        for id in core::mem::take(&mut self.readable) {
            while let Some(reading) = self.next_readable(id) {
                let served = self.serve(id, &reading).await;
                // The disk may have been asked.
                self.lately = self.now();
                match served {
                    Ok(Some((told, outcome))) => {
                        let told = Told { phases: reading.phases(self.lately), ..told };
                        self.answer(reading.asked, told, outcome);
                    }
                    Ok(None) => self.await_time(id, reading),
                    Err(why) => self.read_met_damage(id, reading, why).await,
                }
            }
        }
    }

    fn next_readable(&mut self, id: GroupId) -> Option<Reading> {
        let group = self.groups.get(&id)?;
        let (index, reading) = group.confirmed.front()?;
        let is_early = *index > group.raft.applied() && !self.waits_in_vain(id, reading);
        if is_early && !planted!("shard_read_before_applied") {
            return None;
        }
        let group = self.groups.get_mut(&id)?;
        group.confirmed.pop_front().map(|(_, reading)| reading)
    }

    /// The answer to a read; `None` when the group must agree on the time before.
    async fn serve(
        &mut self,
        id: GroupId,
        reading: &Reading,
    ) -> Result<Option<(Told, Outcome)>, ReadError> {
        let drift_ppm = self.drift_ppm();
        let by_stamp =
            reading.asked.level > Level::Eventual && !planted!("shard_reads_expire_by_the_clock");
        let time_ms = if by_stamp { 0 } else { self.time_ms(id) };
        let view = self.view(id);
        let Some(group) = self.groups.get_mut(&id) else {
            return Ok(Some((Told::default(), Outcome::Refused(Refusal::NoGroup))));
        };
        let stamp = group.indexed_stamp();
        let now_ms = stamp.ms().max(time_ms);
        let applied = Version(group.raft.applied().0);
        let level = reading.asked.level;
        let is_current = level > Level::Eventual || planted!("shard_staleness_not_told");
        let staleness_ms = if is_current {
            0
        } else {
            staleness_ms(group.fresh.age(group.raft.applied(), reading.at), drift_ppm)
        };
        let told = Told { level, staleness_ms, applied, stamp, ..Told::default() };
        if let Op::Cut(_) = reading.op {
            if group.held.is_some() {
                // The state and the index must be of one entry.
                mark!("shard_cut_waits_for_an_apply");
                return Ok(Some((told, Outcome::Refused(Refusal::Overloaded))));
            }
            return Ok(Some((told, self.open_cut(id, view, told))));
        }
        let Some(reply) = read(&view, &mut self.hot, &reading.op, now_ms).await? else {
            mark!("shard_read_too_large");
            return Ok(Some((told, Outcome::Refused(Refusal::TooLarge))));
        };
        // Most of what is read is never over, and no clock is looked at for it.
        let may_wait = by_stamp && !reading.has_waited && is_mortal(&view, &reply);
        let waits = may_wait && is_over(&view, &reply, now_ms, self.time_ms(id));
        if waits && !planted!("shard_time_waits_for_writes") {
            return Ok(None);
        }
        Ok(Some((told, Outcome::Ok(reply))))
    }
}

/// Whether what a read came to may be over one day.
fn is_mortal<R: Runtime>(view: &IndexView<R>, reply: &Reply) -> bool {
    match reply {
        Reply::Count(_) => view.tree().soonest().is_some(),
        reply => is_overdue(reply, u64::MAX),
    }
}

/// Whether what a read came to by one time is over by a later one.
fn is_over<R: Runtime>(view: &IndexView<R>, reply: &Reply, now_ms: u64, later_ms: u64) -> bool {
    let (tree, later_ms) = (view.tree(), later_ms.max(now_ms));
    match reply {
        Reply::Count(_) => tree.count_over(later_ms) > tree.count_over(now_ms),
        reply => is_overdue(reply, later_ms),
    }
}

/// What a read comes to; `None` when that is more than a response holds.
async fn read<R: Runtime>(
    view: &IndexView<R>,
    hot: &mut HotValues,
    op: &Op,
    now_ms: u64,
) -> Result<Option<Reply>, ReadError> {
    Ok(Some(match op {
        Op::Get(key) => Reply::Value(get(view, hot, key, now_ms).await?),
        Op::GetMany(keys) => {
            let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0);
            for key in keys {
                let value = get(view, hot, key, now_ms).await?;
                bytes += value.as_ref().map_or(0, |found| found.value.len());
                if bytes > limits::RESPONSE_BYTES_MAX {
                    return Ok(None);
                }
                values.push(value);
            }
            Reply::Values(values)
        }
        Op::Look(keys) => {
            let look = |key: &Bytes| view.look(key, now_ms).map(found);
            Reply::Values(keys.iter().map(look).collect())
        }
        Op::Count(_) => Reply::Count(count(view, now_ms) as u64),
        Op::Scan(scan) => {
            let page = value::Scan {
                start: scan.start.as_ref().map(AsRef::as_ref),
                end: scan.end.as_ref().map(AsRef::as_ref),
                keys_max: (scan.keys_max as usize).min(limits::SCAN_KEYS_MAX),
                bytes_max: (scan.bytes_max as usize).min(limits::RESPONSE_BYTES_MAX / 2),
            };
            let page = match scan.has_values {
                true => view.scan(page, now_ms).await?,
                false => view.keys(page, now_ms),
            };
            let item = |(key, value)| (Bytes::from(key), found(value));
            let items = page.items.into_iter().map(item).collect();
            Reply::Page { items, next: page.next.map(Bytes::from) }
        }
        Op::Write(_) | Op::Replace(_) | Op::Cut(_) => Reply::Value(None),
    }))
}

fn count<R: Runtime>(view: &IndexView<R>, now_ms: u64) -> usize {
    let over =
        if planted!("shard_counts_what_is_over") { 0 } else { view.tree().count_over(now_ms) };
    view.tree().len() - over
}

/// What a key has: as it was read lately, or from the disk.
async fn get<R: Runtime>(
    view: &IndexView<R>,
    hot: &mut HotValues,
    key: &[u8],
    now_ms: u64,
) -> Result<Option<Found>, ReadError> {
    let Some(place) = view.place(key, now_ms) else { return Ok(None) };
    if let Some(value) = hot.get(&place) {
        let expires_ms = place.expires_ms.map(NonZeroU64::get);
        return Ok(Some(Found { version: place.version, expires_ms, value }));
    }
    let found = found(view.read(key, place).await?);
    hot.keep(&place, &found.value);
    Ok(Some(found))
}

pub(super) fn found(found: value::Found) -> Found {
    let value::Found { value, version, expires_ms } = found;
    Found { version, expires_ms: expires_ms.map(NonZeroU64::get), value: Bytes::from(value) }
}
