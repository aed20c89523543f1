//! `broker ping`: who is there, how the connection is encrypted, how long a round trip takes.

use std::time::{Duration, Instant};

use broker::data::json::put_string;
use broker::proto::peer_url::Scheme;
use broker::{PeerCertificate, TlsSession};
use clap::Args;

use crate::arguments::{ConnectionArguments, Global};
use crate::console::{Console, put_strings};
use crate::duration::duration;
use crate::harmless::{harmless_cell, harmless_line};
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::Target;

/// Connect to a peer and measure round trips
///
/// Round trips are measured with pings of the native protocol, which every endpoint answers. Over
/// WebSocket and ZeroMQ only the connection itself is measured.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Ping {
    /// Peer; may also be given as with other commands
    #[arg(value_name = "URL", conflicts_with = "urls")]
    url: Option<String>,
    /// Round trips
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5)]
    count: u32,
    /// Time from one to the next
    #[arg(short, long, value_name = "TIME", value_parser = duration, default_value = "200ms")]
    interval: Duration,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What is known about a peer.
struct Facts {
    url: String,
    id: String,
    connected: Duration,
    tls: Option<TlsSession>,
    scheme: Scheme,
    /// Whether the keys of CURVE encrypt it.
    curve: bool,
    /// What it subscribes to, of ZeroMQ the whole cluster; not known of WebSocket servers.
    topics: Option<Vec<String>>,
}

impl Ping {
    pub(crate) fn run(mut self, global: &Global, console: &mut Console) -> Outcome {
        self.connection.urls.extend(self.url.take());
        let target = Target::find(&self.connection, global)?;
        if target.peers.len() > 1 {
            return Err(Failure::usage("one peer at a time"));
        }
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.measure(target, console));
        runtime.shutdown_background();
        outcome
    }

    async fn measure(&self, target: Target, console: &mut Console) -> Outcome {
        let is_native = target.is_native();
        let url = target.peers.iter().map(ToString::to_string).collect();
        let scheme = target.peers.first().map_or(Scheme::Native, |it| it.scheme);
        let is_zeromq = scheme == Scheme::ZeroMq;
        let curve = is_zeromq && target.options.zeromq_peer.is_encrypted()?;
        let mut session = Session::of(target, OnPeerLoss::End)?;
        let started = Instant::now();
        session.connect().await?;
        let connected = started.elapsed();
        let Some(peer) = session.endpoint.peers().into_iter().next() else {
            return Err(Failure::new(Exit::Unreachable, "the peer left at once"));
        };
        let topics = session.endpoint.peer_subscriptions().into_iter();
        let facts = Facts {
            url,
            id: peer.id.to_string(),
            connected,
            tls: session.endpoint.peer_tls(peer.id),
            scheme,
            curve,
            topics: (is_native || is_zeromq)
                .then(|| topics.map(|topic| topic.to_string()).collect()),
        };
        facts.show(console)?;
        console.flush()?;
        let exit = if is_native {
            self.round_trips(&session, peer.id, console).await?
        } else {
            let what = if is_zeromq { "ZeroMQ" } else { "WebSocket" };
            console.say(format_args!("round trips are not measured over {what}"));
            Exit::Done
        };
        session.leave().await;
        Ok(exit)
    }

    async fn round_trips(
        &self,
        session: &Session,
        peer: broker::EndpointId,
        console: &mut Console,
    ) -> Outcome {
        let mut times = Vec::new();
        let mut pace = tokio::time::interval(self.interval.max(Duration::from_millis(1)));
        let mut asked = 0;
        let mut interrupted = false;
        while asked < self.count {
            let ping = async {
                pace.tick().await;
                tokio::time::timeout(self.timeout, session.endpoint.ping(peer)).await
            };
            match session.or_signal(ping).await {
                Waited::Ended(_) => {
                    interrupted = true;
                    break;
                }
                Waited::Over(Ok(Some(time))) => {
                    asked += 1;
                    times.push(time);
                    if !console.is_json() {
                        console.line(format_args!("round trip {asked:<4} {}", ms(time)))?;
                        console.flush()?;
                    }
                }
                Waited::Over(Ok(None)) => {
                    return Err(Failure::new(Exit::Unreachable, "lost the peer"));
                }
                Waited::Over(Err(_)) => {
                    asked += 1;
                    console.warn(format_args!("no answer to ping {asked}"));
                }
            }
        }
        summary(asked, &mut times, console)?;
        Ok(match (interrupted, times.is_empty() && self.count > 0) {
            (true, _) => Exit::Interrupted,
            (false, true) => Exit::NothingCame,
            (false, false) => Exit::Done,
        })
    }
}

