//! Stories of backups: made of a cluster that is written to and loses power and links meanwhile, read
//! back, and given to another cluster with another number of groups.
//!
//! Writers set pairs of keys in one transaction each, to numbers that rise. So of each pair a backup
//! must have the same number twice, not below what was acknowledged before it began, and not above
//! what was ever written before it ended.
//!
//! Not here: what one node holds (`cuts.rs`), bytes (`trilith-net`, `backup/format`).

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Condition, Expiry, Op, Outcome, Reply, Transaction, Write},
    runtime::{Handle, Runtime, Task, queue, race},
    types::NodeId as Member,
};
use trilith_net::{
    backup::{self, Difference, Error, Options, Phase, Restored, Step, format::Manifest},
    client::{Client, ClientOptions, Wish},
    node::{Cluster, Node, NodeOptions as Setup},
};
use trilith_sim::{
    os::SimRuntime,
    platter::Faults,
    subject::cluster::{address, number},
    world::{NodeId, NodeOptions, World},
};

use crate::{
    full::planted,
    stage::{SECOND, set, small},
};

const PAIRS: usize = 8;
const FILLERS: usize = 400;
/// The nodes of the cluster that is written to, and of the one that gets the backup.
const ONE: [u32; 3] = [0, 1, 2];
const OTHER: [u32; 3] = [3, 4, 5];
/// Who makes backups, and who writes.
const KEEPER: NodeId = NodeId(6);
const WRITER: NodeId = NodeId(7);

type Shared<T> = Arc<Mutex<T>>;

/// How far the writer of a pair is.
#[derive(Clone, Copy, Debug, Default)]
struct Far {
    begun: u64,
    acknowledged: u64,
}

struct Two {
    world: World,
    far: Shared<[Far; PAIRS]>,
    luck: u64,
}

fn raise(world: &mut World, nodes: &'static [u32], name: &'static str, groups: u16) {
    for node in nodes {
        world.add(&format!("node{node}"), NodeOptions::default(), move |runtime| async move {
            let members: Vec<(Member, _)> =
                nodes.iter().map(|node| (number(*node), address(*node))).collect();
            let cluster = Cluster::new(name, members, groups).expect("it");
            let setup = Setup { shard: small(), ..Setup::new(number(*node), cluster) };
            let begun = Node::start(&runtime, setup, ()).await.expect("a node");
            race(runtime.stopped(), begun.run()).await;
        });
    }
}

fn options(nodes: &[u32]) -> Options {
    let nodes = nodes.iter().map(|node| address(*node)).collect();
    let patience = 60 * SECOND;
    Options { patience, page_keys: 2, ..Options::new(nodes, ClientOptions::default()) }
}

fn client(rt: &SimRuntime, nodes: &[u32]) -> Client<SimRuntime> {
    let nodes: Vec<_> = nodes.iter().map(|node| address(*node)).collect();
    Client::start(rt, &nodes, ClientOptions::default())
}

fn pair(nth: usize) -> [Bytes; 2] {
    ["a", "z"].map(|end| format!("{end}{{pair{nth}}}").into())
}

fn filler(nth: usize) -> Op {
    set(format!("filler{nth:03}"), Bytes::from(vec![b'x'; 300]))
}

fn mortal(key: &'static str, ms: u64) -> Op {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"mortal"));
    let (expiry, condition) = (Expiry::After(ms), Condition::Always);
    Op::Write(Command::Set { key, value, expiry, condition, want_old: false })
}

/// Sets a pair to one number after the other, as long as its node lives.
async fn write(rt: SimRuntime, nth: usize, far: Shared<[Far; PAIRS]>) {
    let client = client(&rt, &ONE);
    for next in 1_u64.. {
        far.lock().expect("nobody panics with it")[nth].begun = next;
        let value = Bytes::from(next.to_string());
        let writes =
            pair(nth).map(|key| Write::Set { key, value: value.clone(), expiry: Expiry::None });
        let both = Transaction::new(Vec::new(), writes.to_vec()).expect("two keys");
        let op = Op::Write(Command::Transaction(both));
        if let Outcome::Ok(_) = client.call(op, Wish::strong(2 * SECOND)).await.outcome {
            far.lock().expect("nobody panics with it")[nth].acknowledged = next;
        }
    }
}

