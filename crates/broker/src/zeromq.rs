//! ZeroMQ as Zeek's clusters use it, beside endpoints: the log stream, a forwarder, keys.
//!
//! | to | use |
//! |---|---|
//! | be the logger of a cluster, or read along in front of one | [`LogReceiver`] |
//! | push batches of records to a logger | [`LogSender`] |
//! | forward the events of a cluster instead of its manager | [`Forwarder`] |
//! | have CURVE keys | [`Curve`], [`generate_curve_keypair`] |
//!
//! None of them needs an endpoint; they run on the threads that endpoints use.
//!
//! ```no_run
//! use broker::zeek::LogDecoder;
//! use broker::zeromq::{LogReceiver, LogReceiverOptions};
//!
//! // What the logger of the cluster's layout is: Zeek's nodes connect to it.
//! let receiver = LogReceiver::bind("zmq-pull://0.0.0.0:27764", LogReceiverOptions::default())?;
//! let mut logs = LogDecoder::new().only(["conn", "dns"]);
//! loop {
//!     logs.handle_log_message(receiver.recv()?.parts());
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

pub use broker_proto::zmtp::{CurveKeys, KeyError, KeyPair, PublicKey, SecretKey};

pub use crate::transport::zeromq::forwarder::{
    Forwarder, ForwarderConnection, ForwarderOptions, ForwarderSide, ForwarderStats,
};
pub use crate::transport::zeromq::keys::{
    Curve, curve_keys_from_directory, curve_keys_from_environment, curve_keys_from_file,
    generate_curve_keypair,
};
pub use crate::transport::zeromq::log_receiver::{
    LogMessage, LogReceiver, LogReceiverOptions, LogReceiverStats,
};
pub use crate::transport::zeromq::log_sender::{LogSender, LogSenderOptions, LogSenderStats};
