//! Credentials that have to be fetched: token files, and the programs that a kubeconfig names (exec plugins, the credential plugins of
//! client-go). A plugin is run once for each time that its answer is valid.
#![expect(clippy::disallowed_methods, reason = "how long credentials are valid is told here, at the edge")]
use hyper::header::HeaderValue;
use jiff::Timestamp;
use kube::Config;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use std::io::{ErrorKind, IsTerminal, Write};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of a plugin's answer is read; a token or a certificate with its key has a few kilobytes.
const ANSWER_MAX: u64 = 1024 * 1024;
/// How many bytes of a token file are read.
const TOKEN_FILE_MAX_BYTES: u64 = 64 * 1024;
/// How long a plugin's output is read after its end.
const OUTPUT_AFTER_END: Duration = Duration::from_secs(1);
/// How much of what a plugin says on standard error is kept for the message.
const WORDS_MAX: usize = 400;
/// How often a token file is read anew (client-go does it each minute).
const TOKEN_FILE_HOLDS: Duration = Duration::from_secs(60);

/// A plugin's answer: `ExecCredential` of client.authentication.k8s.io.
#[derive(Deserialize)]
struct ExecCredential {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    status: Option<ExecStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecStatus {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Puts credentials that can be sent in the place of those that have to be fetched. Returns how long they are valid, where that is known.
///
/// # Errors
/// What did not give any, and why.
pub(super) async fn fetch(config: &mut Config, longest: Duration) -> Result<Option<Timestamp>, String> {
    let auth = &mut config.auth_info;
    if let Some(path) = auth.token_file.take() {
        let read =
            timeout(longest, read_token(&path)).await.unwrap_or_else(|_| Err(format!("not read within {} s", longest.as_secs())));
        match read.and_then(|text| token(&text, "it")) {
            Ok(token) => {
                auth.token = Some(token.into());
                return Ok(Some(Timestamp::now() + TOKEN_FILE_HOLDS));
            }
            Err(_) if auth.token.is_some() => return Ok(None),
            Err(why) => return Err(format!("tokenFile {path}: {why}")),
        }
    }
    // Who has other credentials is not asked for more, as by kubectl.
    let has_certificate = auth.client_certificate.is_some() || auth.client_certificate_data.is_some();
    let has_others = auth.token.is_some() || auth.username.is_some() || auth.auth_provider.is_some() || has_certificate;
    match auth.exec.take().filter(|_| !has_others) {
        Some(exec) => {
            let name = exec.command.clone().unwrap_or_default();
            let status = run(&exec, longest).await?;
            apply(auth, status).map_err(|why| format!("the exec plugin {name} {why}"))
        }
        None => Ok(None),
    }
}

async fn read_token(path: &str) -> Result<String, String> {
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(TOKEN_FILE_MAX_BYTES).read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    Ok(text)
}

/// A token as it is sent.
///
/// # Errors
/// It holds what no header can; `key` is where it is from. The message never holds the token.
pub(super) fn token(text: &str, key: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{key} is empty: expected a token"));
    }
    match HeaderValue::from_str(text) {
        Ok(_) if text.is_ascii() => Ok(text.to_owned()),
        _ if text.contains(['\n', '\r']) => Err(format!("{key} has line breaks: expected a token on one line")),
        _ => Err(format!("{key} holds characters that no token has: expected letters, digits and punctuation")),
    }
}

fn apply(auth: &mut AuthInfo, status: ExecStatus) -> Result<Option<Timestamp>, String> {
    let until = status.expiration_timestamp.filter(|text| !text.is_empty());
    let until = until.map(|text| text.parse().map_err(|_| format!("gave the expirationTimestamp {text:?}: expected RFC 3339")));
    let until = until.transpose()?;
    let filled = |value: Option<String>| value.filter(|value| !value.is_empty());
    match (filled(status.client_certificate_data), filled(status.client_key_data)) {
        (Some(certificate), Some(key)) => {
            use base64::Engine;
            let encoded = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
            (auth.client_certificate, auth.client_key) = (None, None);
            auth.client_certificate_data = Some(encoded(certificate));
            auth.client_key_data = Some(encoded(key).into());
        }
        (None, None) if status.token.as_deref().is_none_or(str::is_empty) => {
            return Err("gave neither a token nor a client certificate: expected one in status".to_owned());
        }
        (None, None) => {}
        _ => return Err("gave a client certificate without its key, or a key without it: expected both".to_owned()),
    }
    if let Some(text) = filled(status.token) {
        auth.token = Some(token(&text, "its token").map_err(|why| format!("gave a token that cannot be sent: {why}"))?.into());
    }
    Ok(until)
}

/// Runs a plugin, for at most that long.
async fn run(exec: &ExecConfig, longest: Duration) -> Result<ExecStatus, String> {
    let name = exec.command.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or("the kubeconfig's exec plugin has no command: expected the name of a program")?;
    let is_interactive = exec.interactive_mode != Some(ExecInteractiveMode::Never) && std::io::stdin().is_terminal();
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) && !is_interactive {
        return Err(format!("the exec plugin {name} needs a terminal (interactiveMode: Always), and standard input is none"));
    }
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", exec_info(exec, is_interactive));
    let variables = exec.env.iter().flatten().filter_map(|pair| Some((pair.get("name")?, pair.get("value")?)));
    command.envs(variables).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if is_interactive { Stdio::inherit() } else { Stdio::null() });
    // A group of its own can be ended with all that it started. One that asks a person must stay in that of the terminal.
    if !is_interactive {
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|error| not_started(exec, name, &error))?;
    let mut group = Group(child.id().filter(|_| !is_interactive));
    let done = timeout(longest, answer(&mut child)).await;
    if done.is_ok() {
        // What it left behind on purpose, such as a browser, goes on.
        group.0 = None;
    }
    let Ok(done) = done else {
        return Err(format!("the exec plugin {name} gave no credentials within {} s and was ended", longest.as_secs()));
    };
    let (status, stdout, stderr) = done.map_err(|error| format!("the exec plugin {name}: {error}"))?;
    if !status.success() {
        // Its words stay out of the documents for programs: they may hold a token.
        let said = if stderr.is_empty() { "it said nothing" } else { "what it said is above" };
        if !stderr.is_empty() && !std::io::stderr().is_terminal() {
            tracing::warn!("the exec plugin {name} said: {stderr}");
        }
        return Err(format!("the exec plugin {name} failed ({}): {said}", ending(status)));
    }
    parse(exec, name, &stdout)
}

