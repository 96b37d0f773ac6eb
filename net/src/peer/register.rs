//! Who is connected: the numbers and data directories of the nodes at the other ends.
//!
//! A node's number is configured by people, so two machines may claim one. They are told apart by
//! their directories: while a connection with one of them lives, in either direction, the other is
//! refused. The same directory may come again: its old connection is then half open, or forgotten
//! over there, and makes room for the new one.
//!
//! Not here: a number that comes back with another directory after the first one has left. Whether
//! that one is the member is for the node to say, which is asked (`Hall::admit`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use trilith_engine::{
    mark, planted,
    runtime::{Receiver, Sender, queue},
    types::{NodeId, Uuid},
};

use super::hello::Refusal;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The other side.
    In,
    /// We.
    Out,
}

#[derive(Debug)]
struct Claim {
    way: Way,
    directory: Uuid,
    number: u64,
    leave: Sender<()>,
}

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Register {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    claims: BTreeMap<NodeId, Vec<Claim>>,
    next: u64,
}

impl State {
    fn admits(&self, node: NodeId, directory: Uuid) -> Result<(), Refusal> {
        let claims = self.claims.get(&node).map(Vec::as_slice).unwrap_or_default();
        match claims.iter().find(|claim| claim.directory != directory) {
            Some(other) if !planted!("peer_two_nodes_with_one_id") => {
                mark!("peer: two nodes claimed one id");
                Err(Refusal::TwoNodesWithOneId { node, directory: other.directory })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A connection that is entered; leaving is dropping it.
#[derive(Debug)]
pub(super) struct Seat {
    register: Arc<Register>,
    node: NodeId,
    number: u64,
    /// Says something when a newer connection takes the seat.
    pub(super) taken: Receiver<()>,
}

impl Register {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node with that directory may come in.
    pub(super) fn admits(&self, node: NodeId, directory: Uuid) -> Result<(), Refusal> {
        self.lock().admits(node, directory)
    }

    /// Enters a connection. An older one of the same node and way is asked to leave.
    pub(super) fn enter(
        self: &Arc<Self>,
        node: NodeId,
        directory: Uuid,
        way: Way,
    ) -> Result<Seat, Refusal> {
        let mut state = self.lock();
        state.admits(node, directory)?;
        state.next += 1;
        let number = state.next;
        let (leave, taken) = queue(1);
        let claims = state.claims.entry(node).or_default();
        claims.retain(|claim| {
            if claim.way == way {
                mark!("peer: a newer connection took an older one's place");
                // Full: it has been told. Closed: it has left.
                let _told = claim.leave.push(());
            }
            claim.way != way
        });
        claims.push(Claim { way, directory, number, leave });
        Ok(Seat { register: Arc::clone(self), node, number, taken })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.register.lock();
        if let Some(claims) = state.claims.get_mut(&self.node) {
            claims.retain(|claim| claim.number != self.number);
            if claims.is_empty() {
                state.claims.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(3);
    const ONE: Uuid = Uuid([1; 16]);
    const OTHER: Uuid = Uuid([2; 16]);

    #[test]
    fn another_directory_waits_until_all_of_the_first_have_left() {
        let register = Arc::new(Register::default());
        let incoming = register.enter(NODE, ONE, Way::In).unwrap();
        let outgoing = register.enter(NODE, ONE, Way::Out).unwrap();
        let refused = Err(Refusal::TwoNodesWithOneId { node: NODE, directory: ONE });
        assert_eq!(register.admits(NODE, OTHER), refused);
        assert_eq!(register.admits(NodeId(4), OTHER), Ok(()));
        drop(incoming);
        assert_eq!(register.admits(NODE, OTHER), refused);
        drop(outgoing);
        assert_eq!(register.admits(NODE, OTHER), Ok(()));
    }

    #[test]
    fn the_same_directory_takes_its_own_place() {
        let register = Arc::new(Register::default());
        let mut old = register.enter(NODE, ONE, Way::In).unwrap();
        let mut other_way = register.enter(NODE, ONE, Way::Out).unwrap();
        let mut new = register.enter(NODE, ONE, Way::In).unwrap();
        assert_eq!(
            (old.taken.pop(), other_way.taken.pop(), new.taken.pop()),
            (Some(()), None, None)
        );
        // The old one leaves later, and takes nobody's place with it.
        drop(old);
        drop(other_way);
        assert!(register.admits(NODE, OTHER).is_err());
    }
}
