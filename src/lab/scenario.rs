//! The catalogue of situations, and how one is judged.
//!
//! The expectations follow from the rules in `guardprobe_core::judge::finding`; a number in a comment is that of the rule.
#![expect(clippy::disallowed_methods, reason = "the lab tells how long things took")]
use super::filter::Answer;
use super::net::{Way, only};
use super::setup::{DnsInPod, EndpointsFile, Guard, Ipv6, Proxy, Setup, Trouble};
use super::standin::{Api, DnsAnswers, Service};
use super::world::{Checked, World};
use super::{plan, role};
use guardprobe_core::model::names;
use guardprobe_core::model::report::Report;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Instant;

/// One situation.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// What makes it differ from a world in which all is well.
    change: fn(&mut Setup),
    /// The configuration; without one, what a pod finds by itself: imds and kube-api.
    config: Option<&'static str>,
    /// More arguments of `check`.
    args: &'static [&'static str],
    /// Target, and its verdict and reason.
    expect: &'static [(&'static str, &'static str)],
}

/// A situation that needs no configuration.
const fn plain(
    name: &'static str,
    about: &'static str,
    expect: &'static [(&'static str, &'static str)],
    change: fn(&mut Setup),
) -> Scenario {
    Scenario { name, about, change, config: None, args: &[], expect }
}

const SILENCE: &str = "blocked: silence";
const WEAK: &str = "blocked: weak";
const REJECTED: &str = "blocked: rejected";
const UNPROVED: &str = "inconclusive: unproved";
const NO_CONTROL: &str = "inconclusive: no_control";
const DENIED_LOCALLY: &str = "inconclusive: denied_locally";
const TOKEN: &str = "breached: token_issued";
const IDENTIFIED: &str = "breached: identified";
const CONTROL_FAILED: &str = "inconclusive: control_failed";
const REFUSED: &str = "inconclusive: refused";
const INTERCEPTED: &str = "inconclusive: intercepted";
const STALE: &str = "inconclusive: stale_addresses";
const LOCAL_ERROR: &str = "inconclusive: local_error";

const BOTH_SILENT: &[(&str, &str)] = &[("imds", SILENCE), ("kube-api", SILENCE)];
const BOTH_OPEN: &[(&str, &str)] = &[("imds", TOKEN), ("kube-api", IDENTIFIED)];
const BOTH_UNPROVED: &[(&str, &str)] = &[("imds", UNPROVED), ("kube-api", UNPROVED)];
const BOTH_UNCONTROLLED: &[(&str, &str)] = &[("imds", NO_CONTROL), ("kube-api", NO_CONTROL)];
const BOTH_DARK: &[(&str, &str)] = &[("imds", CONTROL_FAILED), ("kube-api", CONTROL_FAILED)];
const BOTH_REFUSED: &[(&str, &str)] = &[("imds", REFUSED), ("kube-api", REFUSED)];
const BOTH_INTERCEPTED: &[(&str, &str)] = &[("imds", INTERCEPTED), ("kube-api", INTERCEPTED)];
const BOTH_LOCAL: &[(&str, &str)] = &[("imds", LOCAL_ERROR), ("kube-api", LOCAL_ERROR)];
const API_STALE: &[(&str, &str)] = &[("imds", SILENCE), ("kube-api", STALE)];
const BOTH_REJECTED: &[(&str, &str)] = &[("imds", REJECTED), ("kube-api", REJECTED)];

