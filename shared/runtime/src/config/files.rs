//! The lower layers: the files that were compiled in, and those of a directory.

use std::io::ErrorKind;
use std::path::Path;

use config::{Config, File, FileFormat};

use super::{ConfigError, one_line, unreadable};

/// What every process starts from.
const COMMON_DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// The compiled-in files of a process, and over them those of `directory`, where a missing one is empty.
pub(super) fn layers(
    name: &str,
    defaults: &str,
    directory: Option<&Path>,
) -> Result<Config, ConfigError> {
    let mut builder = Config::builder()
        .add_source(File::from_str(COMMON_DEFAULTS, FileFormat::Toml))
        .add_source(File::from_str(defaults, FileFormat::Toml));
    if let Some(directory) = directory {
        for file in ["default", name] {
            let path = directory.join(format!("{file}.toml"));
            if is_good(&path)? {
                builder = builder.add_source(File::from(path).format(FileFormat::Toml));
            }
        }
    }
    builder.build().map_err(unreadable)
}

/// Whether the file is there. Errs when it cannot be read, with the place and the reason but without the
/// line itself, which is what the layers' own error would show: there may be a secret in it.
fn is_good(path: &Path) -> Result<bool, ConfigError> {
    let bad = |reason: String| {
        Err(ConfigError::Unreadable { reason: format!("{}: {reason}", path.display()) })
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return bad(error.to_string()),
    };
    match toml::from_str::<toml::Table>(&text) {
        Ok(_) => Ok(true),
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (line, column) = match before.rsplit_once('\n') {
                Some((lines, last)) => (lines.lines().count() + 1, last.chars().count() + 1),
                None => (1, before.chars().count() + 1),
            };
            bad(format!("line {line}, column {column}: {}", one_line(error.message())))
        }
    }
}
