//! The packet filter (nf_tables), as far as the lab needs it: tables with chains, sets of address and port, and rules.
//!
//! All tables are of the family `inet`, which sees IPv4 and IPv6. A rule is a list of words: each loads something of the packet
//! into a register, compares it, or does something; the first comparison that fails ends the rule. Attribute numbers are those of
//! linux/netfilter/nf_tables.h, given as (name, number) at the place of use.
use super::net::{Net, octets};
use super::netlink::{Attrs, Message, Socket};
use nix::libc;
use std::io;
use std::net::{IpAddr, SocketAddr};

const INET: u8 = 1;
const IPV4: u8 = libc::AF_INET as u8;
const IPV6: u8 = libc::AF_INET6 as u8;

/// The registers of the lab's rules: one for comparisons, and a run of four-byte ones for keys and addresses.
const COMPARE: u32 = libc::NFT_REG_1 as u32;
const KEY: u32 = libc::NFT_REG32_00 as u32;
const AFTER_IPV6: u32 = KEY + 4;

/// Where in the life of a packet a chain is asked.
#[derive(Clone, Copy)]
pub(super) enum Hook {
    /// On its way in, before routing: where kube-proxy translates addresses.
    TranslateIn,
    /// On its way out of this host's own processes, as a mesh sidecar translates addresses.
    TranslateOut,
    /// On its way through.
    Forward,
    /// As above, but before everybody else.
    ForwardFirst,
    /// On its way to this host's own processes.
    Input,
    /// On its way out of this host's own processes.
    Output,
}

/// What a rejection looks like to the one who knocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// None: silence.
    Drop,
    /// A TCP reset.
    Reset,
    /// ICMP destination unreachable, with this code in IPv4 and that one in IPv6.
    Icmp {
        /// Code of an ICMP type 3.
        v4: u8,
        /// Code of an ICMPv6 type 1.
        v6: u8,
    },
}

/// A set's keys: an address and a port, or the marks by which one connection attempt is known again.
#[derive(Clone, Copy)]
pub(super) enum Key {
    /// Destination address and port.
    AddressPort,
    /// Source and destination port, destination address: one connection attempt, its retransmissions included.
    Attempt,
}

/// A table on its way into the kernel.
pub(super) struct Table {
    name: &'static str,
    sets: u32,
    messages: Vec<Message>,
}

