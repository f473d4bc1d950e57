//! `wasi:http/client@0.3.0` as `wasmtime-wasi-http` has it, told beforehand for which of the guest's requests it is called: an
//! instance answers several at once.

use crate::guest_state::GuestState;
use wasmtime::AsContextMut as _;
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p3::bindings::http::client::{self, HostWithStore};
use wasmtime_wasi_http::p3::bindings::http::types::{self, ErrorCode, Request, Response};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView, WasiHttpView as _};

struct TracedClient;

impl HasData for TracedClient {
    type Data<'a> = WasiHttpCtxView<'a>;
}

fn http(state: &mut GuestState) -> WasiHttpCtxView<'_> {
    state.http()
}

impl HostWithStore<GuestState> for TracedClient {
    async fn send(
        accessor: &Accessor<GuestState, Self>,
        request: Resource<Request>,
    ) -> Result<Resource<Response>, TrappableError<ErrorCode>> {
        accessor
            .with(|mut access| {
                // The last is the call of the guest's export.
                let task = access.as_context_mut().async_call_stack()?.last();
                access.data_mut().choose_context(task);
                wasmtime::error::Ok(())
            })
            .map_err(TrappableError::trap)?;
        // Sends before it awaits anything, so that no other call of the instance comes between.
        let accessor = accessor.with_getter::<WasiHttp>(http);
        <WasiHttp as HostWithStore<GuestState>>::send(&accessor, request).await
    }
}

/// The interfaces of `wasi:http@0.3.0`.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    client::add_to_linker::<_, TracedClient>(linker, http)?;
    types::add_to_linker::<_, WasiHttp>(linker, http)
}
