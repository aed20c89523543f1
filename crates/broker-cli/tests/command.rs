//! The command in processes of its own, against real endpoints.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[path = "command/bench.rs"]
mod bench;
#[path = "command/bridge.rs"]
mod bridge;
#[path = "command/certificates.rs"]
mod certificates;
#[path = "command/compatibility.rs"]
mod compatibility;
#[path = "command/doctor.rs"]
mod doctor;
#[path = "command/document.rs"]
mod document;
#[path = "command/ends.rs"]
mod ends;
#[path = "../../broker/tests/outside/files.rs"]
mod files;
#[path = "command/help.rs"]
mod help;
#[path = "command/hostile.rs"]
mod hostile;
#[path = "command/local.rs"]
mod local;
#[path = "command/logs.rs"]
mod logs;
#[path = "command/node.rs"]
mod node;
#[path = "command/node_forwarder.rs"]
mod node_forwarder;
#[path = "command/node_http.rs"]
mod node_http;
#[path = "command/openapi.rs"]
mod openapi;
#[path = "command/ping.rs"]
mod ping;
#[path = "command/policy.rs"]
mod policy;
#[path = "../../broker/tests/machine/ports.rs"]
mod ports;
#[path = "command/process.rs"]
mod process;
#[path = "command/publish.rs"]
mod publish;
#[path = "command/record.rs"]
mod record;
#[path = "command/request.rs"]
mod request;
#[path = "command/schema.rs"]
mod schema;
#[path = "command/status.rs"]
mod status;
#[path = "command/store.rs"]
mod store;
#[path = "command/subscribe.rs"]
mod subscribe;
#[path = "command/tls.rs"]
mod tls;
#[path = "command/zeek.rs"]
mod zeek;
#[path = "command/zeromq.rs"]
mod zeromq;
