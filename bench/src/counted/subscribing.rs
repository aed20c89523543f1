//! One more subscription, and one fewer, beside others.

use std::time::{Duration, Instant};

use anyhow::ensure;
use broker_proto::Topic;

use crate::Load;
use crate::data_path::{endpoint, other_topics, runtime};

/// Subscriptions that are made before they are ended, the first one first.
const BATCH: u64 = 100;

/// A topic among those of `other_topics`, different for each number.
fn topic_between(number: u64, count: usize) -> Topic {
    // Far from the one before, as a program's topics are that comes upon them by chance.
    let place = number.wrapping_mul(7919) % (count.max(1) as u64);
    Topic::from(format!("/another/topic/{place:06}/{number}").as_str())
}

/// Topics that are there: none of the new ones begins with one of them.
fn topics_there(count: usize) -> impl Iterator<Item = Topic> {
    let topics = other_topics(count).into_iter();
    topics.map(|topic| Topic::from(format!("{topic}-").as_str()))
}

/// Subscribers come and go beside `size` others.
pub(crate) fn subscribers(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let _others = topics_there(load.size)
        .map(|topic| endpoint.subscriber([topic]))
        .collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let mut made = 0;
    while made < load.iterations {
        let batch = made..load.iterations.min(made + BATCH);
        made = batch.end;
        let more = batch
            .map(|number| endpoint.subscriber([topic_between(number, load.size)]))
            .collect::<Result<Vec<_>, _>>()?;
        drop(more);
    }
    Ok(start.elapsed())
}

/// Topics are added to a subscriber that has `size` others, and removed.
pub(crate) fn topics(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let subscriber = endpoint.subscriber(topics_there(load.size))?;
    let start = Instant::now();
    let mut made = 0;
    while made < load.iterations {
        let batch = made..load.iterations.min(made + BATCH);
        made = batch.end;
        let more: Vec<Topic> = batch
            .map(|number| topic_between(number, load.size))
            .collect();
        for topic in &more {
            subscriber.add_topic(topic.clone());
        }
        for topic in &more {
            subscriber.remove_topic(topic);
        }
    }
    let took = start.elapsed();
    ensure!(subscriber.available() == 0, "nothing was published");
    Ok(took)
}

/// A subscriber is made with `size` topics, and dropped; for each topic.
pub(crate) fn bulk(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let endpoint = endpoint(&runtime)?;
    let topics = other_topics(load.size);
    let rounds = load.iterations.div_ceil(load.size.max(1) as u64);
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let topics = topics.clone();
        let start = Instant::now();
        drop(endpoint.subscriber(topics)?);
        took += start.elapsed();
    }
    // Whole rounds only.
    Ok(took.mul_f64(load.iterations as f64 / (rounds * load.size.max(1) as u64) as f64))
}
