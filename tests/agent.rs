//! `guardprobe agent` against real packets, in namespaces made by hand: its lines, its report and its metrics while guards fall and
//! come back, from its beginning to its end.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
#[path = "agent/addresses.rs"]
mod addresses;
#[path = "agent/clients.rs"]
mod clients;
mod common;
#[path = "agent/life.rs"]
mod life;
#[path = "agent/openings.rs"]
mod openings;
#[path = "agent/streams.rs"]
mod streams;
