use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::testing::Answering;
use super::*;

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: AbortOnDropHandle<()>,
}

/// So many connections, and so long for a header and for an answer each.
async fn start(service: Answering, connections_max: u32, patience_ms: u64) -> Running {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(listen).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let patience = Duration::from_millis(patience_ms);
    let config = PortConfig {
        connections_max: NonZeroU32::new(connections_max).expect("not zero"),
        header_timeout: patience,
        answer_timeout: patience,
        ..PortConfig::at("http", listen)
    };
    let shutdown = CancellationToken::new();
    let server = Port::new(listener, service, config, shutdown.clone()).expect("no TLS");
    let server = spawn(async move { server.run().await });
    Running { address, shutdown, server: AbortOnDropHandle::new(server) }
}

impl Running {
    async fn end(self) {
        self.shutdown.cancel();
        self.server.await.expect("no panic");
    }
}

fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::runtime::Handle::current().spawn(future)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connect")
}

async fn send_request(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("send a request");
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read the answer");
    answer
}

/// The one answer of a connection that stays open.
async fn read_to_end_of_one(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut part = [0; 256];
        let read = stream.read(&mut part).await.expect("read the answer");
        assert!(read > 0, "it ended early: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
    }
    String::from_utf8(answer).expect("UTF-8")
}

#[tokio::test]
async fn shutdown_lets_a_request_in_flight_finish() {
    let (entered, mut has_entered) = mpsc::channel(1);
    let (release, is_released) = oneshot::channel::<()>();
    let is_released = Arc::new(tokio::sync::Mutex::new(Some(is_released)));
    let service = Answering::new(move |_| {
        let (entered, is_released) = (entered.clone(), is_released.clone());
        async move {
            entered.send(()).await.expect("the test waits");
            let waiting = is_released.lock().await.take().expect("one request");
            waiting.await.expect("the test releases");
            "finished".into()
        }
    });
    let running = start(service, 8, 10_000).await;
    let mut stream = connect(running.address).await;
    send_request(&mut stream).await;
    has_entered.recv().await.expect("the handler runs");

    running.shutdown.cancel();
    // The port closes while the request is still in flight.
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send(()).expect("the handler waits");
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("finished"), "{answer}");
    running.server.await.expect("no panic");
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_for_one_that_is_worked_on() {
    let (entered, mut has_entered) = mpsc::channel(8);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let at_gate = gate.clone();
    let service = Answering::new(move |_| {
        let (entered, gate) = (entered.clone(), at_gate.clone());
        async move {
            entered.send(()).await.expect("the test waits");
            gate.acquire().await.expect("never closed").forget();
            "hello".into()
        }
    });
    let running = start(service, 1, 10_000).await;
    let mut first = connect(running.address).await;
    send_request(&mut first).await;
    has_entered.recv().await.expect("the first is worked on");

    let mut second = connect(running.address).await;
    send_request(&mut second).await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_exact(&mut byte));
    assert!(early.await.is_err(), "the second connection was served beside the first");

    // With its answer the first one becomes a connection that waits for its client.
    gate.add_permits(2);
    let (first, second) = tokio::join!(read_to_end(first), read_to_end_of_one(second));
    assert!(first.ends_with("hello") && second.ends_with("hello"), "{first}{second}");
    running.end().await;
}

#[tokio::test]
async fn slow_clients_give_way_to_whoever_comes() {
    const SLOW: usize = 64;
    let running = start(Answering::always("hello"), 8, 60_000).await;
    let mut slow = Vec::new();
    for index in 0..SLOW {
        let mut stream = connect(running.address).await;
        let begun: &[u8] = match index % 3 {
            0 => b"GET / HTTP/1.1\r\nHost: te",
            1 => b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nbegun",
            _ => b"",
        };
        stream.write_all(begun).await.expect("begin");
        slow.push(stream);
    }
    let mut good = connect(running.address).await;
    send_request(&mut good).await;
    let mut byte = [0];
    let served = tokio::time::timeout(Duration::from_secs(10), good.read_exact(&mut byte));
    served.await.expect("served in time").expect("served");
    // Nor does anyone hold up the end.
    let ended = tokio::time::timeout(Duration::from_secs(30), running.end());
    ended.await.expect("ended long before a header's time is over");
    drop(slow);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut_off() {
    const BYTES: usize = 64 * 1024 * 1024;
    let running = start(Answering::always(vec![b'x'; BYTES]), 8, 100).await;
    let mut slow = connect(running.address).await;
    send_request(&mut slow).await;
    let mut byte = [0];
    slow.read_exact(&mut byte).await.expect("the answer begins");
    // It reads no more, until the server has given it up.
    while METRICS.cut_slow_answer.get() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut rest = Vec::new();
    let read = slow.read_to_end(&mut rest).await;
    assert!(rest.len() < BYTES, "the whole answer came: {read:?}");
    running.end().await;
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off() {
    let running = start(Answering::always("hello"), 1, 50).await;
    let mut slow = connect(running.address).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("begin a request");
    let answer = read_to_end(slow).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.end().await;
}

#[tokio::test]
async fn a_server_that_fell_goes_on_with_its_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (service, shutdown) = (Answering::always("hello"), CancellationToken::new());
    let config = PortConfig::at("http", address);
    let server = Port::new(listener, service, config, shutdown.clone()).expect("no TLS");
    for _ in 0..2 {
        let client = async {
            let mut stream = connect(address).await;
            send_request(&mut stream).await;
            read_to_end_of_one(stream).await
        };
        // Dropped in the middle of its work, as a panic does it.
        tokio::select! {
            () = server.run() => panic!("nobody asked it to end"),
            answer = client => assert!(answer.ends_with("hello"), "{answer}"),
        }
    }
    shutdown.cancel();
    server.run().await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is still open");
}
