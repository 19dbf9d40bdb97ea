//! Standard output and standard error of a program that runs for months. A thread of its own writes each, so that nothing else waits for
//! whoever reads them: what is not taken is kept up to a bound, then lost, and counted.
use guardprobe_core::model::outside::cut;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;
use serde::Serialize;
use std::backtrace::Backtrace;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// How many lines of each stream are kept while nobody takes them.
const LINES_MAX: usize = 512;
/// The longest line of the log, in bytes: what is longer is cut.
const LOG_LINE_MAX: usize = 16 * 1024;
/// How often it is looked at the end whether all is written, a second in all.
const END_LOOKS: u32 = 200;
/// The time between two such looks.
const END_LOOK: Duration = Duration::from_millis(5);

/// The two streams of a process.
#[derive(Debug, Clone)]
pub struct Output {
    stdout: Stream,
    stderr: Stream,
}

/// The threads that write. Dropping it waits for a second at most until what is kept is written.
#[derive(Debug)]
pub struct Writers {
    output: Output,
    guards: Vec<WorkerGuard>,
}

impl Drop for Writers {
    fn drop(&mut self) {
        let streams = [&self.output.stdout, &self.output.stderr];
        (0..END_LOOKS).take_while(|_| !streams.iter().all(|stream| stream.is_written())).for_each(|_| thread::sleep(END_LOOK));
        // A guard that cannot tell its thread to end waits, and then writes about that to standard output, which may take for ever.
        self.guards.drain(..).for_each(std::mem::forget);
    }
}

#[derive(Debug, Clone)]
struct Stream {
    lines: NonBlocking,
    counts: Arc<Counts>,
}

/// What became of the lines of a stream.
#[derive(Debug, Default)]
struct Counts {
    /// Bytes that were taken to be written.
    taken: AtomicU64,
    /// Bytes that are written.
    written: AtomicU64,
    /// Lines that could not be.
    failed: AtomicU64,
}

impl Stream {
    fn start(to: impl AsFd + Send + 'static, name: &str) -> (Self, WorkerGuard) {
        let counts = Arc::new(Counts::default());
        let descriptor = Descriptor { to, counts: Arc::clone(&counts) };
        let (lines, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).thread_name(name).finish(descriptor);
        (Stream { lines, counts }, guard)
    }

    /// Takes a line, or counts it as lost.
    fn write(&self, line: &[u8]) {
        let before = self.lines.error_counter().dropped_lines();
        let _ = self.lines.clone().write_all(line); // it takes all of it at once, or none
        if self.lines.error_counter().dropped_lines() == before {
            self.counts.taken.fetch_add(line.len() as u64, Ordering::Relaxed);
        }
    }

    /// True when all that was taken is written, as far as it can be.
    fn is_written(&self) -> bool {
        let Counts { taken, written, failed } = &*self.counts;
        failed.load(Ordering::Relaxed) > 0 || written.load(Ordering::Relaxed) >= taken.load(Ordering::Relaxed)
    }

    fn lost(&self) -> u64 {
        self.lines.error_counter().dropped_lines() as u64 + self.counts.failed.load(Ordering::Relaxed)
    }
}

impl Output {
    /// Starts the threads that write.
    pub fn start() -> (Self, Writers) {
        let (stdout, stdout_writer) = Stream::start(io::stdout(), "stdout");
        let (stderr, stderr_writer) = Stream::start(io::stderr(), "stderr");
        let output = Output { stdout, stderr };
        (output.clone(), Writers { output, guards: vec![stdout_writer, stderr_writer] })
    }

    /// Writes what a person is to read on standard error: why the process ends.
    pub fn tell(&self, text: &str) {
        self.stderr.write(format!("{}\n", text.trim_end()).as_bytes());
    }

    /// From now on a panic is told here as well: the usual way waits for whoever reads.
    pub fn tell_panics(&self) {
        let output = self.clone();
        std::panic::set_hook(Box::new(move |panic| output.tell(&format!("{panic}\n{}", Backtrace::capture()))));
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
        match line.utf8_chunks().next().map(|chunk| chunk.valid()) {
            // A line of JSON would be none any more.
            _ if line.len() > LOG_LINE_MAX && line.starts_with(b"{") => {
                self.0.counts.failed.fetch_add(1, Ordering::Relaxed);
            }
            Some(text) if line.len() > LOG_LINE_MAX => {
                self.0.write(format!("{}\n", cut(text.trim_end(), LOG_LINE_MAX)).as_bytes())
            }
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
    counts: Arc<Counts>,
}

impl<T: AsFd> Write for Descriptor<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match unistd::write(&self.to, bytes) {
                Ok(count) => {
                    self.counts.written.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(Errno::EINTR) => {}
                // Somebody else who has this pipe has switched it so that nobody waits.
                Err(Errno::EAGAIN) => drop(poll(&mut [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)),
                Err(error) => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
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
        (0..8 + 1).for_each(|_| stream.write(&line));
        assert!(within_a_second(|| stream.counts.written.load(Ordering::Relaxed) == 8 * 8192));
        thread::sleep(Duration::from_millis(50));
        let all = 8 + 1 + LINES_MAX + 100;
        (8 + 1..all).for_each(|_| stream.write(&line));
        assert_eq!(stream.lost(), 100);
        assert!(!stream.is_written());
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
    fn a_process_ends_in_a_second_though_nobody_reads_what_is_kept() {
        let pipes = [io::pipe().unwrap(), io::pipe().unwrap()];
        let [(mut read, write), (_unread, full)] = pipes;
        let ((stdout, one), (stderr, other)) = (Stream::start(write, "stdout"), Stream::start(full, "stderr"));
        let output = Output { stdout, stderr };
        let line = [vec![b'x'; 8191], vec![b'\n']].concat();
        (0..LINES_MAX + 100).for_each(|_| output.stderr.write(&line));
        output.stdout.write(b"last words\n");
        let writers = Writers { output: output.clone(), guards: vec![one, other] };
        let (ended, end) = std::sync::mpsc::channel();
        thread::spawn(move || {
            drop(writers);
            ended.send(()).unwrap();
        });
        assert!(end.recv_timeout(Duration::from_secs(3)).is_ok());
        let mut text = [0; 11];
        read.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"last words\n");
        // Where somebody reads, what is kept is written first.
        let (mut read, write) = io::pipe().unwrap();
        let (stream, guard) = Stream::start(write, "stdout");
        (0..100).for_each(|_| stream.write(b"one\n"));
        drop(Writers { output: Output { stdout: stream.clone(), stderr: stream }, guards: vec![guard] });
        let mut text = vec![0; 400];
        read.read_exact(&mut text).unwrap();
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
        assert!(within_a_second(|| stream.is_written()));
        LogLine(&stream).write_all(format!("{{{}}}\n", "x".repeat(LOG_LINE_MAX)).as_bytes()).unwrap();
        assert_eq!(stream.lost(), 1, "half a line of JSON would be none");
    }
}
