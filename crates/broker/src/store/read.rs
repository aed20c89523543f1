//! Reading a store. Spec: stores 7.4.

use std::borrow::Cow;
use std::time::Duration;

use broker_data::{Source, Value, decode};
use broker_proto::ErrorCode;
use broker_proto::store::StoreFailure;

use crate::core::pending::Pending;
use crate::signal::within;
use crate::store::host::Core;
#[cfg(feature = "status")]
use crate::store::host::Host;
use crate::store::{EncodedEntry, Node, Store, StoreError, encoded};

impl Store {
    /// The value of a key; `None` when it is absent.
    ///
    /// Sees every request made before through this endpoint's master. A clone that has not found
    /// its master yet waits for up to [`StoreOptions::get_delay_max`](crate::StoreOptions::get_delay_max).
    ///
    /// # Errors
    ///
    /// The copy is stale or was never filled, the storage failed, the store is closed.
    pub fn get<K: Source + ?Sized>(&self, key: &K) -> Result<Option<Value>, StoreError> {
        let key = encoded(key)?;
        self.wait_readable_default();
        found(self.get_encoded(&key)).map(|value| value.map(|bytes| value_of(&bytes)))
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
        found(self.get_encoded(&key)).map(|value| value.map(|bytes| value_of(&bytes)))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn exists<K: Source + ?Sized>(&self, key: &K) -> Result<bool, StoreError> {
        let key = encoded(key)?;
        self.wait_readable_default();
        self.exists_encoded(&key)
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
        found(self.get_index_encoded(&key, &index)).map(|value| value.map(|bytes| value_of(&bytes)))
    }

    /// All keys.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keys(&self) -> Result<Vec<Value>, StoreError> {
        self.wait_readable_default();
        let keys = self.keys_encoded()?;
        Ok(keys.iter().map(|key| value_of(key)).collect())
    }

    /// All entries at one moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn snapshot(&self) -> Result<Vec<(Value, Value)>, StoreError> {
        self.wait_readable_default();
        let entries = self.snapshot_encoded()?;
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
        self.len_now()
    }

    /// Number of entries at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn len_now(&self) -> Result<u64, StoreError> {
        let mut state = self.host.lock();
        state.reads.count(|reads| &mut reads.size);
        match &mut state.core {
            Core::Master(master) => Ok(master.entries(self.node.shared.clock.time_of_day())?),
            Core::Clone(clone) => {
                clone.check_readable()?;
                Ok(clone.entries(self.node.shared.now()) as u64)
            }
            #[cfg(feature = "nats")]
            Core::Replica(replica) => {
                let mut count = 0;
                replica.visit(self.node.shared.clock.time_of_day(), &mut |_, _| count += 1)?;
                Ok(count)
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
            let timeout = self.node.shared.options.store.get_delay_max;
            self.host.wait_readable(ticket, timeout);
        }
    }

    /// What [`wait_readable`](Self::wait_readable) needs to know: what was asked for until now.
    pub fn ticket(&self) -> u64 {
        self.host.ticket()
    }

    /// Whether reads, and [`is_readable`](Self::is_readable), may have to wait for a disk.
    pub fn reads_wait(&self) -> bool {
        self.host.has_thread()
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
        let timeout = self.node.shared.options.store.get_delay_max;
        let _ = within(
            &self.node.shared.runtime,
            timeout,
            self.host.readable(ticket),
        )
        .await;
    }

    /// Asks for the encoded value of an encoded key, `None` when it is absent, as soon as everything that
    /// was asked for before is in effect. Asking never waits, also where reads wait for a disk.
    pub fn request_value(&self, key: &[u8]) -> Pending<Result<Option<Vec<u8>>, StoreError>> {
        let (resolver, pending) = Pending::new(|| Err(StoreError::Closed));
        if !self.reads_wait() && self.is_readable(self.ticket()) {
            resolver.resolve(found(self.get_encoded(key)));
            return pending;
        }
        let (store, key) = (self.clone(), key.to_vec());
        self.node.shared.runtime.spawn(async move {
            store.readable().await;
            resolver.resolve(found(store.get_encoded(&key)));
        });
        pending
    }

    /// The encoded value of an encoded key, as the store is at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); an absent key is the error [`ErrorCode::NoSuchKey`].
    pub fn get_encoded(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = canonical(key)?;
        let mut state = self.host.lock();
        state.reads.count(|reads| &mut reads.get);
        state.core.value_now(&self.node, &key)
    }

    /// Whether an encoded key is there at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn exists_encoded(&self, key: &[u8]) -> Result<bool, StoreError> {
        let key = canonical(key)?;
        let mut state = self.host.lock();
        state.reads.count(|reads| &mut reads.exists);
        match &mut state.core {
            Core::Master(master) => Ok(master.exists(self.node.shared.clock.time_of_day(), &key)?),
            Core::Clone(clone) => Ok(clone.exists(self.node.shared.now(), &key)?),
            #[cfg(feature = "nats")]
            Core::Replica(replica) => {
                let found = replica.get(self.node.shared.clock.time_of_day(), &key);
                Ok(found_one(found)?.is_some())
            }
            Core::Closed => Err(StoreError::Closed),
        }
    }

    /// As [`get_index`](Self::get_index), encoded, at this moment.
    ///
    /// # Errors
    ///
    /// As [`get_encoded`](Self::get_encoded).
    pub fn get_index_encoded(&self, key: &[u8], index: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = canonical(key)?;
        let mut state = self.host.lock();
        state.reads.count(|reads| &mut reads.get);
        match &mut state.core {
            Core::Master(master) => {
                Ok(master.get_index(self.node.shared.clock.time_of_day(), &key, index)?)
            }
            Core::Clone(clone) => Ok(clone.get_index(self.node.shared.now(), &key, index)?),
            #[cfg(feature = "nats")]
            Core::Replica(replica) => {
                Ok(replica.get_index(self.node.shared.clock.time_of_day(), &key, index)?)
            }
            Core::Closed => Err(StoreError::Closed),
        }
    }

    /// All encoded keys at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keys_encoded(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        let mut state = self.host.lock();
        state.reads.count(|reads| &mut reads.keys);
        match &mut state.core {
            Core::Master(master) => {
                let now = self.node.shared.clock.time_of_day();
                master.for_each_key(now, &mut |key| keys.push(key.to_vec()))?;
            }
            Core::Clone(clone) => {
                let entries = clone.iter(self.node.shared.now())?;
                keys.extend(entries.map(|(key, _)| key.to_vec()));
            }
            #[cfg(feature = "nats")]
            Core::Replica(replica) => {
                let now = self.node.shared.clock.time_of_day();
                replica.visit(now, &mut |key, _| keys.push(key.to_vec()))?;
            }
            Core::Closed => return Err(StoreError::Closed),
        }
        Ok(keys)
    }

    /// All encoded entries at this moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn snapshot_encoded(&self) -> Result<Vec<EncodedEntry>, StoreError> {
        let mut entries = Vec::new();
        let mut state = self.host.lock();
        state.reads.count(|reads| &mut reads.snapshot);
        match &mut state.core {
            Core::Master(master) => {
                let visit =
                    &mut |key: &[u8], value: &[u8]| entries.push((key.to_vec(), value.to_vec()));
                master.for_each(self.node.shared.clock.time_of_day(), visit)?;
            }
            Core::Clone(clone) => {
                let all = clone.iter(self.node.shared.now())?;
                entries.extend(all.map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            #[cfg(feature = "nats")]
            Core::Replica(replica) => {
                let now = self.node.shared.clock.time_of_day();
                let visit =
                    &mut |key: &[u8], value: &[u8]| entries.push((key.to_vec(), value.to_vec()));
                replica.visit(now, visit)?;
            }
            Core::Closed => return Err(StoreError::Closed),
        }
        Ok(entries)
    }
}

