//! The HTTP listener: what agent and reporter answer on their network port, and what no client can do to them.
//!
//! A [`Site`] says what is answered; [`bind`] and [`Bound::serve`] see to the rest. Life of a connection: `listener` accepts it,
//! `admission` decides whether it is let in and who gives place to it, `connection` speaks HTTP with it, `stream` and `progress` note
//! what it is doing and since when, and whoever does one thing for too long is cut off. [`blocking`] is for a site that answers when
//! there is something new.
//!
//! Bounds, with their numbers in `guardprobe_core::model::names` ([`Limits`]):
//!
//! - A source has few connections, and all together are few as well; but idle, slow and greedy clients cannot keep others out: they give
//!   place, those of the same source where that has its share. Only where all are busy is there a `429`, or a `503`.
//! - A connection makes so many requests, and has one answered in a turn, however many it has sent ahead.
//! - Only GET and HEAD; heads are bounded in bytes, number of headers and time; bodies are not read.
//! - An answer that nobody reads is dropped, and so is one whose reader has left.
//!
//! Everything here runs on one thread beside the prober, so nothing here may compute for long, and accepting lets others run.
mod admission;
pub mod blocking;
mod connection;
mod limits;
mod listener;
mod progress;
mod site;
mod stream;

pub use limits::Limits;
pub use listener::{Bound, bind};
pub use site::{Answer, Asked, Site};
