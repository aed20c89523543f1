//! Endpoints over real sockets: peerings, messages, events, endings.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[path = "machine/ports.rs"]
mod ports;

use std::time::{Duration, Instant};

use broker::{
    Capacity, Endpoint, Error, ErrorCode, Event, Loss, Options, Overflow, Retry, StatusCode, Value,
};
use ports::reserved_port;

/// Nothing here takes that long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(60);

fn endpoint(ssl: bool) -> Endpoint {
    Endpoint::builder()
        .disable_ssl(!(ssl && cfg!(feature = "tls")))
        .build()
        .unwrap()
}

fn listening(ssl: bool) -> (Endpoint, u16) {
    let endpoint = endpoint(ssl);
    let port = endpoint.listen("127.0.0.1", 0).wait().unwrap();
    (endpoint, port)
}

/// An endpoint that listens at a port which nothing else takes once it is gone.
fn listening_alone() -> (Endpoint, u16) {
    let (endpoint, port) = (endpoint(false), reserved_port());
    endpoint.listen("127.0.0.1", port).wait().unwrap();
    (endpoint, port)
}

/// Two endpoints that both know the peering.
fn pair(ssl: bool) -> (Endpoint, Endpoint, u16) {
    let (left, port) = listening(ssl);
    let right = endpoint(ssl);
    connect(&right, &left, port);
    (left, right, port)
}

fn connect(from: &Endpoint, to: &Endpoint, port: u16) {
    from.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    assert!(to.await_peer(from.id(), DEADLINE).wait());
}

/// Waits until a peer of the endpoint is known to want the topic.
fn await_subscription(endpoint: &Endpoint, topic: &str) {
    let deadline = Instant::now() + DEADLINE;
    while !endpoint
        .peer_subscriptions()
        .iter()
        .any(|known| known.as_bytes() == topic.as_bytes())
    {
        assert!(Instant::now() < deadline, "nobody wants `{topic}`");
        std::thread::yield_now();
    }
}

fn statuses(subscriber: &broker::StatusSubscriber, count: usize) -> Vec<StatusCode> {
    (0..count)
        .map(|_| match subscriber.recv_timeout(DEADLINE).unwrap() {
            Some(Event::Status(status)) => status.code,
            other => panic!("expected a status, got {other:?}"),
        })
        .collect()
}

#[test]
fn a_message_arrives_with_and_without_tls() {
    for ssl in [true, false] {
        let (left, port) = listening(ssl);
        let messages = left.subscriber(["/topic"]).unwrap();
        let right = endpoint(ssl);
        connect(&right, &left, port);
        right.publish("/topic/a", &(1u64, "hello")).unwrap();
        let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(message.topic(), b"/topic/a");
        assert_eq!(
            message.value(),
            Value::from(vec![Value::Count(1), Value::from("hello")])
        );
        #[cfg(feature = "tls")]
        {
            let session = right.peer_tls(left.id());
            assert_eq!(session.is_some(), ssl);
            assert!(session.is_none_or(|it| it.certificate.is_none() && it.cipher_bits >= 128));
        }
        assert_eq!(message.view().to_string(), "(1, hello)");
    }
}

#[test]
fn a_ping_is_answered_after_what_was_published_before_it() {
    for ssl in [true, false] {
        let (left, right, _) = pair(ssl);
        let messages = left.subscriber(["/topic"]).unwrap();
        await_subscription(&right, "/topic");
        for n in 0..1000u64 {
            right.publish("/topic", &n).unwrap();
        }
        let mut pending = right.ping(left.id());
        assert!(pending.wait_timeout(DEADLINE).unwrap().is_some());
        assert_eq!(messages.available(), 1000);
    }
}

#[test]
fn a_ping_to_a_stranger_or_one_that_leaves_ends_without_a_time() {
    let (left, right, _) = pair(false);
    let stranger = endpoint(false);
    assert_eq!(right.ping(stranger.id()).wait(), None);
    left.shutdown().wait();
    let mut pending = right.ping(left.id());
    assert_eq!(pending.wait_timeout(DEADLINE), Some(None));
    right.shutdown().wait();
    assert_eq!(right.ping(left.id()).wait(), None);
}

