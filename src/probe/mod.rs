//! The network: the only room that sends anything to a target.
//!
//! [`round`] is one pass: [`addresses`] says where each target lives now, [`connect`] makes one attempt and says how it ended, [`climb`]
//! goes on where a door is open, [`dns`] asks a resolver, [`pod`] is what this process finds around itself.
mod addresses;
mod climb;
mod connect;
mod dns;
pub mod pod;
pub mod round;
mod tls;
