//! The steps in their order, from the name to the flow of messages.

mod explain;
#[cfg(feature = "tls")]
mod explain_tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use broker::proto::peer_url::{PeerUrl, Scheme};
use broker::{EndpointId, Options, PeerCertificate, Retry, Subscriber, TlsSession, Value, View};
use tokio::time::{Instant, timeout, timeout_at};

use super::causes::{self, DAYS_LEFT_MIN, Mode, ZEEK_WEB_SOCKET_PORT};
use super::probe::{self, Manner, Reach};
use super::report::{Finding, Report, Step};
use super::{Doctor, arguments, flow, topics};
use crate::commands::publish;
use crate::console::Console;
use crate::incoming::Incoming;
use crate::nearest::nearest;
use crate::outcome::{Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session};
use crate::target::Target;

/// Where the ZeroMQ sockets of Zeek are: of zeekctl, and Zeek's own defaults. Spec: zeromq 1.1.
const ZERO_MQ_PORTS: [u16; 4] = [27760, 27761, 5555, 5556];

/// Round trips that are measured.
const PINGS: usize = 3;

/// Differences of clocks in seconds that are no more than a message that waited.
const CLOCK_DIFFERENCE_MAX: f64 = 5.0;

/// Names of events that are repeated when another one was waited for.
const NAMES_SEEN_MAX: usize = 5;

/// Why the walk ends early.
#[derive(Debug)]
enum Stop {
    Broken(Step, Box<Finding>),
    /// Of the command itself.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<broker::Error> for Stop {
    fn from(error: broker::Error) -> Self {
        Self::Failed(error.into())
    }
}

fn stop<T>(step: Step, finding: Finding) -> Result<T, Stop> {
    Err(Stop::Broken(step, Box::new(finding)))
}

/// Looks at one peer after the other.
pub(super) async fn all(
    command: &Doctor,
    target: Target,
    values: &[Value],
    console: &mut Console,
) -> Outcome {
    let mut exit = Exit::Done;
    let mut seen: Vec<(String, EndpointId)> = Vec::new();
    for url in &target.peers {
        let mut report = Report::new(console);
        report.begin(&url.to_string())?;
        let mut walk = Walk {
            command,
            url,
            options: &target.options,
            values,
            seen: &mut seen,
            report: &mut report,
        };
        match walk.run().await {
            Ok(()) => {}
            Err(Stop::Broken(step, finding)) => report.broken(step, &finding)?,
            Err(Stop::Failed(failure)) => return Err(failure),
        }
        let ended = report.end(&url.to_string())?;
        if exit == Exit::Done {
            exit = ended;
        }
    }
    Ok(exit)
}

/// Why there is no peering with an address; `text` is what an endpoint with these options was told.
pub(super) async fn why_not(
    command: &Doctor,
    url: &PeerUrl,
    options: &Options,
    text: &str,
) -> Option<Finding> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).ok()?;
    let mut console = Console::new(io::empty(), io::sink(), io::sink());
    let mut walk = Walk {
        command,
        url,
        options,
        values: &[],
        seen: &mut Vec::new(),
        report: &mut Report::new(&mut console),
    };
    let outcome = async {
        let addresses = walk.name().await?;
        let address = walk.port(&addresses).await?;
        // Under another id: the endpoint itself may be there at any moment.
        walk.explain(address, EndpointId::from_random(id), text)
            .await
    };
    match outcome.await {
        Err(Stop::Broken(_, finding)) => Some(*finding),
        Err(Stop::Failed(_)) | Ok(()) => None,
    }
}

struct Walk<'a, 'c> {
    command: &'a Doctor,
    url: &'a PeerUrl,
    options: &'a Options,
    values: &'a [Value],
    /// The endpoints that the peers so far are.
    seen: &'a mut Vec<(String, EndpointId)>,
    report: &'a mut Report<'c>,
}