#[test]
fn a_message_shows_its_frame() {
    let (left, right, _) = pair(false);
    let messages = left.subscriber(["/topic"]).unwrap();
    await_subscription(&right, "/topic");
    right.publish("/topic", "hello").unwrap();
    let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    let frame = message.frame();
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(length as usize + 4, frame.len());
    assert!(frame.ends_with(b"/topic\x05\x05hello"), "{frame:?}");
    // It went nowhere else, so that it shows the peer it came from. Spec: wire 6.
    assert_eq!(&frame[4..20], right.id().bytes());
}

#[test]
fn order_survives_every_pace() {
    const EACH: i64 = 3_000;
    for ssl in [false, true] {
        let (left, right, _) = pair(ssl);
        let numbers = right.subscriber(["/paced"]).unwrap();
        await_subscription(&left, "/paced");
        std::thread::scope(|scope| {
            for publisher in 0..2_i64 {
                let left = &left;
                scope.spawn(move || {
                    for number in 0..EACH {
                        left.publish("/paced", &(publisher, number)).unwrap();
                        // From a burst to pauses after which a connection counts as idle.
                        let pause = Duration::from_micros((number % 7 * 10).unsigned_abs());
                        let since = Instant::now();
                        while since.elapsed() < pause {
                            std::hint::spin_loop();
                        }
                    }
                });
            }
            let mut next = [0, 0];
            while next != [EACH, EACH] {
                let message = numbers.recv_timeout(DEADLINE).unwrap().unwrap();
                let value = message.value();
                let Some([Value::Integer(publisher), Value::Integer(number)]) = value.as_vector()
                else {
                    panic!("got {value}");
                };
                let next = &mut next[usize::try_from(*publisher).unwrap()];
                assert_eq!(number, next);
                *next += 1;
            }
        });
    }
}

#[test]
fn what_is_published_right_after_peering_arrives() {
    let (left, port) = listening(true);
    let messages = left.subscriber(["/topic"]).unwrap();
    let right = endpoint(true);
    right.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    right.publish("/topic", &1u64).unwrap();
    assert_eq!(
        messages.recv_timeout(DEADLINE).unwrap().unwrap().value(),
        Value::Count(1)
    );
}

#[test]
fn both_sides_see_the_peering_begin_and_end() {
    let (left, port) = listening(true);
    let (right, on_left) = (endpoint(true), left.status_subscriber(true).unwrap());
    let on_right = right.status_subscriber(true).unwrap();
    connect(&right, &left, port);
    let begin = [StatusCode::EndpointDiscovered, StatusCode::PeerAdded];
    assert_eq!(statuses(&on_left, 2), begin);
    assert_eq!(statuses(&on_right, 2), begin);
    right.unpeer("127.0.0.1", port).wait();
    assert_eq!(
        statuses(&on_right, 2),
        [StatusCode::PeerRemoved, StatusCode::EndpointUnreachable]
    );
    assert_eq!(
        statuses(&on_left, 2),
        [StatusCode::PeerLost, StatusCode::EndpointUnreachable]
    );
    assert!(left.peers().is_empty() && right.peers().is_empty());
}

#[test]
fn events_of_one_peering_come_together() {
    let (left, port) = listening(false);
    let right = endpoint(false);
    let events = right.status_subscriber(true).unwrap();
    connect(&right, &left, port);
    let Some(Event::Status(status)) = events.try_next(true) else {
        panic!("no event")
    };
    assert_eq!(status.code, StatusCode::PeerAdded);
    assert_eq!(events.available(), 0);
}

