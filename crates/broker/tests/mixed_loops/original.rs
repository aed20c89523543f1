//! An endpoint that behaves like the original where it matters: its id is not recognised, it knows
//! no marks, and it passes everything on to everybody who wants it but the one it came from.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use broker::{Topic, Value};
use broker_data::{Encoder, Source, Timestamp};
use broker_proto::endpoint::{ConnectionId, Endpoint as Machine, Output};
use broker_proto::frame::{FRAME_LEN_SIZE, patch_hop, write_envelope};
use broker_proto::store::command::Command;
use broker_proto::{
    Config, EndpointId, Envelope, EnvelopeError, Filter, NetworkAddress, Retry, Tag,
};

const NOW: Timestamp = Timestamp::EPOCH;

#[derive(Clone)]
pub(crate) struct Original {
    pub(crate) id: EndpointId,
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    /// Messages that came from peers.
    pub(crate) received: Arc<AtomicUsize>,
}

struct State {
    machine: Machine,
    /// What is to be written, by connection.
    writers: BTreeMap<ConnectionId, Sender<Vec<u8>>>,
    peers: BTreeMap<EndpointId, (ConnectionId, Filter)>,
    /// Values of data that came.
    got: Vec<Vec<u8>>,
    to_dial: Vec<(ConnectionId, String, u16)>,
}

impl Original {
    pub(crate) fn new(number: u8, topic: &str) -> Self {
        let mut bytes = [number; 16];
        bytes[15] = 0x55;
        let id = EndpointId::from_random(bytes);
        assert!(!id.is_recognizable());
        let mut machine = Machine::new(Config::new(id, 1));
        machine.subscribe(NOW, &[Topic::from(topic)]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let this = Self {
            id,
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(Mutex::new(State {
                machine,
                writers: BTreeMap::new(),
                peers: BTreeMap::new(),
                got: Vec::new(),
                to_dial: Vec::new(),
            })),
            received: Arc::default(),
        };
        let acceptor = this.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let remote = NetworkAddress::new("127.0.0.1", 1);
                let accept = |machine: &mut Machine| machine.handle_accepted(NOW, remote);
                acceptor.serve(socket.unwrap(), accept);
            }
        });
        this
    }

    pub(crate) fn dial(&self, port: u16) {
        let retry = Retry::Never;
        let mut state = self.state.lock().unwrap();
        state.machine.peer(NOW, "127.0.0.1", port, retry, None);
        state.carry_out();
        let to_dial = std::mem::take(&mut state.to_dial);
        drop(state);
        for (connection, host, port) in to_dial {
            let socket = TcpStream::connect((host, port)).unwrap();
            self.serve(socket, |machine| {
                machine.handle_dialed(NOW, connection);
                connection
            });
        }
    }

    /// Serves a connection that the machine is told of: nothing is to be written before.
    fn serve(&self, mut socket: TcpStream, tell: impl FnOnce(&mut Machine) -> ConnectionId) {
        socket.set_nodelay(true).unwrap();
        let (writer, frames) = channel::<Vec<u8>>();
        let connection = {
            let mut state = self.state.lock().unwrap();
            let connection = tell(&mut state.machine);
            state.writers.insert(connection, writer);
            state.carry_out();
            connection
        };
        let mut output = socket.try_clone().unwrap();
        thread::spawn(move || {
            for frame in frames {
                if output.write_all(&frame).is_err() {
                    return;
                }
            }
        });
        let this = self.clone();
        thread::spawn(move || {
            let mut length = [0; FRAME_LEN_SIZE];
            while socket.read_exact(&mut length).is_ok() {
                let mut frame = length.to_vec();
                frame.resize(FRAME_LEN_SIZE + u32::from_be_bytes(length) as usize, 0);
                if socket.read_exact(&mut frame[FRAME_LEN_SIZE..]).is_err() {
                    return;
                }
                this.take(connection, frame);
            }
        });
    }

    fn take(&self, connection: ConnectionId, frame: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        let payload = &frame[FRAME_LEN_SIZE..];
        let peer = state.peers.iter().find(|(_, it)| it.0 == connection);
        let peer = peer.map(|(id, _)| *id);
        let envelope = peer.and_then(|_| Envelope::parse(payload).ok());
        let Some(envelope) = envelope.filter(|it| matches!(it.tag, Tag::Data | Tag::Command))
        else {
            state.machine.handle_frame(NOW, connection, payload);
            state.carry_out();
            return;
        };
        assert_eq!(
            envelope.receiver,
            EndpointId::NIL,
            "a mark or a directed message"
        );
        self.received.fetch_add(1, Ordering::Relaxed);
        if envelope.tag == Tag::Data {
            let value = envelope.payload.to_vec();
            state.got.push(value);
        }
        state.pass_on(peer, frame);
    }

    pub(crate) fn publish(&self, topic: &str, value: &Value) {
        let mut frame = Vec::new();
        let nobody = EndpointId::NIL;
        write_envelope::<EnvelopeError>(
            &mut frame,
            self.id,
            nobody,
            Tag::Data,
            topic.as_bytes(),
            |out| {
                value.encode(&mut Encoder::new(out)).unwrap();
                Ok(())
            },
        )
        .unwrap();
        self.state.lock().unwrap().pass_on(None, frame);
    }

    /// Sends a command of a data store to everybody.
    pub(crate) fn send_command(&self, topic: &Topic, command: &Command<'_>) {
        let mut frame = Vec::new();
        let (nobody, topic) = (EndpointId::NIL, topic.as_bytes());
        let tag = Tag::Command;
        write_envelope::<EnvelopeError>(&mut frame, self.id, nobody, tag, topic, |out| {
            command.encode(out);
            Ok(())
        })
        .unwrap();
        self.state.lock().unwrap().pass_on(None, frame);
    }

    pub(crate) fn copies(&self, value: &Value) -> usize {
        let mut encoded = Vec::new();
        value.encode(&mut Encoder::new(&mut encoded)).unwrap();
        let state = self.state.lock().unwrap();
        state.got.iter().filter(|it| **it == encoded).count()
    }

    pub(crate) fn peer_count(&self) -> usize {
        self.state.lock().unwrap().peers.len()
    }
}

impl State {
    fn carry_out(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Dial {
                    connection,
                    host,
                    port,
                } => self.to_dial.push((connection, host, port)),
                Output::Send { connection, frame } => {
                    if let Some(writer) = self.writers.get(&connection) {
                        let _ = writer.send(frame);
                    }
                }
                Output::Install {
                    connection,
                    peer,
                    filter,
                } => {
                    self.peers.insert(peer, (connection, filter));
                }
                Output::PeerFilter { peer, filter } => {
                    if let Some(known) = self.peers.get_mut(&peer) {
                        known.1 = filter;
                    }
                }
                Output::Uninstall { peer } => {
                    self.peers.remove(&peer);
                }
                _ => {}
            }
        }
    }

    fn pass_on(&mut self, from: Option<EndpointId>, mut frame: Vec<u8>) {
        patch_hop(&mut frame, self.machine.id());
        let Ok(envelope) = Envelope::parse(&frame[FRAME_LEN_SIZE..]) else {
            return;
        };
        for (peer, (connection, filter)) in &self.peers {
            if Some(*peer) != from
                && filter.matches(envelope.topic)
                && let Some(writer) = self.writers.get(connection)
            {
                let _ = writer.send(frame.clone());
            }
        }
    }
}
