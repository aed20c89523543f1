//! RFC 6455 frame by frame: the server cases of the Autobahn test suite, all of them but those of
//! compression, under the suite's numbers and with its payloads.
//!
//! The suite echoes; our server does not. That a message arrived is shown by the answer to it: the
//! error message of a text that is no data message, which names its number. Where the suite waits
//! for a second to see that nothing happens, the cases here ask for a sign of life instead.
//!
//! Suite 12 and 13 negotiate compression, which is not offered: see `no_extension_is_agreed_on`.

use std::io::Write;

use crate::client::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, PING, PONG, Received, TEXT, frame, unmasked,
};

/// What many cases of the suite say.
const HELLO: &[u8] = b"Hello, world!";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How the bytes of a case are cut into writes.
#[derive(Clone, Copy)]
enum Chop {
    /// All frames in one write.
    Together,
    /// One write per frame.
    Frames,
    /// Writes of so many bytes.
    Octets(usize),
}

/// How the connection ends.
enum Ending {
    /// The client closes it with 1000, which the server sends back.
    Ours,
    /// The client has closed it; the payload of the server's close frame begins like this.
    Echo(Vec<u8>),
    /// The server closes it with this code.
    Theirs(u16),
}

enum Step {
    Send(Vec<Vec<u8>>),
    /// The message with the next number is answered.
    Handled,
    Pong(Vec<u8>),
}

/// One case of the suite: what is sent, what is seen, how it ends.
struct Case {
    id: String,
    chop: Chop,
    steps: Vec<Step>,
    ending: Ending,
}

fn case(id: impl Into<String>) -> Case {
    Case {
        id: id.into(),
        chop: Chop::Together,
        steps: Vec::new(),
        ending: Ending::Ours,
    }
}

impl Case {
    fn chop(mut self, chop: Chop) -> Self {
        self.chop = chop;
        self
    }

    fn bytes(mut self, bytes: Vec<u8>) -> Self {
        match self.steps.last_mut() {
            Some(Step::Send(frames)) => frames.push(bytes),
            _ => self.steps.push(Step::Send(vec![bytes])),
        }
        self
    }

    fn frame(self, first: u8, payload: &[u8]) -> Self {
        self.bytes(frame(first, payload))
    }

    fn text(self, payload: &[u8]) -> Self {
        self.frame(FIN | TEXT, payload)
    }

    fn ping(self, payload: &[u8]) -> Self {
        self.frame(FIN | PING, payload)
    }

    /// A message in fragments of that size, the last of them smaller perhaps.
    fn fragmented(mut self, opcode: u8, payload: &[u8], size: usize) -> Self {
        let last = payload.len().div_ceil(size) - 1;
        for (index, piece) in payload.chunks(size).enumerate() {
            let opcode = if index == 0 { opcode } else { CONTINUATION };
            let fin = if index == last { FIN } else { 0 };
            self = self.frame(fin | opcode, piece);
        }
        self
    }

    fn handled(mut self) -> Self {
        self.steps.push(Step::Handled);
        self
    }

    fn pong(mut self, payload: &[u8]) -> Self {
        self.steps.push(Step::Pong(payload.to_vec()));
        self
    }

    fn fails(mut self, code: u16) -> Self {
        self.ending = Ending::Theirs(code);
        self
    }

    fn echoes(mut self, payload: &[u8]) -> Self {
        self.ending = Ending::Echo(payload.to_vec());
        self
    }

