//! What happened in a world, as things: the same moments that a trace tells in words, kept so that
//! a page can draw them.
//!
//! ```text
//!   lives      a node boots, dies, is held, goes on        all of them
//!   faults     what was done to the world, and until when  all of them
//!   messages   bytes of a connection: sent, arrived, lost  the last MOST of each
//!   links      connections asked for, refused, reset
//!   packets    what a node says to a node, before bytes
//!   disk       operations that change something, failures
//!   stakes     bytes written and not synced, bytes that stay
//!   beliefs    role, term and commit of each replica
//!   words      what programs log, what tests note
//! ```
//! A tape costs nothing while nobody wants one, and neither luck nor digest ever hears of it: a
//! seed that fails is run again with a tape and fails in the same way. Of what happens often only
//! the last is kept, since that is where a run fails; how much was let go is counted.
//!
//! Not here: lines for people (`trace.rs`), the page (`play.rs`).

use std::collections::{BTreeMap, VecDeque};

use crate::fault::FaultKind;

/// How many of each kind of frequent thing are kept: a minute of five nodes under full load is a page
/// of about thirteen megabytes.
pub const MOST: usize = 60_000;
/// What is said at length is cut to so many characters.
const WORDS_MAX: usize = 300;

/// The last of many things.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    kept: VecDeque<T>,
    most: usize,
    dropped: u64,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), most: MOST, dropped: 0 }
    }
}

impl<T> Ring<T> {
    /// Adds one; answers its number, counted from 0 over all there ever were.
    fn push(&mut self, thing: T) -> u64 {
        if self.kept.len() == self.most {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back(thing);
        self.dropped + self.kept.len() as u64 - 1
    }

    /// The one of that number, while it is kept.
    fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.kept.get_mut(usize::try_from(number.checked_sub(self.dropped)?).ok()?)
    }

    /// Those that are kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.kept.iter()
    }

    /// How many were let go.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A life begins.
    Boots,
    /// The process ends by itself.
    Exits,
    /// The process dies, its machine goes on.
    Killed,
    /// The machine goes dark.
    Dark,
    /// The process is asked to end.
    Stops,
    /// The process is held.
    Held,
    /// It goes on.
    GoesOn,
}

impl Change {
    /// As the trace says it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Boots => "boots",
            Self::Exits => "exits",
            Self::Killed => "is killed",
            Self::Dark => "loses its power",
            Self::Stops => "is asked to stop",
            Self::Held => "is held",
            Self::GoesOn => "goes on",
        }
    }
}

/// A node lives or dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When, in nanoseconds since the world began; so in all of these.
    pub at_ns: u64,
    /// Which node, as the world counts them; so in all of these.
    pub node: u32,
    /// Which of its lives.
    pub life: u32,
    /// What becomes of it.
    pub change: Change,
}

/// Something is done to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// When.
    pub at_ns: u64,
    /// What.
    pub what: FaultKind,
    /// When it was taken back; nothing for what ends by itself, or never.
    pub over_ns: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It travels, or waits for a link that carries.
    UnderWay,
    /// It arrived.
    Arrived(u64),
    /// It never will.
    Lost(u64),
}

/// Some bytes of a connection, written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// When they were written.
    pub at_ns: u64,
    /// By which node.
    pub from: u32,
    /// To which.
    pub to: u32,
    /// On which connection.
    pub conn: u32,
    /// How many.
    pub bytes: u32,
    /// Whether they say that no more will come.
    pub is_end: bool,
    /// What became of them.
    pub fate: Fate,
}

/// Something about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// When.
    pub at_ns: u64,
    /// Whose end.
    pub node: u32,
    /// Who is at the other.
    pub peer: u32,
    /// Which connection.
    pub conn: u32,
    /// What: `asks`, `accepts`, `is refused`, `is reset`.
    pub what: &'static str,
}

/// What a node says to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was said: it is on the wire somewhat later, or never.
    pub at_ns: u64,
    /// Who says it.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// What.
    pub text: String,
}

/// Something a disk was asked for, or a failure that it answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// When.
    pub at_ns: u64,
    /// Whose disk.
    pub node: u32,
    /// What.
    pub text: String,
    /// Whether it is a failure.
    pub failed: bool,
}

/// What a power loss could take, and what it could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    /// When.
    pub at_ns: u64,
    /// Whose disk.
    pub node: u32,
    /// Bytes written and not synced, in whole sectors.
    pub pending: u64,
    /// Bytes that have blocks whatever happens, in whole pages.
    pub durable: u64,
}

