//! The Redis protocol, so that clients which exist can speak with us.
//!
//! Files in reading order: `request` (bytes become commands), `reply` (answers become bytes),
//! `commands` (which there are), `act` (what they say about keys), `decimal` (fractions),
//! `scratch` (what it does), `direct` (where the engine does it), `errand` (which go together), `front` (who asks the cluster), `way` (what is
//! known of how that went),
//! `walk` and `cursors` (what is about all keys), `session`, `described`, `syntax` and `tuned` (what
//! is about the connection or the node), `post` and `subscribe` (messages), `guest` and `slow` (what is known
//! of connections and of what took long), `glob` (patterns), `hub` (what connections have in common),
//! `serve` (their life), `heard` (answers as clients read them), `page` (which commands there are,
//! for people).
//!
//! Not here: the native protocol (`peer/callers.rs`), what commands do to a state (`trilith_engine`).

pub mod act;
pub mod commands;
mod cursors;
pub mod decimal;
mod described;
mod direct;
mod errand;
pub mod front;
pub mod glob;
mod guest;
pub mod heard;
pub mod hub;
pub mod page;
pub mod post;
pub mod reply;
pub mod request;
pub mod scratch;
pub mod serve;
mod session;
mod slow;
mod subscribe;
mod syntax;
mod tuned;
mod walk;
pub mod way;
