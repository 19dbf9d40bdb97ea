//! The network: the only module that sends anything to a target.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`round`] | one pass over all targets and controls |
//! | [`lone`] | a single connect between passes |
//! | `addresses` | the addresses of targets and controls, as they are now |
//! | `connect` | one attempt, and how it ended |
//! | `climb` | what is asked of an address that connects |
//! | `controls`, `must_reach`, `dns` | the probes with the opposite job |
//! | `memory` | what one round leaves to the next |
//! | [`pod`] | what this process finds around itself |
//! | [`files`] | mounted files |
mod addresses;
mod climb;
mod connect;
mod controls;
mod dns;
pub mod files;
pub mod lone;
mod memory;
mod must_reach;
pub mod pod;
pub mod round;
mod tls;