#[test]
fn nobody_listening_is_an_error_with_a_code() {
    let (left, port) = listening_alone();
    left.shutdown().wait();
    let right = endpoint(false);
    let events = right.status_subscriber(false).unwrap();
    let error = right
        .peer("127.0.0.1", port, Retry::Never)
        .wait()
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::PeerUnavailable);
    let Error::PeerUnavailable { text, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(text, "unable to connect to remote peer");
    let Some(Event::Error(fault)) = events.recv_timeout(DEADLINE).unwrap() else {
        panic!()
    };
    assert_eq!(fault.code, ErrorCode::PeerUnavailable);
}

#[test]
fn a_shut_down_listener_frees_its_port() {
    let (left, port) = listening_alone();
    left.shutdown().wait();
    left.shutdown().wait();
    let again = endpoint(false);
    assert_eq!(again.listen("127.0.0.1", port).wait().unwrap(), port);
    assert!(matches!(left.subscriber(["/x"]), Err(Error::ShutDown)));
    assert!(matches!(left.publish("/x", &1u64), Err(Error::ShutDown)));
}

#[test]
fn messages_published_before_a_shutdown_arrive() {
    let (left, right, _) = pair(true);
    let messages = left.subscriber(["/late"]).unwrap();
    await_subscription(&right, "/late");
    for n in 0..10_000u64 {
        right.publish("/late", &n).unwrap();
    }
    right.shutdown().wait();
    for n in 0..10_000u64 {
        let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(message.value(), Value::Count(n));
    }
    left.shutdown().wait();
    assert!(matches!(messages.recv(), Err(Error::Closed)));
}

#[test]
fn subscriptions_after_peering_reach_the_peer() {
    let (left, right, _) = pair(false);
    let early = left.subscriber(["/a"]).unwrap();
    early.add_topic("/b");
    await_subscription(&right, "/b");
    right.publish("/b/1", &1u64).unwrap();
    assert_eq!(
        early.recv_timeout(DEADLINE).unwrap().unwrap().topic(),
        b"/b/1"
    );
    early.remove_topic("/b");
    right.publish("/b/2", &1u64).unwrap();
    right.publish("/a/3", &1u64).unwrap();
    assert_eq!(
        early.recv_timeout(DEADLINE).unwrap().unwrap().topic(),
        b"/a/3"
    );
}

#[test]
fn messages_are_forwarded_and_directed() {
    let (middle, port) = listening(true);
    middle.forward(["/through"]);
    let (left, right) = (endpoint(true), endpoint(true));
    let messages = right.subscriber(["/through"]).unwrap();
    connect(&right, &middle, port);
    connect(&left, &middle, port);
    left.publish("/through/1", &"x").unwrap();
    assert_eq!(
        messages.recv_timeout(DEADLINE).unwrap().unwrap().topic(),
        b"/through/1"
    );
    // Directed, so no subscription is needed over there; a subscriber gets it only on a match.
    let at_middle = middle.subscriber(["/private"]).unwrap();
    left.publish_to(middle.id(), "/private", &1u64).unwrap();
    assert_eq!(
        at_middle.recv_timeout(DEADLINE).unwrap().unwrap().value(),
        Value::Count(1)
    );
}

#[test]
fn local_delivery_follows_the_kind_of_producer() {
    let endpoint = endpoint(false);
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let hub = endpoint.hub(["/t"]).unwrap();
    endpoint.publish("/t/endpoint", &1u64).unwrap();
    hub.publish("/t/hub", &1u64).unwrap();
    assert_eq!(hub.subscriber().recv().unwrap().topic(), b"/t/endpoint");
    assert_eq!(subscriber.recv().unwrap().topic(), b"/t/hub");
    assert!(hub.subscriber().try_recv().is_none() && subscriber.try_recv().is_none());
}

#[test]
fn peering_again_right_after_a_goodbye_succeeds() {
    let (_left, right, port) = pair(false);
    for round in 0..300 {
        let goodbye = right.unpeer("127.0.0.1", port);
        let again = right.peer("127.0.0.1", port, Retry::Never).wait();
        assert!(again.is_ok(), "round {round}: {again:?}");
        goodbye.wait();
    }
}

