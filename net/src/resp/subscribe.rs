//! Subscribing and publishing, as connections ask for it.
//!
//! | what is asked | what is answered |
//! | --- | --- |
//! | SUBSCRIBE a b | for each: `subscribe`, the name, how many channels and patterns it then has |
//! | UNSUBSCRIBE | the same for each that it had; once with nothing when it had none |
//! | PUBLISH a text | how many subscribers at this node heard it; other nodes' are not counted |
//!
//! With RESP2 a connection that has subscribed to something can say little else, because its client
//! could not tell a message from an answer; with RESP3 messages are pushes.
//!
//! Not here: who has subscribed to what (`post.rs`).

use bytes::Bytes;
use trilith_engine::runtime::Runtime;

use super::{
    commands::{Spec, Verb},
    glob,
    hub::Hub,
    post::{Letter, Message, Post, Room, TooMany},
    reply::{Answer, Protocol},
    request::Words,
    scratch::Said,
    session::{Session, TOO_MANY_NAMES},
};
use crate::limits::{
    RESP_CHANNEL_BYTES_MAX, RESP_MESSAGE_BYTES_MAX, RESP_READ_BYTES_MAX,
    RESP_SUBSCRIPTIONS_BYTES_MAX, RESP_SUBSCRIPTIONS_MAX,
};

/// What a letter is called in each kind of room, and coming and going.
const fn names(room: Room) -> [&'static str; 3] {
    match room {
        Room::Channel => ["message", "subscribe", "unsubscribe"],
        Room::Pattern => ["pmessage", "psubscribe", "punsubscribe"],
        Room::Shard => ["smessage", "ssubscribe", "sunsubscribe"],
    }
}

impl Letter {
    /// As its subscriber reads it.
    pub(super) fn write(&self, answer: &mut Answer<'_>) {
        let [name, ..] = names(self.room);
        answer.push(3 + usize::from(self.pattern.is_some()));
        answer.bulk(name.as_bytes());
        self.pattern.iter().for_each(|pattern| answer.bulk(pattern));
        answer.bulk(&self.channel);
        answer.bulk(&self.text);
    }
}

/// The command says which kind of room, and whether it is entered.
const fn room(verb: Verb) -> Option<(Room, bool)> {
    Some(match verb {
        Verb::Subscribe => (Room::Channel, true),
        Verb::Unsubscribe => (Room::Channel, false),
        Verb::Psubscribe => (Room::Pattern, true),
        Verb::Punsubscribe => (Room::Pattern, false),
        Verb::Ssubscribe => (Room::Shard, true),
        Verb::Sunsubscribe => (Room::Shard, false),
        _ => return None,
    })
}

/// Whether a connection that has subscribed can say it with RESP2.
const fn is_for_subscribers(verb: Verb) -> bool {
    room(verb).is_some() || matches!(verb, Verb::Ping | Verb::Quit | Verb::Reset)
}

/// How many things of the same count a connection has subscribed to: sharded channels count apart.
fn count(post: &Post, number: u64, room: Room) -> i64 {
    let [channels, patterns, shards] = post.counts(number);
    (if room == Room::Shard { shards } else { channels + patterns }) as i64
}

