//! Bytes that come from outside, turned into words.
//!
//! | module | what it reads |
//! | --- | --- |
//! | [`config`] | the configuration file: `yaml` makes a tree with positions, `fields` reads a mapping of it, [`values`] a scalar |
//! | [`problem`] | what is wrong with a file, each mistake with its place |
//! | [`endpoints`] | the endpoints file |
//! | [`report`] | the report of an agent or a witness, as the reporter takes it |
//! | [`reporter`] | the configuration file of the reporter |
//! | [`resolv`] | the pod's resolv.conf |
pub mod config;
pub mod endpoints;
mod fields;
pub mod fleet;
pub mod problem;
pub mod report;
pub mod reporter;
pub mod resolv;
mod target;
pub mod values;
mod yaml;
