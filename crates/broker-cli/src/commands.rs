//! The commands, one file each.

mod bench;
mod bridge;
mod completion;
mod context;
pub(crate) mod doctor;
mod intel;
mod logs;
mod man;
mod nats;
mod node;
mod ping;
mod policy;
mod publish;
mod record;
mod replay;
mod request;
mod status;
mod store;
mod subscribe;
#[cfg(feature = "tls")]
mod tls;
mod top;
mod value;
mod version;
mod zeek;

use crate::arguments::Arguments;
use crate::console::Console;
use crate::outcome::Outcome;

pub(crate) use publish::lines as input_lines;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Sub(subscribe::Sub),
    Pub(publish::Pub),
    Req(request::Req),
    Logs(logs::Logs),
    Store(store::StoreCommand),
    Zeek(zeek::ZeekCommand),
    Intel(intel::IntelCommand),
    Record(record::Record),
    Replay(replay::Replay),
    Ping(ping::Ping),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Status(status::StatusCommand),
    Top(top::Top),
    Node(node::Node),
    Bridge(bridge::Bridge),
    Policy(policy::PolicyCommand),
    Nats(nats::NatsCommand),
    #[cfg(feature = "tls")]
    Tls(tls::TlsCommand),
    Value(value::ValueCommand),
    Context(context::ContextCommand),
    Completion(completion::Completion),
    Man(man::Man),
    Version(version::Version),
}

/// Runs a command.
pub(crate) fn run(arguments: Arguments, console: &mut Console) -> Outcome {
    let global = &arguments.global;
    match arguments.command {
        Command::Sub(command) => command.run(global, console),
        Command::Pub(command) => command.run(global, console),
        Command::Req(command) => command.run(global, console),
        Command::Record(command) => command.run(global, console),
        Command::Replay(command) => command.run(global, console),
        Command::Zeek(command) => command.run(global, console),
        Command::Intel(command) => command.run(global, console),
        Command::Store(command) => command.run(global, console),
        Command::Logs(command) => command.run(global, console),
        Command::Ping(command) => command.run(global, console),
        Command::Doctor(command) => command.run(global, console),
        Command::Bench(command) => command.run(global, console),
        Command::Status(command) => command.run(global, console),
        Command::Top(command) => command.run(global, console),
        Command::Node(command) => command.run(global, console),
        Command::Bridge(command) => command.run(global, console),
        Command::Policy(command) => command.run(console),
        Command::Nats(command) => command.run(global, console),
        #[cfg(feature = "tls")]
        Command::Tls(command) => command.run(console),
        Command::Value(command) => command.run(console),
        Command::Context(command) => command.run(console),
        Command::Completion(command) => command.run(console),
        Command::Man(command) => command.run(console),
        Command::Version(command) => command.run(console),
    }
}
