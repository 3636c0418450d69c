;; Never ends, and never calls the host.
(module
  (memory (export "memory") 1)
  (func $think (loop $on (br $on)))
  (func (export "_start") (call $think)))
