//! Requests that change a store. Spec: stores 7.1.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_data::{Encoder, Kind, Source, Timespan, View};
use broker_proto::Fault;
use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;
use broker_proto::store::operation;

use crate::core::pending::Pending;
use crate::flow::blocked::BlockedPublish;
use crate::signal::within;
use crate::store::host::Host;
#[cfg(feature = "nats")]
use crate::store::replicated::PendingChange;
use crate::store::{STORE_REQUEST_TIMEOUT, Store, StoreError, encoded};

/// More bytes than a request has beside its key and value: three ids, a number, a time, tags.
const REQUEST_OVERHEAD: usize = 256;

/// A request that some peers or subscribers had no room for, or that was not made for lack of room.
#[derive(Debug)]
#[must_use = "the request is not done yet"]
pub enum BlockedRequest {
    /// It is made; the rest of its messages wait for room.
    Publish(Vec<BlockedPublish>),
    /// It is made; the answer comes when a stream has it.
    #[cfg(feature = "nats")]
    Stored(PendingChange),
    /// It is not made.
    Full,
}

impl Store {
    /// Sets a key.
    ///
    /// # Errors
    ///
    /// Fails when the request is not made: key or value cannot be encoded, the clone has no master
    /// or no room, the store is closed.
    pub fn put<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        value: &V,
    ) -> Result<(), StoreError> {
        self.put_for(key, value, None)
    }

    /// As [`put`](Self::put), for a time: counted from when the master applies it. Spec: stores 7.5.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn put_for<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        value: &V,
        expiry: Option<Timespan>,
    ) -> Result<(), StoreError> {
        let (key, value) = (encoded(key)?, encoded(value)?);
        self.request(Change::Put { expiry }, &key, &value)
    }

    /// Sets a key that is absent; resolves to whether it was.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put). The answer is an error when the request was refused, or when whether
    /// it was applied will never be known.
    pub fn put_unique<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        value: &V,
        expiry: Option<Timespan>,
    ) -> Result<PutUnique, StoreError> {
        let (key, value) = (encoded(key)?, encoded(value)?);
        self.put_unique_encoded(self.who, self.host.new_request(), &key, &value, expiry)
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn erase<K: Source + ?Sized>(&self, key: &K) -> Result<(), StoreError> {
        self.request(Change::Erase, &encoded(key)?, &[])
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn clear(&self) -> Result<(), StoreError> {
        self.request(Change::Clear, &[], &[])
    }

    /// Adds to a number, or moves a time. An absent key starts from zero; by a time span, from 1970.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn increment<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        amount: &V,
    ) -> Result<(), StoreError> {
        let amount = encoded(amount)?;
        let init = operation::initial_of_increment(View::trusted(&amount).kind());
        self.request(Change::add(init, None), &encoded(key)?, &amount)
    }

    /// Takes away from a number, or moves a time back.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn decrement<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        amount: &V,
    ) -> Result<(), StoreError> {
        self.request(Change::subtract(None), &encoded(key)?, &encoded(amount)?)
    }

    /// Appends to a string; an absent key starts empty.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn append<K: Source + ?Sized>(
        &self,
        key: &K,
        text: impl AsRef<[u8]>,
    ) -> Result<(), StoreError> {
        let mut text_bytes = Vec::new();
        Encoder::new(&mut text_bytes).string(text.as_ref())?;
        self.request(Change::add(Kind::String, None), &encoded(key)?, &text_bytes)
    }

    /// Inserts into a set; an absent key starts empty.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn insert_into<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        element: &V,
    ) -> Result<(), StoreError> {
        self.request(
            Change::add(Kind::Set, None),
            &encoded(key)?,
            &encoded(element)?,
        )
    }

    /// Sets an index of a table; an absent key starts empty.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn insert_into_table<K, I, V>(
        &self,
        key: &K,
        index: &I,
        value: &V,
    ) -> Result<(), StoreError>
    where
        K: Source + ?Sized,
        I: Source + ?Sized,
        V: Source + ?Sized,
    {
        let pair = encoded(&(index, value))?;
        self.request(Change::add(Kind::Table, None), &encoded(key)?, &pair)
    }

    /// Removes an element of a set or an index of a table.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn remove_from<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        index: &V,
    ) -> Result<(), StoreError> {
        self.request(Change::subtract(None), &encoded(key)?, &encoded(index)?)
    }

    /// Appends to a vector; an absent key starts empty.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn push<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        value: &V,
    ) -> Result<(), StoreError> {
        self.request(
            Change::add(Kind::Vector, None),
            &encoded(key)?,
            &encoded(value)?,
        )
    }

    /// Removes the last element of a vector.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn pop<K: Source + ?Sized>(&self, key: &K) -> Result<(), StoreError> {
        let key = encoded(key)?;
        self.request(Change::subtract(None), &key, &key)
    }

    fn request(&self, change: Change, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let deadline = Instant::now() + STORE_REQUEST_TIMEOUT;
        loop {
            match self.offer(change, key, value)? {
                None => return Ok(()),
                Some(BlockedRequest::Publish(blocked)) => {
                    blocked.into_iter().for_each(BlockedPublish::wait);
                    return Ok(());
                }
                #[cfg(feature = "nats")]
                Some(BlockedRequest::Stored(change)) => return change.wait(),
                Some(BlockedRequest::Full) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if !self.wait_room(key.len() + value.len(), left) {
                        return Err(StoreError::Full);
                    }
                }
            }
        }
    }

    /// Makes a request without waiting. What is returned has to be waited for; when it is
    /// [`BlockedRequest::Full`], nothing has happened.
    ///
    /// `key` and `value` are encoded; what they mean depends on the change.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn offer(
        &self,
        change: Change,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<BlockedRequest>, StoreError> {
        let publisher = self.id();
        let content = change.content(key, value, publisher);
        #[cfg(feature = "nats")]
        if self.is_replicated() {
            let command = own_command(publisher, content);
            let (pending, blocked) = self.host.request_stored(&self.node, &command)?;
            let change = PendingChange { pending, blocked };
            return Ok(Some(BlockedRequest::Stored(change)));
        }
        match self
            .host
            .request(&self.node, &own_command(publisher, content))
        {
            Ok(blocked) if blocked.is_empty() => Ok(None),
            Ok(blocked) => Ok(Some(BlockedRequest::Publish(blocked))),
            Err(StoreError::Full) => Ok(Some(BlockedRequest::Full)),
            Err(error) => Err(error),
        }
    }

    /// As [`offer`](Self::offer), waiting as a future.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn request_async(
        &self,
        change: Change,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        loop {
            match self.offer(change, key, value)? {
                None => return Ok(()),
                Some(BlockedRequest::Publish(blocked)) => {
                    for blocked in blocked {
                        blocked.finished().await;
                    }
                    return Ok(());
                }
                #[cfg(feature = "nats")]
                Some(BlockedRequest::Stored(change)) => {
                    let stored = change.stored();
                    let within = within(&self.node.shared.runtime, STORE_REQUEST_TIMEOUT, stored);
                    return within
                        .await
                        .unwrap_or(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT)));
                }
                Some(BlockedRequest::Full) => {
                    let room = self.host.room(key.len() + value.len() + REQUEST_OVERHEAD);
                    within(&self.node.shared.runtime, STORE_REQUEST_TIMEOUT, room)
                        .await
                        .map_err(|_| StoreError::Full)?;
                }
            }
        }
    }

    /// As [`put_for`](Self::put_for), waiting as a future.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn put_async<K: Source + ?Sized, V: Source + ?Sized>(
        &self,
        key: &K,
        value: &V,
        expiry: Option<Timespan>,
    ) -> Result<(), StoreError> {
        let (key, value) = (encoded(key)?, encoded(value)?);
        self.request_async(Change::Put { expiry }, &key, &value)
            .await
    }

    /// Blocks until a request whose key and value have so many bytes may have room, or the time is
    /// over.
    pub fn wait_room(&self, bytes: usize, timeout: Duration) -> bool {
        self.host.wait_room(bytes + REQUEST_OVERHEAD, timeout)
    }

    /// Makes an error event of why a request failed, for callers that have no other way to tell.
    /// Nothing is told of a closed store: nobody listens any more.
    pub fn report(&self, error: &StoreError) {
        if matches!(error, StoreError::Closed) {
            return;
        }
        let text = format!("store `{}`: {error}", self.name());
        self.node
            .shared
            .data
            .report(Fault::new(error.code(), None, text));
    }

    pub(super) fn put_unique_encoded(
        &self,
        who: EntityId,
        request: u64,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timespan>,
    ) -> Result<PutUnique, StoreError> {
        let publisher = self.id();
        let content = Content::PutUnique {
            key,
            value,
            expiry,
            who,
            request,
            publisher,
        };
        let command = own_command(publisher, content);
        let (pending, blocked) = self
            .host
            .request_answer(&self.node, who, request, &command)?;
        Ok(PutUnique {
            host: self.host.clone(),
            who,
            request,
            pending: Some(pending),
            blocked,
        })
    }

    /// As [`put_unique`](Self::put_unique), with an encoded key and value.
    ///
    /// # Errors
    ///
    /// As [`put_unique`](Self::put_unique).
    pub fn offer_unique(
        &self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timespan>,
    ) -> Result<PutUnique, StoreError> {
        self.put_unique_encoded(self.who, self.host.new_request(), key, value, expiry)
    }
}

