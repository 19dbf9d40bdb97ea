//! What programs that run for months have in common.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`clock`] | the only place that reads a clock |
//! | [`runtime`] | the one thread that a program runs on |
//! | [`signals`] | being asked to end |
//! | [`lines`] | the line that a transition writes |
pub mod clock;
pub mod lines;
pub mod runtime;
pub mod signals;
