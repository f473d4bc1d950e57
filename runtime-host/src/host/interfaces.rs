//! What guests import: that each interface offered can be linked, and that calls arrive where they should.

use super::bindings::fermyon::spin as v2;
use super::bindings::wasi::config::store as wasi_config;
use super::bindings::wasi::keyvalue::{atomics, batch, store as wasi_store};
use crate::guest::Guest;
use crate::guest_state::GuestState;
use crate::limits;
use crate::test_host::TestHost;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::Resource;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// A component that imports `interface`, out of `wit/`, and never calls it.
fn importing(interface: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_path("../wit").unwrap();
    let text = format!("package test:importing; world importing {{ import {interface}; }}");
    let package = resolve.push_str("importing.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("importing")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

#[test]
fn each_interface_of_the_wit_folder_is_offered() {
    let host = TestHost::new();
    for interface in [
        "spin:key-value/key-value@3.0.0",
        "spin:postgres/postgres@3.0.0",
        "spin:postgres/postgres@4.2.0",
        "spin:redis/redis@3.0.0",
        "spin:sqlite/sqlite@3.1.0",
        "spin:variables/variables@3.0.0",
        "fermyon:spin/key-value@2.0.0",
        "fermyon:spin/postgres@2.0.0",
        "fermyon:spin/redis@2.0.0",
        "fermyon:spin/sqlite@2.0.0",
        "fermyon:spin/variables@2.0.0",
        "wasi:keyvalue/store@0.2.0-draft2",
        "wasi:keyvalue/atomics@0.2.0-draft2",
        "wasi:keyvalue/batch@0.2.0-draft2",
        "wasi:config/store@0.2.0-draft-2024-09-27",
    ] {
        let loaded = host.load(Some(&importing(interface)), "");
        assert!(loaded.is_ok(), "{interface}: {}", loaded.err().unwrap());
    }
}

const SETTINGS: &str = "key_value_stores = [\"default\", \"other\"]\nsqlite_databases = [\"default\"]\nvariables = { greeting = \"hello\", name = \"world\" }";

fn loaded(host: &TestHost, settings: &str) -> Arc<Guest> {
    host.load(Some(&wat::parse_str("(component)").unwrap()), settings).unwrap()
}

fn instance(guest: &Guest) -> Store<GuestState> {
    guest.store(None, &guest.clock(limits::DEFAULT_CPU)).unwrap()
}

fn lent<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

#[tokio::test]
async fn the_key_value_interfaces_see_one_store_and_only_those_of_the_manifest() {
    use atomics::{Host as _, HostCas as _};
    use batch::Host as _;
    use v2::key_value::HostStore as _;
    use wasi_store::HostBucket as _;
    let host = TestHost::new();
    let guest = loaded(&host, SETTINGS);
    let mut store = instance(&guest);
    let mut state = store.data_mut();

    let denied = v2::key_value::HostStore::open(&mut state, "third".into()).await.unwrap().unwrap_err();
    assert!(matches!(denied, v2::key_value::Error::AccessDenied));
    let denied = wasi_store::Host::open(&mut state, "third".into()).await.unwrap().unwrap_err();
    assert!(matches!(denied, wasi_store::Error::AccessDenied));

    let old = v2::key_value::HostStore::open(&mut state, "default".into()).await.unwrap().unwrap();
    let new = wasi_store::Host::open(&mut state, "default".into()).await.unwrap().unwrap();
    v2::key_value::HostStore::set(&mut state, lent(&old), "a".into(), b"1".to_vec()).await.unwrap().unwrap();
    let value = wasi_store::HostBucket::get(&mut state, lent(&new), "a".into()).await.unwrap().unwrap();
    assert_eq!(value, Some(b"1".to_vec()));
    assert_eq!(state.increment(lent(&new), "a".into(), 41).await.unwrap().unwrap(), 42);
    let pairs = vec![("b".into(), b"x".to_vec()), ("c".into(), b"y".to_vec())];
    state.set_many(lent(&new), pairs).await.unwrap().unwrap();
    assert_eq!(state.get_keys(lent(&old)).await.unwrap().unwrap(), ["a", "b", "c"]);
    state.delete_many(lent(&new), vec!["b".into(), "c".into()]).await.unwrap().unwrap();
    let found = state.get_many(lent(&new), vec!["a".into(), "b".into()]).await.unwrap().unwrap();
    assert_eq!(found, vec![("a".into(), Some(b"42".to_vec())), ("b".into(), None)]);

    let cas = atomics::HostCas::new(&mut state, lent(&new), "a".into()).await.unwrap().unwrap();
    assert_eq!(state.current(lent(&cas)).await.unwrap().unwrap(), Some(b"42".to_vec()));
    v2::key_value::HostStore::set(&mut state, lent(&old), "a".into(), b"9".to_vec()).await.unwrap().unwrap();
    let failed = state.swap(cas, b"43".to_vec()).await.unwrap().unwrap_err();
    let atomics::CasError::CasFailed(again) = failed else { panic!("{failed:?}") };
    state.swap(again, b"10".to_vec()).await.unwrap().unwrap();
    let keys = state.list_keys(lent(&new), None).await.unwrap().unwrap();
    assert_eq!((keys.keys, keys.cursor), (vec!["a".to_owned()], None));
    assert!(state.list_keys(lent(&new), Some("a".into())).await.unwrap().is_err());
    let value = v2::key_value::HostStore::get(&mut state, lent(&old), "a".into()).await.unwrap().unwrap();
    assert_eq!(value, Some(b"10".to_vec()));
}

#[tokio::test]
async fn a_guest_has_so_many_stores_open_and_gets_a_place_back_for_each_that_it_closes() {
    use v2::key_value::{Error, HostStore};
    let host = TestHost::new();
    let guest = loaded(&host, SETTINGS);
    let mut store = instance(&guest);
    let mut state = store.data_mut();
    let mut open = Vec::new();
    for _ in 0..limits::KEY_VALUE_STORES_PER_GUEST {
        open.push(HostStore::open(&mut state, "default".into()).await.unwrap().unwrap());
    }
    let error = HostStore::open(&mut state, "default".into()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::StoreTableFull));
    HostStore::drop(&mut state, open.pop().unwrap()).await.unwrap();
    HostStore::open(&mut state, "default".into()).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_older_sqlite_interface_opens_the_same_database() {
    use v2::sqlite::{Error, HostConnection, Value};
    let host = TestHost::new();
    let guest = loaded(&host, SETTINGS);
    let mut store = instance(&guest);
    let mut state = store.data_mut();
    let open = HostConnection::open(&mut state, "default".into()).await.unwrap().unwrap();
    let mut run = async |statement: &str, parameters: Vec<Value>| {
        HostConnection::execute(&mut state, lent(&open), statement.into(), parameters).await.unwrap()
    };
    run("CREATE TABLE t (a, b)", vec![]).await.unwrap();
    let row = vec![Value::Integer(7), Value::Text("é".into())];
    run("INSERT INTO t VALUES (?1, ?2)", row).await.unwrap();
    let result = run("SELECT a, b FROM t", vec![]).await.unwrap();
    assert_eq!(result.columns, ["a", "b"]);
    assert!(matches!(&result.rows[0].values[..], [Value::Integer(7), Value::Text(text)] if text == "é"));
    assert!(matches!(run("SELECT nothing", vec![]).await.unwrap_err(), Error::Io(_)));
    let mut state = store.data_mut();
    let error = HostConnection::open(&mut state, "other".into()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::AccessDenied));
    let without = loaded(&host, "");
    let mut store = instance(&without);
    let mut state = store.data_mut();
    let error = HostConnection::open(&mut state, "default".into()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::AccessDenied));
}

