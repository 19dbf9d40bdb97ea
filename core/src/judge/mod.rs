//! Decisions: observations in, verdicts out. Nothing here fails: bad luck is data.
pub mod attempt;
pub mod control;
mod earned;
pub mod election;
pub mod finding;
pub mod fleet;
pub mod heard;
pub mod history;
pub mod incidents;
pub mod lookup;
pub mod notice;
pub mod placement;
pub mod rate;
pub mod report;
pub mod schedule;
pub mod startup;
pub mod verify;
pub mod warnings;