/// All situations.
pub(super) const CATALOGUE: &[Scenario] = &[
    plain("guard-holds", "The guard drops what it must; all else works.", BOTH_SILENT, |_| {}),
    plain("no-guard", "No guard at all.", BOTH_OPEN, |all| all.guard = None),
    plain("ipv6-forgotten", "The guard denies IMDS over IPv4 only.", &[("imds", TOKEN), ("kube-api", SILENCE)], |all| {
        guard(all).addresses.truncate(1);
    }),
    plain(
        "endpoint-missing",
        "One API endpoint is missing from the guard's set.",
        &[("imds", SILENCE), ("kube-api", IDENTIFIED)],
        |all| {
            guard(all).endpoints.remove(1);
        },
    ),
    plain(
        "endpoint-moved",
        "The API got a new endpoint, and the guard's set did not.",
        &[("imds", SILENCE), ("kube-api", IDENTIFIED)],
        |all| {
            all.pod.endpoints = EndpointsFile::Fresh(vec![plan::ENDPOINTS[0], plan::NEW_ENDPOINT]);
        },
    ),
    plain("network-dead", "The pod's network passes nothing.", BOTH_DARK, |all| all.node.trouble = Some(Trouble::Everything)),
    plain("control-dead", "The guard holds, but DNS is dead.", BOTH_DARK, Setup::close_dns),
    plain("control-dropped", "The guard holds, and something drops DNS too.", BOTH_DARK, |all| {
        all.node.trouble = Some(Trouble::To(plan::DNS_SERVER.to_vec()));
    }),
    plain("targets-dead", "No guard, and nobody listens: a reset comes back.", BOTH_REFUSED, |all| {
        all.guard = None;
        all.close_imds();
        all.close_api();
    }),
    plain("guard-resets", "The guard answers with a reset.", BOTH_REFUSED, |all| guard(all).answer = Answer::Reset),
    plain("admin-prohibited", "The guard answers: administratively prohibited.", BOTH_REJECTED, |all| {
        guard(all).answer = Answer::Icmp { v4: 13, v6: 1 };
    }),
    plain("port-unreachable", "The guard answers: port unreachable.", BOTH_REJECTED, |all| {
        guard(all).answer = Answer::Icmp { v4: 3, v6: 4 };
    }),
    plain("protocol-unreachable", "The guard answers: protocol unreachable; over IPv6: policy.", BOTH_REJECTED, |all| {
        guard(all).answer = Answer::Icmp { v4: 2, v6: 5 };
    }),
    plain("host-unreachable", "A third party answers: host unreachable.", BOTH_SILENT, |all| {
        guard(all).answer = Answer::Icmp { v4: 1, v6: 3 }
    }),
    plain("proxy-mute", "A proxy in the pod accepts everything and says nothing.", BOTH_INTERCEPTED, |all| {
        all.guard = None;
        all.pod.proxy = Some(Proxy { forwards: false, ..Proxy::default() });
    }),
    plain("proxy-forwards", "A proxy in the pod forwards to the real IMDS and API.", BOTH_OPEN, |all| {
        all.guard = None;
        all.pod.proxy = Some(Proxy { forwards: true, ..Proxy::default() });
    }),
    plain("proxy-guarded", "A proxy in the pod accepts everything; behind it the guard holds.", BOTH_INTERCEPTED, |all| {
        all.pod.proxy = Some(Proxy { forwards: true, ..Proxy::default() });
    }),
    plain(
        "proxy-one-port",
        "A proxy takes port 80 only; the API is not intercepted.",
        &[("imds", INTERCEPTED), ("kube-api", IDENTIFIED)],
        |all| {
            all.guard = None;
            all.pod.proxy = Some(Proxy { only_port: Some(80), ..Proxy::default() });
        },
    ),
    plain("node-swallows", "Something on the node accepts every connection.", BOTH_INTERCEPTED, |all| {
        all.guard = None;
        all.node.swallows_tcp = true;
    }),
    plain(
        "hop-limit",
        "No guard; IMDS's answers get one hop far.",
        &[("imds", "breached: no_answer"), ("kube-api", IDENTIFIED)],
        |all| {
            all.guard = None;
            all.one_hop_imds();
        },
    ),
    plain("first-syn-lost", "No guard; the first SYN of each connection is lost.", BOTH_OPEN, |all| {
        all.guard = None;
        all.node.trouble = Some(Trouble::FirstSyn);
    }),
    Scenario {
        config: Some(
            "targets: [{name: many, kind: tcp, addresses: ['10.90.1.1:8200', '10.90.1.2:8200', '10.90.1.3:8200', '10.90.1.4:8200', '10.90.1.5:8200', '10.90.1.6:8200', '10.90.1.7:8200', '10.90.1.8:8200', '10.90.1.9:8200', '10.90.1.10:8200', '10.90.1.11:8200', '10.90.1.12:8200']}]",
        ),
        ..plain("two-of-three", "Two of three connects get through.", &[("many", "breached: connected")], |all| {
            all.guard = None;
            all.node.trouble = Some(Trouble::FromPorts(plan::FIRST_THIRD));
        })
    },
    Scenario {
        config: Some("targets: [{name: nobody, kind: tcp, addresses: ['nobody.lab:443']}]"),
        ..plain("name-unknown", "A target's name does not resolve.", &[("nobody", "inconclusive: resolve_failed")], |_| {})
    },
    plain("route-prohibit", "A prohibit route in the pod.", &[("imds", DENIED_LOCALLY), ("kube-api", SILENCE)], |all| {
        all.pod.routes = vec![(only(plan::IMDS[0]), Way::Prohibit)];
    }),
    plain("route-blackhole", "A blackhole route in the pod.", &[("imds", DENIED_LOCALLY), ("kube-api", SILENCE)], |all| {
        all.pod.routes = vec![(only(plan::IMDS[0]), Way::Blackhole)];
    }),
    plain("route-unreachable", "An unreachable route in the pod.", &[("imds", DENIED_LOCALLY), ("kube-api", SILENCE)], |all| {
        all.pod.routes = vec![(only(plan::IMDS[0]), Way::Unreachable)];
    }),
    plain(
        "router-prohibit",
        "No guard, but the node's routes prohibit IMDS.",
        &[("imds", "blocked: rejected"), ("kube-api", IDENTIFIED)],
        |all| {
            all.guard = None;
            all.node.routes = plan::IMDS.map(|ip| (only(ip), Way::Prohibit)).to_vec();
        },
    ),
    plain("router-unreachable", "The node has no way to IMDS, and says so.", BOTH_SILENT, |all| {
        all.node.routes = plan::IMDS.map(|ip| (only(ip), Way::Unreachable)).to_vec();
    }),
    plain("no-default-route", "The pod has no default route.", BOTH_UNCONTROLLED, |all| all.pod.default_route = false),
    plain("no-address", "The pod has no address in either family.", BOTH_UNCONTROLLED, |all| {
        all.pod.ipv4 = false;
        all.pod.ipv6 = Ipv6::LinkLocal;
    }),
    plain("no-descriptors", "The prober has no file descriptor left.", BOTH_LOCAL, |all| all.pod.descriptors = Some(9)),
    plain("no-local-port", "The pod has no local port left.", BOTH_LOCAL, |all| all.pod.no_local_port = true),
    plain("no-ipv6", "The pod has no IPv6 address beyond its link.", BOTH_SILENT, |all| all.pod.ipv6 = Ipv6::LinkLocal),
    plain("ipv6-off", "IPv6 is switched off in the pod.", BOTH_SILENT, |all| all.pod.ipv6 = Ipv6::Off),
    plain(
        "other-ca",
        "An endpoint that the API gave up is somebody else's now; the guard holds.",
        &[("imds", SILENCE), ("kube-api", "inconclusive: wrong_identity")],
        |all| {
            all.pod.endpoints = EndpointsFile::Fresh(vec![plan::ENDPOINTS[0], plan::ENDPOINTS[1], plan::NEW_ENDPOINT]);
            all.another_api_at(plan::NEW_ENDPOINT);
        },
    ),
    plain(
        "other-ca-at-cluster-ip",
        "Behind the ClusterIP, too, another CA's certificate is shown.",
        &[("imds", SILENCE), ("kube-api", "breached: answered")],
        |all| {
            guard(all).endpoints.clear();
            all.api_is(Api::Others);
        },
    ),
    plain(
        "api-no-tls",
        "What answers at the API's addresses speaks no TLS.",
        &[("imds", SILENCE), ("kube-api", "breached: answered")],
        |all| {
            guard(all).endpoints.clear();
            all.api_is(Api::Garbage);
        },
    ),
    plain(
        "api-mute",
        "What answers at the API's addresses says nothing.",
        &[("imds", SILENCE), ("kube-api", "breached: no_answer")],
        |all| {
            guard(all).endpoints.clear();
            all.api_is(Api::Mute);
        },
    ),
    plain("endpoints-old", "The endpoints file is 90 minutes old.", API_STALE, |all| {
        all.pod.endpoints = EndpointsFile::Old(plan::ENDPOINTS.to_vec(), 90);
    }),
    plain("endpoints-torn", "The endpoints file is half written.", API_STALE, |all| {
        all.pod.endpoints = EndpointsFile::Text("{\"revision\":\"lab\",\"upd");
    }),
    plain("endpoints-loopback", "The endpoints file names a loopback address.", API_STALE, |all| {
        all.pod.endpoints = EndpointsFile::Fresh(vec![std::net::SocketAddr::from(([127, 0, 0, 1], 6443))]);
    }),
    Scenario {
        config: Some("targets: [{name: kube-api, kind: kube-api, endpointsFile: /etc/guardprobe/endpoints/endpoints.json}]"),
        ..plain("endpoints-missing", "A configured endpoints file is not there.", &[("kube-api", STALE)], |all| {
            all.pod.endpoints = EndpointsFile::Missing;
        })
    },
    plain("cluster-ip-only", "Only the API's ClusterIP is known, and DNS is a Service too.", BOTH_SILENT, |all| {
        all.pod.endpoints = EndpointsFile::Missing;
    }),
    plain(
        "cluster-ip-without-proxy",
        "Only the API's ClusterIP is known, kube-proxy is dead, and DNS is no Service.",
        &[("imds", SILENCE), ("kube-api", UNPROVED)],
        |all| {
            all.pod.endpoints = EndpointsFile::Missing;
            all.node.trouble = Some(Trouble::To(vec![plan::CLUSTER_IP]));
            all.pod.nameservers = plan::DNS_SERVER.map(|server| server.ip()).to_vec();
        },
    ),
    plain(
        "cluster-ip-rejected",
        "Only the API's ClusterIP is known, and kube-proxy rejects it.",
        &[("imds", SILENCE), ("kube-api", UNPROVED)],
        |all| {
            all.pod.endpoints = EndpointsFile::Missing;
            all.node.behind_cluster_ip.clear();
        },
    ),
    plain("service-without-endpoints", "kube-proxy rejects the ClusterIP; the endpoints are guarded.", BOTH_SILENT, |all| {
        all.node.behind_cluster_ip.clear();
    }),
    plain("public-cluster-ip", "The range of Services looks public, and the guard holds.", BOTH_SILENT, |all| {
        all.pod.api = plan::PUBLIC_CLUSTER_IP;
    }),
    Scenario {
        config: Some("targets: [{name: vault, kind: tcp, addresses: ['vault.default.svc:8200']}]"),
        ..plain("named-service-rejected", "kube-proxy rejects a Service that was given by name.", &[("vault", UNPROVED)], |_| {})
    },
    Scenario {
        config: Some("targets: [{name: vault, kind: tcp, addresses: ['vault.lab:8200']}]"),
        ..plain("name-rejected", "The guard rejects what a name leads to.", &[("vault", REJECTED)], |all| {
            guard(all).answer = Answer::Icmp { v4: 13, v6: 1 };
            guard(all).also_denies(plan::many().next());
        })
    },
    Scenario {
        config: Some("targets: [{name: vault, kind: tcp, addresses: ['vault.lab:8200']}]"),
        ..plain(
            "name-silent",
            "The guard drops what a name leads to, and nothing else is known.",
            &[("vault", UNPROVED)],
            |all| {
                guard(all).also_denies(plan::many().next());
            },
        )
    },
    Scenario {
        config: Some("targets: [{name: vault, kind: tcp, addresses: ['10.90.1.1:8200']}]"),
        ..plain("address-silent", "The guard drops the same address, given as such.", &[("vault", SILENCE)], |all| {
            guard(all).also_denies(plan::many().next());
        })
    },
    // Who sent the ICMP error.
    plain(
        "pod-rejects",
        "The pod's own packet filter rejects IMDS.",
        &[("imds", DENIED_LOCALLY), ("kube-api", SILENCE)],
        |all| all.pod.rejects = plan::IMDS.to_vec(),
    ),
    plain(
        "host-prohibits",
        "No guard for IMDS; its own host prohibits the connection.",
        &[("imds", REFUSED), ("kube-api", SILENCE)],
        |all| {
            guard(all).addresses.clear();
            all.vpc_rejects = Some((Answer::Icmp { v4: 10, v6: 1 }, plan::IMDS.to_vec()));
        },
    ),
    plain(
        "host-port-unreachable",
        "No guard for IMDS; its own host answers: port unreachable.",
        &[("imds", REFUSED), ("kube-api", SILENCE)],
        |all| {
            guard(all).addresses.clear();
            all.vpc_rejects = Some((Answer::Icmp { v4: 3, v6: 4 }, plan::IMDS.to_vec()));
        },
    ),
    plain(
        "endpoint-prohibits",
        "No guard for the API; the hosts of its endpoints prohibit the connection.",
        &[("imds", SILENCE), ("kube-api", REFUSED)],
        |all| {
            guard(all).endpoints.clear();
            all.vpc_rejects = Some((Answer::Icmp { v4: 10, v6: 1 }, plan::ENDPOINTS.map(|at| at.ip()).to_vec()));
        },
    ),
    // What a must-reach control proves.
    plain("mesh-answers-dns", "A mesh answers DNS in the pod; the node passes nothing.", BOTH_UNCONTROLLED, |all| {
        all.pod.dns_in_pod = Some(DnsInPod::Both);
        all.node.trouble = Some(Trouble::Everything);
    }),
    plain("mesh-answers-udp-dead", "A mesh answers DNS over UDP in the pod; the node passes nothing.", BOTH_UNPROVED, |all| {
        all.pod.dns_in_pod = Some(DnsInPod::Udp);
        all.node.trouble = Some(Trouble::Everything);
    }),
    plain("mesh-answers-udp", "A mesh answers DNS over UDP in the pod; the guard holds.", BOTH_SILENT, |all| {
        all.pod.dns_in_pod = Some(DnsInPod::Udp);
    }),
    plain("resolver-in-pod", "The name server is in the pod itself; the node passes nothing.", BOTH_UNCONTROLLED, |all| {
        all.pod.dns_in_pod = Some(DnsInPod::Named);
        all.pod.nameservers = vec![IpAddr::from([127, 0, 0, 1])];
        all.node.trouble = Some(Trouble::Everything);
    }),
    Scenario {
        config: Some(TCP_CONTROL),
        ..plain(
            "sidecar-takes-control",
            "A sidecar accepts the control's port; the node passes nothing.",
            IMDS_UNCONTROLLED,
            |all| {
                all.pod.proxy = Some(Proxy { only_port: Some(plan::MANY_PORT), ..Proxy::default() });
                all.node.trouble = Some(Trouble::Everything);
            },
        )
    },
    Scenario {
        config: Some(TCP_CONTROL),
        ..plain(
            "sidecar-elsewhere",
            "A sidecar accepts another port; the control is reached, and the guard holds.",
            IMDS_SILENT,
            |all| {
                all.pod.ipv6 = Ipv6::LinkLocal;
                all.pod.proxy = Some(Proxy { only_port: Some(8080), ..Proxy::default() });
            },
        )
    },
    plain(
        "dns-proxy-refuses",
        "The node's DNS proxy answers REFUSED; the node passes nothing.",
        API_UNRESOLVED_UNPROVED,
        |all| {
            all.node_local_dns(plan::DNS_SERVICE[0], DnsAnswers::Refused);
            all.node.trouble = Some(Trouble::Everything);
        },
    ),
    plain("dns-fails", "The name servers answer SERVFAIL.", API_UNRESOLVED_UNPROVED, |all| all.dns_answers(DnsAnswers::Failure)),
    plain("dns-knows-nothing", "The name servers answer NXDOMAIN, as they should.", API_UNRESOLVED, |all| {
        all.dns_answers(DnsAnswers::NoSuchName);
    }),
    plain("tcp-dead", "No guard, and nothing passes but UDP.", BOTH_UNPROVED, |all| {
        all.guard = None;
        all.node.trouble = Some(Trouble::Tcp);
    }),
    plain("udp-dns-only", "The guard denies all TCP: only DNS over UDP is left.", BOTH_UNPROVED, |all| guard(all).all_tcp = true),
    Scenario {
        config: Some("proof: weak\ntargets: [{name: imds, kind: imds}, {name: kube-api, kind: kube-api, proof: weak}]"),
        ..plain("weak-by-choice", "The same, and the user has chosen to be content with that.", BOTH_WEAK, |all| {
            guard(all).all_tcp = true;
        })
    },
    plain("first-syn-lost-guarded", "The guard holds; the first SYN of each connection is lost.", BOTH_UNPROVED, |all| {
        all.node.trouble = Some(Trouble::FirstSyn);
    }),
    plain("dead-second-name-server", "The second name server of each family is dead.", BOTH_SILENT, |all| {
        all.pod.nameservers.insert(1, plan::DEAD_DNS);
    }),
    plain("no-name-server", "The pod has no name server.", BOTH_UNCONTROLLED, |all| all.pod.nameservers.clear()),
    plain(
        "odd-resolv-conf",
        "A byte in the pod's resolv.conf is no UTF-8; its name servers are read all the same.",
        BOTH_SILENT,
        |all| {
            all.pod.odd_comment = true;
        },
    ),
    plain(
        "ipv4-control-only",
        "The only name server is reached over IPv4.",
        &[("imds", UNPROVED), ("kube-api", SILENCE)],
        |all| {
            all.pod.nameservers.truncate(1);
        },
    ),
    plain(
        "ipv6-control-dead",
        "The name server is dead over IPv6 only.",
        &[("imds", CONTROL_FAILED), ("kube-api", SILENCE)],
        |all| {
            all.node.trouble = Some(Trouble::To(vec![plan::DNS_SERVER[1]]));
        },
    ),
    Scenario {
        config: Some("targets: [{name: imds, kind: imds}]"),
        ..plain("ipv6-only", "The pod has IPv6 only.", IMDS_SILENT, |all| all.pod.ipv4 = false)
    },
    plain("no-ipv6-route", "The pod has an IPv6 address and no route.", BOTH_SILENT, |all| all.pod.no_ipv6_route = true),
    plain("node-local-dns", "The only control answers on this very node.", BOTH_UNPROVED, |all| {
        all.node_local_dns(plan::NODE_LOCAL_DNS, DnsAnswers::Known);
    }),
    plain("node-local-dns-reporter", "DNS answers on this node, and the reporter on another.", BOTH_SILENT, |all| {
        ipv4(all);
        all.node_local_dns(plan::NODE_LOCAL_DNS, DnsAnswers::Known);
        all.reporters_on([Some("another-node"); 2]);
    }),
    plain(
        "node-local-cluster-dns",
        "DNS answers on this node at the cluster's DNS address, and the reporter on another.",
        BOTH_SILENT,
        |all| {
            ipv4(all);
            all.node_local_dns(plan::DNS_SERVICE[0], DnsAnswers::Known);
            all.reporters_on([Some("another-node"); 2]);
        },
    ),
    plain("reporter-on-this-node", "DNS and the only reporter answer on this node.", BOTH_UNPROVED, |all| {
        ipv4(all);
        all.node_local_dns(plan::NODE_LOCAL_DNS, DnsAnswers::Known);
        all.reporters_on([Some("lab-node"); 2]);
    }),
    plain("one-reporter-elsewhere", "DNS and one of two reporters answer on this node.", BOTH_SILENT, |all| {
        ipv4(all);
        all.node_local_dns(plan::NODE_LOCAL_DNS, DnsAnswers::Known);
        all.reporters_on([Some("lab-node"), Some("another-node")]);
    }),
    plain("reporter-is-another", "DNS answers on this node, and a web server in the reporter's place.", BOTH_UNPROVED, |all| {
        ipv4(all);
        all.node_local_dns(plan::NODE_LOCAL_DNS, DnsAnswers::Known);
        all.reporters_on([None; 2]);
    }),
    plain("reporter-denied", "DNS answers, and the reporter does not.", BOTH_UNPROVED, |all| {
        ipv4(all);
        all.reporters_on([Some("another-node"); 2]);
        all.node.trouble = Some(Trouble::To(plan::REPORTERS.to_vec()));
    }),
    plain("udp-dns-and-reporter", "The guard leaves DNS over UDP and the reporter.", BOTH_SILENT, |all| {
        ipv4(all);
        all.reporters_on([Some("another-node"); 2]);
        all.node.trouble = Some(Trouble::Tcp53);
    }),
    // What an address that connects proves.
    plain(
        "mesh-takes-cluster",
        "A mesh takes the cluster's ranges only, and says nothing; the API is open behind it.",
        &[("imds", SILENCE), ("kube-api", INTERCEPTED)],
        |all| {
            guard(all).endpoints.clear();
            all.pod.proxy =
                Some(Proxy { only_network: Some((IpAddr::from([10, 0, 0, 0]), 8)), only_port: Some(443), ..Proxy::default() });
            all.pod.endpoints = EndpointsFile::Missing;
        },
    ),
    plain(
        "web-server-at-imds",
        "No guard; any web server answers where IMDS was.",
        &[("imds", "breached: answered"), ("kube-api", SILENCE)],
        |all| {
            guard(all).addresses.clear();
            all.imds_is(|at| Service::Web { at });
        },
    ),
    plain(
        "imds-hangs-up",
        "No guard; what answers where IMDS was hangs up.",
        &[("imds", "breached: closed"), ("kube-api", SILENCE)],
        |all| {
            guard(all).addresses.clear();
            all.imds_is(|at| Service::HangUp { at });
        },
    ),
    Scenario {
        args: &["--proof", "rejected"],
        ..plain("proof-wanted", "Silence, where a rejection was asked for as proof.", BOTH_UNPROVED, |_| {})
    },
];

