//! What must hold at any time, and in the end.

use broker_data::{Timespan, Timestamp};
use broker_proto::store::{Contact, StoreClone};

use crate::ledger::{Entries, assert_same, text};
use crate::world::{MASTERS, State, TICK_MS, World};

impl World {
    /// What must hold at any time.
    pub(super) fn check_node(&mut self, index: usize) {
        let interval = self.plan.options.stale_interval;
        let now = self.now();
        let node = &mut self.nodes[index];
        match &mut node.state {
            State::Down => {}
            State::Master(master) => {
                // Between a call that failed and the end of its group nothing is promised.
                if node.disk.call_fails() {
                    return;
                }
                let mut reads = Entries::new();
                let visit = &mut |key: &[u8], value: &[u8]| {
                    reads.insert(key.to_vec(), value.to_vec());
                };
                master.for_each(now, visit).expect("it can be read");
                assert_eq!(
                    master.entries(now),
                    Ok(reads.len() as u64),
                    "number of entries"
                );
                let mut keys = Vec::new();
                let visit = &mut |key: &[u8]| keys.push(key.to_vec());
                master.for_each_key(now, visit).expect("it can be read");
                assert!(reads.keys().eq(keys.iter()), "keys");
                for key in node.replayed.entries.keys() {
                    let value = master.get(now, key).ok();
                    assert_eq!(value.as_ref(), reads.get(key), "get");
                    assert_eq!(master.exists(now, key), Ok(value.is_some()), "exists");
                }
                self.ledger.check_reads(master.id(), now, &reads);
            }
            State::Clone(clone) => {
                let Ok(entries) = clone.iter(now) else {
                    if clone.contact() == Contact::Stale && !node.stale {
                        self.ledger.marks.hit("clone stale");
                    }
                    node.stale = clone.contact() == Contact::Stale;
                    return;
                };
                node.stale = false;
                let silent_ms = self.now_ms - node.heard_ms;
                let limit = Timespan::from_millis(silent_ms - 2 * TICK_MS);
                assert!(
                    interval.ns() < 0 || limit < interval,
                    "node {index} is read {silent_ms} ms after its master was heard"
                );
                let known = node.replayed.entries.iter();
                let live = known.filter(|(key, _)| !node.replayed.is_over(key, now));
                if !entries.eq(live.clone().map(|(k, v)| (k.as_slice(), v.as_slice()))) {
                    let live = live.map(|(k, v)| (k.clone(), v.clone())).collect();
                    let copy = text(&copy_of(clone, now));
                    assert_eq!(text(&live), copy, "events do not make a content");
                }
                for key in node.replayed.entries.keys() {
                    let over = node.replayed.is_over(key, now);
                    assert_eq!(clone.exists(now, key), Ok(!over), "exists");
                    assert_eq!(clone.get(now, key).is_err(), over, "get");
                    self.ledger.marks.hit_if(over, "entry hidden at a clone");
                }
                assert_eq!(
                    clone.entries(now),
                    copy_of(clone, now).len(),
                    "number of entries"
                );
                if let Some(position) = clone.position() {
                    self.ledger
                        .check_copy(now, position, &node.replayed.entries);
                }
            }
        }
    }

    pub(super) fn check_bounds(&mut self, index: usize) {
        // One message more than the limit may be kept: an empty buffer takes any.
        let limit = self.plan.config.buffer_bytes_max.saturating_add(4_096);
        let node = &mut self.nodes[index];
        match &mut node.state {
            State::Down => {}
            State::Master(master) => {
                let (_, bytes) = master.unacknowledged();
                assert!(bytes <= limit, "master keeps {bytes} bytes");
                let content = node.disk.committed();
                assert_same(&node.replayed.entries, &content, "events of a master");
            }
            State::Clone(clone) => {
                let (_, bytes) = clone.unacknowledged();
                assert!(bytes <= limit, "clone {index} keeps {bytes} bytes");
            }
        }
    }

    /// Why the world is not at rest yet.
    pub(super) fn restless(&mut self) -> Option<String> {
        let mut writable = None;
        for index in 0..MASTERS {
            let node = &mut self.nodes[index];
            let State::Master(master) = &mut node.state else {
                continue;
            };
            if master.is_writable() {
                if writable.is_some() {
                    return Some("two masters are writable".to_owned());
                }
                writable = Some((master.id(), node.disk.committed(), master.is_idle()));
            }
        }
        let Some((id, content, idle)) = writable else {
            return Some("no master is writable".to_owned());
        };
        if !idle {
            return Some("the master is not idle".to_owned());
        }
        for index in MASTERS..self.nodes.len() {
            let State::Clone(clone) = &self.nodes[index].state else {
                return Some(format!("node {index} is down"));
            };
            let contact = clone.contact();
            if contact != Contact::Attached || clone.master() != Some(id) {
                return Some(format!(
                    "node {index} is {contact:?} to {:?}",
                    clone.master()
                ));
            }
            let copy = copy_of(clone, self.now());
            if copy != content {
                let (copy, content) = (text(&copy), text(&content));
                return Some(format!("node {index} has {copy:?}, the master {content:?}"));
            }
            if !clone.is_idle() || clone.unacknowledged().0 > 0 {
                return Some(format!("node {index} is not idle"));
            }
        }
        None
    }

    pub(super) fn check_end(&mut self) {
        for (index, node) in self.nodes.iter().enumerate() {
            if node.life == 0 {
                continue;
            }
            self.ledger.check_promises(node.life, node.endpoint.bytes());
            // Nothing is lost on calm links, so every refusal was told.
            let calm = self.plan.fifo && self.plan.partition == 0 && self.plan.clone_crash == 0;
            if index >= MASTERS && calm && !self.plan.rival && self.plan.master_crash == 0 {
                let refused = self.ledger.refusals.get(node.endpoint.bytes()).copied();
                let told = self.ledger.told(node.life);
                let refused = refused.unwrap_or(0);
                assert!(
                    told >= refused,
                    "node {index}: {refused} refused, {told} told"
                );
            }
        }
    }
}

fn copy_of(clone: &StoreClone, now: Timestamp) -> Entries {
    let entries = clone.iter(now).into_iter().flatten();
    entries.map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}
