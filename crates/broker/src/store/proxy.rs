//! Requests to a store whose responses are collected later, by number. Spec: stores 7.7.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_data::{Source, Timespan, Value};
use broker_proto::store::entity::EntityId;
use tokio::sync::Semaphore;

use crate::config::MAILBOX_BYTES_MAX;
use crate::lock::{Lock, Locked};
use crate::signal::Signal;
use crate::store::read::{found, value_of};
use crate::store::{STORE_REQUEST_TIMEOUT, Store, StoreError, encoded};

/// Requests of one proxy that read, or wait to be able to, at the same time; more wait for their
/// turn.
const READS_MAX: usize = 1024;

/// Requests of one proxy whose responses have not been taken. Further ones are refused with
/// [`StoreError::ProxyFull`]: a program that asks that far ahead has stopped to take.
pub const PROXY_REQUESTS_MAX: usize = 65_536;

/// Encoded bytes of keys and values of requests and responses that one proxy keeps: as much as a
/// mailbox holds. Further requests are refused, and a response beyond it is that error.
pub const PROXY_BYTES_MAX: usize = MAILBOX_BYTES_MAX;

/// Asks a store without waiting. Each request gets a number, each response carries it.
///
/// Responses to reads come in the order of the requests; those to `put_unique` come when the master
/// has answered. Every request is answered, with [`StoreError::Timeout`] if need be.
#[derive(Debug)]
pub struct StoreProxy {
    store: Store,
    who: EntityId,
    next: AtomicU64,
    inbox: Arc<Inbox>,
    permits: Arc<Semaphore>,
}

/// A response and the number of its request.
#[derive(Debug, Clone)]
pub struct Response {
    /// As returned by the request.
    pub request: u64,
    /// What was asked for.
    pub result: Result<StoreReply, StoreError>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreReply {
    /// Of `get` and `get_index`; `None` when it is absent.
    Value(Option<Value>),
    /// Of `exists` and `put_unique`.
    Boolean(bool),
    /// Of `keys`.
    Keys(Vec<Value>),
}

#[derive(Debug, Default)]
struct Inbox {
    responses: Lock<Responses>,
    filled: Signal,
}

/// Responses that wait to be taken, and what counts towards the limits.
#[derive(Debug, Default)]
struct Responses {
    /// Bound: `PROXY_REQUESTS_MAX` and `PROXY_BYTES_MAX`.
    ready: VecDeque<(Response, usize)>,
    /// Requests whose responses have not been taken.
    open: usize,
    /// Encoded bytes of what they ask, or of what they have got.
    bytes: usize,
}

impl Responses {
    /// Counts a request in.
    fn begin(&mut self, bytes: usize) -> Result<(), StoreError> {
        if self.open >= PROXY_REQUESTS_MAX || self.bytes.saturating_add(bytes) > PROXY_BYTES_MAX {
            return Err(StoreError::ProxyFull);
        }
        self.open += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Counts a request out that will have no response.
    const fn give_up(&mut self, bytes: usize) {
        self.open -= 1;
        self.bytes -= bytes;
    }

    /// The response to a request that was counted in with so many bytes.
    fn push(&mut self, asked: usize, mut response: Response, bytes: usize) {
        self.bytes -= asked;
        let fits = self.bytes.saturating_add(bytes) <= PROXY_BYTES_MAX;
        let bytes = if fits { bytes } else { 0 };
        if !fits {
            response.result = Err(StoreError::ProxyFull);
        }
        self.bytes += bytes;
        self.ready.push_back((response, bytes));
    }

    fn take(&mut self) -> Option<Response> {
        let (response, bytes) = self.ready.pop_front()?;
        self.give_up(bytes);
        Some(response)
    }
}

impl Inbox {
    fn lock(&self) -> Locked<'_, Responses> {
        self.responses.lock()
    }

    fn push(&self, asked: usize, request: u64, result: Result<Weighed, StoreError>) {
        let (result, bytes) = match result {
            Ok((reply, bytes)) => (Ok(reply), bytes),
            Err(error) => (Err(error), 0),
        };
        self.lock().push(asked, Response { request, result }, bytes);
        self.filled.notify();
    }
}

/// A reply and the encoded bytes it was made of.
type Weighed = (StoreReply, usize);

impl StoreProxy {
    pub(super) fn new(store: Store) -> Self {
        let who = store.node().stores.new_entity(store.node().shared.data.id);
        Self {
            store,
            who,
            next: AtomicU64::new(0),
            inbox: Arc::default(),
            permits: Arc::new(Semaphore::new(READS_MAX)),
        }
    }

    /// The id under which it asks.
    pub fn id(&self) -> EntityId {
        self.who
    }

    fn read(
        &self,
        asked: usize,
        read: impl FnOnce(&Store) -> Result<Weighed, StoreError> + Send + 'static,
    ) -> Result<u64, StoreError> {
        self.inbox.lock().begin(asked)?;
        let request = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let store = self.store.clone();
        let inbox = self.inbox.clone();
        let ticket = store.ticket();
        if store.is_readable(ticket) {
            let result = read(&store);
            inbox.push(asked, request, result);
            return Ok(request);
        }
        let permits = self.permits.clone();
        self.store.node().shared.runtime.spawn(async move {
            let _permit = permits.acquire().await;
            store.readable().await;
            let result = read(&store);
            inbox.push(asked, request, result);
        });
        Ok(request)
    }

