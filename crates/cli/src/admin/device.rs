//! `exeunt admin device`.
//!
//! It refuses to show a token twice: the hub keeps its hash.

use exeunt_api::{DeviceList, DeviceTokenRequest, DeviceTokenResponse, path};

use super::credentials::load;
use crate::args::admin::Device;
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
        Device::Token { name, ttl } => {
            let request = DeviceTokenRequest { name, ttl_s: ttl };
            let made: DeviceTokenResponse = hub.post(path::DEVICE_TOKENS, &request).await?;
            // The token alone, so that it can be redirected into a file.
            out.answer(serde_json::to_value(&made)?, || made.token.clone())?;
            out.progress("It works once. On the device: sudo exeunt enroll --token-file FILE");
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
        format!("{:<24} {seen}, {} receipts{waiting}", device.id, device.receipts)
    });
    lines.collect::<Vec<_>>().join("\n")
}
