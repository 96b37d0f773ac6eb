//! A client of the cluster that speaks the Redis protocol, at the port where nodes serve it.
//!
//! It asks one node at a time, whichever, and goes to another one when its connection ends. It asks
//! several things in one go, in pieces of any length, with others before and behind them, so that
//! answers must come in their order; and increments in one go must come to ever larger sums. While
//! faults happen it also stops in the middle of requests, leaves, and says what is no request.
//!
//! A compare-and-swap is a GET, a WATCH and another GET, and then what stands between MULTI and
//! EXEC. Only when both have seen the same value was it that value which was watched; then an EXEC
//! that does nothing says that the value is another one. What is swapped for nothing is SET with NX:
//! nothing has no version, so watching it says less. Whoever is refused a WATCH goes on, as programs
//! do that do not wait for the answer, and must be refused.
//!
//! Where there are users it says who it is on each connection, and sometimes asks before it has, says
//! a wrong password, or forgets who it is: it must hear nothing then but that.
//!
//! What names several keys is as many operations of the history, and has one outcome; what is asked
//! of several keys in one go has an outcome each.
//!
//! While faults happen it also walks over all keys, and must meet the one that nobody deletes, once;
//! and it publishes numbers, which all of these clients hear, on a connection of their own: each at
//! most once.
//!
//! Not here: what is asked (`load`), the client of the SDK (`cluster_client`).

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use trilith_engine::{
    always, mark, never,
    runtime::{Clock, Instant, Rng, Runtime, race, timeout},
};

use super::{
    cluster_client::{Setup, key_bytes},
    cluster_guest::{Guest, Line, Lost, Place, USERS, number},
};
use crate::{
    history::{Answer, Call, Key, OpId, Outcome, Value},
    load::{Ask, Planned},
    os::SimRuntime,
};

type Words = Vec<Vec<u8>>;

/// Whoever hears what is published does not try again at once.
const RESTS: Duration = Duration::from_millis(20);
/// The values of one operation are so far from each other, which those of two are not.
const APART: Value = 100_000;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Word(String),
    Error(String),
    Number(i64),
    Bytes(Option<Vec<u8>>),
    Many(Option<Vec<Heard>>),
}

/// What came of a request.
type Told = Result<Heard, Lost>;

/// Runs the client to the end of its plan.
pub(super) async fn run(rt: SimRuntime, place: Place, setup: Setup) {
    let (nodes, users) = (Arc::clone(&place.nodes), place.users);
    let hears = Hears { rt: rt.clone(), luck: rt.rng("hears"), nodes, users };
    let guest = Guest::new(rt, "redis", place, setup);
    let client = Redis { guest, has_counted: false, published: 0, left: 0 };
    race(client.live(), hears.live()).await;
}

struct Redis {
    guest: Guest,
    /// Its own number is there.
    has_counted: bool,
    /// What it published last.
    published: u64,
    /// How many keys of its own it has left, because something may still happen to them.
    left: u64,
}

impl Redis {
    async fn live(mut self) {
        let plan = Arc::clone(&self.guest.setup.plan);
        for planned in plan.iter() {
            self.guest.waits_for(planned).await;
            self.operation(planned).await;
        }
    }

    async fn operation(&mut self, planned: &Planned) {
        if self.guest.is_early() {
            self.beside(planned.ask).await;
        }
        self.guest.calm_down();
        let (key, until) = (planned.key, self.guest.until());
        match planned.ask {
            Ask::Cas(to) => self.cas(key, to, until).await,
            Ask::Incr(by) if self.guest.luck.chance(1, 4) => self.add_alone(key, by, until).await,
            Ask::Incr(by) => self.add(key, by, until).await,
            Ask::Get => self.several(key, |_| Call::Get, until).await,
            Ask::Delete => self.several(key, |_| Call::Delete, until).await,
            Ask::Set(value) => {
                self.several(key, |nth| Call::Set(value + nth * APART), until).await;
            }
        }
    }

