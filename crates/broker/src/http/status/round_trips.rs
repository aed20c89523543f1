//! Pings to native peers, for the time that their answers take.
//!
//! A peer answers after it has handled what came before, so a round trip tells how far behind it is.
//! One ping at a time is on its way to a peer, however long it takes: a peer that answers nothing
//! costs one.

use std::time::Duration;

use crate::core::pending::Pending;
use crate::store::Node;

/// Time from one round of pings to the next: often enough for those who scrape, and nothing beside
/// what else a connection carries.
const PERIOD: Duration = Duration::from_secs(10);

/// Measures for as long as the server runs.
pub(super) async fn run(node: &Node) {
    loop {
        let links = node.shared.lock_control().peer_links();
        for (peer, link) in links {
            if !link.kind.is_native() || !link.round_trip.begin() {
                continue;
            }
            let (resolver, answer) = Pending::new(|| None);
            node.shared.ping(peer, resolver);
            node.shared.runtime.spawn(async move {
                // Without an answer the peer is gone.
                if let Some(took) = answer.await {
                    link.round_trip.end(took);
                }
            });
        }
        tokio::time::sleep(PERIOD).await;
    }
}
