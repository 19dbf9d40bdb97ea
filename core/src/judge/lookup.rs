//! Look-ups: which names are asked for, and what the answers are worth. A name is tried at all of its addresses, or in doubt.
use crate::model::address::Family;
use crate::model::names;
use std::net::IpAddr;

/// What a name server said of a name in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FamilyAnswer {
    /// These addresses; none where the name exists without any in this family.
    Addresses(Vec<IpAddr>),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// No answer that can be used; in words, why.
    Failed(String),
}

impl FamilyAnswer {
    /// True for an answer that names no address.
    pub fn is_nothing(&self) -> bool {
        match self {
            FamilyAnswer::Addresses(addresses) => addresses.is_empty(),
            FamilyAnswer::NoSuchName => true,
            FamilyAnswer::Failed(_) => false,
        }
    }
}

/// What is known of a name after it was asked for in each family of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LookedUp {
    /// The addresses to try, at most [`names::NAME_ADDRESSES_MAX`].
    pub addresses: Vec<IpAddr>,
    /// Why these may not be all, in words. A target with such a name is never `blocked` (DESIGN §4, rule 5).
    pub doubt: Option<String>,
}

/// The absolute names that are asked for `host`, in the order of trying; the first that exists counts.
///
/// A name with a dot is taken as it is written, so that no wildcard in a search domain answers in its place. A name that ends in `.svc`
/// gets the cluster's domain. Only a name without a dot goes through the search list, as that of a Service of the pod's own namespace does.
pub fn absolute_names(host: &str, cluster_domain: &str, search: &[String]) -> Vec<String> {
    let host = host.to_ascii_lowercase();
    if let Some(written_absolute) = host.strip_suffix('.') {
        return vec![format!("{written_absolute}.")];
    }
    if host.ends_with(".svc") {
        return vec![format!("{host}.{cluster_domain}.")];
    }
    if host.contains('.') {
        return vec![format!("{host}.")];
    }
    let searched = search.iter().map(|domain| format!("{host}.{domain}."));
    searched.chain([format!("{host}.")]).collect()
}

/// What the answers of all families come to. `is_own` is true for an address of this pod.
pub fn conclude(answers: &[(Family, FamilyAnswer)], is_own: impl Fn(IpAddr) -> bool) -> LookedUp {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut doubts: Vec<String> = Vec::new();
    for (family, answer) in answers {
        match answer {
            FamilyAnswer::Failed(why) => doubts.push(format!("{}: {why}", family.title())),
            FamilyAnswer::NoSuchName => {}
            FamilyAnswer::Addresses(found) => {
                for ip in found.iter().map(|ip| ip.to_canonical()) {
                    match impossible(ip, &is_own) {
                        Some(what) => doubts.push(format!("{ip} is {what}: that cannot be meant")),
                        None if addresses.contains(&ip) => {}
                        None => addresses.push(ip),
                    }
                }
            }
        }
    }
    if addresses.len() > names::NAME_ADDRESSES_MAX {
        let count = addresses.len();
        doubts.push(format!("{count} addresses, and only {} of one name are tried", names::NAME_ADDRESSES_MAX));
        addresses.truncate(names::NAME_ADDRESSES_MAX);
    }
    if addresses.is_empty() && doubts.is_empty() && !answers.is_empty() {
        let exists = answers.iter().any(|(_, answer)| *answer != FamilyAnswer::NoSuchName);
        doubts.push(if exists { "the name has no address" } else { "no such name" }.to_owned());
    }
    LookedUp { addresses, doubt: doubts.into_iter().next() }
}

