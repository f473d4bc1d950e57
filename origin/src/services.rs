//! What the origin does: access, the order of steps, transactions. No HTTP type and no SQL.

pub(crate) mod admin;
pub(crate) mod auth;
pub(crate) mod cache;
pub(crate) mod commands;
pub(crate) mod documents;
pub(crate) mod events;
pub(crate) mod fees;
pub(crate) mod import;
pub(crate) mod link;
pub(crate) mod local_time;
pub(crate) mod mail;
pub(crate) mod notifications;
pub(crate) mod passwords;
pub(crate) mod queue;
pub(crate) mod rate_limit;
pub(crate) mod readiness;
pub(crate) mod records;
pub(crate) mod retention;
pub(crate) mod seed;
pub(crate) mod views;
pub(crate) mod webhooks;