/// The processes of a plugin; those that are left are ended with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Waits for the plugin to end, and for what it wrote. A process that it started may hold its output open: that is waited for a moment only.
async fn answer(child: &mut Child) -> std::io::Result<(ExitStatus, Vec<u8>, String)> {
    let (mut answer, mut words) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = {
        let mut reading = pin!(async {
            let answer = async {
                if let Some(stdout) = stdout {
                    stdout.take(ANSWER_MAX).read_to_end(&mut answer).await?;
                }
                std::io::Result::Ok(())
            };
            tokio::try_join!(answer, keep_words(stderr, &mut words)).map(drop)
        });
        tokio::select! {
            ended = child.wait() => {
                let _ = timeout(OUTPUT_AFTER_END, reading).await;
                Some(ended?)
            }
            read = &mut reading => {
                read?;
                None
            }
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => child.wait().await?,
    };
    let words = String::from_utf8_lossy(&words).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((ended, answer, words))
}

/// Keeps the last words of a plugin. A person sees them at once: it may ask for something.
async fn keep_words(stderr: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(mut stderr) = stderr else { return Ok(()) };
    let shows = std::io::stderr().is_terminal();
    let mut buffer = [0; 4096];
    loop {
        let length = stderr.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if shows {
            let _ = std::io::stderr().lock().write_all(&buffer[..length]);
        }
        kept.extend_from_slice(&buffer[..length]);
        kept.drain(..kept.len().saturating_sub(WORDS_MAX));
    }
}

fn not_started(exec: &ExecConfig, name: &str, error: &std::io::Error) -> String {
    let hint = exec.install_hint.as_deref().map(str::trim).filter(|hint| !hint.is_empty());
    let hint = hint.map_or_else(String::new, |hint| {
        format!(". The kubeconfig says: {}", hint.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    match error.kind() {
        ErrorKind::NotFound => format!("the exec plugin {name} was not found (PATH): install it{hint}"),
        _ => format!("the exec plugin {name} cannot be started: {error}{hint}"),
    }
}

fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it did not end by itself".to_owned(),
    }
}

fn exec_info(exec: &ExecConfig, interactive: bool) -> String {
    let mut spec = json!({ "interactive": interactive });
    if let Some(cluster) = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info) {
        spec["cluster"] = json!(cluster);
    }
    json!({ "kind": "ExecCredential", "apiVersion": exec.api_version, "spec": spec }).to_string()
}

fn parse(exec: &ExecConfig, name: &str, stdout: &[u8]) -> Result<ExecStatus, String> {
    let credential: ExecCredential = serde_json::from_slice(stdout)
        .map_err(|_| format!("the exec plugin {name} gave no ExecCredential: expected JSON on standard output"))?;
    if credential.api_version != exec.api_version {
        let of = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        return Err(format!(
            "the exec plugin {name} speaks apiVersion {}, and the kubeconfig wants {}: update the plugin, or write the kubeconfig anew",
            of(&credential.api_version),
            of(&exec.api_version)
        ));
    }
    credential.status.ok_or_else(|| format!("the exec plugin {name} gave no status: expected one with a token or a certificate"))
}
