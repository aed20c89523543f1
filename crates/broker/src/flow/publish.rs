//! Publishing: a value into a frame, and the frame to its targets, on the caller's thread.

use std::cell::Cell;
use std::sync::Arc;

use broker_data::{Encoder, Source};
use broker_proto::frame::{Tag, patch_receiver, write_envelope};
#[cfg(feature = "nats")]
use broker_proto::mark::Mark;
use broker_proto::{EndpointId, Origin};
use bytes::Bytes;

use crate::error::Error;
use crate::flow::blocked::BlockedPublish;
use crate::flow::data_plane::DataPlane;
#[cfg(feature = "nats")]
use crate::flow::foreign::Transport;
#[cfg(feature = "nats")]
use crate::flow::inject::inject_run;
use crate::flow::inject::{push_to, push_unmarked};
use crate::flow::mailbox::run::PUBLISHED_TRANSLATION_MIN;
use crate::flow::mailbox::{Run, SHARED_RUN_MIN};
#[cfg(feature = "nats")]
use crate::flow::routing::has_several_peers;
use crate::flow::routing::{Entry, SharedMemo, TableStamp, TargetList, Targets, audience};
#[cfg(feature = "nats")]
use crate::flow::target::TargetKind;

thread_local! {
    /// Boxed, so that taking it is taking a pointer.
    static THREAD_CACHE: Cell<Option<Box<ThreadCache>>> = const { Cell::new(None) };
}

/// What a thread keeps from one message to the next: a small message needs no allocation, and one
/// with the same audience as the previous one neither a lock nor a reference count to find it.
#[derive(Default)]
struct ThreadCache {
    frame: Vec<u8>,
    last: Option<Addressed>,
}

/// Who gets a topic, as one routing table has it.
struct Addressed {
    table: TableStamp,
    origin: Origin,
    entry: Entry,
}

/// Drops what this thread remembers of the last audience: a mailbox lives as long as somebody does.
pub(crate) fn forget_audience() {
    // A thread that ends may have dropped its cache before its endpoints.
    let _ = THREAD_CACHE.try_with(|place| {
        if let Some(mut cache) = place.take() {
            cache.last = None;
            place.set(Some(cache));
        }
    });
}

/// Writes a value for [`offer`].
pub(crate) fn encoding<S: Source + ?Sized>(
    value: &S,
) -> impl FnOnce(&mut Vec<u8>) -> Result<(), Error> + '_ {
    |out| Ok(value.encode(&mut Encoder::new(out))?)
}