/// IMDS, and a must-reach control of kind tcp.
const TCP_CONTROL: &str =
    "targets: [{name: imds, kind: imds}]\ncontrols: [{name: beyond, expect: must-reach, addresses: ['10.90.1.1:8200']}]";
const IMDS_SILENT: &[(&str, &str)] = &[("imds", SILENCE)];
const IMDS_UNCONTROLLED: &[(&str, &str)] = &[("imds", NO_CONTROL)];
const BOTH_WEAK: &[(&str, &str)] = &[("imds", WEAK), ("kube-api", WEAK)];
/// The API's name is one that a name server should know.
const API_UNRESOLVED: &[(&str, &str)] = &[("imds", SILENCE), ("kube-api", "inconclusive: resolve_failed")];

const API_UNRESOLVED_UNPROVED: &[(&str, &str)] = &[("imds", UNPROVED), ("kube-api", "inconclusive: resolve_failed")];

/// Takes IPv6 away from the pod, for situations whose controls are reached over IPv4.
fn ipv4(all: &mut Setup) {
    all.pod.ipv6 = Ipv6::LinkLocal;
}

/// The guard of a world, for a change.
fn guard(all: &mut Setup) -> &mut Guard {
    all.guard.get_or_insert_default()
}

/// How a situation was judged.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// `target verdict: reason` of each target.
    pub(super) judged: Vec<String>,
    /// What was not as expected, in words.
    pub(super) wrong: Vec<String>,
    pub(super) seconds: f64,
    /// What `check` said.
    pub(super) report: Report,
}

