//! Every byte of the room's formats: worked examples, round trips, and garbage.
