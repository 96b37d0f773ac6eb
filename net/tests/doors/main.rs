//! Clients at a node over the real doors: what is answered, in which order, to whom.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a door's tests look behind it"
)]

mod alone;
mod http;
mod resp;
mod text;
mod users;
