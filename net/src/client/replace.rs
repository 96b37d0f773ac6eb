//! Replacing a node, as an operator does it: everybody is asked, again and again, until it is done.
//!
//! ```text
//!   ask all ─► which directory? ─► all groups: new replica ─► brought up to date ─► votes alone
//!      ▲             │                    │ a leader takes one step each time it is asked
//!      └─────────────┴────────────────────┘
//! ```
//! No node knows everything: leaders know how far their groups are, members know who came to them
//! and with which directory. A [`Replacement`] asks each by itself and puts the answers together.
//! It keeps nothing that matters: whoever begins again, here or elsewhere, goes on where it stands.
//!
//! The directory is the one with which the node shows itself and is refused; whoever sits in a
//! group already and waits for the others' steps goes on. A node that serves is not replaced.
//!
//! Not here: the steps (`trilith_engine`, `shard/members`), when to give up (who asks).

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    net::SocketAddr,
    task::Poll,
    time::Duration,
};

use trilith_engine::{
    command::{Led, Level, Op, Outcome, Replace, Replacing, Reply, Shown, Stage},
    mark,
    runtime::Runtime,
    types::{GroupId, NodeId, Uuid},
};

use super::{Client, ClientOptions, Wish};

/// How the replacement of a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No node answered.
    Unanswered,
    /// Nobody of that number belongs to the cluster.
    NotAMember,
    /// The node answers, with a directory that counts; there is nothing to replace.
    Serves(Uuid),
    /// The node does not answer, and has not come with a new directory.
    NotShown,
    /// It came with several. The one that is meant must be named.
    Several(Vec<Uuid>),
    /// It goes on.
    Going(Going),
    /// Each group has its new replica, and no other on that node.
    Done {
        /// In this directory.
        directory: Uuid,
        /// So many groups.
        groups: u32,
    },
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    /// The directory in which the new replicas are.
    pub directory: Uuid,
    /// How many groups there are.
    pub groups: u32,
    /// How many of them have their new replica.
    pub done: u32,
    /// Groups that are not there yet, and how far they are.
    pub waiting: BTreeMap<GroupId, Stage>,
    /// Groups of which nobody said that he leads them.
    pub leaderless: Vec<GroupId>,
}

/// A node that is being replaced.
pub struct Replacement<R: Runtime> {
    node: NodeId,
    /// The directory that was named.
    named: Option<Uuid>,
    /// The one that is seated, as far as it is known.
    directory: Option<Uuid>,
    /// One a node: each is asked by itself.
    members: Vec<Client<R>>,
    /// Groups that have their new replica there.
    done: BTreeSet<GroupId>,
}

impl<R: Runtime> Replacement<R> {
    /// Of that node, of the cluster whose nodes listen there; by new replicas in a directory that
    /// is named, or in the one with which the node shows itself.
    #[must_use]
    pub fn new(
        runtime: &R,
        nodes: &[SocketAddr],
        options: ClientOptions,
        node: NodeId,
        directory: Option<Uuid>,
    ) -> Self {
        let members = nodes.iter().map(|at| Client::start(runtime, &[*at], options));
        Self {
            node,
            named: directory,
            directory: None,
            members: members.collect(),
            done: BTreeSet::new(),
        }
    }

    /// Asks everybody once, which takes every group a step further.
    pub async fn step(&mut self, within: Duration) -> Standing {
        let answers = self.ask(within).await;
        let directory = match choose(self.named, self.directory, &answers) {
            Ok(directory) => directory,
            Err(standing) => return standing,
        };
        if self.directory != Some(directory) {
            mark!("client: the directory of a replacement is known");
            self.directory = Some(directory);
            self.done.clear();
        }
        let led = answers.iter().flat_map(|answer| &answer.led);
        let here = led.clone().filter(|led| led.seat == directory);
        let settled = here.filter(|led| led.stage == Stage::Settled);
        self.done.extend(settled.map(|led| led.group));
        let groups = answers.iter().map(|answer| answer.groups).max().unwrap_or(0);
        let done = self.done.len() as u32;
        if groups > 0 && done >= groups {
            mark!("client: a node was replaced");
            return Standing::Done { directory, groups };
        }
        let waits = led.filter(|led| !self.done.contains(&led.group));
        let waiting: BTreeMap<GroupId, Stage> = waits
            .map(|led| (led.group, if led.seat == directory { led.stage } else { Stage::Absent }))
            .collect();
        let all = (1..=groups).map(GroupId);
        let leaderless =
            all.filter(|group| !self.done.contains(group) && !waiting.contains_key(group));
        let leaderless = leaderless.collect();
        Standing::Going(Going { directory, groups, done, waiting, leaderless })
    }

