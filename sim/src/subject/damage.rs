//! The journal on a disk that is damaged where it hurts, by somebody who knows what stands there.
//!
//! ```text
//!   past     frames, rotations, seals, compactions, drops, deaths ─► close in order
//!   present  the same again ─► close, or the power goes, mostly inside an operation
//!   ── the disk as it is must open, and give everything ──
//!   atlas    what stands where
//!   blows    on copies of that disk, one or two at a time ─► open ─► judge ─► accept ─► judge
//! ```
//! Two more stores do the same with other values: one goes on from the same past (a backup that
//! was restored while some blocks are still those of the other timeline), one is a stranger. Their
//! bytes are well formed, stand at the same places, and are wrong.
//!
//! Each record's key is its version and LSN, so the hints name every record that is left, and what
//! a blow may cost is counted record by record. Some values hold pieces of a journal themselves,
//! as a store does that keeps backups of others: they must never be taken for frames.
//!
//! Everything runs on the still disk, without time: a life is short, and one seed strikes often.
//!
//! Not here: damage while tasks run beside each other (`journal`), the judge (`check/damage.rs`).

use trilith_engine::{
    codec::crc,
    journal::{
        Claim, Expect, Installed, Journal, JournalError, JournalOptions, ManifestEdit, OpenError,
        OpenReport, Origin, Record, RecordKind, SegmentHints, SegmentKind, Sync,
        format::{EditId, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Seed},
    },
    mark,
    runtime::Rng as _,
    types::{GroupId, Lsn, SegmentId, Term, Uuid, Version},
};

use crate::{
    aim::{Blow, Sources, forget_last_edit, strike},
    atlas::{Atlas, Hits, What},
    check::{
        Verdict,
        damage::{Case, Found, Held, Scrubbed, opened, refused, scrubbed},
    },
    fault::Family,
    luck::{Domain, Luck},
    platter::Platter,
    run::{Drawn, Evidence, Request},
    scenario::Scenario,
    still::Still,
    world::{World, WorldOptions},
};

const GROUP: GroupId = GroupId(1);
/// How many times one disk is struck, each time on a fresh copy.
const BLOWS: u64 = 10;

/// One thing a life does.
#[derive(Clone, Debug)]
enum Step {
    /// A frame with values of these lengths, some of which hold pieces of a journal.
    Append(Vec<(usize, bool)>, Sync),
    Sync,
    Idle,
    Rotate,
    /// So many chores.
    Chores(u64),
    /// The first sealed segment is dropped, with its records.
    Drop,
    /// So many sealed segments become a data segment.
    Compact(usize),
    /// The process dies and starts again.
    Die,
}

/// What a seed does.
#[derive(Clone, Debug)]
struct Plan {
    options: JournalOptions,
    past: Vec<Step>,
    present: Vec<Step>,
    /// Whether the present ends in order.
    closes: bool,
    /// In how many hundredths of its operations the power goes; none when it goes at the end.
    crash: Option<u64>,
}

fn draw_steps(luck: &mut Luck, count: u64, value_bytes: u64) -> Vec<Step> {
    let mut draw = || match luck.range(0..100) {
        0..55 => {
            let len = |luck: &mut Luck| match luck.range(0..8) {
                0 => (1100 + luck.range(0..1500) as usize, luck.coin()),
                // Often equal, so that records can change places.
                1..4 => (40, false),
                _ => (luck.range(0..value_bytes + 1) as usize, false),
            };
            let lens = (0..luck.range(1..5)).map(|_| len(luck)).collect();
            Step::Append(lens, if luck.chance(2, 3) { Sync::Now } else { Sync::Later })
        }
        55..62 => Step::Sync,
        62..68 => Step::Idle,
        68..75 => Step::Rotate,
        75..88 => Step::Chores(luck.range(1..4)),
        88..92 => Step::Drop,
        92..97 => Step::Compact(luck.range(1..4) as usize),
        _ => Step::Die,
    };
    (0..count).map(|_| draw()).collect()
}

