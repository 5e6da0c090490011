//! `WITH cdc = {…}`.

use crate::error::{CqlError, Result};
use crate::schema::{CdcOptions, Preimage};

/// One day.
const TTL_DEFAULT: u32 = 86_400;

/// Reads the map; options that are not named have their defaults.
pub(super) fn read(map: &[(String, String)]) -> Result<CdcOptions> {
    let mut options = CdcOptions {
        enabled: false,
        preimage: Preimage::Off,
        postimage: false,
        full_delta: true,
        ttl_seconds: TTL_DEFAULT,
    };
    for (name, value) in map {
        let lower = value.to_ascii_lowercase();
        let wrong =
            || CqlError::config(format!("Invalid value for CDC option \"{name}\": {value}"));
        match name.to_ascii_lowercase().as_str() {
            "enabled" => options.enabled = boolean(&lower).ok_or_else(wrong)?,
            "preimage" if lower == "full" => options.preimage = Preimage::Full,
            "preimage" => {
                options.preimage = match boolean(&lower).ok_or_else(wrong)? {
                    true => Preimage::Changed,
                    false => Preimage::Off,
                };
            }
            "postimage" => options.postimage = boolean(&lower).ok_or_else(wrong)?,
            "delta" => {
                options.full_delta = match lower.as_str() {
                    "full" => true,
                    "keys" => false,
                    _ => return Err(wrong()),
                };
            }
            "ttl" => {
                let seconds: i32 = lower.parse().map_err(|_| wrong())?;
                options.ttl_seconds = u32::try_from(seconds)
                    .map_err(|_| CqlError::config("Invalid CDC option: ttl must be >= 0"))?;
            }
            _ => return Err(CqlError::config(format!("Invalid CDC option: {name}"))),
        }
    }
    Ok(options)
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
