//! `fermyon:spin/key-value@2.0.0`: the same stores for components of the time before asynchronous imports.

use super::bindings::fermyon::spin::key_value::{Error, Host, HostStore};
use super::key_value::{OpenStore, StoreDenied};
use crate::guest_state::GuestState;
use crate::key_value::KeyValueError;
use wasmtime::component::Resource;

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        Error::Other(error.to_string())
    }
}

impl From<StoreDenied> for Error {
    fn from(denied: StoreDenied) -> Self {
        match denied {
            StoreDenied::NotListed => Error::AccessDenied,
            StoreDenied::TooMany => Error::StoreTableFull,
        }
    }
}

impl Host for &mut GuestState {}

impl HostStore for &mut GuestState {
    async fn open(&mut self, label: String) -> wasmtime::Result<Result<Resource<OpenStore>, Error>> {
        Ok(self.open_store(label)?.map_err(Error::from))
    }

    async fn get(
        &mut self,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.table.get(&this)?.get(&key).await.map_err(Error::from))
    }

    async fn set(
        &mut self,
        this: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.table.get(&this)?.set(key, value).await.map_err(Error::from))
    }

    async fn delete(
        &mut self,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.table.get(&this)?.delete(key).await.map_err(Error::from))
    }

    async fn exists(
        &mut self,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        Ok(self.table.get(&this)?.exists(&key).await.map_err(Error::from))
    }

    async fn get_keys(&mut self, this: Resource<OpenStore>) -> wasmtime::Result<Result<Vec<String>, Error>> {
        Ok(self.table.get(&this)?.clone().keys().await?.map_err(Error::from))
    }

    async fn drop(&mut self, this: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.close_store(this)
    }
}
