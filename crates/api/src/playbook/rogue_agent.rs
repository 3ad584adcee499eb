//! A software agent does what it should not: it is ended and held until somebody has looked (R42).
//!
//! It refuses to let it begin anew by itself: the hold is released by a person, with a reason.

use super::{Item, Playbook};

pub(super) const PLAYBOOK: Playbook = Playbook {
    name: "rogue-agent",
    when: "A software agent or service account misbehaves: it is ended, and held until it was \
           reviewed.",
    hold: true,
    followups: &[
        Item {
            name: "tools",
            text: "Take away its tools: MCP grants, API keys, repository and cloud access",
            after_end: true,
        },
        Item {
            name: "actions",
            text: "Review what it did since it was last known to be good, and undo it",
            after_end: false,
        },
        Item {
            name: "release",
            text: "Decide whether it may begin again: `exeunt admin hold release`, or leave it held",
            after_end: false,
        },
    ],
};
