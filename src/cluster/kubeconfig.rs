//! Kubeconfig files, read as kubectl reads them, and turned into a configuration of the client. Nothing is sent and nothing is run here.
use super::{credentials, proxy};
use crate::wire::authorities::authorities;
use guardprobe_core::model::names;
use hyper::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, ExecAuthCluster, Kubeconfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use std::env;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Version;

/// Which kubeconfig files there are.
struct Files {
    paths: Vec<PathBuf>,
    /// Where they are named, in words.
    named_by: &'static str,
}

/// The configuration of `context`, or of the current one; `None` where there is no kubeconfig, or where it names no current context.
///
/// # Errors
/// The file, what is wrong with it, and what was expected.
pub(super) fn configuration(context: Option<&str>) -> Result<Option<Config>, String> {
    let files = Files::find();
    let Some(kubeconfig) = files.read()? else {
        let names: Vec<String> = files.paths.iter().map(|path| path.display().to_string()).collect();
        return match context {
            Some(context) => {
                Err(format!("no context {context:?}: there is no kubeconfig ({} names {})", files.named_by, names.join(", ")))
            }
            None => Ok(None),
        };
    };
    let Some(name) = context.map(str::to_owned).or_else(|| filled(kubeconfig.current_context.clone())) else {
        return Ok(None);
    };
    let places = files.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    of_context(&kubeconfig, &name).map(Some).map_err(|why| format!("kubeconfig {places}: {why}"))
}

impl Files {
    /// Those that KUBECONFIG lists, else ~/.kube/config.
    fn find() -> Self {
        let listed = env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
        let paths = listed.iter().flat_map(env::split_paths).filter(|path| !path.as_os_str().is_empty()).collect::<Vec<_>>();
        if !paths.is_empty() {
            return Files { paths, named_by: "KUBECONFIG" };
        }
        let home = env::var_os("HOME").filter(|home| !home.is_empty());
        Files { paths: home.map(|home| Path::new(&home).join(".kube/config")).into_iter().collect(), named_by: "HOME" }
    }

    /// All of them, merged: the first that sets a value wins. One that is not there is passed over, as kubectl does.
    fn read(&self) -> Result<Option<Kubeconfig>, String> {
        let mut merged: Option<Kubeconfig> = None;
        for path in &self.paths {
            match std::fs::metadata(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("kubeconfig {}: {error}", path.display())),
                Ok(_) => {}
            }
            let mut file =
                Kubeconfig::read_from(path).map_err(|error| format!("kubeconfig {}: {}", path.display(), first_line(&error)))?;
            file.current_context = filled(file.current_context.take());
            merged = Some(match merged {
                None => file,
                Some(before) => before.merge(file).map_err(|error| format!("kubeconfig {}: {error}", path.display()))?,
            });
        }
        Ok(merged)
    }
}

/// An error without the lines of the file that it may quote: they may hold a token.
fn first_line(error: &dyn std::error::Error) -> String {
    let whole = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let line = whole.lines().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
    format!("{}: expected a kubeconfig in YAML", line.trim().trim_start_matches("error: "))
}

fn of_context(kubeconfig: &Kubeconfig, name: &str) -> Result<Config, String> {
    let known = || listed(kubeconfig.contexts.iter().map(|context| context.name.as_str()));
    let context = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = context.ok_or_else(|| format!("it has no context {name:?}: expected {}", known()))?;
    let context = context.context.clone().ok_or_else(|| format!("context {name:?} is empty: expected a cluster and a user"))?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.clone()).ok_or_else(|| {
        let known = listed(kubeconfig.clusters.iter().map(|cluster| cluster.name.as_str()));
        format!("context {name:?} has no cluster {:?}: expected {known}", context.cluster)
    })?;
    let user = filled(context.user.clone());
    // kubectl goes on without a user that is not there.
    let auth = user.and_then(|user| kubeconfig.auth_infos.iter().find(|known| known.name == user)?.auth_info.clone());
    let mut config = of_cluster(&cluster).map_err(|why| format!("cluster {:?}: {why}", context.cluster))?;
    let auth = of_user(auth.unwrap_or_default(), &cluster);
    config.auth_info = auth.map_err(|why| format!("user {:?}: {why}", context.user.unwrap_or_default()))?;
    config.default_namespace = filled(context.namespace).unwrap_or(config.default_namespace);
    Ok(config)
}

