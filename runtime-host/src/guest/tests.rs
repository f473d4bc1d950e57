//! Guests that trap, loop, grow and import what there is not.

use super::*;
use crate::problem::whole_body;
use crate::test_host::{TestHost, handler};

fn request() -> Request<WasiBody> {
    Request::builder().uri("http://localhost/").body(whole_body("")).unwrap()
}

async fn failure(host: &TestHost, body: &str, settings: &str) -> GuestFailure {
    let guest = host.load(Some(&handler(body)), settings).unwrap();
    guest.require_handler().unwrap();
    guest.handle(request(), None, ()).await.unwrap_err()
}

#[tokio::test]
async fn a_trap_ends_its_own_request_and_the_next_one_has_a_fresh_instance() {
    let host = TestHost::new();
    // Traps unless this instance was never used before, which it tells by its memory.
    let body = "(if (i32.load (i32.const 0)) (then (loop $l (br $l)))) (i32.store (i32.const 0) (i32.const 1)) unreachable";
    let guest = host.load(Some(&handler(body)), "tool.rollcall.cpu_ms = 200").unwrap();
    for _ in 0..3 {
        assert_eq!(guest.handle(request(), None, ()).await.unwrap_err(), GuestFailure::Failed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_loop_is_stopped_when_its_processor_time_is_used_up_and_others_run_meanwhile() {
    let host = TestHost::new();
    let guest = host.load(Some(&handler("(loop $l (br $l))")), "tool.rollcall.cpu_ms = 300").unwrap();
    let looping = guest.handle(request(), None, ());
    // On the same thread: it runs only because the guest is made to yield.
    let other = tokio::spawn(async { Instant::now() });
    let started = Instant::now();
    let (outcome, other) = tokio::join!(looping, other);
    assert_eq!(outcome.unwrap_err(), GuestFailure::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(other.unwrap() - started < Duration::from_millis(250));
}

#[tokio::test]
async fn a_busy_guest_leaves_its_request_thread_to_the_others() {
    const LOOK: Duration = Duration::from_millis(200);
    let host = TestHost::new();
    let guest = host.load(Some(&handler("(loop $l (br $l))")), "tool.rollcall.cpu_ms = 20000").unwrap();
    let (sender, turns) = tokio::sync::oneshot::channel();
    host.threads().spawn(async move {
        let looping = guest.handle(request(), None, ());
        let others = async {
            // Until it has held its thread for too long, and some more.
            tokio::time::sleep(limits::EPOCH_PERIOD * 20).await;
            let (started, mut turns) = (Instant::now(), 0_u64);
            while started.elapsed() < LOOK {
                tokio::task::yield_now().await;
                turns += 1;
            }
            turns
        };
        tokio::select! {
            _ = looping => panic!("the guest loops"),
            turns = others => sender.send(turns).unwrap(),
        }
    });
    let turns = turns.await.unwrap();
    // With the guest on the same thread each turn of the others would take an epoch.
    let shared = (LOOK.as_micros() / limits::EPOCH_PERIOD.as_micros()) as u64;
    assert!(turns > 10 * shared, "{turns} turns, {shared} if they shared the thread");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused() {
    let host = TestHost::new();
    // 17 MiB at once: `memory.grow` answers -1 when it is refused, and then the guest traps; else it loops until it is stopped.
    let body =
        "(if (i32.eq (memory.grow (i32.const 272)) (i32.const -1)) (then unreachable)) (loop $l (br $l))";
    let settings =
        |megabytes: u32| format!("tool.rollcall.memory_mb = {megabytes}\ntool.rollcall.cpu_ms = 100");
    assert_eq!(failure(&host, body, &settings(16)).await, GuestFailure::Failed);
    assert_eq!(failure(&host, body, &settings(32)).await, GuestFailure::TimedOut);
}

#[tokio::test]
async fn a_guest_that_gives_no_answer_has_failed() {
    let host = TestHost::new();
    assert_eq!(failure(&host, "", "").await, GuestFailure::Failed);
}

#[tokio::test]
async fn more_requests_than_instances_wait_and_what_finished_is_told() {
    let host = TestHost::new();
    let guest = host.load(Some(&handler("unreachable")), "").unwrap();
    let (finished, mut told) = tokio::sync::mpsc::channel::<()>(1);
    let outcome = guest.handle(request(), None, finished).await;
    assert_eq!(outcome.unwrap_err(), GuestFailure::Failed);
    assert_eq!(told.recv().await, None);
}

/// A component of so many core instances, of which so many have a memory.
fn composed(core_instances: usize, memories: usize) -> Vec<u8> {
    assert!(memories <= core_instances, "each has one at most");
    let instances = "(core instance (instantiate $with))".repeat(memories)
        + &"(core instance (instantiate $without))".repeat(core_instances - memories);
    let modules = "(core module $with (memory 1)) (core module $without)";
    wat::parse_str(format!("(component {modules} {instances})")).unwrap()
}

#[test]
fn an_instance_with_more_memories_than_most_takes_more_of_the_room() {
    let host = TestHost::new();
    let fit = |memories: usize| {
        let guest = host.load(Some(&composed(10, memories)), "").unwrap();
        std::iter::from_fn(|| guest.share.try_take()).collect::<Vec<_>>().len()
    };
    let half = limits::MAX_REQUEST_INSTANCES / 2;
    assert_eq!([fit(0), fit(1), fit(2), fit(3), fit(10)], [half, half, half, half / 2, half / 5]);
}

#[tokio::test]
async fn whatever_fits_in_the_room_fits_in_the_engine() {
    let host = TestHost::new();
    for (wasm, at_once) in [
        (composed(limits::MAX_CORE_INSTANCES, 0), limits::MAX_REQUEST_INSTANCES),
        (composed(limits::MAX_MEMORIES, limits::MAX_MEMORIES), limits::MAX_REQUEST_INSTANCES / 5),
    ] {
        let guest = host.load(Some(&wasm), "").unwrap();
        let (component, _) = host.engine().compile(&wasm).unwrap();
        let pre = host.engine().linker().instantiate_pre(&component).unwrap();
        let mut stores = Vec::new();
        for made in 0..at_once {
            let mut store = guest.store(None, &guest.clock(limits::DEFAULT_CPU)).unwrap();
            let instance = pre.instantiate_async(&mut store).await;
            assert!(instance.is_ok(), "{made} are there: {:#}", instance.err().unwrap());
            stores.push(store);
        }
    }
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let host = TestHost::new();
    let error = |wasm: Option<&[u8]>, settings: &str| match host.load(wasm, settings) {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    };
    let missing = error(None, "[component.test.build]\ncommand = \"make it\"");
    assert!(missing.ends_with("test.wasm is missing; build it with `make it`"), "{missing}");
    assert!(missing.starts_with("component `test`: "), "{missing}");
    let garbage = error(Some(b"not wasm"), "");
    assert!(garbage.contains("test.wasm is not a WebAssembly component"), "{garbage}");
    let unknown =
        wat::parse_str(r#"(component (import "acme:thing/api@1.0.0" (instance (export "f" (func)))))"#);
    assert_eq!(
        error(Some(&unknown.unwrap()), ""),
        "component `test` imports `acme:thing/api@1.0.0`, which this host does not offer"
    );
}

#[test]
fn a_component_without_handler_or_engine_is_refused_where_one_is_needed() {
    let host = TestHost::new();
    let guest = host.load(Some(&wat::parse_str("(component)").unwrap()), "").unwrap();
    assert!(matches!(guest.require_handler(), Err(LoadError::NoHandler(_))));
    assert!(matches!(guest.sync_engine(), Err(LoadError::NoSyncEngine(_))));
    let guest = host.load(Some(&composed(3, 3)), "").unwrap();
    assert!(matches!(guest.sync_engine(), Err(LoadError::HeavySyncEngine(_))));
}