#[test]
fn a_lost_peer_is_dialed_again() {
    let (left, port) = listening_alone();
    let right = endpoint(false);
    let events = right.status_subscriber(true).unwrap();
    right
        .peer("127.0.0.1", port, Retry::After(Duration::from_millis(100)))
        .wait()
        .unwrap();
    assert_eq!(statuses(&events, 2)[1], StatusCode::PeerAdded);
    left.shutdown().wait();
    assert_eq!(statuses(&events, 2)[0], StatusCode::PeerLost);
    let again = endpoint(false);
    again.listen("127.0.0.1", port).wait().unwrap();
    loop {
        match events.recv_timeout(DEADLINE).unwrap() {
            Some(Event::Error(fault)) => assert_eq!(fault.code, ErrorCode::PeerUnavailable),
            Some(Event::Status(status)) => {
                assert_eq!(status.code, StatusCode::EndpointDiscovered);
                break;
            }
            None => panic!("never reconnected"),
        }
    }
}

#[test]
fn every_form_of_address_works() {
    let left = endpoint(false);
    let any = left.listen("", 0).wait().unwrap();
    let v6 = left.listen("::1", 0).wait().unwrap();
    let name = left.listen("localhost", 0).wait().unwrap();
    for (host, port) in [
        ("127.0.0.1", any),
        ("::1", any),
        ("::1", v6),
        ("localhost", name),
        ("127.0.0.1", name),
    ] {
        let right = endpoint(false);
        right
            .peer(host, port, Retry::Never)
            .wait()
            .unwrap_or_else(|e| panic!("{host}: {e}"));
        right.shutdown().wait();
    }
    assert!(matches!(
        left.listen("127.0.0.1", any).wait(),
        Err(Error::Listen { .. })
    ));
}

#[test]
fn an_unread_subscriber_does_not_stop_the_others() {
    let (left, port) = listening(false);
    let unread = left.subscriber(["/flood"]).unwrap();
    let read = left.subscriber(["/flood"]).unwrap();
    let right = endpoint(false);
    connect(&right, &left, port);
    let reader = std::thread::spawn(move || {
        for n in 0..200_000u64 {
            let message = read.recv_timeout(DEADLINE).unwrap().unwrap();
            assert_eq!(message.value(), Value::Count(n));
        }
    });
    for n in 0..200_000u64 {
        right.publish("/flood", &n).unwrap();
    }
    reader.join().unwrap();
    assert_eq!(unread.available(), 200_000);
}

