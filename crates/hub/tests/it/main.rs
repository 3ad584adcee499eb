//! The hub over real HTTP on loopback.
//!
//! It refuses to sleep where an answer can be awaited.

#[cfg(test)]
mod alarms;
#[cfg(test)]
mod aliases;
#[cfg(test)]
mod approvals;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod check;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod connectors;
#[cfg(test)]
mod deliver;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod events;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod global_revocation;
#[cfg(test)]
mod idp;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod logout;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod playbooks;
#[cfg(test)]
mod polled;
#[cfg(test)]
mod power;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod record;
#[cfg(test)]
mod refuse;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod returned;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod sign_in;
#[cfg(test)]
mod sign_out;
#[cfg(test)]
mod ssf;
#[cfg(test)]
mod stand;
#[cfg(test)]
mod store;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod traced;
