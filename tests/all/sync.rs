//! Documents: what devices, edges and the origin do with them.

mod batch;
mod crash;
mod deletion;
mod javascript;
mod limits;
mod line;
mod origins;
mod privacy;
mod quarantine;
mod receipts;
mod reload;
mod remote_heads;
mod rights;
mod samod;
mod story;
mod succession;
mod typing;
mod versions;
