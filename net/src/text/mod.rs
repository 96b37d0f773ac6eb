//! The text protocol: three commands that a person can type and any language can write in a minute.
//!
//! ```text
//!   SET <key> <len>\n<len bytes>     OK
//!   GET <key>\n                      VALUE <len>\n<len bytes>     NOT_FOUND
//!   DEL <key>\n                      OK                           NOT_FOUND
//!   AUTH <user> <password>\n         OK
//! ```
//! Answers come in the order of requests, each a line, a value right behind its line and nothing
//! behind a value. Beside those above there are two:
//!
//! ```text
//!   ERROR <why>\n      nothing happened
//!   UNKNOWN <why>\n    it may have happened, or may happen still
//! ```
//! A key is any bytes but blanks and the end of a line. A line may end with `\r\n`, and empty ones
//! are left out. What is none of these commands is answered, and the connection ends: where a value
//! begins and ends is known only to who says its length, and a browser that some page has sent here
//! speaks like that.
//!
//! Reads and writes are strong. Where there are users, AUTH comes first; a password is all that
//! follows the name and one blank.
//!
//! Not here: the cluster (`client`), who may come in (`gate`).

pub mod serve;
pub mod syntax;
