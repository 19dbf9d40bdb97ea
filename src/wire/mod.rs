//! HTTP exchanges on a connection that already stands, with bounds: with the body only where it is asked for. And `relay`: from one stream to another;
//! `authorities`: whose certificates count.
pub mod authorities;
mod metered;
pub mod relay;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use metered::{Allowance, Metered};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

/// How many bytes of status line and headers are read.
const HEAD_MAX: usize = 16 * 1024;
/// How many bytes are read before an answer's head is over: of heads that announce it (`100 Continue`) as well, of which hyper takes any
/// number, and of what of the body comes with it.
const BEFORE_BODY_MAX: usize = 4 * HEAD_MAX;
/// How many headers are read.
const HEADERS_MAX: usize = 64;

/// Status and headers of an answer. There is no body in it, and nowhere to put one.
#[derive(Debug)]
pub struct Head {
    /// The status code.
    pub status: StatusCode,
    headers: HeaderMap,
}

impl Head {
    /// A header's value, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A connection on which one request follows another.
#[derive(Debug)]
pub struct Conversation {
    sender: http1::SendRequest<Empty<Bytes>>,
    allowance: Allowance,
    /// Ends with the conversation.
    _driver: JoinSet<hyper::Result<()>>,
}

impl Conversation {
    /// Begins one on a stream that stands. Nothing is sent yet.
    ///
    /// # Errors
    /// The stream is of no use.
    pub async fn begin<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, allowance) = Metered::new(stream, BEFORE_BODY_MAX);
        let (sender, connection) = client().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Conversation { sender, allowance, _driver: driver })
    }

    /// Sends one request and reads its answer, of which the body may have at most `most` bytes. The caller sets the deadline.
    ///
    /// # Errors
    /// The connection ended first; what came back is not HTTP; its head is beyond the bounds; the body is longer, or ends too early.
    pub async fn ask(&mut self, request: Request<Empty<Bytes>>, most: usize) -> io::Result<(Head, Bytes)> {
        self.sender.ready().await.map_err(io::Error::other)?;
        self.allowance.set(BEFORE_BODY_MAX);
        let (head, body) = self.sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        // A body that comes in pieces has a length before each of them.
        self.allowance.set(BEFORE_BODY_MAX + 2 * most);
        let body = Limited::new(body, most).collect().await.map_err(io::Error::other)?.to_bytes();
        Ok((Head { status: head.status, headers: head.headers }, body))
    }

    /// False once the other side has ended it.
    pub async fn goes_on(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// Sends one request and reads its answer, of which the body may have at most `most` bytes. The caller sets the deadline.
///
/// # Errors
/// As [`Conversation::ask`].
pub async fn fetch<S>(stream: S, request: Request<Empty<Bytes>>, most: usize) -> io::Result<(Head, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Conversation::begin(stream).await?.ask(request, most).await
}

fn client() -> http1::Builder {
    let mut client = http1::Builder::new();
    client.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    client
}

/// Sends one request and waits for the head of its answer. The caller sets the deadline.
///
/// # Errors
/// The connection ended first, or what came back is not HTTP, or its head is beyond the bounds.
pub async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> hyper::Result<Head>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, _) = Metered::new(stream, BEFORE_BODY_MAX);
    let (mut sender, connection) = client().handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new(); // dropped with this function, and the connection with it
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    drop(body);
    Ok(Head { status: head.status, headers: head.headers })
}

/// A stream that remembers whether the other side ever said anything.
#[derive(Debug)]
pub struct Heard<S> {
    inner: S,
    anything: Arc<AtomicBool>,
}

impl<S> Heard<S> {
    /// Wraps a stream; the second value turns true with the first byte.
    pub fn listen(inner: S) -> (Self, Arc<AtomicBool>) {
        let anything = Arc::new(AtomicBool::new(false));
        (Heard { inner, anything: Arc::clone(&anything) }, anything)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.anything.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn request() -> Request<Empty<Bytes>> {
        Request::get("/").body(Empty::new()).unwrap()
    }

    /// A server that has read a request.
    async fn asked(server: &mut DuplexStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(server.read_u8().await.unwrap());
        }
    }

    /// Sends that again and again. Returns how many bytes were taken until the other side hung up.
    async fn without_end(mut server: DuplexStream, text: &[u8]) -> usize {
        asked(&mut server).await;
        let mut taken = 0;
        while server.write_all(text).await.is_ok() {
            taken += text.len();
        }
        taken
    }

    #[tokio::test]
    async fn heads_that_announce_an_answer_are_not_read_for_ever() {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let (client, server) = duplex(4096);
        let (taken, answer) = tokio::join!(without_end(server, CONTINUE), exchange(client, request()));
        assert!(answer.is_err() && taken < BEFORE_BODY_MAX + 8192, "{taken}");
        let (client, server) = duplex(4096);
        let (taken, answer) = tokio::join!(without_end(server, CONTINUE), fetch(client, request(), 1024));
        assert!(answer.is_err() && taken < BEFORE_BODY_MAX + 8192, "{taken}");
        // A few are what servers may send.
        let (client, mut server) = duplex(4096);
        let serve = async {
            asked(&mut server).await;
            server.write_all(&CONTINUE.repeat(3)).await.unwrap();
            server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        };
        let ((), answer) = tokio::join!(serve, fetch(client, request(), 1024));
        assert_eq!(answer.unwrap().1, "ok");
    }

    #[tokio::test]
    async fn a_body_is_bounded_however_it_comes_and_the_next_one_anew() {
        let (client, mut server) = duplex(4096);
        let whole = "x".repeat(200_000);
        let serve = async {
            for _ in 0..3 {
                asked(&mut server).await;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", whole.len());
                server.write_all(head.as_bytes()).await.unwrap();
                server.write_all(whole.as_bytes()).await.unwrap();
            }
            // Pieces of a byte each, without end.
            asked(&mut server).await;
            let _ = server.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let mut taken = 0;
            while server.write_all(b"1;ext=0123456789\r\nx\r\n").await.is_ok() {
                taken += 21;
            }
            taken
        };
        let ask = async {
            let mut conversation = Conversation::begin(client).await.unwrap();
            for _ in 0..3 {
                assert_eq!(conversation.ask(request(), 200_000).await.unwrap().1.len(), 200_000);
            }
            let last = conversation.ask(request(), 200_000).await;
            drop(conversation);
            last
        };
        let (taken, last) = tokio::join!(serve, ask);
        assert!(last.is_err() && taken < BEFORE_BODY_MAX + 2 * 200_000 + 8192, "{taken}");
    }
}
