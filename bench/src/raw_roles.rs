//! What plain sockets can do with the same frames: the limits every figure is compared with.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context, ensure};
use broker_proto::EndpointId;
use broker_proto::frame::{Tag, patch_hop, write_envelope};

use crate::Common;
use crate::payload::{Event, TOPIC, filler};
use crate::report;

const CHUNK: usize = 64 * 1024;

/// Receives frames and counts them.
pub(crate) fn receive(options: &Common) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    report::listening(listener.local_addr()?.port())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut frames = Frames::default();
    let mut received = 0;
    let mut start = None;
    let mut cpu = 0.0;
    while received < options.count {
        ensure!(
            frames.fill(&mut stream)?,
            "the sender closed after {received} frames"
        );
        if start.is_none() {
            start = Some(Instant::now());
            cpu = report::cpu_seconds();
        }
        while frames.next_frame().is_some() {
            received += 1;
        }
    }
    let start = start.context("no frame was expected")?;
    report::done(received, start.elapsed(), report::cpu_seconds() - cpu)?;
    // Tells the sender that everything has arrived.
    stream.write_all(b"!")?;
    Ok(())
}

/// Appends the frame an endpoint would send.
pub(crate) fn write_event(
    out: &mut Vec<u8>,
    sender: EndpointId,
    event: &Event<'_>,
) -> anyhow::Result<()> {
    let (everybody, topic) = (EndpointId::NIL, TOPIC.as_bytes());
    write_envelope(out, sender, everybody, Tag::Data, topic, |out| {
        Ok(broker_data::Encoder::new(out).encode(event)?)
    })
}

/// Sends the frames an endpoint would send.
pub(crate) fn send(options: &Common) -> anyhow::Result<()> {
    let port = *options.port.first().context("--port is missing")?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let filler = filler();
    let start = Instant::now();
    let cpu = report::cpu_seconds();
    let mut out = Vec::with_capacity(2 * CHUNK);
    let me = EndpointId::from_random([7; 16]);
    for sequence in 0..options.count {
        let event = Event {
            sequence: sequence.cast_signed(),
            size: options.size,
            filler: &filler,
        };
        write_event(&mut out, me, &event)?;
        if out.len() >= CHUNK {
            stream.write_all(&out)?;
            out.clear();
        }
    }
    stream.write_all(&out)?;
    let mut end = [0; 1];
    // A relay in between closes without a word; either way everything was taken.
    let _ = stream.read(&mut end)?;
    report::done(options.count, start.elapsed(), report::cpu_seconds() - cpu)
}

/// Copies frames from the first connection to all `port`s.
pub(crate) fn relay(options: &Common) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    report::listening(listener.local_addr()?.port())?;
    let mut targets = Vec::new();
    for port in &options.port {
        let stream = TcpStream::connect(("127.0.0.1", *port))?;
        stream.set_nodelay(true)?;
        targets.push(stream);
    }
    let (mut stream, _) = listener.accept()?;
    let me = EndpointId::from_random([9; 16]);
    let mut frames = Frames::default();
    let mut out = Vec::with_capacity(2 * CHUNK);
    let mut relayed = 0;
    let start = Instant::now();
    let cpu = report::cpu_seconds();
    while relayed < options.count && frames.fill(&mut stream)? {
        while let Some(frame) = frames.next_frame() {
            let begin = out.len();
            out.extend_from_slice(frame);
            if let Some(copy) = out.get_mut(begin..) {
                patch_hop(copy, me);
            }
            relayed += 1;
        }
        for target in &mut targets {
            target.write_all(&out)?;
        }
        out.clear();
    }
    report::done(relayed, start.elapsed(), report::cpu_seconds() - cpu)?;
    for target in &mut targets {
        let mut end = [0; 1];
        let _ = target.read(&mut end)?;
    }
    Ok(())
}

/// Sends each frame back as it came.
pub(crate) fn pong(options: &Common) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    report::listening(listener.local_addr()?.port())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut frames = Frames::default();
    let mut answered = 0;
    while answered < options.count {
        ensure!(frames.fill(&mut stream)?, "the sender closed too early");
        while let Some(frame) = frames.next_frame() {
            stream.write_all(frame)?;
            answered += 1;
        }
    }
    Ok(())
}

/// Sends one frame after the other, each when the previous one is back.
pub(crate) fn ping(options: &Common) -> anyhow::Result<()> {
    let port = *options.port.first().context("--port is missing")?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut frame = Vec::new();
    let me = EndpointId::from_random([7; 16]);
    let event = Event {
        sequence: 7,
        size: options.size,
        filler: &filler(),
    };
    write_event(&mut frame, me, &event)?;
    let mut frames = Frames::default();
    let mut round_trips = Vec::new();
    let start = Instant::now();
    let cpu = report::cpu_seconds();
    for _ in 0..options.count {
        let sent = Instant::now();
        stream.write_all(&frame)?;
        while frames.next_frame().is_none() {
            ensure!(frames.fill(&mut stream)?, "the other side closed too early");
        }
        round_trips.push(sent.elapsed());
    }
    report::round_trips(round_trips)?;
    report::done(options.count, start.elapsed(), report::cpu_seconds() - cpu)
}

/// A read buffer that hands out complete frames.
#[derive(Default)]
struct Frames {
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Frames {
    /// Reads once; false at the end of the stream.
    fn fill(&mut self, stream: &mut TcpStream) -> std::io::Result<bool> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        if self.buffer.len() < self.end + CHUNK {
            self.buffer.resize(self.end + 2 * CHUNK, 0);
        }
        let read = stream.read(self.buffer.get_mut(self.end..).unwrap_or_default())?;
        self.end += read;
        Ok(read > 0)
    }

    fn next_frame(&mut self) -> Option<&[u8]> {
        let held = self.buffer.get(self.begin..self.end)?;
        let size = u32::from_be_bytes(*held.first_chunk::<4>()?) as usize + 4;
        let frame = held.get(..size)?;
        self.begin += size;
        Some(frame)
    }
}
