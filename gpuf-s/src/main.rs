//! The server's process: arguments in, an exit code out.

use std::process::ExitCode;

use gpuf_s::cli::Cli;

fn main() -> ExitCode {
    let cli = match Cli::parse_arguments(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version come this way too, and know where to print themselves.
        Err(error) => error.exit(),
    };
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gpuf-s: {error}");
            ExitCode::FAILURE
        }
    }
}
