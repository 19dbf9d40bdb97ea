//! Netlink, as far as the lab needs it: messages with nested attributes, sent in order, answered by the kernel.
//!
//! A message is a header (length, type, flags, sequence number, sender), a fixed part, then attributes (length, type, value,
//! padded to four bytes). Numbers are in the byte order of the machine unless a subsystem says otherwise.
use nix::libc;
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
/// A kernel that does not answer within this many seconds is not going to.
const ANSWER_SECONDS: i64 = 5;

/// A list of attributes.
#[derive(Default)]
pub(super) struct Attrs(Vec<u8>);

impl Attrs {
    /// An empty list.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that are no attribute: the fixed part with which some nests begin.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Adds an attribute.
    pub(super) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a text, with the NUL byte that ends it.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let value: Vec<u8> = value.bytes().chain([0]).collect();
        self.attr(kind, &value)
    }

    /// Adds a number in the byte order of the machine.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order, as the packet filter has all of its own.
    pub(super) fn big(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that is itself a list of attributes.
    pub(super) fn nest(self, kind: u16, inner: Attrs) -> Self {
        self.attr(kind | NESTED, &inner.0)
    }
}

/// One message.
pub(super) struct Message {
    kind: u16,
    flags: i32,
    fixed: Vec<u8>,
    attrs: Attrs,
    about: String,
}

impl Message {
    /// A message of that type, with its fixed part. `about` says in an error what was asked for.
    pub(super) fn new(kind: u16, flags: i32, fixed: &[u8], attrs: Attrs, about: impl Into<String>) -> Self {
        Message { kind, flags: flags | libc::NLM_F_REQUEST, fixed: fixed.to_vec(), attrs, about: about.into() }
    }

    fn write(&self, sequence: u32, more_flags: i32, to: &mut Vec<u8>) {
        let fixed = self.fixed.len().next_multiple_of(4);
        let start = to.len();
        to.extend(((HEADER + fixed + self.attrs.0.len()) as u32).to_ne_bytes());
        to.extend(self.kind.to_ne_bytes());
        to.extend(((self.flags | more_flags) as u16).to_ne_bytes());
        to.extend(sequence.to_ne_bytes());
        to.extend([0; 4]);
        to.extend(&self.fixed);
        to.resize(start + HEADER + fixed, 0);
        to.extend(&self.attrs.0);
    }
}

/// A netlink socket: it speaks to the network namespace in which it was opened, wherever its owner goes afterwards.
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket to links, addresses and routes, or to the packet filter.
    pub(super) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        socket::setsockopt(&fd, socket::sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))?;
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends one message and waits until the kernel has done what it says.
    ///
    /// # Errors
    /// What the kernel answered, and what it was asked for.
    pub(super) fn ask(&mut self, message: Message) -> io::Result<()> {
        self.ask_all(vec![message], None)
    }

    /// Sends many messages as one transaction between `begin` and `end`: all of it is done, or nothing.
    ///
    /// # Errors
    /// What the kernel answered to the first message that it refused, and what that was about.
    pub(super) fn transact(&mut self, messages: Vec<Message>, [begin, end]: [Message; 2]) -> io::Result<()> {
        self.ask_all(messages, Some([begin, end]))
    }

    fn ask_all(&mut self, messages: Vec<Message>, frame: Option<[Message; 2]>) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut abouts = vec![];
        let mut bytes = vec![];
        // The end of a transaction itself is not answered: the last message in it is.
        let last = messages.len() - 1 + usize::from(frame.is_some());
        let (begin, end) = frame.map_or((None, None), |[begin, end]| (Some(begin), Some(end)));
        for (index, message) in begin.into_iter().chain(messages).chain(end).enumerate() {
            self.sequence += 1;
            // The kernel reports every failure; the answer to the last one says that there was none.
            message.write(self.sequence, if index == last { libc::NLM_F_ACK } else { 0 }, &mut bytes);
            abouts.push(message.about);
        }
        socket::sendto(self.fd.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        self.answer(first, first + last as u32, &abouts)
    }

    fn answer(&self, first: u32, last: u32, abouts: &[String]) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = socket::recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (sequence, code) in errors(&buffer[..length]) {
                match code {
                    _ if sequence < first => {}
                    0 if sequence == last => return Ok(()),
                    0 => {}
                    code => {
                        let error = io::Error::from_raw_os_error(-code);
                        let about = abouts.get((sequence - first) as usize).map_or("", String::as_str);
                        return Err(io::Error::new(error.kind(), format!("{about}: {error}")));
                    }
                }
            }
        }
    }
}

/// Sequence number and error code (0, or a negative errno) of each answer in a datagram.
fn errors(mut bytes: &[u8]) -> Vec<(u32, i32)> {
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    let mut found = vec![];
    while let (Some(length), Some(kind), Some(sequence)) = (word(bytes, 0), bytes.get(4..6), word(bytes, 8)) {
        if kind == (libc::NLMSG_ERROR as u16).to_ne_bytes()
            && let Some(code) = word(bytes, HEADER)
        {
            found.push((sequence, code as i32));
        }
        bytes = bytes.get((length as usize).max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &Message, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![];
        message.write(sequence, 0, &mut bytes);
        bytes
    }

    #[test]
    fn a_nest_holds_its_attributes_and_all_is_padded_to_four_bytes() {
        let attrs = Attrs::new().nest(1, Attrs::new().text(2, "lo").big(3, 7));
        let bytes = written(&Message::new(20, libc::NLM_F_ACK, &[2, 0, 9], attrs, "test"), 9);
        assert_eq!(bytes.len(), 16 + 4 + 4 + 8 + 8);
        assert_eq!(bytes[0..4], 40u32.to_ne_bytes());
        assert_eq!(bytes[6..8], (libc::NLM_F_REQUEST as u16 | libc::NLM_F_ACK as u16).to_ne_bytes());
        assert_eq!(bytes[16..24], [&[2, 0, 9, 0][..], &20u16.to_ne_bytes(), &(1 | NESTED).to_ne_bytes()].concat());
        assert_eq!(bytes[24..32], [7, 0, 2, 0, b'l', b'o', 0, 0]);
        assert_eq!(bytes[32..40], [8, 0, 3, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn every_answer_of_a_datagram_is_read_and_a_torn_one_ends_it() {
        let answer = |sequence, code: i32| written(&Message::new(2, 0, &code.to_ne_bytes(), Attrs::new(), ""), sequence);
        let bytes = [answer(3, -17), answer(4, 0), vec![1, 2, 3]].concat();
        assert_eq!(errors(&bytes), [(3, -17), (4, 0)]);
        assert_eq!(errors(&[0; 40]), []);
    }
}
