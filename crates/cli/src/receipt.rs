//! `exeunt receipt`: list, show, verify.
//!
//! It refuses to print a receipt's claims before it says whether they were verified.

use std::io::Read as _;
use std::path::Path;

use exeunt_domain::ReceiptBody;
use exeunt_domain::order::RECEIPT_EVENT;
use exeunt_ipc::Sockets;
use exeunt_ipc::message::{ReceiptLine, WardenAnswer, WardenRequest};
use exeunt_ssf::{PublicJwk, read_unverified};
use serde_json::{Value, json};

use crate::args;
use crate::device::{ask, not_that};
use crate::fault::Fault;
use crate::out::{Out, ago, line, now, versioned};
use crate::verify::{Bundle, Finding, examine, read_keys};

/// Where a warden publishes its public key, beside its socket.
const DEVICE_KEY_FILE: &str = "device-key.pub.json";

/// Runs one of its commands.
pub(crate) fn run(out: Out, command: &args::Receipt) -> Result<u8, Fault> {
    match command {
        args::Receipt::List => list(out),
        args::Receipt::Show { id, bundle } => show(out, id, *bundle),
        args::Receipt::Verify { file, jwks } => verify(out, file, jwks.as_deref()),
    }
}

fn list(out: Out) -> Result<u8, Fault> {
    let receipts = receipts(WardenRequest::ReceiptList)?;
    out.answer(json!({ "receipts": receipts }), || {
        if receipts.is_empty() {
            return "There is no receipt yet.".into();
        }
        let words = receipts.iter().map(|receipt| {
            let when = ago(receipt.at, now());
            format!("{:>4}  {:<11} {when:<12} {}", receipt.seq, receipt.outcome, receipt.txn)
        });
        words.collect::<Vec<_>>().join("\n")
    })?;
    Ok(0)
}

fn show(out: Out, id: &str, bundle: bool) -> Result<u8, Fault> {
    let receipts = receipts(WardenRequest::ReceiptShow { id: id.to_owned() })?;
    let receipt = receipts
        .into_iter()
        .next()
        .ok_or_else(|| Fault::new("unknown_receipt", format!("there is no receipt {id}")))?;
    if bundle {
        let jwk = device_key()?;
        line(&versioned(json!({ "receipt": receipt.receipt, "jwk": jwk })).to_string())?;
        return Ok(0);
    }
    let set = read_unverified(&receipt.receipt)
        .map_err(|error| Fault::new("malformed", error.to_string()))?;
    let body: ReceiptBody =
        set.event_as(RECEIPT_EVENT).map_err(|error| Fault::new("malformed", error.to_string()))?;
    let mut object = serde_json::to_value(&receipt)?;
    object["body"] = serde_json::to_value(&body)?;
    out.answer(object, || body_words(&body))?;
    Ok(0)
}

fn receipts(request: WardenRequest) -> Result<Vec<ReceiptLine>, Fault> {
    let answer = ask(request)?;
    let WardenAnswer::Receipts { receipts } = answer else { return Err(not_that(answer)) };
    Ok(receipts)
}

fn device_key() -> Result<PublicJwk, Fault> {
    let path = Sockets::here().warden.with_file_name(DEVICE_KEY_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Fault::new("no_device_key", format!("the warden's public key is not there: {error}"))
            .hint("an operator has it too: `exeunt admin device list --json`")
    })?;
    Ok(serde_json::from_str(&text)?)
}

fn verify(out: Out, file: &Path, jwks: Option<&Path>) -> Result<u8, Fault> {
    let bundle = Bundle::read(&read(file)?)?;
    let trusted = jwks.map(|path| read(path).and_then(|text| read_keys(&text))).transpose()?;
    let finding = examine(&bundle, trusted.as_ref());
    out.answer(finding_json(&finding), || finding_words(&finding))?;
    Ok(finding.exit())
}

/// A file's text, or standard input's for `-`; bounded, since receipts are small.
pub(crate) fn read(path: &Path) -> Result<String, Fault> {
    const MOST: u64 = 8 << 20;
    let mut text = String::new();
    let named = |error: std::io::Error| Fault::new("io", format!("{}: {error}", path.display()));
    if path.as_os_str() == "-" {
        std::io::stdin().take(MOST).read_to_string(&mut text).map_err(named)?;
    } else {
        let file = std::fs::File::open(path).map_err(named)?;
        file.take(MOST).read_to_string(&mut text).map_err(named)?;
    }
    Ok(text)
}

fn finding_json(finding: &Finding) -> Value {
    let body = finding.body.as_ref();
    json!({
        "verified": finding.verified, "kid": finding.kid, "pinned": finding.pinned,
        "reason": finding.reason, "outcome": body.map(|body| body.outcome),
        "device": body.map(|body| &body.device), "txn": body.map(|body| &body.txn),
        "seq": body.map(|body| body.seq),
    })
}

fn finding_words(finding: &Finding) -> String {
    let reason = finding.reason.as_deref().unwrap_or_default();
    let kid = finding.kid.as_deref().unwrap_or_default();
    match (&finding.body, finding.pinned) {
        (Some(body), true) => format!("Verified: signed by {kid}.\n{}", body_words(body)),
        (Some(body), false) => {
            format!("Whole, but not pinned: {reason}.\nSigned by {kid}.\n{}", body_words(body))
        }
        (None, _) => format!("NOT verified: {reason}."),
    }
}

fn body_words(body: &ReceiptBody) -> String {
    let subject = body.subject.as_ref().map_or("whoever was there".to_owned(), ToString::to_string);
    let mut words = format!(
        "{}: {} of {subject} on {}, tier {}, receipt {} of its chain.",
        body.outcome, body.txn, body.device, body.tier, body.seq
    );
    for store in &body.stores {
        let verdict = store.verdict.map_or("not looked at", |verdict| verdict.as_str());
        let detail = store.detail.as_deref().unwrap_or_default();
        words.push_str(&format!("\n  {verdict:<9} {:<18} {} {detail}", store.app, store.place));
    }
    for place in &body.not_covered {
        words.push_str(&format!("\n  not covered: {}", place.what));
    }
    for remark in &body.remarks {
        words.push_str(&format!("\n  note: {remark}"));
    }
    words
}
