//! Durable topics: messages that streams on servers of NATS keep, and subscribers that continue where
//! they were.
//!
//! | module | what it is |
//! |---|---|
//! | `options` | options of streams, publishes and subscribers |
//! | `subscriber` | a named cursor on a stream |
//! | `reader` | messages of a stream in order, each once: last values, and replays |
//! | `following` | its task: a consumer on the servers, made anew when anything goes wrong |
//! | `report` | streams as they are: copies, leader, cursors |
//! | `bad_messages` | error events about messages that cannot be read |
//! | `error` | why it came to nothing |
//!
//! Streams, their copies and what is known of cursors are those of the servers (JetStream). See
//! docs/nats.md and ADR 0390.

mod bad_messages;
mod error;
mod following;
mod options;
mod reader;
mod report;
mod subscriber;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_data::{Encoder, Source, Value as Nothing};
use broker_proto::filter::Filter;
use broker_proto::json::message::is_reserved;
use broker_proto::nats::Form;
use broker_proto::nats::jetstream::api::{
    CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, is_name, stream_names,
};
use broker_proto::nats::jetstream::topics::{followed_forms, kept_forms, subjects_of_stream};
use broker_proto::nats::jetstream::{Cursor, Load, Publication, RequestError, Stored};
use broker_proto::nats::message::{WITHDRAWN, write_headers};
use broker_proto::peer_url::PeerUrl;
use broker_proto::topic::TOPIC_MAX;
use serde_json::{Value, json};

pub use self::error::DurableError;
use self::options::PREFETCH_BYTES;
pub use self::options::{
    Acknowledge, DurableOptions, DurableStart, PublishOptions, ReplayOptions, RetainedOptions,
    StreamDiscard, StreamOptions,
};
pub use self::reader::StreamReader;
pub use self::report::{CursorReport, StreamReport};
pub use self::subscriber::DurableSubscriber;
use crate::config::timespan;
use crate::core::jet_stream::queue::ReadQueue;
use crate::core::jet_stream::{Answer, JetStream};
use crate::core::nats_peers::NotOne;
use crate::core::pending::Pending;
use crate::core::shared::Shared;
use crate::endpoint::Endpoint;
use crate::flow::foreign::Transport;
use crate::flow::publish;
use crate::transport::nats::jet_stream;

/// Characters of a message id.
const MESSAGE_ID_MAX: usize = 200;

/// Streams that are looked at for one that keeps the topics of a subscriber.
const STREAMS_LOOKED_AT_MAX: usize = 64;

/// The header with the id by which a stream knows a message.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The header with the number that the last message of the stream is to have.
const EXPECTED_LAST: &str = "Nats-Expected-Last-Sequence";
/// The header with the number that the last message of the topic is to have.
const EXPECTED_LAST_OF_TOPIC: &str = "Nats-Expected-Last-Subject-Sequence";
/// The header with the name that the stream is to have.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// Where a message was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The stream.
    pub stream: String,
    /// Its number there; the first one is 1.
    pub sequence: u64,
    /// Whether the stream had it already: it was published with the same id before.
    pub is_duplicate: bool,
    /// Its id: published again with it, the message is stored once.
    pub message_id: String,
}

/// A stream as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// Its name.
    pub name: String,
    /// Servers that have a copy. With one of them a disk that is gone takes the stream with it.
    pub replicas: u64,
    /// Messages in it.
    pub messages: u64,
    /// The number of the last message; 0 before the first one.
    pub last_sequence: u64,
    /// Whether the call made it.
    pub is_new: bool,
}

/// The streams on the servers of one `nats://` address; made by [`Endpoint::durable_topics`].
///
/// Clones are handles of the same. All calls resolve within their `timeout`; what comes too early for a
/// server that is being reached waits for it.
#[derive(Clone)]
pub struct DurableTopics {
    shared: Arc<Shared>,
    client: Arc<JetStream>,
}

