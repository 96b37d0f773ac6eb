//! How a fault is done to a world, and how it ends.
//!
//! Every fault that takes effect counts a probe `fault.<name>`; its consequences count probes of
//! their own where they happen (`net.cut` when a packet met the cut, `process.power_loss` when a
//! machine that was on went dark), so a plan that strikes thin air is seen to.
//!
//! Invariant: nothing here draws luck; a plan says everything.
//!
//! Not here: what faults there are (`fault.rs`), which are drawn (`plan.rs`).

use super::state::{Event, State};
use crate::fault::{Fault, FaultKind, When};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// The plan of a world.
#[derive(Default)]
pub(crate) struct Script {
    entries: Vec<Fault>,
    /// Waits for a count of a node: the node, the count, the entry.
    disk_ops: Vec<(u32, u64, usize)>,
    messages: Vec<(u32, u64, usize)>,
    /// Entries before this one strike no more.
    muted: usize,
    /// Counted up by every calm: what began before it does not end after it.
    epoch: u32,
}

/// The end of a fault.
pub(crate) struct Relief {
    what: FaultKind,
    epoch: u32,
    /// The life the fault was done to, where it matters.
    life: u32,
}

impl State {
    /// Begins a plan: its times and counts start now.
    pub(crate) fn play(&mut self, plan: &[Fault]) {
        for fault in plan {
            let entry = self.script.entries.len();
            self.script.entries.push(fault.clone());
            match fault.when {
                When::AtMs(ms) => {
                    let at = self.now.saturating_add(ms.saturating_mul(NANOS_PER_MILLI));
                    self.timeline.push(at, Event::Fault { entry });
                }
                When::DiskOp { node, nth } => {
                    if let Some(of) = self.nodes.get(node as usize) {
                        self.script.disk_ops.push((node, of.drive.ops + nth, entry));
                    }
                }
                When::Message { node, nth } => {
                    if let Some(of) = self.nodes.get(node as usize) {
                        self.script.messages.push((node, of.messages + nth, entry));
                    }
                }
            }
        }
    }

    pub(crate) fn entry_due(&mut self, entry: usize) {
        if entry < self.script.muted {
            return;
        }
        let what = self.script.entries[entry].what.clone();
        self.strike(&what);
    }

    fn due(waiting: &mut Vec<(u32, u64, usize)>, node: u32, count: u64) -> Vec<usize> {
        if waiting.is_empty() {
            return Vec::new();
        }
        let due = waiting.extract_if(.., |(of, at, _)| *of == node && *at <= count);
        due.map(|(_, _, entry)| entry).collect()
    }

    /// The faults that strike inside this disk operation of a node.
    pub(crate) fn faults_of_disk_op(&mut self, node: u32, count: u64) -> Vec<FaultKind> {
        let due = Self::due(&mut self.script.disk_ops, node, count);
        due.into_iter().map(|entry| self.script.entries[entry].what.clone()).collect()
    }

    /// Counts a message; answers whether its sender died of it.
    pub(crate) fn message_sent(&mut self, node: u32) -> bool {
        let of = &mut self.nodes[node as usize];
        of.messages += 1;
        let (count, life) = (of.messages, of.life);
        for entry in Self::due(&mut self.script.messages, node, count) {
            self.probe("fault.inside_message");
            self.entry_due(entry);
        }
        !self.alive(node, life)
    }

    fn known(&self, nodes: &[u32]) -> bool {
        nodes.iter().all(|node| (*node as usize) < self.nodes.len())
    }

    /// Does it.
    pub(crate) fn apply(&mut self, what: &FaultKind) {
        if !self.known(&what.nodes()) {
            return;
        }
        self.pane.digest.text(what.name());
        self.probe_fault(what);
        match *what {
            FaultKind::PowerLoss { ref nodes, down_ms } => {
                nodes.iter().for_each(|node| self.power_loss(*node));
                self.later(down_ms, what, 0);
            }
            FaultKind::Kill { node, down_ms } => {
                self.kill(node);
                self.later(down_ms, what, 0);
            }
            FaultKind::Stop { node, grace_ms, down_ms } => {
                self.stop(node, grace_ms.saturating_mul(NANOS_PER_MILLI));
                self.later(grace_ms.saturating_add(down_ms), what, 0);
            }
            FaultKind::Pause { node, for_ms } => {
                self.pause(node);
                let life = self.nodes[node as usize].life;
                self.later(for_ms, what, life);
            }
            FaultKind::Replace { node, down_ms } => {
                self.power_loss(node);
                self.nodes[node as usize].drive.wipe();
                self.weigh(node);
                self.later(down_ms, what, 0);
            }
            FaultKind::SwapDisks { one, other, down_ms } => {
                self.swap_disks(one, other);
                self.later(down_ms, what, 0);
            }
            FaultKind::Cut { for_ms, .. }
            | FaultKind::Partition { for_ms, .. }
            | FaultKind::Isolate { for_ms, .. }
            | FaultKind::Bridge { for_ms, .. } => {
                for (from, to) in self.cuts(what) {
                    self.wire.links.cut(from, to);
                }
                self.later(for_ms, what, 0);
            }
            FaultKind::Hold { from, to, for_ms } => {
                self.wire.links.hold(from, to);
                self.later(for_ms, what, 0);
            }
            FaultKind::Reset { one, other } => self.reset_between(one, other),
            _ => self.apply_weather(what),
        }
    }