fn of_cluster(cluster: &Cluster) -> Result<Config, String> {
    let authority = authority(cluster)?;
    let insecure = cluster.insecure_skip_tls_verify.unwrap_or(false);
    let mut config = Config::new(server(cluster, authority.is_some() || insecure)?);
    config.root_cert = authority;
    config.accept_invalid_certs = insecure;
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = filled(cluster.tls_server_name.clone());
    config.proxy_url = match filled(cluster.proxy_url.clone()) {
        Some(url) => Some(proxy::of_kubeconfig(&url)?),
        None => proxy::of_environment(&config.cluster_url)?,
    };
    Ok(config)
}

/// The URL of the API server. Without a scheme it is https where something says so, as for kubectl, else http.
fn server(cluster: &Cluster, is_tls: bool) -> Result<Uri, String> {
    const EXPECTED: &str = "expected a URL such as https://10.0.0.1:6443";
    let text = filled(cluster.server.clone()).ok_or_else(|| format!("it has no server: {EXPECTED}"))?;
    let text = text.trim();
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("{}://{text}", if is_tls { "https" } else { "http" }),
    };
    let url: Uri = url.parse().map_err(|error| format!("server {text:?}: {error}: {EXPECTED}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(url),
        _ => Err(format!("server {text:?} is no URL of a server: {EXPECTED}")),
    }
}

/// The certificates of the cluster's CA; `None` where it names none, and those of this machine count.
fn authority(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, String> {
    let (what, pem) = match (filled(cluster.certificate_authority_data.clone()), path_of(cluster.certificate_authority.clone())) {
        (Some(data), _) => ("certificate-authority-data".to_owned(), decoded("certificate-authority-data", &data)?),
        (None, Some(path)) => (format!("certificate-authority {path}"), file("certificate-authority", &path)?),
        (None, None) => return Ok(None),
    };
    let read = authorities(&pem).map_err(|why| format!("{what} {why}"))?;
    let usable = |der: &&CertificateDer<'_>| RootCertStore::empty().add((*der).clone().into_owned()).is_ok();
    let certificates: Vec<&CertificateDer<'_>> = read.certificates.iter().filter(usable).collect();
    if certificates.iter().all(|der| is_of_a_server(der)) {
        return Err(format!(
            "{what} holds a server's own certificate, and the TLS library of this program takes only that of the CA that signed it: \
             expected the CA's"
        ));
    }
    Ok(Some(certificates.into_iter().map(|der| der.to_vec()).collect()))
}

/// True for a certificate that somebody else signed and that may sign no other.
fn is_of_a_server(der: &CertificateDer<'_>) -> bool {
    parse_x509_certificate(der)
        .is_ok_and(|(_, certificate)| !certificate.is_ca() && certificate.subject() != certificate.issuer())
}

/// Credentials without what kubectl passes over: empty values, white space around a token, line breaks within base64.
fn of_user(mut auth: AuthInfo, cluster: &Cluster) -> Result<AuthInfo, String> {
    if let Some(provider) = &auth.auth_provider {
        refuse_provider(&provider.name)?;
    }
    for path in [&mut auth.token_file, &mut auth.client_certificate, &mut auth.client_key] {
        *path = path_of(path.take());
    }
    auth.username = filled(auth.username.take());
    auth.client_certificate_data = filled(auth.client_certificate_data.take()).map(|data| without_white_space(&data));
    let key = auth.client_key_data.take().map(|key| key.expose_secret().to_owned());
    auth.client_key_data = filled(key).map(|key| without_white_space(&key).into());
    let token = filled(auth.token.take().map(|token| token.expose_secret().to_owned()));
    auth.token = match token {
        Some(token) => Some(credentials::token(&token, "token")?.into()),
        None => None,
    };
    refuse_certificate(&auth)?;
    if let Some(exec) = auth.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some(ExecAuthCluster::try_from(&tidy(cluster)).map_err(|error| error.to_string())?);
    }
    Ok(auth)
}

