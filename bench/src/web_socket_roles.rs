//! WebSocket clients of our endpoints, and of a bare server with the same library underneath.
//!
//! The clients are the same in both cases: connections of `tokio-tungstenite`, all in one process.
//! The bare server parses nothing: it sends a text that was made before, or sends back what came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use broker::{Endpoint, Overflow, StatusCode, WebSocketOptions, WebSocketTls};
use broker_data::json::{self, Form};
use broker_data::to_bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Semaphore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::Common;
use crate::payload::{Event, REPLY_TOPIC, TOPIC, filler};
use crate::report;

/// A client that hears nothing for this long reports what is missing instead of waiting forever.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Text that says nothing to the bare server; the answer to it says nothing either.
const ACK: &str = r#"{"type":"ack","endpoint":"bare","version":"0"}"#;

type Socket = WebSocketStream<TcpStream>;

/// Publishers wait for clients: what is measured is the rate, not who is cut off.
fn options() -> WebSocketOptions {
    WebSocketOptions {
        tls: WebSocketTls::Disabled,
        overflow: Overflow::Block,
        ..WebSocketOptions::default()
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

/// The text of a message with that number.
fn message(options: &Common, topic: &str, number: u64) -> anyhow::Result<String> {
    let event = Event {
        sequence: number.cast_signed(),
        size: options.size,
        filler: &filler(),
    };
    let value = json::to_text(&to_bytes(&event)?, Form::Compatible)?;
    let fields = value.strip_prefix('{').context("a value is an object")?;
    Ok(format!(
        r#"{{"type":"data-message","topic":"{topic}",{fields}"#
    ))
}

// --- servers ------------------------------------------------------------------------------------

/// Serves so many clients and publishes to all of them, or passes on what peers publish.
pub(crate) fn serve(options: &Common) -> anyhow::Result<()> {
    let endpoint = Endpoint::builder().disable_ssl(true).build()?;
    let statuses = endpoint.status_subscriber(true)?;
    let port = endpoint.listen_ws_with("127.0.0.1", 0, self::options());
    let native = endpoint.listen("127.0.0.1", 0).wait()?;
    report::emit(&json!({ "port": port.wait()?, "native": native }))?;
    let mut there = 0;
    while there < options.endpoints {
        let event = statuses.recv_timeout(SILENCE_MAX)?.context("no client")?;
        let added = matches!(event, broker::Event::Status(it) if it.code == StatusCode::PeerAdded);
        there += usize::from(added);
    }
    report::emit(&json!({ "clients": there }))?;
    drop(statuses);
    let start = Instant::now();
    let cpu = report::cpu_seconds();
    // A line asks for publishing; the end of input is the end.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if !line.is_empty() {
        let filler = filler();
        for number in 0..options.count {
            let event = Event {
                sequence: number.cast_signed(),
                size: options.size,
                filler: &filler,
            };
            endpoint.publish(TOPIC, &event)?;
        }
        report::wait_for_end_of_input()?;
    }
    report::done(options.count, start.elapsed(), report::cpu_seconds() - cpu)?;
    endpoint.shutdown().wait();
    Ok(())
}

/// Answers every ping of a client under the topic that only that client subscribes to.
pub(crate) fn pong(options: &Common) -> anyhow::Result<()> {
    let endpoint = Endpoint::builder().disable_ssl(true).build()?;
    let pings = endpoint.subscriber([TOPIC])?;
    let port = endpoint.listen_ws_with("127.0.0.1", 0, self::options());
    report::listening(port.wait()?)?;
    for _ in 0..options.count {
        let ping = pings.recv()?;
        let client = ping.topic().get(TOPIC.len()..).unwrap_or_default();
        let topic = [REPLY_TOPIC.as_bytes(), client].concat();
        endpoint.publish(topic, &ping.view())?;
    }
    report::wait_for_end_of_input()?;
    endpoint.shutdown().wait();
    Ok(())
}

/// As [`pong`], in an application that is asynchronous itself: the subscriber is read by a task, and
/// the endpoint lives on the application's runtime. A ping then wakes no thread but those that wait
/// for a socket, as with the bare server.
pub(crate) fn pong_task(options: &Common) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let builder = Endpoint::builder().disable_ssl(true);
    let endpoint = builder.runtime(runtime.handle().clone()).build()?;
    let mut pings = endpoint.subscriber([TOPIC])?;
    let port = endpoint.listen_ws_with("127.0.0.1", 0, self::options());
    report::listening(port.wait()?)?;
    let count = options.count;
    runtime.block_on(async {
        let endpoint = endpoint.clone();
        let answering = tokio::spawn(async move {
            for _ in 0..count {
                let ping = pings.next().await.context("the endpoint is gone")?;
                let client = ping.topic().get(TOPIC.len()..).unwrap_or_default();
                let topic = [REPLY_TOPIC.as_bytes(), client].concat();
                endpoint.publish_async(topic, &ping.view()).await?;
            }
            anyhow::Ok(())
        });
        answering.await?
    })?;
    report::wait_for_end_of_input()?;
    endpoint.shutdown().wait();
    Ok(())
}

