//! `exeunt`: what people type.
//!
//! It refuses to end anything by itself: the warden on this device and the hub do, and this asks.

mod admin;
mod args;
mod catalogue;
mod device;
mod doctor;
mod enrol;
mod fault;
mod home;
mod out;
mod receipt;
mod session;
mod verify;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::args::{Cli, Command};
use crate::fault::Fault;
use crate::out::Out;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return mistyped(&error),
    };
    let out = Out { json: cli.json };
    match run(out, cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            say(out.json, &fault);
            ExitCode::from(fault.exit())
        }
    }
}

fn run(out: Out, command: Command) -> Result<u8, Fault> {
    match command {
        Command::Status => device::status(out),
        Command::Survey(typed) => device::survey(out, &typed),
        Command::Preview(typed) => device::preview(out, &typed),
        Command::Close(typed) => device::close(out, &typed),
        Command::Everywhere(typed) => device::everywhere(out, &typed),
        Command::Lock(typed) => device::lock(out, &typed),
        Command::Session(command) => session::run(out, command),
        Command::Receipt(command) => receipt::run(out, &command),
        Command::Catalogue(command) => catalogue::run(out, &command),
        Command::Enroll(typed) => enrol::enroll(out, &typed),
        Command::Unenroll(typed) => enrol::unenroll(out, &typed),
        Command::Doctor => doctor::run(out),
        Command::Admin(command) => admin::run(out, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "exeunt", &mut script);
            out::line(String::from_utf8_lossy(&script).trim_end()).map(|()| 0)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            out::line(String::from_utf8_lossy(&page).trim_end()).map(|()| 0)
        }
    }
}

/// Help and version are answers; anything else is a usage error, in JSON when that was asked for.
fn mistyped(error: &clap::Error) -> ExitCode {
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if is_answer || !wants_json {
        // Nobody reads on when this fails.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(fault::EXIT_USAGE));
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let fault =
        Fault::usage(first).hint("`exeunt --help` lists the commands, and each has its own");
    say(true, &fault);
    ExitCode::from(fault.exit())
}

fn say(json: bool, fault: &Fault) {
    if json {
        // When standard output is gone there is nowhere left to say so.
        let _ = out::line(&fault.to_json());
    } else {
        eprintln!("{}", fault.to_text());
    }
}
