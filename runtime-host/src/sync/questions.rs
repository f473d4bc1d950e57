//! What operators ask a sync engine about its documents. It answers between two batches of events.

use super::institutes::EngineHandle;
use crate::host::inspection_bindings::exports::rollcall::sync::inspection::{DocumentFigures, DocumentState};
use crate::limits;
use crate::problem::Problem;
use http::StatusCode;
use sync_protocol::document_id::DocumentId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

type Asker<T> = oneshot::Sender<Result<T, QuestionError>>;

pub enum EngineQuestion {
    /// Those whose ids come after this one, by the ids' bytes.
    Documents {
        after: Option<DocumentId>,
        limit: u32,
        answer: Asker<Vec<DocumentFigures>>,
    },
    Document {
        document: DocumentId,
        answer: Asker<Option<DocumentState>>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("the sync component answers no questions: it does not export `rollcall:sync/inspection@0.1.0`")]
    NotOffered,
    #[error("the sync engine does not run now, or failed at this question; its log says why")]
    NotRunning,
    #[error("the sync engine is busy with other questions or with its devices")]
    Busy,
    #[error("the sync engine could not answer: {0}")]
    Failed(String),
}

impl QuestionError {
    pub fn problem(&self) -> Problem {
        let unavailable = |code| {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, self.to_string());
            Problem { retry_after_seconds: Some(1), ..problem }
        };
        match self {
            QuestionError::NotOffered => {
                Problem::new(StatusCode::NOT_IMPLEMENTED, "inspection-not-offered", self.to_string())
            }
            QuestionError::NotRunning => unavailable("engine-unavailable"),
            QuestionError::Busy => unavailable("overloaded"),
            QuestionError::Failed(cause) => {
                tracing::error!("sync engine: question: {cause}");
                let detail = "the sync engine could not answer; the edge's log says why";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "engine-failed", detail)
            }
        }
    }
}

impl EngineQuestion {
    /// Tells whoever asked that there is no answer.
    pub fn refuse(self, error: QuestionError) {
        // Nobody may wait for it any more.
        match self {
            EngineQuestion::Documents { answer, .. } => drop(answer.send(Err(error))),
            EngineQuestion::Document { answer, .. } => drop(answer.send(Err(error))),
        }
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        match self {
            EngineQuestion::Documents { answer, .. } => answer.is_closed(),
            EngineQuestion::Document { answer, .. } => answer.is_closed(),
        }
    }
}

impl EngineHandle {
    pub async fn documents(
        &self,
        after: Option<DocumentId>,
        limit: u32,
    ) -> Result<Vec<DocumentFigures>, QuestionError> {
        self.ask(|answer| EngineQuestion::Documents { after, limit, answer }).await
    }

    /// None when the institute's log has no such document.
    pub async fn document(&self, document: DocumentId) -> Result<Option<DocumentState>, QuestionError> {
        self.ask(|answer| EngineQuestion::Document { document, answer }).await
    }

    async fn ask<T>(&self, question: impl FnOnce(Asker<T>) -> EngineQuestion) -> Result<T, QuestionError> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(question(answer)).map_err(|error| match error {
            TrySendError::Full(_) => QuestionError::Busy,
            TrySendError::Closed(_) => QuestionError::NotRunning,
        })?;
        match tokio::time::timeout(limits::QUESTION_TIMEOUT, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(QuestionError::NotRunning),
            Err(_) => Err(QuestionError::Busy),
        }
    }
}
