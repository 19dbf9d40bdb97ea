//! Whose certificate an API server shows, and what that makes of a connection.
use super::common::{Ca, Checked, World};
use super::expect;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SigningKey,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A CA whose subject is that name.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a server shows.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Shown {
    fn new(leaf: &Certificate, chain: &[CertificateDer<'static>], key: KeyPair) -> Self {
        Shown { chain: [&[leaf.der().clone()], chain].concat(), key }
    }

    /// A leaf that `issuer` signed, with a change of it first.
    fn signed_by<S: SigningKey>(issuer: &rcgen::Issuer<'_, S>, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["kubernetes.default.svc".to_owned()]).unwrap();
        change(&mut params);
        Shown::new(&params.signed_by(&key, issuer).unwrap(), &[], key)
    }

    fn certified(self) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        Arc::new(CertifiedKey::new(self.chain, key))
    }
}

/// Shows one certificate to one name, another to all others, and remembers which names were asked for.
#[derive(Debug)]
struct Router {
    named: Option<(&'static str, Arc<CertifiedKey>)>,
    other: Arc<CertifiedKey>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl ResolvesServerCert for Router {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.asked.lock().unwrap().push(hello.server_name().map(str::to_owned));
        match &self.named {
            Some((name, key)) if hello.server_name() == Some(*name) => Some(Arc::clone(key)),
            _ => Some(Arc::clone(&self.other)),
        }
    }
}

/// Serves TLS at an address; returns the names that were asked for.
fn serve(world: &World, address: &str, named: Option<(&'static str, Shown)>, other: Shown) -> Arc<Mutex<Vec<Option<String>>>> {
    let asked = Arc::default();
    let named = named.map(|(name, shown)| (name, shown.certified()));
    let router = Router { named, other: other.certified(), asked: Arc::clone(&asked) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(router)));
    world.serve(address, move |mut stream: TcpStream| {
        let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let _ = connection.complete_io(&mut stream);
        let _ = stream.read(&mut [0; 64]);
    });
    asked
}

/// A check of the API with that CA.
fn checked(world: &World, ca: &str, target: &str, status: i32, finding: &str) -> Checked {
    let ca = world.file("ca.crt", ca);
    let text = format!("targets: [{{name: api, kind: kube-api, caFile: {ca}, {target}}}]");
    let checked = world.check(&["-c", &world.file("c.yaml", &text), "-o", "json"]);
    expect(&checked, status, &[("api", finding)]);
    checked
}

/// As [`checked`]; what was learnt of the first address.
fn check(world: &World, ca: &str, target: &str, status: i32, finding: &str) -> String {
    checked(world, ca, target, status, finding).report().targets[0].observations[0].detail.clone().unwrap()
}

#[test]
fn only_another_ca_at_an_address_that_may_have_been_released_is_somebody_elses() {
    let (cluster, namesake, other) = (authority("kubernetes"), authority("kubernetes"), authority("elsewhere"));
    let is_ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let for_clients = |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    let through_an_intermediate = || {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "intermediate");
        let between = CertifiedIssuer::signed_by(params, key, &cluster).unwrap();
        let mut shown = Shown::signed_by(&between, is_ca);
        shown.chain.push(between.der().clone());
        shown
    };
    let itself = || {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["kubernetes.default.svc".to_owned()]).unwrap();
        is_ca(&mut params);
        Shown::new(&params.self_signed(&key).unwrap(), &[], key)
    };
    let (identified, wrong) = ((1, "breached: identified"), (3, "inconclusive: wrong_identity"));
    for (what, shown, (status, finding), detail) in [
        ("as it should be", Shown::signed_by(&cluster, |_| ()), identified, "certificate of the cluster's CA"),
        ("CA:TRUE", Shown::signed_by(&cluster, is_ca), identified, "though it says CA:TRUE"),
        ("for clients only", Shown::signed_by(&cluster, for_clients), identified, "though not for servers"),
        ("expired", Shown::signed_by(&cluster, expired), identified, "certificate of the cluster's CA"),
        ("through an intermediate", through_an_intermediate(), identified, "though it says CA:TRUE"),
        ("another CA", Shown::signed_by(&other, |_| ()), wrong, "not of the cluster's CA (signed by another CA)"),
        ("another CA of the same name", Shown::signed_by(&namesake, |_| ()), wrong, "signed by another CA"),
        ("another CA of the same name, CA:TRUE", Shown::signed_by(&namesake, is_ca), wrong, "signed by another CA"),
        ("itself, CA:TRUE", itself(), wrong, "signed by another CA"),
    ] {
        let world = World::new();
        world.resolver();
        world.serve_dns();
        serve(&world, "10.80.0.5:6443", None, shown);
        let said = check(&world, &cluster.pem(), "addresses: ['10.80.0.5:6443']", status, finding);
        assert!(said.contains(detail), "{what}: {said}");
    }
}

