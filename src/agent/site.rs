//! What an agent answers to whoever asks.
use super::record::Record;
use crate::serve::blocking::{self, Wait};
use crate::serve::{Answer, Asked, Site};
use crate::show::metrics;
use hyper::StatusCode;

const INDEX: &str = "guardprobe\n\n/metrics    for Prometheus\n/v1/report  the newest round with its verdicts, as JSON\n/livez      whether the \
                     prober works\n/readyz     whether what it says is of now\n";

impl Site for Record {
    async fn answer(&self, asked: Asked) -> Answer {
        match asked.path.as_str() {
            "/" => Answer::ok("text/plain; charset=utf-8", INDEX),
            "/metrics" => Answer::ok(metrics::CONTENT_TYPE, self.metrics()),
            "/livez" => health(self.alive()),
            "/readyz" => health(self.ready()),
            "/v1/report" => match Wait::from_query(&asked.query) {
                Err(wrong) => Answer::text(StatusCode::BAD_REQUEST, &wrong),
                Ok(wait) => {
                    let asked = self.now();
                    blocking::newest(&wait, self.news()).await;
                    Answer::ok("application/json", self.report(asked))
                }
            },
            _ => Answer::text(StatusCode::NOT_FOUND, "not found: expected /metrics, /v1/report, /livez or /readyz"),
        }
    }
}

fn health(state: Result<(), String>) -> Answer {
    match state {
        Ok(()) => Answer::text(StatusCode::OK, "ok"),
        Err(pending) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, &pending),
    }
}