impl Plan {
    fn draw(luck: &mut Luck, steps: u64, value_bytes: u64) -> Self {
        let options = JournalOptions {
            first_segment_bytes: 8192 << luck.range(0..2),
            segment_bytes_max: 16_384 << luck.range(0..2),
            spares: luck.range(1..3) as usize,
            reserve_bytes: 0,
            manifest_bytes: 8192 << luck.range(0..2),
            ..JournalOptions::default()
        };
        let past = luck.range(1..steps / 2 + 2);
        Self {
            options,
            past: draw_steps(luck, past, value_bytes),
            present: draw_steps(luck, steps, value_bytes),
            closes: luck.chance(1, 3),
            crash: luck.chance(1, 2).then(|| luck.range(30..100)),
        }
    }
}

/// A value that nobody else writes, half of it zeros, as sectors are that were never written.
fn value(version: u64, salt: u64, len: usize) -> Vec<u8> {
    let tag = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt << 56);
    let mut value = vec![0; len];
    for (index, byte) in value.iter_mut().enumerate() {
        if index < 8 || index % 700 < 250 {
            *byte = tag.to_le_bytes()[index % 8] ^ (index / 8) as u8;
        }
    }
    value
}

/// Writes frames of another journal into a value: seals that claim far more to be durable than
/// this one ever wrote. Only their checksum says that they are not of this place.
fn hold_a_journal(value: &mut [u8], segment: SegmentId) {
    let lsn = 1 << 40;
    let seal = FrameHeader {
        kind: FrameKind::Seal,
        body_bytes: 0,
        records: 0,
        groups: 0,
        first_lsn: Lsn(lsn),
        durable_lsn: Lsn(lsn - 1),
        previous_crc: 0,
        directory_crc: crc(0, &[]),
        map_crc: crc(0, &[]),
        segment,
        edit: EditId { manifest: SegmentId(1 << 20), lsn: Lsn(1) },
        crc: 0,
    };
    let bytes = seal.encode(Seed::of(Uuid::default()), 4096);
    // The first record of a frame has its value 104 bytes behind the frame's beginning.
    for place in value.get_mut(24..).unwrap_or_default().chunks_exact_mut(FRAME_HEADER_BYTES) {
        place.copy_from_slice(&bytes);
    }
}

/// A store that lives through steps.
struct Life {
    still: Still,
    options: JournalOptions,
    salt: u64,
    seed: u64,
    held: Held,
    /// The disk at some moments of its past.
    earlier: Vec<Platter>,
}

/// Why the steps ended early.
enum Over {
    /// The disk went dark.
    Dark,
    /// Something was wrong.
    Wrong(Verdict),
}

impl From<JournalError> for Over {
    fn from(_: JournalError) -> Self {
        Self::Dark
    }
}

impl Life {
    fn new(disk: Platter, plan: &Plan, salt: u64, seed: u64, held: Held) -> Self {
        let (options, still) = (plan.options, Still::with_seed(disk, seed));
        Self { still, options, salt, seed, held, earlier: Vec::new() }
    }

    /// Does the steps, and closes if asked to. A disk that went dark ends it, and is no fault.
    fn run(&mut self, steps: &[Step], close: bool) -> Result<(), Over> {
        let mut journal = self.open()?;
        for step in steps {
            if matches!(step, Step::Die) {
                drop(journal);
                if self.still.platter().is_off() {
                    return Err(Over::Dark);
                }
                self.seed += 1;
                self.still = self.still.after_death(self.seed);
                journal = self.open()?;
                continue;
            }
            self.keep();
            let still = self.still.clone();
            still.block_on(self.step(&mut journal, step))?;
        }
        if close {
            let still = self.still.clone();
            still.block_on(journal.close())?;
            self.held.durable = self.held.issued.keys().next_back().copied().unwrap_or(0);
        }
        Ok(())
    }

    fn keep(&mut self) {
        if self.earlier.len() == 12 {
            self.earlier.remove(0);
        }
        self.earlier.push(self.still.platter().clone());
    }

