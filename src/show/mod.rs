//! Data to bytes, purely: what a report looks like to people and to machines.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`mod@table`] | the page that a person reads |
//! | [`mod@json`] | the report schema |
//! | [`mod@junit`] | a test result for a pipeline |
//! | [`metrics`] | the page that Prometheus reads |
//! | [`words`] | what each word of the vocabulary means, and what to do about it |
mod advice;
pub mod json;
pub mod junit;
pub mod metrics;
mod rests;
mod rows;
pub mod table;
mod text;
pub mod words;
