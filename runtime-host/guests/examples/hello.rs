//! WASI 0.3: answers with a line of text, as an application made with Spin's SDK does.

use spin_sdk::http::Request;
use spin_sdk::http_service;

#[http_service]
async fn handle(_: Request) -> String {
    "Hello, world!".to_owned()
}
