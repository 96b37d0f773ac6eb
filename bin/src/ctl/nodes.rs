//! Which nodes `ctl` asks: those that are named, or those that the environment names, as it does for
//! nodes; or else whoever listens on this machine, and the members that he was configured with.
//!
//! Not here: what they are asked (`ctl.rs` and beside it).

use clap::Args;
use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use trilith_engine::types::NodeId;
use trilith_net::{
    client::{ClientOptions, settings_of},
    os::run_core,
    peer::settings::Setting,
};

use crate::{
    config::members_of,
    failure::{CONFIGURATION, Failure, INTERNAL, Outcome},
    member::PEER_PORT,
    secret::Shared,
};

/// Where nodes read who the members are.
const VARIABLE: &str = "TRILITH_CLUSTER__MEMBERS";
/// And what they call it.
const SETTING: &str = "cluster.members";
/// Whoever listens on this machine answers at once, or not at all.
const HERE_WITHIN: Duration = Duration::from_secs(1);

/// Where the nodes are, and what one must know there.
#[derive(Args, Debug)]
pub(super) struct Nodes {
    /// The nodes: each is asked by itself. Without it those that TRILITH_CLUSTER__MEMBERS names;
    /// without that whoever listens at 127.0.0.1:7381, and the members that he knows.
    #[arg(long, value_delimiter = ',', value_name = "IP:PORT,…")]
    at: Vec<SocketAddr>,
    #[command(flatten)]
    shared: Shared,
}

/// Whom to ask, and as whom.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) at: Vec<SocketAddr>,
    pub(super) options: ClientOptions,
}

impl Found {
    /// As an argument.
    pub(super) fn named(&self) -> String {
        let at: Vec<String> = self.at.iter().map(SocketAddr::to_string).collect();
        at.join(",")
    }
}

/// Who the members are, as a node was told that has these settings.
pub(super) fn members_in(settings: &[Setting]) -> Option<Vec<(NodeId, SocketAddr)>> {
    let said = settings.iter().find(|setting| setting.name == SETTING)?;
    members_of(said.value.as_deref()?).ok()
}

fn addresses(members: &[(NodeId, SocketAddr)]) -> Vec<SocketAddr> {
    members.iter().map(|(_, at)| *at).collect()
}

impl Nodes {
    /// Finds them.
    ///
    /// # Errors
    /// When the secret cannot be read, or what the environment says is no list of members.
    pub(super) fn find(&self) -> Outcome<Found> {
        let options = self.shared.client()?;
        if !self.at.is_empty() {
            return Ok(Found { at: self.at.clone(), options });
        }
        if let Ok(members) = env::var(VARIABLE) {
            let members = members_of(&members).map_err(|why| {
                let cause = format!("{VARIABLE}: {why}");
                Failure::new(&CONFIGURATION, cause, "correct it, or name the nodes with --at")
            })?;
            return Ok(Found { at: addresses(&members), options });
        }
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, PEER_PORT));
        // No file is touched: any directory will do.
        let told = run_core(env::temp_dir(), |os| async move {
            settings_of(&os, here, options.secret, HERE_WITHIN).await
        });
        let told = told.map_err(|error| Failure::new(&INTERNAL, error, "see ulimit -n"))?;
        let settings = told.map(|(_, settings)| settings).unwrap_or_default();
        let members = members_in(&settings).map(|members| addresses(&members));
        Ok(Found { at: members.unwrap_or_else(|| vec![here]), options })
    }
}
