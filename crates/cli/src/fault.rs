//! What went wrong, as people and scripts read it: a code, a sentence, a next step, an exit code.
//!
//! It refuses an error without a code.

use std::borrow::Cow;

use exeunt_domain::InvalidId;
use exeunt_domain::subject::InvalidSubject;
use exeunt_ipc::message::Failure;
use exeunt_ipc::{CodecError, ConnectError};
use serde_json::json;

/// The exit code of an error.
pub(crate) const EXIT_ERROR: u8 = 1;
/// The exit code of a command that was not typed right.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The exit code of a partial outcome.
pub(crate) const EXIT_PARTIAL: u8 = 3;
/// The exit code when something was out of reach, or a key is not pinned.
pub(crate) const EXIT_UNREACHABLE: u8 = 4;
/// The exit code of a refusal.
pub(crate) const EXIT_REFUSED: u8 = 5;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct Fault {
    code: Cow<'static, str>,
    message: String,
    hint: Option<String>,
    exit: u8,
}

impl Fault {
    /// An error of the kind `code`.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: None, exit: EXIT_ERROR }
    }

    /// A command that was not typed right.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: EXIT_USAGE, ..Self::new("usage", message) }
    }

    /// Something that could not be reached.
    pub(crate) fn unreachable(code: &'static str, message: impl Into<String>) -> Self {
        Self { exit: EXIT_UNREACHABLE, ..Self::new(code, message) }
    }

    /// The same, as another process named it.
    pub(crate) fn named(code: String, message: String, hint: Option<String>) -> Self {
        let exit = exit_of(&code);
        Self { code: code.into(), message, hint, exit }
    }

    /// With what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With an exit code of its own.
    pub(crate) fn exiting(self, exit: u8) -> Self {
        Self { exit, ..self }
    }

    /// The process's exit code.
    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }

    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The code.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        let error = json!({ "code": self.code, "message": self.message, "hint": self.hint });
        json!({ "v": 1, "error": error }).to_string()
    }

    /// For people, on standard error.
    pub(crate) fn to_text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("exeunt: {}\n  {hint}", self.message),
            None => format!("exeunt: {}", self.message),
        }
    }
}

fn exit_of(code: &str) -> u8 {
    match code {
        "not_allowed"
        | "access_denied"
        | "authentication_failed"
        | "tier_refused"
        | "rate_limited"
        | "forbidden"
        | "preview_changed"
        | "on_hold"
        | "stale_auth" => EXIT_REFUSED,
        "hub_unreachable" | "warden_unreachable" | "unavailable" => EXIT_UNREACHABLE,
        "usage" => EXIT_USAGE,
        _ => EXIT_ERROR,
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::named(failure.code, failure.message, failure.hint)
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        let message = error.to_string();
        match error {
            ConnectError::NotRunning { service, .. } => Self::unreachable("not_running", message)
                .hint(format!(
                    "start `{service} serve`, or name its directory in EXEUNT_RUNTIME_DIR; \
                     `exeunt doctor` looks further"
                )),
            ConnectError::NotAllowed { .. } => {
                Self { exit: EXIT_REFUSED, ..Self::new("not_allowed", message) }
            }
            ConnectError::Io { .. } => Self::unreachable("connection", message),
        }
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        Self::unreachable("connection", format!("the other side broke off: {error}"))
            .hint("it may have been restarted: try again")
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::new("io", error.to_string())
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::new("malformed", error.to_string())
    }
}

impl From<InvalidId> for Fault {
    fn from(error: InvalidId) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<InvalidSubject> for Fault {
    fn from(error: InvalidSubject) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_one_shape_of_an_error() {
        let fault = Fault::unreachable("hub_unreachable", "no answer").hint("wait");
        let json: serde_json::Value = serde_json::from_str(&fault.to_json()).unwrap();
        assert_eq!(json["v"], 1);
        assert_eq!(json["error"]["code"], "hub_unreachable");
        assert_eq!(json["error"]["hint"], "wait");
        assert_eq!(fault.exit(), EXIT_UNREACHABLE);
    }

    #[test]
    fn a_refusal_by_another_process_exits_as_refused() {
        for code in ["not_allowed", "tier_refused", "rate_limited"] {
            let fault = Fault::named(code.into(), String::new(), None);
            assert_eq!(fault.exit(), EXIT_REFUSED, "{code}");
        }
        assert_eq!(Fault::named("busy".into(), String::new(), None).exit(), EXIT_ERROR);
    }
}
