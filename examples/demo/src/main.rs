//! Starts real servers and two replicas of risk-engine, breaks one server after the other under load, and accounts for
//! every payment. Exit status 0 only when nothing was lost or doubled and every fault is proven.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program prints"
)]

mod accounts;
mod arguments;
mod gaps;
mod generator;
mod live;
mod payments;
mod replica;
mod results;
mod rig;
mod run;
mod table;

use std::process::ExitCode;

use clap::Parser;

// The run stays on the main thread, because the kernel kills a replica with the thread that started it.
fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            report = run::run(&arguments) => conclude(report),
            _ = tokio::signal::ctrl_c() => {
                eprintln!("interrupted: everything that was started is being stopped");
                ExitCode::from(130)
            }
        }
    })
}

fn conclude(report: Result<table::Report, Box<dyn std::error::Error>>) -> ExitCode {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("the demo could not be run: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("\n{}", report.table());
    let failures = report.failures();
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    if failures.is_empty() {
        println!("nothing lost, nothing doubled, every fault proven");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
