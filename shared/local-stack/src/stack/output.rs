//! Where the children's log lines go.

use std::path::{Path, PathBuf};

/// Files, the terminal, or both.
#[derive(Debug, Clone)]
pub struct Output {
    folder: PathBuf,
    terminal: bool,
}

impl Output {
    /// One file per process in `folder`, which is created; with `terminal` each line is also shown
    /// on standard error behind its process's name.
    pub fn new(folder: &Path, terminal: bool) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), terminal })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    pub(crate) fn show(&self, name: &str, line: &str) {
        if self.terminal {
            eprintln!("{name:>17} | {line}");
        }
    }

    /// Something about a process that a person should see in any case.
    pub(crate) fn note(&self, name: &str, line: &str) {
        eprintln!("{name:>17} ! {line}");
    }

    /// The last lines of a process's log, for an error message.
    pub fn describe(&self, name: &str) -> String {
        const LINES: usize = 20;
        let path = self.file(name);
        match std::fs::read_to_string(&path) {
            Ok(log) => {
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
                format!("{} ends with:\n{tail}", path.display())
            }
            Err(error) => format!("{}: {error}", path.display()),
        }
    }

    /// The folder with one file per process.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
