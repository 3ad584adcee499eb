//! The command tree, and the help that teaches it.
//!
//! It refuses to name a command that is not there yet.

pub(crate) mod admin;
pub(crate) mod approval;
pub(crate) mod connector;
pub(crate) mod transmitter;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use exeunt_domain::{Subject, Tier};

const ABOUT: &str = "End every session of a person or a machine identity, and get proof.";
const AFTER: &str = "\
Examples:
  exeunt status                       who is signed in here, and is the hub there?
  exeunt preview                      what would end, what stays, what cannot be ended
  exeunt everywhere                   sign out everywhere, this device included
  exeunt close --yes                  close this device only, without asking
  exeunt receipt verify receipt.json --jwks device-keys.json

With --json every command prints one line with \"v\":1; errors are {\"v\":1,\"error\":{…}}.

Exit codes:
  0  verified, or answered by a command that only reads
  1  error
  2  usage
  3  partial: something usable remains, and the output names it
  4  unreachable, unfinished, or a receipt by a key that is not pinned
  5  refused

Environment:
  EXEUNT_RUNTIME_DIR   where warden.sock and agent.sock are
  EXEUNT_HUB           the hub for `exeunt admin`
  EXEUNT_HUB_CA        a PEM file of the authorities that may vouch for it
  EXEUNT_ADMIN_TOKEN   the operator's token for `exeunt admin`";

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "exeunt", version, about = ABOUT, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print one line of JSON instead of words.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who is signed in at this console and how the hub stands.
    Status,
    /// List the stores of sessions that are here. Touches nothing.
    #[command(
        after_help = "Examples:\n  exeunt survey\n  sudo exeunt survey --home /home/alice --json"
    )]
    Survey(Survey),
    /// Say what a close would end, what stays, and what cannot be ended. Touches nothing.
    #[command(after_help = "Examples:\n  exeunt preview\n  exeunt preview --tier lock")]
    Preview(Preview),
    /// Close this device only: end every session in the home, lock, look again, sign a receipt.
    #[command(
        after_help = "Examples:\n  exeunt close\n  exeunt close --yes --reason \"end of shift\"\n  \
                      sudo exeunt close --home /home/alice --yes --json\n  \
                      exeunt close --hand-over            back to the greeter, nothing left running\n  \
                      sudo exeunt close --all-users       everybody here, a receipt each\n\n\
                      With --hand-over this command ends with the session; the receipt stays, for root to\n\
                      show. With --all-users the worst outcome governs. Sessions elsewhere stay open: `exeunt everywhere` ends those too."
    )]
    Close(Close),
    /// Sign out everywhere: every session at the hub, every device, this one included.
    #[command(
        after_help = "Examples:\n  exeunt everywhere\n  exeunt everywhere --yes --reason \"lost my badge\"\n\n\
                      When the hub cannot be reached this device closes all the same, the exit code is 4,\n\
                      and the revoke goes out as soon as the hub is back."
    )]
    Everywhere(Everywhere),
    /// Lock the screen and prove it.
    #[command(
        after_help = "Examples:\n  exeunt lock\n  sudo exeunt lock --home /home/alice --session :0"
    )]
    Lock(Lock),
    /// Whose session this console is.
    #[command(subcommand)]
    Session(Session),
    /// Receipts: what was found, done and found again, signed by this device.
    #[command(subcommand)]
    Receipt(Receipt),
    /// Which places are known to hold sessions.
    #[command(subcommand)]
    Catalogue(Catalogue),
    /// Enrol this device with a hub, by a one-time token. Needs root where the warden is root's.
    #[command(
        after_help = "Examples:\n  exeunt admin device token            (an operator, elsewhere)\n  \
                      sudo exeunt enroll --token-file token.txt\n  sudo exeunt enroll --token exeunt-enroll-…\n\n\
                      A token on the command line is visible to other users of this machine while the\n\
                      command runs; --token-file - reads standard input instead."
    )]
    Enroll(Enroll),
    /// Forget the hub. Nothing that it signed before is believed afterwards.
    Unenroll(Yes),
    /// Look at everything a close depends on, and say what to do about what is missing.
    Doctor,
    /// Operate the hub.
    #[command(subcommand, after_help = admin::AFTER)]
    Admin(admin::Admin),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  exeunt completions bash > ~/.local/share/bash-completion/completions/exeunt"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(after_help = "Example:\n  exeunt man | man -l -")]
    Man,
}

/// A home to look at instead of the caller's own session.
#[derive(Clone, Debug, Args)]
pub(crate) struct Home {
    /// Work on this home by running `exeunt-warden once`: no service, no hub. Never your own home.
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
}

/// Every user of the machine instead of the caller alone.
#[derive(Clone, Debug, Args)]
pub(crate) struct AllUsers {
    /// Every user who has a home on this machine, one after the other. For root, whose own home is
    /// left out.
    #[arg(long, conflicts_with = "home")]
    pub(crate) all_users: bool,
}

