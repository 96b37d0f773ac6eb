//! Every bound of the engine in one place, each with its reason.
//!
//! What grows from outside (a queue, a buffer, a retry, a map) has its constant here; reaching it
//! is an error reply or back-pressure, never memory.
//!
//! Not here: what an operator may tune (options of the rooms themselves).

/// A key's length. The record header keeps it in 16 bits.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// A value's length in an embedded store: what one process can sensibly hold twice in memory
/// while compaction moves it.
pub const VALUE_BYTES_MAX_EMBEDDED: usize = 64 << 20;

/// A value's length in a cluster: one entry must not hold up a peer link for longer than an
/// election timeout at 100 MB/s.
pub const VALUE_BYTES_MAX_CLUSTER: usize = 8 << 20;

/// A file's name below the data directory: what every file system takes as one component.
pub const NAME_BYTES_MAX: usize = 255;

/// A record's value: the larger of the two limits above.
pub const RECORD_VALUE_BYTES_MAX: usize = VALUE_BYTES_MAX_EMBEDDED;

/// What a record of a log's entry says beside key and value: kind, client, sequence, stamp, a
/// condition. Its length stands in one byte.
pub const ENTRY_SECTION_BYTES_MAX: usize = u8::MAX as usize;

/// The highest number that a node tells another: half of what 64 bits hold, so that no sum of two
/// that came over a wire overflows. A node refuses what is higher, and the link with it.
pub const PACKET_NUMBER_MAX: u64 = i64::MAX as u64;

/// One frame's records: a batch is written and verified as one piece, so it is held in memory as
/// one piece. Room for the largest value and a batch around it.
pub const FRAME_BYTES_MAX: usize = 128 << 20;

/// How many groups one frame may speak of; its header counts them in 16 bits.
pub const FRAME_GROUPS_MAX: usize = u16::MAX as usize;

/// The smallest segment: a header and a page of frames. Only tests want it that small.
pub const SEGMENT_BYTES_MIN: u64 = 8 << 10;

/// The largest file that recovery is willing to read into memory as a segment: the largest frame,
/// its directory, map and footer.
pub const SEGMENT_FILE_BYTES_MAX: u64 = 1 << 30;

/// A data segment's frame: large enough that headers vanish, small enough that verifying one stays
/// in the cache.
pub const DATA_FRAME_BYTES: usize = 256 << 10;

/// A footer's block: damage costs the hints of one block's worth of trust, and checking one block
/// stays in the cache.
pub const FOOTER_BLOCK_BYTES: usize = 64 << 10;

/// The smallest manifest file. A roll makes room for four times what must be in it.
pub const MANIFEST_BYTES_MIN: u64 = 8 << 10;

/// What is taken and cannot be refused leaves one part in so many of a disk's reserve to what makes
/// room: half. The other half takes what was under way when the disk was found full.
pub const RESERVE_LEFT_BY_PROMISED_DIVISOR: u64 = 2;

/// Copies of what is live leave one part in so many: a quarter, for the deletions, terms and
/// checkpoints without which no copy gives anything back. Half as much again as what is promised
/// may leave, so that something can be moved when all of that is used up.
pub const RESERVE_LEFT_BY_MOVING_DIVISOR: u64 = 4;

/// How many zeros a recycled segment gets at once: enough for the device's speed, little enough
/// that commits get their turn in between and that the page cache keeps them in small pieces.
pub const ZERO_CHUNK_BYTES: usize = 32 << 10;

/// How many bytes of unsealed segments recovery keeps between judging and using them; beyond it
/// they are read a second time.
pub const RECOVERY_BYTES_MAX: usize = 192 << 20;

/// Voters of one group: beyond nine, every write waits for a fifth disk and nobody gains. Both
/// halves of a joint membership may be this large.
pub const RAFT_VOTERS_MAX: usize = 9;

/// Learners of one group: a leader sends each of them the whole log.
pub const RAFT_LEARNERS_MAX: usize = 9;

/// One entry as the driver encodes it: the largest value of a cluster, its key, and room for what
/// stands around them.
pub const RAFT_ENTRY_BYTES_MAX: u32 = 9 << 20;

