//! Stories of clients who ask a node what it was configured with.
//!
//! Not here: who may ask (`secrets.rs`), what a node says of itself (`trilith`'s own tests).

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use trilith_engine::{
    runtime::{Clock, Net, Runtime, StreamRead, StreamWrite, queue},
    types::{ClientId, NodeId as Member, Size, Uuid},
};
use trilith_net::{
    client::settings_of,
    frame::{Decoder, Kind, put_empty},
    peer::{
        Incoming, LinkOptions, Links, Setup, Trouble,
        hello::{Hello, Identity, Purpose, Ready, Versions, Welcome},
        settings::{self, Setting},
    },
};
use trilith_sim::{
    os::SimRuntime,
    world::{NodeId, NodeOptions, World},
};

use super::{full::planted, stage::SECOND};

const PORT: u16 = 7381;
/// Together some megabytes, as much as a node tells.
const SETTINGS: usize = 500;
/// So often one asks who reads nothing: far more than may wait for him.
const ASKS: usize = 60;

#[derive(Clone, Debug, Default)]
struct Seen {
    /// What waited most for one client.
    waited: Size,
    /// What was told to who reads.
    told: Option<Result<Vec<Setting>, Trouble>>,
}

fn configured() -> Vec<Setting> {
    let one = |number: usize| Setting {
        name: format!("setting.{number}"),
        is_shared: number.is_multiple_of(2),
        value: Some(number.to_string().repeat(2000)),
        origin: format!("node.toml:{number}"),
        mark: number as u32,
    };
    (0..SETTINGS).map(one).collect()
}

async fn node(rt: SimRuntime, seen: Arc<Mutex<Seen>>) {
    let at = rt.address(NodeId(0), PORT);
    let listener = rt.net().listen(at).await.expect("nobody listens there");
    let (into, _told) = queue::<Incoming>(64);
    let own = Identity { cluster: Uuid([7; 16]), node: Member(1), directory: Uuid([1; 16]) };
    let options = LinkOptions { asks_node: false, ..LinkOptions::default() };
    let settings = settings::encode(&configured());
    let setup = Setup { own, members: vec![(Member(1), at)], options, settings };
    let links = Links::start(&rt, setup, listener, into);
    let clock = rt.clock();
    loop {
        clock.sleep_until(clock.now() + SECOND / 100).await;
        let size = links.sizes().reply_bytes;
        let mut seen = seen.lock().expect("nobody panics with it");
        if size.now >= seen.waited.now {
            seen.waited = size;
        }
    }
}

async fn reader(rt: SimRuntime, seen: Arc<Mutex<Seen>>) {
    let told = settings_of(&rt, rt.address(NodeId(0), PORT), None, 20 * SECOND).await;
    let told = told.map(|(_, settings)| settings);
    seen.lock().expect("nobody panics with it").told = Some(told);
}

/// Asks again and again, and reads nothing behind his welcome.
async fn greedy(rt: SimRuntime) {
    let soon = rt.clock().now() + SECOND;
    let at = rt.address(NodeId(0), PORT);
    let mut stream = rt.net().connect(at, soon).await.expect("it listens");
    let purpose = Purpose::Client { client: ClientId(9), cluster: Uuid::default() };
    let mut words = BytesMut::new();
    Hello { versions: Versions::OURS, purpose }.put(&mut words);
    let mut decoder = Decoder::new(256);
    let mut said = 0;
    let welcome = loop {
        if said < words.len() {
            said += stream.write(&words[said..]).await.expect("it listens");
            continue;
        }
        if let Some(frame) = decoder.take().expect("it speaks as we do") {
            break frame;
        }
        let mut buffer = [0; 256];
        let read = stream.read(&mut buffer).await.expect("it speaks");
        decoder.feed(&buffer[..read]);
    };
    words.clear();
    Ready { token: Welcome::take(&welcome).expect("he is let in").token }.put(&mut words);
    (0..ASKS).for_each(|_| put_empty(&mut words, Kind::SettingsAsk));
    let mut rest = &words[..];
    while let Ok(taken @ 1..) = stream.write(rest).await {
        rest = &rest[taken..];
    }
    std::future::pending().await
}

fn asked(bugs: &[&str]) -> Seen {
    let mut world = World::new(1, planted(bugs));
    let seen = Arc::<Mutex<Seen>>::default();
    let (inside, outside) = (Arc::clone(&seen), Arc::clone(&seen));
    world.add("node", NodeOptions::default(), move |rt| node(rt, Arc::clone(&inside)));
    world.add("greedy", NodeOptions::default(), greedy);
    world.add("reader", NodeOptions::default(), move |rt| reader(rt, Arc::clone(&outside)));
    world.start_all();
    world.run_for(2 * SECOND);
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    let seen = seen.lock().expect("nobody panics with it");
    seen.clone()
}

#[test]
fn who_reads_is_told_all_while_who_does_not_read_waits() {
    let Seen { waited: Size { now, most }, told } = asked(&[]);
    assert_eq!(told, Some(Ok(configured())));
    assert!(now > most / 4 && now <= most, "{now} bytes waited for one client, of {most}");
}

#[cfg(feature = "mutants")]
#[test]
fn answers_that_pile_up_are_noticed() {
    let Size { now, most } = asked(&["peer_settings_pile_up"]).waited;
    assert!(now > most, "{now} bytes waited for one client, of {most}");
}