impl Two {
    fn new(seed: u64, bugs: &[&str]) -> Self {
        let mut world = World::new(seed, planted(bugs));
        raise(&mut world, &ONE, "sim", 3);
        raise(&mut world, &OTHER, "other", 5);
        for name in ["keeper", "writer"] {
            world.add(name, NodeOptions::default(), |_| pending::<()>());
        }
        world.start_all();
        world.run_for(3 * SECOND);
        let mut two = Self { world, far: Shared::default(), luck: seed };
        let all = (0..FILLERS).map(filler).collect();
        two.ask(&ONE, all);
        two
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.luck = self.luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        (self.luck >> 33) % below
    }

    /// Asks for all of it at once, and is answered.
    fn ask(&mut self, nodes: &'static [u32], ops: Vec<Op>) -> Vec<Outcome> {
        let count = ops.len();
        let answers = self.world.run_on(WRITER, 30 * SECOND, |rt| async move {
            let client = Arc::new(client(&rt, nodes));
            let (said, mut heard) = queue(count);
            for (nth, op) in ops.into_iter().enumerate() {
                let (client, said) = (Arc::clone(&client), said.clone());
                let call = async move {
                    let outcome = client.call(op, Wish::strong(20 * SECOND)).await.outcome;
                    // There is room for each.
                    _ = said.push((nth, outcome));
                };
                rt.task().spawn("call", call).detach();
            }
            let mut answers = BTreeMap::new();
            while answers.len() < count {
                answers.extend(heard.recv().await);
            }
            answers.into_values().collect::<Vec<_>>()
        });
        let answers = answers.expect("it is answered");
        assert!(answers.iter().all(|one| matches!(one, Outcome::Ok(_))));
        answers
    }

    fn far(&self) -> [Far; PAIRS] {
        *self.far.lock().expect("nobody panics with it")
    }

    fn begin_writing(&mut self) {
        let far = Arc::clone(&self.far);
        let begun = self.world.run_on(WRITER, SECOND, |rt| async move {
            for nth in 0..PAIRS {
                rt.task().spawn("writer", write(rt.clone(), nth, Arc::clone(&far))).detach();
            }
        });
        assert!(begun.is_some());
    }

    /// Begins something on the keeper; what it comes to appears some time later.
    fn keep<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &mut self,
        work: impl FnOnce(SimRuntime) -> F,
    ) -> Shared<Option<T>> {
        let result = Shared::default();
        let into = Arc::clone(&result);
        let begun = self.world.run_on(KEEPER, SECOND / 1000, |rt| {
            let (task, work) = (rt.clone(), work(rt));
            async move {
                let work = async move {
                    let done = work.await;
                    *into.lock().expect("nobody panics with it") = Some(done);
                };
                task.task().spawn("keeps", work).detach();
            }
        });
        assert!(begun.is_some());
        result
    }

    /// One of these nodes at a time loses its power, its links, or both, until that is there.
    fn hurt_until<T>(&mut self, nodes: [u32; 3], result: &Shared<Option<T>>) -> Option<T> {
        for _ in 0..400 {
            let hurt = NodeId(nodes[self.draw(3) as usize]);
            let kind = self.draw(4);
            if kind & 1 == 1 {
                self.world.power_loss(hurt);
            }
            if kind & 2 == 2 {
                for other in nodes.into_iter().map(NodeId).chain([KEEPER]) {
                    self.world.cut_both(hurt, other);
                }
            }
            let some = Duration::from_millis(20 + self.draw(400));
            self.world.run_for(some);
            self.world.start(hurt);
            for other in nodes.into_iter().map(NodeId).chain([KEEPER]) {
                self.world.heal_both(hurt, other);
            }
            let some = Duration::from_millis(20 + self.draw(400));
            self.world.run_for(some);
            if let Some(result) = result.lock().expect("nobody panics with it").take() {
                return Some(result);
            }
        }
        None
    }

    /// How many keys are done: for who looks, and for who does them.
    fn counter(&self) -> (Arc<AtomicU64>, Arc<AtomicU64>) {
        let far = Arc::new(AtomicU64::new(0));
        (Arc::clone(&far), far)
    }

    fn run_until(&mut self, far: &AtomicU64, keys: u64) {
        for _ in 0..100_000 {
            if far.load(Ordering::Relaxed) >= keys {
                return;
            }
            self.world.run_for(SECOND / 10_000);
        }
        panic!("it never gets there");
    }

    fn backup(&mut self, dir: &'static str) -> Result<Manifest, Error> {
        let result = self.world.run_on(KEEPER, 60 * SECOND, |rt| async move {
            backup::create(&rt, dir, &options(&ONE), |_| {}).await
        });
        result.expect("it ends")
    }

    fn verify(&mut self, dir: &str) -> Result<BTreeMap<Bytes, (Bytes, bool)>, Error> {
        let dir = dir.to_owned();
        let result = self.world.run_on(KEEPER, 60 * SECOND, |rt| async move {
            let mut all = BTreeMap::new();
            let show = |record: &backup::format::Record| {
                let what = (record.value.clone(), record.expires_ms.is_some());
                all.insert(record.key.clone(), what);
            };
            backup::read(rt.disk(), &dir, |_| {}, show).await.map(|_| all)
        });
        result.expect("it ends")
    }

    fn restore(&mut self, dir: &'static str, resume: bool) -> Result<Restored, Error> {
        let result = self.world.run_on(KEEPER, 120 * SECOND, |rt| async move {
            backup::restore(&rt, dir, &options(&OTHER), resume, |_| {}).await
        });
        result.expect("it ends")
    }

    fn has_met(&self, mark: &str) -> bool {
        self.world.ledger().marks().contains_key(mark)
    }

    fn assert_no_panic(&self) {
        let panics = self.world.panics();
        assert!(panics.is_empty(), "{panics:?}");
        let broken: Vec<&str> = self.world.ledger().broken().keys().map(|one| one.claim).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }
}

