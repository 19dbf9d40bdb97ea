//! Words: plain data that everything else speaks in.
pub mod address;
pub mod cluster;
pub mod config;
pub mod control;
pub mod finding;
pub mod fleet;
pub mod heard;
pub mod incident;
pub mod moment;
pub mod names;
pub mod notice;
pub mod observation;
pub mod report;
pub mod round;
pub mod tally;
pub mod transition;
pub mod verified;
