//! Who may ask what: permission = f(peer uid, message).
//!
//! It refuses by default, and never looks at anything that the peer says of itself.

use exeunt_domain::receipt::Mode;
use exeunt_ipc::message::{Failure, WardenRequest};

/// The fixed points that permission is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// Whole machine, or one home under one account.
    pub(crate) mode: Mode,
    /// The warden's own user id.
    pub(crate) own: u32,
    /// The agent's user id.
    pub(crate) agent: u32,
}

/// Whom a message may come from.
enum Audience {
    Agent,
    Root,
    AnyUser,
}

impl Gate {
    /// Judges one message from a peer of user id `uid`.
    ///
    /// # Errors
    /// A [`Failure`] with the code `not_allowed`.
    pub(crate) fn judge(&self, uid: u32, request: &WardenRequest) -> Result<(), Failure> {
        if self.mode == Mode::User {
            // One account for all three processes: whoever is not that account, or root, is out.
            let inside = uid == self.own || uid == 0;
            return inside.then_some(()).ok_or_else(|| refusal("this warden serves another user"));
        }
        match audience(request) {
            Audience::Agent if uid == self.agent => Ok(()),
            Audience::Agent => Err(refusal("only the agent may do that")),
            Audience::Root if uid == 0 => Ok(()),
            Audience::Root => Err(refusal("only root may do that")),
            Audience::AnyUser if uid == self.agent => {
                Err(refusal("the agent is never a local requester"))
            }
            Audience::AnyUser => Ok(()),
        }
    }
}

fn audience(request: &WardenRequest) -> Audience {
    match request {
        WardenRequest::Deliver { .. }
        | WardenRequest::TakeUplink
        | WardenRequest::UplinkResult { .. }
        | WardenRequest::SessionsOf { .. } => Audience::Agent,
        WardenRequest::Enroll { .. }
        | WardenRequest::Unenroll
        | WardenRequest::Users
        | WardenRequest::SurveyUser { .. }
        | WardenRequest::PreviewUser { .. }
        | WardenRequest::CloseUsers { .. } => Audience::Root,
        WardenRequest::Status
        | WardenRequest::Idle { .. }
        | WardenRequest::Policy
        | WardenRequest::Survey
        | WardenRequest::Preview { .. }
        | WardenRequest::SignOutEverywhere { .. }
        | WardenRequest::Close { .. }
        | WardenRequest::Lock
        | WardenRequest::Follow { .. }
        | WardenRequest::SessionBegin { .. }
        | WardenRequest::SessionEnd
        | WardenRequest::SessionList
        | WardenRequest::ReceiptList
        | WardenRequest::ReceiptShow { .. } => Audience::AnyUser,
    }
}

fn refusal(message: &str) -> Failure {
    Failure { code: "not_allowed".into(), message: message.into(), hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTALLED: Gate = Gate { mode: Mode::Installed, own: 0, agent: 900 };
    const USER: Gate = Gate { mode: Mode::User, own: 1000, agent: 1000 };

    fn deliver() -> WardenRequest {
        WardenRequest::Deliver { set: String::new() }
    }

    #[test]
    fn the_agent_relays_and_can_order_nothing() {
        assert!(INSTALLED.judge(900, &deliver()).is_ok());
        for request in [
            WardenRequest::Status,
            WardenRequest::Survey,
            WardenRequest::Lock,
            WardenRequest::Unenroll,
            WardenRequest::ReceiptList,
            WardenRequest::SignOutEverywhere { reason: None, surface: "x".into(), digest: None },
        ] {
            assert!(INSTALLED.judge(900, &request).is_err(), "{request:?}");
        }
    }

    #[test]
    fn a_user_asks_for_itself_and_delivers_no_orders() {
        assert!(INSTALLED.judge(1000, &WardenRequest::Status).is_ok());
        for request in [deliver(), WardenRequest::TakeUplink, WardenRequest::Unenroll] {
            assert!(INSTALLED.judge(1000, &request).is_err(), "{request:?}");
        }
    }

    #[test]
    fn only_root_asks_for_other_users() {
        let tier = exeunt_domain::Tier::SignOut;
        let surface = String::new();
        for request in [
            WardenRequest::Users,
            WardenRequest::SurveyUser { uid: 1001 },
            WardenRequest::PreviewUser { uid: 1001, tier },
            WardenRequest::CloseUsers { tier, reason: None, surface, hand_over: false },
        ] {
            assert!(INSTALLED.judge(0, &request).is_ok(), "{request:?}");
            assert!(INSTALLED.judge(1000, &request).is_err(), "{request:?}");
        }
    }

    #[test]
    fn root_enrolls_and_still_does_not_speak_as_the_agent() {
        assert!(INSTALLED.judge(0, &WardenRequest::Unenroll).is_ok());
        assert!(INSTALLED.judge(0, &deliver()).is_err());
    }

    #[test]
    fn in_user_mode_every_other_user_is_out() {
        assert!(USER.judge(1000, &WardenRequest::Status).is_ok());
        assert!(USER.judge(1000, &deliver()).is_ok());
        assert!(USER.judge(1001, &WardenRequest::Status).is_err());
    }
}
