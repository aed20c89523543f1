//! RFC 6455 frame by frame: the list of server cases of the Autobahn test suite, restated.
//!
//! The suite echoes; our server does not. A message that arrives is shown by the answer to it: the
//! error message of a text that is no data message, which names its number.

use std::time::Duration;

use crate::client::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, PING, PONG, Received, TEXT, frame, unmasked,
};

/// A client behind its subscription. The endpoint lives as long as the returned value.
fn client() -> (broker::Endpoint, Client) {
    let (endpoint, port) = crate::server();
    let client = Client::subscribed(port, &[]);
    (endpoint, client)
}

/// Reads the answer to a message that is no data message.
fn expect_handled(client: &mut Client, number: u64) {
    let answer = client.read_text();
    let expected = format!("input #{number} ");
    assert!(answer.contains(&expected), "expected {expected}in {answer}");
}

fn fails_with(code: u16, frames: &[Vec<u8>]) {
    let (_endpoint, mut client) = client();
    for frame in frames {
        client.send(frame);
    }
    let (got, reason, _) = client.read_close();
    assert_eq!(got, code, "{reason}: {frames:02x?}");
}

// Cases 1: framing.

#[test]
fn messages_of_every_length_in_text_and_binary() {
    let (_endpoint, mut client) = client();
    let mut number = 0;
    for length in [0, 1, 125, 126, 127, 128, 65535, 65536, 70000] {
        for opcode in [TEXT, BINARY] {
            client.send_frame(FIN | opcode, &vec![b'*'; length]);
            number += 1;
            expect_handled(&mut client, number);
        }
    }
}

#[test]
fn messages_in_small_pieces_of_bytes() {
    let (_endpoint, mut client) = client();
    for piece in frame(FIN | TEXT, &vec![b'*'; 1000]).chunks(97) {
        client.send(piece);
        std::thread::sleep(Duration::from_millis(1));
    }
    expect_handled(&mut client, 1);
}

// Cases 2: pings and pongs.

#[test]
fn pings_are_answered_with_their_payload() {
    let (_endpoint, mut client) = client();
    for length in [0, 1, 125] {
        let payload = vec![0xfe; length];
        client.send_frame(FIN | PING, &payload);
        assert_eq!(client.read(PONG), payload);
    }
    for piece in frame(FIN | PING, &[0xfe; 125]).chunks(10) {
        client.send(piece);
    }
    assert_eq!(client.read(PONG), [0xfe; 125]);
}

#[test]
fn pings_that_are_too_long_fail() {
    fails_with(1002, &[frame(FIN | PING, &[0; 126])]);
}

#[test]
fn pongs_that_nobody_asked_for_are_ignored() {
    let (_endpoint, mut client) = client();
    client.send_frame(FIN | PONG, b"");
    client.send_frame(FIN | PONG, b"unsolicited");
    client.send_frame(FIN | PING, b"ping");
    assert_eq!(client.read(PONG), b"ping");
}

#[test]
fn of_many_pings_at_once_the_last_is_answered() {
    let (_endpoint, mut client) = client();
    let burst: Vec<u8> = (0..10u8).flat_map(|n| frame(FIN | PING, &[n])).collect();
    client.send(&burst);
    // RFC 6455, section 5.5.3, lets older ones go unanswered.
    while client.read(PONG) != [9] {}
}

// Cases 3: reserved bits.

#[test]
fn reserved_bits_fail() {
    for bits in 1..8u8 {
        fails_with(1002, &[frame(FIN | bits << 4 | TEXT, b"[]")]);
    }
    fails_with(1002, &[frame(FIN | 0x40 | PING, b"")]);
    fails_with(1002, &[frame(FIN | 0x70 | CLOSE, b"")]);
}

// Cases 4: opcodes.

#[test]
fn unknown_opcodes_fail() {
    for opcode in (3..8).chain(11..16) {
        fails_with(1002, &[frame(FIN | opcode, b"")]);
        fails_with(1002, &[frame(FIN | opcode, b"payload")]);
    }
}

// Cases 5: fragments.

#[test]
fn control_frames_in_fragments_fail() {
    fails_with(1002, &[frame(PING, b"a"), frame(FIN | CONTINUATION, b"b")]);
    fails_with(1002, &[frame(PONG, b"a"), frame(FIN | CONTINUATION, b"b")]);
}

#[test]
fn fragments_are_put_together() {
    let (_endpoint, mut client) = client();
    client.send_frame(TEXT, b"frag");
    client.send_frame(CONTINUATION, b"");
    client.send_frame(FIN | CONTINUATION, b"ment");
    expect_handled(&mut client, 1);
    let burst: Vec<u8> = [
        frame(BINARY, b"a"),
        frame(CONTINUATION, b"b"),
        frame(FIN | CONTINUATION, b""),
    ]
    .concat();
    client.send(&burst);
    expect_handled(&mut client, 2);
}