#[cfg(feature = "status")]
impl Host {
    /// Shows the encoded keys behind one, among `limit` of them, as they are at this moment, in the
    /// order of their bytes. The store is locked meanwhile. Returns the key that it came to, unless
    /// there are no more.
    pub(crate) fn visit_keys_after(
        &self,
        node: &Node,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match &mut self.lock().core {
            Core::Master(master) => {
                let now = node.shared.clock.time_of_day();
                Ok(master.keys_after(now, after, limit, visit)?)
            }
            Core::Clone(clone) => Ok(clone.keys_after(node.shared.now(), after, limit, visit)?),
            #[cfg(feature = "nats")]
            Core::Replica(replica) => {
                let now = node.shared.clock.time_of_day();
                Ok(replica.keys_after(now, after, limit, visit)?)
            }
            Core::Closed => Err(StoreError::Closed),
        }
    }

    /// The encoded value of a key in its canonical form, at this moment.
    pub(crate) fn value_now(&self, node: &Node, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.lock().core.value_now(node, key)
    }
}

impl Core {
    fn value_now(&mut self, node: &Node, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Master(master) => Ok(master.get(node.shared.clock.time_of_day(), key)?),
            Self::Clone(clone) => Ok(clone.get(node.shared.now(), key)?.to_vec()),
            #[cfg(feature = "nats")]
            Self::Replica(replica) => Ok(replica.get(node.shared.clock.time_of_day(), key)?),
            Self::Closed => Err(StoreError::Closed),
        }
    }
}

fn canonical(key: &[u8]) -> Result<Cow<'_, [u8]>, StoreError> {
    broker_data::canonical(key).map_err(|error| {
        StoreError::Refused(StoreFailure {
            code: ErrorCode::InvalidData,
            text: error.to_string(),
        })
    })
}

/// An absent key is no error for those who ask for a value.
pub(super) fn found(result: Result<Vec<u8>, StoreError>) -> Result<Option<Vec<u8>>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == ErrorCode::NoSuchKey => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same, of a replica.
#[cfg(feature = "nats")]
fn found_one(result: Result<Vec<u8>, StoreFailure>) -> Result<Option<Vec<u8>>, StoreError> {
    found(result.map_err(StoreError::from))
}

/// What a store keeps was checked to be a value.
pub(super) fn value_of(bytes: &[u8]) -> Value {
    decode(bytes).unwrap_or_default()
}