/// What a situation is, and what is expected of it.
pub(super) fn about(name: &str) -> Option<(&'static str, &'static [(&'static str, &'static str)])> {
    CATALOGUE.iter().find(|scenario| scenario.name == name).map(|scenario| (scenario.about, scenario.expect))
}

/// True when a situation differs from what is expected by `unproved` in place of `blocked`, and by nothing else.
pub(super) fn only_lacks_proof(name: &str, outcome: &Outcome) -> bool {
    let Some((_, expect)) = about(name) else { return false };
    let differs = |(target, finding): &&(&str, &str)| !outcome.judged.contains(&format!("{target} {finding}"));
    let is_unproved = |(target, finding): &(&str, &str)| {
        finding.starts_with("blocked") && outcome.judged.contains(&format!("{target} inconclusive: unproved"))
    };
    let mut different = expect.iter().filter(differs).peekable();
    different.peek().is_some() && different.all(is_unproved)
}

/// What `--scenario` takes: a name of the catalogue, or all.
pub(super) fn names() -> Vec<&'static str> {
    CATALOGUE.iter().map(|scenario| scenario.name).chain(["all"]).collect()
}

/// The names that a person asked for: one, or all.
pub(super) fn select(name: &str) -> Vec<String> {
    let known = CATALOGUE.iter().map(|scenario| scenario.name.to_owned());
    known.filter(|known| name == "all" || known == name).collect()
}

