//! Connections to the warden: each a thread of its own that asks, waits for the answer, and
//! reconnects when the warden restarts.
//!
//! It refuses to answer in the warden's place: a question that the warden did not answer is asked
//! again or comes back as [`WardenGone`].

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use exeunt_ipc::message::{Failure, WardenAnswer, WardenRequest};
use exeunt_ipc::{CodecError, WardenClient};
use tokio::sync::{mpsc, oneshot};

/// The first pause after the warden could not be reached; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long an answer may take; the warden holds an empty `TakeUplink` for 30 s.
const LONGEST_ANSWER: Duration = Duration::from_secs(45);

/// The warden did not answer, or the agent is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the warden is not there: {0}")]
pub struct WardenGone(String);

/// One connection to the warden, used by one task at a time.
#[derive(Debug)]
pub struct WardenLine {
    questions: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    request: WardenRequest,
    patience: Patience,
    answer: oneshot::Sender<Result<WardenAnswer, WardenGone>>,
}

/// What to do while the warden is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Ask again until it answers.
    UntilAnswered,
    /// Try a fresh connection once, then say so.
    Once,
}

impl WardenLine {
    /// Starts the thread of one connection; `name` is for logs.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(socket: &Path, name: &'static str) -> std::io::Result<Self> {
        let (questions, asked) = mpsc::channel(16);
        let line = Line { socket: socket.to_owned(), name, client: None };
        thread::Builder::new()
            .name(format!("warden-{name}"))
            .stack_size(256 << 10)
            .spawn(move || line.serve(asked))?;
        Ok(Self { questions })
    }

    /// Asks until the warden answers, over any number of its restarts. A request may reach it more
    /// than once; the warden deduplicates.
    ///
    /// # Errors
    /// [`WardenGone`] only when the agent is stopping.
    pub async fn ask_until_answered(
        &self,
        request: WardenRequest,
    ) -> Result<WardenAnswer, WardenGone> {
        self.put(request, Patience::UntilAnswered).await
    }

    /// Asks once, over a fresh connection if need be.
    ///
    /// # Errors
    /// [`WardenGone`] when the warden does not answer.
    pub async fn ask(&self, request: WardenRequest) -> Result<WardenAnswer, WardenGone> {
        self.put(request, Patience::Once).await
    }

    async fn put(
        &self,
        request: WardenRequest,
        patience: Patience,
    ) -> Result<WardenAnswer, WardenGone> {
        let stopping = || WardenGone("the agent is stopping".into());
        let (answer, answered) = oneshot::channel();
        let question = Question { request, patience, answer };
        self.questions.send(question).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

/// What the warden says instead of doing what it was asked; an answer of another kind is a failure
/// too.
pub(crate) fn failure_of(answer: WardenAnswer) -> Failure {
    if let WardenAnswer::Failed(failure) = answer {
        return failure;
    }
    let message = "the warden answered another question".to_owned();
    Failure { code: "internal".into(), message, hint: None }
}

/// The code of [`failure_of`].
pub(crate) fn code_of(answer: WardenAnswer) -> String {
    failure_of(answer).code
}

struct Line {
    socket: PathBuf,
    name: &'static str,
    client: Option<WardenClient>,
}

impl Line {
    fn serve(mut self, mut asked: mpsc::Receiver<Question>) {
        while let Some(question) = asked.blocking_recv() {
            let answer = self.pursue(&question);
            // The asker may have gone away meanwhile; a repeat is deduplicated by the warden.
            let _ = question.answer.send(answer);
        }
    }

    fn pursue(&mut self, question: &Question) -> Result<WardenAnswer, WardenGone> {
        let mut pause = FIRST_PAUSE;
        let mut failures = 0_u32;
        loop {
            let gone = match self.try_once(&question.request) {
                Ok(answer) => return Ok(answer),
                Err(gone) => gone,
            };
            failures += 1;
            // The first failure may be of a connection that the warden's restart left behind.
            if failures == 1 {
                continue;
            }
            if question.patience == Patience::Once || question.answer.is_closed() {
                return Err(gone);
            }
            if failures == 2 {
                tracing::warn!(line = self.name, error = %gone, "waiting for the warden");
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_once(&mut self, request: &WardenRequest) -> Result<WardenAnswer, WardenGone> {
        let gone = |error: &dyn std::fmt::Display| WardenGone(error.to_string());
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                let client = WardenClient::connect(&self.socket).map_err(|error| gone(&error))?;
                client.answer_within(Some(LONGEST_ANSWER)).map_err(|error| gone(&error))?;
                client
            }
        };
        let answer = client.ask(request.clone()).map_err(|error: CodecError| gone(&error))?;
        self.client = Some(client);
        Ok(answer)
    }
}
