//! HTTP to the operators' address of an edge that runs.

use crate::limits;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use sync_protocol::document_id::DocumentId;
use tokio::net::TcpStream;

/// Longest answer: a page of documents is some hundred kilobytes.
const MAX_ANSWER_BYTES: usize = 16 * limits::MIB;

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(
        "no operators' address is configured: name that of the running edge as `admin` in rollcall-edge.toml, \
         as ROLLCALL_EDGE_ADMIN or with --admin"
    )]
    NoAddress,
    #[error(
        "`admin` is {0}, whose port 0 is none that could be asked: name the port that the running edge took"
    )]
    NoPort(SocketAddr),
    #[error("no edge answers at {address}, where `admin` says that operators are served: {source}")]
    NoEdge { address: SocketAddr, source: io::Error },
    #[error("what answers at {address} is no edge of this version: {cause}")]
    NotAnEdge { address: SocketAddr, cause: String },
    #[error("the edge gave no answer within {:?}", limits::QUESTION_TIMEOUT)]
    TimedOut,
    #[error("{detail}")]
    Refused { code: String, detail: String },
    #[error("`{0}` is no document id: 16 bytes in bs58check, as automerge-repo writes them")]
    NoDocumentId(String),
    #[error("the edge holds no document {0} of these institutes")]
    NoDocument(DocumentId),
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

pub(super) struct OperatorClient {
    address: SocketAddr,
}

impl OperatorClient {
    /// `admin` is the address at which the edge serves operators, by the settings that it shares with this command.
    pub(super) fn new(admin: Option<SocketAddr>) -> Result<Self, OperatorError> {
        let mut address = admin.ok_or(OperatorError::NoAddress)?;
        if address.port() == 0 {
            return Err(OperatorError::NoPort(address));
        }
        // An edge that listens on all addresses is found on this machine's own.
        match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        Ok(Self { address })
    }

    /// The institutes that are active at the edge.
    pub(super) async fn institutes(&self) -> Result<Vec<String>, OperatorError> {
        let page = self.get("/sync/institutes").await?;
        let items = page["items"].as_array().into_iter().flatten();
        Ok(items.filter_map(|item| item["institute"].as_str()).map(str::to_owned).collect())
    }

    /// The JSON of a successful answer.
    pub(super) async fn get(&self, path: &str) -> Result<Value, OperatorError> {
        let answer = tokio::time::timeout(limits::QUESTION_TIMEOUT, self.fetch(path));
        let (status, body) = answer.await.map_err(|_| OperatorError::TimedOut)??;
        let answer = serde_json::from_slice::<Value>(&body).map_err(|error| self.not_an_edge(error))?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        match (answer["code"].as_str(), answer["detail"].as_str()) {
            (Some(code), Some(detail)) => {
                Err(OperatorError::Refused { code: code.to_owned(), detail: detail.to_owned() })
            }
            _ => Err(self.not_an_edge(format!("it answers {status}"))),
        }
    }

    async fn fetch(&self, path: &str) -> Result<(StatusCode, Bytes), OperatorError> {
        let address = self.address;
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|source| OperatorError::NoEdge { address, source })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.not_an_edge(error))?;
        tokio::spawn(connection);
        let host = HeaderValue::try_from(address.to_string()).expect("an address is ASCII");
        let request = Request::get(path)
            .header(header::HOST, host)
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.not_an_edge(error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.not_an_edge(error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        Ok((head.status, body.map_err(|error| self.not_an_edge(error))?.to_bytes()))
    }

    fn not_an_edge(&self, cause: impl ToString) -> OperatorError {
        OperatorError::NotAnEdge { address: self.address, cause: cause.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers the first request with these bytes.
    async fn server(answer: &'static str) -> OperatorClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        OperatorClient::new(Some(address)).unwrap()
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_address_is_said_plainly() {
        let message = |admin: Option<&str>| {
            let admin = admin.map(|admin| admin.parse().unwrap());
            OperatorClient::new(admin).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(message(None).contains("no operators' address is configured"), "{}", message(None));
        assert!(message(Some("127.0.0.1:0")).contains("port 0"));
        assert_eq!(message(Some("0.0.0.0:9100")), "");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = OperatorClient::new(Some(free)).unwrap().get("/sync/institutes").await.unwrap_err();
        assert!(matches!(error, OperatorError::NoEdge { .. }), "{error}");
        assert!(error.to_string().contains(&free.to_string()), "{error}");
    }

    #[tokio::test]
    async fn an_answer_is_read_a_problem_told_and_anything_else_is_no_edge() {
        let edge = server("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"items\":[1]}").await;
        assert_eq!(edge.get("/").await.unwrap()["items"][0], 1);
        let edge = server(
            "HTTP/1.1 404 Not Found\r\ncontent-length: 43\r\n\r\n{\"code\":\"document-unknown\",\"detail\":\"none\"} ",
        )
        .await;
        let error = edge.get("/").await.unwrap_err();
        assert!(
            matches!(&error, OperatorError::Refused { code, .. } if code == "document-unknown"),
            "{error}"
        );
        assert_eq!(error.to_string(), "none");
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            let error = server(other).await.get("/").await.unwrap_err();
            assert!(matches!(error, OperatorError::NotAnEdge { .. }), "{other:?}: {error}");
        }
    }
}
