//! The policies of `deploy/policies`, enforced by the real Felix on the real packets of the real `guardprobe check`: what they deny, and what
//! each leaves open, as the page beside them says. Needs, besides what other tests need, the Debian packages iptables, ipset and conntrack.
#![expect(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the clock")]
mod common;

#[path = "policies/calico.rs"]
mod calico;
#[path = "policies/cilium.rs"]
mod cilium;
#[path = "policies/kubernetes.rs"]
mod kubernetes;
#[path = "policies/lab.rs"]
mod lab;
#[path = "policies/page.rs"]
mod page;
#[path = "policies/steps.rs"]
mod steps;
