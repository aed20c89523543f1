//! Requests applied to the entries of a master. Spec: stores 6.2 and 7.

use std::borrow::Cow;

use broker_data::{Kind, Timespan, Timestamp, View, canonical};

use crate::frame::{ENVELOPE_SIZE, FRAME_LEN_SIZE};
use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::store::backend::{Backend, BackendError};
use crate::store::command::{Command, Content};
use crate::store::entity::EntityId;
use crate::store::event::{Change, StoreEvent};
use crate::store::master::{EXPIRED_PER_CALL_MAX, Master};
use crate::store::operation::{self, Changed};
use crate::store::{Output, Role, StoreFailure, mark};

/// More than a broadcast has around its key, value and topic.
const OVERHEAD_MAX: usize = FRAME_LEN_SIZE + ENVELOPE_SIZE + 256;

/// An entry that was changed, for those who are told.
struct Written<'a> {
    key: &'a [u8],
    old: Option<&'a [u8]>,
    value: &'a [u8],
    /// What the event says; a sum says nothing. Spec: stores 6.2.
    expiry: Option<Timespan>,
    publisher: EntityId,
}

impl<B: Backend> Master<B> {
    /// A request of a user of this master: one of the actions. `true` for a `put_unique` that found
    /// its key absent, and for everything else that worked.
    ///
    /// # Errors
    ///
    /// The request has changed nothing, and why. An error event says so, too.
    pub fn request(&mut self, now: Timestamp, content: &Content<'_>) -> Result<bool, StoreFailure> {
        self.begin();
        let result = self.apply(now, content);
        let warning = self.warning.take();
        if let Some(failure) = result.as_ref().err().or(warning.as_ref()) {
            let fault = self.names.fault(failure);
            self.outputs.staged.push(Output::Fault(fault));
        }
        result
    }

