//! Asking one node who it is, and nothing else: for people who want to know whom an address reaches.
//!
//! Not here: connections that carry calls (`line.rs`).

use std::{net::SocketAddr, time::Duration};

use trilith_engine::{
    runtime::{Clock, Net, Runtime, Stream, timeout},
    types::{ClientId, Uuid},
};

use crate::peer::{
    Trouble,
    hello::{Hello, Identity, Purpose, Versions},
    proof::{Secret, introduce},
    stream::Inlet,
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
        let purpose = Purpose::Client { client: ClientId(1), cluster: Uuid::default() };
        let hello = Hello { versions: Versions::OURS, purpose };
        let known = secret.map(|secret| (secret, secret.nonce(&mut runtime.rng("greet"))));
        let told = introduce(&mut inlet, &mut writer, &hello, known).await?;
        told.map(|welcome| welcome.who).map_err(Trouble::Refused)
    };
    timeout(clock, deadline, asked).await.unwrap_or(Err(Trouble::Silent))
}
