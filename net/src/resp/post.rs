//! The post of a node: who has subscribed to what, and what waits for him.
//!
//! ```text
//!   PUBLISH ─┬─► this node's subscribers: a shelf each ─► their connections
//!            └─► every other node that can be reached, once ─► its subscribers
//! ```
//! A message reaches a subscriber at most once: nothing is kept, nothing is sent again, and who is
//! not there misses it. Messages of one connection come in their order, as long as the connection
//! between the two nodes lasts.
//! A subscriber that does not read is ended when his shelf is full, as Redis does: to leave some out
//! without a word would be worse. The same happens when all shelves together are full and his holds
//! more than a little. A text that waits for many is there once, and counts once.
//!
//! Not here: how a message gets to other nodes (`client`, `peer/callers.rs`), the commands
//! (`subscribe.rs`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::{BufMut, Bytes, BytesMut};
use trilith_engine::{codec::Reader, mark, planted, runtime::Task};

use super::glob::Match;
use crate::{
    held::{Part, Total},
    limits::{
        GLOB_STEPS, PORT_BYTES_FREE, POST_BYTES_MAX, POST_SHELF_BYTES, RESP_ANSWER_BYTES,
        RESP_READ_BYTES_MAX, RESP_WORD_COST_BYTES,
    },
};

/// What somebody subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// A channel.
    Channel,
    /// All channels whose names fit a pattern.
    Pattern,
    /// A channel of those that are sharded: they are names apart, and nothing else here.
    Shard,
}

/// Something that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// To a channel, or to a sharded one.
    pub is_sharded: bool,
    /// The channel.
    pub channel: Bytes,
    /// What was said.
    pub text: Bytes,
}

/// A message as one subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What he has subscribed to.
    pub room: Room,
    /// The pattern that fits, if it is one.
    pub pattern: Option<Bytes>,
    /// The channel.
    pub channel: Bytes,
    /// What was said.
    pub text: Bytes,
}

impl Message {
    /// What is sent to other nodes for it.
    pub fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.is_sharded.into());
        out.put_slice(&[0; 3]);
        out.put_u32_le(self.channel.len() as u32);
        out.put_slice(&self.channel);
        out.put_slice(&self.text);
    }

    /// What those bytes say; nothing when they are no message.
    #[must_use]
    pub fn take(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let is_sharded = match reader.u8().ok()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        if reader.array::<3>().ok()? != [0; 3] && !planted!("resp_strange_message_taken") {
            return None;
        }
        let length = reader.u32().ok()? as usize;
        let begin: usize = 8;
        let end = begin.checked_add(length).filter(|end| *end <= body.len())?;
        // Apart from what came together with it: it may wait for long.
        let apart = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        Some(Self { is_sharded, channel: apart(&body[begin..end]), text: apart(&body[end..]) })
    }
}

/// A letter that waits, with its part of what all shelves hold.
#[derive(Debug)]
struct Waits {
    letter: Letter,
    _place: Part,
    /// Of all that wait with the same text.
    _text: Arc<Part>,
}

/// A message on its way to this node's subscribers.
struct Round<'a> {
    message: &'a Message,
    /// How far the look through patterns has come.
    place: Place,
    heard: usize,
    /// What its text takes of the shelves, since it lies on the first of them.
    text: Option<Arc<Part>>,
}

impl<'a> Round<'a> {
    const fn new(message: &'a Message) -> Self {
        Self { message, place: None, heard: 0, text: None }
    }

    /// What it takes on one more shelf.
    fn parts(&mut self, of: &Total) -> (Part, Arc<Part>) {
        let Message { channel, text, .. } = self.message;
        let whole = || Arc::new(of.part(channel.len() + text.len()));
        (of.part(RESP_WORD_COST_BYTES), Arc::clone(self.text.get_or_insert_with(whole)))
    }
}

/// What a connection has subscribed to, and what waits for it.
#[derive(Debug, Default)]
struct Shelf {
    names: BTreeMap<Room, BTreeSet<Bytes>>,
    names_bytes: usize,
    waiting: VecDeque<Waits>,
    bytes: usize,
    /// It had no room for something, and has got nothing since.
    is_full: bool,
    waker: Option<Waker>,
}

