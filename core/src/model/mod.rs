//! Words: plain data without behaviour beyond its own consistency.
pub mod address;
pub mod config;
pub mod finding;
pub mod names;
pub mod observation;
pub mod report;
pub mod round;