    fn apply_weather(&mut self, what: &FaultKind) {
        match *what {
            FaultKind::Slow { from, to, extra_us, for_ms } => {
                self.wire.links.get_mut(from, to).extra_ns = extra_us.saturating_mul(1000);
                self.later(for_ms, what, 0);
            }
            FaultKind::Throttle { from, to, bytes_per_second, for_ms } => {
                self.wire.links.get_mut(from, to).bytes_per_second = bytes_per_second;
                self.later(for_ms, what, 0);
            }
            FaultKind::Loss { from, to, per_million, for_ms } => {
                self.wire.links.get_mut(from, to).loss_per_million = Some(per_million);
                self.later(for_ms, what, 0);
            }
            FaultKind::Flip { from, to, per_million, for_ms } => {
                self.wire.links.get_mut(from, to).flip_per_million = Some(per_million);
                self.later(for_ms, what, 0);
            }
            FaultKind::Partial { per_million, for_ms } => {
                self.wire.options.partial_per_million = per_million;
                self.later(for_ms, what, 0);
            }
            FaultKind::Drift { node, ppm, for_ms } => {
                self.set_drift(node, ppm);
                self.later(for_ms, what, 0);
            }
            FaultKind::WallJump { node, by_ms } => {
                let now = self.now;
                self.nodes[node as usize].clock.jump_wall(now, by_ms);
            }
            FaultKind::Leap { node, by_ms } => {
                let (now, by) = (self.now, by_ms.saturating_mul(NANOS_PER_MILLI));
                self.nodes[node as usize].clock.leap(now, by);
                self.rearm_timers(node);
            }
            _ => self.apply_disk(what),
        }
    }

    fn apply_disk(&mut self, what: &FaultKind) {
        let now = self.now;
        match *what {
            FaultKind::Stall { node, for_ms } => {
                let until = now.saturating_add(for_ms.saturating_mul(NANOS_PER_MILLI));
                let drive = &mut self.nodes[node as usize].drive;
                drive.stalled_until = drive.stalled_until.max(until);
            }
            FaultKind::SlowDisk { node, times, for_ms } => {
                self.nodes[node as usize].drive.times = times.max(1);
                self.later(for_ms, what, 0);
            }
            FaultKind::Disk { node, fault, per_million, for_ms } => {
                self.nodes[node as usize].drive.set_rate(fault, per_million);
                self.later(for_ms, what, 0);
            }
            FaultKind::DiskOnce { node, fault } => {
                self.nodes[node as usize].drive.once(fault);
            }
            FaultKind::Full { node, room_kib, for_ms } => {
                self.nodes[node as usize].drive.fill(Some(room_kib << 10));
                self.later(for_ms, what, 0);
            }
            FaultKind::Rot { node, bits } => self.nodes[node as usize].drive.rot(bits),
            _ => unreachable!("all others were done before"),
        }
    }

    pub(crate) fn set_drift(&mut self, node: u32, ppm: i32) {
        let now = self.now;
        self.nodes[node as usize].clock.set_drift(now, ppm);
        self.rearm_timers(node);
    }

    /// Both machines go dark and find the other's disk when they come back.
    pub(crate) fn swap_disks(&mut self, one: u32, other: u32) {
        if one == other {
            return;
        }
        self.power_loss(one);
        self.power_loss(other);
        let (low, high) = (one.min(other) as usize, one.max(other) as usize);
        let (left, right) = self.nodes.split_at_mut(high);
        left[low].drive.swap(&mut right[0].drive);
        self.weigh(one);
        self.weigh(other);
    }

    /// The ordered pairs that a cut of some shape cuts.
    fn cuts(&self, what: &FaultKind) -> Vec<(u32, u32)> {
        let all = 0..self.nodes.len() as u32;
        let cut = |from: u32, to: u32| match what {
            FaultKind::Cut { from: one, to: other, .. } => (from, to) == (*one, *other),
            FaultKind::Partition { side, .. } => side.contains(&from) != side.contains(&to),
            FaultKind::Isolate { node, .. } => from == *node || to == *node,
            // Even and odd: two halves of any cluster.
            FaultKind::Bridge { node, .. } => from != *node && to != *node && from % 2 != to % 2,
            _ => false,
        };
        all.clone()
            .flat_map(|from| all.clone().map(move |to| (from, to)))
            .filter(|(from, to)| from != to && cut(*from, *to))
            .collect()
    }

    fn later(&mut self, ms: u64, what: &FaultKind, life: u32) {
        let at = self.now.saturating_add(ms.saturating_mul(NANOS_PER_MILLI));
        let relief = Relief { what: what.clone(), epoch: self.script.epoch, life };
        self.timeline.push(at, Event::Relief(relief));
    }

