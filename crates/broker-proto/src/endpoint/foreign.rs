//! Peers that the runtime reaches through another protocol.
//!
//! A foreign connection has no handshake here: it is being joined, then it is a peering, then it is
//! over. Everything around it (requests, events, retries, the filter, who holds an id) is that of
//! native peers, so an application cannot tell the difference. See ADR 0085.
//!
//! Attempts back off and are spread in time: hundreds of programs may have lost the same server in
//! the same moment, and a server that starts is not helped by all of them at once.

use std::sync::Arc;

use broker_data::Timestamp;

use crate::backoff::{first, pause};
use crate::filter::Filter;
use crate::id::EndpointId;
use crate::peer_url::PeerUrl;
use crate::random::scramble;
use crate::status::NetworkAddress;

use super::connection::Stage;
use super::handshake::TEXT_SELF;
use super::{CloseCause, ConnectionId, DialFault, Endpoint, Retry, Transport};

impl Endpoint {
    /// The peer at the other end of a foreign connection is there, under that id, and gets what matches
    /// the filter; what it wants later comes in [`handle_filter`](Self::handle_filter). It may have
    /// been told an older filter of this endpoint: an [`Output::Interest`](super::Output::Interest)
    /// follows in any case.
    pub fn handle_joined(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        peer: EndpointId,
        filter: Filter,
    ) {
        let me = self.config.id;
        let held = self.holders.contains_key(&peer);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !connection.transport.is_foreign() || !matches!(connection.stage, Stage::Dialing) {
            return;
        }
        if peer == me {
            let cause = TEXT_SELF.to_owned();
            self.stop_calling_myself(id);
            self.end_handshake(
                now,
                id,
                Some(CloseCause::Illegal),
                Some(DialFault::refused(cause)),
            );
        } else if held {
            self.close(id, CloseCause::Cancelled);
            if let Some(attempt) = self.forget(id).and_then(|connection| connection.attempt) {
                self.resolve_redundant(now, attempt, peer);
            }
        } else {
            connection.peer = Some(peer);
            self.holders.insert(peer, id);
            let older = self.filter_version.wrapping_sub(1);
            self.install(now, id, older, filter);
        }
    }

    /// A number that nobody can foresee who does not know the seed.
    pub(super) fn chance(&mut self) -> u64 {
        let number = self.number();
        scramble(self.config.seed, number)
    }

    /// Finds a foreign peer again that was lost: soon when it was there for a while, otherwise as
    /// after a failed attempt.
    pub(super) fn rejoin(
        &mut self,
        now: Timestamp,
        url: Arc<PeerUrl>,
        address: NetworkAddress,
        retry: Retry,
        joined: Option<Timestamp>,
        failures: u32,
    ) {
        let Some(asked) = retry.pause() else { return };
        let random = self.chance();
        let lasted = joined.is_some_and(|at| at.saturating_add(asked) <= now);
        let (until, failures) = if lasted {
            (first(asked, random), 0)
        } else {
            (pause(asked, failures, random), failures.saturating_add(1))
        };
        let until = now.saturating_add(until);
        self.try_again(Transport::Foreign(url), address, retry, failures, until);
    }
}

#[cfg(test)]
mod tests {
    use broker_data::Timespan;

    use super::*;
    use crate::backoff::{BACKOFF_MAX, FIRST_PAUSE_MAX};
    use crate::config::Config;
    use crate::endpoint::{Closed, Outcome, Output, RequestId};
    use crate::topic::Topic;

    const ME: EndpointId = EndpointId::from_bytes([1; 16]);
    const PEER: EndpointId = EndpointId::from_bytes([2; 16]);
    const URL: &str = "ws://there:1/v1/messages/json";
    const ALIAS: &str = "ws://alias:1/v1/messages/json";
    const SECOND: i64 = 1_000_000_000;

    fn at(ns: i64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    fn every_second() -> Retry {
        Retry::After(Timespan::from_ns(SECOND))
    }

    fn url(text: &str) -> Arc<PeerUrl> {
        Arc::new(PeerUrl::parse(text, None).unwrap())
    }

    fn everything() -> Filter {
        [Topic::from("")].into_iter().collect()
    }

    fn outputs(endpoint: &mut Endpoint) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some(output) = endpoint.poll_output() {
            shown.push(match output {
                Output::Join { url, .. } => format!("join {url}"),
                Output::Interest { filter, .. } => format!("interest {filter:?}"),
                Output::Install { peer, .. } => format!("install {peer}"),
                Output::Uninstall { peer } => format!("uninstall {peer}"),
                Output::Close { cause, .. } => format!("close {cause:?}"),
                Output::Event(crate::Event::Status(status)) => format!("{:?}", status.code),
                Output::Event(crate::Event::Error(fault)) => fault.text,
                Output::Reply { outcome, .. } => match outcome {
                    Outcome::PeerFailed { text, .. } => format!("failed {text}"),
                    other => format!("{other:?}"),
                },
                other => format!("{other:?}"),
            });
        }
        shown
    }

