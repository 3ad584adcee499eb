//! The built program with a warden and an agent that the test plays.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use exeunt_ipc::message::{AgentAnswer, AgentRequest, Call, WardenAnswer, WardenRequest};
use exeunt_ipc::{read_frame, write_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Stage {
    pub(crate) dir: TempDir,
    asked: Arc<Mutex<Vec<WardenRequest>>>,
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Its one line of JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Stage {
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), asked: Arc::default() }
    }

    pub(crate) fn warden(
        self,
        answers: impl Fn(WardenRequest) -> Vec<WardenAnswer> + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::clone(&self.asked);
        serve(&self.dir.path().join("warden.sock"), move |request: WardenRequest| {
            asked.lock().unwrap().push(request.clone());
            answers(request)
        });
        self
    }

    /// A warden that gives these answers to the first request and then ends the connection.
    pub(crate) fn warden_that_hangs_up(self, answers: Vec<WardenAnswer>) -> Self {
        let listener = UnixListener::bind(self.dir.path().join("warden.sock")).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _: Call<WardenRequest> = read_frame(&mut stream).unwrap();
            for answer in answers {
                write_frame(&mut stream, &answer).unwrap();
            }
        });
        self
    }

    pub(crate) fn agent(
        self,
        answer: impl Fn(AgentRequest) -> AgentAnswer + Send + Sync + 'static,
    ) -> Self {
        serve(&self.dir.path().join("agent.sock"), move |request| vec![answer(request)]);
        self
    }

    /// What the warden was asked.
    pub(crate) fn asked(&self) -> Vec<WardenRequest> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exeunt"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .env("EXEUNT_RUNTIME_DIR", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// Writes a file of the test's and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn serve<Request, Answer>(
    socket: &Path,
    answers: impl Fn(Request) -> Vec<Answer> + Send + Sync + 'static,
) where
    Request: DeserializeOwned + 'static,
    Answer: Serialize + 'static,
{
    let listener = UnixListener::bind(socket).unwrap();
    let answers = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || {
                while let Ok(call) = read_frame::<Call<Request>>(&mut stream) {
                    for answer in answers(call.request) {
                        if write_frame(&mut stream, &answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
}