impl Table {
    /// An empty table.
    pub(super) fn new(name: &'static str) -> Self {
        let attrs = Attrs::new().text(1, name);
        Table {
            name,
            sets: 0,
            messages: vec![message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, attrs, format!("table {name}"))],
        }
    }

    /// Adds a chain that is asked at that point.
    pub(super) fn chain(self, chain: &str, hook: Hook) -> Self {
        let (kind, number, priority) = match hook {
            Hook::TranslateIn => ("nat", libc::NF_INET_PRE_ROUTING, -100),
            Hook::TranslateOut => ("nat", libc::NF_INET_LOCAL_OUT, -100),
            Hook::Forward => ("filter", libc::NF_INET_FORWARD, 0),
            Hook::ForwardFirst => ("filter", libc::NF_INET_FORWARD, -10),
            Hook::Input => ("filter", libc::NF_INET_LOCAL_IN, 0),
            Hook::Output => ("filter", libc::NF_INET_LOCAL_OUT, 0),
        };
        let place = Attrs::new().big(1, number as u32).big(2, priority as u32); // HOOKNUM, PRIORITY
        let attrs = Attrs::new().text(1, self.name).text(3, chain).nest(4, place).text(7, kind); // TABLE, NAME, HOOK, TYPE
        self.add(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, attrs, format!("chain {chain}"))
    }

    /// Adds a set that starts with these addresses and ports; the packet path may add more to a set of attempts.
    pub(super) fn set(mut self, set: &str, key: Key, ipv6: bool, elements: &[SocketAddr]) -> Self {
        self.sets += 1;
        let (flags, fields) = match (key, ipv6) {
            (Key::AddressPort, false) => (0, [4, 4]),
            (Key::AddressPort, true) => (0, [16, 4]),
            (Key::Attempt, false) => (libc::NFT_SET_EVAL, [4, 4]),
            (Key::Attempt, true) => (libc::NFT_SET_EVAL, [4, 16]),
        };
        // TABLE, NAME, FLAGS, KEY_TYPE, KEY_LEN, ID. The type is for those who list the set; the kernel only stores it.
        let attrs = Attrs::new().text(1, self.name).text(2, set).big(3, flags as u32).big(4, key_type(key, ipv6));
        let attrs = attrs.big(5, fields.iter().sum()).big(10, self.sets);
        self = self.add(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, attrs, format!("set {set}"));
        if elements.is_empty() {
            return self;
        }
        let listed = elements.iter().fold(Attrs::new(), |list, element| {
            let bytes = [octets(element.ip()), element.port().to_be_bytes().to_vec(), vec![0, 0]].concat();
            list.nest(1, Attrs::new().nest(1, Attrs::new().attr(1, &bytes))) // LIST_ELEM, SET_ELEM_KEY, DATA_VALUE
        });
        let attrs = Attrs::new().text(1, self.name).text(2, set).nest(3, listed); // TABLE, SET, ELEMENTS
        self.add(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, attrs, format!("elements of set {set}"))
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn rule(self, chain: &str, rule: Rule) -> Self {
        let attrs = Attrs::new().text(1, self.name).text(2, chain).nest(4, rule.0); // TABLE, CHAIN, EXPRESSIONS
        let about = format!("rule {} of chain {chain}", self.messages.len());
        self.add(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, attrs, about)
    }

    fn add(mut self, kind: i32, flags: i32, attrs: Attrs, about: String) -> Self {
        self.messages.push(message(kind, flags, attrs, format!("{about} in table {}", self.name)));
        self
    }

    /// Puts the table into the kernel, all of it at once.
    ///
    /// # Errors
    /// What the kernel refused, and why.
    pub(super) fn load(self, socket: &mut Socket) -> io::Result<()> {
        socket.transact(self.messages, batch())
    }
}

/// Takes a table out of the kernel, with all that is in it.
pub(super) fn remove(table: &str, socket: &mut Socket) -> io::Result<()> {
    let attrs = Attrs::new().text(1, table);
    socket.transact(vec![message(libc::NFT_MSG_DELTABLE, 0, attrs, format!("removal of table {table}"))], batch())
}

fn message(kind: i32, flags: i32, attrs: Attrs, about: String) -> Message {
    let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
    Message::new(kind, flags, &[INET, 0, 0, 0], attrs, about)
}

/// The brackets around one transaction; the fixed part names the subsystem, in network byte order.
fn batch() -> [Message; 2] {
    let fixed = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
    [libc::NFNL_MSG_BATCH_BEGIN, libc::NFNL_MSG_BATCH_END]
        .map(|kind| Message::new(kind as u16, 0, &fixed, Attrs::new(), "transaction"))
}

/// nft's own number for the type of a key: six bits for each part.
fn key_type(key: Key, ipv6: bool) -> u32 {
    let (address, port) = (if ipv6 { 8 } else { 7 }, 13);
    match key {
        Key::AddressPort => address << 6 | port,
        Key::Attempt => port << 6 | address,
    }
}

/// A rule: words that are tried from left to right.
#[derive(Default)]
pub(super) struct Rule(Attrs);

