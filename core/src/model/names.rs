//! Agreed names and numbers: each has this one owner, whoever else needs it takes it from here.
use super::finding::Attribution;
use std::time::Duration;

/// Schema id of the report that `GET /v1/report` and `check -o json` give.
pub const REPORT_SCHEMA: &str = "guardprobe.report/v1";

/// Schema id of the line that an agent writes for each transition.
pub const TRANSITION_SCHEMA: &str = "guardprobe.transition/v1";

/// Schema id of what the reporter says of the whole fleet.
pub const FLEET_SCHEMA: &str = "guardprobe.fleet/v1";

/// Schema id of what `verify -o json` gives.
pub const VERIFY_SCHEMA: &str = "guardprobe.verify/v1";

/// Schema id of the line that a reporter writes for each transition of its fleet.
pub const INCIDENT_SCHEMA: &str = "guardprobe.incident/v1";

/// The schema of a line that stands for an Event where there is no API to take it: in the lab.
pub const EVENT_SCHEMA: &str = "guardprobe.event/v1";

/// The least attribution that is accepted as blocked when nobody says otherwise.
pub const PROOF: Attribution = Attribution::Silence;

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
/// The longest name of a node, in bytes: a DNS subdomain.
pub const NODE_NAME_MAX_BYTES: usize = 253;
/// The longest detail of an observation that tells what somebody else said, in bytes.
pub const DETAIL_MAX_BYTES: usize = 200;
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
/// How many random hosts of a target's own range are tried beside one that connects, and of a control's range with its question.
pub const NEIGHBOURS: usize = 3;
/// A connection that took no longer stood at the first SYN: the kernel sends the second one after a second (RFC 6298, 2.1).
pub const FIRST_SYN: Duration = Duration::from_secs(1);
/// How long a control stays firm by one good answer a round, and how often its counterparts are asked its question.
pub const FIRM_HOLDS: Duration = Duration::from_secs(10 * 60);
/// How long `blocked` stands on the proof of an earlier round: three missed rounds of the default interval, and no fourth.
pub const PROOF_HOLDS: Duration = Duration::from_secs(60);
/// How many bytes of a CA file are read: the bundle of a distribution has about 250 KiB.
pub const CA_MAX_BYTES: u64 = 1024 * 1024;
/// How long the reading of a mounted file may take before a round goes on without it.
pub const FILE_TIMEOUT: Duration = Duration::from_millis(500);
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
/// How many addresses of one name are tried; more are a doubt.
pub const NAME_ADDRESSES_MAX: usize = 64;
/// How many search domains a name without a dot is tried in (glibc before 2.26: `MAXDNSRCH`).
pub const SEARCH_DOMAINS_MAX: usize = 6;
/// How many aliases (CNAME records) are followed from a name to its addresses.
pub const ALIASES_MAX: usize = 16;
/// How many bytes of the hosts file are read.
pub const HOSTS_FILE_MAX_BYTES: u64 = 256 * 1024;
/// Where names are given addresses without a name server.
pub const HOSTS_FILE: &str = "/etc/hosts";

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
/// How long a client that waits for its answer or reads it is among the last to give place to a new connection …
pub const SEND_GRACE: Duration = Duration::from_secs(1);
/// … and how long one that has just connected: until what it sent at once is here.
pub const CONNECTED_GRACE: Duration = Duration::from_millis(50);
/// The age at which a connection ends after its next answer, so that none is for ever; never in the middle of an answer.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// How many requests a connection may make until it ends with its next answer.
pub const CONNECTION_REQUESTS_MAX: u32 = 1000;
/// How many requests a connection may make at once, and how many a second then, before it gives place to others first of all. A scraper,
/// a kubelet and a reporter make one in seconds, a browser one for each part of a page.
pub const REQUESTS_AT_ONCE: f64 = 4.0;
/// The second of those.
pub const REQUESTS_PER_SECOND: f64 = 2.0;
/// How many connections are accepted before those that are there have their turn.
pub const ACCEPTED_AT_ONCE: usize = 8;
/// How long the listener rests when it cannot accept, as when this process has no file descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a blocking query waits when it does not say.
pub const WAIT: Duration = Duration::from_secs(30);
/// The longest that a blocking query waits; who asks for longer is answered then.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How often `verify` asks the reporter again.
pub const VERIFY_PERIOD: Duration = Duration::from_secs(1);
/// How long `verify` waits when it is not told: an agent's interval and time-out, and the half minute that a reporter may wait for an answer, twice.
pub const VERIFY_WAIT: Duration = Duration::from_secs(120);
/// How much later than the question a round must have begun to answer it: more than a report is usually on its way.
pub const VERIFY_MARGIN: Duration = Duration::from_secs(1);
/// How many bytes of a page of the fleet are read: a thousand rows have some 2 MiB, and rows of open doors are longer.
pub const FLEET_PAGE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// The label that the chart gives to reporters.
pub const REPORTER_SELECTOR: &str = "app.kubernetes.io/component=reporter";
/// The namespace that the pages install it in.
pub const NAMESPACE: &str = "guardprobe";