    /// What is in no history, while faults happen.
    async fn beside(&mut self, ask: Ask) {
        if self.guest.luck.chance(1, 20) {
            self.mischief(self.guest.until()).await;
        }
        if matches!(ask, Ask::Incr(_)) && self.guest.luck.chance(1, 4) {
            self.count(self.guest.until()).await;
        }
        if self.guest.luck.chance(1, 8) {
            self.walk(self.guest.until()).await;
        }
        if self.guest.luck.chance(1, 4) {
            self.publish(self.guest.until()).await;
        }
        if self.guest.luck.chance(1, 4) {
            self.mixture(self.guest.until()).await;
        }
    }

    fn end(&self, id: OpId, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            mark!("redis: an outcome is unknown");
        }
        self.guest.end(id, outcome);
    }

    /// Notes why something was not done.
    fn because(&self, id: OpId, told: &Told) {
        let why = match told {
            Ok(Heard::Error(text)) => text.as_str(),
            Err(lost) => lost.text(),
            Ok(_) => return,
        };
        self.guest.setup.recorder.because(id, why.to_owned());
    }

    /// One operation of one key, or of several at once.
    async fn several(&mut self, key: Key, call: impl Fn(u64) -> Call, until: Instant) {
        let mut keys = vec![key];
        if self.guest.luck.chance(1, 2) {
            for _ in 0..1 + self.guest.luck.range(0..3) {
                let other =
                    self.guest.luck.range(0..u64::from(self.guest.place.keys.max(1))) as Key;
                if !keys.contains(&other) {
                    keys.push(other);
                }
            }
        }
        let calls: Vec<(Key, Call)> =
            (0..).zip(&keys).map(|(nth, key)| (*key, call(nth))).collect();
        let ids: Vec<OpId> =
            calls.iter().map(|(key, call)| self.guest.begin(*key, *call)).collect();
        let told = if calls.len() > 1 && self.guest.luck.chance(1, 2) {
            let all: Vec<Words> = calls.iter().map(|one| self.words(&[*one])).collect();
            self.ask_all(&all, until).await
        } else {
            let words = self.words(&calls);
            let told = match calls[..] {
                [(key, _)] if key % 3 == 2 => self.explained(words, until).await,
                _ => self.ask(&words, until).await,
            };
            match told {
                // Each key has its own of several values.
                Ok(Heard::Many(Some(all))) => {
                    (0..calls.len()).map(|at| all.get(at).cloned().ok_or(Lost::Unheard)).collect()
                }
                told => vec![told; calls.len()],
            }
        };
        for ((id, (_, call)), told) in ids.into_iter().zip(calls).zip(told) {
            self.because(id, &told);
            self.end(id, outcome(call, told));
        }
    }

    /// What says that.
    fn words(&self, calls: &[(Key, Call)]) -> Words {
        let is_one = calls.len() == 1;
        let name = match calls[0].1 {
            Call::Get if is_one && calls[0].0 % 2 == 1 => "WITH quorum GET",
            Call::Get if is_one => "GET",
            Call::Get => "MGET",
            Call::Delete => "DEL",
            Call::Set(_) | Call::Cas { .. } | Call::Incr(_) if is_one => "SET",
            Call::Set(_) | Call::Cas { .. } | Call::Incr(_) => "MSET",
        };
        let mut words: Words = name.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        for (key, call) in calls {
            words.push(key_bytes(*key).to_vec());
            if let Call::Set(value) = call {
                words.push(self.guest.value(*value));
            }
        }
        words
    }

    /// The same is answered to what is to be explained, with something beside it.
    async fn explained(&mut self, mut words: Words, until: Instant) -> Told {
        words.insert(0, b"EXPLAIN".to_vec());
        match self.ask(&words, until).await {
            Ok(Heard::Many(Some(all))) => {
                let asked = all.iter().position(|one| is_bytes(one, b"asked"));
                let steps = asked.and_then(|asked| all.get(asked + 1));
                let is_told = match steps {
                    Some(Heard::Many(Some(steps))) => {
                        steps.iter().for_each(look_at_phases);
                        !steps.is_empty()
                    }
                    _ => false,
                };
                let answer = all.into_iter().nth(1).ok_or(Lost::Unheard);
                let is_done = !matches!(answer, Ok(Heard::Error(_)));
                always!(is_told || !is_done, "what was done was asked of somebody");
                answer
            }
            told => told,
        }
    }

    /// Increments in one go, of which each comes to more than the one before.
    async fn add(&mut self, key: Key, by: Value, until: Instant) {
        let count = if self.guest.luck.chance(1, 3) { 2 + self.guest.luck.range(0..6) } else { 1 };
        let words = vec![b"INCRBY".to_vec(), key_bytes(key).to_vec(), by.to_string().into_bytes()];
        let all: Vec<Words> = (0..count).map(|_| words.clone()).collect();
        let ids: Vec<OpId> = all.iter().map(|_| self.guest.begin(key, Call::Incr(by))).collect();
        let mut last = None;
        for (id, told) in ids.into_iter().zip(self.ask_all(&all, until).await) {
            if let Ok(Heard::Number(sum)) = told {
                always!(last < Some(sum), "what was asked first was done first");
                last = Some(sum);
            }
            self.because(id, &told);
            self.end(id, outcome(Call::Incr(by), told));
        }
    }

    /// Many increments in one go, of a number of its own that is in no history.
    async fn count(&mut self, until: Instant) {
        let words = vec![b"INCR".to_vec(), self.own()];
        let all = vec![words; 10 + self.guest.luck.range(0..60) as usize];
        let mut last = None;
        for told in self.ask_all(&all, until).await {
            if let Ok(Heard::Number(sum)) = told {
                always!(last < Some(sum), "of many, too, what was asked first was done first");
                last = Some(sum);
                self.has_counted = true;
            }
        }
    }

    /// Different things in one go, with a key that nobody else knows: what is done is done in its order.
    async fn mixture(&mut self, until: Instant) {
        let key = format!("mix{}-{}", self.guest.setup.client, self.left);
        let free = self.guest.luck.range(1..1000);
        let (low, high) = (free.to_string(), (free + 2000).to_string());
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let all: Vec<Words> = vec![
            words(&["SET", &key, &low]),
            words(&["SET", "nobody's", "x"]),
            words(&["INCR", &key]),
            words(&["SET", &key, &high]),
            words(&["GET", "nobody's"]),
            words(&["GET", &key]),
            words(&["STRLEN", &key]),
            words(&["EXISTS", &key, "nowhere"]),
            words(&["TTL", &key]),
        ];
        let told = self.ask_all(&all, until).await;
        let heard = |at: usize| told.get(at).and_then(|told| told.as_ref().ok());
        let is_definite =
            |heard: &Heard| !matches!(heard, Heard::Error(why) if why.starts_with("INDOUBT"));
        if !(0..all.len()).all(|at| heard(at).is_some_and(is_definite)) {
            // Some of it may still happen, whatever is asked of this key afterwards.
            self.left += 1;
            return;
        }
        let done = |at: usize| heard(at) == Some(&Heard::Word("OK".into()));
        let number = |at: usize, known: u64| match heard(at) {
            Some(Heard::Number(number)) => *number == known as i64,
            _ => true,
        };
        if !(done(0) && done(3)) {
            return;
        }
        mark!("redis: different things were done in one go");
        always!(number(2, free + 1), "an increment is done behind what was set before it");
        if let Some(Heard::Bytes(value)) = heard(5) {
            let is_last = value.as_deref() == Some(high.as_bytes());
            always!(is_last, "what was set last is read behind it");
        }
        let (long, is_there) = (number(6, high.len() as u64), number(7, 1));
        always!(long && is_there, "what is read together is read of each key");
    }

    /// The key that is its own, and that nobody deletes.
    fn own(&self) -> Vec<u8> {
        format!("own{}", self.guest.setup.client).into_bytes()
    }

    /// Walks over all keys, some at a time, as long as it is answered.
    async fn walk(&mut self, until: Instant) {
        let (own, is_there) = (self.own(), self.has_counted);
        let (mut cursor, mut met) = (b"0".to_vec(), 0);
        loop {
            let count = (1 + self.guest.luck.range(0..4)).to_string().into_bytes();
            let words = vec![b"SCAN".to_vec(), cursor, b"COUNT".to_vec(), count];
            let Ok(Heard::Many(Some(page))) = self.ask(&words, until).await else { return };
            let [Heard::Bytes(Some(next)), Heard::Many(Some(keys))] = &page[..] else {
                never!(true, "a page is a cursor and keys");
                return;
            };
            let is_own = |key: &&Heard| matches!(key, Heard::Bytes(Some(key)) if *key == own);
            met += keys.iter().filter(is_own).count();
            if next == b"0" {
                mark!("redis: a walk came to its end");
                always!(!is_there || met == 1, "what is there throughout is met once");
                return;
            }
            cursor = next.clone();
        }
    }

    /// Says something to everybody, and nothing twice.
    async fn publish(&mut self, until: Instant) {
        self.published += 1;
        let text = format!("{}:{}", self.guest.setup.client, self.published).into_bytes();
        let words = vec![b"PUBLISH".to_vec(), b"news".to_vec(), text];
        let _heard = self.ask(&words, until).await.is_ok();
    }

    /// An increment between MULTI and EXEC, with something beside it.
    async fn add_alone(&mut self, key: Key, by: Value, until: Instant) {
        let id = self.guest.begin(key, Call::Incr(by));
        let words = vec![b"INCRBY".to_vec(), key_bytes(key).to_vec(), by.to_string().into_bytes()];
        let told = match self.exec(vec![vec![b"PING".to_vec()], words], until).await {
            Ok(Heard::Many(Some(all))) => {
                always!(all.len() == 2, "each command has its answer");
                all.into_iter().nth(1).ok_or(Lost::Unheard)
            }
            told => told,
        };
        self.because(id, &told);
        self.end(id, outcome(Call::Incr(by), told));
    }

    /// What EXEC is answered, with that behind MULTI.
    async fn exec(&mut self, between: Vec<Words>, until: Instant) -> Told {
        let multi = [vec![b"MULTI".to_vec()]].into_iter();
        let all: Vec<Words> = multi.chain(between).chain([vec![b"EXEC".to_vec()]]).collect();
        let told = self.ask_all(&all, until).await;
        told.into_iter().next_back().unwrap_or(Err(Lost::Unsaid))
    }

    /// Sets a value in the place of another one.
    async fn cas(&mut self, key: Key, to: Value, until: Instant) {
        let name = key_bytes(key).to_vec();
        let (get, watch) = ([b"GET".to_vec(), name.clone()], [b"WATCH".to_vec(), name.clone()]);
        let id = self.guest.begin(key, Call::Get);
        let told = self.ask_all(&[get.to_vec(), watch.to_vec(), get.to_vec()], until).await;
        let [before, watched, after] = &told[..] else { return };
        self.because(id, after);
        self.end(id, outcome(Call::Get, after.clone()));
        if self.guest.line.is_none() {
            // What was watched is forgotten with its connection.
            return;
        }
        let (set, until) = (vec![b"SET".to_vec(), name, self.guest.value(to)], self.guest.until());
        if matches!(watched, Ok(Heard::Error(_))) {
            return self.unguarded(key, to, set, until).await;
        }
        let unwatch = vec![b"UNWATCH".to_vec()];
        let (Ok(Heard::Bytes(before)), Ok(Heard::Bytes(after))) = (before, after) else {
            // Another EXEC of this connection must not look at it.
            let _told = self.ask(&unwatch, until).await;
            return;
        };
        if before != after {
            mark!("redis: a key changed while it was looked at");
            let _told = self.ask(&unwatch, until).await;
            return;
        }
        let from = after.as_deref().and_then(number);
        let id = self.guest.begin(key, Call::Cas { from, to });
        let outcome = if from.is_none() {
            let set = set.into_iter().chain([b"NX".to_vec()]).collect();
            swapped(self.ask_all(&[unwatch, set], until).await.pop().unwrap_or(Err(Lost::Unsaid)))
        } else {
            match self.exec(vec![set], until).await {
                Ok(Heard::Many(None)) => {
                    mark!("redis: a watched key had changed");
                    Outcome::Ok(Answer::Swapped(false))
                }
                Ok(Heard::Many(Some(all))) => swapped(all.into_iter().next().ok_or(Lost::Unheard)),
                told => swapped(told),
            }
        };
        self.end(id, outcome);
    }

    /// EXEC behind a WATCH that was refused.
    async fn unguarded(&mut self, key: Key, to: Value, set: Words, until: Instant) {
        mark!("redis: a refused WATCH was followed by EXEC");
        let id = self.guest.begin(key, Call::Set(to));
        let told = self.exec(vec![set], until).await;
        never!(matches!(told, Ok(Heard::Many(_))), "behind a refused WATCH nothing is done");
        self.end(id, Outcome::Failed);
    }

    async fn ask(&mut self, words: &Words, until: Instant) -> Told {
        let told = self.ask_all(std::slice::from_ref(words), until).await;
        told.into_iter().next().unwrap_or(Err(Lost::Unsaid))
    }

    /// Says things in one go and hears the answers. A connection on which anything is lost is left.
    async fn ask_all(&mut self, all: &[Words], until: Instant) -> Vec<Told> {
        let Some(mut line) = self.line(until).await else {
            return vec![Err(Lost::Unsaid); all.len()];
        };
        let others =
            if self.guest.luck.chance(1, 3) { self.guest.luck.range(0..3) as usize } else { 0 };
        let ping = encoded(&[b"PING".to_vec()]).repeat(others);
        let (mut said, mut ends) = (ping.clone(), Vec::new());
        for words in all {
            said.extend(encoded(words));
            ends.push(said.len());
        }
        let whole = said.len();
        said.extend(ping);
        match self.guest.speak(&mut line, &said, whole, until).await {
            Ok(None) => {}
            Ok(Some(stops)) => {
                mark!("redis: a client left in the middle of a request");
                let lost = |end: usize| if end <= stops { Lost::Unheard } else { Lost::Unsaid };
                return ends.into_iter().map(|end| Err(lost(end))).collect();
            }
            Err(lost) => return vec![Err(lost); all.len()],
        }
        let mut heard = Vec::new();
        let total = all.len() + 2 * others;
        let hear = async {
            while heard.len() < total {
                heard.push(line.hear(parse).await?);
            }
            Some(())
        };
        let is_whole = matches!(timeout(self.guest.rt.clock(), until, hear).await, Ok(Some(())));
        let is_pong = |heard: &Heard| *heard == Heard::Word("PONG".into());
        let mut beside = heard.iter().enumerate();
        let in_order = always!(
            beside.all(|(at, heard)| (others..others + all.len()).contains(&at) || is_pong(heard)),
            "answers come in the order of their questions"
        );
        if is_whole && in_order {
            self.guest.line = Some(line);
        }
        let mut heard = heard.into_iter().skip(others);
        all.iter().map(|_| heard.next().ok_or(Lost::Unheard)).collect()
    }

    /// The connection that there is, or another one, on which it has said who it is.
    async fn line(&mut self, until: Instant) -> Option<Line> {
        let is_new = self.guest.line.is_none();
        let mut line = self.guest.take_line(until).await?;
        if !is_new || !self.guest.place.users {
            return Some(line);
        }
        let clock = self.guest.rt.clock().clone();
        timeout(&clock, until, self.log_in(&mut line)).await.ok()??;
        Some(line)
    }

    /// Says who it is, perhaps not at once.
    async fn log_in(&mut self, line: &mut Line) -> Option<()> {
        let luck = &mut self.guest.luck;
        let (early, wrong, twice) = (luck.chance(1, 3), luck.chance(1, 8), luck.chance(1, 8));
        let own = luck.range(0..1000);
        if early {
            stranger(line, own).await?;
        }
        if wrong {
            let (name, _) = USERS[own as usize % USERS.len()];
            let name = if own % 3 == 0 { "nobody" } else { name };
            let heard = says(line, &["AUTH", name, "open sesam"]).await?;
            mark!("redis: a wrong password was said");
            let is_refused = matches!(&heard, Heard::Error(why) if why.starts_with("WRONGPASS"));
            always!(is_refused || is_crowded(&heard), "a wrong password lets nobody in");
        }
        enter(line, own).await?;
        if twice {
            let heard = says(line, &["RESET"]).await?;
            always!(heard == Heard::Word("RESET".into()), "everybody may forget who he is");
            stranger(line, own).await?;
            enter(line, own + 1).await?;
        }
        Some(())
    }

    /// Says what is no request, on a connection of its own, which must then end.
    async fn mischief(&mut self, until: Instant) {
        let nonsense: [&[u8]; 4] =
            [b"*1\r\n*1\r\n*1\r\n", b"*1\r\n$99999999999\r\n", b"*x\r\n", b"SET \"a\r\n"];
        let said = nonsense[self.guest.luck.range(0..nonsense.len() as u64) as usize];
        let Some(mut line) = self.guest.another_line(until).await else { return };
        let told = async {
            line.say(said).await?;
            let told = line.hear(parse).await?;
            // Then nothing more.
            Some((told, line.hear(parse).await.is_none()))
        };
        if let Ok(Some((told, is_over))) = timeout(self.guest.rt.clock(), until, told).await {
            mark!("redis: what is no request was said");
            let is_refused = matches!(&told, Heard::Error(text) if text.contains("Protocol error"));
            always!(is_refused && is_over, "what is no request ends its connection");
        }
    }
}