    fn run(&self, port: u16) {
        let id = &self.id;
        let mut client = Client::subscribed(port, &[]);
        let mut messages = 0;
        for step in &self.steps {
            match step {
                Step::Send(frames) => self.send(&mut client, frames),
                Step::Handled => {
                    messages += 1;
                    let answer = client.read_text();
                    let expected = format!(r#""context":"input #{messages} "#);
                    assert!(
                        answer.contains(&expected),
                        "{id}: {expected} is not in {answer}"
                    );
                }
                Step::Pong(payload) => assert_eq!(client.read(PONG), *payload, "{id}"),
            }
        }
        match &self.ending {
            Ending::Ours => {
                let normal = 1000_u16.to_be_bytes();
                client.send_frame(FIN | CLOSE, &normal);
                assert_eq!(client.read(CLOSE), normal, "{id}");
                assert_eq!(client.receive(), Received::End, "{id}");
            }
            Ending::Echo(payload) => {
                let echo = client.read(CLOSE);
                assert!(echo.starts_with(payload), "{id}: {echo:02x?}");
                assert_eq!(client.receive(), Received::End, "{id}");
            }
            Ending::Theirs(code) => {
                let (closed, reason, before) = client.read_close();
                assert_eq!(closed, *code, "{id}: {reason}");
                assert_eq!(before, [""; 0], "{id}");
            }
        }
    }

    fn send(&self, client: &mut Client, frames: &[Vec<u8>]) {
        let size = match self.chop {
            Chop::Together => usize::MAX,
            Chop::Frames => return frames.iter().for_each(|frame| client.send(frame)),
            Chop::Octets(size) => size,
        };
        let fails = matches!(self.ending, Ending::Theirs(_));
        for chop in frames.concat().chunks(size) {
            // A server that has closed already may refuse the rest.
            let sent = client.stream.write_all(chop);
            assert!(sent.is_ok() || fails, "{}: {sent:?}", self.id);
        }
    }
}

/// Runs cases against one endpoint, each on a connection of its own.
fn run(cases: impl IntoIterator<Item = Case>) {
    let (_endpoint, port) = crate::server();
    for case in cases {
        case.run(port);
    }
}

// --- 1: framing ---------------------------------------------------------------------------------

#[test]
fn suite_1_framing() {
    let mut cases = Vec::new();
    for (group, opcode, octet) in [("1.1", TEXT, b'*'), ("1.2", BINARY, 0xfe)] {
        let lengths = [0, 125, 126, 127, 128, 65535, 65536, 65536];
        for (length, number) in lengths.into_iter().zip(1..) {
            let chop = match number {
                8 => Chop::Octets(997),
                _ => Chop::Together,
            };
            cases.push(
                case(format!("{group}.{number}"))
                    .chop(chop)
                    .frame(FIN | opcode, &vec![octet; length])
                    .handled(),
            );
        }
    }
    run(cases);
}

// --- 2: pings and pongs -------------------------------------------------------------------------

#[test]
fn suite_2_pings_and_pongs() {
    let ten = |id: &str, chop: Chop| {
        let payloads: Vec<_> = (0..10).map(|n| format!("payload-{n}")).collect();
        let mut case = case(id).chop(chop);
        for payload in &payloads {
            case = case.ping(payload.as_bytes());
        }
        // RFC 6455, section 5.5.3, lets older ones go unanswered; the suite does not.
        let pong = |case: Case, payload: &String| case.pong(payload.as_bytes());
        payloads.iter().fold(case, pong)
    };
    let octets = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    let longest = [0xfe; 125];
    run([
        case("2.1").ping(b"").pong(b""),
        case("2.2").ping(HELLO).pong(HELLO),
        case("2.3").ping(octets).pong(octets),
        case("2.4").ping(&longest).pong(&longest),
        case("2.5").ping(&[0xfe; 126]).fails(1002),
        case("2.6")
            .chop(Chop::Octets(1))
            .ping(&longest)
            .pong(&longest),
        case("2.7").frame(FIN | PONG, b""),
        case("2.8").frame(FIN | PONG, b"unsolicited pong payload"),
        case("2.9")
            .frame(FIN | PONG, b"unsolicited pong payload")
            .ping(b"ping payload")
            .pong(b"ping payload"),
        ten("2.10", Chop::Together),
        ten("2.11", Chop::Octets(1)),
    ]);
}

// --- 3: reserved bits ---------------------------------------------------------------------------

#[test]
fn suite_3_reserved_bits() {
    let behind = |id: &str, bits: u8, chop: Chop| {
        case(id)
            .chop(chop)
            .text(HELLO)
            .frame(FIN | bits << 4 | TEXT, HELLO)
            .ping(b"")
            .handled()
            .fails(1002)
    };
    run([
        case("3.1").frame(FIN | 0x10 | TEXT, HELLO).fails(1002),
        behind("3.2", 2, Chop::Together),
        behind("3.3", 3, Chop::Frames),
        behind("3.4", 4, Chop::Octets(1)),
        case("3.5")
            .frame(FIN | 0x50 | BINARY, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")
            .fails(1002),
        case("3.6").frame(FIN | 0x60 | PING, HELLO).fails(1002),
        case("3.7").frame(FIN | 0x70 | CLOSE, b"").fails(1002),
    ]);
}

// --- 4: opcodes ---------------------------------------------------------------------------------

#[test]
fn suite_4_opcodes() {
    let mut cases = Vec::new();
    for (group, base) in [("4.1", 3), ("4.2", 11)] {
        let named = |number: u8| case(format!("{group}.{number}"));
        let behind = |number: u8, payload: &[u8], chop: Chop| {
            named(number)
                .chop(chop)
                .text(HELLO)
                .frame(FIN | (base + number - 1), payload)
                .ping(b"")
                .handled()
                .fails(1002)
        };
        cases.extend([
            named(1).frame(FIN | base, b"").fails(1002),
            named(2)
                .frame(FIN | (base + 1), b"reserved opcode payload")
                .fails(1002),
            behind(3, b"", Chop::Together),
            behind(4, HELLO, Chop::Together),
            behind(5, HELLO, Chop::Octets(1)),
        ]);
    }
    run(cases);
}

// --- 5: fragmentation ---------------------------------------------------------------------------

#[test]
fn suite_5_fragmentation() {
    const CHOPS: [Chop; 3] = [Chop::Together, Chop::Frames, Chop::Octets(1)];
    let numbered =
        |first: usize, chop: usize| case(format!("5.{}", first + chop)).chop(CHOPS[chop]);
    let two = |case: Case| {
        case.frame(TEXT, b"fragment1")
            .frame(FIN | CONTINUATION, b"fragment2")
    };
    let mut cases = vec![
        case("5.1")
            .frame(PING, b"fragment1")
            .frame(FIN | CONTINUATION, b"fragment2")
            .fails(1002),
        case("5.2")
            .frame(PONG, b"fragment1")
            .frame(FIN | CONTINUATION, b"fragment2")
            .fails(1002),
    ];
    for chop in 0..CHOPS.len() {
        cases.push(two(numbered(3, chop)).handled());
        cases.push(
            numbered(6, chop)
                .frame(TEXT, b"fragment1")
                .ping(b"ping payload")
                .frame(FIN | CONTINUATION, b"fragment2")
                .pong(b"ping payload")
                .handled(),
        );
        for (first, fin) in [(9, FIN), (12, 0)] {
            cases.push(
                numbered(first, chop)
                    .frame(fin | CONTINUATION, b"non-continuation payload")
                    .text(HELLO)
                    .fails(1002),
            );
        }
    }
    cases.push(
        two(case("5.15"))
            .frame(CONTINUATION, b"fragment3")
            .text(b"fragment4")
            .handled()
            .fails(1002),
    );
    for (id, fin) in [("5.16", 0), ("5.17", FIN)] {
        let round = |case: Case| {
            case.frame(fin | CONTINUATION, b"fragment1")
                .frame(TEXT, b"fragment2")
                .frame(FIN | CONTINUATION, b"fragment3")
        };
        cases.push(round(round(case(id))).fails(1002));
    }
    cases.push(
        case("5.18")
            .frame(TEXT, b"fragment1")
            .text(b"fragment2")
            .fails(1002),
    );
    for (id, chop) in [("5.19", Chop::Together), ("5.20", Chop::Frames)] {
        cases.push(
            case(id)
                .chop(chop)
                .frame(TEXT, b"fragment1")
                .frame(CONTINUATION, b"fragment2")
                .ping(b"pongme 1!")
                .pong(b"pongme 1!")
                .frame(CONTINUATION, b"fragment3")
                .frame(CONTINUATION, b"fragment4")
                .ping(b"pongme 2!")
                .frame(FIN | CONTINUATION, b"fragment5")
                .pong(b"pongme 2!")
                .handled(),
        );
    }
    run(cases);
}

// --- 6: UTF-8 -----------------------------------------------------------------------------------

const WORD: &[u8] = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes();

#[test]
fn suite_6_1_to_6_4_text_across_fragments() {
    let greeting = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let surrogate = [WORD, b"\xed\xa0\x80", b"edited"].concat();
    let beyond = [WORD, b"\xf4\x90\x80\x80", b"edited"].concat();
    // Both begin to be wrong behind their twelfth byte.
    let parts = |text: &[u8], ends: [usize; 2]| {
        let (start, rest) = text.split_at(ends[0]);
        let (middle, end) = rest.split_at(ends[1] - ends[0]);
        [start.to_vec(), middle.to_vec(), end.to_vec()]
    };
    let mut cases = vec![
        case("6.1.1").text(b"").handled(),
        case("6.1.2")
            .frame(TEXT, b"")
            .frame(CONTINUATION, b"")
            .frame(FIN | CONTINUATION, b"")
            .handled(),
        case("6.1.3")
            .frame(TEXT, b"")
            .frame(CONTINUATION, b"middle frame payload")
            .frame(FIN | CONTINUATION, b"")
            .handled(),
        case("6.2.1").text(greeting).handled(),
        case("6.2.2")
            .fragmented(TEXT, greeting, "Hello-µ@ßöä".len())
            .handled(),
        case("6.2.3").fragmented(TEXT, greeting, 1).handled(),
        case("6.2.4").fragmented(TEXT, WORD, 1).handled(),
        case("6.3.1").text(&surrogate).fails(1007),
        case("6.3.2").fragmented(TEXT, &surrogate, 1).fails(1007),
    ];
    // It is the second fragment that fails, the third need not come.
    for (id, ends) in [("6.4.1", [11, 15]), ("6.4.2", [12, 13])] {
        let [start, middle, _] = parts(&beyond, ends);
        cases.push(
            case(id)
                .frame(TEXT, &start)
                .ping(b"still here")
                .pong(b"still here")
                .frame(CONTINUATION, &middle)
                .fails(1007),
        );
    }
    // In one frame whose bytes come in three parts. The suite calls it strict to fail at the second
    // and is content with the end of the frame, which is what we do.
    for (id, ends) in [("6.4.3", [11, 15]), ("6.4.4", [12, 13])] {
        let mut whole = frame(FIN | TEXT, &beyond);
        let head = whole.len() - beyond.len();
        let [start, middle, end] = parts(&whole.split_off(head), ends);
        let start = [whole, start].concat();
        let parts = [start, middle, end];
        cases.push(
            parts
                .into_iter()
                .fold(case(id).chop(Chop::Frames), Case::bytes)
                .fails(1007),
        );
    }
    run(cases);
}

/// Groups 6.5 to 6.23: the decoder test of Markus Kuhn and some more, valid and invalid texts.
fn utf8_groups() -> Vec<Vec<(bool, Vec<u8>)>> {
    fn all(is_valid: bool, texts: &[&[u8]]) -> Vec<(bool, Vec<u8>)> {
        texts.iter().map(|text| (is_valid, text.to_vec())).collect()
    }
    let prefixes = (1..=WORD.len()).map(|end| {
        let is_whole = [2, 5, 7, 9, 11].contains(&end);
        (is_whole, WORD[..end].to_vec())
    });
    let incomplete: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let continuations: Vec<u8> = (0x80..0xbf).collect();
    let starts = [
        0xc0..0xdf_u8,
        0xe0..0xef,
        0xf0..0xf7,
        0xf8..0xfb,
        0xfc..0xfd,
    ];
    let lonely = starts.map(|range| (false, range.flat_map(|byte| [byte, b' ']).collect()));
    let mut boundaries = all(
        true,
        &[
            b"\xed\x9f\xbf",
            b"\xee\x80\x80",
            b"\xef\xbf\xbd",
            b"\xf4\x8f\xbf\xbf",
        ],
    );
    boundaries.extend(all(false, &[b"\xf4\x90\x80\x80"]));
    let mut unexpected = all(
        false,
        &[
            b"\x80",
            b"\xbf",
            b"\x80\xbf",
            b"\x80\xbf\x80",
            b"\x80\xbf\x80\xbf",
            b"\x80\xbf\x80\xbf\x80",
            b"\x80\xbf\x80\xbf\x80\xbf",
        ],
    );
    unexpected.push((false, continuations));
    let high = [0xd800_u32, 0xdb7f, 0xdb80, 0xdbff];
    let surrogate = |code: u32| {
        let six = |shift: u32| u8::try_from(code >> shift & 0x3f).unwrap();
        [0xed, 0x80 | six(6), 0x80 | six(0)]
    };
    let single = [high.as_slice(), &[0xdc00, 0xdf80, 0xdfff]].concat();
    let pairs = high.iter().flat_map(|high| {
        [0xdc00, 0xdfff].map(|low| (false, [surrogate(*high), surrogate(low)].concat()))
    });
    // The last two of every plane, which are no characters but valid.
    let non_characters =
        (0..=16_u32).flat_map(|plane| [0xfffe, 0xffff].map(|low| plane << 16 | low));
    let encoded = |code: u32| {
        let character = char::from_u32(code).unwrap();
        (true, character.to_string().into_bytes())
    };
    vec![
        // 6.5
        all(
            true,
            &[
                b"hello\x24world",
                b"hello\xc2\xa2world",
                b"hello\xe2\x82\xacworld",
                b"hello\xf0\xa4\xad\xa2world",
                WORD,
            ],
        ),
        // 6.6
        prefixes.collect(),
        // 6.7
        all(
            true,
            &[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
        ),
        // 6.8
        all(
            false,
            &[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
        ),
        // 6.9
        all(
            true,
            &[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
        ),
        // 6.10
        all(
            false,
            &[
                b"\xf7\xbf\xbf\xbf",
                b"\xfb\xbf\xbf\xbf\xbf",
                b"\xfd\xbf\xbf\xbf\xbf\xbf",
            ],
        ),
        // 6.11
        boundaries,
        // 6.12
        unexpected,
        // 6.13
        lonely.to_vec(),
        // 6.14
        all(false, &incomplete),
        // 6.15
        vec![(false, incomplete.concat())],
        // 6.16
        all(false, &[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        // 6.17
        all(
            false,
            &[
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xf8\x80\x80\x80\xaf",
                b"\xfc\x80\x80\x80\x80\xaf",
            ],
        ),
        // 6.18
        all(
            false,
            &[
                b"\xc1\xbf",
                b"\xe0\x9f\xbf",
                b"\xf0\x8f\xbf\xbf",
                b"\xf8\x87\xbf\xbf\xbf",
                b"\xfc\x83\xbf\xbf\xbf\xbf",
            ],
        ),
        // 6.19
        all(
            false,
            &[
                b"\xc0\x80",
                b"\xe0\x80\x80",
                b"\xf0\x80\x80\x80",
                b"\xf8\x80\x80\x80\x80",
                b"\xfc\x80\x80\x80\x80\x80",
            ],
        ),
        // 6.20
        single
            .iter()
            .map(|code| (false, surrogate(*code).to_vec()))
            .collect(),
        // 6.21
        pairs.collect(),
        // 6.22
        non_characters.map(encoded).collect(),
        // 6.23
        (0xfff9..=0xffff).map(encoded).collect(),
    ]
}

#[test]
fn suite_6_5_to_6_23_texts_of_the_decoder_test() {
    let groups = utf8_groups();
    // As many cases as the suite has.
    let sizes: Vec<_> = groups.iter().map(Vec::len).collect();
    assert_eq!(
        sizes,
        [5, 11, 4, 2, 4, 3, 5, 8, 5, 10, 1, 3, 5, 5, 5, 7, 8, 34, 7]
    );
    let mut cases = Vec::new();
    for (texts, group) in groups.iter().zip(5..) {
        for ((is_valid, text), number) in texts.iter().zip(1..) {
            let case = case(format!("6.{group}.{number}")).text(text);
            cases.push(if *is_valid {
                case.handled()
            } else {
                case.fails(1007)
            });
        }
    }
    run(cases);
}

// --- 7: closing ---------------------------------------------------------------------------------

fn code(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

#[test]
fn suite_7_1_to_7_5_close_frames() {
    let normal = code(1000, b"");
    let closed = |id: &str| case(id).frame(FIN | CLOSE, &normal);
    let invalid = [WORD, b"\xed\xa0\x80", b"edited"].concat();
    let large = b"BAsd7&jh23".repeat(256 * KIB / 10);
    run([
        case("7.1.1").text(b"Hello World!").handled(),
        closed("7.1.2").frame(FIN | CLOSE, b"").echoes(&normal),
        closed("7.1.3").ping(b"").echoes(&normal),
        closed("7.1.4").text(b"Hello World!").echoes(&normal),
        case("7.1.5")
            .frame(TEXT, b"fragment1")
            .frame(FIN | CLOSE, &normal)
            .frame(FIN | CONTINUATION, b"fragment2")
            .echoes(&normal),
        // The suite leaves it open whether the texts are answered; ours are.
        case("7.1.6")
            .text(&large)
            .text(b"Hello World!")
            .frame(FIN | CLOSE, &normal)
            .ping(b"")
            .handled()
            .handled()
            .echoes(&normal),
        case("7.3.1").frame(FIN | CLOSE, b"").echoes(b""),
        case("7.3.2").frame(FIN | CLOSE, b"a").fails(1002),
        closed("7.3.3").echoes(&normal),
        case("7.3.4")
            .frame(FIN | CLOSE, &code(1000, b"Hello World!"))
            .echoes(&code(1000, b"Hello World!")),
        case("7.3.5")
            .frame(FIN | CLOSE, &code(1000, &[b'*'; 123]))
            .echoes(&code(1000, &[b'*'; 123])),
        case("7.3.6")
            .frame(FIN | CLOSE, &code(1000, &[b'*'; 124]))
            .fails(1002),
        case("7.5.1")
            .frame(FIN | CLOSE, &code(1000, &invalid))
            .fails(1007),
    ]);
}

#[test]
fn suite_7_7_and_7_9_close_codes() {
    let mut cases = Vec::new();
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    for (valid, number) in valid.into_iter().zip(1..) {
        let payload = code(valid, b"");
        cases.push(
            case(format!("7.7.{number}"))
                .frame(FIN | CLOSE, &payload)
                .echoes(&payload),
        );
    }
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    for (invalid, number) in invalid.into_iter().zip(1..) {
        cases.push(
            case(format!("7.9.{number}"))
                .frame(FIN | CLOSE, &code(invalid, b""))
                .echoes(&code(1002, b"")),
        );
    }
    // What happens then is not defined; ours are refused like the others.
    for (undefined, number) in [(5000, 1), (65535, 2)] {
        cases.push(
            case(format!("7.13.{number}"))
                .frame(FIN | CLOSE, &code(undefined, b""))
                .echoes(&code(1002, b"")),
        );
    }
    run(cases);
}

// --- 9 and 10: size -----------------------------------------------------------------------------

/// Text and binary, with the payloads of the suite in the respective groups.
const KINDS: [(u8, &[u8]); 2] = [(TEXT, b"BAsd7&jh23"), (BINARY, b"\x00\xfe\x23\xfa\xf0")];

fn repeated(pattern: &[u8], length: usize) -> Vec<u8> {
    let mut payload = pattern.repeat(length.div_ceil(pattern.len()));
    payload.truncate(length);
    payload
}

#[test]
fn suite_9_1_and_9_2_large_messages() {
    let sizes = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB];
    for ((opcode, pattern), group) in KINDS.into_iter().zip(1..) {
        run(sizes.into_iter().zip(1..).map(|(size, number)| {
            case(format!("9.{group}.{number}"))
                .frame(FIN | opcode, &repeated(pattern, size))
                .handled()
        }));
    }
    // One byte more than the limit is refused, in one frame and in two.
    let most = 16 * MIB;
    run([
        case("9, beyond")
            .frame(FIN | TEXT, &vec![b'*'; most + 1])
            .fails(1009),
        case("9, beyond in fragments")
            .frame(TEXT, &vec![b'*'; most])
            .frame(FIN | CONTINUATION, b"*")
            .fails(1009),
    ]);
}

#[test]
fn suite_9_3_and_9_4_large_messages_in_fragments() {
    let sizes = [
        64,
        256,
        KIB,
        4 * KIB,
        16 * KIB,
        64 * KIB,
        256 * KIB,
        MIB,
        4 * MIB,
    ];
    for ((opcode, octet), group) in [(TEXT, b'*'), (BINARY, 0xfe)].into_iter().zip(3..) {
        let payload = vec![octet; 4 * MIB];
        run(sizes.into_iter().zip(1..).map(|(size, number)| {
            case(format!("9.{group}.{number}"))
                .fragmented(opcode, &payload, size)
                .handled()
        }));
    }
}

#[test]
fn suite_9_5_and_9_6_large_messages_in_small_writes() {
    for ((opcode, pattern), group) in KINDS.into_iter().zip(5..) {
        run((1..7).map(|number| {
            case(format!("9.{group}.{number}"))
                .chop(Chop::Octets(32 << number))
                .frame(FIN | opcode, &repeated(pattern, MIB))
                .handled()
        }));
    }
}

#[test]
fn suite_9_7_and_9_8_round_trips() {
    /// The suite makes a thousand of them to measure the time, which is not what is tested here.
    const TRIPS: usize = 100;
    for ((opcode, octet), group) in [(TEXT, b'*'), (BINARY, 0xfe)].into_iter().zip(7..) {
        let sizes = [0, 16, 64, 256, KIB, 4 * KIB];
        run(sizes.into_iter().zip(1..).map(|(size, number)| {
            let trip = |case: Case, _| case.frame(FIN | opcode, &vec![octet; size]).handled();
            (0..TRIPS).fold(case(format!("9.{group}.{number}")), trip)
        }));
    }
}

#[test]
fn suite_10_fragments_of_an_odd_size() {
    run([case("10.1.1")
        .fragmented(TEXT, &vec![b'*'; 65536], 1300)
        .handled()]);
}

// --- 12 and 13: compression ---------------------------------------------------------------------

#[test]
fn no_extension_is_agreed_on() {
    let (_endpoint, port) = crate::server();
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
        "permessage-bzip2, permessage-deflate; client_max_window_bits, x-webkit-deflate-frame",
    ] {
        let field = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let (mut client, head) = Client::connect_with(port, &field);
        let head = head.to_ascii_lowercase();
        assert!(
            !head.contains("sec-websocket-extensions"),
            "{offer}: {head}"
        );
        client.subscribe(&[]);
        // The bit that marks a compressed message has no meaning then.
        client.send_frame(FIN | 0x40 | TEXT, HELLO);
        assert_eq!(client.read_close().0, 1002, "{offer}");
    }
}

// --- masks: what the suite takes for granted ----------------------------------------------------

#[test]
fn frames_of_clients_must_be_masked() {
    run([
        case("unmasked text")
            .bytes(unmasked(FIN | TEXT, b"[]"))
            .fails(1002),
        case("unmasked ping")
            .bytes(unmasked(FIN | PING, b""))
            .fails(1002),
    ]);
}
