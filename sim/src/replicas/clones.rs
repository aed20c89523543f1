//! Native clones, and frames between them and replicas.

use std::sync::Arc;

use broker_data::Timestamp;
use broker_proto::frame::FRAME_LEN_SIZE;
use broker_proto::store::command::Command;
use broker_proto::store::{Contact, Output, Role};
use broker_proto::{EndpointId, Envelope};

use crate::replicas::{EPOCH_MS, Happening, TICK_MS, World, is_leader};

impl World {
    pub(super) fn send_to_clones(&mut self, frame: &Arc<[u8]>, receiver: EndpointId) {
        for index in 0..self.clones.len() {
            let for_it = receiver.is_nil() || receiver == self.clones[index].endpoint;
            if for_it && !self.random.permille(self.plan.loss) {
                let delay = self.random.below(self.plan.delay_ms_max);
                self.schedule(delay, Happening::ToClone(index, frame.clone()));
            }
        }
    }

    pub(super) fn arrive_at_clone(&mut self, index: usize, frame: &[u8]) {
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).expect("an envelope");
        let command = Command::parse(envelope.payload).expect("a command");
        let now = Timestamp::from_ns((EPOCH_MS + self.now_ms) * 1_000_000);
        let node = &mut self.clones[index];
        node.clone.handle_command(now, &command, envelope.payload);
        let master = node.clone.master();
        if master.is_some() && master != node.followed {
            let mark = match node.followed {
                None => "clone attached",
                Some(_) => "clone followed to another leader",
            };
            node.followed = master;
            self.marks.hit(mark);
        }
        self.drain_clone(index);
    }

    pub(super) fn tick_clone(&mut self, index: usize) {
        // Who leads subscribes to the topic of masters.
        let reachable = self
            .nodes
            .iter()
            .any(|node| is_leader(node) && node.suspended_ms <= self.now_ms);
        let node = &mut self.clones[index];
        if std::mem::replace(&mut node.reachable, reachable) != reachable {
            node.clone.set_reachable(reachable);
        }
        node.clone.handle_tick();
        if node.clone.contact() == Contact::Failed {
            node.clone.search_again();
        }
        self.drain_clone(index);
        self.schedule(TICK_MS as u64, Happening::CloneTick(index));
    }

    pub(super) fn drain_clone(&mut self, index: usize) {
        while let Some(output) = self.clones[index].clone.poll_output() {
            match output {
                Output::Send(message) if message.role == Role::Master => {
                    for to in 0..self.nodes.len() {
                        if self.nodes[to].replica.is_some() && !self.random.permille(self.plan.loss)
                        {
                            let delay = self.random.below(self.plan.delay_ms_max);
                            self.schedule(delay, Happening::ToReplica(to, message.frame.clone()));
                        }
                    }
                }
                Output::Answer {
                    request, result, ..
                } => {
                    self.users
                        .answered(request, result.ok(), self.happened, &mut self.marks);
                    self.happened += 1;
                }
                Output::Send(_) | Output::Event(_) | Output::Fault(_) => {}
            }
        }
    }
}
