//! The configuration in force: the file, else what is built in.
use crate::probe::files;
use crate::probe::pod::Pod;
use guardprobe_core::model::address::HostPort;
use guardprobe_core::model::config::Config;
use guardprobe_core::model::names;
use guardprobe_core::parse::config as parse;
use std::io::Read;
use std::path::Path;

/// Reads the configuration file; without one there is what every pod finds around itself.
///
/// # Errors
/// The file, and every mistake in it with its place and what was expected.
pub fn read(path: Option<&Path>, pod: &Pod) -> Result<Config, String> {
    if let Some(address) = &pod.reporter {
        address.parse::<HostPort>().map_err(|why| format!("GUARDPROBE_REPORTER_ADDRESS: {why}"))?;
    }
    path.map_or_else(|| Ok(parse::built_in(&pod.namespace)), |path| from_file(path, &pod.namespace))
}

fn from_file(path: &Path, namespace: &str) -> Result<Config, String> {
    parse::parse_bytes(&bytes_of(path)?, namespace).map_err(|problems| problems.in_file(shown(path)).to_string())
}

/// The name of a configuration file in messages.
pub fn shown(path: &Path) -> &Path {
    if path == Path::new("-") { Path::new("standard input") } else { path }
}

fn from_standard_input() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(names::CONFIG_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A configuration file's bytes; `-` is standard input: one more than may be is enough to see that there are too many.
///
/// # Errors
/// The file, and why it cannot be read.
pub fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    if path == Path::new("-") {
        return from_standard_input().map_err(|error| format!("standard input: cannot be read: {error}"));
    }
    files::read_regular(path, names::CONFIG_MAX_BYTES).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}
