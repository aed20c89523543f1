//! The three messages that are measured, and how a receiver finds their sequence number.

use std::net::Ipv4Addr;

use broker_data::{
    Address, EncodeError, Encoder, Item, Port, Protocol, Reader, Source, Timespan, Timestamp,
};

/// Topic of every benchmark message.
pub(crate) const TOPIC: &str = "/benchmark/events";
/// Topic that a pong comes back on.
pub(crate) const REPLY_TOPIC: &str = "/benchmark/replies";

const LARGE_STRING: usize = 64 * 1024;

/// Size classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "end-to-end", derive(clap::ValueEnum))]
pub(crate) enum Size {
    /// A `ping` event with one integer.
    Small,
    /// An event with an integer and a 20-field connection record.
    Medium,
    /// An event with an integer and a 64 KiB string.
    Large,
}

/// One Zeek event with a sequence number.
pub(crate) struct Event<'a> {
    pub(crate) sequence: i64,
    pub(crate) size: Size,
    pub(crate) filler: &'a [u8],
}

/// The content of the large message; made once.
pub(crate) fn filler() -> Vec<u8> {
    vec![b'x'; LARGE_STRING]
}

impl Source for Event<'_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let name: &[u8] = match self.size {
            Size::Small => b"ping",
            Size::Medium => b"connection",
            Size::Large => b"blob",
        };
        enc.vector(3, |enc| {
            enc.count(1);
            enc.count(1);
            enc.vector(2, |enc| {
                enc.string(name)?;
                match self.size {
                    Size::Small => enc.vector(1, |enc| {
                        enc.integer(self.sequence);
                        Ok(())
                    }),
                    Size::Medium => enc.vector(2, |enc| {
                        enc.integer(self.sequence);
                        connection_record(enc)
                    }),
                    Size::Large => enc.vector(2, |enc| {
                        enc.integer(self.sequence);
                        enc.string(self.filler)
                    }),
                }
            })
        })
    }
}

fn connection_record(enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
    enc.vector(20, |enc| {
        enc.timestamp(Timestamp::from_ns(1_681_827_194_123_456_789));
        enc.string(b"CHhAvVGS1DHFjwGM9")?;
        enc.address(Address::from(Ipv4Addr::new(10, 0, 0, 7)));
        enc.port(Port::new(49_152, Protocol::Tcp));
        enc.address(Address::from(Ipv4Addr::new(192, 0, 2, 33)));
        enc.port(Port::new(443, Protocol::Tcp));
        enc.enum_value(b"tcp")?;
        enc.string(b"ssl")?;
        enc.timespan(Timespan::from_ns(1_500_000_000));
        enc.count(1_234);
        enc.count(56_789);
        enc.string(b"SF")?;
        enc.boolean(true);
        enc.boolean(false);
        enc.count(0);
        enc.string(b"ShADadFf")?;
        enc.count(12);
        enc.count(2_048);
        enc.count(15);
        enc.real(0.25);
        Ok(())
    })
}

/// The sequence number inside an encoded event.
pub(crate) fn sequence(payload: &[u8]) -> Option<i64> {
    let mut reader = Reader::new(payload);
    // vector(count, count, vector(name, vector(sequence ...
    for _ in 0..6 {
        reader.next_item().ok()?;
    }
    match reader.next_item().ok()? {
        Item::Integer(sequence) => Some(sequence),
        _ => None,
    }
}