    /// What they say, all asked at once.
    async fn ask(&self, within: Duration) -> Vec<Replacing> {
        let replace = Replace { node: self.node, directory: self.directory };
        let wish = Wish { level: Level::Eventual, staleness_ms: 0, within };
        let asked =
            self.members.iter().map(|client| Box::pin(client.call(Op::Replace(replace), wish)));
        let (mut asked, mut answers): (Vec<_>, _) = (asked.collect(), Vec::new());
        poll_fn(|context| {
            asked.retain_mut(|one| match one.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    if let Outcome::Ok(Reply::Replacing(replacing)) = answer.outcome {
                        answers.push(replacing);
                    }
                    false
                }
                Poll::Pending => true,
            });
            if asked.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        answers
    }
}

/// The directory that is to have the new replicas; otherwise why there is none.
///
/// One that was begun with goes on until another one shows itself: while a group has no leader,
/// nobody says that it is seated there.
fn choose(
    named: Option<Uuid>,
    begun: Option<Uuid>,
    answers: &[Replacing],
) -> Result<Uuid, Standing> {
    if answers.is_empty() {
        return Err(Standing::Unanswered);
    }
    if !answers.iter().any(|answer| answer.is_member) {
        return Err(Standing::NotAMember);
    }
    let shown = |is_wanted: fn(&Replacing, &Shown) -> bool| -> BTreeSet<Uuid> {
        let shown = answers.iter().filter_map(|answer| Some((answer, answer.shown?)));
        let shown = shown.filter(|(answer, shown)| is_wanted(answer, shown));
        shown.map(|(_, shown)| shown.directory).collect()
    };
    let refused = shown(|_, shown| !shown.is_known);
    let serving = shown(|answer, shown| shown.is_known && answer.is_up);
    let counting = shown(|_, shown| shown.is_known);
    let led = || answers.iter().flat_map(|answer| &answer.led);
    let is_seated = |directory: &Uuid| led().any(|led| led.seat == *directory);
    let waits = |directory: &Uuid| {
        let is_done = |led: &Led| led.seat == *directory && led.stage == Stage::Settled;
        is_seated(directory) && !led().all(is_done)
    };
    let one_of = |mut some: BTreeSet<Uuid>, none: Standing| match (some.pop_first(), some.len()) {
        (Some(one), 0) => Ok(one),
        (Some(one), _) => Err(Standing::Several([one].into_iter().chain(some).collect())),
        (None, _) => Err(none),
    };
    let directory = match (named, serving.first()) {
        (Some(named), _) => named,
        (None, _) if !refused.is_empty() => one_of(refused.clone(), Standing::NotShown)?,
        (None, Some(one)) => *one,
        // It was seated, and does not run; some groups have not heard of it. The others may still
        // know the one before.
        (None, None) => match begun {
            Some(begun) => begun,
            None => one_of(counting.into_iter().filter(waits).collect(), Standing::NotShown)?,
        },
    };
    match serving.iter().find(|other| **other != directory) {
        Some(other) => Err(Standing::Serves(*other)),
        // The cluster was founded with it.
        None if serving.contains(&directory) && !refused.contains(&directory) => {
            let groups = answers.iter().map(|answer| answer.groups).max().unwrap_or(0);
            let heard: BTreeSet<GroupId> = led().map(|led| led.group).collect();
            if is_seated(&directory) || begun == Some(directory) {
                Ok(directory)
            } else if heard.len() < groups as usize {
                // A group without a leader may have it.
                Err(Standing::NotShown)
            } else {
                Err(Standing::Serves(directory))
            }
        }
        None => Ok(directory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Uuid = Uuid([1; 16]);
    const NEW: Uuid = Uuid([2; 16]);
    const NEWER: Uuid = Uuid([3; 16]);

    /// A member that saw the node come with a directory, known or not, and reaches it or not.
    fn saw(directory: Uuid, is_known: bool, is_up: bool) -> Replacing {
        let shown = Some(Shown { directory, is_known });
        Replacing { groups: 1, is_member: true, is_up, shown, led: vec![] }
    }

    /// It also leads, and has a replica in that directory.
    fn leads(seat: Uuid, answer: Replacing) -> Replacing {
        let led = vec![Led { group: GroupId(1), seat, stage: Stage::Learns }];
        Replacing { led, ..answer }
    }

    #[track_caller]
    fn check(named: Option<Uuid>, answers: &[Replacing], expect: Result<Uuid, Standing>) {
        assert_eq!(choose(named, None, answers), expect);
    }

    #[test]
    fn what_is_no_member_or_serves_is_not_replaced() {
        check(None, &[], Err(Standing::Unanswered));
        let stranger = Replacing { is_member: false, ..saw(NEW, false, false) };
        check(None, std::slice::from_ref(&stranger), Err(Standing::NotAMember));
        check(None, &[saw(OLD, true, true), stranger], Err(Standing::Serves(OLD)));
        // Nobody leads, so nobody says which directory has the replica.
        check(None, &[saw(OLD, true, true)], Err(Standing::NotShown));
        let founder = Uuid::default();
        check(None, &[leads(founder, saw(OLD, true, true))], Err(Standing::Serves(OLD)));
        check(Some(OLD), &[leads(founder, saw(OLD, true, true))], Err(Standing::Serves(OLD)));
        // Somebody still reaches the old one, whatever the others saw.
        check(None, &[saw(OLD, true, true), saw(NEW, false, false)], Err(Standing::Serves(OLD)));
        check(Some(NEW), &[saw(OLD, true, true)], Err(Standing::Serves(OLD)));
    }

    #[test]
    fn a_directory_that_was_refused_is_seated() {
        check(None, &[saw(OLD, true, false)], Err(Standing::NotShown));
        check(Some(NEW), &[saw(OLD, true, false)], Ok(NEW));
        check(None, &[saw(OLD, true, false), saw(NEW, false, false)], Ok(NEW));
        let both = [saw(NEW, false, false), saw(NEWER, false, false)];
        check(None, &both, Err(Standing::Several(vec![NEW, NEWER])));
        check(Some(NEWER), &both, Ok(NEWER));
    }

    #[test]
    fn what_was_begun_goes_on() {
        // One member has applied the seat and lets it in, another one has not.
        let half = [leads(NEW, saw(NEW, true, true)), saw(NEW, false, false)];
        check(None, &half, Ok(NEW));
        check(None, &half[..1], Ok(NEW));
        // The leader is lost.
        let follows = [saw(NEW, true, true)];
        check(None, &follows, Err(Standing::NotShown));
        assert_eq!(choose(None, Some(NEW), &follows), Ok(NEW));
        // The next one was begun with, and those who answer have not come to its entry.
        let behind = [leads(NEW, saw(NEW, true, false))];
        assert_eq!(choose(None, Some(NEWER), &behind), Ok(NEWER));
        // It does not run, and one group has not begun.
        check(None, &[leads(NEW, saw(NEW, true, false)), saw(OLD, true, false)], Ok(NEW));
        // It is lost again, and comes back with another one.
        check(None, &[leads(NEW, saw(NEW, true, false)), saw(NEWER, false, false)], Ok(NEWER));
    }
}