/// Says something to which there is one answer.
async fn says(line: &mut Line, words: &[&str]) -> Option<Heard> {
    let words: Words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    line.say(&encoded(&words)).await?;
    line.hear(parse).await
}

/// Nobody had the time to look at a password.
fn is_crowded(heard: &Heard) -> bool {
    matches!(heard, Heard::Error(why) if why.starts_with("UNAVAILABLE"))
}

/// Asks for something before it has said who it is.
async fn stranger(line: &mut Line, nth: u64) -> Option<()> {
    let asked: [&[&str]; 4] =
        [&["GET", "key0"], &["MULTI"], &["SUBSCRIBE", "news"], &["SET", "stranger", "was here"]];
    let heard = says(line, asked[nth as usize % asked.len()]).await?;
    mark!("redis: something was asked before it was said by whom");
    let is_refused = matches!(&heard, Heard::Error(why) if why.starts_with("NOAUTH"));
    always!(is_refused, "a stranger is told nothing");
    Some(())
}

/// Says who it is, in any of the ways that there are.
async fn enter(line: &mut Line, nth: u64) -> Option<()> {
    let (name, password) = USERS[nth as usize % USERS.len()];
    let heard = match nth % 3 {
        0 if name == "default" => says(line, &["AUTH", password]).await?,
        1 => says(line, &["HELLO", "2", "AUTH", name, password]).await?,
        _ => says(line, &["AUTH", name, password]).await?,
    };
    let is_in = matches!(&heard, Heard::Word(_) | Heard::Many(Some(_)));
    always!(is_in || is_crowded(&heard), "a right password lets in");
    is_in.then_some(())
}