/// What is wrong with what a backup has of the pairs.
fn judge(
    found: &BTreeMap<Bytes, (Bytes, bool)>,
    before: &[Far; PAIRS],
    behind: &[Far; PAIRS],
) -> Option<String> {
    let number = |key: &Bytes| -> u64 {
        let text = found.get(key).map(|(value, _)| String::from_utf8_lossy(value).into_owned());
        text.map_or(0, |text| text.parse().expect("a number"))
    };
    for nth in 0..PAIRS {
        let [one, two] = pair(nth).map(|key| number(&key));
        let (least, most) = (before[nth].acknowledged, behind[nth].begun);
        if one != two {
            return Some(format!("pair {nth} is {one} and {two}: two moments"));
        }
        if one < least || one > most {
            return Some(format!("pair {nth} is {one}, and was {least} to {most}"));
        }
    }
    let fillers = found.keys().filter(|key| key.starts_with(b"filler")).count();
    (fillers != FILLERS).then(|| format!("{fillers} keys of {FILLERS} that nobody touched"))
}

/// Makes a backup while everything is written and one node after the other is hurt; then the keeper
/// loses its power. What is wrong with the backup, and whether a group had to begin again.
fn back_up_amid_everything(seed: u64, bugs: &[&str]) -> (Option<String>, bool) {
    let mut two = Two::new(seed, bugs);
    two.begin_writing();
    two.world.run_for(SECOND);
    let before = two.far();
    let (far, into) = two.counter();
    let made = two.keep(|rt| async move {
        let step = |step: Step| into.store(step.keys, Ordering::Relaxed);
        backup::create(&rt, "kept", &options(&ONE), step).await
    });
    // The node that the first group is read from, amid.
    two.run_until(&far, 20);
    two.world.power_loss(NodeId(1));
    two.world.start(NodeId(1));
    let made = two.hurt_until(ONE, &made);
    let behind = two.far();
    two.world.power_loss(KEEPER);
    two.world.start(KEEPER);
    let verdict = match (made, two.verify("kept")) {
        (None, _) => Some("it never ends".to_owned()),
        (Some(Err(why)), _) => Some(format!("there is none: {why}")),
        (Some(Ok(_)), Err(why)) => Some(format!("it was said to be whole: {why}")),
        (Some(Ok(_)), Ok(found)) => judge(&found, &before, &behind),
    };
    two.assert_no_panic();
    let begins_again = two.has_met("backup: a group begins again");
    (verdict, begins_again)
}