/// What a replica is, and what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// When.
    pub at_ns: u64,
    /// On which node.
    pub node: u32,
    /// Of which group.
    pub group: u32,
    /// Its role.
    pub role: &'static str,
    /// Its term.
    pub term: u64,
    /// The newest entry that it knows to be committed.
    pub commit: u64,
}

/// Words of a program, or of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// When.
    pub at_ns: u64,
    /// Which node; `None` for the world.
    pub node: Option<u32>,
    /// What.
    pub text: String,
}

/// Everything of a run that a page draws.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// Lives and deaths.
    pub lives: Vec<Life>,
    /// Faults.
    pub faults: Vec<Struck>,
    /// Bytes between nodes.
    pub messages: Ring<Message>,
    /// Connections.
    pub links: Ring<Link>,
    /// Packets.
    pub packets: Ring<Packet>,
    /// Disks.
    pub disk: Ring<Disk>,
    /// What they would lose.
    pub stakes: Ring<Stake>,
    /// Replicas.
    pub beliefs: Ring<Belief>,
    /// Words.
    pub words: Ring<Word>,
    /// The numbers of the messages that are under way, by connection and direction.
    under_way: BTreeMap<(u32, usize), VecDeque<u64>>,
    last_stake: BTreeMap<u32, (u64, u64)>,
    last_belief: BTreeMap<(u32, u32), (&'static str, u64, u64)>,
}

impl Tape {
    /// A fault strikes.
    pub fn strikes(&mut self, at_ns: u64, what: &FaultKind) {
        self.faults.push(Struck { at_ns, what: what.clone(), over_ns: None });
    }

    /// One is taken back: the oldest of its kind that still lasts.
    pub fn over(&mut self, at_ns: u64, what: &FaultKind) {
        let mut lasting = self.faults.iter_mut();
        if let Some(fault) = lasting.find(|one| one.over_ns.is_none() && one.what == *what) {
            fault.over_ns = Some(at_ns);
        }
    }

    /// All are.
    pub fn calm(&mut self, at_ns: u64) {
        self.faults.iter_mut().for_each(|fault| {
            fault.over_ns.get_or_insert(at_ns);
        });
    }

    /// Bytes are on their way in that direction of a connection: one segment.
    pub fn sent(&mut self, dir: usize, message: Message) {
        let (conn, number) = (message.conn, self.messages.push(message));
        self.under_way.entry((conn, dir)).or_default().push_back(number);
    }

    /// The first `count` segments under way arrive.
    pub fn arrived(&mut self, (conn, dir): (u32, usize), count: usize, at_ns: u64) {
        let Some(waiting) = self.under_way.get_mut(&(conn, dir)) else { return };
        for number in waiting.drain(..count.min(waiting.len())) {
            if let Some(message) = self.messages.get_mut(number) {
                message.fate = Fate::Arrived(at_ns);
            }
        }
    }

    /// Only the first `keep` segments under way may still arrive, and no end.
    pub fn cut_off(&mut self, (conn, dir): (u32, usize), keep: usize, at_ns: u64) {
        let Some(waiting) = self.under_way.get_mut(&(conn, dir)) else { return };
        let messages = &mut self.messages;
        let mut at = 0;
        waiting.retain(|number| {
            at += 1;
            let Some(message) = messages.get_mut(*number) else { return at <= keep };
            let stays = at <= keep && !message.is_end;
            if !stays {
                message.fate = Fate::Lost(at_ns);
            }
            stays
        });
    }

    /// Nothing that is under way there arrives.
    pub fn lost(&mut self, at: (u32, usize), at_ns: u64) {
        self.cut_off(at, 0, at_ns);
        self.under_way.remove(&at);
    }

    /// Something about a connection.
    pub fn link(&mut self, link: Link) {
        self.links.push(link);
    }

    /// A node says something to a node.
    pub fn says(&mut self, at_ns: u64, from: u32, to: u32, text: String) {
        self.packets.push(Packet { at_ns, from, to, text });
    }

    /// A disk is asked for something, or fails.
    pub fn disk(&mut self, at_ns: u64, node: u32, text: String, failed: bool) {
        self.disk.push(Disk { at_ns, node, text, failed });
    }

    /// What a disk would lose now and what not; kept when it is not what it was.
    pub fn stake(&mut self, at_ns: u64, node: u32, (pending, durable): (u64, u64)) {
        if self.last_stake.insert(node, (pending, durable)) != Some((pending, durable)) {
            self.stakes.push(Stake { at_ns, node, pending, durable });
        }
    }

    /// What a replica is now; kept when it is not what it was.
    pub fn believes(&mut self, belief: Belief) {
        let Belief { node, group, role, term, commit, .. } = belief;
        let now = (role, term, commit);
        if self.last_belief.insert((node, group), now) != Some(now) {
            self.beliefs.push(belief);
        }
    }

