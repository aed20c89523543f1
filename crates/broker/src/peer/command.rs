//! Commands of data stores that a peer sends: checked, and handed to the store they are for.

use std::sync::atomic::Ordering;

use broker_proto::EndpointId;
use broker_proto::frame::{Envelope, FRAME_LEN_SIZE};
use broker_proto::inbound::addressee;
use broker_proto::mark::Mark;
use broker_proto::store::command::Command;

use crate::store::{Node, StoreWait};

/// What a connection remembers of the commands that came over it.
#[derive(Default)]
pub(super) struct Commands {
    /// Whether one in the name of another endpoint came: the log is told of the first one only.
    has_forged: bool,
    /// What stores of this endpoint cannot take more of yet.
    /// Bound: what one read brings; nothing is read before they are over.
    pub(super) waits: Vec<StoreWait>,
}

impl Commands {
    /// Checks a command and hands it to the store it is for, if that is here. `false`: it is
    /// malformed, a copy, or not from whom it names, and must not be forwarded. Where there are
    /// several peers, `is_several`, it may come in several ways.
    pub(super) fn hand_to_store(
        &mut self,
        node: &Node,
        frame: &[u8],
        peer: EndpointId,
        mark: Option<Mark>,
        is_several: bool,
    ) -> bool {
        let shared = &node.shared;
        shared.data.totals.commands.fetch_add(1, Ordering::Relaxed);
        let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
        let Ok(envelope) = Envelope::parse(payload) else {
            return false;
        };
        let command = match Command::parse(envelope.payload) {
            Ok(command) => command,
            Err(error) => {
                tracing::debug!(event = "message-dropped", %peer, %error);
                return false;
            }
        };
        // Copies first, so that those of honest commands do not count as refused.
        if mark.is_some_and(|mark| shared.data.marking.is_copy(mark, frame)) {
            return false;
        }
        let (receiver, _) = addressee(&envelope, peer);
        let is_peer = |id| {
            let table = shared.data.routes.load();
            let target = table.peer(id);
            target.is_some_and(|target| target.kind.carries_stores())
        };
        if let Err(error) = command.check_sender(shared.data.id, peer, receiver, is_peer) {
            shared.refused_commands.fetch_add(1, Ordering::Relaxed);
            if std::mem::replace(&mut self.has_forged, true) {
                tracing::debug!(event = "command-refused", %peer, %error);
            } else {
                tracing::warn!(event = "command-refused", %peer, %error);
            }
            return false;
        }
        // What is refused is not noted: it must not keep the true one from being heard.
        if let Some(mark) = mark
            && !shared.data.marking.is_first(mark, frame, is_several)
        {
            return false;
        }
        let is_to_me = receiver == shared.data.id;
        if (is_to_me || receiver.is_nil())
            && let Some(store) = node.stores.find_topic(envelope.topic)
        {
            let waits = store.handle_command(node, &command, envelope.payload);
            self.waits.extend(waits);
        }
        is_to_me || command.check().is_ok()
    }

    /// Tells the store that a request of the peer is not permitted, if it is here: the store answers, and
    /// goes on with the peer's next request. Nobody else gets it.
    pub(super) fn refuse(&mut self, node: &Node, frame: &[u8]) {
        let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
        let Ok(envelope) = Envelope::parse(payload) else {
            return;
        };
        let refused = Command::parse(envelope.payload).map(|command| command.refused());
        let (Ok(Some(refused)), Some(store)) = (refused, node.stores.find_topic(envelope.topic))
        else {
            return;
        };
        let mut payload = Vec::new();
        refused.encode(&mut payload);
        self.waits
            .extend(store.handle_command(node, &refused, &payload));
    }
}
