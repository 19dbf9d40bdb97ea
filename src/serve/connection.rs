//! One connection: HTTP/1.1 with hyper, cut off when its client takes too long.
use super::progress::Progress;
use super::site::{Answer, Asked, Site};
use super::stream::Noted;
use futures_util::future::{Either, select};
use guardprobe_core::model::names;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;

/// Serves a connection until it ends. How it ends is its client's business, so nothing comes back.
pub(super) async fn serve<S, T>(stream: S, site: Arc<T>, progress: Arc<Progress>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: Site,
{
    let service = service_fn(|request| {
        progress.asked(); // here, not in the future: hyper reads on before it polls that
        exchange(Arc::clone(&site), Arc::clone(&progress), request)
    });
    let io = TokioIo::new(Noted::new(stream, Arc::clone(&progress)));
    let connection = http().serve_connection(io, service);
    let _ = select(pin!(connection), pin!(progress.overdue())).await;
}

/// hyper's own timeout is not used: it has one number for an idle connection and for a slow head, and none for a slow reader.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_buf_size(names::REQUEST_HEAD_MAX_BYTES).max_headers(names::REQUEST_HEADERS_MAX).header_read_timeout(None);
    http
}

/// Answers one request, unless its client leaves before there is an answer.
async fn exchange<T: Site>(
    site: Arc<T>,
    progress: Arc<Progress>,
    request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    // Whoever sends many requests ahead has one of them answered in a turn.
    yield_now().await;
    // A body would have to be read before the next request: so there is none.
    let last = !request.body().is_end_stream();
    let (head, body) = request.into_parts();
    drop(body);
    let answer = pin!(async {
        match head.method {
            Method::GET | Method::HEAD => site.answer(Asked::new(&head.uri, &head.headers)).await,
            _ => not_allowed(),
        }
    });
    // The answer is looked at first: who asks, closes its side and reads gets what can be had at once.
    let Either::Left((answer, _)) = select(answer, pin!(progress.left())).await else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    progress.answered();
    Ok(response(answer, head.method == Method::HEAD, last || progress.is_old()))
}

