//! Every bound of the wire in one place, each with its reason.
//!
//! Not here: the engine's own bounds (`trilith_engine::limits`), what an operator may tune (options
//! of the rooms themselves).

use std::time::Duration;

use trilith_engine::limits::{
    KEY_BYTES_MAX, RESPONSE_BYTES_MAX, SESSION_REPLIES_MAX, TRANSACTION_CHECKS_MAX,
};

/// A frame's body: an append carries at most one entry more than what it may hold, and the largest
/// entry has 9 MiB. Room for both, and for what comes next.
pub const FRAME_BODY_BYTES_MAX: usize = 16 << 20;

/// The body of a frame that comes before the two sides know each other. A stranger may not make us
/// wait for more than a few words.
pub const HANDSHAKE_BODY_BYTES_MAX: usize = 64;

/// What waits to be sent to one node, unless the options say otherwise: the window of a few busy
/// groups. What is older than that is repeated by Raft before it would arrive.
pub const OUTBOX_BYTES_MAX: usize = 32 << 20;

/// Signs of life in one frame: it stays far below what a frame may have.
pub const BEATS_AT_ONCE_MAX: usize = 4096;

/// One read from a peer: a socket rarely holds more than that at a time, and a system call for it
/// costs less than copying it.
pub const PEER_READ_BYTES: usize = 64 << 10;

/// A buffer that grew for a burst is kept up to this size; the rest goes back.
pub const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Requests of one connection that are on their way: as many as a group keeps answers for.
pub const CLIENT_IN_FLIGHT_MAX: usize = SESSION_REPLIES_MAX;

/// Answers that wait for one client to read them: one of the largest, and a batch around it. Beyond
/// that nothing is read from it, and what it has asked before is answered with little.
pub const CLIENT_REPLIES_BYTES_MAX: usize = 16 << 20;

/// The same with all that was asked before: the last one that is whole, and a transaction's numbers
/// for each of the others.
pub const CLIENT_REPLIES_BYTES_MOST: usize =
    CLIENT_REPLIES_BYTES_MAX + RESPONSE_BYTES_MAX + CLIENT_IN_FLIGHT_MAX * (16 << 10);

/// Requests and answers of all clients at the nodes' port together that may be in memory: some
/// sixteen of those who take the most. Nodes that ask for others are among them.
pub const CLIENTS_BYTES_MAX: usize = 512 << 20;

/// One read from a client or a server: there are many clients, and each has such a buffer.
pub const CLIENT_READ_BYTES: usize = 16 << 10;

/// A client that says nothing for so long is gone: clients ping far more often, and what a forgotten
/// one costs is a descriptor.
pub const CLIENT_SILENCE: Duration = Duration::from_secs(10);

/// Connections to one listener, peers and clients together, handshakes included: file descriptors
/// are few, and one beyond that waits in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 1024;

/// How long a connection of a Redis or HTTP client that we end is left open for its last words to be
/// read.
pub const GUEST_PARTS_WITHIN: Duration = Duration::from_secs(1);

/// How long a port for Redis or HTTP clients that ends waits for what its connections have under way:
/// another node may still answer that.
pub const GUESTS_END_WITHIN: Duration = Duration::from_secs(1);

/// Things that happen to a node and wait for its shard: a few turns' worth. When it is full,
/// connections are not read.
pub const NODE_INBOX: usize = 4096;

/// A cluster's name: people say it.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// Members of one cluster, as long as every group has a replica on each: more copies of everything
/// make nothing safer.
pub const CLUSTER_MEMBERS_MAX: usize = 9;

/// One request of a Redis client as a whole: a value of the longest kind, and room for a batch.
pub const RESP_REQUEST_BYTES_MAX: usize = 32 << 20;

/// Words of one request; as Redis has it.
pub const RESP_WORDS_MAX: usize = 1 << 20;

/// A line of words that a person types; as Redis has it.
pub const RESP_LINE_BYTES_MAX: usize = 64 << 10;

/// Commands between MULTI and EXEC: as many as a transaction has writes.
pub const RESP_QUEUE_MAX: usize = 1024;

