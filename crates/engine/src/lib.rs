//! Containment without an operating system: survey, plan, execute, check, issue.