    /// Opens a disk that nothing hit: everything must be there.
    fn open(&mut self) -> Result<Journal<Still>, Over> {
        let (atlas, hits) = (Atlas::default(), Hits::default());
        let case = Case { atlas: &atlas, hits: &hits, held: &self.held, foreign: false };
        match look(&self.still, self.options) {
            Ok(_) if self.still.platter().is_off() => Err(Over::Dark),
            Ok((journal, report, found)) => {
                let verdict = opened(&case, &report, &found, false);
                if verdict != Verdict::Holds {
                    return Err(Over::Wrong(verdict));
                }
                self.held.settle(&report, &found);
                Ok(journal)
            }
            Err(_) if self.still.platter().is_off() => Err(Over::Dark),
            Err(error) => Err(Over::Wrong(refused(&case, &error))),
        }
    }

    async fn step(&mut self, journal: &mut Journal<Still>, step: &Step) -> Result<(), Over> {
        match step {
            Step::Append(values, sync) => self.append(journal, values, *sync).await?,
            Step::Sync => self.held.durable = journal.sync().await?.0,
            Step::Idle => journal.seal_idle().await?,
            Step::Rotate => {
                journal.rotate().await?;
                self.held.durable = journal.durable_lsn().0;
            }
            Step::Chores(count) => {
                for _ in 0..*count {
                    let Some(chore) = journal.plan() else { break };
                    let done = chore.run().await;
                    journal.install(done).await?;
                }
            }
            Step::Drop => self.drop_one(journal).await?,
            Step::Compact(count) => self.compact(journal, *count).await?,
            Step::Die => {}
        }
        match journal.invariants() {
            Ok(()) => Ok(()),
            Err(broken) => Err(Over::Wrong(Verdict::violated("damage", broken, "in a life"))),
        }
    }

    async fn append(
        &mut self,
        journal: &mut Journal<Still>,
        values: &[(usize, bool)],
        sync: Sync,
    ) -> Result<(), JournalError> {
        let active = journal.segments().filter(|one| !one.is_sealed).map(|one| one.id).last();
        let mut frame = journal.frame();
        let mut issued = Vec::new();
        for (len, holds_a_journal) in values {
            let version = frame.next_lsn().0;
            let mut value = value(version, self.salt, *len);
            if *holds_a_journal && issued.is_empty() {
                hold_a_journal(&mut value, active.unwrap_or(SegmentId(1)));
            }
            let record = Record {
                group: GROUP,
                kind: RecordKind::Put,
                version: Version(version),
                term: Term(0),
                expires_ms: None,
                origin: Origin::State,
                key: &version.to_be_bytes(),
                value: &value,
            };
            if frame.push(&record).is_err() {
                break;
            }
            issued.push((version, value));
        }
        self.held.issued.extend(issued);
        let persisted = journal.append(frame, sync).await?;
        if persisted.is_durable {
            self.held.durable = persisted.last.0;
        }
        Ok(())
    }

    async fn drop_one(&mut self, journal: &mut Journal<Still>) -> Result<(), JournalError> {
        let Some(info) = journal.segments().find(|info| info.is_sealed) else { return Ok(()) };
        let Some(source) = journal.hint_source(info.id) else { return Ok(()) };
        let Ok(hints) = source.load().await else { return Ok(()) };
        self.held.maybe_dropped = hints.iter().map(|hint| hint.version.0).collect();
        journal.edit(ManifestEdit { drop: vec![info.id], ..ManifestEdit::default() }).await?;
        self.held.dropped.append(&mut self.held.maybe_dropped);
        Ok(())
    }

