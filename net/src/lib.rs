//! How trilith speaks.
//!
//! - `frame`: how a stream of bytes is cut into things that were said.
//! - `port`: where guests are served; `guests`: their connections, up to so many; `held`: the memory
//!   that they take; `ending`: how they end; `facts`: what they are told of the node; `users`, `gate`:
//!   who may come in.
//! - `meters`: what is counted of them; `metrics`: everything that is told of a node.
//! - `peer`: links between nodes, and the port where clients are served.
//! - `client`: the SDK, which asks a cluster and knows what became of it.
//! - `backup`: what a cluster holds, in a directory and back.
//! - `resp`: the Redis protocol.
//! - `http`: HTTP/JSON.
//! - `text`: three commands in plain lines.
//! - `node`: a shard, its links and its listener, put together.
//! - `os`: the real doors on tokio, files and sockets (feature `os`).
//!
//! Everything but `os` is written over the runtime traits and runs in the simulator as it is.
//!
//! Not here: what trilith is (`trilith-engine`), the simulated network (`trilith-sim`).

pub mod backup;
pub mod client;
mod ending;
pub mod facts;
pub mod frame;
mod gate;
mod guests;
pub mod held;
pub mod http;
pub mod limits;
pub mod meters;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod port;
pub mod resp;
mod seldom;
pub mod text;
pub mod users;

#[cfg(feature = "os")]
pub mod os;
