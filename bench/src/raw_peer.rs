//! A peer that speaks the protocol's handshake and then only moves bytes: what an endpoint does for
//! one message can be counted without what a second endpoint does.

use anyhow::{Context, ensure};
use broker_data::Timestamp;
use broker_proto::endpoint::{Endpoint as Machine, Output, Retry};
use broker_proto::frame::{FRAME_LEN_SIZE, frame_size};
use broker_proto::{Config, EndpointId, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The other end of a peering, without anything above the socket.
pub(crate) struct RawPeer {
    pub(crate) stream: TcpStream,
}

impl RawPeer {
    /// Peers with the endpoint that listens on that port. Different numbers are different peers.
    pub(crate) async fn join(port: u16, number: u64, topics: &[Topic]) -> anyhow::Result<Self> {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let now = Timestamp::from_ns(0);
        let mut machine = Machine::new(Config::new(EndpointId::from_random(id), number));
        machine.subscribe(now, topics);
        machine.peer(now, "127.0.0.1", port, Retry::Never, None);
        let mut held = Vec::new();
        let mut dialed = None;
        let mut installed = false;
        loop {
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Dial { connection, .. } => {
                        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                        stream.set_nodelay(true)?;
                        dialed = Some((connection, stream));
                        machine.handle_dialed(now, connection);
                    }
                    Output::Send { frame, .. } => {
                        let (_, stream) = dialed.as_mut().context("nothing was dialed")?;
                        stream.write_all(&frame).await?;
                    }
                    Output::Install { .. } => installed = true,
                    _ => {}
                }
            }
            let (connection, stream) = dialed.as_mut().context("nothing was dialed")?;
            if installed {
                ensure!(held.is_empty(), "a peer spoke before it was spoken to");
                let (_, stream) = dialed.context("nothing was dialed")?;
                return Ok(Self { stream });
            }
            let Some(size) = frame_size(&held).filter(|size| *size <= held.len()) else {
                let read = stream.read_buf(&mut held).await?;
                ensure!(read > 0, "the endpoint refused a peer");
                continue;
            };
            let frame: Vec<u8> = held.drain(..size).collect();
            let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
            machine.handle_frame(now, *connection, payload);
        }
    }
}