    /// Sealed segments become one data segment, in one edit.
    async fn compact(&mut self, journal: &mut Journal<Still>, count: usize) -> Result<(), Over> {
        let sealed = journal.segments().filter(|info| info.is_sealed).map(|info| info.id);
        let victims: Vec<SegmentId> = sealed.take(count).collect();
        let files = journal.files();
        let mut keep = Vec::new();
        for source in victims.iter().filter_map(|id| journal.hint_source(*id)) {
            let Ok(hints) = source.load().await else { return Ok(()) };
            keep.extend(hints.iter().map(|hint| (hint.version, hint.loc)));
        }
        keep.sort_unstable();
        if keep.is_empty() {
            return Ok(());
        }
        let mut writer = journal.data_writer(Claim::Moving);
        for (version, loc) in keep {
            let key = version.0.to_be_bytes();
            let expect = Expect { group: GROUP, key: &key, version };
            let Ok(record) = files.read(loc, expect).await else { return Ok(()) };
            if writer.push_raw(&record).await.is_err() {
                return Ok(());
            }
        }
        let Ok(data) = writer.finish().await else { return Ok(()) };
        let (add, drop) = (vec![data], victims);
        journal.edit(ManifestEdit { add, drop, ..ManifestEdit::default() }).await?;
        Ok(())
    }
}

impl Held {
    /// A life goes on from what was found: what was cut may be written anew, with other bytes.
    fn settle(&mut self, report: &OpenReport, found: &Found) {
        let last = report.last_lsn.0;
        self.issued.split_off(&(last + 1));
        self.durable = last;
        let gone = std::mem::take(&mut self.maybe_dropped);
        self.dropped.extend(gone.into_iter().filter(|version| !found.contains_key(version)));
    }
}

/// Opens a disk and reads every record that the hints name.
fn look(
    still: &Still,
    options: JournalOptions,
) -> Result<(Journal<Still>, OpenReport, Found), OpenError> {
    still.block_on(async {
        let (journal, recovered) = Journal::open(still, options).await?;
        let found = read_all(&journal, &recovered.segments).await;
        Ok((journal, recovered.report, found))
    })
}

async fn read_all(journal: &Journal<Still>, segments: &[SegmentHints]) -> Found {
    let files = journal.files();
    let mut found = Found::new();
    for hint in segments.iter().flat_map(SegmentHints::iter) {
        let expect = Expect { group: GROUP, key: hint.key, version: hint.version };
        let read = files.read(hint.loc, expect).await;
        let read = read.map(|record| record.value().to_vec()).map_err(|why| why.to_string());
        found.entry(hint.version.0).or_default().push(read);
    }
    found
}

/// One disk, struck.
struct Struck<'a> {
    plan: &'a Plan,
    atlas: &'a Atlas,
    held: &'a Held,
    /// It was closed in order.
    closed: bool,
}

impl Struck<'_> {
    fn judge(&self, disk: &Platter, hits: &Hits, foreign: bool) -> Verdict {
        let case = Case { atlas: self.atlas, hits, held: self.held, foreign };
        let still = Still::with_seed(disk.clone(), 1 << 40);
        let before = disk.fingerprint();
        match look(&still, self.plan.options) {
            Ok((journal, report, found)) => opened(&case, &report, &found, false)
                .and(|| self.promptly(hits, &report))
                .and(|| scrubbed(&case, &scrub_all(&still, journal))),
            Err(error) => refused(&case, &error)
                .and(|| unchanged(&still, before))
                .and(|| self.accept(&case, disk, &error)),
        }
    }

    /// The device never made the manifest's last edit, which it had acknowledged.
    fn without_the_last_edit(&self, disk: &Platter) -> Result<(), Verdict> {
        let mut copy = disk.clone();
        forget_last_edit(&mut copy, self.atlas);
        let hits = self.atlas.hits(disk, &copy);
        held(self.judge(&copy, &hits, false), "the last edit was never made")
    }

    /// What was closed in order is opened without walking.
    fn promptly(&self, hits: &Hits, report: &OpenReport) -> Verdict {
        if self.closed && hits.is_empty() && (!report.clean || report.segments_walked > 0) {
            let symptom = "a store that was closed in order is searched like one that crashed";
            return Verdict::violated("damage", symptom, format!("{report:?}"));
        }
        Verdict::Holds
    }

    /// Who accepts a loss loses no more than that, and need not accept it again.
    fn accept(&self, case: &Case<'_>, disk: &Platter, error: &OpenError) -> Verdict {
        if !matches!(error, OpenError::Corrupt { .. }) {
            return Verdict::Holds;
        }
        mark!("damage subject: a loss was accepted");
        let all = JournalOptions { accept_rot: true, accept_tail_loss: true, ..self.plan.options };
        let still = Still::with_seed(disk.clone(), 2 << 40);
        let (journal, report, found) = match look(&still, all) {
            Ok(looked) => looked,
            // No option makes another store's file ours.
            Err(OpenError::OtherNode { .. }) if case.foreign => return Verdict::Holds,
            Err(again) => {
                let symptom = "a loss was accepted, and the directory is refused again";
                return Verdict::violated("damage", symptom, format!("{error}\n{again}"));
            }
        };
        drop(journal);
        opened(case, &report, &found, true).and(|| {
            let next = still.after_death(3 << 40);
            match look(&next, self.plan.options) {
                Ok((_, _, later)) if later.keys().eq(found.keys()) => Verdict::Holds,
                Ok((_, report, later)) => Verdict::violated(
                    "damage",
                    "after an accepted loss other records are there than before",
                    format!("{:?}\n{:?}\n{report:?}", found.keys(), later.keys()),
                ),
                Err(again) => Verdict::violated(
                    "damage",
                    "a loss that was accepted is refused at the next opening",
                    format!("{error}\n{again}"),
                ),
            }
        })
    }
}

