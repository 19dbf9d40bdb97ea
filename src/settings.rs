//! The configuration in force: the file, else what is built in.
use crate::probe::files;
use crate::probe::pod::Pod;
use guardprobe_core::model::config::Config;
use guardprobe_core::model::names;
use guardprobe_core::parse::config as parse;
use std::path::Path;

/// Reads the configuration file; without one there is what every pod finds around itself.
///
/// # Errors
/// The file, and every mistake in it with its place and what was expected.
pub fn read(path: Option<&Path>, pod: &Pod) -> Result<Config, String> {
    path.map_or_else(|| Ok(parse::built_in(&pod.namespace)), |path| from_file(path, &pod.namespace))
}

fn from_file(path: &Path, namespace: &str) -> Result<Config, String> {
    parse::parse_bytes(&bytes_of(path)?, namespace).map_err(|problems| problems.in_file(path).to_string())
}

/// A configuration file's bytes: one more than may be is enough to see that there are too many.
///
/// # Errors
/// The file, and why it cannot be read.
pub fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    files::read_regular(path, names::CONFIG_MAX_BYTES).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}
