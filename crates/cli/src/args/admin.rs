//! The operator's commands.
//!
//! It refuses a token on the command line: other users of the machine could read it there.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exeunt_api::Role;
use exeunt_api::playbook::{PLAYBOOKS, Playbook};
use exeunt_domain::{DeviceId, Group, Subject, Tenant, Tier, Txn};

use super::ExportFormat;
use super::approval::{Approve, Approver, Change, Proposal};
use super::connector::Connector;

pub(crate) const AFTER: &str = "\
Examples:
  exeunt admin login --hub http://127.0.0.1:7443 --token-file /var/lib/exeunt-hub/admin-token
  exeunt admin login --hub https://hub.example:7443 --oidc
  exeunt admin device token --name occ-07
  exeunt admin connector add okta corp url=https://corp.okta.com --secret token=okta.token
  exeunt admin sign-out --subject alice --preview
  exeunt admin sign-out --subject alice --reason \"laptop lost\" --follow
  exeunt admin sign-out --subject alice --tier purge --reason \"laptop stolen\"
  exeunt admin sign-out --group kiosks --tier lock
  exeunt admin approve 0198f2…
  exeunt admin txn show 0198f2… --follow
  exeunt admin txn retry 0198f2…
  exeunt admin playbook run lost-laptop --subject alice --follow

EXEUNT_HUB, EXEUNT_HUB_CA and EXEUNT_ADMIN_TOKEN, when set, win over what `login` stored.";

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Remember a hub and an operator's token: in the keyring where there is one, else in a file
    /// that only you can read.
    Login(Login),
    /// Operators and what they may do.
    #[command(subcommand)]
    Operator(Operator),
    /// Identity providers: registered, a sign-out reaches them, too.
    #[command(subcommand)]
    Connector(Connector),
    /// Devices.
    #[command(subcommand)]
    Device(Device),
    /// Parties that send the hub security events: identity providers and other transmitters.
    #[command(subcommand)]
    Transmitter(super::transmitter::Transmitter),
    /// Sessions.
    #[command(subcommand)]
    Session(Session),
    /// The names that one subject is known by: a sign-out of any reaches all of them.
    #[command(subcommand)]
    Subject(SubjectCommand),
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
                      exeunt admin sign-out --session 00112233aabbccdd\n  \
                      exeunt admin sign-out --at occ-07 --preview\n  \
                      exeunt admin sign-out --application wiki --digest DIGEST\n\n\
                      What is executed with --digest is what the preview showed, or it is refused.\n\
                      With --at, the device gets an order only if the sessions at its console are one\n\
                      person's; an application's sign-out orders no device. Both end the sessions at the hub.\n\n\
                      Without --follow the exit code is 0 once the hub has committed: from then on every old\n\
                      session is refused. With --follow it follows the worst target's outcome.")]
    SignOut(SignOut),
    /// A sign-out and what belongs to it: leaver, exposed-secret, rogue-agent, lost-laptop,
    /// contractor-end.
    #[command(subcommand, after_help = playbooks())]
    Playbook(PlaybookCommand),
    /// What is to be seen to after sign-outs: open until somebody ticks it.
    #[command(subcommand)]
    Followup(FollowupCommand),
    /// Subjects on hold: no session of theirs begins until they are released.
    #[command(subcommand)]
    Hold(HoldCommand),
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

