//! The blocking query: `?after=<boot>.<round>&wait=30s[&on=round]` is answered when there is something new, else when the wait ends.
use guardprobe_core::model::names;
use guardprobe_core::parse::problem::{alternatives, did_you_mean, quote};
use guardprobe_core::parse::values;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const AFTER: &str = "after";
const WAIT: &str = "wait";
const ON: &str = "on";
/// The longest boot id that is looked at; ours have 16 characters.
const BOOT_LENGTH_MAX: usize = 64;

/// What was published last, and how it stands to what was published before.
pub trait Versioned {
    /// Random id of the process that published it.
    fn boot(&self) -> &str;
    /// Its number in this boot; each publication has a greater one than the last.
    fn round(&self) -> u64;
    /// The number of the newest publication at which any target's verdict, reason or opening changed; at most [`Self::round`].
    fn changed(&self) -> u64;
}

impl<T: Versioned> Versioned for Arc<T> {
    fn boot(&self) -> &str {
        T::boot(self)
    }

    fn round(&self) -> u64 {
        T::round(self)
    }

    fn changed(&self) -> u64 {
        T::changed(self)
    }
}

/// What a client knows already, and how long it would wait for more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Boot and number of the publication that it knows; without one it is answered at once, whatever else it says.
    pub after: Option<(String, u64)>,
    /// How long it waits: [`names::WAIT`] when it does not say, at most [`names::WAIT_MAX`].
    pub wait: Duration,
    /// Whether every publication is news to it, and not only a change.
    pub on_round: bool,
}

impl Default for Wait {
    fn default() -> Self {
        Wait { after: None, wait: names::WAIT, on_round: false }
    }
}

impl Wait {
    /// Reads a query. Strict, since a slip would show only as an answer at a wrong time.
    ///
    /// # Errors
    /// One line that names the parameter and says what was expected: unknown, given twice, or not what it should be.
    pub fn from_query(query: &[(String, String)]) -> Result<Self, String> {
        let mut wait = Wait::default();
        for (nth, (name, value)) in query.iter().enumerate() {
            let wrong = |message| format!("{name}: {message}");
            if query[..nth].iter().any(|(earlier, _)| earlier == name) {
                return Err(wrong("given twice: expected once".to_owned()));
            }
            match name.as_str() {
                AFTER => wait.after = Some(publication(value).map_err(wrong)?),
                WAIT => wait.wait = values::duration(value).map_err(wrong)?.min(names::WAIT_MAX),
                ON => wait.on_round = on(value).map_err(wrong).map(|()| true)?,
                _ => return Err(unknown(name)),
            }
        }
        Ok(wait)
    }

    /// Whether `newest` is what this client waits for.
    pub fn is_over(&self, newest: &impl Versioned) -> bool {
        match &self.after {
            None => true,
            // Another boot, or a round that is yet to come: what this client knows is of another time.
            Some((boot, round)) if boot != newest.boot() || *round > newest.round() => true,
            Some((_, round)) if self.on_round => newest.round() > *round,
            Some((_, round)) => newest.changed() > *round,
        }
    }
}

/// The newest value: at once when it is news to the client, else as soon as one is, else when its wait ends.
pub async fn newest<T: Versioned + Clone>(wait: &Wait, mut published: watch::Receiver<T>) -> T {
    // Whether there was news, the wait ended or nobody will publish any more: the newest is the answer.
    let _ = timeout(wait.wait, published.wait_for(|newest| wait.is_over(newest))).await;
    published.borrow().clone()
}

/// `<boot>.<round>`, such as `00c0ffee00c0ffee.12`.
fn publication(text: &str) -> Result<(String, u64), String> {
    let read = || {
        let (boot, round) = text.rsplit_once('.')?;
        let id = (1..=BOOT_LENGTH_MAX).contains(&boot.len()) && boot.bytes().all(|b| b.is_ascii_alphanumeric());
        let number = round.bytes().all(|b| b.is_ascii_digit()); // `parse` would take a sign
        (id && number).then_some(())?;
        Some((boot.to_owned(), round.parse().ok()?))
    };
    read().ok_or_else(|| {
        let expected = "<boot>.<round> of a report, such as 00c0ffee00c0ffee.12";
        format!("{} is not a publication: expected {expected}", quote(text))
    })
}

fn on(text: &str) -> Result<(), String> {
    if text == "round" { Ok(()) } else { Err(format!("{} is not an event: expected round", quote(text))) }
}

