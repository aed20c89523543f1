//! `broker-throughput` of the original, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::ffi::OsString::from("broker-throughput");
    let arguments = std::iter::once(name).chain(std::env::args_os().skip(1));
    let code = broker_cli::run(arguments, &mut broker_cli::Console::of_process());
    // All codes are from 0 to 130.
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
