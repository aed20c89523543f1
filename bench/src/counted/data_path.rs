//! Messages through an endpoint: from a peer to a peer, and from a publisher to a subscriber.
//!
//! The endpoint and the raw peers around it share one thread, so a relayed message is read, split,
//! checked, routed, rewritten, queued and sent here, and nothing else happens meanwhile.

use std::time::{Duration, Instant};

use anyhow::ensure;
use broker::policy::{ANONYMOUS, Policy, Role};
use broker::{Endpoint, Message, Options, PolicyOptions};
use broker_data::Encoder;
use broker_proto::frame::{Tag, patch_hop, write_envelope};
use broker_proto::{EndpointId, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::Load;
use crate::payload::{Event, Size, TOPIC};
use crate::raw_peer::RawPeer;

/// Bytes that are written at once.
const CHUNK: usize = 64 * 1024;
/// Messages that are published before they are taken out.
const BATCH: u64 = 500;
/// More topics than an endpoint remembers, so that each has to be looked up when it comes.
const NEW_TOPICS: usize = 10_000;

/// What surrounds a relayed message.
struct Scene {
    size: Size,
    /// Peers that want something else.
    idle_peers: usize,
    /// Other subscriptions of the peer that gets the messages.
    subscriptions: usize,
    /// Different topics of the messages, in turn.
    topics: usize,
    /// Principals of a policy that judges the peers, if there is one; a tenth as many roles.
    principals: usize,
}

const ALONE: Scene = Scene {
    size: Size::Small,
    idle_peers: 0,
    subscriptions: 0,
    topics: 1,
    principals: 0,
};

pub(crate) fn relay_small(load: Load) -> anyhow::Result<Duration> {
    relay(load, &ALONE)
}

pub(crate) fn relay_medium(load: Load) -> anyhow::Result<Duration> {
    let size = Size::Medium;
    relay(load, &Scene { size, ..ALONE })
}

pub(crate) fn relay_beside_idle_peers(load: Load) -> anyhow::Result<Duration> {
    let idle_peers = load.size;
    relay(
        load,
        &Scene {
            idle_peers,
            ..ALONE
        },
    )
}

pub(crate) fn relay_new_topics_beside_idle_peers(load: Load) -> anyhow::Result<Duration> {
    let (idle_peers, topics) = (load.size, NEW_TOPICS);
    relay(
        load,
        &Scene {
            idle_peers,
            topics,
            ..ALONE
        },
    )
}

pub(crate) fn relay_to_large_filter(load: Load) -> anyhow::Result<Duration> {
    let subscriptions = load.size;
    relay(
        load,
        &Scene {
            subscriptions,
            ..ALONE
        },
    )
}

pub(crate) fn relay_new_topics_to_large_filter(load: Load) -> anyhow::Result<Duration> {
    let (subscriptions, topics) = (load.size, NEW_TOPICS);
    relay(
        load,
        &Scene {
            subscriptions,
            topics,
            ..ALONE
        },
    )
}

pub(crate) fn relay_topics(load: Load) -> anyhow::Result<Duration> {
    let topics = load.size;
    relay(load, &Scene { topics, ..ALONE })
}

pub(crate) fn relay_judged(load: Load) -> anyhow::Result<Duration> {
    let principals = load.size;
    relay(
        load,
        &Scene {
            principals,
            ..ALONE
        },
    )
}

/// A policy that lets everybody publish and get the messages, among many other things.
fn policy(principals: usize) -> anyhow::Result<PolicyOptions> {
    let mut policy = Policy::default();
    let roles: Vec<String> = (0..principals.div_ceil(10))
        .map(|number| format!("role-{number:06}"))
        .collect();
    for name in &roles {
        let mut role = Role::default();
        role.allow.publish.add(format!("/{name}/").as_bytes());
        role.allow.subscribe.add(format!("/{name}/").as_bytes());
        role.allow.publish.add(TOPIC.as_bytes());
        role.allow.subscribe.add(TOPIC.as_bytes());
        policy.add_role(name, role)?;
    }
    for (number, role) in roles.iter().cycle().take(principals).enumerate() {
        policy.add_principal(&format!("principal-{number:06}"), [role.as_str()])?;
    }
    policy.add_principal(ANONYMOUS, roles.iter().map(String::as_str))?;
    Ok(PolicyOptions {
        policy,
        ..PolicyOptions::default()
    })
}

/// A runtime that does everything on the thread that asks for it.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

pub(crate) fn endpoint(runtime: &Runtime) -> anyhow::Result<Endpoint> {
    let builder = Endpoint::builder().disable_ssl(true);
    Ok(builder.runtime(runtime.handle().clone()).build()?)
}

/// Topics that nobody publishes under.
pub(crate) fn other_topics(count: usize) -> Vec<Topic> {
    (0..count)
        .map(|number| Topic::from(format!("/another/topic/{number:06}/").as_str()))
        .collect()
}

/// Comes back once the endpoint routes to so many peers.
pub(crate) async fn await_peers(endpoint: &Endpoint, count: usize) {
    while endpoint.peers().len() < count {
        tokio::task::yield_now().await;
    }
}

/// Frames of the same length, one per topic, repeated until they fill a few writes.
fn frames(scene: &Scene) -> anyhow::Result<(usize, Vec<u8>)> {
    let mut round = Vec::new();
    let sender = EndpointId::from_random([7; 16]);
    for number in 0..scene.topics {
        let event = Event {
            sequence: 7,
            size: scene.size,
            filler: &[],
        };
        let topic = format!("{TOPIC}/{number:06}");
        write_envelope(
            &mut round,
            sender,
            EndpointId::NIL,
            Tag::Data,
            topic.as_bytes(),
            |out| -> anyhow::Result<()> { Ok(Encoder::new(out).encode(&event)?) },
        )?;
    }
    let rounds = (4 * CHUNK).div_ceil(round.len());
    Ok((round.len() / scene.topics, round.repeat(rounds)))
}

fn relay(load: Load, scene: &Scene) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let endpoint = if scene.principals == 0 {
        endpoint(&runtime)?
    } else {
        let options = Options {
            disable_ssl: true,
            policy: Some(policy(scene.principals)?),
            ..Options::default()
        };
        let builder = Endpoint::builder().options(options);
        builder.runtime(runtime.handle().clone()).build()?
    };
    let (frame_len, frames) = frames(scene)?;
    let total = usize::try_from(load.iterations)? * frame_len;
    runtime.block_on(async {
        let port = endpoint.listen("127.0.0.1", 0).await?;
        let mut idle = Vec::new();
        for number in 0..scene.idle_peers {
            let topic = format!("/idle/{number:06}/");
            idle.push(RawPeer::join(port, 3 + number as u64, &[topic.as_str().into()]).await?);
        }
        let mut wanted = other_topics(scene.subscriptions);
        wanted.push(Topic::from(TOPIC));
        let mut source = RawPeer::join(port, 1, &[]).await?;
        let mut sink = RawPeer::join(port, 2, &wanted).await?;
        await_peers(&endpoint, scene.idle_peers + 2).await;

        let mut first = vec![0; frame_len];
        let mut held = vec![0; 4 * CHUNK];
        let start = Instant::now();
        let write = async {
            let mut left = total;
            while left > 0 {
                for chunk in frames
                    .get(..frames.len().min(left))
                    .unwrap_or_default()
                    .chunks(CHUNK)
                {
                    source.stream.write_all(chunk).await?;
                    left -= chunk.len();
                }
            }
            anyhow::Ok(())
        };
        let read = async {
            sink.stream.read_exact(&mut first).await?;
            let mut left = total - frame_len;
            while left > 0 {
                let read = sink.stream.read(&mut held).await?;
                ensure!(read > 0 && read <= left, "{left} bytes are missing");
                left -= read;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(write, read)?;
        let took = start.elapsed();

        let mut expected = frames.get(..frame_len).unwrap_or_default().to_vec();
        patch_hop(&mut expected, endpoint.id());
        ensure!(first == expected, "a message came out changed");
        Ok(took)
    })
}

/// From a publisher through the mailbox of a subscriber of the same endpoint.
pub(crate) fn publish_small(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    publish(load, &endpoint(&runtime)?, vec![Topic::from(TOPIC)])
}

pub(crate) fn publish_to_large_subscriber(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let mut wanted = other_topics(load.size);
    wanted.push(Topic::from(TOPIC));
    publish(load, &endpoint(&runtime)?, wanted)
}

pub(crate) fn publish_beside_subscribers(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let others = other_topics(load.size);
    let _others = others
        .into_iter()
        .map(|topic| endpoint.hub([topic]))
        .collect::<Result<Vec<_>, _>>()?;
    publish(load, &endpoint, vec![Topic::from(TOPIC)])
}

fn publish(load: Load, endpoint: &Endpoint, wanted: Vec<Topic>) -> anyhow::Result<Duration> {
    let hub = endpoint.hub(wanted)?;
    let event = Event {
        sequence: 7,
        size: Size::Small,
        filler: &[],
    };
    let mut taken: Vec<Message> = Vec::new();
    let start = Instant::now();
    let mut left = load.iterations;
    while left > 0 {
        let batch = left.min(BATCH);
        for _ in 0..batch {
            endpoint.publish(TOPIC, &event)?;
        }
        taken.clear();
        let count = hub
            .subscriber()
            .recv_batch(usize::try_from(batch)?, &mut taken);
        ensure!(count as u64 == batch, "{count} of {batch} messages came");
        left -= batch;
    }
    Ok(start.elapsed())
}
