//! From one stream to another: what somebody says here is heard there, and back.
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// How long the other side may still answer when one has said all.
const LINGER: Duration = Duration::from_secs(10);

/// How long to rest when no connection can be taken.
const REST: Duration = Duration::from_millis(100);

/// Passes bytes both ways. When `to` has said all it is over; when `from` has, `to` may answer for ten seconds more: so that nobody who keeps a
/// connection open, and says nothing, keeps one behind it open as well.
pub async fn relay<S>(from: &mut TcpStream, to: S)
where
    S: AsyncRead + AsyncWrite,
{
    let ((mut hears, mut answers), (mut says_back, mut asks)) = (from.split(), split(to));
    let there = async {
        let _ = copy(&mut hears, &mut asks).await;
        let _ = asks.shutdown().await;
        sleep(LINGER).await;
    };
    tokio::select! {
        () = there => {}
        _ = copy(&mut says_back, &mut answers) => {}
    }
}

/// Lets `each` have every connection, at most `most` at once, for as long as the future lives.
pub async fn every<F>(listener: TcpListener, most: usize, each: impl Fn(TcpStream) -> F) -> !
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let gate = Arc::new(Semaphore::new(most));
    loop {
        let place = Arc::clone(&gate).acquire_owned().await; // nobody closes it
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = each(stream);
                tokio::spawn(async move {
                    let _ = served.await;
                    drop(place);
                });
            }
            Err(_) => sleep(REST).await, // no descriptor left, for instance
        }
    }
}

/// Answers whoever asks over HTTP with a status (code and words) and a sentence, whatever the question was, and ends the connection.
///
/// # Errors
/// The other side is gone.
pub async fn turn_away(mut to: TcpStream, status: &str, why: &str) -> io::Result<()> {
    let head = "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n";
    let answer = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{why}\n", why.len() + 1);
    to.write_all(answer.as_bytes()).await?;
    to.shutdown().await?;
    // An unread question would turn the end into a reset, and the answer would be lost.
    timeout(Duration::from_secs(1), copy(&mut to, &mut sink())).await?.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_said_is_passed_both_ways_until_the_far_side_has_said_all() {
        let ((mut client, mut here), (there, mut server)) = (pair().await, duplex(64));
        let relayed = async { relay(&mut here, there).await };
        let talk = async {
            client.write_all(b"question").await.unwrap();
            let mut heard = [0; 8];
            server.read_exact(&mut heard).await.unwrap();
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await.unwrap();
            heard
        };
        let ((), heard) = tokio::join!(relayed, talk); // the client has not ended its side
        assert_eq!(&heard, b"question");
        drop(here);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_is_answered_for_a_while_and_no_longer() {
        let ((mut client, mut here), (there, mut server)) = (pair().await, duplex(64));
        client.shutdown().await.unwrap();
        let relayed = timeout(2 * LINGER, relay(&mut here, there)).await; // the server says nothing, and keeps its side open
        assert!(relayed.is_ok(), "it ends");
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "it was told that the client has said all");
    }

    #[tokio::test]
    async fn who_is_turned_away_is_told_why() {
        let (mut client, here) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let told = async {
            let mut told = String::new();
            client.read_to_string(&mut told).await.unwrap();
            drop(client);
            told
        };
        let (done, told) = tokio::join!(turn_away(here, "502 Bad Gateway", "nobody is there"), told);
        assert!(done.is_ok() && told.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{told}");
        assert!(told.ends_with("Content-Length: 16\r\n\r\nnobody is there\n"), "{told}");
    }
}
