//! The chart and the manifests made from it: by the real Helm, on the real API server, with the real program in the pods.
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
mod common;

#[path = "chart/accepted.rs"]
mod accepted;
#[path = "chart/installed.rs"]
mod installed;
#[path = "chart/rendered.rs"]
mod rendered;