/// A server without anything of ours, which sends a text that is made once.
pub(crate) fn bare_serve(options: &Common) -> anyhow::Result<()> {
    let all: Vec<_> = (0..options.count.min(1000))
        .map(|number| message(options, TOPIC, number).map(Into::into))
        .collect::<anyhow::Result<Vec<tokio_tungstenite::tungstenite::Utf8Bytes>>>()?;
    let all = Arc::new(all);
    let (count, clients) = (options.count, options.endpoints);
    bare(options.endpoints, move |mut socket, begun| {
        let all = all.clone();
        async move {
            begun.wait().await;
            for text in all.iter().cycle().take(usize::try_from(count)?) {
                socket.feed(Message::Text(text.clone())).await?;
            }
            socket.flush().await?;
            while let Some(Ok(_)) = socket.next().await {}
            Ok(())
        }
    })?;
    report::emit(&json!({ "clients": clients }))
}

/// A server without anything of ours, which sends back what comes.
pub(crate) fn bare_echo(options: &Common) -> anyhow::Result<()> {
    bare(options.endpoints, |mut socket, _| async move {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await?;
            }
        }
        Ok(())
    })
}

fn bare<F>(clients: usize, mut serve: impl FnMut(Socket, Arc<Barrier>) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    runtime()?.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        report::listening(listener.local_addr()?.port())?;
        let begun = Arc::new(Barrier::new(clients));
        let mut tasks = Vec::new();
        for _ in 0..clients {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut socket = accept_async(stream).await?;
            socket.next().await.context("no subscription")??;
            socket.send(Message::text(ACK)).await?;
            tasks.push(tokio::spawn(serve(socket, begun.clone())));
        }
        let cpu = report::cpu_seconds();
        for task in tasks {
            task.await??;
        }
        report::emit(&json!({ "cpu_seconds": report::cpu_seconds() - cpu }))
    })
}

// --- clients ------------------------------------------------------------------------------------

async fn connect(port: u16, topic: &str) -> anyhow::Result<Socket> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://127.0.0.1:{port}/v1/messages/json");
    let (mut socket, _) = client_async(url, stream).await?;
    socket.send(Message::text(format!("[\"{topic}\"]"))).await?;
    let ack = read(&mut socket).await?;
    ensure!(ack.starts_with(r#"{"type":"ack""#), "not an ack: {ack}");
    Ok(socket)
}

async fn read(socket: &mut Socket) -> anyhow::Result<tokio_tungstenite::tungstenite::Utf8Bytes> {
    loop {
        let message = tokio::time::timeout(SILENCE_MAX, socket.next()).await;
        match message.context("nothing came")?.context("closed")?? {
            Message::Text(text) => return Ok(text),
            Message::Ping(_) | Message::Pong(_) => {}
            other => anyhow::bail!("expected a text, got {other}"),
        }
    }
}

/// The number of the message, found without parsing: clients are not what is measured.
fn number_of(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(r#"{"@data-type":"integer","data":"#)?;
    rest.get(..rest.find('}')?)?.parse().ok()
}

/// Clients that receive `count` messages each and check their order.
pub(crate) fn receive(options: &Common) -> anyhow::Result<()> {
    let port = *options.port.first().context("--port is missing")?;
    let count = options.count;
    runtime()?.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..options.endpoints {
            clients.push(connect(port, TOPIC).await?);
        }
        report::emit(&json!({ "port": 0 }))?;
        let mut tasks = Vec::new();
        for mut socket in clients {
            tasks.push(tokio::spawn(async move {
                let mut begun = None;
                for number in 0..count {
                    let text = read(&mut socket).await?;
                    begun.get_or_insert_with(Instant::now);
                    let found = number_of(&text).context("a message without number")?;
                    // The bare server repeats its texts.
                    ensure!(
                        found == number || found == number % 1000,
                        "expected message {number}, got {found}"
                    );
                }
                Ok(begun.map_or(Duration::ZERO, |begun| begun.elapsed()))
            }));
        }
        let mut slowest = Duration::ZERO;
        for task in tasks {
            slowest = slowest.max(task.await??);
        }
        let all = count.saturating_mul(options.endpoints as u64);
        report::done(all, slowest, report::cpu_seconds())
    })
}

/// Clients that send pings one after the other, all at the same time, `count` altogether.
pub(crate) fn ping(options: &Common) -> anyhow::Result<()> {
    let port = *options.port.first().context("--port is missing")?;
    let each = options.count / options.endpoints as u64;
    runtime()?.block_on(async {
        let begun = Arc::new(Semaphore::new(0));
        let mut tasks = Vec::new();
        for client in 0..options.endpoints {
            // Names of one length, so that none is a prefix of another.
            let name = format!("/{client:04}");
            let mut socket = connect(port, &format!("{REPLY_TOPIC}{name}")).await?;
            let text = Message::text(message(options, &format!("{TOPIC}{name}"), 0)?);
            let begun = begun.clone();
            tasks.push(tokio::spawn(async move {
                begun.acquire().await?.forget();
                let mut round_trips = Vec::new();
                for _ in 0..each {
                    let sent = Instant::now();
                    socket.send(text.clone()).await?;
                    read(&mut socket).await?;
                    round_trips.push(sent.elapsed());
                }
                anyhow::Ok(round_trips)
            }));
        }
        let start = Instant::now();
        begun.add_permits(options.endpoints);
        let mut round_trips = Vec::new();
        for task in tasks {
            round_trips.extend(task.await??);
        }
        let elapsed = start.elapsed();
        report::round_trips(round_trips)?;
        report::done(options.count, elapsed, report::cpu_seconds())
    })
}
