//! One connection of ZeroMQ on a blocking socket, driven by lines: what tests of `broker_proto::zmtp`
//! against libzmq run as a process of its own.
//!
//! ```text
//! zmtp_peer KIND connect|listen HOST:PORT [null | client SERVER_PUBLIC SECRET | server SECRET CLIENT_PUBLIC...]
//! ```
//!
//! With `listen` it takes one connection, and says `port NUMBER` first. On its input it takes `send PART...`,
//! `subscribe PREFIX`, `unsubscribe PREFIX` and `close`, parts in hexadecimal and `-` for an empty one. On
//! its output it says `ready KIND VERSION KEY`, `message PART...`, `subscribed PREFIX`, `unsubscribed PREFIX`
//! and `failed WHY`, and ends then.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use broker_data::{Timespan, Timestamp};
use broker_proto::zmtp::{
    Clients, Connection, ConnectionConfig, Entropy, Event, KeyPair, SecretKey, Security, SocketType,
};

type Failure = Box<dyn std::error::Error>;

/// What the main thread waits for.
enum Input {
    Bytes(Vec<u8>),
    Closed,
    Line(String),
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [kind, way, address, security @ ..] = words.as_slice() else {
        return Err("KIND, connect or listen, and HOST:PORT".into());
    };
    let kind = SocketType::ALL
        .into_iter()
        .find(|known| known.name() == *kind)
        .ok_or("a kind of socket such as XPUB")?;
    let config = ConnectionConfig {
        ping_interval: Timespan::from_secs(1),
        ..ConnectionConfig::new(kind).with_security(security_of(security)?)
    };
    let socket = match *way {
        "connect" => TcpStream::connect(*address)?,
        _ => {
            let listener = TcpListener::bind(*address)?;
            say(&format!("port {}", listener.local_addr()?.port()))?;
            listener.accept()?.0
        }
    };
    run(socket, config)
}

fn security_of(words: &[&str]) -> Result<Security, Failure> {
    Ok(match words {
        [] | ["null"] => Security::Null,
        ["client", server, secret] => Security::CurveClient {
            server: server.parse()?,
            keys: KeyPair::of(secret.parse::<SecretKey>()?),
        },
        ["server", secret, clients @ ..] => Security::CurveServer {
            keys: KeyPair::of(secret.parse::<SecretKey>()?),
            clients: Clients::Only(
                clients
                    .iter()
                    .map(|client| client.parse())
                    .collect::<Result<_, _>>()?,
            ),
        },
        _ => return Err("null, client or server, and keys".into()),
    })
}

fn run(mut socket: TcpStream, config: ConnectionConfig) -> Result<(), Failure> {
    let started = Instant::now();
    let now = || {
        let nanoseconds = i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX);
        Timestamp::from_ns(nanoseconds)
    };
    let mut random = [0; Entropy::BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut connection = Connection::new(config, Entropy::new(random), now());
    let inputs = inputs(&socket)?;
    loop {
        // What is to be written first: a refused client gets its reason.
        let ended = events(&mut connection)?;
        let written = socket.write_all(connection.output());
        if ended {
            let _ = socket.shutdown(Shutdown::Both);
            return Ok(());
        }
        match written {
            Ok(()) => connection.handle_written(connection.output().len()),
            // The reader sees the end, after what the peer said before it.
            Err(_) => connection.handle_written(usize::MAX),
        }
        let wait = match connection.next_timeout() {
            Some((due, _)) => Duration::from_nanos(due.since(now()).ns().max(0).unsigned_abs()),
            None => Duration::from_secs(3600),
        };
        match inputs.recv_timeout(wait) {
            Ok(Input::Bytes(bytes)) => connection.handle_bytes(now(), &bytes),
            Ok(Input::Closed) => connection.handle_closed(),
            Ok(Input::Line(line)) => {
                if !obey(&mut connection, &line)? {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => connection.handle_timeout(now()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Threads that read the socket and the lines.
fn inputs(socket: &TcpStream) -> Result<mpsc::Receiver<Input>, Failure> {
    let (sender, receiver) = mpsc::channel();
    let mut socket = socket.try_clone()?;
    let lines = sender.clone();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(Input::Line(line)).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            if sender.send(Input::Bytes(bytes)).is_err() {
                return;
            }
        }
        let _ = sender.send(Input::Closed);
    });
    Ok(receiver)
}

/// Says what happened; tells whether the connection is over.
fn events(connection: &mut Connection) -> Result<bool, Failure> {
    while let Some(event) = connection.poll_event() {
        match event {
            Event::Ready(peer) => {
                let key = peer.key.map(|key| key.to_string()).unwrap_or_default();
                let (major, minor) = peer.version;
                say(&format!("ready {} {major}.{minor} {key}", peer.socket_type))?;
            }
            Event::Message(message) => {
                let parts: Vec<String> = message.parts().map(encode).collect();
                say(&format!("message {}", parts.join(" ")))?;
            }
            Event::Subscribed(topic) => say(&format!("subscribed {}", encode(topic)))?,
            Event::Unsubscribed(topic) => say(&format!("unsubscribed {}", encode(topic)))?,
            Event::Failed(error) => {
                say(&format!("failed {error}"))?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Does what a line says; tells whether to go on.
fn obey(connection: &mut Connection, line: &str) -> Result<bool, Failure> {
    let mut words = line.split_whitespace();
    let command = words.next().unwrap_or_default();
    let parts: Vec<Vec<u8>> = words.map(decode).collect::<Result<_, _>>()?;
    let first = parts.first().map_or(&[][..], Vec::as_slice);
    match command {
        "send" => {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            connection.send(&parts)?;
        }
        "subscribe" => {
            connection.subscribe(first);
        }
        "unsubscribe" => {
            connection.unsubscribe(first);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn encode(bytes: &[u8]) -> String {
    match bytes {
        [] => "-".into(),
        _ => hex::encode(bytes),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, hex::FromHexError> {
    match text {
        "-" => Ok(Vec::new()),
        _ => hex::decode(text),
    }
}
