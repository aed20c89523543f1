//! The task of a reader in order: it makes its consumer on the servers, makes it anew behind the last
//! message when anything goes wrong, and deletes it at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_proto::Filter;
use broker_proto::nats::Form;
use broker_proto::nats::jetstream::topics::followed_forms;
use broker_proto::nats::jetstream::{Follower, Load, Start};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::options::{PREFETCH_BYTES, check_prefetch};
use super::reader::StreamReader;
use super::{
    DurableError, DurableTopics, FoundStream, ReplayOptions, RetainedOptions, checked_name, shown,
};
use crate::core::jet_stream::course::{Course, Pace};
use crate::core::jet_stream::queue::{CourseEvent, ReadQueue};
use crate::core::pending::Pending;

/// How often a replay that nothing comes for asks whether there is anything left: messages may have been
/// forgotten by the stream that were to be its last ones.
const QUIET_CHECK: Duration = Duration::from_secs(5);

/// Pause before a consumer is made anew that could not be made.
const REMAKE_PAUSE: Duration = Duration::from_secs(1);

/// How long one attempt of that may take.
const REMAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the servers may take to delete a consumer; they do so by themselves a minute later.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);

impl DurableTopics {
    /// Subscribes to the last values of topics ([`retain`](super::PublishOptions::retain)): the present
    /// ones come first, oldest first, then what becomes of them, without a gap and without doubles. Messages
    /// that were published otherwise do not come.
    ///
    /// # Errors
    ///
    /// [`DurableError::NoRetainedStream`] when no stream keeps last values of these topics,
    /// [`DurableError::SeveralStreams`] when several do and none is named, and those of all calls.
    pub fn retained<T: Into<broker_proto::Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
        options: RetainedOptions,
    ) -> Pending<Result<StreamReader, DurableError>> {
        let filter: Filter = topics.into_iter().map(Into::into).collect();
        let streams = self.clone();
        self.resolve(async move { streams.open_retained(filter, options).await })
    }

    async fn open_retained(
        self,
        filter: Filter,
        options: RetainedOptions,
    ) -> Result<StreamReader, DurableError> {
        check_prefetch(options.prefetch)?;
        let limit = options.timeout;
        let forms = &Form::RETAINED;
        let (name, found) = self
            .stream_to_follow(options.stream, &filter, forms, limit)
            .await?;
        if !found.has_last_values {
            return Err(DurableError::NotRetained { stream: name });
        }
        self.check_copies(&name, found.state.replicas, options.require_durable)?;
        let course = Course::of_state(found.state.last_sequence);
        let following = Following {
            subjects: followed_forms(&self.client.subjects, &filter, &found.kept, forms),
            queue: self.ordered_queue(filter, options.prefetch, course),
            stream: name,
            created: found.created,
            start: Start::LastOfEach,
            topics: self,
        };
        following.begin(limit).await
    }

    /// What a stream has of these topics, in its order, up to what there is now or to an earlier
    /// [`until`](ReplayOptions::until); what is published meanwhile does not come. It goes as fast as the
    /// messages were stored, or [`speed`](ReplayOptions::speed) times faster.
    ///
    /// # Errors
    ///
    /// As [`subscriber`](Self::subscriber).
    pub fn replay<T: Into<broker_proto::Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
        options: ReplayOptions,
    ) -> Pending<Result<StreamReader, DurableError>> {
        let filter: Filter = topics.into_iter().map(Into::into).collect();
        let streams = self.clone();
        self.resolve(async move { streams.open_replay(filter, options).await })
    }

    async fn open_replay(
        self,
        filter: Filter,
        options: ReplayOptions,
    ) -> Result<StreamReader, DurableError> {
        options.check()?;
        let limit = options.timeout;
        let forms = &Form::ALL;
        let (name, found) = self
            .stream_to_follow(options.stream.clone(), &filter, forms, limit)
            .await?;
        let end = options.end(found.state.last_sequence);
        let course = Course::until(Some(end), options.speed.map(Pace::new));
        let following = Following {
            subjects: followed_forms(&self.client.subjects, &filter, &found.kept, forms),
            queue: self.ordered_queue(filter, options.prefetch, course),
            stream: name,
            created: found.created,
            start: options.since.resolved(),
            topics: self,
        };
        following.begin(limit).await
    }

    async fn stream_to_follow(
        &self,
        stream: Option<String>,
        filter: &Filter,
        forms: &[Form],
        limit: Duration,
    ) -> Result<(String, FoundStream), DurableError> {
        let name = match stream {
            Some(stream) => checked_name("stream", stream)?,
            None => self.find_stream(filter, forms, limit).await?,
        };
        let found = self.stream(&name, limit).await?;
        if followed_forms(&self.client.subjects, filter, &found.kept, forms).is_empty() {
            let topic = shown(filter);
            return Err(if forms == Form::RETAINED {
                DurableError::NoRetainedStream { topic }
            } else {
                DurableError::NoStream { topic }
            });
        }
        Ok((name, found))
    }

    fn ordered_queue(&self, filter: Filter, prefetch: usize, course: Course) -> Arc<ReadQueue> {
        let window = Load {
            messages: prefetch,
            bytes: PREFETCH_BYTES,
        };
        let subjects = self.client.subjects.clone();
        let id = self.shared.data.id;
        Arc::new(ReadQueue::in_order(id, subjects, filter, window, course))
    }
}