/// The same in bytes, with [`RESP_WORD_COST_BYTES`] for each word: as much as one request. A
/// transaction takes less, but what is only read is not among it.
pub const RESP_QUEUE_BYTES_MAX: usize = RESP_REQUEST_BYTES_MAX;

/// What a word that is kept costs beside its bytes.
pub const RESP_WORD_COST_BYTES: usize = 64;

/// Keys that a connection watches: as many as a transaction checks.
pub const RESP_WATCHED_MAX: usize = TRANSACTION_CHECKS_MAX;

/// The same in bytes: keys are short, and there are many connections.
pub const RESP_WATCHED_BYTES_MAX: usize = 1 << 20;

/// What a client calls itself: people read it.
pub const RESP_NAME_BYTES_MAX: usize = 1 << 10;

/// Words of a command that is about the node and not about keys: what it says of each is longer than
/// the word.
pub const RESP_NAMES_MAX: usize = 1024;

/// What a command reads of several groups, and what a transaction says: as much as a request may
/// bring.
pub const RESP_READ_BYTES_MAX: usize = RESP_REQUEST_BYTES_MAX;

/// Reads of one connection that are on their way together: each may be answered by the largest
/// value, and all answers are held until the first has come.
pub const RESP_READS_AT_ONCE: usize = 32;

/// Keys and values of acts of one connection that share a request. What is longer costs more than a
/// request does, and gains nothing.
pub const RESP_JOINED_BYTES: usize = 64 << 10;

/// Requests, commands behind MULTI and answers of all connections together that may be in memory:
/// some sixteen of the largest. Whoever announces a long request, and whoever does not read, would
/// otherwise have as much of the node as he has connections.
pub const RESP_BYTES_MAX: usize = 512 << 20;

/// How long a Redis client that is answered may take nothing of it, and how long one of which much is
/// kept may send nothing; whatever it takes, or sends, begins that anew. Redis lets it stay, but here all
/// share what it holds. A link that was interrupted for shorter is found again.
pub const RESP_PATIENCE: Duration = Duration::from_secs(60);

/// Commands of one connection that are done before anything is answered.
pub const RESP_BATCH: usize = 512;

/// Connections that wait in the kernel to be accepted. When a node is gone all its clients come to
/// another one at once, and whoever finds no place here is silently not heard and asks again a second
/// later; the kernel takes no more than its own limit.
pub const LISTENER_BACKLOG: u32 = 4096;

/// Answers of one connection that wait before they are written.
pub const RESP_ANSWER_BYTES: usize = 256 << 10;

/// Connections of Redis clients to a node; as Redis has it.
pub const RESP_CONNECTIONS_MAX: usize = 10_000;

/// Clients inside a node: each has room for as many calls as a group keeps answers for, and a
/// connection to each other node.
pub const NODE_LANES: u64 = 4;

/// Where a SCAN goes on, on one node: a walk that pauses keeps one place, and an abandoned one is
/// forgotten when so many others have come behind it.
pub const RESP_CURSORS_MAX: usize = 16_384;

/// The same in bytes: a place is a key, and most are short.
pub const RESP_CURSORS_BYTES_MAX: usize = 16 << 20;

/// Keys of one page when a command walks over all of them.
pub const RESP_PAGE_KEYS: u32 = 4096;

/// Keys that KEYS answers: more are to be asked for by SCAN.
pub const RESP_KEYS_MAX: usize = 1 << 18;

/// Keys that are deleted at once by FLUSHALL: as many as a transaction writes.
pub const RESP_FLUSH_KEYS: u32 = 1024;

/// The same in bytes.
pub const RESP_FLUSH_BYTES: u32 = 1 << 20;

/// How long FLUSHALL may take altogether: a hundred million keys on a good disk. Behind that it is
/// asked again.
pub const RESP_FLUSH_WITHIN: Duration = Duration::from_secs(600);

/// What waits for one subscriber: messages that come faster than he reads.
pub const POST_SHELF_BYTES: usize = 32 << 20;

/// What waits for all subscribers of a node together, a text that waits for several once: eight
/// shelves that are full. Who has less than [`PORT_BYTES_FREE`] waiting need not ask.
pub const POST_BYTES_MAX: usize = 256 << 20;