impl Walk<'_, '_> {
    async fn run(&mut self) -> Result<(), Stop> {
        let addresses = self.name().await?;
        let address = self.port(&addresses).await?;
        let mut session = self.session()?;
        let topics: Vec<String> = match &self.command.topic {
            None => Vec::new(),
            Some(topic) => {
                let reply = self.command.reply_topic.iter().cloned();
                let spellings = topics::spellings(topic).into_iter().chain(reply);
                std::iter::once(topic.clone()).chain(spellings).collect()
            }
        };
        // Before the peering, so that the peer knows from the first moment on.
        let mut messages = session.subscribe(&topics)?;
        let connecting = session.endpoint.peer_url(self.url.clone(), Retry::Never);
        let outcome = match timeout(self.command.timeout.saturating_mul(2), connecting).await {
            Ok(outcome) => outcome.map_err(|error| match error {
                broker::Error::PeerUnavailable { text, .. } => text,
                other => other.to_string(),
            }),
            Err(_) => Err("it takes too long".to_owned()),
        };
        let peers = session.endpoint.peers();
        let peer = match (outcome, peers.first()) {
            (Ok(()), Some(peer)) => peer.id,
            (Ok(()), None) => {
                let text = session.last_words().unwrap_or_default();
                return stop(Step::Handshake, causes::lost_meanwhile(&text));
            }
            (Err(text), _) => return self.explain(address, session.endpoint.id(), &text).await,
        };
        self.encryption(address, peer, &session).await?;
        self.handshake(address, peer).await?;
        self.filters(peer, &session, &mut messages).await?;
        if let Some(name) = &self.command.event {
            if self.command.send {
                self.send(name, &session, &mut messages).await?
            } else {
                self.watch(name, &mut messages).await?
            }
        }
        self.flow(peer, &mut session).await?;
        session.leave().await;
        Ok(())
    }

    const fn is_native(&self) -> bool {
        matches!(self.url.scheme, Scheme::Native)
    }

    fn mode(&self) -> Mode {
        match (
            self.options.disable_ssl,
            self.options.tls.is_authenticated(),
        ) {
            (true, _) => Mode::Plain,
            (false, true) => Mode::Certificates,
            (false, false) => Mode::Anonymous,
        }
    }

