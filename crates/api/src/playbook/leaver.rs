//! Somebody leaves: their account is closed (R37, R38; RISC `account-disabled`).
//!
//! It refuses to take a closed account for a deleted one: the record of it stays.

use super::{Item, Playbook};

pub(super) const PLAYBOOK: Playbook = Playbook {
    name: "leaver",
    when: "Somebody leaves, and their account is closed.",
    hold: true,
    followups: &[
        Item {
            name: "entitlements",
            text: "Take away groups, roles and licences, in the directory and where services keep \
                   their own",
            after_end: false,
        },
        Item {
            name: "keys",
            text: "Rotate the keys, tokens and shared passwords that they knew",
            after_end: true,
        },
        Item {
            name: "third-parties",
            text: "Look for third-party grants and dormant credentials that survive the account",
            after_end: false,
        },
        Item { name: "access-review", text: "Review what they had access to", after_end: false },
    ],
};