/// Names that all connections have subscribed to and keys that they watch together, with
/// [`RESP_KNOWN_COST_BYTES`] for each: some fifty connections that have all that one may. What fits
/// into [`PORT_BYTES_FREE`] need not ask.
pub const RESP_KNOWN_BYTES_MAX: usize = 256 << 20;

/// What such a name costs beside its bytes: it stands in two tables.
pub const RESP_KNOWN_COST_BYTES: usize = 256;

/// Channels and patterns that one connection has subscribed to.
pub const RESP_SUBSCRIPTIONS_MAX: usize = 16_384;

/// The same in bytes.
pub const RESP_SUBSCRIPTIONS_BYTES_MAX: usize = 1 << 20;

/// A pattern: what it is looked for in takes as many steps as both are long together, multiplied.
pub const RESP_PATTERN_BYTES_MAX: usize = 1 << 10;

/// Patterns of one CONFIG GET together.
pub const RESP_PATTERNS_BYTES_MAX: usize = 16 * RESP_PATTERN_BYTES_MAX;

/// A channel's name: patterns are looked for in it.
pub const RESP_CHANNEL_BYTES_MAX: usize = KEY_BYTES_MAX;

/// Steps of looking for patterns after which others are let go on: a fraction of a millisecond.
pub const GLOB_STEPS: usize = 1 << 16;

/// What is published: another node takes it in one frame, with its channel.
pub const RESP_MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What waits on a line to another node when one more message is published: beyond that it is
/// dropped, as it would be if the line were down.
pub const SPREAD_BYTES_MAX: usize = 16 << 20;

/// Commands that the slow log keeps, unless it is configured otherwise; as Redis has it.
pub const SLOW_LOG_MAX: usize = 128;

/// The most that it may be configured to keep.
pub const SLOW_LOG_LIMIT: usize = 4096;

/// Words of a command that the slow log keeps, and bytes of each; as Redis has it.
pub const SLOW_WORDS_MAX: usize = 32;
/// See there.
pub const SLOW_WORD_BYTES_MAX: usize = 128;

/// Moments of which LATENCY HISTORY tells; as Redis has it.
pub const LATENCY_MOMENTS_MAX: usize = 160;

/// The head of one HTTP request: a prefix and a key of the longest kind, each byte in three, and
/// what browsers and proxies say of themselves.
pub const HTTP_HEAD_BYTES_MAX: usize = 6 * KEY_BYTES_MAX + (32 << 10);

/// Headers of one HTTP request; browsers and proxies send some thirty.
pub const HTTP_HEADERS_MAX: usize = 100;

/// The body of one HTTP request: the longest value, and a batch around it.
pub const HTTP_BODY_BYTES_MAX: usize = 12 << 20;

/// The line before a chunk of a body, and each of those behind the last one.
pub const HTTP_CHUNK_LINE_BYTES_MAX: usize = 1 << 10;

/// All lines behind the last chunk of a body: nobody reads them, and without an end they would keep
/// a connection busy for ever.
pub const HTTP_TRAILER_BYTES_MAX: usize = 16 << 10;

/// What a header that is kept costs beside its bytes.
pub const HTTP_HEADER_COST_BYTES: usize = 64;

/// Words of one query: each is compared with those before it, and no path knows half as many.
pub const HTTP_QUERY_WORDS_MAX: usize = 16;

/// What is said of a problem: some of it may be the words of who asked, and those can be as long as
/// a body.
pub const PROBLEM_WORDS_BYTES_MAX: usize = 512;

/// Requests and answers of all connections of an HTTP or text port together that may be in memory:
/// some twenty of the largest.
pub const PORT_BYTES_MAX: usize = 256 << 20;

/// What a connection may hold without asking for a part of that.
pub const PORT_BYTES_FREE: usize = 64 << 10;

/// Connections of HTTP clients to a node.
pub const HTTP_CONNECTIONS_MAX: usize = 1024;