    fn manner(&self) -> Manner<'_> {
        Manner {
            url: self.url,
            #[cfg(feature = "tls")]
            tls: authorities(self.options),
            limit: self.command.timeout,
        }
    }

    // --- 1: name and port ------------------------------------------------------------------------

    async fn name(&mut self) -> Result<Vec<SocketAddr>, Stop> {
        let (host, port) = (self.url.name.as_str(), self.url.port);
        if let Ok(address) = host.parse() {
            let text = format!("{address} is an address, nothing to look up");
            self.report.good(Step::Name, &text, &[])?;
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let looked_up = timeout(self.command.timeout, tokio::net::lookup_host((host, port))).await;
        let addresses: Vec<SocketAddr> = match looked_up {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => {
                let error = error.to_string();
                let error = error
                    .strip_prefix("failed to lookup address information: ")
                    .unwrap_or(&error);
                return stop(Step::Name, causes::unknown_name(host, error));
            }
            Err(_) => {
                let error = "the name servers do not answer in time";
                return stop(Step::Name, causes::unknown_name(host, error));
            }
        };
        if addresses.is_empty() {
            return stop(Step::Name, causes::unknown_name(host, "it has no address"));
        }
        let texts: Vec<_> = addresses.iter().map(|it| it.ip().to_string()).collect();
        let text = format!("{host} is {}", texts.join(", "));
        self.report.good(Step::Name, &text, &[])?;
        Ok(addresses)
    }

    async fn port(&mut self, addresses: &[SocketAddr]) -> Result<SocketAddr, Stop> {
        let limit = self.command.timeout;
        let mut last = None;
        let mut is_closed = false;
        for address in addresses {
            let place = address.to_string();
            last = Some(match probe::reach(*address, limit).await {
                Reach::Answers(_, time) => {
                    let text = format!("{place} answers in {:.1} ms", time.as_secs_f64() * 1e3);
                    self.report.good(Step::Port, &text, &[])?;
                    return Ok(*address);
                }
                Reach::Closed => {
                    is_closed = true;
                    causes::port_closed(&place, address.port())
                }
                Reach::Filtered => causes::port_filtered(&place, limit),
                Reach::NoRoute(error) => causes::no_route(&place, &said(&error)),
                Reach::Failed(error) => causes::cannot_connect(&place, &said(&error)),
            });
        }
        if is_closed && self.is_native() {
            // Clusters of Zeek 8.1 and newer have no native port.
            for address in addresses {
                if let Some(finding) = self.cluster(address).await {
                    return stop(Step::Port, finding);
                }
            }
        }
        let finding = last.unwrap_or_else(|| causes::unknown_name(&self.url.name, "no address"));
        stop(Step::Port, finding)
    }

    /// The ZeroMQ cluster on a machine whose native port is closed.
    async fn cluster(&self, address: &SocketAddr) -> Option<Finding> {
        let mut found = Vec::new();
        for port in ZERO_MQ_PORTS {
            let place = SocketAddr::new(address.ip(), port);
            if probe::is_zero_mq(place).await {
                found.push(place.to_string());
            }
        }
        if found.is_empty() {
            return None;
        }
        let web = self.web_socket(address).await;
        Some(causes::zero_mq_cluster(&self.url.name, &found, None, web))
    }

    /// Whether Zeek's WebSocket server is on that machine.
    async fn web_socket(&self, address: &SocketAddr) -> bool {
        let place = SocketAddr::new(address.ip(), ZEEK_WEB_SOCKET_PORT);
        probe::is_web_socket(place, &self.manner()).await
    }

    // --- 2 to 4: protocol, TLS, handshake --------------------------------------------------------

    fn session(&self) -> Result<Session, Stop> {
        let options = Options {
            connect_timeout: self.command.timeout,
            handshake_timeout: self.command.timeout,
            ..self.options.clone()
        };
        match Session::new(options, vec![self.url.clone()], OnPeerLoss::End) {
            Ok(session) => Ok(session),
            Err(Failure::Told {
                exit: Exit::Refused,
                what,
                ..
            }) => stop(Step::Tls, causes::own_set_up(&what)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Of a peering that came about.
    async fn encryption(
        &mut self,
        address: SocketAddr,
        peer: EndpointId,
        session: &Session,
    ) -> Result<(), Stop> {
        let protocol = match self.url.scheme {
            Scheme::Native if self.mode() == Mode::Plain => "native Broker without TLS",
            Scheme::Native => "native Broker over TLS",
            Scheme::WebSocket => "WebSocket with JSON, without TLS",
            Scheme::SecureWebSocket => "WebSocket with JSON, over TLS",
            Scheme::ZeroMq => "ZeroMQ",
            Scheme::Nats => "NATS",
        };
        self.report.good(Step::Protocol, protocol, &[])?;
        let is_plain = match self.url.scheme {
            Scheme::Native => self.mode() == Mode::Plain,
            Scheme::WebSocket | Scheme::Nats => true,
            Scheme::ZeroMq => !self.options.zeromq_peer.is_encrypted()?,
            Scheme::SecureWebSocket => false,
        };
        if is_plain {
            let text = "not encrypted: whoever is on the way can read and change everything";
            self.report.good(Step::Tls, text, &[])?;
            return Ok(());
        }
        if self.url.scheme == Scheme::ZeroMq {
            let text = "none; CURVE encrypts, with the key that all of the cluster have";
            return Ok(self.report.good(Step::Tls, text, &[])?);
        }
        let facts = match session.endpoint.peer_tls(peer) {
            Some(tls) => {
                let chain = tls.certificate.iter().chain(&tls.issuers).cloned();
                Some((chain.collect(), tls))
            }
            None => self.look_at_tls(address).await,
        };
        match facts {
            Some((chain, session)) => self.encrypted(&session, &chain),
            None => Ok(self.report.good(Step::Tls, "encrypted", &[])?),
        }
    }

    #[cfg(feature = "tls")]
    async fn look_at_tls(&self, address: SocketAddr) -> Option<(Vec<PeerCertificate>, TlsSession)> {
        let manner = self.manner();
        let probing = broker::probe_tls(address, manner.name(), &manner.tls);
        let probe = timeout(self.command.timeout, probing).await.ok()?.ok()?;
        Some((probe.chain, probe.session?))
    }

    #[cfg(not(feature = "tls"))]
    async fn look_at_tls(&self, _: SocketAddr) -> Option<(Vec<PeerCertificate>, TlsSession)> {
        None
    }

    /// How it is encrypted, and whom the certificates are of.
    fn encrypted(&mut self, session: &TlsSession, chain: &[PeerCertificate]) -> Result<(), Stop> {
        let agreed = format!(
            "{}, {}, {} bits",
            session.version, session.cipher, session.cipher_bits
        );
        let Some(own) = chain.first() else {
            let text = format!("{agreed}; no certificates, so neither side is authenticated");
            self.report.good(Step::Tls, &text, &[])?;
            return Ok(());
        };
        let names = match self.url.scheme {
            Scheme::Native => "names are not compared between native peers",
            Scheme::WebSocket | Scheme::SecureWebSocket | Scheme::ZeroMq | Scheme::Nats => {
                "the name fits"
            }
        };
        let mut details = certificates(chain);
        details.push(names.to_owned());
        self.report.good(Step::Tls, &agreed, &details)?;
        match own.days_left {
            Some(days) if days < DAYS_LEFT_MIN => {
                Ok(self.report.warn(Step::Tls, &causes::expires_soon(days))?)
            }
            _ => Ok(()),
        }
    }

    /// Of a peering that came about.
    async fn handshake(&mut self, address: SocketAddr, peer: EndpointId) -> Result<(), Stop> {
        if let Some(id) = self.command.id.filter(|_| self.is_native()) {
            let encrypted = self.mode() != Mode::Plain;
            let answer = probe::say_hello(address, id, encrypted, &self.manner()).await;
            if let Some(finding) = answer.and_then(|answer| causes::answered(&answer, id)) {
                return stop(Step::Handshake, finding);
            }
        }
        let url = self.url.to_string();
        if let Some((other, _)) = self.seen.iter().find(|(_, id)| *id == peer) {
            return stop(Step::Handshake, causes::same_endpoint(&url, other, peer));
        }
        self.seen.push((url, peer));
        let text = if self.is_native() {
            format!("version 1, endpoint {peer}")
        } else {
            "accepted".to_owned()
        };
        self.report.good(Step::Handshake, &text, &[])?;
        Ok(())
    }

    // --- 5: filters ------------------------------------------------------------------------------

    async fn filters(
        &mut self,
        peer: EndpointId,
        session: &Session,
        messages: &mut Subscriber,
    ) -> Result<(), Stop> {
        let Some(filter) = session.endpoint.subscriptions_of(peer) else {
            let text = "a WebSocket server does not say what it wants; it gets everything";
            self.report.good(Step::Filters, text, &[])?;
            return Ok(());
        };
        let entries: Vec<String> = filter.iter().map(ToString::to_string).collect();
        let Some(topic) = &self.command.topic else {
            return if entries.is_empty() {
                Ok(self
                    .report
                    .warn(Step::Filters, &causes::subscribes_to_nothing())?)
            } else {
                let text = format!("the peer subscribes to {}", causes::some_of(&entries));
                Ok(self.report.good(Step::Filters, &text, &[])?)
            };
        };
        if let Some(entry) = topics::matching(&filter, topic) {
            let entry = causes::some_of(&[entry.to_string()]);
            let text = format!("`{topic}` reaches the peer: it subscribes to {entry}");
            self.report.good(Step::Filters, &text, &[])?;
            return Ok(());
        }
        let misses = topics::near_misses(&filter, topic);
        let finding = causes::no_match(topic, &entries, &misses);
        // It may be the one that publishes there.
        let deadline = Instant::now() + self.command.wait;
        while let Ok(message) = timeout_at(deadline, session::message(messages)).await {
            let message = message?;
            if message.topic().starts_with(topic.as_bytes()) {
                let text = format!("the peer publishes on `{topic}` itself, and does not want it");
                self.report.good(Step::Filters, &text, &[])?;
                return Ok(());
            }
        }
        stop(Step::Filters, finding)
    }

    // --- 6: events -------------------------------------------------------------------------------

    /// Looks at the event as it passes by.
    async fn watch(&mut self, name: &str, messages: &mut Subscriber) -> Result<(), Stop> {
        let topic = self.command.topic.as_deref().unwrap_or_default();
        let (mut names, mut elsewhere) = (Vec::new(), None);
        let deadline = Instant::now() + self.command.wait;
        while let Ok(message) = timeout_at(deadline, session::message(messages)).await {
            let message = message?;
            let came = Incoming::new(session::now(), message.topic(), message.view());
            if !came.topic.starts_with(topic.as_bytes()) {
                elsewhere.get_or_insert(String::from_utf8_lossy(came.topic).into_owned());
                continue;
            }
            let Some(event) = came.event else { continue };
            let found = String::from_utf8_lossy(event.name()).into_owned();
            if found == name {
                return self.compare(name, &came);
            }
            if !names.contains(&found) && names.len() < NAMES_SEEN_MAX {
                names.push(found);
            }
        }
        if !names.is_empty() {
            let near = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
            let finding = causes::other_event(name, &names, near.as_deref());
            return stop(Step::Event, finding);
        }
        if let Some(elsewhere) = elsewhere {
            return stop(Step::Event, causes::came_elsewhere(topic, &elsewhere));
        }
        let suspects = arguments::suspects(self.values);
        let suspects: Vec<_> = suspects
            .iter()
            .map(|it| {
                let (place, text) = (it.place, &it.text);
                format!("argument {place} is an int (`{text}`): a count is `{text}c`")
            })
            .collect();
        let finding = causes::nothing_came(topic, self.command.wait, &suspects);
        Ok(self.report.warn(Step::Event, &finding)?)
    }

    /// Compares the event with what the user wants to send, and its time with the clock.
    fn compare(&mut self, name: &str, came: &Incoming<'_>) -> Result<(), Stop> {
        let Some(event) = came.event else {
            return Ok(());
        };
        let theirs: Vec<View<'_>> = event.arguments().elements().collect();
        let ours = self.values;
        if !ours.is_empty() {
            if ours.len() != theirs.len() {
                let finding = causes::other_count(name, ours.len(), theirs.len());
                return stop(Step::Event, finding);
            }
            let misfits = arguments::misfits(ours, &theirs);
            if !misfits.is_empty() {
                return stop(Step::Event, causes::other_types(name, &misfits));
            }
        }
        let kinds: Vec<_> = theirs
            .iter()
            .map(|it| arguments::zeek_type(it.kind()))
            .collect();
        let topic = String::from_utf8_lossy(came.topic);
        let text = format!("`{name}({})` passes by on `{topic}`", kinds.join(", "));
        self.report.good(Step::Event, &text, &[])?;
        if let Some(time) = event.network_time() {
            let ahead = (time.ns().saturating_sub(came.time.ns())) as f64 / 1e9;
            if ahead.abs() > CLOCK_DIFFERENCE_MAX {
                self.report
                    .warn(Step::Event, &causes::clock_differs(ahead))?;
            }
        }
        Ok(())
    }

    /// Sends the event and waits for an answer.
    async fn send(
        &mut self,
        name: &str,
        session: &Session,
        messages: &mut Subscriber,
    ) -> Result<(), Stop> {
        let topic = self.command.topic.as_deref().unwrap_or_default();
        let answers_on = self.command.reply_topic.as_deref().unwrap_or(topic);
        let question = publish::event(name, self.values)?;
        let view = View::new(&question).map_err(|error| Failure::failed(error.to_string()))?;
        let started = Instant::now();
        session.endpoint.publish_async(topic, &view).await?;
        let deadline = started + self.command.wait;
        while let Ok(message) = timeout_at(deadline, session::message(messages)).await {
            let message = message?;
            let came = Incoming::new(session::now(), message.topic(), message.view());
            if !came.topic.starts_with(answers_on.as_bytes()) {
                continue;
            }
            if let Some(event) = came.event {
                let answer = String::from_utf8_lossy(event.name());
                let time = started.elapsed().as_secs_f64() * 1e3;
                let text = format!("`{name}` was answered by `{answer}` after {time:.1} ms");
                self.report.good(Step::Event, &text, &[])?;
                return Ok(());
            }
        }
        let suspects = arguments::suspects(self.values);
        stop(
            Step::Event,
            causes::no_reply(name, self.command.wait, &suspects),
        )
    }

    // --- 7: flow ---------------------------------------------------------------------------------

    async fn flow(&mut self, peer: EndpointId, session: &mut Session) -> Result<(), Stop> {
        if self.is_native() {
            let mut times: Vec<Duration> = Vec::new();
            for _ in 0..PINGS {
                match timeout(self.command.timeout, session.endpoint.ping(peer)).await {
                    Ok(Some(time)) => times.push(time),
                    Ok(None) => {
                        let text = session.last_words().unwrap_or_default();
                        return stop(Step::Flow, causes::lost_meanwhile(&text));
                    }
                    Err(_) => return stop(Step::Flow, causes::no_pong(self.command.timeout)),
                }
            }
            let best = times.iter().min().copied().unwrap_or_default();
            let text = format!("round trip in {:.3} ms", best.as_secs_f64() * 1e3);
            self.report.good(Step::Flow, &text, &[])?;
        } else {
            let language = match self.url.scheme {
                Scheme::ZeroMq => "ZeroMQ",
                Scheme::Nats => "NATS",
                Scheme::Native | Scheme::WebSocket | Scheme::SecureWebSocket => "WebSocket",
            };
            let text = format!("round trips are not measured over {language}");
            self.report.good(Step::Flow, &text, &[])?;
        }
        let Some(place) = &self.command.status else {
            return Ok(());
        };
        match flow::read(place, self.command.timeout).await {
            Err(reason) => Ok(self
                .report
                .warn(Step::Flow, &causes::no_status(place, &reason))?),
            Ok(page) => {
                let own = session.endpoint.id().to_string();
                let findings = flow::judge(&page, &own);
                if findings.is_empty() {
                    let text = format!("{place}: {} queues, nothing waits", page.queues.len());
                    self.report.good(Step::Flow, &text, &[])?;
                }
                for finding in &findings {
                    self.report.warn(Step::Flow, finding)?;
                }
                Ok(())
            }
        }
    }
}

/// The system's words without the number.
fn said(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// Where the authorities are that certificates of the peer are checked with.
#[cfg(feature = "tls")]
fn authorities(options: &Options) -> broker::TlsOptions {
    let servers = &options.web_socket_peer;
    let mut tls = options.tls.clone();
    tls.ca_file = tls.ca_file.or_else(|| servers.ca_file.clone());
    tls.ca_path = tls.ca_path.or_else(|| servers.ca_path.clone());
    tls
}

/// A line for each certificate, from the peer's own to the last that it sent.
fn certificates(chain: &[PeerCertificate]) -> Vec<String> {
    let lines = chain.iter().enumerate().map(|(place, certificate)| {
        let left = match certificate.days_left {
            Some(days) if days < 0 => format!("expired {} days ago", -days),
            Some(days) => format!("{days} days left"),
            None => format!("until {}", certificate.not_after),
        };
        let names = match certificate.names.as_slice() {
            [] => String::new(),
            names => format!(", names {}", names.join(" ")),
        };
        let what = if place == 0 {
            "certificate"
        } else {
            "signed by"
        };
        let (subject, issuer) = (&certificate.subject, &certificate.issuer);
        let issuer = if subject == issuer {
            "self-signed".to_owned()
        } else {
            format!("issued by {issuer}")
        };
        format!("{what} {subject}, {issuer}{names}, {left}")
    });
    lines.collect()
}
