//! Clients that only hold on: they say nothing, or send a header, a body, or take their answers a little at a
//! time, and come back after a while when they are cut off. Somebody who behaves is served beside them.

use crate::names::COMMAND_API;
use crate::overload::{quantile, resident_mib, watch};
use crate::world::World;
use anyhow::{Context, ensure};
use dev_stack::demo::{create_order, items};
use hyper::Method;
use local_stack::Process;
use local_stack::http::HttpClient;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

/// How many do not behave.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Who connect and say nothing.
    pub idle: usize,
    /// Who send a byte of a header or a body now and then.
    pub slow: usize,
    /// Who ask for much and take a byte of it now and then.
    pub readers: usize,
}

/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(500);
/// After which who was cut off comes back.
const ABSENCE: Duration = Duration::from_secs(10);
/// Requests of a reader: more answers than the server's buffers hold.
const ASKED: usize = 500;
/// Memory that a crowd may cost, in MiB.
const GROWTH_MIB_MAX: f64 = 128.0;
/// What somebody who behaves may have to wait, in milliseconds.
const LATE_MS: f64 = 250.0;

/// What a member of the crowd does with its connection.
#[derive(Debug, Clone, Copy)]
enum Habit {
    Idle,
    SlowHeader,
    SlowBody,
    SlowReader,
}

/// Errs unless who behaves is served in time beside the crowd, memory stays bounded and the admin port
/// answers. `noise` is what a machine may be late that others use too. Prints what it saw.
pub async fn survives_crowd(
    world: &World,
    crowd: Crowd,
    length: Duration,
    noise: Duration,
) -> anyhow::Result<()> {
    let process = Process::Worker(COMMAND_API, 0);
    let pid = world.stack.pid(process).context("command-api runs")?;
    let admin = world.stack.addresses().admin(process).context("an admin port")?.to_owned();
    let memory = resident_mib(pid)?;
    let watching = tokio::task::spawn_blocking(move || watch(&admin, pid, length));
    let (served, watched) = tokio::join!(serves_beside(world, crowd, length, noise), watching);
    served?;
    let (peak, mut probes) = watched??;
    probes.sort_by(f64::total_cmp);
    let probe = quantile(&probes, 0.95);
    println!("admin port p95 {probe:.0} ms, memory {memory:.0} MiB before, {peak:.0} at most");
    let late = LATE_MS + noise.as_secs_f64() * 1_000.0;
    ensure!(probe < late, "the admin port took {probe:.0} ms");
    ensure!(peak - memory < GROWTH_MIB_MAX, "memory grew from {memory:.0} to {peak:.0} MiB");
    Ok(())
}

/// Errs unless who behaves is served in time beside the crowd. Prints what it saw.
pub async fn serves_beside(
    world: &World,
    crowd: Crowd,
    length: Duration,
    noise: Duration,
) -> anyhow::Result<()> {
    let addresses = world.stack.addresses();
    let address = addresses.http(Process::Worker(COMMAND_API, 0)).context("a command-api")?;
    let address: SocketAddr = address.parse()?;
    let mut alone = behave(&addresses.command_url(), Duration::from_secs(2)).await?;
    alone.sort_by(f64::total_cmp);
    ensure!(!alone.is_empty(), "nobody was served before the crowd came");

    let cuts = Arc::new(AtomicU64::new(0));
    let mut members = JoinSet::new();
    let slow = [Habit::SlowHeader, Habit::SlowBody].into_iter().cycle().take(crowd.slow);
    let readers = std::iter::repeat_n(Habit::SlowReader, crowd.readers);
    let habits = std::iter::repeat_n(Habit::Idle, crowd.idle).chain(slow).chain(readers);
    for habit in habits {
        members.spawn(hold_on(address, habit, cuts.clone()));
    }
    let mut took = behave(&addresses.command_url(), length).await?;
    members.shutdown().await;
    took.sort_by(f64::total_cmp);
    let cuts = cuts.load(Ordering::Relaxed);
    let [mine, theirs] = [&took, &alone].map(|sorted| quantile(sorted, 0.99));
    println!(
        "beside {crowd:?}, of whom {cuts} were cut off: {} served, p99 {mine:.0} ms ({theirs:.0} ms without)",
        took.len()
    );
    ensure!(cuts > 0, "nobody was cut off: this was no crowd");
    // A slow machine is slow without any crowd.
    let late = f64::max(LATE_MS, 3.0 * theirs) + noise.as_secs_f64() * 1_000.0;
    ensure!(mine < late, "who behaves had to wait {mine:.0} ms");
    Ok(())
}

/// A client with a new connection for each command, some fifty a second. Gives how long each took, in
/// milliseconds; every one must be accepted.
async fn behave(url: &str, length: Duration) -> anyhow::Result<Vec<f64>> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < length {
        let id = Uuid::now_v7();
        let sent = Instant::now();
        let answer = HttpClient::default()
            .command(
                Method::POST,
                &format!("{url}/v1/orders"),
                &id.to_string(),
                &create_order(id, items(1)),
            )
            .await
            .context("who behaves is answered")?;
        ensure!(answer.status.is_success(), "who behaves got {} {}", answer.status, answer.body);
        took.push(sent.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(took)
}

/// A member of the crowd, for ever.
async fn hold_on(address: SocketAddr, habit: Habit, cuts: Arc<AtomicU64>) {
    loop {
        // A port that is too busy to let it in is what the crowd wants; it tries again.
        if let Ok(stream) = connect(&address, habit).await {
            let _ended = misbehave(stream, habit).await;
            cuts.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(ABSENCE.mul_f64(rand::random_range(0.5..1.5))).await;
    }
}

async fn connect(address: &SocketAddr, habit: Habit) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if matches!(habit, Habit::SlowReader) {
        // As little as the system lets it be.
        socket.set_recv_buffer_size(1)?;
    }
    socket.connect(*address).await
}

/// Until the server hangs up.
async fn misbehave(mut stream: TcpStream, habit: Habit) -> std::io::Result<()> {
    let mut byte = [0; 1];
    match habit {
        Habit::Idle => {
            stream.read_exact(&mut byte).await?;
        }
        Habit::SlowHeader => {
            stream.write_all(b"POST /v1/orders HTTP/1.1\r\nhost: crowd\r\nx-slow: ").await?;
            drip(&mut stream).await?;
        }
        Habit::SlowBody => {
            let head = b"POST /v1/orders HTTP/1.1\r\nhost: crowd\r\nidempotency-key: k\r\n\
                content-type: application/json\r\ncontent-length: 100000\r\n\r\n";
            stream.write_all(head).await?;
            drip(&mut stream).await?;
        }
        Habit::SlowReader => {
            stream.write_all(&b"GET / HTTP/1.1\r\nhost: crowd\r\n\r\n".repeat(ASKED)).await?;
            while stream.read(&mut byte).await? > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(())
}

async fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(b"x").await?;
        tokio::time::sleep(PAUSE).await;
    }
}
