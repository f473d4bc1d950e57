//! What the host offers to guests: WASI 0.2 and 0.3, `wasi:http`, and Spin's interfaces. One file for each of Spin's.

mod guest_log;
pub mod key_value;
pub mod outbound_http;
pub mod sqlite;
mod variables;

pub use guest_log::GuestLog;

use crate::guest_state::GuestState;
use wasmtime::Engine;
use wasmtime::component::{HasData, Linker};

/// Bindings generated from `wit/`.
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package rollcall:host;
            world guest {
                import spin:key-value/key-value@3.0.0;
                import spin:sqlite/sqlite@3.1.0;
                import spin:variables/variables@3.0.0;
                export rollcall:sync/engine@0.1.0;
            }
        ",
        world: "rollcall:host/guest",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "spin:key-value/key-value.store": crate::host::key_value::OpenStore,
            "spin:sqlite/sqlite.connection": crate::host::sqlite::OpenDatabase,
        },
        require_store_data_send: true,
    });
}

/// Lends the interfaces of Spin the whole state.
pub struct SpinInterfaces;

impl HasData for SpinInterfaces {
    type Data<'a> = &'a mut GuestState;
}

/// A linker with everything that is offered.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    bindings::spin::key_value::key_value::add_to_linker::<_, SpinInterfaces>(&mut linker, |state| state)?;
    bindings::spin::sqlite::sqlite::add_to_linker::<_, SpinInterfaces>(&mut linker, |state| state)?;
    bindings::spin::variables::variables::add_to_linker::<_, SpinInterfaces>(&mut linker, |state| state)?;
    Ok(linker)
}
