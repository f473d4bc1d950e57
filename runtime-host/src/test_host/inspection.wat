  ;; What else a sync engine exports: one document, "document", on each page; a page of one is refused, a page of two traps.
  (data (i32.const 2048) "document")
  (data (i32.const 2056) "no page")
  (func (export "rollcall:sync/inspection@0.1.0#documents") (param i32 i32 i32) (param $limit i32) (result i32)
    (if (i32.eq (local.get $limit) (i32.const 2)) (then unreachable))
    (if (i32.eq (local.get $limit) (i32.const 1))
      (then
        (i32.store8 (i32.const 2200) (i32.const 1))
        (i32.store (i32.const 2204) (i32.const 2056))
        (i32.store (i32.const 2208) (i32.const 7))
        (return (i32.const 2200))))
    (i32.store8 (i32.const 2200) (i32.const 0))
    (i32.store (i32.const 2204) (i32.const 2304))
    (i32.store (i32.const 2208) (i32.const 1))
    ;; `id`, `bytes` and `behind` of a `document-figures`.
    (i32.store (i32.const 2304) (i32.const 2048))
    (i32.store (i32.const 2308) (i32.const 8))
    (i64.store offset=40 (i32.const 2304) (i64.const 123))
    (i32.store8 offset=96 (i32.const 2304) (i32.const 1))
    (i32.const 2200))

  ;; There is no document of any id: `ok(none)` is zeros.
  (func (export "rollcall:sync/inspection@0.1.0#document") (param i32 i32) (result i32)
    (i32.const 2240))