impl Session {
    /// What a subscriber may not say.
    pub(super) fn check_subscriber(&self, spec: &Spec) -> Result<(), Said> {
        let is_bound = self.is_subscriber && self.protocol == Protocol::Resp2;
        if !is_bound || is_for_subscribers(spec.verb) {
            return Ok(());
        }
        Err(Said::Error(
            format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
                spec.name
            )
            .into(),
        ))
    }

    /// Does it, if it is about messages.
    pub(super) async fn subscribe<R: Runtime>(
        &mut self,
        hub: &Hub<R>,
        (spec, words): (&'static Spec, &Words),
        answer: &mut Answer<'_>,
    ) -> bool {
        let post = hub.post();
        match (spec.verb, room(spec.verb)) {
            (_, Some((room, true))) => self.enter(post, room, words, answer),
            (_, Some((room, false))) => self.leave(post, room, words, answer),
            (Verb::Publish | Verb::Spublish, _) => self.publish(hub, (spec, words), answer).await,
            (Verb::PubsubChannels | Verb::PubsubShardchannels, _) => {
                let is_plain = spec.verb == Verb::PubsubChannels;
                let room = if is_plain { Room::Channel } else { Room::Shard };
                if words.len() > 3 {
                    answer.error("ERR wrong number of arguments for 'pubsub|channels' command");
                    return true;
                }
                let pattern = if words.len() == 3 { words.get(2) } else { b"*" };
                self.channels(hub, (room, pattern), answer).await;
            }
            (Verb::PubsubNumsub | Verb::PubsubShardnumsub, _) => {
                let is_plain = spec.verb == Verb::PubsubNumsub;
                let room = if is_plain { Room::Channel } else { Room::Shard };
                answer.array((words.len() - 2) * 2);
                for name in words.iter().skip(2) {
                    answer.bulk(name);
                    answer.integer(post.subscribers(room, name) as i64);
                }
            }
            (Verb::PubsubNumpat, _) => answer.integer(post.patterns() as i64),
            _ => return false,
        }
        self.is_subscriber = post.counts(self.number).iter().any(|count| *count > 0);
        true
    }

    fn enter(&mut self, post: &Post, room: Room, words: &Words, answer: &mut Answer<'_>) {
        let (number, watches) = (self.number, self.watches());
        for name in words.iter().skip(1) {
            let is_pattern = room == Room::Pattern;
            if let Err(said) = if is_pattern { glob::check(name) } else { check_channel(name) } {
                said.write(answer);
                continue;
            }
            let (names, bytes) = post.held(number);
            let bytes = bytes + name.len();
            if names >= RESP_SUBSCRIPTIONS_MAX || bytes > RESP_SUBSCRIPTIONS_BYTES_MAX {
                answer.error(&format!(
                    "ERR a connection subscribes to at most {RESP_SUBSCRIPTIONS_MAX} names with \
                     {RESP_SUBSCRIPTIONS_BYTES_MAX} bytes"
                ));
                continue;
            }
            if !self.knows((names + 1, bytes), watches) {
                answer.error(TOO_MANY_NAMES);
                continue;
            }
            post.enter(number, room, Bytes::copy_from_slice(name));
            told(room, 1, Some(name), count(post, number, room), answer);
        }
    }

    fn leave(&mut self, post: &Post, room: Room, words: &Words, answer: &mut Answer<'_>) {
        let number = self.number;
        let named = words.iter().skip(1).map(Bytes::copy_from_slice);
        let names: Vec<Bytes> =
            if words.len() > 1 { named.collect() } else { post.names(number, room) };
        if names.is_empty() {
            told(room, 2, None, count(post, number, room), answer);
        }
        for name in names {
            post.leave(number, room, &name);
            told(room, 2, Some(&name), count(post, number, room), answer);
        }
        let _less_is_always_there = self.knows(post.held(number), self.watches());
    }

    async fn channels<R: Runtime>(
        &self,
        hub: &Hub<R>,
        (room, pattern): (Room, &[u8]),
        answer: &mut Answer<'_>,
    ) {
        if let Err(said) = glob::check(pattern) {
            return said.write(answer);
        }
        match hub.post().channels(hub.runtime().task(), room, pattern).await {
            Ok(found) => {
                answer.array(found.len());
                found.iter().for_each(|name| answer.bulk(name));
            }
            Err(TooMany) => answer.error(&format!(
                "ERR the channels have more than {RESP_READ_BYTES_MAX} bytes: ask with a pattern"
            )),
        }
    }

    async fn publish<R: Runtime>(
        &self,
        hub: &Hub<R>,
        (spec, words): (&'static Spec, &Words),
        answer: &mut Answer<'_>,
    ) {
        let (channel, text) = (words.get(1), words.get(2));
        if let Err(said) = check_channel(channel) {
            return said.write(answer);
        }
        if channel.len() + text.len() > RESP_MESSAGE_BYTES_MAX {
            return answer.error(&format!(
                "ERR a message has at most {RESP_MESSAGE_BYTES_MAX} bytes, with its channel"
            ));
        }
        // Apart from what came together with it: it may wait for long.
        let message = Message {
            is_sharded: spec.verb == Verb::Spublish,
            channel: Bytes::copy_from_slice(channel),
            text: Bytes::copy_from_slice(text),
        };
        let heard = hub.post().deliver(hub.runtime().task(), &message).await;
        hub.front().lane(self.number).spread(|out| message.put(out));
        answer.integer(heard as i64);
    }
}

fn check_channel(name: &[u8]) -> Result<(), Said> {
    if name.len() <= RESP_CHANNEL_BYTES_MAX {
        return Ok(());
    }
    let why = format!("ERR a channel's name has at most {RESP_CHANNEL_BYTES_MAX} bytes");
    Err(Said::Error(why.into()))
}

/// Says that somebody has come or gone.
fn told(room: Room, what: usize, name: Option<&[u8]>, count: i64, answer: &mut Answer<'_>) {
    answer.push(3);
    answer.bulk(names(room)[what].as_bytes());
    answer.option(name);
    answer.integer(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::Total;
    use bytes::BytesMut;
    use std::time::Duration;

    fn session(number: u64, names: &Total) -> Session {
        let from = ([127, 0, 0, 1], 1).into();
        Session::new(number, from, Duration::from_secs(1), None, names)
    }

    /// A connection may subscribe to five megabytes of names, and there may be ten thousand.
    #[test]
    fn names_that_all_have_subscribed_to_are_bounded() {
        let (post, names) = (Post::default(), Total::new(1 << 20));
        let many: String = (0..2000).map(|nth| format!(" {nth:0500}")).collect();
        let many: Words = format!("SUBSCRIBE{many}").split(' ').collect();
        let (mut one, mut other) = (session(1, &names), session(2, &names));
        let enter = |session: &mut Session, words: &Words| {
            let mut out = BytesMut::new();
            session.enter(&post, Room::Channel, words, &mut Answer::new(&mut out, Protocol::Resp2));
            String::from_utf8_lossy(&out).contains("UNAVAILABLE")
        };
        assert!(enter(&mut one, &many), "they do not all fit");
        assert!(names.bytes() > 1 << 19 && names.bytes() <= 1 << 20, "{}", names.bytes());
        assert!(!enter(&mut other, &["SUBSCRIBE", "a", "b"].into_iter().collect()), "a few always");
        assert!(enter(&mut other, &many));
        let mut out = BytesMut::new();
        let answer = &mut Answer::new(&mut out, Protocol::Resp2);
        one.leave(&post, Room::Channel, &["UNSUBSCRIBE"].into_iter().collect(), answer);
        assert!(names.bytes() < 4096, "{}", names.bytes());
        assert!(enter(&mut other, &many), "and now as many as fit");
        assert!(names.bytes() > 1 << 19);
        drop(other);
        assert_eq!(names.bytes(), 0);
    }
}
