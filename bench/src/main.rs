//! The roles of the end-to-end benchmarks, one process each; `run.py` starts and compares them.
//!
//! Every role prints JSON lines on standard output: `{"port": n}` when it listens, and one line with
//! its counts, seconds and CPU seconds at the end.
#![forbid(unsafe_code)]

mod endpoint_roles;
mod payload;
mod raw_peer;
mod raw_roles;
mod report;
mod segment_roles;
mod store_roles;
mod web_socket_roles;

use clap::{Parser, Subcommand};

use crate::payload::Size;
use crate::store_roles::StoreWork;

/// Options that every role shares.
#[derive(Parser, Clone, Debug)]
struct Common {
    /// Number of messages.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Size class of the messages.
    #[arg(long, value_enum, default_value_t = Size::Small)]
    size: Size,
    /// Speak TLS, as peers do by default.
    #[arg(long)]
    tls: bool,
    /// Ports to connect to.
    #[arg(long)]
    port: Vec<u16>,
    /// Number of endpoints in this process.
    #[arg(long, default_value_t = 1)]
    endpoints: usize,
}

#[derive(Parser)]
#[command(about = "Roles of the end-to-end benchmarks")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Listens, receives `count` messages per endpoint and checks their order.
    Subscribe(Common),
    /// Connects to every port and publishes `count` messages.
    Publish(Common),
    /// Listens, subscribes by `forward` and relays until standard input ends.
    Relay(Common),
    /// Connects to a relay and receives like `subscribe`.
    Join(Common),
    /// Answers each ping with a pong until standard input ends.
    Pong(Common),
    /// Sends `count` pings one after the other and reports percentiles.
    Ping(Common),
    /// Receives raw frames on a plain socket and counts them.
    RawReceive(Common),
    /// Writes raw frames to a plain socket as fast as it goes.
    RawSend(Common),
    /// Sends raw frames back on a plain socket.
    RawPong(Common),
    /// Sends raw frames one after the other and reports percentiles.
    RawPing(Common),
    /// Copies frames from one socket to others, overwriting the sender.
    BareRelay(Common),
    /// Peers, then writes each message to the socket by itself.
    Segments(Common),
    /// Writes each raw frame to a plain socket by itself.
    RawSegments(Common),
    /// Serves a data store until standard input ends.
    StoreServe(StoreWork),
    /// Works on a data store: a master of its own, or a clone of one that listens.
    StoreWork(StoreWork),
    /// Attaches a clone and reports how long that took.
    StoreJoin(StoreWork),
    /// A clone that comes back to a store that has changed.
    StoreCatchUp(StoreWork),
    /// Entries that end, and what calls of others take meanwhile.
    StoreExpire(StoreWork),
    /// Serves WebSocket clients: publishes when told to, passes on what peers publish.
    WsServe(Common),
    /// Answers pings of WebSocket clients.
    WsPong(Common),
    /// Answers pings of WebSocket clients from a task.
    WsPongTask(Common),
    /// Sends texts to WebSocket clients without anything of ours.
    WsBareServe(Common),
    /// Sends back what WebSocket clients send without anything of ours.
    WsBareEcho(Common),
    /// WebSocket clients that receive.
    WsReceive(Common),
    /// WebSocket clients that send pings.
    WsPing(Common),
    /// Starts an idle endpoint and reports memory and threads.
    Idle(Common),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().role {
        Role::Subscribe(options) => endpoint_roles::subscribe(&options),
        Role::Publish(options) => endpoint_roles::publish(&options),
        Role::Relay(options) => endpoint_roles::relay(&options),
        Role::Join(options) => endpoint_roles::join(&options),
        Role::Pong(options) => endpoint_roles::pong(&options),
        Role::Ping(options) => endpoint_roles::ping(&options),
        Role::RawReceive(options) => raw_roles::receive(&options),
        Role::RawSend(options) => raw_roles::send(&options),
        Role::RawPong(options) => raw_roles::pong(&options),
        Role::RawPing(options) => raw_roles::ping(&options),
        Role::BareRelay(options) => raw_roles::relay(&options),
        Role::Segments(options) => segment_roles::peered(&options),
        Role::RawSegments(options) => segment_roles::raw(&options),
        Role::StoreServe(options) => store_roles::serve(&options),
        Role::StoreWork(options) => store_roles::work(&options),
        Role::StoreJoin(options) => store_roles::join(&options),
        Role::StoreCatchUp(options) => store_roles::catch_up(&options),
        Role::StoreExpire(options) => store_roles::expire(&options),
        Role::WsServe(options) => web_socket_roles::serve(&options),
        Role::WsPong(options) => web_socket_roles::pong(&options),
        Role::WsPongTask(options) => web_socket_roles::pong_task(&options),
        Role::WsBareServe(options) => web_socket_roles::bare_serve(&options),
        Role::WsBareEcho(options) => web_socket_roles::bare_echo(&options),
        Role::WsReceive(options) => web_socket_roles::receive(&options),
        Role::WsPing(options) => web_socket_roles::ping(&options),
        Role::Idle(options) => endpoint_roles::idle(&options),
    }
}
