//! What peers may send that no store of ours or of the original would: memory, messages and time
//! stay bounded, and those who behave are served.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use broker_data::{Timestamp, Value, to_bytes};
use broker_proto::config::CHANNEL_RESEND_BYTES_MAX;
use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;
use broker_proto::store::{CloneOptions, Master, Memory, Output, StoreClone, StoreConfig};
use broker_proto::{EndpointId, Envelope};

const MASTER: EntityId = id(1, 7);
const BUFFER_BYTES_MAX: usize = 256 * 1024;

const fn id(endpoint: u8, object: u64) -> EntityId {
    EntityId {
        endpoint: EndpointId::from_bytes([endpoint; 16]),
        object,
    }
}

fn bytes(value: impl Into<Value>) -> Vec<u8> {
    to_bytes(&value.into()).unwrap()
}

/// The `number`th of many endpoints.
fn stranger(number: u32) -> EntityId {
    let mut endpoint = [9; 16];
    endpoint[..4].copy_from_slice(&number.to_be_bytes());
    EntityId {
        endpoint: EndpointId::from_bytes(endpoint),
        object: 1,
    }
}

fn master() -> Master<Memory> {
    let config = StoreConfig {
        buffer_bytes_max: BUFFER_BYTES_MAX,
        ..StoreConfig::default()
    };
    Master::new(MASTER, "s", Memory::new(), config).unwrap()
}

fn put(master: &mut Master<Memory>, key: u64, size: usize) {
    let (key, value) = (bytes(key), bytes("v".repeat(size).as_str()));
    let content = Content::Put {
        key: &key,
        value: &value,
        expiry: None,
        publisher: MASTER,
    };
    master.request(Timestamp::EPOCH, &content).unwrap();
}

fn ask(master: &mut Master<Memory>, sender: EntityId, seq: u64, content: Content<'_>) {
    let command = Command {
        seq,
        sender,
        receiver: MASTER,
        content,
    };
    let mut payload = Vec::new();
    command.encode(&mut payload);
    master.handle_command(Timestamp::EPOCH, &command, &payload);
}

fn nack(missing: &[u64]) -> Content<'static> {
    Content::Nack {
        missing: missing.to_vec().into(),
    }
}

/// Bytes of messages that are to be sent.
fn sent(master: &mut Master<Memory>) -> usize {
    master.commit().unwrap();
    let mut bytes = 0;
    while let Some(output) = master.poll_output() {
        if let Output::Send(message) = output {
            bytes += message.frame.len();
        }
    }
    bytes
}

#[test]
fn thousands_who_ask_for_snapshots_share_a_bounded_memory() {
    let mut master = master();
    put(&mut master, 0, 50_000);
    for number in 0..2_000 {
        ask(&mut master, stranger(number), 0, nack(&[0]));
        // Everybody would have a snapshot of another content.
        put(&mut master, u64::from(number % 7), 10);
        if number % 50 == 0 {
            master.handle_tick(Timestamp::EPOCH);
            let bytes = sent(&mut master);
            assert!(bytes < 2 * BUFFER_BYTES_MAX, "{bytes} bytes in one tick");
        }
        assert!(master.kept_bytes() <= BUFFER_BYTES_MAX);
        assert!(master.unacknowledged().1 <= BUFFER_BYTES_MAX);
    }
}

#[test]
fn one_who_asks_for_its_snapshot_again_and_again_is_sent_a_few_in_a_tick() {
    let mut master = master();
    put(&mut master, 0, 50_000);
    for _ in 0..1_000 {
        ask(&mut master, stranger(1), 0, nack(&[0]));
    }
    assert!(sent(&mut master) < 2 * BUFFER_BYTES_MAX);
    master.handle_tick(Timestamp::EPOCH);
    ask(&mut master, stranger(1), 0, nack(&[0]));
    assert!(sent(&mut master) > 50_000);
}

#[test]
fn writers_who_send_far_ahead_share_a_bounded_memory() {
    let mut master = master();
    let value = bytes("v".repeat(1_000).as_str());
    for number in 0..300 {
        let writer = stranger(number);
        let open = Content::AttachWriter {
            offset: 1,
            heartbeat: u16::MAX,
        };
        ask(&mut master, writer, 0, open);
        for seq in [3, 5, 1 << 40, u64::MAX - 1, u64::MAX] {
            let content = Content::Put {
                key: &value,
                value: &value,
                expiry: None,
                publisher: writer,
            };
            ask(&mut master, writer, seq, content);
            ask(
                &mut master,
                writer,
                0,
                Content::RetransmitFailed { seq: seq - 1 },
            );
        }
        assert!(master.kept_bytes() <= BUFFER_BYTES_MAX + 1_000_000);
    }
    sent(&mut master);
    for _ in 0..4 {
        master.handle_tick(Timestamp::EPOCH);
        let bytes = sent(&mut master);
        assert!(bytes < 4 << 20, "{bytes} bytes of questions in one tick");
    }
}