#[test]
fn a_backup_is_a_moment_of_each_group_amid_everything() {
    let mut begun_again = 0;
    for seed in 1..=6 {
        let (verdict, begins_again) = back_up_amid_everything(seed, &[]);
        assert_eq!(verdict, None, "seed {seed}");
        begun_again += u32::from(begins_again);
    }
    assert!(begun_again > 0, "nothing went wrong");
}

#[cfg(feature = "mutants")]
#[test]
fn a_backup_of_several_moments_is_noticed() {
    let bugs = ["shard_cut_reads_what_is_here"];
    assert!((1..=6).any(|seed| back_up_amid_everything(seed, &bugs).0.is_some()));
}

#[cfg(feature = "mutants")]
#[test]
fn a_backup_that_a_power_cut_takes_is_noticed() {
    let bugs = ["backup_files_not_synced"];
    assert!((1..=6).any(|seed| back_up_amid_everything(seed, &bugs).0.is_some()));
}

/// The power goes at some moment of a backup: it is whole then, or refused by name.
#[test]
fn an_unfinished_backup_is_refused() {
    let (mut unfinished, mut whole) = (0, 0);
    for after_ms in [1, 40, 80, 120, 160, 200, 300, 400, 600, 900] {
        let mut two = Two::new(7, &[]);
        let made =
            two.keep(|rt| async move { backup::create(&rt, "kept", &options(&ONE), |_| {}).await });
        two.world.run_for(Duration::from_millis(after_ms));
        two.world.power_loss(KEEPER);
        two.world.start(KEEPER);
        let was_made = made.lock().expect("nobody panics with it").is_some();
        match two.verify("kept") {
            Ok(found) => {
                assert!(found.len() == FILLERS);
                whole += 1;
            }
            Err(Error::Unfinished | Error::Missing) => {
                assert!(!was_made, "it was said to be whole");
                unfinished += 1;
            }
            Err(why) => panic!("after {after_ms} ms: {why}"),
        }
        let again = two.backup("kept");
        assert!(matches!(again, Err(Error::Taken(_)) | Ok(_)), "{again:?}");
        two.assert_no_panic();
    }
    assert!(unfinished > 1 && whole > 0, "{unfinished} unfinished, {whole} whole");
}

/// Backups onto a disk whose directories often fail to sync: each is whole, or there is nothing that
/// looks like one. How many of them were called failed, and what is wrong.
fn backups_of_unsure_names(bugs: &[&str]) -> (u32, Option<String>) {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    let (mut two, mut failed) = (Two::new(11, bugs), 0);
    for name in names {
        let unsure = Faults { sync_dir_error: 300_000, ..Faults::default() };
        two.world.with_platter(KEEPER, |disk| disk.set_faults(unsure));
        let made = two.backup(name);
        two.world.with_platter(KEEPER, |disk| disk.set_faults(Faults::default()));
        failed += u32::from(made.is_err());
        match (made, two.verify(name)) {
            (Ok(_), Ok(_)) | (Err(_), Err(Error::Unfinished | Error::Missing)) => {}
            (made, found) => return (failed, Some(format!("{name}: {made:?}, then {found:?}"))),
        }
    }
    two.assert_no_panic();
    (failed, None)
}

