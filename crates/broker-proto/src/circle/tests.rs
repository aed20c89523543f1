use super::*;
use crate::frame::{EnvelopeError, Tag, write_envelope};

const SECRET: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

const ME: EndpointId = EndpointId::from_bytes([1; 16]);
const A: EndpointId = EndpointId::from_bytes([0xa; 16]);
const B: EndpointId = EndpointId::from_bytes([0xb; 16]);

fn circles() -> Circles {
    let mut number = 0;
    let nonces = move || {
        number += 1;
        number
    };
    Circles::new(ME, Keys::new(SECRET), Box::new(nonces))
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

fn frame(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (topic, all) = (topic.as_bytes(), EndpointId::NIL);
    write_envelope::<EnvelopeError>(&mut out, A, all, Tag::Data, topic, |out| {
        out.extend_from_slice(payload);
        Ok(())
    })
    .unwrap();
    out
}

fn outputs(circles: &mut Circles) -> Vec<Output> {
    std::iter::from_fn(|| circles.poll_output()).collect()
}

/// Shows the same message as often as it takes, from two peers.
fn raise_suspicion(circles: &mut Circles, now: Timestamp, topic: &str) -> Option<Probe> {
    let frame = frame(topic, b"x");
    for from in [A, B, A, B] {
        circles.handle_message(now, from, topic.as_bytes(), &frame);
    }
    outputs(circles)
        .into_iter()
        .find_map(|output| match output {
            Output::Send { to, probe, .. } if to == B => Some(probe),
            _ => None,
        })
}

#[test]
fn a_probe_that_comes_back_closes_a_link() {
    let mut circles = circles();
    let probe = raise_suspicion(&mut circles, at(0), "/t").unwrap();
    assert_eq!((probe.prober, probe.is_renewal), (ME, false));
    assert_eq!(circles.handle_probe(at(1), A, b"/t", probe, 1), None);
    let topic = Topic::from("/t");
    let closed = Output::Close {
        topic: topic.clone(),
        peers: vec![B],
    };
    assert_eq!(outputs(&mut circles), [closed]);
    // What was held circled, and the peer that stays open goes.
    circles.handle_timeout(at(500));
    assert_eq!(outputs(&mut circles), []);
    circles.handle_peer_gone(at(600), A);
    let opened = Output::Close {
        topic,
        peers: Vec::new(),
    };
    assert!(outputs(&mut circles).contains(&opened));
}

#[test]
fn what_is_held_comes_back_unless_it_circles() {
    let mut circles = circles();
    raise_suspicion(&mut circles, at(0), "/t").unwrap();
    let frame = frame("/t", b"x");
    let verdict = circles.handle_message(at(1), A, b"/t", &frame);
    assert_eq!(verdict, Verdict::Hold);
    let other = frame_of_another();
    assert_eq!(
        circles.handle_message(at(1), A, b"/t", &other),
        Verdict::Pass
    );
    assert_eq!(circles.next_timeout(), Some(at(500)));
    circles.handle_timeout(at(500));
    let outputs = outputs(&mut circles);
    let released = outputs.iter().find_map(|output| match output {
        Output::Release { message, .. } => Some(message),
        _ => None,
    });
    let released = released.unwrap();
    // The fourth and the fifth.
    assert_eq!((&released.frame, released.copies.len()), (&frame, 2));
    let verdict = circles.handle_message(at(501), A, b"/t", &frame);
    assert_eq!(verdict, Verdict::Pass);
}

fn frame_of_another() -> Vec<u8> {
    frame("/t", b"y")
}

#[test]
fn the_probe_of_a_smaller_endpoint_goes_on_once_and_of_a_larger_one_never() {
    let mut circles = circles();
    let smaller = Probe {
        prober: EndpointId::from_bytes([0; 16]),
        nonce: 7,
        is_mixed: false,
        is_renewal: false,
        hops: 0,
    };
    let passed = circles.handle_probe(at(0), A, b"/t", smaller, 1).unwrap();
    assert_eq!((passed.hops, passed.is_mixed), (1, true));
    assert_eq!(circles.handle_probe(at(0), B, b"/t", smaller, 1), None);
    let far = Probe {
        nonce: 8,
        hops: HOPS_MAX,
        ..smaller
    };
    assert_eq!(circles.handle_probe(at(0), A, b"/t", far, 1), None);
    assert_eq!(outputs(&mut circles), []);
    let larger = Probe {
        prober: EndpointId::from_bytes([9; 16]),
        ..smaller
    };
    assert_eq!(circles.handle_probe(at(0), A, b"/t", larger, 1), None);
    assert!(
        matches!(&*outputs(&mut circles), [Output::Send { to: A, probe, .. }] if probe.prober == ME)
    );
    // Not for every question, and not where nothing goes on.
    assert_eq!(circles.handle_probe(at(1), A, b"/t", larger, 1), None);
    assert_eq!(circles.handle_probe(at(1), A, b"/u", larger, 0), None);
    assert_eq!(outputs(&mut circles), []);
}

#[test]
fn topics_and_tests_are_bounded() {
    let mut circles = circles();
    let count = i64::try_from(TOPICS_MAX).unwrap() * 2;
    for number in 0..count {
        let topic = format!("/{number}");
        if let Some(probe) = raise_suspicion(&mut circles, at(number), &topic) {
            circles.handle_probe(at(number), A, topic.as_bytes(), probe, 1);
        }
        circles.handle_timeout(at(number));
        outputs(&mut circles);
        assert!(circles.cases.len() <= TOPICS_MAX && circles.tests <= TESTS_MAX);
        assert!(circles.agenda.len() <= circles.cases.len());
    }
    assert!(circles.cases.len() > TOPICS_MAX / 8);
    circles.handle_timeout(at(count + 10_000));
    assert_eq!(circles.tests, 0);
}

/// Has one more topic looked at, and returns what is told of too many. Of many messages at a time
/// some are not counted, so it may take several.
fn crowd(circles: &mut Circles, number: &mut i64, now: i64) -> Vec<Topic> {
    let before = (circles.cases.len(), circles.crowded);
    while (circles.cases.len(), circles.crowded) == before {
        *number += 1;
        let topic = format!("/{number}");
        let frame = frame(&topic, b"x");
        for from in [A, B, A, B] {
            circles.handle_message(at(now), from, topic.as_bytes(), &frame);
        }
        circles.handle_timeout(at(now));
    }
    let told = outputs(circles).into_iter().filter_map(|it| match it {
        Output::Report(Report::Crowded { topic }) => Some(topic),
        _ => None,
    });
    told.collect()
}

#[test]
fn too_many_topics_are_told_once_per_burst() {
    let mut circles = circles();
    let (mut number, mut now) = (0, 0);
    while circles.cases.len() < TOPICS_MAX {
        assert_eq!(crowd(&mut circles, &mut number, now), []);
        now += 10;
    }
    assert_eq!(crowd(&mut circles, &mut number, now), [Topic::from("/1")]);
    for pause in [1, 10, 59_999] {
        now += pause;
        assert_eq!(crowd(&mut circles, &mut number, now), []);
    }
    now += 60_000;
    assert_eq!(crowd(&mut circles, &mut number, now).len(), 1);
    assert_eq!(circles.cases.len(), TOPICS_MAX);
}

#[test]
fn the_topics_that_were_quiet_for_longest_are_forgotten() {
    let mut circles = circles();
    let topic = |number: i64| Topic::from(format!("/{number}").as_str());
    let max = i64::try_from(TOPICS_MAX).unwrap();
    for number in 0..max {
        circles.case(at(number), &topic(number));
    }
    let mut expected: VecDeque<i64> = (0..max).collect();
    for number in max..max + 500 {
        // Now and then one of those that were about to go is heard of again.
        if number % 7 == 0 {
            let back = expected.remove(3).unwrap();
            circles.case(at(number), &topic(back));
            expected.push_back(back);
        }
        circles.case(at(number), &topic(number));
        expected.push_back(number);
        let gone = expected.pop_front().unwrap();
        assert!(!circles.cases.contains_key(&topic(gone)), "{gone}");
        assert_eq!(circles.cases.len(), TOPICS_MAX);
        outputs(&mut circles);
    }
}

#[test]
fn a_probe_of_nobody_proves_nothing() {
    let mut circles = circles();
    let probe = raise_suspicion(&mut circles, at(0), "/t").unwrap();
    let guessed = Probe {
        nonce: probe.nonce.wrapping_add(1),
        ..probe
    };
    circles.handle_probe(at(1), A, b"/t", guessed, 1);
    circles.handle_probe(at(1), A, b"/other", probe, 1);
    // The right one, but too late.
    circles.handle_probe(at(6_000), A, b"/t", probe, 1);
    assert_eq!(outputs(&mut circles), []);
}