/// Refuses authentication providers that kubectl has had no code for since 1.26.
fn refuse_provider(name: &str) -> Result<(), String> {
    let instead = match name {
        "gcp" => "gke-gcloud-auth-plugin (gcloud container clusters get-credentials writes it)",
        "azure" => "kubelogin (kubelogin convert-kubeconfig writes it)",
        "oidc" => return Ok(()),
        _ => "an exec plugin",
    };
    Err(format!("auth-provider {name:?} is gone, from kubectl too (since 1.26): expected {instead}"))
}

/// Refuses what the TLS library never sends.
fn refuse_certificate(auth: &AuthInfo) -> Result<(), String> {
    let (certificate, key) = (
        auth.client_certificate_data.is_some() || auth.client_certificate.is_some(),
        auth.client_key_data.is_some() || auth.client_key.is_some(),
    );
    if certificate != key {
        let (there, missing) =
            if certificate { ("client-certificate", "client-key") } else { ("client-key", "client-certificate") };
        return Err(format!("it has a {there} and no {missing}: expected both"));
    }
    let pem = match (&auth.client_certificate_data, &auth.client_certificate) {
        (Some(data), _) => decoded("client-certificate-data", data)?,
        (None, Some(path)) => file("client-certificate", path)?,
        (None, None) => return Ok(()),
    };
    if let Some(path) = auth.client_key.as_ref().filter(|_| auth.client_key_data.is_none()) {
        file("client-key", path)?;
    }
    let first = CertificateDer::pem_slice_iter(&pem).next();
    let Some(Ok(first)) = first else {
        return Err("its client certificate cannot be read: expected a certificate in PEM".to_owned());
    };
    match parse_x509_certificate(&first) {
        Ok((_, certificate)) if certificate.version() != X509Version::V3 => {
            Err("its client certificate is of X.509 version 1, and the TLS library of this program sends version 3 only: \
             sign it again with an extension (openssl x509 -req -extfile)"
                .to_owned())
        }
        _ => Ok(()),
    }
}

fn file(key: &str, path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(names::CA_MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| format!("{key} {path}: {error}"))
}

fn decoded(key: &str, data: &str) -> Result<Vec<u8>, String> {
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(without_white_space(data));
    decoded.map_err(|_| format!("{key} is no base64: expected a PEM file in base64"))
}

fn without_white_space(text: &str) -> String {
    text.split_whitespace().collect()
}

/// A value, unless it is empty: kubectl takes that for none.
fn filled(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.trim().is_empty())
}

/// A path, unless it is empty: reading the file has put the folder of the kubeconfig before it.
fn path_of(value: Option<String>) -> Option<String> {
    filled(value).filter(|path| !path.ends_with('/'))
}

/// A cluster as a plugin is told of it.
fn tidy(cluster: &Cluster) -> Cluster {
    let data = filled(cluster.certificate_authority_data.clone()).map(|data| without_white_space(&data));
    let certificate_authority = path_of(cluster.certificate_authority.clone());
    Cluster { certificate_authority_data: data, certificate_authority, ..cluster.clone() }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<&str> = names.collect();
    let more = all.len().saturating_sub(SHOWN);
    match (all.is_empty(), more) {
        (true, _) => "one (there are none)".to_owned(),
        (false, 0) => format!("one of {}", all.join(", ")),
        (false, more) => format!("one of {} and {more} more", all[..SHOWN].join(", ")),
    }
}
