//! Each mode as both ends of a connection see it.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const ANY: &str = "127.0.0.1:0";
/// Long enough for a chunk to have come if it were to come.
const SILENCE: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(10);

/// A server that answers each chunk with the same chunk, and a proxy before it.
struct Stage {
    proxy: Proxy,
    _server: JoinSet<()>,
}

impl Stage {
    async fn new(rewrite: Option<Rewrite>) -> Self {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let target = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut echoes = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                echoes.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(ANY.parse().unwrap(), target, rewrite).await.unwrap();
        Self { proxy, _server: server }
    }

    async fn connect(&self) -> TcpStream {
        timeout(LIMIT, TcpStream::connect(self.proxy.address())).await.unwrap().unwrap()
    }
}

async fn echo(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    timeout(LIMIT, stream.read_exact(&mut answer)).await.expect("an answer")?;
    Ok(answer)
}

#[tokio::test]
async fn what_passes_is_unchanged() {
    let stage = Stage::new(None).await;
    let mut stream = stage.connect().await;
    let long = vec![7; 100_000];
    let (mut from, mut to) = stream.split();
    let mut answer = vec![0; long.len()];
    let (written, read) = tokio::join!(to.write_all(&long), from.read_exact(&mut answer));
    written.unwrap();
    read.unwrap();
    assert_eq!(answer, long);
    assert_eq!((stage.proxy.open(), stage.proxy.affected()), (1, 0));
}

#[tokio::test]
async fn a_reset_breaks_what_is_open_and_what_comes() {
    let stage = Stage::new(None).await;
    let mut stream = stage.connect().await;
    echo(&mut stream, b"a").await.unwrap();
    stage.proxy.set(Mode::Reset);
    let error = timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut next = stage.connect().await;
    assert!(echo(&mut next, b"b").await.is_err());
    assert!(stage.proxy.affected() >= 2);
    stage.proxy.set(Mode::Pass);
    assert_eq!(echo(&mut stage.connect().await, b"c").await.unwrap(), b"c");
}

#[tokio::test]
async fn a_blackhole_holds_everything_and_then_delivers_it_late() {
    let stage = Stage::new(None).await;
    let mut stream = stage.connect().await;
    echo(&mut stream, b"a").await.unwrap();
    stage.proxy.set(Mode::Blackhole);
    stream.write_all(b"b").await.unwrap();
    let mut answer = [0];
    assert!(timeout(SILENCE, stream.read_exact(&mut answer)).await.is_err());
    let mut swallowed = stage.connect().await;
    swallowed.write_all(b"c").await.unwrap();
    assert!(timeout(SILENCE, swallowed.read_u8()).await.is_err());
    stage.proxy.set(Mode::Pass);
    timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"b");
    assert_eq!(timeout(LIMIT, swallowed.read_u8()).await.unwrap().unwrap(), b'c');
}

#[tokio::test]
async fn who_is_muted_is_heard_and_gets_no_answer() {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let target = listener.local_addr().unwrap();
    let proxy = Proxy::start(ANY.parse().unwrap(), target, None).await.unwrap();
    proxy.set(Mode::Mute);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"q").await.unwrap();
    let (mut server, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    assert_eq!(timeout(LIMIT, server.read_u8()).await.unwrap().unwrap(), b'q');
    server.write_all(b"r").await.unwrap();
    assert!(timeout(SILENCE, client.read_u8()).await.is_err());
    proxy.set(Mode::Pass);
    assert_eq!(timeout(LIMIT, client.read_u8()).await.unwrap().unwrap(), b'r');
}

#[tokio::test]
async fn slow_chunks_take_their_time() {
    let stage = Stage::new(None).await;
    let mut stream = stage.connect().await;
    stage.proxy.set(Mode::Slow(Duration::from_millis(100)));
    let begun = Instant::now();
    assert_eq!(echo(&mut stream, b"a").await.unwrap(), b"a");
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_refuses_does_not_listen_and_comes_back_on_the_same_port() {
    let stage = Stage::new(None).await;
    let mut stream = stage.connect().await;
    echo(&mut stream, b"a").await.unwrap();
    stage.proxy.set(Mode::Refuse);
    assert!(timeout(LIMIT, stream.read_u8()).await.unwrap().is_err());
    // The connection may break a moment before the listener is gone.
    let refused = async {
        while TcpStream::connect(stage.proxy.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, refused).await.unwrap();
    stage.proxy.set(Mode::Pass);
    let again = async {
        loop {
            if let Ok(stream) = TcpStream::connect(stage.proxy.address()).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    };
    let mut stream = timeout(LIMIT, again).await.unwrap();
    assert_eq!(echo(&mut stream, b"b").await.unwrap(), b"b");
}

#[tokio::test]
async fn an_address_is_rewritten_within_frames_however_they_are_cut() {
    let (from, to) = ("127.0.0.1:9092".parse().unwrap(), "127.0.0.1:9093".parse().unwrap());
    let rewrite = Rewrite::address(from, to).unwrap();
    let (old, new) = (rewrite.from.clone(), rewrite.to.clone());
    let stage = Stage::new(Some(rewrite)).await;
    let mut stream = stage.connect().await;
    let frame = |address: &[u8]| {
        let body = [b"x".as_slice(), address, address, b"1"].concat();
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(body);
        frame
    };
    let sent = frame(&old);
    for chunk in sent.chunks(3) {
        stream.write_all(chunk).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut answer = vec![0; sent.len()];
    timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, frame(&new));
}
