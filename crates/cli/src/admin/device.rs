//! `exeunt admin device`.
//!
//! It refuses to show a token twice: the hub keeps its hash.

use exeunt_api::{DeviceList, DeviceTokenRequest, DeviceTokenResponse, path};
use serde_json::json;

use super::credentials::load;
use crate::args::admin::Device;
use crate::device::ask_yes;
use crate::fault::Fault;
use crate::out::{Out, ago, now};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Device) -> Result<u8, Fault> {
    let hub = load()?;
    match command {
        Device::List => {
            let list: DeviceList = hub.get(path::DEVICES, &[]).await?;
            out.answer(serde_json::to_value(&list)?, || list_words(&list))?;
        }
        Device::Token { name, group, tenant, ttl } => {
            let request = DeviceTokenRequest { name, group, tenant, ttl_s: ttl };
            let made: DeviceTokenResponse = hub.post(path::DEVICE_TOKENS, &request).await?;
            // The token alone, so that it can be redirected into a file.
            out.answer(serde_json::to_value(&made)?, || made.token.clone())?;
            out.progress("It works once. On the device: sudo exeunt enroll --token-file FILE");
        }
        Device::Remove { id, yes } => {
            if !yes {
                ask_yes(out, &format!("End the enrolment of {id} now?"))?;
            }
            hub.delete(path::DEVICES, id.as_str()).await?;
            out.answer(json!({ "removed": id }), || {
                format!(
                    "{id} is removed: its keys and tokens are refused from now on. What it already \
                     took it still does; without the hub its lease runs out."
                )
            })?;
        }
    }
    Ok(0)
}

fn list_words(list: &DeviceList) -> String {
    if list.devices.is_empty() {
        return "No device is enrolled: make a token with `exeunt admin device token`.".into();
    }
    let lines = list.devices.iter().map(|device| {
        let seen = device.last_seen.map_or("not seen".to_owned(), |at| ago(at, now()));
        let waiting = match device.waiting {
            0 => String::new(),
            waiting => format!(", {waiting} orders wait"),
        };
        let group = device.group.as_ref().map(|name| format!(", group {name}"));
        let tenant = device.tenant.as_ref().map(|name| format!(", tenant {name}"));
        let old = match device.knows_approvers {
            Some(false) => ", does not hold itself to the approvers in force",
            Some(true) | None => "",
        };
        let (group, tenant) = (group.unwrap_or_default(), tenant.unwrap_or_default());
        format!(
            "{:<24} {seen}, {} receipts{waiting}{group}{tenant}{old}",
            device.id, device.receipts
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