/// Minimum, median and maximum.
fn summary(asked: u32, times: &mut [Duration], console: &mut Console) -> Result<(), Failure> {
    times.sort_unstable();
    let (first, middle, last) = (times.first(), times.get(times.len() / 2), times.last());
    if console.is_json() {
        let ns = |time: Option<&Duration>| {
            time.map_or("null".to_owned(), |time| time.as_nanos().to_string())
        };
        return console.line(format_args!(
            "{{\"type\":\"round-trips\",\"sent\":{asked},\"answered\":{},\"min_ns\":{},\
             \"median_ns\":{},\"max_ns\":{}}}",
            times.len(),
            ns(first),
            ns(middle),
            ns(last)
        ));
    }
    match (first, middle, last) {
        (Some(first), Some(middle), Some(last)) => console.line(format_args!(
            "{} of {asked} answered: min {}, median {}, max {}",
            times.len(),
            ms(*first),
            ms(*middle),
            ms(*last)
        )),
        _ => console.line(format_args!("0 of {asked} answered")),
    }
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

impl Facts {
    fn show(&self, console: &mut Console) -> Result<(), Failure> {
        if console.is_json() {
            return console.line(self.json());
        }
        let label = console.palette().label;
        console.line(format_args!("{label}{}{label:#}", self.url))?;
        let protocol = match self.scheme {
            Scheme::Native => "native, version 1",
            Scheme::WebSocket | Scheme::SecureWebSocket => "WebSocket with JSON",
            Scheme::ZeroMq => "ZeroMQ",
            Scheme::Nats => "NATS",
        };
        let encryption = match &self.tls {
            Some(tls) => format!("{}, {}, {} bits", tls.version, tls.cipher, tls.cipher_bits),
            None if self.scheme == Scheme::SecureWebSocket => "TLS".to_owned(),
            None if self.curve => "CURVE".to_owned(),
            None => "none".to_owned(),
        };
        let mut rows = vec![
            ("endpoint", self.id.clone()),
            ("protocol", protocol.to_owned()),
            ("encryption", encryption),
        ];
        match self.tls.as_ref().map(|tls| &tls.certificate) {
            Some(Some(certificate)) => rows.extend(certificate_rows(certificate)),
            Some(None) => rows.push(("certificate", "none, not authenticated".to_owned())),
            None => {}
        }
        if let Some(topics) = &self.topics {
            rows.push((
                "subscribes",
                if topics.is_empty() {
                    "to nothing".to_owned()
                } else {
                    let shown = topics.iter().map(|topic| harmless_cell(topic));
                    shown.collect::<Vec<_>>().join(" ")
                },
            ));
        }
        rows.push(("connected", format!("in {}", ms(self.connected))));
        for (name, content) in rows {
            // Topics and names in certificates are the peer's words.
            let content = harmless_line(&content);
            console.line(format_args!("  {name:<12} {content}"))?;
        }
        Ok(())
    }

    fn json(&self) -> String {
        let mut line = String::from("{\"type\":\"peer\",\"url\":");
        put_string(&mut line, &self.url);
        line.push_str(",\"endpoint\":");
        put_string(&mut line, &self.id);
        line.push_str(&format!(",\"connected_ns\":{}", self.connected.as_nanos()));
        line.push_str(",\"subscriptions\":");
        match &self.topics {
            Some(topics) => put_strings(&mut line, topics),
            None => line.push_str("null"),
        }
        line.push_str(&format!(",\"curve\":{},\"tls\":", self.curve));
        match &self.tls {
            None => line.push_str("null"),
            Some(tls) => {
                line.push_str("{\"version\":");
                put_string(&mut line, &tls.version);
                line.push_str(",\"cipher\":");
                put_string(&mut line, &tls.cipher);
                line.push_str(&format!(
                    ",\"cipher_bits\":{},\"certificate\":",
                    tls.cipher_bits
                ));
                match &tls.certificate {
                    None => line.push_str("null"),
                    Some(certificate) => put_certificate(&mut line, certificate),
                }
                line.push('}');
            }
        }
        line.push('}');
        line
    }
}

fn certificate_rows(certificate: &PeerCertificate) -> Vec<(&'static str, String)> {
    let left = match certificate.days_left {
        Some(days) => format!("{}, {days} days left", certificate.not_after),
        None => certificate.not_after.clone(),
    };
    let mut rows = vec![
        ("certificate", certificate.subject.clone()),
        ("issuer", certificate.issuer.clone()),
        ("valid until", left),
    ];
    if !certificate.names.is_empty() {
        rows.push(("names", certificate.names.join(" ")));
    }
    rows
}

fn put_certificate(line: &mut String, certificate: &PeerCertificate) {
    line.push_str("{\"subject\":");
    put_string(line, &certificate.subject);
    line.push_str(",\"issuer\":");
    put_string(line, &certificate.issuer);
    line.push_str(",\"names\":");
    put_strings(line, &certificate.names);
    line.push_str(",\"not_after\":");
    put_string(line, &certificate.not_after);
    line.push_str(",\"days_left\":");
    match certificate.days_left {
        Some(days) => line.push_str(&days.to_string()),
        None => line.push_str("null"),
    }
    line.push('}');
}
