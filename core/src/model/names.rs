//! Agreed names and numbers: each has this one owner, whoever else needs it takes it from here.
use std::time::Duration;

/// Schema id of the report that `GET /v1/report` and `check -o json` give.
pub const REPORT_SCHEMA: &str = "guardprobe.report/v1";

/// Schema id of the line that an agent writes for each transition.
pub const TRANSITION_SCHEMA: &str = "guardprobe.transition/v1";

/// Length of one round when the configuration says nothing.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// Connect budget of one probe in a round. 2.5 s holds at least two SYNs on every kernel (retransmit after 1 s), so that one lost
/// SYN does not look like a denial (research: SYN timing, measured on Linux 6.18).
pub const TIMEOUT: Duration = Duration::from_millis(2500);
/// The shortest connect budget that still holds two SYNs.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1100);
/// Lone connects between rounds.
pub const SENTINEL: Duration = Duration::from_secs(1);
/// The shortest sentinel period.
pub const SENTINEL_MIN: Duration = Duration::from_millis(100);
/// The window after process start in which a guard may still be on its way.
pub const STARTUP: Duration = Duration::from_secs(30);
/// How often a target's addresses are tried while the startup window is open.
pub const STARTUP_PERIOD: Duration = Duration::from_millis(100);
/// How long each of those tries waits: one SYN.
pub const STARTUP_TRY: Duration = Duration::from_secs(1);
/// How often, once one of them has connected.
pub const STARTUP_PERIOD_OPEN: Duration = Duration::from_secs(1);
/// How many tries in a row must be blocked for the startup window to close early.
pub const STARTUP_BLOCKED: u32 = 10;
/// How long the must-reach controls rest between tries while the startup window is open.
pub const STARTUP_CONTROL_PERIOD: Duration = Duration::from_millis(500);
/// How many lone tries may be on their way at once; where there are more doors, each has its turn less often.
pub const TRIES_MAX: usize = 512;
/// Where agent and witness listen.
pub const LISTEN: &str = "[::]:9797";
/// How long after a sentinel's connection the round begins that judges it.
pub const SENTINEL_ROUND_DELAY: Duration = Duration::from_millis(100);
/// A sentinel is one SYN: the kernel sends the second after a second.
pub const SENTINEL_BUDGET_MAX: Duration = Duration::from_secs(1);
/// How often a global address is tried at most: each try may cost a port of a NAT gateway.
pub const GLOBAL_PERIOD: Duration = Duration::from_secs(60);
/// How long what a climb learnt holds for an address that stays open.
pub const CLIMB_HOLDS: Duration = Duration::from_secs(5 * 60);
/// How many blocked rounds in a row close a breach.
pub const ROUNDS_TO_CLOSE: u32 = 2;
/// How many closed openings of a target are kept.
pub const RECENT_MAX: usize = 16;
/// How many addresses of one opening are remembered: as many as an endpoints file and the configuration together can name.
pub const TRACKED_MAX: usize = ENDPOINTS_MAX_ADDRESSES + ADDRESSES_MAX;
/// One round of a witness, which wears no guard and has nothing to be quick about.
pub const WITNESS_INTERVAL: Duration = Duration::from_secs(60);
/// How late a time-out may be noticed and still count as silence: beyond, this process did not run, and what it missed nobody knows.
pub const HELD_UP: Duration = Duration::from_secs(1);
/// The longest of any duration in the configuration: one day. Beyond that a figure is a mistake.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the climb waits for a TLS handshake, or for an answer, once a connection stands.
pub const CLIMB_TIMEOUT: Duration = Duration::from_secs(1);
/// A must-not-connect control waits this many times as long as the target took to connect …
pub const NEGATIVE_CONTROL_FACTOR: u32 = 10;
/// … but at least this long.
pub const NEGATIVE_CONTROL_MIN: Duration = Duration::from_millis(100);
/// How old an endpoints file may be. The reporter rewrites it every 10 minutes.
pub const ENDPOINTS_MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// How many addresses an endpoints file may hold; more, and it is refused as a whole.
pub const ENDPOINTS_MAX_ADDRESSES: usize = 64;
/// How many bytes of an endpoints file are read; a ConfigMap holds at most 1 MiB, 64 addresses need about 4 KiB.
pub const ENDPOINTS_MAX_BYTES: u64 = 64 * 1024;
/// How many bytes of a configuration file are read (the limit of the ConfigMap that carries it).
pub const CONFIG_MAX_BYTES: u64 = 1024 * 1024;
/// How many targets, and how many controls, a configuration may name.
pub const TARGETS_MAX: usize = 32;
/// How many addresses one target or control may name.
pub const ADDRESSES_MAX: usize = 64;
/// How many addresses of one name are tried.
pub const NAME_ADDRESSES_MAX: usize = 16;

