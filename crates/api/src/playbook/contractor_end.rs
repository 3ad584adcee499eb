//! A contract ends: provider, services and portals expire together, and the spread is told (R45).
//!
//! It refuses to call one moment what was several: the first and the last rejection are both shown.

use super::{Item, Playbook};

pub(super) const PLAYBOOK: Playbook = Playbook {
    name: "contractor-end",
    when: "A contract ends: everything expires together, and the spread from the first to the last \
           rejection is reported.",
    hold: true,
    followups: &[
        Item {
            name: "spread",
            text: "Look at the spread in `exeunt admin txn show`, and at what was not covered",
            after_end: false,
        },
        Item {
            name: "entitlements",
            text: "Take away guest accounts, portals and shared folders",
            after_end: false,
        },
        Item {
            name: "keys",
            text: "Rotate the keys and shared passwords that they knew",
            after_end: true,
        },
    ],
};
