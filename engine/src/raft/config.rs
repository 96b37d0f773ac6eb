//! What may be chosen about a replica: its patience, its limits, and what its clock can promise.

use super::{Moment, time::nanos};
use crate::limits::{
    RAFT_APPEND_BYTES_MAX, RAFT_APPEND_ENTRIES_MAX, RAFT_APPLYING_BYTES_MAX, RAFT_DRIFT_PPM_MAX,
    RAFT_INFLIGHT_BYTES_MAX, RAFT_INFLIGHT_MESSAGES_MAX, RAFT_LEASE_MS, RAFT_UNCOMMITTED_BYTES_MAX,
};
use core::{fmt, time::Duration};

/// What may be chosen about a replica. Replicas of a group may choose differently, but for the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// How often a leader says that it is there.
    pub heartbeat: Duration,
    /// How long silence must last before anybody doubts the leader. Each replica draws its own
    /// patience between once and twice this.
    pub election: Duration,
    /// How eagerly this replica campaigns. 0: never by itself. 100 is the usual; each 10 less waits
    /// a tenth of an election timeout longer, so the preferred replica is usually first and the
    /// others are never hindered.
    pub priority: u8,
    /// Whether a replica that begins, and has heard of no leader yet, asks for votes sooner than that.
    pub hasty: bool,
    /// A leader that has had nothing to do for this long goes quiet. `None`: it never does.
    pub quiet_after: Option<Duration>,
    /// How far the rates of any two nodes' clocks differ at most, in parts per million, as far as is
    /// promised. `None`: nothing is, and this replica serves no read from a lease.
    pub drift_ppm: Option<u32>,
    /// What a lease is. The same for all replicas of a group, whether they have leases or not.
    pub lease: LeaseConfig,
    /// Entries of one append.
    pub append_entries_max: u64,
    /// Payload bytes of one append; a single larger entry travels alone.
    pub append_bytes_max: u64,
    /// Appends on their way to one follower.
    pub inflight_messages_max: usize,
    /// Bytes on their way to one follower.
    pub inflight_bytes_max: u64,
    /// Bytes proposed and not committed.
    pub uncommitted_bytes_max: u64,
    /// Bytes handed out to be applied and not applied.
    pub applying_bytes_max: u64,
}

/// What a lease is, whoever has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseConfig {
    /// How long the newest committed entry is a lease. Zero: nobody ever has one.
    pub duration: Duration,
    /// The most that anybody who has one may promise of clocks.
    pub drift_ppm_max: u32,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        let duration = Duration::from_millis(RAFT_LEASE_MS);
        Self { duration, drift_ppm_max: RAFT_DRIFT_PPM_MAX }
    }
}

impl LeaseConfig {
    /// How long a new leader waits until every lease of before has ended, whoever's clock is slow.
    #[must_use]
    pub fn outlasted(&self) -> Duration {
        let lease = nanos(self.duration);
        if lease == 0 {
            return Duration::ZERO;
        }
        let drift = u128::from(lease) * u128::from(self.drift_ppm_max) / 1_000_000;
        Duration::from_nanos(lease.saturating_add(u64::try_from(drift).unwrap_or(u64::MAX)))
            .saturating_add(Duration::from_nanos(1))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(1000),
            priority: 100,
            hasty: true,
            quiet_after: Some(Duration::from_millis(10_000)),
            drift_ppm: None,
            lease: LeaseConfig::default(),
            append_entries_max: RAFT_APPEND_ENTRIES_MAX,
            append_bytes_max: RAFT_APPEND_BYTES_MAX,
            inflight_messages_max: RAFT_INFLIGHT_MESSAGES_MAX,
            inflight_bytes_max: RAFT_INFLIGHT_BYTES_MAX,
            uncommitted_bytes_max: RAFT_UNCOMMITTED_BYTES_MAX,
            applying_bytes_max: RAFT_APPLYING_BYTES_MAX,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Followers would doubt a leader that does all it should.
    HeartbeatTooSlow,
    /// Others do not wait for leases on clocks that differ so much.
    ClocksTooLoose,
    /// Nothing could ever be sent, taken or applied.
    LimitIsZero,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeartbeatTooSlow => "the election timeout must be at least three heartbeats",
            Self::ClocksTooLoose => "clocks that differ so much bear no lease",
            Self::LimitIsZero => "a limit of zero stops everything",
        })
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Whether this configuration can be used.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.heartbeat.is_zero() || self.election < self.heartbeat * 3 {
            return Err(ConfigError::HeartbeatTooSlow);
        }
        if self.drift_ppm.is_some_and(|drift_ppm| drift_ppm > self.lease.drift_ppm_max) {
            return Err(ConfigError::ClocksTooLoose);
        }
        let limits = [
            self.append_entries_max,
            self.append_bytes_max,
            self.inflight_messages_max as u64,
            self.inflight_bytes_max,
            self.uncommitted_bytes_max,
            self.applying_bytes_max,
        ];
        if limits.contains(&0) { Err(ConfigError::LimitIsZero) } else { Ok(()) }
    }

    /// When a leader says the next time that it is there. All groups of a node do so at the same
    /// moments, so that one packet carries it for all of them.
    pub(super) fn next_beat(&self, now: Moment) -> Moment {
        let step = nanos(self.heartbeat).max(1);
        Moment((now.0 / step).saturating_add(1).saturating_mul(step))
    }
}
