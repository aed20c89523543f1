//! One piece of work, a number of times: what instruction counts and growth curves are taken of.
//!
//! `broker-counted CASE ITERATIONS [SIZE]` prepares, works, checks, and prints how many nanoseconds
//! an iteration took. Everything happens on one thread, so that two runs execute the same
//! instructions; whoever counts them takes the difference of two numbers of iterations, in which
//! the preparation cancels. `SIZE` is what should not matter: how many idle peers, subscriptions,
//! topics or keys there are besides.
//!
//! `broker-counted memory WHAT SIZE` prints the bytes of resident memory that one of them takes.
#![forbid(unsafe_code)]

mod data_path;
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
#[path = "../payload.rs"]
#[expect(
    dead_code,
    reason = "shared with the end-to-end roles, which use all of it"
)]
mod payload;
#[path = "../raw_peer.rs"]
mod raw_peer;
#[path = "../report.rs"]
#[expect(
    dead_code,
    reason = "shared with the end-to-end roles, which use all of it"
)]
mod report;
mod stores;
mod subscribing;
mod values;

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;

/// How much work is done, and in which surroundings.
#[derive(Clone, Copy, Debug)]
struct Load {
    iterations: u64,
    size: usize,
}

/// Does the work and says how long it took, preparation excluded.
type Case = fn(Load) -> anyhow::Result<Duration>;

/// What can be counted. The size that a case has without one given is what the guard counts.
const CASES: &[(&str, usize, Case)] = &[
    ("encode-small", 0, values::encode_small),
    ("encode-medium", 0, values::encode_medium),
    ("decode-small", 0, values::decode_small),
    ("decode-medium", 0, values::decode_medium),
    ("match", 1000, values::match_topic),
    ("publish-small", 0, data_path::publish_small),
    ("relay-small", 0, data_path::relay_small),
    ("relay-medium", 0, data_path::relay_medium),
    ("relay-judged", 1000, data_path::relay_judged),
    ("idle-peers", 1, data_path::relay_beside_idle_peers),
    (
        "idle-peers-new-topics",
        1,
        data_path::relay_new_topics_beside_idle_peers,
    ),
    ("peer-filter", 10, data_path::relay_to_large_filter),
    (
        "peer-filter-new-topics",
        10,
        data_path::relay_new_topics_to_large_filter,
    ),
    ("topics", 10, data_path::relay_topics),
    ("subscriptions", 10, data_path::publish_to_large_subscriber),
    ("subscribers", 10, data_path::publish_beside_subscribers),
    ("subscribing-subscribers", 10, subscribing::subscribers),
    ("subscribing-topics", 10, subscribing::topics),
    ("subscribing-bulk", 1000, subscribing::bulk),
    ("keys-get", 1000, stores::get),
    ("keys-put", 1000, stores::put),
    ("keys-increment", 1000, stores::increment),
    ("clone-apply", 1000, stores::apply),
    #[cfg(feature = "metrics")]
    ("metrics", 1000, metrics::scrape),
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["memory", what, size] => memory::report(what, size.parse().context("SIZE")?),
        ["idle-peers-of", port, count] => memory::be_idle_peers(
            port.parse().context("PORT")?,
            count.parse().context("COUNT")?,
        ),
        [name, iterations] => run(name, iterations, None),
        [name, iterations, size] => run(name, iterations, Some(size)),
        _ => bail!("usage: broker-counted CASE ITERATIONS [SIZE] | memory WHAT SIZE"),
    }
}

fn run(name: &str, iterations: &str, size: Option<&str>) -> anyhow::Result<()> {
    let found = CASES.iter().find(|(known, ..)| *known == name);
    let (_, default, case) = found.with_context(|| format!("no case `{name}`"))?;
    let size = size.map(str::parse).transpose().context("SIZE")?;
    let load = Load {
        iterations: iterations.parse().context("ITERATIONS")?,
        size: size.unwrap_or(*default),
    };
    let took = case(load)?;
    report::emit(&json!({
        "case": name,
        "size": load.size,
        "ns": took.as_secs_f64() * 1e9 / load.iterations as f64,
    }))
}