/// A request that changes a store, without its key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Set a key.
    Put {
        /// For how long.
        expiry: Option<Timespan>,
    },
    /// Remove a key.
    Erase,
    /// Remove everything.
    Clear,
    /// Add the value to what is stored.
    Add {
        /// What an absent key starts as.
        init: Kind,
        /// For how long.
        expiry: Option<Timespan>,
    },
    /// Take the value away from what is stored.
    Subtract {
        /// For how long.
        expiry: Option<Timespan>,
    },
}

impl Change {
    const fn add(init: Kind, expiry: Option<Timespan>) -> Self {
        Self::Add { init, expiry }
    }

    const fn subtract(expiry: Option<Timespan>) -> Self {
        Self::Subtract { expiry }
    }

    fn content<'a>(self, key: &'a [u8], value: &'a [u8], publisher: EntityId) -> Content<'a> {
        match self {
            Self::Put { expiry } => Content::Put {
                key,
                value,
                expiry,
                publisher,
            },
            Self::Erase => Content::Erase { key, publisher },
            Self::Clear => Content::Clear { publisher },
            Self::Add { init, expiry } => Content::Add {
                key,
                value,
                init,
                expiry,
                publisher,
            },
            Self::Subtract { expiry } => Content::Subtract {
                key,
                value,
                expiry,
                publisher,
            },
        }
    }
}

