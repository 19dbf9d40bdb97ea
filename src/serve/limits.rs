//! The limits of a listener, together.
use guardprobe_core::model::names;
use std::time::Duration;

/// What a listener allows. `Limits::default()` is what is agreed; tests have less patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of one source address: [`names::CONNECTIONS_PER_SOURCE_MAX`].
    pub per_source: usize,
    /// Connections in all: [`names::CONNECTIONS_MAX`].
    pub connections: usize,
    /// Time for a request's head: [`names::REQUEST_HEAD_TIMEOUT`].
    pub head: Duration,
    /// Time between an answer and the next request: [`names::KEEP_ALIVE_TIMEOUT`].
    pub idle: Duration,
    /// Time for the making of an answer: [`names::ANSWER_TIMEOUT`].
    pub answer: Duration,
    /// Time for the reading of an answer: [`names::SEND_TIMEOUT`].
    pub send: Duration,
    /// How much of that a reader keeps its place for: [`names::SEND_GRACE`].
    pub send_grace: Duration,
    /// Age at which a connection ends with its next answer: [`names::CONNECTION_AGE_MAX`].
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            per_source: names::CONNECTIONS_PER_SOURCE_MAX,
            connections: names::CONNECTIONS_MAX,
            head: names::REQUEST_HEAD_TIMEOUT,
            idle: names::KEEP_ALIVE_TIMEOUT,
            answer: names::ANSWER_TIMEOUT,
            send: names::SEND_TIMEOUT,
            send_grace: names::SEND_GRACE,
            age: names::CONNECTION_AGE_MAX,
        }
    }
}
