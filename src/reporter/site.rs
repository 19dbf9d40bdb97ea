//! What a reporter answers: on the network what anybody may know, on loopback the fleet.
use super::ask::Rounds;
use super::house::House;
use crate::serve::{Answer, Asked, Site};
use crate::show::fleet::Page;
use crate::show::metrics;
use crate::show::page::{self, Order, Wanted};
use guardprobe_core::model::cluster::GuardName;
use guardprobe_core::model::names;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use std::net::IpAddr;
use std::sync::Arc;

const INDEX: &str = "guardprobe reporter\n\n/metrics   for Prometheus\n/livez     whether it works\n/readyz    whether it knows the cluster\n\
                     /v1/reach  for agents whose control this is\n\nThe fleet itself is told on loopback: kubectl port-forward, then /v1/fleet\n";

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
pub(super) struct Loopback(pub(super) Arc<House>, pub(super) Rounds);

impl Site for Loopback {
    async fn answer(&self, asked: Asked) -> Answer {
        if !is_of_this_machine(&asked.host) {
            return Answer::text(
                StatusCode::MISDIRECTED_REQUEST,
                "the fleet is told on loopback, to whoever asks for localhost or an address: not by another name, which a page from elsewhere could give this machine",
            );
        }
        match asked.path.as_str() {
            "/" => match wanted(&asked.query) {
                Ok(wanted) => for_people(self.0.page(|fleet, teller| page::overview(fleet, teller, &wanted))),
                Err(wrong) => Answer::text(StatusCode::BAD_REQUEST, &wrong),
            },
            "/node" => self.node(&asked.query).await,
            "/style.css" => Answer::ok("text/css; charset=utf-8", page::STYLE),
            "/live.js" => Answer::ok("text/javascript; charset=utf-8", page::LIVE),
            "/v1/fleet" => match rows(&asked.query) {
                Ok(rows) => for_itself(Answer::ok("application/json", self.0.fleet(&rows))),
                Err(wrong) => Answer::text(StatusCode::BAD_REQUEST, &wrong),
            },
            "/livez" => health(self.0.alive()),
            "/readyz" => health(self.0.ready()),
            _ => Answer::text(StatusCode::NOT_FOUND, "not found: expected / for people, or /v1/fleet"),
        }
    }
}

/// False for a name that somebody else's DNS may have led here: a page of theirs would read which doors are open.
fn is_of_this_machine(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
}

impl Loopback {
    /// One node, with its newest round: the agent is asked for it now.
    async fn node(&self, query: &[(String, String)]) -> Answer {
        let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let (Some(guard), Some(node)) = (value("guard").and_then(|guard| guard.parse::<GuardName>().ok()), value("node")) else {
            return Answer::text(StatusCode::BAD_REQUEST, "expected ?guard=NAMESPACE/NAME&node=NAME");
        };
        let round = self.1.last_round(self.0.agent_of(&guard, node), self.0.now().up).await;
        let made = self.0.page(|fleet, teller| {
            let row = fleet.rows.iter().find(|row| row.guard == guard && row.node == node)?;
            Some(page::node(row, &round, teller))
        });
        made.map_or_else(|| Answer::text(StatusCode::NOT_FOUND, "there is no such node, or no such guard"), for_people)
    }
}

/// How many pages a table may be asked for.
const PAGES_MAX: usize = 10_000;

/// A page that a browser may load nothing else for.
fn for_people(page: String) -> Answer {
    let policy = HeaderValue::from_static(page::SECURITY_POLICY);
    let mut answer = for_itself(Answer::ok(page::CONTENT_TYPE, page));
    answer.headers.insert(HeaderName::from_static("content-security-policy"), policy);
    answer
}

/// An answer that no page from elsewhere may take in.
fn for_itself(mut answer: Answer) -> Answer {
    for (name, value) in [
        ("cross-origin-resource-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        answer.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

/// Reads what is to be seen. Strict, as [`rows`].
fn wanted(query: &[(String, String)]) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for (name, value) in query {
        match (name.as_str(), value.as_str()) {
            ("guard", "") => {}
            ("guard", value) => wanted.guard = Some(value.parse().map_err(|wrong: String| format!("guard: {wrong}"))?),
            ("find", value) => wanted.find = value.to_owned(),
            ("show", "all") => wanted.bad = false,
            ("show", "bad") => wanted.bad = true,
            ("show", value) => return Err(format!("show: {value:?} is not known: expected all or bad")),
            ("order", value) => {
                let known = Order::ALL.into_iter().find(|(_, word, _)| *word == value);
                wanted.order = known.ok_or_else(|| format!("order: {value:?} is not known: expected worst, since or node"))?.0;
            }
            ("page", value) => {
                let read = value.parse().ok().filter(|page| *page < PAGES_MAX);
                wanted.page = read.ok_or_else(|| format!("page: {value:?} is no number below {PAGES_MAX}"))?;
            }
            (other, _) => return Err(format!("{other:?} is not a parameter: expected guard, find, show, order or page")),
        }
    }
    Ok(wanted)
}

fn health(state: Result<(), String>) -> Answer {
    match state {
        Ok(()) => Answer::text(StatusCode::OK, "ok"),
        Err(why) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// Reads which rows are asked for. Strict, since a slip would show other rows than were asked for.
fn rows(query: &[(String, String)]) -> Result<Page, String> {
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
        rows(&form_urlencoded::parse(query.as_bytes()).into_owned().collect::<Vec<_>>())
    }

    #[test]
    fn a_page_is_asked_for_by_guard_place_and_size() {
        let guard: GuardName = "a/b".parse().unwrap();
        assert_eq!(read(""), Ok(Page { limit: 1000, ..Page::default() }));
        let all = Page { guard: Some(guard.clone()), after: Some((guard, "n1".into())), limit: 7 };
        assert_eq!(read("guard=a/b&after=a/b/n1&limit=7"), Ok(all));
    }

    #[test]
    fn a_name_that_somebody_elses_dns_may_have_led_here_is_not_answered() {
        for (host, is) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("node.localhost", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_of_this_machine(host), is, "{host}");
        }
    }

    #[test]
    fn what_is_to_be_seen_is_asked_for_in_the_address() {
        let seen = |query: &str| wanted(&form_urlencoded::parse(query.as_bytes()).into_owned().collect::<Vec<_>>());
        assert_eq!(seen("guard=&find=&show=all&order=worst"), Ok(Wanted::default()));
        let all = Wanted { guard: Some("a/b".parse().unwrap()), find: "n1".into(), bad: true, order: Order::Since, page: 2 };
        assert_eq!(seen("guard=a%2Fb&find=n1&show=bad&order=since&page=2"), Ok(all));
        for (query, expected) in
            [("order=best", "expected worst, since or node"), ("page=-1", "is no number below"), ("q=x", "expected guard, find")]
        {
            assert!(seen(query).unwrap_err().contains(expected), "{query}");
        }
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
