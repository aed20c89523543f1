//! What a scrape of `/metrics` costs an endpoint with many peers: the request, the counters, the text.
//!
//! The time is the processor's, of the one thread on which both ends run: a machine with other work
//! makes it no longer than its caches do. The reader looks for nothing but the end of the answer, apart
//! from the first and the last one, whose samples it counts outside of that time.

use std::time::Duration;

use anyhow::{Context, ensure};
use broker::HttpOptions;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Load;
use crate::data_path::{await_peers, endpoint, runtime};
use crate::raw_peer::RawPeer;

/// One connection asks again and again, as Prometheus does.
pub(crate) fn scrape(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    runtime.block_on(async {
        let port = endpoint.listen("127.0.0.1", 0).await?;
        let mut peers = Vec::new();
        for number in 0..load.size {
            let topic = format!("/idle/{number:06}/");
            peers.push(RawPeer::join(port, 1 + number as u64, &[topic.as_str().into()]).await?);
        }
        await_peers(&endpoint, load.size).await;
        let options = HttpOptions::default();
        let port = endpoint.serve_http("127.0.0.1", 0, options).await?;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut body = ask(&mut stream).await?;
        check(&body, load.size)?;
        let start = processor_time()?;
        for _ in 0..load.iterations {
            body = ask(&mut stream).await?;
        }
        let took = processor_time()?.saturating_sub(start);
        check(&body, load.size)?;
        Ok(took)
    })
}

/// What this thread has had of the processor.
fn processor_time() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

/// Each peer has a sample in one of the families.
fn check(body: &[u8], peers: usize) -> anyhow::Result<()> {
    let body = std::str::from_utf8(body)?;
    let is_sample = |line: &&str| line.starts_with("broker_peer_received_messages_total{");
    let samples = body.lines().filter(is_sample).count();
    ensure!(samples == peers, "{samples} samples of peers");
    Ok(())
}

/// Asks once; returns the text.
async fn ask(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    let end = loop {
        ensure!(stream.read_buf(&mut answer).await? > 0, "it hung up");
        if let Some(at) = answer.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let mut body = answer.split_off(end);
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("no length")?.parse()?;
    body.reserve(length.saturating_sub(body.len()));
    while body.len() < length {
        ensure!(stream.read_buf(&mut body).await? > 0, "it hung up");
    }
    Ok(body)
}
