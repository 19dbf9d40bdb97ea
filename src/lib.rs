//! The map of this house. Data flows one way: configuration, targets, addresses, observations, findings, verdicts, a report.
//!
//! | room | what it does |
//! | --- | --- |
//! | `guardprobe_core` | words and decisions; no socket, no client, no clock |
//! | [`wire`] | HTTP exchanges, with bounds |
//! | [`probe`] | the network: where targets live, one attempt, the climb, one round |
//! | [`cluster`] | the Kubernetes API: this room's list of calls is what the reporter may do |
//! | [`serve`] | the HTTP listener, with bounds; the blocking query |
//! | [`show`] | data to bytes: table, JSON, JUnit, metrics, the notes of Events |
//! | [`agent`] | round after round, remembered and served |
//! | [`reporter`] | all agents of a cluster: incidents, Events, coverage |
//! | [`lab`] | a node in a box, to see it all without a cluster |
//! | [`check`] | one round, here, now |
//! | [`verify`](mod@verify) | the whole fleet, from a laptop or a pipeline |
//! | [`settings`], [`speaker`], [`process`] | the configuration in force; what a process says of itself; its clock, signals and lines |
//! | [`cli`] | flags and their environment twins |
//!
//! The life of one datum: [`probe::round`] makes observations, `guardprobe_core::judge::finding` says what they mean, a
//! `guardprobe_core::model::report` carries it, [`show`] shows it. [`reporter`] hears it from every node, `guardprobe_core::judge::fleet` sets it
//! beside the others, `guardprobe_core::judge::incidents` joins openings, `guardprobe_core::judge::notice` decides what to say, and
//! [`cluster::write`](mod@cluster::write) says it.
pub mod agent;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod lab;
pub mod probe;
pub mod process;
pub mod reporter;
pub mod serve;
pub mod settings;
pub mod show;
pub mod speaker;
pub mod verify;
pub mod wire;
