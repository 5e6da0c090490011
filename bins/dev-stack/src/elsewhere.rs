//! A system that runs already: where it is, and what is done with it.
//!
//! Its APIs are arguments, its stores are those of the configuration.

use crate::settings::Settings;
use anyhow::bail;
use clap::Args;
use dev_stack::{bench, demo};
use hyper::Uri;
use local_stack::http::HttpClient;
use local_stack::{Doors, Narrator, wait_for};
use runtime::tls::{CertificateFault, TlsFault};
use std::error::Error;
use std::time::Duration;
use uuid::Uuid;

/// How long a system that was just started may take to answer.
const UP_LIMIT: Duration = Duration::from_secs(60);

/// Other clients may use it at the same time. Its database and its broker are in the configuration.
#[derive(Args)]
pub(crate) struct Elsewhere {
    /// Base URL of command-api, http or https. ScyllaDB and Kafka are those of the configuration.
    #[arg(long, required = false, requires = "query_api", value_name = "URL", value_parser = base_url)]
    command_api: String,
    /// Base URL of query-api.
    #[arg(long, required = false, requires = "command_api", value_name = "URL", value_parser = base_url)]
    query_api: String,
    /// For https: the authorities of the certificates that the APIs show, PEM.
    #[arg(long, requires = "command_api", value_name = "FILE")]
    ca_file: Option<String>,
    /// For APIs that demand a certificate: the one to show and those up to its authority, PEM.
    #[arg(long, requires_all = ["ca_file", "key_file"], value_name = "FILE")]
    cert_file: Option<String>,
    /// The private key of that certificate, PEM.
    #[arg(long, requires = "cert_file", value_name = "FILE")]
    key_file: Option<String>,
}

/// A URL to which paths can be appended.
fn base_url(text: &str) -> Result<String, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match url.scheme_str() {
        Some("http" | "https") => Ok(url.to_string().trim_end_matches('/').to_owned()),
        _ => Err("does not begin with http:// or https://".to_owned()),
    }
}

impl Elsewhere {
    /// As the demo and the load take it; reads certificates.
    pub(crate) fn doors(self, settings: Settings) -> anyhow::Result<Doors> {
        Ok(Doors {
            http: self.http()?,
            commands: self.command_api,
            queries: self.query_api,
            scylla: settings.scylla,
            kafka: settings.kafka,
            topics: domain::AGGREGATES.topics(),
            is_shared: true,
        })
    }

    fn http(&self) -> anyhow::Result<HttpClient> {
        let is_encrypted = |url: &String| url.starts_with("https:");
        let encrypted = [&self.command_api, &self.query_api].into_iter().any(is_encrypted);
        match (&self.ca_file, encrypted) {
            (None, false) => Ok(HttpClient::default()),
            (None, true) => bail!("a URL is https, and --ca-file does not name its authorities"),
            // Who names certificates does not expect to be readable by everybody.
            (Some(_), false) => bail!("--ca-file is named, and no URL is https"),
            (Some(ca), true) => {
                let [cert, key] = [&self.cert_file, &self.key_file]
                    .map(|file| file.as_deref().unwrap_or_default());
                let flags = ["--ca-file", "--cert-file", "--key-file"];
                HttpClient::with_tls(flags, [ca, cert, key])
            }
        }
    }
}

/// The order lifecycle.
pub(crate) async fn demo(doors: &Doors, json: bool) -> anyhow::Result<()> {
    answering(doors).await?;
    let report = demo::run(doors, &Narrator { speaks: !json }).await?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// A steady load.
pub(crate) async fn load(
    doors: Doors,
    json: bool,
    rate: u64,
    length: Duration,
) -> anyhow::Result<()> {
    answering(&doors).await?;
    let latencies = bench::steady(doors, rate, length).await?;
    if json {
        println!("{}", serde_json::to_string(&latencies)?);
    } else {
        print!("{latencies}");
    }
    Ok(())
}

/// Waits until both APIs answer: the system may be on its way up still.
async fn answering(doors: &Doors) -> anyhow::Result<()> {
    for url in [&doors.commands, &doors.queries] {
        let asked = format!("{url}/v1/orders/{}", Uuid::nil());
        wait_for(&format!("{url} to answer"), UP_LIMIT, || async {
            let Err(error) = doors.http.get(&asked).await else { return Ok(Ok(())) };
            match advice(error.as_ref()) {
                // No certificate gets better by waiting.
                Some(advice) => Ok(Err(error.context(advice))),
                None => Err(format!("{error:#}")),
            }
        })
        .await??;
    }
    Ok(())
}

/// Which flag to look at, where one can be named.
fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    Some(match TlsFault::of(error)? {
        TlsFault::Certificate(CertificateFault::OtherName) => {
            "the API's certificate is not for the host of its URL, --command-api or --query-api"
        }
        TlsFault::Certificate(CertificateFault::NotNow) => {
            "the API's certificate, or one in --ca-file, is not valid at this time"
        }
        TlsFault::Certificate(CertificateFault::OtherAuthority) => {
            "the API's certificate is of no authority in --ca-file"
        }
        TlsFault::Demanded => "the API demands a certificate: --cert-file",
        TlsFault::Refused => "the API refuses the certificate in --cert-file",
        TlsFault::OtherProtocol => "the API does not speak TLS there: its URL may have to be http",
    })
}