/// What an address is that no name of another host has; `None` for any other.
fn impossible(ip: IpAddr, is_own: &impl Fn(IpAddr) -> bool) -> Option<&'static str> {
    let unspecified = match ip {
        // 0.0.0.0/8, "this host on this network" (RFC 1122, 3.2.1.3): Linux connects to itself.
        IpAddr::V4(v4) => v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    if unspecified {
        Some("unspecified")
    } else if ip.is_loopback() {
        Some("loopback")
    } else if ip.is_multicast() {
        Some("multicast")
    } else if ip == IpAddr::from([255, 255, 255, 255]) {
        Some("broadcast")
    } else {
        is_own(ip).then_some("this pod's own")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    fn found(texts: &[&str]) -> FamilyAnswer {
        FamilyAnswer::Addresses(ips(texts))
    }

    fn of(ipv4: FamilyAnswer, ipv6: FamilyAnswer) -> LookedUp {
        conclude(&[(Family::Ipv4, ipv4), (Family::Ipv6, ipv6)], |ip| ip == IpAddr::from([10, 244, 1, 10]))
    }

    #[test]
    fn a_name_with_a_dot_is_absolute_and_one_of_a_service_gets_the_clusters_domain() {
        let search = ["apps.svc.corp.example".to_owned(), "corp.test".to_owned()];
        for (host, expected) in [
            ("Vault.Example", vec!["vault.example."]),
            ("vault.example.", vec!["vault.example."]),
            ("vault.apps.svc", vec!["vault.apps.svc.corp.example."]),
            ("vault.apps.svc.", vec!["vault.apps.svc."]),
            ("vault", vec!["vault.apps.svc.corp.example.", "vault.corp.test.", "vault."]),
        ] {
            assert_eq!(absolute_names(host, "corp.example", &search), expected, "{host}");
        }
    }

    #[test]
    fn addresses_of_both_families_are_tried_once_each() {
        let both = of(found(&["10.0.0.5", "10.0.0.5"]), found(&["fd00::5", "::ffff:10.0.0.5"]));
        assert_eq!(both, LookedUp { addresses: ips(&["10.0.0.5", "fd00::5"]), doubt: None });
        assert_eq!(of(found(&["10.0.0.5"]), found(&[])).doubt, None, "an answer without records is an answer");
        assert_eq!(of(found(&["10.0.0.5"]), FamilyAnswer::NoSuchName).doubt, None);
    }

    #[test]
    fn only_an_answer_without_an_address_is_nothing() {
        for (answer, nothing) in [
            (found(&[]), true),
            (FamilyAnswer::NoSuchName, true),
            (found(&["10.0.0.5"]), false),
            (FamilyAnswer::Failed("SERVFAIL".to_owned()), false),
        ] {
            assert_eq!(answer.is_nothing(), nothing, "{answer:?}");
        }
    }

    #[test]
    fn each_doubt_has_its_words_and_leaves_the_addresses() {
        let failed = FamilyAnswer::Failed("10.96.0.10 answered SERVFAIL".to_owned());
        let half = of(found(&["10.0.0.5"]), failed);
        assert_eq!(half.addresses, ips(&["10.0.0.5"]));
        assert_eq!(half.doubt.as_deref(), Some("IPv6: 10.96.0.10 answered SERVFAIL"));
        assert_eq!(of(FamilyAnswer::NoSuchName, FamilyAnswer::NoSuchName).doubt.as_deref(), Some("no such name"));
        assert_eq!(of(found(&[]), FamilyAnswer::NoSuchName).doubt.as_deref(), Some("the name has no address"));
        assert_eq!(conclude(&[], |_| false), LookedUp::default(), "a pod without any address asks for nothing");
    }

    #[test]
    fn addresses_that_cannot_be_meant_are_not_tried() {
        for (address, what) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("::", "unspecified"),
            ("127.0.0.53", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("10.244.1.10", "this pod's own"),
        ] {
            let looked_up = of(found(&[address, "10.0.0.5"]), found(&[]));
            assert_eq!(looked_up.addresses, ips(&["10.0.0.5"]), "{address}");
            assert!(looked_up.doubt.is_some_and(|doubt| doubt.contains(what)), "{address}");
        }
        for address in ["169.254.169.254", "fd00:ec2::254", "1.0.0.0", "240.0.0.1"] {
            assert_eq!(of(found(&[address]), found(&[])).doubt, None, "{address}");
        }
    }

    #[test]
    fn more_addresses_than_are_tried_are_a_doubt() {
        let many = |count: u8| FamilyAnswer::Addresses((1..=count).map(|last| IpAddr::from([10, 0, 0, last])).collect());
        assert_eq!((of(many(64), found(&[])).addresses.len(), of(many(64), found(&[])).doubt), (64, None));
        let over = of(many(64), found(&["fd00::5"]));
        assert_eq!(over.addresses.len(), 64);
        assert_eq!(over.doubt.as_deref(), Some("65 addresses, and only 64 of one name are tried"));
    }
}