impl Shelf {
    fn put(&mut self, letter: Letter, round: &mut Round<'_>, shelves: &mut Shelves) {
        let meter = &mut shelves.meter;
        self.bytes += cost(&letter);
        let (place, text) = round.parts(&shelves.held);
        let is_much = self.bytes > PORT_BYTES_FREE && !planted!("resp_shelves_of_all_unbounded");
        let has_room = self.bytes <= POST_SHELF_BYTES && !(is_much && shelves.held.is_over());
        if !self.is_full && has_room {
            meter.delivered += 1;
            self.waiting.push_back(Waits { letter, _place: place, _text: text });
        } else {
            mark!("resp: a subscriber did not read");
            meter.overflows += u64::from(!self.is_full);
            // He gets nothing of what waits either: he is to be ended.
            meter.lost += 1 + self.waiting.len() as u64;
            self.waiting.clear();
            self.is_full = true;
        }
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    fn count(&self, room: Room) -> usize {
        self.names.get(&room).map_or(0, BTreeSet::len)
    }
}

fn cost(letter: &Letter) -> usize {
    letter.channel.len() + letter.text.len() + RESP_WORD_COST_BYTES
}

/// Names, and who has subscribed to each.
type Names = BTreeMap<Bytes, BTreeSet<u64>>;

/// What a post has seen in this life, and who there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostMeter {
    /// Connections that have subscribed to something.
    pub subscribers: usize,
    /// Messages that were put before subscribers.
    pub delivered: u64,
    /// Subscribers who did not read until nothing more could be put there.
    pub overflows: u64,
    /// Messages that did not reach a subscriber, once for each: there was no room for them, or they
    /// waited for somebody who went.
    pub lost: u64,
}

/// What all shelves have in common.
#[derive(Debug)]
struct Shelves {
    meter: PostMeter,
    held: Total,
}

#[derive(Debug)]
struct Known {
    rooms: BTreeMap<Room, Names>,
    shelves: BTreeMap<u64, Shelf>,
    all: Shelves,
}

impl Known {
    fn new(held: Total) -> Self {
        let all = Shelves { meter: PostMeter::default(), held };
        Self { rooms: BTreeMap::new(), shelves: BTreeMap::new(), all }
    }

    /// Gives a message to some.
    fn put<'a>(
        (shelves, all): (&mut BTreeMap<u64, Shelf>, &mut Shelves),
        numbers: impl Iterator<Item = &'a u64>,
        letter: &Letter,
        round: &mut Round<'_>,
    ) {
        for number in numbers {
            if let Some(of) = shelves.get_mut(number) {
                of.put(letter.clone(), round, all);
                round.heard += 1;
            }
        }
    }
}

/// How far a look through names has come: at which, and how far with that one.
type Place = Option<(Bytes, Match)>;

/// The subscribers of one node.
#[derive(Debug)]
pub struct Post(Mutex<Known>);

impl Default for Post {
    fn default() -> Self {
        Self::new(Total::new(POST_BYTES_MAX))
    }
}

