//! Data stores: key-value stores with one master and any number of clones.
//!
//! Spec: stores, endpoint 6. The protocol is in [`broker_proto::store`]; here it gets sockets, time,
//! threads and storage.

mod delivery;
mod error;
mod event;
mod host;
mod proxy;
mod registry;
mod worker;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use broker_data::{Encoder, Kind, Source, Timespan, Value, View, decode};
use broker_proto::command::{Command, Content};
use broker_proto::entity::EntityId;
use broker_proto::store::{
    Backend as Storage, CloneOptions, Contact, Failure, Master, Memory, Role, StoreClone,
    StoreConfig, operation,
};
use broker_proto::topic::TOPIC_MAX;
use broker_proto::{EndpointId, ErrorCode};

use crate::blocked::BlockedPublish;
use crate::config::StoreOptions;
use crate::pending::Pending;
use crate::shared::Shared;

pub use broker_proto::entity;
pub use error::StoreError;
pub use event::{StoreChange, StoreEvent, StoreEvents};
pub use proxy::{Response, StoreProxy, StoreReply};

pub(crate) use host::{Host, StoreWait};
pub(crate) use registry::Stores;

use host::Core;

/// How long a synchronous request waits for its answer. Spec: stores 2.3.
pub const STORE_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `await_idle` waits unless told otherwise. Spec: stores 6.5.
pub const AWAIT_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// An encoded key and its encoded value.
pub type EncodedEntry = (Vec<u8>, Vec<u8>);

/// Bytes that a store's topics have beside its name.
const TOPIC_OVERHEAD: usize = 32;

/// Where a master keeps its entries.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Backend {
    /// In memory: gone with the endpoint.
    #[default]
    Memory,
    /// In a file.
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::SqliteOptions),
}

/// A handle of a master or clone; clones of the handle are handles of the same store.
///
/// A handle does not keep its endpoint: once that is shut down, calls return
/// [`StoreError::Closed`]. The store itself lives as long as the endpoint, with or without handles.
///
/// Requests of a clone go to the master and are in effect when they come back from there; those of a
/// master are in effect at once. None of them waits for that. A request that is refused (wrong
/// types, a key that is not there, a storage that fails) changes nothing and makes an error event on
/// the endpoint it was made on; see [`Endpoint::status_subscriber`](crate::Endpoint::status_subscriber).
///
/// Calls block while the other side has no room for more; from async code use the methods whose
/// names end in `_async`.
///
/// ```
/// let endpoint = broker::Endpoint::new()?;
/// let store = endpoint.attach_master("hosts", broker::Backend::Memory)?;
/// store.put("10.0.0.1", &1_u64)?;
/// store.increment("10.0.0.1", &2_u64)?;
/// assert_eq!(store.get("10.0.0.1")?, Some(broker::Value::Count(3)));
/// # endpoint.shutdown().wait();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    host: Arc<Host>,
    /// This handle, as the one who asks.
    who: EntityId,
}

/// A request that some peers or subscribers had no room for, or that was not made for lack of room.
#[derive(Debug)]
#[must_use = "the request is not done yet"]
pub enum BlockedRequest {
    /// It is made; the rest of its messages wait for room.
    Publish(Vec<BlockedPublish>),
    /// It is not made.
    Full,
}

impl Store {
    // --- attaching ------------------------------------------------------------------------------

    pub(crate) fn attach_master(
        shared: &Arc<Shared>,
        name: &str,
        backend: Backend,
    ) -> Result<Self, StoreError> {
        check_name(name)?;
        let stores = &shared.stores;
        let _one_at_a_time = stores
            .attaching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if shared.is_shut_down() {
            return Err(StoreError::Closed);
        }
        if let Some(host) = stores.find(Role::Master, name) {
            return Ok(Self::new(shared, host));
        }
        let topic = broker_proto::store::master_topic(name);
        if let Some(peer) = peer_with(shared, &topic) {
            return Err(StoreError::MasterExists {
                name: name.to_owned(),
                peer,
            });
        }
        let (storage, blocks): (Box<dyn Storage>, bool) = match backend {
            Backend::Memory => (Box::new(Memory::new()), false),
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(options) => {
                let opened = crate::sqlite::SqliteBackend::open(&options);
                let opened = opened.map_err(|error| StoreError::Backend {
                    name: name.to_owned(),
                    cause: error.to_string(),
                })?;
                (Box::new(opened), true)
            }
        };
        let id = stores.new_entity(shared.id);
        let master = Master::new(id, name, storage, config(shared))
            .map_err(|error| StoreError::backend(name, &error))?;
        let host = Host::master(shared, name, master, blocks)?;
        Self::start(shared, host, &topic)
    }