/// Whoever hears what is published.
struct Hears {
    rt: SimRuntime,
    luck: <SimRuntime as Runtime>::Rng,
    nodes: Arc<[SocketAddr]>,
    users: bool,
}

impl Hears {
    async fn live(mut self) {
        let clock = self.rt.clock().clone();
        loop {
            let until = clock.now() + Duration::from_secs(1);
            if let Some(line) = Line::open(&self.rt, &mut self.luck, &self.nodes, until).await {
                let _ended = listen(line, self.users).await.is_none();
            }
            clock.sleep_until(clock.now() + RESTS).await;
        }
    }
}

/// Listens as long as the connection lasts.
async fn listen(mut line: Line, users: bool) -> Option<()> {
    let word = |heard: Option<&Heard>| match heard {
        Some(Heard::Bytes(Some(bytes))) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    if users {
        enter(&mut line, 0).await?;
    }
    line.say(&encoded(&[b"SUBSCRIBE".to_vec(), b"news".to_vec()])).await?;
    let mut known = BTreeSet::new();
    loop {
        let Heard::Many(Some(parts)) = line.hear(parse).await? else { return None };
        if word(parts.first()) != "message" {
            continue;
        }
        always!(known.insert(word(parts.get(2))), "a message is heard once");
        mark!("redis: a message was heard");
    }
}

fn encoded(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The first answer of the bytes and how long it is, if it is whole.
fn parse(bytes: &[u8]) -> Option<(Heard, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let text = String::from_utf8_lossy(bytes.get(1..end)?).into_owned();
    let number: i64 = text.parse().unwrap_or_default();
    let behind = end + 2;
    Some(match bytes[0] {
        b'+' => (Heard::Word(text), behind),
        b'-' => (Heard::Error(text), behind),
        b':' => (Heard::Number(number), behind),
        b'$' => match usize::try_from(number) {
            Ok(len) => {
                bytes.get(..behind + len + 2)?;
                (Heard::Bytes(Some(bytes[behind..behind + len].to_vec())), behind + len + 2)
            }
            Err(_) => (Heard::Bytes(None), behind),
        },
        _ => match usize::try_from(number) {
            Ok(count) => {
                let (mut all, mut at) = (Vec::new(), behind);
                for _ in 0..count {
                    let (one, len) = parse(&bytes[at..])?;
                    all.push(one);
                    at += len;
                }
                (Heard::Many(Some(all)), at)
            }
            Err(_) => (Heard::Many(None), behind),
        },
    })
}

/// What is told of an attempt: its phases, and the way, are all of its time, and what was written waited
/// for a disk.
fn look_at_phases(step: &Heard) {
    let Heard::Many(Some(step)) = step else { return };
    let said = |name: &str| {
        let at = step.iter().position(|one| is_bytes(one, name.as_bytes()));
        at.and_then(|at| step.get(at + 1))
    };
    let number = |name: &str| match said(name) {
        Some(Heard::Number(number)) => Some(*number),
        _ => None,
    };
    let inside = ["queue-us", "persist-us", "replicate-us", "apply-us"].map(number);
    let [Some(_), Some(persist), Some(_), Some(_)] = inside else { return };
    let inside: i64 = inside.into_iter().flatten().sum();
    let all = number("route-us").map(|route| route + inside);
    always!(all >= number("took-us"), "the phases and the way are all of the time");
    let is_write = said("to").is_some_and(|to| is_bytes(to, b"write"));
    if is_write && inside > 0 {
        mark!("redis: the phases of a write were looked at");
        always!(persist > 0, "what was written has waited for a disk");
    }
}

fn is_bytes(heard: &Heard, bytes: &[u8]) -> bool {
    matches!(heard, Heard::Bytes(Some(heard)) if heard == bytes)
}

fn refused(text: &str) -> Outcome {
    if text.starts_with("INDOUBT") { Outcome::Unknown } else { Outcome::Failed }
}

/// What a SET says that may find something else.
fn swapped(told: Told) -> Outcome {
    match told {
        Ok(Heard::Word(_)) => Outcome::Ok(Answer::Swapped(true)),
        Ok(Heard::Bytes(None)) => Outcome::Ok(Answer::Swapped(false)),
        told => outcome(Call::Cas { from: None, to: 0 }, told),
    }
}

fn outcome(call: Call, told: Told) -> Outcome {
    let answer = match (call, told) {
        (_, Err(lost)) => return lost.outcome(call == Call::Get),
        (_, Ok(Heard::Error(text))) => return refused(&text),
        (Call::Get, Ok(Heard::Bytes(value))) => Answer::Value(value.as_deref().and_then(number)),
        (Call::Incr(_), Ok(Heard::Number(sum))) => Answer::Value(u64::try_from(sum).ok()),
        (Call::Set(_), Ok(Heard::Word(_))) | (Call::Delete, Ok(Heard::Number(_))) => Answer::Done,
        (_, Ok(other)) => {
            never!(true, "an answer is of the kind that its command has");
            tracing::warn!(?call, ?other, "an answer of the wrong kind");
            return Outcome::Unknown;
        }
    };
    Outcome::Ok(answer)
}
