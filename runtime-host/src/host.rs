//! What the host offers to guests: WASI 0.2 and 0.3, `wasi:http`, and Spin's interfaces. One file for each of Spin's.

mod guest_log;
mod in_flight;
#[cfg(test)]
mod interfaces;
pub mod key_value;
mod key_value_v2;
mod metered;
mod offered;
pub mod outbound_http;
pub mod outbound_postgres;
pub mod outbound_redis;
pub mod postgres;
mod postgres_v2;
mod postgres_v3;
pub mod redis;
mod redis_v2;
pub mod sockets;
pub mod sqlite;
mod sqlite_v2;
mod traced_client;
mod variables;
pub mod wasi_keyvalue;

pub use guest_log::{GuestLog, LogBudget};
pub use in_flight::InFlight;
pub use offered::is_offered;

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
                import spin:postgres/postgres@3.0.0;
                import spin:postgres/postgres@4.2.0;
                import spin:redis/redis@3.0.0;
                import spin:sqlite/sqlite@3.1.0;
                import spin:variables/variables@3.0.0;
                import fermyon:spin/key-value@2.0.0;
                import fermyon:spin/postgres@2.0.0;
                import fermyon:spin/rdbms-types@2.0.0;
                import fermyon:spin/redis@2.0.0;
                import fermyon:spin/sqlite@2.0.0;
                import fermyon:spin/variables@2.0.0;
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
                import wasi:config/store@0.2.0-draft-2024-09-27;
                export rollcall:sync/engine@0.1.0;
            }
        ",
        world: "rollcall:host/guest",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "spin:key-value/key-value.store": crate::host::key_value::OpenStore,
            "spin:postgres/postgres.connection": crate::host::postgres::OpenConnection,
            "spin:postgres/postgres.connection-builder": crate::host::postgres::ConnectionBuilder,
            "spin:redis/redis.connection": crate::host::redis::OpenConnection,
            "spin:sqlite/sqlite.connection": crate::host::sqlite::OpenDatabase,
            "fermyon:spin/key-value.store": crate::host::key_value::OpenStore,
            "fermyon:spin/postgres.connection": crate::host::postgres::OpenConnection,
            "fermyon:spin/redis.connection": crate::host::redis::OpenConnection,
            "fermyon:spin/sqlite.connection": crate::host::sqlite::OpenDatabase,
            "wasi:keyvalue/store.bucket": crate::host::key_value::OpenStore,
            "wasi:keyvalue/atomics.cas": crate::host::wasi_keyvalue::CompareAndSwap,
        },
        require_store_data_send: true,
    });
}

/// Bindings of what a sync component may export besides. Apart from the others, which a component exports whole or not at all.
pub mod inspection_bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package rollcall:inspector;
            world inspector {
                export rollcall:sync/inspection@0.1.0;
            }
        ",
        world: "rollcall:inspector/inspector",
        exports: { default: async },
        additional_derives: [PartialEq, serde::Serialize],
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
    sockets::replace_in_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    traced_client::add_to_linker(&mut linker)?;
    add_spin_interfaces(&mut linker)?;
    Ok(linker)
}

fn add_spin_interfaces(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use bindings::{fermyon, spin, wasi};
    spin::key_value::key_value::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    spin::postgres3_0_0::postgres::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    spin::postgres4_2_0::postgres::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    spin::redis::redis::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    spin::sqlite::sqlite::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    spin::variables::variables::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    fermyon::spin::key_value::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    fermyon::spin::postgres::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    fermyon::spin::rdbms_types::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    fermyon::spin::redis::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    fermyon::spin::sqlite::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    fermyon::spin::variables::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    wasi::keyvalue::store::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    wasi::keyvalue::atomics::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    wasi::keyvalue::batch::add_to_linker::<_, SpinInterfaces>(linker, |state| state)?;
    wasi::config::store::add_to_linker::<_, SpinInterfaces>(linker, |state| state)
}
