//! The operator's commands.
//!
//! It refuses a token on the command line: other users of the machine could read it there.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exeunt_api::Role;
use exeunt_domain::{DeviceId, Group, Subject, Tenant, Tier, Txn};

use super::ExportFormat;
use super::approval::{Approve, Approver, Change, Proposal};

pub(crate) const AFTER: &str = "\
Examples:
  exeunt admin login --hub http://127.0.0.1:7443 --token-file /var/lib/exeunt-hub/admin-token
  exeunt admin login --hub https://hub.example:7443 --oidc
  exeunt admin device token --name occ-07
  exeunt admin sign-out --subject alice --preview
  exeunt admin sign-out --subject alice --reason \"laptop lost\" --follow
  exeunt admin sign-out --subject alice --tier purge --reason \"laptop stolen\"
  exeunt admin sign-out --group kiosks --tier lock
  exeunt admin approve 0198f2…
  exeunt admin txn show 0198f2… --follow

EXEUNT_HUB, EXEUNT_HUB_CA and EXEUNT_ADMIN_TOKEN, when set, win over what `login` stored.";

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Remember a hub and an operator's token: in the keyring where there is one, else in a file
    /// that only you can read.
    Login(Login),
    /// Operators and what they may do.
    #[command(subcommand)]
    Operator(Operator),
    /// Devices.
    #[command(subcommand)]
    Device(Device),
    /// Parties that send the hub security events: identity providers and other transmitters.
    #[command(subcommand)]
    Transmitter(super::transmitter::Transmitter),
    /// Sessions.
    #[command(subcommand)]
    Session(Session),
    /// Who may approve what needs a quorum.
    #[command(subcommand)]
    Approver(Approver),
    /// Approve a proposal with your approver's key, after it was shown.
    Approve(Approve),
    /// What waits for approvals.
    #[command(subcommand)]
    Proposal(Proposal),
    /// Propose a change of what devices hold themselves to.
    #[command(subcommand)]
    Change(Change),
    /// Sign a subject out everywhere, with nobody at the device. Tier purge, and an order to several
    /// devices, a group, a tenant or everyone, becomes a proposal that approvers must agree to.
    #[command(after_help = "Examples:\n  exeunt admin sign-out --subject alice --preview\n  \
                      exeunt admin sign-out --subject alice --follow --json\n\n\
                      Without --follow the exit code is 0 once the hub has committed: from then on every old\n\
                      session is refused. With --follow it follows the worst target's outcome.")]
    SignOut(SignOut),
    /// Transactions: what one sign-out did, target by target.
    #[command(subcommand)]
    Txn(TxnCommand),
    /// The hub's audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// What an operator has to look at.
    #[command(subcommand)]
    Alarm(Alarm),
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The hub's address, such as https://hub.example:7443.
    #[arg(long, env = "EXEUNT_HUB")]
    pub(crate) hub: String,
    /// A PEM file of the authorities that may vouch for the hub, and no others.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// A file that holds the token; `-`, the default, reads standard input.
    #[arg(long, value_name = "FILE", default_value = "-", conflicts_with = "oidc")]
    pub(crate) token_file: PathBuf,
    /// Sign in at your organisation's identity provider, in a browser on this machine, instead.
    #[arg(long)]
    pub(crate) oidc: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Show who you are to the hub, and what you may do.
    Whoami,
    /// Make a token for another operator. It is shown once.
    #[command(
        after_help = "Example:\n  exeunt admin operator add --name olive --role responder > olive.token"
    )]
    Add {
        /// Who will use it; the audit names them so.
        #[arg(long)]
        name: String,
        /// What they may do: viewer, help-desk, responder, approver, auditor, administrator. May be
        /// given several times.
        #[arg(long, required = true)]
        role: Vec<Role>,
        /// Seconds until it expires; never when absent.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
    },
    /// End every token of an operator, such as `bootstrap` once there is another administrator.
    Remove {
        /// Whose.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// List enrolled devices and their keys.
    List,
    /// Make a one-time enrolment token. It is shown once.
    #[command(
        after_help = "Example:\n  exeunt admin device token --name occ-07 --ttl 3600 > token.txt"
    )]
    Token {
        /// What the device will be called. Only a token that names an enrolled device enrols it anew.
        #[arg(long)]
        name: Option<DeviceId>,
        /// The group that it will belong to, such as kiosks.
        #[arg(long)]
        group: Option<Group>,
        /// The tenant that it will belong to.
        #[arg(long)]
        tenant: Option<Tenant>,
        /// Seconds until it expires; an hour when absent.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
    },
    /// Remove a device, such as a lost one: its keys and tokens are refused at once.
    Remove {
        /// Which.
        id: DeviceId,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// List every session of a subject.
    List {
        /// Whose.
        #[arg(long)]
        subject: Subject,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SignOut {
    /// Whose sessions end. Without it: whoever is at the devices that are named.
    #[arg(long, required_unless_present_any = ["device", "group", "tenant", "everyone"])]
    pub(crate) subject: Option<Subject>,
    /// Only on this device. May be given several times.
    #[arg(long)]
    pub(crate) device: Vec<DeviceId>,
    /// On every device of this group.
    #[arg(long, conflicts_with_all = ["device", "tenant", "everyone"])]
    pub(crate) group: Option<Group>,
    /// On every device of this tenant.
    #[arg(long, conflicts_with_all = ["device", "everyone"])]
    pub(crate) tenant: Option<Tenant>,
    /// On every device.
    #[arg(long, conflicts_with = "device")]
    pub(crate) everyone: bool,
    /// Seconds until devices refuse what approvers signed; a day when absent.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) good_for: Option<u64>,
    /// How much ends: lock, sign-out or purge.
    #[arg(long, default_value = "sign-out")]
    pub(crate) tier: Tier,
    /// Show what would end, and touch nothing.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) preview: bool,
    /// Words for the record and for the person.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Execute only what the preview with this digest showed.
    #[arg(long, conflicts_with = "preview")]
    pub(crate) digest: Option<String>,
    /// A repeat with the same key does nothing and answers the first call's transaction.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Show every target's outcome as it happens, until the last is final.
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TxnCommand {
    /// Show how a transaction stands.
    Show {
        /// The transaction.
        id: Txn,
        /// Show every change until the last target is final; the exit code follows the outcome.
        #[arg(long)]
        follow: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alarm {
    /// Missing or forked receipts, unexpected coverage, stores that came back, orders without an
    /// answer, and a restore of the hub; newest first. Exit 1 when there is any.
    List {
        /// Only what lies before this row of the audit.
        #[arg(long, value_name = "SEQ")]
        before: Option<u64>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Have the hub check its hash chain against the signed head.
    Verify,
    /// Print the whole log.
    Export {
        /// How.
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
        /// Only what follows this sequence number.
        #[arg(long, default_value_t = 0, value_name = "SEQ")]
        after: u64,
    },
}