#[tokio::test]
async fn databases_and_stores_are_where_the_runtime_configuration_puts_them() {
    use v2::sqlite::{HostConnection, Value};
    let host = TestHost::with_runtime_config(
        "[sqlite_database.shared]\ntype = \"spin\"\npath = \"shared.db\"\n[sqlite_database.short]\ntype = \"spin\"\n\
         [key_value_store.default]\ntype = \"memory\"\n",
    );
    let settings =
        "sqlite_databases = [\"default\", \"shared\", \"short\"]\nkey_value_stores = [\"default\"]";
    let guest = loaded(&host, settings);
    let mut store = instance(&guest);
    let mut state = store.data_mut();
    for name in ["default", "shared", "short"] {
        let open = HostConnection::open(&mut state, name.into()).await.unwrap().unwrap();
        let statement = "CREATE TABLE only_here (a)".to_owned();
        HostConnection::execute(&mut state, lent(&open), statement, vec![Value::Null; 0])
            .await
            .unwrap()
            .unwrap();
    }
    let data = host.folder.path().join("data");
    assert!(data.join("sqlite.db").exists());
    assert!(data.join("shared.db").exists());
    let kept = v2::key_value::HostStore::open(&mut state, "default".into()).await.unwrap().unwrap();
    v2::key_value::HostStore::set(&mut state, lent(&kept), "a".into(), b"1".to_vec()).await.unwrap().unwrap();
    let other = loaded(&host, settings);
    let mut store = instance(&other);
    let mut state = store.data_mut();
    let kept = v2::key_value::HostStore::open(&mut state, "default".into()).await.unwrap().unwrap();
    let value = v2::key_value::HostStore::get(&mut state, lent(&kept), "a".into()).await.unwrap().unwrap();
    assert_eq!(value, Some(b"1".to_vec()), "components share a store");
    let open = HostConnection::open(&mut state, "shared".into()).await.unwrap().unwrap();
    let statement = "SELECT count(*) FROM only_here".to_owned();
    HostConnection::execute(&mut state, lent(&open), statement, vec![]).await.unwrap().unwrap();
    let component = wat::parse_str("(component)").unwrap();
    let error = host.load(Some(&component), "sqlite_databases = [\"nowhere\"]").err().unwrap();
    assert!(error.to_string().contains("[sqlite_database.nowhere]"), "{error}");
    let settings = "sqlite_databases = [\"default\"]\ntool.rollcall.sqlite = \"per-institute\"";
    let host = TestHost::with_runtime_config("[sqlite_database.default]\ntype = \"spin\"\n");
    let error = host.load(Some(&component), settings).err().unwrap();
    assert!(error.to_string().contains("cannot place it"), "{error}");
}

