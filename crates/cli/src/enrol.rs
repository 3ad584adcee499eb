//! `exeunt enroll` and `exeunt unenroll`.
//!
//! It refuses to send anything but a whole token to the warden, and to forget a hub without asking.

use exeunt_ipc::message::{WardenAnswer, WardenRequest};
use exeunt_ssf::EnrolToken;
use serde_json::json;

use crate::args;
use crate::device::{ask, ask_yes, not_that};
use crate::fault::Fault;
use crate::out::Out;
use crate::receipt::read;

/// `exeunt enroll`.
pub(crate) fn enroll(out: Out, typed: &args::Enroll) -> Result<u8, Fault> {
    let token = match (&typed.token, &typed.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) => return Err(Fault::usage("name a token with --token or --token-file")),
    };
    let token = token.trim().to_owned();
    let hub = EnrolToken::decode(&token).map_err(|error| Fault::usage(error.to_string()))?.hub;
    out.progress(&format!("Enrolling with {hub} …"));
    let answer = ask(WardenRequest::Enroll { token })?;
    let WardenAnswer::Done = answer else { return Err(not_that(answer)) };
    let answer = ask(WardenRequest::Status)?;
    let WardenAnswer::Status(status) = answer else { return Err(not_that(answer)) };
    let device = status.device;
    let name = device.as_ref().map_or_else(|| "this device".to_owned(), ToString::to_string);
    out.answer(json!({ "enrolled": true, "hub": hub, "device": device }), || {
        format!("Enrolled with {hub} as {name}.")
    })?;
    Ok(0)
}

/// `exeunt unenroll`.
pub(crate) fn unenroll(out: Out, typed: &args::Yes) -> Result<u8, Fault> {
    if !typed.yes {
        ask_yes(out, "Forget the hub? It can then no longer close this device.")?;
    }
    let answer = ask(WardenRequest::Unenroll)?;
    let WardenAnswer::Done = answer else { return Err(not_that(answer)) };
    out.answer(json!({ "enrolled": false }), || "The hub is forgotten.".into())?;
    Ok(0)
}