/// Judges one situation in a process of its own, so that several stand beside each other.
pub(super) fn run_in_child(name: &str) -> io::Result<Outcome> {
    let output = role::command("scenario", name).stdin(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The other side of [`run_in_child`].
pub(super) fn run_as_process(name: &str) -> io::Result<()> {
    let scenario = CATALOGUE.iter().find(|scenario| scenario.name == name).ok_or_else(|| io::Error::other("no such scenario"))?;
    let start = Instant::now();
    let mut setup = Setup::default();
    (scenario.change)(&mut setup);
    let world = World::build(setup)?;
    let checked = world.check(scenario.config, scenario.args)?;
    let outcome = compare(scenario, &checked, start.elapsed().as_secs_f64());
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn compare(scenario: &Scenario, checked: &Checked, seconds: f64) -> Outcome {
    let found = |name: &str| {
        let target = checked.report.targets.iter().find(|target| target.name == name)?;
        Some((format!("{}: {}", target.verdict.as_str(), target.reason.as_str()), target.why.clone()))
    };
    let mut wrong: Vec<String> = scenario
        .expect
        .iter()
        .filter_map(|(name, expected)| match found(name) {
            Some((finding, _)) if finding == *expected => None,
            Some((_, why)) => Some(format!("expected {name} {expected}, but: {why}")),
            None => Some(format!("expected {name} {expected}, but the report has no such target")),
        })
        .collect();
    let status = exit_status(scenario);
    if checked.status != i32::from(status) {
        wrong.push(format!("expected exit status {status}, not {}", checked.status));
    }
    let judged = scenario.expect.iter().filter_map(|(name, _)| Some(format!("{name} {}", found(name)?.0))).collect();
    Outcome { judged, wrong, seconds, report: checked.report.clone() }
}

/// The exit status that goes with the worst of the expected verdicts.
fn exit_status(scenario: &Scenario) -> u8 {
    let any = |verdict: &str| scenario.expect.iter().any(|(_, expected)| expected.starts_with(verdict));
    match () {
        () if any("breached") => names::EXIT_BREACHED,
        () if any("inconclusive") => names::EXIT_NOT_PROVEN,
        () => names::EXIT_BLOCKED,
    }
}
