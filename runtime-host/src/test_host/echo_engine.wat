;; The core of a sync engine. Effects and events have the same layout: one byte of kind, then the payload at 8.
(module
  (import "spin:sqlite/sqlite@3.1.0" "[static]connection.open" (func $open (param i32 i32 i32)))
  (import "spin:sqlite/sqlite@3.1.0" "[method]connection.execute" (func $execute (param i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 64)
  (global $free (mut i32) (i32.const 65536))
  (data (i32.const 16) "default")
  (data (i32.const 32) "CREATE TABLE IF NOT EXISTS t (x)")
  (data (i32.const 1024) "LINK_UP_BYTES")

  (func (export "cabi_realloc") (param i32 i32 i32) (param $length i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $length)))
    (local.get $at))

  (func (export "rollcall:sync/engine@0.1.0#start") (param i32 i32 i64) (result i32)
    (call $open (i32.const 16) (i32.const 7) (i32.const 128))
    (if (i32.load8_u (i32.const 128)) (then unreachable))
    (call $execute (i32.load (i32.const 132)) (i32.const 32) (i32.const 32) (i32.const 0) (i32.const 0) (i32.const 192))
    (if (i32.load8_u (i32.const 192)) (then unreachable))
    (i32.const 256))

  (func (export "rollcall:sync/engine@0.1.0#handle") (param i64) (param $event i32) (param $left i32) (result i32)
    (local $effect i32)
    (local.set $effect (i32.const 4096))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        ;; frame
        (if (i32.eq (i32.load8_u (local.get $event)) (i32.const 1))
          (then
            (if (i32.eq (i32.load8_u (i32.load offset=16 (local.get $event))) (i32.const 88)) (then unreachable))
            (memory.copy (local.get $effect) (local.get $event) (i32.const 24))
            (i32.store8 (local.get $effect) (i32.const 0))
            (local.set $effect (i32.add (local.get $effect) (i32.const 24)))))
        ;; link-up
        (if (i32.eq (i32.load8_u (local.get $event)) (i32.const 3))
          (then
            (i32.store8 (local.get $effect) (i32.const 2))
            (i32.store offset=8 (local.get $effect) (i32.const 1024))
            (i32.store offset=12 (local.get $effect) (i32.const LINK_UP_LENGTH))
            (local.set $effect (i32.add (local.get $effect) (i32.const 24)))))
        (local.set $event (i32.add (local.get $event) (i32.const 24)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 260) (i32.const 4096))
    (i32.store (i32.const 264) (i32.div_u (i32.sub (local.get $effect) (i32.const 4096)) (i32.const 24)))
    (i32.const 256))

  (func (export "cabi_post_rollcall:sync/engine@0.1.0#handle") (param i32)
    (global.set $free (i32.const 65536)))
  ;; INSPECTION
)
