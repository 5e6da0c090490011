//! What every program answers about its configuration before it does anything else.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::{ConfigError, Configuration, Loaded, Sources, load, reference};

/// Exit code of a bad configuration.
const EXIT_CONFIG: u8 = 64;

/// Arguments that concern the configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigArguments {
    /// Directory with default.toml and the program's own file [default: ./config]
    #[arg(long, global = true, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Print the configuration that would be used, secrets hidden, and end
    #[arg(long)]
    check_config: bool,
    /// Print every key with what it takes and means, and end
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1,
          default_missing_value = "markdown")]
    print_config_reference: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Markdown,
    Json,
}

impl ConfigArguments {
    /// The configuration; or the code to exit with, after what was asked for was printed or what is wrong
    /// was said. `defaults` is the text of the compiled-in `<name>.toml`.
    pub fn load<C: Configuration>(
        &self,
        name: &str,
        defaults: &str,
    ) -> Result<Loaded<C>, ExitCode> {
        if let Some(format) = self.print_config_reference {
            let entries = reference::reference::<C>(name, defaults);
            let entries = entries.map_err(|error| refuse(name, &error))?;
            return Err(match format {
                Format::Markdown => print(&reference::to_markdown(name, &entries)),
                Format::Json => match serde_json::to_string_pretty(&entries) {
                    Ok(text) => print(&format!("{text}\n")),
                    Err(error) => refuse(name, &error),
                },
            });
        }
        let loaded = self.read::<C>(name, defaults).map_err(|error| refuse(name, &error))?;
        if self.check_config {
            return Err(match loaded.to_toml() {
                Ok(text) => print(&text),
                Err(error) => refuse(name, &error),
            });
        }
        Ok(loaded)
    }

    /// The configuration as it is now.
    pub(crate) fn read<C: Configuration>(
        &self,
        name: &str,
        defaults: &str,
    ) -> Result<Loaded<C>, ConfigError> {
        load::<C>(name, defaults, &Sources::of_process(self.config_dir.as_deref())?)
    }
}

/// Says why a program does not start with this configuration; its exit code.
#[expect(clippy::print_stderr, reason = "there is no log before its configuration is known")]
pub(crate) fn refuse(name: &str, reason: &dyn Display) -> ExitCode {
    eprintln!("{name}: {}", super::one_line(&reason.to_string()));
    ExitCode::from(EXIT_CONFIG)
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn print(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}