/// How long a shard has to show itself when somebody looks; then it is shown as it was. Monitoring
/// systems give up after some seconds.
pub const METRICS_WITHIN: Duration = Duration::from_secs(1);

/// How long an HTTP connection may say nothing between two requests; longer than load balancers
/// keep one.
pub const HTTP_SILENCE: Duration = Duration::from_secs(75);

/// How long a request may take to arrive, and an answer to be taken.
pub const HTTP_ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// A line of the text protocol: a key of the longest kind, and the words around it.
pub const TEXT_LINE_BYTES_MAX: usize = KEY_BYTES_MAX + 64;

/// Connections of clients that speak the text protocol, to a node.
pub const TEXT_CONNECTIONS_MAX: usize = 1024;

/// How long such a connection may say nothing between two requests: a person may sit there.
pub const TEXT_SILENCE: Duration = Duration::from_secs(600);

/// How long a request of it may take to arrive, and an answer to be taken, beside what
/// [`BYTE_WITHIN`] gives it.
pub const TEXT_ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// A byte may take so long behind the time that everybody has: 256 kbit/s are enough.
pub const BYTE_WITHIN: Duration = Duration::from_micros(31);

/// Keys of one page.
pub const HTTP_PAGE_KEYS_MAX: u32 = 1000;

/// Values of one page, but for the last.
pub const HTTP_PAGE_BYTES: usize = 1 << 20;

/// Steps of one batch: as many as a transaction has writes.
pub const HTTP_BATCH_MAX: usize = 1024;

/// Settings that a node tells of, users among them: there are some thirty, and a user each.
pub const SETTINGS_MAX: usize = 512;

/// A setting's name: a group, a dot and a word, or a user's.
pub const SETTING_NAME_BYTES_MAX: usize = 256;

/// What a setting says: the longest is a list of all members, some twenty bytes each.
pub const SETTING_VALUE_BYTES_MAX: usize = 8 << 10;

/// Where a setting was said: a path and a line. With these four all settings of a node are shorter
/// than the longest response.
pub const SETTING_ORIGIN_BYTES_MAX: usize = 4 << 10;

/// Users of one cluster: they stand in a file that people write.
pub const USERS_MAX: usize = 256;

/// A user's name: people say it.
pub const USER_NAME_BYTES_MAX: usize = 64;

/// A password: longer ones are no safer, and each is copied while it waits to be judged.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// Memory that judging one password may take, in KiB: a stranger can have it taken.
pub const ARGON_KIB_MAX: u32 = 64 << 10;

/// The same times the passes over it: a fifth of a second.
pub const ARGON_KIB_PASSES_MAX: u64 = 256 << 10;

/// Lanes of that: they are gone through one after the other here.
pub const ARGON_LANES_MAX: u32 = 16;

/// Passwords that wait to be judged: those behind them wait in their connections.
pub const LOGINS_WAITING: usize = 64;

/// How long somebody waits for his password to be judged: as long as for an answer.
pub const LOGIN_WITHIN: Duration = Duration::from_secs(5);

/// How long who was wrong waits for the first time; it doubles so often, to 3.2 s.
pub const LOGIN_PAUSE: Duration = Duration::from_millis(100);
/// See there.
pub const LOGIN_PAUSES: u32 = 5;

/// Words of a request of a Redis client that has not said who it is; as Redis has it.
pub const RESP_STRANGER_WORDS_MAX: usize = 10;

/// Such a request as a whole, and a line of it; what Redis grants each word.
pub const RESP_STRANGER_BYTES_MAX: usize = 16 << 10;

/// How long whoever has not said who it is may stay, at whatever port: programs say it at once, people
/// need to type it.
pub const STRANGER_STAYS: Duration = Duration::from_secs(60);

/// The least that a cluster's secret has: what people make up themselves is mostly shorter, and what
/// is drawn for it is as long.
pub const SECRET_BYTES_MIN: usize = 32;

/// The most: more than any key has.
pub const SECRET_BYTES_MAX: usize = 1 << 10;

/// Secrets that a node takes: the one that there is, and the one that comes or goes while it is changed.
/// Each more would be one more that somebody may have kept.
pub const SECRETS_MAX: usize = 2;