/// How many connections one source address may hold at the listener. An IPv4 address mapped into IPv6 is the IPv4 address.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 4;
/// How many connections the listener holds in all.
pub const CONNECTIONS_MAX: usize = 64;
/// How many connections the kernel keeps until they are accepted (`listen(2)`).
pub const LISTEN_BACKLOG: i32 = 1024;
/// How many bytes of a request's head are read: the least that hyper can be told. A head of a scraper has about 400.
pub const REQUEST_HEAD_MAX_BYTES: usize = 8 * 1024;
/// How many headers a request may have.
pub const REQUEST_HEADERS_MAX: usize = 32;
/// How long a request's head may take: the first one from the connection's beginning, a later one from its first byte.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay without a new request once an answer is sent. Longer than a common scrape interval (30 s).
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer may be in the making: a blocking query's longest wait, and room to spare.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);
/// How long a client may take to read its answer.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that reads its answer is safe from giving place to a new connection.
pub const SEND_GRACE: Duration = Duration::from_secs(1);
/// The age at which a connection ends after its next answer, so that none is for ever; never in the middle of an answer.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// How long the listener rests when it cannot accept, as when this process has no file descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a blocking query waits when it does not say.
pub const WAIT: Duration = Duration::from_secs(30);
/// The longest that a blocking query waits; who asks for longer is answered then.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Exit status: all targets blocked.
pub const EXIT_BLOCKED: u8 = 0;
/// Exit status: at least one target breached.
pub const EXIT_BREACHED: u8 = 1;
/// Exit status: wrong usage or configuration; nothing was sent.
pub const EXIT_USAGE: u8 = 2;
/// Exit status: not proven (inconclusive or uncovered).
pub const EXIT_NOT_PROVEN: u8 = 3;
/// Exit status of `lab`: something was not judged as expected.
pub const EXIT_LAB_UNEXPECTED: u8 = 1;
/// Exit status of `lab`: this machine does not allow what the lab needs.
pub const EXIT_LAB_UNABLE: u8 = 2;

/// The name by which the API server's certificate is verified: every cluster puts it among the certificate's names.
pub const API_SERVER_NAME: &str = "kubernetes.default.svc";
/// Where the chart mounts the endpoints file.
pub const ENDPOINTS_FILE: &str = "/etc/guardprobe/endpoints/endpoints.json";
/// Where a pod may find its cluster's CA, in the order of looking: the chart's mount, then the service account's.
pub const CA_FILES: [&str; 2] = ["/etc/guardprobe/ca/ca.crt", "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"];
/// Where a pod with a service account finds its namespace.
pub const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The resolver configuration of the pod.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What a prober asks the reporter's Service for, where that is a must-reach control.
pub const REACH_PATH: &str = "/v1/reach";
/// The header in which the reporter names the node it runs on.
pub const NODE_HEADER: &str = "guardprobe-node";
/// Names the network namespace that nothing may be probed from.
pub const FORBIDDEN_NETNS: &str = "GUARDPROBE_FORBIDDEN_NETNS";