/// How long `check --wait` rests between two rounds.
pub const CHECK_PAUSE: Duration = Duration::from_secs(1);

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

/// The label of agent and witness pods that names their guard; its namespace is the pod's.
pub const GUARD_LABEL: &str = "guardprobe.dev/guard";
/// The label of agent and witness pods that says which of the two they are.
pub const ROLE_LABEL: &str = "guardprobe.dev/role";
/// The annotation of a DaemonSet of agents that says the interval that they are configured for, as in their configuration.
pub const INTERVAL_ANNOTATION: &str = "guardprobe.dev/interval";
/// The label of everything that the reporter writes, with the value [`MANAGER`].
pub const MANAGER_LABEL: &str = "app.kubernetes.io/managed-by";
/// Who writes it: also the field manager of server-side apply, and the controller that Events name.
pub const MANAGER: &str = "guardprobe-reporter";
/// The annotation of our Events that holds what they are about, as JSON.
pub const RECORD_ANNOTATION: &str = "guardprobe.dev/record";
/// The ConfigMap that holds the endpoints file, one in each namespace with a guard.
pub const ENDPOINTS_CONFIG_MAP: &str = "guardprobe-endpoints";
/// The key of the endpoints file in it.
pub const ENDPOINTS_KEY: &str = "endpoints.json";
/// The Lease that elects who writes.
pub const LEASE: &str = "guardprobe-reporter";
/// Where Events about Nodes, which have no namespace, belong: elsewhere the API server refuses them.
pub const NODE_EVENTS_NAMESPACE: &str = "default";
/// Where the Service of the API server is, and its EndpointSlices.
pub const API_SERVICE: (&str, &str) = ("default", "kubernetes");

/// The port of [`LISTEN`]: where the reporter asks agents and witnesses.
pub const AGENT_PORT: u16 = 9797;
/// How often a reporter looks at its whole fleet.
pub const FLEET_PERIOD: Duration = Duration::from_secs(1);
/// A reporter that has not looked at its fleet for so long hangs.
pub const REPORTER_HANGS: Duration = Duration::from_secs(30);
/// Where a reporter listens for Prometheus, for the kubelet, and for agents whose control it is.
pub const REPORTER_LISTEN: &str = "[::]:9798";
/// Where it tells the fleet: the map of open doors is not for the network.
pub const FLEET_LISTEN: &str = "127.0.0.1:9799";
/// Connections that a reporter's listener holds in all: thousands of agents use it as their control.
pub const REPORTER_CONNECTIONS_MAX: usize = 1024;

/// A report is stale after so long, or three intervals if that is longer.
pub const STALE: Duration = Duration::from_secs(90);
/// A report is stale after so many of its intervals, or [`STALE`] if that is longer.
pub const STALE_INTERVALS: u32 = 3;
/// For how long a missing report is excused: a new node, one that is not ready, one that is going.
pub const GRACE: Duration = Duration::from_secs(10 * 60);
/// For how long a reporter that has just started calls nobody uncovered.
pub const GRACE_AT_START: Duration = Duration::from_secs(2 * 60);
/// Inconclusive for that long is worth an Event.
pub const UNPROVEN: Duration = Duration::from_secs(10 * 60);
/// Two agents on one node for that long, or agents that differ, are no rollout any more.
pub const SETTLED: Duration = Duration::from_secs(5 * 60);
/// An incident that ended no longer ago than this is reopened by a new breach.
pub const REOPEN: Duration = Duration::from_secs(10 * 60);
/// For how long the agents may lack an address of the API that the reporter knows: the kubelet's sync takes about a minute.
pub const ADDRESSES_MISSING: Duration = Duration::from_secs(3 * 60);
/// For how long a round of a witness speaks for what it reached.
pub const WITNESSED: Duration = Duration::from_secs(150);
/// So many boots of an agent in a row that ended in `starting`, while the target could be reached, are a breach.
pub const EXPOSED_BOOTS: u32 = 3;

