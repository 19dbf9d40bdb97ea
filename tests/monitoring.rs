//! What people see of it in Prometheus and Grafana: rules, dashboards, runbooks; by their words, and by a real Prometheus that scrapes real agents
//! and reporters.
#![allow(clippy::unwrap_used, reason = "what cannot be read is a failure")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
mod common;

#[path = "monitoring/dashboards.rs"]
mod dashboards;
#[path = "monitoring/documented.rs"]
mod documented;
#[path = "monitoring/expressions.rs"]
mod expressions;
#[path = "monitoring/live.rs"]
mod live;
#[path = "monitoring/prometheus.rs"]
mod prometheus;
#[path = "monitoring/rules.rs"]
mod rules;
