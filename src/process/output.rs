//! Standard output and standard error of a program that runs for months. A thread of its own writes each, so that nothing else waits for
//! whoever reads them: what is not taken is kept up to a bound, then lost, and counted.
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;
use serde::Serialize;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// How many lines of each stream are kept while nobody takes them.
const LINES_MAX: usize = 512;
/// The longest line of the log, in bytes: what is longer is cut.
const LOG_LINE_MAX: usize = 16 * 1024;

/// The two streams of a process.
#[derive(Debug, Clone)]
pub struct Output {
    stdout: Stream,
    stderr: Stream,
}

/// The threads that write. Dropping it waits for a second at most until what is kept is written.
#[derive(Debug)]
pub struct Writers {
    _stdout: WorkerGuard,
    _stderr: WorkerGuard,
}

#[derive(Debug, Clone)]
struct Stream {
    lines: NonBlocking,
    failed: Arc<AtomicU64>,
}

impl Stream {
    fn start(to: impl AsFd + Send + 'static, name: &str) -> (Self, WorkerGuard) {
        let failed = Arc::new(AtomicU64::new(0));
        let descriptor = Descriptor { to, failed: Arc::clone(&failed) };
        let (lines, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).thread_name(name).finish(descriptor);
        (Stream { lines, failed }, guard)
    }

    /// Takes a line, or counts it as lost.
    fn write(&self, line: &[u8]) {
        let _ = self.lines.clone().write_all(line); // it takes all of it at once, or none
    }

    fn lost(&self) -> u64 {
        self.lines.error_counter().dropped_lines() as u64 + self.failed.load(Ordering::Relaxed)
    }
}

impl Output {
    /// Starts the threads that write.
    pub fn start() -> (Self, Writers) {
        let (stdout, stdout_writer) = Stream::start(io::stdout(), "stdout");
        let (stderr, stderr_writer) = Stream::start(io::stderr(), "stderr");
        (Output { stdout, stderr }, Writers { _stdout: stdout_writer, _stderr: stderr_writer })
    }

    /// Writes a line of JSON on standard output.
    pub fn line(&self, line: &impl Serialize) {
        if let Ok(mut bytes) = serde_json::to_vec(line) {
            bytes.push(b'\n');
            self.stdout.write(&bytes);
        }
    }

    /// How many lines of each stream were lost.
    pub fn lost(&self) -> [(&'static str, u64); 2] {
        [("stdout", self.stdout.lost()), ("stderr", self.stderr.lost())]
    }
}

/// Where the log goes.
impl<'a> MakeWriter<'a> for Output {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(&self.stderr)
    }
}

/// A line of the log, which is written at once.
#[derive(Debug)]
pub struct LogLine<'a>(&'a Stream);

impl Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match line.get(..LOG_LINE_MAX) {
            Some(head) if line.len() > LOG_LINE_MAX => self.0.write(&[head, "…\n".as_bytes()].concat()),
            _ => self.0.write(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes without the lock of the standard library, which a thread that waits for a reader would hold.
struct Descriptor<T> {
    to: T,
    failed: Arc<AtomicU64>,
}

impl<T: AsFd> Write for Descriptor<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match unistd::write(&self.to, bytes) {
                Ok(count) => return Ok(count),
                Err(Errno::EINTR) => {}
                // Somebody else who has this pipe has switched it so that nobody waits.
                Err(Errno::EAGAIN) => drop(poll(&mut [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)),
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    return Err(error.into());
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::{Duration, Instant};

    fn within_a_second(is: impl Fn() -> bool) -> bool {
        #[expect(clippy::disallowed_methods, reason = "a test waits")]
        let began = Instant::now();
        while !is() && began.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        is()
    }

    #[test]
    fn a_reader_that_stops_delays_nothing_and_what_is_lost_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (stream, guard) = Stream::start(writer, "test");
        let line = [vec![b'x'; 8191], vec![b'\n']].concat();
        // The pipe holds 64 KiB, one line is with the thread, and the rest is kept.
        let all = 8 + 1 + LINES_MAX + 100;
        (0..all).for_each(|_| stream.write(&line));
        assert!((98..=101).contains(&stream.lost()), "{}", stream.lost());
        let lost = stream.lost() as usize;
        let mut text = vec![0; (all - lost) * line.len()];
        reader.read_exact(&mut text).unwrap();
        assert!(text.chunks(line.len()).all(|chunk| chunk == line), "whole lines, in their order");
        stream.write(b"once more\n");
        let mut text = [0; 10];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"once more\n");
        assert_eq!(stream.lost() as usize, lost);
        drop(guard);
    }

    #[test]
    fn a_reader_that_is_gone_is_counted_as_well() {
        let (reader, writer) = io::pipe().unwrap();
        let (stream, _guard) = Stream::start(writer, "test");
        drop(reader);
        (0..3).for_each(|_| stream.write(b"x\n"));
        assert!(within_a_second(|| stream.lost() == 3), "{}", stream.lost());
    }

    #[test]
    fn a_pipe_that_somebody_switched_not_to_wait_is_waited_for() {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let (stream, _guard) = Stream::start(writer, "test");
        let line = vec![b'x'; 100_000];
        (0..3).for_each(|_| stream.write(&line));
        let mut text = vec![0; 300_000];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(stream.lost(), 0);
    }

    #[test]
    fn a_line_of_the_log_that_is_too_long_is_cut() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (stream, _guard) = Stream::start(writer, "test");
        LogLine(&stream).write_all(&vec![b'x'; LOG_LINE_MAX + 1]).unwrap();
        LogLine(&stream).write_all(b"short\n").unwrap();
        let mut text = vec![0; LOG_LINE_MAX + 4 + 6];
        reader.read_exact(&mut text).unwrap();
        assert!(text.ends_with("x…\nshort\n".as_bytes()));
    }
}
