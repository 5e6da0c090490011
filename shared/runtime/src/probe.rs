//! Asks the running process whether it is well, from the same binary: containers need no shell and
//! no HTTP client for their health check.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Admin;
use crate::telemetry::chain;
use crate::tls::to_oneself;

/// How long connecting, writing and reading may take, each.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest answer that is looked at.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probe {
    /// Whether the process is alive.
    Livez,
    /// Whether it is able to work.
    Readyz,
    /// Whether its start is over.
    Startupz,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Startupz => "/startupz",
        }
    }
}

/// Asks the process that listens there. Prints its answer; exit code 0 for a good one, else 1.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer is for who started it")]
pub(crate) fn ask(name: &str, admin: &Admin, probe: Probe) -> ExitCode {
    match answer(reachable(admin.listen), &admin.tls_cert_file, probe.path()) {
        Ok((true, body)) => {
            print!("{body}");
            ExitCode::SUCCESS
        }
        Ok((false, body)) => {
            print!("{body}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{name}: ask {}: {}", admin.listen, chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Whoever listens on all addresses also listens on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Encrypted where the process has a certificate.
fn answer(admin: SocketAddr, cert_file: &str, path: &str) -> anyhow::Result<(bool, String)> {
    let stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if cert_file.is_empty() {
        exchange(stream, admin, path)
    } else {
        exchange(to_oneself("admin.tls_cert_file", cert_file, admin, stream)?, admin, path)
    }
}

fn exchange(
    mut stream: impl Read + Write,
    admin: SocketAddr,
    path: &str,
) -> anyhow::Result<(bool, String)> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let is_good = text.split_whitespace().nth(1) == Some("200");
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((is_good, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Authority, Folder};
    use crate::readiness::{Phase, Readiness};

    fn check(readiness: &Readiness, probe: Probe, expected: bool) {
        let admin = crate::admin::start(&Admin::on_a_free_port(), readiness.clone())
            .expect("the admin port");
        let (is_good, body) = answer(admin, "", probe.path()).expect("an answer");
        assert_eq!(is_good, expected, "{probe:?} {body}");
        assert!(!body.is_empty());
    }

    #[test]
    fn a_probe_tells_what_the_admin_port_says() {
        let readiness = Readiness::default();
        check(&readiness, Probe::Livez, true);
        check(&readiness, Probe::Readyz, false);
        check(&readiness, Probe::Startupz, false);
        readiness.enter(Phase::Running);
        check(&readiness, Probe::Readyz, true);
        check(&readiness, Probe::Startupz, true);
    }

    #[test]
    fn a_probe_of_an_encrypted_port_knows_its_own_certificate() {
        let (authority, folder) = (Authority::new("services"), Folder::new());
        let file = |name: &str| folder.path().join(name).display().to_string();
        for name in ["own", "other"] {
            folder.identity(name, &authority.issue(&["anything"]));
        }
        let config = Admin {
            tls_cert_file: file("own.crt"),
            tls_key_file: file("own.key"),
            ..Admin::on_a_free_port()
        };
        let admin = crate::admin::start(&config, Readiness::default()).expect("the admin port");
        let (is_good, body) = answer(admin, &config.tls_cert_file, "/livez").expect("an answer");
        assert!(is_good && body == "ok\n", "{body}");
        let error = answer(admin, &file("other.crt"), "/livez").expect_err("another certificate");
        assert!(format!("{error:#}").contains("UnknownIssuer"), "{error:#}");
        let plainly = answer(admin, "", "/livez");
        assert!(!plainly.is_ok_and(|(is_good, _)| is_good), "it speaks plainly");
        // Renewed: both sides take the new one.
        folder.identity("own", &authority.issue(&["renewed"]));
        assert!(answer(admin, &config.tls_cert_file, "/livez").expect("an answer").0);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        assert!(answer(nobody.expect("a free port"), "", "/readyz").is_err());
    }

    #[test]
    fn all_addresses_are_asked_on_loopback() {
        let check = |listen: &str, expected: &str| {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen), expected.parse().expect("an address"));
        };
        check("0.0.0.0:9090", "127.0.0.1:9090");
        check("[::]:9090", "[::1]:9090");
        check("127.0.0.2:1", "127.0.0.2:1");
    }
}
