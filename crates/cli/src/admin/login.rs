//! `exeunt admin login`.
//!
//! It refuses to store a token that the hub does not accept.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use exeunt_api::{OperatorInfo, path};
use serde_json::json;

use super::credentials::store;
use super::hub::{Hub, HubAddress};
use super::sign_in::sign_in;
use crate::args::admin::Login;
use crate::fault::Fault;
use crate::out::Out;
use crate::receipt::read;

/// A file's name that is good from every directory.
fn absolute(ca: Option<&Path>) -> Result<Option<PathBuf>, Fault> {
    Ok(ca.map(std::path::absolute).transpose()?)
}

/// Tries the token, then stores it.
pub(crate) async fn run(out: Out, typed: &Login) -> Result<u8, Fault> {
    let address = HubAddress::parse(&typed.hub, absolute(typed.ca.as_deref())?)?;
    let token = if typed.oidc {
        sign_in(&Hub::new(address.clone(), String::new())?).await?.token
    } else {
        if typed.token_file.as_os_str() == "-" && std::io::stdin().is_terminal() {
            eprintln!("Paste the operator's token, then press Return and Ctrl-D:");
        }
        read(&typed.token_file)?.trim().to_owned()
    };
    if token.is_empty() {
        return Err(Fault::usage("the token is empty"));
    }
    let hub = Hub::new(address, token.clone())?;
    let who: OperatorInfo = hub.get(path::OPERATOR, &[]).await?;
    let kept = store(hub.address(), &token)?;
    let address = hub.address().as_str();
    let told =
        json!({ "hub": address, "token_in": kept.as_str(), "name": who.name, "roles": who.roles });
    out.answer(told, || {
        let roles: Vec<_> = who.roles.iter().map(|role| role.as_str()).collect();
        format!(
            "You are {} at {address}: {}. The token is kept in the {}.",
            who.name,
            roles.join(", "),
            kept.as_str()
        )
    })?;
    Ok(0)
}
