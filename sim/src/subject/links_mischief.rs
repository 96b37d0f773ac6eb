//! Somebody at the peer port who means no good, or is lost: garbage, old greetings, half
//! handshakes, silence.
//!
//! None of it may disturb a living link, be heard, or stay.
//!
//! Not here: what must hold meanwhile (`links.rs`).

use std::time::Duration;

use bytes::BytesMut;
use trilith_engine::{
    mark,
    runtime::{Clock, Net, NetResult, Rng, Runtime, StreamRead, StreamWrite, timeout},
};
use trilith_net::{
    frame::{Decoder, Kind},
    peer::hello::{Hello, Purpose, Ready, Versions},
};

use super::links::{PORT, Shared, identity};
use crate::{
    os::{SimRng, SimRuntime, SimStream},
    world,
};

/// What is done with one connection.
#[derive(Clone, Copy, Debug)]
enum Mischief {
    Garbage,
    /// A greeting of a member, as it may lie in a queue long after its sender gave up.
    OldGreeting,
    /// The same, and an answer to a welcome of another connection.
    OldAnswer,
    Silence,
    /// A greeting, a byte at a time, never whole.
    Drip,
    /// A greeting with one bit wrong somewhere, and a whole one behind it, which nobody may answer.
    AlteredGreeting,
}

const ALL: [Mischief; 6] = [
    Mischief::Garbage,
    Mischief::OldGreeting,
    Mischief::OldAnswer,
    Mischief::Silence,
    Mischief::Drip,
    Mischief::AlteredGreeting,
];

/// Never ends.
pub(super) async fn run(runtime: SimRuntime, shared: Shared, nodes: u32) {
    let mut luck = runtime.rng("mischief");
    let clock = runtime.clock().clone();
    loop {
        clock.sleep_until(clock.now() + Duration::from_millis(luck.range(20..300))).await;
        let to = luck.range(0..u64::from(nodes)) as u32;
        let at = runtime.address(world::NodeId(to), PORT);
        let deadline = clock.now() + Duration::from_millis(500);
        let Ok(mut stream) = runtime.net().connect(at, deadline).await else { continue };
        let what = ALL[luck.range(0..ALL.len() as u64) as usize];
        let other = (to + 1 + luck.range(0..u64::from(nodes - 1)) as u32) % nodes;
        let deadline = clock.now() + Duration::from_millis(luck.range(10..3000));
        let done = mischief(&runtime, &mut luck, &mut stream, what, (to, other));
        match timeout(&clock, deadline, done).await {
            Ok(Ok(Some(answer))) if answer != Kind::Refusal => {
                shared.convict("garbage was skipped", format!("{what:?}: {answer:?}"));
            }
            Ok(_) => mark!("links subject: mischief was sent away"),
            Err(_) => {}
        }
    }
}

async fn write(stream: &mut SimStream, bytes: &[u8]) -> NetResult<()> {
    let mut written = 0;
    while written < bytes.len() {
        written += stream.write(&bytes[written..]).await?;
    }
    Ok(())
}

/// Does it, and then listens until it is sent away; or for what garbage is answered.
async fn mischief(
    runtime: &SimRuntime,
    luck: &mut SimRng,
    stream: &mut SimStream,
    what: Mischief,
    (to, other): (u32, u32),
) -> NetResult<Option<Kind>> {
    let purpose = Purpose::Peer { who: identity(other), whom: identity(to).node };
    let mut greeting = BytesMut::new();
    Hello { versions: Versions::OURS, purpose }.put(&mut greeting);
    match what {
        Mischief::Garbage => {
            let len = luck.range(1..400);
            let garbage: Vec<u8> = (0..len).map(|_| luck.next_u64() as u8).collect();
            write(stream, &garbage).await?;
        }
        Mischief::OldGreeting => write(stream, &greeting).await?,
        Mischief::OldAnswer => {
            Ready { token: luck.next_u64() }.put(&mut greeting);
            write(stream, &greeting).await?;
        }
        Mischief::Silence => {}
        Mischief::Drip => {
            let clock = runtime.clock();
            for byte in &greeting[..greeting.len() - 1] {
                write(stream, &[*byte]).await?;
                clock.sleep_until(clock.now() + Duration::from_millis(luck.range(1..40))).await;
            }
        }
        Mischief::AlteredGreeting => {
            let whole = greeting.clone();
            let bit = luck.range(0..greeting.len() as u64 * 8) as usize;
            greeting[bit / 8] ^= 1 << (bit % 8);
            write(stream, &greeting).await?;
            write(stream, &whole).await?;
            let (mut answer, mut buffer) = (Decoder::new(64), [0; 64]);
            loop {
                let heard = stream.read(&mut buffer).await?;
                answer.feed(&buffer[..heard]);
                let first = answer.take().ok().flatten();
                if heard == 0 || first.is_some() {
                    return Ok(first.map(|frame| frame.kind));
                }
            }
        }
    }
    let mut buffer = [0; 256];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(None)
}
