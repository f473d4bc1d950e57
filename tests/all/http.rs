//! The edge's HTTP front, as clients of every kind meet it.

mod answers;
mod hostile;
mod hostile_http2;
mod lifetime;
mod metrics;
mod proxies;
mod reload;
mod settings;
mod siblings;
mod tls;
mod trace;
