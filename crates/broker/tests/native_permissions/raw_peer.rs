//! A native peer that shakes hands as it should and then sends whatever it is told to.

use std::io::{Read, Write};
use std::net::TcpStream;

use broker::{EndpointId, Topic};
use broker_data::Timestamp;
use broker_proto::endpoint::{Endpoint as Machine, Output};
use broker_proto::frame::{FRAME_LEN_SIZE, write_envelope};
use broker_proto::{Config, Envelope, EnvelopeError, Filter, Retry, Tag};

use crate::DEADLINE;

const NOW: Timestamp = Timestamp::EPOCH;

pub(crate) struct RawPeer {
    pub(crate) id: EndpointId,
    /// The endpoint at the other end.
    pub(crate) other: EndpointId,
    socket: TcpStream,
}

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) tag: Tag,
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl RawPeer {
    /// Peers with the endpoint at a port of this machine.
    pub(crate) fn connect(number: u8, port: u16, topics: &[&str]) -> Self {
        let id = EndpointId::recognizable([number; 16]);
        let mut machine = Machine::new(Config::new(id, u64::from(number)));
        let topics: Vec<Topic> = topics.iter().map(|topic| Topic::from(*topic)).collect();
        machine.subscribe(NOW, &topics);
        machine.peer(NOW, "127.0.0.1", port, Retry::Never, None);
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut connection = None;
        loop {
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Dial { connection: id, .. } => {
                        connection = Some(id);
                        machine.handle_dialed(NOW, id);
                    }
                    Output::Send { frame, .. } => socket.write_all(&frame).unwrap(),
                    Output::Install { peer: other, .. } => {
                        return Self { id, other, socket };
                    }
                    Output::Close { cause, .. } => panic!("refused: {cause:?}"),
                    _ => {}
                }
            }
            let frame = read(&mut socket).expect("a handshake");
            machine.handle_frame(NOW, connection.unwrap(), &frame);
        }
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        // The other side may have ended the connection already.
        let _ = self.socket.write_all(bytes);
    }

    /// Sends a message in the name of an endpoint.
    pub(crate) fn send_as(
        &mut self,
        sender: EndpointId,
        receiver: EndpointId,
        tag: Tag,
        topic: &[u8],
        payload: &[u8],
    ) {
        let mut frame = Vec::new();
        write_envelope::<EnvelopeError>(&mut frame, sender, receiver, tag, topic, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
        self.send_bytes(&frame);
    }

    pub(crate) fn send(&mut self, tag: Tag, topic: &[u8], payload: &[u8]) {
        self.send_as(self.id, EndpointId::NIL, tag, topic, payload);
    }

    /// Says what it wants from now on.
    pub(crate) fn want(&mut self, topics: impl IntoIterator<Item = Topic>) {
        let filter: Filter = topics.into_iter().collect();
        let frame = broker_proto::message::routing_update(self.id, self.other, &filter);
        self.send_bytes(&frame);
    }

    /// Waits until everything that was sent before has been dealt with; `false`: the connection is over.
    /// What came meanwhile is appended.
    pub(crate) fn is_answered(&mut self, came: &mut Vec<Came>) -> bool {
        let token = b"are you there";
        self.send_as(self.id, self.other, Tag::Ping, b"<$>", token);
        loop {
            let Some(next) = self.receive() else {
                return false;
            };
            if next.tag == Tag::Pong && next.payload == token {
                return true;
            }
            came.push(next);
        }
    }

    /// The next message; `None` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<Came> {
        let payload = read(&mut self.socket)?;
        let envelope = Envelope::parse(&payload).unwrap();
        Some(Came {
            tag: envelope.tag,
            topic: envelope.topic.to_vec(),
            payload: envelope.payload.to_vec(),
        })
    }
}

/// The payload of the next frame; `None` at the end.
fn read(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; FRAME_LEN_SIZE];
    match socket.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came"),
        Err(_) => return None,
    }
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut payload).ok()?;
    Some(payload)
}
