//! Every error response of the origin: problem details (RFC 9457) with a stable `code`.
//!
//! A client sees the code and a plain sentence. What went wrong inside is logged here, once.

use crate::services::admin::AdminError;
use crate::services::auth::AuthError;
use crate::services::commands::{CommandFault, RefusalCode};
use crate::services::documents::DocumentError;
use crate::services::import::{Fault, ImportError};
use crate::services::notifications::NotificationError;
use crate::services::passwords::PasswordError;
use crate::services::views::ViewError;
use crate::services::webhooks::{MAX_EVENT_BYTES, WebhookError};
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;
use sync_protocol::command::CommandError;
use sync_protocol::token::TokenError;
use utoipa::ToSchema;

/// When to try again after a fault that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    limit: Option<usize>,
    faults: Vec<TableFault>,
    retry_after: Option<Duration>,
    /// Asks for a token, as 401 must (RFC 9110, section 11.6.1).
    challenge: bool,
}

/// What went wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// Stable.
    code: &'static str,
    detail: &'a str,
    /// The field or header that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    field: Option<&'a str>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    limit: Option<usize>,
    /// Of a table.
    #[serde(skip_serializing_if = "no_faults")]
    #[schema(value_type = Vec<TableFault>, required = false)]
    faults: &'a [TableFault],
}

/// What is wrong with a table.
#[derive(Debug, Serialize, ToSchema)]
struct TableFault {
    /// The header is row 1.
    row: u64,
    column: String,
    problem: String,
}

fn no_faults(faults: &&[TableFault]) -> bool {
    faults.is_empty()
}

impl From<Fault> for TableFault {
    fn from(fault: Fault) -> Self {
        let (row, column, problem) = fault.into_parts();
        Self { row, column, problem }
    }
}

