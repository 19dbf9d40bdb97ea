//! The words and decisions of guardprobe.
//!
//! Nothing in this crate opens a socket, reads a clock or calls a client: observations come in as plain data, time comes in
//! as an argument, and a verdict goes out. The compiler keeps it so, because none of the crates that could do otherwise are
//! among its dependencies.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`model`] | words: configuration, target, observation, finding, report, agreed names and numbers |
//! | [`judge`] | decisions: how an attempt ended, what a round says about a target |
//! | [`parse`] | bytes that come from outside, turned into words: configuration file, endpoints file |
pub mod judge;
pub mod model;
pub mod parse;
