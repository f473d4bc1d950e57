//! Who the device is to the edge: sign-in, token refresh, and requests that carry the token.

use crate::clock::unix_seconds;
use crate::device::Inner;
use crate::error::{DeviceError, Problem};
use crate::store::Tokens;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use std::time::Duration;

/// A token this close to its end is replaced first: clocks differ, and a request takes time.
const LEEWAY_SECONDS: i64 = 45;
/// A batch may wait behind a slow uplink; nothing waits longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Session {
    http: Client,
    /// Held while tokens are asked for: refresh tokens rotate, so two refreshes at once would end the session.
    tokens: tokio::sync::Mutex<Tokens>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: i64,
    refresh_token: String,
}

impl Session {
    pub(crate) fn new(tokens: Tokens) -> Result<Self, DeviceError> {
        let http = Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(Self { http, tokens: tokio::sync::Mutex::new(tokens) })
    }
}

impl Inner {
    /// A token that is good for now. `refused` is one that the edge did not take although it looked good.
    pub(crate) async fn access_token(&self, refused: Option<&str>) -> Result<String, DeviceError> {
        let mut tokens = self.session.tokens.lock().await;
        if let Some(access) = tokens.access.as_deref()
            && refused != Some(access)
            && tokens.expires_at - LEEWAY_SECONDS > unix_seconds()
        {
            return Ok(access.to_owned());
        }
        if !self.is_online() {
            return Err(DeviceError::Offline);
        }
        let fresh = match tokens.refresh.take() {
            Some(refresh) => match self.refresh(&refresh).await {
                // The refresh token has been used, revoked or outlived: the password is left.
                Err(DeviceError::Refused(problem)) if problem.status < 500 => self.log_in().await,
                Err(error) => {
                    tokens.refresh = Some(refresh);
                    return Err(error);
                }
                fresh => fresh,
            },
            None => self.log_in().await,
        }?;
        *tokens = Tokens {
            access: Some(fresh.access_token.clone()),
            expires_at: unix_seconds() + fresh.expires_in,
            refresh: Some(fresh.refresh_token),
        };
        self.lock().store.put_tokens(&tokens)?;
        Ok(fresh.access_token)
    }

    async fn log_in(&self) -> Result<TokenAnswer, DeviceError> {
        let body = serde_json::json!({
            "email": self.config.email,
            "password": self.config.password,
            "device": self.device,
        });
        self.ask_for_tokens("login", &body).await
    }

    async fn refresh(&self, refresh_token: &str) -> Result<TokenAnswer, DeviceError> {
        self.ask_for_tokens("refresh", &serde_json::json!({"refresh_token": refresh_token})).await
    }

    async fn ask_for_tokens(&self, what: &str, body: &serde_json::Value) -> Result<TokenAnswer, DeviceError> {
        let url = format!("{}/api/auth/{what}", self.config.edge_url);
        let answer = checked(self.session.http.post(url).json(body).send().await?).await?;
        answer.json().await.map_err(|error| DeviceError::Protocol(error.to_string()))
    }

    /// Sends a request with the user's token and gives any answer that is not 401, once more with a new token if need be.
    pub(crate) async fn send_any(
        &self,
        request: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<Response, DeviceError> {
        if !self.is_online() {
            return Err(DeviceError::Offline);
        }
        let token = self.access_token(None).await?;
        let send =
            |token: String| request(&self.session.http, &self.config.edge_url).bearer_auth(token).send();
        let answer = send(token.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let token = self.access_token(Some(&token)).await?;
        Ok(send(token).await?)
    }

    /// As [`Inner::send_any`]; an answer that is not a success is an error.
    pub(crate) async fn send(
        &self,
        request: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<Response, DeviceError> {
        checked(self.send_any(request).await?).await
    }
}

async fn checked(answer: Response) -> Result<Response, DeviceError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    Err(DeviceError::Refused(problem_of(answer).await))
}

/// The problem details of an answer, or as much of them as there is.
pub(crate) async fn problem_of(answer: Response) -> Problem {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Details {
        code: String,
        title: String,
        detail: String,
    }
    let status = answer.status();
    let details: Details = answer.json().await.unwrap_or_default();
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let reason = status.canonical_reason().unwrap_or("no reason given");
    Problem {
        status: status.as_u16(),
        code: or(details.code, "unknown"),
        detail: or(details.detail, &or(details.title, reason)),
    }
}