impl ApiError {
    pub(super) const NO_ROUTE: Self =
        Self::fixed(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path");
    pub(super) const BAD_PATH: Self =
        Self::fixed(StatusCode::BAD_REQUEST, "invalid-path", "the path is not UTF-8 text");
    pub(super) const UNSTORABLE: Self = Self::fixed(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-field",
        "something that was sent cannot be stored, such as the character U+0000",
    );
    pub(super) const NO_DOCUMENT: Self =
        Self::fixed(StatusCode::NOT_FOUND, "not-found", "there is no such document");
    pub(super) const WRONG_METHOD: Self = Self::fixed(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this path does not take this method",
    );
    pub(super) const PANIC: Self =
        Self::fixed(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke, it is in the log");
    pub(super) const TIMEOUT: Self =
        Self::fixed(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the answer took too long").retry();
    pub(super) const TOKEN_MISSING: Self =
        Self::fixed(StatusCode::UNAUTHORIZED, "token-missing", "this path needs a bearer token").challenge();
    pub(super) const EDGE_SECRET: Self = Self::fixed(
        StatusCode::UNAUTHORIZED,
        "wrong-edge-secret",
        "this path is for edges with their secret",
    )
    .challenge();
    pub(super) const EDGE_NAME: Self = Self::fixed(
        StatusCode::BAD_REQUEST,
        "invalid-field",
        "header Rollcall-Edge is not 1 to 64 visible ASCII characters",
    );
    pub(super) const BOOKMARK: Self = Self::fixed(
        StatusCode::BAD_REQUEST,
        "invalid-field",
        "header Rollcall-Bookmark is not one that this service gave",
    );
    pub(super) const IF_MATCH_MISSING: Self = Self::fixed(
        StatusCode::PRECONDITION_REQUIRED,
        "precondition-required",
        "this change needs the header If-Match with the record's entity tag",
    );
    /// With a body of its own.
    pub(super) const NOT_READY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    pub(super) const NOT_A_WEBSOCKET: Self =
        Self::fixed(StatusCode::UPGRADE_REQUIRED, "websocket-required", "this path is a WebSocket");

    const fn fixed(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        let detail = Cow::Borrowed(detail);
        Self {
            status,
            code,
            detail,
            field: None,
            limit: None,
            faults: Vec::new(),
            retry_after: None,
            challenge: false,
        }
    }

    const fn retry(mut self) -> Self {
        self.retry_after = Some(RETRY_AFTER);
        self
    }

    const fn challenge(mut self) -> Self {
        self.challenge = true;
        self
    }

    fn new(status: StatusCode, code: &'static str, detail: String) -> Self {
        let detail = Cow::Owned(detail);
        Self {
            status,
            code,
            detail,
            field: None,
            limit: None,
            faults: Vec::new(),
            retry_after: None,
            challenge: false,
        }
    }

    fn with_field(mut self, field: Option<impl Into<Cow<'static, str>>>) -> Self {
        self.field = field.map(Into::into);
        self
    }

    pub(super) fn body_too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes");
        let error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail);
        Self { limit: Some(limit), ..error }
    }

    pub(super) fn invalid_json(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-json", detail)
    }

    pub(super) fn invalid_field(field: String, detail: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", detail).with_field(Some(field))
    }

    /// A fault inside: logged, and told without its cause.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "internal fault");
        Self::PANIC
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            field: self.field.as_deref(),
            limit: self.limit,
            faults: &self.faults,
        };
        let body = serde_json::to_vec(&problem).expect("texts and numbers are always JSON");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            // Rounded up: the client must not come too early.
            headers.insert(header::RETRY_AFTER, (after.as_millis().div_ceil(1000) as u64).max(1).into());
        }
        if self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "store");
        // A transaction that was dropped unrun is told as one that panicked.
        if error.is_outage() || matches!(error, StoreError::Panicked) {
            return Self::fixed(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "the store did not answer",
            )
            .retry();
        }
        // The same would fail again.
        if error.is_of_data() { Self::UNSTORABLE } else { Self::PANIC }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string()).challenge()
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let detail = error.to_string();
        match error {
            AuthError::WrongCredentials => {
                Self::new(StatusCode::UNAUTHORIZED, "wrong-credentials", detail).challenge()
            }
            AuthError::TooManyAttempts(wait) => {
                let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", detail);
                Self { retry_after: Some(wait), ..error }
            }
            AuthError::Field { field, .. } => Self::invalid_field(field.to_owned(), detail),
            AuthError::RefreshExpired => {
                Self::new(StatusCode::UNAUTHORIZED, "token-expired", detail).challenge()
            }
            AuthError::RefreshInvalid => {
                Self::new(StatusCode::UNAUTHORIZED, "token-invalid", detail).challenge()
            }
            AuthError::RefreshInFlight => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "refresh-in-flight", detail).retry()
            }
            AuthError::ResetInvalid => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "reset-token-invalid", detail)
                    .with_field(Some("token"))
            }
            AuthError::UnknownSession | AuthError::UnknownDevice => {
                Self::new(StatusCode::NOT_FOUND, "not-found", detail)
            }
            AuthError::NoMail => Self::new(StatusCode::SERVICE_UNAVAILABLE, "mail-not-configured", detail),
            AuthError::Busy | AuthError::Password(PasswordError::Busy) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry()
            }
            AuthError::Token(error) => error.into(),
            AuthError::Password(PasswordError::Hash(_) | PasswordError::Closed)
            | AuthError::Mail(_)
            | AuthError::TooManyKeys
            | AuthError::Open(_) => Self::internal(&error),
            AuthError::Store(error) => error.into(),
        }
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        let detail = error.to_string();
        match error {
            ViewError::NoClass(_) => {
                Self::new(StatusCode::NOT_FOUND, "not-found", detail).with_field(Some("class"))
            }
            ViewError::WrongRole(_)
            | ViewError::NotTheirClass
            | ViewError::UnknownUser
            | ViewError::NotTheirs => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            ViewError::Token(error) => error.into(),
            ViewError::Date => Self::invalid_field("date".to_owned(), detail),
            ViewError::Behind { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "origin-behind", detail).retry()
            }
            ViewError::Store(error) => error.into(),
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        let detail = error.to_string();
        match error {
            WebhookError::Signature => {
                Self::new(StatusCode::UNAUTHORIZED, "signature-invalid", detail).challenge()
            }
            WebhookError::TooLong(_) => Self::body_too_large(MAX_EVENT_BYTES),
            WebhookError::Malformed(_) => Self::new(StatusCode::BAD_REQUEST, "invalid-event", detail),
            WebhookError::Store(error) => error.into(),
        }
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let detail = error.to_string();
        match error {
            AdminError::NotAdmin => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            AdminError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            AdminError::Field { field, .. } => Self::invalid_field(field, detail),
            AdminError::Behind { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "origin-behind", detail).retry()
            }
            AdminError::Import(ImportError::Faults(faults)) => {
                let detail = format!("nothing was imported, the table has {} faults", faults.len());
                let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-table", detail);
                Self { faults: faults.into_iter().map(TableFault::from).collect(), ..error }
            }
            AdminError::Import(ImportError::Store(error)) => error.into(),
            AdminError::Import(ImportError::File { .. } | ImportError::Institute(_)) | AdminError::Csv(_) => {
                Self::internal(&error)
            }
            AdminError::Token(error) => error.into(),
            AdminError::Command(fault) => fault.into(),
            AdminError::Store(error) => error.into(),
        }
    }
}

