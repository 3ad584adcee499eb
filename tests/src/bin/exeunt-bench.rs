//! Measures, and prints what was measured.
//!
//! It refuses to call an aim met that was missed: the exit code says so, too.

use std::process::ExitCode;

use clap::Parser;
use exeunt_tests::bench;

/// One bench, on this machine, now. Exit 0: every aim is met; 3: one is missed.
#[derive(Debug, Parser)]
#[command(name = "exeunt-bench")]
struct Arguments {
    /// Which.
    name: String,
    /// Print one line of JSON, last on standard output.
    #[arg(long)]
    json: bool,
    /// Fewer rounds: for a look, not for a figure.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let Arguments { name, json, quick } = Arguments::parse();
    if let Some(served) = bench::serve(&name) {
        if let Err(error) = &served {
            eprintln!("exeunt-bench {name}: {error:#}");
        }
        return ExitCode::from(u8::from(served.is_err()));
    }
    let shown = bench::run(&name, quick).and_then(|measured| {
        let line = if json { serde_json::to_string(&measured)? } else { measured.table() };
        Ok((line, measured.met()))
    });
    match shown {
        Ok((line, met)) => {
            println!("{line}");
            ExitCode::from(if met { 0 } else { 3 })
        }
        Err(error) => {
            eprintln!("exeunt-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
