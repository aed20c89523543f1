//! What must hold at any time, and in the end.

use broker_data::Timespan;
use broker_proto::store::{Contact, StoreClone};

use crate::ledger::{Entries, assert_same, text};
use crate::world::{MASTERS, State, TICK_MS, World};

impl World {
    /// What must hold at any time.
    pub(super) fn check_node(&mut self, index: usize) {
        let interval = self.plan.options.stale_interval;
        let node = &mut self.nodes[index];
        match &mut node.state {
            State::Down => {}
            State::Master(_) => {}
            State::Clone(clone) => {
                let Ok(entries) = clone.iter() else {
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
                let replayed = node.replayed.iter();
                if !entries.eq(replayed.map(|(k, v)| (k.as_slice(), v.as_slice()))) {
                    let copy = text(&copy_of(clone));
                    assert_eq!(text(&node.replayed), copy, "events do not make a content");
                }
                if let Some(position) = clone.position() {
                    self.ledger.check_copy(position, &node.replayed);
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
                assert_same(&node.replayed, &content, "events of a master");
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
            let copy = copy_of(clone);
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

fn copy_of(clone: &StoreClone) -> Entries {
    let entries = clone.iter().into_iter().flatten();
    entries.map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}
