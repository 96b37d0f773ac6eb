//! Asking one node who it is or what it was configured with, and nothing else: for people who want to
//! know whom an address reaches.
//!
//! Not here: connections that carry calls (`line.rs`).

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use trilith_engine::{
    runtime::{Clock, Net, Runtime, Stream, StreamRead, StreamWrite, timeout},
    types::{ClientId, Uuid},
};

use crate::{
    frame::{self, BadFrame, Kind},
    limits::{CLIENT_READ_BYTES, FRAME_BODY_BYTES_MAX},
    peer::{
        Trouble,
        hello::{Hello, Identity, Purpose, Ready, Refusal, Versions, Welcome},
        proof::{Secret, introduce},
        settings::{self, Setting},
        stream::{Inlet, write_all},
    },
};

/// Who listens there; both know the secret of the cluster, if it has one.
///
/// # Errors
/// Nobody does, or it is none of us.
pub async fn greet<R: Runtime>(
    runtime: &R,
    at: SocketAddr,
    secret: Option<Secret>,
    within: Duration,
) -> Result<Identity, Trouble> {
    let clock = runtime.clock();
    let deadline = clock.now() + within;
    let stream = runtime.net().connect(at, deadline).await.map_err(Trouble::Net)?;
    let (reader, mut writer) = stream.split();
    let mut inlet = Inlet::new(reader);
    let asked = async {
        let welcome = meet(runtime, secret, &mut inlet, &mut writer).await?;
        Ok::<_, Trouble>(welcome.who)
    };
    timeout(clock, deadline, asked).await.unwrap_or(Err(Trouble::Silent))
}

/// Who listens at each of these addresses, all asked at once; in their order.
pub async fn greet_all<R: Runtime>(
    runtime: &R,
    nodes: &[SocketAddr],
    secret: Option<Secret>,
    within: Duration,
) -> Vec<Result<Identity, Trouble>> {
    let asked = nodes.iter().map(|at| (Box::pin(greet(runtime, *at, secret, within)), None));
    let mut asked: Vec<_> = asked.collect();
    poll_fn(|context| {
        for (ask, told) in asked.iter_mut().filter(|(_, told)| told.is_none()) {
            if let Poll::Ready(answer) = ask.as_mut().poll(context) {
                *told = Some(answer);
            }
        }
        if asked.iter().all(|(_, told)| told.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    asked.into_iter().filter_map(|(_, told)| told).collect()
}

/// What the node that listens there was configured with, as far as it may be seen; nothing where whoever
/// started it has told it nothing.
///
/// # Errors
/// As [`greet`]; and the node is older than the question.
pub async fn settings_of<R: Runtime>(
    runtime: &R,
    at: SocketAddr,
    secret: Option<Secret>,
    within: Duration,
) -> Result<(Identity, Vec<Setting>), Trouble> {
    let clock = runtime.clock();
    let deadline = clock.now() + within;
    let stream = runtime.net().connect(at, deadline).await.map_err(Trouble::Net)?;
    let (reader, mut writer) = stream.split();
    let mut inlet = Inlet::new(reader);
    let asked = async {
        let Welcome { version, who, token, .. } =
            meet(runtime, secret, &mut inlet, &mut writer).await?;
        if version != frame::VERSION {
            return Err(Trouble::Refusing(Refusal::Version(Versions::OURS)));
        }
        let mut words = BytesMut::new();
        Ready { token }.put(&mut words);
        frame::put_empty(&mut words, Kind::SettingsAsk);
        write_all(&mut writer, &words).await?;
        inlet.agreed(CLIENT_READ_BYTES, FRAME_BODY_BYTES_MAX);
        let told = inlet.frame().await?;
        match told.kind {
            Kind::Settings => Ok((who, settings::decode(&told.body)?)),
            Kind::Refusal => Err(Trouble::Refused(Refusal::take(&told)?)),
            kind => Err(Trouble::Garbage(BadFrame::Unexpected(kind))),
        }
    };
    timeout(clock, deadline, asked).await.unwrap_or(Err(Trouble::Silent))
}

/// The greeting of a client that belongs to no cluster.
async fn meet<R: Runtime, S: StreamRead, W: StreamWrite>(
    runtime: &R,
    secret: Option<Secret>,
    inlet: &mut Inlet<S>,
    writer: &mut W,
) -> Result<Welcome, Trouble> {
    let purpose = Purpose::Client { client: ClientId(1), cluster: Uuid::default() };
    let hello = Hello { versions: Versions::OURS, purpose };
    let known = secret.map(|secret| (secret, secret.nonce(&mut runtime.rng("greet"))));
    introduce(inlet, writer, &hello, known).await?.map_err(Trouble::Refused)
}