/// What the task knows.
struct Following {
    topics: DurableTopics,
    stream: String,
    /// When the stream was made.
    created: String,
    subjects: Vec<String>,
    /// Where it begins while nothing came.
    start: Start,
    queue: Arc<ReadQueue>,
}

impl Following {
    async fn begin(self, limit: Duration) -> Result<StreamReader, DurableError> {
        let reader =
            StreamReader::new(self.topics.clone(), self.stream.clone(), self.queue.clone());
        let (consumer, pending) = self.make(limit).await?;
        if pending == 0 {
            self.queue.with_course(|course| {
                course.is_finished = course.end.is_some();
                course.is_state_taken = true;
            });
        }
        self.read(&consumer)?;
        let runtime = self.topics.shared.runtime.clone();
        runtime.spawn(self.keep(consumer));
        Ok(reader)
    }

    /// Makes a consumer behind the last message that came; gives its name, and how many messages there
    /// are for it.
    async fn make(&self, limit: Duration) -> Result<(String, u64), DurableError> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reader-{}-{number}", self.topics.shared.data.id);
        let last = self.queue.with_course(|course| course.last).unwrap_or(0);
        let follower = Follower {
            name: name.clone(),
            subjects: self.subjects.clone(),
            start: match last {
                0 => self.start,
                last => Start::Sequence(last.saturating_add(1)),
            },
        };
        let subject = format!("CONSUMER.CREATE.{}.{name}", self.stream);
        let body = follower.to_json(&self.stream);
        let made = self.topics.ask(&subject, &body, limit).await?;
        let pending = made.get("num_pending").and_then(Value::as_u64);
        Ok((name, pending.unwrap_or(0)))
    }

    fn read(&self, consumer: &str) -> Result<(), DurableError> {
        let now = self.topics.shared.now();
        let queue = self.queue.clone();
        let reader = self.topics.client.read(now, &self.stream, consumer, queue);
        reader.map(|_| ()).ok_or(DurableError::ShutDown)
    }

    async fn keep(self, mut consumer: String) {
        let mut due: Option<std::time::Instant> = None;
        let mut quiet_since = None;
        loop {
            let timer = async {
                match due {
                    Some(at) => sleep_until(Instant::from_std(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.queue.next_event(due) => match event {
                    CourseEvent::Over => break,
                    CourseEvent::Due(at) => due = at,
                    CourseEvent::Broken(cause) => {
                        tracing::debug!(event = "nats-reader-broken", stream = self.stream, cause);
                        self.stop();
                        match self.remake().await {
                            Ok(name) => consumer = name,
                            Err(error) => {
                                let cause = match error {
                                    DurableError::CutShort { cause, .. } => cause,
                                    error => error.to_string(),
                                };
                                self.queue.close(Some(cause));
                                break;
                            }
                        }
                    }
                },
                () = timer => {
                    due = None;
                    self.queue.release();
                }
                () = sleep(QUIET_CHECK), if self.queue.has_end() => {
                    self.check_quiet(&consumer, &mut quiet_since).await;
                }
            }
        }
        self.stop();
        // Whatever comes of it: the servers delete what is not read.
        let subject = format!("CONSUMER.DELETE.{}.{consumer}", self.stream);
        let _ = self.topics.ask(&subject, &json!({}), DELETE_TIMEOUT).await;
    }

    fn stop(&self) {
        if let Some(reader) = self.queue.reader() {
            self.topics.client.stop_reader(reader);
        }
    }

    /// Makes the consumer anew, as often as it takes.
    async fn remake(&self) -> Result<String, DurableError> {
        loop {
            if self.queue.is_closed() {
                return Err(DurableError::Closed);
            }
            match self.try_remake().await {
                Err(DurableError::TimedOut { cause }) => {
                    tracing::debug!(
                        event = "nats-reader-not-remade",
                        stream = self.stream,
                        cause
                    );
                    sleep(REMAKE_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn try_remake(&self) -> Result<String, DurableError> {
        let found = self.topics.stream(&self.stream, REMAKE_TIMEOUT).await?;
        if found.created != self.created {
            // Its numbers begin anew, and what was lost with it is not known.
            return Err(DurableError::CutShort {
                name: self.stream.clone(),
                cause: "it was deleted and made anew".to_owned(),
            });
        }
        let (name, _) = self.make(REMAKE_TIMEOUT).await?;
        self.queue.with_course(|course| course.broken = None);
        self.read(&name)?;
        Ok(name)
    }

    /// Asks whether there is anything left where nothing came since the last time.
    async fn check_quiet(&self, consumer: &str, since: &mut Option<(u64, u64)>) {
        let at = self.queue.with_course(|it| (it.last, it.came));
        let was = std::mem::replace(since, at);
        if at != was || !self.queue.is_empty() {
            return;
        }
        let subject = format!("CONSUMER.INFO.{}.{consumer}", self.stream);
        let Ok(info) = self.topics.ask(&subject, &json!({}), REMAKE_TIMEOUT).await else {
            // The reader finds out, and is made anew.
            return;
        };
        let number = |path: &str| info.pointer(path).and_then(Value::as_u64);
        let is_through = number("/num_pending") == Some(0);
        let delivered = number("/delivered/consumer_seq");
        self.queue.with_course(|course| {
            let came = Some(course.came);
            if is_through && delivered == came && at == Some((course.last, course.came)) {
                course.is_finished = true;
            } else if is_through && delivered > came && course.broken.is_none() {
                course.broken = Some("messages were lost on their way".to_owned());
            }
        });
    }
}