fn unknown(name: &str) -> String {
    let all = [AFTER, WAIT, ON];
    format!("{} is not a parameter{}: expected {}", quote(name), did_you_mean(name, all), alternatives(&all))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the paused clock is looked at")]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[derive(Debug, Clone, PartialEq)]
    struct Published {
        round: u64,
        changed: u64,
    }

    impl Versioned for Published {
        fn boot(&self) -> &str {
            "b007"
        }

        fn round(&self) -> u64 {
            self.round
        }

        fn changed(&self) -> u64 {
            self.changed
        }
    }

    fn read(query: &str) -> Result<Wait, String> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Wait::from_query(&pairs)
    }

    #[test]
    fn a_query_says_what_it_knows_and_how_long_it_waits() {
        let after = |boot: &str, round| Some((boot.to_owned(), round));
        for (query, expected) in [
            ("", Wait { after: None, wait: MS(30_000), on_round: false }),
            ("after=00c0ffee.12", Wait { after: after("00c0ffee", 12), wait: MS(30_000), on_round: false }),
            ("after=a.0&wait=2500ms&on=round", Wait { after: after("a", 0), wait: MS(2_500), on_round: true }),
            ("wait=0s&after=a.18446744073709551615", Wait { after: after("a", u64::MAX), wait: MS(0), on_round: false }),
            ("wait=5m", Wait { after: None, wait: MS(60_000), on_round: false }),
        ] {
            assert_eq!(read(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_wrong_query_is_told_what_is_wrong() {
        let publication = "expected <boot>.<round> of a report, such as 00c0ffee00c0ffee.12";
        let duration = "expected a number and a unit, such as 15s, 2500ms or 1m30s";
        for (query, message) in [
            ("after=", format!("after: \"\" is not a publication: {publication}")),
            ("after=12", format!("after: \"12\" is not a publication: {publication}")),
            ("after=.12", format!("after: \".12\" is not a publication: {publication}")),
            ("after=a.", format!("after: \"a.\" is not a publication: {publication}")),
            ("after=a.-1", format!("after: \"a.-1\" is not a publication: {publication}")),
            ("after=a.%2B1", format!("after: \"a.+1\" is not a publication: {publication}")),
            ("after=a.b.1", format!("after: \"a.b.1\" is not a publication: {publication}")),
            ("after=a.18446744073709551616", format!("after: \"a.18446744073709551616\" is not a publication: {publication}")),
            ("wait=30", format!("wait: \"30\" has no unit: {duration}")),
            ("wait=-1s", format!("wait: \"-1s\" is negative: {duration}")),
            ("wait=25h", "wait: \"25h\" is too long: expected at most 24h".to_owned()),
            ("on=", "on: \"\" is not an event: expected round".to_owned()),
            ("on=%1b[31m", "on: \"\\u{1b}[31m\" is not an event: expected round".to_owned()),
            ("wait=1s&wait=1s", "wait: given twice: expected once".to_owned()),
            ("wiat=1s", "\"wiat\" is not a parameter, did you mean wait?: expected after, wait or on".to_owned()),
            ("verbose", "\"verbose\" is not a parameter: expected after, wait or on".to_owned()),
        ] {
            assert_eq!(read(query), Err(message), "{query}");
        }
        let long = read(&format!("after={}", "\u{e9}".repeat(8000))).unwrap_err();
        assert!(long.chars().count() < 200, "{long}");
    }

    #[test]
    fn a_wait_is_over_when_there_is_news() {
        // What is published: round 12, with the last change at round 10.
        for (query, over) in [
            ("", true),
            ("on=round", true),
            ("after=dead.12", true),
            ("after=b007.13", true),
            ("after=b007.9", true),
            ("after=b007.10", false),
            ("after=b007.12", false),
            ("after=b007.11&on=round", true),
            ("after=b007.12&on=round", false),
            ("after=b007.13&on=round", true),
        ] {
            assert_eq!(read(query).unwrap().is_over(&Published { round: 12, changed: 10 }), over, "{query}");
        }
    }

    /// What a query gets, and after how many milliseconds, when at second 1 a round without a change is published, at second 2 one
    /// with a change.
    async fn asked(query: &str) -> (u64, u128) {
        let (publisher, published) = watch::channel(Published { round: 12, changed: 10 });
        let publish = async {
            for (round, changed) in [(13, 10), (14, 14)] {
                sleep(MS(1_000)).await;
                publisher.send_replace(Published { round, changed });
            }
            std::future::pending().await
        };
        let start = Instant::now();
        let wait = read(query).unwrap();
        tokio::select! {
            newest = newest(&wait, published) => (newest.round, start.elapsed().as_millis()),
            () = publish => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_comes_with_the_news_or_at_the_end_of_the_wait() {
        assert_eq!(asked("").await, (12, 0));
        assert_eq!(asked("after=b007.9").await, (12, 0));
        assert_eq!(asked("after=b007.12").await, (14, 2_000));
        assert_eq!(asked("after=b007.12&on=round").await, (13, 1_000));
        assert_eq!(asked("after=b007.12&wait=0s").await, (12, 0));
        assert_eq!(asked("after=b007.12&wait=1500ms").await, (13, 1_500));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_publisher_who_is_gone() {
        let (publisher, published) = watch::channel(Arc::new(Published { round: 12, changed: 10 }));
        drop(publisher);
        let start = Instant::now();
        let wait = read("after=b007.12").unwrap();
        assert_eq!(newest(&wait, published).await.round, 12);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
