//! The content of messages of Zeek: events, log records, identifier updates, and batches of them.
//!
//! All of it is the crate `broker_zeek`, which does no I/O and knows no endpoint: bytes in, values out.
//! This module is where a received message meets it.
//!
//! ```
//! use broker::data::{View, to_bytes};
//! use broker::zeek::{EventBuilder, Message};
//!
//! let bytes = to_bytes(&EventBuilder::new("ping").argument("hello").argument(&7_u64))?;
//! let Message::Event(event) = Message::parse(View::new(&bytes)?) else { panic!("an event") };
//! assert_eq!(event.name(), b"ping");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Logs
//!
//! A Zeek process announces each of its logs with a *log create* message, which has the field list,
//! and then sends *log writes*, whose record is a blob of its own format. [`LogDecoder`] remembers
//! the field lists and turns the writes into records; what arrives before its field list waits.
//!
//! ```no_run
//! use broker::zeek::{LOG_TOPIC, LogDecoder};
//!
//! let endpoint = broker::Endpoint::new()?;
//! // Subscribe first: field lists are sent when the peering comes up.
//! let messages = endpoint.subscriber([LOG_TOPIC])?;
//! endpoint.peer("127.0.0.1", 9999, broker::Retry::Never).wait()?;
//! let mut logs = LogDecoder::new().only(["conn", "dns"]);
//! loop {
//!     logs.handle_message(&messages.recv()?);
//!     while let Some(record) = logs.poll_record() {
//!         match record {
//!             Ok(record) => println!("{}", record.to_json()),
//!             Err(problem) => eprintln!("{problem}"),
//!         }
//!     }
//! }
//! # #[expect(unreachable_code)]
//! # Ok::<(), broker::Error>(())
//! ```

pub use broker_zeek::*;

use crate::message::Message as Received;

/// The value of a received message, which shares its bytes.
impl From<&Received> for EncodedValue {
    fn from(message: &Received) -> Self {
        message.payload_bytes().into()
    }
}