fn unchanged(still: &Still, before: u64) -> Verdict {
    // The lock file is there now; nothing else may be.
    let mut disk = still.platter().clone();
    disk.process_death();
    if disk.fingerprint() == before {
        return Verdict::Holds;
    }
    Verdict::violated("damage", "a refused directory was changed", "its fingerprint is another")
}

fn scrub_all(still: &Still, mut journal: Journal<Still>) -> Vec<Scrubbed> {
    let sealed = journal.segments().filter(|one| one.is_sealed).map(|one| one.id);
    let sealed: Vec<SegmentId> = sealed.collect();
    still.block_on(async {
        let mut scrubs = Vec::new();
        for id in sealed {
            let Some(chore) = journal.plan_scrub(id) else { continue };
            let done = chore.run().await;
            if let Ok(Installed::Scrubbed(report)) = journal.install(done).await {
                let (damages, edges) = (report.damages.len(), report.edges.len());
                scrubs.push(Scrubbed { segment: id, damages, edges });
            }
        }
        scrubs
    })
}

/// What a life of this seed came to.
fn live(seed: u64, plan: &Plan, luck: &mut Luck, strikes: bool) -> Result<Vec<String>, Verdict> {
    let life = |disk: Platter, salt, number: u64, held| {
        Life::new(disk, plan, salt, (seed << 16) + (number << 12), held)
    };
    let wrong = |over| match over {
        Over::Wrong(verdict) => Err(verdict),
        Over::Dark => Ok(()),
    };
    let mut past = life(Platter::default(), 0, 1, Held::default());
    past.run(&plan.past, true).or_else(wrong)?;
    let begin = past.still.after_death(0).platter().clone();
    let mut fork = life(begin.clone(), 1, 2, past.held.clone());
    fork.run(&plan.present, false).or_else(wrong)?;
    let mut stranger = life(Platter::default(), 2, 3, Held::default());
    stranger.run(&plan.past, true).or_else(wrong)?;
    stranger.run(&plan.present, false).or_else(wrong)?;

    let mut ours = begin.clone();
    if let Some(hundredths) = plan.crash {
        let operations = fork.still.platter().op_count() - begin.op_count();
        ours.crash_at(begin.op_count() + operations * hundredths / 100);
    }
    let mut ours = life(ours, 0, 4, past.held);
    let closed = match ours.run(&plan.present, plan.closes) {
        Ok(()) => plan.closes,
        Err(Over::Dark) => false,
        Err(Over::Wrong(verdict)) => return Err(verdict),
    };
    let mut disk = ours.still.platter().clone();
    disk.power_loss(luck);
    let Some(atlas) = Atlas::of(&disk) else { return Ok(Vec::new()) };
    let struck = Struck { plan, atlas: &atlas, held: &ours.held, closed };
    held(struck.judge(&disk, &Hits::default(), false), "nothing was hit")?;
    let (fork, stranger) = (fork.still.platter().clone(), stranger.still.platter().clone());
    let sources =
        Sources { earlier: &ours.earlier, timeline: Some(&fork), foreign: Some(&stranger) };
    let mut told = vec![format!("{:016x}", disk.fingerprint())];
    for _ in 0..if strikes { BLOWS } else { 0 } {
        let mut copy = disk.clone();
        let blows: Vec<(Blow, String)> = (0..1 + luck.range(0..4) / 3)
            .filter_map(|_| strike(luck, &mut copy, &atlas, &sources))
            .collect();
        let hits = atlas.hits(&disk, &copy);
        // A frame of another timeline shows only by what stands before and behind it, a file that
        // holds another's bytes is enough, and a lost edit has one witness left: the file itself.
        let is_edit = |part: &usize| {
            atlas.parts[*part].segment.is_some_and(|(kind, _)| kind == SegmentKind::Manifest)
        };
        let alone = blows.len() == 1
            || (blows.iter().all(|(blow, _)| !matches!(blow, Blow::Timeline | Blow::Reborn))
                && !hits.parts.iter().any(is_edit));
        // What was on its way when the power went may have been whole before: stale is newer then.
        let is_free = |part: &usize| matches!(atlas.parts[*part].what, What::Blank | What::Remains);
        let revived =
            hits.parts.iter().any(is_free) && blows.iter().any(|(blow, _)| *blow == Blow::Stale);
        // Strange sectors over the last frames, or two blows to them, may look like a write that was
        // cut within a sector; and a manifest as it was before knows nothing of later files.
        let case = Case { atlas: &atlas, hits: &hits, held: &ours.held, foreign: false };
        let is_strange = blows
            .iter()
            .any(|(blow, _)| matches!(blow, Blow::Misdirect | Blow::Noise | Blow::Stale));
        let at_the_end = case.unproven(false).is_some();
        let is_limit = (at_the_end && (is_strange || blows.len() > 1))
            || (is_strange && hits.parts.iter().any(is_edit));
        if hits.is_empty() || !alone || revived || is_limit {
            continue;
        }
        let foreign = blows.iter().any(|(blow, _)| *blow == Blow::Foreign);
        let story = format!("{blows:?}");
        held(struck.judge(&copy, &hits, foreign), &story)?;
        told.push(story);
    }
    if strikes {
        struck.without_the_last_edit(&disk)?;
    }
    Ok(told)
}

