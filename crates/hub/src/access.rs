//! Who may come through which door: one table, and the gate that reads it.
//!
//! It refuses a door that has no rule: it is not served.

mod gate;

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use axum::{Router, middleware};
use exeunt_api::Role::{self, Administrator, Approver, Auditor, HelpDesk, Responder, Viewer};

use crate::Hub;
pub use gate::{Calls, Gate};

/// Who may come through a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anyone who finds it.
    Anyone,
    /// An enrolled device's agent, by its access token.
    Device,
    /// A relying service or a stream's receiver, by its access token or its secret.
    Service,
    /// A registered transmitter, by its signature.
    Transmitter,
    /// An operator who has one of these roles.
    Operator(&'static [Role]),
}

use Who::{Anyone, Device, Operator, Service, Transmitter};

/// Who may look around.
const LOOK: Who = Operator(&[Viewer, Responder, Approver, Auditor, Administrator]);
/// Who may look at one subject, or at one transaction.
const LOOK_AT_ONE: Who = Operator(&Role::ALL);
/// Who may sign one named subject out.
const ACT_ON_ONE: Who = Operator(&[HelpDesk, Responder, Administrator]);
/// Who may propose an order that reaches many.
const PROPOSE: Who = Operator(&[Responder, Administrator]);
/// Who may approve what others proposed.
const APPROVE: Who = Operator(&[Approver]);
/// Who may decide about more than a subject's own sessions.
const ACT: Who = Operator(&[Responder, Administrator]);
/// Who may read the audit.
const AUDIT: Who = Operator(&[Auditor, Administrator]);
/// Who may set the hub up.
const SET_UP: Who = Operator(&[Administrator]);

/// A door: its method (`*` for any), its path, and who may come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule(pub &'static str, pub &'static str, pub Who);

/// Every door of the hub.
pub const RULES: &[Rule] = &[
    Rule("GET", "/healthz", Anyone),
    Rule("GET", "/.well-known/jwks.json", Anyone),
    Rule("GET", "/.well-known/ssf-configuration", Anyone),
    Rule("GET", "/.well-known/oauth-authorization-server", Anyone),
    Rule("GET", "/v1/openapi.json", Anyone),
    Rule("POST", "/oauth/token", Anyone),
    // Proved by the one-time token within.
    Rule("POST", "/v1/enroll", Anyone),
    // Proved by the identity provider.
    Rule("POST", "/v1/sign-in", Anyone),
    Rule("POST", "/v1/sign-in/finish", Anyone),
    //
    Rule("POST", "/v1/device/lease", Device),
    Rule("POST", "/ssf/poll", Device),
    Rule("POST", "/ssf/events", Device),
    Rule("GET", "/v1/device/sessions", Device),
    Rule("GET", "/v1/device/txn/{txn}", Device),
    //
    Rule("POST", "/v1/sessions", Service),
    Rule("DELETE", "/v1/sessions/{session}", Service),
    Rule("POST", "/v1/seen", Service),
    Rule("GET", "/v1/check", Service),
    Rule("GET", "/v1/check/snapshot", Service),
    Rule("GET", "/v1/check/deltas", Service),
    Rule("*", "/v1/forward-auth", Service),
    Rule("*", "/v1/forward-auth/", Service),
    Rule("*", "/v1/forward-auth/{*asked}", Service),
    Rule("POST", "/oauth/introspect", Service),
    Rule("POST", "/v1/connectors/{name}/grants", Service),
    Rule("GET", "/ssf/streams", Service),
    Rule("POST", "/ssf/streams", Service),
    Rule("PATCH", "/ssf/streams", Service),
    Rule("PUT", "/ssf/streams", Service),
    Rule("DELETE", "/ssf/streams", Service),
    Rule("GET", "/ssf/status", Service),
    Rule("POST", "/ssf/status", Service),
    Rule("POST", "/ssf/subjects/add", Service),
    Rule("POST", "/ssf/subjects/remove", Service),
    Rule("POST", "/ssf/verify", Service),
    Rule("POST", "/ssf/poll/{stream}", Service),
    Rule("POST", "/ssf/receive/{transmitter}", Transmitter),
    Rule("POST", "/v1/global-token-revocation", Transmitter),
    Rule("POST", "/v1/back-channel-logout", Transmitter),
    Rule("POST", "/v1/provider-commands", Transmitter),
    //
    Rule("GET", "/v1/operator", LOOK_AT_ONE),
    Rule("GET", "/v1/sessions", LOOK_AT_ONE),
    Rule("GET", "/v1/txn/{txn}", LOOK_AT_ONE),
    Rule("GET", "/v1/txn/{txn}/events", LOOK_AT_ONE),
    Rule("GET", "/v1/receipts/{txn}", LOOK_AT_ONE),
    Rule("GET", "/v1/subject", LOOK_AT_ONE),
    Rule("POST", "/v1/subject/join", ACT),
    Rule("POST", "/v1/subject/split", ACT),
    Rule("POST", "/v1/sign-out", ACT_ON_ONE),
    Rule("POST", "/v1/txn/{txn}/cancel", ACT_ON_ONE),
    Rule("POST", "/v1/txn/{txn}/retry", ACT_ON_ONE),
    Rule("GET", "/v1/playbooks", LOOK_AT_ONE),
    Rule("POST", "/v1/playbooks/{playbook}", ACT_ON_ONE),
    Rule("GET", "/v1/followups", LOOK),
    Rule("POST", "/v1/followups/{id}/tick", ACT),
    Rule("GET", "/v1/holds", LOOK),
    Rule("POST", "/v1/holds", ACT),
    Rule("POST", "/v1/holds/release", ACT),
    Rule("GET", "/v1/devices", LOOK),
    Rule("GET", "/v1/alarms", LOOK),
    Rule("GET", "/v1/approvers", LOOK),
    Rule("GET", "/v1/proposals", LOOK),
    Rule("GET", "/v1/proposals/{txn}", LOOK),
    Rule("POST", "/v1/proposals", PROPOSE),
    Rule("POST", "/v1/proposals/{txn}/withdraw", PROPOSE),
    Rule("POST", "/v1/proposals/{txn}/approve", APPROVE),
    Rule("GET", "/v1/connectors", LOOK),
    Rule("GET", "/v1/transmitters", LOOK),
    Rule("GET", "/v1/audit", AUDIT),
    Rule("GET", "/v1/audit/verify", AUDIT),
    Rule("POST", "/v1/approvers", SET_UP),
    Rule("POST", "/v1/changes", SET_UP),
    Rule("DELETE", "/v1/devices/{device}", SET_UP),
    Rule("POST", "/v1/device-tokens", SET_UP),
    Rule("POST", "/v1/admin-tokens", SET_UP),
    Rule("DELETE", "/v1/admin-tokens/{name}", SET_UP),
    Rule("POST", "/v1/services", SET_UP),
    Rule("POST", "/v1/connectors", SET_UP),
    Rule("DELETE", "/v1/connectors/{name}", SET_UP),
    Rule("POST", "/v1/connectors/{name}/test", SET_UP),
    Rule("POST", "/v1/transmitters", SET_UP),
    Rule("DELETE", "/v1/transmitters/{transmitter}", SET_UP),
    Rule("POST", "/v1/transmitters/{transmitter}/expect", SET_UP),
];

