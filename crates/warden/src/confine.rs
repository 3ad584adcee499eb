//! Takes the network away from this process: a seccomp filter that leaves only local sockets.
//!
//! It refuses to filter the launcher thread, which starts lockers and reads nothing from outside:
//! a filter and its no-new-privileges bit would follow the locker and break its unlocking.

use std::collections::BTreeMap;
use std::sync::mpsc;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Work for the launcher thread.
type Job = Box<dyn FnOnce() + Send>;

/// A thread from before the filter. It starts lockers, and nothing else.
#[derive(Clone)]
pub(crate) struct Launcher {
    jobs: mpsc::Sender<Job>,
}

impl Launcher {
    /// Starts the thread. Call it before [`drop_network`].
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("launcher".into())
            .spawn(move || todo.into_iter().for_each(|job| job()))
            .context("starting the launcher thread")?;
        Ok(Self { jobs })
    }

    /// Runs `work` on the launcher thread and waits for its answer; None when the thread is gone.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = mpsc::channel();
        let job = Box::new(move || {
            // Nobody waits any more when the receiver is gone.
            let _unwanted = answer.send(work());
        });
        self.jobs.send(job).ok()?;
        answered.recv().ok()
    }
}

/// Filters this thread and every thread and process that it starts from now on: `socket` answers
/// `EACCES` for every family but `AF_UNIX` and `AF_NETLINK`, and io_uring, which could open sockets
/// past the filter, is refused (seccomp(2)).
///
/// # Errors
/// The kernel refused the filter.
pub(crate) fn drop_network() -> anyhow::Result<()> {
    let program = filter()?;
    seccompiler::apply_filter(&program).context("installing the seccomp filter")
}

fn filter() -> anyhow::Result<BpfProgram> {
    let not = |family: u16| {
        let value = u64::from(family);
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
    };
    let unix = rustix::net::AddressFamily::UNIX.as_raw();
    let netlink = rustix::net::AddressFamily::NETLINK.as_raw();
    let foreign = SeccompRule::new(vec![not(unix)?, not(netlink)?])?;
    let rules =
        BTreeMap::from([(libc::SYS_socket, vec![foreign]), (libc::SYS_io_uring_setup, vec![])]);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let denied = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// Tries every way to the network that a filter should have closed; names those that are open.
pub(crate) fn open_doors() -> Vec<&'static str> {
    use rustix::net::{AddressFamily, SocketType, socket};
    let doors = [
        ("ipv4 stream", AddressFamily::INET, SocketType::STREAM),
        ("ipv4 datagram", AddressFamily::INET, SocketType::DGRAM),
        ("ipv6 stream", AddressFamily::INET6, SocketType::STREAM),
        ("packet", AddressFamily::PACKET, SocketType::RAW),
    ];
    let open = doors.into_iter().filter(|(_, family, kind)| socket(*family, *kind, None).is_ok());
    open.map(|(name, _, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_every_network_door_of_a_filtered_thread_and_leaves_local_sockets() {
        let before = std::thread::spawn(open_doors).join().unwrap();
        assert!(before.contains(&"ipv4 stream"), "the test itself has no network to lose");
        let after = std::thread::spawn(|| {
            drop_network().unwrap();
            assert!(std::os::unix::net::UnixStream::pair().is_ok());
            open_doors()
        });
        assert_eq!(after.join().unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn the_launcher_thread_is_from_before_the_filter() {
        let doors = std::thread::spawn(|| {
            let launcher = Launcher::start().unwrap();
            drop_network().unwrap();
            launcher.run(open_doors).unwrap()
        });
        assert!(doors.join().unwrap().contains(&"ipv4 stream"));
    }
}
