use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::readiness::Phase;

/// Status line and body of one request.
fn get_path(address: SocketAddr, path: &str) -> (String, String) {
    let answer = exchange(address, "GET", path);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// The whole answer to one request.
fn exchange(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect to the admin port");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
        .expect("send a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read the answer");
    answer
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

#[test]
fn only_what_is_there_can_be_read_and_nothing_else_done() {
    let address = start(&Admin::on_a_free_port(), Readiness::default()).expect("a free port");
    let nothing = String::new();
    let not_found = ("HTTP/1.1 404 Not Found".to_owned(), nothing);
    for path in ["/", "/livez/", "/readyz/verbose", "/metric"] {
        assert_eq!(get_path(address, path), not_found, "{path}");
    }
    let (status, body) = get_path(address, "/livez?verbose");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok\n"));

    let refused = exchange(address, "POST", "/metrics");
    assert!(refused.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{refused}");
    assert!(refused.contains("allow: GET,HEAD\r\n"), "{refused}");
    let head = exchange(address, "HEAD", "/livez");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for line in ["content-length: 3\r\n", "content-type: text/plain; charset=utf-8\r\n"] {
        assert!(head.contains(line), "{line:?} is not in {head}");
    }
}
