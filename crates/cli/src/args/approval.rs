//! The commands of approvers, and of those who ask them.
//!
//! It refuses a private key on the command line: a file or the keyring holds it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exeunt_domain::Txn;

#[derive(Debug, Subcommand)]
pub(crate) enum Approver {
    /// Make your own approver's key, and print the public part for `approver add`. It is kept in the
    /// keyring where there is one, else in a file that only you can read.
    Init(KeyFile),
    /// Name an approver to the hub. Once the set is in force, this is a proposal to it.
    #[command(
        after_help = "Example:\n  exeunt admin approver add --name ann --key 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    )]
    Add {
        /// The operator's name, as `exeunt admin operator whoami` says it to them.
        #[arg(long)]
        name: String,
        /// The public part of their key, as their `approver init` printed it.
        #[arg(long, value_name = "PUBLIC", allow_hyphen_values = true)]
        key: String,
        /// Words for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show who may approve, and how many it takes.
    List,
    /// Take an approver out. Once the set is in force, this is a proposal to it.
    Remove {
        /// Their name.
        name: String,
    },
    /// Put the set in force: enrolment tokens name it from then on, and only it changes itself.
    Enact {
        /// How many of them must agree. Whoever asks does not count.
        #[arg(long, default_value_t = 2, value_name = "N")]
        needed: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct KeyFile {
    /// The file of the private key, readable by you alone; else the keyring, or
    /// approver-key beside the other settings.
    #[arg(long = "key", value_name = "FILE", env = "EXEUNT_APPROVER_KEY")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The proposal's transaction.
    pub(crate) txn: Txn,
    #[command(flatten)]
    pub(crate) key: KeyFile,
    /// Sign without asking, after a look at `exeunt admin proposal show`.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Proposal {
    /// List what was proposed, newest first.
    List,
    /// Show one: what it would do, to whom, and who approved it.
    Show {
        /// Its transaction.
        txn: Txn,
    },
    /// Take one back before it is carried out.
    Withdraw {
        /// Its transaction.
        txn: Txn,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Change {
    /// Another limit for orders that the hub gives a device alone, without approvers.
    Limit {
        /// At most so many an hour on each device.
        #[arg(long, value_name = "N")]
        orders_per_hour: u64,
        #[command(flatten)]
        terms: Terms,
    },
    /// A fresh key for the hub. The old one tells every device, with the approvals; what it signs after
    /// that is believed no more.
    HubKey {
        #[command(flatten)]
        terms: Terms,
    },
    /// A policy for every device.
    #[command(
        after_help = "Look at it first: exeunt policy check FILE. The approvers see its text before they sign."
    )]
    Policy {
        /// The policy's TOML file.
        file: PathBuf,
        #[command(flatten)]
        terms: Terms,
    },
}

/// How a proposal is made.
#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// Words for the record.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Seconds until devices refuse it.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) good_for: Option<u64>,
}