/// Whose home is looked at.
#[derive(Debug, Args)]
pub(crate) struct Survey {
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) all: AllUsers,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// How much would end: lock or sign-out.
    #[arg(long, default_value = "sign-out")]
    pub(crate) tier: Tier,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) all: AllUsers,
}

#[derive(Debug, Args)]
pub(crate) struct Close {
    /// How much ends: lock or sign-out.
    #[arg(long, default_value = "sign-out")]
    pub(crate) tier: Tier,
    /// Words for the record.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// End everything of the user, the desktop too, back to the greeter: the machine goes to the next
    /// person. What was not saved is lost. Needs a warden of root.
    #[arg(long)]
    pub(crate) hand_over: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) all: AllUsers,
    #[command(flatten)]
    pub(crate) home: Home,
    /// With --home, the session to lock and whose keyring to clear, such as `:0`.
    #[arg(long, value_name = "ID", requires = "home")]
    pub(crate) session: Option<String>,
    /// With --home, the D-Bus address whose keyring to clear.
    #[arg(long, value_name = "ADDR", requires = "home")]
    pub(crate) bus: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Everywhere {
    /// Words for the record.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// Lock a session of this home by running `exeunt-warden once`. Never your own home.
    #[arg(long, value_name = "DIR", requires = "session")]
    pub(crate) home: Option<PathBuf>,
    /// With --home, the session to lock, such as `:0`.
    #[arg(long, value_name = "ID", requires = "home")]
    pub(crate) session: Option<String>,
}

/// Whether to ask first.
#[derive(Clone, Debug, Args)]
pub(crate) struct Yes {
    /// Do not ask. Needed when standard input is not a terminal.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// Say whose session this console is from now on.
    #[command(after_help = "Examples:\n  exeunt session begin --subject alice@corp.example\n  \
                      sudo exeunt session begin --subject alice --uid 1000   (a badge reader)\n\n\
                      Said by a user it is asserted, and ends this device only. Said by root it is attested,\n\
                      and may sign the subject out everywhere.")]
    Begin {
        /// Whose: a name, an e-mail address, acct:NAME@HOST, or ISSUER|SUB.
        #[arg(long)]
        subject: Subject,
        /// For root: the user whose console it is.
        #[arg(long)]
        uid: Option<u32>,
    },
    /// Say that this console's session ended by itself.
    End,
    /// List the sessions at this console, and everywhere else as the hub knows them.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// List this console's receipts, newest first.
    List,
    /// Show one receipt.
    #[command(
        after_help = "Examples:\n  exeunt receipt show 3\n  exeunt receipt show 3 --bundle > receipt.json\n  \
                      exeunt receipt verify receipt.json"
    )]
    Show {
        /// Its transaction, or its number in the device's chain.
        id: String,
        /// Print the receipt with the device's public key, for `exeunt receipt verify`.
        #[arg(long)]
        bundle: bool,
    },
    /// Verify a receipt offline: signature, chain fields, and that its outcome follows from its
    /// stores.
    #[command(
        after_help = "Examples:\n  exeunt receipt verify receipt.json --jwks device-keys.json\n  \
                      exeunt close --home /home/alice --yes --json | exeunt receipt verify -\n\n\
                      FILE holds a compact SET, a bundle {\"receipt\",\"jwk\"}, or what a command printed with --json.\n\
                      --jwks holds the keys that you trust: a JWKS or one JWK of the devices' keys, from\n\
                      `exeunt admin device list --json`. Without it a bundle's own key is used, which shows only\n\
                      that the receipt is whole: the exit code is then 4, not pinned."
    )]
    Verify {
        /// The file, or `-` for standard input.
        file: PathBuf,
        /// Public keys of devices that you trust.
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Catalogue {
    /// List every app that can be signed out of, and the coverage hash that receipts carry.
    List,
    /// Explain every mistake in a catalogue file of your own, with line and column.
    #[command(after_help = "Example:\n  exeunt catalogue check /etc/exeunt/catalogue.d/acme.toml")]
    Check {
        /// The TOML files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Enroll {
    /// The one-time token that `exeunt admin device token` printed.
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// A file that holds it, or `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One JSON object a line, as the hub keeps it; the only form whose hashes can be checked.
    Jsonl,
    /// One event of the Open Cybersecurity Schema Framework a line: Authentication for sessions,
    /// Remediation Activity for devices, Base Event for the rest.
    Ocsf,
    /// One syslog message (RFC 5424) a line.
    Rfc5424,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
            for argument in command.get_arguments() {
                let name = argument.get_id();
                assert!(argument.get_help().is_some(), "{} {name}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    /// A public key is base64url, so one in 64 begins with a hyphen.
    #[test]
    fn takes_a_key_that_begins_with_a_hyphen() {
        let add = "exeunt admin approver add --name ann --key -lqYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        Cli::try_parse_from(add.split(' ')).unwrap();
        let end = "exeunt admin sign-out --subject ann --idempotency-key -lqYAYKxCrfVS";
        Cli::try_parse_from(end.split(' ')).unwrap();
    }
}
