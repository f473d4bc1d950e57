//! `spin:variables@3.0.0`: the component's variables, resolved when the manifest was read.

use super::SpinInterfaces;
use super::bindings::spin::variables::variables::{Error, Host, HostWithStore};
use crate::guest_state::GuestState;
use crate::template::is_variable_name;
use wasmtime::component::Accessor;

impl Host for &mut GuestState {}

impl<T: Send> HostWithStore<T> for SpinInterfaces {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<Result<String, Error>> {
        if !is_variable_name(&name) {
            return Ok(Err(Error::InvalidName(name)));
        }
        let value = accessor.with(|mut access| access.get().policy.variables.get(&name).cloned());
        Ok(value.ok_or(Error::Undefined(name)))
    }
}
