//! A sender that gives the system one frame at a time, as other implementations do: what they send
//! comes in many small segments, and that must not slow the receiver down.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, ensure};
use broker_proto::frame::{Envelope, FRAME_LEN_SIZE, frame_size};
use broker_proto::{EndpointId, Topic};

use crate::Common;
use crate::payload::{Event, REPLY_TOPIC, filler};
use crate::raw_peer::RawPeer;
use crate::raw_roles::write_event;
use crate::report;

fn port(options: &Common) -> anyhow::Result<u16> {
    options.port.first().copied().context("--port is missing")
}

/// To an endpoint, until it publishes that it has everything.
pub(crate) fn peered(options: &Common) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut stream = runtime.block_on(async {
        let peer = RawPeer::join(port(options)?, 1, &[Topic::from(REPLY_TOPIC)]).await?;
        Ok::<_, anyhow::Error>(peer.stream.into_std()?)
    })?;
    stream.set_nonblocking(false)?;
    send(options, &mut stream, |stream| {
        let mut held = Vec::new();
        loop {
            while let Some(size) = frame_size(&held).filter(|size| *size <= held.len()) {
                let frame: Vec<u8> = held.drain(..size).collect();
                let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
                if Envelope::parse(payload)?.topic == REPLY_TOPIC.as_bytes() {
                    return Ok(());
                }
            }
            let mut part = [0; 4096];
            let read = stream.read(&mut part)?;
            ensure!(read > 0, "the endpoint closed before it had everything");
            held.extend_from_slice(part.get(..read).unwrap_or_default());
        }
    })
}

/// To a program that counts frames, until it says that it has everything.
pub(crate) fn raw(options: &Common) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port(options)?))?;
    stream.set_nodelay(true)?;
    send(options, &mut stream, |stream| {
        Ok(stream.read_exact(&mut [0])?)
    })
}

fn send(
    options: &Common,
    stream: &mut TcpStream,
    finish: impl FnOnce(&mut TcpStream) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let filler = filler();
    let me = EndpointId::from_random([7; 16]);
    let mut frame = Vec::new();
    let start = Instant::now();
    let cpu = report::cpu_seconds();
    for sequence in 0..options.count {
        let event = Event {
            sequence: sequence.cast_signed(),
            size: options.size,
            filler: &filler,
        };
        frame.clear();
        write_event(&mut frame, me, &event)?;
        stream.write_all(&frame)?;
    }
    finish(stream)?;
    report::done(options.count, start.elapsed(), report::cpu_seconds() - cpu)
}
