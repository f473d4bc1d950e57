//! The origin, asked directly: the proof that what the edge shows has really arrived.

use anyhow::Context as _;
use serde_json::{Value, json};

pub(crate) struct Origin {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Origin {
    pub(crate) async fn sign_in(url: &str, email: &str, password: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build()?;
        let url = url.trim_end_matches('/').to_owned();
        let answer = http
            .post(format!("{url}/api/auth/login"))
            .json(&json!({"email": email, "password": password, "device": "story"}))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .context("signing in at the origin")?;
        let answer: Value = answer.json().await?;
        let token = answer["access_token"].as_str().context("the origin gave no access token")?.to_owned();
        Ok(Self { http, url, token })
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        Ok(answer.with_context(|| format!("reading {path} at the origin"))?.json().await?)
    }
}
