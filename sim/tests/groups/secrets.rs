//! Stories of strangers at the port of a node whose cluster has a secret: what they say back, make
//! up, or leave out is no proof. And one of a cluster whose secret is changed while it serves.
//!
//! Not here: strangers at random (`scenarios/random`), real sockets (`net/tests/links.rs`).

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    command::{Level, Op, Outcome, Refusal as Refused, Reply},
    runtime::{Clock, Listener, Net, Runtime, StreamRead, StreamWrite, queue},
    shard::ShardOptions,
    types::{NodeId as Member, Uuid},
};
use trilith_net::{
    frame::{Decoder, Frame, Kind},
    peer::{
        Incoming, LinkOptions, Links, Setup,
        hello::{Hello, Identity, Purpose, Refusal, Versions},
        proof::{Challenge, Proof, Secrets},
    },
};
use trilith_sim::{
    os::{SimRuntime, SimStream},
    world::{NodeId, NodeOptions, World},
};

use super::{
    full::planted,
    stage::{Known, SECOND, Stage, append},
};

const PORT: u16 = 7381;

/// What a stranger was answered in the place of a Welcome, whether he was let in, and whether the node
/// believes him that another one has its place.
type Heard = Arc<Mutex<(Option<Kind>, bool, bool)>>;

/// What a stranger does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Makes a proof up.
    MakesUp,
    /// Has the node make it: what he is asked, he asks it.
    SaysBack,
    /// Says to the node that another one has its place.
    Refuses,
}

fn identity(node: u64) -> Identity {
    Identity { cluster: Uuid([7; 16]), node: Member(node), directory: Uuid([node as u8; 16]) }
}

