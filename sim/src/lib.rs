//! The world trilith is tested in.
//!
//! Not here: the code under test (`trilith-engine`, `trilith-net`), programs that ship (`trilith`).

pub mod aim;
pub mod atlas;
pub mod check;
pub mod digest;
pub mod exhaust;
pub mod fault;
pub mod fuzz;
pub mod history;
pub mod ledger;
pub mod load;
pub mod luck;
pub mod mutants;
pub mod os;
pub mod plan;
pub mod platter;
pub mod play;
pub mod run;
pub mod scenario;
pub mod script;
pub mod shrink;
pub mod shrink_run;
pub mod still;
pub mod subject;
pub mod swarm;
pub mod tape;
pub mod trace;
pub mod twice;
pub mod world;
