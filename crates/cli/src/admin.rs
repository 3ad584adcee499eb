//! `exeunt admin`: the hub's operators.
//!
//! It refuses to keep a token where others read it.

mod alarm;
mod approver;
mod approver_key;
mod audit;
mod connector;
mod credentials;
mod device;
mod followup;
mod hold;
mod hub;
mod login;
mod operator;
mod playbook;
mod proposal;
mod session;
mod sign_in;
mod sign_out;
mod subject;
mod transmitter;
mod txn;

use crate::args::admin::Admin;
use crate::fault::Fault;
use crate::out::Out;

/// Runs one of its commands.
pub(crate) fn run(out: Out, command: Admin) -> Result<u8, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Admin::Login(typed) => login::run(out, &typed).await,
            Admin::Operator(command) => operator::run(out, command).await,
            Admin::Connector(command) => connector::run(out, command).await,
            Admin::Device(command) => device::run(out, command).await,
            Admin::Transmitter(command) => transmitter::run(out, command).await,
            Admin::Session(command) => session::run(out, command).await,
            Admin::Subject(command) => subject::run(out, command).await,
            Admin::Approver(command) => approver::run(out, command).await,
            Admin::Approve(typed) => approver::approve(out, typed).await,
            Admin::Proposal(command) => proposal::run(out, command).await,
            Admin::Change(command) => proposal::change(out, command).await,
            Admin::SignOut(typed) if proposal::needs_quorum(&typed) => {
                proposal::propose(out, typed).await
            }
            Admin::SignOut(typed) => sign_out::run(out, typed).await,
            Admin::Playbook(command) => playbook::run(out, command).await,
            Admin::Followup(command) => followup::run(out, command).await,
            Admin::Hold(command) => hold::run(out, command).await,
            Admin::Txn(command) => txn::run(out, command).await,
            Admin::Audit(command) => audit::run(out, command).await,
            Admin::Alarm(command) => alarm::run(out, command).await,
        }
    })
}
