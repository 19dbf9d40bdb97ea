//! What a reporter answers: on the network what anybody may know, on loopback the fleet.
use super::house::House;
use crate::serve::{Answer, Asked, Site};
use crate::show::fleet::Page;
use crate::show::metrics;
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::names;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use std::sync::Arc;

const INDEX: &str = "guardprobe reporter\n\n/metrics   for Prometheus\n/livez     whether it works\n/readyz    whether it knows the cluster\n\
                     /v1/reach  for agents whose control this is\n\nThe fleet itself is told on loopback: kubectl port-forward, then /v1/fleet\n";

const FLEET_INDEX: &str =
    "guardprobe reporter\n\n/v1/fleet  each guard on each node, as JSON; ?guard=NAMESPACE/NAME, ?limit=N, ?after=…\n";

/// The network port.
pub(super) struct Network(pub(super) Arc<House>);

impl Site for Network {
    async fn answer(&self, asked: Asked) -> Answer {
        match asked.path.as_str() {
            "/" => Answer::ok("text/plain; charset=utf-8", INDEX),
            "/metrics" => Answer::ok(metrics::CONTENT_TYPE, self.0.metrics()),
            "/livez" => health(self.0.alive()),
            "/readyz" => health(self.0.ready()),
            names::REACH_PATH => self.reach(),
            _ => Answer::text(StatusCode::NOT_FOUND, "not found: expected /metrics, /livez, /readyz or /v1/reach"),
        }
    }
}

impl Network {
    /// The node that answers, so that an agent on the same one knows that it got no further.
    fn reach(&self) -> Answer {
        let node = self.0.node().and_then(|node| HeaderValue::from_str(node).ok());
        let headers: HeaderMap = node.map(|node| (HeaderName::from_static(names::NODE_HEADER), node)).into_iter().collect();
        Answer { headers, ..Answer::text(StatusCode::OK, "reached") }
    }
}

/// The port for port-forward.
pub(super) struct Loopback(pub(super) Arc<House>);

impl Site for Loopback {
    async fn answer(&self, asked: Asked) -> Answer {
        match asked.path.as_str() {
            "/" => Answer::ok("text/plain; charset=utf-8", FLEET_INDEX),
            "/v1/fleet" => match page(&asked.query) {
                Ok(page) => Answer::ok("application/json", self.0.fleet(&page)),
                Err(wrong) => Answer::text(StatusCode::BAD_REQUEST, &wrong),
            },
            "/livez" => health(self.0.alive()),
            "/readyz" => health(self.0.ready()),
            _ => Answer::text(StatusCode::NOT_FOUND, "not found: expected /v1/fleet"),
        }
    }
}

fn health(state: Result<(), String>) -> Answer {
    match state {
        Ok(()) => Answer::text(StatusCode::OK, "ok"),
        Err(why) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// Reads a query. Strict, since a slip would show other rows than were asked for.
fn page(query: &[(String, String)]) -> Result<Page, String> {
    let mut page = Page { limit: names::FLEET_PAGE, ..Page::default() };
    for (name, value) in query {
        match name.as_str() {
            "guard" => page.guard = Some(value.parse().map_err(|wrong: String| format!("guard: {wrong}"))?),
            "after" => page.after = Some(after(value)?),
            "limit" => page.limit = limit(value)?,
            other => return Err(format!("{other:?} is not a parameter: expected guard, after or limit")),
        }
    }
    Ok(page)
}

fn after(text: &str) -> Result<(GuardName, String), String> {
    let wrong = || format!("after: {text:?} is no row: expected what `next` said, namespace/guard/node");
    let (guard, node) = text.rsplit_once('/').ok_or_else(wrong)?;
    Ok((guard.parse().map_err(|_| wrong())?, node.to_owned()))
}

fn limit(text: &str) -> Result<usize, String> {
    let most = names::FLEET_PAGE;
    let read = text.parse().ok().filter(|limit| (1..=most).contains(limit));
    read.ok_or_else(|| format!("limit: {text:?} is out of range: expected 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Page, String> {
        page(&form_urlencoded::parse(query.as_bytes()).into_owned().collect::<Vec<_>>())
    }

    #[test]
    fn a_page_is_asked_for_by_guard_place_and_size() {
        let guard: GuardName = "a/b".parse().unwrap();
        assert_eq!(read(""), Ok(Page { limit: 1000, ..Page::default() }));
        let all = Page { guard: Some(guard.clone()), after: Some((guard, "n1".into())), limit: 7 };
        assert_eq!(read("guard=a/b&after=a/b/n1&limit=7"), Ok(all));
    }

    #[test]
    fn a_wrong_query_is_told_what_is_wrong() {
        for (query, expected) in [
            ("limit=0", "limit: \"0\" is out of range: expected 1 to 1000"),
            ("limit=x", "limit: \"x\" is out of range"),
            ("after=n1", "after: \"n1\" is no row"),
            ("guard=b", "guard: \"b\" is no guard: expected namespace/name"),
            ("gaurd=a/b", "\"gaurd\" is not a parameter: expected guard, after or limit"),
        ] {
            let wrong = read(query).unwrap_err();
            assert!(wrong.contains(expected), "{wrong}");
        }
    }
}
