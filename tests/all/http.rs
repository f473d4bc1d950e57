//! The edge's HTTP front, as clients of every kind meet it.

mod hostile;
mod hostile_http2;
mod lifetime;
mod metrics;
mod proxies;
mod reload;
mod settings;
mod tls;
mod trace;