/// Encodes a message and hands it to everybody who has room; what remains is returned. Never waits.
pub(crate) fn offer<E: From<Error>>(
    data: &Arc<DataPlane>,
    memo: &SharedMemo,
    receiver: Option<EndpointId>,
    topic: &[u8],
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Option<BlockedPublish>, E> {
    if data.is_shut_down() {
        return Err(Error::ShutDown.into());
    }
    // Taken, not borrowed: `write` may be code of the application, and may publish itself.
    let mut cache = THREAD_CACHE.take().unwrap_or_default();
    cache.frame.clear();
    let outcome = offer_from(data, memo, receiver, topic, write, &mut cache);
    THREAD_CACHE.set(Some(cache));
    outcome
}

/// Either kind of failure while a frame is written.
enum WriteFailure<E> {
    Envelope(Error),
    Value(E),
}

impl<E> From<broker_proto::EnvelopeError> for WriteFailure<E> {
    fn from(error: broker_proto::EnvelopeError) -> Self {
        Self::Envelope(error.into())
    }
}

fn offer_from<E: From<Error>>(
    data: &Arc<DataPlane>,
    memo: &SharedMemo,
    receiver: Option<EndpointId>,
    topic: &[u8],
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ThreadCache { frame, last }: &mut ThreadCache,
) -> Result<Option<BlockedPublish>, E> {
    let to = receiver.unwrap_or(EndpointId::NIL);
    write_envelope(frame, data.id, to, Tag::Data, topic, |out| {
        write(out).map_err(WriteFailure::Value)
    })
    .map_err(|failure| match failure {
        WriteFailure::Envelope(error) => E::from(error),
        WriteFailure::Value(error) => error,
    })?;
    let direct: TargetList;
    let (targets, is_repeated) = match receiver {
        None => {
            let (entry, is_repeated) = audience_of(last, data, memo, topic);
            entry.counter.count_published(frame.len());
            (&*entry.targets, is_repeated)
        }
        Some(receiver) => {
            let table = data.routes.load();
            let counter = data.routes.topic_counts.find(topic);
            counter.count_published(frame.len());
            direct = Targets::new(audience(&table, memo.origin(), receiver, topic, true));
            (&*direct, false)
        }
    };
    if targets.is_empty() {
        return Ok(None);
    }
    if targets.is_marked() {
        patch_receiver(frame, data.marking.next().to_receiver());
    }
    let mut shared = Bytes::new();
    let run = Run::of_buffer(frame, &mut shared);
    let joint = targets
        .joint()
        .filter(|_| is_repeated && run.len() < SHARED_RUN_MIN);
    let mut unsent = match joint.and_then(|joint| joint.push(run.as_slice(), targets)) {
        None => {
            let run = run.alone_if(targets.len() == 1);
            push_to(data, run, targets.iter(), PUBLISHED_TRANSLATION_MIN)
        }
        Some(mut handed) => {
            handed.wake();
            let apart = handed.apart.iter().copied();
            push_to(data, run, apart, PUBLISHED_TRANSLATION_MIN)
        }
    };
    push_unmarked(data, run, targets, &mut unsent);
    Ok(BlockedPublish::unless_empty(data, unsent))
}

/// Hands a message of this endpoint that peers of one transport get another way to all others that want
/// it, with the mark that it has there. Never waits; what has no room is returned.
#[cfg(feature = "nats")]
pub(crate) fn offer_beside(
    data: &Arc<DataPlane>,
    transport: Transport,
    mark: Mark,
    topic: &[u8],
    payload: &[u8],
) -> Result<Option<BlockedPublish>, Error> {
    let mut frame = Vec::new();
    write_envelope(
        &mut frame,
        data.id,
        EndpointId::NIL,
        Tag::Data,
        topic,
        |out| {
            out.extend_from_slice(payload);
            Ok::<(), broker_proto::EnvelopeError>(())
        },
    )?;
    let targets = {
        let table = data.routes.load();
        let mut list = audience(&table, Origin::Endpoint, EndpointId::NIL, topic, true);
        list.retain(|target| match target.kind {
            TargetKind::Foreign(foreign) => foreign.transport != transport,
            _ => true,
        });
        Targets::of_all(list, has_several_peers(&table))
    };
    let mut shared = Bytes::new();
    let run = Run::of_buffer(&mut frame, &mut shared);
    Ok(inject_run(data, run, Some(mark), &targets, |_| true))
}

/// Who gets a topic, as the thread remembers it or as the memo says, and whether the message before
/// went to the same.
fn audience_of<'a>(
    last: &'a mut Option<Addressed>,
    data: &DataPlane,
    memo: &SharedMemo,
    topic: &[u8],
) -> (&'a Entry, bool) {
    let (table, origin) = (data.routes.stamp(), memo.origin());
    let mut is_repeated = last.as_ref().is_some_and(|last| {
        last.table == table && last.origin == origin && last.entry.topic.as_bytes() == topic
    });
    let before = if is_repeated { None } else { last.take() };
    let look_up = || {
        let entry = memo.entry(&data.routes, topic);
        let targets = &entry.targets;
        is_repeated = before.is_some_and(|before| Arc::ptr_eq(&before.entry.targets, targets));
        Addressed {
            table,
            origin,
            entry,
        }
    };
    let entry = &last.get_or_insert_with(look_up).entry;
    (entry, is_repeated)
}
