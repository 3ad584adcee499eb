//! Work with a deadline, on a thread of its own.
//!
//! It refuses to wait longer than it was told, whoever is on the other side.

use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `work` on a new thread and waits at most `limit` for its answer.
///
/// On a timeout the stream that `work` handed to its [`Hangup`] is shut down, which ends whatever
/// read the thread is blocked in; the answer is dropped.
pub(crate) fn run<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce(&Hangup) -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = mpsc::channel();
    let (stream, streams) = mpsc::channel();
    let hangup = Hangup { stream };
    thread::Builder::new()
        .name("bounded".to_owned())
        .spawn(move || {
            // The receiver is gone after a timeout; nobody wants the answer then.
            let _unwanted = answer.send(work(&hangup));
        })
        .ok()?;
    let result = answered.recv_timeout(limit).ok();
    if result.is_none() {
        for stream in streams.try_iter() {
            let _already_closed = UnixStream::shutdown(&stream, std::net::Shutdown::Both);
        }
    }
    result
}

/// Where work leaves the streams that a timeout must shut down.
pub(crate) struct Hangup {
    stream: mpsc::Sender<UnixStream>,
}

impl Hangup {
    /// Registers a stream.
    pub(crate) fn watch(&self, stream: &UnixStream) -> std::io::Result<()> {
        let _nobody_waits = self.stream.send(stream.try_clone()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn hangs_up_on_a_peer_that_never_answers() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let answer = run(Duration::from_millis(50), move |hangup| {
            hangup.watch(&ours).unwrap();
            let mut ours = ours;
            ours.read(&mut [0; 1]).is_ok()
        });
        assert_eq!(answer, None);
        // The far side sees the end of the stream, so the thread is not blocked any more.
        assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn returns_the_answer_of_work_in_time() {
        assert_eq!(run(Duration::from_secs(5), |_| 7), Some(7));
    }
}
