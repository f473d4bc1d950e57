//! Somebody with a browser: signs in, asks and posts over HTTP.

use crate::PASSWORD;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub async fn read(response: Response) -> Self {
        let text =
            |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Self {
            status: response.status().as_u16(),
            headers,
            body: response.bytes().await.expect("the answer's body arrives").to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON of an answer that must be a success.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// Checks that the answer is problem details (RFC 9457) and gives its code.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member} in {problem}");
        }
        problem["code"].as_str().unwrap_or_else(|| panic!("no code in {problem}")).to_owned()
    }

    /// Served by the edge's cache.
    pub fn is_hit(&self) -> bool {
        let status = self.header("cache-status").unwrap_or_default();
        status.split(';').any(|part| part.trim() == "hit")
    }
}

pub struct Person {
    http: Client,
    url: String,
    email: String,
    pub token: String,
    pub refresh_token: String,
}

impl Person {
    /// Somebody who has not signed in.
    pub fn stranger(url: &str) -> Self {
        Self {
            http: Client::new(),
            url: url.to_owned(),
            email: String::new(),
            token: String::new(),
            refresh_token: String::new(),
        }
    }

    pub async fn sign_in(url: &str, email: &str, device: &str) -> Self {
        let mut person = Self { email: email.to_owned(), ..Self::stranger(url) };
        let answer = person.log_in(PASSWORD, device).await;
        assert_eq!(answer.status, 200, "{email} signs in: {}", answer.text());
        let tokens = answer.json();
        let token =
            |name: &str| tokens[name].as_str().unwrap_or_else(|| panic!("{name} in {tokens}")).to_owned();
        person.token = token("access_token");
        person.refresh_token = token("refresh_token");
        person
    }

    /// The same person, asking somewhere else.
    pub fn at(&self, url: &str) -> Self {
        Self {
            http: self.http.clone(),
            url: url.to_owned(),
            email: self.email.clone(),
            token: self.token.clone(),
            refresh_token: self.refresh_token.clone(),
        }
    }

    /// The same person with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.at(&self.url) }
    }

    pub fn claims(&self) -> Value {
        let payload = self.token.split('.').nth(1).expect("a JWT has three parts");
        let bytes = base64_url(payload);
        serde_json::from_slice(&bytes).expect("a JWT's payload is JSON")
    }

    pub async fn log_in(&self, password: &str, device: &str) -> Answer {
        let body = json!({"email": self.email, "password": password, "device": device});
        let request = self.http.post(format!("{}/api/auth/login", self.url)).json(&body);
        Answer::read(request.send().await.expect("the edge answers")).await
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::read(request.send().await.expect("the edge answers")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn commands(&self, key: &str, command: &Value) -> Answer {
        let request = self.request(Method::POST, "/commands").header("idempotency-key", key).json(command);
        self.send(request).await
    }
}

/// RFC 4648, section 5, without padding.
fn base64_url(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes() {
        bits = (bits << 6) | u32::from(digit(byte));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).expect("eight bits are a byte"));
        }
    }
    bytes
}
