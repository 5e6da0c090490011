use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::*;

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: AbortOnDropHandle<anyhow::Result<()>>,
}

async fn start(router: Router, connections_max: usize, header_timeout_ms: u64) -> Running {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(listen).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let config = HttpConfig { listen, connections_max, header_timeout_ms };
    let shutdown = CancellationToken::new();
    let server = spawn(serve(listener, router, config, shutdown.clone()));
    Running { address, shutdown, server: AbortOnDropHandle::new(server) }
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

#[tokio::test]
async fn shutdown_lets_a_request_in_flight_finish() {
    let (entered, mut has_entered) = mpsc::channel(1);
    let (release, is_released) = oneshot::channel::<()>();
    let is_released = Arc::new(tokio::sync::Mutex::new(Some(is_released)));
    let router = Router::new().route(
        "/",
        get(async move || {
            entered.send(()).await.expect("the test waits");
            let waiting = is_released.lock().await.take().expect("one request");
            waiting.await.expect("the test releases");
            "finished"
        }),
    );
    let running = start(router, 8, 10_000).await;
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
    running.server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let running = start(Router::new().route("/", get(async || "hello")), 1, 10_000).await;
    let mut first = connect(running.address).await;
    send_request(&mut first).await;
    let mut byte = [0];
    first.read_exact(&mut byte).await.expect("the first connection has the place");

    let mut second = connect(running.address).await;
    send_request(&mut second).await;
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_exact(&mut byte));
    assert!(early.await.is_err(), "the second connection was served beside the first");

    drop(first);
    second.read_exact(&mut byte).await.expect("the place is free now");
    running.shutdown.cancel();
    running.server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off() {
    let running = start(Router::new(), 1, 50).await;
    let mut slow = connect(running.address).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("begin a request");
    let answer = read_to_end(slow).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.shutdown.cancel();
    running.server.await.expect("no panic").expect("a clean end");
}
