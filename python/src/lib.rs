//! The native module behind the `broker` Python package.
//!
//! It turns Python objects into the wire's bytes and back and lets Python threads wait for the
//! runtime. It must never contain decisions of the protocol, nor Python code that runs per
//! message; and no thread of the runtime ever takes the interpreter.
//!
//! Map: `encode` and `decode` convert; `data` and `types` are the classes for values; `zeek` the
//! events of Zeek, `logs` the records of its logs; `endpoint`, `publisher`, `subscriber`,
//! `status_subscriber`, `durable`, `stream_reader` the handles, whose receiving side is `inbox`; `message` what is received, decoded late; `store` the handles of data
//! stores; `status` what they report; `configuration` what they are made with;
//! `completion` is what an event loop waits for;
//! `argument` says what arguments of calls stand for, `options` those that are a mapping of options,
//! `peer_address` those that name a peer, `peering` how it is spoken with; `wait` is
//! the only place that blocks; `text`
//! is about strings that may not be UTF-8; `process` deals with forks and the interpreter's exit;
//! `error` has the exceptions; `recording` reads what endpoints recorded; `counters` what Python's side counts; `logging` hands over the log; `command` is the `broker` command.
//!
//! The way of one message out: `Endpoint.publish` -> `encode` writes its bytes -> the runtime
//! frames and sends them. In: the runtime queues a validated frame -> `Subscriber.get` takes it
//! off in the caller's thread -> `decode` builds the objects.

mod argument;
mod command;
mod completion;
mod configuration;
mod counters;
mod data;
mod decode;
mod durable;
mod encode;
mod endpoint;
mod error;
mod forwarder;
mod inbox;
mod log_receiver;
mod log_sender;
mod logging;
mod logs;
mod message;
mod nats;
mod options;
mod peer_address;
mod peering;
mod policy;
mod process;
mod publisher;
mod recording;
mod status;
mod status_subscriber;
mod store;
mod stream_reader;
mod subscriber;
mod text;
mod types;
mod untrack;
mod version;
mod wait;
mod websocket;
mod zeek;
mod zeromq;

use pyo3::prelude::*;

/// Native part of the package `broker`.
#[pymodule(gil_used = false)]
fn _broker(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    types::register(module)?;
    module.add_class::<data::Data>()?;
    data::register(module)?;
    error::register(module)?;
    module.add_class::<configuration::TlsSettings>()?;
    module.add_class::<configuration::BrokerOptions>()?;
    module.add_class::<configuration::Configuration>()?;
    module.add_class::<endpoint::Endpoint>()?;
    module.add_class::<publisher::Publisher>()?;
    module.add_class::<subscriber::Subscriber>()?;
    module.add_class::<message::Message>()?;
    module.add_class::<durable::DurableSubscriber>()?;
    module.add_class::<durable::DurableBatch>()?;
    module.add_class::<stream_reader::StreamReader>()?;
    module.add_class::<durable::DurableMessage>()?;
    module.add_class::<durable::StoredMessage>()?;
    module.add_class::<durable::StreamState>()?;
    module.add_class::<status_subscriber::StatusSubscriber>()?;
    module.add_class::<completion::CompletionQueue>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<store::event::StoreEvent>()?;
    module.add_class::<store::event::StoreEvents>()?;
    module.add_class::<store::proxy::StoreProxy>()?;
    status::register(module)?;
    version::register(module)?;
    zeek::register(module)?;
    module.add_function(wrap_pyfunction!(types::time::now, module)?)?;
    module.add_function(wrap_pyfunction!(types::time::infinite, module)?)?;
    module.add_function(wrap_pyfunction!(data::immutable_to_py, module)?)?;
    process::register(module)?;
    module.add_function(wrap_pyfunction!(recording::read_recording, module)?)?;
    module.add_class::<logging::LogReader>()?;
    module.add_function(wrap_pyfunction!(command::_command, module)?)?;
    // The original has none, and ours would not be what a star import should bring.
    module.delattr("__all__")
}