#[test]
fn a_stalled_subscriber_loses_messages_and_says_so_once() {
    let options = Options {
        disable_ssl: true,
        capacity: broker::Capacity {
            messages_max: 100,
            ..broker::Capacity::default()
        },
        stall_limit: Duration::from_millis(200),
        ..Options::default()
    };
    let left = Endpoint::builder().options(options).build().unwrap();
    let port = left.listen("127.0.0.1", 0).wait().unwrap();
    let stalled = left.subscriber(["/flood"]).unwrap();
    let events = left.status_subscriber(false).unwrap();
    let right = endpoint(false);
    connect(&right, &left, port);
    for n in 0..5_000u64 {
        right.publish("/flood", &n).unwrap();
    }
    let Some(Event::Error(began)) = events.recv_timeout(DEADLINE).unwrap() else {
        panic!("no error event");
    };
    assert_eq!(began.code, ErrorCode::MessagesLost);
    let loss = |count| Loss {
        count,
        topics: vec!["/flood".to_owned()],
        reason: "drop_newest".to_owned(),
    };
    assert_eq!(began.loss, Some(loss(None)));
    assert_eq!(
        began.text,
        "a subscriber of `/flood` does not take its messages: new ones are being dropped"
    );
    let other = left.subscriber(["/other"]).unwrap();
    await_subscription(&right, "/other");
    right.publish("/other", &true).unwrap();
    other.recv_timeout(DEADLINE).unwrap().unwrap();
    assert!(stalled.dropped() > 0 && stalled.available() <= 5_000);
    let lost = stalled.dropped();
    assert_eq!(events.available(), 0);
    stalled.set_on_loss(broker::OnLoss::Fail);
    let failed = stalled.recv_timeout(DEADLINE).unwrap_err();
    assert!(matches!(failed, Error::MessagesLost { count } if count == lost));
    assert_eq!(failed.code(), ErrorCode::MessagesLost);
    let mut taken = 0;
    while taken + lost < 5_000 {
        let message = stalled.recv_timeout(DEADLINE).unwrap().unwrap();
        if taken == 0 {
            assert_eq!(message.value(), Value::Count(0));
        }
        taken += 1;
    }
    assert_eq!((stalled.available(), stalled.dropped()), (0, lost));
    let Some(Event::Error(ended)) = events.recv_timeout(DEADLINE).unwrap() else {
        panic!("no error event");
    };
    assert_eq!(ended.code, ErrorCode::MessagesLost);
    assert_eq!(ended.loss, Some(loss(Some(lost))));
    let said = format!("a subscriber of `/flood` lost {lost} messages within ");
    assert!(ended.text.starts_with(&said), "{}", ended.text);
    assert!(
        ended.text.ends_with("(policy drop_newest)"),
        "{}",
        ended.text
    );
    assert_eq!(events.available(), 0);
}

#[test]
fn a_strict_buffer_disconnects_a_peer_that_does_not_read() {
    let options = Options {
        disable_ssl: true,
        peer_buffer_size: Some(16),
        peer_overflow: Overflow::Disconnect,
        ..Options::default()
    };
    let left = Endpoint::builder().options(options).build().unwrap();
    let events = left.status_subscriber(true).unwrap();
    let port = left.listen("127.0.0.1", 0).wait().unwrap();
    let right = endpoint(false);
    let _unread = right.subscriber(["/flood"]).unwrap();
    connect(&right, &left, port);
    assert_eq!(statuses(&events, 2)[1], StatusCode::PeerAdded);
    let large = "x".repeat(1 << 20);
    let deadline = Instant::now() + DEADLINE;
    while !left.peers().is_empty() {
        left.publish("/flood", large.as_str()).unwrap();
        assert!(Instant::now() < deadline);
    }
    let Some(Event::Status(status)) = events.recv_timeout(DEADLINE).unwrap() else {
        panic!()
    };
    assert_eq!(status.code, StatusCode::PeerRemoved);
    assert!(
        status.text.contains("backpressure_overflow"),
        "{}",
        status.text
    );
    // That is all: the end of a peering is no loss that goes on.
    assert_eq!(statuses(&events, 1), [StatusCode::EndpointUnreachable]);
    assert_eq!(events.available(), 0);
}

#[test]
fn a_strict_buffer_that_drops_says_how_many_the_peer_lost() {
    for policy in [Overflow::DropNewest, Overflow::DropOldest] {
        let options = Options {
            disable_ssl: true,
            peer_buffer_size: Some(16),
            peer_overflow: policy,
            ..Options::default()
        };
        let left = Endpoint::builder().options(options).build().unwrap();
        let events = left.status_subscriber(false).unwrap();
        let port = left.listen("127.0.0.1", 0).wait().unwrap();
        let right = endpoint(false);
        let messages = right.subscriber(["/flood"]).unwrap();
        connect(&right, &left, port);
        let large = "x".repeat(1 << 20);
        let deadline = Instant::now() + DEADLINE;
        while events.available() == 0 {
            left.publish("/flood", large.as_str()).unwrap();
            assert!(Instant::now() < deadline, "nothing is lost");
        }
        let mut told = 0;
        loop {
            let Some(Event::Error(fault)) = events.recv_timeout(DEADLINE).unwrap() else {
                panic!("no error event");
            };
            assert_eq!(fault.code, ErrorCode::MessagesLost);
            let peer = fault.context.as_ref().unwrap();
            assert_eq!(peer.id, Some(right.id()));
            let loss = fault.loss.unwrap();
            assert_eq!((&*loss.topics, &*loss.reason), (&[][..], policy.name()));
            told += loss.count.unwrap_or(0);
            if told > 0 {
                break;
            }
            while messages.try_recv().is_some() {}
        }
        // More may have been lost after that.
        assert!(told <= left.dropped_for_peer(right.id()));
    }
}

