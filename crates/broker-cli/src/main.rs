//! The `broker` command as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut console = broker_cli::Console::of_process();
    let code = broker_cli::run(std::env::args_os(), &mut console);
    // All codes are from 0 to 130.
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
