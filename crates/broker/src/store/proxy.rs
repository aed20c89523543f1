//! Requests to a store whose responses are collected later, by number. Spec: stores 7.7.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use broker_data::{Source, Timespan, Value};
use broker_proto::entity::EntityId;
use tokio::sync::{Notify, Semaphore};

use crate::lock::{Lock, Locked};
use crate::store::read::{found, value_of};
use crate::store::{STORE_REQUEST_TIMEOUT, Store, StoreError, encoded};

/// Requests of one proxy that may be under way; more wait for their turn.
const REQUESTS_MAX: usize = 1024;

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
    responses: Lock<VecDeque<Response>>,
    filled: Condvar,
    filled_async: Notify,
}

impl Inbox {
    fn lock(&self) -> Locked<'_, VecDeque<Response>> {
        self.responses.lock()
    }

    fn push(&self, response: Response) {
        self.lock().push_back(response);
        self.filled.notify_one();
        self.filled_async.notify_one();
    }
}

impl StoreProxy {
    pub(super) fn new(store: Store) -> Self {
        let who = store.shared().stores.new_entity(store.shared().id);
        Self {
            store,
            who,
            next: AtomicU64::new(0),
            inbox: Arc::default(),
            permits: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// The id under which it asks.
    pub fn id(&self) -> EntityId {
        self.who
    }

    fn read(
        &self,
        read: impl FnOnce(&Store) -> Result<StoreReply, StoreError> + Send + 'static,
    ) -> u64 {
        let request = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let store = self.store.clone();
        let inbox = self.inbox.clone();
        let ticket = store.ticket();
        if store.is_readable(ticket) {
            let result = read(&store);
            inbox.push(Response { request, result });
            return request;
        }
        let permits = self.permits.clone();
        self.store.shared().runtime.spawn(async move {
            let _permit = permits.acquire().await;
            store.readable().await;
            let result = read(&store);
            inbox.push(Response { request, result });
        });
        request
    }

    /// Asks for the value of a key.
    ///
    /// # Errors
    ///
    /// Fails when the key cannot be encoded.
    pub fn get<K: Source + ?Sized>(&self, key: &K) -> Result<u64, StoreError> {
        let key = encoded(key)?;
        Ok(self.read(move |store| {
            let value = found(store.get_now(&key))?;
            Ok(StoreReply::Value(value.map(|bytes| value_of(&bytes))))
        }))
    }

    /// Asks whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn exists<K: Source + ?Sized>(&self, key: &K) -> Result<u64, StoreError> {
        let key = encoded(key)?;
        Ok(self.read(move |store| Ok(StoreReply::Boolean(store.exists_now(&key)?))))
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
        Ok(self.read(move |store| {
            let value = found(store.get_index_now(&key, &index))?;
            Ok(StoreReply::Value(value.map(|bytes| value_of(&bytes))))
        }))
    }

    /// Asks for all keys.
    pub fn keys(&self) -> u64 {
        self.read(|store| {
            let keys = store.keys_now()?;
            let keys = keys.iter().map(|key| value_of(key)).collect();
            Ok(StoreReply::Keys(keys))
        })
    }

    /// Sets a key that is absent and asks whether it was.
    ///
    /// # Errors
    ///
    /// As [`Store::put_unique`].
    pub fn put_unique<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        value: &V,
        expiry: Option<Timespan>,
    ) -> Result<u64, StoreError> {
        let (key, value) = (encoded(key)?, encoded(value)?);
        let request = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let pending = self
            .store
            .put_unique_encoded(self.who, request, &key, &value, expiry)?;
        let inbox = self.inbox.clone();
        self.store.shared().runtime.spawn(async move {
            let answer = tokio::time::timeout(STORE_REQUEST_TIMEOUT, pending.answered()).await;
            let answer = answer.unwrap_or(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT)));
            let result = answer.map(StoreReply::Boolean);
            inbox.push(Response { request, result });
        });
        Ok(request)
    }

    /// Takes the next response if there is one.
    pub fn try_recv(&self) -> Option<Response> {
        self.inbox.lock().pop_front()
    }

    /// Takes the next response, blocking for at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Response> {
        let deadline = Instant::now() + timeout;
        let mut responses = self.inbox.lock();
        loop {
            if let Some(response) = responses.pop_front() {
                return Some(response);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            responses = responses.wait_timeout(&self.inbox.filled, left);
        }
    }

    /// Takes the next response, waiting as a future.
    pub async fn recv_async(&self) -> Response {
        loop {
            let filled = self.inbox.filled_async.notified();
            if let Some(response) = self.try_recv() {
                return response;
            }
            filled.await;
        }
    }
}
