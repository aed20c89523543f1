//! Resident memory per thing that an endpoint keeps.

use std::io::BufRead;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use broker::Endpoint;
use broker_proto::Topic;
use serde_json::json;

use crate::data_path::{await_peers, endpoint, other_topics, runtime};
use crate::payload::{Event, Size, TOPIC};
use crate::raw_peer::RawPeer;
use crate::{report, stores};

/// Makes `size` of them and prints what one takes.
pub(crate) fn report(what: &str, size: usize) -> anyhow::Result<()> {
    match what {
        "idle-peer" => idle_peers(size),
        "peer-subscription" => peer_subscriptions(size),
        "subscription" => subscriptions(size),
        "subscriber" => subscribers(size),
        "stored-key" => stored_keys(size),
        "queued-message" => queued_messages(size),
        _ => bail!("nothing is known of the memory of `{what}`"),
    }
}

fn resident_kib() -> anyhow::Result<u64> {
    report::status_field("VmRSS").context("the system does not tell the resident memory")
}

fn print(what: &str, size: usize, before: u64) -> anyhow::Result<()> {
    let now = resident_kib()?;
    let added = now.saturating_sub(before);
    report::emit(&json!({
        "what": what,
        "size": size,
        "bytes_each": (added * 1024) as f64 / size as f64,
        "added_kib": added,
        "process_kib": now,
    }))
}

/// Peers in another process, which want one topic each and say nothing.
fn idle_peers(size: usize) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    runtime.block_on(async {
        let port = endpoint.listen("127.0.0.1", 0).await?;
        let before = resident_kib()?;
        let mut peers = Command::new(std::env::current_exe()?)
            .args(["idle-peers-of", &port.to_string(), &size.to_string()])
            .stdin(Stdio::piped())
            .spawn()?;
        await_peers(&endpoint, size).await;
        print("idle-peer", size, before)?;
        // The end of its input ends it.
        drop(peers.stdin.take());
        ensure!(peers.wait()?.success(), "the peers failed");
        Ok(())
    })
}

/// Peers with that endpoint so many times and stays until standard input ends.
pub(crate) fn be_idle_peers(port: u16, count: u64) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let mut peers = Vec::new();
        for number in 0..count {
            let topic = format!("/idle/{number:06}/");
            peers.push(RawPeer::join(port, number + 1, &[topic.as_str().into()]).await?);
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(())
    })
}

/// One peer's filter as the routing table of the endpoint keeps it.
fn peer_subscriptions(size: usize) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    runtime.block_on(async {
        let port = endpoint.listen("127.0.0.1", 0).await?;
        let topics = other_topics(size);
        let before = resident_kib()?;
        let peer = RawPeer::join(port, 1, &topics).await?;
        await_peers(&endpoint, 1).await;
        ensure!(
            endpoint.peer_subscriptions().len() == size,
            "a filter got lost"
        );
        print("peer-subscription", size, before)?;
        drop(peer);
        Ok(())
    })
}

fn subscriptions(size: usize) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let before = resident_kib()?;
    let subscriber = endpoint.subscriber(other_topics(size))?;
    ensure!(endpoint.filter().len() == size, "a topic got lost");
    print("subscription", size, before)?;
    drop(subscriber);
    Ok(())
}

fn subscribers(size: usize) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let before = resident_kib()?;
    let all = other_topics(size)
        .into_iter()
        .map(|topic| endpoint.subscriber([topic]))
        .collect::<Result<Vec<_>, _>>()?;
    print("subscriber", all.len(), before)
}

fn stored_keys(size: usize) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let before = resident_kib()?;
    let store = stores::filled(&endpoint, size)?;
    print("stored-key", size, before)?;
    drop(store);
    Ok(())
}

/// Small events that a subscriber has not taken out.
fn queued_messages(size: usize) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let hub = endpoint.hub([Topic::from(TOPIC)])?;
    let before = resident_kib()?;
    fill(&endpoint, size)?;
    print("queued-message", size, before)?;
    let left = hub.subscriber().available();
    ensure!(left == size, "{left} of {size} messages are there");
    Ok(())
}

fn fill(endpoint: &Endpoint, size: usize) -> anyhow::Result<()> {
    for sequence in 0..size {
        let event = Event {
            sequence: i64::try_from(sequence)?,
            size: Size::Small,
            filler: &[],
        };
        endpoint.publish(TOPIC, &event)?;
    }
    Ok(())
}
