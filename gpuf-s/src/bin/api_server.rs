//! The process of the management API: arguments in, an exit code out.

use std::process::ExitCode;

use gpuf_s::cli::ApiServer;

fn main() -> ExitCode {
    let cli = match ApiServer::parse_arguments(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version come this way too, and know where to print themselves.
        Err(error) => error.exit(),
    };
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api_server: {error}");
            ExitCode::FAILURE
        }
    }
}