    /// Somebody says something.
    pub fn word(&mut self, at_ns: u64, node: Option<u32>, text: &str) {
        let text = text.trim_end();
        let end = text.char_indices().nth(WORDS_MAX).map_or(text.len(), |(at, _)| at);
        self.words.push(Word { at_ns, node, text: text[..end].to_string() });
    }

    /// What was let go of, by name.
    #[must_use]
    pub fn left_out(&self) -> Vec<(&'static str, u64, u64)> {
        let of =
            |name, dropped: u64, first: Option<u64>| (name, dropped, first.unwrap_or_default());
        let Self { messages, links, packets, disk, stakes, beliefs, words, .. } = self;
        let first = [
            of("messages", messages.dropped, messages.kept.front().map(|one| one.at_ns)),
            of("connections", links.dropped, links.kept.front().map(|one| one.at_ns)),
            of("packets", packets.dropped, packets.kept.front().map(|one| one.at_ns)),
            of("disk operations", disk.dropped, disk.kept.front().map(|one| one.at_ns)),
            of("unsynced bytes", stakes.dropped, stakes.kept.front().map(|one| one.at_ns)),
            of("terms and commits", beliefs.dropped, beliefs.kept.front().map(|one| one.at_ns)),
            of("words", words.dropped, words.kept.front().map(|one| one.at_ns)),
        ];
        first.into_iter().filter(|(_, dropped, _)| *dropped > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at_ns: u64, is_end: bool) -> Message {
        Message { at_ns, from: 0, to: 1, conn: 7, bytes: 10, is_end, fate: Fate::UnderWay }
    }

    fn fates(tape: &Tape) -> Vec<Fate> {
        tape.messages.iter().map(|message| message.fate).collect()
    }

    #[test]
    fn every_message_has_the_fate_of_its_segment() {
        let mut tape = Tape::default();
        for at in 0..4 {
            tape.sent(0, message(at, at == 3));
        }
        tape.sent(1, message(4, false));
        tape.arrived((7, 0), 1, 10);
        // The end is lost with what came last, also where there is room for it.
        tape.cut_off((7, 0), 3, 11);
        tape.arrived((7, 0), 9, 12);
        tape.lost((7, 1), 13);
        let arrived = Fate::Arrived;
        assert_eq!(
            fates(&tape),
            [arrived(10), arrived(12), arrived(12), Fate::Lost(11), Fate::Lost(13)]
        );
        tape.sent(0, message(14, false));
        tape.arrived((7, 0), 1, 15);
        assert_eq!(fates(&tape)[5], Fate::Arrived(15), "the next one on that slot");
    }

    #[test]
    fn only_the_last_of_many_is_kept_and_the_rest_is_counted() {
        let mut tape = Tape::default();
        tape.messages.most = 3;
        for at in 0..5 {
            tape.sent(0, message(at, false));
        }
        tape.arrived((7, 0), 4, 9);
        assert_eq!(fates(&tape), [Fate::Arrived(9), Fate::Arrived(9), Fate::UnderWay]);
        assert_eq!(tape.left_out(), [("messages", 2, 2)]);
    }

    #[test]
    fn what_does_not_change_is_kept_once() {
        let mut tape = Tape::default();
        let belief = Belief { at_ns: 1, node: 0, group: 1, role: "leader", term: 2, commit: 3 };
        tape.believes(belief);
        tape.believes(Belief { at_ns: 2, ..belief });
        tape.believes(Belief { at_ns: 3, commit: 4, ..belief });
        tape.stake(1, 0, (512, 4096));
        tape.stake(2, 0, (512, 4096));
        tape.stake(3, 1, (512, 4096));
        assert_eq!((tape.beliefs.iter().count(), tape.stakes.iter().count()), (2, 2));
    }

    #[test]
    fn a_fault_ends_when_it_is_taken_back_or_all_are() {
        let mut tape = Tape::default();
        let cut = FaultKind::Isolate { node: 1, for_ms: 5 };
        tape.strikes(1, &cut);
        tape.strikes(2, &cut);
        tape.strikes(3, &FaultKind::Rot { node: 0, bits: 1 });
        tape.over(4, &cut);
        tape.calm(9);
        let ends: Vec<_> = tape.faults.iter().map(|fault| fault.over_ns).collect();
        assert_eq!(ends, [Some(4), Some(9), Some(9)]);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let mut tape = Tape::default();
        tape.word(1, None, &"ä".repeat(WORDS_MAX + 5));
        assert_eq!(tape.words.iter().next().map(|word| word.text.len()), Some(2 * WORDS_MAX));
    }
}
