//! `spin:key-value@3.0.0`: stores shared by all components whose manifest names their label, as in Spin.

use super::SpinInterfaces;
use super::bindings::spin::key_value::key_value::{Error, Host, HostStore, HostStoreWithStore};
use crate::guest_state::GuestState;
use crate::key_value::{KeyValueError, KeyValueStore};
use std::sync::Arc;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// A store that a guest has open.
#[derive(Clone)]
pub struct OpenStore {
    label: Arc<str>,
    stores: KeyValueStore,
}

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        Error::Other(error.to_string())
    }
}

fn opened<T: Send>(
    accessor: &Accessor<T, SpinInterfaces>,
    this: &Resource<OpenStore>,
) -> wasmtime::Result<OpenStore> {
    accessor.with(|mut access| Ok(access.get().table.get(this)?.clone()))
}

impl Host for &mut GuestState {}

impl HostStore for &mut GuestState {
    async fn drop(&mut self, this: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl<T: Send> HostStoreWithStore<T> for SpinInterfaces {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, Error>> {
        accessor.with(|mut access| {
            let state = access.get();
            if !state.policy.key_value_stores.contains(&label) {
                return Ok(Err(Error::AccessDenied));
            }
            let store = OpenStore { label: label.into(), stores: state.policy.key_value.clone() };
            Ok(Ok(state.table.push(store)?))
        })
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let store = opened(accessor, &this)?;
        Ok(store.stores.get(&store.label, &key).map_err(Error::from))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let store = opened(accessor, &this)?;
        Ok(store.stores.set(&store.label, key, value).await.map_err(Error::from))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        let store = opened(accessor, &this)?;
        Ok(store.stores.delete(&store.label, key).await.map_err(Error::from))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        let store = opened(accessor, &this)?;
        Ok(store.stores.get(&store.label, &key).map(|value| value.is_some()).map_err(Error::from))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), Error>>)> {
        let store = opened(accessor, &this)?;
        let read = move || store.stores.keys(&store.label);
        let (keys, end) = match tokio::task::spawn_blocking(read).await? {
            Ok(keys) => (keys, Ok(())),
            Err(error) => (Vec::new(), Err(Error::from(error))),
        };
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, keys)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(end) })?;
            Ok((keys, end))
        })
    }
}