    pub(crate) fn attach_clone(
        shared: &Arc<Shared>,
        name: &str,
        options: CloneOptions,
    ) -> Result<Self, StoreError> {
        check_name(name)?;
        let stores = &shared.stores;
        let _one_at_a_time = stores
            .attaching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if shared.is_shut_down() {
            return Err(StoreError::Closed);
        }
        if stores.find(Role::Master, name).is_some() {
            return Err(StoreError::MasterIsHere {
                name: name.to_owned(),
            });
        }
        if let Some(host) = stores.find(Role::Clone, name) {
            host.search_again(shared);
            return Ok(Self::new(shared, host));
        }
        let id = stores.new_entity(shared.id);
        let clone = StoreClone::new(id, name, config(shared), options);
        let topic = broker_proto::store::clone_topic(name);
        Self::start(shared, Host::replica(name, clone), &topic)
    }

    /// Makes a store known: to this endpoint, to its peers, to the clock.
    fn start(
        shared: &Arc<Shared>,
        host: Arc<Host>,
        topic: &broker_proto::Topic,
    ) -> Result<Self, StoreError> {
        if !shared.stores.add(&host) {
            host.close();
            return Err(StoreError::Closed);
        }
        shared.subscribe(std::slice::from_ref(topic));
        // A clone of the same name may have been waiting for this master.
        shared.stores.routes_changed();
        shared.runtime.spawn(host.clone().run(shared.clone()));
        Ok(Self::new(shared, host))
    }

    fn new(shared: &Arc<Shared>, host: Arc<Host>) -> Self {
        Self {
            shared: shared.clone(),
            host,
            who: shared.stores.new_entity(shared.id),
        }
    }

    // --- what it is -----------------------------------------------------------------------------

    /// The name.
    pub fn name(&self) -> &str {
        &self.host.name
    }

    /// Whether this is the master.
    pub fn is_master(&self) -> bool {
        self.host.role == Role::Master
    }

    /// Whether the endpoint was shut down.
    pub fn is_closed(&self) -> bool {
        self.host.is_closed()
    }

    /// The id of the master or clone, as store events name it.
    pub fn id(&self) -> EntityId {
        match &self.host.lock().core {
            Core::Clone(clone) => clone.id(),
            Core::Master(_) | Core::Closed => self.host.id,
        }
    }

    /// What a clone's copy is worth; a master is always attached, a closed store has failed.
    pub fn contact(&self) -> Contact {
        match &self.host.lock().core {
            Core::Master(_) => Contact::Attached,
            Core::Clone(clone) => clone.contact(),
            Core::Closed => Contact::Failed,
        }
    }

    /// Non-blocking reads and `put_unique` requests whose responses are collected later.
    pub fn proxy(&self) -> StoreProxy {
        StoreProxy::new(self.clone())
    }

    /// The changes of this store from now on, as this endpoint sees them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`] after a shutdown.
    pub fn events(&self) -> Result<StoreEvents, StoreError> {
        let events = StoreEvents::new(&self.shared, Some(self.name()));
        // What the machine says about changes depends on somebody listening.
        self.host.routes_changed();
        events.map_err(|_| StoreError::Closed)
    }

