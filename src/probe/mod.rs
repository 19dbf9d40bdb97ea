//! The network: the only module that sends anything to a target.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`round`] | one pass over all targets and controls |
//! | [`lone`] | a single connect between passes |
//! | `addresses` | the addresses of targets and controls, as they are now |
//! | `resolver`, `dns` | look-ups of names |
//! | `connect` | one attempt, and how it ended |
//! | `climb`, `tls`, `issuer` | what is asked of an address that connects, and whose certificate it shows |
//! | `controls`, `must_reach` | the probes with the opposite job |
//! | `memory` | what one round leaves to the next |
//! | [`pod`] | what this process finds around itself |
//! | [`files`] | mounted files |
mod addresses;
mod climb;
mod connect;
mod controls;
mod dns;
pub mod files;
mod issuer;
pub mod lone;
mod memory;
mod must_reach;
pub mod pod;
mod resolver;
pub mod round;
mod tls;
