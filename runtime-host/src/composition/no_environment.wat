;; `wasi:cli/environment` in which there is nothing, under the names of WASI 0.2 and of 0.3. Zeros are empty lists and `none`.
(component
  (core module $module
    (memory (export "memory") 1)
    (func (export "nothing") (result i32) (i32.const 0)))
  (core instance $instance (instantiate $module))
  (alias core export $instance "memory" (core memory $memory))
  (func $variables (result (list (tuple string string)))
    (canon lift (core func $instance "nothing") (memory $memory)))
  (func $arguments (result (list string))
    (canon lift (core func $instance "nothing") (memory $memory)))
  (func $folder (result (option string))
    (canon lift (core func $instance "nothing") (memory $memory)))
  (instance $environment
    (export "get-environment" (func $variables))
    (export "get-arguments" (func $arguments))
    (export "initial-cwd" (func $folder))
    (export "get-initial-cwd" (func $folder)))
  (export "INTERFACE" (instance $environment)))
