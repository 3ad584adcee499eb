//! `exeunt admin operator`.
//!
//! It refuses to show a token twice: the hub keeps its hash.

use exeunt_api::{AdminTokenRequest, AdminTokenResponse, OperatorInfo, path};
use serde_json::json;

use super::credentials::load;
use crate::args::admin::Operator;
use crate::fault::Fault;
use crate::out::Out;

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Operator) -> Result<u8, Fault> {
    let hub = load()?;
    match command {
        Operator::Whoami => {
            let who: OperatorInfo = hub.get(path::OPERATOR, &[]).await?;
            out.answer(serde_json::to_value(&who)?, || {
                let roles: Vec<_> = who.roles.iter().map(|role| role.as_str()).collect();
                format!("{} at {}: {}", who.name, hub.address().as_str(), roles.join(", "))
            })?;
        }
        Operator::Add { name, role, ttl } => {
            let request = AdminTokenRequest { name, roles: role, ttl_s: ttl };
            let made: AdminTokenResponse = hub.post(path::ADMIN_TOKENS, &request).await?;
            // The token alone, so that it can be redirected into a file.
            out.answer(serde_json::to_value(&made)?, || made.token.clone())?;
            out.progress("They store it with `exeunt admin login`.");
        }
        Operator::Remove { name } => {
            hub.delete(path::ADMIN_TOKENS, &name).await?;
            out.answer(json!({ "removed": name }), || format!("Every token of {name} has ended."))?;
        }
    }
    Ok(0)
}
