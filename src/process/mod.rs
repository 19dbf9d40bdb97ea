//! What programs have in common.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`clock`] | the only place that reads a clock |
//! | [`runtime`] | the one thread that a program runs on |
//! | [`signals`] | being asked to end |
//! | [`lines`] | the line that a transition writes |
//! | [`terminal`] | how wide a page may be |
pub mod clock;
pub mod lines;
pub mod runtime;
pub mod signals;
pub mod terminal;
