//! What programs have in common.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`clock`] | the only place that reads a clock |
//! | [`runtime`] | the one thread that a program runs on |
//! | [`signals`] | being asked to end |
//! | [`output`] | standard output and standard error, which nothing waits for |
//! | [`terminal`] | how wide a page may be |
pub mod clock;
pub mod output;
pub mod runtime;
pub mod signals;
pub mod terminal;