fn not_allowed() -> Answer {
    let mut answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
    answer.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

fn response(answer: Answer, head_only: bool, last: bool) -> Response<Full<Bytes>> {
    let Answer { status, content_type, mut headers, body } = answer;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if last {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut response = Response::new(Full::new(if head_only { Bytes::new() } else { body }));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A whole answer that needs no connection to be served on: for one that is not let in.
pub(super) fn refusal(status: StatusCode, line: &str) -> String {
    let body = format!("{line}\n");
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the paused clock is looked at")]
mod tests {
    use super::*;
    use crate::serve::Limits;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};

    const GET: &str = "GET / HTTP/1.1\r\n\r\n";
    const GET_LARGE: &str = "GET /large HTTP/1.1\r\n\r\n";
    const GET_NEVER: &str = "GET /never HTTP/1.1\r\n\r\n";
    const LARGE: usize = 1 << 20;

    struct Lobby;

    impl Site for Lobby {
        async fn answer(&self, asked: Asked) -> Answer {
            match asked.path.as_str() {
                "/large" => Answer::ok("text/plain", vec![b'x'; LARGE]),
                "/never" => std::future::pending().await,
                _ => Answer::ok("text/plain", "hello"),
            }
        }
    }

    /// A client, and what it talks to: a connection within the agreed limits that holds 1 KiB on its way.
    struct Client {
        stream: DuplexStream,
        /// Gives the moment at which the connection was ended.
        task: JoinHandle<Instant>,
        start: Instant,
    }

    impl Client {
        fn connect() -> Self {
            let (stream, served) = duplex(1024);
            let progress = Arc::new(Progress::begin(Limits::default()));
            let task = tokio::spawn(async {
                serve(served, Arc::new(Lobby), progress).await;
                Instant::now()
            });
            Client { stream, task, start: Instant::now() }
        }

        async fn send(&mut self, text: &str) {
            self.stream.write_all(text.as_bytes()).await.unwrap();
        }

        /// The head of the next answer, and `hello` after it.
        async fn answer(&mut self) -> String {
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\nhello") {
                text.push(self.stream.read_u8().await.unwrap());
            }
            String::from_utf8(text).unwrap()
        }

        /// How much there is to read until the end.
        async fn rest(&mut self) -> usize {
            let mut rest = Vec::new();
            self.stream.read_to_end(&mut rest).await.unwrap();
            rest.len()
        }

        /// Seconds from connecting until the connection was ended.
        async fn ended(self) -> u64 {
            let elapsed = self.task.await.unwrap() - self.start;
            assert!(elapsed.subsec_millis() <= 1, "timers have milliseconds: {elapsed:?}");
            elapsed.as_secs()
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_has_ten_seconds() {
        assert_eq!(Client::connect().ended().await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_second_is_not_enough() {
        let mut client = Client::connect();
        for byte in GET.chars() {
            let sent = client.stream.write_all(byte.to_string().as_bytes()).await;
            if sent.is_err() {
                break;
            }
            sleep(seconds(1)).await;
        }
        assert_eq!(client.ended().await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_a_minute() {
        let mut client = Client::connect();
        for _ in 0..3 {
            sleep(seconds(5)).await;
            client.send(GET).await;
            client.answer().await;
        }
        assert_eq!(client.ended().await, 15 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_ten_seconds_from_its_first_byte() {
        let mut client = Client::connect();
        client.send(GET).await;
        client.answer().await;
        for byte in ["G", "E", "T"] {
            sleep(seconds(9)).await;
            let _ = client.stream.write_all(byte.as_bytes()).await;
        }
        assert_eq!(client.ended().await, 9 + 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_its_answer_has_ten_seconds() {
        let mut client = Client::connect();
        client.send(GET_LARGE).await;
        sleep(seconds(9)).await;
        let _ = client.stream.read_u8().await;
        assert_eq!(client.ended().await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_not_waited_for_longer_than_any_query_waits() {
        assert!(Limits::default().answer > names::WAIT_MAX);
        let mut client = Client::connect();
        client.send(GET_NEVER).await;
        assert_eq!(client.ended().await, 70);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_ends_with_an_answer() {
        let mut client = Client::connect();
        let mut last = String::new();
        while !last.contains("connection: close") {
            client.send(GET).await;
            last = client.answer().await;
            sleep(seconds(50)).await;
        }
        assert_eq!((client.rest().await, client.start.elapsed().as_secs()), (0, 650), "asked at second 600");
    }

    #[tokio::test(start_paused = true)]
    async fn who_closes_its_side_still_gets_what_can_be_had_at_once() {
        for (request, least) in [(GET, 5), (GET_LARGE, LARGE)] {
            let mut client = Client::connect();
            client.send(request).await;
            client.stream.shutdown().await.unwrap();
            assert!(client.rest().await > least);
            assert_eq!(client.ended().await, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_closes_its_side_while_it_reads_gets_the_rest() {
        let mut client = Client::connect();
        client.send(GET_LARGE).await;
        sleep(seconds(1)).await;
        client.stream.shutdown().await.unwrap();
        sleep(seconds(1)).await;
        assert!(client.rest().await > LARGE);
        assert_eq!(client.ended().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_is_not_waited_for() {
        let mut client = Client::connect();
        client.send(GET_NEVER).await;
        sleep(seconds(3)).await;
        client.stream.shutdown().await.unwrap();
        assert_eq!(client.rest().await, 0);
        assert_eq!(client.ended().await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_a_thousand_times_is_shown_out_with_an_answer() {
        let mut client = Client::connect();
        for nth in 1..=names::CONNECTION_REQUESTS_MAX {
            client.send(GET).await;
            let is_last = client.answer().await.contains("connection: close");
            assert_eq!(is_last, nth == names::CONNECTION_REQUESTS_MAX, "{nth}");
        }
        assert_eq!(client.rest().await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_more_than_its_share_is_known_for_it() {
        let progress = Progress::begin(Limits::default());
        (0..4).for_each(|_| progress.asked());
        assert!(!progress.is_greedy());
        progress.asked();
        assert!(progress.is_greedy());
        sleep(seconds(1)).await;
        assert!(!progress.is_greedy(), "5 of 6 in a second");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_may_be_sent_ahead() {
        let mut client = Client::connect();
        client.send(&GET.repeat(20)).await;
        for _ in 0..20 {
            client.answer().await;
        }
        client.send(GET).await;
        client.answer().await;
    }
}
