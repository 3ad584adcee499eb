//! Tells the story once and prints what was measured.
//!
//! It refuses the home, the display and the lock of whoever runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use exeunt_tests::desktop::Screen;
use exeunt_tests::story::{self, Telling};

/// Signs alice in everywhere, presses "Sign out everywhere", and tries to come back.
#[derive(Debug, Parser)]
#[command(name = "exeunt-demo")]
struct Arguments {
    /// Use no window even where there is a display.
    #[arg(long)]
    headless: bool,
    /// Print the result as one line of JSON, last on standard output.
    #[arg(long)]
    json: bool,
    /// Leave the throwaway directory where it is.
    #[arg(long)]
    keep: bool,
    /// Where the receipt goes [default: `demo` beside the built programs].
    #[arg(long)]
    receipts: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("exeunt-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let shown = std::env::var_os("DISPLAY").is_some_and(|display| !display.is_empty());
    let screen = if shown && !arguments.headless { Screen::Window } else { Screen::Headless };
    let receipts = match arguments.receipts {
        Some(dir) => dir,
        None => std::env::current_exe()?.parent().context("no directory")?.join("demo"),
    };
    let figures = story::tell(&Telling { screen, keep: arguments.keep, receipts })?;
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        println!("{}", figures.table());
    }
    Ok(ExitCode::from(figures.exit_code()))
}