#[tokio::test]
async fn variables_are_told_under_each_interface_with_its_own_idea_of_what_is_missing() {
    let host = TestHost::new();
    let guest = loaded(&host, SETTINGS);
    let mut store = instance(&guest);
    let mut state = store.data_mut();
    let get = async |state: &mut &mut GuestState, name: &str| {
        v2::variables::Host::get(state, name.into()).await.unwrap()
    };
    assert_eq!(get(&mut state, "greeting").await.unwrap(), "hello");
    let missing = get(&mut state, "nothing").await.unwrap_err();
    assert!(matches!(missing, v2::variables::Error::Undefined(_)));
    let bad = get(&mut state, "No-Name").await.unwrap_err();
    assert!(matches!(bad, v2::variables::Error::InvalidName(_)));
    let value = wasi_config::Host::get(&mut state, "greeting".into()).await.unwrap().unwrap();
    assert_eq!(value.as_deref(), Some("hello"));
    assert_eq!(wasi_config::Host::get(&mut state, "No-Name".into()).await.unwrap().unwrap(), None);
    let all = wasi_config::Host::get_all(&mut state).await.unwrap().unwrap();
    assert_eq!(all, [("greeting".to_owned(), "hello".to_owned()), ("name".to_owned(), "world".to_owned())]);
}