/// A node of two that know the secret. The other one's address is where the stranger is.
async fn guarded(rt: SimRuntime, heard: Heard) {
    let at = |node| rt.address(NodeId(node), PORT);
    let members = vec![(Member(1), at(0)), (Member(2), at(1))];
    let secrets = Secrets::read(b"what only the nodes of this cluster know").ok();
    let options = LinkOptions { secrets, asks_node: false, ..LinkOptions::default() };
    let listener = rt.net().listen(at(0)).await.expect("nobody listens there");
    let (into, mut told) = queue::<Incoming>(64);
    let setup = Setup { own: identity(1), members, options, settings: Bytes::new() };
    let _links = Links::start(&rt, setup, listener, into);
    while let Ok(told) = told.recv().await {
        let mut heard = heard.lock().expect("nobody panics with it");
        heard.1 |= matches!(told, Incoming::Up(_));
        heard.2 |= matches!(told, Incoming::Outcast { .. });
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

/// Who has taken the other one's address. He says that he is that one, to be let in or to be believed.
async fn stranger(rt: SimRuntime, heard: Heard, does: Does) {
    let at = |node| rt.address(NodeId(node), PORT);
    let mut listener = rt.net().listen(at(1)).await.expect("nobody listens there");
    let (mut its, _) = listener.accept().await.expect("it connects to its member");
    let mut of_its = Decoder::new(256);
    assert_eq!(hear(&mut its, &mut of_its).await.kind, Kind::Hello);
    if does == Does::Refuses {
        let refusal = Refusal::OtherDirectory { node: Member(1), directory: Uuid([99; 16]) };
        say(&mut its, |out| refusal.put(out)).await;
        return std::future::pending().await;
    }
    let soon = rt.clock().now() + SECOND / 2;
    let mut own = rt.net().connect(at(0), soon).await.expect("it listens");
    let (mut of_own, purpose) =
        (Decoder::new(256), Purpose::Peer { who: identity(2), whom: Member(1) });
    say(&mut own, |out| Hello { versions: Versions::OURS, purpose }.put(out)).await;
    let asked = Challenge::take(&hear(&mut own, &mut of_own).await).expect("it asks for a proof");
    let mut proof = Proof { nonce: [0; 32], proof: [0; 32] };
    if does == Does::SaysBack {
        say(&mut its, |out| asked.put(out)).await;
        proof = Proof::take(&hear(&mut its, &mut of_its).await).expect("it proves itself");
    }
    say(&mut own, |out| proof.put(out)).await;
    let answer = hear(&mut own, &mut of_own).await.kind;
    heard.lock().expect("nobody panics with it").0 = Some(answer);
    std::future::pending::<()>().await;
}

/// What he hears, whether the node believes to have found its member, and what that one says.
fn at_the_door(does: Does, bugs: &[&str]) -> (Option<Kind>, bool, bool) {
    let mut world = World::new(1, planted(bugs));
    let heard = Heard::default();
    let (inside, outside) = (Arc::clone(&heard), Arc::clone(&heard));
    world.add("node", NodeOptions::default(), move |rt| guarded(rt, Arc::clone(&inside)));
    world.add("stranger", NodeOptions::default(), move |rt| {
        stranger(rt, Arc::clone(&outside), does)
    });
    world.start_all();
    world.run_for(SECOND / 2);
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    *heard.lock().expect("nobody panics with it")
}

#[test]
fn what_a_node_has_proven_itself_is_no_proof_to_it() {
    assert_eq!(at_the_door(Does::SaysBack, &[]), (Some(Kind::Refusal), false, false));
}

#[test]
fn what_is_made_up_is_no_proof() {
    assert_eq!(at_the_door(Does::MakesUp, &[]), (Some(Kind::Refusal), false, false));
}

/// A node that believed it would leave: whoever listens where a member was could make it.
#[test]
fn a_stranger_does_not_put_a_node_out() {
    assert_eq!(at_the_door(Does::Refuses, &[]), (None, false, false));
}

fn secrets(all: &[&str]) -> Secrets {
    Secrets::read(all.join("\n").as_bytes()).expect("they are long enough")
}

const OLD: &str = "what the nodes of this cluster knew before";
const NEW: &str = "what the nodes of this cluster know then";

/// A secret is changed on one node after the other, three times around: it is taken, shown, and the old
/// one is taken no more. What each node holds in the end of each step, if all of them answer.
fn changed(bugs: &[&str]) -> Result<(), String> {
    let (known, nodes) = (Known::default(), [0, 1, 2]);
    let say = |node: u32, all: &[&str]| {
        known.lock().expect("nobody panics with it").insert(node, secrets(all));
    };
    nodes.iter().for_each(|node| say(*node, &[OLD]));
    let mut stage = Stage::of_those_who_know(&known, 1, 3, &ShardOptions::default(), planted(bugs));
    stage.client.secret = Some(secrets(&[OLD]).first());
    let mut length = 0;
    for step in [&[OLD, NEW][..], &[NEW, OLD], &[NEW]] {
        for node in nodes {
            say(node, step);
            stage.blink(node, 3 * SECOND);
            length += 1;
            let told = stage.ask(&nodes, vec![append("value", "x")], 10 * SECOND).remove(0);
            if !matches!(told, Some(Outcome::Ok(_))) {
                return Err(format!("{told:?} where {all:?} is known", all = step));
            }
            stage.world.run_for(SECOND);
            // A majority would serve: each of them must be reached, by the others and by clients.
            for reached in nodes {
                let get = vec![Op::Get(Bytes::from_static(b"value"))];
                match stage.ask_at(Level::Eventual, &[reached], get, 5 * SECOND).remove(0) {
                    Some(Outcome::Ok(Reply::Value(Some(found)))) if found.value.len() == length => {
                    }
                    other => return Err(format!("node {reached} has {other:?}, not {length}")),
                }
            }
        }
        stage.client.secret = Some(secrets(&[NEW]).first());
    }
    stage.client.secret = Some(secrets(&[OLD]).first());
    let asked = stage.ask(&nodes, vec![append("value", "x")], SECOND).remove(0);
    assert_eq!(asked, Some(Outcome::Refused(Refused::TooLate)), "who knows the old one is nobody");
    stage.assert_no_panic();
    Ok(())
}

#[test]
fn a_secret_is_changed_while_the_cluster_serves() {
    assert_eq!(changed(&[]), Ok(()));
}

#[cfg(feature = "mutants")]
#[test]
fn a_second_secret_that_is_not_taken_is_noticed() {
    assert!(changed(&["peer_other_secret_not_taken"]).is_err());
}

#[cfg(feature = "mutants")]
#[test]
fn an_answer_by_another_secret_is_noticed() {
    assert!(changed(&["peer_answers_with_its_own"]).is_err());
}

#[cfg(feature = "mutants")]
#[test]
fn a_stranger_who_is_believed_is_noticed() {
    assert!(at_the_door(Does::Refuses, &["peer_stranger_refuses"]).2);
}

#[cfg(feature = "mutants")]
#[test]
fn a_proof_that_is_sent_back_is_noticed() {
    assert_eq!(at_the_door(Does::SaysBack, &["peer_proof_reflected"]).0, Some(Kind::Proof));
}

#[cfg(feature = "mutants")]
#[test]
fn a_proof_that_is_made_up_is_noticed() {
    assert_eq!(at_the_door(Does::MakesUp, &["peer_any_proof_taken"]).0, Some(Kind::Proof));
}