impl fmt::Debug for DurableTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableTopics")
            .field("url", &self.client.url.host())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The durable topics of the servers of NATS that this endpoint is peered with, or is to be: at that
    /// address, or at the only one. The peering need not be established.
    ///
    /// # Errors
    ///
    /// [`DurableError::NotPeered`] and [`DurableError::SeveralPeers`].
    pub fn durable_topics(&self, url: Option<&PeerUrl>) -> Result<DurableTopics, DurableError> {
        let shared = &self.node().shared;
        if shared.is_shut_down() {
            return Err(DurableError::ShutDown);
        }
        let host = url.map(PeerUrl::host);
        let url = shared
            .nats
            .member(host.as_deref())
            .map_err(|not| match not {
                NotOne::None | NotOne::Unknown => DurableError::NotPeered,
                NotOne::Several(urls) => DurableError::SeveralPeers(urls),
            })?;
        let options = shared.nats.options.of(&url.host());
        let subjects = options.subjects().map_err(|error| DurableError::Option {
            name: "prefix",
            cause: error.to_string(),
        })?;
        let mut random = [0; 8];
        // Endpoints have different ids; the rest tells clients of one endpoint apart.
        let _ = getrandom::fill(&mut random);
        let name = format!("{}-{:016x}", self.id(), u64::from_be_bytes(random));
        let make = || JetStream::new(&name, url.clone(), options, subjects);
        let (client, is_new) = shared
            .nats
            .jet_stream(&url, make)
            .ok_or(DurableError::NotPeered)?;
        if is_new {
            jet_stream::start(shared, client.clone());
        }
        Ok(DurableTopics {
            shared: shared.clone(),
            client,
        })
    }
}

impl DurableTopics {
    /// Publishes a value so that it is not lost: resolves when a stream has it, on most of the servers
    /// that keep a copy. Peers of all kinds that are subscribed get it, too, those of other protocols
    /// than NATS once it is stored.
    ///
    /// A message has an id. While there is no answer it is sent again with it, also to other servers of
    /// the cluster, and stored once. After an error that leaves the outcome open,
    /// [`DurableError::TimedOut`] above all, publish again with the same
    /// [`message_id`](PublishOptions::message_id). Streams know ids for two minutes.
    ///
    /// # Errors
    ///
    /// [`DurableError::NoStream`] when no stream keeps the topic, [`DurableError::Conflict`] when the
    /// stream is not where the options expect it, and those of all calls.
    pub fn publish<S: Source + ?Sized>(
        &self,
        topic: impl AsRef<[u8]>,
        value: &S,
        options: PublishOptions,
    ) -> Pending<Result<StoredMessage, DurableError>> {
        let mut payload = Vec::new();
        let encoded = value.encode(&mut Encoder::new(&mut payload));
        self.publish_encoded(topic.as_ref(), encoded.map(|()| payload), options)
    }