/// Each playbook, for people.
fn playbooks() -> String {
    let each = PLAYBOOKS.iter().map(|one| {
        let hold = if one.hold { "    Puts the subject on hold.\n" } else { "" };
        let items = one.followups.iter().map(|item| {
            let order = if item.after_end { " (counts only after the sessions ended)" } else { "" };
            format!("    - {}: {}{order}\n", item.name, item.text)
        });
        format!("  {}: {}\n{hold}{}", one.name, one.when, items.collect::<String>())
    });
    let each: String = each.collect();
    format!(
        "Each signs the subject out everywhere, by `exeunt admin sign-out --subject`, and opens what \
         is to be\nseen to afterwards:\n{each}\nExamples:\n  \
         exeunt admin playbook run exposed-secret --subject ci@corp.example --preview\n  \
         exeunt admin playbook run contractor-end --subject carol@ext.example --follow\n  \
         exeunt admin followup list --subject ci@corp.example\n  \
         exeunt admin followup tick 7 --note \"rotated in the vault\""
    )
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlaybookCommand {
    /// Describe each playbook as this hub has it.
    List,
    /// Run one.
    #[command(after_help = playbooks())]
    Run(RunPlaybook),
}

#[derive(Debug, Args)]
pub(crate) struct RunPlaybook {
    /// Which: leaver, exposed-secret, rogue-agent, lost-laptop, contractor-end.
    #[arg(value_parser = |name: &str| Playbook::named(name).map(|one| one.name))]
    pub(crate) name: &'static str,
    /// Whose sessions end.
    #[arg(long)]
    pub(crate) subject: Subject,
    /// Words for the record and for the person; the playbook's own when absent.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Show what would end, and touch nothing.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) preview: bool,
    /// Execute only what the preview with this digest showed.
    #[arg(long, conflicts_with = "preview")]
    pub(crate) digest: Option<String>,
    /// A repeat with the same key does nothing and answers the first call's transaction.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) idempotency_key: Option<String>,
    /// Show every target's outcome as it happens, until the last is final.
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FollowupCommand {
    /// List what is open, oldest first.
    List {
        /// Only what concerns this subject.
        #[arg(long)]
        subject: Option<Subject>,
        /// What was ticked, too.
        #[arg(long)]
        all: bool,
    },
    /// Say that it was seen to.
    #[command(
        after_help = "What counts only after the sessions had ended is refused when it was done \
                      before, and while an\nidentity provider has not answered: rotating a secret \
                      first leaves the sessions alive that it opened."
    )]
    Tick {
        /// Its number.
        id: u64,
        /// What was done, for the record.
        #[arg(long)]
        note: Option<String>,
        /// How many minutes ago it was done; just now when absent.
        #[arg(long, value_name = "MINUTES")]
        minutes_ago: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// List every hold in force.
    List,
    /// Put a subject on hold: no session of theirs begins. What is live goes on; sign it out.
    Place {
        /// Whom.
        #[arg(long)]
        subject: Subject,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Release a subject, once somebody has looked.
    Release {
        /// Whom.
        #[arg(long)]
        subject: Subject,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubjectCommand {
    /// Show every name of a subject, who said so, and when each was last signed out.
    Show {
        /// Whose: an address, `acct:…`, `ISSUER|SUB`, or a plain name.
        #[arg(long)]
        subject: Subject,
    },
    /// Make two names one subject's. Sessions under either that are older than the last sign-out of
    /// the other end at once.
    #[command(after_help = "Example:\n  exeunt admin subject join --subject alice@corp.example \
                      --alias 'https://idp.corp.example|00u1' \\\n    --reason \"HR record 4711\"\n\n\
                      A subject has at most 64 names. Identity providers join names by what they sign, and\n\
                      the hub's rules (`exeunt-hub serve --aliases FILE`) by their templates.")]
    Join {
        /// One name.
        #[arg(long)]
        subject: Subject,
        /// The other.
        #[arg(long)]
        alias: Subject,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Take a name out of a subject's. No rule and no identity provider joins it again; `join` does.
    Split {
        /// The name.
        #[arg(long)]
        alias: Subject,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SignOut {
    /// Whose sessions end. Without it: whoever is at the devices that are named.
    #[arg(long, required_unless_present_any = ["device", "group", "tenant", "everyone", "session",
        "at", "application"])]
    pub(crate) subject: Option<Subject>,
    /// One session, by its name in `exeunt admin session list`.
    #[arg(long, value_name = "ID", conflicts_with_all = ["subject", "device", "group", "tenant",
        "everyone", "at", "application"])]
    pub(crate) session: Option<String>,
    /// Every session at this device, whoever's, at once and at the hub; the device is ordered to close
    /// if they are one person's. An order about whoever is there is `--device`, with approvers.
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["subject", "device", "group", "tenant",
        "everyone", "application"])]
    pub(crate) at: Option<DeviceId>,
    /// Every session of an application, by its audience.
    #[arg(long, value_name = "AUD", conflicts_with_all = ["subject", "device", "group", "tenant",
        "everyone"])]
    pub(crate) application: Option<String>,
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
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
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
    /// Ask again what failed: devices and identity providers that are unreachable, partial or
    /// refused, under the same transaction. What is under way or verified is left alone.
    #[command(after_help = "Example:\n  exeunt admin txn retry 0198f2… --follow")]
    Retry {
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