/// More names than may be told at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// A subscriber's shelf was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Post {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One whose shelves hold so much together.
    pub(crate) fn new(held: Total) -> Self {
        Self(Mutex::new(Known::new(held)))
    }

    /// Gives a message to this node's subscribers. How many there are. Others go on meanwhile when
    /// there are many patterns, or long ones.
    pub async fn deliver<T: Task>(&self, task: &T, message: &Message) -> usize {
        let mut round = Round::new(message);
        self.deliver_named(&mut round);
        while !message.is_sharded && !self.deliver_some(&mut round) {
            task.yield_now().await;
        }
        round.heard
    }

    /// To those who have subscribed to the channel by its name.
    fn deliver_named(&self, round: &mut Round<'_>) {
        let mut known = self.lock();
        let Known { rooms, shelves, all } = &mut *known;
        let Message { is_sharded, channel, text } = round.message;
        let room = if *is_sharded { Room::Shard } else { Room::Channel };
        let named = rooms.get(&room).and_then(|names| names.get(channel));
        let (channel, text) = (channel.clone(), text.clone());
        let letter = Letter { room, pattern: None, channel, text };
        Known::put((shelves, all), named.into_iter().flatten(), &letter, round);
    }

    /// To those who have subscribed to some of the patterns. Whether that was all of them.
    fn deliver_some(&self, round: &mut Round<'_>) -> bool {
        let mut known = self.lock();
        let Known { rooms, shelves, all } = &mut *known;
        let Some(names) = rooms.get(&Room::Pattern) else { return true };
        let (message, mut place) = (round.message, round.place.take());
        let is_over = look(names, &mut place, |(pattern, numbers), begun, steps| {
            if begun.goes_on(pattern, &message.channel, steps)? {
                let (room, pattern) = (Room::Pattern, Some(pattern.clone()));
                let (channel, text) = (message.channel.clone(), message.text.clone());
                let letter = Letter { room, pattern, channel, text };
                Known::put((&mut *shelves, &mut *all), numbers.iter(), &letter, round);
            }
            Some(())
        });
        round.place = place;
        is_over
    }

    /// What it has seen, and who there is.
    #[must_use]
    pub fn meter(&self) -> PostMeter {
        let known = self.lock();
        let has_any = |shelf: &&Shelf| shelf.names.values().any(|names| !names.is_empty());
        PostMeter { subscribers: known.shelves.values().filter(has_any).count(), ..known.all.meter }
    }

    /// A connection subscribes.
    pub(super) fn enter(&self, number: u64, room: Room, name: Bytes) {
        let mut known = self.lock();
        let of = known.shelves.entry(number).or_default();
        if of.names.entry(room).or_default().insert(name.clone()) {
            of.names_bytes += name.len();
        }
        known.rooms.entry(room).or_default().entry(name).or_default().insert(number);
    }

    /// It does not want it any more.
    pub(super) fn leave(&self, number: u64, room: Room, name: &[u8]) {
        let mut known = self.lock();
        let Known { rooms, shelves, .. } = &mut *known;
        if let Some(of) = shelves.get_mut(&number)
            && of.names.get_mut(&room).is_some_and(|names| names.remove(name))
        {
            of.names_bytes -= name.len();
        }
        forget(rooms, room, name, number);
    }

    /// It is gone, or wants nothing more.
    pub(super) fn leave_all(&self, number: u64) {
        let mut known = self.lock();
        let Known { rooms, shelves, all } = &mut *known;
        let Some(of) = shelves.remove(&number) else { return };
        all.meter.lost += of.waiting.len() as u64;
        for (room, names) in of.names {
            names.iter().for_each(|name| forget(rooms, room, name, number));
        }
    }

    /// What it has subscribed to, of one kind.
    pub(super) fn names(&self, number: u64, room: Room) -> Vec<Bytes> {
        let known = self.lock();
        let names = known.shelves.get(&number).and_then(|of| of.names.get(&room));
        names.into_iter().flatten().cloned().collect()
    }

    /// How many names that are, of all kinds, and how many bytes they have.
    pub(super) fn held(&self, number: u64) -> (usize, usize) {
        let known = self.lock();
        let of = known.shelves.get(&number);
        of.map_or((0, 0), |of| (of.names.values().map(BTreeSet::len).sum(), of.names_bytes))
    }

    /// How many channels, patterns and sharded channels that is.
    pub(super) fn counts(&self, number: u64) -> [usize; 3] {
        let known = self.lock();
        let of = known.shelves.get(&number);
        [Room::Channel, Room::Pattern, Room::Shard].map(|room| of.map_or(0, |of| of.count(room)))
    }

    /// The channels that have subscribers and fit a pattern.
    ///
    /// # Errors
    /// When they are too many.
    pub(super) async fn channels<T: Task>(
        &self,
        task: &T,
        room: Room,
        pattern: &[u8],
    ) -> Result<Vec<Bytes>, TooMany> {
        let (mut found, mut bytes, mut place) = (Vec::new(), 0, None);
        let mut is_over = false;
        while !is_over {
            is_over = self.lock().rooms.get(&room).is_none_or(|names| {
                look(names, &mut place, |(name, _), begun, steps| {
                    if bytes <= RESP_READ_BYTES_MAX && begun.goes_on(pattern, name, steps)? {
                        bytes += name.len() + RESP_WORD_COST_BYTES;
                        found.push(name.clone());
                    }
                    Some(())
                })
            });
            if bytes > RESP_READ_BYTES_MAX {
                return Err(TooMany);
            }
            if !is_over {
                task.yield_now().await;
            }
        }
        Ok(found)
    }

    /// How many have subscribed to that.
    pub(super) fn subscribers(&self, room: Room, name: &[u8]) -> usize {
        self.lock().rooms.get(&room).and_then(|names| names.get(name)).map_or(0, BTreeSet::len)
    }

    /// How many patterns there are.
    pub(super) fn patterns(&self) -> usize {
        self.lock().rooms.get(&Room::Pattern).map_or(0, BTreeMap::len)
    }

    /// Waits until something waits for a connection, or its shelf was full.
    pub(super) async fn arrives(&self, number: u64) {
        poll_fn(|context| {
            let mut known = self.lock();
            let Some(of) = known.shelves.get_mut(&number) else { return Poll::Pending };
            if of.is_full || !of.waiting.is_empty() {
                return Poll::Ready(());
            }
            of.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// What waits for a connection, as much as is written at a time.
    ///
    /// # Errors
    /// When something had no room: it is to be ended.
    pub(super) fn take(&self, number: u64) -> Result<Vec<Letter>, Full> {
        let mut known = self.lock();
        let Some(of) = known.shelves.get_mut(&number) else { return Ok(Vec::new()) };
        if of.is_full {
            return Err(Full);
        }
        let (mut letters, mut bytes) = (Vec::new(), 0);
        while bytes < RESP_ANSWER_BYTES
            && let Some(Waits { letter, .. }) = of.waiting.pop_front()
        {
            bytes += cost(&letter);
            letters.push(letter);
        }
        of.bytes -= bytes.min(of.bytes);
        Ok(letters)
    }

    /// Waits until a connection's shelf was full.
    pub(super) async fn overflows(&self, number: u64) {
        poll_fn(|context| {
            let mut known = self.lock();
            let Some(of) = known.shelves.get_mut(&number) else { return Poll::Pending };
            if of.is_full {
                return Poll::Ready(());
            }
            of.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Looks at names from that place on, until some steps are used up. Whether it came to the end.
fn look(
    names: &Names,
    place: &mut Place,
    mut at: impl FnMut((&Bytes, &BTreeSet<u64>), &mut Match, &mut usize) -> Option<()>,
) -> bool {
    let mut begun = place.take();
    let from = begun.as_ref().map_or(Bound::Unbounded, |(name, _)| Bound::Included(name.clone()));
    let mut steps = GLOB_STEPS;
    for (name, numbers) in names.range((from, Bound::Unbounded)) {
        // It may have gone meanwhile: then the next one is looked at from its beginning.
        let begun = begun.take().filter(|(begun, _)| begun == name);
        let mut begun = begun.map_or_else(Match::default, |(_, begun)| begun);
        if at((name, numbers), &mut begun, &mut steps).is_none() {
            *place = Some((name.clone(), begun));
            return false;
        }
    }
    true
}

/// A name without subscribers is no name.
fn forget(rooms: &mut BTreeMap<Room, Names>, room: Room, name: &[u8], number: u64) {
    let Some(names) = rooms.get_mut(&room) else { return };
    let Some(subscribers) = names.get_mut(name) else { return };
    subscribers.remove(&number);
    if subscribers.is_empty() {
        names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &'static str, text: &'static str) -> Message {
        Message { is_sharded: false, channel: channel.into(), text: text.into() }
    }

    /// The same, in one go.
    fn deliver(post: &Post, message: &Message) -> usize {
        let mut round = Round::new(message);
        post.deliver_named(&mut round);
        while !message.is_sharded && !post.deliver_some(&mut round) {}
        round.heard
    }

    fn told(post: &Post, number: u64) -> Vec<String> {
        let letters = post.take(number).unwrap().into_iter();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let shown = letters.map(|letter| {
            let pattern = letter.pattern.as_ref().map_or_else(String::new, text);
            format!("{pattern}:{}:{}", text(&letter.channel), text(&letter.text))
        });
        shown.collect()
    }

    #[test]
    fn a_message_reaches_whoever_has_subscribed_once_for_each_name() {
        let post = Post::default();
        post.enter(1, Room::Channel, "news".into());
        post.enter(1, Room::Pattern, "n*".into());
        post.enter(2, Room::Pattern, "n*".into());
        post.enter(3, Room::Shard, "news".into());
        assert_eq!(deliver(&post, &message("news", "a")), 3);
        assert_eq!(deliver(&post, &message("no", "b")), 2);
        assert_eq!(deliver(&post, &message("other", "c")), 0);
        assert_eq!(told(&post, 1), [":news:a", "n*:news:a", "n*:no:b"]);
        assert_eq!(told(&post, 2), ["n*:news:a", "n*:no:b"]);
        assert_eq!(told(&post, 3), [""; 0]);
        let sharded = Message { is_sharded: true, ..message("news", "d") };
        assert_eq!(deliver(&post, &sharded), 1);
        assert_eq!(told(&post, 3), [":news:d"]);
        assert_eq!((post.counts(1), post.patterns()), ([1, 1, 0], 1));
        assert_eq!(post.held(1), (2, 6));
        post.leave(1, Room::Channel, b"news");
        post.leave_all(2);
        assert_eq!(deliver(&post, &message("news", "e")), 1);
        assert_eq!((post.counts(1), post.counts(2)), ([0, 1, 0], [0; 3]));
        assert_eq!(post.subscribers(Room::Channel, b"news"), 0);
        let is_left = post.lock().rooms.get(&Room::Channel).is_some_and(|names| !names.is_empty());
        assert!(!is_left, "nobody is left in it");
    }

    #[test]
    fn a_message_that_many_patterns_are_looked_for_pauses() {
        let post = Post::default();
        let slow = |nth: u32| Bytes::from(format!("*{}{nth}", "[^x]".repeat(200)));
        (0..20).for_each(|nth| post.enter(1, Room::Pattern, slow(nth)));
        post.enter(1, Room::Pattern, "a*".into());
        let channel = Bytes::from("a".repeat(1000) + "7");
        let message = Message { is_sharded: false, channel, text: "x".into() };
        let (mut round, mut pauses) = (Round::new(&message), 0);
        while !post.deliver_some(&mut round) {
            // Who comes and goes meanwhile hears it or not; others hear it once.
            post.leave(1, Room::Pattern, &slow(pauses));
            pauses += 1;
        }
        assert!(pauses > 1, "{pauses}");
        assert_eq!(round.heard, if pauses > 7 { 1 } else { 2 }, "{pauses}");
    }

    #[test]
    fn a_shelf_that_nobody_empties_is_full() {
        let post = Post::default();
        post.enter(1, Room::Channel, "a".into());
        let long = Bytes::from(vec![b'x'; 1 << 20]);
        let message = Message { is_sharded: false, channel: "a".into(), text: long };
        let fits = (POST_SHELF_BYTES >> 20) - 1;
        (0..fits).for_each(|_| _ = deliver(&post, &message));
        assert!(post.take(1).is_ok_and(|letters| letters.len() == 1), "one is written at a time");
        // There is room for that one again, and for no more than that.
        (0..3).for_each(|_| _ = deliver(&post, &message));
        assert_eq!(post.take(1), Err(Full));
        let (subscribers, delivered) = (1, fits as u64 + 1);
        // Two had no room, and what waited is lost with them.
        let meter = PostMeter { subscribers, delivered, overflows: 1, lost: 2 + fits as u64 };
        assert_eq!(post.meter(), meter, "who is let go is let go once");
        post.leave_all(1);
        assert_eq!(post.meter(), PostMeter { subscribers: 0, ..meter });
    }

    /// Each shelf had room for itself, and there may be ten thousand.
    #[test]
    fn what_waits_on_all_shelves_is_bounded() {
        let (held, mib) = (Total::new(8 << 20), 1_u64 << 20);
        let post = Post::new(held.clone());
        let long = |channel: &'static str| {
            let text = Bytes::from(vec![b'x'; 1 << 20]);
            Message { is_sharded: false, channel: channel.into(), text }
        };
        (0..100).for_each(|number| post.enter(number, Room::Channel, "all".into()));
        (0..3).for_each(|_| _ = deliver(&post, &long("all")));
        assert!((3 * mib..4 * mib).contains(&held.bytes()), "a text is there once");
        (0..50).for_each(|number| post.leave_all(number));
        assert_eq!(post.meter().lost, 150, "what waited for who went is lost");
        (50..99).for_each(|number| post.leave_all(number));
        post.enter(1, Room::Channel, "one".into());
        post.enter(2, Room::Channel, "little".into());
        (0..10).for_each(|_| _ = deliver(&post, &long("one")));
        assert!(held.bytes() <= 8 * mib, "{}", held.bytes());
        assert_eq!(post.take(1), Err(Full), "who had no room is ended");
        let others = held.part(8 << 20);
        (0..2).for_each(|_| _ = deliver(&post, &message("little", "x")));
        assert_eq!(told(&post, 2).len(), 2, "a little always has room");
        drop(others);
        assert!(post.take(99).is_ok_and(|letters| letters.len() == 1));
        (1..100).for_each(|number| post.leave_all(number));
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn what_is_sent_to_others_is_what_they_read() {
        for is_sharded in [false, true] {
            let mut out = BytesMut::new();
            let sent = Message { is_sharded, ..message("news", "x\r\ny") };
            sent.put(&mut out);
            assert_eq!(Message::take(&out), Some(sent));
            for end in 0..12 {
                assert_eq!(Message::take(&out[..end]), None, "{end} bytes");
            }
        }
        for wrong in [&[2, 0, 0, 0, 0, 0, 0, 0][..], &[0, 1, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Message::take(wrong), None);
        }
        let far = [0, 0, 0, 0, 255, 255, 255, 255];
        assert_eq!(Message::take(&far), None);
    }
}