    /// A fault ends.
    pub(crate) fn relieve(&mut self, relief: Relief) {
        if relief.epoch != self.script.epoch {
            return;
        }
        let what = &relief.what;
        self.pane.digest.text(what.name());
        self.world_line(|| format!("over: {what}"));
        let now = self.now;
        if let Some(tape) = self.trace.tape() {
            tape.over(now, what);
        }
        match *what {
            FaultKind::PowerLoss { ref nodes, .. } => {
                nodes.iter().for_each(|node| self.start(*node))
            }
            FaultKind::Kill { node, .. }
            | FaultKind::Stop { node, .. }
            | FaultKind::Replace { node, .. } => self.start(node),
            FaultKind::SwapDisks { one, other, .. } => {
                self.start(one);
                self.start(other);
            }
            FaultKind::Pause { node, .. } => {
                if self.nodes[node as usize].life == relief.life {
                    self.resume(node);
                }
            }
            FaultKind::Hold { from, to, .. } => {
                self.wire.links.release(from, to);
                self.sends_again();
            }
            FaultKind::Slow { from, to, .. } => self.wire.links.get_mut(from, to).extra_ns = 0,
            FaultKind::Throttle { from, to, .. } => self.widen(from, to),
            FaultKind::Loss { from, to, .. } => {
                self.wire.links.get_mut(from, to).loss_per_million = None;
            }
            FaultKind::Flip { from, to, .. } => {
                self.wire.links.get_mut(from, to).flip_per_million = None;
            }
            FaultKind::Partial { .. } => self.wire.options.partial_per_million = 0,
            FaultKind::Drift { node, .. } => self.set_drift(node, 0),
            FaultKind::SlowDisk { node, .. } => self.nodes[node as usize].drive.times = 1,
            FaultKind::Disk { node, fault, .. } => {
                self.nodes[node as usize].drive.set_rate(fault, 0);
            }
            FaultKind::Full { node, .. } => self.nodes[node as usize].drive.fill(None),
            _ => {
                for (from, to) in self.cuts(what) {
                    self.wire.links.heal(from, to);
                }
                self.sends_again();
            }
        }
    }

    /// Every fault ends now and none comes any more: links carry, disks are quick and honest,
    /// processes go on, machines are back. What was damaged stays damaged.
    pub(crate) fn calm(&mut self) {
        self.world_line(|| "calm: every fault ends".to_string());
        let now = self.now;
        if let Some(tape) = self.trace.tape() {
            tape.calm(now);
        }
        self.script.muted = self.script.entries.len();
        self.script.disk_ops.clear();
        self.script.messages.clear();
        self.script.epoch += 1;
        let all = 0..self.nodes.len() as u32;
        for (from, to) in all.clone().flat_map(|from| all.clone().map(move |to| (from, to))) {
            self.widen(from, to);
        }
        self.wire.links.heal_all();
        self.wire.options.partial_per_million = 0;
        self.wire.options.loss_per_million = 0;
        self.wire.options.flip_per_million = 0;
        for at in 0..self.nodes.len() as u32 {
            self.nodes[at as usize].drive.calm();
            self.set_drift(at, 0);
            while self.nodes[at as usize].pauses > 0 {
                self.resume(at);
            }
            self.start(at);
        }
        self.sends_again();
    }

    fn probe_fault(&mut self, what: &FaultKind) {
        self.probe(match what {
            FaultKind::PowerLoss { nodes, .. } if nodes.len() > 1 => "fault.blackout",
            FaultKind::PowerLoss { .. } => "fault.power_loss",
            FaultKind::Kill { .. } => "fault.kill",
            FaultKind::Stop { .. } => "fault.stop",
            FaultKind::Pause { .. } => "fault.pause",
            FaultKind::Replace { .. } => "fault.replace",
            FaultKind::SwapDisks { .. } => "fault.swap_disks",
            FaultKind::Cut { .. } => "fault.cut",
            FaultKind::Partition { .. } => "fault.partition",
            FaultKind::Isolate { .. } => "fault.isolate",
            FaultKind::Bridge { .. } => "fault.bridge",
            FaultKind::Hold { .. } => "fault.hold",
            FaultKind::Reset { .. } => "fault.reset",
            FaultKind::Slow { .. } => "fault.slow",
            FaultKind::Throttle { .. } => "fault.throttle",
            FaultKind::Loss { .. } => "fault.loss",
            FaultKind::Flip { .. } => "fault.flip",
            FaultKind::Partial { .. } => "fault.partial",
            FaultKind::Drift { .. } => "fault.drift",
            FaultKind::WallJump { .. } => "fault.wall_jump",
            FaultKind::Leap { .. } => "fault.leap",
            FaultKind::Stall { .. } => "fault.stall",
            FaultKind::SlowDisk { .. } => "fault.slow_disk",
            FaultKind::Disk { .. } => "fault.disk",
            FaultKind::DiskOnce { .. } => "fault.disk_once",
            FaultKind::Full { .. } => "fault.full",
            FaultKind::Rot { .. } => "fault.rot",
        });
    }
}
