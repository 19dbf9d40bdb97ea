//! The network: the only room that sends anything to a target.
//!
//! [`round`] is one pass, [`lone`] a single connect between passes: [`addresses`] says where each target lives now, [`connect`] makes one attempt and says how it ended, [`climb`]
//! goes on where a door is open, [`controls`] and [`dns`] are
//! the checks with the opposite job, [`memory`] is what one round leaves to the next, [`pod`] is what this process finds around itself.
mod addresses;
mod climb;
mod connect;
mod controls;
mod dns;
pub mod lone;
mod memory;
pub mod pod;
pub mod round;
mod tls;
