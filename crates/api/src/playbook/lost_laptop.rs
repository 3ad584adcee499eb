//! A device is lost or stolen: whoever was signed in there is signed out before it is used (R46).
//!
//! It refuses to count on the device: what it holds ends at the hub, reached or not.

use super::{Item, Playbook};

pub(super) const PLAYBOOK: Playbook = Playbook {
    name: "lost-laptop",
    when: "A device is lost or stolen: its person is signed out everywhere before it is used.",
    hold: false,
    followups: &[
        Item {
            name: "device",
            text: "Look whether the device has answered; until it has, its disk may still hold data",
            after_end: false,
        },
        Item {
            name: "secrets",
            text: "Rotate what was kept on the device: SSH keys, API keys, stored passwords",
            after_end: true,
        },
        Item {
            name: "report",
            text: "Report the loss, and have the device locked or wiped by its management",
            after_end: false,
        },
        Item {
            name: "enrolment",
            text: "Should it come back: set it up anew and enrol it with a token that names it",
            after_end: false,
        },
    ],
};
