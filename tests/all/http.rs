//! The edge's HTTP front, as clients of every kind meet it.

mod hostile;
mod hostile_http2;
mod lifetime;
mod proxies;
mod settings;
mod tls;