/// How many bytes of a report are read. One with two targets has about 4 KiB; the largest configuration gives less than 1 MiB.
pub const REPORT_MAX_BYTES: usize = 1024 * 1024;
/// How many observations a target or control of a report may have: all addresses of an endpoints file and of the configuration, each
/// name with as many as are tried.
pub const OBSERVATIONS_MAX: usize = ENDPOINTS_MAX_ADDRESSES + ADDRESSES_MAX * NAME_ADDRESSES_MAX;
/// How many agents are being connected to at once …
pub const CONNECTING_MAX: usize = 256;
/// … and how many of those that did not answer last time.
pub const CONNECTING_FAILED_MAX: usize = 64;
/// How long the connection to an agent may take.
pub const AGENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than the wait an agent's answer may take.
pub const AGENT_ANSWER_SLACK: Duration = Duration::from_secs(10);
/// The shortest and the longest rest before an agent is asked again that did not answer.
pub const AGENT_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How many answers of one agent are looked at as they come …
pub const AGENT_ANSWERS: f64 = 10.0;
/// … each of which counts once more for every so many bytes; then one a second.
pub const REPORT_USUAL_BYTES: usize = 64 * 1024;
/// How often it is looked whether all agents are asked that are to be, at least …
pub const AGENTS_PERIOD: Duration = Duration::from_secs(10);
/// … and how long after a change of the pods: a list of thousands comes one by one.
pub const AGENTS_PAUSE: Duration = Duration::from_millis(100);

/// How long after the first news of a breach its Event is written: notes cannot be changed, and more doors may follow at once.
pub const SETTLE: Duration = Duration::from_millis(250);
/// How often the writer of Events looks while news of many nodes may still come.
pub const GATHERING_PAUSE: Duration = Duration::from_millis(25);
/// The shortest rest of the writer of Events when there is nothing to write.
pub const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// How many lines about one node are written as they come, and then one a second.
pub const NODE_LINES: f64 = 100.0;
/// What failed and has not failed again for so long works again: a watch tries anew within a minute.
pub const TROUBLE_KEPT: Duration = Duration::from_secs(120);
/// For how long the metrics show that an incident is over: two scrapes of the longest usual interval, a minute.
pub const ENDED_SHOWN: Duration = Duration::from_secs(120);
/// The fleet that is shown is at most that old where an incident changed.
pub const FLEET_FRESH: Duration = Duration::from_millis(100);
/// How long after many nodes changed at once the Event that says so is written, for the same reason.
pub const BURST_SETTLE: Duration = Duration::from_millis(500);
/// Within what time changes of many nodes are one thing.
pub const BURST_WINDOW: Duration = Duration::from_secs(60);
/// "Many nodes" are more than this many …
pub const MANY_NODES: usize = 5;
/// … and more than this share of the guard's nodes, in percent.
pub const MANY_PERCENT: usize = 10;
/// How many Events about single nodes may be written at once …
pub const EVENT_BURST: u32 = 20;
/// … and how many a second after that.
pub const EVENTS_PER_SECOND: f64 = 1.0;
/// An Event whose writing takes longer than that keeps no other waiting.
pub const SLOW_WRITE: Duration = Duration::from_secs(1);
/// How often an Event of something that lasts is renewed. An update also renews its time to live.
pub const EVENT_RENEWAL: Duration = Duration::from_secs(5 * 60);
/// Transient openings of one target on one node are worth one Event in this time.
pub const TRANSIENT_PERIOD: Duration = Duration::from_secs(10 * 60);
/// What the API server keeps of Events at least, by default (an hour), less what its clock may differ.
pub const EVENTS_KEPT: Duration = Duration::from_secs(50 * 60);
/// The longest note of an Event, in bytes.
pub const NOTE_MAX_BYTES: usize = 1024;
/// How long a call to the API server may take.
pub const API_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection to the API server may be silent: longer than a watch lasts, after which the server says so.
pub const API_SILENCE: Duration = Duration::from_secs(75);

/// How long a Lease is good for without renewal, as other electors see it.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long after its last renewal a leader still acts as one: less than the lease is good for.
pub const LEASE_DEADLINE: Duration = Duration::from_secs(10);
/// How often the Lease is looked at.
pub const LEASE_PERIOD: Duration = Duration::from_secs(2);
/// How often the endpoints ConfigMap is written when nothing has changed: far more often than agents take it to be old.
pub const ENDPOINTS_RENEWAL: Duration = Duration::from_secs(10 * 60);
/// How many rows a page of the fleet has, unless asked otherwise, and at most.
pub const FLEET_PAGE: usize = 1000;
/// How many guards one reporter looks after.
pub const GUARDS_MAX: usize = 64;
