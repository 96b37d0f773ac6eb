//! Stories of strangers at the port of a node whose cluster has a secret: what they say back, make
//! up, or leave out is no proof.
//!
//! Not here: strangers at random (`scenarios/random`), real sockets (`net/tests/links.rs`).

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use trilith_engine::{
    runtime::{Clock, Listener, Net, Runtime, StreamRead, StreamWrite, queue},
    types::{NodeId as Member, Uuid},
};
use trilith_net::{
    frame::{Decoder, Frame, Kind},
    peer::{
        Incoming, LinkOptions, Links, Setup,
        hello::{Hello, Identity, Purpose, Versions},
        proof::{Challenge, Proof, Secret},
    },
};
use trilith_sim::{
    os::{SimRuntime, SimStream},
    world::{NodeId, NodeOptions, World},
};

use super::{full::planted, stage::SECOND};

const PORT: u16 = 7381;

/// What a stranger was answered in the place of a Welcome, and whether he was let in.
type Heard = Arc<Mutex<(Option<Kind>, bool)>>;

fn identity(node: u64) -> Identity {
    Identity { cluster: Uuid([7; 16]), node: Member(node), directory: Uuid([node as u8; 16]) }
}

/// A node of two that know the secret. The other one's address is where the stranger is.
async fn guarded(rt: SimRuntime, heard: Heard) {
    let at = |node| rt.address(NodeId(node), PORT);
    let members = vec![(Member(1), at(0)), (Member(2), at(1))];
    let secret = Secret::new(b"what only the nodes of this cluster know").ok();
    let options = LinkOptions { secret, asks_node: false, ..LinkOptions::default() };
    let listener = rt.net().listen(at(0)).await.expect("nobody listens there");
    let (into, mut told) = queue::<Incoming>(64);
    let _links = Links::start(&rt, Setup { own: identity(1), members, options }, listener, into);
    while let Ok(told) = told.recv().await {
        heard.lock().expect("nobody panics with it").1 |= matches!(told, Incoming::Up(_));
    }
}

async fn say(stream: &mut SimStream, put: impl FnOnce(&mut BytesMut)) {
    let mut bytes = BytesMut::new();
    put(&mut bytes);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let taken = stream.write(rest).await.expect("it listens");
        rest = &rest[taken..];
    }
}

async fn hear(stream: &mut SimStream, decoder: &mut Decoder) -> Frame {
    loop {
        if let Some(frame) = decoder.take().expect("it speaks as we do") {
            return frame;
        }
        let mut buffer = [0; 256];
        let read = stream.read(&mut buffer).await.expect("it speaks");
        assert!(read > 0, "it said nothing");
        decoder.feed(&buffer[..read]);
    }
}

/// Who has taken the other one's address. He says that he is that one, and either makes a proof up or
/// has the node itself make it: what it is asked, he asks it.
async fn stranger(rt: SimRuntime, heard: Heard, says_back: bool) {
    let at = |node| rt.address(NodeId(node), PORT);
    let mut listener = rt.net().listen(at(1)).await.expect("nobody listens there");
    let (mut its, _) = listener.accept().await.expect("it connects to its member");
    let mut of_its = Decoder::new(256);
    assert_eq!(hear(&mut its, &mut of_its).await.kind, Kind::Hello);
    let soon = rt.clock().now() + SECOND / 2;
    let mut own = rt.net().connect(at(0), soon).await.expect("it listens");
    let (mut of_own, purpose) =
        (Decoder::new(256), Purpose::Peer { who: identity(2), whom: Member(1) });
    say(&mut own, |out| Hello { versions: Versions::OURS, purpose }.put(out)).await;
    let asked = Challenge::take(&hear(&mut own, &mut of_own).await).expect("it asks for a proof");
    let mut proof = Proof { nonce: [0; 32], proof: [0; 32] };
    if says_back {
        say(&mut its, |out| asked.put(out)).await;
        proof = Proof::take(&hear(&mut its, &mut of_its).await).expect("it proves itself");
    }
    say(&mut own, |out| proof.put(out)).await;
    let answer = hear(&mut own, &mut of_own).await.kind;
    heard.lock().expect("nobody panics with it").0 = Some(answer);
    std::future::pending::<()>().await;
}

/// What he hears, and whether the node believes to have found its member.
fn at_the_door(says_back: bool, bugs: &[&str]) -> (Option<Kind>, bool) {
    let mut world = World::new(1, planted(bugs));
    let heard = Heard::default();
    let (inside, outside) = (Arc::clone(&heard), Arc::clone(&heard));
    world.add("node", NodeOptions::default(), move |rt| guarded(rt, Arc::clone(&inside)));
    world.add("stranger", NodeOptions::default(), move |rt| {
        stranger(rt, Arc::clone(&outside), says_back)
    });
    world.start_all();
    world.run_for(SECOND / 2);
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    *heard.lock().expect("nobody panics with it")
}

#[test]
fn what_a_node_has_proven_itself_is_no_proof_to_it() {
    assert_eq!(at_the_door(true, &[]), (Some(Kind::Refusal), false));
}

#[test]
fn what_is_made_up_is_no_proof() {
    assert_eq!(at_the_door(false, &[]), (Some(Kind::Refusal), false));
}

#[cfg(feature = "mutants")]
#[test]
fn a_proof_that_is_sent_back_is_noticed() {
    assert_eq!(at_the_door(true, &["peer_proof_reflected"]).0, Some(Kind::Proof));
}

#[cfg(feature = "mutants")]
#[test]
fn a_proof_that_is_made_up_is_noticed() {
    assert_eq!(at_the_door(false, &["peer_any_proof_taken"]).0, Some(Kind::Proof));
}
