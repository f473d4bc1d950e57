//! `spin:variables@3.0.0`, `fermyon:spin/variables@2.0.0` and `wasi:config@0.2.0-draft-2024-09-27`: the component's variables,
//! resolved when the manifest was read.

use super::SpinInterfaces;
use super::bindings::fermyon::spin::variables as v2;
use super::bindings::spin::variables::variables as v3;
use super::bindings::wasi::config::store as wasi_config;
use crate::guest_state::GuestState;
use crate::template::is_variable_name;
use wasmtime::component::Accessor;

impl v3::Host for &mut GuestState {}

impl<T: Send> v3::HostWithStore<T> for SpinInterfaces {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<Result<String, v3::Error>> {
        if !is_variable_name(&name) {
            return Ok(Err(v3::Error::InvalidName(name)));
        }
        let value = accessor.with(|mut access| access.get().policy.variables.get(&name).cloned());
        Ok(value.ok_or(v3::Error::Undefined(name)))
    }
}

impl v2::Host for &mut GuestState {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, v2::Error>> {
        if !is_variable_name(&name) {
            return Ok(Err(v2::Error::InvalidName(name)));
        }
        Ok(self.policy.variables.get(&name).cloned().ok_or(v2::Error::Undefined(name)))
    }
}

/// A name that no variable can have is just one that is not there.
impl wasi_config::Host for &mut GuestState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, wasi_config::Error>> {
        Ok(Ok(self.policy.variables.get(&key).cloned()))
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, wasi_config::Error>> {
        Ok(Ok(self.policy.variables.clone().into_iter().collect()))
    }
}