/// The payload of one append: large enough that its header vanishes, small enough that a heartbeat
/// behind it is not late on a slow link.
pub const RAFT_APPEND_BYTES_MAX: u64 = 1 << 20;

/// Entries of one append: what a follower checks in one step without holding up other groups.
pub const RAFT_APPEND_ENTRIES_MAX: u64 = 4096;

/// Appends on their way to one follower: covers a round trip of small batches.
pub const RAFT_INFLIGHT_MESSAGES_MAX: usize = 256;

/// Bytes on their way to one follower: a gigabit over 64 ms, or what a stalled one may pin.
pub const RAFT_INFLIGHT_BYTES_MAX: u64 = 8 << 20;

/// Bytes a leader takes without having committed them; then `Overloaded`, and nothing happened.
pub const RAFT_UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;

/// Bytes handed out to be applied and not applied yet; then the rest waits.
pub const RAFT_APPLYING_BYTES_MAX: u64 = 64 << 20;

/// Promises of a group that wait for the disk: a few for each append that may be on its way. A disk
/// that hangs would otherwise collect one for each question; who asks asks again.
pub const RAFT_PROMISES_MAX: usize = 4 * RAFT_INFLIGHT_MESSAGES_MAX;

/// How long an entry is its leader's lease, in milliseconds. No setting changes it: a new leader waits
/// for the lease of an older one without knowing whether that has one. Shorter than the silence before
/// any election that is not in a hurry, so that the wait is over when it begins.
pub const RAFT_LEASE_MS: u64 = 100;

/// How far the rates of two clocks may differ at most where leases are relied on, in millionths. As
/// much part of what everybody waits for.
pub const RAFT_DRIFT_PPM_MAX: u32 = 500_000;

/// Moments that a leader remembers for its lease: a sixty-fourth of a lease is exact enough.
pub const RAFT_LEASE_MARKS_MAX: usize = 64;

/// Separate stretches of damage that a replica repairs entry by entry. One with more is better
/// replaced, and one list stays short enough to be searched in a step.
pub const RAFT_FAULTY_RANGES_MAX: usize = 1024;

/// How many findings of a verification are worded: more than anybody reads, and a bound when every
/// record is damaged. All are counted.
pub const FINDINGS_MAX: usize = 1000;

/// How many terms may pass between two frames of one journal: what its last frame may have promised
/// is bounded by it when nobody can read that frame. Each term is a campaign that began with a sync
/// and a question to a majority; a thousand of them a second, all day, take a month and a half. Only
/// who has lost such a frame goes further at once; whoever hears of a term that is further away than
/// half of this writes it down before it promises anything in it.
pub const RAFT_TERMS_MISSED_MAX: u64 = 1 << 32;

/// The highest LSN: half of what a number holds, so that no sum of two read from a disk overflows.
/// A million records a second reach it in three hundred thousand years.
pub const LSN_MAX: u64 = i64::MAX as u64;

/// The highest number of a segment or a manifest, for the same reason.
pub const SEGMENT_ID_MAX: u32 = i32::MAX as u32;

/// What a transaction may read: it is checked in one turn that other groups wait for.
pub const TRANSACTION_CHECKS_MAX: usize = 1024;

/// What a transaction may write, for the same reason.
pub const TRANSACTION_WRITES_MAX: usize = 1024;

/// Keys of one request to read many: they are answered from one view, in one response.
pub const GET_KEYS_MAX: usize = 1024;

/// Keys of one page of a scan: a page is one response, and the next one costs a round trip.
pub const SCAN_KEYS_MAX: usize = 4096;

/// Groups of which a leader tells an operator: as many as slots can be split over.
pub const REPLACING_GROUPS_MAX: usize = 16_384;

/// The values and keys of one response: the largest value, or as much in small ones, and room for
/// what stands around them. A scan ends its page before that.
pub const RESPONSE_BYTES_MAX: usize = 9 << 20;

/// The highest number of a request, for the same reason. See [`LSN_MAX`].
pub const SEQUENCE_MAX: u64 = i64::MAX as u64;

