//! Decisions: observations in, verdicts out. Nothing here fails: bad luck is data.
pub mod attempt;
pub mod control;
mod earned;
pub mod finding;
pub mod history;
pub mod report;
pub mod startup;
