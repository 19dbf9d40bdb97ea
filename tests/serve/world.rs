//! A listener of its own for each test, on the loopback, and clients by plain sockets from as many addresses of 127.0.0.0/8 as are
//! needed: Linux has them all without setup.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::disallowed_methods, reason = "clients look at the clock")]
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
use guardprobe::serve::blocking::{Versioned, Wait, newest};
use guardprobe::serve::{Answer, Asked, Limits, Site, bind};
use hyper::StatusCode;
use hyper::body::Bytes;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// More than the kernel keeps for a client that does not read.
pub(crate) const LARGE: usize = 32 << 20;
/// How long anything is waited for. Beyond that it is a failure.
const PATIENCE: Duration = Duration::from_secs(10);
/// One for all servers of a test process.
static LARGE_BODY: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'x'; LARGE]));

/// What the tests publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) round: u64,
    pub(crate) changed: u64,
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

struct Town {
    published: watch::Receiver<Published>,
}

impl Site for Town {
    async fn answer(&self, asked: Asked) -> Answer {
        match asked.path.as_str() {
            "/" => Answer::ok("text/plain", "hello"),
            "/large" => Answer::ok("application/octet-stream", LARGE_BODY.clone()),
            "/v1/report" => match Wait::from_query(&asked.query) {
                Ok(wait) => Answer::ok("text/plain", format!("round {}", newest(&wait, self.published.clone()).await.round)),
                Err(message) => Answer::text(StatusCode::BAD_REQUEST, &message),
            },
            _ => Answer::text(StatusCode::NOT_FOUND, "nothing here"),
        }
    }
}

/// A listener in a thread of its own; gone when dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) publisher: watch::Sender<Published>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(limits: Limits) -> Self {
        Server::start_at("[::]:0", limits)
    }

    pub(crate) fn start_at(listen: &str, limits: Limits) -> Self {
        let listen: SocketAddr = listen.parse().unwrap();
        let (publisher, published) = watch::channel(Published { round: 1, changed: 1 });
        let (end, ended) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let bound = bind(listen).await.unwrap();
                tell.send(bound.addr.port()).unwrap();
                let town = Arc::new(Town { published });
                tokio::select! {
                    never = bound.serve_within(limits, town) => never,
                    _ = ended => (),
                }
            });
        });
        Server { port: told.recv().unwrap(), publisher, end: Some(end), thread: Some(thread) }
    }

    /// A client from 127.0.0.1.
    pub(crate) fn client(&self) -> Client {
        self.client_from(Ipv4Addr::LOCALHOST)
    }

    pub(crate) fn client_from(&self, source: Ipv4Addr) -> Client {
        Unconnected::new(source).connect(self.port)
    }

    /// How many connections the server's process holds at its port. A socket that is not accepted, or left, has no inode.
    pub(crate) fn connections(&self) -> usize {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        tables.iter().flat_map(|table| table.lines().skip(1)).filter(|line| self.is_held(line)).count()
    }

    fn is_held(&self, line: &str) -> bool {
        const LISTEN: &str = "0A";
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{:04X}", self.port)) && fields[3] != LISTEN && fields[9] != "0"
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the listener panicked");
    }
}

/// A connection as a client has it.
pub(crate) struct Client(pub(crate) TcpStream);

/// A socket on its way to being one.
pub(crate) struct Unconnected(Socket);

impl Client {
    pub(crate) fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: guardprobe\r\n\r\n"));
        self.response()
    }

    /// Asks for what is large, and reads nothing of it but sees that it comes.
    pub(crate) fn start_reading(&mut self) {
        self.send("GET /large HTTP/1.1\r\n\r\n");
        self.0.peek(&mut [0]).unwrap();
    }

    /// One answer with its body.
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.head();
        let mut body = vec![0; response.header("content-length").unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        response.body = String::from_utf8(body).unwrap();
        response
    }

    /// One answer without a body.
    pub(crate) fn head(&mut self) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read =
                self.0.read(&mut byte).unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head)));
            assert_eq!(read, 1, "the connection ended after {:?}", String::from_utf8_lossy(&head));
            head.extend(byte);
        }
        Response { head: String::from_utf8(head).unwrap(), body: String::new() }
    }

    pub(crate) fn close_own_side(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads until the server has ended the connection; how many bytes there were.
    pub(crate) fn read_to_end(&mut self) -> usize {
        let mut total = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return total,
                Ok(read) => total += read,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return total,
                Err(error) => panic!("the connection did not end after {total} bytes: {error}"),
            }
        }
    }

    /// Whether the server has ended the connection: looked at without waiting.
    pub(crate) fn is_ended(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Unconnected {
    pub(crate) fn new(source: Ipv4Addr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        Unconnected(socket)
    }

    /// So that little fits between server and client.
    pub(crate) fn with_a_small_buffer(self) -> Self {
        self.0.set_recv_buffer_size(4096).unwrap();
        self
    }

    pub(crate) fn connect(self, port: u16) -> Client {
        self.0.connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), PATIENCE).unwrap();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        self.0.set_write_timeout(Some(PATIENCE)).unwrap();
        Client(self.0.into())
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// Looks until `fact` holds.
pub(crate) fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !fact() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A client that sends request after request and waits for no answer; it comes back when it is shown out.
pub(crate) struct Pipelining {
    source: Ipv4Addr,
    port: u16,
    stream: Option<TcpStream>,
    /// How many connections it has made.
    pub(crate) connections: u64,
}

impl Pipelining {
    pub(crate) fn new(source: Ipv4Addr, port: u16) -> Self {
        Pipelining { source, port, stream: None, connections: 0 }
    }

    /// Sends and reads as much as goes at once.
    pub(crate) fn go_on(&mut self) {
        let stream = self.stream.get_or_insert_with(|| {
            self.connections += 1;
            let Client(stream) = Unconnected::new(self.source).connect(self.port);
            stream.set_nonblocking(true).unwrap();
            stream
        });
        let goes_on = |result: io::Result<usize>| match result {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        let sent = goes_on(stream.write("GET / HTTP/1.1\r\n\r\n".repeat(50).as_bytes()));
        if !(sent && goes_on(stream.read(&mut vec![0; 1 << 16]))) {
            self.stream = None;
        }
    }
}
