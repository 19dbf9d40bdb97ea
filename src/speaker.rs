//! Who speaks: what a process says of itself at the head of each report.
use crate::probe::pod::Pod;
use guardprobe_core::model::config::Config;
use guardprobe_core::model::names;
use guardprobe_core::model::report::{Head, Role};
use guardprobe_core::parse::config as parse;
use jiff::Timestamp;

/// A process that makes reports.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// The guard, `namespace/name`.
    pub guard: String,
    /// Agent or witness.
    pub role: Role,
    /// The node, as far as the pod was told.
    pub node: Option<String>,
    /// The pod, as far as it was told.
    pub pod: Option<String>,
    /// Random id of this process, 16 hex digits.
    pub boot: String,
    /// Hash of the configuration in force.
    pub config_hash: String,
    interval_seconds: f64,
}

impl Speaker {
    /// This process, with a new boot id.
    pub fn new(config: &Config, pod: &Pod, role: Role) -> Self {
        Speaker {
            guard: config.guard.clone(),
            role,
            node: pod.node.clone(),
            pod: pod.name.clone(),
            boot: format!("{:016x}", fastrand::u64(..)),
            config_hash: parse::hash(config),
            interval_seconds: config.interval.as_secs_f64(),
        }
    }

    /// The head of the report with that number, about a round from `started` to `finished`.
    pub fn head(&self, round: u64, (started, finished): (Timestamp, Timestamp), endpoints_revision: Option<String>) -> Head {
        Head {
            schema: names::REPORT_SCHEMA.to_owned(),
            guard: self.guard.clone(),
            role: self.role,
            node: self.node.clone(),
            pod: self.pod.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: self.config_hash.clone(),
            endpoints_revision,
            boot: self.boot.clone(),
            round,
            started,
            finished,
            age_seconds: 0.0,
            interval_seconds: self.interval_seconds,
            waited_seconds: None,
        }
    }
}