#[tokio::test]
async fn everything_can_be_awaited() {
    use futures_core::Stream;
    use std::pin::pin;
    let runtime = tokio::runtime::Handle::current();
    let left = Endpoint::builder()
        .runtime(runtime)
        .disable_ssl(true)
        .build()
        .unwrap();
    let port = left.listen("127.0.0.1", 0).await.unwrap();
    let mut messages = pin!(left.subscriber(["/t"]).unwrap());
    let right = endpoint(false);
    right.peer("127.0.0.1", port, Retry::Never).await.unwrap();
    right.publish_async("/t", &1u64).await.unwrap();
    let message = std::future::poll_fn(|cx| messages.as_mut().poll_next(cx))
        .await
        .unwrap();
    assert_eq!(message.value(), Value::Count(1));
    right.shutdown().await;
    left.shutdown().await;
    assert!(
        std::future::poll_fn(|cx| messages.as_mut().poll_next(cx))
            .await
            .is_none()
    );
}

#[test]
fn what_is_put_back_comes_first_again() {
    let (left, right, _) = pair(false);
    let messages = right.subscriber(["/t"]).unwrap();
    let descriptor = messages.fd().unwrap();
    await_subscription(&left, "/t");
    for number in 0..4u64 {
        left.publish("/t", &number).unwrap();
    }
    let mut taken = Vec::new();
    while taken.len() < 3 {
        assert!(messages.wait(Some(DEADLINE)));
        messages.recv_batch(3 - taken.len(), &mut taken);
    }
    messages.put_back(taken);
    assert_eq!(messages.fd().unwrap(), descriptor);
    for number in 0..4u64 {
        let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(message.value(), Value::Count(number));
    }
    assert_eq!(messages.available(), 0);
}

#[test]
fn messages_are_looked_at_where_they_lie() {
    let (left, right, _) = pair(false);
    let messages = right.subscriber(["/t"]).unwrap();
    await_subscription(&left, "/t");
    for number in 0..100u64 {
        left.publish("/t", &number).unwrap();
    }
    // One is taken out of its run first.
    let first = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    let mut seen = vec![first.value()];
    let mut kept = Vec::new();
    let (mut looked_at, mut panicked) = (0, 0);
    while seen.len() < 100 {
        assert!(messages.wait(Some(DEADLINE)));
        let look = std::panic::AssertUnwindSafe(|| {
            looked_at += messages.for_each_ready(|message| {
                assert_eq!(message.topic(), b"/t");
                seen.push(message.view().to_value());
                kept.push(message.to_message());
                if seen.len() % 30 == 0 {
                    panic!("the reader fails");
                }
            });
        });
        panicked += usize::from(std::panic::catch_unwind(look).is_err());
    }
    assert_eq!(panicked, 3);
    assert!(looked_at < 100, "those before a panic are not counted");
    let numbers: Vec<_> = (0..100).map(Value::Count).collect();
    assert_eq!(seen, numbers);
    let values = kept.iter().map(broker::Message::value);
    assert!(values.eq(numbers.into_iter().skip(1)));
    assert_eq!(messages.available(), 0);
    assert_eq!(messages.for_each_ready(|_| ()), 0);
    right.shutdown().wait();
    assert!(messages.is_closed());
}

