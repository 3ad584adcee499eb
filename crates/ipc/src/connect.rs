//! A blocking client of either socket.
//!
//! It refuses to look for a socket anywhere but where it was told.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, read_frame, write_frame};
use crate::message::{AgentAnswer, AgentRequest, Call, VERSION, WardenAnswer, WardenRequest};

/// Where the two sockets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// The warden's.
    pub warden: PathBuf,
    /// The agent's.
    pub agent: PathBuf,
}

/// The directory of an installed machine's sockets.
pub const INSTALLED_DIR: &str = "/run/exeunt";

impl Sockets {
    /// Both sockets in `dir`.
    #[must_use]
    pub fn within(dir: &Path) -> Self {
        Self { warden: dir.join("warden.sock"), agent: dir.join("agent.sock") }
    }

    /// Where this process should look: `EXEUNT_RUNTIME_DIR`, else [`INSTALLED_DIR`] when the
    /// machine has it, else `exeunt` in the user's own runtime directory.
    #[must_use]
    pub fn here() -> Self {
        let user = || {
            directories::BaseDirs::new()
                .and_then(|dirs| dirs.runtime_dir().map(|dir| dir.join("exeunt")))
        };
        let dir = std::env::var_os("EXEUNT_RUNTIME_DIR")
            .map(PathBuf::from)
            .or_else(|| Path::new(INSTALLED_DIR).is_dir().then(|| INSTALLED_DIR.into()))
            .or_else(user)
            .unwrap_or_else(|| INSTALLED_DIR.into());
        Self::within(&dir)
    }
}

/// Why a server could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there.
    #[error("nothing listens at {socket}: is {service} running?")]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// Which process should.
        service: &'static str,
    },
    /// It is there, but this user may not speak to it.
    #[error("not allowed to speak to {service} at {socket}")]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// Which process.
        service: &'static str,
    },
    /// Another error.
    #[error("connecting to {socket}: {source}")]
    Io {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A connection over which requests of one kind go out and answers come back.
#[derive(Debug)]
pub struct Client<Request, Answer> {
    stream: UnixStream,
    kind: PhantomData<fn(Request) -> Answer>,
}

/// A connection to the warden.
pub type WardenClient = Client<WardenRequest, WardenAnswer>;
/// A connection to the agent.
pub type AgentClient = Client<AgentRequest, AgentAnswer>;

impl WardenClient {
    /// Connects to `warden.sock`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(socket: &Path) -> Result<Self, ConnectError> {
        Client::open(socket, "exeunt-warden")
    }
}

impl AgentClient {
    /// Connects to `agent.sock`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(socket: &Path) -> Result<Self, ConnectError> {
        Client::open(socket, "exeunt-agent")
    }
}

impl<Request: Serialize, Answer: DeserializeOwned> Client<Request, Answer> {
    fn open(socket: &Path, service: &'static str) -> Result<Self, ConnectError> {
        let stream = UnixStream::connect(socket).map_err(|source| {
            let socket = socket.to_owned();
            let kind = source.kind();
            if matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
                ConnectError::NotRunning { socket, service }
            } else if kind == ErrorKind::PermissionDenied {
                ConnectError::NotAllowed { socket, service }
            } else {
                ConnectError::Io { socket, source }
            }
        })?;
        Ok(Self { stream, kind: PhantomData })
    }

    /// Bounds every later wait for an answer; `None` waits for ever.
    ///
    /// # Errors
    /// [`std::io::Error`] from the socket.
    pub fn answer_within(&self, limit: Option<Duration>) -> std::io::Result<()> {
        self.stream.set_read_timeout(limit)
    }

    /// Sends a request and returns its first answer.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn ask(&mut self, request: Request) -> Result<Answer, CodecError> {
        write_frame(&mut self.stream, &Call { v: VERSION, request })?;
        self.next_answer()
    }

    /// Waits for one more answer to the last request.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn next_answer(&mut self) -> Result<Answer, CodecError> {
        read_frame(&mut self.stream)
    }
}
