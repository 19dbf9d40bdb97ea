//! Decisions: observations in, verdicts out. Nothing here fails: bad luck is data.
pub mod attempt;
pub mod control;
pub mod finding;
