//! Asking one node who it is, and nothing else: for people who want to know whom an address reaches.
//!
//! Not here: connections that carry calls (`line.rs`).

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use trilith_engine::{
    runtime::{Clock, Net, Runtime, Stream, timeout},
    types::{ClientId, Uuid},
};

use crate::{
    frame::Kind,
    peer::{
        Trouble,
        hello::{Hello, Identity, Purpose, Refusal, Versions, Welcome},
        stream::{Inlet, write_all},
    },
};

/// Who listens there.
///
/// # Errors
/// Nobody does, or it is none of us.
pub async fn greet<R: Runtime>(
    runtime: &R,
    at: SocketAddr,
    within: Duration,
) -> Result<Identity, Trouble> {
    let clock = runtime.clock();
    let deadline = clock.now() + within;
    let stream = runtime.net().connect(at, deadline).await.map_err(Trouble::Net)?;
    let (reader, mut writer) = stream.split();
    let mut inlet = Inlet::new(reader);
    let asked = async {
        let purpose = Purpose::Client { client: ClientId(1), cluster: Uuid::default() };
        let mut words = BytesMut::new();
        Hello { versions: Versions::OURS, purpose }.put(&mut words);
        write_all(&mut writer, &words).await?;
        let frame = inlet.frame().await?;
        if frame.kind == Kind::Refusal {
            return Err(Trouble::Refused(Refusal::take(&frame)?));
        }
        Ok(Welcome::take(&frame)?.who)
    };
    timeout(clock, deadline, asked).await.unwrap_or(Err(Trouble::Silent))
}
