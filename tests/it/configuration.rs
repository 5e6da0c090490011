//! The documentation of the configuration is what the programs themselves say.

use anyhow::{Context, ensure};
use harness::all_references;
use std::path::Path;

/// What lies between these lines of the documentation is generated.
const BEGIN: &str = "<!-- The rest is generated: cargo bless-config -->\n";

#[tokio::test]
async fn the_documented_reference_is_that_of_the_programs() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&path)?;
    let (before, _) = text.split_once(BEGIN).context("the line where the generated part begins")?;
    let current = format!("{before}{BEGIN}{}", all_references().await?);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, current)?;
        return Ok(());
    }
    ensure!(
        text == current,
        "docs/configuration.md is not what the programs say: cargo bless-config"
    );
    Ok(())
}
