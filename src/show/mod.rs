//! Data to bytes, purely: what a report looks like to people and to machines.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`mod@table`] | the page that a person reads |
//! | [`mod@json`] | the report schema |
//! | [`mod@junit`] | a test result for a pipeline |
//! | [`metrics`] | the page that Prometheus reads, of agent and witness |
//! | [`fleet_metrics`] | the same of the reporter |
//! | [`fleet`] | the fleet, for programs |
//! | [`page`] | the same for people: the status page |
//! | [`notes`] | what an Event says |
//! | [`endpoints`] | the endpoints file for agents |
//! | [`verify`] | what `verify` says of the whole fleet: table, JSON, JUnit, Markdown |
//! | [`words`] | what each word of the vocabulary means, and what to do about it |
mod advice;
pub mod endpoints;
pub mod fleet;
pub mod fleet_metrics;
pub mod json;
pub mod junit;
pub mod metrics;
pub mod notes;
pub mod page;
mod rests;
mod rows;
pub mod table;
mod text;
pub mod verify;
pub mod words;

pub use text::clean;
