//! The relying service by itself, to look at and to sign in to by hand.
//!
//! It refuses every address but this machine's own.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use clap::Parser;
use exeunt_tests::site::{Gate, Options, Site};

/// A small site that one account can sign in to; with a hub, its sessions can be ended there.
#[derive(Debug, Parser)]
#[command(name = "exeunt-site")]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The account.
    #[arg(long, default_value = "alice")]
    user: String,
    /// Its password. Others on this machine can read it here: use it for nothing else.
    #[arg(long)]
    password: String,
    /// The hub that knows this site, such as http://127.0.0.1:7443.
    #[arg(long, requires_all = ["client_id", "client_secret"])]
    hub: Option<String>,
    /// The site's name at the hub.
    #[arg(long)]
    client_id: Option<String>,
    /// The site's secret at the hub.
    #[arg(long, env = "EXEUNT_SITE_SECRET", hide_env_values = true)]
    client_secret: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.listen.ip().is_loopback(), "only loopback: there is no TLS here");
    let gate = match (arguments.hub, arguments.client_id, arguments.client_secret) {
        (Some(url), Some(client_id), Some(client_secret)) => {
            Gate::Hub { url, client_id, client_secret }
        }
        _ => Gate::Open,
    };
    let mut site = Site::start(Options {
        user: arguments.user,
        password: arguments.password,
        api_key: None,
        gate,
        listen: arguments.listen,
    })?;
    eprintln!("sign in at {}", site.login_page("by-hand", "by hand", "by-hand"));
    site.serve()
}
