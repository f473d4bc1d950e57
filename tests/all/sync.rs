//! Documents: what devices, edges and the origin do with them.

mod batch;
mod crash;
mod javascript;
mod line;
mod origins;
mod privacy;
mod reload;
mod rights;
mod samod;
mod story;
mod typing;
