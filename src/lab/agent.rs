//! The agent in its pod, as the lab sees it: it asks for reports, as the reporter does.
#![expect(clippy::disallowed_methods, reason = "the lab waits for facts, with an end")]
use super::plan;
use super::world::World;
use crate::process::runtime;
use crate::wire;
use guardprobe_core::model::report::Report;
use http_body_util::Empty;
use hyper::Request;
use std::io;
use std::process::Child;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The longest report that is read.
const REPORT_MAX: usize = 1024 * 1024;
/// How long one question may take: more than the longest blocking query that is asked.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running agent; it ends with this value.
pub(super) struct Agent {
    runtime: Runtime,
    pub(super) process: Child,
}

impl Agent {
    /// Starts it.
    pub(super) fn start(world: &World, config: &str) -> io::Result<Self> {
        let runtime = runtime::single()?;
        Ok(Agent { runtime, process: world.agent(config)? })
    }

    /// Waits for a report of which `wanted` is true, and gives the newest one in any case when it takes too long.
    ///
    /// # Errors
    /// The agent gave no report at all.
    pub(super) fn wait_for(&self, world: &World, longest: Duration, wanted: impl Fn(&Report) -> bool) -> io::Result<Report> {
        let end = Instant::now() + longest;
        let mut query = String::new();
        loop {
            let answer = self.ask(world, &query);
            match answer {
                Ok(report) if wanted(&report) || Instant::now() > end => return Ok(report),
                Ok(report) => query = format!("?after={}.{}&wait=5s&on=round", report.head.boot, report.head.round),
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn ask(&self, world: &World, query: &str) -> io::Result<Report> {
        world.enter_pod()?;
        let request =
            Request::get(format!("/v1/report{query}")).header("Host", "lab").body(Empty::new()).map_err(io::Error::other)?;
        let answered = async { wire::fetch(TcpStream::connect(plan::AGENT).await?, request, REPORT_MAX).await };
        let (_, body) = self.runtime.block_on(async { timeout(PATIENCE, answered).await })??;
        Ok(serde_json::from_slice(&body)?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