/// Who may come through a door, if the table names it.
#[must_use]
pub fn rule(method: &str, path: &str) -> Option<&'static Rule> {
    RULES.iter().find(|Rule(verb, place, _)| *verb == method && *place == path)
}

/// The doors that are served, each under its rule.
#[derive(Debug)]
pub struct Doors {
    router: Router<Arc<Hub>>,
    hub: Arc<Hub>,
    served: Vec<&'static Rule>,
}

impl Doors {
    /// None yet.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self { router: Router::new(), hub: Arc::clone(hub), served: Vec::new() }
    }

    /// Opens one. Without a rule in [`RULES`] it stays shut, and the log says so.
    #[must_use]
    pub fn open<H: Handler<T, Arc<Hub>>, T: 'static>(
        self,
        method: Method,
        path: &str,
        handler: H,
    ) -> Self {
        let Ok(filter) = MethodFilter::try_from(method.clone()) else {
            tracing::error!(%method, path, "a door of an unknown method stays shut");
            return self;
        };
        self.serve(method.as_str(), path, path, on(filter, handler))
    }

    /// Opens one to every method.
    #[must_use]
    pub fn open_to_any<H: Handler<T, Arc<Hub>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.serve("*", path, path, any(handler))
    }

    /// Opens one of the table's at another place, which the issuer's name has a part in.
    #[must_use]
    pub fn open_at<H: Handler<T, Arc<Hub>>, T: 'static>(
        self,
        path: &str,
        place: &str,
        handler: H,
    ) -> Self {
        self.serve("GET", path, place, on(MethodFilter::GET, handler))
    }

    fn serve(
        mut self,
        method: &str,
        path: &str,
        place: &str,
        handler: MethodRouter<Arc<Hub>>,
    ) -> Self {
        let Some(rule) = rule(method, path) else {
            tracing::error!(method, path, "a door without a rule stays shut");
            return self;
        };
        let handler = match rule.2 {
            Operator(_) => {
                let gate = Gate { hub: Arc::clone(&self.hub), rule };
                handler.route_layer(middleware::from_fn_with_state(gate, gate::pass))
            }
            Anyone | Device | Service | Transmitter => handler,
        };
        self.router = self.router.route(place, handler);
        self.served.push(rule);
        self
    }

    /// The router, and the rules of the doors that it serves.
    pub fn done(self) -> (Router<Arc<Hub>>, Vec<&'static Rule>) {
        (self.router, self.served)
    }
}