    /// Applies a request. Commands that are no requests do nothing.
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        content: &Content<'_>,
    ) -> Result<bool, StoreFailure> {
        if let Some(rival) = self.rivals.found
            && !self.is_writable()
        {
            let text = format!("changes are refused while endpoint {rival} has a master, too");
            let failure = StoreFailure::new(ErrorCode::MasterExists, text);
            let result = Err(failure);
            if let Content::PutUnique { who, request, .. } = content {
                self.answer(&result, *who, *request);
            }
            return result;
        }
        self.changes.count(content);
        match content {
            Content::Put {
                key,
                value,
                expiry,
                publisher,
            } => self
                .put(now, key, value, *expiry, *publisher)
                .map(|()| true),
            Content::PutUnique {
                key,
                value,
                expiry,
                who,
                request,
                publisher,
            } => {
                let result = self.put_unique(now, key, value, *expiry, *publisher);
                self.answer(&result, *who, *request);
                result
            }
            Content::Erase { key, publisher } => self.erase(now, key, *publisher).map(|()| true),
            Content::Add {
                key,
                value,
                init,
                expiry,
                publisher,
            } => {
                let change =
                    |old: Option<&[u8]>, operand: &[u8]| operation::add(old, operand, *init);
                self.modify(now, "add to", key, value, *expiry, *publisher, change)
                    .map(|()| true)
            }
            Content::Subtract {
                key,
                value,
                expiry,
                publisher,
            } => self
                .modify(
                    now,
                    "take away from",
                    key,
                    value,
                    *expiry,
                    *publisher,
                    operation::subtract,
                )
                .map(|()| true),
            Content::Clear { publisher } => self.clear(now, *publisher).map(|()| true),
            // No clone sends that: it stands for a request that its sender is not permitted.
            Content::PutUniqueResult { who, request, .. } => {
                let text = "the permissions of this connection do not allow to change the store";
                let failure = StoreFailure::new(ErrorCode::Unspecified, text);
                let result = Err(failure);
                if !who.is_nil() {
                    self.answer(&result, *who, *request);
                }
                result
            }
            _ => Ok(true),
        }
    }

    fn put(
        &mut self,
        now: Timestamp,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) -> Result<(), StoreFailure> {
        let (key, value) = (own(key)?, own(value)?);
        self.check_size(&key, &value)?;
        self.expire_if_over(now, &key)?;
        let old = if self.observed {
            self.backend.get(&key)?
        } else {
            None
        };
        self.write(now, &key, &value, expiry)?;
        let old = old.as_ref().map(|entry| entry.value.as_slice());
        self.tell_written(&Written {
            key: &key,
            old,
            value: &value,
            expiry,
            publisher,
        });
        self.broadcast_put(&key, &value, expiry, publisher);
        Ok(())
    }

    fn put_unique(
        &mut self,
        now: Timestamp,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) -> Result<bool, StoreFailure> {
        let (key, value) = (own(key)?, own(value)?);
        self.check_size(&key, &value)?;
        self.expire_if_over(now, &key)?;
        if self.backend.contains(&key)? {
            return Ok(false);
        }
        self.write(now, &key, &value, expiry)?;
        self.tell_written(&Written {
            key: &key,
            old: None,
            value: &value,
            expiry,
            publisher,
        });
        self.broadcast_put(&key, &value, expiry, publisher);
        Ok(true)
    }

    fn erase(
        &mut self,
        now: Timestamp,
        key: &[u8],
        publisher: EntityId,
    ) -> Result<(), StoreFailure> {
        let key = own(key)?;
        self.expire_if_over(now, &key)?;
        if self.backend.erase(&key)? {
            self.handshakes.snapshot = None;
            self.group.expiries_changed |= self.expiry.times.set(&key, None);
            self.tell(&key, Change::Erase, publisher);
            self.broadcast(Content::Erase {
                key: &key,
                publisher,
            });
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of two commands that differ in one function"
    )]
    fn modify(
        &mut self,
        now: Timestamp,
        what: &str,
        key: &[u8],
        operand: &[u8],
        expiry: Option<Timespan>,
        publisher: EntityId,
        change: impl FnOnce(Option<&[u8]>, &[u8]) -> Result<Changed, ErrorCode>,
    ) -> Result<(), StoreFailure> {
        let (key, operand) = (own(key)?, own(operand)?);
        self.expire_if_over(now, &key)?;
        let old = self.backend.get(&key)?;
        let old = old.as_ref().map(|entry| entry.value.as_slice());
        let changed =
            change(old, &operand).map_err(|code| refused(code, what, &key, old, &operand))?;
        self.check_size(&key, &changed.value)?;
        self.write(now, &key, &changed.value, expiry)?;
        self.tell_written(&Written {
            key: &key,
            old,
            value: &changed.value,
            expiry: None,
            publisher,
        });
        self.broadcast_put(&key, &changed.value, None, publisher);
        if changed.wrapped {
            let (key, value) = (View::trusted(&key), View::trusted(&changed.value));
            let text = format!("`{key}` left its range and is now {value}");
            self.warning = Some(StoreFailure::new(ErrorCode::InvalidData, text));
        }
        Ok(())
    }

    fn clear(&mut self, now: Timestamp, publisher: EntityId) -> Result<(), StoreFailure> {
        let mut keys = Vec::new();
        if self.observed {
            let expiries = &self.expiry.times;
            self.backend
                .for_each_key(&mut |key| keys.push((key.to_vec(), expiries.is_over(key, now))))?;
        }
        self.backend.clear()?;
        self.handshakes.snapshot = None;
        self.group.expiries_changed |= self.expiry.times.clear();
        for (key, is_over) in keys {
            if is_over {
                self.tell(&key, Change::Expire, self.id)
            } else {
                self.tell(&key, Change::Erase, publisher)
            }
        }
        self.broadcast(Content::Clear { publisher });
        Ok(())
    }

    /// Removes what is over, up to a limit. What the back end cannot remove now is tried again at
    /// the next tick.
    pub(super) fn expire(&mut self, now: Timestamp) {
        for _ in 0..EXPIRED_PER_CALL_MAX {
            let Some(key) = self.expiry.times.first_over(now) else {
                return;
            };
            if self.expire_key(now, &key).is_err() {
                self.expiry.paused = true;
                return;
            }
        }
    }

    /// Removes an entry whose time has come before a request gets to see it, so that what follows
    /// is told as what it is: an insert, and not an update of something that nobody could read.
    fn expire_if_over(&mut self, now: Timestamp, key: &[u8]) -> Result<(), BackendError> {
        if self.expiry.times.is_over(key, now) {
            self.expire_key(now, key)
        } else {
            Ok(())
        }
    }

    fn expire_key(&mut self, now: Timestamp, key: &[u8]) -> Result<(), BackendError> {
        let expired = self.backend.expire(key, now)?;
        self.group.expiries_changed |= self.expiry.times.set(key, None);
        if expired {
            self.handshakes.snapshot = None;
            let publisher = self.id;
            let content = Content::Expire { key, publisher };
            self.changes.count(&content);
            self.tell(key, Change::Expire, publisher);
            self.broadcast(content);
        }
        Ok(())
    }

    fn write(
        &mut self,
        now: Timestamp,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timespan>,
    ) -> Result<(), StoreFailure> {
        let at = expiry.map(|span| now.saturating_add(span));
        self.backend.put(key, value, at)?;
        self.handshakes.snapshot = None;
        self.group.expiries_changed |= self.expiry.times.set(key, at);
        Ok(())
    }

    /// An entry that cannot be broadcast would be missing in every clone.
    fn check_size(&self, key: &[u8], value: &[u8]) -> Result<(), StoreFailure> {
        let size = key.len() + value.len() + self.names.store.len() + OVERHEAD_MAX;
        let max = self.config.frame_bytes_max;
        if size <= max {
            return Ok(());
        }
        let text = format!("an entry of {size} bytes is larger than `frame_bytes_max`, {max}");
        Err(StoreFailure::new(ErrorCode::InvalidData, text))
    }

    // --- telling --------------------------------------------------------------------------------

    fn tell_written(&mut self, written: &Written<'_>) {
        let (value, expiry) = (View::trusted(written.value), written.expiry);
        let change = match written.old {
            None => Change::Insert { value, expiry },
            Some(old) => Change::Update {
                old: View::trusted(old),
                value,
                expiry,
            },
        };
        self.tell(written.key, change, written.publisher);
    }

    fn tell(&mut self, key: &[u8], change: Change<'_>, publisher: EntityId) {
        if !self.observed {
            return;
        }
        let event = StoreEvent {
            store: self.names.store.as_bytes(),
            key: View::trusted(key),
            change,
            publisher,
        };
        // A value at the limit of depth does not fit into an event.
        if let Ok(value) = event.encode() {
            self.outputs.staged.push(Output::Event(value));
        }
    }

    pub(super) fn broadcast_put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) {
        self.broadcast(Content::Put {
            key,
            value,
            expiry,
            publisher,
        });
    }

    /// Sends all clones the next event.
    pub(super) fn broadcast(&mut self, content: Content<'_>) {
        if !self.down.has_paths() {
            if std::mem::take(&mut self.repairs.orphaned) {
                self.down.skip();
            }
            return;
        }
        self.repairs.orphaned = false;
        let (names, id, max) = (&self.names, self.id, self.config.frame_bytes_max);
        let mut message = None;
        let (_, dropped) = self.down.produce(|seq| {
            let command = Command {
                seq,
                sender: id,
                receiver: EntityId::NIL,
                content,
            };
            let made = names.message(Role::Clone, EndpointId::NIL, &command, max);
            // The sizes of entries are checked before they are written.
            let made = made.ok();
            let frame = made.as_ref().map(|made| made.frame.clone());
            message = made;
            frame.unwrap_or_else(|| [].into())
        });
        self.outputs.staged.extend(message.map(Output::Send));
        for clone in dropped {
            self.drop_clone(clone);
        }
    }

    /// Clones are told `false` when it failed: there is no other way to say it.
    fn answer(&mut self, result: &Result<bool, StoreFailure>, who: EntityId, request: u64) {
        self.broadcast_result(*result.as_ref().unwrap_or(&false), who, request);
        self.group.answered.push((who, request));
        self.outputs.staged.push(Output::Answer {
            who,
            request,
            result: result.clone(),
        });
    }

    pub(super) fn broadcast_result(&mut self, inserted: bool, who: EntityId, request: u64) {
        let publisher = self.id;
        self.broadcast(Content::PutUniqueResult {
            inserted,
            who,
            request,
            publisher,
        });
    }

    /// Tells a writer of this implementation that a request of its failed; others never learn of it.
    /// Spec: stores 6.2. The message is an action that masters never send, with a number that is over.
    pub(super) fn tell_refused(&mut self, writer: EntityId, failure: &StoreFailure) {
        if !mark::is_clone(writer) {
            return;
        }
        let code = broker_data::to_bytes(&u64::from(failure.code.number())).unwrap_or_default();
        let text = broker_data::to_bytes(failure.text.as_str()).unwrap_or_default();
        let command = self.command(
            0,
            writer,
            Content::Subtract {
                key: &code,
                value: &text,
                expiry: None,
                publisher: writer,
            },
        );
        self.stage(Role::Clone, writer.endpoint, &command);
    }
}

/// The form in which keys and values are kept.
fn own(bytes: &[u8]) -> Result<Cow<'_, [u8]>, StoreFailure> {
    canonical(bytes).map_err(|error| StoreFailure::new(ErrorCode::InvalidData, error.to_string()))
}

/// Says which types did not go together, and where.
fn refused(
    code: ErrorCode,
    what: &str,
    key: &[u8],
    old: Option<&[u8]>,
    operand: &[u8],
) -> StoreFailure {
    let kind = |bytes: &[u8]| -> Kind { View::trusted(bytes).kind() };
    let stored = match old {
        Some(old) => kind(old).to_string(),
        None => "nothing".to_owned(),
    };
    let text = format!(
        "cannot {what} `{}`: {code}: stored {stored}, operand {}",
        View::trusted(key),
        kind(operand)
    );
    StoreFailure::new(code, text)
}
