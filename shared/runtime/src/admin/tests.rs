use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::readiness::Phase;

/// Status line and body of one request.
fn get_path(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connect to the admin port");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
        .expect("send a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read the answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

#[test]
fn probes_follow_readiness() {
    const OK: &str = "HTTP/1.1 200 OK";
    const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable";
    let readiness = Readiness::default();
    let address = start(&Admin::on_a_free_port(), readiness.clone()).expect("a free port");

    readiness.set("schema", false, "waits for leases/1 slots");
    assert_eq!(get_path(address, "/livez"), (OK.to_owned(), "ok\n".to_owned()));
    assert_eq!(get_path(address, "/startupz").0, UNAVAILABLE);
    let (status, body) = get_path(address, "/readyz");
    assert_eq!(status, UNAVAILABLE);
    assert!(body.contains("[-]schema waits for leases/1 slots"), "{body}");

    readiness.set("schema", true, "complete");
    readiness.enter(Phase::Running);
    assert_eq!(get_path(address, "/startupz").0, OK);
    assert_eq!(get_path(address, "/readyz"), (OK.to_owned(), "ready\n".to_owned()));
    let (status, body) = get_path(address, "/readyz?verbose");
    assert_eq!(status, OK);
    assert!(body.contains("[+]schema complete"), "{body}");

    readiness.enter(Phase::Stopping);
    assert_eq!(get_path(address, "/readyz").0, UNAVAILABLE);
    assert_eq!(get_path(address, "/livez").0, OK);
}

#[test]
fn metrics_say_what_runs_here() {
    crate::process_metrics::register("sample", "1.2.3").expect("registered once");
    let address = start(&Admin::on_a_free_port(), Readiness::default()).expect("a free port");
    let (status, body) = get_path(address, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    for line in [
        "build_info{process=\"sample\",version=\"1.2.3\"} 1",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
    ] {
        assert!(body.lines().any(|found| found.starts_with(line)), "{line:?} is not in\n{body}");
    }
}