    /// An endpoint that is joining, and its connection.
    fn joining(retry: Retry) -> (Endpoint, ConnectionId) {
        let mut endpoint = Endpoint::new(Config::new(ME, 7));
        endpoint.peer_foreign(at(0), url(URL), retry, Some(RequestId(1)));
        let Some(Output::Join { connection, .. }) = endpoint.poll_output() else {
            panic!("an attempt begins at once")
        };
        (endpoint, connection)
    }

    fn joined(retry: Retry) -> (Endpoint, ConnectionId) {
        let (mut endpoint, connection) = joining(retry);
        endpoint.handle_joined(at(0), connection, PEER, everything());
        outputs(&mut endpoint);
        (endpoint, connection)
    }

    #[test]
    fn a_foreign_peer_looks_like_any_other() {
        let (mut endpoint, connection) = joining(Retry::Never);
        endpoint.subscribe(at(0), &["/early".into()]);
        assert_eq!(outputs(&mut endpoint), [""; 0]);
        endpoint.handle_joined(at(1), connection, PEER, everything());
        let peer = PEER.to_string();
        assert_eq!(
            outputs(&mut endpoint),
            [
                &format!("install {peer}"),
                "interest [`/early`]",
                "EndpointDiscovered",
                "PeerAdded",
                "Peered",
            ]
            .map(|it| it.replace('`', "\""))
        );
        let peers = endpoint.peers();
        assert_eq!((peers[0].id, peers[0].network.host.as_str()), (PEER, URL));
        endpoint.subscribe(at(2), &["/late".into()]);
        assert_eq!(outputs(&mut endpoint), [r#"interest ["/early", "/late"]"#]);
        endpoint.unpeer(at(3), URL, 1, None);
        assert_eq!(
            outputs(&mut endpoint),
            [
                format!("uninstall {peer}"),
                "close Goodbye".to_owned(),
                "PeerRemoved".to_owned(),
                "EndpointUnreachable".to_owned(),
            ]
        );
        assert!(endpoint.peers().is_empty());
    }

    #[test]
    fn addresses_are_known_from_the_first_attempt_on() {
        let (mut endpoint, connection) = joining(every_second());
        assert_eq!(endpoint.foreign_urls(), [url(URL)]);
        assert!(!endpoint.expects_native_peers());
        endpoint.handle_joined(at(1), connection, PEER, everything());
        assert_eq!(endpoint.foreign_urls(), [url(URL)]);
        endpoint.handle_closed(at(2), connection, Closed::Remote);
        assert_eq!(endpoint.foreign_urls(), [url(URL)]);
        endpoint.unpeer(at(3), URL, 1, None);
        assert!(endpoint.foreign_urls().is_empty());
        endpoint.peer(at(4), "host", 1, Retry::Never, None);
        assert!(endpoint.expects_native_peers());
        endpoint.unpeer(at(5), "host", 1, None);
        assert!(!endpoint.expects_native_peers());
    }

    #[test]
    fn what_a_foreign_peer_wants_changes_when_it_says_so() {
        let (mut endpoint, connection) = joining(Retry::Never);
        let filter = |topic: &str| -> Filter { [Topic::from(topic)].into_iter().collect() };
        // Before it is a peer it has nothing to say.
        endpoint.handle_filter(connection, PEER, filter("/early"));
        assert_eq!(outputs(&mut endpoint), [""; 0]);
        endpoint.handle_joined(at(1), connection, PEER, filter("/a"));
        outputs(&mut endpoint);
        endpoint.handle_filter(connection, PEER, filter("/b"));
        let expected = Output::PeerFilter {
            peer: PEER,
            filter: filter("/b"),
        };
        assert_eq!(endpoint.poll_output(), Some(expected));
        endpoint.handle_filter(connection, ME, filter("/c"));
        assert_eq!(outputs(&mut endpoint), [""; 0]);
    }

    #[test]
    fn a_peer_that_was_lost_is_looked_for_where_the_last_attempt_found_it() {
        let (mut endpoint, connection) = joined(Retry::Never);
        endpoint.peer_foreign(at(1), url(ALIAS), every_second(), None);
        let Some(Output::Join {
            connection: again, ..
        }) = endpoint.poll_output()
        else {
            panic!("an attempt begins at once")
        };
        endpoint.handle_joined(at(1), again, PEER, everything());
        outputs(&mut endpoint);
        endpoint.handle_closed(at(5 * SECOND), connection, Closed::Remote);
        outputs(&mut endpoint);
        let (due, _) = endpoint.next_timeout().unwrap();
        endpoint.handle_timeout(due);
        assert_eq!(outputs(&mut endpoint), [format!("join {ALIAS}")]);
    }

    #[test]
    fn a_shutdown_does_not_wait_for_foreign_peers() {
        let (mut endpoint, _) = joined(Retry::Never);
        endpoint.shutdown(at(1));
        let shown = outputs(&mut endpoint);
        assert!(shown.contains(&"ShutdownComplete".to_owned()), "{shown:?}");
    }

    #[test]
    fn a_lost_peer_is_looked_for_again() {
        let (mut endpoint, connection) = joined(every_second());
        endpoint.handle_closed(at(5 * SECOND), connection, Closed::Remote);
        assert!(outputs(&mut endpoint).contains(&"PeerLost".to_owned()));
        let (due, _) = endpoint.next_timeout().unwrap();
        assert!(due.ns() - 5 * SECOND <= FIRST_PAUSE_MAX.ns(), "{due:?}");
        endpoint.handle_timeout(due);
        assert_eq!(outputs(&mut endpoint), [format!("join {URL}")]);
    }

    #[test]
    fn a_peer_that_hangs_up_at_once_is_not_called_at_once() {
        let (mut endpoint, connection) = joined(every_second());
        endpoint.handle_closed(at(1), connection, Closed::Remote);
        outputs(&mut endpoint);
        let (due, _) = endpoint.next_timeout().unwrap();
        assert!(due.ns() >= SECOND * 3 / 4, "{due:?}");
    }

    #[test]
    fn attempts_back_off_and_a_success_begins_anew() {
        let (mut endpoint, mut connection) = joining(every_second());
        let mut now = 0;
        for doublings in 0..10 {
            endpoint.handle_dial_failed(at(now), connection, Some(DialFault::refused("no")));
            assert_eq!(outputs(&mut endpoint).len(), 1);
            let (due, _) = endpoint.next_timeout().unwrap();
            let whole = (SECOND << doublings).min(BACKOFF_MAX.ns());
            let waits = due.ns() - now;
            assert!(
                waits <= whole && waits >= whole * 3 / 4,
                "{doublings}: {waits}"
            );
            now = due.ns();
            endpoint.handle_timeout(due);
            let Some(Output::Join {
                connection: next, ..
            }) = endpoint.poll_output()
            else {
                panic!("it is tried again")
            };
            connection = next;
        }
        endpoint.handle_joined(at(now), connection, PEER, everything());
        outputs(&mut endpoint);
        endpoint.handle_closed(at(now + 2 * SECOND), connection, Closed::Remote);
        let (due, _) = endpoint.next_timeout().unwrap();
        assert!(due.ns() - now <= 2 * SECOND + FIRST_PAUSE_MAX.ns());
    }

    #[test]
    fn an_address_that_leads_back_fails() {
        let (mut endpoint, connection) = joining(Retry::Never);
        endpoint.handle_joined(at(0), connection, ME, everything());
        let shown = outputs(&mut endpoint);
        assert!(
            shown[2].contains("leads back to this endpoint"),
            "{shown:?}"
        );
    }

    #[test]
    fn one_peer_by_two_addresses_is_one_peering() {
        let (mut endpoint, _) = joined(Retry::Never);
        endpoint.peer_foreign(at(1), url(ALIAS), Retry::Never, Some(RequestId(2)));
        let Some(Output::Join { connection, .. }) = endpoint.poll_output() else {
            panic!("an attempt begins at once")
        };
        endpoint.handle_joined(at(1), connection, PEER, everything());
        assert_eq!(outputs(&mut endpoint), ["close Cancelled", "Peered"]);
        assert_eq!(endpoint.peers().len(), 1);
    }
}