impl Rule {
    /// A rule that matches everything and does nothing yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn word(self, name: &str, data: Attrs) -> Self {
        Rule(self.0.nest(1, Attrs::new().text(1, name).nest(2, data))) // LIST_ELEM, EXPR_NAME, EXPR_DATA
    }

    fn load(self, base: i32, offset: u32, length: u32, register: u32) -> Self {
        let data = Attrs::new().big(1, register).big(2, base as u32).big(3, offset).big(4, length); // DREG, BASE, OFFSET, LEN
        self.word("payload", data)
    }

    fn meta(self, key: i32) -> Self {
        self.word("meta", Attrs::new().big(1, COMPARE).big(2, key as u32)) // DREG, KEY
    }

    fn compare(self, how: i32, value: &[u8]) -> Self {
        self.word("cmp", Attrs::new().big(1, COMPARE).big(2, how as u32).nest(3, Attrs::new().attr(1, value))) // SREG, OP, DATA
    }

    fn is(self, value: &[u8]) -> Self {
        self.compare(libc::NFT_CMP_EQ, value)
    }

    fn masked(self, mask: &[u8]) -> Self {
        let zero = vec![0; mask.len()];
        let data = Attrs::new().big(1, COMPARE).big(2, COMPARE).big(3, mask.len() as u32); // SREG, DREG, LEN
        self.word("bitwise", data.nest(4, Attrs::new().attr(1, mask)).nest(5, Attrs::new().attr(1, &zero))) // MASK, XOR
    }

    /// Packets of that family only.
    pub(super) fn family(self, ipv6: bool) -> Self {
        self.meta(libc::NFT_META_NFPROTO).is(&[if ipv6 { IPV6 } else { IPV4 }])
    }

    /// Packets to that address only.
    pub(super) fn to(self, ip: IpAddr) -> Self {
        let bytes = octets(ip);
        let rule = self.family(ip.is_ipv6());
        let offset = destination(ip.is_ipv6());
        rule.load(libc::NFT_PAYLOAD_NETWORK_HEADER, offset, bytes.len() as u32, COMPARE).is(&bytes)
    }

    /// Packets to that IPv4 network only; its prefix is whole bytes.
    pub(super) fn within_ipv4(self, (ip, prefix): Net) -> Self {
        let bytes = usize::from(prefix / 8);
        let mask: Vec<u8> = (0..4).map(|n| if n < bytes { 255 } else { 0 }).collect();
        let network: Vec<u8> = octets(ip).into_iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
        let rule = self.family(false).load(libc::NFT_PAYLOAD_NETWORK_HEADER, destination(false), 4, COMPARE);
        rule.masked(&mask).is(&network)
    }

    /// TCP only.
    pub(super) fn tcp(self) -> Self {
        self.meta(libc::NFT_META_L4PROTO).is(&[libc::IPPROTO_TCP as u8])
    }

    /// UDP only.
    pub(super) fn udp(self) -> Self {
        self.meta(libc::NFT_META_L4PROTO).is(&[libc::IPPROTO_UDP as u8])
    }

    /// To that port only, of TCP or UDP.
    pub(super) fn port(self, port: u16) -> Self {
        self.load(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, COMPARE).is(&port.to_be_bytes())
    }

    /// From these ports only, of TCP or UDP.
    pub(super) fn source_ports(self, (first, last): (u16, u16)) -> Self {
        let rule = self.load(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2, COMPARE);
        rule.compare(libc::NFT_CMP_GTE, &first.to_be_bytes()).compare(libc::NFT_CMP_LTE, &last.to_be_bytes())
    }

    /// The first packet of a TCP connection attempt only, and its retransmissions.
    pub(super) fn syn(self) -> Self {
        const FLAGS: u32 = 13;
        self.tcp().load(libc::NFT_PAYLOAD_TRANSPORT_HEADER, FLAGS, 1, COMPARE).masked(&[0x12]).is(&[0x02])
    }

    /// Packets of connections that already stand, or that belong to one.
    pub(super) fn established(self) -> Self {
        const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
        let rule = self.word("ct", Attrs::new().big(1, COMPARE).big(2, libc::NFT_CT_STATE as u32)); // DREG, KEY
        rule.masked(&ESTABLISHED_OR_RELATED.to_ne_bytes()).compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// Packets of sockets with that mark only.
    pub(super) fn marked(self, mark: u32) -> Self {
        self.meta(libc::NFT_META_MARK).is(&mark.to_ne_bytes())
    }

    /// Each `modulus`-th packet that comes to this word.
    pub(super) fn every(self, modulus: u32) -> Self {
        let data = Attrs::new().big(1, COMPARE).big(2, modulus).big(3, libc::NFT_NG_INCREMENTAL as u32); // DREG, MODULUS, TYPE
        self.word("numgen", data).is(&0u32.to_ne_bytes())
    }

    fn key(self, key: Key, ipv6: bool) -> Self {
        let length = if ipv6 { 16 } else { 4 };
        let (network, transport) = (libc::NFT_PAYLOAD_NETWORK_HEADER, libc::NFT_PAYLOAD_TRANSPORT_HEADER);
        let rule = self.family(ipv6).tcp();
        match key {
            Key::AddressPort => rule.load(network, destination(ipv6), length, KEY).load(transport, 2, 2, KEY + length / 4),
            Key::Attempt => rule.load(transport, 0, 4, KEY).load(network, destination(ipv6), length, KEY + 1),
        }
    }

    /// TCP packets whose key is in that set only.
    pub(super) fn in_set(self, set: &str, key: Key, ipv6: bool) -> Self {
        self.key(key, ipv6).word("lookup", Attrs::new().text(1, set).big(2, KEY)) // SET, SREG
    }

    /// Puts the key of the packet into that set.
    pub(super) fn remember(self, set: &str, key: Key, ipv6: bool) -> Self {
        let data = Attrs::new().text(1, set).big(3, libc::NFT_DYNSET_OP_ADD as u32).big(4, KEY); // SET_NAME, OP, SREG_KEY
        self.key(key, ipv6).word("dynset", data)
    }

    fn verdict(self, code: i32) -> Self {
        let verdict = Attrs::new().nest(2, Attrs::new().big(1, code as u32)); // DATA_VERDICT, VERDICT_CODE
        self.word("immediate", Attrs::new().big(1, libc::NFT_REG_VERDICT as u32).nest(2, verdict)) // DREG, DATA
    }

    /// Lets the packet pass this chain.
    pub(super) fn accept(self) -> Self {
        self.verdict(libc::NF_ACCEPT)
    }

    /// Ends the packet's life, and tells the one who sent it so much.
    pub(super) fn deny(self, answer: Answer, ipv6: bool) -> Self {
        let (kind, code) = match answer {
            Answer::Drop => return self.verdict(libc::NF_DROP),
            Answer::Reset => (libc::NFT_REJECT_TCP_RST, 0),
            Answer::Icmp { v4, v6 } => (libc::NFT_REJECT_ICMP_UNREACH, if ipv6 { v6 } else { v4 }),
        };
        self.word("reject", Attrs::new().big(1, kind as u32).attr(2, &[code])) // TYPE, ICMP_CODE
    }

    fn immediate(self, register: u32, value: &[u8]) -> Self {
        self.word("immediate", Attrs::new().big(1, register).nest(2, Attrs::new().attr(1, value))) // DREG, DATA
    }

    /// Sends the connection to that place instead.
    pub(super) fn translate(self, to: SocketAddr) -> Self {
        let family = if to.is_ipv6() { IPV6 } else { IPV4 };
        let rule = self.immediate(KEY, &octets(to.ip())).immediate(AFTER_IPV6, &to.port().to_be_bytes());
        let data = Attrs::new().big(1, libc::NFT_NAT_DNAT as u32).big(2, u32::from(family)); // TYPE, FAMILY
        rule.word("nat", data.big(3, KEY).big(5, AFTER_IPV6)) // REG_ADDR_MIN, REG_PROTO_MIN
    }

    /// Sends the connection to that port of this very host instead.
    pub(super) fn redirect(self, port: u16) -> Self {
        self.immediate(AFTER_IPV6, &port.to_be_bytes()).word("redir", Attrs::new().big(1, AFTER_IPV6)) // REG_PROTO_MIN
    }
}

/// Where the destination address is in the header of that family.
fn destination(ipv6: bool) -> u32 {
    if ipv6 { 24 } else { 16 }
}
