//! `guardprobe agent` against real packets, in namespaces made by hand: its lines, its report and its metrics while guards fall and
//! come back.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is a failure of it")]
mod common;
#[path = "agent/openings.rs"]
mod openings;