/// Clients that a group remembers: more than connect to one group, and few enough that a checkpoint
/// with all of them is written in a moment.
pub const SESSIONS_MAX: usize = 4096;

/// Replies that are kept for one client: as many as it may have in flight at one group.
pub const SESSION_REPLIES_MAX: usize = 1024;

/// The longest old value that is kept with a reply; who repeats such a request is told only that
/// there was one.
pub const SESSION_OLD_BYTES_MAX: usize = 1 << 10;

/// All replies that a group keeps: what a checkpoint may weigh.
pub const SESSIONS_BYTES_MAX: usize = 8 << 20;

/// A client that was not heard of for this long is forgotten: no client retries for an hour.
pub const SESSION_IDLE_MS: u64 = 60 * 60 * 1000;

/// A client that was not heard of for this long is forgotten when there is no room: longer than any
/// patience that a client should have.
pub const SESSION_QUIET_MS: u64 = 60 * 1000;

/// How far ahead of a group's time a client may be: clocks that differ by more are wrong, and who
/// comes from farther would make the group forget others too early.
pub const SESSION_AHEAD_MS_MAX: u64 = 60 * 1000;

/// How often idle clients are looked for, in a group's own time: a look costs a walk over all.
pub const SESSION_SWEEP_MS: u64 = 60 * 1000;

/// What a shard takes from its queue before it does something about it: what fits a frame.
pub const SHARD_ARRIVALS_AT_ONCE: usize = 4096;

/// Requests of one group that wait for something: a second's worth, then `Overloaded`.
pub const SHARD_PENDING_MAX: usize = 64 << 10;

/// Beyond this a frame takes nothing more of any kind: with the largest piece of any kind behind it,
/// it is still a frame that can be written.
pub const SHARD_FRAME_BYTES_FULL: usize = FRAME_BYTES_MAX / 4;

/// Requests of all groups that were not answered: as many as all connections to a node may have on
/// their way, then `Overloaded`.
pub const SHARD_REQUESTS_MAX: usize = 1 << 20;

/// What requests weigh that wait to be proposed, or for their answers: as much as a leader takes
/// without having committed it, then `Overloaded`. A few thousand of the largest would be all memory.
pub const SHARD_REQUEST_BYTES_MAX: u64 = RAFT_UNCOMMITTED_BYTES_MAX;

/// The same of one group beside others: no more than what is left over once it has so much, so the
/// half. A group that cannot answer would otherwise keep all others from being asked.
pub const SHARD_GROUP_REQUEST_BYTES_MAX: u64 = SHARD_REQUEST_BYTES_MAX / 2;

/// A request for which nobody waits any more is forgotten so much later: each look for such is a walk
/// over all that wait, and no two come sooner after each other.
pub const SHARD_LATE_MS: u64 = 100;

/// Groups of one shard: as many as slots can be split over. A neighbour names groups that are to be
/// here, and its memory may be broken.
pub const SHARD_GROUPS_MAX: usize = REPLACING_GROUPS_MAX;

/// Replicas of a group that have spoken and sit nowhere, as far as is known here: as many as may be
/// members. Who is forgotten is known again when it speaks.
pub const SHARD_STRANGERS_MAX: usize = RAFT_VOTERS_MAX + RAFT_LEARNERS_MAX;

/// Keys that are over and leave the index before anything else gets its turn: half a millisecond.
pub const SHARD_EXPIRED_AT_ONCE: usize = 512;

/// Members that have shown themselves and wait to be written down: each of the others a few times.
/// Whoever is forgotten comes again; a disk that hangs would otherwise collect them.
pub const SHARD_GREETINGS_MAX: usize = 64;

/// Entries of a group that are applied before anything else gets its turn.
pub const SHARD_APPLY_BYTES_AT_ONCE: u64 = 1 << 20;

/// Messages that wait for their entries to be read from the disk; Raft repeats what is dropped.
pub const SHARD_UNFETCHED_MAX: usize = 1024;

/// Groups that are founded by one frame.
pub const SHARD_FOUNDED_AT_ONCE: usize = 1024;

