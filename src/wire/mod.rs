//! HTTP exchanges on a connection that already stands, with bounds: with the body only where it is asked for. And `relay`: from one stream to another;
//! `authorities`: whose certificates count.
pub mod authorities;
pub mod relay;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

/// How many bytes of status line and headers are read.
const HEAD_MAX: usize = 16 * 1024;
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
        let (sender, connection) = client().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Conversation { sender, _driver: driver })
    }

    /// Sends one request and reads its answer, of which the body may have at most `most` bytes. The caller sets the deadline.
    ///
    /// # Errors
    /// The connection ended first; what came back is not HTTP; its head is beyond the bounds; the body is longer, or ends too early.
    pub async fn ask(&mut self, request: Request<Empty<Bytes>>, most: usize) -> io::Result<(Head, Bytes)> {
        self.sender.ready().await.map_err(io::Error::other)?;
        let (head, body) = self.sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
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