    /// As [`publish`](Self::publish), for a value that is encoded.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn publish_encoded<E: Into<DurableError>>(
        &self,
        topic: &[u8],
        payload: Result<Vec<u8>, E>,
        options: PublishOptions,
    ) -> Pending<Result<StoredMessage, DurableError>> {
        let (resolver, pending) = Pending::new(|| Err(DurableError::ShutDown));
        match self.begin_publish(topic, payload.map_err(Into::into), options, false) {
            Err(error) => resolver.resolve(Err(error)),
            Ok(publishing) => {
                self.shared.runtime.spawn(async move {
                    resolver.resolve(publishing.await);
                });
            }
        }
        pending
    }

    /// Withdraws the last value of a topic: who subscribes later gets none, and who is subscribed to last
    /// values gets a message that says so,
    /// [`is_withdrawn`](crate::DurableMessage::is_withdrawn). It takes the place of the value in the
    /// stream, some hundred bytes. Ordinary subscribers are not told.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn withdraw(
        &self,
        topic: impl AsRef<[u8]>,
        options: PublishOptions,
    ) -> Pending<Result<StoredMessage, DurableError>> {
        let (resolver, pending) = Pending::new(|| Err(DurableError::ShutDown));
        let options = PublishOptions {
            retain: true,
            ..options
        };
        let nothing = broker_data::to_bytes(&Nothing::None).map_err(DurableError::from);
        match self.begin_publish(topic.as_ref(), nothing, options, true) {
            Err(error) => resolver.resolve(Err(error)),
            Ok(publishing) => {
                self.shared.runtime.spawn(async move {
                    resolver.resolve(publishing.await);
                });
            }
        }
        pending
    }

    fn begin_publish(
        &self,
        topic: &[u8],
        payload: Result<Vec<u8>, DurableError>,
        options: PublishOptions,
        is_withdrawn: bool,
    ) -> Result<impl Future<Output = Result<StoredMessage, DurableError>> + use<>, DurableError>
    {
        let payload = payload?;
        let shown = || String::from_utf8_lossy(topic).into_owned();
        let refused = |cause| DurableError::Topic {
            topic: shown(),
            cause,
        };
        if is_reserved(topic) {
            return Err(refused("it belongs to endpoints and data stores"));
        }
        if topic.len() > TOPIC_MAX {
            return Err(refused("it is longer than the wire can carry"));
        }
        let message_id = match options.message_id {
            Some(id) => checked_message_id(id)?,
            None => self.new_message_id(),
        };
        let mark = self.shared.data.marking.next();
        let mut headers: Vec<_> =
            write_headers(topic, self.shared.data.id, Some(mark), None).collect();
        headers.push((MESSAGE_ID, message_id.clone()));
        let expected = [
            (EXPECTED_LAST, options.expected_last),
            (EXPECTED_LAST_OF_TOPIC, options.expected_last_of_topic),
        ];
        for (name, sequence) in expected {
            headers.extend(sequence.map(|it| (name, it.to_string())));
        }
        if let Some(stream) = options.stream {
            headers.push((EXPECTED_STREAM, checked_name("stream", stream)?));
        }
        let retain = options.retain;
        let form = if retain { Form::Retained } else { Form::Single };
        if is_withdrawn {
            headers.push((WITHDRAWN, "1".to_owned()));
        }
        let publication = Publication {
            subject: self.client.subjects.of_topic(form, topic),
            headers,
            payload: payload.clone(),
        };
        let shared = self.shared.clone();
        let limit = timespan(options.timeout);
        let answer = self.client.publish(shared.now(), publication, limit);
        let topic = topic.to_vec();
        Ok(async move {
            let answer = answer.await;
            let text = String::from_utf8_lossy(&topic);
            let answer = answer.map_err(|error| match error {
                RequestError::NoStream if retain => DurableError::NoRetainedStream {
                    topic: text.clone().into_owned(),
                },
                error => DurableError::of_publish(error, &text),
            })?;
            let stored = Stored::parse(&answer).ok_or_else(unreadable)?;
            let data = &shared.data;
            let offered = if stored.is_duplicate || is_withdrawn {
                Ok(None)
            } else if retain {
                // Under a subject that only subscribers to last values know: all others get it as they
                // get every message.
                publish::offer(data, &data.publish_memo, None, &topic, |out| {
                    out.extend_from_slice(&payload);
                    Ok::<(), crate::Error>(())
                })
            } else {
                publish::offer_beside(data, Transport::Nats, mark, &topic, &payload)
            };
            if let Ok(Some(blocked)) = offered {
                blocked.finished().await;
            }
            Ok(StoredMessage {
                stream: stored.stream,
                sequence: stored.sequence,
                is_duplicate: stored.is_duplicate,
                message_id,
            })
        })
    }

    /// An id that no other message has: endpoints have different ones.
    fn new_message_id(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.shared.data.id)
    }

    /// Makes a stream, unless there is one of that name and shape already.
    ///
    /// # Errors
    ///
    /// [`DurableError::StreamDiffers`] when there is one of another shape: it is left as it is.
    pub fn make_stream(
        &self,
        options: StreamOptions,
    ) -> Pending<Result<StreamState, DurableError>> {
        let streams = self.clone();
        self.resolve(async move { streams.make(&options).await })
    }

    async fn make(&self, options: &StreamOptions) -> Result<StreamState, DurableError> {
        let shape = options.shape(&self.client.subjects)?;
        let limit = options.timeout;
        let name = &shape.name;
        let existing = self
            .ask(&format!("STREAM.INFO.{name}"), &json!({}), limit)
            .await;
        let (state, is_new) = match existing {
            Ok(existing) => {
                let config = existing.get("config").cloned().unwrap_or(Value::Null);
                let differences = shape.differences(&config);
                if !differences.is_empty() {
                    let name = name.clone();
                    return Err(DurableError::StreamDiffers { name, differences });
                }
                (existing, false)
            }
            Err(DurableError::Refused(error)) if error.error == STREAM_NOT_FOUND => {
                let subject = format!("STREAM.CREATE.{name}");
                (self.ask(&subject, &shape.to_json(), limit).await?, true)
            }
            Err(error) => return Err(error),
        };
        let state = stream_state(name, &state, is_new);
        self.check_copies(name, state.replicas, options.require_durable)?;
        Ok(state)
    }

    /// Says, once for a stream, that it has one copy only; an error where more are required.
    fn check_copies(&self, stream: &str, copies: u64, required: bool) -> Result<(), DurableError> {
        if copies > 1 {
            return Ok(());
        }
        if required {
            let stream = stream.to_owned();
            return Err(DurableError::OneCopy { stream });
        }
        if self.client.is_first_warning(stream) {
            tracing::warn!(
                event = "nats-stream-has-one-copy",
                stream,
                "what the stream has is gone with the disk of its only server; see docs/nats.md"
            );
        }
        Ok(())
    }

    /// Subscribes to topics with a cursor of that name: what was published since it was there the last
    /// time comes first. Subscribers of one name share its messages.
    ///
    /// # Errors
    ///
    /// [`DurableError::NoStream`] when no stream keeps these topics, [`DurableError::SeveralStreams`]
    /// when several do and none is named, [`DurableError::CursorDiffers`] when there is a cursor of that
    /// name with other topics, and those of all calls.
    pub fn subscriber<T: Into<broker_proto::Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
        options: DurableOptions,
    ) -> Pending<Result<DurableSubscriber, DurableError>> {
        let filter: Filter = topics.into_iter().map(Into::into).collect();
        let streams = self.clone();
        self.resolve(async move { streams.open(filter, options).await })
    }

    async fn open(
        self,
        filter: Filter,
        options: DurableOptions,
    ) -> Result<DurableSubscriber, DurableError> {
        options.check()?;
        let limit = options.timeout;
        let stream = match &options.stream {
            Some(stream) => stream.clone(),
            None => self.find_stream(&filter, &Form::ALL, limit).await?,
        };
        let found = self.stream(&stream, limit).await?;
        let (state, kept) = (found.state, found.kept);
        self.check_copies(&stream, state.replicas, options.require_durable)?;
        let cursor = Cursor {
            name: options.name.clone(),
            subjects: followed_forms(&self.client.subjects, &filter, &kept, &Form::ALL),
            start: options.start.resolved(),
            ack_wait: timespan(options.ack_wait),
            unacked_max: options.unacked_max,
        };
        if cursor.subjects.is_empty() {
            return Err(DurableError::NoStream {
                topic: shown(&filter),
            });
        }
        if options.deliveries_max.is_some() {
            self.check_dead_letters(&options.dead_letter_topic(), limit)
                .await?;
        }
        self.find_or_make(&stream, &cursor, limit).await?;
        let queue = Arc::new(ReadQueue::new(
            self.shared.data.id,
            self.client.subjects.clone(),
            filter,
            Load {
                messages: options.prefetch,
                bytes: PREFETCH_BYTES,
            },
            cursor.ack_wait,
        ));
        let reader = self
            .client
            .read(self.shared.now(), &stream, &cursor.name, queue.clone())
            .ok_or(DurableError::ShutDown)?;
        Ok(DurableSubscriber::new(self, stream, options, reader, queue))
    }

    /// The one stream that keeps topics of a filter in these forms.
    async fn find_stream(
        &self,
        filter: &Filter,
        forms: &[Form],
        limit: Duration,
    ) -> Result<String, DurableError> {
        let mut found: Vec<String> = Vec::new();
        for prefix in filter.entries() {
            let subjects = &self.client.subjects;
            let single: Filter = std::iter::once(prefix.clone()).collect();
            // That of whole tokens first: a prefix of bytes has neighbours in other streams.
            let narrow = kept_forms(subjects, prefix.as_bytes(), forms);
            let wide = broker_proto::nats::cover::cover_forms(subjects, &single, forms);
            for subject in narrow.into_iter().flatten().chain(wide) {
                let names = self.streams_with(&subject, limit).await?;
                if names.len() > STREAMS_LOOKED_AT_MAX {
                    let topic = shown(filter);
                    return Err(DurableError::SeveralStreams { topic, names });
                }
                let before = found.len();
                for name in names {
                    let kept = self.stream(&name, limit).await?.kept;
                    if !followed_forms(subjects, &single, &kept, forms).is_empty() {
                        found.push(name);
                    }
                }
                if found.len() > before {
                    break;
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        let topic = shown(filter);
        if found.len() > 1 {
            let names = found;
            return Err(DurableError::SeveralStreams { topic, names });
        }
        found.pop().ok_or(if forms == Form::RETAINED {
            DurableError::NoRetainedStream { topic }
        } else {
            DurableError::NoStream { topic }
        })
    }

    /// A stream, and the subjects that it keeps.
    async fn stream(&self, name: &str, limit: Duration) -> Result<FoundStream, DurableError> {
        let info = self
            .ask(&format!("STREAM.INFO.{name}"), &json!({}), limit)
            .await?;
        let config = info.get("config").unwrap_or(&Value::Null);
        let kept = subjects_of_stream(&self.client.subjects, config);
        let created = info.get("created").and_then(Value::as_str);
        let of_topic = info.pointer("/config/max_msgs_per_subject");
        Ok(FoundStream {
            state: stream_state(name, &info, false),
            kept,
            created: created.unwrap_or_default().to_owned(),
            has_last_values: of_topic.and_then(Value::as_i64) == Some(1),
        })
    }

    async fn streams_with(
        &self,
        subject: &str,
        limit: Duration,
    ) -> Result<Vec<String>, DurableError> {
        let answer = self
            .ask("STREAM.NAMES", &json!({"subject": subject}), limit)
            .await?;
        Ok(stream_names(&answer))
    }

    /// Refuses dead letters that no stream would keep: they would be lost, or their messages come for
    /// ever.
    async fn check_dead_letters(&self, topic: &[u8], limit: Duration) -> Result<(), DurableError> {
        let subject = self.client.subjects.of_topic(Form::Single, topic);
        if self.streams_with(&subject, limit).await?.is_empty() {
            let topic = String::from_utf8_lossy(topic).into_owned();
            return Err(DurableError::NoStream { topic });
        }
        Ok(())
    }

    async fn find_or_make(
        &self,
        stream: &str,
        cursor: &Cursor,
        limit: Duration,
    ) -> Result<(), DurableError> {
        let name = &cursor.name;
        let subject = format!("CONSUMER.INFO.{stream}.{name}");
        let mut existing = self.ask(&subject, &json!({}), limit).await;
        if matches!(&existing, Err(DurableError::Refused(error)) if error.error == CONSUMER_NOT_FOUND)
        {
            let create = format!("CONSUMER.CREATE.{stream}.{name}");
            match self.ask(&create, &cursor.to_json(stream), limit).await {
                Ok(_) => return Ok(()),
                // Another subscriber of the name was faster, perhaps.
                Err(error) => {
                    existing = self
                        .ask(&subject, &json!({}), limit)
                        .await
                        .map_err(|_| error);
                }
            }
        }
        let existing = existing?;
        let config = existing.get("config").cloned().unwrap_or(Value::Null);
        let differences = cursor.differences(&config);
        if differences.is_empty() {
            return Ok(());
        }
        Err(DurableError::CursorDiffers {
            stream: stream.to_owned(),
            name: name.clone(),
            differences,
        })
    }

    /// Deletes the cursor of a stream: the next subscriber of the name begins anew. Resolves to whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// Those of all calls.
    pub fn delete_cursor(
        &self,
        stream: &str,
        name: &str,
        timeout: Duration,
    ) -> Pending<Result<bool, DurableError>> {
        let (streams, stream, name) = (self.clone(), stream.to_owned(), name.to_owned());
        self.resolve(async move {
            let stream = checked_name("stream", stream)?;
            let name = checked_name("name", name)?;
            let subject = format!("CONSUMER.DELETE.{stream}.{name}");
            match streams.ask(&subject, &json!({}), timeout).await {
                Ok(_) => Ok(true),
                Err(DurableError::Refused(error)) if error.error == CONSUMER_NOT_FOUND => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// A request of `$JS.API.` and its answer.
    async fn ask(
        &self,
        subject: &str,
        body: &Value,
        limit: Duration,
    ) -> Result<Value, DurableError> {
        let answer: Answer = self
            .client
            .request(self.shared.now(), subject, body, timespan(limit))
            .await;
        answer.map_err(|error| DurableError::of_publish(error, ""))
    }

    fn resolve<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, DurableError>> + Send + 'static,
    ) -> Pending<Result<T, DurableError>> {
        let (resolver, pending) = Pending::new(|| Err(DurableError::ShutDown));
        self.shared
            .runtime
            .spawn(async move { resolver.resolve(future.await) });
        pending
    }
}

/// A stream that was looked at.
#[derive(Debug)]
struct FoundStream {
    state: StreamState,
    /// The subjects that it keeps.
    kept: Vec<String>,
    /// When it was made, as the server writes that.
    created: String,
    /// It has one message per topic.
    has_last_values: bool,
}

fn unreadable() -> DurableError {
    DurableError::TimedOut {
        cause: "the answer cannot be read".to_owned(),
    }
}

fn shown(filter: &Filter) -> String {
    let all = filter
        .entries()
        .map(|it| String::from_utf8_lossy(it.as_bytes()));
    all.collect::<Vec<_>>().join("`, `")
}

fn stream_state(name: &str, info: &Value, is_new: bool) -> StreamState {
    let number = |path: &str| info.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    StreamState {
        name: name.to_owned(),
        replicas: number("/config/num_replicas"),
        messages: number("/state/messages"),
        last_sequence: number("/state/last_seq"),
        is_new,
    }
}

/// The name of a stream or cursor, if it can be one.
fn checked_name(option: &'static str, name: String) -> Result<String, DurableError> {
    if is_name(&name) {
        return Ok(name);
    }
    Err(DurableError::Option {
        name: option,
        cause: format!(
            "expected 1 to 64 letters, digits, `_` and `-`, found `{}`",
            name.escape_debug()
        ),
    })
}

fn checked_message_id(id: String) -> Result<String, DurableError> {
    if (1..=MESSAGE_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(id);
    }
    Err(DurableError::Option {
        name: "message_id",
        cause: format!(
            "expected 1 to {MESSAGE_ID_MAX} printable characters without spaces, found `{}`",
            id.escape_debug()
        ),
    })
}