#[test]
fn writers_that_open_and_never_speak_are_bounded_and_forgotten() {
    let config = StoreConfig {
        connection_timeout: 2,
        ..StoreConfig::default()
    };
    let mut master = Master::new(MASTER, "s", Memory::new(), config).unwrap();
    for number in 0..12_000 {
        let open = Content::AttachWriter {
            offset: u64::MAX,
            heartbeat: 5,
        };
        ask(&mut master, stranger(number), 0, open);
    }
    assert_eq!(master.writers(), 10_000);
    for _ in 0..10 {
        master.handle_tick(Timestamp::EPOCH);
        sent(&mut master);
    }
    assert_eq!(master.writers(), 0);
    assert_eq!(master.kept_bytes(), 0);
}

#[test]
fn acknowledgements_and_questions_of_strangers_change_nothing() {
    let mut master = master();
    ask(&mut master, id(2, 3), 0, nack(&[0]));
    ask(&mut master, id(2, 3), 0, Content::CumulativeAck { seq: 1 });
    for key in 0..100 {
        put(&mut master, key, 100);
    }
    sent(&mut master);
    for number in 0..5_000 {
        let seq = u64::from(number) % 120;
        ask(
            &mut master,
            stranger(number),
            0,
            Content::CumulativeAck { seq },
        );
        ask(&mut master, stranger(number), 0, nack(&[seq + 1, u64::MAX]));
        ask(
            &mut master,
            stranger(number),
            0,
            Content::Keepalive { seq: u64::MAX },
        );
        ask(
            &mut master,
            stranger(number),
            0,
            Content::RetransmitFailed { seq },
        );
    }
    assert_eq!((master.clones(), master.writers()), (1, 0));
    assert_eq!(sent(&mut master), 0);
}

#[test]
fn questions_for_what_was_sent_are_answered_to_a_limit_in_each_tick() {
    let config = StoreConfig::default();
    let mut master = Master::new(MASTER, "s", Memory::new(), config).unwrap();
    ask(&mut master, stranger(1), 0, nack(&[0]));
    for key in 0..40 {
        put(&mut master, key, 1 << 20);
    }
    sent(&mut master);
    let everything: Vec<u64> = (2..=41).collect();
    for _ in 0..20 {
        ask(&mut master, stranger(1), 0, nack(&everything));
    }
    assert!(sent(&mut master) < CHANNEL_RESEND_BYTES_MAX + (2 << 20));
}

#[test]
fn events_before_a_snapshot_are_kept_to_a_limit() {
    let config = StoreConfig::default();
    let mut clone = StoreClone::new(id(2, 3), "s", config, CloneOptions::default());
    let value = bytes("v".repeat(1 << 20).as_str());
    for number in 0..100 {
        let command = Command {
            seq: 2,
            sender: stranger(number),
            receiver: EntityId::NIL,
            content: Content::Put {
                key: &value,
                value: &value,
                expiry: None,
                publisher: EntityId::NIL,
            },
        };
        let mut payload = Vec::new();
        command.encode(&mut payload);
        clone.handle_command(Timestamp::EPOCH, &command, &payload);
        assert!(clone.early_bytes() <= 64 << 20);
    }
    assert!(clone.early_bytes() > 32 << 20);
}

#[test]
fn an_absurd_number_of_a_master_is_no_reason_to_ask_for_everything() {
    let mut clone = StoreClone::new(
        id(2, 3),
        "s",
        StoreConfig::default(),
        CloneOptions::default(),
    );
    let tell = |clone: &mut StoreClone, receiver: EntityId, content: Content<'_>| {
        let command = Command {
            seq: 1,
            sender: MASTER,
            receiver,
            content,
        };
        clone.handle_command(Timestamp::EPOCH, &command, &[]);
    };
    let snapshot = Content::AckClone {
        offset: 1,
        heartbeat: 5,
        entries: Default::default(),
    };
    tell(&mut clone, id(2, 3), snapshot);
    tell(
        &mut clone,
        EntityId::NIL,
        Content::Keepalive { seq: u64::MAX },
    );
    for _ in 0..3 {
        clone.handle_tick();
    }
    // It attaches again instead.
    let mut searches = 0;
    while let Some(output) = clone.poll_output() {
        if let Output::Send(message) = output {
            assert!(message.frame.len() <= 200);
            let envelope = Envelope::parse(&message.frame[4..]).unwrap();
            let command = Command::parse(envelope.payload).unwrap();
            let again = command.sender.object > 3 && command.content == nack(&[0]);
            searches += usize::from(again);
        }
    }
    assert!(searches > 0);
}