impl From<NotificationError> for ApiError {
    fn from(error: NotificationError) -> Self {
        let detail = error.to_string();
        match error {
            NotificationError::Id(field) => Self::invalid_field(field.to_owned(), detail),
            NotificationError::Token(error) => error.into(),
            NotificationError::UnknownUser => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            NotificationError::Behind { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "origin-behind", detail).retry()
            }
            NotificationError::Store(error) => error.into(),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let status = match error {
            CommandError::TooLong(_) => {
                return Self::body_too_large(sync_protocol::command::MAX_COMMAND_BYTES);
            }
            CommandError::NotJson(_) | CommandError::MissingKey | CommandError::BadKey => {
                StatusCode::BAD_REQUEST
            }
            CommandError::Unknown(_) | CommandError::Field { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let field = error.field().map(str::to_owned);
        Self::new(status, error.code(), error.to_string()).with_field(field)
    }
}

impl From<CommandFault> for ApiError {
    fn from(fault: CommandFault) -> Self {
        let detail = fault.to_string();
        match fault {
            CommandFault::Invalid(error) => error.into(),
            CommandFault::Refused(refusal) => {
                let status = match refusal.code {
                    RefusalCode::Forbidden => StatusCode::FORBIDDEN,
                    RefusalCode::NotFound => StatusCode::NOT_FOUND,
                    RefusalCode::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
                    RefusalCode::AlreadyExists => StatusCode::CONFLICT,
                    RefusalCode::InvalidField | RefusalCode::AlreadyGraded => {
                        StatusCode::UNPROCESSABLE_ENTITY
                    }
                };
                Self::new(status, refusal.code.as_str(), refusal.detail).with_field(refusal.field)
            }
            CommandFault::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
            }
            CommandFault::IfMatch => {
                Self::new(StatusCode::BAD_REQUEST, "invalid-field", detail).with_field(Some("If-Match"))
            }
            CommandFault::UnknownKey => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            CommandFault::Token(error) => error.into(),
            CommandFault::Store(error) => error.into(),
        }
    }
}

impl From<DocumentError> for ApiError {
    fn from(error: DocumentError) -> Self {
        let detail = error.to_string();
        match error {
            DocumentError::Kind(_) => Self::invalid_field("kind".to_owned(), detail),
            DocumentError::Subject(_) => Self::invalid_field("subject".to_owned(), detail),
            DocumentError::UnknownSubject { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not-found", detail).with_field(Some("subject"))
            }
            DocumentError::Forbidden => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            DocumentError::Token(error) => error.into(),
            DocumentError::NotQuarantined => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            DocumentError::NotAcceptable(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not-acceptable", detail)
            }
            DocumentError::NoDocument => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            DocumentError::Heads(_) => Self::invalid_field("heads".to_owned(), detail),
            DocumentError::Field { field, .. } => Self::invalid_field(field.to_owned(), detail),
            DocumentError::Behind { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "origin-behind", detail).retry()
            }
            DocumentError::AlreadyCut(_) => Self::new(StatusCode::CONFLICT, "already-cut", detail),
            DocumentError::TooLargeToCut(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too-large-to-cut", detail)
            }
            DocumentError::Damaged { .. }
            | DocumentError::Raced(_)
            | DocumentError::NotCarried(_)
            | DocumentError::Panicked => Self::internal(&error),
            DocumentError::Store(error) => error.into(),
        }
    }
}