#[test]
fn control_frames_between_fragments_are_answered_at_once() {
    let (_endpoint, mut client) = client();
    client.send_frame(TEXT, b"frag");
    client.send_frame(FIN | PING, b"one");
    assert_eq!(client.read(PONG), b"one");
    client.send_frame(CONTINUATION, b"men");
    client.send_frame(FIN | PING, b"two");
    assert_eq!(client.read(PONG), b"two");
    client.send_frame(FIN | CONTINUATION, b"t");
    expect_handled(&mut client, 1);
}

#[test]
fn continuations_of_nothing_fail() {
    for last in [0, FIN] {
        fails_with(
            1002,
            &[frame(last | CONTINUATION, b"a"), frame(FIN | TEXT, b"b")],
        );
    }
    let done = [frame(TEXT, b"a"), frame(FIN | CONTINUATION, b"b")];
    fails_with(1002, &[&done[..], &[frame(CONTINUATION, b"c")]].concat());
}

#[test]
fn messages_inside_messages_fail() {
    for opcode in [TEXT, BINARY] {
        fails_with(1002, &[frame(TEXT, b"a"), frame(FIN | opcode, b"b")]);
        fails_with(1002, &[frame(TEXT, b"a"), frame(opcode, b"b")]);
    }
}

// Cases 6: UTF-8.

#[test]
fn text_is_utf_8_also_across_fragments() {
    let (_endpoint, mut client) = client();
    let text = "κόσμε \u{10ffff}\u{fffd}\0".as_bytes();
    client.send_frame(FIN | TEXT, text);
    expect_handled(&mut client, 1);
    for (index, byte) in text.iter().enumerate() {
        let first = if index == 0 { TEXT } else { CONTINUATION };
        client.send_frame(first, &[*byte]);
    }
    client.send_frame(FIN | CONTINUATION, b"");
    expect_handled(&mut client, 2);
}

#[test]
fn text_that_is_not_utf_8_fails() {
    let texts: [&[u8]; 8] = [
        b"\xff",
        b"a\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xce\xba\xe1\xbd",
        b"\xf8\x88\x80\x80\x80",
    ];
    for text in texts {
        fails_with(1007, &[frame(FIN | TEXT, text)]);
        fails_with(1007, &[frame(TEXT, text), frame(FIN | CONTINUATION, b"")]);
    }
    // As soon as it is clear, not only at the end.
    fails_with(1007, &[frame(TEXT, b"\xce\xba\xff")]);
}

// Cases 7: closing.

fn closes_with(payload: &[u8]) -> Vec<u8> {
    let (_endpoint, mut client) = client();
    client.send_frame(FIN | CLOSE, payload);
    let echoed = client.read(CLOSE);
    assert_eq!(client.receive(), Received::End);
    echoed
}

#[test]
fn close_frames_are_echoed() {
    assert_eq!(closes_with(b""), b"");
    for code in [
        1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        let code = code.to_be_bytes();
        assert_eq!(closes_with(&code), code);
        let reason = [&code[..], "κόσμε".as_bytes()].concat();
        assert_eq!(closes_with(&reason)[..2], code);
    }
    let longest = [&1000u16.to_be_bytes()[..], &[b'x'; 123]].concat();
    assert_eq!(closes_with(&longest)[..2], longest[..2]);
}

#[test]
fn close_frames_that_are_wrong_fail() {
    for code in [0u16, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999] {
        assert_eq!(
            closes_with(&code.to_be_bytes())[..2],
            1002u16.to_be_bytes(),
            "{code}"
        );
    }
    fails_with(1002, &[frame(FIN | CLOSE, b"\x03")]);
    fails_with(1002, &[frame(FIN | CLOSE, &[3; 126])]);
    fails_with(1007, &[frame(FIN | CLOSE, b"\x03\xe8\xff")]);
}

#[test]
fn after_a_close_frame_nothing_counts() {
    let (_endpoint, mut client) = client();
    client.send_frame(TEXT, b"unfinished");
    client.send_frame(FIN | CLOSE, &1000u16.to_be_bytes());
    client.send_frame(FIN | PING, b"late");
    client.send_frame(FIN | TEXT, b"late");
    assert_eq!(client.read(CLOSE), 1000u16.to_be_bytes());
    assert_eq!(client.receive(), Received::End);
}

// Masks: what the suite takes for granted.

#[test]
fn frames_of_clients_must_be_masked() {
    fails_with(1002, &[unmasked(FIN | TEXT, b"[]")]);
    fails_with(1002, &[unmasked(FIN | PING, b"")]);
}

// Cases 9 and 10: size.

#[test]
fn messages_of_megabytes_in_one_frame_and_in_many() {
    const SIZE: usize = 4 * 1024 * 1024;
    let (_endpoint, mut client) = client();
    client.send_frame(FIN | TEXT, &vec![b'*'; SIZE]);
    expect_handled(&mut client, 1);
    for piece in 0..SIZE / 65536 {
        let first = if piece == 0 { BINARY } else { CONTINUATION };
        client.send_frame(first, &[b'*'; 65536]);
    }
    client.send_frame(FIN | CONTINUATION, b"");
    expect_handled(&mut client, 2);
}