/// Adds what was done to what came of it.
fn held(verdict: Verdict, story: &str) -> Result<(), Verdict> {
    match verdict {
        Verdict::Holds => Ok(()),
        Verdict::Violated(mut told) => {
            told.evidence = format!("{story}\n{}", told.evidence);
            Err(Verdict::Violated(told))
        }
        unknown @ Verdict::Unknown(_) => Err(unknown),
    }
}

/// Runs one life and strikes its disk.
#[must_use]
pub fn run(_scenario: &Scenario, request: &Request, drawn: &Drawn) -> (World, Evidence) {
    let planted = request.mutant.iter().cloned().collect();
    let mut world = World::new(request.seed, WorldOptions { planted, ..WorldOptions::default() });
    let mut luck = Luck::new(request.seed, Domain::Named("damage subject"));
    let steps = u64::from(drawn.shape.operations);
    let plan = Plan::draw(&mut luck, steps, drawn.value_bytes);
    let strikes = drawn.families.contains(&Family::DiskDamage);
    let lived = {
        let _here = world.ledger().enter();
        live(request.seed, &plan, &mut luck, strikes)
    };
    let verdict = match lived {
        Ok(told) => {
            told.into_iter().for_each(|line| world.note(|| line));
            Verdict::Holds
        }
        Err(verdict) => verdict,
    };
    (world, Evidence { store: Some(verdict), ..Evidence::default() })
}
