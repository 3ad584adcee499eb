//! A secret leaked: sessions that it opened die before it is rotated (R34, R35, R36).
//!
//! It refuses a rotation that came first: a rotated secret leaves the sessions alive that it opened.

use super::{Item, Playbook};

pub(super) const PLAYBOOK: Playbook = Playbook {
    name: "exposed-secret",
    when: "A password, key or token of the subject leaked: its sessions end before it is rotated.",
    hold: false,
    followups: &[
        Item {
            name: "rotate",
            text: "Rotate the secret, now that its sessions are dead, and everywhere it is held",
            after_end: true,
        },
        Item {
            name: "dependants",
            text: "Have whatever depends on the secret sign in again with the new one",
            after_end: true,
        },
        Item {
            name: "origin",
            text: "Find out where it leaked, and who used it meanwhile",
            after_end: false,
        },
    ],
};