#[test]
fn whatever_answers_at_a_name_or_a_cluster_ip_is_the_api() {
    let (cluster, public) = (authority("kubernetes"), authority("public"));
    // Behind an SNI router: only who asks for the right name meets the API server.
    let world = World::new();
    world.resolver();
    world.serve_dns();
    let named = ("vault.example", Shown::signed_by(&cluster, |_| ()));
    let asked = serve(&world, "10.80.0.5:443", Some(named), Shown::signed_by(&public, |_| ()));
    let said = check(&world, &cluster.pem(), "addresses: ['vault.example:443']", 1, "breached: identified");
    assert_eq!(said, "certificate of the cluster's CA, though not for vault.example");
    assert_eq!(asked.lock().unwrap()[0].as_deref(), Some("vault.example"));
    // An address alone is asked for the API's own name.
    check(&world, &cluster.pem(), "addresses: ['10.80.0.5:443']", 3, "inconclusive: wrong_identity");
    assert_eq!(asked.lock().unwrap().last().unwrap().as_deref(), Some("kubernetes.default.svc"));
    // A ClusterIP, and the name of the Service.
    let world = World::new();
    world.resolver();
    world.serve_dns();
    serve(&world, "10.96.0.1:443", None, Shown::signed_by(&public, |_| ()));
    check(&world, &cluster.pem(), "addresses: ['10.96.0.1:443']", 1, "breached: answered");
    check(&world, &cluster.pem(), "addresses: ['kubernetes.default.svc:443']", 1, "breached: answered");
}

#[test]
fn a_public_endpoint_may_have_a_ca_of_its_own() {
    let (cluster, public) = (Ca::new(), authority("public"));
    let world = World::new();
    world.resolver();
    world.serve_dns();
    world.guard();
    world.nft("flush chain inet guard in; add rule inet guard in ip daddr 10.96.0.1 drop");
    serve(
        &world,
        "10.80.0.5:443",
        None,
        Shown::signed_by(&public, |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("vault.example".try_into().unwrap())];
        }),
    );
    let told = |target: &str, finding| checked(&world, &cluster.pem(), target, 1, finding).stderr();
    told("publicEndpoint: 'vault.example:443'", "breached: answered");
    let file = world.file("public.crt", &public.pem());
    let with = |path: &str| format!("publicEndpoint: 'vault.example:443', publicEndpointCaFile: {path}");
    told(&with(&file), "breached: identified");
    let stderr = told(&with("/nowhere/ca.crt"), "breached: answered");
    assert!(stderr.contains("target api: publicEndpointCaFile /nowhere/ca.crt: "), "{stderr}");
}

#[test]
fn a_public_endpoint_may_show_the_clusters_certificate_as_well() {
    let (cluster, public) = (authority("kubernetes"), authority("public"));
    let world = World::new();
    world.resolver();
    world.serve_dns();
    world.guard();
    world.nft("flush chain inet guard in; add rule inet guard in ip daddr 10.96.0.1 drop");
    serve(&world, "10.80.0.5:443", None, Shown::signed_by(&cluster, |_| ()));
    let file = world.file("public.crt", &public.pem());
    let target = format!("publicEndpoint: '10.80.0.5:443', publicEndpointCaFile: {file}");
    checked(&world, &cluster.pem(), &target, 1, "breached: identified");
}

#[test]
fn an_address_that_a_name_leads_to_as_well_is_nobody_elses() {
    let (cluster, other) = (authority("kubernetes"), authority("elsewhere"));
    let world = World::new();
    world.resolver();
    world.serve_dns();
    serve(&world, "10.80.0.5:443", None, Shown::signed_by(&other, |_| ()));
    check(&world, &cluster.pem(), "addresses: ['10.80.0.5:443', 'vault.example:443']", 1, "breached: answered");
    check(&world, &cluster.pem(), "addresses: ['10.80.0.5:443']", 3, "inconclusive: wrong_identity");
}

#[test]
fn a_signature_that_cannot_be_verified_makes_nobody_a_stranger() {
    // RSA with 1,024 bits: the library here cannot tell such a signature from a wrong one.
    let world = World::new();
    let made = |command: &str| {
        let output = Command::new("sh").args(["-ec", command]).current_dir(world.folder()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    made("openssl req -x509 -newkey rsa:1024 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=kubernetes 2>/dev/null");
    made(
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=api 2>/dev/null",
    );
    made(
        "echo subjectAltName=DNS:kubernetes.default.svc > ext; openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out leaf.pem 2>/dev/null",
    );
    let read = |name: &str| std::fs::read(world.folder().join(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&read("leaf.pem")).collect::<Result<Vec<_>, _>>().unwrap();
    let shown = Shown { chain, key: KeyPair::from_pem(&String::from_utf8(read("leaf.key")).unwrap()).unwrap() };
    world.resolver();
    world.serve_dns();
    serve(&world, "10.80.0.5:443", None, shown);
    let ca = String::from_utf8(read("ca.pem")).unwrap();
    let said = check(&world, &ca, "addresses: ['10.80.0.5:443']", 1, "breached: answered");
    assert!(said.contains("its signature cannot be verified here"), "{said}");
}
