//! `wasi:keyvalue@0.2.0-draft2`: the same stores again, with batches and atomic changes.

use super::bindings::wasi::keyvalue::{atomics, batch, store};
use super::key_value::{OpenStore, StoreDenied};
use crate::guest_state::GuestState;
use crate::key_value::KeyValueError;
use atomics::CasError;
use store::{Error, KeyResponse};
use wasmtime::component::Resource;

/// A value that a guest means to replace, if it is still what the guest saw.
pub struct CompareAndSwap {
    store: OpenStore,
    key: String,
    seen: Option<Vec<u8>>,
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
            StoreDenied::TooMany => Error::Other(denied.to_string()),
        }
    }
}

type Outcome<T> = wasmtime::Result<Result<T, Error>>;

impl store::Host for &mut GuestState {
    async fn open(&mut self, identifier: String) -> Outcome<Resource<OpenStore>> {
        Ok(self.open_store(identifier)?.map_err(Error::from))
    }
}

impl store::HostBucket for &mut GuestState {
    async fn get(&mut self, this: Resource<OpenStore>, key: String) -> Outcome<Option<Vec<u8>>> {
        Ok(self.table.get(&this)?.get(&key).await.map_err(Error::from))
    }

    async fn set(&mut self, this: Resource<OpenStore>, key: String, value: Vec<u8>) -> Outcome<()> {
        Ok(self.table.get(&this)?.set(key, value).await.map_err(Error::from))
    }

    async fn delete(&mut self, this: Resource<OpenStore>, key: String) -> Outcome<()> {
        Ok(self.table.get(&this)?.delete(key).await.map_err(Error::from))
    }

    async fn exists(&mut self, this: Resource<OpenStore>, key: String) -> Outcome<bool> {
        Ok(self.table.get(&this)?.exists(&key).await.map_err(Error::from))
    }

    /// All keys at once, as in Spin: there is no cursor to come back with.
    async fn list_keys(&mut self, this: Resource<OpenStore>, cursor: Option<String>) -> Outcome<KeyResponse> {
        if cursor.is_some() {
            return Ok(Err(Error::Other("list-keys: cursors are not supported".to_owned())));
        }
        let keys = self.table.get(&this)?.clone().keys().await?;
        Ok(keys.map(|keys| KeyResponse { keys, cursor: None }).map_err(Error::from))
    }

    async fn drop(&mut self, this: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.close_store(this)
    }
}

impl batch::Host for &mut GuestState {
    async fn get_many(
        &mut self,
        bucket: Resource<OpenStore>,
        keys: Vec<String>,
    ) -> Outcome<Vec<(String, Option<Vec<u8>>)>> {
        let store = self.table.get(&bucket)?.clone();
        Ok(store.get_many(keys).await?.map_err(Error::from))
    }

    async fn set_many(&mut self, bucket: Resource<OpenStore>, pairs: Vec<(String, Vec<u8>)>) -> Outcome<()> {
        Ok(self.table.get(&bucket)?.set_many(pairs).await.map_err(Error::from))
    }

    async fn delete_many(&mut self, bucket: Resource<OpenStore>, keys: Vec<String>) -> Outcome<()> {
        Ok(self.table.get(&bucket)?.delete_many(keys).await.map_err(Error::from))
    }
}

impl atomics::HostCas for &mut GuestState {
    async fn new(&mut self, bucket: Resource<OpenStore>, key: String) -> Outcome<Resource<CompareAndSwap>> {
        let store = self.table.get(&bucket)?.clone();
        Ok(match store.get(&key).await {
            Ok(seen) => Ok(self.table.push(CompareAndSwap { store, key, seen })?),
            Err(error) => Err(error.into()),
        })
    }

    /// Reads the value anew; a later swap compares with what this returns.
    async fn current(&mut self, this: Resource<CompareAndSwap>) -> Outcome<Option<Vec<u8>>> {
        let cas = self.table.get_mut(&this)?;
        Ok(match cas.store.get(&cas.key).await {
            Ok(value) => {
                cas.seen.clone_from(&value);
                Ok(value)
            }
            Err(error) => Err(error.into()),
        })
    }

    async fn drop(&mut self, this: Resource<CompareAndSwap>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl atomics::Host for &mut GuestState {
    async fn increment(&mut self, bucket: Resource<OpenStore>, key: String, delta: i64) -> Outcome<i64> {
        Ok(self.table.get(&bucket)?.increment(key, delta).await.map_err(Error::from))
    }

    async fn swap(
        &mut self,
        this: Resource<CompareAndSwap>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), CasError>> {
        let CompareAndSwap { store, key, seen } = self.table.delete(this)?;
        match store.swap(key.clone(), seen, value).await {
            Ok(None) => Ok(Ok(())),
            Ok(Some(found)) => {
                let again = self.table.push(CompareAndSwap { store, key, seen: found })?;
                Ok(Err(CasError::CasFailed(again)))
            }
            Err(error) => Ok(Err(CasError::StoreError(error.into()))),
        }
    }
}
