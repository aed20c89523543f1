//! Other masters of the same name. Spec: stores 6.7; ADR 0078.

use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::store::backend::Backend;
use crate::store::channel::producer::FIRST_SEQ;
use crate::store::command::{Command, Content};
use crate::store::entity::EntityId;
use crate::store::master::Master;
use crate::store::{Output, Role, StoreFailure, mark};

/// Heartbeats after which a master makes itself known again: often enough for one message lost to
/// be of no consequence, seldom enough not to be noticed by relays.
const VOICE_HEARTBEATS: u64 = 10;

impl<B: Backend> Master<B> {
    /// Names the peers that subscribe to the topic of this master, in the order of their ids. They
    /// may have a master of the same name, or pass on or look at what is said to this one (Spec:
    /// wire 8.1). Who has one is found out: masters of ours make themselves known, those of others
    /// are named by their clones. Of two masters the one with the smaller endpoint id goes on; the
    /// other one refuses changes until the first has gone.
    pub fn set_suspects(&mut self, peers: &[EndpointId]) {
        if self.rivals.suspects.keys().eq(peers) {
            return;
        }
        let before = std::mem::take(&mut self.rivals.suspects);
        let known = |id| before.get(id).copied().unwrap_or(false);
        self.rivals.suspects = peers.iter().map(|id| (*id, known(id))).collect();
        self.make_known();
        self.find_rival();
    }

    /// Tells other masters of ours that this is one. All others take it for the sign of life of a
    /// clone that is none of theirs.
    fn make_known(&mut self) {
        let command = Command {
            seq: 0,
            sender: mark::master_voice(self.id.endpoint),
            receiver: EntityId::NIL,
            content: Content::Keepalive { seq: FIRST_SEQ },
        };
        let max = self.config.frame_bytes_max;
        for peer in self.rivals.suspects.keys() {
            let message = self.names.message(Role::Master, *peer, &command, max);
            self.outputs.ready.extend(message.ok().map(Output::Send));
        }
    }

    /// A tick has passed.
    pub(super) fn tick_voice(&mut self) {
        let interval = u64::from(self.config.heartbeat_interval.max(1)) * VOICE_HEARTBEATS;
        if self.ticks.is_multiple_of(interval) {
            self.make_known();
        }
    }

    /// An endpoint has a master of this store.
    pub(super) fn prove_rival(&mut self, endpoint: EndpointId) {
        let suspect = self.rivals.suspects.get_mut(&endpoint);
        if suspect.is_some_and(|proven| !std::mem::replace(proven, true)) {
            // It may not have known of this one when it was told first.
            self.make_known();
            self.find_rival();
        }
    }

    fn find_rival(&mut self) {
        let mut rivals = self.rivals.suspects.iter().filter(|(_, proven)| **proven);
        let rival = rivals.next().map(|(id, _)| *id);
        if self.rivals.found == rival {
            return;
        }
        self.rivals.found = rival;
        let Some(rival) = rival else { return };
        let what = if self.is_writable() {
            "this one goes on"
        } else {
            "this one refuses changes until the other one has gone"
        };
        let text = format!("endpoint {rival} has a master, too: {what}");
        let fault = self
            .names
            .fault(&StoreFailure::new(ErrorCode::MasterExists, text));
        self.outputs.ready.push_back(Output::Fault(fault));
    }

    /// Whether changes are accepted.
    pub fn is_writable(&self) -> bool {
        self.rivals
            .found
            .is_none_or(|rival| self.id.endpoint < rival)
    }
}