/// Snapshots a shard sends at once: each holds a view, and segments with it. As many that it was
/// taking in and are not wanted any more may be on their way out.
pub const SHARD_SNAPSHOTS_AT_ONCE: usize = 4;

/// Snapshots a shard takes in at once, with those that wait to be made part of it: as many as eight
/// others send. Each holds an index and open files.
pub const SHARD_INTAKES_AT_ONCE: usize = 8 * SHARD_SNAPSHOTS_AT_ONCE;

/// What the tasks of snapshots may have to say before they wait.
pub const SHARD_SNAPSHOT_NEWS_MAX: usize = 64;

/// A chunk of a snapshot: large enough that its round trip vanishes, small enough that a heartbeat
/// behind it is not late.
pub const SHARD_CHUNK_BYTES: usize = 512 << 10;

/// Keys that a sender of a snapshot reads at once, and that a page of a cut has at most: what is in
/// memory is read without a pause.
pub const SHARD_SNAPSHOT_KEYS_AT_ONCE: usize = 1024;

/// Cuts that a shard holds at once: a few backups, each with a few groups at a time. Each keeps the
/// segments that its values lie in.
pub const SHARD_CUTS_MAX: usize = 16;

/// A cut for which nobody asks is let go of after so long: whoever reads asks again as soon as he has
/// written a page, and may have to connect anew in between.
pub const SHARD_CUT_IDLE_MS: u64 = 30_000;

/// A page of a cut is full with the key with which it reaches so many bytes: a round trip vanishes
/// beside it, and little else waits behind it on its connection.
pub const CUT_PAGE_BYTES_MAX: usize = 1 << 20;

/// Damaged values that a shard knows of, and reads that wait for some: what else is damaged is found
/// again by whoever reads it.
pub const SHARD_BROKEN_MAX: usize = 1024;

/// Damaged values that a shard asks for at once, copies of such values that wait to be written, and
/// values that it sends to others in a turn: each may be of the largest size.
pub const SHARD_MENDED_AT_ONCE: usize = 8;

/// Values that others have asked for and that were not sent yet: they ask again.
pub const SHARD_VALUES_ASKED_MAX: usize = 64;

/// A shard that is asked to stop hands over and answers for so long at most: two elections, after
/// which whoever could take over has.
pub const SHARD_STOP_WITHIN_MS: u64 = 4000;

/// A node whose directory the others do not know stays for so long, so that those who have nobody
/// else are welcomed by it, and somebody may seat it meanwhile.
pub const SHARD_OUTCAST_STAYS_MS: u64 = 1000;

/// Questions of a group's readers that are remembered with their moments: the newest are worth most,
/// and a round answers all of them.
pub const SHARD_QUESTIONS_MAX: usize = 16;

/// Points of each replica at which digests are compared: a replica that is farther behind than four
/// periods is compared when it has caught up.
pub const SHARD_POINTS_KEPT: usize = 4;

/// Durations that a node remembers of its writes: enough that two hiccups say nothing, few enough
/// that a disk that has become slow shows within three writes.
pub const SHARD_PACE_SAMPLES: usize = 9;

/// A node that takes so many times as long as the best is slow: disks of one kind differ by less
/// under the same load.
pub const SHARD_PACE_SLOW_TIMES: u64 = 8;

/// A node that takes at most so many times as long as the best is fit: far enough below what is slow
/// that noise does not lead from one to the other.
pub const SHARD_PACE_FIT_TIMES: u64 = 3;

/// How eagerly a slow node campaigns: almost an election timeout later than it would.
pub const SHARD_PACE_SLOW_PRIORITY: u8 = 1;

/// How far the wall clock may be from what the monotonic clock foresees: corrections of a clock that
/// is looked after are smaller, and what is larger is a mistake of somebody's.
pub const SHARD_WALL_OFF_MS_MAX: u64 = 1000;

/// How long a wall clock that has leapt must go on from there before it is believed: somebody has
/// put it right. Mistakes that are noticed are taken back sooner.
pub const SHARD_WALL_STAYS_MS: u64 = 60_000;
