//! `exeunt admin login`.
//!
//! It refuses to store a token that the hub does not accept.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use exeunt_api::{DeviceList, path};
use serde_json::json;

use super::credentials::store;
use super::hub::{Hub, HubAddress};
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
    if typed.token_file.as_os_str() == "-" && std::io::stdin().is_terminal() {
        eprintln!("Paste the operator's token, then press Return and Ctrl-D:");
    }
    let token = read(&typed.token_file)?.trim().to_owned();
    if token.is_empty() {
        return Err(Fault::usage("the token is empty"));
    }
    let hub = Hub::new(address, token.clone())?;
    let _: DeviceList = hub.get(path::DEVICES, &[]).await?;
    let kept = store(hub.address(), &token)?;
    let address = hub.address().as_str();
    out.answer(json!({ "hub": address, "token_in": kept.as_str() }), || {
        format!("The hub at {address} accepts the token. It is kept in the {}.", kept.as_str())
    })?;
    Ok(0)
}