/// The pending answer to a `put_unique`.
///
/// Await [`answered`](Self::answered), or call [`wait`](Self::wait) from a thread. Dropping it
/// abandons the answer, not the request.
#[derive(Debug)]
#[must_use = "whether the key was absent is in the answer"]
pub struct PutUnique {
    host: Arc<Host>,
    who: EntityId,
    request: u64,
    pending: Option<Pending<Result<bool, StoreError>>>,
    blocked: Vec<BlockedPublish>,
}

impl PutUnique {
    /// Blocks until the answer is there, for at most [`STORE_REQUEST_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Timeout`], or why the request failed.
    pub fn wait(mut self) -> Result<bool, StoreError> {
        let answer = self.wait_timeout(STORE_REQUEST_TIMEOUT);
        answer.unwrap_or(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT)))
    }

    /// Blocks for at most `timeout`; `None` says that the answer is still pending.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<bool, StoreError>> {
        self.blocked
            .retain_mut(|blocked| !blocked.wait_timeout(timeout));
        if !self.blocked.is_empty() {
            return None;
        }
        self.pending.as_mut()?.wait_timeout(timeout)
    }

    /// Resolves to the answer, without a limit of time.
    ///
    /// # Errors
    ///
    /// Why the request failed.
    pub async fn answered(mut self) -> Result<bool, StoreError> {
        for blocked in std::mem::take(&mut self.blocked) {
            blocked.finished().await;
        }
        match self.pending.take() {
            Some(pending) => pending.await,
            None => Err(StoreError::Closed),
        }
    }
}

impl Drop for PutUnique {
    fn drop(&mut self) {
        self.host.forget_answer(self.who, self.request);
    }
}

fn own_command(sender: EntityId, content: Content<'_>) -> Command<'_> {
    Command {
        seq: 0,
        sender,
        receiver: EntityId::NIL,
        content,
    }
}
