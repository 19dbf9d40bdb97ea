//! Decisions: observations in, verdicts out.
