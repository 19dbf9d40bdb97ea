//! The map of this house. Data flows one way: configuration, targets, addresses, observations, findings, verdicts, a report.
//!
//! | room | what it does |
//! | --- | --- |
//! | `guardprobe_core` | words and decisions; no socket, no client, no clock |
//! | [`wire`] | one HTTP exchange, with bounds |
//! | [`probe`] | the network: where targets live, one attempt, the climb, one round |
//! | [`serve`] | the HTTP listener, with bounds; the blocking query |
//! | [`show`] | data to bytes: table, JSON, JUnit |
//! | [`lab`] | a node in a box, to see it all without a cluster |
//! | [`check`] | one round, here, now |
//! | [`cli`] | flags and their environment twins |
//!
//! The life of one datum: [`probe::round`] makes observations, `guardprobe_core::judge::finding` says what they mean, a
//! `guardprobe_core::model::report` carries it, [`show`] shows it.
pub mod check;
pub mod cli;
pub mod lab;
pub mod probe;
pub mod serve;
pub mod show;
pub mod wire;
