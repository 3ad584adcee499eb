//! Installs, builds and executes what the project needs.
//!
//! It refuses to do any of the work itself, and to install anything without saying so and asking.

mod packages;
mod step;
mod tasks;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, long_about = None)]
struct Arguments {
    /// Install missing packages without asking; CI=true does the same.
    #[arg(long, global = true)]
    yes: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// The whole story in throwaway homes: sign in, press "Sign out everywhere", try to come back.
    Demo(Demo),
    /// Every test: the crates', real browsers, keyring and lock, and the window pages'.
    Test {
        /// Only tests whose name contains this.
        #[arg(long)]
        filter: Option<String>,
        /// Only the lockers of whole desktops: Cinnamon, Plasma and GNOME, each installed in a
        /// container. It takes minutes, and no other run includes it.
        #[arg(long, conflicts_with = "filter")]
        desktops: bool,
        /// Only the hub that is killed under load, so many times. Other runs kill it ten times.
        #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "200",
            conflicts_with_all = ["filter", "desktops"])]
        kills: Option<u32>,
    },
    /// Formatting, lints, types of the window pages, layering, generated files.
    Lint {
        /// Also check licences and advisories of every dependency.
        #[arg(long)]
        deep: bool,
    },
    /// Build the window pages alone.
    Ui,
    /// Measure, on a release build.
    Bench(Bench),
}

#[derive(Debug, Args)]
struct Demo {
    /// Use no window even where there is a display.
    #[arg(long)]
    headless: bool,
    /// Print the result as one line of JSON, last on standard output.
    #[arg(long)]
    json: bool,
    /// Leave the throwaway directory where it is.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct Bench {
    /// Which one.
    #[arg(value_parser = ["order", "footprint", "traps", "contain"])]
    name: String,
    /// Print the result as one line of JSON, last on standard output.
    #[arg(long)]
    json: bool,
    /// Fewer rounds: for a look, not for a figure.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let Arguments { yes, task } = Arguments::parse();
    let consent = packages::Consent::given(yes);
    let done = match task {
        Task::Demo(Demo { headless, json, keep }) => {
            let flags = [(headless, "--headless"), (json, "--json"), (keep, "--keep")];
            tasks::demo(consent, &chosen(&flags))
        }
        Task::Test { desktops: true, .. } => tasks::desktops(consent),
        Task::Test { kills: Some(rounds), .. } => tasks::kills(consent, rounds),
        Task::Test { filter, desktops: false, kills: None } => {
            tasks::test(consent, filter.as_deref())
        }
        Task::Lint { deep } => tasks::lint(consent, deep),
        Task::Ui => tasks::ui(),
        Task::Bench(Bench { name, json, quick }) => {
            let flags = [(json, "--json"), (quick, "--quick")];
            tasks::bench(consent, &name, &chosen(&flags))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("cargo xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn chosen<'a>(flags: &[(bool, &'a str)]) -> Vec<&'a str> {
    flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag).collect()
}