#[test]
fn a_backup_that_failed_looks_like_none() {
    let (failed, wrong) = backups_of_unsure_names(&[]);
    assert_eq!(wrong, None);
    assert!(failed > 4, "{failed}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_failed_backup_that_keeps_its_manifest_is_noticed() {
    let bugs = ["backup_failed_one_keeps_its_manifest"];
    assert!(backups_of_unsure_names(&bugs).1.is_some());
}

/// Again and again two backups into one directory, begun at one moment. What is wrong.
fn backups_at_once(bugs: &[&str]) -> Option<String> {
    let mut two = Two::new(13, bugs);
    for dir in (0..100).map(|nth| format!("kept-{nth}")) {
        let [first, second] = [dir.clone(), dir.clone()].map(|dir| {
            two.keep(|rt| async move { backup::create(&rt, &dir, &options(&ONE), |_| {}).await })
        });
        two.world.run_for(5 * SECOND);
        let [first, second] = [first, second]
            .map(|one| one.lock().expect("nobody panics with it").take().expect("it ends"));
        let found = two.verify(&dir);
        match (&first, &second, &found) {
            (Ok(_), Err(Error::Taken(_)), Ok(_)) | (Err(Error::Taken(_)), Ok(_), Ok(_)) => {}
            _ => return Some(format!("{dir}: {first:?} and {second:?}, then {found:?}")),
        }
    }
    two.assert_no_panic();
    None
}

#[test]
fn of_two_backups_at_once_one_is_made() {
    assert_eq!(backups_at_once(&[]), None);
}

#[cfg(feature = "mutants")]
#[test]
fn two_backups_at_once_are_noticed() {
    assert!(backups_at_once(&["backup_claims_nothing"]).is_some());
}

/// Whether a byte that changed in a group's file is told, and where.
fn damage(bugs: &[&str]) -> bool {
    let mut two = Two::new(3, bugs);
    two.backup("kept").expect("everybody is well");
    assert!(two.verify("kept").is_ok());
    two.world.with_platter(KEEPER, |disk| assert!(disk.rot("kept/group-2", 5000, 1)));
    let told = two.verify("kept");
    two.assert_no_panic();
    matches!(told, Err(Error::Damaged { file, offset, .. }) if file == "group-2" && offset == 82)
}

#[test]
fn a_damaged_backup_is_told_with_its_place() {
    assert!(damage(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_backup_whose_bytes_are_believed_is_noticed() {
    assert!(!damage(&["backup_bodies_are_believed"]));
}

/// A backup with keys that expire is given to another cluster when some are over. What came of it.
fn restore_when_some_are_over(bugs: &[&str]) -> Result<Restored, Error> {
    let mut two = Two::new(5, bugs);
    two.ask(&ONE, vec![mortal("brief", 20_000), mortal("long", 3_600_000)]);
    two.backup("kept").expect("everybody is well");
    let found = two.verify("kept").expect("it is whole");
    assert!(found.contains_key(&b"brief"[..]) && found.contains_key(&b"long"[..]));
    two.world.run_for(30 * SECOND);
    let restored = two.restore("kept", false);
    if restored.is_ok() {
        let keys = ["brief", "long", "filler007"];
        let gets = keys.map(|key| Op::Get(Bytes::from_static(key.as_bytes()))).to_vec();
        let answers = two.ask(&OTHER, gets);
        let is_there = |answer: &Outcome| matches!(answer, Outcome::Ok(Reply::Value(Some(_))));
        let there: Vec<bool> = answers.iter().map(is_there).collect();
        assert_eq!(there, [false, true, true]);
    }
    two.assert_no_panic();
    restored
}

#[test]
fn what_is_over_does_not_come_back() {
    let restored = restore_when_some_are_over(&[]).expect("it is empty");
    assert_eq!((restored.groups, restored.compared), (5, FILLERS as u64 + 1));
    assert_eq!(restored.present, 0);
}

#[cfg(feature = "mutants")]
#[test]
fn a_restore_that_misses_what_is_over_is_noticed() {
    let restored = restore_when_some_are_over(&["restore_misses_what_is_over"]);
    assert!(matches!(restored, Err(Error::Differs(_, Difference::Lacks))), "{restored:?}");
}

/// The keeper loses its power in the middle of a restore; it goes on only where it is told to, and
/// only when nothing else is there.
#[test]
fn an_interrupted_restore_goes_on_when_it_is_told_to() {
    let mut two = Two::new(9, &[]);
    two.backup("kept").expect("everybody is well");
    let (far, into) = two.counter();
    let _restored = two.keep(|rt| async move {
        let step = |step: Step| {
            if step.phase == Phase::Compares {
                into.store(step.keys, Ordering::Relaxed);
            }
        };
        backup::restore(&rt, "kept", &options(&OTHER), false, step).await
    });
    two.run_until(&far, 1);
    two.world.power_loss(KEEPER);
    two.world.start(KEEPER);
    assert!(matches!(two.restore("kept", false), Err(Error::NotEmpty(_))));
    let restored = two.restore("kept", true).expect("nothing else is there");
    assert_eq!((restored.present, restored.compared), (FILLERS as u64, FILLERS as u64));
    two.ask(&OTHER, vec![set("foreign".into(), Bytes::new())]);
    let foreign = two.restore("kept", true);
    assert!(
        matches!(&foreign, Err(Error::Differs(key, Difference::Foreign)) if key == "foreign"),
        "{foreign:?}"
    );
    let change = set("filler100".into(), Bytes::from_static(b"mine"));
    two.ask(&OTHER, vec![crate::stage::delete("foreign".into()), change]);
    let changed = two.restore("kept", true);
    assert!(
        matches!(&changed, Err(Error::Differs(key, Difference::Value)) if key == "filler100"),
        "{changed:?}"
    );
    two.assert_no_panic();
}

/// Somebody else writes a key while a restore is on its way to it. Whether his value stays.
fn write_what_is_restored(bugs: &[&str]) -> bool {
    let mut two = Two::new(11, bugs);
    two.backup("kept").expect("everybody is well");
    let (far, into) = two.counter();
    let restored = two.keep(|rt| async move {
        let step = |step: Step| {
            if step.phase == Phase::Writes {
                into.store(1, Ordering::Relaxed);
            }
        };
        backup::restore(&rt, "kept", &options(&OTHER), false, step).await
    });
    let mine = || Bytes::from_static(b"mine");
    two.run_until(&far, 1);
    for node in OTHER {
        two.world.cut_both(KEEPER, NodeId(node));
    }
    two.ask(&OTHER, vec![set("filler399".into(), mine())]);
    for node in OTHER {
        two.world.heal_both(KEEPER, NodeId(node));
    }
    two.world.run_for(20 * SECOND);
    let restored = restored.lock().expect("nobody panics with it").take().expect("it ends");
    let get = two.ask(&OTHER, vec![Op::Get(Bytes::from_static(b"filler399"))]).remove(0);
    let Outcome::Ok(Reply::Value(Some(found))) = get else { panic!("{get:?}") };
    two.assert_no_panic();
    let is_told = matches!(restored, Err(Error::Differs(_, Difference::Value)));
    is_told && found.value == mine()
}

#[test]
fn a_restore_writes_over_nothing() {
    assert!(write_what_is_restored(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_restore_that_writes_over_is_noticed() {
    assert!(!write_what_is_restored(&["restore_writes_over"]));
}

/// Restores while nobody reaches anybody and then one node after the other is hurt, and goes on as
/// often as it must. How often that was.
fn restore_amid_everything(seed: u64) -> u32 {
    let mut two = Two::new(seed, &[]);
    two.backup("kept").expect("everybody is well");
    for attempt in 0..30 {
        let (far, into) = two.counter();
        let restored = two.keep(move |rt| async move {
            let step = |step: Step| {
                if step.phase == Phase::Writes {
                    into.store(step.keys, Ordering::Relaxed);
                }
            };
            let options = Options { patience: SECOND / 2, ..options(&OTHER) };
            backup::restore(&rt, "kept", &options, attempt > 0, step).await
        });
        if attempt == 0 {
            two.run_until(&far, 1);
            let pairs = [(3, 4), (3, 5), (4, 5)].map(|(one, other)| (NodeId(one), NodeId(other)));
            pairs.iter().for_each(|(one, other)| two.world.cut_both(*one, *other));
            two.world.run_for(7 * SECOND / 10);
            pairs.iter().for_each(|(one, other)| two.world.heal_both(*one, *other));
        }
        match two.hurt_until(OTHER, &restored).expect("it ends") {
            Ok(restored) => {
                assert_eq!(restored.compared, FILLERS as u64);
                assert!(two.has_met("backup: what was to be written may be there"));
                two.assert_no_panic();
                return attempt;
            }
            Err(Error::Unreached(_) | Error::Refused { .. }) => {}
            Err(why) => panic!("{why}"),
        }
    }
    panic!("it never gets there");
}

#[test]
fn a_restore_gets_there_amid_everything() {
    let again: u32 = (1..=6).map(restore_amid_everything).sum();
    assert!(again > 0, "nothing went wrong");
}
