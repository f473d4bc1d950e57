//! `spin:key-value@3.0.0`: stores shared by all components whose manifest names their label, as in Spin.

use super::SpinInterfaces;
use super::bindings::spin::key_value::key_value::{Error, Host, HostStore, HostStoreWithStore};
use super::in_flight::HeldItems;
use crate::guest_state::GuestState;
use crate::key_value::{Backend, KeyValueError};
use crate::limits;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// A store that a guest has open.
pub type OpenStore = Backend;

/// Why a store is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreDenied {
    #[error("the manifest does not name this store")]
    NotListed,
    #[error("{} stores are open, which is the limit", limits::KEY_VALUE_STORES_PER_GUEST)]
    TooMany,
}

impl GuestState {
    pub(super) fn open_store(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, StoreDenied>> {
        if !self.policy.key_value_stores.contains(&label) {
            return Ok(Err(StoreDenied::NotListed));
        }
        if self.open_stores >= limits::KEY_VALUE_STORES_PER_GUEST {
            return Ok(Err(StoreDenied::TooMany));
        }
        let store = self.table.push(self.policy.key_value.of(&label))?;
        self.open_stores += 1;
        Ok(Ok(store))
    }

    pub(super) fn close_store(&mut self, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        self.open_stores -= 1;
        Ok(())
    }
}

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

fn opened<T: Send>(
    accessor: &Accessor<T, SpinInterfaces>,
    this: &Resource<OpenStore>,
) -> wasmtime::Result<OpenStore> {
    accessor.with(|mut access| Ok(access.get().table.get(this)?.clone()))
}

impl Host for &mut GuestState {}

impl HostStore for &mut GuestState {
    async fn drop(&mut self, this: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.close_store(this)
    }
}

impl<T: Send> HostStoreWithStore<T> for SpinInterfaces {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, Error>> {
        Ok(accessor.with(|mut access| access.get().open_store(label))?.map_err(Error::from))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(opened(accessor, &this)?.get(&key).await.map_err(Error::from))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let bytes = key.len() + value.len();
        let _held = match accessor.with(|mut access| access.get().in_flight.hold(bytes)) {
            Ok(held) => held,
            Err(error) => return Ok(Err(Error::Other(error.to_string()))),
        };
        Ok(opened(accessor, &this)?.set(key, value).await.map_err(Error::from))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(opened(accessor, &this)?.delete(key).await.map_err(Error::from))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        Ok(opened(accessor, &this)?.exists(&key).await.map_err(Error::from))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), Error>>)> {
        let (in_flight, store) =
            (accessor.with(|mut access| access.get().in_flight.clone()), opened(accessor, &this)?);
        let (keys, end) = match store.keys().await? {
            Ok(keys) => (keys, Ok(())),
            Err(error) => (Vec::new(), Err(Error::from(error))),
        };
        let bytes = keys.iter().map(|key| key.len() + size_of::<String>()).sum();
        let (keys, end) = match in_flight.hold(bytes) {
            Ok(held) => (Some(HeldItems::new(keys, held)), end),
            Err(error) => (None, Err(Error::Other(error.to_string()))),
        };
        accessor.with(|mut access| {
            let keys = match keys {
                Some(keys) => StreamReader::new(&mut access, keys)?,
                None => StreamReader::new(&mut access, Vec::new())?,
            };
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(end) })?;
            Ok((keys, end))
        })
    }
}