#[test]
fn a_thread_may_publish_for_several_endpoints_in_turn() {
    let endpoints = [endpoint(false), endpoint(false)];
    let hubs = endpoints.each_ref().map(|endpoint| {
        let one = endpoint.hub(["/none"]).unwrap();
        (one, endpoint.hub(["/none"]).unwrap())
    });
    let mut subscribers = Vec::new();
    let mut expected: Vec<Vec<u64>> = Vec::new();
    for number in 0..2000u64 {
        // Every now and then somebody comes or goes, so that who gets a topic changes.
        match number % 50 {
            0 => {
                let place = usize::from(number % 100 == 0);
                let topic = ["/a", "/b", "/"][subscribers.len() % 3];
                let subscriber = endpoints[place].subscriber([topic]).unwrap();
                subscribers.push((place, topic, Some(subscriber)));
                expected.push(Vec::new());
            }
            25 if number % 4 == 0 => {
                let index = usize::try_from(number).unwrap() % subscribers.len();
                subscribers[index].2 = None;
            }
            _ => {}
        }
        let (place, topic) = (
            usize::from(number % 3 == 0),
            ["/a", "/b"][usize::from(number % 5 == 0)],
        );
        let (one, other) = &hubs[place];
        let hub = if number % 7 == 0 { one } else { other };
        hub.publish(topic, &number).unwrap();
        for ((at, wanted, _), list) in subscribers.iter().zip(&mut expected) {
            if *at == place && topic.starts_with(wanted) {
                list.push(number);
            }
        }
    }
    let mut checked = 0;
    for ((_, _, subscriber), list) in subscribers.iter().zip(&expected) {
        let Some(subscriber) = subscriber else {
            continue;
        };
        let mut found = Vec::new();
        while let Some(message) = subscriber.try_recv() {
            found.push(message.value());
        }
        let list: Vec<_> = list.iter().copied().map(Value::Count).collect();
        assert_eq!(found, list);
        checked += found.len();
    }
    assert!(checked > 1000, "{checked} messages");
}

#[test]
fn absurd_limits_are_as_good_as_none() {
    let options = Options {
        disable_ssl: true,
        capacity: Capacity {
            messages_max: usize::MAX,
            bytes_max: usize::MAX,
        },
        stall_limit: Duration::MAX,
        connect_timeout: Duration::MAX,
        handshake_timeout: Duration::MAX,
        dead_peer_timeout: Duration::MAX,
        pending_connections_max: usize::MAX,
        frame_bytes_max: usize::MAX,
        ..Options::default()
    };
    let build = || {
        Endpoint::builder()
            .options(options.clone())
            .build()
            .unwrap()
    };
    let (left, right) = (build(), build());
    let port = left.listen("127.0.0.1", 0).wait().unwrap();
    let messages = right.subscriber(["/t"]).unwrap();
    let peered = right.peer("127.0.0.1", port, Retry::After(Duration::MAX));
    peered.wait().unwrap();
    assert!(left.await_peer(right.id(), Duration::MAX).wait());
    left.publish("/t", &1u64).unwrap();
    assert!(messages.recv_timeout(Duration::MAX).unwrap().is_some());
}

#[test]
fn a_publish_that_found_no_room_may_be_waited_for_without_end() {
    let options = Options {
        disable_ssl: true,
        capacity: Capacity {
            messages_max: 1,
            ..Capacity::default()
        },
        ..Options::default()
    };
    let endpoint = Endpoint::builder().options(options).build().unwrap();
    let hub = endpoint.hub(["/t"]).unwrap();
    endpoint.publish("/t", &1u64).unwrap();
    let value = |out: &mut Vec<u8>| -> Result<(), Error> {
        out.push(0);
        Ok(())
    };
    let mut blocked = endpoint.offer(None, b"/t", value).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || blocked.wait_timeout(Duration::MAX));
        assert_eq!(hub.subscriber().recv().unwrap().value(), Value::Count(1));
        assert!(waiting.join().unwrap());
    });
    assert_eq!(hub.subscriber().recv().unwrap().value(), Value::None);
}
