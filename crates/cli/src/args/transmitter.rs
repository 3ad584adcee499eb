//! `exeunt admin transmitter`: parties that send the hub security events.
//!
//! It refuses a secret on the command line: other users of the machine could read it there.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use exeunt_domain::Tier;

#[derive(Debug, Subcommand)]
pub(crate) enum Transmitter {
    /// Take security events of an identity provider, or of another transmitter.
    #[command(after_help = "\
A transmitter speaks about the people of the domains and issuers that you name, and of nobody
else; it causes at most --ceiling, at most --rate times an hour. Everything else it says is refused
and audited.

Examples:
  # The hub asks it (RFC 8936), also from behind a firewall; its URL leads to everything else.
  exeunt admin transmitter add --poll https://idp.example/realms/corp \\
    --about-domain corp.example --client-id exeunt --client-secret-file exeunt.secret
  # The same, with a token that the transmitter handed out.
  exeunt admin transmitter add --poll https://ssf.example --about-domain corp.example \\
    --access-token-file ssf.token
  # It pushes to the hub (RFC 8935): the answer says where to, and with which header.
  exeunt admin transmitter add --issuer https://corp.okta.com \\
    --jwks-uri https://corp.okta.com/oauth2/v1/keys --aud 0oa1example \\
    --about-issuer https://corp.okta.com --about-domain corp.example --with-token
  # The same registration takes back-channel logouts of the clients that are named.
  exeunt admin transmitter add --issuer https://idp.example --jwks-uri https://idp.example/jwks \\
    --about-issuer https://idp.example --client shop --client mail")]
    Add(Box<Add>),
    /// List them: what each may cause, whether it answers, and how its stream stands.
    List,
    /// Take nothing of one any more. A stream that the hub created there is deleted.
    Remove {
        /// Its id, as `list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("who").required(true).args(["poll", "issuer"])))]
pub(crate) struct Add {
    /// Poll it: its issuer, or the address of its metadata.
    #[arg(long, value_name = "URL")]
    pub(crate) poll: Option<String>,
    /// The issuer of its SETs, to the letter. It pushes.
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// Where its keys are.
    #[arg(long, value_name = "URL", conflicts_with_all = ["poll", "jwks"])]
    pub(crate) jwks_uri: Option<String>,
    /// A file with its keys, a JWK Set, instead.
    #[arg(long, value_name = "FILE", conflicts_with = "poll")]
    pub(crate) jwks: Option<PathBuf>,
    /// What it calls this hub; the hub's issuer when absent, and with --poll what its stream says.
    #[arg(long)]
    pub(crate) aud: Option<String>,
    /// A mail domain whose people it may speak about. May be given several times.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) about_domain: Vec<String>,
    /// An issuer whose people it may speak about. May be given several times.
    #[arg(long, value_name = "ISSUER")]
    pub(crate) about_issuer: Vec<String>,
    /// The most that it may cause: lock or sign-out.
    #[arg(long, default_value = "sign-out")]
    pub(crate) ceiling: Tier,
    /// How many sign-outs an hour it may cause; 60 when absent.
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u64>,
    /// A client of that provider whose logout tokens are taken here. May be given several times; the
    /// audience alone when absent.
    #[arg(long, value_name = "CLIENT")]
    pub(crate) client: Vec<String>,
    /// Its pushes must carry a bearer token, which is shown once.
    #[arg(long, conflicts_with = "poll")]
    pub(crate) with_token: bool,
    /// With --poll: the hub's client there.
    #[arg(long, requires_all = ["poll", "client_secret_file"])]
    pub(crate) client_id: Option<String>,
    /// With --poll: a file that holds the client's secret; `-` reads standard input.
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// With --poll: a file that holds a token that it handed out, instead of a client; `-` reads
    /// standard input.
    #[arg(long, value_name = "FILE", requires = "poll", conflicts_with = "client_id")]
    pub(crate) access_token_file: Option<PathBuf>,
    /// With --poll: where tokens are had, if its metadata does not lead there.
    #[arg(long, value_name = "URL", requires = "client_id")]
    pub(crate) token_url: Option<String>,
    /// With --poll: the scopes to ask for; `ssf.read ssf.manage` when absent.
    #[arg(long, requires = "client_id")]
    pub(crate) scope: Option<String>,
}