    // --- requests -------------------------------------------------------------------------------

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
        self.finish(Change::Put { expiry }, &key, &value)
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
        self.finish(Change::Erase, &encoded(key)?, &[])
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn clear(&self) -> Result<(), StoreError> {
        self.finish(Change::Clear, &[], &[])
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
        self.finish(Change::add(init, None), &encoded(key)?, &amount)
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
        self.finish(Change::subtract(None), &encoded(key)?, &encoded(amount)?)
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
        self.finish(Change::add(Kind::String, None), &encoded(key)?, &text_bytes)
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
        self.finish(
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
        self.finish(Change::add(Kind::Table, None), &encoded(key)?, &pair)
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
        self.finish(Change::subtract(None), &encoded(key)?, &encoded(index)?)
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
        self.finish(
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
        self.finish(Change::subtract(None), &key, &key)
    }

    fn finish(&self, change: Change, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let deadline = std::time::Instant::now() + STORE_REQUEST_TIMEOUT;
        loop {
            match self.offer(change, key, value)? {
                None => return Ok(()),
                Some(BlockedRequest::Publish(blocked)) => {
                    blocked.into_iter().for_each(BlockedPublish::wait);
                    return Ok(());
                }
                Some(BlockedRequest::Full) => {
                    let left = deadline.saturating_duration_since(std::time::Instant::now());
                    if !self.host.wait_room(left) {
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
        match self
            .host
            .request(&self.shared, &own_command(publisher, content))
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
                Some(BlockedRequest::Full) => {
                    tokio::time::timeout(STORE_REQUEST_TIMEOUT, self.host.room())
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

    /// Blocks until a request may have room or the time is over.
    pub fn wait_room(&self, timeout: Duration) -> bool {
        self.host.wait_room(timeout)
    }

    fn put_unique_encoded(
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
            .request_answer(&self.shared, who, request, &command)?;
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

    // --- reads ----------------------------------------------------------------------------------

    /// The value of a key; `None` when it is absent.
    ///
    /// Sees every request made before through this endpoint's master. A clone that has not found
    /// its master yet waits for up to [`StoreOptions::get_delay_max`].
    ///
    /// # Errors
    ///
    /// The copy is stale or was never filled, the storage failed, the store is closed.
    pub fn get<K: Source + ?Sized>(&self, key: &K) -> Result<Option<Value>, StoreError> {
        let key = encoded(key)?;
        self.wait_readable_default();
        found(self.get_now(&key)).map(|value| value.map(|bytes| value_of(&bytes)))
    }

    /// As [`get`](Self::get), waiting as a future.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn get_async<K: Source + ?Sized>(
        &self,
        key: &K,
    ) -> Result<Option<Value>, StoreError> {
        let key = encoded(key)?;
        self.readable().await;
        found(self.get_now(&key)).map(|value| value.map(|bytes| value_of(&bytes)))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn exists<K: Source + ?Sized>(&self, key: &K) -> Result<bool, StoreError> {
        let key = encoded(key)?;
        self.wait_readable_default();
        self.exists_now(&key)
    }

    /// What is at an index of a key's value: of a set whether it is there, of a table or vector what
    /// is there, of everything else the value itself. `None` when key or index are absent.
    /// Spec: stores 7.4.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and when a vector is asked for something that is no position.
    pub fn get_index<K: Source + ?Sized, I: Source + ?Sized>(
        &self,
        key: &K,
        index: &I,
    ) -> Result<Option<Value>, StoreError> {
        let (key, index) = (encoded(key)?, encoded(index)?);
        self.wait_readable_default();
        found(self.get_index_now(&key, &index)).map(|value| value.map(|bytes| value_of(&bytes)))
    }

    /// All keys.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keys(&self) -> Result<Vec<Value>, StoreError> {
        self.wait_readable_default();
        let keys = self.keys_now()?;
        Ok(keys.iter().map(|key| value_of(key)).collect())
    }

    /// All entries at one moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn snapshot(&self) -> Result<Vec<(Value, Value)>, StoreError> {
        self.wait_readable_default();
        let entries = self.snapshot_now()?;
        let values = |(key, value): &EncodedEntry| (value_of(key), value_of(value));
        Ok(entries.iter().map(values).collect())
    }

    /// Number of entries.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn len(&self) -> Result<u64, StoreError> {
        self.wait_readable_default();
        match &mut self.host.lock().core {
            Core::Master(master) => Ok(master.entries()?),
            Core::Clone(clone) => {
                clone.check_readable()?;
                Ok(clone.entries() as u64)
            }
            Core::Closed => Err(StoreError::Closed),
        }
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    fn wait_readable_default(&self) {
        let ticket = self.host.ticket();
        if !self.host.is_readable(ticket) {
            let timeout = self.shared.options.store.get_delay_max;
            self.host.wait_readable(ticket, timeout);
        }
    }

    /// What [`wait_readable`](Self::wait_readable) needs to know: what was asked for until now.
    pub fn ticket(&self) -> u64 {
        self.host.ticket()
    }

    /// Whether a read at this moment sees everything up to the ticket, or fails at once.
    pub fn is_readable(&self, ticket: u64) -> bool {
        self.host.is_readable(ticket)
    }

    /// Blocks until [`is_readable`](Self::is_readable) or the time is over.
    pub fn wait_readable(&self, ticket: u64, timeout: Duration) -> bool {
        self.host.wait_readable(ticket, timeout)
    }

    /// As [`wait_readable`](Self::wait_readable), for at most the longest time that reads wait, for
    /// async code.
    pub async fn readable(&self) {
        let ticket = self.host.ticket();
        let timeout = self.shared.options.store.get_delay_max;
        let _ = tokio::time::timeout(timeout, self.host.readable(ticket)).await;
    }

    /// The encoded value of an encoded key, as the store is at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); an absent key is the error [`ErrorCode::NoSuchKey`].
    pub fn get_now(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = canonical(key)?;
        match &mut self.host.lock().core {
            Core::Master(master) => Ok(master.get(&key)?),
            Core::Clone(clone) => Ok(clone.get(&key)?.to_vec()),
            Core::Closed => Err(StoreError::Closed),
        }
    }

    /// Whether an encoded key is there at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn exists_now(&self, key: &[u8]) -> Result<bool, StoreError> {
        let key = canonical(key)?;
        match &mut self.host.lock().core {
            Core::Master(master) => Ok(master.exists(&key)?),
            Core::Clone(clone) => Ok(clone.exists(&key)?),
            Core::Closed => Err(StoreError::Closed),
        }
    }

    /// As [`get_index`](Self::get_index), encoded, at this moment.
    ///
    /// # Errors
    ///
    /// As [`get_now`](Self::get_now).
    pub fn get_index_now(&self, key: &[u8], index: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = canonical(key)?;
        match &mut self.host.lock().core {
            Core::Master(master) => Ok(master.get_index(&key, index)?),
            Core::Clone(clone) => Ok(clone.get_index(&key, index)?),
            Core::Closed => Err(StoreError::Closed),
        }
    }

    /// All encoded keys at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keys_now(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        match &mut self.host.lock().core {
            Core::Master(master) => master.for_each_key(&mut |key| keys.push(key.to_vec()))?,
            Core::Clone(clone) => keys.extend(clone.iter()?.map(|(key, _)| key.to_vec())),
            Core::Closed => return Err(StoreError::Closed),
        }
        Ok(keys)
    }

    /// All encoded entries at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn snapshot_now(&self) -> Result<Vec<EncodedEntry>, StoreError> {
        let mut entries = Vec::new();
        match &mut self.host.lock().core {
            Core::Master(master) => {
                master.for_each(&mut |key, value| entries.push((key.to_vec(), value.to_vec())))?;
            }
            Core::Clone(clone) => {
                let all = clone.iter()?;
                entries.extend(all.map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            Core::Closed => return Err(StoreError::Closed),
        }
        Ok(entries)
    }

    // --- the other side -------------------------------------------------------------------------

    /// Blocks until master and clones have everything of each other, as far as is known here;
    /// `false` when the time is over or the store has no master. Spec: stores 6.5.
    pub fn await_idle(&self, timeout: Duration) -> bool {
        self.host.wait_idle(&self.shared, timeout)
    }

    /// As [`await_idle`](Self::await_idle), for async code.
    pub async fn await_idle_async(&self, timeout: Duration) -> bool {
        let idle = self.host.idle(&self.shared);
        tokio::time::timeout(timeout, idle).await.unwrap_or(false)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name())
            .field("is_master", &self.is_master())
            .field("contact", &self.contact())
            .finish_non_exhaustive()
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

fn config(shared: &Shared) -> StoreConfig {
    let StoreOptions {
        tick_interval,
        heartbeat_interval,
        nack_timeout,
        connection_timeout,
        buffer_bytes_max,
        ..
    } = shared.options.store;
    StoreConfig {
        tick_interval: Timespan::try_from(tick_interval).unwrap_or(Timespan::MAX),
        heartbeat_interval,
        nack_timeout,
        connection_timeout,
        buffer_bytes_max,
        frame_bytes_max: shared.options.frame_bytes_max,
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let cause = if name.is_empty() {
        "it is empty"
    } else if name.len() + TOPIC_OVERHEAD > TOPIC_MAX {
        "it is too long"
    } else {
        return Ok(());
    };
    Err(StoreError::Name {
        name: name.to_owned(),
        cause,
    })
}

/// A peer that subscribes to exactly that topic. A prefix of it says nothing: many subscribe to
/// everything.
fn peer_with(shared: &Shared, topic: &broker_proto::Topic) -> Option<EndpointId> {
    let table = shared.routes.load();
    let mut peers = table.peers();
    peers
        .find(|(_, filter, _)| filter.entries().contains(topic))
        .map(|(id, _, _)| id)
}

fn encoded<S: Source + ?Sized>(source: &S) -> Result<Vec<u8>, StoreError> {
    Ok(broker_data::to_bytes(source)?)
}

fn canonical(key: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, StoreError> {
    broker_data::canonical(key).map_err(|error| {
        StoreError::Refused(Failure {
            code: ErrorCode::InvalidData,
            text: error.to_string(),
        })
    })
}

/// An absent key is no error for those who ask for a value.
fn found(result: Result<Vec<u8>, StoreError>) -> Result<Option<Vec<u8>>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == ErrorCode::NoSuchKey => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a store keeps was checked to be a value.
fn value_of(bytes: &[u8]) -> Value {
    decode(bytes).unwrap_or_default()
}