    /// Asks for the value of a key.
    ///
    /// # Errors
    ///
    /// Fails when the key cannot be encoded, and with [`StoreError::ProxyFull`] when more than
    /// [`PROXY_REQUESTS_MAX`] responses or [`PROXY_BYTES_MAX`] bytes wait to be taken.
    pub fn get<K: Source + ?Sized>(&self, key: &K) -> Result<u64, StoreError> {
        let key = encoded(key)?;
        self.read(key.len(), move |store| {
            Ok(value_reply(found(store.get_encoded(&key))?))
        })
    }

    /// Asks whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn exists<K: Source + ?Sized>(&self, key: &K) -> Result<u64, StoreError> {
        let key = encoded(key)?;
        self.read(key.len(), move |store| {
            Ok((StoreReply::Boolean(store.exists_encoded(&key)?), 0))
        })
    }

    /// Asks for what is at an index of a key's value; see [`Store::get_index`].
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_index<K: Source + ?Sized, I: Source + ?Sized>(
        &self,
        key: &K,
        index: &I,
    ) -> Result<u64, StoreError> {
        let (key, index) = (encoded(key)?, encoded(index)?);
        self.read(key.len() + index.len(), move |store| {
            Ok(value_reply(found(store.get_index_encoded(&key, &index))?))
        })
    }

    /// Asks for all keys.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keys(&self) -> Result<u64, StoreError> {
        self.read(0, |store| {
            let keys = store.keys_encoded()?;
            let bytes = keys.iter().map(Vec::len).sum();
            let keys = keys.iter().map(|key| value_of(key)).collect();
            Ok((StoreReply::Keys(keys), bytes))
        })
    }

    /// Sets a key that is absent and asks whether it was.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`Store::put_unique`].
    pub fn put_unique<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        value: &V,
        expiry: Option<Timespan>,
    ) -> Result<u64, StoreError> {
        let (key, value) = (encoded(key)?, encoded(value)?);
        let asked = key.len() + value.len();
        self.inbox.lock().begin(asked)?;
        let request = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let made = self
            .store
            .put_unique_encoded(self.who, request, &key, &value, expiry);
        let pending = made.inspect_err(|_| self.inbox.lock().give_up(asked))?;
        let inbox = self.inbox.clone();
        self.store.node().shared.runtime.spawn(async move {
            let answer = tokio::time::timeout(STORE_REQUEST_TIMEOUT, pending.answered()).await;
            let answer = answer.unwrap_or(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT)));
            let result = answer.map(|answer| (StoreReply::Boolean(answer), 0));
            inbox.push(asked, request, result);
        });
        Ok(request)
    }

    /// Takes the next response if there is one.
    pub fn try_recv(&self) -> Option<Response> {
        self.inbox.lock().take()
    }

    /// Takes the next response, blocking for at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Response> {
        let inbox = &self.inbox;
        inbox
            .filled
            .wait(inbox.lock(), timeout, |responses| responses.take())
    }

    /// Takes the next response, waiting as a future.
    pub async fn recv_async(&self) -> Response {
        self.inbox.filled.until(|| self.try_recv()).await
    }
}

fn value_reply(value: Option<Vec<u8>>) -> Weighed {
    let bytes = value.as_ref().map_or(0, Vec::len);
    (
        StoreReply::Value(value.map(|bytes| value_of(&bytes))),
        bytes,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(request: u64) -> Response {
        let result = Ok(StoreReply::Boolean(true));
        Response { request, result }
    }

    #[test]
    fn requests_beyond_the_limit_are_refused_until_responses_are_taken() {
        let mut responses = Responses::default();
        for request in 0..PROXY_REQUESTS_MAX as u64 {
            responses.begin(1).unwrap();
            responses.push(1, response(request), 0);
        }
        let refused = responses.begin(1);
        assert!(matches!(refused, Err(StoreError::ProxyFull)));
        assert_eq!(responses.take().unwrap().request, 0);
        responses.begin(1).unwrap();
        responses.give_up(1);
        while responses.take().is_some() {}
        assert_eq!((responses.open, responses.bytes), (0, 0));
    }

    #[test]
    fn bytes_beyond_the_limit_are_refused_as_requests_and_as_responses() {
        let mut responses = Responses::default();
        let most = PROXY_BYTES_MAX - 10;
        responses.begin(0).unwrap();
        responses.begin(10).unwrap();
        responses.push(0, response(1), most);
        assert!(matches!(responses.begin(1), Err(StoreError::ProxyFull)));
        responses.push(10, response(2), 11);
        assert!(responses.take().unwrap().result.is_ok());
        let refused = responses.take().unwrap().result;
        assert!(matches!(refused, Err(StoreError::ProxyFull)));
        assert_eq!((responses.open, responses.bytes), (0, 0));
    }
}
