//! How trilith speaks.
