//! The reporter against a real API server, with real agents in namespaces, and only the permissions that are shipped.
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
mod common;

#[path = "reporter/access.rs"]
mod access;
#[path = "reporter/fleet.rs"]
mod fleet;
#[path = "reporter/hostile.rs"]
mod hostile;
#[path = "reporter/incidents.rs"]
mod incidents;
#[path = "reporter/over_time.rs"]
mod over_time;
#[path = "reporter/scale.rs"]
mod scale;
#[path = "reporter/soak.rs"]
mod soak;
#[path = "reporter/writing.rs"]
mod writing;
