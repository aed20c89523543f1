//! What a scrape of `/metrics` costs an endpoint with many peers: the request, the counters, the text.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use broker::HttpOptions;
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
        let start = Instant::now();
        for _ in 0..load.iterations {
            let samples = ask(&mut stream).await?;
            ensure!(samples == load.size, "{samples} samples of peers");
        }
        Ok(start.elapsed())
    })
}

/// Asks once; returns how many peers have a sample in one of the families.
async fn ask(stream: &mut TcpStream) -> anyhow::Result<usize> {
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    let body = loop {
        ensure!(stream.read_buf(&mut answer).await? > 0, "it hung up");
        if let Some(end) = answer.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            let length: usize = length.context("no length")?;
            while answer.len() < end + 4 + length {
                ensure!(stream.read_buf(&mut answer).await? > 0, "it hung up");
            }
            break answer.get(end + 4..).unwrap_or_default();
        }
    };
    let name = b"\nbroker_peer_received_messages_total{";
    Ok(body.windows(name.len()).filter(|it| it == name).count())
}
